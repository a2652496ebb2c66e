//! Packets go through calls unchanged.

use std::net::{IpAddr, Ipv6Addr};

use relay_core::api::*;
use relay_engine::{Dscp, EngineConfig, Markings};
use smallvec::smallvec;

use crate::common::*;

#[test]
fn audio_and_rtcp_pass_both_ways_unchanged_and_from_the_promised_ports() {
    let mut rig = Rig::start(config());
    let (caller, callee) = (Peer::new(PEERS), Peer::new(PEERS));
    let local = rig.call(1, &caller, &callee);
    both_ways(&caller, &callee, local);
    rig.engine.submit(Command::Report { session: SessionId(1), token: 9 }).unwrap();
    match rig.event() {
        Event::Report { token: 9, report: Some(report), .. } => {
            assert_eq!(report.streams[0][0].packets, 50);
        }
        other => panic!("unexpected {other:?}"),
    }
    let report = rig.close(1);
    let [from_caller, from_callee] = report.streams[0];
    assert_eq!((from_caller.packets, from_caller.bytes, from_caller.lost), (50, 50 * 172, 0));
    assert_eq!((from_callee.packets, from_callee.rtcp_packets), (50, 1));
    assert_eq!(from_caller.source, Some(address(&caller.rtp)));
    let counters = rig.counters();
    assert_eq!((counters.packets_in, counters.rtp_relayed, counters.rtcp_relayed), (102, 100, 2));
    assert_eq!(counters.bytes_relayed, 100 * 172 + 16);
    assert!(counters.cpu.as_nanos() > 0 && counters.tid > 0);
}

fn both_ways(caller: &Peer, callee: &Peer, local: [LocalPorts; 2]) {
    for n in 0..50 {
        caller.rtp.send_to(&rtp(1, n), local[0].rtp).unwrap();
        assert_eq!(receive(&callee.rtp), (rtp(1, n), local[1].rtp));
        callee.rtp.send_to(&rtp(2, n), local[1].rtp).unwrap();
        assert_eq!(receive(&caller.rtp), (rtp(2, n), local[0].rtp));
    }
    caller.rtcp.send_to(&rtcp(1), local[0].rtcp).unwrap();
    assert_eq!(receive(&callee.rtcp), (rtcp(1), local[1].rtcp));
    callee.rtcp.send_to(&rtcp(2), local[1].rtcp).unwrap();
    assert_eq!(receive(&caller.rtcp), (rtcp(2), local[0].rtcp));
}

/// Design: IPv4, IPv6 and bridging between them.
#[test]
fn ipv6_and_a_call_between_the_families_work() {
    let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
    // ::1 is shared with other tests: a port that is taken is retried by the engine.
    let mut rig = Rig::start(config());
    let (caller, callee) = (Peer::new(v6), Peer::new(v6));
    rig.home = v6;
    let local = rig.call(1, &caller, &callee);
    both_ways(&caller, &callee, local);

    let callee = Peer::new(PEERS);
    let stream =
        audio(Some(caller.remote(Learning::Signalled)), Some(callee.remote(Learning::Signalled)));
    let bridged = SessionSpec { local: [v6, home()], streams: smallvec![stream] };
    let local = rig.apply(2, &bridged)[0].unwrap();
    both_ways(&caller, &callee, local);
}

/// RFC 5761: a muxed leg's RTCP shares the RTP port, the other leg's does not.
#[test]
fn a_muxed_leg_is_bridged_to_one_with_separate_ports() {
    let mut rig = Rig::start(config());
    let (caller, callee) = (Peer::new(PEERS), Peer::new(PEERS));
    let mut stream =
        audio(Some(caller.remote(Learning::Signalled)), Some(callee.remote(Learning::Signalled)));
    stream.legs[0].rtcp = RtcpMode::Mux;
    let local = rig.apply(1, &spec(rig.home, stream))[0].unwrap();
    assert_eq!(local[0].rtcp, local[0].rtp);

    caller.rtp.send_to(&rtcp(1), local[0].rtp).unwrap();
    assert_eq!(receive(&callee.rtcp), (rtcp(1), local[1].rtcp));
    callee.rtcp.send_to(&rtcp(2), local[1].rtcp).unwrap();
    assert_eq!(receive(&caller.rtp), (rtcp(2), local[0].rtp));
    caller.rtp.send_to(&rtp(1, 0), local[0].rtp).unwrap();
    assert_eq!(receive(&callee.rtp), (rtp(1, 0), local[1].rtp));
}

#[test]
fn opaque_datagrams_pass_as_they_are() {
    let mut rig = Rig::start(config());
    let (caller, callee) = (Peer::new(PEERS), Peer::new(PEERS));
    let mut stream =
        audio(Some(caller.remote(Learning::Signalled)), Some(callee.remote(Learning::Signalled)));
    stream.payload = Payload::Opaque;
    let local = rig.apply(1, &spec(rig.home, stream))[0].unwrap();
    assert_eq!(local[0].rtcp, local[0].rtp);
    for datagram in [vec![], vec![0], vec![0xff; 1472]] {
        caller.rtp.send_to(&datagram, local[0].rtp).unwrap();
        assert_eq!(receive(&callee.rtp).0, datagram);
    }
    assert_eq!(rig.counters().other_relayed, 3);
}

#[test]
fn a_datagram_longer_than_a_buffer_is_dropped_and_counted_and_the_longest_fits() {
    let mut rig = Rig::start(EngineConfig { buffer_bytes: 1024, ..config() });
    let (caller, callee) = (Peer::new(PEERS), Peer::new(PEERS));
    let local = rig.call(1, &caller, &callee);
    let mut packet = rtp(1, 1);
    packet.resize(1024 - 44 + 1, 7);
    caller.rtp.send_to(&packet, local[0].rtp).unwrap();
    packet.pop();
    caller.rtp.send_to(&packet, local[0].rtp).unwrap();
    assert_eq!(receive(&callee.rtp).0, packet);
    assert_eq!(dropped(&rig.counters(), "too_long"), 1);
}

/// RFC 4594 4.1, 4.3: telephony is marked EF, video conferences AF41; and what else the
/// configuration says. RTCP is marked like what it reports on.
#[test]
fn packets_are_marked_by_what_they_are() {
    let own = Markings { audio: Dscp::new(40).unwrap(), ..Markings::default() };
    let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let mut session = 0;
    for (dscp, classes) in [(Markings::default(), [0xb8, 0x88, 0]), (own, [0xa0, 0x88, 0])] {
        let mut rig = Rig::start(EngineConfig { dscp, ..config() });
        for (ip, local) in [(PEERS, rig.home), (v6, v6)] {
            for (traffic, class) in Traffic::ALL.into_iter().zip(classes) {
                session += 1;
                let (caller, callee) = (Peer::new(ip), Peer::new(ip));
                let known = |peer: &Peer| Some(peer.remote(Learning::Signalled));
                let stream = StreamSpec { traffic, ..audio(known(&caller), known(&callee)) };
                let local = rig.apply(session, &spec(local, stream))[0].unwrap();
                for peer in [&callee.rtp, &callee.rtcp] {
                    tell_traffic_class(peer);
                }
                caller.rtp.send_to(&rtp(1, 1), local[0].rtp).unwrap();
                caller.rtcp.send_to(&rtcp(1), local[0].rtcp).unwrap();
                let marked = (traffic_class(&callee.rtp), traffic_class(&callee.rtcp));
                assert_eq!(marked, (class, class), "{traffic:?} to {ip}");
            }
        }
    }
}

/// Has the socket tell how packets are marked.
fn tell_traffic_class(socket: &std::net::UdpSocket) {
    let receiver = socket2::SockRef::from(socket);
    match address(socket).ip() {
        IpAddr::V4(_) => receiver.set_recv_tos_v4(true),
        IpAddr::V6(_) => receiver.set_recv_tclass_v6(true),
    }
    .unwrap();
}

/// The TOS or traffic class byte of the next packet.
fn traffic_class(socket: &std::net::UdpSocket) -> u8 {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};
    use std::os::fd::AsRawFd;
    let mut data = [0; 2048];
    let mut control = nix::cmsg_space!(i32);
    let mut vectors = [std::io::IoSliceMut::new(&mut data)];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut vectors,
        Some(&mut control),
        MsgFlags::empty(),
    );
    let message = message.unwrap();
    let mut control = message.cmsgs().unwrap();
    match control.next() {
        Some(ControlMessageOwned::Ipv4Tos(class)) => class,
        Some(ControlMessageOwned::Ipv6TClass(class)) => class.try_into().unwrap(),
        other => panic!("unexpected {other:?}"),
    }
}

/// Row S60 within a member: the workers share the ports and none is promised twice. A session's
/// worker is its id modulo their number.
#[test]
fn sessions_are_spread_over_workers_and_no_port_is_promised_twice() {
    let mut rig = Rig::start(EngineConfig { workers: vec![None, None, None], ..config() });
    let (caller, callee) = (Peer::new(PEERS), Peer::new(PEERS));
    let mut promised = std::collections::BTreeSet::new();
    for session in 0..9 {
        let local = rig.call(session, &caller, &callee);
        assert!(local.iter().all(|p| promised.insert(p.rtp) && promised.insert(p.rtcp)));
        both_ways(&caller, &callee, local);
    }
    let counters = rig.engine.counters();
    assert!(counters.iter().all(|worker| worker.rtp_relayed == 300 && worker.sessions_now == 3));
}
