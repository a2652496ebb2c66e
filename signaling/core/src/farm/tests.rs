//! The router's decisions, for every kind of message and every state of the members.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::transport::Transport;
use crate::wire::{Message, Uri};

const OWN: u16 = 1;
const CALL: &str = "call";

fn id(member: u16) -> MemberId {
    MemberId::new(member).unwrap()
}

fn identity(member: u16, incarnation: u32) -> Identity {
    Identity { member: id(member), incarnation: Incarnation(incarnation) }
}

#[expect(clippy::disallowed_methods, reason = "an Instant can only be had from the clock")]
fn start() -> Instant {
    Instant::now()
}

fn secrets() -> Secrets {
    let current = TokenKey { id: 2, secret: [7; 32] };
    Secrets { current, previous: None, lasting: Lasting([8; 32]) }
}

/// What a stranger would use.
fn forged() -> Secrets {
    let current = TokenKey { id: 2, secret: [1; 32] };
    Secrets { current, previous: None, lasting: Lasting([1; 32]) }
}

fn member(number: u16, mode: Mode) -> Member {
    let own = format!("10.0.0.{number}:5060");
    let addresses = [own.as_str(), "192.0.2.1:5060"]
        .map(|address| SipAddress { transport: Transport::Udp, address: address.parse().unwrap() });
    Member {
        identity: identity(number, 5),
        weight: 10,
        mode,
        draining: false,
        joining: false,
        earlier: Earlier::new(),
        state: PeerState::Up,
        addresses: addresses.to_vec(),
    }
}

/// Three members of the farm and a backend.
fn view() -> View {
    let mut members: Vec<Member> = (1..=3).map(|number| member(number, Mode::Member)).collect();
    members.push(member(4, Mode::Relay));
    View { members, sends_itself: false }
}

/// What this member knows besides.
struct Own {
    knows: bool,
}

impl Home for Own {
    fn knows(&mut self, _message: &Message) -> bool {
        self.knows
    }

    fn serves(&mut self, uri: &Uri<'_>) -> bool {
        uri.as_str().contains("example.test")
    }
}

type State = (&'static str, fn(&mut View));

/// The states of the members that rows are judged in: how each comes about from three farm members and a
/// backend that are all up, as this one, the first, sees them.
const STATES: [State; 15] = [
    ("up", |_| {}),
    ("disabled", |view| view.members[0].mode = Mode::Disabled),
    ("relay", |view| view.members[0].mode = Mode::Relay),
    ("drain", |view| view.members[0].draining = true),
    ("all-drain", |view| view.members.iter_mut().for_each(|member| member.draining = true)),
    ("suspect", |view| view.members[1].state = PeerState::Suspect),
    ("down", |view| view.members[1].state = PeerState::Down),
    ("removed", |view| drop(view.members.remove(1))),
    ("restarted", |view| view.members[1].identity = identity(2, 6)),
    // It was taken for dead, and is the same process as before.
    ("lives-on", |view| {
        view.members[1].identity = identity(2, 6);
        view.members[1].earlier.push(Incarnation(5));
    }),
    // B3: this one has just come, or all have.
    ("joining", |view| view.members[0].joining = true),
    ("all-join", |view| view.members.iter_mut().for_each(|member| member.joining = true)),
    // The second drains since five seconds or forty, or for longer than anything rings.
    ("d5", |view| view.members[1].draining = true),
    ("d40", |view| view.members[1].draining = true),
    ("minority", |view| {
        view.members[1].state = PeerState::Down;
        view.members[2].state = PeerState::Down;
    }),
];

/// How long the state lasts already.
fn age(state: &str) -> Duration {
    match state {
        "d5" => Duration::from_secs(5),
        "d40" => Duration::from_secs(40),
        _ => Duration::from_secs(300),
    }
}

fn farm(now: Instant, state: State) -> Farm {
    let mut farm = Farm::new(identity(OWN, 5), &secrets());
    farm.membership.update(now, view());
    let mut later = view();
    state.1(&mut later);
    farm.membership.update(now + OLD, later);
    farm
}

/// How long this member is there when the members change: what it came after is over.
const OLD: Duration = Duration::from_secs(1_000);

/// A Call-ID whose key is the given member's while all are up.
fn call_of(member: u16) -> String {
    let mut farm = Farm::new(identity(OWN, 5), &secrets());
    farm.membership.update(start(), view());
    let is_its = |call: &String| {
        let hash = farm.spread.of(&request("INVITE", "sip:b@example.test", "", "", call));
        farm.membership.taker(hash) == Some(identity(member, 5))
    };
    (0..).map(|n| format!("{CALL}{n}")).find(is_its).unwrap()
}

/// A user of ours whose address of record is that member's while all are up.
fn user_of(member: u16) -> String {
    let mut farm = Farm::new(identity(OWN, 5), &secrets());
    farm.membership.update(start(), view());
    let is_its = |user: &String| {
        let uri = format!("sip:{user}@example.test");
        let hash = farm.spread.of(&request("PUBLISH", &uri, "", "", "any"));
        farm.membership.taker(hash) == Some(identity(member, 5))
    };
    (0..).map(|n| format!("user{n}")).find(is_its).unwrap()
}

fn request(method: &str, uri: &str, lines: &str, tag: &str, call: &str) -> Message {
    let tag = if tag.is_empty() { String::new() } else { format!(";tag={tag}") };
    let user = uri.split_once('@').map_or("b", |(user, _)| user.trim_start_matches("sip:"));
    let text = format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bKx\r\n{lines}\
         From: <sip:a@example.test>;tag=1\r\nTo: <sip:{user}@example.test>{tag}\r\nCall-ID: {call}\r\n\
         CSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
    );
    Message::parse_datagram(Bytes::from(text)).unwrap()
}

fn response(branch: &str) -> Message {
    let text = format!(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{branch}\r\n\
         From: <sip:a@example.test>;tag=1\r\nTo: <sip:b@example.test>;tag=2\r\nCall-ID: {CALL}\r\n\
         CSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
    );
    Message::parse_datagram(Bytes::from(text)).unwrap()
}

fn token(purpose: Purpose, member: u16, incarnation: u32, call: &str) -> String {
    let owner = Owner { identity: identity(member, incarnation), local: 9 };
    Tokens::new(&secrets()).issue(purpose, &owner, call).to_string()
}

fn forgery(purpose: Purpose, member: u16, call: &str) -> String {
    let owner = Owner { identity: identity(member, 5), local: 9 };
    Tokens::new(&forged()).issue(purpose, &owner, call).to_string()
}

/// One kind of message, and how it came.
struct Kind {
    message: Message,
    knows: bool,
    reliable: bool,
    relayed: Option<Why>,
    asked: u8,
}

impl Kind {
    fn of(message: Message) -> Kind {
        Kind { message, knows: false, reliable: false, relayed: None, asked: 0 }
    }

    fn known(self) -> Kind {
        Kind { knows: true, ..self }
    }

    fn reliable(self) -> Kind {
        Kind { reliable: true, ..self }
    }

    fn relayed(self, why: Why) -> Kind {
        Kind { relayed: Some(why), ..self }
    }

    fn asked(self) -> Kind {
        Kind { asked: 1, ..self }
    }
}

const BOB: &str = "sip:b@example.test";

fn new(method: &str, member: u16) -> Kind {
    Kind::of(request(method, BOB, "", "", &call_of(member)))
}

fn routed(method: &str, route: &str, member: u16) -> Kind {
    let route = format!("Route: <sip:{route};lr>\r\n");
    Kind::of(request(method, BOB, &route, "", &call_of(member)))
}

/// Within a dialog, by our Record-Route.
fn within(method: &str, token: &str) -> Kind {
    let route = format!("Route: <sip:192.0.2.1;transport=udp;lr;rf={token}>\r\n");
    Kind::of(request(method, "sip:b@198.51.100.2", &route, "theirs", CALL))
}

fn about(method: &str, member: u16) -> Kind {
    let uri = format!("sip:{}@example.test", user_of(member));
    Kind::of(request(method, &uri, "", "", CALL))
}

fn code(decision: Decision) -> String {
    match decision {
        Decision::Here => "here".to_owned(),
        Decision::Relay { to, why } => format!("{}:{}", why.name(), to.member),
        Decision::Return => "return".to_owned(),
        Decision::Refuse(Refusal::Gone) => "481".to_owned(),
        Decision::Refuse(Refusal::Unreachable) => "503".to_owned(),
        Decision::Refuse(Refusal::NobodyTakes) => "503!".to_owned(),
        Decision::Ping { ready: true } => "ready".to_owned(),
        Decision::Ping { ready: false } => "busy".to_owned(),
        Decision::Drop(Dropped::Gone) => "drop".to_owned(),
        Decision::Drop(Dropped::Unreachable) => "drop?".to_owned(),
        Decision::Drop(Dropped::NobodyTakes) => "drop!".to_owned(),
    }
}

fn kinds() -> Vec<(&'static str, Kind)> {
    let call = |member, incarnation| token(Purpose::Call, member, incarnation, CALL);
    let branch = |member, incarnation| {
        Kind::of(response(&(token(Purpose::Branch, member, incarnation, CALL) + "0123456789ab")))
    };
    let strict = format!("sip:192.0.2.1;lr;rf={}", call(2, 5));
    let contact = |member| format!("sip:192.0.2.1;ro={}", token(Purpose::Place, member, 5, CALL));
    let tagged = |method, tag: &str| Kind::of(request(method, "sip:b@198.51.100.2", "", tag, CALL));
    let register = |member| {
        Kind::of(request(
            "REGISTER",
            &format!("sip:{}@example.test", user_of(member)),
            "",
            "",
            CALL,
        ))
    };
    let flow =
        format!("Route: <sip:x@192.0.2.1;lr;ft={}>\r\n", token(Purpose::Place, 2, 5, &call_of(1)));
    let theirs = "SUBSCRIBE";
    vec![
        // S28.
        ("response own", branch(1, 5)),
        ("response of an earlier life", branch(1, 4)),
        ("response second", branch(2, 5)),
        ("response second, dead life", branch(2, 4)),
        ("response backend", branch(4, 5)),
        ("response unknown member", branch(9, 1)),
        (
            "response forged",
            Kind::of(response(&(forgery(Purpose::Branch, 2, CALL) + "0123456789ab"))),
        ),
        ("response no token", Kind::of(response("0123456789abcdef0123456789ab"))),
        // S20, S31, B3.
        ("INVITE own key", new("INVITE", 1)),
        ("INVITE second key", new("INVITE", 2)),
        ("INVITE third key", new("INVITE", 3)),
        ("INVITE second key, asked", new("INVITE", 2).asked()),
        ("INVITE second key, by TCP", new("INVITE", 2).reliable()),
        ("INVITE again, known here", new("INVITE", 2).known()),
        // S29, B3.
        ("ACK non-2xx second key", tagged("ACK", "theirs").with_call(2)),
        ("ACK non-2xx known here", tagged("ACK", "theirs").with_call(2).known()),
        ("CANCEL second key", new("CANCEL", 2)),
        ("CANCEL second key, by TCP", new("CANCEL", 2).reliable()),
        ("CANCEL known here", new("CANCEL", 2).known()),
        // S24, S29, B1, B5.
        ("ACK 2xx own", within("ACK", &call(1, 5))),
        ("ACK 2xx second", within("ACK", &call(2, 5))),
        ("ACK 2xx dead life", within("ACK", &call(2, 4))),
        ("BYE own", within("BYE", &call(1, 5))),
        ("BYE of an earlier life", within("BYE", &call(1, 4))),
        ("BYE second", within("BYE", &call(2, 5))),
        ("BYE second, dead life", within("BYE", &call(2, 4))),
        ("re-INVITE second", within("INVITE", &call(2, 5))),
        ("re-INVITE backend", within("INVITE", &call(4, 5))),
        ("BYE strict router, second", Kind::of(request("BYE", &strict, "", "theirs", CALL))),
        ("BYE forged second", within("BYE", &forgery(Purpose::Call, 2, CALL)).with_call(1)),
        ("BYE replayed in another dialog", within("BYE", &call(2, 5)).with_call(1)),
        ("BYE no token, own key", tagged("BYE", "theirs").with_call(1)),
        ("SUBSCRIBE contact of second", Kind::of(request(theirs, &contact(2), "", "x", CALL))),
        ("SUBSCRIBE tag of second", tagged(theirs, &token(Purpose::Tag, 2, 5, CALL))),
        ("SUBSCRIBE tag forged", tagged(theirs, &forgery(Purpose::Tag, 2, CALL)).with_call(1)),
        // A dialog that nothing is remembered of: any member can go on with it.
        (
            "NOTIFY flow of second, shared route",
            Kind::of(request("NOTIFY", BOB, &flow, "x", &call_of(1))),
        ),
        // B4.
        (
            "OPTIONS own route",
            Kind::of(request(
                "OPTIONS",
                "sip:192.0.2.1",
                "Route: <sip:10.0.0.1:5060;lr>\r\n",
                "",
                &call_of(1),
            )),
        ),
        ("OPTIONS own address", Kind::of(request("OPTIONS", "sip:10.0.0.1", "", "", &call_of(2)))),
        (
            "OPTIONS shared address",
            Kind::of(request("OPTIONS", "sip:192.0.2.1", "", "", &call_of(2))),
        ),
        (
            "OPTIONS second route",
            Kind::of(request(
                "OPTIONS",
                "sip:10.0.0.2",
                "Route: <sip:10.0.0.2:5060;lr>\r\n",
                "",
                &call_of(1),
            )),
        ),
        ("OPTIONS to a user, second key", new("OPTIONS", 2)),
        // S24.
        ("INVITE own route, second key", routed("INVITE", "10.0.0.1", 2)),
        ("INVITE second route, own key", routed("INVITE", "10.0.0.2", 1)),
        ("INVITE shared route, second key", routed("INVITE", "192.0.2.1", 2)),
        // S31.
        ("REGISTER second key", register(2)),
        ("SUBSCRIBE second key", about("SUBSCRIBE", 2)),
        ("PUBLISH second key", about("PUBLISH", 2)),
        ("MESSAGE second key", new("MESSAGE", 2)),
        ("unknown method, second key", new("FROB", 2)),
        // B2, B5.
        ("relayed INVITE, second key", new("INVITE", 2).relayed(Why::Spread)),
        ("relayed ACK, second key", new("ACK", 2).relayed(Why::Spread)),
        ("asked for INVITE, unknown", new("INVITE", 2).relayed(Why::Asked)),
        ("asked for INVITE, known", new("INVITE", 2).relayed(Why::Asked).known()),
        ("relayed BYE own", within("BYE", &call(1, 5)).relayed(Why::Pinned)),
        ("relayed BYE of an earlier life", within("BYE", &call(1, 4)).relayed(Why::Pinned)),
        ("relayed BYE second", within("BYE", &call(2, 5)).relayed(Why::Pinned)),
        ("relayed response own", branch(1, 5).relayed(Why::Pinned)),
        ("relayed response of an earlier life", branch(1, 4).relayed(Why::Pinned)),
    ]
}

impl Kind {
    /// The same in a dialog whose key is that member's.
    fn with_call(mut self, member: u16) -> Kind {
        let text = String::from_utf8(self.message.raw().to_vec()).unwrap();
        let text =
            text.replace(&format!("Call-ID: {CALL}\r"), &format!("Call-ID: {}\r", call_of(member)));
        self.message = Message::parse_datagram(Bytes::from(text)).unwrap();
        self
    }
}

/// The table: S20 to S31 and B1 to B5. `spread:2`: to member 2, for that reason; `481` and `503`: refused as
/// gone or unreachable, `503!` as nobody takes it; `drop` alike.
const TABLE: &str = include_str!("decisions.txt");

#[test]
fn every_kind_of_message_in_every_state_of_the_members_has_the_decision_of_the_table() {
    let now = start();
    let mut table = format!("{:<36}", "");
    for (name, _) in STATES {
        table += &format!("{name:<11}");
    }
    table.truncate(table.trim_end().len());
    for (name, kind) in kinds() {
        let mut row = format!("{name:<36}");
        for state in STATES {
            let farm = farm(now, state);
            let Kind { message, knows, reliable, relayed, asked } = &kind;
            let facts = Facts { reliable: *reliable, relayed: *relayed, asked: *asked };
            let mut own = Own { knows: *knows };
            let decision = decide(now + OLD + age(state.0), &farm, &mut own, facts, message);
            row += &format!("{:<11}", code(decision));
        }
        table += "\n";
        table += row.trim_end();
    }
    assert!(table == TABLE.trim_matches('\n'), "the table is now\n{table}");
}

/// B3: whoever took a key is asked for as long as what it began may come again, the latest first, and nobody
/// twice; whoever has died meanwhile is not.
#[test]
fn all_that_took_a_key_lately_are_asked_one_after_another() {
    let now = start();
    let mut farm = Farm::new(identity(OWN, 5), &secrets());
    let of = |mode: [Mode; 3]| {
        let mut view = view();
        view.members.iter_mut().zip(mode).for_each(|(member, mode)| member.mode = mode);
        view
    };
    let (member, disabled) = (Mode::Member, Mode::Disabled);
    farm.membership.update(now, of([member, member, disabled]));
    let asked_by = |farm: &Farm, after: u64, asked| {
        let message = request("INVITE", BOB, "", "", &call_of(2));
        let facts = Facts { reliable: false, relayed: None, asked };
        let mut own = Own { knows: false };
        code(decide(now + Duration::from_secs(after), farm, &mut own, facts, &message))
    };
    assert_eq!(asked_by(&farm, 0, 0), "spread:2");
    farm.membership.update(now + Duration::from_secs(10), of([member, disabled, member]));
    farm.membership.update(now + Duration::from_secs(20), of([member, disabled, disabled]));
    let third = request("INVITE", BOB, "", "", &call_of(2));
    let hash = farm.spread.of(&third);
    let earlier = |after| {
        let now = now + Duration::from_secs(after);
        let takers = farm.membership.earlier_takers(now, membership::REPEATS, hash);
        takers.iter().map(|taker| taker.member.get()).collect::<Vec<_>>()
    };
    // Between the tenth second and the twentieth it was the third's, or this member's own.
    let while_both = earlier(30);
    assert!(while_both.ends_with(&[2]), "{while_both:?}");
    for (n, taker) in while_both.iter().enumerate() {
        assert_eq!(asked_by(&farm, 30, n as u8), format!("asked:{taker}"));
    }
    assert_eq!(asked_by(&farm, 30, while_both.len() as u8), "here");
    assert!(!earlier(43).contains(&2), "{:?}", earlier(43));
    assert_eq!(earlier(53), []);
    let mut without = of([member, disabled, disabled]);
    without.members[1].state = PeerState::Down;
    farm.membership.update(now + Duration::from_secs(21), without);
    assert!(!asked_by(&farm, 30, 0).contains(":2"));
}

/// B3: a member that has just come takes keys of others who have begun what comes to it, and it comes to see
/// them one after the other.
#[test]
fn a_member_that_has_just_come_asks_who_was_there_before() {
    let now = start();
    let mut farm = Farm::new(identity(OWN, 5), &secrets());
    let mut alone = view();
    alone.members[1..].iter_mut().for_each(|member| member.state = PeerState::Down);
    farm.membership.update(now, alone.clone());
    alone.members[1].state = PeerState::Up;
    farm.membership.update(now + Duration::from_millis(10), alone);
    farm.membership.update(now + Duration::from_millis(20), view());
    let asked = |after: Duration| {
        let own = |hash: &u64| farm.membership.taker(*hash) == Some(identity(OWN, 5));
        let earlier = |hash| farm.membership.earlier_takers(now + after, membership::REPEATS, hash);
        let asked: Vec<_> = (0..1_000).filter(own).map(earlier).collect();
        assert!(!asked.is_empty());
        asked.iter().filter(|takers| !takers.is_empty()).count() * 100 / asked.len()
    };
    assert_eq!(asked(Duration::from_secs(1)), 100);
    assert_eq!(asked(membership::REPEATS + Duration::from_millis(20)), 0);
}

/// B3: what a member that comes has not seen, the others tell it: here that the second took everything until the
/// third came, a moment before this one.
#[test]
fn a_member_that_comes_asks_those_who_took_a_key_before_others_did_as_it_is_told() {
    let now = start();
    let joined = |count: usize, joining: bool| {
        let mut view = view();
        view.members[2].state = if count < 3 { PeerState::Down } else { PeerState::Up };
        view.members[0].joining = joining;
        view
    };
    let mut second = Farm::new(identity(2, 5), &secrets());
    second.membership.update(now, joined(2, true));
    second.membership.update(now + Duration::from_secs(10), joined(3, true));
    let history = second.membership.history(now + Duration::from_secs(11));
    assert_eq!(history.0.len(), 1);
    let asked = |is_told: bool| {
        let mut own = Farm::new(identity(OWN, 5), &secrets());
        let came = now + Duration::from_secs(11);
        own.membership.update(came, joined(3, true));
        if is_told {
            own.membership.learn(came, history.clone());
        }
        own.membership.update(came, joined(3, false));
        let is_own = |hash: &u64| own.membership.taker(*hash) == Some(identity(OWN, 5));
        let asks_second = |hash: &u64| {
            let at = now + Duration::from_secs(40);
            let takers = own.membership.earlier_takers(at, membership::REPEATS, *hash);
            takers.contains(&identity(2, 5))
        };
        let own: Vec<u64> = (0..1_000).filter(is_own).collect();
        (own.len(), own.iter().filter(|hash| asks_second(hash)).count())
    };
    let (all, told) = asked(true);
    assert!(all > 200 && told == all, "{told} of {all}");
    let (all, not_told) = asked(false);
    assert!(not_told < all, "{not_told} of {all}");
    // One that is there for longer goes by what it has seen.
    let mut own = Farm::new(identity(OWN, 5), &secrets());
    own.membership.update(now, joined(3, false));
    own.membership.learn(now, history);
    assert_eq!(own.membership.history(now).0, []);
}

/// B3, B4: those that drain have begun what came before, too.
#[test]
fn a_member_that_has_just_come_asks_those_that_drain_already() {
    let mut farm = Farm::new(identity(OWN, 5), &secrets());
    let mut draining = view();
    draining.members[1..].iter_mut().for_each(|member| member.draining = true);
    farm.membership.update(start(), draining);
    for hash in 0..1_000 {
        assert_eq!(farm.membership.taker(hash), Some(identity(OWN, 5)));
        let asked = farm.membership.earlier_takers(start(), membership::REPEATS, hash);
        assert_eq!(asked.len(), 1, "{asked:?}");
    }
}

/// B3: what one half has begun while the other could not reach it is asked for once both are together again.
#[test]
fn those_that_were_apart_and_were_many_are_asked_when_they_are_back() {
    let now = start();
    let whole = || View { members: (1..=4).map(|n| member(n, Mode::Member)).collect(), ..view() };
    let without = |away: &[usize]| {
        let mut view = whole();
        away.iter().for_each(|at| view.members[*at].state = PeerState::Down);
        view
    };
    // Which of the third and the fourth takes what, while they see nobody else.
    let mut other = Farm::new(identity(3, 5), &secrets());
    other.membership.update(now, without(&[0, 1]));
    let asked = |away: &[usize], after: Duration| {
        let mut farm = Farm::new(identity(OWN, 5), &secrets());
        farm.membership.update(now, whole());
        let split = now + OLD;
        for count in 1..=away.len() {
            farm.membership.update(split, without(&away[..count]));
        }
        let healed = split + OLD;
        for count in (0..away.len()).rev() {
            farm.membership.update(healed, without(&away[..count]));
        }
        let is_asked = |hash: &u64| {
            let taker = other.membership.taker(*hash);
            let takers = farm.membership.earlier_takers(healed + after, membership::REPEATS, *hash);
            taker == farm.membership.taker(*hash) || takers.iter().any(|to| Some(*to) == taker)
        };
        (0..400).filter(is_asked).count()
    };
    assert_eq!(asked(&[2, 3], Duration::from_secs(31)), 400);
    assert!(asked(&[2, 3], Duration::from_secs(32)) < 300);
    // One alone has taken nothing meanwhile, and is not asked for everything.
    assert!(asked(&[2], Duration::ZERO) < 300);
}

/// What is remembered of changes is bounded, and the oldest goes first.
#[test]
fn a_cluster_that_changes_without_end_is_remembered_in_part() {
    let now = start();
    let mut farm = Farm::new(identity(OWN, 5), &secrets());
    for n in 0..1_000_u32 {
        let mut view = view();
        view.members[1].weight = n + 1;
        farm.membership.update(now + Duration::from_millis(u64::from(n)), view);
    }
    let later = now + Duration::from_secs(1);
    assert!(!farm.membership.is_settled(later, membership::REPEATS));
    for hash in 0..1_000 {
        let takers = farm.membership.earlier_takers(later, membership::ENDINGS, hash);
        assert!(takers.len() <= membership::ASKED_MAX);
    }
}

/// B5: a member that is taken off the list keeps to itself, and does what it has begun.
#[test]
fn a_member_that_is_on_no_list_handles_what_comes_itself() {
    let now = start();
    let mut farm = Farm::new(identity(OWN, 5), &secrets());
    farm.membership.update(now, view());
    let mut without = view();
    without.members.remove(0);
    farm.membership.update(now, without);
    assert_eq!(farm.membership.mode(), Mode::Disabled);
    let facts = Facts { reliable: false, relayed: None, asked: 0 };
    let message = request("INVITE", BOB, "", "", &call_of(2));
    assert_eq!(decide(now, &farm, &mut Own { knows: false }, facts, &message), Decision::Here);
}
