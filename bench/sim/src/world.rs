//! The event loop: agents, members and the network between them.

mod connections;
mod strangers;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use signaling_core::transport::{Arrival, ConnectionId, Target, Transmit, Transport};

use crate::agent::{self, Agent, Cx};
use crate::check::Ledger;
use crate::clock::Clock;
use crate::net::{Outage, Outages};
use crate::node::{self, Node};
use crate::report::Report;
use crate::scenario::{SIP_PORT, Scenario, node_ip};
use crate::settings::Settings;
use crate::{AgentId, NodeId};
use connections::Connections;

/// Hears of every step: the time since the beginning, what happens, and the message if it is one's
/// arrival.
pub type Trace<'t> = &'t mut dyn FnMut(Duration, &str, &[u8]);

/// Something that happens.
#[derive(Debug)]
enum Event {
    /// A SIP message reaches a member.
    ToNode { node: NodeId, arrival: Arrival, bytes: Bytes },
    /// A SIP message reaches an agent, over that connection if it has one.
    ToAgent { agent: AgentId, from: SocketAddr, over: Option<ConnectionId>, bytes: Bytes },
    /// A media packet reaches its address.
    Media { from: SocketAddr, to: SocketAddr, bytes: Vec<u8> },
    /// A member's threads.
    Work(NodeId),
    /// A member's timers.
    Wake(NodeId),
    /// A member's message could not be delivered.
    Undeliverable { node: NodeId, target: Target },
    /// An agent's timer.
    Agent(AgentId, agent::Timer),
    /// Some connection breaks.
    Reset,
    /// A stranger sends something to a member.
    Stranger,
}

/// Registrations come first.
const CALLS_BEGIN: Duration = Duration::from_secs(15);
/// The longest that a run may last after the last call has begun: a call that both parties have
/// forgotten on hold lives for half an hour, and everything else is shorter.
const REST_MAX: Duration = Duration::from_secs(3600);
/// The share of its time that a call's worth of strangers' packets takes.
const STRANGERS_PER_CALL: u32 = 20;

struct World<'t> {
    clock: Clock<Event>,
    settings: Settings,
    scenario: Scenario,
    agents: Vec<Agent>,
    by_ip: BTreeMap<IpAddr, AgentId>,
    nodes: Vec<Node>,
    outages: Outages,
    connections: Connections,
    ledger: Ledger,
    net_rng: ChaCha8Rng,
    events: u64,
    /// Of everything that happened: two runs with the same one are the same run.
    fingerprint: u64,
    trace: Option<Trace<'t>>,
}

/// Runs a scenario to its end.
#[must_use]
pub fn run(settings: &Settings, trace: Option<Trace<'_>>) -> Report {
    let mut world = World::new(settings, trace);
    world.begin();
    let ended = world.run();
    world.finish(ended)
}

/// Dice of their own for each part, so that a change of one leaves the others' throws as they were.
fn dice(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

impl<'t> World<'t> {
    fn new(settings: &Settings, trace: Option<Trace<'t>>) -> World<'t> {
        let seed = settings.seed;
        let clock = Clock::new();
        let now = clock.now();
        let scenario = Scenario::draw(settings, &mut dice(seed, 1));
        let node = |i| Node::new(NodeId(i), now, settings, &scenario, dice(seed, 100 + i as u64));
        let nodes: Vec<Node> = (0..settings.members).map(node).collect();
        let outages = draw_outages(settings, &scenario, now, &mut dice(seed, 2));
        let relays: BTreeSet<IpAddr> = nodes.iter().map(|n| n.ip).collect();
        let ledger = Ledger::new(now, settings, &scenario, relays, outages.clone());
        World {
            agents: scenario.devices.iter().cloned().map(Agent::new).collect(),
            by_ip: scenario.devices.iter().map(|d| (d.ip, d.id)).collect(),
            connections: Connections::default(),
            settings: settings.clone(),
            net_rng: dice(seed, 3),
            events: 0,
            fingerprint: 0xcbf2_9ce4_8422_2325,
            clock,
            scenario,
            nodes,
            outages,
            ledger,
            trace,
        }
    }

    fn begin(&mut self) {
        let now = self.clock.now();
        for i in 0..self.agents.len() {
            let at = now + Duration::from_millis(20 * i as u64 % 5000);
            self.clock.at(at, Event::Agent(AgentId(i), agent::Timer::Register));
        }
        for script in &self.scenario.calls {
            let timer = agent::Timer::Call(script.no);
            self.clock.at(now + CALLS_BEGIN + script.at, Event::Agent(script.caller, timer));
        }
        let spread = self.settings.spread + Duration::from_secs(20);
        for _ in 0..self.settings.resets {
            let at = self.net_rng.random_range(Duration::ZERO..=spread);
            self.clock.at(now + CALLS_BEGIN + at, Event::Reset);
        }
        for _ in 0..self.settings.calls * STRANGERS_PER_CALL {
            let at = self.net_rng.random_range(Duration::ZERO..=spread);
            self.clock.at(now + CALLS_BEGIN + at, Event::Stranger);
        }
    }

    /// Lets everything happen until nothing is left to happen; whether that came to pass.
    fn run(&mut self) -> bool {
        let end = self.clock.now() + CALLS_BEGIN + self.settings.spread + REST_MAX;
        while let Some(event) = self.clock.advance() {
            self.events += 1;
            self.happen(event);
            if self.is_at_rest() {
                return true;
            }
            if self.clock.now() > end {
                return false;
            }
        }
        true
    }

    /// Nothing but registrations is left in the members, and nobody has anything under way.
    fn is_at_rest(&mut self) -> bool {
        let now = self.clock.now();
        let begun = CALLS_BEGIN + self.settings.spread + Duration::from_secs(60);
        self.clock.elapsed() > begun
            && self.agents.iter().all(|agent| agent.open_calls().next().is_none())
            && self.nodes.iter_mut().all(|node| node.holdings(now).is_nothing())
    }

    fn finish(mut self, ended: bool) -> Report {
        let now = self.clock.now();
        if !ended {
            for agent in &self.agents {
                let open: Vec<_> = agent.open_calls().collect();
                if !open.is_empty() {
                    self.ledger.restless(now, format!("{:?}: {open:?}", agent.id()));
                }
            }
        }
        let rested = now + self.settings.rest + Duration::from_secs(1);
        for (place, node) in self.nodes.iter_mut().enumerate() {
            let holdings = node.holdings(rested);
            self.ledger.rests(now, NodeId(place), &holdings);
        }
        self.ledger.finish(now, &self.scenario);
        Report {
            settings: self.settings,
            simulated: self.clock.elapsed(),
            events: self.events,
            fingerprint: self.fingerprint,
            counts: self.ledger.counts,
            violations: self.ledger.violations().to_vec(),
        }
    }

    /// What was on its way over a connection that has broken is lost.
    fn is_lost(&self, event: &Event) -> bool {
        let over = match event {
            Event::ToNode { arrival, .. } => arrival.connection,
            Event::ToAgent { over, .. } => *over,
            Event::Media { .. }
            | Event::Work(_)
            | Event::Wake(_)
            | Event::Undeliverable { .. }
            | Event::Agent(..)
            | Event::Reset
            | Event::Stranger => None,
        };
        over.is_some_and(|connection| !self.connections.is_open(connection.0))
    }

    fn happen(&mut self, event: Event) {
        if self.is_lost(&event) {
            return;
        }
        self.note(&event);
        let now = self.clock.now();
        match event {
            Event::ToNode { node, arrival, bytes } => {
                let effects = self.nodes[node.0].handle_message(now, arrival, bytes);
                self.node_effects(node, effects);
            }
            Event::ToAgent { agent, from, bytes, .. } => {
                self.with_agent(agent, |agent, cx| agent.handle_message(cx, from, bytes));
            }
            Event::Media { from, to, bytes } => self.media_arrives(from, to, &bytes),
            Event::Work(node) => {
                let effects = self.nodes[node.0].handle_work(now);
                self.node_effects(node, effects);
            }
            Event::Wake(node) => {
                let effects = self.nodes[node.0].handle_wake(now);
                self.node_effects(node, effects);
            }
            Event::Undeliverable { node, target } => {
                let effects = self.nodes[node.0].handle_transport_error(now, &target);
                self.node_effects(node, effects);
            }
            Event::Agent(agent, timer) => {
                self.with_agent(agent, |agent, cx| agent.handle_timer(cx, timer));
            }
            Event::Reset => self.reset_a_connection(),
            Event::Stranger => self.stranger(),
        }
    }

    fn with_agent(&mut self, id: AgentId, handle: impl FnOnce(&mut Agent, &mut Cx<'_>)) {
        let mut effects = Vec::new();
        let mut cx = Cx {
            now: self.clock.now(),
            scenario: &self.scenario,
            ledger: &mut self.ledger,
            effects: &mut effects,
        };
        handle(&mut self.agents[id.0], &mut cx);
        for effect in effects {
            match effect {
                agent::Effect::Sip { to, bytes } => self.agent_sends(id, to, bytes),
                agent::Effect::Media { port, to, bytes } => {
                    let from = self.scenario.device(id).mapped(port);
                    self.carry_media(id, from, to, bytes);
                }
                agent::Effect::Wake { at, timer } => self.clock.at(at, Event::Agent(id, timer)),
            }
        }
    }

    fn node_effects(&mut self, node: NodeId, effects: Vec<node::Effect>) {
        let now = self.clock.now();
        for effect in effects {
            match effect {
                node::Effect::Sip(transmit) => self.node_sends(node, transmit),
                node::Effect::Media { from, to, bytes } => {
                    if let Some(agent) = self.by_ip.get(&to.ip()) {
                        self.carry_media(*agent, from, to, bytes);
                    }
                }
                node::Effect::Work(at) => self.clock.at(at, Event::Work(node)),
                node::Effect::Wake(at) => self.clock.at(at, Event::Wake(node)),
                node::Effect::Record(record) => self.ledger.record(now, &record),
                node::Effect::Notice(_) => {}
                node::Effect::Wrong(what) => self.ledger.core_wrong(now, what),
            }
        }
    }

    /// Carries a packet between an agent, whose link counts, and a member.
    fn carry_media(&mut self, agent: AgentId, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        let now = self.clock.now();
        if self.outages.cuts(agent, now) {
            return;
        }
        for delay in self.settings.media.carry(&mut self.net_rng) {
            let bytes = bytes.clone();
            self.clock.at(now + delay, Event::Media { from, to, bytes });
        }
    }

    fn media_arrives(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let now = self.clock.now();
        if let Some(node) = self.node_at(to.ip()) {
            let effects = self.nodes[node.0].handle_media(now, from, to, bytes);
            self.node_effects(node, effects);
        } else if let Some(agent) = self.by_ip.get(&to.ip()).copied()
            && !self.outages.cuts(agent, now)
        {
            self.with_agent(agent, |agent, cx| agent.handle_media(cx, to.port(), bytes));
        }
    }

    fn node_at(&self, ip: IpAddr) -> Option<NodeId> {
        (0..self.nodes.len()).map(NodeId).find(|id| node_ip(*id) == ip)
    }

    fn agent_sends(&mut self, id: AgentId, to: SocketAddr, bytes: Bytes) {
        let Some(node) = self.node_at(to.ip()) else { return };
        let device = self.scenario.device(id);
        if device.transport == Transport::Tcp {
            return self.agent_writes(id, node, bytes);
        }
        let arrival = Arrival {
            transport: Transport::Udp,
            listener: node::UDP,
            local: to,
            remote: SocketAddr::new(device.ip, SIP_PORT),
            connection: None,
        };
        let now = self.clock.now();
        if self.outages.cuts(id, now) {
            return;
        }
        for delay in self.settings.sip.carry(&mut self.net_rng) {
            let bytes = bytes.clone();
            self.clock.at(now + delay, Event::ToNode { node, arrival, bytes });
        }
    }

    fn node_sends(&mut self, node: NodeId, transmit: Transmit) {
        let Transmit { target, bytes, .. } = transmit;
        let Some(agent) = self.by_ip.get(&target.remote.ip()).copied() else { return };
        if target.transport == Transport::Tcp {
            return self.node_writes(node, agent, target, bytes);
        }
        let now = self.clock.now();
        if target.remote.port() != SIP_PORT || self.outages.cuts(agent, now) {
            return;
        }
        for delay in self.settings.sip.carry(&mut self.net_rng) {
            if !self.outages.cuts(agent, now + delay) {
                let (from, bytes) = (target.local, bytes.clone());
                self.clock.at(now + delay, Event::ToAgent { agent, from, over: None, bytes });
            }
        }
    }

    /// Adds an event to the fingerprint, and tells the trace of it.
    fn note(&mut self, event: &Event) {
        let (what, bytes): (String, &[u8]) = match event {
            Event::ToNode { node, arrival, bytes } => {
                (format!("{} -> {node:?} {}", arrival.remote, first_line(bytes)), bytes)
            }
            Event::ToAgent { agent, from, bytes, .. } => {
                (format!("{from} -> {agent:?} {}", first_line(bytes)), bytes)
            }
            Event::Media { from, to, bytes } => (format!("{from} -> {to} media"), bytes),
            Event::Work(node) => (format!("{node:?} works"), &[]),
            Event::Wake(node) => (format!("{node:?} wakes"), &[]),
            Event::Undeliverable { node, target } => {
                (format!("{node:?} cannot reach {}", target.remote), &[])
            }
            Event::Agent(agent, timer) => (format!("{agent:?} {timer:?}"), &[]),
            Event::Reset => ("a connection breaks".to_owned(), &[]),
            Event::Stranger => ("a stranger sends".to_owned(), &[]),
        };
        let at = self.clock.elapsed();
        let time = (at.as_nanos() as u64).to_le_bytes();
        for byte in time.iter().chain(what.as_bytes()).chain(bytes) {
            // FNV-1a.
            self.fingerprint = (self.fingerprint ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
        if let Some(trace) = &mut self.trace {
            trace(at, &what, bytes);
        }
    }
}

fn first_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().next().unwrap_or_default();
    let header = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default();
    format!("{line} [{}, {}]", header("Call-ID: "), header("CSeq: "))
}

fn draw_outages(
    settings: &Settings,
    scenario: &Scenario,
    now: Instant,
    rng: &mut ChaCha8Rng,
) -> Outages {
    let mut outages = Outages::default();
    let spread = settings.spread + Duration::from_secs(20);
    for _ in 0..settings.outages {
        let agent = AgentId(rng.random_range(0..scenario.devices.len()));
        let from = now + CALLS_BEGIN + rng.random_range(Duration::ZERO..=spread);
        let until = from + Duration::from_millis(rng.random_range(500..=12_000));
        outages.add(Outage { agent, from, until });
    }
    outages
}
