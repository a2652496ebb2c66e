//! Every key of the engine as far as this member knows it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

use super::api::{EngineOp, Nonce, Outcome, Timing};
use super::slot::{AnySlot, Slot};
use crate::cluster::{
    ControllerLease, Document, IdTable, Key, MEMBERS_MAX, MemberName, MemberRecord, NAMES_MAX,
    Ranges, Revision, SettingsDocument, Unreadable, View,
};

/// Most addresses whose port ranges are followed: each member has two at most.
const ADDRESSES_MAX: usize = 2 * MEMBERS_MAX;

/// The slots, and the desk that writes to them.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) ids: Slot<IdTable>,
    pub(super) controller: Slot<ControllerLease>,
    pub(super) view: Slot<View>,
    pub(super) records: BTreeMap<MemberName, Slot<MemberRecord>>,
    pub(super) ranges: BTreeMap<IpAddr, Slot<Ranges>>,
    pub(super) cluster_settings: Slot<SettingsDocument>,
    pub(super) member_settings: BTreeMap<MemberName, Slot<SettingsDocument>>,
    pub(super) desk: Desk,
}

/// Operations under way.
#[derive(Debug, Default)]
pub(super) struct Desk {
    last: u64,
    /// Which key each is on. A slot has one at most, so these are as many as slots.
    under_way: BTreeMap<Nonce, Key>,
    /// Slots with something to do by themselves.
    busy: BTreeSet<Key>,
    /// To be carried out; one a slot at most.
    ops: VecDeque<EngineOp>,
}

impl Desk {
    /// Writes `document` to `slot`, which is free. The write's nonce.
    pub(super) fn write<D: Document>(
        &mut self,
        slot: &mut Slot<D>,
        key: Key,
        document: D,
        now: Instant,
    ) -> Nonce {
        let nonce = self.next();
        let ask = slot.write(document, nonce, now);
        self.begin(EngineOp { nonce, key, ask });
        nonce
    }

    fn next(&mut self) -> Nonce {
        self.last += 1;
        Nonce(self.last)
    }

    fn begin(&mut self, op: EngineOp) {
        self.under_way.retain(|_, key| *key != op.key);
        self.under_way.insert(op.nonce, op.key.clone());
        self.busy.insert(op.key.clone());
        self.ops.push_back(op);
    }

    /// Whether the outcome of `nonce` is waited for.
    pub(super) fn awaits(&self, nonce: Nonce) -> bool {
        self.under_way.contains_key(&nonce)
    }

    /// The next operation to be carried out.
    pub(super) fn poll(&mut self) -> Option<EngineOp> {
        self.ops.pop_front()
    }
}

impl Store {
    pub(super) fn new(now: Instant) -> Store {
        Store {
            ids: Slot::new(now),
            controller: Slot::new(now),
            view: Slot::new(now),
            records: BTreeMap::new(),
            ranges: BTreeMap::new(),
            cluster_settings: Slot::new(now),
            member_settings: BTreeMap::new(),
            desk: Desk::default(),
        }
    }

    /// The slot of `key`; made if there is room for it.
    fn slot(&mut self, key: &Key, now: Instant) -> Option<&mut dyn AnySlot> {
        match key {
            Key::Ids => Some(&mut self.ids),
            Key::Controller => Some(&mut self.controller),
            Key::View => Some(&mut self.view),
            Key::ClusterSettings => Some(&mut self.cluster_settings),
            Key::Member(name) => slot_in(&mut self.records, name, NAMES_MAX, now),
            Key::MemberSettings(name) => slot_in(&mut self.member_settings, name, NAMES_MAX, now),
            Key::Ranges(address) => slot_in(&mut self.ranges, address, ADDRESSES_MAX, now),
        }
    }

    fn each(&mut self) -> impl Iterator<Item = (Key, &mut dyn AnySlot)> {
        fn dynamic<D: Document>(slot: &mut Slot<D>) -> &mut dyn AnySlot {
            slot
        }
        let single = [
            (Key::Ids, dynamic(&mut self.ids)),
            (Key::Controller, dynamic(&mut self.controller)),
            (Key::View, dynamic(&mut self.view)),
            (Key::ClusterSettings, dynamic(&mut self.cluster_settings)),
        ];
        let records = self.records.iter_mut();
        let ranges = self.ranges.iter_mut();
        let settings = self.member_settings.iter_mut();
        single
            .into_iter()
            .chain(records.map(|(name, slot)| (Key::Member(name.clone()), dynamic(slot))))
            .chain(ranges.map(|(address, slot)| (Key::Ranges(*address), dynamic(slot))))
            .chain(settings.map(|(name, slot)| (Key::MemberSettings(name.clone()), dynamic(slot))))
    }

    /// Takes what the watch has shown. Whether it is news.
    pub(super) fn observe(
        &mut self,
        key: &Key,
        revision: Revision,
        bytes: Option<&[u8]>,
        is_live: bool,
        now: Instant,
    ) -> Result<bool, Unreadable> {
        let Some(slot) = self.slot(key, now) else { return Ok(false) };
        let seen = slot.observe(revision, bytes, is_live, now);
        self.desk.busy.insert(key.clone());
        seen
    }

    /// Takes the outcome of an operation: on which key, and whether it was a write that was done.
    pub(super) fn finish(
        &mut self,
        nonce: Nonce,
        outcome: Outcome,
        timing: &Timing,
        now: Instant,
    ) -> Option<(Key, Result<bool, Unreadable>)> {
        let key = self.desk.under_way.remove(&nonce)?;
        let slot = self.slot(&key, now)?;
        let finished = slot.finish(nonce, outcome, timing, now);
        self.desk.busy.insert(key.clone());
        Some((key, finished))
    }

    pub(super) fn lose(&mut self) {
        self.each().for_each(|(_, slot)| slot.lose());
        self.desk.under_way.clear();
        self.desk.busy.clear();
        self.desk.ops.clear();
    }

    pub(super) fn come_back(&mut self, now: Instant) {
        let mut keys = BTreeSet::new();
        for (key, slot) in self.each() {
            slot.come_back(now);
            keys.insert(key);
        }
        self.desk.busy = keys;
    }

    pub(super) fn thaw(&mut self, now: Instant) {
        self.each().for_each(|(_, slot)| slot.thaw(now));
    }

    /// Begins the reads that are due, gives up on outcomes that are overdue.
    pub(super) fn work(&mut self, timing: &Timing, now: Instant) {
        for key in std::mem::take(&mut self.desk.busy) {
            let nonce = self.desk.next();
            let Some(slot) = self.slot(&key, now) else { continue };
            let ask = slot.work(timing, now, nonce);
            let is_busy = slot.next(timing).is_some_and(|at| at > now);
            if let Some(ask) = ask {
                self.desk.begin(EngineOp { nonce, key, ask });
            } else if is_busy {
                self.desk.busy.insert(key);
            }
        }
    }

    /// When [`Store::work`] has something to do next, if at all.
    pub(super) fn next(&self, timing: &Timing) -> Option<Instant> {
        let slot = |key: &Key| -> Option<&dyn AnySlot> {
            match key {
                Key::Ids => Some(&self.ids),
                Key::Controller => Some(&self.controller),
                Key::View => Some(&self.view),
                Key::ClusterSettings => Some(&self.cluster_settings),
                Key::Member(name) => self.records.get(name).map(|slot| slot as &dyn AnySlot),
                Key::MemberSettings(name) => {
                    self.member_settings.get(name).map(|slot| slot as &dyn AnySlot)
                }
                Key::Ranges(address) => self.ranges.get(address).map(|slot| slot as &dyn AnySlot),
            }
        };
        self.desk.busy.iter().filter_map(|key| slot(key)?.next(timing)).min()
    }
}

fn slot_in<'s, K: Clone + Ord, D: Document>(
    slots: &'s mut BTreeMap<K, Slot<D>>,
    key: &K,
    most: usize,
    now: Instant,
) -> Option<&'s mut dyn AnySlot> {
    if slots.len() >= most && !slots.contains_key(key) {
        return None;
    }
    Some(slots.entry(key.clone()).or_insert_with(|| Slot::new(now)))
}
