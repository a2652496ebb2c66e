//! Requests that are too large for UDP (RFC 3261 18.1.1).

use std::time::Duration;

use super::calls::{ALICE, BOB, from_alice, invite, set_up};
use super::harness::{Bench, Plan, address, hops_of, reply};
use crate::transport::{Target, Transport};
use crate::wire::Message;

/// A header that makes any request too large.
fn padding() -> String {
    format!("Subject: {}\r\n", "x".repeat(1_300))
}

fn large(request: &str) -> String {
    request.replacen("Max-Forwards", &format!("{}Max-Forwards", padding()), 1)
}

/// Another call of Alice's.
fn again(request: &str, call: u32) -> String {
    request.replace("branch=z9hG4bK", &format!("branch=z9hG4bK{call}")).replacen(
        "Call-ID: ",
        &format!("Call-ID: {call}-"),
        1,
    )
}

impl Bench {
    /// The next message, which is a request, and where it goes.
    #[track_caller]
    fn sent_request(&mut self) -> (Message, Target) {
        let sent = self.sent.pop_front().expect("a message is sent");
        let message = Message::parse_datagram(sent.bytes).unwrap();
        assert!(message.is_request());
        assert_eq!(message.top_via().transport(), sent.target.transport.via_name());
        (message, sent.target)
    }

    /// Sends `request` from Alice and gives how it goes on.
    #[track_caller]
    fn forwarded(&mut self, request: &str) -> (Message, Target) {
        self.udp(ALICE, request);
        self.expect_status(ALICE, 100);
        self.sent_request()
    }
}

/// RFC 3261 18.1.1: the limit is what the request has when it leaves, and the Via says what is used.
#[test]
fn a_request_that_is_too_large_for_udp_goes_over_tcp_and_its_via_says_so() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    let (_, target) = bench.forwarded(&again(&invite("bob", ""), 1));
    assert_eq!(target.transport, Transport::Udp);
    let (sent, target) = bench.forwarded(&again(&large(&invite("bob", "")), 2));
    assert_eq!((target.transport, target.remote), (Transport::Tcp, address(BOB)));
    // The answer comes the same way, and goes on as the caller's Via says.
    bench.tcp(BOB, 7, &reply(&sent, 486, "tb", "sip:x@y", ""));
    let (_, ack) = bench.sent_request();
    assert_eq!(ack.transport, Transport::Tcp);
    bench.expect_status(ALICE, 486);
}

/// RFC 3261 18.1.1: a peer that refuses TCP gets the request over UDP, as the same transaction, and the
/// next ones at once.
#[test]
fn a_large_request_goes_over_udp_where_tcp_is_refused() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    let (first, tcp) = bench.forwarded(&again(&large(&invite("bob", "")), 1));
    assert_eq!(tcp.transport, Transport::Tcp);
    bench.cannot_send(&tcp);
    let (second, udp) = bench.sent_request();
    assert_eq!((udp.transport, udp.remote), (Transport::Udp, address(BOB)));
    assert_eq!(second.top_via().branch(), first.top_via().branch());
    assert_eq!(second.body(), first.body());
    bench.udp(BOB, &reply(&second, 486, "tb", "sip:x@y", ""));
    bench.expect_request(BOB, "ACK");
    bench.expect_status(ALICE, 486);

    let (_, target) = bench.forwarded(&again(&large(&invite("bob", "")), 2));
    assert_eq!(target.transport, Transport::Udp, "it has just refused TCP");
    bench.pass(Duration::from_secs(601));
    bench.sent.clear();
    let (_, target) = bench.forwarded(&again(&large(&invite("bob", "")), 3));
    assert_eq!(target.transport, Transport::Tcp, "it may have learned");
}

/// What cannot be sent over UDP either fails as any other request does.
#[test]
fn a_large_request_that_neither_transport_takes_fails() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    let (_, tcp) = bench.forwarded(&large(&invite("bob", "")));
    bench.cannot_send(&tcp);
    let (_, udp) = bench.sent_request();
    bench.cannot_send(&udp);
    bench.expect_status(ALICE, 500);
    bench.expect_silence();
}

/// RFC 3261 9.1: a call that has been cancelled meanwhile is not tried again.
#[test]
fn a_cancelled_call_is_not_taken_back_to_udp() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    let (_, tcp) = bench.forwarded(&large(&invite("bob", "")));
    let cancel = invite("bob", "").replacen("INVITE", "CANCEL", 1).replace("1 INVITE", "1 CANCEL");
    bench.udp(ALICE, &cancel);
    bench.expect_status(ALICE, 200);
    bench.cannot_send(&tcp);
    let statuses = std::mem::take(&mut bench.sent);
    assert!(statuses.iter().all(|sent| sent.target.remote == address(ALICE)), "{statuses:?}");
}

/// A phone that asks for UDP, or that is behind NAT, cannot be reached otherwise.
#[test]
fn a_large_request_stays_with_udp_where_that_was_asked_for_or_nothing_else_leads() {
    const MAPPED: &str = "198.51.100.99:40000";
    for (contact, from) in
        [(format!("sip:bob@{BOB};transport=udp"), BOB), ("sip:bob@10.0.0.9".to_owned(), MAPPED)]
    {
        let mut bench = Bench::new(Plan::default());
        let own = format!("Contact: <sip:bob@{from}>");
        let text = super::harness::register("bob", from, "1");
        bench.udp(from, &text.replacen(&own, &format!("Contact: <{contact}>"), 1));
        bench.expect_status(from, 200);
        let (_, target) = bench.forwarded(&large(&invite("bob", "")));
        assert_eq!(target.transport, Transport::Udp, "{contact}");
    }
}

/// RFC 3263 has found the server; the size decides how it is spoken to.
#[test]
fn a_large_request_to_a_server_that_dns_has_found_goes_over_tcp() {
    for (suffix, wanted) in [("", Transport::Tcp), (";transport=udp", Transport::Udp)] {
        let mut bench = Bench::new(Plan { trusted: vec!["198.51.100.10"], ..Plan::default() });
        let uri = format!("INVITE sip:bob@far.test{suffix}");
        let request = large(&invite("bob", "")).replacen("INVITE sip:bob@example.test", &uri, 1);
        bench.udp(ALICE, &request);
        bench.expect_status(ALICE, 100);
        let token = bench.asked.pop().expect("a name is looked up").token;
        bench.resolved(token, hops_of(&["203.0.113.1:5060"]));
        assert_eq!(bench.sent_request().1.transport, wanted);
    }
}

/// A request within a call is as large as any.
#[test]
fn a_large_request_within_a_call_goes_over_tcp() {
    let mut bench = Bench::new(Plan::default());
    let (_, ok) = set_up(&mut bench);
    bench.udp(ALICE, &from_alice("INFO", 2, &ok, &padding(), ""));
    let (_, target) = bench.sent_request();
    assert_eq!((target.transport, target.remote), (Transport::Tcp, address(BOB)));
}
