//! How many sessions one worker holds, and what each takes: sets up audio and video sessions (8
//! sockets each) on two local addresses, sends through them, and closes them again.
//!
//!     cargo run --release -p ringfarm-relay-engine --example relay_capacity -- [SESSIONS] [ROUNDS]
//!
//! Figures are printed, never asserted; that media passes and nothing is left is asserted.
#![expect(clippy::unwrap_used, reason = "a measuring tool may stop at the first thing that is odd")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use relay_core::api::*;
use relay_engine::{Engine, EngineConfig};
use smallvec::smallvec;

const INSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
const PATIENCE: Duration = Duration::from_secs(60);

struct Rig {
    engine: Engine,
    woken: Receiver<()>,
    caller: UdpSocket,
    callee: UdpSocket,
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|a| a.parse::<u64>().unwrap());
    let sessions = arguments.next().unwrap_or(16_000);
    let rounds = arguments.next().unwrap_or(2);
    let (wake, woken) = sync_channel(1);
    let config = EngineConfig {
        ports: 1024..=65_535,
        idle: None,
        rest: Duration::from_millis(1),
        ..EngineConfig::new(vec![None], [1; 32])
    };
    let wake = Arc::new(move || {
        // Full: a wake-up is waiting already.
        let _ = wake.try_send(());
    });
    let peer = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let rig =
        Rig { engine: Engine::start(config, wake).unwrap(), woken, caller: peer(), callee: peer() };
    for socket in [&rig.caller, &rig.callee] {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    for round in 0..rounds {
        println!("round {}: {sessions} audio and video sessions", round + 1);
        rig.round(round * sessions, sessions);
    }
    rig.engine.stop();
}

impl Rig {
    fn round(&self, first: u64, sessions: u64) {
        let (user, kernel) = (resident_kb(), kernel_kb());
        let descriptors = descriptors();
        let mut set_up_us = Histogram::<u64>::new(3).unwrap();
        let started = Instant::now();
        let mut targets = Vec::new();
        for session in first..first + sessions {
            let asked = Instant::now();
            let ports = self.open(session);
            set_up_us.record(asked.elapsed().as_micros() as u64).unwrap();
            targets.push(ports);
        }
        println!(
            "  set-up: {:.1} s, p50 {} us, p99 {} us, max {} us",
            started.elapsed().as_secs_f64(),
            set_up_us.value_at_quantile(0.5),
            set_up_us.value_at_quantile(0.99),
            set_up_us.max()
        );
        println!(
            "  per session: {:.1} kB resident, {:.1} kB kernel; {} descriptors, before {descriptors}",
            per(resident_kb() - user, sessions),
            per(kernel_kb() - kernel, sessions),
            self::descriptors(),
        );
        for ports in [targets.first(), targets.last()].into_iter().flatten() {
            self.passes(*ports);
        }
        let closing = Instant::now();
        for session in first..first + sessions {
            self.close(session);
        }
        self.await_none_open();
        println!("  closed: {:.1} s", closing.elapsed().as_secs_f64());
    }

    fn event(&self) -> Event {
        loop {
            match self.engine.poll_event() {
                Some(event) => return event,
                None => self.woken.recv_timeout(PATIENCE).unwrap(),
            }
        }
    }

    /// Opens a session; where the caller's audio goes.
    fn open(&self, session: u64) -> SocketAddr {
        let leg = |socket: &UdpSocket| {
            let rtp = socket.local_addr().unwrap();
            let remote = Remote { rtp, rtcp: rtp, learning: Learning::Signalled };
            StreamLeg {
                rtcp: RtcpMode::Separate,
                remote: Some(remote),
                sends: true,
                payload_types: PayloadTypes::ANY,
            }
        };
        let legs = [leg(&self.caller), leg(&self.callee)];
        let stream = StreamSpec {
            open: true,
            payload: Payload::Rtp { dtls: false },
            traffic: Traffic::Audio,
            legs,
        };
        let spec =
            SessionSpec { local: [INSIDE, OUTSIDE], streams: smallvec![stream.clone(), stream] };
        let command = Command::Apply { session: SessionId(session), token: session, spec };
        self.engine.submit(command).unwrap();
        let event = self.event();
        let Event::Applied { ports, .. } = event else { panic!("{event:?}") };
        ports[0].unwrap()[0].rtp
    }

    fn close(&self, session: u64) {
        self.engine.submit(Command::Close { session: SessionId(session) }).unwrap();
        let event = self.event();
        assert!(matches!(event, Event::Closed { cause: CloseCause::Asked, .. }), "{event:?}");
    }

    fn passes(&self, port: SocketAddr) {
        let mut packet = [0; 172];
        packet[0] = 0x80;
        self.caller.send_to(&packet, port).unwrap();
        let mut received = [0; 200];
        assert_eq!(self.callee.recv(&mut received).unwrap(), 172);
    }

    fn await_none_open(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.engine.counters()[0].sockets_now > 0 {
            assert!(Instant::now() < deadline, "sockets are left");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Memory of this process.
fn resident_kb() -> i64 {
    field("/proc/self/status", "VmRSS:")
}

/// Memory of the whole kernel that objects and pages of its own take: on a quiet machine the
/// difference is what the sockets and requests take.
fn kernel_kb() -> i64 {
    field("/proc/meminfo", "Slab:") + field("/proc/meminfo", "Percpu:")
}

fn field(file: &str, name: &str) -> i64 {
    let text = std::fs::read_to_string(file).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn per(kb: i64, sessions: u64) -> f64 {
    kb as f64 / sessions as f64
}
