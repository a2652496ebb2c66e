//! One call from INVITE to BYE.

use std::time::Duration;

use relay_core::api::CloseCause;

use super::harness::{Bench, NODE, Plan, reply, sdp, show, with_body};
use crate::proxy::output::CallEnd;
use crate::wire::{HeaderName, Message};

pub(super) const ALICE: &str = "198.51.100.10:5060";
pub(super) const BOB: &str = "198.51.100.20:5060";

/// Alice's INVITE to `user`.
pub(super) fn invite(user: &str, body: &str) -> String {
    format!(
        "INVITE sip:{user}@example.test SIP/2.0\r\nVia: SIP/2.0/UDP {ALICE};branch=z9hG4bKa1\r\n\
         Max-Forwards: 70\r\nFrom: <sip:alice@example.test>;tag=fa\r\nTo: <sip:{user}@example.test>\r\n\
         Call-ID: call-1\r\nCSeq: 1 INVITE\r\nContact: <sip:alice@{ALICE}>\r\n{}",
        with_body(body)
    )
}

/// A request within the call, sent by Alice with the route set that the 2xx gave her.
pub(super) fn from_alice(method: &str, cseq: u32, ok: &Message, extra: &str, body: &str) -> String {
    let routes: Vec<_> = ok.record_routes().map(|r| r.unwrap()).collect();
    let routes: String = routes
        .iter()
        .rev()
        .map(|r| format!("Route: {}\r\n", String::from_utf8_lossy(r.as_bytes())))
        .collect();
    let contact = ok.contacts().flatten().next().unwrap();
    format!(
        "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {ALICE};branch=z9hG4bKa{method}{cseq}\r\n{routes}\
         Max-Forwards: 70\r\nFrom: <sip:alice@example.test>;tag=fa\r\nTo: {}\r\nCall-ID: call-1\r\n\
         CSeq: {cseq} {method}\r\nContact: <sip:alice@{ALICE}>\r\n{extra}{}",
        contact.addr().unwrap().uri_text(),
        String::from_utf8_lossy(ok.to().as_bytes()),
        with_body(body)
    )
}

/// A request within the call, sent by Bob with the route set of the INVITE that he got.
pub(super) fn from_bob(method: &str, cseq: u32, invite: &Message, body: &str) -> String {
    let routes: String = invite
        .record_routes()
        .map(|r| format!("Route: {}\r\n", String::from_utf8_lossy(r.unwrap().as_bytes())))
        .collect();
    format!(
        "{method} sip:alice@{ALICE} SIP/2.0\r\nVia: SIP/2.0/UDP {BOB};branch=z9hG4bKb{method}{cseq}\r\n\
         {routes}Max-Forwards: 70\r\nFrom: <sip:bob@example.test>;tag=tb\r\n\
         To: <sip:alice@example.test>;tag=fa\r\nCall-ID: call-1\r\nCSeq: {cseq} {method}\r\n\
         Contact: <sip:bob@{BOB}>\r\n{}",
        with_body(body)
    )
}

pub(super) fn text(message: &Message) -> String {
    String::from_utf8_lossy(message.body()).into_owned()
}

/// Sets up a call from Alice to Bob with audio; gives Bob's INVITE and Alice's 200.
pub(super) fn set_up(bench: &mut Bench) -> (Message, Message) {
    bench.register("bob", BOB);
    bench.udp(ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
    bench.expect_status(ALICE, 100);
    let invite = bench.expect_request(BOB, "INVITE");
    bench.udp(
        BOB,
        &reply(&invite, 200, "tb", &format!("sip:bob@{BOB}"), &sdp("198.51.100.20", 6000)),
    );
    let ok = bench.expect_status(ALICE, 200);
    bench.udp(ALICE, &from_alice("ACK", 1, &ok, "", ""));
    bench.expect_request(BOB, "ACK");
    (invite, ok)
}

/// RFC 3261 16.6: Via on top, Max-Forwards counted down, Record-Route, the registered Contact as
/// Request-URI; RFC 3264: this node's ports in place of the parties'.
#[test]
fn an_invite_goes_to_the_registered_contact_with_this_nodes_media_address() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    bench.udp(ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(BOB, "INVITE");
    assert_eq!(forwarded.request_uri(), format!("sip:bob@{BOB}"));
    assert_eq!(forwarded.max_forwards(), Some(69));
    assert_eq!(forwarded.vias().count(), 2);
    assert!(String::from_utf8_lossy(forwarded.top_via().as_bytes()).contains(NODE));
    assert_eq!(forwarded.record_routes().count(), 1);
    let body = text(&forwarded);
    assert!(body.contains("m=audio 30104 RTP/AVP 0 101"), "{body}");
    assert!(body.contains("c=IN IP4 192.0.2.1"), "{body}");
    assert!(!body.contains("198.51.100.10"), "{body}");
}

#[test]
fn a_call_is_set_up_acknowledged_and_ended_by_the_caller() {
    let mut bench = Bench::new(Plan::default());
    let (_, ok) = set_up(&mut bench);
    assert_eq!(ok.vias().count(), 1);
    assert!(text(&ok).contains("m=audio 30100 "), "{}", show(&ok));
    bench.pass(Duration::from_secs(7));
    bench.udp(ALICE, &from_alice("BYE", 2, &ok, "", ""));
    let bye = bench.expect_request(BOB, "BYE");
    assert_eq!(bye.count(HeaderName::Route), 0);
    assert!(bench.records.is_empty());
    bench.udp(BOB, &reply(&bye, 200, "tb", "sip:bob@x", ""));
    bench.expect_status(ALICE, 200);
    assert_eq!(bench.closed_sessions().len(), 1);
    let record = &bench.records[0];
    assert_eq!(record.end, CallEnd::CallerHungUp);
    assert_eq!(record.duration, Duration::from_secs(7));
    assert_eq!(record.media.len(), 1);
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.proxy.load(), crate::proxy::Load::default());
}

#[test]
fn a_call_is_ended_by_the_callee() {
    let mut bench = Bench::new(Plan::default());
    let (invite, _) = set_up(&mut bench);
    bench.udp(BOB, &from_bob("BYE", 1, &invite, ""));
    let bye = bench.expect_request(ALICE, "BYE");
    bench.udp(ALICE, &reply(&bye, 200, "fa", "sip:alice@x", ""));
    bench.expect_status(BOB, 200);
    assert_eq!(bench.records[0].end, CallEnd::CalleeHungUp);
}

/// RFC 3261 15.1.1: a BYE that is not answered ends the dialog all the same.
#[test]
fn a_call_whose_bye_is_never_answered_ends() {
    let mut bench = Bench::new(Plan::default());
    let (_, ok) = set_up(&mut bench);
    bench.udp(ALICE, &from_alice("BYE", 2, &ok, "", ""));
    bench.pass(Duration::from_secs(40));
    assert_eq!(bench.records.len(), 1);
    assert_eq!(bench.proxy.load().sessions, 0);
}

/// RFC 3261 9, 16.10.
#[test]
fn a_cancelled_call_is_cancelled_below_and_answered_487() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    bench.udp(ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(BOB, "INVITE");
    bench.udp(BOB, &reply(&forwarded, 180, "tb", &format!("sip:bob@{BOB}"), ""));
    bench.expect_status(ALICE, 180);
    let cancel = invite("bob", "").replacen("INVITE", "CANCEL", 1).replace("1 INVITE", "1 CANCEL");
    bench.udp(ALICE, &cancel);
    // The order of the two does not matter.
    let mut sent = [bench.sent.pop_front().unwrap(), bench.sent.pop_front().unwrap()];
    sent.sort_by_key(|t| t.target.remote.to_string() == BOB);
    assert!(sent[0].bytes.starts_with(b"SIP/2.0 200"));
    assert!(sent[1].bytes.starts_with(b"CANCEL"));
    let below = Message::parse_datagram(sent[1].bytes.clone()).unwrap();
    assert_eq!(below.top_via().branch(), forwarded.top_via().branch());
    bench.udp(BOB, &reply(&below, 200, "tb", "sip:bob@x", ""));
    bench.udp(BOB, &reply(&forwarded, 487, "tb", "sip:bob@x", ""));
    bench.expect_request(BOB, "ACK");
    bench.expect_status(ALICE, 487);
    assert_eq!(bench.records[0].end, CallEnd::Cancelled);
    assert_eq!(bench.closed_sessions().len(), 1);
}

#[test]
fn a_busy_callee_is_passed_on_and_its_media_released() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    bench.udp(ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(BOB, "INVITE");
    bench.udp(BOB, &reply(&forwarded, 486, "tb", "sip:bob@x", ""));
    bench.expect_request(BOB, "ACK");
    bench.expect_status(ALICE, 486);
    assert_eq!(bench.records[0].end, CallEnd::Refused(486));
    assert_eq!(bench.closed_sessions().len(), 1);
}

/// RFC 3261 16.8: nobody answers; after timer C the branch is cancelled, and given up in the end.
#[test]
fn a_callee_that_rings_for_ever_is_cancelled_and_the_caller_told() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    bench.udp(ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(BOB, "INVITE");
    bench.udp(BOB, &reply(&forwarded, 180, "tb", "sip:bob@x", ""));
    bench.expect_status(ALICE, 180);
    bench.pass(Duration::from_secs(182));
    bench.expect_request(BOB, "CANCEL");
    bench.pass(Duration::from_secs(40));
    bench.sent.retain(|t| t.target.remote.to_string() == ALICE);
    bench.expect_status(ALICE, 408);
    assert_eq!(bench.records.len(), 1);
}

/// RFC 3261 16.8: the 487 is the answer to this node's CANCEL, and the caller has sent none.
#[test]
fn a_caller_whose_call_rings_for_ever_is_answered_408_and_not_487() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    bench.udp(ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(BOB, "INVITE");
    bench.udp(BOB, &reply(&forwarded, 180, "tb", "sip:bob@x", ""));
    bench.expect_status(ALICE, 180);
    bench.pass(Duration::from_secs(182));
    bench.expect_request(BOB, "CANCEL");
    bench.udp(BOB, &reply(&forwarded, 487, "tb", "sip:bob@x", ""));
    bench.sent.retain(|t| t.target.remote.to_string() == ALICE);
    bench.expect_status(ALICE, 408);
}

/// The phone's Contact is an address behind its NAT: requests take the way that its REGISTER came.
#[test]
fn a_phone_behind_nat_is_reached_where_its_messages_come_from() {
    let mut bench = Bench::new(Plan::default());
    let outside = "203.0.113.9:40001";
    bench.udp(
        outside,
        "REGISTER sip:example.test SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.5:5060;branch=z9hG4bKn;rport\r\n\
         From: <sip:bob@example.test>;tag=r\r\nTo: <sip:bob@example.test>\r\nCall-ID: n\r\n\
         CSeq: 1 REGISTER\r\nContact: <sip:bob@10.0.0.5:5060>\r\nContent-Length: 0\r\n\r\n",
    );
    bench.expect_status(outside, 200);
    bench.udp(ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(outside, "INVITE");
    assert_eq!(forwarded.request_uri(), "sip:bob@10.0.0.5:5060");
    let contact = "sip:bob@10.0.0.5:5060";
    bench.udp(outside, &reply(&forwarded, 200, "tb", contact, &sdp("10.0.0.5", 6000)));
    let ok = bench.expect_status(ALICE, 200);
    bench.udp(ALICE, &from_alice("ACK", 1, &ok, "", ""));
    bench.expect_request(outside, "ACK");
    bench.udp(ALICE, &from_alice("BYE", 2, &ok, "", ""));
    bench.expect_request(outside, "BYE");
}

/// RFC 5658: the two sides speak different transports, so each gets a Record-Route of its own.
#[test]
fn a_call_between_tcp_and_udp_is_record_routed_twice_and_both_ways_work() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    let on_tcp = invite("bob", &sdp("198.51.100.10", 4000)).replace("/UDP", "/TCP");
    bench.tcp(ALICE, 7, &on_tcp);
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(BOB, "INVITE");
    assert_eq!(forwarded.record_routes().count(), 2);
    let contact = format!("sip:bob@{BOB}");
    bench.udp(BOB, &reply(&forwarded, 200, "tb", &contact, &sdp("198.51.100.20", 6000)));
    let ok = bench.expect_status(ALICE, 200);
    bench.tcp(ALICE, 7, &from_alice("ACK", 1, &ok, "", "").replace("/UDP", "/TCP"));
    let ack = bench.expect_request(BOB, "ACK");
    assert_eq!(ack.count(HeaderName::Route), 0);
    bench.udp(BOB, &from_bob("BYE", 1, &forwarded, ""));
    let bye = bench.sent.pop_front().unwrap();
    assert_eq!(bye.target.connection.map(|c| c.0), Some(7));
    assert!(bye.bytes.starts_with(b"BYE"));
}

#[test]
fn media_that_stays_away_or_is_lost_with_its_worker_ends_the_call() {
    let idle = CloseCause::Idle(Duration::from_secs(60));
    for (cause, end) in [(idle, CallEnd::MediaIdle), (CloseCause::WorkerLost, CallEnd::MediaLost)] {
        let mut bench = Bench::new(Plan::default());
        set_up(&mut bench);
        let session = bench.commands[0].session();
        let report = Default::default();
        bench.relay_event(relay_core::api::Event::Closed { session, cause, report });
        assert_eq!(bench.records[0].end, end);
        assert_eq!(bench.proxy.load().calls, 0);
    }
}

/// S24: a request within a call goes to the other party of that call, whatever registers meanwhile.
#[test]
fn a_request_within_a_call_reaches_its_party_although_the_user_has_moved() {
    let mut bench = Bench::new(Plan::default());
    let (_, ok) = set_up(&mut bench);
    bench.register("bob", "198.51.100.77:5060");
    bench.udp(ALICE, &from_alice("INFO", 2, &ok, "", ""));
    bench.expect_request(BOB, "INFO");
}

#[test]
fn stopping_the_node_releases_every_call_and_writes_its_record() {
    let mut bench = Bench::new(Plan::default());
    set_up(&mut bench);
    let now = bench.now;
    bench.proxy.handle_stop(now);
    bench.pass(Duration::ZERO);
    bench.udp(ALICE, "\r\n");
    assert_eq!(bench.records[0].end, CallEnd::NodeStopped);
    assert_eq!(bench.proxy.load().calls, 0);
}

/// RFC 3261 19.3, 8.1.1.7: tags and branches are cryptographically random, for a response is believed by
/// its branch. (This test is one for the compiler.)
#[test]
fn tags_and_branches_are_drawn_from_a_cryptographic_generator() {
    const fn is_cryptographic(_: &impl rand::CryptoRng) {}
    is_cryptographic(&Bench::new(Plan::default()).proxy.rng);
}
