//! The packet path allocates nothing and gives nothing back, whatever comes in.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

#[expect(dead_code, reason = "shared with tests that use more of it")]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use relay_core::api::*;
use relay_core::{SlotId, Verdict};
use support::*;

struct Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // The thread's value may be gone while the thread ends; nothing is measured then.
    let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
}

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        // SAFETY: as above; the pointer came from `alloc` or `realloc`, that is, from the system.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls of the allocator while the packets are handled; and how many of them were forwarded.
fn handle(rig: &mut Rig, packets: &[(SlotId, std::net::SocketAddr, Vec<u8>)]) -> (u64, usize) {
    let now = rig.now;
    let before = CALLS.get();
    let mut forwarded = 0;
    for (slot, source, bytes) in packets {
        let verdict = rig.relay.handle_packet(now, *slot, *source, bytes);
        forwarded += usize::from(matches!(verdict, Verdict::Forward { .. }));
    }
    (CALLS.get() - before, forwarded)
}

#[test]
fn the_counting_allocator_counts() {
    let before = CALLS.get();
    drop(std::hint::black_box(vec![1_u8]));
    assert_eq!(CALLS.get() - before, 2);
}

/// Neither on the usual way, nor while learning, moving or dropping.
#[test]
fn handling_packets_allocates_nothing() {
    let mut rig = Rig::new();
    let mut packets = vec![];
    let natted = |n: u16| at(&format!("203.0.113.9:{}", 40_000 + n));
    for session in 0..10_u16 {
        let private = remote("192.168.1.5:4000", within("203.0.113.9/32"));
        let callee = remote(CALLEE, Learning::Signalled);
        let known = remote(CALLER, Learning::Signalled);
        let ports =
            rig.apply(u64::from(session), &spec([audio(private, callee), audio(known, callee)]));
        let moved = remote("10.0.0.8:4000", Learning::Signalled);
        rig.apply(u64::from(session), &spec([audio(private, callee), audio(moved, callee)]));
        let [nat, direct] = [ports[0].unwrap(), ports[1].unwrap()];
        let (nat_rtp, nat_rtcp) = (rig.slot(nat[0].rtp), rig.slot(nat[0].rtcp));
        let (direct_rtp, callee_rtp) = (rig.slot(direct[0].rtp), rig.slot(nat[1].rtp));
        for n in 0..50 {
            packets.push((nat_rtp, natted(session), rtp(0, 1, n)));
            packets.push((nat_rtp, natted(session + 500), rtp(0, 6, n)));
            packets.push((nat_rtcp, natted(session + 100), rtcp(1)));
            packets.push((direct_rtp, at("10.0.0.8:4000"), rtp(8, u32::from(n), n * 7)));
            packets.push((callee_rtp, at(CALLEE), rtp(96, 2, n)));
            packets.push((callee_rtp, at(CALLEE), sender_report(u32::from(n))));
            let answer = receiver_report(u32::from(n), std::time::Duration::from_secs(1));
            packets.push((callee_rtp, at(CALLEE), answer));
            packets.push((callee_rtp, at(CALLEE), b"garbage".to_vec()));
        }
    }
    let (calls, forwarded) = handle(&mut rig, &packets);
    assert_eq!(calls, 0);
    assert!(forwarded > 1500, "{forwarded} packets took the long way");
    rig.work();
    assert!(rig.connects.len() > 20);
}
