//! Packets that go the same way one after the other, and are handed to the kernel as one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use relay_core::api::*;

use crate::common::*;
use crate::pressure::{is_apart, run_apart, shell};

/// How long a worker is kept from its sockets, so that packets queue up in them.
const NAP: Duration = Duration::from_millis(100);

/// A rig whose worker naps when it hands out an event while the switch is on.
fn rig_that_naps() -> (Rig, Arc<AtomicBool>) {
    let switch = Arc::new(AtomicBool::new(false));
    let naps = Arc::clone(&switch);
    let rig = Rig::start_with(config(), move || {
        if naps.load(Ordering::SeqCst) {
            naps.store(false, Ordering::SeqCst);
            std::thread::sleep(NAP);
        }
    });
    (rig, switch)
}

/// Packets of these lengths, sent while the worker naps.
fn burst(rig: &Rig, switch: &AtomicBool, peer: &Peer, to: LocalPorts, lengths: &[usize]) {
    switch.store(true, Ordering::SeqCst);
    rig.engine.submit(Command::Report { session: SessionId(1), token: 0 }).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while switch.load(Ordering::SeqCst) {
        assert!(Instant::now() < deadline, "the worker does not nap");
        std::thread::yield_now();
    }
    for (n, length) in lengths.iter().enumerate() {
        peer.rtp.send_to(&packet(n, *length), to.rtp).unwrap();
    }
    assert!(matches!(rig.event(), Event::Report { .. }));
}

fn packet(n: usize, length: usize) -> Vec<u8> {
    let mut packet = rtp(5, n as u16);
    packet.resize(length, n as u8);
    packet
}

/// Whatever the lengths are: each datagram comes out as it came in, and in order.
#[test]
fn a_run_of_packets_is_sent_as_one_and_comes_out_as_it_came_in() {
    let (mut rig, switch) = rig_that_naps();
    let (caller, callee) = (Peer::new(PEERS), Peer::new(PEERS));
    let ports = rig.call(1, &caller, &callee);
    let lengths = [
        // A frame with a shorter last packet, and one like it.
        vec![1000; 9],
        vec![500],
        vec![1000; 3],
        // Growing, too long for a run, longer than a run may be, and alone.
        vec![100, 200, 300],
        vec![1300; 3],
        vec![1232; 40],
        vec![172],
    ]
    .concat();
    for _ in 0..3 {
        burst(&rig, &switch, &caller, ports[0], &lengths);
        for (n, length) in lengths.iter().enumerate() {
            assert_eq!(receive(&callee.rtp), (packet(n, *length), ports[1].rtp));
        }
    }
    let counters = rig.counters();
    assert!(counters.runs > 3, "{counters:#?}");
    let bytes = 3 * lengths.iter().sum::<usize>() as u64;
    assert_eq!((counters.rtp_relayed, counters.bytes_relayed), (3 * lengths.len() as u64, bytes));
}

#[test]
fn packets_of_two_streams_are_not_mixed_up() {
    let (mut rig, switch) = rig_that_naps();
    let (caller, callee, other) = (Peer::new(PEERS), Peer::new(PEERS), Peer::new(PEERS));
    let ports = rig.call(1, &caller, &callee);
    rig.call(2, &other, &caller);
    let back = ports[1];
    burst(&rig, &switch, &caller, ports[0], &[200; 20]);
    callee.rtp.send_to(&packet(7, 200), back.rtp).unwrap();
    for n in 0..20 {
        assert_eq!(receive(&callee.rtp).0, packet(n, 200));
    }
    assert_eq!(receive(&caller.rtp).0, packet(7, 200));
}

/// The kernel refuses a run whose packets do not fit the link: that one is lost and counted, and
/// from then on the packets are sent one by one.
#[test]
fn on_a_link_that_takes_no_runs_packets_are_sent_one_by_one() {
    if !is_apart() {
        run_apart("runs::on_a_link_that_takes_no_runs_packets_are_sent_one_by_one");
        return;
    }
    shell("ip link set lo up mtu 1000");
    let (mut rig, switch) = rig_that_naps();
    let (caller, callee) = (Peer::new(PEERS), Peer::new(PEERS));
    let ports = rig.call(1, &caller, &callee);
    burst(&rig, &switch, &caller, ports[0], &[1200; 8]);
    rig.await_counters("refusing", |c| c.send_errors.iter().any(|(_, count)| *count > 0));
    drain(&callee.rtp);
    let runs = rig.counters().runs;
    burst(&rig, &switch, &caller, ports[0], &[1200; 8]);
    for n in 0..8 {
        assert_eq!(receive(&callee.rtp).0, packet(n, 1200));
    }
    assert_eq!(rig.counters().runs, runs);
}
