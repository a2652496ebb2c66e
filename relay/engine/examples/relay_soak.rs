//! Whether anything grows: sets up and closes audio and video sessions (8 sockets each) on two local
//! addresses, again and again, a number of them at a time.
//!
//!     cargo run --release -p ringfarm-relay-engine --example relay_soak -- [SESSIONS] [LIVE]
//!
//! Each tenth prints what the process and the kernel have. Ends with 1 if the process has grown since
//! the second tenth, or if sockets, ports or descriptors are left.
#![expect(clippy::unwrap_used, reason = "a measuring tool may stop at the first thing that is odd")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use relay_core::api::*;
use relay_engine::{Engine, EngineConfig};
use smallvec::smallvec;

const INSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 77, 0, 2));
const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 77, 0, 3));
const PATIENCE: Duration = Duration::from_secs(60);
/// A leak of one byte a session would show in 800,000 of them; what an allocator keeps or gives back
/// varies by less.
const GROWTH_MAX_KB: i64 = 768;
/// What is taken once, is taken in the first tenths.
const WARM_UP_TENTHS: u64 = 2;

struct Rig {
    engine: Engine,
    woken: Receiver<()>,
    opened: u64,
    closed: u64,
}

/// What is there at a time.
#[derive(Clone, Copy)]
struct Sample {
    resident_kb: i64,
    slab_kb: i64,
    descriptors: i64,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|a| a.parse::<u64>().unwrap());
    let sessions = arguments.next().unwrap_or(1_000_000);
    let live = arguments.next().unwrap_or(64);
    let mut rig = Rig::start();
    println!("{sessions} audio and video sessions, {live} at a time");
    let started = Instant::now();
    let mut samples = vec![Sample::take()];
    samples[0].print(0, started.elapsed());
    for tenth in 1..=10 {
        rig.run_to(sessions * tenth / 10, live);
        let sample = Sample::take();
        sample.print(tenth * 10, started.elapsed());
        samples.push(sample);
    }
    rig.await_none_left();
    let grown = samples[10].resident_kb - samples[WARM_UP_TENTHS as usize].resident_kb;
    let descriptors = samples[10].descriptors - samples[WARM_UP_TENTHS as usize].descriptors;
    println!("since {} %: {grown:+} kB resident, {descriptors:+} descriptors", WARM_UP_TENTHS * 10);
    rig.engine.stop();
    if grown > GROWTH_MAX_KB || descriptors > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

impl Rig {
    fn start() -> Rig {
        let (wake, woken) = sync_channel(1);
        let config = EngineConfig {
            ports: 1024..=65_535,
            idle: None,
            rest: Duration::from_millis(100),
            ..EngineConfig::new(vec![None], [1; 32])
        };
        let wake = Arc::new(move || {
            // Full: a wake-up is waiting already.
            let _ = wake.try_send(());
        });
        Rig { engine: Engine::start(config, wake).unwrap(), woken, opened: 0, closed: 0 }
    }

    /// Opens sessions until there have been so many, and closes each as soon as it is open; `live` of
    /// them at most are there at a time.
    fn run_to(&mut self, sessions: u64, live: u64) {
        while self.closed < sessions {
            while self.opened < sessions && self.opened - self.closed < live {
                self.submit(Command::Apply {
                    session: SessionId(self.opened),
                    token: 0,
                    spec: spec(),
                });
                self.opened += 1;
            }
            match self.event() {
                Event::Applied { session, .. } => self.submit(Command::Close { session }),
                Event::Closed { cause: CloseCause::Asked, .. } => self.closed += 1,
                event @ (Event::Refused { .. } | Event::Closed { .. } | Event::Report { .. }) => {
                    panic!("{event:?}")
                }
            }
        }
    }

    fn submit(&self, command: Command) {
        self.engine.submit(command).unwrap();
    }

    fn event(&self) -> Event {
        loop {
            match self.engine.poll_event() {
                Some(event) => return event,
                None => self.woken.recv_timeout(PATIENCE).unwrap(),
            }
        }
    }

    fn await_none_left(&self) {
        let deadline = Instant::now() + PATIENCE;
        let left = || {
            let used: u32 = self.engine.ports().iter().map(|(_, usage)| usage.used).sum();
            self.engine.counters()[0].sockets_now + u64::from(used)
        };
        while left() > 0 {
            assert!(Instant::now() < deadline, "sockets or ports are left");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn spec() -> SessionSpec {
    let leg = |host: u8| {
        let rtp = SocketAddr::from(([127, 77, 0, host], 9));
        let remote = Remote { rtp, rtcp: rtp, learning: Learning::Signalled };
        StreamLeg {
            rtcp: RtcpMode::Separate,
            remote: Some(remote),
            sends: true,
            payload_types: PayloadTypes::ANY,
        }
    };
    let stream = |traffic| StreamSpec {
        open: true,
        payload: Payload::Rtp { dtls: false },
        traffic,
        legs: [leg(4), leg(5)],
    };
    let streams = smallvec![stream(Traffic::Audio), stream(Traffic::Video)];
    SessionSpec { local: [INSIDE, OUTSIDE], streams }
}

impl Sample {
    fn take() -> Sample {
        Sample {
            resident_kb: field("/proc/self/status", "VmRSS:"),
            // Of the whole machine: it says something where nothing else runs.
            slab_kb: field("/proc/meminfo", "Slab:"),
            descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count() as i64,
        }
    }

    fn print(&self, percent: u64, elapsed: Duration) {
        println!(
            "{percent:>4} % {:>7.1} s: {} kB resident, {} descriptors; slab of the machine {} kB",
            elapsed.as_secs_f64(),
            self.resident_kb,
            self.descriptors,
            self.slab_kb
        );
    }
}

fn field(file: &str, name: &str) -> i64 {
    let text = std::fs::read_to_string(file).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
