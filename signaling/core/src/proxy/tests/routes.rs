//! Route, Record-Route, Request-URI and credentials on the way through this node.

use super::calls::{ALICE, BOB, from_alice, invite, set_up};
use super::harness::{Bench, NODE, NODE6, Plan, reply, sdp, show};
use crate::proxy::config::{NextHop, Route};
use crate::resolve::Hop;
use crate::transport::Transport;
use crate::wire::HeaderName;

const OUTSIDE: &str = "203.0.113.50:5060";

fn trusting() -> Plan {
    Plan {
        users: vec![("alice", "wonder"), ("bob", "builder")],
        trusted: vec!["198.51.100.10", "198.51.100.20", "203.0.113.50"],
        ..Plan::default()
    }
}

fn with_routes(request: &str, routes: &str) -> String {
    request.replacen("Max-Forwards", &format!("Route: {routes}\r\nMax-Forwards"), 1)
}

/// RFC 3261 16.4, 16.6: Route values in one comma-joined line; ours goes, the others stay.
#[test]
fn our_value_is_taken_off_a_comma_joined_route() {
    let mut bench = Bench::new(trusting());
    let routes = format!("<sip:{NODE};lr>,<sip:{OUTSIDE};lr>, <sip:last.example;lr>");
    bench.udp(ALICE, &with_routes(&invite("bob", ""), &routes));
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(OUTSIDE, "INVITE");
    let left: Vec<_> = forwarded.routes().map(|r| r.unwrap().uri_text().to_owned()).collect();
    assert_eq!(left, [format!("sip:{OUTSIDE};lr"), "sip:last.example;lr".to_owned()]);
}

/// RFC 3261 16.6 step 6: a next hop without `lr` gets its own URI as Request-URI.
#[test]
fn a_strict_router_gets_the_request_as_it_expects_it() {
    let mut bench = Bench::new(trusting());
    let routes = format!("<sip:{OUTSIDE}>, <sip:last.example;lr>");
    bench.udp(ALICE, &with_routes(&invite("bob", ""), &routes));
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(OUTSIDE, "INVITE");
    assert_eq!(forwarded.request_uri(), format!("sip:{OUTSIDE}"));
    let left: Vec<_> = forwarded.routes().map(|r| r.unwrap().uri_text().to_owned()).collect();
    assert_eq!(left, ["sip:last.example;lr", "sip:bob@example.test"]);
}

/// RFC 3261 16.4: a strict router has put our Record-Route into the Request-URI.
#[test]
fn a_request_from_a_strict_router_is_put_right() {
    let mut bench = Bench::new(Plan::default());
    let (_, ok) = set_up(&mut bench);
    let ours = ok.record_routes().next().unwrap().unwrap().uri_text().to_owned();
    let strict = from_alice("INFO", 2, &ok, "", "")
        .replacen(&format!("INFO sip:bob@{BOB}"), &format!("INFO {ours}"), 1)
        .replacen(&format!("Route: <{ours}>"), &format!("Route: <sip:bob@{BOB}>"), 1);
    bench.udp(ALICE, &strict);
    let info = bench.expect_request(BOB, "INFO");
    assert_eq!(info.request_uri(), format!("sip:bob@{BOB}"));
    assert_eq!(info.count(HeaderName::Route), 0);
}

/// A call that passes here twice (by way of another proxy) is two calls, and a request within it
/// passes twice as well.
#[test]
fn a_request_takes_off_the_record_routes_of_one_call_at_a_time() {
    let mut bench = Bench::new(trusting());
    bench.register("bob", BOB);
    bench.udp(ALICE, &with_routes(&invite("bob", ""), &format!("<sip:{OUTSIDE};lr>")));
    bench.expect_status(ALICE, 100);
    let there = bench.expect_request(OUTSIDE, "INVITE");
    // The other proxy does not stay in the way.
    let via = format!("Via: SIP/2.0/UDP {OUTSIDE};branch=z9hG4bKo1\r\nVia");
    let back = show(&there)
        .replacen("Via", &via, 1)
        .replace(&format!("Route: <sip:{OUTSIDE};lr>\r\n"), "");
    bench.udp(OUTSIDE, &back);
    bench.expect_status(OUTSIDE, 100);
    let forwarded = bench.expect_request(BOB, "INVITE");
    assert_eq!(forwarded.record_routes().count(), 2);
    bench.udp(BOB, &reply(&forwarded, 200, "tb", &format!("sip:bob@{BOB}"), ""));
    let between = bench.expect_status(OUTSIDE, 200);
    let up = show(&between);
    let top = up.lines().find(|line| line.starts_with("Via:")).unwrap();
    bench.udp(OUTSIDE, &up.replacen(&format!("{top}\r\n"), "", 1));
    let ok = bench.expect_status(ALICE, 200);
    bench.udp(ALICE, &from_alice("BYE", 2, &ok, "", ""));
    let first = bench.expect_request(NODE, "BYE");
    assert_eq!(first.count(HeaderName::Route), 1, "{}", show(&first));
    bench.udp(NODE, &show(&first));
    let second = bench.expect_request(BOB, "BYE");
    assert_eq!(second.count(HeaderName::Route), 0);
    bench.udp(BOB, &reply(&second, 200, "tb", "sip:bob@x", ""));
    let to_self = bench.expect_status(NODE, 200);
    bench.udp(NODE, &show(&to_self));
    bench.expect_status(ALICE, 200);
    assert_eq!(bench.records.len(), 2);
}

/// RFC 3261 22.3: credentials for this realm are for this node, also within a call; others' are not.
#[test]
fn only_credentials_for_other_realms_go_on() {
    let mut bench = Bench::new(Plan::default());
    let (_, ok) = set_up(&mut bench);
    let credentials = |realm: &str| {
        format!(
            "Proxy-Authorization: Digest username=\"alice\", realm=\"{realm}\", nonce=\"n\", \
             uri=\"sip:x\", response=\"00\"\r\n"
        )
    };
    let both = credentials("example.test") + &credentials("elsewhere.test");
    for (method, cseq) in [("ACK", 1), ("INFO", 2)] {
        bench.udp(ALICE, &from_alice(method, cseq, &ok, &both, ""));
        let forwarded = bench.expect_request(BOB, method);
        let left: Vec<_> = forwarded.auth(HeaderName::ProxyAuthorization).collect();
        assert_eq!(left.len(), 1, "{}", show(&forwarded));
        assert_eq!(left[0].as_ref().unwrap().get("realm").unwrap(), "elsewhere.test");
    }
}

/// RFC 3261 16.6 step 2, 19.1.1.
#[test]
fn a_contact_becomes_a_request_uri_without_what_may_not_stand_there() {
    let mut bench = Bench::new(Plan::default());
    bench.udp(
        BOB,
        &format!(
            "REGISTER sip:example.test SIP/2.0\r\nVia: SIP/2.0/UDP {BOB};branch=z9hG4bKh\r\n\
             From: <sip:bob@example.test>;tag=r\r\nTo: <sip:bob@example.test>\r\nCall-ID: h\r\n\
             CSeq: 1 REGISTER\r\n\
             Contact: <sip:bob;x=y@{BOB};method=INVITE;line=7?Replaces=1%3Bto-tag%3D2>\r\n\
             Content-Length: 0\r\n\r\n"
        ),
    );
    bench.expect_status(BOB, 200);
    bench.udp(ALICE, &invite("bob", ""));
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(BOB, "INVITE");
    assert_eq!(forwarded.request_uri(), format!("sip:bob;x=y@{BOB};line=7"));
}

/// An open domain must not be an open relay, not even within a call that somebody has with himself.
#[test]
fn a_request_within_a_call_in_an_open_domain_leads_to_its_party_and_nowhere_else() {
    let mut bench = Bench::new(Plan::default());
    let (_, ok) = set_up(&mut bench);
    let victim = "203.0.113.66:5060";
    let info = from_alice("INFO", 2, &ok, "", "");
    bench.udp(
        ALICE,
        &info.replacen(&format!("INFO sip:bob@{BOB}"), &format!("INFO sip:v@{victim}"), 1),
    );
    bench.expect_request(BOB, "INFO");
    let info = from_alice("INFO", 3, &ok, "", "");
    let ours = info.lines().find(|line| line.starts_with("Route:")).unwrap().to_owned();
    bench.udp(ALICE, &info.replacen(&ours, &format!("{ours}\r\nRoute: <sip:{victim};lr>"), 1));
    bench.expect_request(BOB, "INFO");
}

/// RFC 3261 16.12: a subscription's dialog is none of ours (only calls are record-routed); a request
/// within it that comes here all the same goes where it says, for those who may send there.
#[test]
fn a_request_within_a_foreign_dialog_goes_by_its_request_uri() {
    let notify = |uri: &str| {
        with_routes(&invite("bob", ""), &format!("<sip:{NODE};lr>"))
            .replacen("INVITE sip:bob@example.test", &format!("NOTIFY {uri}"), 1)
            .replace("1 INVITE", "1 NOTIFY")
            .replace("To: <sip:bob@example.test>", "To: <sip:bob@example.test>;tag=sub")
    };
    let mut bench = Bench::new(trusting());
    bench.udp(ALICE, &notify(&format!("sip:bob@{BOB}")));
    let forwarded = bench.expect_request(BOB, "NOTIFY");
    assert_eq!(forwarded.count(HeaderName::Route), 0);
    let mut bench = Bench::new(Plan::default());
    bench.udp(ALICE, &notify(&format!("sip:bob@{OUTSIDE}")));
    bench.expect_status(ALICE, 403);
    // One that names a call which is over belongs nowhere.
    bench.udp(
        ALICE,
        &notify(&format!("sip:bob@{BOB}"))
            .replace(";lr>", ";lr;rf=0000000000000001>")
            .replace("z9hG4bKa1", "z9hG4bKa2"),
    );
    bench.expect_status(ALICE, 481);
}

/// RFC 3261 16.3 step 3: Max-Forwards bounds what goes on, not what is answered here (S56).
#[test]
fn a_request_for_the_node_itself_may_have_no_hops_left() {
    let mut bench = Bench::new(Plan::default());
    let last_hop = |method: &str, uri: &str| {
        invite("bob", "")
            .replacen("INVITE sip:bob@example.test", &format!("{method} {uri}"), 1)
            .replace("1 INVITE", &format!("1 {method}"))
            .replace("Max-Forwards: 70", "Max-Forwards: 0")
    };
    bench.udp(ALICE, &last_hop("OPTIONS", &format!("sip:{NODE}")));
    bench.expect_status(ALICE, 200);
    bench.udp(ALICE, &last_hop("REGISTER", "sip:example.test"));
    bench.expect_status(ALICE, 200);
}

/// What cannot be reached as it asks to be, or would lead back here or to anybody.
#[test]
fn destinations_that_are_none_are_refused() {
    for (uri, status) in [
        ("sips:bob@example.test", 416),
        ("sip:bob@0.0.0.0", 404),
        ("sip:bob@224.0.0.1", 404),
        ("sip:bob@203.0.113.50;transport=tls", 503),
    ] {
        let mut bench = Bench::new(trusting());
        let to = invite("bob", &sdp("198.51.100.10", 4000));
        bench.udp(ALICE, &to.replacen("sip:bob@example.test", uri, 1));
        bench.expect_status(ALICE, status);
        assert_eq!(bench.proxy.load().calls, 0);
    }
}

/// RFC 3261 16.4: a phone whose outbound proxy is given by its domain.
#[test]
fn a_route_that_names_a_domain_served_here_means_this_node() {
    for route in ["<sip:Example.test;lr>", "<sip:example.test:5060;lr>"] {
        let mut bench = Bench::new(Plan::default());
        bench.register("bob", BOB);
        bench.udp(ALICE, &with_routes(&invite("bob", ""), route));
        bench.expect_status(ALICE, 100);
        let forwarded = bench.expect_request(BOB, "INVITE");
        assert_eq!(forwarded.count(HeaderName::Route), 0);
    }
    // Somebody else's port is somebody else.
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    bench.udp(ALICE, &with_routes(&invite("bob", ""), "<sip:example.test:5999;lr>"));
    bench.expect_status(ALICE, 403);
}

/// RFC 5118, RFC 5658: the caller has IPv4, the callee IPv6. Each side gets this node's name and media
/// address of its own family.
#[test]
fn a_call_between_ipv4_and_ipv6_is_routed_and_relayed_both_ways() {
    let bob = "[2001:db8::20]:5060";
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", bob);
    bench.udp(ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(bob, "INVITE");
    assert_eq!(forwarded.request_uri(), format!("sip:bob@{bob}"));
    let via = String::from_utf8_lossy(forwarded.top_via().as_bytes()).into_owned();
    assert!(via.starts_with(&format!("SIP/2.0/UDP {NODE6};")), "{via}");
    let names: Vec<_> =
        forwarded.record_routes().map(|r| r.unwrap().uri_text().to_owned()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names[0].contains(NODE6) && names[1].contains(NODE), "{names:?}");
    let offer = super::calls::text(&forwarded);
    assert!(offer.contains("c=IN IP6 2001:db8::1\r\n"), "{offer}");
    let answer = sdp("2001:db8::20", 6000).replace("IP4", "IP6");
    bench.udp(bob, &reply(&forwarded, 200, "tb", &format!("sip:bob@{bob}"), &answer));
    let ok = bench.expect_status(ALICE, 200);
    let answer = super::calls::text(&ok);
    assert!(answer.contains("c=IN IP4 192.0.2.1\r\n"), "{answer}");
    bench.udp(ALICE, &from_alice("ACK", 1, &ok, "", ""));
    let ack = bench.expect_request(bob, "ACK");
    assert_eq!(ack.count(HeaderName::Route), 0);
    let bye = super::calls::from_bob("BYE", 1, &forwarded, "").replace(BOB, bob);
    bench.udp(bob, &bye);
    let bye = bench.expect_request(ALICE, "BYE");
    bench.udp(ALICE, &reply(&bye, 200, "fa", "sip:a@x", ""));
    bench.expect_status(bob, 200);
    assert_eq!(bench.records.len(), 1);
}

/// RFC 3261 16.3 step 4: a request that comes straight back is seen to loop at once.
#[test]
fn a_request_that_comes_straight_back_loops() {
    let routes = vec![Route {
        domain: "elsewhere.test".to_owned(),
        next_hops: vec![NextHop::Address("198.51.100.99:5060".parse().unwrap())],
        transport: None,
    }];
    let mut bench = Bench::new(Plan {
        routes,
        users: vec![("alice", "wonder")],
        trusted: vec!["198.51.100.10", "198.51.100.99"],
        ..Plan::default()
    });
    bench.udp(ALICE, &invite("bob", "").replace("bob@example.test", "bob@elsewhere.test"));
    bench.expect_status(ALICE, 100);
    let sent = bench.next_to("198.51.100.99:5060");
    bench.udp("198.51.100.99:5060", &sent);
    bench.expect_status("198.51.100.99:5060", 482);
}

/// What listens on this host's loopback alone (a database, say) is not to be reached through this node by who
/// is not on it, be it by an address, a Route or a name; a proxy there that settings name is.
#[test]
fn nobody_outside_reaches_this_hosts_loopback_through_the_node() {
    let proxy = "127.0.0.2:5080";
    let routes = vec![Route {
        domain: "beside.test".to_owned(),
        next_hops: vec![NextHop::Address(proxy.parse().unwrap())],
        transport: None,
    }];
    let mut bench = Bench::new(Plan { routes, ..trusting() });
    let call = |cseq: u32| {
        let own = format!("z9hG4bKlo{cseq}");
        invite("bob", "").replace("z9hG4bKa1", &own).replace("CSeq: 1", &format!("CSeq: {cseq}"))
    };
    bench.udp(ALICE, &call(1).replace("bob@example.test", "bob@127.0.0.1:6379"));
    bench.expect_status(ALICE, 503);
    bench.udp(ALICE, &with_routes(&call(2), "<sip:127.0.0.1:6379;transport=tcp;lr>"));
    bench.expect_status(ALICE, 503);
    bench.udp(ALICE, &call(3).replace("bob@example.test", "bob@evil.test"));
    bench.expect_status(ALICE, 100);
    let token = bench.asked.pop().unwrap().token;
    let address = "127.0.0.1:6379".parse().unwrap();
    bench.resolved(token, Ok(vec![Hop { address, transport: Transport::Tcp, server_name: None }]));
    bench.expect_status(ALICE, 503);
    bench.expect_silence();
    bench.udp(ALICE, &call(4).replace("bob@example.test", "bob@beside.test"));
    bench.expect_status(ALICE, 100);
    bench.next_to(proxy);
}
