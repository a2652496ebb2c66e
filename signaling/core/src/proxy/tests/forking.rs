//! Several contacts of one user.

use std::time::Duration;

use super::calls::{ALICE, BOB, from_alice, invite};
use super::harness::{Bench, Plan, reply, sdp};
use crate::wire::{HeaderName, Message};

pub(super) const DESK: &str = "198.51.100.21:5060";

/// Registers two phones of Bob's, calls him, and gives the INVITE that each phone got.
pub(super) fn ring_two(bench: &mut Bench) -> (Message, Message) {
    bench.register("bob", BOB);
    bench.register("bob", DESK);
    bench.udp(ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
    bench.expect_status(ALICE, 100);
    let first = bench.sent.pop_front().unwrap();
    let second = bench.sent.pop_front().unwrap();
    let at = |text: &str| {
        let sent = if first.target.remote.to_string() == text { &first } else { &second };
        assert_eq!(sent.target.remote.to_string(), text);
        Message::parse_datagram(sent.bytes.clone()).unwrap()
    };
    (at(BOB), at(DESK))
}

/// RFC 3261 16.7: each fork has media of its own, so that their early media never mix.
#[test]
fn every_fork_has_its_own_media_session_and_the_losers_are_released() {
    let mut bench = Bench::new(Plan::default());
    let (mobile, desk) = ring_two(&mut bench);
    assert_ne!(mobile.body(), desk.body());
    assert_ne!(mobile.top_via().branch(), desk.top_via().branch());
    bench.udp(BOB, &reply(&mobile, 183, "tm", "sip:bob@x", &sdp("198.51.100.20", 6000)));
    let early_mobile = bench.expect_status(ALICE, 183);
    bench.udp(DESK, &reply(&desk, 183, "td", "sip:bob@x", &sdp("198.51.100.21", 6000)));
    let early_desk = bench.expect_status(ALICE, 183);
    assert_ne!(early_mobile.body(), early_desk.body());
    bench.udp(
        DESK,
        &reply(&desk, 200, "td", &format!("sip:bob@{DESK}"), &sdp("198.51.100.21", 6000)),
    );
    let ok = bench.expect_status(ALICE, 200);
    bench.expect_request(BOB, "CANCEL");
    bench.udp(BOB, &reply(&mobile, 487, "tm", "sip:bob@x", ""));
    bench.expect_request(BOB, "ACK");
    assert_eq!(bench.closed_sessions().len(), 1);
    bench.udp(ALICE, &from_alice("ACK", 1, &ok, "", ""));
    bench.expect_request(DESK, "ACK");
}

/// RFC 3261 16.7 step 6.
#[test]
fn the_best_of_several_failures_is_sent_once_all_forks_have_failed() {
    let mut bench = Bench::new(Plan::default());
    let (mobile, desk) = ring_two(&mut bench);
    bench.udp(BOB, &reply(&mobile, 503, "tm", "sip:bob@x", ""));
    bench.expect_request(BOB, "ACK");
    bench.expect_silence();
    bench.udp(DESK, &reply(&desk, 486, "td", "sip:bob@x", ""));
    bench.expect_request(DESK, "ACK");
    bench.expect_status(ALICE, 486);
}

/// RFC 3261 16.7 step 5: a 6xx ends the search.
#[test]
fn a_6xx_from_one_fork_cancels_the_others() {
    let mut bench = Bench::new(Plan::default());
    let (mobile, desk) = ring_two(&mut bench);
    bench.udp(BOB, &reply(&mobile, 180, "tm", "sip:bob@x", ""));
    bench.expect_status(ALICE, 180);
    bench.udp(DESK, &reply(&desk, 603, "td", "sip:bob@x", ""));
    bench.sent.retain(|t| t.target.remote.to_string() == BOB);
    bench.expect_request(BOB, "CANCEL");
    bench.udp(BOB, &reply(&mobile, 487, "tm", "sip:bob@x", ""));
    bench.sent.retain(|t| t.target.remote.to_string() == ALICE);
    bench.expect_status(ALICE, 603);
}

/// RFC 3261 16.7 step 5: a 6xx ends the search, and no phone rings for it that had not been tried.
#[test]
fn a_6xx_keeps_every_lower_group_from_being_tried() {
    let mut bench = Bench::new(Plan { relay_media: false, ..Plan::default() });
    for (at, q) in [(BOB, "1"), (DESK, "0.5"), ("198.51.100.22:5060", "0.2")] {
        bench.register_with_q("bob", at, q);
    }
    bench.udp(ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
    bench.expect_status(ALICE, 100);
    let first = bench.expect_request(BOB, "INVITE");
    bench.udp(BOB, &reply(&first, 603, "tm", "sip:bob@x", ""));
    bench.expect_request(BOB, "ACK");
    bench.expect_status(ALICE, 603);
    bench.expect_silence();
}

/// RFC 3261 16.7 step 5: two phones answer at the same moment; the caller hears of both.
#[test]
fn both_2xx_of_two_forks_reach_the_caller_each_with_its_media() {
    let mut bench = Bench::new(Plan::default());
    let (mobile, desk) = ring_two(&mut bench);
    let contact = |at: &str| format!("sip:bob@{at}");
    bench.udp(BOB, &reply(&mobile, 200, "tm", &contact(BOB), &sdp("198.51.100.20", 6000)));
    let first = bench.expect_status(ALICE, 200);
    bench.udp(DESK, &reply(&desk, 200, "td", &contact(DESK), &sdp("198.51.100.21", 6000)));
    bench.sent.retain(|t| t.target.remote.to_string() == ALICE);
    let second = bench.expect_status(ALICE, 200);
    assert_ne!(first.body(), second.body());
    bench.udp(ALICE, &from_alice("BYE", 2, &first, "", ""));
    let bye = bench.expect_request(BOB, "BYE");
    bench.udp(BOB, &reply(&bye, 200, "tm", "sip:bob@x", ""));
    bench.expect_status(ALICE, 200);
    assert!(bench.records.is_empty(), "the other dialog is still up");
    bench
        .udp(ALICE, &from_alice("BYE", 2, &second, "", "").replace("z9hG4bKaBYE2", "z9hG4bKaBYE3"));
    let bye = bench.expect_request(DESK, "BYE");
    bench.udp(DESK, &reply(&bye, 200, "td", "sip:bob@x", ""));
    bench.expect_status(ALICE, 200);
    assert_eq!(bench.records.len(), 1);
}

/// RFC 3261 16.7 step 7.
#[test]
fn the_challenges_of_all_forks_are_put_together() {
    let mut bench = Bench::new(Plan::default());
    let (mobile, desk) = ring_two(&mut bench);
    let challenge = |request: &Message, realm: &str| {
        reply(request, 407, "t", "sip:bob@x", "").replacen(
            "\r\n",
            &format!("\r\nProxy-Authenticate: Digest realm=\"{realm}\", nonce=\"n\"\r\n"),
            1,
        )
    };
    bench.udp(BOB, &challenge(&mobile, "one"));
    bench.udp(DESK, &challenge(&desk, "two"));
    bench.sent.retain(|t| t.target.remote.to_string() == ALICE);
    let answer = bench.expect_status(ALICE, 407);
    assert_eq!(answer.count(HeaderName::ProxyAuthenticate), 2);
}

/// The caller gives up while one fork has not even said 100.
#[test]
fn a_cancel_waits_for_a_fork_that_has_not_answered_at_all() {
    let mut bench = Bench::new(Plan::default());
    let (mobile, desk) = ring_two(&mut bench);
    bench.udp(BOB, &reply(&mobile, 180, "tm", "sip:bob@x", ""));
    bench.expect_status(ALICE, 180);
    let cancel = invite("bob", "").replacen("INVITE", "CANCEL", 1).replace("1 INVITE", "1 CANCEL");
    bench.udp(ALICE, &cancel);
    bench.sent.retain(|t| t.bytes.starts_with(b"CANCEL"));
    assert_eq!(bench.sent.len(), 1, "RFC 3261 9.1: no CANCEL before a provisional");
    bench.expect_request(BOB, "CANCEL");
    bench.udp(BOB, &reply(&mobile, 487, "tm", "sip:bob@x", ""));
    bench.udp(DESK, &reply(&desk, 180, "td", "sip:bob@x", ""));
    bench.sent.retain(|t| t.bytes.starts_with(b"CANCEL"));
    bench.expect_request(DESK, "CANCEL");
    bench.udp(DESK, &reply(&desk, 487, "td", "sip:bob@x", ""));
    bench.sent.retain(|t| t.target.remote.to_string() == ALICE);
    bench.expect_status(ALICE, 487);
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.proxy.load(), crate::proxy::Load::default());
}

/// RFC 5393 5.3: the forks of all proxies together are bounded, as each gets a share.
#[test]
fn a_forked_request_shares_its_breadth_among_its_branches() {
    let call = |breadth: &str, branch: &str| {
        let line = format!("Max-Breadth: {breadth}\r\nContact:");
        invite("bob", "").replace("Contact:", &line).replace("z9hG4bKa1", branch)
    };
    let breadth = |message: &Message| message.first_str("Max-Breadth").map(str::to_owned);
    let mut bench = Bench::new(Plan::default());
    let (mobile, desk) = ring_two(&mut bench);
    assert_eq!([breadth(&mobile), breadth(&desk)], [Some("30".into()), Some("30".into())]);
    bench.udp(ALICE, &call("5", "z9hG4bKa2").replace("CSeq: 1", "CSeq: 2"));
    bench.expect_status(ALICE, 100);
    assert_eq!(breadth(&bench.expect_request(DESK, "INVITE")).as_deref(), Some("2"));
    bench.expect_request(BOB, "INVITE");
    bench.udp(ALICE, &call("1", "z9hG4bKa3").replace("CSeq: 1", "CSeq: 3"));
    bench.expect_status(ALICE, 100);
    bench.expect_status(ALICE, 440);

    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    bench.udp(ALICE, &call("1", "z9hG4bKa1"));
    bench.expect_status(ALICE, 100);
    assert_eq!(breadth(&bench.expect_request(BOB, "INVITE")).as_deref(), Some("1"));
    bench.udp(ALICE, &call("0", "z9hG4bKa2").replace("CSeq: 1", "CSeq: 2"));
    bench.expect_status(ALICE, 100);
    bench.expect_status(ALICE, 440);
}
