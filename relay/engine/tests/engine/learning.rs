//! The stranger (CVE-2025-53399): how many of its packets reach the other side.

use relay_core::api::*;
use relay_core::learn::PROVISIONAL_MAX;

use crate::common::*;

/// Sends `count` packets of a well-formed stream to each port of the leg from two new sockets.
fn intrude(ports: LocalPorts, ssrc: u32, count: u16) {
    for port in [ports.rtp, ports.rtcp] {
        let stranger = socket(PEERS);
        for n in 0..count {
            stranger.send_to(&rtp(ssrc, n), port).unwrap();
            stranger.send_to(&rtcp(ssrc), port).unwrap();
        }
    }
}

/// Of what has arrived, packets of this SSRC.
fn arrived(peer: &Peer, ssrc: u32) -> usize {
    let rtp = drain(&peer.rtp).iter().filter(|p| p[8..12] == ssrc.to_be_bytes()).count();
    rtp + drain(&peer.rtcp).iter().filter(|p| p[4..8] == ssrc.to_be_bytes()).count()
}

/// Known address: 0 packets, before, while and after the peer sends, and after it is connected.
#[test]
fn a_stranger_never_reaches_the_other_side_of_a_signalled_peer() {
    let mut rig = Rig::start(config());
    let (caller, callee) = (Peer::new(PEERS), Peer::new(PEERS));
    let local = rig.call(1, &caller, &callee);
    intrude(local[0], 666, 20);
    for n in 0..20 {
        caller.rtp.send_to(&rtp(1, n), local[0].rtp).unwrap();
        intrude(local[0], 666, 1);
    }
    intrude(local[0], 666, 20);
    assert_eq!(arrived(&callee, 666), 0);
    let counters = rig.counters();
    assert_eq!(counters.rtp_relayed, 20);
}

/// Before the answer no address is known: nothing passes, from anybody.
#[test]
fn nothing_passes_before_the_peer_is_signalled() {
    let mut rig = Rig::start(config());
    let (caller, callee) = (Peer::new(PEERS), Peer::new(PEERS));
    let half = spec(rig.home, audio(None, Some(callee.remote(Learning::Signalled))));
    let local = rig.apply(1, &half)[0].unwrap();
    intrude(local[0], 666, 5);
    caller.rtp.send_to(&rtp(1, 1), local[0].rtp).unwrap();
    rig.await_counters("dropping", |c| dropped(c, "wrong_source") == 21);
    assert_eq!(arrived(&callee, 666) + arrived(&callee, 1), 0);
}

/// Behind NAT: the peer's first packet is relayed, it is heard from its real address from the
/// third on, and a stranger brings two packets across before that and none after.
#[test]
fn a_peer_behind_nat_is_learned_and_a_stranger_of_its_network_brings_two_packets_across() {
    let mut rig = Rig::start(config());
    let (caller, callee) = (Peer::new(PEERS), Peer::new(PEERS));
    // What the phone believes its address to be.
    let wrong = Peer::new(PEERS).remote(host(PEERS));
    let stream = audio(Some(wrong), Some(callee.remote(Learning::Signalled)));
    let local = rig.apply(1, &spec(rig.home, stream))[0].unwrap();

    // A new source for each packet: none of them completes a run.
    for n in 0..20 {
        socket(PEERS).send_to(&rtp(666, n * 100), local[0].rtp).unwrap();
    }
    for n in 0..10 {
        caller.rtp.send_to(&rtp(1, n), local[0].rtp).unwrap();
    }
    rig.await_counters("learning", |c| c.rtp_relayed == u64::from(PROVISIONAL_MAX) + 8);
    intrude(local[0], 666, 20);
    assert_eq!(arrived(&callee, 666), usize::from(PROVISIONAL_MAX));

    callee.rtp.send_to(&rtp(2, 1), local[1].rtp).unwrap();
    assert_eq!(receive(&caller.rtp), (rtp(2, 1), local[0].rtp));
    // RTCP from the learned host is learned at once.
    caller.rtcp.send_to(&rtcp(1), local[0].rtcp).unwrap();
    assert_eq!(receive(&callee.rtcp).0, rtcp(1));
    callee.rtcp.send_to(&rtcp(2), local[1].rtcp).unwrap();
    assert_eq!(receive(&caller.rtcp).0, rtcp(2));
}

#[test]
fn a_lone_peer_behind_nat_loses_no_packet() {
    let mut rig = Rig::start(config());
    let (caller, callee) = (Peer::new(PEERS), Peer::new(PEERS));
    let wrong = Peer::new(PEERS).remote(host(PEERS));
    let stream = audio(Some(wrong), Some(callee.remote(Learning::Signalled)));
    let local = rig.apply(1, &spec(rig.home, stream))[0].unwrap();
    for n in 0..10 {
        caller.rtp.send_to(&rtp(1, n), local[0].rtp).unwrap();
        assert_eq!(receive(&callee.rtp).0, rtp(1, n));
    }
    assert_eq!(rig.close(1).streams[0][0].source, Some(address(&caller.rtp)));
}

/// From outside the network that the peer is expected in: 0 packets at any time.
#[test]
fn a_stranger_of_another_network_never_reaches_the_other_side() {
    let mut rig = Rig::start(config());
    let (caller, callee) = (Peer::new(home()), Peer::new(PEERS));
    let wrong = Peer::new(PEERS).remote(host(address(&caller.rtp).ip()));
    let stream = audio(Some(wrong), Some(callee.remote(Learning::Signalled)));
    let local = rig.apply(1, &spec(rig.home, stream))[0].unwrap();
    intrude(local[0], 666, 20);
    for n in 0..5 {
        caller.rtp.send_to(&rtp(1, n), local[0].rtp).unwrap();
        intrude(local[0], 666, 5);
    }
    assert_eq!(arrived(&callee, 666), 0);
    assert_eq!(rig.counters().rtp_relayed, 5);
}
