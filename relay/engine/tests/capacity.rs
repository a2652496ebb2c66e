//! Many sessions, set up and torn down: nothing of them is left. A process of its own, because it
//! counts the process's descriptors.
#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests may panic, and an event that is not the awaited one is a failure"
)]

#[expect(dead_code, reason = "shared with tests that use more of it")]
mod common;

use std::time::Duration;

use common::*;
use relay_core::api::*;
use relay_engine::EngineConfig;
use smallvec::smallvec;

const SESSIONS: u64 = 2000;
const ROUNDS: u64 = 2;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Audio and video: 8 sockets a session, 16,000 in all, none of which takes a descriptor.
#[test]
fn thousands_of_sessions_take_no_descriptors_and_leave_nothing_behind() {
    let mut rig = Rig::start(EngineConfig {
        ports: 1024..=32_767,
        rest: Duration::from_millis(1),
        sockets_per_worker: 16_000,
        ..config()
    });
    let (caller, callee) = (Peer::new(PEERS), Peer::new(PEERS));
    let stream =
        audio(Some(caller.remote(Learning::Signalled)), Some(callee.remote(Learning::Signalled)));
    let spec = SessionSpec { local: [rig.home; 2], streams: smallvec![stream.clone(), stream] };
    let before = descriptors();
    for round in 0..ROUNDS {
        for session in 0..SESSIONS {
            rig.apply(round * SESSIONS + session, &spec);
        }
        let counters = rig.await_counters("counting", |c| c.sessions_now == SESSIONS);
        assert_eq!((counters.sockets_now, counters.ports_used_now), (16_000, 16_000));
        assert_eq!(descriptors(), before);
        let full = rig.try_apply(u64::MAX, &spec);
        assert_eq!(full, Err(Refusal::TableFull { what: "sockets", limit: 16_000 }));
        for session in 0..SESSIONS {
            rig.close(round * SESSIONS + session);
        }
        rig.await_counters("closing", |c| {
            (c.sessions_now, c.sockets_now, c.ports_used_now) == (0, 0, 0)
        });
    }
    assert_eq!(descriptors(), before);
    // And it still works.
    let local = rig.call(1 << 40, &caller, &callee);
    caller.rtp.send_to(&rtp(1, 1), local[0].rtp).unwrap();
    assert_eq!(receive(&callee.rtp).0, rtp(1, 1));
}
