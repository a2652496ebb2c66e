//! Peers that move in the middle of a call, and streams that come and go.

use std::net::UdpSocket;

use relay_core::api::*;
use smallvec::smallvec;

use crate::common::*;

/// Twice as many fit the receive buffer of a socket.
const PACKETS: u16 = 100;

/// The numbers of the packets that have arrived.
fn numbers(socket: &UdpSocket) -> Vec<u16> {
    drain(socket).iter().map(|p| u16::from_be_bytes([p[2], p[3]])).collect()
}

/// A re-INVITE with a new address (RFC 3264 8.3.1): what the peer sent from its old address before
/// it heard the answer arrives, what it sends from the new one does, and what goes to it as well.
fn peer_moves_without_loss(learning: impl Fn(&Peer) -> Remote) {
    let mut rig = Rig::start(config());
    let (before, after, callee) = (Peer::new(PEERS), Peer::new(PEERS), Peer::new(PEERS));
    let callee_remote = Some(callee.remote(Learning::Signalled));
    let first = spec(rig.home, audio(Some(learning(&before)), callee_remote));
    let local = rig.apply(1, &first)[0].unwrap();
    for n in 0..PACKETS {
        before.rtp.send_to(&rtp(1, n), local[0].rtp).unwrap();
        callee.rtp.send_to(&rtp(2, n), local[1].rtp).unwrap();
    }
    // Packets of the old address are still in the socket when the command is carried out.
    let second = spec(rig.home, audio(Some(learning(&after)), callee_remote));
    assert_eq!(rig.apply(1, &second)[0], Some(local));
    for n in PACKETS..2 * PACKETS {
        after.rtp.send_to(&rtp(1, n), local[0].rtp).unwrap();
        callee.rtp.send_to(&rtp(2, n), local[1].rtp).unwrap();
    }
    assert_eq!(numbers(&callee.rtp), (0..2 * PACKETS).collect::<Vec<_>>());
    let (to_before, to_after) = (numbers(&before.rtp), numbers(&after.rtp));
    assert_eq!([to_before, to_after.clone()].concat(), (0..2 * PACKETS).collect::<Vec<_>>());
    assert!(to_after.len() >= usize::from(PACKETS), "packets went to the old address");

    // The old address is a stranger now.
    before.rtp.send_to(&rtp(1, 5000), local[0].rtp).unwrap();
    assert_eq!(numbers(&callee.rtp), []);
    let report = rig.close(1).streams[0];
    assert_eq!((report[0].packets, report[0].lost), (u64::from(2 * PACKETS), 0));
}

#[test]
fn a_signalled_peer_moves_without_loss() {
    peer_moves_without_loss(|peer| peer.remote(Learning::Signalled));
}

#[test]
fn a_peer_behind_nat_moves_without_loss() {
    peer_moves_without_loss(|peer| peer.remote(host(PEERS)));
}

/// Early media: the callee's address becomes known with an answer; several in turn (forks).
#[test]
fn an_answer_after_the_offer_opens_the_way() {
    let mut rig = Rig::start(config());
    let (caller, callee, other) = (Peer::new(PEERS), Peer::new(PEERS), Peer::new(PEERS));
    let caller_remote = Some(caller.remote(Learning::Signalled));
    let local = rig.apply(1, &spec(rig.home, audio(caller_remote, None)))[0].unwrap();
    caller.rtp.send_to(&rtp(1, 0), local[0].rtp).unwrap();
    rig.await_counters("dropping", |c| dropped(c, "nowhere") == 1);
    for (n, answerer) in [&callee, &other, &callee].into_iter().enumerate() {
        let stream = audio(caller_remote, Some(answerer.remote(Learning::Signalled)));
        assert_eq!(rig.apply(1, &spec(rig.home, stream))[0], Some(local));
        let packet = rtp(1, n as u16 + 1);
        caller.rtp.send_to(&packet, local[0].rtp).unwrap();
        assert_eq!(receive(&answerer.rtp).0, packet);
    }
}

/// Hold with c=0.0.0.0, and resume.
#[test]
fn a_held_peer_gets_nothing_until_it_resumes() {
    let mut rig = Rig::start(config());
    let (caller, callee) = (Peer::new(PEERS), Peer::new(PEERS));
    let local = rig.call(1, &caller, &callee);
    let held = audio(Some(caller.remote(Learning::Signalled)), None);
    rig.apply(1, &spec(rig.home, held));
    caller.rtp.send_to(&rtp(1, 1), local[0].rtp).unwrap();
    rig.await_counters("dropping", |c| dropped(c, "nowhere") == 1);
    assert_eq!(rig.call(1, &caller, &callee), local);
    caller.rtp.send_to(&rtp(1, 2), local[0].rtp).unwrap();
    assert_eq!(numbers(&callee.rtp), [2]);
    assert_eq!(rig.close(1).streams[0][0].lost, 0);
}

#[test]
fn a_stream_can_be_added_and_closed_in_a_call() {
    let mut rig = Rig::start(config());
    let (caller, callee, video) = (Peer::new(PEERS), Peer::new(PEERS), Peer::new(PEERS));
    let first = rig.call(1, &caller, &callee);
    let stream = |from: &Peer| {
        audio(Some(from.remote(Learning::Signalled)), Some(callee.remote(Learning::Signalled)))
    };
    let mut both =
        SessionSpec { local: [rig.home; 2], streams: smallvec![stream(&caller), stream(&video)] };
    let ports = rig.apply(1, &both);
    assert_eq!(ports[0], Some(first));
    let second = ports[1].unwrap();
    video.rtp.send_to(&rtp(9, 1), second[0].rtp).unwrap();
    assert_eq!(receive(&callee.rtp), (rtp(9, 1), second[1].rtp));

    both.streams[0].open = false;
    assert_eq!(rig.apply(1, &both).as_slice(), [None, Some(second)]);
    rig.await_counters("closing", |c| c.sockets_now == 4);
    rig.await_resting(4);
    let report = rig.close(1);
    assert_eq!((report.streams.len(), report.streams[1][0].packets), (2, 1));
}
