//! Dialogs without a call (SUBSCRIBE, REFER) between parties that only their flows lead to.

use super::calls::{ALICE, BOB};
use super::harness::{Bench, NODE, NODE_TLS, Plan, address, reply, show};
use super::refusals::credentials;
use crate::transport::ConnectionId;
use crate::wire::{HeaderName, Message};

/// Alice's phone is behind NAT, Bob's came over a connection.
const ALICE_NAT: &str = "203.0.113.7:31000";
const BOB_TCP: &str = "198.51.100.20:41000";

/// One request as a phone writes it; `to_tag` with `;tag=`.
struct Ask<'a> {
    method: &'a str,
    uri: &'a str,
    from: &'a str,
    to: &'a str,
    cseq: u32,
    routes: &'a [String],
    more: &'a str,
}

impl Ask<'_> {
    fn text(&self) -> String {
        let Ask { method, uri, from, to, cseq, routes, more } = self;
        let routes: String = routes.iter().map(|route| format!("Route: {route}\r\n")).collect();
        // What a response over a connection names is the port in Via (RFC 3261 18.2.2).
        let port = if from.contains("bob") { 41000 } else { 5060 };
        format!(
            "{method} {uri} SIP/2.0\r\n\
             Via: SIP/2.0/UDP 10.0.0.9:{port};branch=z9hG4bK{method}{cseq}{};rport\r\n{routes}\
             Max-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: sub@10.0.0.9\r\n\
             CSeq: {cseq} {method}\r\nContact: <sip:alice@10.0.0.9:5060>\r\n\
             Event: dialog\r\n{more}Content-Length: 0\r\n\r\n",
            from.len()
        )
    }
}

const FROM: &str = "<sip:alice@example.test>;tag=a";
const TO: &str = "<sip:bob@example.test>";
const TO_TAGGED: &str = "<sip:bob@example.test>;tag=b";
const BOB_URI: &str = "sip:bob@10.0.0.20:5060;transport=tcp";

fn initial(method: &str) -> String {
    let (uri, from, to) = ("sip:bob@example.test", FROM, TO);
    Ask { method, uri, from, to, cseq: 1, routes: &[], more: "" }.text()
}

fn within(method: &str, cseq: u32, routes: &[String]) -> String {
    let (uri, from, to) = (BOB_URI, FROM, TO_TAGGED);
    Ask { method, uri, from, to, cseq, routes, more: "" }.text()
}

fn notify(cseq: u32, routes: &[String]) -> String {
    let (uri, from, to) = ("sip:alice@10.0.0.9:5060", TO_TAGGED, FROM);
    Ask { method: "NOTIFY", uri, from, to, cseq, routes, more: "" }.text()
}

fn record_routes(message: &Message) -> Vec<String> {
    message.record_routes().map(|route| format!("<{}>", route.unwrap().uri_text())).collect()
}

fn reversed(routes: &[String]) -> Vec<String> {
    routes.iter().rev().cloned().collect()
}

impl Bench {
    fn register_bob(&mut self, connection: u64, at: &str) {
        let port = address(at).port();
        let request = format!(
            "REGISTER sip:example.test SIP/2.0\r\n\
             Via: SIP/2.0/TCP 10.0.0.20:{port};branch=z9hG4bKr{connection};rport\r\n\
             From: {TO};tag=r\r\nTo: {TO}\r\nCall-ID: r\r\nCSeq: {connection} REGISTER\r\n\
             Contact: <{BOB_URI}>\r\nContent-Length: 0\r\n\r\n"
        );
        self.tcp(at, connection, &request);
        self.expect_status(at, 200);
    }

    /// Alice subscribes to Bob; our Record-Route values as Bob sees them.
    fn subscribe(&mut self, method: &str) -> Vec<String> {
        self.register_bob(1, BOB_TCP);
        self.udp(ALICE_NAT, &initial(method));
        let request = self.expect_request(BOB_TCP, method);
        let routes = record_routes(&request);
        self.tcp(BOB_TCP, 1, &reply(&request, 200, "b", BOB_URI, ""));
        let ok = self.expect_status(ALICE_NAT, 200);
        assert_eq!(record_routes(&ok), routes);
        routes
    }
}

fn open() -> Bench {
    Bench::new(Plan::default())
}

/// RFC 5626 5.3, RFC 3261 16.6 step 4: both ways, though neither Contact can be reached as written.
#[test]
fn what_belongs_to_a_subscription_finds_the_flows_of_both_parties() {
    for method in ["SUBSCRIBE", "REFER"] {
        let mut bench = open();
        let routes = bench.subscribe(method);
        bench.tcp(BOB_TCP, 1, &notify(7, &routes));
        let notified = bench.expect_request(ALICE_NAT, "NOTIFY");
        assert_eq!(notified.request_uri(), "sip:alice@10.0.0.9:5060");
        assert_eq!(notified.count(HeaderName::Route), 0, "{}", show(&notified));
        bench.udp(ALICE_NAT, &reply(&notified, 200, "a", "sip:alice@10.0.0.9:5060", ""));
        bench.expect_status(BOB_TCP, 200);
        for (cseq, method) in [(2, "SUBSCRIBE"), (3, "MESSAGE"), (4, "OPTIONS"), (5, "REFER")] {
            bench.udp(ALICE_NAT, &within(method, cseq, &reversed(&routes)));
            assert_eq!(bench.sent[0].target.connection, Some(ConnectionId(1)));
            let passed = bench.expect_request(BOB_TCP, method);
            assert_eq!(passed.request_uri(), BOB_URI);
            assert_eq!(passed.count(HeaderName::RecordRoute), 0, "{}", show(&passed));
        }
    }
}

/// The order of our Record-Routes tells the way, not where the request comes from: NAT may have given
/// its sender another port since.
#[test]
fn a_party_of_a_subscription_may_send_from_elsewhere() {
    let mut bench = open();
    let routes = bench.subscribe("SUBSCRIBE");
    bench.udp("203.0.113.7:31999", &within("SUBSCRIBE", 2, &reversed(&routes)));
    bench.expect_request(BOB_TCP, "SUBSCRIBE");
    bench.tcp("198.51.100.20:42000", 9, &notify(2, &routes));
    bench.expect_request(ALICE_NAT, "NOTIFY");
}

/// RFC 6665 4.4.1: the subscriber takes its route set from the NOTIFY where that comes first.
#[test]
fn a_notify_carries_record_routes_that_lead_back() {
    let mut bench = open();
    let routes = bench.subscribe("SUBSCRIBE");
    bench.tcp(BOB_TCP, 1, &notify(7, &routes));
    let notified = bench.expect_request(ALICE_NAT, "NOTIFY");
    let back = record_routes(&notified);
    assert_eq!(back.len(), 2);
    bench.udp(ALICE_NAT, &within("SUBSCRIBE", 2, &back));
    bench.expect_request(BOB_TCP, "SUBSCRIBE");
}

/// Neither a message nor a query nor a publication makes a dialog.
#[test]
fn requests_that_make_no_dialog_get_no_record_route() {
    let mut bench = open();
    bench.register_bob(1, BOB_TCP);
    for method in ["MESSAGE", "OPTIONS", "PUBLISH"] {
        bench.udp(ALICE_NAT, &initial(method));
        let passed = bench.expect_request(BOB_TCP, method);
        assert_eq!(passed.count(HeaderName::RecordRoute), 0, "{}", show(&passed));
    }
}

/// The bytes that are added to a request: two values, of IPv6 addresses, too.
#[test]
fn record_routes_with_tokens_are_of_bounded_size() {
    let (alice, bob) = ("[2001:db8::7]:31000", "[2001:db8::20]:5060");
    let mut bench = open();
    bench.register("bob", bob);
    bench.udp(alice, &initial("SUBSCRIBE"));
    let request = bench.expect_request(bob, "SUBSCRIBE");
    let routes = record_routes(&request);
    assert!(routes.iter().all(|route| route.len() <= 160), "{routes:?}");
}

/// The values of both sides name what each side can send to (RFC 5658).
#[test]
fn the_record_routes_of_two_transports_name_both() {
    let mut bench = open();
    let routes = bench.subscribe("SUBSCRIBE");
    assert!(
        routes[0].contains("transport=tcp") && routes[1].contains("transport=udp"),
        "{routes:?}"
    );
    let mut secure = Bench::new(Plan { secure: true, ..Plan::default() });
    let register = super::harness::register("bob", BOB, "1").replacen("UDP", "TLS", 1);
    secure.tls(BOB, 1, &register);
    secure.expect_status(BOB, 200);
    let request = initial("SUBSCRIBE").replacen("sip:bob", "sips:bob", 1).replacen("UDP", "TLS", 1);
    secure.tls(ALICE, 2, &request);
    let request = secure.expect_request(BOB, "SUBSCRIBE");
    for route in record_routes(&request) {
        assert!(
            route.starts_with("<sips:") && route.contains(&format!("@{NODE_TLS};lr;ft")),
            "{route}"
        );
    }
}

/// Nobody is asked for a password within the dialog; a phone could not give one for its NOTIFY.
#[test]
fn within_a_dialog_nobody_is_challenged_and_outside_everybody_is() {
    let users = vec![("alice", "wonder"), ("bob", "builder")];
    let mut bench = Bench::new(Plan { users, trusted: vec!["198.51.100.20"], ..Plan::default() });
    bench.register_bob(1, BOB_TCP);
    bench.udp(ALICE_NAT, &initial("SUBSCRIBE"));
    let challenge = bench.expect_status(ALICE_NAT, 407);
    let name = HeaderName::ProxyAuthenticate;
    let auth =
        credentials(&challenge, name, "alice", "wonder", "SUBSCRIBE", "sip:bob@example.test");
    let more = format!("Proxy-Authorization: {auth}\r\n");
    let (uri, from, to) = ("sip:bob@example.test", FROM, TO);
    let again = Ask { method: "SUBSCRIBE", uri, from, to, cseq: 2, routes: &[], more: &more };
    bench.udp(ALICE_NAT, &again.text());
    let request = bench.expect_request(BOB_TCP, "SUBSCRIBE");
    let routes = record_routes(&request);
    bench.udp(ALICE_NAT, &within("SUBSCRIBE", 3, &reversed(&routes)));
    bench.expect_request(BOB_TCP, "SUBSCRIBE");
    // A request that is in no dialog is judged like any other, whatever token it shows.
    let reversed = reversed(&routes);
    let outside = Ask { method: "MESSAGE", uri, from, to, cseq: 4, routes: &reversed, more: "" };
    bench.udp(ALICE_NAT, &outside.text());
    bench.expect_status(ALICE_NAT, 407);
    bench.expect_silence();
}

/// RFC 5626 5.3.1: a token that was not made here, or not for this dialog, leads nowhere.
#[test]
fn a_forged_token_and_one_of_another_dialog_are_refused() {
    let mut bench = open();
    let routes = reversed(&bench.subscribe("SUBSCRIBE"));
    let (user, rest) = routes[1].strip_prefix("<sip:").unwrap().split_once('@').unwrap();
    let forged = [
        format!("<sip:{}@{rest}", &user[..user.len() - 4]),
        format!("<sip:{}@{rest}", user.to_uppercase()),
        format!("<sip:{user}AAAA@{rest}"),
        format!("<sip:alice@{rest}"),
        format!("<sip:{}@{rest}", "A".repeat(user.len())),
    ];
    for (cseq, forged) in (10..).zip(forged) {
        bench.udp(ALICE_NAT, &within("SUBSCRIBE", cseq, &[routes[0].clone(), forged]));
        bench.expect_status(ALICE_NAT, 403);
        bench.expect_silence();
    }
    let other = within("SUBSCRIBE", 30, &routes).replace("sub@10.0.0.9", "other@10.0.0.9");
    bench.udp(ALICE_NAT, &other);
    bench.expect_status(ALICE_NAT, 403);
    bench.expect_silence();
}

/// A node that has started anew (with the same secret) has other connections under the same numbers.
#[test]
fn a_token_of_an_earlier_life_of_the_node_leads_to_no_connection() {
    let routes = reversed(&open().subscribe("SUBSCRIBE"));
    let mut reborn = Bench::new(Plan { seed: 77, ..Plan::default() });
    reborn.udp(ALICE_NAT, &within("SUBSCRIBE", 2, &routes));
    reborn.expect_status(ALICE_NAT, 430);
    reborn.expect_silence();
    // Over UDP the address is all that there is to a flow.
    reborn.udp(ALICE_NAT, &notify(2, &reversed(&routes)));
    reborn.expect_request(ALICE_NAT, "NOTIFY");
}

/// RFC 5626 5.3.1.
#[test]
fn a_flow_that_has_failed_is_told_as_such() {
    let mut bench = open();
    let routes = reversed(&bench.subscribe("SUBSCRIBE"));
    bench.udp(ALICE_NAT, &within("SUBSCRIBE", 2, &routes));
    let target = bench.sent[0].target;
    bench.expect_request(BOB_TCP, "SUBSCRIBE");
    bench.cannot_send(&target);
    bench.expect_status(ALICE_NAT, 430);
}

/// A phone that has lost its connection and registered the same Contact anew is found by that.
#[test]
fn a_device_that_has_registered_anew_is_reached_by_its_new_flow() {
    let mut bench = open();
    let routes = reversed(&bench.subscribe("SUBSCRIBE"));
    let elsewhere = "198.51.100.77:50000";
    bench.register_bob(2, elsewhere);
    bench.udp(ALICE_NAT, &within("SUBSCRIBE", 2, &routes));
    assert_eq!(bench.sent[0].target.connection, Some(ConnectionId(2)));
    bench.expect_request(elsewhere, "SUBSCRIBE");
}

/// RFC 3261 26.2.2.
#[test]
fn a_token_does_not_take_a_request_out_of_tls() {
    let mut bench = Bench::new(Plan { secure: true, ..Plan::default() });
    let routes = reversed(&bench.subscribe("SUBSCRIBE"));
    let request = within("SUBSCRIBE", 2, &routes).replacen(BOB_URI, "sips:bob@10.0.0.20", 1);
    bench.tls(ALICE_NAT, 9, &request.replacen("UDP", "TLS", 1));
    let refusal = Message::parse_datagram(bench.sent.pop_front().unwrap().bytes).unwrap();
    assert_eq!(refusal.status(), Some(416));
    bench.expect_silence();
}

/// RFC 3261 16.4: what a strict router makes of our value.
#[test]
fn a_token_in_the_request_uri_is_put_right() {
    let mut bench = open();
    let routes = reversed(&bench.subscribe("SUBSCRIBE"));
    let ours = routes[1].trim_matches(['<', '>']);
    let request = within("SUBSCRIBE", 2, &[format!("<{BOB_URI}>")]);
    bench.udp(ALICE_NAT, &request.replacen(BOB_URI, ours, 1));
    let passed = bench.expect_request(BOB_TCP, "SUBSCRIBE");
    assert_eq!(passed.request_uri(), BOB_URI);
    assert_eq!(passed.count(HeaderName::Route), 0, "{}", show(&passed));
}

/// A proxy has a Record-Route of its own next to ours: it is no party, and gets no token.
#[test]
fn a_proxy_that_the_dialog_comes_by_is_named_by_its_own_record_route() {
    const PROXY: &str = "203.0.113.50:5060";
    let mut bench = Bench::new(Plan { trusted: vec!["203.0.113.50"], ..Plan::default() });
    bench.register_bob(1, BOB_TCP);
    let more =
        format!("Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKup\r\nRecord-Route: <sip:{PROXY};lr>\r\n");
    let (uri, from, to) = ("sip:bob@example.test", FROM, TO);
    let request = Ask { method: "SUBSCRIBE", uri, from, to, cseq: 1, routes: &[], more: &more };
    bench.udp(PROXY, &request.text());
    let request = bench.expect_request(BOB_TCP, "SUBSCRIBE");
    let routes = record_routes(&request);
    assert_eq!(
        routes[1..],
        [format!("<sip:{NODE};transport=udp;lr;ft>"), format!("<sip:{PROXY};lr>")]
    );
    bench.udp(PROXY, &within("SUBSCRIBE", 2, &[routes[1].clone(), routes[0].clone()]));
    bench.expect_request(BOB_TCP, "SUBSCRIBE");
}
