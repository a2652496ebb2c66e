//! Starting, closing, stopping and dying.

use std::collections::BTreeMap;
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

/// An engine of two workers whose callback does `misbehave` once, on the thread of the worker that
/// next hands out an event, after the test has set the switch.
fn engine_that_can(misbehave: fn()) -> (Rig, Arc<AtomicBool>) {
    let switch = Arc::new(AtomicBool::new(false));
    let switched = Arc::clone(&switch);
    let workers = vec![None, None];
    let stall = Duration::from_secs(1);
    let rig = Rig::start_with(EngineConfig { workers, stall, ..config() }, move || {
        if switched.swap(false, Ordering::SeqCst) {
            misbehave();
        }
    });
    (rig, switch)
}

/// The first worker has sessions 0 and 2, the second session 1. The first is lost while a command
/// for session 0 is being answered and one for session 2 waits.
fn lose_the_first_worker(
    rig: &mut Rig,
    switch: &AtomicBool,
) -> ([LocalPorts; 2], BTreeMap<u64, SessionReport>) {
    let (caller, callee) = (Peer::new(PEERS), Peer::new(PEERS));
    let ports = [0, 1, 2].map(|session| rig.call(session, &caller, &callee))[0];
    caller.rtp.send_to(&rtp(1, 1), ports[0].rtp).unwrap();
    receive(&callee.rtp);
    switch.store(true, Ordering::SeqCst);
    let report = |session| Command::Report { session: SessionId(session), token: session };
    rig.engine.submit(report(0)).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while switch.load(Ordering::SeqCst) {
        assert!(Instant::now() < deadline, "the callback was not called");
        std::thread::yield_now();
    }
    // It may be known to be lost by now.
    let waits = rig.engine.submit(report(2)).is_ok();
    let answer = rig.event();
    assert!(matches!(answer, Event::Report { token: 0, report: Some(_), .. }), "{answer:?}");
    let mut lost = BTreeMap::new();
    let mut unanswered = usize::from(waits);
    while lost.len() < 2 || unanswered > 0 {
        match rig.event() {
            Event::Report { token: 2, report: None, .. } => unanswered -= 1,
            Event::Closed { session, cause: CloseCause::WorkerLost, report } => {
                assert!(lost.insert(session.0, report).is_none(), "told twice");
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(lost.keys().copied().collect::<Vec<_>>(), [0, 2]);
    assert!(rig.engine.poll_event().is_none());

    // The other worker's call goes on, and it takes what the first would have got.
    let report = rig.close(1);
    assert_eq!(report.streams.len(), 1);
    let local = rig.call(4, &caller, &callee);
    caller.rtp.send_to(&rtp(1, 2), local[0].rtp).unwrap();
    assert_eq!(receive(&callee.rtp).0, rtp(1, 2));
    rig.engine.submit(Command::Close { session: SessionId(0) }).unwrap();
    let answer = rig.event();
    assert!(matches!(answer, Event::Closed { cause: CloseCause::Unknown, .. }), "{answer:?}");
    (ports, lost)
}

/// Its state says why, its sessions end with what they relayed, its ports rest and are unbound.
#[test]
fn a_worker_that_dies_is_reported_its_calls_end_and_the_others_go_on() {
    let (mut rig, switch) = engine_that_can(|| panic!("as the test wants"));
    let (ports, reports) = lose_the_first_worker(&mut rig, &switch);
    assert_eq!(reports[&0].streams[0][0].packets, 1);
    let states: Vec<WorkerState> = rig.engine.health().into_iter().map(|h| h.state).collect();
    let died = WorkerState::Died { reason: "panic: as the test wants".into() };
    assert_eq!(states, [died, WorkerState::Running]);
    // Two calls of the first and one of the second.
    rig.await_resting(12);
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = UdpSocket::bind(ports[0].rtp) {
        assert!(Instant::now() < deadline, "{error}");
        std::thread::yield_now();
    }
}

/// The watchdog notices it; when it goes on after all it stops and gives its ports back.
#[test]
fn a_worker_that_hangs_is_reported_its_calls_end_and_the_others_go_on() {
    static LET_GO: AtomicBool = AtomicBool::new(false);
    let (mut rig, switch) = engine_that_can(|| {
        let deadline = Instant::now() + PATIENCE;
        while !LET_GO.load(Ordering::SeqCst) && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(10));
        }
    });
    lose_the_first_worker(&mut rig, &switch);
    match rig.engine.health().remove(0).state {
        WorkerState::Died { reason } => assert!(reason.starts_with("no sign of life"), "{reason}"),
        other => panic!("unexpected {other:?}"),
    }
    // Its sockets are still bound, so its ports are not given away.
    rig.await_resting(4);
    LET_GO.store(true, Ordering::SeqCst);
    rig.await_resting(12);
    assert!(rig.engine.poll_event().is_none(), "what a lost worker says is heard");
}

#[test]
fn when_every_worker_is_lost_commands_come_back() {
    let panics = Arc::new(AtomicBool::new(true));
    let rig = Rig::start_with(config(), move || {
        if panics.swap(false, Ordering::SeqCst) {
            panic!("as the test wants");
        }
    });
    let close = || rig.engine.submit(Command::Close { session: SessionId(2) });
    close().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while rig.engine.health()[0].state == WorkerState::Running {
        assert!(Instant::now() < deadline, "the death was not noticed");
        std::thread::yield_now();
    }
    assert!(matches!(rig.event(), Event::Closed { .. }));
    match close() {
        Err(relay_engine::SubmitError::WorkerDown(command)) => {
            assert_eq!(*command, Command::Close { session: SessionId(2) });
        }
        other => panic!("unexpected {other:?}"),
    }
}
