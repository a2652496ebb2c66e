//! This node as an edge proxy: it stands between clients and the registrar of another domain (RFC 5626 5).

use super::calls::{ALICE, from_alice, from_bob, invite};
use super::harness::{Bench, NODE, Plan, address, reply, show};
use crate::proxy::config::{NextHop, Route};
use crate::transport::{ConnectionId, Transport};
use crate::wire::{HeaderName, Message};

/// The registrar and proxy of `home.test`.
const HOME: &str = "203.0.113.80:5060";
const PHONE: &str = "198.51.100.30:40000";

fn plan(seed: u8) -> Plan {
    Plan {
        users: vec![("alice", "wonder")],
        trusted: vec!["203.0.113.80", "198.51.100.30", "198.51.100.10"],
        routes: vec![Route {
            domain: "home.test".to_owned(),
            next_hops: vec![NextHop::Address(address(HOME))],
            transport: Some(Transport::Udp),
        }],
        seed,
        ..Plan::default()
    }
}

fn register(headers: &str) -> String {
    format!(
        "REGISTER sip:home.test SIP/2.0\r\nVia: SIP/2.0/TCP 10.0.0.9:40000;branch=z9hG4bKe1\r\n{headers}\
         From: <sip:bob@home.test>;tag=r\r\nTo: <sip:bob@home.test>\r\nCall-ID: e\r\n\
         CSeq: 1 REGISTER\r\nContact: <sip:bob@10.0.0.9:40000;transport=tcp>\r\nContent-Length: 0\r\n\r\n"
    )
}

/// The Path value that the registrar gets for a client that supports flows.
fn path(bench: &mut Bench) -> String {
    bench.tcp(PHONE, 1, &register("Supported: path, outbound\r\n"));
    let registered = bench.expect_request(HOME, "REGISTER");
    let values: Vec<_> = registered.lines(HeaderName::Path).collect();
    let [value] = &values[..] else { panic!("{}", show(&registered)) };
    String::from_utf8(value.to_vec()).unwrap()
}

/// What the home proxy sends for Bob.
fn call_along(route: &str) -> String {
    invite("bob", "")
        .replacen("sip:bob@example.test", "sip:bob@10.0.0.9:40000;transport=tcp", 1)
        .replacen("Max-Forwards", &format!("Route: {route}\r\nMax-Forwards"), 1)
        .replace(&format!("Via: SIP/2.0/UDP {ALICE}"), &format!("Via: SIP/2.0/UDP {HOME}"))
}

/// RFC 5626 5.1, 5.3: the Path names the flow, is marked with `ob`, and leads back over the connection
/// that the client has opened; so does what comes within the call.
#[test]
fn a_client_of_another_registrar_is_reached_over_its_flow() {
    let mut bench = Bench::new(plan(4));
    let path = path(&mut bench);
    assert!(path.ends_with(&format!("@{NODE};transport=udp;lr;ft;ob>")), "{path}");
    bench.udp(HOME, &call_along(&path));
    bench.expect_status(HOME, 100);
    assert_eq!(bench.sent[0].target.connection, Some(ConnectionId(1)));
    let request = bench.expect_request(PHONE, "INVITE");
    assert_eq!(request.request_uri(), "sip:bob@10.0.0.9:40000;transport=tcp");
    assert_eq!(request.count(HeaderName::Route), 0, "{}", show(&request));
    bench.tcp(PHONE, 1, &reply(&request, 200, "tb", "sip:bob@10.0.0.9:40000;transport=tcp", ""));
    let ok = bench.expect_status(HOME, 200);
    bench.udp(HOME, &from_alice("ACK", 1, &ok, "", ""));
    bench.expect_request(PHONE, "ACK");
    bench.tcp(PHONE, 1, &from_bob("BYE", 2, &request, ""));
    bench.expect_request(HOME, "BYE");
}

/// RFC 3327 5.1, RFC 5626 5.1: no Path for a client that could not see it, nor for one behind another
/// proxy, which has its flow.
#[test]
fn only_clients_next_to_this_node_that_understand_a_path_get_one() {
    for headers in [
        "",
        "Supported: gruu\r\n",
        "Via: SIP/2.0/UDP 10.1.1.1;branch=z9hG4bKx\r\nSupported: path\r\n",
    ] {
        let mut bench = Bench::new(plan(4));
        bench.tcp(PHONE, 1, &register(headers));
        let registered = bench.expect_request(HOME, "REGISTER");
        assert_eq!(registered.count(HeaderName::Path), 0, "{}", show(&registered));
    }
}

/// RFC 5626 5.3.1: 430 once the flow has failed, and after the node has started anew; 403 for what it never
/// gave out. The home proxy tries the client's next flow then.
#[test]
fn the_registrar_is_told_of_flows_that_have_failed() {
    let mut bench = Bench::new(plan(4));
    let path = path(&mut bench);
    bench.udp(HOME, &call_along(&path));
    bench.expect_status(HOME, 100);
    let target = bench.sent[0].target;
    bench.expect_request(PHONE, "INVITE");
    bench.cannot_send(&target);
    bench.expect_status(HOME, 430);
    for (seed, path, status) in
        [(5, path.clone(), 430), (4, path.replacen("sip:", "sip:A", 1), 403)]
    {
        let mut bench = Bench::new(plan(seed));
        bench.udp(HOME, &call_along(&path));
        bench.expect_status(HOME, status);
        bench.expect_silence();
    }
}

/// A Path is shown to its client and its registrar; a stranger who has seen it calls nobody with it.
#[test]
fn a_path_is_of_no_use_to_a_stranger() {
    let mut bench = Bench::new(plan(4));
    let path = path(&mut bench);
    let stranger = "203.0.113.66:5060";
    let request: String = call_along(&path).replace(HOME, stranger);
    bench.udp(stranger, &request);
    // From names a user here: its password is asked for.
    bench.expect_status(stranger, 407);
    let foreign = request.replace("<sip:alice@example.test>", "<sip:eve@elsewhere.test>");
    bench.udp(stranger, &foreign.replace("bKa1", "bKa2"));
    let refused: Message = bench.expect_status(stranger, 403);
    assert_eq!(refused.reason(), b"Caller Neither Local Nor Trusted");
    bench.expect_silence();
}
