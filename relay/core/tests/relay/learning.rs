//! Peers behind NAT, and strangers (CVE-2025-53399).

use std::time::Duration;

use relay_core::api::*;
use relay_core::learn::PROVISIONAL_MAX;
use relay_core::{DropReason, PacketKind};

use crate::support::*;

/// What the caller believes its address to be; its NAT has the address 203.0.113.9.
const PRIVATE: &str = "192.168.1.5:4000";
const NATTED: &str = "203.0.113.9:40123";

fn behind_nat() -> SessionSpec {
    let caller = remote(PRIVATE, within("203.0.113.9/32"));
    spec([audio(caller, remote(CALLEE, Learning::Signalled))])
}

#[test]
fn a_peer_behind_nat_is_learned_with_its_third_packet_and_none_is_lost() {
    let mut rig = Rig::new();
    let [inside, outside] = rig.apply(1, &behind_nat())[0].unwrap();
    let back = |rig: &mut Rig| match rig.packet(at(CALLEE), outside.rtp, &rtp(0, 2, 1)) {
        Outcome::Sent { to, .. } => to,
        other => panic!("unexpected {other:?}"),
    };
    for n in 1..=2 {
        assert!(rig.packet(at(NATTED), inside.rtp, &rtp(0, 1, n)).is_sent());
        assert_eq!(back(&mut rig), at(PRIVATE));
    }
    assert!(rig.packet(at(NATTED), inside.rtp, &rtp(0, 1, 3)).is_sent());
    assert_eq!(back(&mut rig), at(NATTED));
    assert!(rig.connects.contains(&(inside.rtp, Some(at(NATTED)))));
    assert_eq!(rig.close(1).streams[0][0].source, Some(at(NATTED)));
}

#[test]
fn the_signalled_address_is_the_peer_with_its_first_packet() {
    let mut rig = Rig::new();
    let [inside, _] = rig.apply(1, &behind_nat())[0].unwrap();
    assert!(rig.packet(at(PRIVATE), inside.rtp, &rtp(0, 1, 1)).is_sent());
    let other = rig.queued_packet(at(NATTED), inside.rtp, &rtp(0, 1, 2));
    assert_eq!(other, Outcome::Dropped(DropReason::WrongSource));
}

/// RFC 4961 is not followed by every phone and gateway: one sends from another port than it
/// receives on. It is heard, loses nothing, and gets its packets where it asked for them; after
/// that the figures for strangers are those of a peer behind NAT.
#[test]
fn a_peer_that_sends_from_another_port_is_heard_and_is_sent_to_the_signalled_one() {
    let mut rig = Rig::new();
    let caller = remote(CALLER, Learning::AnyPort);
    let spec = spec([audio(caller, remote(CALLEE, Learning::Signalled))]);
    let [inside, outside] = rig.apply(1, &spec)[0].unwrap();
    let ([from, from_rtcp], host) = (["10.0.0.7:7000", "10.0.0.7:7001"].map(at), at(CALLER).ip());
    for n in 1..=10 {
        assert!(rig.packet(from, inside.rtp, &rtp(0, 1, n)).is_sent());
        let back = rig.packet(at(CALLEE), outside.rtp, &rtp(0, 2, n));
        let to = at(CALLER);
        assert_eq!(back, Outcome::Sent { from: inside.rtp, to, kind: PacketKind::Rtp });
    }
    assert!(rig.packet(from_rtcp, inside.rtcp, &rtcp(1)).is_sent());
    let back = rig.packet(at("198.51.100.7:5001"), outside.rtcp, &rtcp(2));
    let to = std::net::SocketAddr::new(host, 4001);
    assert_eq!(back, Outcome::Sent { from: inside.rtcp, to, kind: PacketKind::Rtcp });
    for stranger in ["10.0.0.7:7002", "10.0.0.8:7000", CALLER] {
        for n in 0..5 {
            let outcome = rig.queued_packet(at(stranger), inside.rtp, &rtp(0, 1, 11 + n));
            assert_eq!(outcome, Outcome::Dropped(DropReason::WrongSource), "{stranger}");
        }
    }
    assert!(rig.packet(from, inside.rtp, &rtp(0, 1, 11)).is_sent());
    assert_eq!(rig.close(1).streams[0][0].lost, 0);
}

/// The same peer, if it sends from where it receives after all: its socket is connected as ever.
#[test]
fn a_peer_that_might_send_from_another_port_and_does_not_is_connected() {
    let mut rig = Rig::new();
    let caller = remote(CALLER, Learning::AnyPort);
    let spec = spec([audio(caller, remote(CALLEE, Learning::Signalled))]);
    let [inside, _] = rig.apply(1, &spec)[0].unwrap();
    assert!(rig.packet(at(CALLER), inside.rtp, &rtp(0, 1, 1)).is_sent());
    assert!(rig.connects.contains(&(inside.rtp, Some(at(CALLER)))));
    let other = rig.queued_packet(at("10.0.0.7:7000"), inside.rtp, &rtp(0, 1, 2));
    assert_eq!(other, Outcome::Dropped(DropReason::WrongSource));
    assert_eq!(rig.packet(at("10.0.0.8:4000"), inside.rtp, &rtp(0, 1, 2)), Outcome::Unheard);
}

/// The stated figures: none from elsewhere; two from within, before the peer is learned; none after.
#[test]
fn a_stranger_brings_across_no_more_than_is_stated() {
    let mut rig = Rig::new();
    let [inside, _] = rig.apply(1, &behind_nat())[0].unwrap();
    let mut across = 0;
    let mut stranger = |rig: &mut Rig, host: &str, count: u16| {
        let mut reached = 0;
        for n in 0..count {
            // A new source each time: otherwise it would complete a run and be the peer.
            let source = at(&format!("{host}:{}", 1000 + n));
            for bytes in [rtp(0, 6, n), rtcp(6), rtcp(1), vec![22, 254, 253]] {
                reached += u8::from(rig.queued_packet(source, inside.rtp, &bytes).is_sent());
                reached += u8::from(rig.queued_packet(source, inside.rtcp, &bytes).is_sent());
            }
        }
        across += reached;
        reached
    };
    assert_eq!(stranger(&mut rig, "203.0.113.10", 100), 0);
    assert_eq!(stranger(&mut rig, "203.0.113.9", 100), PROVISIONAL_MAX);
    for n in 1..=3 {
        rig.packet(at(NATTED), inside.rtp, &rtp(0, 1, n));
    }
    // Its RTCP is learned by the SSRC of its RTP.
    assert!(rig.packet(at("203.0.113.9:40999"), inside.rtcp, &rtcp(1)).is_sent());
    assert_eq!(stranger(&mut rig, "203.0.113.9", 100), 0);
    assert_eq!(across, PROVISIONAL_MAX);
    let right = rig.packet(at(NATTED), inside.rtp, &rtp(0, 1, 4));
    assert!(right.is_sent());
}

#[test]
fn a_repeated_apply_does_not_open_a_locked_stream_to_strangers() {
    let mut rig = Rig::new();
    let [inside, _] = rig.apply(1, &behind_nat())[0].unwrap();
    for n in 1..=3 {
        rig.packet(at(NATTED), inside.rtp, &rtp(0, 1, n));
    }
    rig.apply(1, &behind_nat());
    let stranger = rig.queued_packet(at("203.0.113.9:999"), inside.rtp, &rtp(0, 1, 4));
    assert_eq!(stranger, Outcome::Dropped(DropReason::WrongSource));
}

/// Hold with c=0.0.0.0 (RFC 3264 8.4), and resume.
#[test]
fn a_hold_does_not_open_a_locked_stream_to_strangers() {
    let mut rig = Rig::new();
    let [inside, outside] = rig.apply(1, &behind_nat())[0].unwrap();
    for n in 1..=3 {
        rig.packet(at(NATTED), inside.rtp, &rtp(0, 1, n));
    }
    let mut held = behind_nat();
    held.streams[0].legs[0].remote = None;
    rig.apply(1, &held);
    rig.apply(1, &held);
    let on_hold = rig.packet(at(NATTED), inside.rtp, &rtp(0, 1, 4));
    assert_eq!(on_hold, Outcome::Dropped(DropReason::WrongSource));
    rig.apply(1, &behind_nat());
    let stranger = rig.queued_packet(at("203.0.113.9:999"), inside.rtp, &rtp(0, 1, 4));
    assert_eq!(stranger, Outcome::Dropped(DropReason::WrongSource));
    assert!(rig.packet(at(NATTED), inside.rtp, &rtp(0, 1, 5)).is_sent());
    match rig.packet(at(CALLEE), outside.rtp, &rtp(0, 2, 1)) {
        Outcome::Sent { to, .. } => assert_eq!(to, at(NATTED)),
        other => panic!("unexpected {other:?}"),
    }
}

#[test]
fn a_moved_peer_behind_nat_is_learned_again() {
    let mut rig = Rig::new();
    let [inside, outside] = rig.apply(1, &behind_nat())[0].unwrap();
    for n in 1..=3 {
        rig.packet(at(NATTED), inside.rtp, &rtp(0, 1, n));
    }
    let caller = remote("192.168.1.5:6000", within("203.0.113.9/32"));
    rig.apply(1, &spec([audio(caller, remote(CALLEE, Learning::Signalled))]));
    // Still under way from the old place.
    assert!(rig.packet(at(NATTED), inside.rtp, &rtp(0, 1, 4)).is_sent());
    for n in 5..=7 {
        assert!(rig.packet(at("203.0.113.9:40777"), inside.rtp, &rtp(0, 1, n)).is_sent());
    }
    match rig.packet(at(CALLEE), outside.rtp, &rtp(0, 2, 1)) {
        Outcome::Sent { to, .. } => assert_eq!(to, at("203.0.113.9:40777")),
        other => panic!("unexpected {other:?}"),
    }
}

/// RFC 3261 13.3.1.4: the 2xx that tells a peer of its own move may be lost for seconds. The old place
/// is where it is meanwhile, and does not lock it out of the new one, be that the signalled address or
/// another port of its NAT.
#[test]
fn a_peer_that_hears_late_of_its_move_is_followed() {
    for new in ["192.168.1.5:6000", "203.0.113.9:40777"] {
        let mut rig = Rig::new();
        let [inside, outside] = rig.apply(1, &behind_nat())[0].unwrap();
        for n in 1..=3 {
            rig.packet(at(NATTED), inside.rtp, &rtp(0, 1, n));
        }
        let caller = remote("192.168.1.5:6000", within("203.0.113.9/32"));
        rig.apply(1, &spec([audio(caller, remote(CALLEE, Learning::Signalled))]));
        rig.wait(Duration::from_secs(5));
        for n in 4..=8 {
            assert!(rig.packet(at(NATTED), inside.rtp, &rtp(0, 1, n)).is_sent());
        }
        let back = |rig: &mut Rig| match rig.packet(at(CALLEE), outside.rtp, &rtp(0, 2, 1)) {
            Outcome::Sent { to, .. } => to,
            other => panic!("unexpected {other:?}"),
        };
        assert_eq!(back(&mut rig), at(NATTED));
        for n in 9..=11 {
            rig.packet(at(new), inside.rtp, &rtp(0, 1, n));
        }
        assert_eq!(back(&mut rig), at(new));
        let old = rig.queued_packet(at(NATTED), inside.rtp, &rtp(0, 1, 12));
        assert_eq!(old, Outcome::Dropped(DropReason::WrongSource), "from {new}");
    }
}

/// RFC 3264 8.4: a hold by the zero address in between makes no difference.
#[test]
fn a_peer_that_is_moved_out_of_a_hold_and_hears_late_of_it_is_followed() {
    let mut rig = Rig::new();
    let [inside, outside] = rig.apply(1, &behind_nat())[0].unwrap();
    for n in 1..=3 {
        rig.packet(at(NATTED), inside.rtp, &rtp(0, 1, n));
    }
    let callee = remote(CALLEE, Learning::Signalled);
    rig.apply(1, &spec([audio(None, callee)]));
    let caller = remote("192.168.1.5:6000", within("203.0.113.9/32"));
    rig.apply(1, &spec([audio(caller, callee)]));
    rig.wait(Duration::from_secs(2));
    for n in 4..=6 {
        assert!(rig.packet(at(NATTED), inside.rtp, &rtp(0, 1, n)).is_sent());
    }
    for n in 7..=9 {
        rig.packet(at("203.0.113.9:40777"), inside.rtp, &rtp(0, 1, n));
    }
    match rig.packet(at(CALLEE), outside.rtp, &rtp(0, 2, 1)) {
        Outcome::Sent { to, .. } => assert_eq!(to, at("203.0.113.9:40777")),
        other => panic!("unexpected {other:?}"),
    }
}

/// A peer that signals another address and goes on as before: once it must have heard of its move, its
/// place is locked, and until then no stranger's packet passes without a run.
#[test]
fn a_peer_that_stays_where_it_was_is_locked_again() {
    let mut rig = Rig::new();
    let [inside, _] = rig.apply(1, &behind_nat())[0].unwrap();
    for n in 1..=3 {
        rig.packet(at(NATTED), inside.rtp, &rtp(0, 1, n));
    }
    let caller = remote("192.168.1.5:6000", within("203.0.113.9/32"));
    rig.apply(1, &spec([audio(caller, remote(CALLEE, Learning::Signalled))]));
    rig.wait(Duration::from_secs(5));
    for n in 4..=6 {
        assert!(rig.packet(at(NATTED), inside.rtp, &rtp(0, 1, n)).is_sent());
    }
    let stranger = at("203.0.113.9:999");
    let early = rig.packet(stranger, inside.rtp, &rtp(0, 9, 1));
    assert_eq!(early, Outcome::Dropped(DropReason::NotLearned));
    rig.wait(Duration::from_secs(32));
    assert!(rig.connects.contains(&(inside.rtp, Some(at(NATTED)))));
    for n in 2..=5 {
        let late = rig.queued_packet(stranger, inside.rtp, &rtp(0, 9, n));
        assert_eq!(late, Outcome::Dropped(DropReason::WrongSource));
    }
    assert!(rig.packet(at(NATTED), inside.rtp, &rtp(0, 1, 7)).is_sent());
}

/// A phone that has found out its public address and signals it: nothing has moved.
#[test]
fn a_learned_peer_that_signals_its_public_address_stays_the_peer() {
    let mut rig = Rig::new();
    let [inside, outside] = rig.apply(1, &behind_nat())[0].unwrap();
    for n in 1..=3 {
        rig.packet(at(NATTED), inside.rtp, &rtp(0, 1, n));
    }
    for learning in [within("203.0.113.9/32"), Learning::Signalled] {
        let public = remote(NATTED, learning);
        rig.apply(1, &spec([audio(public, remote(CALLEE, Learning::Signalled))]));
        assert!(rig.packet(at(NATTED), inside.rtp, &rtp(0, 1, 4)).is_sent());
        match rig.packet(at(CALLEE), outside.rtp, &rtp(0, 2, 1)) {
            Outcome::Sent { to, .. } => assert_eq!(to, at(NATTED)),
            other => panic!("unexpected {other:?}"),
        }
    }
}

/// A peer that only listens sends RTCP alone: three of them, none of which passes before.
#[test]
fn rtcp_alone_is_learned_by_a_run() {
    let mut rig = Rig::new();
    let [inside, _] = rig.apply(1, &behind_nat())[0].unwrap();
    let outcomes =
        [1, 2, 3].map(|_| rig.packet(at("203.0.113.9:40124"), inside.rtcp, &rtcp(1)).is_sent());
    assert_eq!(outcomes, [false, false, true]);
}

/// Media waits for the handshake, so a handshake record is enough.
#[test]
fn a_dtls_handshake_is_learned_from() {
    let mut rig = Rig::new();
    let mut spec = behind_nat();
    spec.streams[0].payload = Payload::Rtp { dtls: true };
    let [inside, outside] = rig.apply(1, &spec)[0].unwrap();
    let hello = [22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let data = [23, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let early = rig.packet(at(NATTED), inside.rtp, &data);
    assert_eq!(early, Outcome::Dropped(DropReason::NotLearned));
    assert!(rig.packet(at(NATTED), inside.rtp, &hello).is_sent());
    match rig.packet(at(CALLEE), outside.rtp, &hello) {
        Outcome::Sent { to, .. } => assert_eq!(to, at(NATTED)),
        other => panic!("unexpected {other:?}"),
    }
}

#[test]
fn an_opaque_stream_behind_nat_is_learned_by_a_run() {
    let mut rig = Rig::new();
    let mut spec = behind_nat();
    spec.streams[0].payload = Payload::Opaque;
    let [inside, outside] = rig.apply(1, &spec)[0].unwrap();
    for _ in 0..3 {
        assert!(rig.packet(at(NATTED), inside.rtp, b"udptl").is_sent());
    }
    match rig.packet(at(CALLEE), outside.rtp, b"udptl") {
        Outcome::Sent { to, .. } => assert_eq!(to, at(NATTED)),
        other => panic!("unexpected {other:?}"),
    }
}
