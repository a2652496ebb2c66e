//! What the tests with real sockets share: an engine, a caller and a callee, and RTP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use relay_core::api::*;
use relay_engine::{Engine, EngineConfig, WorkerCounters};
use smallvec::smallvec;

/// Longest wait for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Wait for something that must not happen, after everything that could cause it has been seen.
pub(crate) const SILENCE: Duration = Duration::from_millis(50);

/// Where the peers are.
pub(crate) const PEERS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A loopback address for one relay, so that no other test has its ports: the ports of every
/// address are apart.
pub(crate) fn home() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 1 + high % 250, low, NEXT.fetch_add(1, Ordering::Relaxed)).into()
}

/// One worker, few sockets, 1,000 ports, which rest for the whole test.
pub(crate) fn config() -> EngineConfig {
    // On ::1, which all tests share, no two processes try the same ports in the same order.
    let seed = [std::process::id().to_be_bytes(); 8].concat().try_into().unwrap();
    EngineConfig {
        // Below the ports that the system gives to sockets bound to no port.
        ports: 20_000..=20_999,
        rest: Duration::from_secs(3600),
        sockets_per_worker: 1024,
        buffers_per_worker: 256,
        ..EngineConfig::new(vec![None], seed)
    }
}

/// An engine and the events that it has sent.
pub(crate) struct Rig {
    pub(crate) engine: Engine,
    /// The relay's local address in [`Rig::call`].
    pub(crate) home: IpAddr,
    woken: Mutex<Receiver<()>>,
    next_token: u64,
}

impl Rig {
    pub(crate) fn start(config: EngineConfig) -> Rig {
        Rig::start_with(config, || {})
    }

    /// As [`Rig::start`]; `callback` is called by a worker that has handed out events.
    pub(crate) fn start_with(
        config: EngineConfig,
        callback: impl Fn() + Send + Sync + 'static,
    ) -> Rig {
        let (wake, woken) = sync_channel(1);
        let wake = Arc::new(move || {
            // Full: a wake-up is waiting already.
            let _ = wake.try_send(());
            callback();
        });
        let engine = Engine::start(config, wake).unwrap();
        Rig { engine, home: home(), woken: Mutex::new(woken), next_token: 1 }
    }

    /// The next event.
    pub(crate) fn event(&self) -> Event {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(event) = self.engine.poll_event() {
                return event;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            self.woken.lock().unwrap().recv_timeout(left).expect("no event came");
        }
    }

    /// Applies the spec; its ports, or why it was refused.
    pub(crate) fn try_apply(&mut self, session: u64, spec: &SessionSpec) -> Result<Ports, Refusal> {
        let token = self.next_token;
        self.next_token += 1;
        let session = SessionId(session);
        self.engine.submit(Command::Apply { session, token, spec: spec.clone() }).unwrap();
        match self.event() {
            Event::Applied { session: s, token: t, ports } if (s, t) == (session, token) => {
                Ok(ports)
            }
            Event::Refused { session: s, token: t, reason } if (s, t) == (session, token) => {
                Err(reason)
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    pub(crate) fn apply(&mut self, session: u64, spec: &SessionSpec) -> Ports {
        self.try_apply(session, spec).unwrap()
    }

    /// Makes a session of one audio stream between two peers whose addresses are known.
    pub(crate) fn call(&mut self, session: u64, caller: &Peer, callee: &Peer) -> [LocalPorts; 2] {
        let stream = audio(
            Some(caller.remote(Learning::Signalled)),
            Some(callee.remote(Learning::Signalled)),
        );
        self.apply(session, &spec(self.home, stream))[0].unwrap()
    }

    pub(crate) fn close(&self, session: u64) -> SessionReport {
        self.engine.submit(Command::Close { session: SessionId(session) }).unwrap();
        match self.event() {
            Event::Closed { session: s, cause: CloseCause::Asked, report } if s.0 == session => {
                report
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    pub(crate) fn counters(&self) -> WorkerCounters {
        self.engine.counters().remove(0)
    }

    /// Waits until so many ports rest, on all addresses.
    pub(crate) fn await_resting(&self, ports: u32) {
        let deadline = Instant::now() + PATIENCE;
        while self.engine.ports().iter().map(|(_, usage)| usage.resting).sum::<u32>() != ports {
            assert!(Instant::now() < deadline, "{:?}", self.engine.ports());
            std::thread::yield_now();
        }
    }

    /// Waits until the counters are as they should be.
    pub(crate) fn await_counters(
        &self,
        what: &str,
        done: impl Fn(&WorkerCounters) -> bool,
    ) -> WorkerCounters {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let counters = self.counters();
            if done(&counters) {
                return counters;
            }
            assert!(Instant::now() < deadline, "{what} did not happen: {counters:#?}");
            std::thread::yield_now();
        }
    }
}

pub(crate) type Ports = smallvec::SmallVec<[Option<[LocalPorts; 2]>; 2]>;

/// The counts of a drop reason.
pub(crate) fn dropped(counters: &WorkerCounters, reason: &str) -> u64 {
    counters.drops.iter().find(|(name, _)| *name == reason).unwrap().1
}

/// One party's media sockets.
pub(crate) struct Peer {
    pub(crate) rtp: UdpSocket,
    pub(crate) rtcp: UdpSocket,
}

impl Peer {
    pub(crate) fn new(ip: IpAddr) -> Peer {
        Peer { rtp: socket(ip), rtcp: socket(ip) }
    }

    pub(crate) fn remote(&self, learning: Learning) -> Remote {
        Remote { rtp: address(&self.rtp), rtcp: address(&self.rtcp), learning }
    }
}

pub(crate) fn socket(ip: IpAddr) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

pub(crate) fn address(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().unwrap()
}

/// The next datagram and its source.
pub(crate) fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 4096];
    let (length, source) = socket.recv_from(&mut buffer).expect("no packet came");
    (buffer[..length].to_vec(), source)
}

/// Datagrams that are there, until none has come for a while.
pub(crate) fn drain(socket: &UdpSocket) -> Vec<Vec<u8>> {
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    let mut buffer = [0; 4096];
    let mut all = vec![];
    while let Ok((length, _)) = socket.recv_from(&mut buffer) {
        all.push(buffer[..length].to_vec());
    }
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    all
}

pub(crate) fn stream_leg(remote: Option<Remote>) -> StreamLeg {
    StreamLeg { rtcp: RtcpMode::Separate, remote, sends: true, payload_types: PayloadTypes::ANY }
}

pub(crate) fn audio(caller: Option<Remote>, callee: Option<Remote>) -> StreamSpec {
    let legs = [stream_leg(caller), stream_leg(callee)];
    StreamSpec { open: true, payload: Payload::Rtp { dtls: false }, traffic: Traffic::Audio, legs }
}

pub(crate) fn spec(local: IpAddr, stream: StreamSpec) -> SessionSpec {
    SessionSpec { local: [local; 2], streams: smallvec![stream] }
}

/// The network of one host.
pub(crate) fn host(ip: IpAddr) -> Learning {
    Learning::Within(IpNet::from(ip))
}

/// An RTP packet of 172 bytes whose payload depends on its number and source.
pub(crate) fn rtp(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    let seed = ssrc.wrapping_mul(31).wrapping_add(u32::from(sequence));
    packet.extend(
        (0..160).map(|n| (seed.wrapping_mul(2_654_435_761).wrapping_add(n * 7) >> 8) as u8),
    );
    packet
}

/// An empty receiver report (RFC 3550 6.4.2).
pub(crate) fn rtcp(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend(ssrc.to_be_bytes());
    packet
}
