//! Registrations that members of a farm copy from each other, so that each can look up all of them.
//!
//! The member that has processed a REGISTER tells the others the user's whole list of bindings, under a
//! version: whatever comes later and is older changes nothing. Of an empty list the version is kept for as
//! long as an older copy may still be on its way.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Registrar;
use super::binding::Binding;
use super::process::Bindings;
use super::replica::{Copied, Replica, Version};
use crate::farm::{Lasting, MemberId};
use crate::token::Tokens;
use crate::transaction::hash::Keyed;
use crate::transport::ConnectionId;

/// How long the version of an empty list is kept: several times what a full copy takes.
const EMPTY_KEPT: Duration = Duration::from_secs(120);

/// Most versions of empty lists, the latest: some 10 MB. Without one an older copy could bring a device
/// back that has left, until its time is over.
const EMPTY_MAX: usize = 65_536;

/// By how much more a registration makes a list later than the end of a connection: where a split farm has had both
/// at once, the phone is where it has registered. So many connections of a user do not end in one split.
const REGISTERED: u64 = 256;

/// What a registrar that shares its bindings keeps besides.
#[derive(Debug)]
pub(super) struct Copies {
    own: MemberId,
    /// By user: in an order, so that they can be copied part by part.
    versions: BTreeMap<Arc<str>, Version>,
    /// Lists that have changed here and that nobody has been told of.
    changed: VecDeque<Arc<str>>,
    /// Lists that have become empty since the last time that anybody asked.
    emptied: VecDeque<(Arc<str>, Version)>,
    /// Versions of empty lists, and when they are forgotten.
    empty: VecDeque<(Instant, Arc<str>, Version)>,
}

impl Copies {
    /// A list has changed: here by a registration, or as another member says.
    pub(super) fn note(&mut self, aor: &Arc<str>, version: Option<Version>) {
        match version {
            Some(version) => {
                self.versions.insert(aor.clone(), version);
            }
            None => {
                let count = (self.count_of(aor) / REGISTERED).saturating_add(1);
                self.note_own(aor, count.saturating_mul(REGISTERED));
            }
        }
    }

    /// Something that is no registration has changed a list here, or it is to be told once more.
    pub(super) fn note_again(&mut self, aor: &Arc<str>) {
        self.note_own(aor, self.count_of(aor).saturating_add(1));
    }

    fn count_of(&self, aor: &Arc<str>) -> u64 {
        self.versions.get(aor).copied().unwrap_or_default().count
    }

    fn note_own(&mut self, aor: &Arc<str>, count: u64) {
        self.versions.insert(aor.clone(), Version { count, member: self.own.get() });
        if self.changed.back() != Some(aor) {
            self.changed.push_back(aor.clone());
        }
    }

    /// A list has become empty.
    pub(super) fn note_empty(&mut self, aor: &Arc<str>) {
        let version = self.versions.get(aor).copied().unwrap_or_default();
        self.emptied.push_back((aor.clone(), version));
    }

    /// Whether a connection is of this member's own.
    pub(super) fn has(&self, connection: ConnectionId) -> bool {
        connection.member() == self.own.get()
    }

    /// Forgets the versions of lists that have been empty for long.
    fn tidy(&mut self, now: Instant) {
        while let Some((aor, version)) = self.emptied.pop_front() {
            self.empty.push_back((now + EMPTY_KEPT, aor, version));
        }
        while self.empty.len() > EMPTY_MAX
            || self.empty.front().is_some_and(|(due, ..)| *due <= now)
        {
            let Some((_, aor, version)) = self.empty.pop_front() else { return };
            // A list that has changed since has a later one.
            if self.versions.get(&aor) == Some(&version) {
                self.versions.remove(&aor);
            }
        }
    }
}

impl Registrar {
    /// From now on bindings are shared with other members: [`Registrar::poll_copy`] tells of changes. All have
    /// the same secret, by which the temporary GRUUs of one lead somewhere at each, and the order of requests
    /// is the same.
    pub fn share(&mut self, own: MemberId, secret: &Lasting) {
        self.gruus = Tokens::new(&secret.0, "gruu");
        self.orders = Keyed::new(&secret.0);
        if self.copies.is_some() {
            return;
        }
        let version = Version { count: 1, member: own.get() };
        let versions = self.records.keys().map(|aor| (aor.clone(), version)).collect();
        self.copies = Some(Box::new(Copies {
            own,
            versions,
            changed: VecDeque::new(),
            emptied: VecDeque::new(),
            empty: VecDeque::new(),
        }));
    }

    /// The next list of bindings that the other members have to be told of.
    pub fn poll_copy(&mut self, now: Instant) -> Option<Replica> {
        let copies = self.copies.as_mut()?;
        copies.tidy(now);
        let aor = copies.changed.pop_front()?;
        Some(self.replica(now, &aor))
    }

    /// The lists of the users that follow `after` in order, until there are `max` of them; fewer are
    /// the last ones.
    #[must_use]
    pub fn copies(&self, now: Instant, after: Option<&str>, max: usize) -> Vec<Replica> {
        let Some(copies) = &self.copies else { return Vec::new() };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let users = copies.versions.range::<str, _>((from, Bound::Unbounded)).take(max);
        users.map(|(aor, _)| self.replica(now, aor)).collect()
    }

    /// The list of a user; `None`: nobody has registered as that one of late.
    #[must_use]
    pub fn copy_of(&self, now: Instant, user: &str) -> Option<Replica> {
        let (aor, _) = self.copies.as_ref()?.versions.get_key_value(user)?;
        Some(self.replica(now, aor))
    }

    fn replica(&self, now: Instant, aor: &Arc<str>) -> Replica {
        let copies = self.copies.as_ref();
        let version = copies.and_then(|copies| copies.versions.get(aor)).copied();
        let record = self.records.get(aor);
        let mut bindings: Vec<&Binding> =
            record.iter().flat_map(|record| &record.bindings).collect();
        bindings.sort_by_key(|binding| binding.serial);
        let lasting = bindings.into_iter().filter(|binding| binding.expires > now);
        Replica {
            aor: aor.clone(),
            version: version.unwrap_or_default(),
            bindings: lasting.map(|binding| Copied::of(binding, now)).collect(),
        }
    }

    /// Takes over what another member says of a user's bindings, unless something later is known.
    /// Says whether it was taken over.
    pub fn take_copy(&mut self, now: Instant, replica: Replica) -> bool {
        self.purge(now);
        let Some(copies) = &mut self.copies else { return false };
        copies.tidy(now);
        let known = copies.versions.get(&replica.aor).copied().unwrap_or_default();
        let had = self.records.get(&replica.aor).map_or(0, |record| record.bindings.len());
        let count = replica.bindings.len();
        let is_too_much = count > self.config.bindings_per_user_max
            || self.len - had + count > self.config.bindings_max;
        if replica.version <= known || is_too_much || !replica.is_sound() {
            return false;
        }
        let mut bindings = Bindings::new();
        for copied in replica.bindings {
            self.last_serial += 1;
            let is_past = copied.lasts > self.config.expires_max;
            let lasts = if is_past { self.config.expires_max } else { copied.lasts };
            bindings.push(copied.into_binding(now + lasts, self.last_serial));
        }
        self.replace(&replica.aor, bindings, Some(replica.version));
        true
    }

    /// A life of a member is over: what came over its connections is reached as after their end.
    pub fn remove_flows_of(&mut self, member: u16, life: u16) -> usize {
        let first = ConnectionId::of_member(member, life.into(), 0);
        let last = ConnectionId::of_member(member, life.into(), u32::MAX);
        let mut removed = 0;
        while let Some(connection) = self.flow_within(first, last) {
            removed += self.remove_flow(connection);
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copies(own: u16) -> Copies {
        Copies {
            own: MemberId::new(own).unwrap(),
            versions: BTreeMap::new(),
            changed: VecDeque::new(),
            emptied: VecDeque::new(),
            empty: VecDeque::new(),
        }
    }

    /// Two halves of a farm: in one a phone registers, in the other its connection of before ends.
    #[test]
    fn a_registration_is_later_than_ends_of_connections_that_it_has_not_heard_of() {
        let bob: Arc<str> = "bob".into();
        let (mut one, mut two) = (copies(1), copies(2));
        two.note(&bob, None);
        one.note(&bob, Some(two.versions["bob"]));
        one.note(&bob, None);
        two.note_again(&bob);
        two.note_again(&bob);
        assert!(one.versions["bob"] > two.versions["bob"]);
        two.note(&bob, Some(one.versions["bob"]));
        two.note_again(&bob);
        assert!(two.versions["bob"] > one.versions["bob"], "what it has heard of ends");
    }
}
