//! Servers that say nothing while there are others.

use std::time::Duration;

use super::calls::{ALICE, invite, text};
use super::harness::{Bench, Plan, address, hops_of as hops, reply, sdp};
use crate::proxy::Load;
use crate::proxy::config::Limits;
use crate::wire::{HeaderName, Message};

const ONE: &str = "203.0.113.1:5060";
const TWO: &str = "203.0.113.2:5060";
const FOUR_SECONDS: Duration = Duration::from_secs(4);

fn abroad() -> String {
    let invite = invite("bob", &sdp("198.51.100.10", 4000));
    invite.replace("INVITE sip:bob@example.test", "INVITE sip:bob@far.test")
}

/// Alice's call to another domain with these servers; the INVITE that the first gets.
fn call(limits: Limits, servers: &[&str]) -> (Bench, Message) {
    let mut bench = Bench::new(Plan { trusted: vec!["198.51.100.10"], limits, ..Plan::default() });
    bench.udp(ALICE, &abroad());
    bench.expect_status(ALICE, 100);
    let token = bench.asked[0].token;
    bench.resolved(token, hops(servers));
    let first = bench.expect_request(servers[0], "INVITE");
    (bench, first)
}

/// Lets the time of a silent server pass; the INVITE that the next one gets.
#[track_caller]
fn next_server(bench: &mut Bench) -> Message {
    bench.pass(FOUR_SECONDS);
    bench.sent.retain(|sent| sent.target.remote == address(TWO));
    assert_eq!(bench.sent.len(), 1, "one INVITE");
    bench.expect_request(TWO, "INVITE")
}

#[track_caller]
fn expect_all_forgotten(bench: &mut Bench) {
    bench.pass(Duration::from_secs(128));
    assert_eq!(bench.proxy.load(), Load::default());
    bench.proxy.assert_clean();
}

/// RFC 3263 4.3, RFC 3261 16.6 step 7: long before timer B, and its answer does not wait for that.
#[test]
fn the_next_server_is_tried_after_seconds_and_its_answer_is_the_calls() {
    let (mut bench, first) = call(Limits::default(), &[ONE, TWO]);
    let second = next_server(&mut bench);
    assert_ne!(first.top_via().branch(), second.top_via().branch());
    assert_eq!((second.request_uri(), second.vias().count()), ("sip:bob@far.test", 2));
    bench.udp(TWO, &reply(&second, 486, "t2", "sip:x@y", ""));
    bench.expect_request(TWO, "ACK");
    bench.expect_status(ALICE, 486);
    expect_all_forgotten(&mut bench);
    assert_eq!(bench.closed_sessions().len(), 2);
}

/// RFC 3261 9.1: no phone rings twice. The server that was left gets its CANCEL as soon as it says
/// anything, and the caller hears nothing of that.
#[test]
fn a_server_that_wakes_up_too_late_is_cancelled() {
    let (mut bench, first) = call(Limits::default(), &[ONE, TWO]);
    let second = next_server(&mut bench);
    bench.udp(ONE, &reply(&first, 180, "t1", "sip:x@y", ""));
    let cancel = bench.expect_request(ONE, "CANCEL");
    assert_eq!(cancel.top_via().branch(), first.top_via().branch());
    let reason = "SIP;cause=408;text=\"Another Server Is Tried\"";
    assert_eq!(cancel.first_str(HeaderName::Reason), Some(reason));
    bench.udp(ONE, &reply(&first, 487, "t1", "sip:x@y", ""));
    bench.expect_request(ONE, "ACK");
    bench.expect_silence();
    let contact = format!("sip:bob@{TWO}");
    bench.udp(TWO, &reply(&second, 200, "t2", &contact, &sdp("203.0.113.2", 6000)));
    let ok = bench.expect_status(ALICE, 200);
    assert!(text(&ok).contains("m=audio 3"), "{}", text(&ok));
    bench.expect_silence();
}

/// RFC 3261 16.7 step 5: a phone that was called through it has taken the call after all.
#[test]
fn a_2xx_of_the_server_that_was_left_goes_to_the_caller_with_its_media() {
    let (mut bench, first) = call(Limits::default(), &[ONE, TWO]);
    let second = next_server(&mut bench);
    bench.udp(TWO, &reply(&second, 180, "t2", "sip:x@y", ""));
    bench.expect_status(ALICE, 180);
    let contact = format!("sip:bob@{ONE}");
    bench.udp(ONE, &reply(&first, 200, "t1", &contact, &sdp("203.0.113.1", 6000)));
    let ok = bench.expect_status(ALICE, 200);
    assert!(text(&ok).contains("m=audio 3"), "its media is relayed: {}", text(&ok));
    bench.expect_request(TWO, "CANCEL");
    bench.udp(TWO, &reply(&second, 487, "t2", "sip:x@y", ""));
    bench.expect_request(TWO, "ACK");
    bench.pass(Duration::from_secs(64));
    assert_eq!((bench.closed_sessions().len(), bench.records.len()), (1, 0), "the call is up");
}

/// What has said 100 is at work, and has the time that every callee has (timer C).
#[test]
fn a_server_that_has_said_anything_is_not_left() {
    let (mut bench, first) = call(Limits::default(), &[ONE, TWO]);
    bench.udp(ONE, &reply(&first, 100, "t1", "sip:x@y", ""));
    bench.pass(Duration::from_secs(170));
    bench.expect_silence();
    bench.pass(Duration::from_secs(20));
    bench.expect_request(ONE, "CANCEL");
}

/// RFC 3261 17.1.1.2: the last one has until timer B.
#[test]
fn the_last_server_has_until_timer_b() {
    for limits in [Limits::default(), Limits { branches: 1, ..Limits::default() }] {
        let has_room = limits.branches > 1;
        let (mut bench, _) = call(limits, if has_room { &[ONE] } else { &[ONE, TWO] });
        bench.pass(Duration::from_secs(31));
        assert!(bench.sent.iter().all(|sent| sent.target.remote == address(ONE)));
        bench.pass(Duration::from_secs(2));
        bench.sent.retain(|sent| sent.target.remote != address(ONE));
        if has_room {
            bench.expect_status(ALICE, 408);
            expect_all_forgotten(&mut bench);
        } else {
            bench.expect_request(TWO, "INVITE");
        }
    }
}

/// RFC 3261 16.10: whoever may still ring is told.
#[test]
fn a_caller_who_gives_up_ends_both_servers_branches() {
    let (mut bench, first) = call(Limits::default(), &[ONE, TWO]);
    let second = next_server(&mut bench);
    bench.udp(TWO, &reply(&second, 180, "t2", "sip:x@y", ""));
    bench.expect_status(ALICE, 180);
    let cancel = abroad().replacen("INVITE", "CANCEL", 1).replace("1 INVITE", "1 CANCEL");
    bench.udp(ALICE, &cancel);
    bench.sent.retain(|sent| sent.target.remote != address(ALICE));
    bench.expect_request(TWO, "CANCEL");
    bench.udp(TWO, &reply(&second, 487, "t2", "sip:x@y", ""));
    bench.expect_request(TWO, "ACK");
    bench.expect_status(ALICE, 487);
    bench.sent.clear();
    bench.udp(ONE, &reply(&first, 180, "t1", "sip:x@y", ""));
    bench.expect_request(ONE, "CANCEL");
    bench.udp(ONE, &reply(&first, 487, "t1", "sip:x@y", ""));
    expect_all_forgotten(&mut bench);
}
