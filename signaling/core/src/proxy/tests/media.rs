//! Offer/answer (RFC 3264) through the Media Proxy.

use std::time::Duration;

use relay_core::api::{Learning, Leg, RtcpMode};

use super::calls::{ALICE, BOB, from_alice, from_bob, invite, set_up, text};
use super::harness::{Bench, Plan, address, reply, sdp};
use crate::proxy::config::LearningPolicy;
use crate::proxy::output::Notice;

fn contact() -> String {
    format!("sip:bob@{BOB}")
}

/// A port is promised only once it receives.
#[test]
fn nothing_is_forwarded_before_the_relay_has_opened_its_ports() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    bench.relay_is_slow = true;
    bench.udp(ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
    bench.expect_status(ALICE, 100);
    bench.expect_silence();
    bench.relay_answers();
    let forwarded = bench.expect_request(BOB, "INVITE");
    bench.udp(BOB, &reply(&forwarded, 200, "tb", &contact(), &sdp("198.51.100.20", 6000)));
    bench.expect_silence();
    bench.relay_answers();
    bench.expect_status(ALICE, 200);
}

#[test]
fn a_final_response_never_overtakes_an_early_one_that_waits_for_the_relay() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    bench.udp(ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(BOB, "INVITE");
    bench.relay_is_slow = true;
    bench.udp(BOB, &reply(&forwarded, 183, "tb", &contact(), &sdp("198.51.100.20", 6000)));
    bench.udp(BOB, &reply(&forwarded, 180, "tb", &contact(), ""));
    bench.udp(BOB, &reply(&forwarded, 200, "tb", &contact(), &sdp("198.51.100.20", 6000)));
    bench.expect_silence();
    bench.relay_answers();
    let early = bench.expect_status(ALICE, 183);
    assert!(text(&early).contains("m=audio 30100 "));
    bench.expect_status(ALICE, 180);
    bench.expect_status(ALICE, 200);
}

#[test]
fn a_call_without_a_free_port_is_answered_503_and_the_operator_told_why() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    bench.relay_refuses = true;
    bench.udp(ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
    bench.expect_status(ALICE, 100);
    bench.expect_status(ALICE, 503);
    assert!(matches!(&bench.notices[..], [Notice::MediaRefused { .. }]), "{:?}", bench.notices);
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.proxy.load(), crate::proxy::Load::default());
}

#[test]
fn both_sides_addresses_and_payload_types_reach_the_relay() {
    let mut bench = Bench::new(Plan::default());
    set_up(&mut bench);
    let stream = &bench.last_spec().streams[0];
    let remote = |leg: Leg| stream.legs[leg.index()].remote.unwrap();
    assert_eq!(remote(Leg::Caller).rtp, address("198.51.100.10:4000"));
    assert_eq!(remote(Leg::Caller).rtcp, address("198.51.100.10:4001"));
    assert_eq!(remote(Leg::Callee).rtp, address("198.51.100.20:6000"));
    assert!(
        stream
            .legs
            .iter()
            .all(|leg| leg.payload_types.contains(0) && leg.payload_types.contains(101))
    );
    assert!(stream.legs.iter().all(|leg| !leg.payload_types.contains(8)));
    assert!(stream.legs.iter().all(|leg| leg.sends));
}

/// RFC 5761 5.1.1: muxed only if both sides say so.
#[test]
fn rtcp_is_muxed_only_when_the_answer_agrees() {
    for (answer_muxes, mode) in [(true, RtcpMode::Mux), (false, RtcpMode::Separate)] {
        let mut bench = Bench::new(Plan::default());
        bench.register("bob", BOB);
        let offer = sdp("198.51.100.10", 4000) + "a=rtcp-mux\r\n";
        bench.udp(ALICE, &invite("bob", &offer));
        bench.expect_status(ALICE, 100);
        let forwarded = bench.expect_request(BOB, "INVITE");
        assert!(text(&forwarded).contains("a=rtcp-mux"));
        let mut answer = sdp("198.51.100.20", 6000);
        if answer_muxes {
            answer += "a=rtcp-mux\r\n";
        }
        bench.udp(BOB, &reply(&forwarded, 200, "tb", &contact(), &answer));
        bench.expect_status(ALICE, 200);
        assert!(bench.last_spec().streams[0].legs.iter().all(|leg| leg.rtcp == mode));
    }
}

/// RFC 3264 6: a refused m= line has port 0 in both directions, and holds no ports.
#[test]
fn a_stream_that_the_answer_refuses_is_closed() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    let offer =
        sdp("198.51.100.10", 4000) + "m=video 4002 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n";
    bench.udp(ALICE, &invite("bob", &offer));
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(BOB, "INVITE");
    assert!(text(&forwarded).contains("m=video 30114 "));
    let answer = sdp("198.51.100.20", 6000) + "m=video 0 RTP/AVP 96\r\n";
    bench.udp(BOB, &reply(&forwarded, 200, "tb", &contact(), &answer));
    let ok = bench.expect_status(ALICE, 200);
    assert!(text(&ok).contains("m=video 0 "), "{}", text(&ok));
    let open: Vec<bool> = bench.last_spec().streams.iter().map(|s| s.open).collect();
    assert_eq!(open, [true, false]);
}

/// RFC 3264 5.1, RFC 3261 13.2.1: the 2xx carries the offer, the ACK the answer.
#[test]
fn a_late_offer_is_answered_by_the_ack() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    bench.udp(ALICE, &invite("bob", ""));
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(BOB, "INVITE");
    assert!(bench.commands.is_empty());
    bench.udp(BOB, &reply(&forwarded, 200, "tb", &contact(), &sdp("198.51.100.20", 6000)));
    let ok = bench.expect_status(ALICE, 200);
    assert!(text(&ok).contains("m=audio 30100 "), "{}", text(&ok));
    bench.udp(ALICE, &from_alice("ACK", 1, &ok, "", &sdp("198.51.100.10", 4000)));
    let ack = bench.expect_request(BOB, "ACK");
    assert!(text(&ack).contains("m=audio 30104 "), "{}", text(&ack));
    let stream = &bench.last_spec().streams[0];
    assert_eq!(stream.legs[0].remote.unwrap().rtp, address("198.51.100.10:4000"));
    assert_eq!(stream.legs[1].remote.unwrap().rtp, address("198.51.100.20:6000"));
}

/// RFC 3264 8.4: hold and resume by direction; the ports stay.
#[test]
fn hold_and_resume_keep_the_ports_and_tell_the_relay_who_sends() {
    let mut bench = Bench::new(Plan::default());
    let (_, ok) = set_up(&mut bench);
    for (cseq, direction, answer, alice_sends, bob_sends) in
        [(2, "sendonly", "recvonly", true, false), (3, "sendrecv", "sendrecv", true, true)]
    {
        let offer = sdp("198.51.100.10", 4000) + &format!("a={direction}\r\n");
        bench.udp(ALICE, &from_alice("INVITE", cseq, &ok, "", &offer));
        bench.expect_status(ALICE, 100);
        let forwarded = bench.expect_request(BOB, "INVITE");
        assert!(text(&forwarded).contains("m=audio 30104 "), "{}", text(&forwarded));
        assert!(text(&forwarded).contains(direction));
        let answer = sdp("198.51.100.20", 6000) + &format!("a={answer}\r\n");
        bench.udp(BOB, &reply(&forwarded, 200, "tb", &contact(), &answer));
        let held = bench.expect_status(ALICE, 200);
        assert!(text(&held).contains("m=audio 30100 "));
        let legs = &bench.last_spec().streams[0].legs;
        assert_eq!((legs[0].sends, legs[1].sends), (alice_sends, bob_sends));
        bench.udp(ALICE, &from_alice("ACK", cseq, &ok, "", ""));
        bench.expect_request(BOB, "ACK");
    }
    assert!(bench.closed_sessions().is_empty());
}

/// RFC 3264 8.4, the old way: nothing is sent to a peer that is on hold by its address.
#[test]
fn hold_by_the_zero_address_stops_what_is_sent_there() {
    let mut bench = Bench::new(Plan::default());
    let (_, ok) = set_up(&mut bench);
    bench.udp(ALICE, &from_alice("INVITE", 2, &ok, "", &sdp("0.0.0.0", 4000)));
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(BOB, "INVITE");
    assert!(text(&forwarded).contains("c=IN IP4 0.0.0.0"), "{}", text(&forwarded));
    bench.udp(BOB, &reply(&forwarded, 200, "tb", &contact(), &sdp("198.51.100.20", 6000)));
    bench.expect_status(ALICE, 200);
    assert_eq!(bench.last_spec().streams[0].legs[0].remote, None);
}

/// A peer moves only when its offer has been answered, and stays if it is refused (RFC 3261 14.1).
#[test]
fn a_refused_reinvite_leaves_the_media_as_it_was() {
    let mut bench = Bench::new(Plan::default());
    let (_, ok) = set_up(&mut bench);
    let before = bench.last_spec().clone();
    let offer = sdp("198.51.100.99", 9000) + "m=video 9002 RTP/AVP 96\r\n";
    bench.udp(ALICE, &from_alice("INVITE", 2, &ok, "", &offer));
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(BOB, "INVITE");
    assert_eq!(bench.last_spec().streams[0].legs[0].remote, before.streams[0].legs[0].remote);
    assert_eq!(bench.last_spec().streams.len(), 2);
    bench.udp(BOB, &reply(&forwarded, 488, "tb", &contact(), ""));
    bench.expect_request(BOB, "ACK");
    bench.expect_status(ALICE, 488);
    assert_eq!(bench.last_spec().streams[0], before.streams[0]);
    assert!(!bench.last_spec().streams[1].open);
    assert!(bench.records.is_empty());
}

#[test]
fn a_reinvite_from_the_callee_moves_its_media() {
    let mut bench = Bench::new(Plan::default());
    let (invite, _) = set_up(&mut bench);
    bench.udp(BOB, &from_bob("INVITE", 1, &invite, &sdp("198.51.100.20", 7000)));
    bench.expect_status(BOB, 100);
    let forwarded = bench.expect_request(ALICE, "INVITE");
    assert!(text(&forwarded).contains("m=audio 30100 "), "{}", text(&forwarded));
    bench.udp(
        ALICE,
        &reply(&forwarded, 200, "fa", &format!("sip:alice@{ALICE}"), &sdp("198.51.100.10", 4000)),
    );
    let ok = bench.expect_status(BOB, 200);
    assert!(text(&ok).contains("m=audio 30104 "), "{}", text(&ok));
    let moved = bench.last_spec().streams[0].legs[1].remote.unwrap();
    assert_eq!(moved.rtp, address("198.51.100.20:7000"));
}

/// Design, "learning the peer": strict unless the peer is seen to be behind NAT.
#[test]
fn sources_are_learned_only_from_peers_that_are_behind_nat() {
    let learned = |offer_ip: &str, policy| {
        let mut bench = Bench::new(Plan { learning: policy, ..Plan::default() });
        bench.register("bob", BOB);
        bench.udp(ALICE, &invite("bob", &sdp(offer_ip, 4000)));
        bench.last_spec().streams[0].legs[0].remote.unwrap().learning
    };
    let within = Learning::Within("198.51.100.10/32".parse().unwrap());
    assert_eq!(learned("198.51.100.10", LearningPolicy::Strict), Learning::Signalled);
    assert_eq!(learned("198.51.100.99", LearningPolicy::Strict), Learning::Signalled);
    assert_eq!(learned("10.1.2.3", LearningPolicy::Strict), within);
    assert_eq!(learned("198.51.100.10", LearningPolicy::Nat), within);
    assert_eq!(learned("198.51.100.10", LearningPolicy::Asymmetric), Learning::AnyPort);
    assert_eq!(learned("198.51.100.99", LearningPolicy::Asymmetric), Learning::AnyPort);
    assert_eq!(learned("10.1.2.3", LearningPolicy::Asymmetric), within);
}

/// S63, S71: the WAN IP stands in the SDP of both sides; the ports stay bound to the local address.
#[test]
fn the_wan_ip_is_advertised_and_the_local_address_bound() {
    let wan = "203.0.113.200".parse().unwrap();
    let mut bench = Bench::new(Plan { wan_ip: Some(wan), ..Plan::default() });
    let (invite, ok) = set_up(&mut bench);
    assert!(text(&invite).contains("c=IN IP4 203.0.113.200"));
    assert!(text(&ok).contains("c=IN IP4 203.0.113.200"));
    assert_eq!(bench.last_spec().local, [address("192.0.2.1:0").ip(); 2]);
}

/// RFC 3262, 3311: an UPDATE in the early dialog is an exchange of its own.
#[test]
fn an_update_in_an_early_dialog_moves_the_media() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    bench.udp(ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(BOB, "INVITE");
    bench.udp(BOB, &reply(&forwarded, 183, "tb", &contact(), &sdp("198.51.100.20", 6000)));
    let early = bench.expect_status(ALICE, 183);
    bench.udp(ALICE, &from_alice("UPDATE", 2, &early, "", &sdp("198.51.100.10", 4444)));
    let update = bench.expect_request(BOB, "UPDATE");
    bench.udp(BOB, &reply(&update, 200, "tb", &contact(), &sdp("198.51.100.20", 6000)));
    bench.expect_status(ALICE, 200);
    let moved = bench.last_spec().streams[0].legs[0].remote.unwrap();
    assert_eq!(moved.rtp, address("198.51.100.10:4444"));
}

/// Phones put their address into the Call-ID; a warning is read by more people than should see it.
#[test]
fn a_warning_about_a_call_shows_no_address_of_a_user() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    bench.relay_refuses = true;
    let call = invite("bob", &sdp("198.51.100.10", 4000));
    bench.udp(ALICE, &call.replace("call-1", "call-1@198.51.100.10"));
    let warning = bench.notices[0].to_string();
    assert!(warning.contains("call-1"), "{warning}");
    assert!(!warning.contains("198.51.100.10"), "{warning}");
}

/// RFC 3261 16.6: a proxy that does not relay media leaves bodies alone, in requests and in responses,
/// and the call is one all the same.
#[test]
fn without_relaying_descriptions_pass_as_they_are() {
    let mut bench = Bench::new(Plan { relay_media: false, ..Plan::default() });
    let (invite, ok) = set_up(&mut bench);
    assert_eq!(text(&invite), sdp("198.51.100.10", 4000));
    assert_eq!(text(&ok), sdp("198.51.100.20", 6000));
    let again = sdp("198.51.100.11", 4100);
    bench.udp(ALICE, &from_alice("INVITE", 2, &ok, "", &again));
    bench.expect_status(ALICE, 100);
    let held = bench.expect_request(BOB, "INVITE");
    assert_eq!(text(&held), again);
    bench.udp(BOB, &reply(&held, 200, "tb", &contact(), &sdp("198.51.100.20", 6002)));
    assert_eq!(text(&bench.expect_status(ALICE, 200)), sdp("198.51.100.20", 6002));
    bench.udp(ALICE, &from_alice("BYE", 3, &ok, "", ""));
    let bye = bench.expect_request(BOB, "BYE");
    bench.udp(BOB, &reply(&bye, 200, "tb", &contact(), ""));
    bench.expect_status(ALICE, 200);
    assert_eq!((bench.commands.len(), bench.records.len()), (0, 1), "{:?}", bench.commands);
    bench.pass(Duration::from_secs(60));
    bench.proxy.assert_clean();
}
