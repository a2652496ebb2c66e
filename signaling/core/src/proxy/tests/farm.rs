//! Several members that share an address, behind a balancer that sends every packet to any of them.

use std::time::Duration;

use bytes::Bytes;

use super::calls::{ALICE, BOB, from_alice, from_bob, invite};
use super::harness::{Bench, Plan, address, register, reply, sdp, show};
use crate::farm::{
    Identity, Incarnation, Lasting, Member, MemberId, Mode, PeerState, Secrets, TokenKey, View, Why,
};
use crate::proxy::farm::FarmOutput;
use crate::proxy::output::CallEnd;
use crate::transport::{ConnectionId, Transmit};
use crate::wire::Message;

fn secrets(key: u8) -> Secrets {
    let of = |id| TokenKey { id, secret: [id + 40; 32] };
    let previous = (key > 1).then(|| of(key - 1));
    Secrets { current: of(key), previous, lasting: Lasting([3; 32]) }
}

fn identity(member: usize, incarnation: u32) -> Identity {
    let member = MemberId::new(member as u16 + 1).unwrap();
    Identity { member, incarnation: Incarnation(incarnation) }
}

/// A farm, and where its packets go.
struct Farm {
    members: Vec<Bench>,
    incarnations: Vec<u32>,
    dead: Vec<bool>,
    modes: Vec<Mode>,
    draining: Vec<bool>,
    /// Those that are on the list.
    listed: Vec<bool>,
    random: u64,
    /// How many messages went from one member to another, and why.
    relayed: Vec<Why>,
}

impl Farm {
    fn new(count: usize, seed: u64) -> Farm {
        let mut farm = Farm {
            members: Vec::new(),
            incarnations: Vec::new(),
            dead: Vec::new(),
            modes: Vec::new(),
            draining: Vec::new(),
            listed: Vec::new(),
            random: seed,
            relayed: Vec::new(),
        };
        for _ in 0..count {
            farm.join();
        }
        // What the first members were alone with is long over.
        farm.pass(Duration::from_secs(300));
        farm
    }

    fn join(&mut self) {
        let at = self.members.len();
        let mut bench = Bench::new(Plan { seed: at as u8 + 10, ..Plan::default() });
        if let Some(first) = self.members.first() {
            bench.now = first.now;
        }
        bench.proxy.set_farm(identity(at, 1), &secrets(1));
        self.members.push(bench);
        self.incarnations.push(1);
        self.dead.push(false);
        self.modes.push(Mode::Member);
        self.draining.push(false);
        self.listed.push(true);
        self.publish();
        if at > 0 {
            self.copy(0, at);
        }
    }

    /// All registrations, from one member to another.
    fn copy(&mut self, from: usize, to: usize) {
        let mut after = None;
        loop {
            let now = self.members[from].now;
            let chunk = self.members[from].proxy.registrations_chunk(now, after.as_deref());
            self.members[to].proxy.handle_replicated(now, &chunk.bytes);
            self.members[to].settle();
            after = chunk.next;
            if after.is_none() {
                return;
            }
        }
    }

    fn publish(&mut self) {
        let member = |at: usize| Member {
            identity: identity(at, self.incarnations[at]),
            weight: 10,
            mode: self.modes[at],
            draining: self.draining[at],
            state: if self.dead[at] { PeerState::Down } else { PeerState::Up },
            addresses: vec![address("192.0.2.1:5060")],
        };
        let listed = (0..self.members.len()).filter(|at| self.listed[*at]);
        let view = View { members: listed.map(member).collect() };
        for bench in &mut self.members {
            bench.proxy.set_membership(bench.now, view.clone());
            bench.settle();
        }
        self.pump();
    }

    fn any(&mut self) -> usize {
        loop {
            self.random =
                self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040);
            let at = (self.random >> 33) as usize % self.members.len();
            if !self.dead[at] {
                return at;
            }
        }
    }

    /// A datagram, to whichever member.
    fn udp(&mut self, from: &str, text: &str) {
        let at = self.any();
        self.udp_at(at, from, text);
    }

    fn udp_at(&mut self, at: usize, from: &str, text: &str) {
        self.members[at].udp(from, text);
        self.pump();
    }

    /// A message on a connection that this member has.
    fn tcp_at(&mut self, at: usize, from: &str, text: &str) {
        let connection = connection(at).0;
        self.members[at].tcp(from, connection, text);
        self.pump();
    }

    /// Members get what they have for each other.
    fn pump(&mut self) {
        let mut moved = true;
        while std::mem::take(&mut moved) {
            for at in 0..self.members.len() {
                while let Some(output) = self.members[at].farm.pop_front() {
                    moved = true;
                    self.give(at, output);
                }
            }
        }
    }

    fn give(&mut self, from: usize, output: FarmOutput) {
        match output {
            FarmOutput::Relay(relay) => {
                self.relayed.push(relay.errand.why);
                let to = usize::from(relay.to.member.get()) - 1;
                assert_ne!(to, from, "a member relays to itself: {relay:?}");
                if self.dead[to] || self.dead[from] {
                    return;
                }
                let whose = identity(from, self.incarnations[from]);
                let bench = &mut self.members[to];
                let now = bench.now;
                bench.proxy.handle_relayed(now, whose, relay.errand, relay.arrival, relay.bytes);
                bench.settle();
            }
            FarmOutput::Replicate(bytes) => {
                for to in (0..self.members.len()).filter(|to| *to != from) {
                    let bench = &mut self.members[to];
                    bench.proxy.handle_replicated(bench.now, &bytes);
                    bench.settle();
                }
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        for bench in &mut self.members {
            bench.pass(time);
        }
        self.pump();
    }

    /// What any living member has sent, and which.
    fn taken(&mut self) -> Vec<(usize, Transmit)> {
        let mut all = Vec::new();
        for (at, bench) in self.members.iter_mut().enumerate() {
            let sent = bench.sent.drain(..).map(|transmit| (at, transmit));
            all.extend(sent.filter(|_| !self.dead[at]));
        }
        all
    }

    /// The only message that is sent, to `to`.
    #[track_caller]
    fn only(&mut self, to: &str) -> (usize, Message) {
        let taken = self.taken();
        assert_eq!(taken.len(), 1, "{taken:?}");
        let (at, transmit) = taken.into_iter().next().unwrap();
        let message = Message::parse_datagram(transmit.bytes).unwrap();
        assert_eq!(transmit.target.remote, address(to), "{}", show(&message));
        (at, message)
    }

    #[track_caller]
    fn request(&mut self, to: &str, method: &str) -> (usize, Message) {
        let (at, message) = self.only(to);
        assert!(message.is_request() && message.method().as_str() == method, "{}", show(&message));
        (at, message)
    }

    #[track_caller]
    fn status(&mut self, to: &str, status: u16) -> Message {
        let (_, message) = self.only(to);
        assert_eq!(message.status(), Some(status), "{}", show(&message));
        message
    }

    #[track_caller]
    fn silence(&mut self) {
        let taken = self.taken();
        assert!(taken.is_empty(), "{taken:?}");
    }

    #[track_caller]
    fn register(&mut self, user: &str, at: &str) {
        self.udp(at, &register(user, at, "1"));
        self.status(at, 200);
    }

    /// Alice calls Bob; the member that has the call, and what Bob gets.
    #[track_caller]
    fn ring(&mut self) -> (usize, Message) {
        self.udp(ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
        let taken = self.taken();
        let parsed = taken
            .iter()
            .map(|(at, sent)| (*at, Message::parse_datagram(sent.bytes.clone()).unwrap()));
        let parsed: Vec<_> = parsed.collect();
        assert_eq!(parsed.len(), 2, "{parsed:?}");
        assert_eq!(parsed[0].1.status(), Some(100));
        assert_eq!(parsed[1].1.method().as_str(), "INVITE");
        parsed[1].clone()
    }

    #[track_caller]
    fn answer(&mut self, invite: &Message) -> Message {
        let body = sdp("198.51.100.20", 6000);
        self.udp(BOB, &reply(invite, 200, "tb", &format!("sip:bob@{BOB}"), &body));
        let ok = self.status(ALICE, 200);
        self.udp(ALICE, &from_alice("ACK", 1, &ok, "", ""));
        self.request(BOB, "ACK");
        ok
    }

    /// Kills a member; the others see it at once.
    fn kill(&mut self, at: usize) {
        self.dead[at] = true;
        self.members[at].sent.clear();
        self.publish();
    }

    #[track_caller]
    fn assert_clean(&mut self) {
        self.pass(Duration::from_secs(300));
        self.taken();
        for (at, bench) in self.members.iter().enumerate() {
            assert_eq!(bench.proxy.load(), crate::proxy::Load::default(), "member {at}");
            bench.proxy.assert_clean();
        }
    }

    fn ends(&self) -> Vec<CallEnd> {
        self.members.iter().flat_map(|bench| &bench.records).map(|record| record.end).collect()
    }
}

fn connection(at: usize) -> ConnectionId {
    ConnectionId::of_member(at as u16 + 1, 1, 7)
}

/// S27, S28, S29, S31, S34: 1 INVITE, 1 call, whatever goes where.
#[test]
fn a_call_is_one_call_wherever_each_of_its_packets_goes() {
    for seed in 0..60 {
        let mut farm = Farm::new(3, seed);
        farm.register("bob", BOB);
        let (owner, invite) = farm.ring();
        farm.udp(BOB, &reply(&invite, 180, "tb", &format!("sip:bob@{BOB}"), ""));
        farm.status(ALICE, 180);
        let ok = farm.answer(&invite);
        // Both parties refresh, and one hangs up.
        farm.udp(ALICE, &from_alice("UPDATE", 2, &ok, "", ""));
        let (at, update) = farm.request(BOB, "UPDATE");
        assert_eq!(at, owner);
        farm.udp(BOB, &reply(&update, 200, "tb", &format!("sip:bob@{BOB}"), ""));
        farm.status(ALICE, 200);
        farm.udp(BOB, &from_bob("BYE", 1, &invite, ""));
        let (at, bye) = farm.request(ALICE, "BYE");
        assert_eq!(at, owner);
        farm.udp(ALICE, &reply(&bye, 200, "fa", "sip:x@x", ""));
        farm.status(BOB, 200);
        assert_eq!(farm.ends(), [CallEnd::CalleeHungUp]);
        farm.assert_clean();
    }
}

/// B3: no request is handled twice.
#[test]
fn repetitions_of_a_request_meet_one_transaction() {
    for seed in 0..30 {
        let mut farm = Farm::new(3, seed);
        farm.register("bob", BOB);
        let (_, ringing) = farm.ring();
        for at in 0..3 {
            farm.udp_at(at, ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
            // The owner repeats its 100.
            farm.status(ALICE, 100);
        }
        farm.udp(BOB, &reply(&ringing, 486, "tb", "sip:x@x", ""));
        for (at, sent) in farm.taken() {
            let message = Message::parse_datagram(sent.bytes).unwrap();
            let is_ack = message.method().as_str() == "ACK";
            assert!(is_ack || message.status() == Some(486), "{at}: {}", show(&message));
        }
        for at in 0..3 {
            farm.udp_at(at, ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
            farm.status(ALICE, 486);
        }
        // S29: its ACK goes to the one that has it, and ends the repetitions.
        let ack = invite("bob", "").replace("INVITE", "ACK");
        farm.udp(
            ALICE,
            &ack.replace("To: <sip:bob@example.test>", "To: <sip:bob@example.test>;tag=tb"),
        );
        farm.pass(Duration::from_secs(40));
        farm.silence();
        farm.assert_clean();
    }
}

/// S29, B3: a CANCEL that crosses a 180 or a 200 has one result.
#[test]
fn a_cancel_finds_its_invite_wherever_it_goes() {
    for seed in 0..30 {
        let mut farm = Farm::new(3, seed);
        farm.register("bob", BOB);
        let (owner, ringing) = farm.ring();
        farm.udp(BOB, &reply(&ringing, 180, "tb", &format!("sip:bob@{BOB}"), ""));
        farm.status(ALICE, 180);
        farm.udp(ALICE, &invite("bob", "").replace("INVITE", "CANCEL"));
        let taken = farm.taken();
        let kinds: Vec<_> = taken
            .iter()
            .map(|(at, sent)| {
                let message = Message::parse_datagram(sent.bytes.clone()).unwrap();
                (*at, message.status(), message.method().as_str().to_owned())
            })
            .collect();
        assert!(kinds.contains(&(owner, Some(200), "CANCEL".to_owned())), "{kinds:?}");
        assert!(kinds.contains(&(owner, None, "CANCEL".to_owned())), "{kinds:?}");
        let late = seed % 2 == 0;
        let status = if late { 200 } else { 487 };
        let body = if late { sdp("198.51.100.20", 6000) } else { String::new() };
        farm.udp(BOB, &reply(&ringing, status, "tb", &format!("sip:bob@{BOB}"), &body));
        let got: Vec<_> = farm
            .taken()
            .into_iter()
            .map(|(_, sent)| (sent.target.remote, Message::parse_datagram(sent.bytes).unwrap()))
            .filter(|(to, _)| *to == address(ALICE))
            .filter_map(|(_, message)| message.status())
            .collect();
        assert_eq!(got, [status]);
        farm.pass(Duration::from_secs(700));
    }
}

/// S36, B2: what comes over a connection is answered on it, by the member that has it.
#[test]
fn a_connection_of_one_member_serves_calls_of_another() {
    for holder in 0..3 {
        for seed in 0..10 {
            let mut farm = Farm::new(3, seed);
            let bob = register("bob", BOB, "1").replace("/UDP", "/TCP");
            farm.tcp_at(holder, BOB, &bob);
            let (_, sent) = farm.taken().remove(0);
            assert_eq!(sent.target.connection, Some(connection(holder)));
            farm.udp(ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
            let taken = farm.taken();
            let (_, sent) =
                taken.iter().find(|(_, sent)| sent.target.remote == address(BOB)).unwrap();
            assert_eq!(sent.target.connection, Some(connection(holder)));
            let ringing = Message::parse_datagram(sent.bytes.clone()).unwrap();
            let contact = format!("sip:bob@{BOB};transport=tcp");
            let body = sdp("198.51.100.20", 6000);
            farm.tcp_at(holder, BOB, &reply(&ringing, 200, "tb", &contact, &body));
            let ok = farm.status(ALICE, 200);
            farm.udp(ALICE, &from_alice("ACK", 1, &ok, "", ""));
            let (_, sent) = farm.taken().remove(0);
            assert_eq!(sent.target.connection, Some(connection(holder)));
        }
    }
}

/// B3: calls that are being set up while members come and go, drain and change their setting.
#[test]
fn a_change_of_the_members_loses_no_call_that_is_being_set_up() {
    for seed in 0..60 {
        let mut farm = Farm::new(3, seed);
        farm.register("bob", BOB);
        let (owner, ringing) = farm.ring();
        farm.udp(BOB, &reply(&ringing, 180, "tb", &format!("sip:bob@{BOB}"), ""));
        farm.status(ALICE, 180);
        match seed % 4 {
            0 => farm.join(),
            1 => farm.draining[owner] = true,
            2 => farm.modes[owner] = Mode::Disabled,
            _ => farm.kill((owner + 1) % 3),
        }
        farm.publish();
        // It comes again, wherever.
        for at in 0..farm.members.len() {
            if !farm.dead[at] && farm.modes[at] == Mode::Member {
                farm.udp_at(at, ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
                farm.status(ALICE, 180);
            }
        }
        if seed % 8 < 4 {
            farm.pass(Duration::from_secs(100));
            farm.taken();
            let at = (0..farm.members.len())
                .find(|at| !farm.dead[*at] && farm.modes[*at] == Mode::Member)
                .unwrap();
            farm.udp_at(at, ALICE, &invite("bob", "").replace("INVITE", "CANCEL"));
            let answered = farm
                .taken()
                .into_iter()
                .any(|(at, sent)| at == owner && sent.bytes.starts_with(b"SIP/2.0 200"));
            assert!(answered, "seed {seed}");
        } else {
            let ok = farm.answer(&ringing);
            farm.udp(ALICE, &from_alice("BYE", 2, &ok, "", ""));
            let (at, bye) = farm.request(BOB, "BYE");
            assert_eq!(at, owner);
            farm.udp(BOB, &reply(&bye, 200, "tb", "sip:bob@x", ""));
            farm.status(ALICE, 200);
            assert_eq!(farm.ends(), [CallEnd::CallerHungUp], "seed {seed}");
        }
    }
}

/// B5: what a dead member had is refused, and what is new goes on.
#[test]
fn the_death_of_a_member_has_defined_results() {
    for seed in 0..20 {
        let mut farm = Farm::new(3, seed);
        farm.register("bob", BOB);
        let (owner, ringing) = farm.ring();
        let ok = farm.answer(&ringing);
        farm.kill(owner);
        // It may come back.
        farm.udp(ALICE, &from_alice("UPDATE", 2, &ok, "", ""));
        farm.status(ALICE, 503);
        farm.udp(ALICE, &from_alice("ACK", 1, &ok, "", ""));
        farm.udp(BOB, &reply(&ringing, 200, "tb", "sip:bob@x", ""));
        farm.silence();
        // It was taken off the list, or has come back as another.
        if seed % 2 == 0 {
            farm.listed[owner] = false;
        } else {
            farm.incarnations[owner] = 2;
            let mut bench = Bench::new(Plan { seed: 99, ..Plan::default() });
            bench.now = farm.members[owner].now;
            bench.proxy.set_farm(identity(owner, 2), &secrets(1));
            farm.members[owner] = bench;
            farm.dead[owner] = false;
        }
        farm.publish();
        farm.udp(ALICE, &from_alice("BYE", 3, &ok, "", ""));
        farm.status(ALICE, 481);
        farm.udp(ALICE, &from_alice("ACK", 1, &ok, "", ""));
        farm.silence();
        if seed % 2 == 1 {
            farm.copy((owner + 1) % 3, owner);
        }
        let again = invite("bob", &sdp("198.51.100.10", 4000))
            .replace("call-1", "call-2")
            .replace("z9hG4bKa1", "z9hG4bKa2");
        farm.udp(ALICE, &again);
        assert_eq!(farm.taken().len(), 2, "seed {seed}");
    }
}

/// B4: nothing new is taken, what there is goes on, and then nothing is left.
#[test]
fn a_member_that_drains_takes_nothing_new_and_is_empty_once_its_calls_are_over() {
    for seed in 0..12 {
        let mut farm = Farm::new(3, seed);
        farm.register("bob", BOB);
        let (owner, ringing) = farm.ring();
        let ok = farm.answer(&ringing);
        let now = farm.members[owner].now;
        farm.members[owner].proxy.handle_drain(now);
        farm.draining[owner] = true;
        farm.publish();
        farm.pass(Duration::from_secs(40));
        farm.taken();
        assert!(!farm.members[owner].proxy.is_drained());
        for n in 2..12 {
            let call = invite("bob", "")
                .replace("call-1", &format!("call-{n}"))
                .replace("z9hG4bKa1", &format!("z9hG4bKn{n}"));
            farm.udp(ALICE, &call);
            assert!(farm.taken().iter().all(|(at, _)| *at != owner), "seed {seed}");
        }
        farm.udp(ALICE, &from_alice("BYE", 2, &ok, "", ""));
        let (at, bye) = farm.request(BOB, "BYE");
        assert_eq!(at, owner);
        farm.udp(BOB, &reply(&bye, 200, "tb", "sip:bob@x", ""));
        farm.status(ALICE, 200);
        farm.pass(Duration::from_secs(40));
        assert!(farm.members[owner].proxy.is_drained(), "{:?}", farm.members[owner].proxy.load());
    }
}

/// B4: a node that is no member of a farm drains, too.
#[test]
fn a_node_that_is_alone_refuses_what_is_new_while_it_drains() {
    let mut bench = Bench::new(Plan::default());
    let (_, ok) = super::calls::set_up(&mut bench);
    bench.proxy.handle_drain(bench.now);
    bench.udp(
        ALICE,
        &invite("bob", "").replace("call-1", "call-2").replace("z9hG4bKa1", "z9hG4bKn"),
    );
    bench.expect_status(ALICE, 503);
    bench.udp(ALICE, &from_alice("BYE", 2, &ok, "", ""));
    let bye = bench.expect_request(BOB, "BYE");
    bench.udp(BOB, &reply(&bye, 200, "tb", "sip:bob@x", ""));
    bench.expect_status(ALICE, 200);
    assert!(!bench.proxy.is_drained());
    bench.pass(Duration::from_secs(60));
    assert!(bench.proxy.is_drained());
    assert!(bench.farm.is_empty());
}

/// B4: a balancer's question is answered by whom it is put to.
#[test]
fn a_balancers_ping_is_answered_by_each_member_for_itself() {
    let mut farm = Farm::new(2, 1);
    farm.draining[1] = true;
    farm.publish();
    for (at, status) in [(0, 200), (1, 503)] {
        let ping = "OPTIONS sip:192.0.2.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.10:5060;branch=z9hG4bKp\r\n\
                    Route: <sip:192.0.2.1:5060;lr>\r\nFrom: <sip:lb@lb.test>;tag=l\r\nTo: <sip:192.0.2.1>\r\n\
                    Call-ID: ping\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n";
        farm.udp_at(at, ALICE, ping);
        farm.status(ALICE, status);
    }
    assert!(farm.relayed.is_empty());
}

/// B1: keys change while a call goes on; nobody else's tokens are believed.
#[test]
fn a_call_outlives_one_change_of_the_key_and_a_forged_token_steers_nothing() {
    for seed in 0..12 {
        let mut farm = Farm::new(3, seed);
        farm.register("bob", BOB);
        let (owner, ringing) = farm.ring();
        for (at, bench) in farm.members.iter_mut().enumerate() {
            bench.proxy.set_farm(identity(at, 1), &secrets(2));
        }
        let ok = farm.answer(&ringing);
        let bye = from_alice("BYE", 2, &ok, "", "");
        let route = bye.find(";rf=").map(|at| at + 4).unwrap();
        let letter = if bye.as_bytes()[route + 20] == b'a' { "b" } else { "a" };
        let forged = format!("{}{letter}{}", &bye[..route + 20], &bye[route + 21..]);
        farm.relayed.clear();
        farm.udp(ALICE, &forged);
        farm.status(ALICE, 481);
        assert!(!farm.relayed.contains(&Why::Pinned));
        farm.udp(ALICE, &bye.replace("bKaBYE2", "bKagain"));
        assert_eq!(farm.request(BOB, "BYE").0, owner);
    }
}

/// S32 as far as frontends share what they know: all of them look up what one was told.
#[test]
fn what_one_member_registers_all_can_look_up_until_it_expires_or_is_taken_back() {
    let mut farm = Farm::new(3, 5);
    farm.register("bob", BOB);
    assert!(farm.members.iter().all(|bench| bench.proxy.registrar().len() == 1));
    farm.join();
    assert_eq!(farm.members[3].proxy.registrar().len(), 1);
    // A device that refreshes lasts longer everywhere.
    farm.pass(Duration::from_secs(3_000));
    let refresh = register("bob", BOB, "1").replace("CSeq: 1", "CSeq: 2").replace("bKr", "bKq");
    farm.udp(BOB, &refresh);
    farm.status(BOB, 200);
    farm.pass(Duration::from_secs(3_000));
    assert!(farm.members.iter().all(|bench| bench.proxy.registrar().len() == 1));
    let gone = register("bob", BOB, "1")
        .replace("Expires: 3600", "Expires: 0")
        .replace("CSeq: 1", "CSeq: 3")
        .replace("bKr", "bKs");
    // What was copied before is older than that.
    let now = farm.members[0].now;
    let old = farm.members[0].proxy.registrations_chunk(now, None);
    farm.udp(BOB, &gone);
    farm.status(BOB, 200);
    for bench in &mut farm.members {
        assert_eq!(bench.proxy.handle_replicated(bench.now, &old.bytes), 0);
        assert_eq!(bench.proxy.registrar().len(), 0);
    }
    farm.register("carol", BOB);
    farm.pass(Duration::from_secs(3_601));
    assert!(farm.members.iter().all(|bench| bench.proxy.registrar().is_empty()));
}

/// A copy of many comes in parts, each user once.
#[test]
fn a_member_that_joins_is_told_all_registrations_part_by_part() {
    let mut farm = Farm::new(2, 5);
    for n in 0..200 {
        farm.register(&format!("user{n}"), BOB);
    }
    let now = farm.members[0].now;
    let (mut after, mut parts) = (None, 0);
    let mut fresh = Farm::new(1, 1);
    loop {
        let chunk = farm.members[0].proxy.registrations_chunk(now, after.as_deref());
        let bench = &mut fresh.members[0];
        bench.proxy.handle_replicated(bench.now, &chunk.bytes);
        parts += 1;
        after = chunk.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((parts, fresh.members[0].proxy.registrar().len()), (4, 200));
}

/// The connections of a member that has died lead nowhere; who listens where he says is called there.
#[test]
fn what_was_reached_by_a_dead_members_connection_alone_is_not_registered_any_more() {
    let mut farm = Farm::new(3, 3);
    let nated = register("bob", "10.0.0.9:5060", "1").replace("/UDP", "/TCP");
    farm.tcp_at(1, BOB, &nated);
    farm.taken();
    assert_eq!(farm.members[0].proxy.registrar().len(), 1);
    farm.kill(1);
    farm.listed[1] = false;
    farm.publish();
    assert_eq!(farm.members[0].proxy.registrar().len(), 0);
}

/// Whatever another member or another version sends, nothing breaks.
#[test]
fn messages_of_members_that_cannot_be_read_are_dropped() {
    let mut farm = Farm::new(2, 3);
    let bench = &mut farm.members[0];
    let arrival = super::harness::udp_arrival(ALICE);
    for why in Why::ALL {
        let errand = crate::farm::Errand { why, asked: 255 };
        for text in ["", "x", "INVITE sip:a SIP/2.0\r\n\r\n"] {
            let bytes = Bytes::from(text);
            bench.proxy.handle_relayed(bench.now, identity(1, 1), errand, arrival, bytes);
        }
    }
    assert_eq!(bench.proxy.handle_replicated(bench.now, b"nonsense"), 0);
    bench.settle();
    farm.silence();
    assert_eq!(Why::from_number(77), Why::Spread);
    assert!(Why::ALL.iter().all(|why| Why::from_number(why.number()) == *why));
}
