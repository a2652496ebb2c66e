//! Phones that answer when the caller has been refused already.

use std::time::Duration;

use super::calls::{ALICE, BOB, invite};
use super::harness::{Bench, Plan, reply, sdp};
use crate::proxy::Load;
use crate::wire::{HeaderName, Message};

const PROXY: &str = "198.51.100.60:5060";

/// Bob's phone rings for ever, and does not answer the CANCEL; Alice has been refused.
fn refused(bench: &mut Bench) -> Message {
    bench.register("bob", BOB);
    bench.udp(ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
    bench.expect_status(ALICE, 100);
    let ringing = bench.expect_request(BOB, "INVITE");
    bench.udp(BOB, &reply(&ringing, 180, "tb", "sip:bob@x", ""));
    bench.expect_status(ALICE, 180);
    bench.stop();
    bench.expect_status(ALICE, 503);
    bench.expect_request(BOB, "CANCEL");
    ringing
}

/// RFC 3261 13.2.2.4: acknowledged each time it comes, and hung up on once.
#[test]
fn a_phone_that_answers_too_late_is_acknowledged_and_hung_up_on() {
    let mut bench = Bench::new(Plan::default());
    let ringing = refused(&mut bench);
    let contact = format!("sip:bob@{BOB}");
    let ok = reply(&ringing, 200, "tb", &contact, &sdp("198.51.100.20", 6000));
    bench.udp(BOB, &ok);
    let ack = bench.expect_request(BOB, "ACK");
    assert_eq!((ack.request_uri(), ack.cseq().number), (contact.as_str(), 1));
    assert_eq!((ack.to().tag(), ack.from().tag()), (Some("tb"), Some("fa")));
    let bye = bench.expect_request(BOB, "BYE");
    assert_eq!((bye.request_uri(), bye.cseq().number), (contact.as_str(), 2));
    assert_ne!(ack.top_via().branch(), bye.top_via().branch());
    bench.udp(BOB, &ok);
    bench.expect_request(BOB, "ACK");
    bench.udp(BOB, &reply(&bye, 200, "tb", "sip:bob@x", ""));
    bench.expect_silence();
    bench.pass(Duration::from_secs(64));
    assert_eq!(bench.proxy.load(), Load::default());
    bench.proxy.assert_clean();
}

/// RFC 3261 12.1.2: along the proxies that have record-routed behind this node.
#[test]
fn what_ends_a_late_answer_takes_the_route_of_its_dialog() {
    let mut bench = Bench::new(Plan::default());
    let ringing = refused(&mut bench);
    let ok = reply(&ringing, 200, "tb", "sip:bob@10.0.0.9", "");
    let below = format!("Record-Route: <sip:{PROXY};lr>\r\nRecord-Route");
    bench.udp(BOB, &ok.replacen("Record-Route", &below, 1));
    for method in ["ACK", "BYE"] {
        let request = bench.expect_request(BOB, method);
        assert_eq!(request.request_uri(), "sip:bob@10.0.0.9");
        assert_eq!(request.first_str(HeaderName::Route), Some("<sip:198.51.100.60:5060;lr>"));
    }
}
