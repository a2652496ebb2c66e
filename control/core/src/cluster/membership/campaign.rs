//! The Controller's lease: taking it over, renewing it, giving it back.

use std::time::Instant;

use super::Membership;
use super::api::Notice;
use crate::cluster::{ControllerLease, Holder, Incarnate, Key, Term};

impl Membership {
    pub(super) fn settle_campaign(&mut self, now: Instant) {
        let before = self.holds;
        self.holds = self.held_term();
        if before != self.holds {
            before.into_iter().for_each(|term| self.outputs.notice(Notice::LostController(term)));
            self.holds.into_iter().for_each(|t| self.outputs.notice(Notice::BecameController(t)));
        }
        let slot = &self.store.controller;
        if slot.is_unreadable() || !slot.is_free(now) {
            return;
        }
        let next = match (self.acting(), slot.get()) {
            (None, Some(lease)) if self.holds.is_some() => Some(lease.given_back()),
            (None, _) => None,
            (Some(_), Some(lease)) if self.holds.is_some() => {
                (now >= slot.moved_at() + self.timing.beat).then(|| lease.renewed())
            }
            (Some(own), lease) => self.is_vacant(lease, now).then(|| self.taken(own, lease)),
        };
        if let Some(next) = next {
            self.store.desk.write(&mut self.store.controller, Key::Controller, next, now);
        }
    }

    /// The term in which this start of this member holds the lease.
    fn held_term(&self) -> Option<Term> {
        let own = self.own.announced?;
        let lease = self.store.controller.get()?;
        let holder = lease.holder.as_ref()?;
        let is_own = holder.instance == self.identity.instance && holder.incarnate == own;
        is_own.then_some(lease.term)
    }

    fn taken(&self, own: Incarnate, lease: Option<&ControllerLease>) -> ControllerLease {
        let term = lease.map(|lease| lease.term).unwrap_or_default();
        let seen = self.view.as_ref().map(|view| view.term).unwrap_or_default();
        let stored = self.store.view.get().map(|view| view.term).unwrap_or_default();
        let holder = Holder {
            name: self.identity.name.clone(),
            incarnate: own,
            instance: self.identity.instance,
        };
        ControllerLease::taken(term.max(seen).max(stored).next(), holder)
    }

    /// Whether nobody holds the lease: it was never taken or was given back, its holder is gone or
    /// has started anew, or it has run out.
    fn is_vacant(&self, lease: Option<&ControllerLease>, now: Instant) -> bool {
        if self.is_stalled(now) {
            return false;
        }
        let Some(holder) = lease.and_then(|lease| lease.holder.as_ref()) else { return true };
        let slot = &self.store.controller;
        let record = self.store.records.get(&holder.name).and_then(|slot| slot.get());
        let has_gone = record.is_some_and(|record| {
            !record.presence.is_lease() || record.member.incarnate() != holder.incarnate
        });
        // Members that go soon let others go first.
        let lag = if self.own.draining { self.timing.stalled() } else { Default::default() };
        let expired = self.stood_still(slot, self.timing.lease + lag, now);
        let refused = || {
            self.stood_still(slot, self.timing.missed() + lag, now)
                && self.lapsed(&holder.name, now).is_some()
        };
        has_gone || expired || refused()
    }
}
