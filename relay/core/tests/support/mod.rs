//! An engine without sockets: it does what the relay asks for, when a test lets it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use relay_core::api::*;
use relay_core::ports::{PortRange, Seed};
use relay_core::{Action, OpenError, PacketKind, Relay, RelayConfig, SlotId, Verdict};
use smallvec::{SmallVec, smallvec};

pub(crate) const INSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
pub(crate) const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
pub(crate) const REST: Duration = Duration::from_secs(30);
pub(crate) const IDLE: Duration = Duration::from_secs(60);

pub(crate) type Ports = SmallVec<[Option<[LocalPorts; 2]>; 2]>;

/// A relay and the sockets that it believes to have.
pub(crate) struct Rig {
    pub(crate) relay: Relay,
    pub(crate) now: Instant,
    /// Sockets that are bound, and what each is connected to.
    pub(crate) open: BTreeMap<SlotId, (SocketAddr, Option<SocketAddr>)>,
    /// How each socket that was ever opened marks what it sends.
    pub(crate) marked: BTreeMap<SocketAddr, Traffic>,
    /// Ports that someone else has.
    pub(crate) taken: BTreeSet<u16>,
    /// Addresses that this host does not have.
    pub(crate) foreign: BTreeSet<IpAddr>,
    /// Whether connects are refused.
    pub(crate) refuse_connects: bool,
    /// Every connect that was asked for.
    pub(crate) connects: Vec<(SocketAddr, Option<SocketAddr>)>,
    /// Actions that are held back.
    pub(crate) held: VecDeque<Action>,
    pub(crate) hold: bool,
    token: u64,
}

#[expect(clippy::disallowed_methods, reason = "tests need an instant to start from")]
fn some_instant() -> Instant {
    Instant::now()
}

pub(crate) fn config(first: u16, last: u16, slots_max: u32) -> RelayConfig {
    let ports = PortRange::new(first..=last).unwrap();
    RelayConfig { ports, rest: REST, idle: Some(IDLE), slots_max, seed: Seed([3; 32]) }
}

impl Rig {
    pub(crate) fn new() -> Rig {
        Rig::with(config(10_000, 10_099, 1000))
    }

    pub(crate) fn with(config: RelayConfig) -> Rig {
        Rig {
            relay: Relay::new(config),
            now: some_instant(),
            open: BTreeMap::new(),
            marked: BTreeMap::new(),
            taken: BTreeSet::new(),
            foreign: BTreeSet::new(),
            refuse_connects: false,
            connects: vec![],
            held: VecDeque::new(),
            hold: false,
            token: 0,
        }
    }

    /// Does everything that the relay asks for, or holds it back.
    pub(crate) fn work(&mut self) {
        while let Some(action) = self.relay.poll_action() {
            if self.hold {
                self.held.push_back(action);
            } else {
                self.act(action);
            }
        }
    }

    pub(crate) fn act(&mut self, action: Action) {
        match action {
            Action::Open { slot, address, traffic } => {
                self.marked.insert(address, traffic);
                let result = if self.foreign.contains(&address.ip()) {
                    Err(OpenError::AddressNotLocal)
                } else if self.taken.contains(&address.port()) {
                    Err(OpenError::AddressInUse)
                } else {
                    let bound = self.open.values().any(|(bound, _)| *bound == address);
                    assert!(!bound, "{address} is bound twice");
                    assert!(self.open.keys().all(|open| open.index() != slot.index()));
                    self.open.insert(slot, (address, None));
                    Ok(())
                };
                self.relay.handle_opened(self.now, slot, result);
            }
            Action::Connect { slot, peer } => {
                let (address, connected) = self.open.get_mut(&slot).expect("a socket that is open");
                self.connects.push((*address, peer));
                if !self.refuse_connects {
                    *connected = peer;
                }
                self.relay.handle_connected(slot, peer, !self.refuse_connects);
            }
            Action::Shut { slot } => {
                self.open.remove(&slot).expect("a socket that is open");
                self.relay.handle_shut(self.now, slot);
            }
        }
    }

    /// Lets go of what was held back.
    pub(crate) fn release(&mut self) {
        self.hold = false;
        while let Some(action) = self.held.pop_front() {
            self.act(action);
        }
        self.work();
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.relay.handle_command(self.now, command);
        self.work();
    }

    /// Puts an apply in; its token.
    pub(crate) fn submit(&mut self, session: u64, spec: &SessionSpec) -> u64 {
        self.token += 1;
        let (session, token) = (SessionId(session), self.token);
        self.command(Command::Apply { session, token, spec: spec.clone() });
        token
    }

    pub(crate) fn try_apply(&mut self, session: u64, spec: &SessionSpec) -> Result<Ports, Refusal> {
        let expected = (SessionId(session), self.submit(session, spec));
        match self.relay.poll_event() {
            Some(Event::Applied { session, token, ports }) if (session, token) == expected => {
                Ok(ports)
            }
            Some(Event::Refused { session, token, reason }) if (session, token) == expected => {
                Err(reason)
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    pub(crate) fn apply(&mut self, session: u64, spec: &SessionSpec) -> Ports {
        self.try_apply(session, spec).unwrap()
    }

    pub(crate) fn close(&mut self, session: u64) -> SessionReport {
        self.command(Command::Close { session: SessionId(session) });
        match self.relay.poll_event() {
            Some(Event::Closed { session: closed, cause: CloseCause::Asked, report })
                if closed.0 == session =>
            {
                report
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    /// Time passes; timers are served when they are due.
    pub(crate) fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.relay.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.relay.handle_timeout(self.now);
            self.work();
        }
        self.now = end;
    }

    pub(crate) fn slot(&self, local: SocketAddr) -> SlotId {
        *self.open.iter().find(|(_, (bound, _))| *bound == local).expect("a bound port").0
    }

    /// A packet comes; from where and where to it goes on. A connected socket takes it only from
    /// its peer, as the system does.
    pub(crate) fn packet(
        &mut self,
        source: SocketAddr,
        local: SocketAddr,
        bytes: &[u8],
    ) -> Outcome {
        let slot = self.slot(local);
        if self.open[&slot].1.is_some_and(|peer| peer != source) {
            return Outcome::Unheard;
        }
        self.queued_packet(source, local, bytes)
    }

    /// A packet that was in the socket's queue before it was connected.
    pub(crate) fn queued_packet(
        &mut self,
        source: SocketAddr,
        local: SocketAddr,
        bytes: &[u8],
    ) -> Outcome {
        let slot = self.slot(local);
        let verdict = self.relay.handle_packet(self.now, slot, source, bytes);
        let outcome = match verdict {
            Verdict::Forward { slot, to, kind } => {
                let (from, connected) = self.open[&slot];
                let to = to.or(connected).expect("an address, or a connection");
                Outcome::Sent { from, to, kind }
            }
            Verdict::Drop(reason) => Outcome::Dropped(reason),
        };
        self.work();
        outcome
    }

    /// Ports of an address: used, resting.
    pub(crate) fn usage(&mut self, address: IpAddr) -> (u32, u32) {
        let now = self.now;
        let all = self.relay.usage(now);
        all.filter(|(a, _)| *a == address)
            .map(|(_, u)| (u.used, u.resting))
            .next()
            .unwrap_or_default()
    }
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Sent {
        from: SocketAddr,
        to: SocketAddr,
        kind: PacketKind,
    },
    Dropped(relay_core::DropReason),
    /// The system did not hand it to the connected socket.
    Unheard,
}

impl Outcome {
    pub(crate) fn is_sent(self) -> bool {
        matches!(self, Outcome::Sent { .. })
    }
}

pub(crate) fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The peer at this address; its RTCP is on the port above.
pub(crate) fn remote(rtp: &str, learning: Learning) -> Option<Remote> {
    let rtp = at(rtp);
    Some(Remote { rtp, rtcp: SocketAddr::new(rtp.ip(), rtp.port() + 1), learning })
}

pub(crate) fn within(network: &str) -> Learning {
    Learning::Within(network.parse::<IpNet>().unwrap())
}

pub(crate) fn leg(remote: Option<Remote>) -> StreamLeg {
    let payload_types = PayloadTypes::NONE.with(0).with(8).with(96);
    StreamLeg { rtcp: RtcpMode::Separate, remote, sends: true, payload_types }
}

pub(crate) fn audio(caller: Option<Remote>, callee: Option<Remote>) -> StreamSpec {
    StreamSpec {
        open: true,
        payload: Payload::Rtp { dtls: false },
        traffic: Traffic::Audio,
        legs: [leg(caller), leg(callee)],
    }
}

/// The caller is inside, the callee outside.
pub(crate) fn spec(streams: impl IntoIterator<Item = StreamSpec>) -> SessionSpec {
    SessionSpec { local: [INSIDE, OUTSIDE], streams: streams.into_iter().collect() }
}

pub(crate) const CALLER: &str = "10.0.0.7:4000";
pub(crate) const CALLEE: &str = "198.51.100.7:5000";

/// An audio call between [`CALLER`] and [`CALLEE`].
pub(crate) fn call() -> SessionSpec {
    let known = |address| remote(address, Learning::Signalled);
    SessionSpec {
        local: [INSIDE, OUTSIDE],
        streams: smallvec![audio(known(CALLER), known(CALLEE))],
    }
}

pub(crate) fn rtp(payload_type: u8, ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, payload_type];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend([0x55; 160]);
    packet
}

pub(crate) fn rtcp(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend(ssrc.to_be_bytes());
    packet
}

/// A sender report that was sent at that time (RFC 3550 6.4.1).
pub(crate) fn sender_report(time: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 200, 0, 6, 0, 0, 0, 1];
    packet.extend((u64::from(time) << 16).to_be_bytes());
    packet.extend([0; 12]);
    packet
}

/// The answer of who kept the report of that time for so long (RFC 3550 6.4.2).
pub(crate) fn receiver_report(report: u32, kept: Duration) -> Vec<u8> {
    let mut packet = vec![0x81, 201, 0, 7, 0, 0, 0, 2];
    packet.extend([0; 16]);
    packet.extend(report.to_be_bytes());
    packet.extend(((kept.as_secs_f64() * 65_536.0) as u32).to_be_bytes());
    packet
}
