//! A member: the proxy core and the relay core, wired together as a node wires them, with an engine
//! whose sockets are map entries.

mod build;
mod engine;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use relay_core::api::{Command, Event};
use relay_core::{Action, Relay};
use signaling_core::events::Package;
use signaling_core::proxy::Proxy;
use signaling_core::proxy::output::{CallRecord, Notice, Output};
use signaling_core::resolve::ResolveError;
use signaling_core::transport::{Arrival, ConnectionId, Target, Transmit};

use crate::NodeId;
use crate::scenario::{Scenario, node_ip};
use crate::settings::Settings;
use engine::Engine;

pub use build::{TCP, UDP};

/// The longest way between the threads of a node.
const THREAD_DELAY_MAX_US: u64 = 3000;

/// What travels between the threads of a node, in order.
#[derive(Debug)]
enum Work {
    /// From signaling to the relay.
    Command(Command),
    /// To signaling: a name has no server. The scenarios have a DNS without zones.
    Unresolved(u64),
    /// From the relay to its engine.
    Action(Action),
    /// From the relay to signaling.
    Event(Event),
}

/// What a node wants done outside of it.
#[derive(Debug)]
pub enum Effect {
    /// A SIP message.
    Sip(Transmit),
    /// A media packet.
    Media {
        /// The socket that it leaves from.
        from: SocketAddr,
        /// Where to.
        to: SocketAddr,
        /// The whole of it.
        bytes: Vec<u8>,
    },
    /// [`Node::handle_work`] at that time.
    Work(Instant),
    /// [`Node::handle_wake`] at that time.
    Wake(Instant),
    /// A call is over.
    Record(Box<CallRecord>),
    /// Something for an operator.
    Notice(Notice),
    /// The core did what it must not do.
    Wrong(String),
}

/// What a node holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Calls, proxied requests, relay sessions as signaling knows them.
    pub signaling: usize,
    /// Server and client transactions.
    pub transactions: usize,
    /// Sessions as the relay knows them.
    pub sessions: usize,
    /// Sockets of the relay.
    pub slots: usize,
    /// Sockets that the engine has bound.
    pub sockets: usize,
    /// Ports in use.
    pub ports_used: u32,
    /// Ports at rest.
    pub ports_resting: u32,
}

impl Holdings {
    /// Whether there is nothing but ports at rest.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        Holdings { ports_resting: 0, ..*self } == Holdings::default()
    }
}

/// A member of the farm.
pub struct Node {
    /// Its address.
    pub ip: IpAddr,
    proxy: Proxy,
    relay: Relay,
    engine: Engine,
    work: VecDeque<Work>,
    /// When the last of `work` is due: what comes later is not done earlier.
    work_last: Instant,
    wake_at: Option<Instant>,
    /// Times in a row that a timer was served without time going on.
    stuck: u32,
    rng: ChaCha8Rng,
    effects: Vec<Effect>,
}

/// Rounds of timers at one instant after which a core is held to turn in circles: the relay serves
/// 64 at a time.
const STUCK_MAX: u32 = 10_000;

impl Node {
    /// A member that serves the scenario's users.
    #[must_use]
    pub fn new(
        id: NodeId,
        now: Instant,
        settings: &Settings,
        scenario: &Scenario,
        rng: ChaCha8Rng,
    ) -> Node {
        Node {
            ip: node_ip(id),
            proxy: build::proxy(id, now, settings, scenario),
            relay: build::relay(id, settings),
            engine: Engine::new(settings.port_taken),
            work: VecDeque::new(),
            work_last: now,
            wake_at: None,
            stuck: 0,
            rng,
            effects: Vec::new(),
        }
    }

    /// A SIP message has come.
    pub fn handle_message(&mut self, now: Instant, arrival: Arrival, bytes: Bytes) -> Vec<Effect> {
        self.proxy.handle_message(now, arrival, bytes);
        self.settle(now)
    }

    /// A message could not be delivered.
    pub fn handle_transport_error(&mut self, now: Instant, target: &Target) -> Vec<Effect> {
        self.proxy.handle_transport_error(now, target);
        self.settle(now)
    }

    /// A connection has closed.
    pub fn handle_closed(&mut self, now: Instant, connection: ConnectionId) -> Vec<Effect> {
        self.proxy.handle_closed(now, connection);
        self.settle(now)
    }

    /// A media packet has come.
    pub fn handle_media(
        &mut self,
        now: Instant,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &[u8],
    ) -> Vec<Effect> {
        match self.engine.packet(&mut self.relay, now, from, to, bytes) {
            Ok(Some((from, to))) => {
                self.effects.push(Effect::Media { from, to, bytes: bytes.to_vec() });
            }
            Ok(None) => {}
            Err(wrong) => self.effects.push(Effect::Wrong(wrong)),
        }
        self.settle(now)
    }

    /// The next thing between the threads is due.
    pub fn handle_work(&mut self, now: Instant) -> Vec<Effect> {
        match self.work.pop_front() {
            Some(Work::Command(command)) => self.relay.handle_command(now, command),
            Some(Work::Action(action)) => {
                if let Err(wrong) = self.engine.act(&mut self.relay, &mut self.rng, now, action) {
                    self.effects.push(Effect::Wrong(wrong));
                }
            }
            Some(Work::Unresolved(token)) => {
                self.proxy.handle_resolved(now, token, Err(ResolveError::NotFound));
            }
            Some(Work::Event(event)) => self.proxy.handle_media(now, event),
            None => {}
        }
        self.settle(now)
    }

    /// A timer is due.
    pub fn handle_wake(&mut self, now: Instant) -> Vec<Effect> {
        if self.wake_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.wake_at = None;
        if self.proxy.poll_timeout().is_some_and(|at| at <= now) {
            self.proxy.handle_timeout(now);
        }
        if self.relay.poll_timeout().is_some_and(|at| at <= now) {
            self.relay.handle_timeout(now);
        }
        self.settle(now)
    }

    /// An address that the relay has a socket at, by a number that is drawn.
    #[must_use]
    pub fn a_socket(&self, draw: usize) -> Option<SocketAddr> {
        self.engine.a_socket(draw)
    }

    /// What it holds now.
    pub fn holdings(&mut self, now: Instant) -> Holdings {
        let load = self.proxy.load();
        let (mut ports_used, mut ports_resting) = (0, 0);
        for (_, usage) in self.relay.usage(now) {
            ports_used += usage.used;
            ports_resting += usage.resting;
        }
        let events = self.proxy.events();
        let subscriptions: usize = Package::ALL.iter().map(|p| events.count(*p)).sum();
        let told = subscriptions + events.publications();
        Holdings {
            signaling: load.calls + load.contexts + load.sessions + load.media_requests + told,
            transactions: load.transactions,
            sessions: self.relay.sessions(),
            slots: self.relay.slots(),
            sockets: self.engine.sockets(),
            ports_used,
            ports_resting,
        }
    }

    fn push(&mut self, now: Instant, work: Work) {
        let delay = Duration::from_micros(self.rng.random_range(0..=THREAD_DELAY_MAX_US));
        self.work_last = self.work_last.max(now + delay);
        self.work.push_back(work);
        self.effects.push(Effect::Work(self.work_last));
    }

    /// Takes what the cores have to say, until they have nothing more.
    fn settle(&mut self, now: Instant) -> Vec<Effect> {
        while let Some(output) = self.proxy.poll_output() {
            match output {
                Output::Transmit(transmit) => self.effects.push(Effect::Sip(transmit)),
                Output::Media(command) => self.push(now, Work::Command(*command)),
                // There is no TLS here.
                Output::Alias { .. } => {}
                Output::Resolve(ask) => self.push(now, Work::Unresolved(ask.token)),
                Output::Record(record) => self.effects.push(Effect::Record(record)),
                // Each node is alone.
                Output::Farm(_) => {}
                // Nobody is banned in this world, and it knows no connections.
                Output::Close(_) => {}
                Output::Notice(notice) => self.effects.push(Effect::Notice(notice)),
            }
        }
        while let Some(action) = self.relay.poll_action() {
            self.push(now, Work::Action(action));
        }
        while let Some(event) = self.relay.poll_event() {
            self.push(now, Work::Event(event));
        }
        self.arm(now);
        std::mem::take(&mut self.effects)
    }

    fn arm(&mut self, now: Instant) {
        let due = [self.proxy.poll_timeout(), self.relay.poll_timeout()];
        let Some(due) = due.into_iter().flatten().min() else { return };
        if due > now {
            self.stuck = 0;
        } else {
            self.stuck += 1;
            if self.stuck > STUCK_MAX {
                if self.stuck == STUCK_MAX + 1 {
                    self.effects.push(Effect::Wrong("timers stay due at one instant".to_owned()));
                }
                return;
            }
        }
        if self.wake_at.is_none_or(|at| due < at) {
            self.wake_at = Some(due);
            self.effects.push(Effect::Wake(due));
        }
    }
}
