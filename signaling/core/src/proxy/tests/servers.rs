//! Names that are looked up, servers that fail, and contacts that are preferred.

use std::time::Duration;

use super::calls::{ALICE, BOB, invite};
use super::harness::{Bench, Plan, address, hops_of as hops, reply};
use crate::resolve::{Hop, ResolveError};
use crate::transport::Transport;
use crate::wire::HeaderName;

const ONE: &str = "203.0.113.1:5060";
const TWO: &str = "203.0.113.2:5060";

fn bench() -> Bench {
    let users = vec![("alice", "wonder"), ("bob", "builder")];
    Bench::new(Plan { users, trusted: vec!["198.51.100.10"], ..Plan::default() })
}

fn abroad(call: u32) -> String {
    invite("bob", "")
        .replace("INVITE sip:bob@example.test", "INVITE sip:bob@far.test")
        .replace("branch=z9hG4bK", &format!("branch=z9hG4bK{call}"))
        .replacen("Call-ID: ", &format!("Call-ID: {call}-"), 1)
}

impl Bench {
    /// A call to another domain, which asks DNS for these servers.
    fn call_abroad(&mut self, call: u32, found: Result<Vec<Hop>, ResolveError>) {
        self.udp(ALICE, &abroad(call));
        self.expect_status(ALICE, 100);
        self.expect_silence();
        let ask = self.asked.pop().expect("a name is looked up");
        assert_eq!(&*ask.query.host, "far.test");
        self.resolved(ask.token, found);
    }
}

/// RFC 3261 17.2.1, 16.6 step 7: the caller hears 100 before anything is looked up.
#[test]
fn a_name_is_looked_up_after_the_100_and_the_request_goes_to_its_server() {
    let mut bench = bench();
    bench.call_abroad(1, hops(&[ONE]));
    let invite = bench.expect_request(ONE, "INVITE");
    assert_eq!(invite.request_uri(), "sip:bob@far.test");
}

/// RFC 5922 4, 7.1: a server that a name has led to has to prove that name, also for what follows on the
/// same way; one that is spoken to without TLS has nothing to prove.
#[test]
fn a_server_behind_a_name_has_to_prove_the_name_over_tls() {
    let mut bench =
        Bench::new(Plan { trusted: vec!["198.51.100.10"], secure: true, ..Plan::default() });
    let hop = |transport, name: &str| Hop {
        address: address(ONE),
        transport,
        server_name: Some(name.into()),
    };
    let mut numbers = Vec::new();
    for (call, transport, name) in [
        (1, Transport::Tls, "far.test"),
        (2, Transport::Tls, "near.test"),
        (3, Transport::Tls, "far.test"),
        (4, Transport::Udp, "far.test"),
    ] {
        bench.call_abroad(call, Ok(vec![hop(transport, name)]));
        let sent = bench.sent.pop_front().unwrap();
        let wanted = transport.is_secure().then_some(name);
        assert_eq!((sent.target.remote, sent.server_name.as_deref()), (address(ONE), wanted));
        numbers.push(sent.target.name);
    }
    assert!(numbers[0].is_some() && numbers[0] != numbers[1]);
    assert_eq!(numbers[2..], [numbers[0], None]);
}

/// What is answered where DNS leads nowhere.
#[test]
fn a_name_without_a_server_is_answered_with_the_reason() {
    for (error, status) in [
        (ResolveError::NotFound, 480),
        (ResolveError::NotReachable, 502),
        (ResolveError::NoAnswer, 504),
        (ResolveError::Busy, 503),
    ] {
        let mut bench = bench();
        bench.call_abroad(1, Err(error));
        bench.expect_status(ALICE, status);
    }
}

/// Whoever looks names up may fail to answer: the request does not wait for ever.
#[test]
fn a_request_that_dns_never_answers_is_given_up() {
    let mut bench = bench();
    bench.udp(ALICE, &abroad(1));
    bench.expect_status(ALICE, 100);
    bench.pass(Duration::from_secs(11));
    bench.expect_status(ALICE, 504);
    let token = bench.asked[0].token;
    bench.resolved(token, hops(&[ONE]));
    assert!(bench.sent.iter().all(|sent| sent.target.remote == address(ALICE)));
}

/// RFC 3261 9.2: a CANCEL while DNS is asked ends the call; the answer of DNS is of no use then.
#[test]
fn a_call_that_waits_for_dns_can_be_cancelled() {
    let mut bench = bench();
    bench.udp(ALICE, &abroad(1));
    bench.expect_status(ALICE, 100);
    let cancel = abroad(1).replacen("INVITE", "CANCEL", 1).replace("1 INVITE", "1 CANCEL");
    bench.udp(ALICE, &cancel);
    bench.expect_status(ALICE, 200);
    bench.expect_status(ALICE, 487);
    let token = bench.asked[0].token;
    bench.resolved(token, hops(&[ONE]));
    bench.expect_silence();
}

/// RFC 3263 4.3: each server gets a transaction of its own.
#[test]
fn a_503_is_followed_by_the_next_server_with_a_fresh_branch() {
    let mut bench = bench();
    bench.call_abroad(1, hops(&[ONE, TWO]));
    let first = bench.expect_request(ONE, "INVITE");
    bench.udp(ONE, &reply(&first, 503, "t1", "sip:x@y", ""));
    bench.expect_request(ONE, "ACK");
    let second = bench.expect_request(TWO, "INVITE");
    assert_ne!(first.top_via().branch(), second.top_via().branch());
    assert_eq!(second.vias().count(), 2);
    bench.udp(TWO, &reply(&second, 486, "t2", "sip:x@y", ""));
    bench.expect_request(TWO, "ACK");
    bench.expect_status(ALICE, 486);
}

/// RFC 3261 21.5.4, 20.33: a server that asks for silence gets it.
#[test]
fn a_server_is_left_out_for_as_long_as_its_retry_after_says() {
    let mut bench = bench();
    bench.call_abroad(1, hops(&[ONE]));
    let first = bench.expect_request(ONE, "INVITE");
    let busy = reply(&first, 503, "t1", "sip:x@y", "").replacen(
        "\r\n",
        "\r\nRetry-After: 30 (upgrade);duration=9\r\n",
        1,
    );
    bench.udp(ONE, &busy);
    bench.expect_request(ONE, "ACK");
    bench.expect_status(ALICE, 500);
    bench.sent.clear();
    bench.call_abroad(2, hops(&[ONE]));
    let refused = bench.expect_status(ALICE, 500);
    assert_eq!(refused.first_str(HeaderName::RetryAfter), Some("30"));
    bench.pass(Duration::from_secs(31));
    bench.sent.clear();
    bench.call_abroad(3, hops(&[ONE]));
    bench.expect_request(ONE, "INVITE");
}

/// RFC 3263 4.3: timer B, then the next; the call after it goes there straight away.
#[test]
fn a_silent_server_is_passed_over_and_remembered() {
    let mut bench = bench();
    bench.call_abroad(1, hops(&[ONE, TWO]));
    bench.expect_request(ONE, "INVITE");
    bench.pass(Duration::from_secs(33));
    bench.sent.retain(|sent| sent.target.remote == address(TWO));
    bench.expect_request(TWO, "INVITE");
    bench.sent.clear();
    bench.call_abroad(2, hops(&[ONE, TWO]));
    bench.expect_request(TWO, "INVITE");
}

/// A server that has let the phone ring has the call: there is no second try.
#[test]
fn a_503_after_ringing_is_final() {
    let mut bench = bench();
    bench.call_abroad(1, hops(&[ONE, TWO]));
    let first = bench.expect_request(ONE, "INVITE");
    bench.udp(ONE, &reply(&first, 180, "t1", "sip:x@y", ""));
    bench.expect_status(ALICE, 180);
    bench.udp(ONE, &reply(&first, 503, "t1", "sip:x@y", ""));
    bench.expect_request(ONE, "ACK");
    bench.expect_status(ALICE, 500);
    bench.expect_silence();
}

/// RFC 3261 16.6: a lower q waits for the failure of a higher one, or for its time.
#[test]
fn contacts_are_tried_by_their_q() {
    const DESK: &str = "198.51.100.21:5060";
    for refused in [true, false] {
        let mut bench = Bench::new(Plan::default());
        bench.register_with_q("bob", BOB, "0.9");
        bench.register_with_q("bob", DESK, "0.1");
        bench.udp(ALICE, &invite("bob", ""));
        bench.expect_status(ALICE, 100);
        let first = bench.expect_request(BOB, "INVITE");
        bench.expect_silence();
        if refused {
            bench.udp(BOB, &reply(&first, 486, "tb", "sip:x@y", ""));
            bench.expect_request(BOB, "ACK");
        } else {
            bench.udp(BOB, &reply(&first, 180, "tb", "sip:x@y", ""));
            bench.expect_status(ALICE, 180);
            bench.pass(Duration::from_secs(21));
            bench.sent.retain(|sent| sent.bytes.starts_with(b"CANCEL"));
            bench.expect_request(BOB, "CANCEL");
            bench.sent.clear();
            bench.udp(BOB, &reply(&first, 487, "tb", "sip:x@y", ""));
            bench.expect_request(BOB, "ACK");
        }
        let second = bench.expect_request(DESK, "INVITE");
        bench.udp(DESK, &reply(&second, 404, "td", "sip:x@y", ""));
        bench.expect_request(DESK, "ACK");
        bench.expect_status(ALICE, if refused { 486 } else { 404 });
        bench.pass(Duration::from_secs(60));
        bench.proxy.assert_clean();
    }
}

/// RFC 3261 16.7 step 5: a 6xx ends the search before a lower q has its turn.
#[test]
fn a_6xx_keeps_a_lower_q_from_being_tried() {
    let mut bench = Bench::new(Plan::default());
    bench.register_with_q("bob", BOB, "0.9");
    bench.register_with_q("bob", "198.51.100.21:5060", "0.1");
    bench.udp(ALICE, &invite("bob", ""));
    bench.expect_status(ALICE, 100);
    let first = bench.expect_request(BOB, "INVITE");
    bench.udp(BOB, &reply(&first, 603, "tb", "sip:x@y", ""));
    bench.expect_request(BOB, "ACK");
    bench.expect_status(ALICE, 603);
    bench.expect_silence();
}
