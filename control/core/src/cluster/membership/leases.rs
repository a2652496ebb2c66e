//! Whose lease has run out.

use std::time::{Duration, Instant};

use super::Membership;
use super::api::PeerState;
use super::slot::Slot;
use crate::cluster::{Document, Incarnate, MemberName};

impl Membership {
    /// Whether the engine has taken none of our writes for some time. Who is no member writes nothing,
    /// and cannot tell by that.
    pub(super) fn is_stalled(&self, now: Instant) -> bool {
        self.own.announced.is_some()
            && self.last_write.is_some_and(|at| now >= at + self.timing.stalled())
    }

    /// Whether the key has stood still for `time`, and would have moved had its holder lived.
    pub(super) fn stood_still<D: Document>(
        &self,
        slot: &Slot<D>,
        time: Duration,
        now: Instant,
    ) -> bool {
        now >= slot.moved_at() + time && !self.is_stalled(now)
    }

    /// Whether the record's holder has lost its lease, and whether by the word of others.
    pub(super) fn lapsed(&self, name: &MemberName, now: Instant) -> Option<Lapse> {
        let slot = self.store.records.get(name)?;
        if self.stood_still(slot, self.timing.lease, now) {
            return Some(Lapse::Expired);
        }
        let record = slot.get()?;
        let is_refused = self.stood_still(slot, self.timing.missed(), now)
            && self.refused_by_most(name, record.member.incarnate());
        is_refused.then_some(Lapse::Refused)
    }

    /// Whether most of the other members of the view, this one among them, have found nobody
    /// listening where that start of `name` was.
    fn refused_by_most(&self, name: &MemberName, incarnate: Incarnate) -> bool {
        if !self.is_refused(name, incarnate) {
            return false;
        }
        let Some(view) = &self.view else { return false };
        let others = view.members.iter().filter(|other| other.name != *name);
        let (mut count, mut refusing) = (0, 0);
        for other in others {
            count += 1;
            let says_so = if other.name == self.identity.name {
                true
            } else {
                let record = self.store.records.get(&other.name).and_then(|slot| slot.get());
                record.is_some_and(|record| {
                    record.presence.is_lease() && record.refused_by.contains(&incarnate)
                })
            };
            refusing += usize::from(says_so);
        }
        refusing * 2 > count
    }

    fn is_refused(&self, name: &MemberName, incarnate: Incarnate) -> bool {
        self.peers.get(name) == Some(&(incarnate, PeerState::Refused))
    }

    /// The members of the view whose hosts refuse this one.
    pub(super) fn refusals(&self) -> Vec<Incarnate> {
        let members = self.view.iter().flat_map(|view| &view.members);
        let incarnates = members.filter(|member| self.is_refused(&member.name, member.incarnate()));
        incarnates.map(|member| member.incarnate()).collect()
    }

    /// When the next lease may run out.
    pub(super) fn next_lapse(&self, now: Instant) -> Option<Instant> {
        let records = self.store.records.values().map(Slot::moved_at);
        let moved = records.chain([self.store.controller.moved_at()]);
        let [missed, lease] = [self.timing.missed(), self.timing.lease];
        let late = lease + self.timing.stalled();
        moved
            .flat_map(|at| [at + missed, at + lease, at + late, at + 2 * lease])
            .filter(|at| *at > now)
            .min()
    }
}

/// How a lease was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lapse {
    /// It has stood still for its time.
    Expired,
    /// It has missed a beat, and most members are refused by its holder's host.
    Refused,
}
