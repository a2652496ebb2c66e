//! Requests within a call, and calls that take the place of others: what finds whom, and what passes as
//! it is.

use std::time::Duration;

use super::calls::{ALICE, BOB, from_alice, from_bob, invite, set_up, text};
use super::harness::{Bench, Plan, reply, sdp, show, with_body};
use crate::proxy::Load;
use crate::transport::ConnectionId;
use crate::wire::{HeaderName, Message};

const CAROL: &str = "198.51.100.30:5060";
/// Where Bob's messages come from: his phone is behind NAT and calls itself `INSIDE`.
const OUTSIDE: &str = "203.0.113.9:40001";
const INSIDE: &str = "10.0.0.5:5060";
/// Alice's connection.
const LINE: u64 = 7;

/// Each method with what is peculiar to it. The node has to understand none of it.
const REQUESTS: [(&str, &str); 8] = [
    ("PRACK", "RAck: 776656 1 INVITE\r\n"),
    ("UPDATE", "Supported: timer, 100rel\r\nMin-SE: 90\r\n"),
    ("INFO", "Info-Package: dtmf\r\nRecv-Info: dtmf\r\n"),
    (
        "REFER",
        "Refer-To: <sip:carol@example.test?Replaces=c%40x%3Bto-tag%3D1%3Bfrom-tag%3D2&Subject=a>\r\n\
         Referred-By: <sip:alice@example.test>;cid=\"1\"\r\n\
         Refer-Sub: false\r\nTarget-Dialog: c;local-tag=1;remote-tag=2\r\n",
    ),
    ("MESSAGE", "Date: Sat, 13 Nov 2010 23:29:00 GMT\r\n"),
    ("NOTIFY", "Event: refer;id=93809824\r\nSubscription-State: active;expires=60\r\n"),
    ("OPTIONS", "Accept: application/sdp\r\n"),
    ("FOO", "X-Foo: a,  b\r\nx-folded: one\r\n two\r\n"),
];

/// The header fields that are the sender's affair alone.
fn own(text: &str) -> Vec<String> {
    let message = Message::parse_datagram(text.to_owned().into()).unwrap();
    let is_hops = |name: &str| {
        ["via", "route", "max-forwards", "session-expires", "record-route"]
            .contains(&name.to_ascii_lowercase().as_str())
    };
    let headers = message.headers().filter(|header| !is_hops(header.raw_name));
    headers.map(|h| format!("{}: {}", h.raw_name, String::from_utf8_lossy(h.value))).collect()
}

/// Alice on a connection, Bob behind NAT: a Record-Route for each side (RFC 5658). Bob's INVITE and
/// Alice's 200.
fn across(bench: &mut Bench) -> (Message, Message) {
    let register = super::harness::register("bob", INSIDE, "1");
    bench.udp(OUTSIDE, &register.replacen(";branch", ";rport;branch", 1));
    bench.expect_status(OUTSIDE, 200);
    let call = invite("bob", &sdp("198.51.100.10", 4000)).replace("/UDP", "/TCP");
    bench.tcp(ALICE, LINE, &call);
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(OUTSIDE, "INVITE");
    let contact = format!("sip:bob@{INSIDE}");
    bench.udp(OUTSIDE, &reply(&forwarded, 200, "tb", &contact, &sdp("10.0.0.5", 6000)));
    let ok = bench.expect_status(ALICE, 200);
    bench.tcp(ALICE, LINE, &from_alice("ACK", 1, &ok, "", "").replace("/UDP", "/TCP"));
    bench.expect_request(OUTSIDE, "ACK");
    (forwarded, ok)
}

/// RFC 3261 16.6, 16.12: nothing but what a proxy has to do is done to them.
#[test]
fn requests_of_every_method_within_a_call_reach_the_other_party_as_they_are() {
    for (method, lines) in REQUESTS {
        let mut bench = Bench::new(Plan::default());
        let (forwarded, ok) = across(&mut bench);
        let lines = format!("{lines}Content-Type: text/x-any\r\n");
        let body = |text: String| {
            text.replace("Content-Length: 0\r\n\r\n", "Content-Length: 9\r\n\r\nfree text")
        };
        let sent = body(from_alice(method, 2, &ok, &lines, "")).replace("/UDP", "/TCP");
        bench.tcp(ALICE, LINE, &sent);
        let got = bench.expect_request(OUTSIDE, method);
        assert_eq!(got.request_uri(), format!("sip:bob@{INSIDE}"));
        assert_eq!((got.count(HeaderName::Route), got.vias().count()), (0, 2));
        assert_eq!((own(&show(&got)), text(&got).as_str()), (own(&sent), "free text"));
        let answer = reply(&got, 202, "tb", "sip:bob@x", "");
        bench.udp(OUTSIDE, &answer.replacen("\r\n", "\r\nX-Any: 1\r\n", 1));
        let passed = bench.expect_status(ALICE, 202);
        assert_eq!((passed.vias().count(), passed.first_str("X-Any")), (1, Some("1")));

        let sent = from_bob(method, 9, &forwarded, "").replace(BOB, INSIDE);
        let sent = body(sent.replacen("\r\n", &format!("\r\n{lines}"), 1));
        bench.udp(OUTSIDE, &sent);
        let way = bench.sent[0].target;
        assert_eq!(way.connection, Some(ConnectionId(LINE)), "her connection leads to Alice");
        let got = bench.expect_request(ALICE, method);
        assert_eq!(got.request_uri(), format!("sip:alice@{ALICE}"));
        assert_eq!((got.count(HeaderName::Route), got.vias().count()), (0, 2));
        assert_eq!((own(&show(&got)), text(&got).as_str()), (own(&sent), "free text"));
    }
}

/// RFC 3261 14.2: both parties change the call at once; each hears 491, and the call is as it was.
#[test]
fn two_re_invites_that_cross_are_both_answered_491_and_change_nothing() {
    let mut bench = Bench::new(Plan::default());
    let (forwarded, ok) = set_up(&mut bench);
    let before = bench.last_spec().clone();
    let moved = |at: &str| sdp(at, 7000);
    bench.udp(ALICE, &from_alice("INVITE", 2, &ok, "", &moved("198.51.100.10")));
    bench.expect_status(ALICE, 100);
    let to_bob = bench.expect_request(BOB, "INVITE");
    bench.udp(BOB, &from_bob("INVITE", 2, &forwarded, &moved("198.51.100.20")));
    bench.expect_status(BOB, 100);
    let to_alice = bench.expect_request(ALICE, "INVITE");
    bench.udp(BOB, &reply(&to_bob, 491, "tb", "sip:bob@x", ""));
    bench.expect_request(BOB, "ACK");
    bench.expect_status(ALICE, 491);
    bench.udp(ALICE, &reply(&to_alice, 491, "fa", "sip:alice@x", ""));
    bench.expect_request(ALICE, "ACK");
    bench.expect_status(BOB, 491);
    assert_eq!(*bench.last_spec(), before);
    bench.udp(ALICE, &from_alice("UPDATE", 3, &ok, "", ""));
    bench.expect_request(BOB, "UPDATE");
}

/// Carol's INVITE from `from`, to `uri`, that replaces what Alice and Bob have.
fn replacing(uri: &str) -> String {
    format!(
        "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {CAROL};branch=z9hG4bKc1\r\nMax-Forwards: 70\r\n\
         From: <sip:carol@example.test>;tag=fc\r\nTo: <sip:bob@example.test>\r\nCall-ID: call-2\r\n\
         CSeq: 1 INVITE\r\nContact: <sip:carol@{CAROL}>\r\nRequire: replaces\r\n\
         Replaces: call-1;to-tag=tb;from-tag=fa;early-only\r\nReferred-By: <sip:alice@example.test>\r\n{}",
        with_body(&sdp("198.51.100.30", 8000))
    )
}

/// RFC 3891 3, RFC 5589 7.3: an attended transfer. The call that replaces the other is one of its own,
/// with its own media, and finds the very phone whose Contact it names, behind its NAT too.
#[test]
fn a_call_that_replaces_another_finds_the_phone_that_has_it() {
    for uri in ["sip:bob@example.test".to_owned(), format!("sip:bob@{INSIDE}")] {
        let mut bench = Bench::new(Plan::default());
        let (_, ok) = across(&mut bench);
        bench.udp(CAROL, &replacing(&uri));
        bench.expect_status(CAROL, 100);
        let got = bench.expect_request(OUTSIDE, "INVITE");
        assert_eq!(got.request_uri(), format!("sip:bob@{INSIDE}"));
        let replaces = Some("call-1;to-tag=tb;from-tag=fa;early-only");
        assert_eq!(got.first_str(HeaderName::Replaces), replaces);
        assert_eq!(got.first_str(HeaderName::ReferredBy), Some("<sip:alice@example.test>"));
        assert!(got.has_token(HeaderName::Require, "replaces"));
        let contact = format!("sip:bob@{INSIDE}");
        bench.udp(OUTSIDE, &reply(&got, 200, "t2", &contact, &sdp("10.0.0.5", 6002)));
        bench.expect_status(CAROL, 200);
        let sessions: Vec<_> = bench.commands.iter().map(|command| command.session()).collect();
        assert_ne!(sessions.first(), sessions.last(), "media of its own");
        // RFC 3891 3: Bob's phone ends the call that has been replaced.
        let bye = from_alice("BYE", 2, &ok, "", "").replace("/UDP", "/TCP");
        bench.tcp(ALICE, LINE, &bye);
        let bye = bench.expect_request(OUTSIDE, "BYE");
        bench.udp(OUTSIDE, &reply(&bye, 200, "tb", "sip:bob@x", ""));
        bench.expect_status(ALICE, 200);
        assert_eq!((bench.records.len(), bench.proxy.load().calls), (1, 1));
    }
}

/// What no phone has registered is another's: an open domain does not relay there.
#[test]
fn a_contact_that_is_not_registered_is_no_way_through_an_open_domain() {
    let mut bench = Bench::new(Plan::default());
    across(&mut bench);
    for uri in ["sip:bob@10.0.0.6:5060", "sip:alice@10.0.0.5:5060", "sip:bob@10.0.0.5:5061"] {
        bench.udp(CAROL, &replacing(uri).replace("bKc1", &format!("bKc{}", uri.len())));
        bench.expect_status(CAROL, 403);
        bench.udp(CAROL, &replacing(uri).replacen("INVITE", "ACK", 1).replace("1 INVITE", "1 ACK"));
        bench.pass(Duration::from_secs(40));
        bench.sent.clear();
    }
    assert_eq!(bench.proxy.load(), Load { calls: 1, sessions: 1, ..Load::default() });
}
