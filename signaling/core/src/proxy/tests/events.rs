//! Subscriptions and publications as phones see them through the whole node.

use std::time::Duration;

use super::calls::{ALICE, BOB, from_alice, invite};
use super::harness::{Bench, NODE, Plan, reply, show};
use super::refusals::{credentials, with_users};
use crate::events::{Config, Package};
use crate::transport::{Transmit, Transport};
use crate::wire::{HeaderName, Message};

fn served(packages: &[Package]) -> Config {
    Config { packages: packages.to_vec(), ..Config::default() }
}

fn open() -> Bench {
    Bench::new(Plan { events: served(&Package::ALL), ..Plan::default() })
}

/// A request of alice's outside a dialog, over UDP from where her Contact is.
fn request(method: &str, to: &str, number: u32, lines: &str, body: &str) -> String {
    format!(
        "{method} sip:{to} SIP/2.0\r\nVia: SIP/2.0/UDP {ALICE};branch=z9hG4bKe{number};rport\r\n\
         From: <sip:alice@example.test>;tag=fa\r\nTo: <sip:{to}>\r\nCall-ID: events\r\n\
         CSeq: {number} {method}\r\nContact: <sip:alice@{ALICE}>\r\n{lines}Max-Forwards: 70\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn subscribe(event: &str) -> String {
    request("SUBSCRIBE", "bob@example.test", 1, &format!("Event: {event}\r\n"), "")
}

fn text(message: &Message, name: HeaderName) -> &str {
    message.first_str(name).unwrap_or_default()
}

fn body(message: &Message) -> String {
    String::from_utf8_lossy(message.body()).into_owned()
}

/// RFC 6665 4.2: answered, told, refreshed within the dialog, ended.
#[test]
fn a_phone_subscribes_is_told_of_changes_and_unsubscribes() {
    let mut bench = open();
    bench.udp(ALICE, &subscribe("presence"));
    let ok = bench.expect_status(ALICE, 200);
    assert_eq!(text(&ok, HeaderName::Contact), format!("<sip:{NODE};transport=udp>"));
    assert_eq!(text(&ok, HeaderName::Expires), "3600");
    let notify = bench.expect_request(ALICE, "NOTIFY");
    assert_eq!(notify.request_uri(), format!("sip:alice@{ALICE}"));
    assert_eq!(text(&notify, HeaderName::Event), "presence");
    assert_eq!(text(&notify, HeaderName::SubscriptionState), "active;expires=3600");
    assert_eq!(text(&notify, HeaderName::ContentType), "application/pidf+xml");
    assert_eq!(notify.from().tag(), ok.to().tag());
    assert_eq!(notify.to().tag(), Some("fa"));
    assert!(body(&notify).contains("entity=\"sip:bob@example.test\""), "{}", show(&notify));
    bench.udp(ALICE, &reply(&notify, 200, "", "sip:alice@x", ""));
    bench.expect_silence();
    bench.pass(Duration::from_secs(10));
    bench.register("bob", BOB);
    let notify = bench.expect_request(ALICE, "NOTIFY");
    assert!(body(&notify).contains("<basic>open</basic>"), "{}", show(&notify));
    bench.udp(ALICE, &reply(&notify, 200, "", "sip:alice@x", ""));
    let tag = ok.to().tag().unwrap_or_default();
    let lines = "Event: presence\r\nExpires: 0\r\n";
    let end = request("SUBSCRIBE", NODE, 2, lines, "")
        .replace(&format!("To: <sip:{NODE}>"), &format!("To: <sip:bob@example.test>;tag={tag}"));
    bench.udp(ALICE, &end);
    bench.expect_status(ALICE, 200);
    let last = bench.expect_request(ALICE, "NOTIFY");
    assert_eq!(text(&last, HeaderName::SubscriptionState), "terminated;reason=timeout");
    assert_eq!(bench.proxy.events().count(Package::Presence), 0);
    bench.udp(ALICE, &end.replace("CSeq: 2", "CSeq: 3").replace("z9hG4bKe2", "z9hG4bKe3"));
    bench.expect_status(ALICE, 481);
}

/// RFC 3261 17.1.2: a NOTIFY is sent again until it is answered, and ends the subscription if it never is.
#[test]
fn a_notification_that_nobody_answers_is_repeated_and_then_ends_the_subscription() {
    let mut bench = open();
    bench.udp(ALICE, &subscribe("dialog"));
    bench.expect_status(ALICE, 200);
    bench.expect_request(ALICE, "NOTIFY");
    bench.pass(Duration::from_secs(40));
    assert_eq!(bench.sent.len(), 10, "timer E");
    assert_eq!(bench.proxy.events().count(Package::Dialog), 0);
}

#[test]
fn a_phone_that_knows_of_no_subscription_ends_it() {
    let mut bench = open();
    bench.udp(ALICE, &subscribe("dialog"));
    bench.expect_status(ALICE, 200);
    let notify = bench.expect_request(ALICE, "NOTIFY");
    bench.udp(ALICE, &reply(&notify, 481, "", "sip:alice@x", ""));
    assert_eq!(bench.proxy.events().count(Package::Dialog), 0);
}

/// What a phone publishes reaches who watches; RFC 3903 11.1.
#[test]
fn what_a_phone_publishes_reaches_its_watchers() {
    let mut bench = open();
    bench.udp(ALICE, &request("SUBSCRIBE", "alice@example.test", 1, "Event: presence\r\n", ""));
    bench.expect_status(ALICE, 200);
    let notify = bench.expect_request(ALICE, "NOTIFY");
    bench.udp(ALICE, &reply(&notify, 200, "", "sip:alice@x", ""));
    bench.pass(Duration::from_secs(6));
    let pidf = "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:alice@example.test'>\
                <tuple id='x'><status><basic>open</basic></status><note>lunch</note></tuple></presence>";
    let lines = "Event: presence\r\nContent-Type: application/pidf+xml\r\n";
    bench.udp(ALICE, &request("PUBLISH", "alice@example.test", 2, lines, pidf));
    let ok = bench.expect_status(ALICE, 200);
    assert!(ok.has(HeaderName::SipETag) && ok.has(HeaderName::Expires), "{}", show(&ok));
    let notify = bench.expect_request(ALICE, "NOTIFY");
    assert!(body(&notify).contains("<note>lunch</note>"), "{}", show(&notify));
    assert_eq!(bench.proxy.events().publications(), 1);
    // In an open domain, too, everybody publishes for itself.
    bench.udp(ALICE, &request("PUBLISH", "bob@example.test", 3, lines, pidf));
    bench.expect_status(ALICE, 403);
}

/// RFC 5626 5.3 by its purpose: a phone behind a NAT, or on a connection, is told the way that it came.
#[test]
fn a_subscriber_on_a_connection_is_notified_over_it() {
    let mut bench = open();
    let private = subscribe("presence")
        .replace("SIP/2.0/UDP", "SIP/2.0/TCP")
        .replace(&format!("<sip:alice@{ALICE}>"), "<sip:alice@10.0.0.9:5060;transport=tcp>");
    bench.tcp(ALICE, 7, &private);
    let ok = bench.expect_status(ALICE, 200);
    assert_eq!(text(&ok, HeaderName::Contact), format!("<sip:{NODE};transport=tcp>"));
    let transmit = bench.sent.pop_front().expect("a notification");
    assert_eq!(transmit.target.remote.to_string(), ALICE);
    assert_eq!(transmit.target.connection.map(|connection| connection.0), Some(7));
    assert!(
        transmit.bytes.starts_with(b"NOTIFY sip:alice@10.0.0.9:5060;transport=tcp SIP/2.0\r\n")
    );
}

/// A package that is not served goes on to the phone, with its publications refused.
#[test]
fn what_the_node_does_not_serve_goes_on_to_the_phone() {
    let mut bench = Bench::new(Plan { events: served(&[Package::Reg]), ..Plan::default() });
    bench.register("bob", BOB);
    bench.udp(ALICE, &subscribe("dialog"));
    bench.expect_request(BOB, "SUBSCRIBE");
    bench.udp(ALICE, &request("PUBLISH", "bob@example.test", 2, "Event: dialog\r\n", "x"));
    let bad = bench.expect_status(ALICE, 489);
    assert_eq!(text(&bad, HeaderName::AllowEvents), "reg");
    // The node itself is no phone.
    bench.udp(ALICE, &request("SUBSCRIBE", NODE, 3, "Event: dialog\r\n", ""));
    bench.expect_status(ALICE, 489);
    bench.udp(ALICE, &request("OPTIONS", NODE, 4, "", ""));
    assert_eq!(text(&bench.expect_status(ALICE, 200), HeaderName::AllowEvents), "reg");
}

#[test]
fn a_node_that_serves_nothing_passes_everything() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    for (number, method) in [(1, "SUBSCRIBE"), (2, "PUBLISH")] {
        bench.udp(ALICE, &request(method, "bob@example.test", number, "Event: reg\r\n", ""));
        bench.expect_request(BOB, method);
    }
}

/// Who watches has shown its password, and speaks in its own name.
#[test]
fn watchers_and_publishers_authenticate() {
    let mut bench = Bench::new(Plan { events: served(&Package::ALL), ..with_users() });
    let mut number = 0;
    let mut ask = |bench: &mut Bench, event: &str, to: &str, status: u16| {
        number += 2;
        let lines = format!("Event: {event}\r\n");
        bench.udp(ALICE, &request("SUBSCRIBE", to, number, &lines, ""));
        let challenge = bench.expect_status(ALICE, 407);
        let (name, uri) = (HeaderName::ProxyAuthenticate, format!("sip:{to}"));
        let auth = credentials(&challenge, name, "alice", "wonder", "SUBSCRIBE", &uri);
        let lines = format!("{lines}Proxy-Authorization: {auth}\r\n");
        bench.udp(ALICE, &request("SUBSCRIBE", to, number + 1, &lines, ""));
        bench.expect_status(ALICE, status);
        bench.sent.clear();
    };
    ask(&mut bench, "presence", "bob@example.test", 200);
    ask(&mut bench, "reg", "bob@example.test", 403);
    ask(&mut bench, "reg", "alice@example.test", 200);
    ask(&mut bench, "presence", "nobody@example.test", 404);
}

/// RFC 3261 12.2.1.1: the proxies that recorded their routes are on the way of notifications, a strict
/// one by the Request-URI.
#[test]
fn notifications_follow_the_recorded_routes() {
    const EDGE: &str = "203.0.113.50:5060";
    for (route, uri, next) in [
        (format!("sip:{EDGE};lr"), format!("sip:alice@{ALICE}"), format!("<sip:{EDGE};lr>")),
        (format!("sip:{EDGE}"), format!("sip:{EDGE}"), format!("<sip:alice@{ALICE}>")),
    ] {
        let mut bench = open();
        let lines = format!("Event: presence\r\nRecord-Route: <{route}>\r\n");
        let subscribe = request("SUBSCRIBE", "bob@example.test", 1, &lines, "").replacen(
            "Via: ",
            &format!("Via: SIP/2.0/UDP {EDGE};branch=z9hG4bKedge\r\nVia: "),
            1,
        );
        bench.udp(EDGE, &subscribe);
        let ok = bench.expect_status(EDGE, 200);
        assert_eq!(text(&ok, HeaderName::RecordRoute), format!("<{route}>"));
        let notify = bench.expect_request(EDGE, "NOTIFY");
        assert_eq!(notify.request_uri(), uri);
        assert_eq!(text(&notify, HeaderName::Route), next);
    }
}

/// RFC 6665 4.1.3.
#[test]
fn a_node_that_stops_sends_its_subscribers_elsewhere() {
    let mut bench = open();
    bench.udp(ALICE, &subscribe("presence"));
    bench.expect_status(ALICE, 200);
    let notify = bench.expect_request(ALICE, "NOTIFY");
    bench.udp(ALICE, &reply(&notify, 200, "", "sip:alice@x", ""));
    bench.stop();
    let last = bench.expect_request(ALICE, "NOTIFY");
    assert_eq!(text(&last, HeaderName::SubscriptionState), "terminated;reason=deactivated");
}

/// RFC 4235 3.7: a lamp shows that a user rings, talks and is free again, and nothing of with whom.
#[test]
fn a_lamp_follows_the_calls_of_a_user() {
    const LAMP: &str = "198.51.100.40:5060";
    let mut bench = open();
    bench.register("bob", BOB);
    bench.udp(LAMP, &subscribe("dialog").replace(ALICE, LAMP).replace("alice@", "carol@"));
    bench.expect_status(LAMP, 200);
    let told = |bench: &mut Bench| {
        let is_for_lamp = |t: &Transmit| t.target.remote.to_string() == LAMP;
        if !bench.sent.iter().any(is_for_lamp) {
            bench.pass(Duration::from_secs(1));
        }
        let sent = bench.sent.iter().rfind(|t| is_for_lamp(t)).expect("a notification");
        let notify = Message::parse_datagram(sent.bytes.clone()).unwrap();
        // It may have been sent again by now.
        bench.sent.retain(|t| !is_for_lamp(t));
        bench.udp(LAMP, &reply(&notify, 200, "", "sip:carol@x", ""));
        body(&notify)
    };
    assert!(!told(&mut bench).contains("<dialog "));
    bench.udp(ALICE, &invite("bob", ""));
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(BOB, "INVITE");
    bench.expect_silence();
    let contact = format!("sip:bob@{BOB}");
    bench.udp(BOB, &reply(&forwarded, 180, "tb", &contact, ""));
    let early = told(&mut bench);
    assert!(early.contains("direction=\"recipient\"><state>early</state>"), "{early}");
    assert!(!early.contains("alice"), "{early}");
    bench.sent.clear();
    bench.udp(BOB, &reply(&forwarded, 200, "tb", &contact, ""));
    let ok = bench.expect_status(ALICE, 200);
    assert!(told(&mut bench).contains("<state>confirmed</state>"));
    bench.udp(ALICE, &from_alice("ACK", 1, &ok, "", ""));
    bench.sent.clear();
    bench.udp(ALICE, &from_alice("BYE", 2, &ok, "", ""));
    let bye = bench.expect_request(BOB, "BYE");
    bench.udp(BOB, &reply(&bye, 200, "tb", &contact, ""));
    let last = told(&mut bench);
    assert!(last.contains("<state>terminated</state>") && !last.contains("confirmed"), "{last}");
}

/// A call that nobody answers, and one that is refused, leave nothing behind.
#[test]
fn a_call_that_comes_to_nothing_is_not_told_of_any_more() {
    let mut bench = open();
    bench.register("bob", BOB);
    bench.udp(ALICE, &invite("bob", ""));
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(BOB, "INVITE");
    bench.udp(BOB, &reply(&forwarded, 180, "tb", "sip:bob@x", ""));
    bench.udp(BOB, &reply(&forwarded, 486, "tb", "sip:bob@x", ""));
    bench.sent.clear();
    bench.udp(ALICE, &subscribe("dialog"));
    bench.expect_status(ALICE, 200);
    let notify = bench.expect_request(ALICE, "NOTIFY");
    assert!(!body(&notify).contains("<dialog "), "{}", show(&notify));
}

/// RFC 3261 18.1.1.
#[test]
fn a_large_notification_goes_over_tcp_or_over_udp_after_all() {
    let mut bench = open();
    let note = "x".repeat(2000);
    let pidf = format!(
        "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='x'><note>{note}</note></presence>"
    );
    let lines = "Event: presence\r\nContent-Type: application/pidf+xml\r\n";
    bench.udp(ALICE, &request("PUBLISH", "alice@example.test", 1, lines, &pidf));
    bench.expect_status(ALICE, 200);
    bench.udp(ALICE, &request("SUBSCRIBE", "alice@example.test", 2, "Event: presence\r\n", ""));
    bench.expect_status(ALICE, 200);
    let large = bench.sent.pop_front().expect("a notification");
    assert_eq!(large.target.transport, Transport::Tcp);
    bench.proxy.handle_transport_error(bench.now, &large.target);
    // Nobody has asked: the outputs are taken.
    bench.resolved(0, Ok(Vec::new()));
    let again = bench.sent.pop_front().expect("a notification");
    assert_eq!(again.target.transport, Transport::Udp);
    let notify = Message::parse_datagram(again.bytes).unwrap();
    bench.udp(ALICE, &reply(&notify, 200, "", "sip:alice@x", ""));
    assert_eq!(bench.proxy.events().count(Package::Presence), 1);
}
