//! P-Asserted-Identity and Privacy as phones and peers see them (RFC 3323, RFC 3325).

use super::calls::{ALICE, BOB, from_alice, invite, set_up};
use super::harness::{Bench, Plan, reply, show};
use super::refusals::{alice_answers, credentials, with_users};
use crate::proxy::config::{NextHop, Route};
use crate::wire::{HeaderName, Message};

const PEER: &str = "203.0.113.7:5060";
const FORGED: &str =
    "P-Asserted-Identity: \"The Bank\" <sip:bank@example.test>, <tel:+15550100>\r\n";

/// Alice's INVITE to Bob with further header lines.
fn invite_with(extra: &str) -> String {
    invite("bob", "").replacen("Contact:", &format!("{extra}Contact:"), 1)
}

/// As [`invite_with`], with the credentials of alice that a challenge asks for; what reaches Bob.
fn authenticated(bench: &mut Bench, extra: &str, from: &str) -> Message {
    let text = invite_with(extra).replacen("sip:alice@example.test", from, 1);
    bench.udp(ALICE, &text);
    let challenge = bench.expect_status(ALICE, 407);
    let auth = alice_answers(&challenge, "INVITE", "sip:bob@example.test");
    let extra = format!("Proxy-Authorization: {auth}\r\nContact:");
    let again = text.replacen("Contact:", &extra, 1).replace("CSeq: 1", "CSeq: 2");
    bench.udp(ALICE, &again.replace("z9hG4bKa1", "z9hG4bKa2"));
    bench.message_to(ALICE);
    bench.message_to(BOB)
}

/// A node with users alice and bob, of whom bob has registered.
fn node(mut plan: Plan) -> Bench {
    plan.users = with_users().users;
    let mut bench = Bench::new(plan);
    let register = format!(
        "REGISTER sip:example.test SIP/2.0\r\nVia: SIP/2.0/UDP {BOB};branch=z9hG4bKreg\r\n\
         From: <sip:bob@example.test>;tag=r\r\nTo: <sip:bob@example.test>\r\nCall-ID: reg\r\n\
         CSeq: 1 REGISTER\r\nContact: <sip:bob@{BOB}>\r\nContent-Length: 0\r\n\r\n"
    );
    bench.udp(BOB, &register);
    let challenge = bench.expect_status(BOB, 401);
    let name = HeaderName::WwwAuthenticate;
    let auth = credentials(&challenge, name, "bob", "builder", "REGISTER", "sip:example.test");
    let register = register
        .replace("Contact:", &format!("Authorization: {auth}\r\nContact:"))
        .replace("z9hG4bKreg", "z9hG4bKreg2");
    bench.udp(BOB, &register.replace("CSeq: 1", "CSeq: 2"));
    bench.expect_status(BOB, 200);
    bench
}

#[track_caller]
fn assert_identity(message: &Message, wanted: &[&str]) {
    let values = message.values(HeaderName::PAssertedIdentity);
    let values: Vec<_> = values.map(|value| String::from_utf8_lossy(value).into_owned()).collect();
    assert_eq!(values, wanted, "{}", show(message));
    assert!(!message.has(HeaderName::PPreferredIdentity), "{}", show(message));
}

/// RFC 3325 5: what a source that is not trusted says of itself goes no further.
#[test]
fn an_untrusted_caller_asserts_nothing() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    bench.udp(ALICE, &invite_with(&format!("{FORGED}P-Preferred-Identity: <sip:x@y.z>\r\n")));
    bench.expect_status(ALICE, 100);
    assert_identity(&bench.expect_request(BOB, "INVITE"), &[]);
}

/// RFC 3325 5: the proxy inserts the identity that it has authenticated, in place of any other.
#[test]
fn an_authenticated_caller_is_asserted_by_its_address_of_record() {
    let mut bench = node(Plan::default());
    let got = authenticated(&mut bench, FORGED, "sip:alice@example.test");
    assert_identity(&got, &["<sip:alice@example.test>"]);
}

/// `sip.assert_identity = false`.
#[test]
fn nobody_is_asserted_where_the_settings_say_so_and_forgeries_go_all_the_same() {
    let mut bench = node(Plan { assert_identity: false, ..Plan::default() });
    let got = authenticated(&mut bench, FORGED, "sip:alice@example.test");
    assert_identity(&got, &[]);
}

/// RFC 3325 9.2: a hint counts if it is the user's own address, and goes no further in any case.
#[test]
fn a_preferred_identity_is_believed_of_ones_own_address_alone() {
    let own = "P-Preferred-Identity: <sip:alice@192.0.2.1>\r\n";
    let got = authenticated(&mut node(Plan::default()), own, "sip:alice@example.test");
    assert_identity(&got, &["<sip:alice@192.0.2.1>"]);
    let others = "P-Preferred-Identity: <sip:bob@example.test>\r\n";
    let got = authenticated(&mut node(Plan::default()), others, "sip:alice@example.test");
    assert_identity(&got, &["<sip:alice@example.test>"]);
}

/// RFC 3323 4.1.1.3, RFC 3325 7: a user may hide from who is called, and not from this node. A phone is
/// outside of the trust domain.
#[test]
fn an_anonymous_caller_authenticates_and_is_not_named_to_a_phone_if_it_asks_for_that() {
    let anonymous = "sip:anonymous@anonymous.invalid";
    let private = authenticated(&mut node(Plan::default()), "Privacy: id\r\n", anonymous);
    assert_identity(&private, &[]);
    assert_eq!(private.first_str(HeaderName::Privacy), Some("id"), "it may be asked of others");
    let plain = authenticated(&mut node(Plan::default()), "Privacy: none\r\n", anonymous);
    assert_identity(&plain, &["<sip:alice@example.test>"]);
}

fn peered() -> Plan {
    let next_hops = vec![NextHop::Address(PEER.parse().unwrap())];
    let route = Route { domain: "peer.test".to_owned(), next_hops, transport: None };
    Plan { trusted: vec!["203.0.113.7", "198.51.100.10"], routes: vec![route], ..Plan::default() }
}

/// RFC 3325 5, 7: within the trust domain identities pass, even those that are to be kept private.
#[test]
fn trusted_peers_assert_to_one_another_and_privately_to_no_phone() {
    let asserted = "P-Asserted-Identity: <sip:carol@peer.test>\r\nPrivacy: critical; id\r\n";
    let mut bench = Bench::new(peered());
    bench.udp(ALICE, &invite_with(asserted).replace("bob@example.test", "bob@peer.test"));
    bench.expect_status(ALICE, 100);
    assert_identity(&bench.expect_request(PEER, "INVITE"), &["<sip:carol@peer.test>"]);

    let mut bench = Bench::new(peered());
    bench.register("bob", BOB);
    bench.udp(ALICE, &invite_with(asserted));
    bench.expect_status(ALICE, 100);
    assert_identity(&bench.expect_request(BOB, "INVITE"), &[]);

    let mut bench = Bench::new(peered());
    bench.register("bob", BOB);
    bench.udp(ALICE, &invite_with("P-Asserted-Identity: <sip:carol@peer.test>\r\n"));
    bench.expect_status(ALICE, 100);
    assert_identity(&bench.expect_request(BOB, "INVITE"), &["<sip:carol@peer.test>"]);
}

/// RFC 3325 6: whoever responds has not authenticated.
#[test]
fn a_phone_asserts_nothing_by_its_responses_and_a_trusted_peer_does() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    bench.udp(ALICE, &invite_with(""));
    bench.expect_status(ALICE, 100);
    let got = bench.expect_request(BOB, "INVITE");
    let busy = |got: &Message| {
        let busy = reply(got, 486, "tb", "sip:bob@peer.test", "");
        busy.replacen("Contact:", &format!("{FORGED}Contact:"), 1)
    };
    bench.udp(BOB, &busy(&got));
    bench.expect_request(BOB, "ACK");
    assert_identity(&bench.expect_status(ALICE, 486), &[]);

    let mut bench = Bench::new(peered());
    bench.udp(ALICE, &invite_with("").replace("bob@example.test", "bob@peer.test"));
    bench.expect_status(ALICE, 100);
    let got = bench.expect_request(PEER, "INVITE");
    bench.udp(PEER, &busy(&got));
    bench.expect_request(PEER, "ACK");
    let refused = bench.expect_status(ALICE, 486);
    assert_identity(&refused, &["\"The Bank\" <sip:bank@example.test>", "<tel:+15550100>"]);
}

/// Nobody is authenticated within a call.
#[test]
fn requests_within_a_call_assert_nothing() {
    let mut bench = Bench::new(Plan::default());
    let (_, ok) = set_up(&mut bench);
    for (method, cseq) in [("INFO", 2), ("ACK", 1)] {
        bench.udp(ALICE, &from_alice(method, cseq, &ok, FORGED, ""));
        assert_identity(&bench.expect_request(BOB, method), &[]);
    }
}

/// RFC 3323 5: 500 for what is critical and cannot be given; RFC 3323 4.2: the rest is for others.
#[test]
fn a_critical_privacy_service_is_refused_and_any_other_passes() {
    for service in ["header", "user;critical", "session", "Critical;Header", "id;critical", "none"]
    {
        let mut bench = Bench::new(Plan::default());
        bench.register("bob", BOB);
        bench.udp(ALICE, &invite_with(&format!("Privacy: {service}\r\n")));
        bench.expect_status(ALICE, 100);
        if matches!(service, "user;critical" | "Critical;Header") {
            bench.expect_status(ALICE, 500);
        } else {
            let got = bench.expect_request(BOB, "INVITE");
            assert_eq!(got.first_str(HeaderName::Privacy), Some(service));
        }
    }
}
