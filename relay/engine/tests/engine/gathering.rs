//! Packets that come closely one after the other share a wake-up.

use std::time::{Duration, Instant};

use crate::common::*;

/// Long enough to be told from everything else on a busy machine.
const WINDOW: Duration = Duration::from_millis(10);

fn rig() -> Rig {
    Rig::start(relay_engine::EngineConfig { gather: WINDOW, ..config() })
}

/// A worker may wake once a window, and now and then for something else, but not for each packet.
#[test]
fn packets_that_follow_closely_share_a_wake_up() {
    const PACKETS: u16 = 60;
    const OTHER_WAKES: u64 = 6;
    let mut rig = rig();
    let (caller, callee) = (Peer::new(PEERS), Peer::new(PEERS));
    let ports = rig.call(1, &caller, &callee);
    caller.rtp.send_to(&rtp(5, 0), ports[0].rtp).unwrap();
    assert_eq!(receive(&callee.rtp).0, rtp(5, 0));
    let (start, before) = (Instant::now(), rig.counters().wakes);
    for sequence in 1..=PACKETS {
        caller.rtp.send_to(&rtp(5, sequence), ports[0].rtp).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    for sequence in 1..=PACKETS {
        assert_eq!(receive(&callee.rtp).0, rtp(5, sequence));
    }
    let windows = start.elapsed().as_nanos() / WINDOW.as_nanos();
    let wakes = rig.counters().wakes - before;
    assert!(u128::from(wakes) <= windows + u128::from(OTHER_WAKES), "{wakes} in {windows} windows");
}

/// The best of several: a busy machine may delay any one of them.
#[test]
fn a_packet_after_a_pause_does_not_wait_for_others() {
    let mut rig = rig();
    let (caller, callee) = (Peer::new(PEERS), Peer::new(PEERS));
    let ports = rig.call(1, &caller, &callee);
    let latency = |sequence: u16| {
        std::thread::sleep(WINDOW * 3);
        let start = Instant::now();
        caller.rtp.send_to(&rtp(5, sequence), ports[0].rtp).unwrap();
        assert_eq!(receive(&callee.rtp).0, rtp(5, sequence));
        start.elapsed()
    };
    let best = (0..20).map(latency).min().unwrap();
    assert!(best < WINDOW / 2, "{best:?}");
}

#[test]
fn a_window_that_would_be_heard_is_refused() {
    let config = relay_engine::EngineConfig { gather: WINDOW * 2, ..config() };
    assert!(config.validate().unwrap_err().to_string().contains("gather"));
}
