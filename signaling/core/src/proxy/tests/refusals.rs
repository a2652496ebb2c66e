//! Who and what is turned away, and how.

use std::time::Duration;

use bytes::Bytes;

use crate::auth::{AnswerTo, Challenge, Secret, answer};

use super::calls::{ALICE, BOB, invite};
use super::harness::{Bench, NODE, Plan, sdp, show};
use crate::overload;
use crate::proxy::config::{Limits, NextHop, Route};
use crate::proxy::output::Notice;
use crate::wire::{HeaderName, Message};

pub(super) fn with_users() -> Plan {
    Plan { users: vec![("alice", "wonder"), ("bob", "builder")], ..Plan::default() }
}

fn register(extra: &str, branch: &str) -> String {
    format!(
        "REGISTER sip:example.test SIP/2.0\r\nVia: SIP/2.0/UDP {ALICE};branch=z9hG4bK{branch}\r\n\
         From: <sip:alice@example.test>;tag=r\r\nTo: <sip:alice@example.test>\r\nCall-ID: reg\r\n\
         CSeq: {} REGISTER\r\nContact: <sip:alice@{ALICE}>\r\n{extra}Content-Length: 0\r\n\r\n",
        branch.len()
    )
}

/// The credentials that answer the challenge in `challenged`.
pub(super) fn credentials(
    challenged: &Message,
    name: HeaderName,
    user: &str,
    password: &str,
    method: &str,
    uri: &str,
) -> String {
    let value = challenged.lines(name).next().unwrap();
    let challenge = Challenge::parse(value).unwrap();
    let to = AnswerTo { method, uri, cnonce: "c0ffee", nc: 1 };
    answer(&challenge, user, &Secret::Plain(password.to_owned()), to).unwrap()
}

/// Those of alice, whose password is right.
pub(super) fn alice_answers(challenged: &Message, method: &str, uri: &str) -> String {
    let name = match challenged.status() {
        Some(407) => HeaderName::ProxyAuthenticate,
        Some(_) | None => HeaderName::WwwAuthenticate,
    };
    credentials(challenged, name, "alice", "wonder", method, uri)
}

/// RFC 3261 22.2.
#[test]
fn a_register_is_challenged_and_then_accepted() {
    let mut bench = Bench::new(with_users());
    bench.udp(ALICE, &register("", "a"));
    let challenge = bench.expect_status(ALICE, 401);
    let auth = alice_answers(&challenge, "REGISTER", "sip:example.test");
    bench.udp(ALICE, &register(&format!("Authorization: {auth}\r\n"), "aa"));
    let ok = bench.expect_status(ALICE, 200);
    assert_eq!(ok.contacts().count(), 1, "{}", show(&ok));
}

/// An unknown user and a wrong password look alike: nobody learns which users exist.
#[test]
fn bad_credentials_are_challenged_anew_with_a_fresh_nonce() {
    let mut bench = Bench::new(with_users());
    bench.udp(ALICE, &register("", "a"));
    let first = bench.expect_status(ALICE, 401);
    let auth = credentials(
        &first,
        HeaderName::WwwAuthenticate,
        "alice",
        "guess",
        "REGISTER",
        "sip:example.test",
    );
    bench.udp(ALICE, &register(&format!("Authorization: {auth}\r\n"), "aa"));
    let second = bench.expect_status(ALICE, 401);
    let nonce = |m: &Message| {
        String::from_utf8_lossy(m.first(HeaderName::WwwAuthenticate).unwrap()).into_owned()
    };
    assert_ne!(nonce(&first), nonce(&second));
    assert!(!nonce(&second).contains("stale"));
}

#[test]
fn nobody_registers_somebody_else() {
    let mut bench = Bench::new(with_users());
    let forged = |extra: &str, branch: &str| {
        register(extra, branch).replace("sip:alice@example.test", "sip:bob@example.test")
    };
    bench.udp(ALICE, &forged("", "a"));
    let challenge = bench.expect_status(ALICE, 401);
    let auth = alice_answers(&challenge, "REGISTER", "sip:example.test");
    bench.udp(ALICE, &forged(&format!("Authorization: {auth}\r\n"), "aa"));
    bench.expect_status(ALICE, 403);
}

/// RFC 3261 22.3: a call is challenged by the proxy, and the credentials go no further.
#[test]
fn a_call_is_challenged_and_its_credentials_are_not_passed_on() {
    let mut bench = Bench::new(Plan { trusted: vec!["198.51.100.20"], ..with_users() });
    bench.register("bob", BOB);
    bench.udp(ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
    let challenge = bench.expect_status(ALICE, 407);
    let auth = alice_answers(&challenge, "INVITE", "sip:bob@example.test");
    let again = invite("bob", &sdp("198.51.100.10", 4000))
        .replace("z9hG4bKa1", "z9hG4bKa2")
        .replace("CSeq: 1", "CSeq: 2")
        .replace("Contact:", &format!("Proxy-Authorization: {auth}\r\nContact:"));
    bench.udp(ALICE, &again);
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(BOB, "INVITE");
    assert_eq!(forwarded.count(HeaderName::ProxyAuthorization), 0);
}

#[test]
fn an_authenticated_user_may_not_call_in_another_name() {
    let mut bench = Bench::new(with_users());
    let call = invite("bob", "").replace("sip:alice@example.test", "sip:bob@example.test");
    bench.udp(ALICE, &call);
    let challenge = bench.expect_status(ALICE, 407);
    let auth = alice_answers(&challenge, "INVITE", "sip:bob@example.test");
    let again = call
        .replace("z9hG4bKa1", "z9hG4bKa2")
        .replace("Contact:", &format!("Proxy-Authorization: {auth}\r\nContact:"));
    bench.udp(ALICE, &again);
    bench.expect_status(ALICE, 403);
}

#[test]
fn a_stranger_may_not_call_users_here_unless_its_proxy_is_trusted() {
    let call = invite("bob", "").replace("sip:alice@example.test", "sip:alice@elsewhere.test");
    let mut bench = Bench::new(with_users());
    bench.udp(ALICE, &call);
    bench.expect_status(ALICE, 403);
    let mut bench =
        Bench::new(Plan { trusted: vec!["198.51.100.10", "198.51.100.20"], ..with_users() });
    bench.register("bob", BOB);
    bench.udp(ALICE, &call);
    bench.expect_status(ALICE, 100);
    bench.expect_request(BOB, "INVITE");
}

#[test]
fn an_unknown_user_is_404_and_one_without_a_phone_480() {
    let mut bench = Bench::new(Plan { trusted: vec!["198.51.100.10"], ..with_users() });
    bench.udp(ALICE, &invite("nobody", ""));
    bench.expect_status(ALICE, 404);
    bench.udp(ALICE, &invite("bob", "").replace("z9hG4bKa1", "z9hG4bKa2"));
    bench.expect_status(ALICE, 480);
}

/// An open domain must not be an open relay.
#[test]
fn an_open_domain_sends_nothing_to_other_domains() {
    let mut bench = Bench::new(Plan::default());
    let outward =
        invite("bob", "").replace("INVITE sip:bob@example.test", "INVITE sip:bob@203.0.113.50");
    bench.udp(ALICE, &outward);
    bench.expect_status(ALICE, 403);
}

#[test]
fn a_trusted_caller_reaches_a_routed_domain_and_no_other_without_dns() {
    let route = Route {
        domain: "pbx.example".to_owned(),
        next_hops: vec![NextHop::Address("203.0.113.50:5080".parse().unwrap())],
        transport: None,
    };
    let plan =
        || Plan { trusted: vec!["198.51.100.10"], routes: vec![route.clone()], ..with_users() };
    let to = |domain: &str| {
        invite("bob", "")
            .replace("INVITE sip:bob@example.test", &format!("INVITE sip:bob@{domain}"))
    };
    let mut bench = Bench::new(plan());
    bench.udp(ALICE, &to("pbx.example"));
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request("203.0.113.50:5080", "INVITE");
    assert_eq!(forwarded.request_uri(), "sip:bob@pbx.example");
    let mut bench = Bench::new(plan());
    bench.udp(ALICE, &to("other.example"));
    bench.expect_status(ALICE, 100);
    bench.expect_silence();
    assert_eq!(&*bench.asked[0].query.host, "other.example");
}

/// RFC 3261 16.3.
#[test]
fn requests_that_may_not_go_on_are_answered_as_the_rfc_says() {
    for (change, to, status) in [
        ("Max-Forwards: 70", "Max-Forwards: 0", 483),
        ("Max-Forwards: 70", "Max-Forwards: 70\r\nProxy-Require: teleport", 420),
        ("INVITE sip:bob@example.test", "INVITE mailto:bob@example.test", 416),
        ("INVITE sip:bob@example.test", "INVITE sip:example.test", 484),
    ] {
        let mut bench = Bench::new(Plan::default());
        bench.udp(ALICE, &invite("bob", "").replacen(change, to, 1));
        // 100 is sent only once the request is known to go on.
        bench.expect_status(ALICE, status);
    }
}

/// RFC 3261 16.3 step 4.
#[test]
fn a_request_that_comes_back_unchanged_is_a_loop_and_one_that_was_retargeted_is_not() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    bench.udp(ALICE, &invite("bob", ""));
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(BOB, "INVITE");
    // Bob's phone is a proxy that sends the request back as it was.
    let ours = String::from_utf8_lossy(forwarded.top_via().as_bytes()).into_owned();
    let back = |user: &str| {
        invite(user, "").replacen(
            "Via:",
            &format!("Via: SIP/2.0/UDP {BOB};branch=z9hG4bKx{user}\r\nVia: {ours}\r\nVia:"),
            1,
        )
    };
    bench.udp(BOB, &back("bob"));
    bench.expect_status(BOB, 482);
    bench.register("carol", "198.51.100.30:5060");
    bench.udp(BOB, &back("carol"));
    bench.expect_status(BOB, 100);
    bench.expect_request("198.51.100.30:5060", "INVITE");
}

/// RFC 3261 12.2.2, 15.1.2.
#[test]
fn a_request_for_a_call_that_does_not_exist_is_481_and_its_ack_silent() {
    let mut bench = Bench::new(Plan::default());
    let bye = invite("bob", "")
        .replacen("INVITE", "BYE", 1)
        .replace("1 INVITE", "1 BYE")
        .replace("To: <sip:bob@example.test>", "To: <sip:bob@example.test>;tag=gone");
    let routed = bye.replace(
        "Max-Forwards",
        &format!("Route: <sip:{NODE};lr;rf=0000000000000001>\r\nMax-Forwards"),
    );
    bench.udp(ALICE, &routed);
    bench.expect_status(ALICE, 481);
    bench.udp(ALICE, &bye.replace("z9hG4bKa1", "z9hG4bKa2"));
    bench.expect_status(ALICE, 481);
    bench.udp(
        ALICE,
        &routed
            .replacen("BYE", "ACK", 1)
            .replace("1 BYE", "1 ACK")
            .replace("z9hG4bKa1", "z9hG4bKa3"),
    );
    bench.expect_silence();
}

/// A stranger who learned the number of a call but not its tags gets nowhere.
#[test]
fn the_number_of_a_call_opens_nothing_without_its_tags() {
    let mut bench = Bench::new(Plan::default());
    let (_, ok) = super::calls::set_up(&mut bench);
    let bye = super::calls::from_alice("BYE", 9, &ok, "", "").replace("tag=fa", "tag=guess");
    bench.udp("203.0.113.66:5060", &bye);
    bench.expect_status("203.0.113.66:5060", 481);
    assert!(bench.records.is_empty());
}

#[test]
fn a_malformed_request_is_answered_400_with_what_is_wrong() {
    let mut bench = Bench::new(Plan::default());
    bench.udp(ALICE, &invite("bob", "").replace("CSeq: 1 INVITE\r\n", ""));
    let text = bench.next_to(ALICE);
    assert!(
        text.starts_with("SIP/2.0 400 ") && text.lines().next().unwrap().contains("CSeq"),
        "{text}"
    );
}

/// RFC 3261 17, 18: nothing is ever answered to a response, to an ACK or to noise.
#[test]
fn malformed_acks_responses_and_noise_are_met_with_silence() {
    let mut bench = Bench::new(Plan::default());
    for text in [
        "ACK sip:bob@example.test SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.10:5060;branch=z9hG4bKz\r\n\r\n",
        "SIP/2.0 200 OK\r\nVia: nonsense\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "\u{0}\u{1}\u{2}",
    ] {
        bench.udp(ALICE, text);
        bench.expect_silence();
    }
}

/// S56: a request for the node itself.
#[test]
fn options_for_the_node_is_answered_here() {
    let mut bench = Bench::new(with_users());
    let options = invite("bob", "")
        .replacen("INVITE sip:bob@example.test", &format!("OPTIONS sip:{NODE}"), 1)
        .replace("1 INVITE", "1 OPTIONS")
        .replace("Max-Forwards", &format!("Route: <sip:{NODE};lr>\r\nMax-Forwards"));
    bench.udp(ALICE, &options);
    let ok = bench.expect_status(ALICE, 200);
    assert!(ok.has(HeaderName::Allow));
}

#[test]
fn a_full_table_refuses_new_calls_and_keeps_the_old_ones() {
    let limits = Limits { calls: 1, ..Limits::default() };
    let overload = overload::Config { enabled: false, ..overload::Config::default() };
    let mut bench = Bench::new(Plan { limits, overload, ..Plan::default() });
    let (_, ok) = super::calls::set_up(&mut bench);
    let second = invite("bob", "").replace("call-1", "call-2").replace("z9hG4bKa1", "z9hG4bKa9");
    bench.udp(ALICE, &second);
    bench.expect_status(ALICE, 100);
    let refused = bench.expect_status(ALICE, 503);
    assert!(refused.has(HeaderName::RetryAfter));
    bench.udp(ALICE, &super::calls::from_alice("BYE", 2, &ok, "", ""));
    bench.expect_request(BOB, "BYE");
}

/// RFC 5626 5.3: a phone behind NAT that has lost its connection is on no device, at once.
#[test]
fn a_phone_that_only_its_closed_connection_led_to_is_not_registered() {
    let mut bench = Bench::new(Plan::default());
    let register = "REGISTER sip:example.test SIP/2.0\r\nVia: SIP/2.0/TCP 10.0.0.5;branch=z9hG4bKc1\r\n\
                    From: <sip:bob@example.test>;tag=r\r\nTo: <sip:bob@example.test>\r\nCall-ID: c\r\n\
                    CSeq: 1 REGISTER\r\nContact: <sip:bob@10.0.0.5;transport=tcp>\r\n\
                    Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n";
    bench.tcp(BOB, 7, register);
    bench.expect_status(BOB, 200);
    bench.proxy.handle_closed(bench.now, crate::transport::ConnectionId(7));
    bench.udp(ALICE, &invite("bob", ""));
    bench.expect_status(ALICE, 480);
    assert!(bench.proxy.registrar().is_empty());
}

/// RFC 3261 26.3.2.4: what is answered to a stranger over UDP goes out once for each time that it asks: with
/// a forged source ten retransmissions would hit somebody else.
#[test]
fn a_refusal_of_a_new_call_is_not_sent_again_unless_the_call_is() {
    let mut bench = Bench::new(with_users());
    let call = invite("bob", &sdp("198.51.100.10", 4000));
    bench.udp(ALICE, &call);
    let challenge = bench.expect_status(ALICE, 407);
    bench.pass(Duration::from_millis(400));
    bench.udp(ALICE, &call);
    let again = bench.expect_status(ALICE, 407);
    assert_eq!(again.to().tag(), challenge.to().tag(), "the answer was lost (RFC 3261 8.2.7)");
    bench.pass(Duration::from_secs(60));
    bench.expect_silence();
    bench.proxy.assert_clean();
}

/// Once there was a provisional response the caller does not repeat its INVITE, so that a refusal which is
/// lost has to come again (RFC 3261 17.2.1, timer G).
#[test]
fn a_refusal_after_a_provisional_response_is_sent_again() {
    let mut bench =
        Bench::new(Plan { limits: Limits { calls: 0, ..Limits::default() }, ..Plan::default() });
    bench.register("bob", BOB);
    bench.udp(ALICE, &invite("bob", ""));
    bench.expect_status(ALICE, 100);
    bench.expect_status(ALICE, 503);
    bench.pass(Duration::from_secs(1));
    bench.expect_status(ALICE, 503);
}

/// RFC 3261 16.4, 16.5: only `sip` and `sips` URIs lead anywhere; nothing is asked of DNS for others.
#[test]
fn a_route_that_is_no_sip_uri_is_refused() {
    let mut bench = Bench::new(Plan { trusted: vec!["198.51.100.10"], ..with_users() });
    let call = invite("bob", "").replace("Contact:", "Route: <tel:+15550100>\r\nContact:");
    bench.udp(ALICE, &call);
    bench.expect_status(ALICE, 416);
    assert!(bench.asked.is_empty(), "{:?}", bench.asked);
}

/// RFC 3261 16.3 step 5, 8.2.2.3: every extension is named, and one that cannot be read does not slip through.
#[test]
fn every_extension_that_a_proxy_should_support_is_named_as_unsupported() {
    let mut bench = Bench::new(Plan { trusted: vec!["198.51.100.10"], ..with_users() });
    let call = invite("bob", "")
        .replace("Contact:", "Proxy-Require: one, two\r\nProxy-Require: three\r\nContact:");
    bench.udp(ALICE, &call);
    let refused = bench.expect_status(ALICE, 420);
    let named: Vec<_> = refused.values(HeaderName::Unsupported).collect();
    assert_eq!(named, [&b"one"[..], b"two", b"three"]);
    let odd = Bytes::from([&b"Proxy-Require: \xff\r\nContact:"[..]].concat());
    let call = invite("bob", "").replace("z9hG4bKa1", "z9hG4bKa2").into_bytes();
    let at = call.windows(8).position(|eight| eight == b"Contact:").unwrap();
    let odd = [&call[..at], &odd[..], &call[at + 8..]].concat();
    bench.datagram(ALICE, odd.into());
    bench.expect_status(ALICE, 420);
}

/// S56: an example that many copy has a slip in the method's name. It is refused as any other that there is
/// not, and the operator is told why the balancer takes the node for dead.
#[test]
fn a_ping_whose_method_is_misspelt_is_refused_and_told_of() {
    let mut bench = Bench::new(Plan::default());
    let ping = format!(
        "OPTION sip:{NODE} SIP/2.0\r\nVia: SIP/2.0/UDP {ALICE};branch=z9hG4bKping\r\nRoute: <sip:{NODE};lr>\r\n\
         Max-Forwards: 70\r\nFrom: <sip:lb@{ALICE}>;tag=l\r\nTo: <sip:{NODE}>\r\nCall-ID: ping\r\n\
         CSeq: 1 OPTION\r\nContent-Length: 0\r\n\r\n"
    );
    bench.udp(ALICE, &ping);
    bench.expect_status(ALICE, 501);
    assert_eq!(bench.notices, [Notice::NoSuchPing]);
    bench.notices.clear();
    bench.udp(
        ALICE,
        &ping.replace("OPTION ", "FETCH ").replace("1 OPTION", "1 FETCH").replace("ping", "fetch"),
    );
    bench.expect_status(ALICE, 501);
    assert_eq!(bench.notices, []);
}
