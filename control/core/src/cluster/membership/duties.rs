//! What the Controller does: it removes members that are gone, publishes views and clears away what
//! members have left behind.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::Membership;
use super::api::{Nonce, Notice, Output};
use super::leases::Lapse;
use super::views;
use crate::cluster::{
    Document, Key, MEMBERS_MAX, Member, MemberName, MemberRecord, Overlap, Presence, Ranges, Term,
    View,
};

impl Membership {
    pub(super) fn settle_duties(&mut self, now: Instant) {
        let Some(term) = self.holds.filter(|_| self.acting().is_some()) else { return };
        self.remove_the_gone(now);
        self.publish(term, now);
        self.clear_ranges(now);
        self.restore_token_keys(now);
    }

    /// Marks the records of members whose leases have run out. The write fails if they have moved.
    fn remove_the_gone(&mut self, now: Instant) {
        let lapsed = |name: &MemberName| Some((name.clone(), self.lapsed(name, now)?));
        let others = self.store.records.keys().filter(|name| **name != self.identity.name);
        let gone: Vec<(MemberName, Lapse)> = others.filter_map(lapsed).collect();
        for (name, lapse) in gone {
            let Some(slot) = self.store.records.get_mut(&name) else { continue };
            let record = slot.get().filter(|record| record.presence.is_lease());
            let Some(record) = record.filter(|_| slot.is_free(now)).cloned() else { continue };
            let incarnate = record.member.incarnate();
            let record = MemberRecord { presence: Presence::Removed, ..record };
            let nonce = self.store.desk.write(slot, Key::Member(name.clone()), record, now);
            let refused = lapse == Lapse::Refused;
            self.removals.insert(nonce, Notice::Removed { name, incarnate, refused });
        }
        let desk = &self.store.desk;
        self.removals.retain(|nonce, _| desk.awaits(*nonce));
    }

    /// The write `nonce` was done: so is the removal that it was, if any.
    pub(super) fn removal_done(&mut self, nonce: Nonce) {
        self.removals.remove(&nonce).into_iter().for_each(|notice| self.outputs.notice(notice));
    }

    fn publish(&mut self, term: Term, now: Instant) {
        let slot = &self.store.view;
        if slot.is_unreadable() || !slot.is_free(now) {
            return;
        }
        let stored = slot.get();
        if stored.is_some_and(|stored| stored.term > term) {
            // Another has published since: this lease is another's, which we are about to hear.
            return;
        }
        let last = stored.map(|stored| stored.epoch).unwrap_or_default();
        let known = self.epoch();
        let (members, kept_out) = self.admitted(now);
        // A new Controller publishes at once, so that whatever its predecessor still writes fails.
        let is_so = stored.is_some_and(|stored| {
            stored.members.iter().eq(members.iter().copied())
                && stored.term == term
                && known <= stored.epoch
        });
        let view = View {
            version: View::VERSION,
            epoch: last.max(known).next(),
            term,
            controller: self.identity.name.clone(),
            published: self.unix(now),
            members: if is_so { Vec::new() } else { members.into_iter().cloned().collect() },
        };
        if !is_so {
            self.store.desk.write(&mut self.store.view, Key::View, view, now);
        }
        let told = std::mem::replace(&mut self.kept_out, kept_out.clone());
        let news = kept_out.into_iter().filter(|notice| !told.contains(notice));
        news.for_each(|notice| self.outputs.notice(notice));
    }

    /// Who should be in the view, by number, and who is kept out of it.
    fn admitted(&self, now: Instant) -> (Vec<&Member>, Vec<Notice>) {
        let mut members: Vec<&Member> = Vec::new();
        let mut ids = BTreeSet::new();
        let mut kept_out = Vec::new();
        let mut candidates: Vec<(Candidacy, &Member)> = self.candidates(now).collect();
        // Those that are in it come first, so that a newcomer never displaces one.
        candidates.sort_by_key(|(candidacy, member)| (*candidacy, member.id));
        for (candidacy, member) in candidates {
            let others = || members.iter().copied();
            let overlap = match candidacy {
                Candidacy::AsBefore => None,
                Candidacy::Changed | Candidacy::New => {
                    others().find_map(|other| Overlap::between(other, member))
                }
            };
            if let Some(overlap) = overlap {
                kept_out.push(Notice::KeptOut(overlap));
            } else if members.len() >= MEMBERS_MAX {
                kept_out.push(Notice::Full(member.name.clone()));
            } else if ids.insert(member.id) {
                members.push(member);
            }
        }
        members.sort_by_key(|member| member.id);
        (members, kept_out)
    }

    /// Members by their records. A newcomer must have moved before our eyes: a record that only stands
    /// there may be years old.
    fn candidates(&self, now: Instant) -> impl Iterator<Item = (Candidacy, &Member)> {
        self.store.records.iter().filter_map(move |(name, slot)| {
            let view = self.store.view.get();
            let Some(record) = slot.get() else {
                let in_view = view.and_then(|view| view.member(name));
                // Its record cannot be read (newer software's, say) or was lost: as long as it might
                // come back with it, it stays.
                let is_dead = self.stood_still(slot, self.timing.lease, now);
                return in_view.filter(|_| !is_dead).map(|member| (Candidacy::AsBefore, member));
            };
            let member = &record.member;
            let in_view = view.and_then(|view| view.by_id(member.id));
            let candidacy = match in_view {
                Some(before) if before == member => Candidacy::AsBefore,
                Some(before) if before.incarnate() == member.incarnate() => Candidacy::Changed,
                Some(_) | None => Candidacy::New,
            };
            let is_alive =
                candidacy != Candidacy::New || slot.moves() > 0 || *name == self.identity.name;
            // It leaves by itself when it hears of it; one that does not is no member either.
            let is_barred = self.is_barred(name, record.certified);
            (record.presence == Presence::Here && is_alive && !is_barred && member.name == *name)
                .then_some((candidacy, member))
        })
    }

    /// Releases the ranges of members that are gone.
    fn clear_ranges(&mut self, now: Instant) {
        let mut cleared: Vec<(std::net::IpAddr, Ranges)> = Vec::new();
        for (address, slot) in &self.store.ranges {
            let Some(ranges) = slot.get().filter(|_| slot.is_free(now)) else { continue };
            if ranges.claims.iter().any(|claim| self.is_gone(&claim.name)) {
                cleared.push((*address, self.without_the_gone(ranges)));
            }
        }
        for (address, left) in cleared {
            if let Some(slot) = self.store.ranges.get_mut(&address) {
                self.store.desk.write(slot, Key::Ranges(address), left, now);
            }
        }
    }

    /// As Controller, sends its view to a member that has come up.
    pub(super) fn push_to(&mut self, name: &MemberName) {
        let Some(view) = self.view.as_ref().filter(|view| self.is_publisher(view)) else { return };
        let view = Arc::clone(view);
        self.outputs.put(Output::Push { to: Some(name.clone()), view });
    }

    /// Whether this member has published `view` and still is the Controller.
    pub(super) fn is_publisher(&self, view: &View) -> bool {
        views::is_by(view, &self.identity.name) && self.holds == Some(view.term)
    }
}

/// Why a member may be in the next view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Candidacy {
    /// It is in the last, with the same words.
    AsBefore,
    /// It is in the last, and says something else of itself since.
    Changed,
    /// It is not.
    New,
}
