//! Datagrams that the kernel hands over as one (UDP_GRO), which on the network are several.

use std::net::{IpAddr, Ipv6Addr};

use nix::sys::socket::{setsockopt, sockopt};
use relay_core::api::*;

use crate::common::*;

/// A video call between two peers; its ports.
fn video_call(rig: &mut Rig, home: IpAddr, caller: &Peer, callee: &Peer) -> [LocalPorts; 2] {
    let stream =
        audio(Some(caller.remote(Learning::Signalled)), Some(callee.remote(Learning::Signalled)));
    rig.apply(1, &spec(home, StreamSpec { traffic: Traffic::Video, ..stream }))[0].unwrap()
}

fn packet(sequence: u16, length: usize) -> Vec<u8> {
    let mut packet = rtp(5, sequence);
    packet.resize(length, sequence as u8);
    packet
}

/// Sends the packets, all of `each` bytes but for a shorter last one, with one system call, which
/// is how they stay together on loopback.
fn send_together(peer: &Peer, to: LocalPorts, each: usize, packets: &[Vec<u8>]) {
    setsockopt(&peer.rtp, sockopt::UdpGsoSegment, &(each as i32)).unwrap();
    peer.rtp.send_to(&packets.concat(), to.rtp).unwrap();
}

fn frame_comes_across(home: IpAddr, peers: IpAddr) {
    let mut rig = Rig::start(config());
    let (caller, callee) = (Peer::new(peers), Peer::new(peers));
    let ports = video_call(&mut rig, home, &caller, &callee);
    let lengths = [vec![1000; 40], vec![600]].concat();
    let frame: Vec<Vec<u8>> = (0..).zip(&lengths).map(|(n, length)| packet(n, *length)).collect();
    for _ in 0..10 {
        send_together(&caller, ports[0], 1000, &frame);
        for packet in &frame {
            assert_eq!(receive(&callee.rtp), (packet.clone(), ports[1].rtp));
        }
    }
    let counters = rig.counters();
    assert!(counters.merged >= 1 && counters.runs >= 1, "{counters:#?}");
    let packets = 10 * frame.len() as u64;
    assert_eq!((counters.packets_in, counters.rtp_relayed), (packets, packets));
    let report = rig.close(1);
    assert_eq!(report.streams[0][0].packets, packets);
}

#[test]
fn a_frame_that_comes_merged_leaves_as_the_packets_it_was() {
    let home = home();
    frame_comes_across(home, PEERS);
}

#[test]
fn a_frame_that_comes_merged_over_ipv6_leaves_as_the_packets_it_was() {
    let ip = IpAddr::V6(Ipv6Addr::LOCALHOST);
    frame_comes_across(ip, ip);
}

/// Each gets a verdict of its own.
#[test]
fn what_is_no_media_among_merged_packets_is_dropped_alone() {
    let mut rig = Rig::start(config());
    let home = rig.home;
    let (caller, callee) = (Peer::new(PEERS), Peer::new(PEERS));
    let ports = video_call(&mut rig, home, &caller, &callee);
    let mut frame: Vec<Vec<u8>> = (0..8).map(|n| packet(n, 500)).collect();
    frame[3] = vec![0; 500];
    send_together(&caller, ports[0], 500, &frame);
    frame.remove(3);
    for packet in &frame {
        assert_eq!(receive(&callee.rtp).0, *packet);
    }
    let counters = rig.counters();
    assert_eq!((counters.packets_in, counters.rtp_relayed, counters.merged), (8, 7, 1));
}

/// Packets longer than a run may be (RFC 8200 5) are sent one by one.
#[test]
fn long_packets_that_come_merged_leave_one_by_one() {
    let mut rig = Rig::start(config());
    let home = rig.home;
    let (caller, callee) = (Peer::new(PEERS), Peer::new(PEERS));
    let ports = video_call(&mut rig, home, &caller, &callee);
    let frame: Vec<Vec<u8>> = (0..6).map(|n| packet(n, 1400)).collect();
    send_together(&caller, ports[0], 1400, &frame);
    for packet in &frame {
        assert_eq!(receive(&callee.rtp).0, *packet);
    }
    assert_eq!((rig.counters().merged, rig.counters().runs), (1, 0));
}
