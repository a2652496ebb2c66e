//! Media port ranges: claiming this member's own, under each address that it advertises.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use super::Membership;
use super::api::{JoinError, Notice};
use super::own::Media;
use super::slot::Slot;
use crate::cluster::{CLAIMS_MAX, Incarnate, Key, MemberName, Overlap, Ranges};
use crate::settings::PortRange;

/// Most claims of earlier media that are kept for calls; the oldest are given up.
pub(super) const KEPT_MAX: usize = 16;

impl Membership {
    pub(super) fn settle_claims(&mut self, now: Instant) {
        let is_replaced = self.own_record().is_none() && self.own.announced.is_none();
        if self.own.has_ended() || (is_replaced && !self.own.is_leaving()) {
            return;
        }
        if self.own.is_leaving() {
            return self.write_claims(None, &BTreeMap::new(), now);
        }
        let Some(by) = self.own_record().map(|record| record.member.incarnate()) else { return };
        let wanted = Media::of(&self.wanted_profile());
        let refused = self.conflict(wanted);
        if let Some(overlap) = &refused {
            self.refuse(wanted, overlap.clone());
        } else {
            self.own.refused = None;
        }
        let next = if refused.is_none() { Some(wanted) } else { None };
        let claims = self.claims(next);
        if next.is_some_and(|media| self.holds_claims(by, media, &claims)) {
            self.use_media(wanted);
        }
        self.write_claims(Some(by), &claims, now);
    }

    /// The claim of another living member that is against `media`.
    fn conflict(&self, media: Media) -> Option<Overlap> {
        media.wan_ip.addresses().into_iter().find_map(|address| {
            let ranges = self.store.ranges.get(&address)?.get()?;
            let ranges = self.without_the_gone(ranges);
            ranges.check(address, &self.identity.name, media.ports).err()
        })
    }

    /// `ranges` without claims of members that are no more.
    pub(super) fn without_the_gone(&self, ranges: &Ranges) -> Ranges {
        let claims = ranges.claims.iter().filter(|claim| !self.is_gone(&claim.name));
        Ranges { version: ranges.version, claims: claims.cloned().collect() }
    }

    /// Whether the member's record says that it is none, and no view holds it any more.
    pub(super) fn is_gone(&self, name: &MemberName) -> bool {
        let slot = self.store.records.get(name);
        let has_lease = slot.is_some_and(|slot| match slot.get() {
            Some(record) => record.presence.is_lease(),
            None => !slot.is_absent(),
        });
        let in_view = || self.view.as_ref().is_some_and(|view| view.member(name).is_some());
        !has_lease && !in_view()
    }

    fn refuse(&mut self, wanted: Media, overlap: Overlap) {
        if self.own.media.is_none() {
            return self.own.leave(Some(JoinError::Overlap(overlap)));
        }
        if self.own.refused != Some(wanted) {
            self.own.refused = Some(wanted);
            self.outputs.notice(Notice::RangeRefused(overlap));
        }
    }

    /// What is to stand under each address: `next`, the media in use, and what calls still use.
    fn claims(&self, next: Option<Media>) -> BTreeMap<IpAddr, BTreeSet<(u16, u16)>> {
        let media = next.into_iter().chain(self.own.media);
        let used = media.flat_map(|media| {
            media.wan_ip.addresses().into_iter().map(move |address| (address, media.ports))
        });
        let mut claims: BTreeMap<IpAddr, BTreeSet<(u16, u16)>> = BTreeMap::new();
        for (address, ports) in used.chain(self.own.kept.iter().copied()) {
            claims.entry(address).or_default().insert((ports.first(), ports.last()));
        }
        claims
    }

    fn holds_claims(
        &self,
        by: Incarnate,
        media: Media,
        claims: &BTreeMap<IpAddr, BTreeSet<(u16, u16)>>,
    ) -> bool {
        media.wan_ip.addresses().iter().all(|address| {
            let ranges = self.store.ranges.get(address).and_then(|slot| slot.get());
            let wanted = claims.get(address).map(to_ranges).unwrap_or_default();
            ranges.is_some_and(|ranges| ranges.holds(&self.identity.name, by, &wanted))
        })
    }

    /// `wanted` is claimed: it is used from now on; what was used before is kept for its calls.
    fn use_media(&mut self, wanted: Media) {
        let Some(before) = self.own.media.replace(wanted).filter(|before| *before != wanted) else {
            return;
        };
        for address in before.wan_ip.addresses() {
            let earlier = (address, before.ports);
            let is_used =
                wanted.wan_ip.addresses().contains(&address) && wanted.ports == before.ports;
            if !is_used && !self.own.kept.contains(&earlier) {
                self.own.kept.push(earlier);
            }
        }
        let beyond = self.own.kept.len().saturating_sub(KEPT_MAX);
        self.own.kept.drain(..beyond);
    }

    /// Makes this member's claims be `claims` under every address.
    fn write_claims(
        &mut self,
        by: Option<Incarnate>,
        claims: &BTreeMap<IpAddr, BTreeSet<(u16, u16)>>,
        now: Instant,
    ) {
        let name = self.identity.name.clone();
        let none = Ranges::default();
        let known = self.store.ranges.keys().copied();
        let addresses: BTreeSet<IpAddr> = known.chain(claims.keys().copied()).collect();
        for address in addresses {
            let wanted = claims.get(&address).map(to_ranges).unwrap_or_default();
            let slot = self.store.ranges.get(&address);
            if slot.is_some_and(|slot| slot.is_unreadable() || !slot.is_free(now)) {
                continue;
            }
            let ranges = slot.and_then(|slot| slot.get()).unwrap_or(&none);
            let is_so = match by {
                Some(by) => ranges.holds(&name, by, &wanted),
                None => !self.may_release(ranges),
            };
            if is_so || (wanted.is_empty() && ranges.of(&name).next().is_none()) {
                continue;
            }
            let mut next = self.without_the_gone(ranges);
            match by {
                Some(by) => next.set(&name, by, &wanted),
                None => next.claims.retain(|claim| claim.name != name),
            }
            let fits = next.claims.len() <= CLAIMS_MAX
                && wanted.iter().all(|ports| next.conflict(&name, *ports).is_none());
            if fits {
                let slot = self.store.ranges.entry(address).or_insert_with(|| Slot::new(now));
                self.store.desk.write(slot, Key::Ranges(address), next, now);
            }
        }
    }

    /// Whether this process has claimed something there, under any of its starts.
    fn may_release(&self, ranges: &Ranges) -> bool {
        let Some(was) = self.own.announced else { return false };
        ranges.claims.iter().any(|claim| claim.name == self.identity.name && claim.by == was)
    }

    /// Whether this process still has claims.
    pub(super) fn has_claims(&self) -> bool {
        let mut ranges = self.store.ranges.values().filter_map(|slot| slot.get());
        ranges.any(|ranges| self.may_release(ranges))
    }
}

fn to_ranges(ports: &BTreeSet<(u16, u16)>) -> Vec<PortRange> {
    ports.iter().filter_map(|(first, last)| PortRange::new(*first, *last).ok()).collect()
}
