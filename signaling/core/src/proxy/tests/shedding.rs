//! An overloaded node: who is refused and who is not.

use std::time::Duration;

use super::calls::{ALICE, BOB, from_alice, from_bob, invite, set_up};
use super::harness::{Bench, Plan, register, reply, sdp};
use crate::overload::{Config, Sample};
use crate::proxy::output::Notice;
use crate::wire::{HeaderName, Message};

const TRUNK: &str = "203.0.113.7:5060";

/// The `n`th new call from a trunk.
fn call(n: usize, uri: &str, extra: &str) -> String {
    format!(
        "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {TRUNK};branch=z9hG4bKt{n};rport\r\n\
         From: <sip:x@trunk.test>;tag=f{n}\r\nTo: <{uri}>\r\nCall-ID: trunk-{n}\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:x@{TRUNK}>\r\nMax-Forwards: 70\r\n{extra}Content-Length: 0\r\n\r\n"
    )
}

fn to_bob(n: usize) -> String {
    call(n, "sip:bob@example.test", "")
}

/// As late as it gets: next to nothing that is new is taken.
fn overloaded(plan: Plan) -> Bench {
    let mut bench = Bench::new(plan);
    late(&mut bench, 60);
    bench
}

fn late(bench: &mut Bench, ticks: usize) {
    for _ in 0..ticks {
        bench.now += Duration::from_millis(100);
        let sample = Sample { lag: Duration::from_millis(450), ..Sample::default() };
        bench.proxy.handle_load(bench.now, &sample);
    }
}

/// The statuses of what was sent since.
fn statuses(bench: &mut Bench) -> Vec<Option<u16>> {
    let sent = bench.sent.drain(..);
    sent.map(|sent| Message::parse_datagram(sent.bytes).unwrap().status()).collect()
}

/// RFC 3261 21.5.4: at once, with Retry-After, and nothing is kept of it.
#[test]
fn a_new_call_is_answered_503_without_a_transaction() {
    let mut bench = overloaded(Plan { trusted: vec!["203.0.113.7"], ..Plan::default() });
    for n in 0..100 {
        bench.udp(TRUNK, &to_bob(n));
    }
    let refused: Vec<Message> = bench
        .sent
        .drain(..)
        .map(|sent| Message::parse_datagram(sent.bytes).unwrap())
        .filter(|message| message.status() == Some(503))
        .collect();
    assert!(refused.len() >= 90, "{}", refused.len());
    let wait: u32 = refused[0].first_str(HeaderName::RetryAfter).unwrap().parse().unwrap();
    assert!((5..=10).contains(&wait), "{wait}");
    assert!(refused[0].to().tag().is_some());
    assert!(refused[0].top_via().received().is_some(), "RFC 3581 4");
    assert!(bench.proxy.load().transactions <= 100 - refused.len());
    let told = bench.notices.iter().filter(|n| matches!(n, Notice::Overload(_))).count();
    assert_eq!(told, 1);
    bench.udp(TRUNK, &to_bob(0).replace("INVITE", "ACK"));
    assert_eq!(statuses(&mut bench), [], "an ACK is not answered");
}

#[test]
fn a_call_in_progress_goes_on_and_ends() {
    let mut bench = Bench::new(Plan::default());
    let (at_bob, ok) = set_up(&mut bench);
    late(&mut bench, 8);
    bench.udp(ALICE, &from_alice("INVITE", 2, &ok, "", &sdp("198.51.100.10", 4002)));
    bench.expect_status(ALICE, 100);
    let again = bench.expect_request(BOB, "INVITE");
    bench.udp(BOB, &reply(&again, 200, "tb", "sip:bob@x", &sdp("198.51.100.20", 6000)));
    bench.expect_status(ALICE, 200);
    bench.udp(ALICE, &from_alice("ACK", 2, &ok, "", ""));
    bench.expect_request(BOB, "ACK");
    bench.udp(BOB, &from_bob("BYE", 1, &at_bob, ""));
    let bye = bench.expect_request(ALICE, "BYE");
    bench.udp(ALICE, &reply(&bye, 200, "fa", "sip:a@x", ""));
    bench.expect_status(BOB, 200);
    assert_eq!(bench.records.len(), 1);
}

/// What was taken is finished: its repetitions are absorbed, its CANCEL and the responses taken.
#[test]
fn a_call_that_was_taken_before_is_finished() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    let text = invite("bob", "");
    bench.udp(ALICE, &text);
    bench.expect_status(ALICE, 100);
    let at_bob = bench.expect_request(BOB, "INVITE");
    late(&mut bench, 30);
    bench.udp(ALICE, &text);
    bench.expect_status(ALICE, 100);
    bench.udp(BOB, &reply(&at_bob, 180, "tb", "sip:bob@x", ""));
    bench.expect_status(ALICE, 180);
    let cancel = text.replace("INVITE", "CANCEL").replace("Contact: <", "X: <");
    bench.udp(ALICE, &cancel);
    bench.expect_status(ALICE, 200);
    assert!(statuses(&mut bench).contains(&None), "a CANCEL to Bob");
}

/// RFC 5031, RFC 4412, RFC 7135: who calls for help comes first.
#[test]
fn an_emergency_call_is_taken_and_a_strangers_word_for_it_is_not() {
    let mut bench = overloaded(Plan { trusted: vec!["203.0.113.7"], ..Plan::default() });
    let refused_of = |bench: &mut Bench, uri: &str, extra: &str, base: usize| {
        let refused = (base..base + 20).filter(|n| {
            let text = call(*n, uri, extra);
            bench.udp(TRUNK, &text);
            statuses(bench).contains(&Some(503))
        });
        refused.count()
    };
    for (index, uri) in ["sip:112@example.test", "sip:911;x=y@example.test", "urn:service:sos.fire"]
        .into_iter()
        .enumerate()
    {
        assert_eq!(refused_of(&mut bench, uri, "", 100 * index), 0, "{uri}");
    }
    for (index, uri) in
        ["sip:1120@example.test", "urn:service:sosX", "urn:service:police"].into_iter().enumerate()
    {
        assert!(refused_of(&mut bench, uri, "", 1_000 + 100 * index) > 15, "{uri}");
    }
    for (index, extra) in
        ["Priority: emergency\r\n", "Resource-Priority: dsn.flash, esnet.0\r\n"].iter().enumerate()
    {
        let uri = "sip:bob@example.test";
        assert_eq!(refused_of(&mut bench, uri, extra, 2_000 + 100 * index), 0, "{extra}");
        let mut open = overloaded(Plan::default());
        assert!(refused_of(&mut open, uri, extra, 3_000 + 100 * index) > 15, "{extra}");
    }
    assert_eq!(bench.proxy.overload().emergencies(), 100);
}

/// Three times the settable rate is offered for ten seconds: as many calls as it allows are set up.
#[test]
fn at_three_times_the_settable_rate_as_much_is_taken_as_it_allows() {
    let overload = Config { new_per_s: 20, ..Config::default() };
    let mut bench = Bench::new(Plan { overload, ..Plan::default() });
    bench.register("bob", BOB);
    let (mut taken, mut refused) = (0, 0);
    for n in 0..600 {
        bench.pass(Duration::from_micros(16_667));
        bench.udp(TRUNK, &to_bob(n));
        let Some(invite) = bench.sent.iter().find(|sent| sent.bytes.starts_with(b"INVITE")) else {
            refused += statuses(&mut bench).iter().filter(|s| **s == Some(503)).count();
            continue;
        };
        let invite = Message::parse_datagram(invite.bytes.clone()).unwrap();
        bench.sent.clear();
        bench.udp(BOB, &reply(&invite, 486, "b", "sip:bob@x", ""));
        taken += statuses(&mut bench).iter().filter(|s| **s == Some(486)).count();
        let ack = to_bob(n).replace("INVITE sip", "ACK sip").replace("1 INVITE", "1 ACK");
        bench.udp(TRUNK, &ack);
        bench.sent.clear();
    }
    assert!((195..=205).contains(&taken), "{taken}");
    assert_eq!(taken + refused, 600);
}

#[test]
fn a_phone_registers_once_the_load_is_gone() {
    let mut bench = overloaded(Plan::default());
    let late: Vec<_> = (0..20)
        .map(|n| {
            bench.udp(BOB, &register(&format!("u{n}"), BOB, "1"));
            statuses(&mut bench)
        })
        .collect();
    assert!(late.iter().filter(|s| **s == [Some(503)]).count() > 15, "{late:?}");
    for _ in 0..110 {
        bench.now += Duration::from_millis(100);
        bench.proxy.handle_load(bench.now, &Sample::default());
    }
    bench.register("bob", BOB);
    let over = bench.notices.last().unwrap().to_string();
    assert!(over.starts_with("overload is over: "), "{over}");
}
