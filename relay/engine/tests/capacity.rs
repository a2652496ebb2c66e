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
use relay_engine::{EngineConfig, RingSizes};
use smallvec::smallvec;

/// Sessions of each round. The first has more sockets than one table of a ring holds where
/// RLIMIT_NOFILE is below 40,000; `examples/relay_capacity.rs` fills the whole port range.
const ROUNDS: [u64; 2] = [5000, 500];
const SOCKETS: u64 = 8;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Audio and video on an inside and an outside address: 8 sockets a session, none of which takes a
/// descriptor, and media passes through the first and the last.
#[test]
fn thousands_of_sessions_take_no_descriptors_and_leave_nothing_behind() {
    let sockets = ROUNDS[0] * SOCKETS;
    let mut rig = Rig::start(EngineConfig {
        ports: 1024..=32_767,
        rest: Duration::from_millis(1),
        sockets_per_worker: sockets as u32,
        // Further tables whatever the limit is.
        ring: RingSizes { table: 15_000, ..RingSizes::default() },
        ..config()
    });
    let (caller, callee) = (Peer::new(PEERS), Peer::new(PEERS));
    let stream =
        audio(Some(caller.remote(Learning::Signalled)), Some(callee.remote(Learning::Signalled)));
    let local = [home(), home()];
    let spec = SessionSpec { local, streams: smallvec![stream.clone(), stream] };
    let mut descriptors_before = None;
    for (round, sessions) in ROUNDS.into_iter().enumerate() {
        let first = round as u64 * ROUNDS[0];
        let ports: Vec<Ports> =
            (first..first + sessions).map(|session| rig.apply(session, &spec)).collect();
        let counters = rig.await_counters("counting", |c| c.sessions_now == sessions);
        assert_eq!(counters.sockets_now, sessions * SOCKETS);
        assert_eq!(counters.ports_used_now, sessions * SOCKETS);
        // One for each further ring, which stays.
        let now = descriptors();
        assert_eq!(now, *descriptors_before.get_or_insert(now));
        assert!(now < 100, "{now}");
        if sessions * SOCKETS == sockets {
            let full = rig.try_apply(u64::MAX, &spec);
            assert_eq!(full, Err(Refusal::TableFull { what: "sockets", limit: sockets as u32 }));
        }
        for ports in [&ports[0], &ports[ports.len() - 1]] {
            for (ssrc, ports) in ports.iter().flatten().enumerate() {
                let (out, back) = (rtp(ssrc as u32, 1), rtp(7, 1));
                caller.rtp.send_to(&out, ports[0].rtp).unwrap();
                assert_eq!(receive(&callee.rtp), (out, ports[1].rtp));
                callee.rtp.send_to(&back, ports[1].rtp).unwrap();
                assert_eq!(receive(&caller.rtp), (back, ports[0].rtp));
            }
        }
        for session in first..first + sessions {
            rig.close(session);
        }
        rig.await_counters("closing", |c| {
            (c.sessions_now, c.sockets_now, c.ports_used_now) == (0, 0, 0)
        });
    }
}
