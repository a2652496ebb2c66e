//! The relay: sessions, their sockets and ports, and the way of a packet through them.

mod apply;
mod close;
mod open;
mod packet;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use slab::Slab;

use crate::api::{Command, Event, Refusal, SessionId};
use crate::ports::{AddressLease, Fate, PortRange, PortSource, PortTable, Seed, Usage, Width};
use crate::session::{Session, WAITING_MAX};
use crate::slot::{Owner, SlotId, SlotTable, Stage};
use crate::stream::Stream;
use crate::verdict::Action;
use open::Drain;

/// What a relay is made with.
#[derive(Clone, Copy, Debug)]
pub struct RelayConfig {
    /// Its media ports, the same on every local address.
    pub ports: PortRange,
    /// How long a closed port rests before it is used again.
    pub rest: Duration,
    /// A session whose peers announced that they send, and do not for this long, is closed;
    /// `None`: never.
    pub idle: Option<Duration>,
    /// Most sockets that the engine can hold, at most [`SLOTS_MAX`](crate::SLOTS_MAX). There can
    /// be as many sessions.
    pub slots_max: u32,
    /// Decides the order in which ports are given out.
    pub seed: Seed,
}

/// Timers that are served in one call, so that a call is short; the next is due at once.
const TIMERS_PER_CALL: usize = 64;

/// What a timer is for. Its owner may be gone by the time it fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A look at whether a session is idle.
    Idle(SessionId),
    /// The end of a hand-over or a move on this socket.
    Handover(SlotId),
}

/// A media relay.
///
/// Its methods are of four kinds: getters; `handle_*`, by which commands, packets, the engine's
/// answers and time come in; and `poll_*`, by which actions, events and the next deadline go out.
/// After each `handle_*` other than [`Relay::handle_packet`] poll for actions until there is none;
/// after packets it is enough to do so once a batch.
#[derive(Debug)]
pub struct Relay {
    config: RelayConfig,
    ports: Box<dyn PortSource>,
    /// Ports that this relay has taken from there.
    ports_used: u32,
    slots: SlotTable,
    streams: Slab<Stream>,
    drains: Slab<Drain>,
    /// Boxed, because the nodes of a tree are half empty.
    sessions: BTreeMap<SessionId, Box<Session>>,
    actions: VecDeque<Action>,
    /// Sockets whose connection is to be changed; never longer than there are sockets, which is
    /// reserved when they are made.
    relinks: VecDeque<SlotId>,
    events: VecDeque<Event>,
    timers: BTreeSet<(Instant, Timer)>,
}

impl Relay {
    /// A relay without sessions.
    #[must_use]
    pub fn new(config: RelayConfig) -> Relay {
        let ports = PortTable::new(config.ports, config.rest, config.seed);
        Relay::with_ports(config, Box::new(ports))
    }

    /// A relay without sessions that takes its ports from `ports`, which it may share with others:
    /// range, rest and seed are of no account then.
    #[must_use]
    pub fn with_ports(config: RelayConfig, ports: Box<dyn PortSource>) -> Relay {
        Relay {
            config,
            ports,
            ports_used: 0,
            slots: SlotTable::new(config.slots_max),
            streams: Slab::new(),
            drains: Slab::new(),
            sessions: BTreeMap::new(),
            actions: VecDeque::new(),
            relinks: VecDeque::new(),
            events: VecDeque::new(),
            timers: BTreeSet::new(),
        }
    }

    /// Sessions that exist.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Sockets that are open, being opened or being closed.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Ports that its sessions have, on all addresses.
    #[must_use]
    pub fn ports_used(&self) -> u32 {
        self.ports_used
    }

    /// How full the ports of each local address are that was used so far, by this relay or one
    /// that it shares them with.
    pub fn usage(&mut self, now: Instant) -> impl Iterator<Item = (IpAddr, Usage)> + use<> {
        self.ports.usage(now).into_iter()
    }

    fn take_ports(
        &mut self,
        now: Instant,
        address: IpAddr,
        width: Width,
        owner: SessionId,
        beside: Option<AddressLease>,
    ) -> Result<AddressLease, Refusal> {
        let lease = self.ports.take(now, address, width, owner, beside)?;
        self.ports_used += width.ports();
        Ok(lease)
    }

    fn give_back(&mut self, now: Instant, lease: AddressLease, fate: Fate) {
        self.ports_used -= lease.lease().width().ports();
        self.ports.give_back(now, lease, fate);
    }

    /// Takes a command. It is answered by exactly one event, not necessarily at once.
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        // A report changes nothing, so it need not wait for what is under way.
        let waits = !matches!(command, Command::Report { .. });
        match self.sessions.get_mut(&command.session()) {
            Some(session) if waits && session.pending.is_some() => {
                if session.waiting.len() < WAITING_MAX {
                    session.waiting.push_back(command);
                } else {
                    self.turn_away(command);
                }
            }
            Some(_) | None => self.carry_out(now, command),
        }
    }

    fn carry_out(&mut self, now: Instant, command: Command) {
        match command {
            Command::Apply { session, token, spec } => self.begin_apply(now, session, token, spec),
            Command::Close { session } => self.close_asked(now, session),
            Command::Report { session, token } => self.answer_report(now, session, token),
        }
    }

    /// Answers a command that comes while too many wait for the same session.
    fn turn_away(&mut self, command: Command) {
        match command {
            Command::Apply { session, token, .. } => {
                let limit = WAITING_MAX as u32;
                let reason = Refusal::TableFull { what: "waiting commands of the session", limit };
                self.events.push_back(Event::Refused { session, token, reason });
            }
            // One of the commands that wait is a close, or the caller can close again after them.
            Command::Close { session } => self.answer_unknown_close(session),
            // Reports do not wait.
            Command::Report { session, token } => {
                self.events.push_back(Event::Report { session, token, report: None });
            }
        }
    }

    /// The next thing for the engine to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        while let Some(slot) = self.relinks.pop_front() {
            if let Some(action) = self.next_connect(slot) {
                return Some(action);
            }
        }
        None
    }

    fn next_connect(&mut self, slot: SlotId) -> Option<Action> {
        let (Owner::Stream { key, leg, part }, Stage::Open) = self.slots.get(slot)? else {
            return None;
        };
        let link = &mut self.streams.get_mut(key)?.legs[leg.index()].path_mut(part)?.link;
        link.queued = false;
        if link.is_stale() { Some(Action::Connect { slot, peer: link.ask() }) } else { None }
    }

    /// The next thing for the signaling side to hear.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Relay::handle_timeout`] is to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Serves timers that are due, a bounded number in one call.
    pub fn handle_timeout(&mut self, now: Instant) {
        for _ in 0..TIMERS_PER_CALL {
            match self.timers.first() {
                Some((at, _)) if *at <= now => {}
                Some(_) | None => return,
            }
            match self.timers.pop_first() {
                Some((_, Timer::Idle(session))) => self.check_idle(now, session),
                Some((_, Timer::Handover(slot))) => self.end_handover(now, slot),
                None => return,
            }
        }
    }

    fn end_handover(&mut self, now: Instant, slot: SlotId) {
        let Some((Owner::Stream { key, leg, part }, _)) = self.slots.get(slot) else { return };
        let Some(stream) = self.streams.get_mut(key) else { return };
        if let Some(path) = stream.legs[leg.index()].path_mut(part) {
            let next = path.handle_timeout(now);
            queue_relink(&mut self.relinks, path);
            if let Some(next) = next {
                self.timers.insert((next, Timer::Handover(slot)));
            }
        }
    }
}

/// Remembers that the system has to be told of a change of the path's connection, once.
fn queue_relink(relinks: &mut VecDeque<SlotId>, path: &mut crate::path::Path) {
    if path.link.is_stale() && !path.link.queued {
        path.link.queued = true;
        relinks.push_back(path.slot());
    }
}
