//! What goes between phones and members, and from member to member.

use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use signaling_core::farm::{Errand, Identity};
use signaling_core::proxy::farm::FarmOutput;
use signaling_core::proxy::output::Output;
use signaling_core::resolve::ResolveError;

use super::{Event, Frame, HASH_BASE, Held, LOSSES_IN_A_ROW_MAX, World, hash};
use crate::farm::check::Who;
use crate::farm::phone::{self, Cx, Phone};

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
            for delay in self.carry(&bytes) {
                if let Some(slot) = self.spread() {
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

    /// Any member that a balancer holds to be well.
    fn spread(&mut self) -> Option<usize> {
        let now = self.now();
        let is_well = |at: &usize| {
            let slot = &self.slots[*at];
            match &slot.process {
                Some(process) => {
                    let drains = process.draining.is_some_and(|since| now > since + UNHEALTHY);
                    process.takes_part() && !drains || now < slot.gone_until
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
        let process = self.slots[slot].process.as_mut().filter(|process| process.takes_part());
        let Some(process) = process else { return self.ledger.loses(&bytes) };
        if !process.is_synced {
            return process.held.push(Held::Datagram { phone, bytes });
        }
        process.handle_datagram(now, phone::address(phone), bytes);
        self.settle(slot, None);
    }

    pub(super) fn frame(&mut self, from: usize, slot: usize, life: u64, frame: Frame) {
        let now = self.now();
        if !self.reach(from, slot) {
            return;
        }
        let name = self.slots[from].name.clone();
        let Some(process) = self.process(slot, life) else { return };
        let local = process.skew.local(now);
        match frame {
            Frame::Relay { from, errand, arrival, bytes } => {
                if process.own.is_none() {
                    return;
                }
                if !process.is_synced {
                    return process.held.push(Held::Relay { from, errand, arrival, bytes });
                }
                process.proxy.handle_relayed(local, from, errand, arrival, bytes);
                self.settle(slot, Some((from, errand)));
            }
            Frame::Registrations { bytes, is_copy } => {
                process.proxy.handle_replicated(local, &bytes);
                self.settle(slot, None);
                if is_copy {
                    self.synced(slot, life);
                }
            }
            Frame::View(view) => {
                let Ok(name) = control_core::cluster::MemberName::new(&name) else { return };
                self.with_cluster(slot, life, |m, now| {
                    m.handle_view(&name, (*view).clone(), now);
                });
            }
        }
    }

    /// It knows what there is to know, and goes on with what has waited for that.
    pub(super) fn synced(&mut self, slot: usize, life: u64) {
        let Some(process) = self.process(slot, life) else { return };
        process.is_synced = true;
        for held in std::mem::take(&mut process.held) {
            match held {
                Held::Datagram { phone, bytes } => self.datagram(slot, phone, bytes),
                Held::Relay { from, errand, arrival, bytes } => {
                    let frame = Frame::Relay { from, errand, arrival, bytes };
                    self.frame(slot, slot, life, frame);
                }
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
        self.settle(slot, None);
    }

    /// Takes what the proxy core has to say. `cause`: the errand of a member that it has just got.
    pub(super) fn settle(&mut self, slot: usize, cause: Option<(Identity, Errand)>) {
        let now = self.now();
        loop {
            let Some(process) = self.slots[slot].process.as_mut() else { return };
            let Some(output) = process.proxy.poll_output() else { break };
            let local = process.skew.local(now);
            match output {
                Output::Transmit(transmit) => {
                    let own = process.own.map(|identity| Who { process: process.life, identity });
                    let Some(at) = phone::by_address(transmit.target.remote) else { continue };
                    if let Some(who) = own {
                        self.ledger.sent(now, who, &transmit.bytes);
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

    fn for_members(&mut self, slot: usize, output: FarmOutput, cause: Option<(Identity, Errand)>) {
        let Some(own) = self.slots[slot].process.as_ref().and_then(|process| process.own) else {
            return;
        };
        match output {
            FarmOutput::Relay(relay) => {
                let to = (relay.to, relay.errand);
                self.ledger.relays(self.clock.now(), own, to, cause, &relay.bytes);
                let Some(at) = self.living(relay.to) else {
                    return self.ledger.loses(&relay.bytes);
                };
                let is_bad = self.rng.random_bool(self.plan.mesh_loss);
                if self.is_lost(is_bad, &relay.bytes) {
                    return;
                }
                let frame = Frame::Relay {
                    from: own,
                    errand: relay.errand,
                    arrival: relay.arrival,
                    bytes: relay.bytes,
                };
                if self.rng.random_bool(self.plan.mesh_twice) {
                    self.mesh(slot, at, frame.clone());
                }
                self.mesh(slot, at, frame);
            }
            // All are frontends: each sends by itself.
            FarmOutput::SendOut { .. } => {
                let what = format!("m{slot}");
                self.ledger.wrong(self.clock.now(), "a frontend sends by itself", what);
            }
            FarmOutput::Replicate(bytes) => {
                for at in (0..self.slots.len()).filter(|at| *at != slot) {
                    let bytes = bytes.clone();
                    self.mesh(slot, at, Frame::Registrations { bytes, is_copy: false });
                }
            }
        }
    }

    /// The process that lives this life of a member.
    fn living(&self, identity: Identity) -> Option<usize> {
        let lives = |slot: &super::Slot| {
            slot.process.as_ref().is_some_and(|process| process.own == Some(identity))
        };
        self.slots.iter().position(lives)
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

    /// Somebody sends a BYE with a token that is changed, or another dialog's.
    pub(super) fn forge(&mut self) {
        let draw = self.rng.random_range(0..1_000);
        let Some((mut token, mut call_id)) = self.ledger.a_token(draw) else { return };
        if self.rng.random_bool(0.5) {
            call_id = format!("x{call_id}");
        } else {
            let at = self.rng.random_range(0..token.len());
            let other = if token.as_bytes()[at] == b'a' { "b" } else { "a" };
            token.replace_range(at..=at, other);
        }
        self.ledger.counts.forged += 1;
        let from = phone::address(0);
        let bytes = Bytes::from(format!(
            "BYE sip:u1@{} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKf{draw}\r\n\
             Route: <sip:{};lr;rf={token}>\r\nMax-Forwards: 70\r\n\
             From: <sip:x@sim.test>;tag=x\r\nTo: <sip:y@sim.test>;tag=y\r\n\
             Call-ID: {call_id}\r\nCSeq: 7 BYE\r\nContent-Length: 0\r\n\r\n",
            phone::address(1),
            crate::farm::process::SHARED,
        ));
        if let Some(slot) = self.spread() {
            let event = Event::ToMember { slot, phone: 0, bytes };
            self.clock.at(self.now(), event);
        }
    }
}
