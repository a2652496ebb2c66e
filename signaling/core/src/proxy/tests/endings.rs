//! Calls and requests that end in unusual ways: whatever happens, nothing is left behind.

use std::time::Duration;

use relay_core::api::{CloseCause, Command, Event, SessionId};

use super::calls::{ALICE, BOB, from_alice, invite, set_up};
use super::forking::{DESK, ring_two};
use super::harness::{Bench, Plan, reply, sdp};
use crate::call::DIALOGS_PER_BRANCH_MAX;
use crate::proxy::Load;
use crate::proxy::context::WAITING_RESPONSES_MAX;
use crate::proxy::output::CallEnd;
use crate::wire::{HeaderName, Message};

fn contact() -> String {
    format!("sip:bob@{BOB}")
}

fn ring(bench: &mut Bench) -> Message {
    bench.register("bob", BOB);
    bench.udp(ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
    bench.expect_status(ALICE, 100);
    bench.expect_request(BOB, "INVITE")
}

fn first_session(bench: &Bench) -> SessionId {
    bench.commands[0].session()
}

/// Everything is over and forgotten.
#[track_caller]
fn expect_nothing_left(bench: &mut Bench) {
    bench.pass(Duration::from_secs(64));
    assert_eq!(bench.proxy.load(), Load::default());
    bench.proxy.assert_clean();
}

/// RFC 3261 15: the caller may end an early dialog by BYE; the other forks ring on.
#[test]
fn a_bye_in_an_early_dialog_ends_no_other_fork() {
    let mut bench = Bench::new(Plan::default());
    let (mobile, desk) = ring_two(&mut bench);
    bench.udp(BOB, &reply(&mobile, 180, "tm", &contact(), ""));
    let early = bench.expect_status(ALICE, 180);
    bench.udp(ALICE, &from_alice("BYE", 2, &early, "", ""));
    let bye = bench.expect_request(BOB, "BYE");
    bench.udp(BOB, &reply(&bye, 200, "tm", &contact(), ""));
    bench.expect_status(ALICE, 200);
    bench.udp(BOB, &reply(&mobile, 487, "tm", &contact(), ""));
    bench.expect_request(BOB, "ACK");
    assert!(bench.records.is_empty(), "{:?}", bench.records);
    let at_desk = format!("sip:bob@{DESK}");
    bench.udp(DESK, &reply(&desk, 200, "td", &at_desk, &sdp("198.51.100.21", 6000)));
    let ok = bench.expect_status(ALICE, 200);
    assert!(!super::calls::text(&ok).contains("198.51.100.21"));
    bench.udp(ALICE, &from_alice("BYE", 3, &ok, "", ""));
    let bye = bench.expect_request(DESK, "BYE");
    bench.udp(DESK, &reply(&bye, 200, "td", &at_desk, ""));
    bench.expect_status(ALICE, 200);
    assert_eq!(bench.records.len(), 1);
    expect_nothing_left(&mut bench);
}

/// A branch that forks further down than there are places: the dialog that is confirmed has one.
#[test]
fn a_call_that_is_answered_in_one_dialog_too_many_can_be_ended() {
    let mut bench = Bench::new(Plan::default());
    let forwarded = ring(&mut bench);
    for n in 0..DIALOGS_PER_BRANCH_MAX {
        bench.udp(BOB, &reply(&forwarded, 180, &format!("t{n}"), &contact(), ""));
        bench.expect_status(ALICE, 180);
    }
    bench.udp(BOB, &reply(&forwarded, 200, "last", &contact(), &sdp("198.51.100.20", 6000)));
    let ok = bench.expect_status(ALICE, 200);
    bench.udp(ALICE, &from_alice("ACK", 1, &ok, "", ""));
    bench.expect_request(BOB, "ACK");
    bench.udp(ALICE, &from_alice("BYE", 2, &ok, "", ""));
    let bye = bench.expect_request(BOB, "BYE");
    bench.udp(BOB, &reply(&bye, 200, "last", &contact(), ""));
    bench.expect_status(ALICE, 200);
    assert_eq!(bench.records[0].end, CallEnd::CallerHungUp);
    expect_nothing_left(&mut bench);
}

/// RFC 3261 16.7 step 3: what has no Via below ours is for nobody here. The caller is told all the
/// same, and the call ends.
#[test]
fn a_final_response_that_cannot_be_passed_on_ends_the_call() {
    let without_lower_via = |text: String| {
        let vias: Vec<&str> = text.lines().filter(|line| line.starts_with("Via:")).collect();
        text.replace(&format!("{}\r\n", vias[1]), "")
    };
    let without_tag = |text: String| text.replace(";tag=tb", "");
    for (what, status) in [("via", 200), ("via", 486), ("tag", 200)] {
        let mut bench = Bench::new(Plan::default());
        let forwarded = ring(&mut bench);
        let bad = reply(&forwarded, status, "tb", &contact(), "");
        let bad = if what == "via" { without_lower_via(bad) } else { without_tag(bad) };
        bench.udp(BOB, &bad);
        bench.sent.retain(|t| t.target.remote.to_string() == ALICE);
        bench.expect_status(ALICE, 502);
        assert_eq!(bench.records[0].end, CallEnd::Refused(502), "{what} {status}");
        expect_nothing_left(&mut bench);
    }
}

/// The request has as many header lines as fit: ours do not any more.
#[test]
fn a_call_that_cannot_be_forwarded_is_forgotten() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    let lines = invite("bob", "").lines().filter(|line| !line.is_empty()).count() - 1;
    let filler = "X-Filler: 1\r\n".repeat(crate::wire::HEADERS_MAX - lines);
    let full = invite("bob", "").replacen("Max-Forwards", &format!("{filler}Max-Forwards"), 1);
    bench.udp(ALICE, &full);
    bench.expect_status(ALICE, 100);
    bench.expect_status(ALICE, 400);
    expect_nothing_left(&mut bench);
}

/// The relay gives a session up as idle while a re-INVITE for it is on its way to the relay, which
/// makes it anew.
#[test]
fn a_session_that_is_revived_by_a_late_command_is_closed_again() {
    let mut bench = Bench::new(Plan::default());
    let (_, ok) = set_up(&mut bench);
    let session = first_session(&bench);
    bench.relay_is_slow = true;
    let offer = sdp("198.51.100.10", 4444) + "m=video 4002 RTP/AVP 96\r\n";
    bench.udp(ALICE, &from_alice("INVITE", 2, &ok, "", &offer));
    bench.expect_status(ALICE, 100);
    bench.relay_event(Event::Closed {
        session,
        cause: CloseCause::Idle(Duration::from_secs(60)),
        report: Default::default(),
    });
    for at in [ALICE, BOB] {
        let bye = bench.expect_request(at, "BYE");
        bench.udp(at, &reply(&bye, 200, "tb", &contact(), ""));
    }
    bench.expect_status(ALICE, 503);
    assert_eq!(bench.records[0].end, CallEnd::MediaIdle);
    assert!(bench.closed_sessions().is_empty());
    bench.relay_answers();
    assert_eq!(bench.closed_sessions(), [session]);
    bench.relay_answers();
    bench.expect_silence();
    bench.udp(ALICE, &invite("bob", "").replacen("INVITE", "ACK", 1).replace("1 INVITE", "2 ACK"));
    expect_nothing_left(&mut bench);
}

/// RFC 3261 9, 16.10: the caller gives up while the relay still opens ports.
#[test]
fn a_call_that_is_cancelled_before_it_was_forwarded_is_487_and_its_ports_are_released() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    bench.relay_is_slow = true;
    bench.udp(ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
    bench.expect_status(ALICE, 100);
    let cancel = invite("bob", "").replacen("INVITE", "CANCEL", 1).replace("1 INVITE", "1 CANCEL");
    bench.udp(ALICE, &cancel);
    bench.expect_status(ALICE, 200);
    bench.expect_status(ALICE, 487);
    bench.relay_answers();
    bench.relay_answers();
    bench.expect_silence();
    assert_eq!(bench.closed_sessions().len(), 1);
    assert_eq!(bench.records[0].end, CallEnd::Cancelled);
    expect_nothing_left(&mut bench);
}

/// The relay's contract is to answer; a relay that breaks it costs calls, not memory.
#[test]
fn a_relay_that_never_answers_leaves_nothing_behind() {
    let mut bench = Bench::new(Plan::default());
    let (_, ok) = set_up(&mut bench);
    bench.relay_is_slow = true;
    let video = sdp("198.51.100.10", 4444) + "m=video 4002 RTP/AVP 96\r\n";
    bench.udp(ALICE, &from_alice("UPDATE", 2, &ok, "", &video));
    bench.pass(Duration::from_secs(33));
    assert_eq!(bench.proxy.load().contexts, 0, "RFC 4320: nobody waits for an answer any more");
    bench.udp(ALICE, &from_alice("BYE", 3, &ok, "", ""));
    let bye = bench.expect_request(BOB, "BYE");
    bench.udp(BOB, &reply(&bye, 200, "tb", &contact(), ""));
    bench.expect_status(ALICE, 200);
    bench.pass(Duration::from_secs(6));
    assert_eq!(bench.records.len(), 1, "without the relay's report");
    bench.udp(ALICE, &invite("bob", &sdp("198.51.100.10", 4000)).replace("z9hG4bKa1", "z9hG4bKa9"));
    bench.expect_status(ALICE, 100);
    bench.pass(Duration::from_secs(16 * 60));
    expect_nothing_left(&mut bench);
}

/// RFC 3261 16.8: a branch that was cancelled and goes on ringing is given up.
#[test]
fn a_callee_that_ignores_the_cancel_cannot_ring_on() {
    let mut bench = Bench::new(Plan::default());
    let forwarded = ring(&mut bench);
    bench.udp(BOB, &reply(&forwarded, 180, "tb", &contact(), ""));
    bench.expect_status(ALICE, 180);
    let cancel = invite("bob", "").replacen("INVITE", "CANCEL", 1).replace("1 INVITE", "1 CANCEL");
    bench.udp(ALICE, &cancel);
    for _ in 0..4 {
        bench.pass(Duration::from_secs(10));
        bench.udp(BOB, &reply(&forwarded, 180, "tb", &contact(), ""));
    }
    assert_eq!(bench.records.len(), 1);
    bench.udp(ALICE, &invite("bob", "").replacen("INVITE", "ACK", 1).replace("1 INVITE", "1 ACK"));
    expect_nothing_left(&mut bench);
}

/// The bound on responses that wait for the relay: a 2xx has a place before any provisional.
#[test]
fn a_2xx_behind_too_many_provisionals_is_not_lost() {
    let mut bench = Bench::new(Plan::default());
    let forwarded = ring(&mut bench);
    bench.relay_is_slow = true;
    bench.udp(BOB, &reply(&forwarded, 183, "tb", &contact(), &sdp("198.51.100.20", 6000)));
    for _ in 0..2 * WAITING_RESPONSES_MAX {
        bench.udp(BOB, &reply(&forwarded, 180, "tb", &contact(), ""));
    }
    bench.udp(BOB, &reply(&forwarded, 200, "tb", &contact(), &sdp("198.51.100.20", 6000)));
    bench.expect_silence();
    bench.relay_answers();
    let last = bench.sent.pop_back().unwrap();
    assert!(last.bytes.starts_with(b"SIP/2.0 200"));
    assert_eq!(bench.sent.len(), WAITING_RESPONSES_MAX);
}

/// RFC 3261 16.7 step 6: a 503 from below goes up as 500, also when its transaction is over by the
/// time that the relay lets it pass (over TCP, at once).
#[test]
fn a_503_from_below_is_never_passed_on() {
    let mut bench = Bench::new(Plan::default());
    let on_tcp = "REGISTER sip:example.test SIP/2.0\r\nVia: SIP/2.0/TCP 198.51.100.20:5060;branch=z9hG4bKt\r\n\
         From: <sip:bob@example.test>;tag=r\r\nTo: <sip:bob@example.test>\r\nCall-ID: t\r\n\
         CSeq: 1 REGISTER\r\nContact: <sip:bob@198.51.100.20:5060;transport=tcp>\r\nContent-Length: 0\r\n\r\n";
    bench.tcp(BOB, 3, on_tcp);
    bench.expect_status(BOB, 200);
    bench.udp(ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(BOB, "INVITE");
    bench.relay_is_slow = true;
    bench.tcp(BOB, 3, &reply(&forwarded, 183, "tb", &contact(), &sdp("198.51.100.20", 6000)));
    bench.tcp(BOB, 3, &reply(&forwarded, 503, "tb", &contact(), ""));
    bench.expect_request(BOB, "ACK");
    bench.relay_answers();
    bench.expect_status(ALICE, 183);
    bench.expect_status(ALICE, 500);
}

/// Callers that wait are told, so that they can try elsewhere; new ones are not taken.
#[test]
fn a_node_that_stops_refuses_what_rings_and_what_is_new() {
    let mut bench = Bench::new(Plan::default());
    let forwarded = ring(&mut bench);
    bench.udp(BOB, &reply(&forwarded, 180, "tb", &contact(), ""));
    bench.expect_status(ALICE, 180);
    bench.stop();
    let refused = bench.expect_status(ALICE, 503);
    assert!(refused.has(HeaderName::RetryAfter));
    bench.expect_request(BOB, "CANCEL");
    assert_eq!(bench.records[0].end, CallEnd::NodeStopped);
    bench.udp(ALICE, &invite("bob", "").replace("z9hG4bKa1", "z9hG4bKa5"));
    bench.expect_status(ALICE, 503);
    assert_eq!(bench.proxy.load().calls, 0);
}

/// A relay that hangs must not cost the records of the calls.
#[test]
fn a_node_that_waits_no_longer_writes_what_records_it_can() {
    let mut bench = Bench::new(Plan::default());
    set_up(&mut bench);
    bench.relay_is_slow = true;
    bench.stop();
    assert!(bench.records.is_empty());
    assert!(matches!(bench.held.front(), Some(Command::Close { .. })));
    let now = bench.now;
    bench.proxy.handle_stopped(now);
    bench.pass(Duration::ZERO);
    bench.udp(ALICE, "\r\n");
    assert_eq!(bench.records[0].end, CallEnd::NodeStopped);
}
