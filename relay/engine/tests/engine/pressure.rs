//! What a busy ring and an unkind network do, each forced.

use std::time::Duration;

use relay_core::api::*;
use relay_engine::{EngineConfig, Priority, RingSizes};
use smallvec::smallvec;

use crate::common::*;

/// Sends bursts that do not fit what the ring has, and checks every byte that comes out.
fn burst_without_loss(rig: &mut Rig) {
    let callee = Peer::new(PEERS);
    socket2::SockRef::from(&callee.rtp).set_recv_buffer_size(4 << 20).unwrap();
    let callers: Vec<Peer> = (0..8).map(|_| Peer::new(PEERS)).collect();
    let stream = |caller: &Peer| {
        audio(Some(caller.remote(Learning::Signalled)), Some(callee.remote(Learning::Signalled)))
    };
    let streams = callers.iter().map(stream).collect();
    let ports = rig.apply(1, &SessionSpec { local: [rig.home; 2], streams });
    for round in 0..20_u16 {
        for n in 0..10 {
            for (ssrc, caller) in callers.iter().enumerate() {
                let port = ports[ssrc].unwrap()[0].rtp;
                caller.rtp.send_to(&rtp(ssrc as u32, round * 10 + n), port).unwrap();
            }
        }
        let mut next = [round * 10; 8];
        for _ in 0..80 {
            let packet = receive(&callee.rtp).0;
            let ssrc = packet[11];
            // In order within each stream, and every byte as it was sent.
            assert_eq!(packet, rtp(u32::from(ssrc), next[usize::from(ssrc)]));
            next[usize::from(ssrc)] += 1;
        }
    }
    assert_eq!(rig.counters().rtp_relayed, 1600);
}

/// ENOBUFS ends a multishot receive; nothing is lost, the packets wait in their sockets. It is
/// also the proof that a send is done with its buffer when its submission is: with four buffers
/// each is filled again hundreds of times.
#[test]
fn few_receive_buffers_lose_and_garble_nothing() {
    let mut rig = Rig::start(EngineConfig { buffers_per_worker: 4, ..config() });
    burst_without_loss(&mut rig);
    let counters = rig.counters();
    assert!(counters.buffers_exhausted > 0, "{counters:#?}");
    assert!(counters.rearmed > 0);
    assert_eq!(counters.receive_errors, 0);
}

/// As above, with the sockets in many tables: their receives are armed again by another way.
#[test]
fn few_receive_buffers_lose_and_garble_nothing_across_tables() {
    let ring = RingSizes { table: 3, ..RingSizes::default() };
    let mut rig = Rig::start(EngineConfig { buffers_per_worker: 4, ring, ..config() });
    burst_without_loss(&mut rig);
    let counters = rig.counters();
    assert!(counters.rearmed > 0, "{counters:#?}");
    assert_eq!((counters.receive_errors, counters.receive_failed), (0, 0));
    rig.close(1);
    rig.await_counters("closing", |c| c.sockets_now == 0);
}

#[test]
fn a_single_receive_buffer_still_relays_everything() {
    let mut rig = Rig::start(EngineConfig { buffers_per_worker: 1, ..config() });
    burst_without_loss(&mut rig);
}

#[test]
fn an_overflowing_completion_queue_loses_nothing() {
    let ring = RingSizes { submissions: 2, completions: 4, ..RingSizes::default() };
    let mut rig = Rig::start(EngineConfig { ring, ..config() });
    burst_without_loss(&mut rig);
    let counters = rig.counters();
    assert!(counters.completions_overflowed > 0, "{counters:#?}");
}

/// An unreachable peer: its ICMP errors end receives and sends on a connected socket.
#[test]
fn a_peer_that_refuses_packets_is_counted_and_does_not_stop_the_other_way() {
    let mut rig = Rig::start(config());
    let (caller, mut callee) = (Peer::new(PEERS), Peer::new(PEERS));
    let local = rig.call(1, &caller, &callee);
    let gone = address(&callee.rtp);
    callee.rtp = socket(PEERS);
    for n in 0..100 {
        caller.rtp.send_to(&rtp(1, n), local[0].rtp).unwrap();
        rig.await_counters("relaying", |c| c.rtp_relayed == u64::from(n) + 1);
    }
    let errors = |c: &relay_engine::WorkerCounters| c.receive_errors + c.send_errors[0].1;
    let counters = rig.await_counters("refusing", |c| errors(c) > 0);
    assert_eq!(counters.send_errors[0].0, "refused");
    // It comes back.
    callee.rtp = std::net::UdpSocket::bind(gone).unwrap();
    callee.rtp.set_read_timeout(Some(PATIENCE)).unwrap();
    callee.rtp.send_to(&rtp(2, 1), local[1].rtp).unwrap();
    assert_eq!(receive(&caller.rtp).0, rtp(2, 1));
    for n in 200..210 {
        caller.rtp.send_to(&rtp(1, n), local[0].rtp).unwrap();
    }
    // An error that was pending may cost the first.
    assert!(drain(&callee.rtp).len() >= 9);
}

#[test]
fn a_port_that_someone_else_has_is_passed_over() {
    let mut rig = Rig::start(EngineConfig { ports: 20_000..=20_015, ..config() });
    // Of 8 pairs, 4 are taken: two by their RTP port, two by their RTCP port.
    let taken = [20_000, 20_004, 20_007, 20_011];
    let _others = taken.map(|port| std::net::UdpSocket::bind((rig.home, port)).unwrap());
    let (caller, callee) = (Peer::new(PEERS), Peer::new(PEERS));
    for session in 0..2 {
        let local = rig.call(session, &caller, &callee);
        caller.rtp.send_to(&rtp(1, 1), local[0].rtp).unwrap();
        assert_eq!(receive(&callee.rtp).0, rtp(1, 1));
        assert!(
            local.iter().all(|p| !taken.contains(&p.rtp.port()) && !taken.contains(&p.rtcp.port()))
        );
    }
}

/// It is named as what it is, not as a lack of ports.
#[test]
fn an_address_that_is_not_local_is_named() {
    let mut rig = Rig::start(config());
    let (caller, callee) = (Peer::new(PEERS), Peer::new(PEERS));
    let stream =
        audio(Some(caller.remote(Learning::Signalled)), Some(callee.remote(Learning::Signalled)));
    let foreign = "192.0.2.1".parse().unwrap();
    let refused = rig.try_apply(1, &spec(foreign, stream));
    assert_eq!(refused, Err(Refusal::AddressNotLocal(foreign)));
    rig.await_counters("giving back", |c| {
        (c.sockets_now, c.ports_used_now, c.sessions_now) == (0, 0, 0)
    });
}

#[test]
fn exhausted_ports_are_refused_with_the_figures_and_a_closed_call_makes_room() {
    let mut rig = Rig::start(EngineConfig { ports: 20_000..=20_003, ..config() });
    let (caller, callee) = (Peer::new(PEERS), Peer::new(PEERS));
    rig.call(1, &caller, &callee);
    let stream =
        audio(Some(caller.remote(Learning::Signalled)), Some(callee.remote(Learning::Signalled)));
    let spec = spec(rig.home, stream);
    match rig.try_apply(2, &spec) {
        Err(Refusal::PortsExhausted {
            address,
            first: 20_000,
            last: 20_003,
            used: 4,
            resting: 0,
            oldest,
        }) => {
            assert_eq!(address, rig.home);
            assert_eq!(oldest.unwrap().0, SessionId(1));
        }
        other => panic!("unexpected {other:?}"),
    }
    rig.close(1);
    rig.await_resting(4);
    // Under pressure the rest ends early, and is counted.
    rig.apply(3, &spec);
    assert_eq!(rig.engine.ports()[0].1.rests_cut, 2);
}

/// Two workers, and ports for two calls that both belong to the first.
#[test]
fn a_worker_has_the_whole_range_while_another_needs_none() {
    let workers = vec![None, None];
    let mut rig = Rig::start(EngineConfig { ports: 20_000..=20_007, workers, ..config() });
    let (caller, callee) = (Peer::new(PEERS), Peer::new(PEERS));
    for session in [0, 2] {
        let local = rig.call(session, &caller, &callee);
        caller.rtp.send_to(&rtp(1, 1), local[0].rtp).unwrap();
        assert_eq!(receive(&callee.rtp).0, rtp(1, 1));
    }
    assert_eq!(rig.engine.ports()[0].1.used, 8);
    // And the other gets what the first gives back.
    rig.close(2);
    rig.await_resting(4);
    rig.call(1, &caller, &callee);
}

#[test]
fn a_session_that_nobody_sends_in_is_closed_without_being_asked_for() {
    let idle = Duration::from_millis(100);
    let mut rig = Rig::start(EngineConfig { idle: Some(idle), ..config() });
    let (caller, callee) = (Peer::new(PEERS), Peer::new(PEERS));
    rig.call(1, &caller, &callee);
    match rig.event() {
        Event::Closed { session: SessionId(1), cause, .. } => {
            assert_eq!(cause, CloseCause::Idle(idle))
        }
        other => panic!("unexpected {other:?}"),
    }
    rig.await_counters("closing", |c| c.sockets_now == 0);
}

#[test]
fn more_commands_than_allowed_are_turned_away_and_none_goes_unanswered() {
    let rig = Rig::start(EngineConfig { commands_outstanding_max: 4, ..config() });
    let close = |n| rig.engine.submit(Command::Close { session: SessionId(n) });
    for n in 0..4 {
        close(n).unwrap();
    }
    match close(4) {
        Err(relay_engine::SubmitError::Overloaded(command)) => {
            assert_eq!(*command, Command::Close { session: SessionId(4) });
        }
        other => panic!("unexpected {other:?}"),
    }
    for n in 0..4 {
        assert!(matches!(rig.event(), Event::Closed { session, .. } if session.0 == n));
    }
    close(4).unwrap();
    let report = SessionReport { streams: smallvec![], ..SessionReport::default() };
    let closed = Event::Closed { session: SessionId(4), cause: CloseCause::Unknown, report };
    assert_eq!(rig.event(), closed);
}

/// Set in the process that runs in a network of its own.
const APART: &str = "RELAY_TEST_APART";

/// EAGAIN on send: a slow link (a token bucket in a network namespace) holds packets until the
/// socket's send buffer is full. They are counted, and everything else goes on.
#[test]
fn packets_for_a_slow_link_are_dropped_and_counted_when_its_queue_is_full() {
    if !is_apart() {
        run_apart(
            "pressure::packets_for_a_slow_link_are_dropped_and_counted_when_its_queue_is_full",
        );
        return;
    }
    for command in [
        "ip link set lo up",
        "ip link add slow type veth peer name far",
        "ip addr add 10.99.0.1/24 dev slow",
        "ip link set slow up",
        "ip link set far up",
        "ip neigh add 10.99.0.2 lladdr 02:00:00:00:00:02 dev slow",
        "tc qdisc add dev slow root tbf rate 8kbit burst 1540 limit 100000000",
    ] {
        shell(command);
    }
    let mut rig = Rig::start(config());
    let caller = Peer::new(PEERS);
    let slow = Remote {
        rtp: "10.99.0.2:4000".parse().unwrap(),
        rtcp: "10.99.0.2:4001".parse().unwrap(),
        learning: Learning::Signalled,
    };
    let stream = audio(Some(caller.remote(Learning::Signalled)), Some(slow));
    let local = ["127.0.0.1".parse().unwrap(), "10.99.0.1".parse().unwrap()];
    let ports = rig.apply(1, &SessionSpec { local, streams: smallvec![stream] })[0].unwrap();
    for n in 0..2000 {
        caller.rtp.send_to(&rtp(1, n), ports[0].rtp).unwrap();
        rig.await_counters("relaying", |c| c.rtp_relayed == u64::from(n) + 1);
    }
    let queue_full = |c: &relay_engine::WorkerCounters| c.send_errors[1];
    let counters = rig.await_counters("filling", |c| queue_full(c).1 > 0);
    assert_eq!(queue_full(&counters).0, "queue_full");

    let callee = Peer::new(PEERS);
    let local = rig.call(2, &caller, &callee);
    caller.rtp.send_to(&rtp(1, 1), local[0].rtp).unwrap();
    assert_eq!(receive(&callee.rtp).0, rtp(1, 1));
}

/// Raised if the process may. In a user namespace it may not: then the worker runs as it is.
#[test]
fn a_worker_ranks_before_other_threads_where_that_is_permitted() {
    let apart = is_apart();
    let inherited = {
        let rig = Rig::start(EngineConfig { priority: Priority::Inherited, ..config() });
        rig.counters().priority
    };
    let mut rig = Rig::start(EngineConfig { priority: Priority::Nice(-10), ..config() });
    let priority = rig.counters().priority;
    if apart {
        assert_eq!(priority, inherited);
    } else {
        // Who runs the tests may or may not be permitted.
        assert!([inherited, Priority::Nice(-10)].contains(&priority), "{priority}");
        run_apart("pressure::a_worker_ranks_before_other_threads_where_that_is_permitted");
    }
    let (caller, callee) = (Peer::new(PEERS), Peer::new(PEERS));
    let home = if apart { PEERS } else { rig.home };
    rig.home = home;
    if apart {
        shell("ip link set lo up");
    }
    let local = rig.call(1, &caller, &callee);
    caller.rtp.send_to(&rtp(1, 1), local[0].rtp).unwrap();
    assert_eq!(receive(&callee.rtp).0, rtp(1, 1));
}

/// Whether this is the process that [`run_apart`] has started.
pub(crate) fn is_apart() -> bool {
    std::env::var_os(APART).is_some()
}

/// Runs one test of this program in a network namespace of its own.
pub(crate) fn run_apart(test: &str) {
    let program = std::env::current_exe().unwrap();
    let output = std::process::Command::new("unshare")
        .args(["--map-root-user", "--net"])
        .arg(program)
        .args(["--exact", test, "--nocapture"])
        .env(APART, "1")
        .output()
        .expect("unshare (util-linux) is installed");
    assert!(output.status.success(), "{output:#?}");
}

pub(crate) fn shell(command: &str) {
    let mut words = command.split(' ');
    let status = std::process::Command::new(words.next().unwrap()).args(words).status();
    assert!(status.expect("iproute2 is installed").success(), "{command}");
}
