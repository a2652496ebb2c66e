//! REGISTER and what it leads to: Path, Service-Route, flows and GRUUs.

use super::calls::{ALICE, BOB, from_alice, invite};
use super::harness::{Bench, NODE, Plan, reply, show};
use super::refusals::credentials;
use crate::transport::{ConnectionId, Transport};
use crate::wire::{HeaderName, Message};

const EDGE: &str = "203.0.113.50:5060";
const EDGE2: &str = "203.0.113.51:5060";
const PHONE: &str = "198.51.100.30:40000";
const PHONE2: &str = "198.51.100.31:40000";
const INSTANCE: &str = "+sip.instance=\"<urn:uuid:f81d4fae>\"";

fn trusting() -> Bench {
    Bench::new(Plan {
        users: vec![("alice", "wonder"), ("bob", "builder")],
        trusted: vec!["198.51.100.10", "203.0.113.50", "203.0.113.51"],
        ..Plan::default()
    })
}

/// A REGISTER for bob; `headers` with the Contact.
fn register(call: u32, headers: &str) -> String {
    format!(
        "REGISTER sip:example.test SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.9:40000;branch=z9hG4bKg{call};rport\r\n\
         From: <sip:bob@example.test>;tag=r\r\nTo: <sip:bob@example.test>\r\n\
         Call-ID: g{call}\r\nCSeq: 1 REGISTER\r\n{}\r\nContent-Length: 0\r\n\r\n",
        headers.replace('\n', "\r\n")
    )
}

fn text(message: &Message, name: HeaderName) -> Option<String> {
    message.first_str(name).map(str::to_owned)
}

/// RFC 3327 5.4: the Path becomes the Route, its first URI decides where the request goes.
#[test]
fn a_contact_behind_proxies_is_called_along_its_path() {
    let mut bench = trusting();
    let path = format!("<sip:token@{EDGE};lr;ob>, <sip:inner.test;lr>");
    let headers = format!("Supported: path\nPath: {path}\nContact: <sip:bob@10.0.0.5>");
    bench.udp(EDGE, &register(1, &headers));
    let ok = bench.expect_status(EDGE, 200);
    assert_eq!(text(&ok, HeaderName::Path), Some(path.clone()));
    bench.udp(ALICE, &invite("bob", ""));
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(EDGE, "INVITE");
    assert_eq!(forwarded.request_uri(), "sip:bob@10.0.0.5");
    assert_eq!(text(&forwarded, HeaderName::Route), Some(path));
    bench.udp(EDGE, &reply(&forwarded, 486, "tb", "sip:bob@10.0.0.5", ""));
    let ack = bench.expect_request(EDGE, "ACK");
    assert!(ack.count(HeaderName::Route) > 0, "{}", show(&ack));
    bench.expect_status(ALICE, 486);
}

/// RFC 3327 5.3, 6: whose word a Path is, and when it is taken.
#[test]
fn a_path_is_refused_from_anybody_and_where_the_client_cannot_see_it() {
    let path = |own: &str| format!("Path: <sip:{own};lr>\nContact: <sip:bob@10.0.0.5>");
    let mut open = Bench::new(Plan::default());
    open.udp(PHONE, &register(1, &format!("Supported: path\n{}", path(EDGE))));
    open.expect_status(PHONE, 403);
    assert!(open.proxy.registrar().is_empty());
    let mut bench = trusting();
    bench.udp(EDGE, &register(1, &path(NODE)));
    bench.expect_status(EDGE, 400);
    bench.udp(EDGE, &register(2, &path(EDGE)));
    let ok = bench.expect_status(EDGE, 200);
    assert_eq!(ok.count(HeaderName::Path), 0, "it has not said that it understands one");
}

/// RFC 3327 5.3: a client that would not see who has put himself in the way is told what to support, and
/// neither its password nor its word makes a Path good that would lead back here, be it its last hop.
#[test]
fn a_path_of_a_user_needs_his_password_and_his_support() {
    let mut bench = trusting();
    let mut register_as_bob = |call: u32, headers: &str| {
        bench.udp(PHONE, &register(call, headers));
        let challenge = bench.expect_status(PHONE, 401);
        let name = HeaderName::WwwAuthenticate;
        let auth = credentials(&challenge, name, "bob", "builder", "REGISTER", "sip:example.test");
        bench.udp(PHONE, &register(call + 1, &format!("{headers}\nAuthorization: {auth}")));
        bench.message_to(PHONE)
    };
    let path = format!("Path: <sip:{EDGE};lr>\nContact: <sip:bob@10.0.0.5>");
    let refused = register_as_bob(10, &path);
    assert_eq!(refused.status(), Some(421), "{}", show(&refused));
    assert_eq!(text(&refused, HeaderName::Require).as_deref(), Some("path"));
    for own in [NODE, "example.test", "192.0.2.1"] {
        let refused = register_as_bob(
            20,
            &format!(
                "Supported: path\nPath: <sip:{own};lr>, <sip:{EDGE};lr>\nContact: <sip:b@10.0.0.5>"
            ),
        );
        assert_eq!(refused.status(), Some(400), "{}", show(&refused));
        let last = format!(
            "Supported: path\nPath: <sip:{EDGE};lr>, <sip:{own};lr>\nContact: <sip:b@10.0.0.5>"
        );
        let refused = register_as_bob(30, &last);
        assert_eq!(refused.reason(), b"Path Names This Node");
    }
    let ok = register_as_bob(40, &format!("Supported: path\n{path}"));
    assert_eq!(ok.status(), Some(200), "{}", show(&ok));
    assert_eq!(text(&ok, HeaderName::Path), Some(format!("<sip:{EDGE};lr>")));
}

/// RFC 3608 5, 6.1.
#[test]
fn a_client_is_told_the_service_routes_in_order() {
    let routes = ["sip:one.test;lr", "sip:two.test;lr"];
    let service_routes = routes.map(str::to_owned).to_vec();
    let mut bench = Bench::new(Plan { service_routes, ..Plan::default() });
    bench.udp(BOB, &register(1, "Contact: <sip:bob@10.0.0.5>"));
    let ok = bench.expect_status(BOB, 200);
    let told: Vec<_> = ok.lines(HeaderName::ServiceRoute).collect();
    assert_eq!(told, [b"<sip:one.test;lr>", b"<sip:two.test;lr>"]);
}

impl Bench {
    /// Bob registers a flow over a connection.
    fn register_flow(&mut self, at: &str, connection: u64, reg_id: u32, q: &str) -> Message {
        let contact = format!("<sip:bob@10.0.0.5;transport=udp>;{INSTANCE};reg-id={reg_id};q={q}");
        let headers = format!("Supported: outbound\nContact: {contact}");
        let call = u32::try_from(connection).unwrap();
        self.tcp(at, connection, &register(call, &headers));
        self.expect_status(at, 200)
    }
}

/// RFC 5626 6, 4.4.1. The Contact says UDP: the flow is what counts (5.3).
#[test]
fn a_flow_is_confirmed_with_its_timer_and_used() {
    let mut bench = Bench::new(Plan::default());
    let ok = bench.register_flow(PHONE, 1, 1, "1");
    assert_eq!(text(&ok, HeaderName::Require).as_deref(), Some("outbound"));
    assert_eq!(text(&ok, HeaderName::FlowTimer).as_deref(), Some("120"));
    assert!(text(&ok, HeaderName::Supported).is_some_and(|s| s.contains("outbound")));
    bench.udp(ALICE, &invite("bob", ""));
    bench.expect_status(ALICE, 100);
    assert_eq!(bench.sent[0].target.connection, Some(ConnectionId(1)));
    bench.expect_request(PHONE, "INVITE");
}

/// A call and what comes within it take the way that the REGISTER came, whatever the Contact says of
/// the transport: that way is known to work.
#[test]
fn a_contact_of_another_transport_is_called_by_the_way_of_its_register() {
    let mut bench = Bench::new(Plan::default());
    let contact = format!("sip:bob@{BOB};transport=tcp");
    let request = register(1, &format!("Contact: <{contact}>")).replace("10.0.0.9:40000", BOB);
    bench.udp(BOB, &request);
    bench.expect_status(BOB, 200);
    bench.udp(ALICE, &invite("bob", ""));
    bench.expect_status(ALICE, 100);
    assert_eq!(bench.sent[0].target.transport, Transport::Udp);
    let request = bench.expect_request(BOB, "INVITE");
    bench.udp(BOB, &reply(&request, 200, "tb", &contact, ""));
    let ok = bench.expect_status(ALICE, 200);
    for (cseq, method) in [(1, "ACK"), (2, "BYE")] {
        bench.udp(ALICE, &from_alice(method, cseq, &ok, "", ""));
        assert_eq!(bench.sent[0].target.transport, Transport::Udp, "{method}");
        bench.expect_request(BOB, method);
    }
}

/// A REGISTER that was too large for UDP has come over TCP (RFC 3261 18.1.1): once that connection has
/// closed, the phone is where its Contact says, not at the port that it sent from.
#[test]
fn a_contact_whose_connection_has_closed_is_called_as_it_is_written() {
    const PORT: &str = "198.51.100.20:49152";
    let mut bench = Bench::new(Plan::default());
    let request = register(1, &format!("Contact: <sip:bob@{BOB}>"));
    bench.tcp(PORT, 1, &request.replace("10.0.0.9:40000", PORT));
    bench.expect_status(PORT, 200);
    bench.udp(ALICE, &invite("bob", ""));
    bench.expect_status(ALICE, 100);
    assert_eq!(bench.sent[0].target.connection, Some(ConnectionId(1)));
    let request = bench.expect_request(PORT, "INVITE");
    bench.tcp(PORT, 1, &reply(&request, 486, "tb", &format!("sip:bob@{BOB}"), ""));
    bench.expect_request(PORT, "ACK");
    bench.expect_status(ALICE, 486);
    bench.close(1);
    bench.udp(ALICE, &invite("bob", "").replace("call-1", "call-2").replace("bKa1", "bKa2"));
    bench.expect_status(ALICE, 100);
    let target = bench.sent[0].target;
    assert_eq!((target.transport, target.connection), (Transport::Udp, None));
    bench.expect_request(BOB, "INVITE");
}

/// RFC 5626 7: one flow of a device at a time, the next where that fails.
#[test]
fn of_two_flows_of_a_device_the_second_is_tried_when_the_first_fails() {
    for status in [430, 408] {
        let mut bench = Bench::new(Plan::default());
        bench.register_flow(PHONE2, 2, 2, "0.5");
        bench.register_flow(PHONE, 1, 1, "1");
        bench.udp(ALICE, &invite("bob", ""));
        bench.expect_status(ALICE, 100);
        let first = bench.expect_request(PHONE, "INVITE");
        bench.expect_silence();
        bench.tcp(PHONE, 1, &reply(&first, status, "tb", "sip:bob@10.0.0.5", ""));
        bench.expect_request(PHONE, "ACK");
        let second = bench.expect_request(PHONE2, "INVITE");
        bench.tcp(PHONE2, 2, &reply(&second, 486, "tb", "sip:bob@10.0.0.5", ""));
        bench.expect_request(PHONE2, "ACK");
        bench.expect_status(ALICE, 486);
    }
}

/// RFC 5626 7: what the device itself has answered is not asked for again by its other flow.
#[test]
fn a_device_that_has_answered_is_not_asked_by_its_other_flow() {
    for status in [486, 503] {
        let mut bench = Bench::new(Plan::default());
        bench.register_flow(PHONE2, 2, 2, "0.5");
        bench.register_flow(PHONE, 1, 1, "1");
        bench.udp(ALICE, &invite("bob", ""));
        bench.expect_status(ALICE, 100);
        let first = bench.expect_request(PHONE, "INVITE");
        bench.tcp(PHONE, 1, &reply(&first, status, "tb", "sip:bob@10.0.0.5", ""));
        bench.expect_request(PHONE, "ACK");
        bench.expect_status(ALICE, if status == 503 { 500 } else { status });
        bench.expect_silence();
    }
}

/// RFC 5626 7: a flow that breaks while it is tried.
#[test]
fn a_connection_that_closes_under_a_call_makes_way_for_the_other_flow() {
    let mut bench = Bench::new(Plan::default());
    bench.register_flow(PHONE2, 2, 2, "0.5");
    bench.register_flow(PHONE, 1, 1, "1");
    bench.udp(ALICE, &invite("bob", ""));
    bench.expect_status(ALICE, 100);
    let target = bench.sent[0].target;
    bench.expect_request(PHONE, "INVITE");
    bench.cannot_send(&target);
    bench.expect_request(PHONE2, "INVITE");
}

/// RFC 5626 11.1: no caller gets a 430; where every flow has failed the user cannot be reached.
#[test]
fn a_device_whose_flows_have_all_failed_is_unavailable() {
    let mut bench = Bench::new(Plan::default());
    bench.register_flow(PHONE2, 2, 2, "0.5");
    bench.register_flow(PHONE, 1, 1, "1");
    bench.udp(ALICE, &invite("bob", ""));
    bench.expect_status(ALICE, 100);
    for (at, connection) in [(PHONE, 1), (PHONE2, 2)] {
        let tried = bench.expect_request(at, "INVITE");
        bench.tcp(at, connection, &reply(&tried, 430, "tb", "sip:bob@10.0.0.5", ""));
        bench.expect_request(at, "ACK");
    }
    let refused = bench.expect_status(ALICE, 480);
    assert_eq!(refused.reason(), b"No Flow To User");
}

/// RFC 3261 16.6, RFC 5626 7: each device rings by one of its flows, and all devices of a q ring together.
#[test]
fn two_devices_with_two_flows_each_ring_once_each() {
    let mut bench = Bench::new(Plan::default());
    let at = |n: u64| format!("198.51.100.{}:40000", 40 + n);
    for n in 0..4 {
        let device = INSTANCE.replace("f81d4fae", if n < 2 { "a" } else { "b" });
        let flow = format!("<sip:bob@10.0.0.5;transport=udp>;{device};reg-id={}", n % 2 + 1);
        let headers = format!("Supported: outbound\nContact: {flow}");
        bench.tcp(&at(n), n, &register(n as u32, &headers));
        bench.expect_status(&at(n), 200);
    }
    bench.udp(ALICE, &invite("bob", ""));
    bench.expect_status(ALICE, 100);
    // The latest of each.
    let b = bench.expect_request(&at(3), "INVITE");
    bench.expect_request(&at(1), "INVITE");
    bench.expect_silence();
    // Where one flow fails the device's other rings, and the other device rings on.
    bench.tcp(&at(3), 3, &reply(&b, 430, "tb", "sip:bob@10.0.0.5", ""));
    bench.expect_request(&at(3), "ACK");
    bench.expect_request(&at(2), "INVITE");
    bench.expect_silence();
}

/// RFC 5626 5.3: with its connection a flow is gone, and calls take the other one at once.
#[test]
fn a_device_is_called_by_the_flow_that_is_left() {
    let mut bench = Bench::new(Plan::default());
    bench.register_flow(PHONE, 1, 1, "0.5");
    bench.register_flow(PHONE2, 2, 2, "1");
    bench.close(2);
    bench.udp(ALICE, &invite("bob", ""));
    bench.expect_status(ALICE, 100);
    bench.expect_request(PHONE, "INVITE");
    bench.close(1);
    bench.expect_status(ALICE, 480);
    let again = invite("bob", "").replace("call-1", "call-2").replace("bKa1", "bKa2");
    bench.udp(ALICE, &again);
    bench.expect_status(ALICE, 480);
}

/// Flows through two edge proxies (RFC 5626 3.3): the second Path is taken with the second flow.
#[test]
fn the_second_flow_is_tried_along_its_own_path() {
    let mut bench = trusting();
    for (call, edge, q) in [(1, EDGE2, "0.5"), (2, EDGE, "1")] {
        let contact = format!("<sip:bob@10.0.0.5>;{INSTANCE};reg-id={call};q={q}");
        let via = "Via: SIP/2.0/UDP 10.0.0.5;branch=z9hG4bKp";
        let path = format!("Path: <sip:t{call}@{edge};lr;ob>");
        let headers = format!("{via}\nSupported: outbound, path\n{path}\nContact: {contact}");
        bench.udp(edge, &register(call, &headers));
        bench.expect_status(edge, 200);
    }
    bench.udp(ALICE, &invite("bob", ""));
    bench.expect_status(ALICE, 100);
    let first = bench.expect_request(EDGE, "INVITE");
    bench.udp(EDGE, &reply(&first, 430, "tb", "sip:bob@10.0.0.5", ""));
    bench.expect_request(EDGE, "ACK");
    let second = bench.expect_request(EDGE2, "INVITE");
    let route = format!("<sip:t1@{EDGE2};lr;ob>");
    assert_eq!(text(&second, HeaderName::Route), Some(route));
}

/// RFC 5627 5.1, 5.2: a GRUU leads to its device and to no other of the user's.
#[test]
fn a_gruu_leads_to_its_device() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    let headers = format!("Supported: gruu\nContact: <sip:bob@{PHONE}>;{INSTANCE}");
    let request = register(1, &headers).replace("10.0.0.9:40000", PHONE);
    bench.udp(PHONE, &request);
    let ok = show(&bench.expect_status(PHONE, 200));
    for kind in ["pub-gruu", "temp-gruu"] {
        let (_, from) = ok.split_once(&format!("{kind}=\"")).expect(kind);
        let gruu = from.split('"').next().unwrap();
        let call = invite("bob", "")
            .replacen("sip:bob@example.test", gruu, 1)
            .replace("branch=z9hG4bK", &format!("branch=z9hG4bK{kind}"))
            .replacen("Call-ID: ", &format!("Call-ID: {kind}"), 1);
        bench.udp(ALICE, &call);
        bench.expect_status(ALICE, 100);
        let forwarded = bench.expect_request(PHONE, "INVITE");
        assert_eq!(forwarded.request_uri(), format!("sip:bob@{PHONE}"));
        bench.expect_silence();
    }
    for (gruu, status) in
        [("sip:bob@example.test;gr=urn:uuid:none", 480), ("sip:bob@example.test;gr", 404)]
    {
        let call = invite("bob", "")
            .replacen("sip:bob@example.test", gruu, 1)
            .replace("branch=z9hG4bK", &format!("branch=z9hG4bK{status}"));
        bench.udp(ALICE, &call);
        bench.expect_status(ALICE, status);
    }
}
