//! Starting, closing, stopping and dying.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use relay_core::api::*;
use relay_engine::{Engine, EngineConfig, Priority, StartError, WorkerState};

use crate::common::*;

#[test]
fn the_ports_of_a_closed_call_are_unbound_and_rest() {
    let mut rig = Rig::start(config());
    let (caller, callee) = (Peer::new(PEERS), Peer::new(PEERS));
    let first = rig.call(1, &caller, &callee);
    rig.close(1);
    rig.await_counters("closing", |c| (c.sockets_now, c.ports_used_now) == (0, 0));
    rig.await_resting(4);
    for ports in first {
        UdpSocket::bind(ports.rtp).unwrap();
        UdpSocket::bind(ports.rtcp).unwrap();
    }
    for session in 2..50 {
        let local = rig.call(session, &caller, &callee);
        assert!(
            local.iter().all(|p| first.iter().all(|f| f.rtp != p.rtp)),
            "a resting port was used"
        );
    }
}

#[test]
fn the_engine_stops_while_traffic_flows_and_leaves_no_socket() {
    let mut rig = Rig::start(config());
    let (caller, callee) = (Peer::new(PEERS), Peer::new(PEERS));
    let local = rig.call(1, &caller, &callee);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0_u16;
            while !stop.load(Ordering::Relaxed) {
                // Refused once the port is closed.
                let _ = caller.rtp.send_to(&rtp(1, n), local[0].rtp);
                n = n.wrapping_add(1);
            }
        });
        rig.await_counters("relaying", |c| c.rtp_relayed > 1000);
        rig.engine.stop();
        stop.store(true, Ordering::Relaxed);
    });
    for ports in local {
        UdpSocket::bind(ports.rtp).unwrap();
        UdpSocket::bind(ports.rtcp).unwrap();
    }
}

#[test]
fn an_idle_worker_is_healthy_and_beats() {
    let rig = Rig::start(EngineConfig { workers: vec![None, None], ..config() });
    let deadline = Instant::now() + PATIENCE;
    while rig.counters().wakes == 0 {
        assert!(Instant::now() < deadline, "an idle worker does not beat");
        std::thread::sleep(Duration::from_millis(10));
    }
    for health in rig.engine.health() {
        assert_eq!(health.state, WorkerState::Running);
        assert!(health.last_beat < Duration::from_secs(3));
    }
}

#[test]
fn a_worker_is_pinned_to_its_core() {
    let core = core_affinity::get_core_ids().unwrap()[0].id;
    let rig = Rig::start(EngineConfig { workers: vec![Some(core)], ..config() });
    let tid = rig.counters().tid.cast_signed();
    let set = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(tid)).unwrap();
    let allowed = (0..1024).filter(|n| set.is_set(*n).unwrap()).collect::<Vec<_>>();
    assert_eq!(allowed, [core]);
    assert_eq!(rig.counters().core, Some(core));
}

#[test]
fn what_cannot_be_started_is_named_and_leaves_nothing() {
    let start = |config| Engine::start(config, Arc::new(|| {})).err().expect("it must not start");
    let error = start(EngineConfig { buffers_per_worker: 3, ..config() });
    assert!(matches!(error, StartError::Config { field: "buffers_per_worker", .. }), "{error}");
    let error = start(EngineConfig { workers: vec![], ..config() });
    assert!(matches!(error, StartError::Config { field: "workers", .. }), "{error}");
    let error = start(EngineConfig { ports: 20_001..=20_002, ..config() });
    assert!(matches!(error, StartError::NoPorts { first: 20_001, last: 20_002 }), "{error}");
    let error = start(EngineConfig { priority: Priority::RealTime(100), ..config() });
    assert!(matches!(error, StartError::Config { field: "priority", .. }), "{error}");
    let error = start(EngineConfig { sockets_per_worker: u32::MAX, ..config() });
    assert!(matches!(error, StartError::Config { field: "sockets_per_worker", .. }), "{error}");
    let error = start(EngineConfig { workers: vec![None, Some(1000)], ..config() });
    assert!(matches!(error, StartError::Pin { core: 1000 }), "{error}");
}

/// A worker that dies is noticed: its state says why, the owner is woken, commands come back.
#[test]
fn a_worker_that_dies_is_reported_and_takes_no_more_commands() {
    let panics = Arc::new(AtomicBool::new(false));
    let woken = Arc::clone(&panics);
    // The owner's own callback is the one thing in a worker that a test can make panic.
    let wake = Arc::new(move || {
        if woken.swap(false, Ordering::SeqCst) {
            panic!("as the test wants");
        }
    });
    let engine = Engine::start(config(), wake).unwrap();
    panics.store(true, Ordering::SeqCst);
    engine.submit(Command::Close { session: SessionId(1) }).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while engine.health()[0].state == WorkerState::Running {
        assert!(Instant::now() < deadline, "the death was not noticed");
        std::thread::yield_now();
    }
    let state = engine.health().remove(0).state;
    assert_eq!(state, WorkerState::Died { reason: "panic: as the test wants".into() });
    let refused = engine.submit(Command::Close { session: SessionId(2) });
    assert!(matches!(refused, Err(relay_engine::SubmitError::WorkerDown(_))));
}
