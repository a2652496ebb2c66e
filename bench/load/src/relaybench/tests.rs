//! A cell against relays that lie: what they do to packets must show in the figures.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::os;
use crate::paired::cell::Timing;
use crate::paired::report::Outcomes;
use crate::relaybench::cell;
use crate::relaybench::control::{Control, Ends, Remotes, remote_at};
use crate::relaybench::lab::{CorePlan, Lab, Topology, UdpHash};
use crate::relaybench::report::{Figures, Row};
use crate::relaybench::stop::Stop;
use crate::relaybench::systems::Running;
use crate::relaybench::workload::Workload;

/// Every so many packets are wronged.
const EVERY: u64 = 7;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    Drop,
    Flip,
    /// The packet goes out twice.
    Double,
    /// The payload of the packet before is sent under this packet's header.
    Stale,
}

struct Leg {
    socket: UdpSocket,
    peer: SocketAddrV4,
}

type Legs = Arc<Mutex<Vec<[Leg; 2]>>>;

struct Liar {
    legs: Legs,
    stop: Arc<AtomicBool>,
    lies: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Liar {
    fn start(lie: Lie) -> Liar {
        let (legs, stop) = (Legs::default(), Arc::new(AtomicBool::new(false)));
        let lies = Arc::new(AtomicU64::new(0));
        let mut forger = Forger { lie, seen: 0, before: Vec::new(), lies: Arc::clone(&lies) };
        let (shared, stopped) = (Arc::clone(&legs), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                forger.turn(&shared.lock().unwrap());
            }
        });
        Liar { legs, stop, lies, thread: Some(thread) }
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

impl Control for Liar {
    fn set_up(&mut self, _session: u32, ends: &Ends) -> Result<Remotes> {
        let leg = |side: usize| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.set_nonblocking(true).unwrap();
            Leg { socket, peer: ends[side][0].unwrap() }
        };
        let legs = [leg(0), leg(1)];
        let remotes = legs.each_ref().map(|leg| {
            let SocketAddr::V4(address) = leg.socket.local_addr().unwrap() else { panic!() };
            [Some(remote_at(address)), None]
        });
        self.legs.lock().unwrap().push(legs);
        Ok(remotes)
    }

    fn tear_down(&mut self, _session: u32) -> Result<()> {
        Ok(())
    }
}

struct Forger {
    lie: Lie,
    seen: u64,
    before: Vec<u8>,
    lies: Arc<AtomicU64>,
}

impl Forger {
    fn turn(&mut self, sessions: &[[Leg; 2]]) {
        let legs = sessions.iter().flatten();
        let mut ready: Vec<_> =
            legs.map(|leg| PollFd::new(leg.socket.as_fd(), PollFlags::POLLIN)).collect();
        poll(&mut ready, PollTimeout::from(5u8)).unwrap();
        let mut buffer = [0; 2048];
        for session in sessions {
            for (from, to) in [(0, 1), (1, 0)] {
                while let Ok(length) = session[from].socket.recv(&mut buffer) {
                    for packet in self.forge(&buffer[..length]) {
                        session[to].socket.send_to(&packet, session[to].peer).unwrap();
                    }
                }
            }
        }
    }

    /// What goes out for a packet that came in.
    fn forge(&mut self, packet: &[u8]) -> Vec<Vec<u8>> {
        self.seen += 1;
        let before = std::mem::replace(&mut self.before, packet.to_vec());
        if self.lie == Lie::None || !self.seen.is_multiple_of(EVERY) {
            return vec![packet.to_vec()];
        }
        self.lies.fetch_add(1, Ordering::Relaxed);
        let mut forged = packet.to_vec();
        match self.lie {
            Lie::None => {}
            Lie::Drop => return Vec::new(),
            Lie::Flip => forged[100] ^= 1,
            Lie::Double => return vec![forged.clone(), forged],
            Lie::Stale => forged[12..].copy_from_slice(&before[12..]),
        }
        vec![forged]
    }
}

fn measure(lie: Lie) -> (Figures, u64) {
    let cores = os::cores();
    let generator = vec![*cores.last().unwrap()];
    let plan = CorePlan { relay: cores[0], generator, available: cores.len() };
    let lab = Lab::make(Topology::Loopback, plan, UdpHash::System).unwrap();
    let liar = Liar::start(lie);
    let lies = Arc::clone(&liar.lies);
    let control = Box::new(liar);
    let mut running = Running { control, process: None, command: String::new(), ng: None };
    let timing =
        Timing { warm_up: Duration::from_millis(100), measured: Duration::from_millis(400) };
    let load = Workload::g711(10, 1_000);
    let figures = cell::measure(&lab, &mut running, &load, timing, &Stop::default()).unwrap();
    drop(running);
    (figures, lies.load(Ordering::Relaxed))
}

/// The row that one such round makes.
fn notes(figures: Figures) -> String {
    let mut row = Row::default();
    row.add(1, figures);
    row.why.join("; ")
}

#[test]
fn an_honest_relay_has_a_clean_row_and_a_cost() {
    let (figures, _) = measure(Lie::None);
    let content = figures.content;
    assert!(content.is_true() && content.lost == 0, "{content:?}");
    assert!(content.received > 100 && content.received == content.sent, "{content:?}");
    assert!(figures.us_per_packet > 0.0 && figures.latency_us.p50 > 0.0, "{figures:?}");
    assert_eq!(figures.setup_us.count, 5);
    assert!((figures.relayed_pps - 500.0).abs() < 100.0, "{figures:?}");
}

#[test]
fn a_relay_that_drops_packets_is_seen() {
    let (figures, lies) = measure(Lie::Drop);
    assert!(lies > 10);
    assert_eq!((figures.content.lost, figures.content.is_true()), (lies, true));
    assert!((figures.loss - 1.0 / EVERY as f64).abs() < 0.03, "{figures:?}");
}

#[test]
fn a_relay_that_changes_a_bit_is_seen() {
    let (figures, lies) = measure(Lie::Flip);
    assert_eq!((figures.content.corrupt, figures.content.lost), (lies, lies));
    assert!(notes(figures).contains("not what was sent"));
}

#[test]
fn a_relay_that_sends_a_payload_twice_is_seen() {
    let (figures, lies) = measure(Lie::Double);
    assert_eq!((figures.content.duplicate, figures.content.lost), (lies, 0));
    assert!(notes(figures).contains("not what was sent"));
}

#[test]
fn a_relay_that_mixes_payloads_up_is_seen() {
    let (figures, lies) = measure(Lie::Stale);
    let content = figures.content;
    assert_eq!(content.misdelivered + content.corrupt, lies, "{content:?}");
    assert!(notes(figures).contains("not what was sent"));
}
