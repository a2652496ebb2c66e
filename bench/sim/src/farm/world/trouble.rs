//! What goes wrong, what operators do, and how it is mended.

use std::time::Duration;

use control_core::cluster::membership::PeerState;
use rand::Rng;

use super::{Event, World};
use crate::farm::plan::Disturbance;

/// Fewest members that are left alone.
const MEMBERS_MIN: usize = 2;
/// Most members that there ever are.
const MEMBERS_MAX: usize = 54;
/// Longest drain.
const DRAIN_MAX: Duration = Duration::from_secs(40);
/// How long until all see again whom they can reach.
const SEEN_AGAIN: Duration = Duration::from_secs(2);

impl World<'_> {
    pub(super) fn trouble(&mut self, number: usize) {
        let now = self.now();
        self.calm_since = now;
        match self.plan.disturbances[number].1 {
            Disturbance::Crash { back, host, controller } => self.crash(back, host, controller),
            Disturbance::Join => {
                if self.slots.len() < MEMBERS_MAX {
                    self.meet("a member joins");
                    let slot = self.add_slot(None);
                    self.start(slot);
                }
            }
            Disturbance::Drain => self.drain(),
            Disturbance::Split { lasts, engine } => self.cut(lasts, engine),
            Disturbance::Disconnect => self.disconnect(),
            Disturbance::EngineLost(lasts) => {
                if !self.engine_lost && !self.store.stalled {
                    self.engine_lost = true;
                    self.meet("the engine is lost");
                    self.pending += 1;
                    self.reach_engine();
                    self.clock.at(now + lasts, Event::EngineBack);
                }
            }
            Disturbance::EngineStalled(lasts) => {
                if !self.engine_lost && !self.store.stalled {
                    self.store.stalled = true;
                    self.meet("the engine takes no writes");
                    self.pending += 1;
                    self.clock.at(now + lasts, Event::EngineBack);
                }
            }
        }
    }

    /// Those that take part and do not drain.
    fn hale(&self) -> Vec<usize> {
        let is_hale = |at: &usize| {
            let process = self.slots[*at].process.as_ref();
            process.is_some_and(|process| process.takes_part() && process.draining.is_none())
        };
        (0..self.slots.len()).filter(is_hale).collect()
    }

    /// Some members of the farm stay.
    fn may_lose(&self, slot: usize) -> bool {
        let farm = self.hale().into_iter().filter(|at| self.slots[*at].farm.is_none()).count();
        self.slots[slot].farm.is_some() || farm > MEMBERS_MIN
    }

    fn any_hale(&mut self) -> Option<usize> {
        let hale = self.hale();
        let any = (!hale.is_empty()).then(|| hale[self.rng.random_range(0..hale.len())])?;
        self.may_lose(any).then_some(any)
    }

    fn controller(&self) -> Option<usize> {
        let is_it = |at: &usize| {
            let process = self.slots[*at].process.as_ref();
            process.is_some_and(|process| process.membership.is_controller().is_some())
        };
        self.hale().into_iter().find(is_it).filter(|at| self.may_lose(*at))
    }

    fn crash(&mut self, back: Option<Duration>, host: bool, controller: bool) {
        let slot = if controller { self.controller() } else { self.any_hale() };
        let Some(slot) = slot else { return };
        self.meet(match (controller, back.is_some(), host) {
            (true, _, _) => "the Controller dies",
            (false, true, false) => "a member dies and comes back",
            (false, false, false) => "a member dies for good",
            (false, true, true) => "a host vanishes and comes back",
            (false, false, true) => "a host vanishes for good",
        });
        self.stop(slot);
        if host {
            self.look_all(slot, PeerState::Down, 1_000, 1_200);
        } else {
            self.look_all(slot, PeerState::Refused, 0, 50);
        }
        if let Some(back) = back {
            self.clock.at(self.now() + back, Event::Start(slot));
        }
    }

    fn drain(&mut self) {
        let now = self.now();
        let Some(slot) = self.any_hale() else { return };
        self.pending += 1;
        self.meet("a member drains");
        let Some(process) = self.slots[slot].process.as_mut() else { return };
        let local = process.skew.local(now);
        process.draining = Some(now);
        process.proxy.handle_drain(local);
        let life = process.life;
        self.with_cluster(slot, life, |membership, now| membership.handle_drain(true, now));
        self.refresh(slot);
        self.clock.at(now + Duration::from_secs(1), Event::Drained { slot, life });
    }

    pub(super) fn drained(&mut self, slot: usize, life: u64) {
        let now = self.now();
        let Some(process) = self.process(slot, life) else {
            // It has ended otherwise.
            self.pending -= 1;
            return;
        };
        let since = process.draining.unwrap_or(now);
        if process.proxy.is_drained() || now >= since + DRAIN_MAX {
            self.with_cluster(slot, life, |membership, now| membership.handle_leave(now));
            // Without the engine it does not wait.
            if self.is_engine_away(slot) && self.process(slot, life).is_some() {
                self.stop(slot);
                self.pending -= 1;
                self.look_all(slot, PeerState::Refused, 0, 50);
            }
            return;
        }
        self.clock.at(now + Duration::from_secs(1), Event::Drained { slot, life });
    }

    pub(super) fn reach(&self, a: usize, b: usize) -> bool {
        self.split.is_none() || self.slots[a].side == self.slots[b].side
    }

    fn cut(&mut self, lasts: Duration, engine: bool) {
        let now = self.now();
        if self.split.is_some() {
            return;
        }
        self.split = Some(engine);
        self.meet(if engine { "a split, also from the engine" } else { "a split" });
        self.pending += 1;
        self.ledger.split.set(now, true);
        for at in 0..self.slots.len() {
            self.slots[at].side = self.rng.random_bool(0.4);
        }
        self.reach_engine();
        self.look_across(PeerState::Suspect, PeerState::Down);
        self.clock.at(now + lasts, Event::Heal);
    }

    /// Each member comes to see those on the other side otherwise.
    fn look_across(&mut self, first: PeerState, then: PeerState) {
        for observer in 0..self.slots.len() {
            for target in 0..self.slots.len() {
                if self.slots[observer].side == self.slots[target].side {
                    continue;
                }
                let _ = first;
                match then {
                    PeerState::Up => self.look(observer, target, then, 0, 1_000),
                    PeerState::Suspect | PeerState::Down | PeerState::Refused => {
                        self.look(observer, target, then, 1_000, 1_200);
                    }
                }
            }
        }
    }

    pub(super) fn heal(&mut self) {
        let now = self.now();
        self.split = None;
        self.pending -= 1;
        self.calm_since = now;
        self.reach_engine();
        self.look_across(PeerState::Up, PeerState::Up);
        self.clock.at(now + SEEN_AGAIN, Event::Unsplit);
    }

    pub(super) fn ledger_split(&mut self) {
        let now = self.now();
        self.ledger.split.set(now, self.split.is_some());
    }

    pub(super) fn engine_back(&mut self) {
        self.pending -= 1;
        self.calm_since = self.now();
        self.engine_lost = false;
        self.store.stalled = false;
        self.reach_engine();
    }

    /// Members lose the engine, or find it again.
    fn reach_engine(&mut self) {
        for slot in 0..self.slots.len() {
            let is_away = self.is_engine_away(slot);
            let Some(process) = self.slots[slot].process.as_mut() else { continue };
            if process.is_cut_off != is_away {
                process.is_cut_off = is_away;
                self.connect(slot);
            }
        }
    }
}
