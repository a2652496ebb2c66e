//! Media addresses of both families, and of different networks.

use std::net::IpAddr;

use relay_core::api::Learning;

use super::calls::{ALICE, BOB, from_alice, invite, set_up, text};
use super::harness::{Bench, Plan, address, reply, sdp, show};
use crate::call::{Family, Unserved};
use crate::proxy::config::{LearningPolicy, Place};
use crate::proxy::output::Notice;
use crate::wire::HeaderName;

const ALICE6: &str = "[2001:db8::10]:5060";
const BOB6: &str = "[2001:db8::20]:5060";
/// The node's media addresses.
const LOCAL4: &str = "192.0.2.1";
const LOCAL6: &str = "2001:db8::1";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Alice's INVITE, as it is when she speaks SIP over IPv6.
fn invite6(body: &str) -> String {
    invite("bob", body).replace(ALICE, ALICE6)
}

fn unserved(bench: &Bench) -> Vec<Unserved> {
    let family = |notice: &Notice| match notice {
        Notice::MediaFamily { why, .. } => Some(*why),
        Notice::MediaRefused { .. }
        | Notice::TableFull { .. }
        | Notice::Malformed { .. }
        | Notice::Guard(_)
        | Notice::NoExit
        | Notice::NoSuchPing
        | Notice::Overload(_) => None,
    };
    bench.notices.iter().filter_map(family).collect()
}

/// RFC 6157: whoever has IPv6 calls whoever has IPv4. Each side is shown an address of its own family,
/// in c= and in o=.
#[test]
fn an_ipv6_caller_reaches_an_ipv4_callee() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    bench.udp(ALICE6, &invite6(&sdp("2001:db8::10", 4000)));
    bench.expect_status(ALICE6, 100);
    let forwarded = bench.expect_request(BOB, "INVITE");
    let offer = text(&forwarded);
    assert!(offer.contains("o=- 1 1 IN IP4 192.0.2.1\r\n"), "{offer}");
    assert!(offer.contains("c=IN IP4 192.0.2.1\r\n") && !offer.contains("IP6"), "{offer}");
    bench.udp(
        BOB,
        &reply(&forwarded, 200, "tb", &format!("sip:bob@{BOB}"), &sdp("198.51.100.20", 6000)),
    );
    let answer = text(&bench.expect_status(ALICE6, 200));
    assert!(answer.contains("o=- 1 1 IN IP6 2001:db8::1\r\n"), "{answer}");
    assert!(answer.contains("c=IN IP6 2001:db8::1\r\n") && !answer.contains("IP4"), "{answer}");
    assert_eq!(bench.last_spec().local, [ip(LOCAL6), ip(LOCAL4)]);
}

/// The family of a caller's media is what its offer says, whatever its SIP travels on.
#[test]
fn an_offer_of_the_other_family_than_its_signaling_gets_a_leg_of_its_own_family() {
    for (from, media, local) in [(ALICE, "2001:db8::10", LOCAL6), (ALICE6, "198.51.100.10", LOCAL4)]
    {
        let mut bench = Bench::new(Plan::default());
        bench.register("bob", BOB);
        bench.udp(from, &invite("bob", &sdp(media, 4000)).replace(ALICE, from));
        bench.expect_status(from, 100);
        let forwarded = bench.expect_request(BOB, "INVITE");
        let contact = format!("sip:bob@{BOB}");
        bench.udp(BOB, &reply(&forwarded, 200, "tb", &contact, &sdp("198.51.100.20", 6000)));
        let answer = text(&bench.expect_status(from, 200));
        assert!(answer.contains(&format!(" {local}\r\n")), "{answer}");
        assert_eq!(bench.last_spec().local, [ip(local), ip(LOCAL4)]);
        let remote = bench.last_spec().streams[0].legs[0].remote.unwrap();
        assert_eq!(remote.rtp.ip(), ip(media));
    }
}

/// A late offer (RFC 3264 5.1) decides the callee's leg.
#[test]
fn a_late_offer_of_the_other_family_gets_a_leg_of_its_own_family() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    bench.udp(ALICE, &invite("bob", ""));
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(BOB, "INVITE");
    let contact = format!("sip:bob@{BOB}");
    bench.udp(BOB, &reply(&forwarded, 200, "tb", &contact, &sdp("2001:db8::20", 6000)));
    let offer = text(&bench.expect_status(ALICE, 200));
    assert!(offer.contains("c=IN IP4 192.0.2.1\r\n"), "{offer}");
    assert_eq!(bench.last_spec().local, [ip(LOCAL4), ip(LOCAL6)]);
}

/// RFC 3261 20.43, 21.4.26: who offers what cannot be carried is told which family, and so is the
/// operator, with what to set.
#[test]
fn an_offer_of_a_family_that_the_node_has_no_address_of_is_answered_488_with_the_reason() {
    let plans = [
        (Plan { ip_routes: vec![Family::V4], ..Plan::default() }, "this host has no IPv6 route"),
        (Plan { listed: vec![Family::V4], ..Plan::default() }, "add one to media.addresses"),
    ];
    for (plan, fix) in plans {
        let mut bench = Bench::new(plan);
        bench.register("bob", BOB);
        bench.udp(ALICE, &invite("bob", &sdp("2001:db8::10", 4000)));
        bench.expect_status(ALICE, 100);
        let refused = bench.expect_status(ALICE, 488);
        assert!(show(&refused).starts_with("SIP/2.0 488 IPv6 Media Not Available\r\n"));
        let warnings: Vec<_> = refused.values(HeaderName::Warning).collect();
        assert_eq!(warnings, [&b"301 ringfarm \"no IPv6 address for this media\""[..]]);
        bench.expect_silence();
        assert!(bench.commands.is_empty());
        let notice = bench.notices[0].to_string();
        assert!(notice.contains("call-1") && notice.contains(fix), "{notice}");
        assert!(!notice.contains("2001:db8"), "{notice}");
    }
}

/// A leg keeps its family: an offer that would change it is refused, and the call goes on.
#[test]
fn a_reinvite_that_moves_media_to_the_other_family_is_answered_488() {
    let mut bench = Bench::new(Plan::default());
    let (_, ok) = set_up(&mut bench);
    let before = bench.last_spec().clone();
    bench.udp(ALICE, &from_alice("INVITE", 2, &ok, "", &sdp("2001:db8::10", 4000)));
    bench.expect_status(ALICE, 100);
    let refused = bench.expect_status(ALICE, 488);
    assert_eq!(refused.values(HeaderName::Warning).count(), 1);
    assert_eq!(unserved(&bench), [Unserved::OtherLeg(Family::V6)]);
    assert_eq!(*bench.last_spec(), before);
    assert!(bench.records.is_empty());
}

/// RFC 3264 6: nobody could hear the stream, so both sides read that it is closed, and the operator why.
#[test]
fn an_answer_of_another_family_than_was_offered_closes_the_stream() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB6);
    bench.udp(ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(BOB6, "INVITE");
    let contact = format!("sip:bob@{BOB6}");
    bench.udp(BOB6, &reply(&forwarded, 200, "tb", &contact, &sdp("198.51.100.20", 6000)));
    let answer = text(&bench.expect_status(ALICE, 200));
    assert!(answer.contains("m=audio 0 "), "{answer}");
    assert!(!answer.contains("198.51.100.20"), "{answer}");
    assert_eq!(unserved(&bench), [Unserved::Answered(Family::V4)]);
    assert!(!bench.last_spec().streams[0].open);
}

/// What a phone behind NAT sends over IPv4 does not come from the IPv6 address that its SIP has.
#[test]
fn sources_are_not_learned_from_signaling_of_the_other_family() {
    for learning in [LearningPolicy::Strict, LearningPolicy::Nat] {
        let mut bench = Bench::new(Plan { learning, ..Plan::default() });
        bench.register("bob", BOB);
        bench.udp(ALICE6, &invite6(&sdp("10.1.2.3", 4000)));
        let remote = bench.last_spec().streams[0].legs[0].remote.unwrap();
        assert_eq!(remote.rtp, address("10.1.2.3:4000"));
        assert_eq!(remote.learning, Learning::Signalled);
    }
}

/// Row S66 and the interpretation: each side is served on, and told, the address of its own network.
#[test]
fn each_side_is_told_the_address_of_its_own_network() {
    let inside = Place { local: ip("10.0.0.1"), advertised: ip("10.0.0.1") };
    let outside = Place { local: ip("192.0.2.9"), advertised: ip("203.0.113.9") };
    let places = vec![(ip("198.51.100.10"), inside), (ip("198.51.100.20"), outside)];
    let mut bench = Bench::new(Plan { places, ..Plan::default() });
    let (offer, answer) = set_up(&mut bench);
    assert!(text(&offer).contains("c=IN IP4 203.0.113.9\r\n"), "{}", text(&offer));
    assert!(text(&answer).contains("c=IN IP4 10.0.0.1\r\n"), "{}", text(&answer));
    assert_eq!(bench.last_spec().local, [inside.local, outside.local]);
}

/// RFC 3264 8.4: a peer of one family need not know how the other says hold by address.
#[test]
fn hold_by_address_reaches_the_other_family_as_its_own() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB6);
    bench.udp(ALICE, &invite("bob", &sdp("0.0.0.0", 4000)));
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(BOB6, "INVITE");
    let offer = text(&forwarded);
    assert!(offer.contains("c=IN IP6 ::\r\n") && !offer.contains("IP4"), "{offer}");
    let contact = format!("sip:bob@{BOB6}");
    bench.udp(BOB6, &reply(&forwarded, 200, "tb", &contact, &sdp("::", 6000)));
    let answer = text(&bench.expect_status(ALICE, 200));
    assert!(answer.contains("c=IN IP4 0.0.0.0\r\n") && !answer.contains("IP6"), "{answer}");
}
