//! Session timers (RFC 4028): asked for, refused, agreed on, refreshed and run out.

use std::time::Duration;

use super::calls::{ALICE, BOB, from_alice, from_bob, invite};
use super::forking::{DESK, ring_two};
use super::harness::{Bench, Plan, reply, sdp};
use crate::call::SessionTimers;
use crate::proxy::Load;
use crate::proxy::output::CallEnd;
use crate::wire::{HeaderName, Message};

/// A message with these header lines after its start line.
fn with(message: &str, lines: &str) -> String {
    message.replacen("\r\n", &format!("\r\n{lines}"), 1)
}

fn header(message: &Message, name: HeaderName) -> Option<String> {
    message.first_str(name).map(str::to_owned)
}

fn plan(interval_s: u32, min_s: u32) -> Plan {
    Plan { session_timers: Some(SessionTimers { interval_s, min_s }), ..Plan::default() }
}

/// Alice's INVITE with these lines, and Bob's.
fn call(bench: &mut Bench, lines: &str) -> Message {
    bench.register("bob", BOB);
    bench.udp(ALICE, &with(&invite("bob", &sdp("198.51.100.10", 4000)), lines));
    bench.expect_status(ALICE, 100);
    bench.expect_request(BOB, "INVITE")
}

/// Bob's 200 with these lines, and Alice's.
fn answer(bench: &mut Bench, forwarded: &Message, lines: &str) -> Message {
    let ok = reply(forwarded, 200, "tb", &format!("sip:bob@{BOB}"), &sdp("198.51.100.20", 6000));
    bench.udp(BOB, &with(&ok, lines));
    let ok = bench.expect_status(ALICE, 200);
    bench.udp(ALICE, &from_alice("ACK", 1, &ok, "", ""));
    bench.expect_request(BOB, "ACK");
    ok
}

/// What Alice asks for (Supported, Session-Expires, Min-SE) and what Bob hears (Session-Expires,
/// Min-SE), at a node that wants 1800 s at most and 120 s at least.
#[test]
fn a_session_timer_is_asked_for_lowered_and_raised_as_the_caller_allows() {
    for (lines, expires, min) in [
        ("", Some("1800"), None),
        // RFC 4028 8.1: not lower than the caller's Min-SE.
        ("Min-SE: 2400\r\n", Some("2400"), Some("2400")),
        ("Session-Expires: 7200\r\n", Some("1800"), None),
        ("Session-Expires: 7200\r\nMin-SE: 3600\r\n", Some("3600"), Some("3600")),
        // Its refresher is left alone, and so is what comes in compact form.
        ("Supported: timer\r\nx: 7200;refresher=uac\r\n", Some("1800;refresher=uac"), None),
        ("Session-Expires: 600\r\n", Some("600"), None),
        // RFC 4028 8.1: whoever would not understand a 422 is given more.
        ("Session-Expires: 100\r\n", Some("120"), Some("120")),
        ("Session-Expires: 100\r\nMin-SE: 300\r\n", Some("300"), Some("300")),
        ("Session-Expires: soon\r\n", Some("soon"), None),
    ] {
        let mut bench = Bench::new(plan(1800, 120));
        let forwarded = call(&mut bench, lines);
        let heard =
            (header(&forwarded, HeaderName::SessionExpires), header(&forwarded, HeaderName::MinSe));
        assert_eq!(heard, (expires.map(str::to_owned), min.map(str::to_owned)), "{lines}");
    }
}

/// RFC 4028 8.1, 6: in INVITE and UPDATE, of a call and within one.
#[test]
fn a_session_timer_that_is_too_short_is_refused_with_the_shortest_that_is_taken() {
    let mut bench = Bench::new(plan(1800, 120));
    let short = "Supported: 100rel, timer\r\nSession-Expires: 100\r\nMin-SE: 90\r\n";
    bench.register("bob", BOB);
    bench.udp(ALICE, &with(&invite("bob", ""), short));
    let refused = bench.expect_status(ALICE, 422);
    assert_eq!(header(&refused, HeaderName::MinSe).as_deref(), Some("120"));
    assert_eq!(bench.proxy.load().calls, 0);
    let mut bench = Bench::new(plan(1800, 120));
    let forwarded = call(&mut bench, "");
    let ok = answer(&mut bench, &forwarded, "");
    for method in ["INVITE", "UPDATE"] {
        bench.udp(ALICE, &from_alice(method, 2, &ok, short, ""));
        bench.expect_status(ALICE, 422);
    }
    bench.udp(ALICE, &from_alice("INFO", 3, &ok, short, ""));
    bench.expect_request(BOB, "INFO");
}

/// RFC 4028 8.2: the callee knows nothing of it, so the caller refreshes, and is told so.
#[test]
fn a_caller_who_knows_session_timers_is_told_to_refresh_where_the_callee_knows_none() {
    let mut bench = Bench::new(plan(1800, 90));
    let forwarded = call(&mut bench, "Supported: timer\r\n");
    let ok = answer(&mut bench, &forwarded, "Require: 100rel\r\n");
    assert_eq!(header(&ok, HeaderName::SessionExpires).as_deref(), Some("1800;refresher=uac"));
    assert!(
        ok.has_token(HeaderName::Require, "timer") && ok.has_token(HeaderName::Require, "100rel")
    );
    bench.pass(Duration::from_secs(900));
    bench.udp(ALICE, &from_alice("UPDATE", 2, &ok, "Supported: timer\r\n", ""));
    let update = bench.expect_request(BOB, "UPDATE");
    assert_eq!(header(&update, HeaderName::SessionExpires).as_deref(), Some("1800"));
    bench.udp(BOB, &reply(&update, 200, "tb", &format!("sip:bob@{BOB}"), ""));
    let refreshed = bench.expect_status(ALICE, 200);
    assert_eq!(
        header(&refreshed, HeaderName::SessionExpires).as_deref(),
        Some("1800;refresher=uac")
    );
}

/// RFC 4028 8.2: what the callee has said stands, and where nobody knows session timers there is none.
#[test]
fn what_the_callee_says_of_the_session_timer_is_passed_and_nothing_said_to_who_knows_none() {
    let mut bench = Bench::new(plan(1800, 90));
    let forwarded = call(&mut bench, "");
    let ok = answer(&mut bench, &forwarded, "Session-Expires: 600;refresher=uas\r\n");
    assert_eq!(header(&ok, HeaderName::SessionExpires).as_deref(), Some("600;refresher=uas"));
    assert!(!ok.has(HeaderName::Require));
    let mut bench = Bench::new(plan(1800, 90));
    let forwarded = call(&mut bench, "");
    let ok = answer(&mut bench, &forwarded, "");
    assert!(!ok.has(HeaderName::SessionExpires));
    bench.pass(Duration::from_secs(7200));
    assert!(bench.records.is_empty(), "there is no session timer");
}

/// RFC 4028 8.3, and what this node does with every call whose media it takes away.
#[test]
fn a_session_that_nobody_refreshes_is_ended_by_bye_to_both_parties() {
    let mut bench = Bench::new(plan(1800, 90));
    let forwarded = call(&mut bench, "Supported: timer\r\n");
    answer(&mut bench, &forwarded, "Require: timer\r\nSession-Expires: 200;refresher=uac\r\n");
    bench.pass(Duration::from_secs(199));
    bench.expect_silence();
    bench.pass(Duration::from_secs(2));
    let bye = bench.expect_request(ALICE, "BYE");
    let reason = "SIP;cause=408;text=\"Session Expired\"";
    assert_eq!(header(&bye, HeaderName::Reason).as_deref(), Some(reason));
    bench.expect_request(BOB, "BYE");
    assert_eq!(bench.records[0].end, CallEnd::SessionExpired);
    assert_eq!(bench.records[0].duration, Duration::from_secs(200));
    bench.pass(Duration::from_secs(64));
    assert_eq!(bench.proxy.load(), Load::default());
    bench.proxy.assert_clean();
}

/// RFC 4028 8.2: by whichever party and method; one that is refused, and other requests, change nothing.
#[test]
fn a_refresh_that_is_accepted_sets_the_time_anew_and_no_other_request_does() {
    let mut bench = Bench::new(plan(1800, 90));
    let forwarded = call(&mut bench, "Supported: timer\r\n");
    let timer = "Require: timer\r\nSession-Expires: 200;refresher=uas\r\n";
    let ok = answer(&mut bench, &forwarded, timer);
    let contact = format!("sip:alice@{ALICE}");
    bench.pass(Duration::from_secs(100));
    let update = with(&from_bob("UPDATE", 5, &forwarded, ""), "Supported: timer\r\nx: 200\r\n");
    bench.udp(BOB, &update);
    let update = bench.expect_request(ALICE, "UPDATE");
    bench.udp(ALICE, &with(&reply(&update, 200, "fa", &contact, ""), timer));
    bench.expect_status(BOB, 200);
    bench.pass(Duration::from_secs(150));
    assert!(bench.records.is_empty(), "refreshed");
    bench.udp(ALICE, &from_alice("INVITE", 8, &ok, "x: 200\r\n", ""));
    bench.expect_status(ALICE, 100);
    let again = bench.expect_request(BOB, "INVITE");
    bench.udp(BOB, &with(&reply(&again, 491, "tb", "sip:bob@x", ""), timer));
    bench.expect_request(BOB, "ACK");
    bench.expect_status(ALICE, 491);
    bench.udp(ALICE, &from_alice("INFO", 9, &ok, "", ""));
    let info = bench.expect_request(BOB, "INFO");
    bench.udp(BOB, &with(&reply(&info, 200, "tb", "sip:bob@x", ""), timer));
    bench.expect_status(ALICE, 200);
    bench.pass(Duration::from_secs(49));
    assert!(bench.records.is_empty());
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.records[0].end, CallEnd::SessionExpired);
}

/// RFC 4028 7.2: a refresh whose 2xx names no time leaves the session without one.
#[test]
fn a_refresh_without_a_session_timer_ends_it() {
    let mut bench = Bench::new(plan(1800, 90));
    let forwarded = call(&mut bench, "");
    let ok = answer(&mut bench, &forwarded, "Session-Expires: 200;refresher=uas\r\n");
    bench.udp(ALICE, &from_alice("UPDATE", 2, &ok, "", ""));
    let update = bench.expect_request(BOB, "UPDATE");
    bench.udp(BOB, &reply(&update, 200, "tb", &format!("sip:bob@{BOB}"), ""));
    bench.expect_status(ALICE, 200);
    bench.pass(Duration::from_secs(3600));
    assert!(bench.records.is_empty());
}

/// RFC 4028 8.2: each dialog has a session of its own, and the call goes on with the one that is left.
#[test]
fn of_two_forks_that_were_answered_only_the_one_that_nobody_refreshes_ends() {
    let mut bench = Bench::new(Plan::default());
    let (mobile, desk) = ring_two(&mut bench);
    let ok = |request: &Message, tag: &str, at: &str, expires: u32| {
        let ok = reply(request, 200, tag, &format!("sip:bob@{at}"), &sdp("198.51.100.20", 6000));
        with(&ok, &format!("Session-Expires: {expires};refresher=uas\r\n"))
    };
    bench.udp(BOB, &ok(&mobile, "tm", BOB, 200));
    bench.udp(DESK, &ok(&desk, "td", DESK, 300));
    bench.sent.clear();
    bench.pass(Duration::from_secs(201));
    let bye = bench.expect_request(ALICE, "BYE");
    assert_eq!(bye.from().tag(), Some("tm"));
    bench.expect_request(BOB, "BYE");
    bench.sent.clear();
    assert_eq!((bench.closed_sessions().len(), bench.records.len()), (1, 0));
    bench.pass(Duration::from_secs(100));
    assert_eq!(bench.records[0].end, CallEnd::SessionExpired);
    bench.pass(Duration::from_secs(64));
    bench.proxy.assert_clean();
}

/// `sip.session_expires_s = 0`.
#[test]
fn session_timers_are_left_to_the_parties_where_the_node_is_told_so() {
    let mut bench = Bench::new(Plan { session_timers: None, ..Plan::default() });
    let short = "Supported: timer\r\nSession-Expires: 10\r\n";
    let forwarded = call(&mut bench, short);
    assert_eq!(header(&forwarded, HeaderName::SessionExpires).as_deref(), Some("10"));
    let ok = answer(&mut bench, &forwarded, "");
    assert!(!ok.has(HeaderName::SessionExpires));
    bench.udp(ALICE, &from_alice("UPDATE", 2, &ok, "", ""));
    let update = bench.expect_request(BOB, "UPDATE");
    assert!(!update.has(HeaderName::SessionExpires));
    let timer = "Session-Expires: 100;refresher=uac\r\n";
    bench.udp(BOB, &with(&reply(&update, 200, "tb", &format!("sip:bob@{BOB}"), ""), timer));
    bench.expect_status(ALICE, 200);
    bench.pass(Duration::from_secs(200));
    assert!(bench.records.is_empty());
}
