//! Who is no member, who is one and lies, and who has seen a token: what they can do at real processes.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use control_core::cluster::{Epoch, Incarnation, SipAddress};
use control_core::mesh::{Body, Frame, Goodbye, Leave, SyncStep, ViewFrame, Welcome};
use control_core::settings::{PortRange, Transport};
use rustls::version::{TLS12, TLS13};

use crate::harness::{CALLER, PROXY, node, run, wait_for};
use crate::impostor::{Impostor, Papers, of_versions};
use crate::lab::{BACKENDS, FRONTENDS, Farm, Segment};
use crate::member::{MEMBERS, MESH, Member, OPEN, keys, state};
use crate::phones::{Callee, Caller, Dialog, SHARED, SIP, header, headers};

const SEEN: Duration = Duration::from_secs(40);
/// How long a token is good that is to be too old.
const VALID: Duration = Duration::from_secs(1);

fn token(segment: &Segment, more: &[&str]) -> String {
    let at = format!("{}:{MESH}", FRONTENDS[0]);
    let words: Vec<&str> = ["--address", &at].into_iter().chain(more.iter().copied()).collect();
    keys(segment, FRONTENDS[0], "token", &words).trim().to_owned()
}

/// What `ringfarm cluster join` says where it fails.
fn refused_join(segment: &Segment, token: &str, name: &str) -> String {
    let state = segment.dir().join(format!("{name}-never"));
    let mut command: Command = segment.host(PROXY).command(node::binary());
    let command = command.args(["cluster", "join", token, "--name", name, "--state"]).arg(&state);
    let output = command.output().expect("the command runs");
    assert!(!output.status.success(), "{name} was let in");
    assert!(!state.join("member.key").exists(), "a node that was refused keeps nothing");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Each token lets one node in, for as long as it is good, into the cluster that has made it.
#[test]
fn a_token_that_was_used_is_too_old_or_is_anothers_lets_nobody_in() {
    let segment = Segment::create();
    let farm = Farm::start(&segment, 1, 0);
    let used = token(&segment, &[]);
    keys(&segment, FRONTENDS[1], "join", &[&used]);
    let said = refused_join(&segment, &used, "again");
    assert!(said.contains("the token has been used"), "{said}");
    let made = Instant::now();
    let old = token(&segment, &["--valid", "1s"]);
    wait_for("the token to be too old", SEEN, || made.elapsed() > 2 * VALID);
    let said = refused_join(&segment, &old, "late");
    assert!(said.contains("the token has expired"), "{said}");
    let said = refused_join(&segment, &token(&segment, &[]), "frontend-2");
    assert!(said.contains("there is a member frontend-2 already"), "{said}");
    // Another cluster's, with the address of this one.
    keys(&segment, BACKENDS[0], "init", &[]);
    let at = format!("{}:{MESH}", FRONTENDS[0]);
    let other = keys(&segment, BACKENDS[0], "token", &["--address", &at]);
    let said = refused_join(&segment, other.trim(), "stray");
    assert!(said.contains("it is not who it should be"), "{said}");
    assert!((farm.figure("ringfarm_mesh_joined_total") - 1.0).abs() < 0.5);
    assert!(!farm.frontends[0].has_logged(&used[used.len() - 40..]), "a token stands in the log");
}

fn goodbye(why: Leave) -> Frame {
    Frame::Goodbye(Goodbye { why })
}

/// Who shows no certificate of the cluster's, or another member's, is told nothing; who goes by what is not its
/// own is refused; who speaks what this member does not is told so.
#[test]
fn nobody_gets_in_by_what_is_not_its_own() {
    let segment = Segment::create();
    let farm = Farm::start(&segment, 2, 0);
    let target = FRONTENDS[0];
    keys(&segment, FRONTENDS[2], "join", &[&token(&segment, &[])]);
    keys(&segment, BACKENDS[0], "init", &[]);
    let own = Papers::of(&state(&segment, FRONTENDS[2]));
    let mut foreign = Papers::of(&state(&segment, BACKENDS[0]));
    let connect = |ca, papers, version| Impostor::connect(&segment, target, ca, papers, version);
    assert!(connect(&foreign.ca, Some(&foreign), &TLS13).is_err(), "it believes another cluster");
    assert!(connect(&own.ca, Some(&own), &TLS12).is_err(), "an old version of TLS");
    for papers in [Some(&foreign), None] {
        // With TLS 1.3 a client learns that it is refused when it reads.
        let heard = connect(&own.ca, papers, &TLS13).and_then(|mut impostor| {
            impostor.say(&Frame::Hello(Box::new(own.hello("frontend-3", 9))))?;
            impostor.hear()
        });
        assert!(heard.is_err(), "{heard:?}");
    }
    foreign.ca = own.ca.clone();
    let hear = |hello| Impostor::enter(&segment, target, &own, hello)?.hear();
    for (hello, why) in [
        (own.hello("frontend-2", 9), Leave::Refused),
        (own.hello("frontend-1", 9), Leave::Refused),
        (own.hello(&own.name, 1), Leave::Refused),
        (own.hello(&own.name, 2), Leave::Refused),
        (foreign.hello(&own.name, 9), Leave::Refused),
        (of_versions(own.hello(&own.name, 9), 2, 9), Leave::Versions),
        (of_versions(own.hello(&own.name, 9), 0, 0), Leave::Versions),
    ] {
        let shown = format!("{} {} {:?}", hello.member.name, hello.member.id, hello.versions);
        let heard = hear(hello).unwrap_or_else(|e| panic!("{shown}: {e}"));
        assert_eq!(heard, goodbye(why), "{shown}");
    }
    assert!(farm.frontends.iter().all(|member| member.sees() == 2));
    assert!((farm.figure("ringfarm_cluster_members") - 4.0).abs() < 0.5, "two know of two");
    assert!(farm.frontends[0].has_logged("refused a connection"), "the operator is told");
}

/// A member of a newer version is one as long as both speak one version, what it adds is passed over, and what
/// makes no sense ends its connection alone. Whoever is not the Controller has no view taken, and a flood of
/// registrations ends where there are as many as there may be.
#[test]
fn a_newer_member_is_understood_and_a_broken_one_is_dropped() {
    let segment = Segment::create();
    let farm = Farm::start(&segment, 2, 0);
    let target = FRONTENDS[0];
    keys(&segment, FRONTENDS[2], "join", &[&token(&segment, &[])]);
    let own = Papers::of(&state(&segment, FRONTENDS[2]));
    let hello = || of_versions(own.hello(&own.name, 9), 1, 9);
    let mut newer = Impostor::enter(&segment, target, &own, hello()).expect("a connection");
    let heard = newer.hear().expect("a word");
    assert_eq!(heard, Frame::Welcome(Welcome { version: 1 }));
    // Length, kind, length of the head, head, payload.
    newer.say_bytes(&[0, 0, 0, 8, 222, 0, 2, 1, 2, 3, 4, 5]).expect("it listens");
    let step = |part, step| SyncStep { copy: 77, part, step };
    // It asks for a copy itself, too.
    let ask_for_copy = |newer: &mut Impostor| {
        newer.say(&Frame::RegistrationSync(step(0, SyncStep::ASK), Body(Bytes::new())))?;
        loop {
            let heard = newer.hear()?;
            if matches!(heard, Frame::RegistrationSync(SyncStep { copy: 77, .. }, _)) {
                return std::io::Result::Ok(heard);
            }
        }
    };
    ask_for_copy(&mut newer).expect("a copy");
    // A view as the first member would publish it, from one that is not the first.
    let epoch = Epoch(1_000);
    let view = r#"{"version":1,"epoch":1000,"term":1000,"controller":"frontend-1","published":1,"members":[]}"#;
    let body = Body(Bytes::from_static(view.as_bytes()));
    newer.say(&Frame::View(ViewFrame { epoch, body })).expect("it listens");
    ask_for_copy(&mut newer).expect("it goes on");
    assert!(farm.frontends.iter().all(|one| one.figure("ringfarm_cluster_epoch") < 1_000.0));
    for broken in [&[0xff_u8; 8][..], &[0, 4, 0, 1, 16, 0, 0], &[0, 0, 0, 4, 3, 0, 9, 0]] {
        let mut impostor = Impostor::enter(&segment, target, &own, hello()).expect("a connection");
        let heard = impostor.hear().expect("a word");
        // The connection before it may not have ended yet.
        if heard == goodbye(Leave::Duplicate) {
            continue;
        }
        impostor.say_bytes(broken).expect("it listens");
        let heard = impostor.hear();
        assert!(
            matches!(&heard, Ok(said) if *said == goodbye(Leave::Broken)),
            "{broken:?}: {heard:?}"
        );
    }
    wait_for("the two to be alone again", SEEN, || {
        farm.frontends.iter().all(|one| one.sees() == 2)
    });
}

/// S60, B5: what a member with good papers says of itself over the mesh makes it nothing: which ports are whose, which
/// life is whose and who takes calls stands in the engine. Once it is out of the cluster its papers are no good.
#[test]
fn a_member_that_lies_about_itself_moves_nothing_and_one_that_is_out_is_refused() {
    let segment = Segment::create();
    let farm = Farm::start(&segment, 2, 0);
    let lost = farm.frontends[0].let_in(FRONTENDS[2], OPEN);
    let members = |count: f64| {
        let all = |one: &Member<'_>| (one.figure(MEMBERS) - count).abs() < 0.5;
        wait_for("the list of members", SEEN, || farm.frontends.iter().all(all));
    };
    members(3.0);
    lost.kill();
    members(2.0);
    let epochs: Vec<f64> = farm.frontends.iter().map(|one| one.figure(EPOCH)).collect();
    let own = Papers::of(&state(&segment, FRONTENDS[2]));
    let lies = || {
        let mut hello = own.hello(&own.name, 3);
        // The ports and the address of the first one, and lives that were another process.
        hello.member.incarnation = Incarnation(9);
        hello.member.profile.continues = (1..9).map(Incarnation).collect();
        hello.member.profile.media_ports = PortRange::new(20_000, 27_999).expect("ports");
        let address = SocketAddr::new(FRONTENDS[0].into(), SIP);
        hello.member.profile.sip = vec![SipAddress { transport: Transport::Udp, address }];
        hello
    };
    let mut liar = Impostor::enter(&segment, FRONTENDS[0], &own, lies()).expect("a connection");
    assert_eq!(liar.hear().expect("a word"), Frame::Welcome(Welcome { version: 1 }));
    let callee = Callee::start(&segment);
    let mut phone = Caller::new(&segment, CALLER);
    for number in 1..=4 {
        let mut call = phone.call("bob");
        assert_eq!(phone.ask_within(&mut call, "BYE", SHARED), Some(200));
        assert_eq!(callee.requests("BYE").len(), number);
    }
    members(2.0);
    let now: Vec<f64> = farm.frontends.iter().map(|one| one.figure(EPOCH)).collect();
    assert_eq!(now, epochs, "no list was made for it");

    let mut remove = segment.host(FRONTENDS[0]).command(node::binary());
    remove.args(["cluster", "remove", &own.name, "--socket"]).arg(farm.frontends[0].socket());
    run(&mut remove);
    let ended = || farm.frontends.iter().all(|one| one.sees() == 2);
    wait_for("its connection to end", SEEN, ended);
    for target in [FRONTENDS[0], FRONTENDS[1]] {
        let heard = Impostor::enter(&segment, target, &own, lies()).and_then(|mut it| it.hear());
        assert_eq!(heard.expect("a word"), goodbye(Leave::Refused), "{target}");
    }
    for member in &farm.frontends {
        // A line follows the word that the liar hears.
        let says_why = || member.has_logged("was taken out of the cluster");
        wait_for("why it was refused to be logged", SEEN, says_why);
    }
}

/// The number of the list of members that a member goes by.
const EPOCH: &str = "ringfarm_cluster_epoch";

/// B1: a token that somebody has seen leads to the member that has written it and is of use in its place and
/// dialog alone; of a call that is over it is answered 481. Each of its letters counts.
#[test]
fn a_token_that_was_seen_leads_to_its_owner_and_no_further() {
    let segment = Segment::create();
    let farm = Farm::start(&segment, 3, 0);
    let callee = Callee::start(&segment);
    let mut phone = Caller::new(&segment, CALLER);
    let mut call = phone.call("bob");
    let branch = header(&callee.requests("INVITE")[0], "Via").expect("a Via");
    let mut stranger = Caller::new(&segment, PROXY);
    // Somebody else, while the call is up: not one that has ended, and not ended by him.
    let live = stranger.within(
        &Dialog { from: "<sip:mallory@x>;tag=m".to_owned(), ..call.clone() },
        "BYE",
        9,
    );
    assert_eq!(stranger.status_of(SHARED, &live), Some(481), "another dialog");
    assert_eq!(phone.ask_within(&mut call, "BYE", SHARED), Some(200));
    let before = (callee.requests("BYE").len(), callee.requests("INFO").len());
    for method in ["BYE", "INFO", "INVITE", "MESSAGE", "REFER"] {
        let again = stranger.within(&call, method, 50);
        for member in &farm.frontends {
            let at = SocketAddr::new(member.address.into(), SIP);
            let status = stranger
                .status_of(at, &again.replace("z9hG4bK", &format!("z9hG4bK{}", member.address)));
            assert_eq!(status, Some(481), "{method} at {}", member.address);
        }
    }
    // In another dialog it is as if there were none.
    let steered = farm.figure(PINNED);
    let moved = Dialog { call_id: "another-call".to_owned(), ..call.clone() };
    for number in 0..12 {
        let request = stranger.within(&moved, "INFO", 60 + number);
        let status = stranger.status_of(SHARED, &request);
        assert!(matches!(status, Some(400..)), "{status:?}");
    }
    // Neither is it with a letter changed.
    let route = call.routes.first().cloned().expect("the farm stays in the call");
    let at = route.find("rf=").expect("a token") + 3;
    for place in 0..37 {
        let mut letters = route.clone().into_bytes();
        let letter = &mut letters[at + place];
        *letter = if *letter == b'a' { b'b' } else { b'a' };
        if letters == route.as_bytes() {
            continue;
        }
        let forged = String::from_utf8(letters).expect("letters");
        let to = call.to.split(";tag=").next().unwrap_or_default().to_owned() + ";tag=x";
        let dialog = Dialog { routes: vec![forged], to, ..call.clone() };
        let request = stranger.within(&dialog, "INFO", 100 + place as u32);
        let status = stranger.status_of(SHARED, &request);
        assert!(matches!(status, Some(400..)), "letter {place}: {status:?}");
    }
    assert!(
        (farm.figure(PINNED) - steered).abs() < 0.5,
        "a token steered what it was not made for"
    );
    // A response of nobody's, with the branch of an INVITE that is over: it goes nowhere.
    let response = format!(
        "SIP/2.0 200 OK\r\nVia: {branch}\r\nVia: SIP/2.0/UDP {CALLER}:9;branch=z9hG4bKx\r\nFrom: {}\r\nTo: {}\r\n\
         Call-ID: {}\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n",
        call.from, call.to, call.call_id
    );
    stranger.throw(SHARED, &response);
    let after = (callee.requests("BYE").len(), callee.requests("INFO").len());
    assert_eq!(after, before, "nothing of it has reached the callee");
    assert_eq!(headers(&response, "Via").len(), 2);
    let mut next = phone.call("bob");
    assert_eq!(phone.ask_within(&mut next, "BYE", SHARED), Some(200));
}

/// Messages given to other members because of their tokens.
const PINNED: &str = "ringfarm_farm_relayed_out_total{why=\"pinned\"}";
