//! Names for sockets that stay unambiguous when a socket's place is used again.

use crate::api::Leg;

/// Names a socket of the engine: a place in its table and which of the sockets that held the place
/// in turn. A completion that comes late for an old socket never meets the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId {
    index: u32,
    generation: u32,
}

/// Places in a table: [`SlotId::to_bits`] has 24 bits for them.
pub const SLOTS_MAX: u32 = 1 << 24;

impl SlotId {
    /// The place in the table, below the relay's `slots_max`.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }

    /// The slot as a number below 2^56, so that an engine has 8 bits left for its own.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << 24 | self.index as u64
    }

    /// The reverse of [`SlotId::to_bits`]; higher bits are ignored.
    #[must_use]
    pub const fn from_bits(bits: u64) -> SlotId {
        // Each is cut to its width on purpose.
        SlotId { index: bits as u32 & (SLOTS_MAX - 1), generation: (bits >> 24) as u32 }
    }
}

/// Which of a leg's two sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Rtp,
    Rtcp,
}

/// What a socket belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A leg of the stream with this key.
    Stream { key: usize, leg: Leg, part: Part },
    /// A lease that goes back to its allocator once its sockets are closed.
    Drain { key: usize },
}

/// How far a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Opening,
    Open,
    Shutting,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    generation: u32,
    held: Option<(Owner, Stage)>,
}

/// The relay's side of the engine's table of sockets.
#[derive(Debug)]
pub(crate) struct SlotTable {
    entries: Vec<Entry>,
    free: Vec<u32>,
    limit: u32,
}

impl SlotTable {
    /// A table of at most `limit` sockets.
    pub(crate) fn new(limit: u32) -> SlotTable {
        SlotTable { entries: Vec::new(), free: Vec::new(), limit: limit.min(SLOTS_MAX) }
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// Sockets that are held, at any stage.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(crate) fn available(&self) -> usize {
        self.limit as usize - self.len()
    }

    /// Holds a place for a socket that is to be opened; `None` if the table is full.
    pub(crate) fn insert(&mut self, owner: Owner) -> Option<SlotId> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.entries.len() < self.limit as usize => {
                self.entries.push(Entry { generation: 0, held: None });
                // Below the limit, which fits 24 bits.
                self.entries.len() as u32 - 1
            }
            None => return None,
        };
        let entry = &mut self.entries[index as usize];
        entry.held = Some((owner, Stage::Opening));
        Some(SlotId { index, generation: entry.generation })
    }

    /// What `slot` is, unless it is gone.
    pub(crate) fn get(&self, slot: SlotId) -> Option<(Owner, Stage)> {
        let entry = self.entries.get(slot.index())?;
        if entry.generation == slot.generation { entry.held } else { None }
    }

    pub(crate) fn set_owner(&mut self, slot: SlotId, owner: Owner) {
        if let Some((held, _)) = self.get_mut(slot) {
            *held = owner;
        }
    }

    pub(crate) fn set_stage(&mut self, slot: SlotId, stage: Stage) {
        if let Some((_, held)) = self.get_mut(slot) {
            *held = stage;
        }
    }

    fn get_mut(&mut self, slot: SlotId) -> Option<&mut (Owner, Stage)> {
        let entry = self.entries.get_mut(slot.index())?;
        if entry.generation == slot.generation { entry.held.as_mut() } else { None }
    }

    /// Forgets a socket that is closed, or was never opened.
    pub(crate) fn remove(&mut self, slot: SlotId) {
        if self.get(slot).is_none() {
            return;
        }
        let entry = &mut self.entries[slot.index()];
        entry.held = None;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(slot.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = Owner::Drain { key: 3 };

    #[test]
    fn a_late_completion_for_an_old_socket_never_meets_the_new_one() {
        let mut table = SlotTable::new(1);
        let old = table.insert(OWNER).unwrap();
        assert_eq!(table.insert(OWNER), None);
        table.remove(old);
        let new = table.insert(OWNER).unwrap();
        assert_eq!(new.index(), old.index());
        assert_eq!(table.get(old), None);
        table.set_stage(old, Stage::Shutting);
        table.remove(old);
        assert_eq!(table.get(new), Some((OWNER, Stage::Opening)));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_slot_fits_56_bits_and_comes_back_from_them() {
        let slot = SlotId { index: SLOTS_MAX - 1, generation: u32::MAX };
        assert!(slot.to_bits() < 1 << 56);
        assert_eq!(SlotId::from_bits(slot.to_bits() | 0xff << 56), slot);
    }
}
