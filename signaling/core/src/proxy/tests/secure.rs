//! `sips`: every hop is secured, or there is none (RFC 3261 26.2.2).

use super::calls::{ALICE, BOB, from_alice, invite, set_up};
use super::harness::{Bench, NODE_TLS, Plan, address, register, reply};
use crate::proxy::config::{NextHop, Route};
use crate::transport::Transport;

fn bench() -> Bench {
    Bench::new(Plan { secure: true, ..Plan::default() })
}

fn to_sips(uri: &str) -> String {
    invite("bob", "").replacen("INVITE sip:bob@example.test", &format!("INVITE {uri}"), 1)
}

/// A user who has registered over TLS is called by that connection, by domain and by address (whose port
/// is 5061 where none is written, RFC 3261 19.1.2), and the record-routes ask for TLS, too (16.6 step 4).
#[test]
fn a_call_that_has_to_be_secure_takes_the_way_that_is() {
    for (connection, uri) in [(1, "sips:bob@example.test"), (2, "sips:bob@192.0.2.1")] {
        let mut bench = bench();
        bench.tls(BOB, connection, &register("bob", BOB, "1").replacen("UDP", "TLS", 1));
        bench.expect_status(BOB, 200);
        bench.tls(ALICE, 9, &to_sips(uri).replacen("UDP", "TLS", 1));
        bench.expect_status(ALICE, 100);
        let transmit = bench.sent.front().unwrap().target;
        assert_eq!(transmit.connection.map(|c| c.0), Some(connection));
        let invite = bench.expect_request(BOB, "INVITE");
        let routes: Vec<_> =
            invite.record_routes().map(|r| r.unwrap().uri_text().to_owned()).collect();
        let [route] = &routes[..] else { panic!("{routes:?}") };
        assert!(route.starts_with(&format!("sips:{NODE_TLS};lr;rf=")), "{route}");

        bench.tls(BOB, connection, &reply(&invite, 200, "tb", &format!("sips:bob@{BOB}"), ""));
        bench.expect_status(ALICE, 200);
        let bye = to_sips(&format!("sips:bob@{BOB}"))
            .replacen("UDP", "TLS", 1)
            .replacen("INVITE", "BYE", 1)
            .replace("1 INVITE", "2 BYE")
            .replace("z9hG4bKa1", "z9hG4bKa2")
            .replacen("@example.test>\r\nCall-ID", "@example.test>;tag=tb\r\nCall-ID", 1)
            .replacen("Max-Forwards", &format!("Route: <{route}>\r\nMax-Forwards"), 1);
        bench.tls(ALICE, 9, &bye);
        bench.expect_request(BOB, "BYE");
    }
}

/// A device that no secure way leads to is not called; one beside it that one leads to is.
#[test]
fn a_call_that_has_to_be_secure_takes_no_other_way() {
    let mut bench = bench();
    bench.register("bob", BOB);
    bench.tls(ALICE, 9, &to_sips("sips:bob@example.test").replacen("UDP", "TLS", 1));
    let refusal = bench.expect_status(ALICE, 480);
    assert_eq!(refusal.reason(), b"No Secure Way To User");

    let other = "198.51.100.21:5061";
    bench.tls(other, 1, &register("bob", other, "1").replacen("UDP", "TLS", 1));
    bench.expect_status(other, 200);
    let again = to_sips("sips:bob@example.test").replacen("UDP", "TLS", 1);
    bench.tls(ALICE, 9, &again.replace("z9hG4bKa1", "z9hG4bKa2").replace("1 INVITE", "2 INVITE"));
    bench.expect_status(ALICE, 100);
    bench.expect_request(other, "INVITE");
    bench.expect_silence();
}

/// The Path decides where a request for the contact goes, not what the REGISTER came over: its first hop
/// has to be one over TLS (RFC 5630 5.3).
#[test]
fn a_path_whose_first_hop_is_not_secure_is_not_taken() {
    const EDGE: &str = "203.0.113.50:5061";
    let routes = vec![Route {
        domain: "udp.test".to_owned(),
        next_hops: vec![NextHop::Address(address("203.0.113.60:5060"))],
        transport: Some(Transport::Udp),
    }];
    let trusted = vec!["203.0.113.50", "198.51.100.10"];
    for (path, is_called) in [
        ("sip:203.0.113.50:5061;lr", false),
        ("sip:203.0.113.50:5061;transport=tcp;lr", false),
        ("sip:edge.test;lr", false),
        // A static route to it says UDP.
        ("sips:udp.test;lr", false),
        ("sips:203.0.113.50;lr", true),
        ("sip:203.0.113.50:5061;transport=tls;lr", true),
    ] {
        let (routes, trusted) = (routes.clone(), trusted.clone());
        let plan = Plan {
            secure: true,
            users: vec![("bob", "builder")],
            routes,
            trusted,
            ..Plan::default()
        };
        let mut bench = Bench::new(plan);
        let headers = format!("Path: <{path}>\r\nContact: <sips:bob@10.0.0.5>;q");
        let contact = format!("Contact: <sip:bob@{EDGE}>;q");
        let request =
            register("bob", EDGE, "1").replacen("UDP", "TLS", 1).replacen(&contact, &headers, 1);
        bench.tls(EDGE, 1, &request);
        bench.expect_status(EDGE, 200);
        bench.tls(ALICE, 9, &to_sips("sips:bob@example.test").replacen("UDP", "TLS", 1));
        if is_called {
            bench.expect_status(ALICE, 100);
            bench.expect_request(EDGE, "INVITE");
        } else {
            let refusal = bench.expect_status(ALICE, 480);
            assert_eq!(refusal.reason(), b"No Secure Way To User", "{path}");
        }
        bench.expect_silence();
        assert!(bench.asked.is_empty(), "{path}");
    }
}

/// RFC 3261 26.2.2: neither a static route nor a Route header makes a `sips` request go without TLS.
#[test]
fn a_request_outward_that_has_to_be_secure_takes_no_other_way() {
    let route = Route {
        domain: "udp.test".to_owned(),
        next_hops: vec![NextHop::Address(address("203.0.113.60:5060"))],
        transport: Some(Transport::Udp),
    };
    let plan = || Plan {
        secure: true,
        users: vec![("bob", "builder")],
        trusted: vec!["198.51.100.10"],
        routes: vec![route.clone()],
        ..Plan::default()
    };
    let routed = |route: &str| {
        to_sips("sips:carol@elsewhere.test").replacen(
            "Max-Forwards",
            &format!("Route: <{route}>\r\nMax-Forwards"),
            1,
        )
    };
    for request in [
        to_sips("sips:carol@udp.test"),
        routed("sip:203.0.113.60;lr"),
        routed("sip:proxy.test;lr"),
        routed("sips:udp.test;lr"),
    ] {
        let mut bench = Bench::new(plan());
        bench.tls(ALICE, 9, &request.replacen("UDP", "TLS", 1));
        let refusal = bench.expect_status(ALICE, 416);
        assert_eq!(refusal.reason(), b"No Secure Way To Destination");
        bench.expect_silence();
    }
    let mut bench = Bench::new(plan());
    bench.tls(ALICE, 9, &routed("sips:203.0.113.60;lr").replacen("UDP", "TLS", 1));
    bench.expect_status(ALICE, 100);
    bench.expect_request("203.0.113.60:5061", "INVITE");
}

/// RFC 3261 26.2.2: a `sips` request that has come in the clear has not been kept secret. It is refused with
/// what nobody answers by trying `sip` instead; a trusted peer may be where TLS ends.
#[test]
fn a_request_that_has_to_be_secure_has_to_come_so() {
    for (trusted, status) in [(vec![], 403), (vec!["198.51.100.10"], 480)] {
        let mut bench = Bench::new(Plan { secure: true, trusted, ..Plan::default() });
        bench.udp(ALICE, &to_sips("sips:bob@example.test"));
        let refusal = bench.expect_status(ALICE, status);
        let reason: &[u8] =
            if status == 403 { b"Secure Transport Required" } else { b"Temporarily Unavailable" };
        assert_eq!(refusal.reason(), reason);
    }
}

/// RFC 3261 26.2.2: nor does a request within a call go without TLS that asks for it; a BYE goes.
#[test]
fn a_request_within_a_call_that_has_to_be_secure_takes_no_other_way() {
    let mut bench = bench();
    let (_, ok) = set_up(&mut bench);
    let secure = |method: &str, cseq| {
        let onward = "Route: <sip:203.0.113.60;lr>\r\nMax-Forwards";
        let request = from_alice(method, cseq, &ok, "", "").replacen("Max-Forwards", onward, 1);
        let request = request.replacen("UDP", "TLS", 1);
        request.replacen(&format!("{method} sip:"), &format!("{method} sips:"), 1)
    };
    bench.tls(ALICE, 9, &secure("INFO", 2));
    let refusal = bench.expect_status(ALICE, 416);
    assert_eq!(refusal.reason(), b"No Secure Way To Destination");
    bench.tls(ALICE, 9, &secure("BYE", 3));
    bench.expect_request(BOB, "BYE");
}

/// RFC 5923 8.2: a peer that says `alias` over TLS would have its connection used for what is sent to it; the
/// port is that of its Via. Over anything else the word says nothing.
#[test]
fn a_peer_may_have_its_tls_connection_used_for_its_address() {
    let mut bench = bench();
    let options = |via: &str, branch: u32| {
        invite("nobody", "").replacen(
            &format!("UDP {ALICE};branch=z9hG4bKa1"),
            &format!("{via};branch=z9hG4bK{branch}"),
            1,
        )
    };
    bench.tls(ALICE, 9, &options("TLS 198.51.100.10:5099;alias", 1));
    bench.tls(ALICE, 9, &options("TLS proxy.test;alias", 2));
    bench.tls(ALICE, 9, &options("TLS 198.51.100.10:5099", 3));
    bench.tcp(ALICE, 8, &options("TCP 198.51.100.10:5099;alias", 4));
    bench.udp(ALICE, &options("UDP 198.51.100.10:5099;alias", 5));
    let nine = crate::transport::ConnectionId(9);
    assert_eq!(bench.aliases, [(nine, 5099), (nine, 5061)]);
}
