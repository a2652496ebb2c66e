//! Members and their cluster: starts, views, the engine, and how members see each other.

use std::time::{Duration, Instant};

use control_core::cluster::membership::{
    Ask, EngineLink, EngineOp, Membership, Outcome, Output, PeerState,
};
use control_core::cluster::{FarmSetting, Incarnate, Incarnation, MemberId};
use rand::Rng;
use signaling_core::farm as sip;

use super::{Cause, Event, Frame, Slot, World};
use crate::farm::engine::Change;
use crate::farm::process::{Keys, Peer, Process, Says, Skew, secrets};

/// Until all members have been given another key.
const KEYS_SPREAD: Duration = Duration::from_secs(1);

/// An operation that was held to be lost may be carried out so much later.
const LATE: Duration = Duration::from_secs(3);

fn sip_identity(own: Incarnate) -> Option<sip::Identity> {
    let member = sip::MemberId::new(own.id.get())?;
    Some(sip::Identity { member, incarnation: sip::Incarnation(own.incarnation.0) })
}

fn incarnate(own: sip::Identity) -> Option<Incarnate> {
    let id = MemberId::new(own.member.get())?;
    Some(Incarnate { id, incarnation: Incarnation(own.incarnation.0) })
}

impl World<'_> {
    pub(super) fn add_slot(&mut self, farm: Option<FarmSetting>) -> usize {
        let at = self.slots.len();
        self.slots.push(Slot {
            name: format!("m{at}"),
            farm,
            process: None,
            gone_until: self.epoch,
            side: false,
            seen_epoch: 0,
        });
        at
    }

    pub(super) fn start(&mut self, slot: usize) {
        let now = self.now();
        if self.slots[slot].process.is_some() || self.is_frozen {
            return;
        }
        self.lives += 1;
        let skew = Skew {
            epoch: self.epoch,
            ahead: self.draw(0, 3_600_000),
            fast: self.rng.random_range(0..=300),
        };
        let life = self.lives;
        let mut process = Process::new(self.seed, (slot, self.slots[slot].farm), life, now, skew);
        process.is_cut_off = self.is_engine_away(slot);
        self.slots[slot].process = Some(process);
        self.slots[slot].seen_epoch = 0;
        self.calm_since = now;
        self.connect(slot);
    }

    pub(super) fn is_engine_away(&self, slot: usize) -> bool {
        self.engine_lost || self.slots[slot].side && self.split == Some(true)
    }

    /// The engine's present values, then its link.
    pub(super) fn connect(&mut self, slot: usize) {
        let now = self.now();
        let Some(process) = self.slots[slot].process.as_mut() else { return };
        let local = process.skew.local(now);
        if process.is_cut_off {
            process.membership.handle_engine(EngineLink::Lost, local);
        } else {
            for (key, (revision, bytes)) in self.store.values() {
                process.membership.handle_value(key, *revision, Some(bytes), local);
            }
            process.membership.handle_engine(EngineLink::Back, local);
        }
        self.settle_cluster(slot);
    }

    pub(super) fn with_cluster(
        &mut self,
        slot: usize,
        life: u64,
        handle: impl FnOnce(&mut Membership, Instant),
    ) {
        if self.is_frozen {
            return;
        }
        let now = self.now();
        let Some(process) = self.process(slot, life) else { return };
        let local = process.skew.local(now);
        handle(&mut process.membership, local);
        self.settle_cluster(slot);
    }

    pub(super) fn cluster_timer(&mut self, slot: usize, life: u64) {
        let now = self.now();
        let due = self.process(slot, life).map(|process| {
            let at = process.membership.poll_timeout();
            process.skew.global(at)
        });
        if due.is_some_and(|due| due <= now) {
            self.with_cluster(slot, life, |membership, now| membership.handle_timeout(now));
        }
    }

    fn settle_cluster(&mut self, slot: usize) {
        let now = self.now();
        loop {
            let Some(process) = self.slots[slot].process.as_mut() else { return };
            let Some(output) = process.membership.poll_output() else { break };
            self.cluster_output(slot, output);
        }
        self.tell(slot);
        let Some(process) = self.slots[slot].process.as_mut() else { return };
        let at = process.skew.global(process.membership.poll_timeout());
        let life = process.life;
        self.clock.at(at.max(now + Duration::from_millis(1)), Event::Cluster { slot, life });
    }

    /// What a member says of itself to the others, as soon as it has changed.
    fn tell(&mut self, slot: usize) {
        let Some(process) = self.slots[slot].process.as_mut() else { return };
        let (draining, joining) = (process.draining.is_some(), process.membership.is_joining());
        let says = Says { draining, joining };
        if std::mem::replace(&mut process.says, says) == says {
            return;
        }
        self.refresh(slot);
        for observer in (0..self.slots.len()).filter(|observer| *observer != slot) {
            let at = self.now() + self.draw(1, 20);
            self.clock.at(at, Event::Hello { observer, target: slot });
        }
    }

    fn cluster_output(&mut self, slot: usize, output: Output) {
        match output {
            Output::Engine(op) => self.ask_engine(slot, op),
            Output::Push { to, view } => {
                let is_meant = |at: &usize| {
                    let is_it = to.as_ref().is_none_or(|to| to.as_str() == self.slots[*at].name);
                    *at != slot && is_it
                };
                let all: Vec<usize> = (0..self.slots.len()).filter(is_meant).collect();
                for at in all {
                    self.mesh(slot, at, Frame::View(view.clone()));
                }
            }
            Output::Joined(own) => self.joined(slot, own),
            Output::ViewChanged(view) => {
                let now = self.now();
                self.meet("a member goes by another view");
                let seen = &mut self.slots[slot].seen_epoch;
                if view.epoch.0 < *seen {
                    let what = format!("m{slot}: {} after {seen}", view.epoch);
                    self.ledger.wrong(now, "epochs never go back", what);
                } else {
                    *seen = view.epoch.0;
                }
                if let Some(process) = self.slots[slot].process.as_mut() {
                    process.view = Some(view);
                    let takes_part = process.takes_part();
                    process.part_since = process.part_since.or(takes_part.then_some(now));
                }
                self.refresh(slot);
                self.serve_streams(slot);
            }
            Output::Fenced { .. } => self.fenced(slot),
            // Whoever runs it starts it again.
            Output::Refused(_) => {
                self.stop(slot);
                self.look_all(slot, PeerState::Refused, 0, 50);
                let at = self.now() + Duration::from_secs(2);
                self.clock.at(at, Event::Start(slot));
            }
            Output::Left => {
                self.stop(slot);
                self.pending -= 1;
                self.look_all(slot, PeerState::Refused, 0, 50);
            }
            Output::ProfileChanged(_) | Output::SettingChanged { .. } | Output::Notice(_) => {}
        }
    }

    fn joined(&mut self, slot: usize, own: Incarnate) {
        let Some(identity) = sip_identity(own) else { return };
        let keys = self.keys;
        let Some(process) = self.slots[slot].process.as_mut() else { return };
        process.own = Some(identity);
        process.copied.clear();
        process.proxy.set_farm(identity, &secrets(keys));
        self.ledger.lives(identity, process.life);
        self.refresh(slot);
        self.look_all(slot, PeerState::Up, 20, 300);
        for target in 0..self.slots.len() {
            let there = self.slots[target].process.as_ref().map(|process| process.own);
            match there {
                _ if target == slot => {}
                Some(Some(_)) => self.look(slot, target, PeerState::Up, 20, 300),
                Some(None) => {}
                None => self.look(slot, target, PeerState::Refused, 0, 50),
            }
        }
    }

    /// All members get to know of another key.
    pub(super) fn new_key(&mut self, keys: Keys) {
        self.meet("another key of tokens");
        self.keys = keys;
        for slot in 0..self.slots.len() {
            let Some(life) = self.slots[slot].process.as_ref().map(|process| process.life) else {
                continue;
            };
            let at = self.now() + self.draw(0, KEYS_SPREAD.as_millis() as u64);
            self.clock.at(at, Event::Secrets { slot, life, keys });
        }
        if keys == Keys::NewIsTaken {
            self.clock.at(self.now() + KEYS_SPREAD * 2, Event::NewKey(Keys::New));
        }
    }

    pub(super) fn give_secrets(&mut self, slot: usize, life: u64, keys: Keys) {
        let Some(process) = self.process(slot, life) else { return };
        if let Some(own) = process.own {
            process.proxy.set_farm(own, &secrets(keys));
        }
    }

    fn fenced(&mut self, slot: usize) {
        self.meet("a member is taken for dead");
        let now = self.now();
        self.calm_since = now;
        self.slots[slot].gone_until = now + Duration::from_secs(1);
        let Some(process) = self.slots[slot].process.as_mut() else { return };
        process.view = None;
        if let Some(own) = process.own.take() {
            self.ledger.dies(now, own);
        }
        self.refresh(slot);
        self.halt_streams(slot);
    }

    /// The process is no more.
    pub(super) fn stop(&mut self, slot: usize) {
        let now = self.now();
        self.calm_since = now;
        self.slots[slot].gone_until = now + Duration::from_secs(1);
        if let Some(process) = self.slots[slot].process.take() {
            self.ledger.ends_process(now, process.life);
            process.own.into_iter().for_each(|own| self.ledger.dies(now, own));
        }
        self.end_streams(slot);
        self.compare();
    }

    /// Tells a member's proxy core what is known of the members.
    pub(super) fn refresh(&mut self, slot: usize) {
        let now = self.now();
        let Some(process) = self.slots[slot].process.as_mut() else { return };
        process.refresh(now);
        let (life, has_arrived) = (process.life, process.has_arrived());
        self.settle(slot, Cause::Own);
        if has_arrived {
            self.with_cluster(slot, life, Membership::handle_copied);
        }
        self.compare();
    }

    /// Whether members differ in who takes what is new, or see too few.
    fn compare(&mut self) {
        let now = self.now();
        let parts = self.slots.iter().filter_map(|slot| slot.process.as_ref());
        let parts: Vec<&Process> = parts.filter(|process| process.takes_part()).collect();
        let uneven = parts.windows(2).any(|pair| pair[0].takers != pair[1].takers);
        self.ledger.uneven.set(now, uneven);
        let is_minority = parts.iter().any(|process| process.is_minority);
        self.ledger.few.set(now, is_minority);
        if uneven {
            self.meet("members differ in who takes what is new");
        }
        if is_minority {
            self.meet("a member sees few of the farm");
        }
    }

    /// All others come to see a member like this within so many milliseconds.
    pub(super) fn look_all(&mut self, target: usize, state: PeerState, from: u64, until: u64) {
        for observer in 0..self.slots.len() {
            if observer != target {
                self.look(observer, target, state, from, until);
            }
        }
    }

    pub(super) fn look(
        &mut self,
        observer: usize,
        target: usize,
        state: PeerState,
        from: u64,
        until: u64,
    ) {
        let version = self.versions.entry((observer, target)).or_default();
        *version += 1;
        let version = *version;
        let at = self.now() + self.draw(from, until);
        self.clock.at(at, Event::Peer { observer, target, version, state });
    }

    pub(super) fn peer(&mut self, observer: usize, target: usize, version: u64, state: PeerState) {
        if self.versions.get(&(observer, target)) != Some(&version) {
            return;
        }
        let there = self.slots[target].process.as_ref();
        let says = there.map_or(Says { draining: false, joining: false }, |process| process.says);
        let own = there.and_then(|process| process.own).filter(|_| self.reach(observer, target));
        let name = self.slots[target].name.clone();
        let Some(process) = self.slots[observer].process.as_mut() else { return };
        let known = |process: &Process| {
            let view = process.view.as_ref()?;
            let member = view.members.iter().find(|member| member.name.as_str() == name)?;
            sip_identity(member.incarnate())
        };
        // Who has gone meanwhile, or can be reached no more, is not there.
        let state = if state == PeerState::Up && own.is_none() { PeerState::Down } else { state };
        let (identity, seen) = match state {
            PeerState::Up => (own, sip::PeerState::Up),
            PeerState::Suspect => (known(process), sip::PeerState::Suspect),
            PeerState::Down | PeerState::Refused => (known(process), sip::PeerState::Down),
        };
        let Some(identity) = identity else { return };
        let peer = Peer { incarnation: identity.incarnation, state: seen, says };
        process.peers.insert(identity.member, peer);
        let life = process.life;
        if let (Some(incarnate), Ok(name)) =
            (incarnate(identity), control_core::cluster::MemberName::new(&name))
        {
            self.with_cluster(observer, life, |m, now| m.handle_peer(&name, incarnate, state, now));
        }
        self.refresh(observer);
        if state == PeerState::Up {
            self.meet_again(observer, identity.member);
            self.copy(target, observer);
        }
    }

    /// A member says something else of itself.
    pub(super) fn hello(&mut self, observer: usize, target: usize) {
        let there = self.slots[target].process.as_ref();
        let there = there.and_then(|process| Some((process.own?, process.says)));
        let Some((own, says)) = there.filter(|_| self.reach(observer, target)) else { return };
        let process = self.slots[observer].process.as_mut();
        let peer = process.and_then(|process| process.peers.get_mut(&own.member));
        if let Some(peer) = peer.filter(|peer| peer.incarnation == own.incarnation) {
            peer.says = says;
            self.refresh(observer);
        }
    }

    /// All registrations, from one member to another.
    fn copy(&mut self, from: usize, to: usize) {
        let now = self.now();
        let mut after = None;
        loop {
            let Some(process) = self.slots[from].process.as_ref() else { return };
            let chunk =
                process.proxy.registrations_chunk(process.skew.local(now), after.as_deref());
            let frame = Frame::Registrations { bytes: chunk.bytes, is_copy: chunk.next.is_none() };
            self.mesh(from, to, frame);
            after = chunk.next;
            if after.is_none() {
                return;
            }
        }
    }

    fn ask_engine(&mut self, slot: usize, op: EngineOp) {
        let Some(process) = self.slots[slot].process.as_ref() else { return };
        let (life, is_away, nonce) = (process.life, process.is_cut_off, op.nonce);
        let now = self.now();
        let there = now + self.engine_way();
        if is_away {
            let outcome = Outcome::Unavailable;
            return self.clock.at(there, Event::Outcome { slot, life, nonce, outcome });
        }
        if self.rng.random_bool(self.plan.engine_unknown) {
            let outcome = Outcome::Unknown;
            self.clock.at(there, Event::Outcome { slot, life, nonce, outcome });
            // Never, now, or when nobody reckons with it any more.
            let late = [None, Some(there), Some(there + LATE)][self.rng.random_range(0..3)];
            let is_read = matches!(op.ask, Ask::Read);
            if let Some(late) = late.filter(|_| !is_read) {
                self.clock.at(late, Event::Apply { slot, life, op, tells: false });
            }
            return;
        }
        self.clock.at(there, Event::Apply { slot, life, op, tells: true });
    }

    fn engine_way(&mut self) -> Duration {
        let longest = self.plan.engine_delay.as_micros() as u64;
        Duration::from_micros(self.rng.random_range(100..=longest))
    }

    pub(super) fn apply(&mut self, slot: usize, life: u64, op: EngineOp, tells: bool) {
        let nonce = op.nonce;
        let (outcome, change) = self.store.apply(&op.key, op.ask);
        if tells {
            let at = self.now() + self.engine_way();
            self.clock.at(at, Event::Outcome { slot, life, nonce, outcome });
        }
        let Some(change) = change else { return };
        for slot in 0..self.slots.len() {
            let at = self.now() + self.engine_way();
            let Some(process) = self.slots[slot].process.as_mut() else { continue };
            process.watched_until = process.watched_until.max(at);
            let (at, life) = (process.watched_until, process.life);
            self.clock.at(at, Event::Watch { slot, life, change: change.clone() });
        }
    }

    pub(super) fn watched(&mut self, slot: usize, life: u64, change: &Change) {
        if self.process(slot, life).is_some_and(|process| !process.is_cut_off) {
            self.with_cluster(slot, life, |membership, now| {
                membership.handle_value(&change.key, change.revision, Some(&change.bytes), now);
            });
        }
    }
}
