//! Parties of a call who change their network, and strangers who would like to be taken for them.

use super::calls::{BOB, from_alice, from_bob, invite};
use super::harness::{Bench, Plan, address, register, reply};
use super::refusals::credentials;
use crate::transport::ConnectionId;
use crate::wire::{HeaderName, Message};

const HOME: &str = "203.0.113.7:31000";
const MOBILE: &str = "203.0.113.99:41000";
const STRANGER: &str = "203.0.113.66:6666";

/// What Alice's phone writes: a private address, behind whatever NAT.
fn behind_nat(request: &str) -> String {
    request
        .replace("Via: SIP/2.0/UDP 198.51.100.10:5060;", "Via: SIP/2.0/UDP 10.0.0.9;rport;")
        .replace("Contact: <sip:alice@198.51.100.10:5060>", "Contact: <sip:alice@10.0.0.9>")
}

/// `request` with the credentials that `challenged` asks for.
fn with_password(request: &str, challenged: &Message, user: &str, password: &str) -> String {
    let mut words = request.split(' ');
    let (method, uri) = (words.next().unwrap(), words.next().unwrap());
    let name = HeaderName::ProxyAuthenticate;
    let auth = credentials(challenged, name, user, password, method, uri);
    request.replacen("Call-ID", &format!("Proxy-Authorization: {auth}\r\nCall-ID"), 1)
}

/// A call from Alice at home to Bob: the INVITE that he got, and the 200 that she got.
fn call(bench: &mut Bench, is_open: bool) -> (Message, Message) {
    bench.register("bob", BOB);
    let mut request = behind_nat(&invite("bob", ""));
    if !is_open {
        bench.udp(HOME, &request);
        let challenge = bench.expect_status(HOME, 407);
        let again = request.replace("1 INVITE", "2 INVITE").replace("z9hG4bKa1", "z9hG4bKa2");
        request = with_password(&again, &challenge, "alice", "wonder");
    }
    bench.udp(HOME, &request);
    bench.expect_status(HOME, 100);
    let invite = bench.expect_request(BOB, "INVITE");
    bench.udp(BOB, &reply(&invite, 200, "tb", &format!("sip:bob@{BOB}"), ""));
    let ok = bench.expect_status(HOME, 200);
    bench.udp(HOME, &behind_nat(&from_alice("ACK", if is_open { 1 } else { 2 }, &ok, "", "")));
    bench.expect_request(BOB, "ACK");
    (invite, ok)
}

fn closed() -> Bench {
    let users = vec![("alice", "wonder"), ("bob", "builder"), ("carol", "choir")];
    Bench::new(Plan { users, trusted: vec!["198.51.100.20"], ..Plan::default() })
}

impl Bench {
    /// Where a request of Bob's goes.
    #[track_caller]
    fn expect_alice_at(&mut self, at: &str, cseq: u32, invite: &Message) {
        self.udp(BOB, &from_bob("INFO", cseq, invite, ""));
        self.expect_request(at, "INFO");
    }
}

/// RFC 3261 12.2.1.1: a re-INVITE is how a phone tells that it is elsewhere. With the password it is
/// believed, and what the other party sends goes there.
#[test]
fn a_phone_that_changes_its_network_takes_its_call_along() {
    for method in ["INVITE", "UPDATE"] {
        let mut bench = closed();
        let (invite, ok) = call(&mut bench, false);
        bench.expect_alice_at(HOME, 7, &invite);
        bench.udp(MOBILE, &behind_nat(&from_alice(method, 3, &ok, "", "")));
        let challenge = bench.expect_status(MOBILE, 407);
        bench.expect_silence();
        bench.expect_alice_at(HOME, 8, &invite);
        let again = behind_nat(&from_alice(method, 4, &ok, "", ""));
        bench.udp(MOBILE, &with_password(&again, &challenge, "alice", "wonder"));
        if method == "INVITE" {
            bench.expect_status(MOBILE, 100);
        }
        let passed = bench.expect_request(BOB, method);
        assert_eq!(passed.count(HeaderName::ProxyAuthorization), 0);
        bench.udp(BOB, &reply(&passed, 200, "tb", &format!("sip:bob@{BOB}"), ""));
        bench.expect_status(MOBILE, 200);
        bench.expect_alice_at(MOBILE, 9, &invite);
        bench.udp(BOB, &from_bob("BYE", 10, &invite, ""));
        bench.expect_request(MOBILE, "BYE");
    }
}

/// Whoever has seen a message of the call knows its Call-ID and tags; that turns it to nobody.
#[test]
fn a_stranger_who_knows_a_call_does_not_get_it() {
    let mut bench = closed();
    let (invite, ok) = call(&mut bench, false);
    for (cseq, method) in [(3, "INVITE"), (4, "UPDATE")] {
        let request = behind_nat(&from_alice(method, cseq, &ok, "", ""));
        bench.udp(STRANGER, &request);
        let challenge = bench.expect_status(STRANGER, 407);
        let again = request.replace("z9hG4bK", "z9hG4bKx");
        bench.udp(STRANGER, &with_password(&again, &challenge, "alice", "guess"));
        bench.expect_status(STRANGER, 407);
        bench.expect_silence();
        bench.expect_alice_at(HOME, 10 + cseq, &invite);
    }
    // What is not held up is passed on, and turns nothing either.
    bench.udp(STRANGER, &behind_nat(&from_alice("INFO", 20, &ok, "", "")));
    bench.expect_request(BOB, "INFO");
    bench.expect_alice_at(HOME, 30, &invite);
}

/// A user's password is good for the user alone.
#[test]
fn another_user_does_not_get_a_call_by_a_password_of_his_own() {
    let mut bench = closed();
    let (invite, ok) = call(&mut bench, false);
    let request = behind_nat(&from_alice("UPDATE", 3, &ok, "", ""));
    bench.udp(STRANGER, &request);
    let challenge = bench.expect_status(STRANGER, 407);
    let again = request.replace("z9hG4bK", "z9hG4bKx").replace("3 UPDATE", "4 UPDATE");
    bench.udp(STRANGER, &with_password(&again, &challenge, "carol", "choir"));
    bench.expect_request(BOB, "UPDATE");
    bench.expect_alice_at(HOME, 7, &invite);
}

/// A device that has registered from where it is now is believed without a password; once. What an
/// eavesdropper sends again from elsewhere is old.
#[test]
fn a_registered_device_takes_its_call_along_and_a_replay_does_not_take_it_away() {
    let mut bench = Bench::new(Plan::default());
    let (invite, ok) = call(&mut bench, true);
    let registered = |at: &str| {
        register("alice", at, "1")
            .replace(&format!("Contact: <sip:alice@{at}>"), "Contact: <sip:alice@10.0.0.9>")
    };
    bench.udp(MOBILE, &registered(MOBILE));
    bench.expect_status(MOBILE, 200);
    let info = behind_nat(&from_alice("INFO", 5, &ok, "", ""));
    bench.udp(STRANGER, &info.replace("z9hG4bK", "z9hG4bKs").replace("5 INFO", "4 INFO"));
    bench.expect_request(BOB, "INFO");
    bench.expect_alice_at(HOME, 7, &invite);
    bench.udp(MOBILE, &info);
    bench.expect_request(BOB, "INFO");
    bench.expect_alice_at(MOBILE, 8, &invite);
    // Even if he can register, too: the number is used up.
    bench.udp(STRANGER, &registered(STRANGER).replace("CSeq: 1", "CSeq: 2"));
    bench.expect_status(STRANGER, 200);
    bench.udp(STRANGER, &info.replace("z9hG4bK", "z9hG4bKr"));
    bench.expect_request(BOB, "INFO");
    bench.expect_alice_at(MOBILE, 9, &invite);
}

/// A party that can be reached where its Contact says is not asked for a password because it sends from
/// another port than it listens at.
#[test]
fn a_phone_that_sends_from_another_port_than_its_contact_names_is_where_it_was() {
    let mut bench = closed();
    let (invite, _) = call(&mut bench, false);
    let aside = "198.51.100.20:49152";
    for (cseq, method) in [(3, "UPDATE"), (4, "INFO"), (5, "BYE")] {
        bench.udp(aside, &from_bob(method, cseq, &invite, "").replace(";branch", ";rport;branch"));
        bench.expect_request(HOME, method);
        bench.expect_silence();
    }
}

/// RFC 5626 7 for what is under way: the connection has closed, and the phone has registered the same
/// Contact over another one.
#[test]
fn a_phone_whose_connection_was_opened_anew_keeps_its_call() {
    const OLD: &str = "198.51.100.40:41000";
    const NEW: &str = "198.51.100.41:42000";
    let mut bench = Bench::new(Plan::default());
    let register = |at: &str, cseq: u32| {
        let port = address(at).port();
        format!(
            "REGISTER sip:example.test SIP/2.0\r\nVia: SIP/2.0/TCP 10.0.0.4:{port};branch=z9hG4bKr{port}\r\n\
             From: <sip:dora@example.test>;tag=r\r\nTo: <sip:dora@example.test>\r\nCall-ID: r\r\n\
             CSeq: {cseq} REGISTER\r\nContact: <sip:dora@10.0.0.4;transport=tcp>\r\nContent-Length: 0\r\n\r\n"
        )
    };
    bench.tcp(OLD, 1, &register(OLD, 1));
    bench.expect_status(OLD, 200);
    bench.udp(HOME, &behind_nat(&invite("dora", "")));
    bench.expect_status(HOME, 100);
    let request = bench.expect_request(OLD, "INVITE");
    bench.tcp(OLD, 1, &reply(&request, 200, "td", "sip:dora@10.0.0.4;transport=tcp", ""));
    let ok = bench.expect_status(HOME, 200);
    bench.close(1);
    bench.tcp(NEW, 2, &register(NEW, 2));
    bench.expect_status(NEW, 200);
    for (cseq, method) in [(1, "ACK"), (2, "BYE")] {
        bench.udp(HOME, &behind_nat(&from_alice(method, cseq, &ok, "", "")));
        assert_eq!(bench.sent[0].target.connection, Some(ConnectionId(2)), "{method}");
        bench.expect_request(NEW, method);
    }
}

/// RFC 5627: a device whose Contact in the call is its GRUU is found where it has registered since, and
/// stays on the flow that the call is on while that is registered.
#[test]
fn a_device_that_is_named_by_its_gruu_is_found_where_it_has_registered_since() {
    const GRUU: &str = "sip:dora@example.test;gr=urn:uuid:d";
    let flow = |at: &str, host: u8, reg_id: u8, cseq: u8| {
        register("dora", at, "1")
            .replace("CSeq: 1", &format!("CSeq: {cseq}"))
            .replace(&format!("reg-dora-{at}"), "reg-dora")
            .replace(
                &format!("Contact: <sip:dora@{at}>"),
                &format!(
                    "Supported: outbound\r\nContact: <sip:dora@10.0.0.{host}>;\
                     +sip.instance=\"<urn:uuid:d>\";reg-id={reg_id}"
                ),
            )
    };
    let mut bench = Bench::new(Plan::default());
    bench.udp(HOME, &flow(HOME, 4, 1, 1));
    bench.expect_status(HOME, 200);
    bench.udp(BOB, &behind_nat(&invite("dora", "")).replace("10.0.0.9", "198.51.100.20"));
    bench.expect_status(BOB, 100);
    let request = bench.expect_request(HOME, "INVITE");
    bench.udp(HOME, &reply(&request, 200, "td", GRUU, ""));
    let ok = bench.expect_status(BOB, 200);
    bench.udp(STRANGER, &flow(STRANGER, 5, 2, 2));
    bench.expect_status(STRANGER, 200);
    bench.udp(BOB, &from_alice("ACK", 1, &ok, "", ""));
    bench.expect_request(HOME, "ACK");
    bench.udp(MOBILE, &flow(MOBILE, 6, 1, 3));
    bench.expect_status(MOBILE, 200);
    bench.udp(BOB, &from_alice("BYE", 2, &ok, "", ""));
    assert_eq!(bench.expect_request(MOBILE, "BYE").request_uri(), GRUU);
}

/// RFC 5627 5.1: also a device that is not behind NAT is reached where it is, registered or not, and DNS is
/// not asked for the domain of its GRUU.
#[test]
fn a_device_that_is_named_by_its_gruu_is_reached_without_dns() {
    const ALICE: &str = "198.51.100.20:5070";
    let registered = |cseq: u8, expires: u8| {
        let instance = format!("{BOB}>;+sip.instance=\"<urn:uuid:b>\";expires={expires}");
        register("bob", BOB, &cseq.to_string())
            .replace("CSeq: 1", &format!("CSeq: {cseq}"))
            .replace(&format!("{BOB}>"), &instance)
    };
    let mut bench = closed();
    bench.udp(BOB, &registered(1, 60));
    bench.expect_status(BOB, 200);
    bench.udp(ALICE, &behind_nat(&invite("bob", "")));
    bench.expect_status(ALICE, 100);
    let request = bench.expect_request(BOB, "INVITE");
    bench.udp(BOB, &reply(&request, 200, "tb", "sip:bob@example.test;gr=urn:uuid:b", ""));
    let ok = bench.expect_status(ALICE, 200);
    bench.udp(ALICE, &behind_nat(&from_alice("ACK", 1, &ok, "", "")));
    bench.expect_request(BOB, "ACK");
    bench.udp(BOB, &registered(2, 0));
    bench.expect_status(BOB, 200);
    bench.udp(ALICE, &behind_nat(&from_alice("BYE", 2, &ok, "", "")));
    bench.expect_request(BOB, "BYE");
}
