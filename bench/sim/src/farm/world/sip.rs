//! What goes between phones and members, and from member to member.

use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use signaling_core::farm::{Identity, MemberId, Why};
use signaling_core::proxy::farm::FarmOutput;
use signaling_core::proxy::output::Output;
use signaling_core::resolve::ResolveError;
use signaling_core::transport::{Arrival, Target, Transmit};

use super::{Cause, Event, Frame, HASH_BASE, LOSSES_IN_A_ROW_MAX, World, hash};
use crate::farm::phone::{self, Cx, Phone};
use crate::farm::process::Process;
use crate::farm::text::Text;

/// Rounds of timers at one instant after which a core is held to turn in circles.
const TURNS_MAX: u32 = 1_000;

/// How long a balancer goes on sending to a member that has said that it drains.
const UNHEALTHY: Duration = Duration::from_secs(2);

impl World<'_> {
    pub(super) fn with_phone(&mut self, at: usize, handle: impl FnOnce(&mut Phone, &mut Cx<'_>)) {
        let now = self.now();
        let mut cx = Cx {
            now,
            ledger: &mut self.ledger,
            calls: &self.plan.calls,
            sends: Vec::new(),
            timers: Vec::new(),
        };
        handle(&mut self.phones[at], &mut cx);
        let Cx { sends, timers, .. } = cx;
        for (when, timer) in timers {
            self.clock.at(when, Event::Phone(at, timer));
        }
        for bytes in sends {
            if self.plan.streams[at] {
                self.sends_up(at, bytes);
                continue;
            }
            for delay in self.carry(&bytes) {
                let home = self.home(at, &bytes);
                if let Some(slot) = home.or_else(|| self.spread()) {
                    let bytes = bytes.clone();
                    self.clock.at(now + delay, Event::ToMember { slot, phone: at, bytes });
                }
            }
        }
    }

    /// When the copies of a packet arrive that a phone sends or gets.
    fn carry(&mut self, bytes: &[u8]) -> Vec<Duration> {
        let mut copies = self.plan.link.carry(&mut self.rng).into_vec();
        if self.is_lost(copies.is_empty(), bytes) {
            return copies;
        }
        if copies.is_empty() {
            copies.push(self.plan.link.delay(&mut self.rng));
        }
        copies
    }

    /// Whether a message is lost that should be: not if that has befallen it too often already.
    fn is_lost(&mut self, should: bool, bytes: &[u8]) -> bool {
        let lost = self.lost.entry(hash(HASH_BASE, bytes)).or_default();
        let is_lost = should && *lost < LOSSES_IN_A_ROW_MAX;
        *lost = if is_lost { *lost + 1 } else { 0 };
        if is_lost {
            self.ledger.loses(bytes);
        }
        is_lost
    }

    /// The member to which a phone sends what belongs to no call, until that is gone for once.
    fn home(&mut self, phone: usize, bytes: &[u8]) -> Option<usize> {
        let home = self.homes[phone]?;
        if !self.slots[home].process.as_ref().is_some_and(Process::takes_part) {
            self.homes[phone] = None;
            return None;
        }
        let text = Text::read(bytes)?;
        let is_free = text.status().is_none() && text.header("Route").is_empty();
        is_free.then_some(home)
    }

    /// Any member that a balancer holds to be well.
    pub(super) fn spread(&mut self) -> Option<usize> {
        let now = self.now();
        let is_well = |at: &usize| {
            let slot = &self.slots[*at];
            if slot.farm.is_some() {
                return false;
            }
            match &slot.process {
                Some(process) => {
                    let drains = process.draining.is_some_and(|since| now > since + UNHEALTHY);
                    process.listens(now) && !drains || now < slot.gone_until
                }
                None => now < slot.gone_until,
            }
        };
        let well: Vec<usize> = (0..self.slots.len()).filter(is_well).collect();
        (!well.is_empty()).then(|| well[self.rng.random_range(0..well.len())])
    }

    pub(super) fn datagram(&mut self, slot: usize, phone: usize, bytes: Bytes) {
        let now = self.now();
        // Outside of the cluster nothing is taken.
        let process = self.slots[slot].process.as_mut().filter(|process| process.listens(now));
        let Some(process) = process else { return self.ledger.loses(&bytes) };
        process.handle_message(now, phone::address(phone), None, bytes);
        self.settle(slot, Cause::Own);
    }

    pub(super) fn frame(&mut self, from: usize, slot: usize, life: u64, frame: Frame) {
        let now = self.now();
        if !self.reach(from, slot) {
            return;
        }
        let name = self.slots[from].name.clone();
        let Some(process) = self.process(slot, life) else {
            if let Frame::Relay { arrival, bytes, .. } = frame {
                self.loses_relayed(&arrival, &bytes);
            }
            return;
        };
        let local = process.skew.local(now);
        match frame {
            Frame::Relay { from, errand, arrival, bytes } => {
                if process.own.is_none() {
                    return self.loses_relayed(&arrival, &bytes);
                }
                process.proxy.handle_relayed(local, from, errand, arrival, bytes);
                self.settle(slot, Cause::Errand(from, errand));
            }
            Frame::Registrations { bytes, is_copy } => {
                process.proxy.handle_replicated(local, &bytes);
                self.settle(slot, Cause::Own);
                let there = self.slots[from].process.as_ref().and_then(|process| process.own);
                if let Some(there) = there.filter(|_| is_copy) {
                    let process = self.slots[slot].process.as_mut();
                    process.into_iter().for_each(|p| p.copied.extend([there.member]));
                    self.refresh(slot);
                }
            }
            Frame::Write(transmit) => self.write_for(slot, from, transmit),
            Frame::Undelivered(target) => {
                process.proxy.handle_transport_error(local, &target);
                self.settle(slot, Cause::Own);
            }
            Frame::Closed(connection) => {
                process.proxy.handle_closed(local, connection);
                self.settle(slot, Cause::Own);
            }
            Frame::SendOut(transmit) => {
                let Target { transport, remote, .. } = transmit.target;
                process.proxy.handle_send_out(transport, remote, None, transmit.bytes);
                self.settle(slot, Cause::SendsFor);
            }
            Frame::Ask { user, token } => {
                let bytes = process.proxy.registrations_of(local, &user);
                self.mesh(slot, from, Frame::Told { bytes, token });
            }
            Frame::Told { bytes, token } => {
                process.proxy.handle_told(local, token, &bytes);
                self.settle(slot, Cause::Own);
            }
            Frame::View(view) => {
                let Ok(name) = control_core::cluster::MemberName::new(&name) else { return };
                self.with_cluster(slot, life, |m, now| {
                    m.handle_view(&name, (*view).clone(), now);
                });
            }
        }
    }

    pub(super) fn wake(&mut self, slot: usize, life: u64) {
        let now = self.now();
        let Some(process) = self.process(slot, life) else { return };
        if process.wake_at.is_none_or(|at| at > now) {
            return;
        }
        process.wake_at = None;
        process.proxy.handle_timeout(process.skew.local(now));
        self.settle(slot, Cause::Own);
    }

    /// Takes what the proxy core has to say. `cause`: the errand of a member that it has just got.
    pub(super) fn settle(&mut self, slot: usize, cause: Cause) {
        let now = self.now();
        loop {
            let Some(process) = self.slots[slot].process.as_mut() else { return };
            let local = process.skew.local(now);
            let Some(output) = process.proxy.poll_output() else {
                let Some(target) = process.failed.pop() else { break };
                process.proxy.handle_transport_error(local, &target);
                continue;
            };
            match output {
                Output::Transmit(transmit) if transmit.target.transport.is_reliable() => {
                    self.write(slot, transmit, cause);
                }
                Output::Transmit(transmit) => {
                    if process.should_send_through_others(cause, &transmit.bytes) {
                        let what = format!("m{slot}");
                        self.ledger.wrong(now, "backends send through members of the farm", what);
                    }
                    let said = process.says(cause);
                    let Some(at) = phone::by_address(transmit.target.remote) else { continue };
                    if let Some(said) = said {
                        self.ledger.sent(now, said, &transmit.bytes);
                    }
                    if at >= self.phones.len() {
                        continue;
                    }
                    for delay in self.carry(&transmit.bytes) {
                        let bytes = transmit.bytes.clone();
                        self.clock.at(now + delay, Event::ToPhone { phone: at, bytes });
                    }
                }
                Output::Farm(output) => self.for_members(slot, *output, cause),
                Output::Resolve(ask) => {
                    process.proxy.handle_resolved(local, ask.token, Err(ResolveError::NotFound));
                }
                // No media, no connections, and nobody who reads records.
                Output::Media(_)
                | Output::Alias { .. }
                | Output::Record(_)
                | Output::Close(_)
                | Output::Notice(_) => {}
            }
        }
        self.arm(slot);
    }

    fn for_members(&mut self, slot: usize, output: FarmOutput, cause: Cause) {
        let Some(process) = self.slots[slot].process.as_ref() else { return };
        let Some(own) = process.own else { return };
        match output {
            FarmOutput::Relay(relay) => {
                let to = (relay.to, relay.errand);
                let takes = process.takers.contains(&relay.to);
                if !takes && relay.errand.why == Why::Spread {
                    let what = format!("{own:?} to {:?}", relay.to);
                    self.ledger.wrong(self.clock.now(), "only who takes it gets what is new", what);
                }
                let given = match cause {
                    Cause::Errand(from, errand) => Some((from, errand)),
                    Cause::Own | Cause::SendsFor => None,
                };
                self.ledger.relays(self.clock.now(), own, to, given, &relay.bytes);
                self.meet(errand_name(relay.errand.why));
                let Some(at) = self.living(relay.to) else {
                    // That the host is gone is not known yet.
                    return self.loses_relayed(&relay.arrival, &relay.bytes);
                };
                let connection = relay.arrival.connection;
                let is_bad = self.rng.random_bool(self.plan.mesh_loss);
                if connection.is_none() && self.is_lost(is_bad, &relay.bytes) {
                    return;
                }
                let frame = Frame::Relay {
                    from: own,
                    errand: relay.errand,
                    arrival: relay.arrival,
                    bytes: relay.bytes,
                };
                if let Some(connection) = connection {
                    self.tell_end_of(slot, connection, at);
                    return self.mesh_in_order(slot, at, frame);
                }
                if self.rng.random_bool(self.plan.mesh_twice) {
                    self.mesh(slot, at, frame.clone());
                }
                self.mesh(slot, at, frame);
            }
            FarmOutput::SendOut { by, transmit } => self.send_out(slot, by, transmit, cause),
            FarmOutput::Ask { of, user, token } => {
                if let Some(at) = self.living(of) {
                    self.mesh(slot, at, Frame::Ask { user, token });
                }
            }
            // No phone subscribes.
            FarmOutput::Calls { .. } => {}
            FarmOutput::Replicate(bytes) => {
                for at in (0..self.slots.len()).filter(|at| *at != slot) {
                    let bytes = bytes.clone();
                    self.mesh(slot, at, Frame::Registrations { bytes, is_copy: false });
                }
            }
        }
    }

    /// There is a new connection to a member.
    pub(super) fn meet_again(&mut self, slot: usize, member: MemberId) {
        let now = self.now();
        let Some(process) = self.slots[slot].process.as_mut() else { return };
        process.proxy.handle_met(process.skew.local(now), member);
        self.settle(slot, Cause::Own);
    }

    /// A member dies while a message is on its way to it. What came over a connection came once: whose it is has it
    /// answered, if it lives.
    fn loses_relayed(&mut self, arrival: &Arrival, bytes: &[u8]) {
        let Some(connection) = arrival.connection else { return self.ledger.loses(bytes) };
        let is_its = |slot: &super::Slot| {
            let own = slot.process.as_ref().and_then(|process| process.own);
            own.is_some_and(|own| own.member.get() == connection.member())
        };
        let is_request = !bytes.starts_with(b"SIP/2.0 ") && !bytes.starts_with(b"ACK ");
        if is_request && self.slots.iter().any(is_its) {
            self.meet("whoever dies has not answered what came over a connection");
        } else {
            self.ledger.loses_for_good(bytes);
        }
    }

    /// S22: a farm member sends for one that is set to `Relay`.
    fn send_out(&mut self, slot: usize, by: Identity, transmit: Transmit, cause: Cause) {
        let now = self.now();
        self.meet("a farm member sends for a backend");
        let Some(process) = self.slots[slot].process.as_ref() else { return };
        let takes = process.takers.contains(&by);
        if let Some(said) = process.says(cause) {
            self.ledger.sent(now, said, &transmit.bytes);
        }
        if !takes || self.slots[slot].farm.is_none() {
            let what = format!("m{slot} by {by:?}");
            self.ledger.wrong(now, "backends send through members of the farm", what);
        }
        let Some(at) = self.living(by) else { return self.ledger.loses(&transmit.bytes) };
        let is_bad = self.rng.random_bool(self.plan.mesh_loss);
        if !self.is_lost(is_bad, &transmit.bytes) {
            self.mesh(slot, at, Frame::SendOut(transmit));
        }
    }

    /// The process that lives this life of a member.
    fn living(&self, identity: Identity) -> Option<usize> {
        let lives = |slot: &super::Slot| {
            slot.process.as_ref().is_some_and(|process| process.own == Some(identity))
        };
        self.slots.iter().position(lives)
    }

    /// What belongs to a connection keeps its order, as the connection between members does.
    pub(super) fn mesh_in_order(&mut self, from: usize, slot: usize, frame: Frame) {
        let Some(life) = self.slots[slot].process.as_ref().map(|process| process.life) else {
            return;
        };
        if self.reach(from, slot) {
            let longest = self.plan.mesh_delay.as_micros() as u64;
            let at =
                self.now() + Duration::from_micros(self.rng.random_range(100..=longest.max(101)));
            let last = self.in_order.entry((from, slot)).or_insert(at);
            *last = at.max(*last);
            self.clock.at(*last, Event::Mesh { from, slot, life, frame });
        }
    }

    pub(super) fn mesh(&mut self, from: usize, slot: usize, frame: Frame) {
        let Some(life) = self.slots[slot].process.as_ref().map(|process| process.life) else {
            return;
        };
        if self.reach(from, slot) {
            let longest = self.plan.mesh_delay.as_micros() as u64;
            let delay = Duration::from_micros(self.rng.random_range(100..=longest.max(101)));
            self.clock.at(self.now() + delay, Event::Mesh { from, slot, life, frame });
        }
    }

    fn arm(&mut self, slot: usize) {
        let now = self.now();
        let Some(process) = self.slots[slot].process.as_mut() else { return };
        let Some(due) = process.proxy.poll_timeout() else { return };
        let due = process.skew.global(due);
        process.turns = if due > now { 0 } else { process.turns + 1 };
        if process.turns > TURNS_MAX {
            let what = format!("m{slot}");
            return self.ledger.wrong(now, "timers end", what);
        }
        if process.wake_at.is_none_or(|at| due < at) {
            process.wake_at = Some(due);
            let life = process.life;
            self.clock.at(due, Event::Wake { slot, life });
        }
    }
}

fn errand_name(why: Why) -> &'static str {
    match why {
        Why::Pinned => "a message goes to its owner",
        Why::Named => "a message goes to the member that it names",
        Why::Spread => "a message goes to the member of its key",
        Why::Asked => "an earlier owner is asked",
        Why::Returned => "a message is returned",
    }
}
