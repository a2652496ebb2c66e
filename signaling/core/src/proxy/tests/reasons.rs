//! Why branches are given up (RFC 3326): told to the phone, so that it knows a missed call from one that
//! was taken elsewhere.

use std::time::Duration;

use super::calls::{ALICE, BOB, invite, set_up};
use super::forking::{DESK, ring_two};
use super::harness::{Bench, Plan, reply, sdp};
use crate::wire::{HeaderName, Message};

/// Lets the mobile ring, so that it can be cancelled.
fn ring(bench: &mut Bench, mobile: &Message) {
    bench.udp(BOB, &reply(mobile, 180, "tm", "sip:bob@x", ""));
    bench.expect_status(ALICE, 180);
}

/// The reasons in the CANCEL that the mobile gets.
#[track_caller]
fn cancelled_for(bench: &mut Bench) -> Vec<String> {
    bench.sent.retain(|sent| sent.bytes.starts_with(b"CANCEL"));
    let cancel = bench.expect_request(BOB, "CANCEL");
    let reasons = cancel.values(HeaderName::Reason);
    reasons.map(|reason| String::from_utf8_lossy(reason).into_owned()).collect()
}

fn cancel(lines: &str) -> String {
    let cancel = invite("bob", "").replacen("INVITE", "CANCEL", 1).replace("1 INVITE", "1 CANCEL");
    cancel.replacen("\r\n", &format!("\r\n{lines}"), 1)
}

/// RFC 3326 1: the case that it was made for.
#[test]
fn the_phones_that_another_has_been_quicker_than_are_told_so() {
    let mut bench = Bench::new(Plan::default());
    let (mobile, desk) = ring_two(&mut bench);
    ring(&mut bench, &mobile);
    let contact = format!("sip:bob@{DESK}");
    bench.udp(DESK, &reply(&desk, 200, "td", &contact, &sdp("198.51.100.21", 6000)));
    let reasons = cancelled_for(&mut bench);
    assert_eq!(reasons, ["SIP;cause=200;text=\"Call completed elsewhere\""]);
}

#[test]
fn the_phones_that_another_has_declined_for_are_told_so() {
    let mut bench = Bench::new(Plan::default());
    let (mobile, desk) = ring_two(&mut bench);
    ring(&mut bench, &mobile);
    bench.udp(DESK, &reply(&desk, 603, "td", "sip:bob@x", ""));
    assert_eq!(cancelled_for(&mut bench), ["SIP;cause=603;text=\"Decline\""]);
}

/// RFC 3326 2: another proxy upstream has forked, and says why it gives this branch up.
#[test]
fn the_reasons_of_a_cancel_from_upstream_go_on_with_it() {
    let lines =
        "Reason: SIP;cause=200;text=\"Call completed elsewhere\"\r\nReason: Q.850;cause=26\r\n";
    for (lines, reasons) in [
        (lines, &["SIP;cause=200;text=\"Call completed elsewhere\"", "Q.850;cause=26"][..]),
        ("", &[]),
    ] {
        let mut bench = Bench::new(Plan::default());
        let (mobile, _) = ring_two(&mut bench);
        ring(&mut bench, &mobile);
        bench.udp(ALICE, &cancel(lines));
        assert_eq!(cancelled_for(&mut bench), reasons);
    }
}

/// RFC 3261 9.1: the CANCEL waits for the first response, and its reason with it.
#[test]
fn a_cancel_that_waits_for_a_first_response_keeps_its_reason() {
    let mut bench = Bench::new(Plan::default());
    let (mobile, _) = ring_two(&mut bench);
    bench.udp(ALICE, &cancel("Reason: SIP;cause=200\r\n"));
    bench.udp(BOB, &reply(&mobile, 180, "tm", "sip:bob@x", ""));
    assert_eq!(cancelled_for(&mut bench), ["SIP;cause=200"]);
}

#[test]
fn a_phone_that_rings_too_long_is_told_so_and_so_is_one_that_rings_while_the_node_stops() {
    let mut bench = Bench::new(Plan::default());
    let (mobile, _) = ring_two(&mut bench);
    ring(&mut bench, &mobile);
    bench.pass(Duration::from_secs(182));
    assert_eq!(cancelled_for(&mut bench), ["SIP;cause=408;text=\"Rang Too Long\""]);
    let mut bench = Bench::new(Plan::default());
    let (mobile, _) = ring_two(&mut bench);
    ring(&mut bench, &mobile);
    bench.stop();
    assert_eq!(cancelled_for(&mut bench), ["SIP;cause=503;text=\"Node Stopped\""]);
}

/// RFC 3326 2: what a party's BYE says is the parties' affair.
#[test]
fn the_reason_of_a_partys_bye_passes_as_it_is() {
    let mut bench = Bench::new(Plan::default());
    let (_, ok) = set_up(&mut bench);
    let reason = "Reason: Q.850;cause=16;text=\"Terminated\"\r\n";
    bench.udp(ALICE, &super::calls::from_alice("BYE", 2, &ok, reason, ""));
    let bye = bench.expect_request(BOB, "BYE");
    assert_eq!(bye.first_str(HeaderName::Reason), Some("Q.850;cause=16;text=\"Terminated\""));
}
