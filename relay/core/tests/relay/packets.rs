//! Where packets go.

use std::time::Duration;

use relay_core::api::*;
use relay_core::{DropReason, PacketKind};

use crate::support::*;

fn sent(from: std::net::SocketAddr, to: &str, kind: PacketKind) -> Outcome {
    Outcome::Sent { from, to: at(to), kind }
}

/// RFC 3550 11: RTCP on its own port.
#[test]
fn rtp_and_rtcp_go_across_on_their_own_ports() {
    let mut rig = Rig::new();
    let [inside, outside] = rig.apply(1, &call())[0].unwrap();
    let rtp = rtp(0, 1, 1);
    assert_eq!(
        rig.packet(at(CALLER), inside.rtp, &rtp),
        sent(outside.rtp, CALLEE, PacketKind::Rtp)
    );
    assert_eq!(
        rig.packet(at(CALLEE), outside.rtp, &rtp),
        sent(inside.rtp, CALLER, PacketKind::Rtp)
    );
    let outcome = rig.packet(at("10.0.0.7:4001"), inside.rtcp, &rtcp(1));
    assert_eq!(outcome, sent(outside.rtcp, "198.51.100.7:5001", PacketKind::Rtcp));
}

/// RFC 5761, and bridging it to a leg without.
#[test]
fn a_muxed_leg_shares_the_rtp_port_and_the_other_does_not() {
    let mut rig = Rig::new();
    let mut spec = call();
    spec.streams[0].legs[0].rtcp = RtcpMode::Mux;
    let [inside, outside] = rig.apply(1, &spec)[0].unwrap();
    assert_eq!(inside.rtcp, inside.rtp);
    let outcome = rig.packet(at(CALLER), inside.rtp, &rtcp(1));
    assert_eq!(outcome, sent(outside.rtcp, "198.51.100.7:5001", PacketKind::Rtcp));
    let outcome = rig.packet(at("198.51.100.7:5001"), outside.rtcp, &rtcp(2));
    assert_eq!(outcome, sent(inside.rtp, CALLER, PacketKind::Rtcp));
}

/// RFC 5761 5.1.1: an offerer that muxes may do so before it has the answer.
#[test]
fn rtcp_on_the_rtp_port_is_recognised_without_mux() {
    let mut rig = Rig::new();
    let [inside, outside] = rig.apply(1, &call())[0].unwrap();
    let outcome = rig.packet(at(CALLER), inside.rtp, &rtcp(1));
    assert_eq!(outcome, sent(outside.rtcp, "198.51.100.7:5001", PacketKind::Rtcp));
}

#[test]
fn what_does_not_belong_on_a_media_port_is_dropped_by_its_reason() {
    let mut rig = Rig::new();
    let [inside, _] = rig.apply(1, &call())[0].unwrap();
    let dtls = [22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let stun = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    let cases: [(&[u8], DropReason); 6] = [
        (&rtp(3, 1, 1), DropReason::PayloadType),
        (&dtls, DropReason::Dtls),
        (&stun, DropReason::Stun),
        (b"", DropReason::NotRtp),
        (b"\x80\x00", DropReason::NotRtp),
        (b"NOTIFY", DropReason::NotRtp),
    ];
    for (bytes, reason) in cases {
        assert_eq!(rig.packet(at(CALLER), inside.rtp, bytes), Outcome::Dropped(reason));
    }
    let on_rtcp = rig.packet(at("10.0.0.7:4001"), inside.rtcp, &rtp(0, 1, 1));
    assert_eq!(on_rtcp, Outcome::Dropped(DropReason::NotRtcp));
    assert_eq!(rig.close(1).streams[0][0].dropped, 7);
}

/// RFC 7983: the profile UDP/TLS/... shares the port with DTLS.
#[test]
fn dtls_passes_where_it_was_negotiated() {
    let mut rig = Rig::new();
    let mut spec = call();
    spec.streams[0].payload = Payload::Rtp { dtls: true };
    let [inside, outside] = rig.apply(1, &spec)[0].unwrap();
    let outcome = rig.packet(at(CALLER), inside.rtp, &[23, 254, 253, 0]);
    assert_eq!(outcome, sent(outside.rtp, CALLEE, PacketKind::Other));
}

#[test]
fn nothing_is_sent_to_a_held_peer_and_that_is_not_loss() {
    let mut rig = Rig::new();
    let [inside, _] = rig.apply(1, &call())[0].unwrap();
    assert!(rig.packet(at(CALLER), inside.rtp, &rtp(0, 1, 1)).is_sent());
    let mut held = call();
    held.streams[0].legs[1].remote = None;
    rig.apply(1, &held);
    for n in 2..100 {
        let outcome = rig.packet(at(CALLER), inside.rtp, &rtp(0, 1, n));
        assert_eq!(outcome, Outcome::Dropped(DropReason::Nowhere));
    }
    rig.apply(1, &call());
    assert!(rig.packet(at(CALLER), inside.rtp, &rtp(0, 1, 100)).is_sent());
    let report = rig.close(1).streams[0][0];
    assert_eq!((report.packets, report.lost, report.dropped), (2, 0, 98));
}

#[test]
fn a_known_peer_is_connected_at_once_and_packets_carry_an_address_until_it_is_confirmed() {
    let mut rig = Rig::new();
    rig.apply(1, &spec([audio(None, None)]));
    rig.hold = true;
    let [inside, outside] = rig.apply(1, &call())[0].unwrap();
    assert!(rig.packet(at(CALLER), inside.rtp, &rtp(0, 1, 1)).is_sent());
    rig.release();
    assert!(rig.connects.contains(&(inside.rtp, Some(at(CALLER)))));
    assert!(rig.connects.contains(&(outside.rtp, Some(at(CALLEE)))));
    // Packets need no address now: the rig would not find one to a wrong peer.
    assert!(rig.packet(at(CALLER), inside.rtp, &rtp(0, 1, 2)).is_sent());
}

#[test]
fn a_refused_connect_is_not_repeated_and_packets_go_on_with_an_address() {
    let mut rig = Rig::new();
    rig.refuse_connects = true;
    let [inside, outside] = rig.apply(1, &call())[0].unwrap();
    let asked = rig.connects.len();
    assert_eq!(asked, 4);
    for n in 0..5 {
        let outcome = rig.packet(at(CALLER), inside.rtp, &rtp(0, 1, n));
        assert_eq!(outcome, sent(outside.rtp, CALLEE, PacketKind::Rtp));
    }
    assert_eq!(rig.connects.len(), asked);
}

/// RFC 3264 8.3.1: the old address is heard until the new one speaks, a second at most.
#[test]
fn a_moved_peer_is_heard_from_its_old_address_until_it_speaks_from_the_new_one() {
    let mut rig = Rig::new();
    let [inside, outside] = rig.apply(1, &call())[0].unwrap();
    let mut moved = call();
    moved.streams[0].legs[0].remote = remote("10.0.0.8:4000", Learning::Signalled);
    rig.apply(1, &moved);
    let outcome = rig.packet(at(CALLEE), outside.rtp, &rtp(0, 2, 1));
    assert_eq!(outcome, sent(inside.rtp, "10.0.0.8:4000", PacketKind::Rtp));
    assert!(rig.packet(at(CALLER), inside.rtp, &rtp(0, 1, 1)).is_sent());
    assert!(rig.packet(at("10.0.0.8:4000"), inside.rtp, &rtp(0, 1, 2)).is_sent());
    let late = rig.queued_packet(at(CALLER), inside.rtp, &rtp(0, 1, 3));
    assert_eq!(late, Outcome::Dropped(DropReason::WrongSource));
    assert_eq!(rig.packet(at(CALLER), inside.rtp, &rtp(0, 1, 3)), Outcome::Unheard);
}

#[test]
fn a_moved_peer_that_does_not_speak_is_connected_when_the_hand_over_ends() {
    let mut rig = Rig::new();
    let [inside, _] = rig.apply(1, &call())[0].unwrap();
    let mut moved = call();
    moved.streams[0].legs[0].remote = remote("10.0.0.8:4000", Learning::Signalled);
    rig.apply(1, &moved);
    assert_eq!(rig.connects.last().unwrap().1, None);
    rig.wait(Duration::from_secs(1));
    assert!(rig.connects.contains(&(inside.rtp, Some(at("10.0.0.8:4000")))));
    let late = rig.queued_packet(at(CALLER), inside.rtp, &rtp(0, 1, 3));
    assert_eq!(late, Outcome::Dropped(DropReason::WrongSource));
}

#[test]
fn a_peer_that_moves_twice_in_a_hand_over_ends_up_at_the_last_place() {
    let mut rig = Rig::new();
    let [inside, outside] = rig.apply(1, &call())[0].unwrap();
    for place in ["10.0.0.8:4000", "10.0.0.9:4000"] {
        let mut moved = call();
        moved.streams[0].legs[0].remote = remote(place, Learning::Signalled);
        rig.apply(1, &moved);
        rig.wait(Duration::from_millis(600));
    }
    let outcome = rig.packet(at(CALLEE), outside.rtp, &rtp(0, 2, 1));
    assert_eq!(outcome, sent(inside.rtp, "10.0.0.9:4000", PacketKind::Rtp));
    rig.wait(Duration::from_secs(2));
    assert_eq!(rig.packet(at("10.0.0.8:4000"), inside.rtp, &rtp(0, 1, 1)), Outcome::Unheard);
    assert!(rig.packet(at("10.0.0.9:4000"), inside.rtp, &rtp(0, 1, 1)).is_sent());
}
