//! The lists of the wheel's slots: doubly linked, in one arena, so that any timer leaves in O(1).

/// Bits of a tick that one level of the wheel looks at.
pub(super) const SLOT_BITS: u32 = 6;

/// Slots of a level: one bit each in a `u64`.
pub(super) const SLOTS: usize = 1 << SLOT_BITS;

/// No entry.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Entry<K> {
    tick: u64,
    /// `None` while the place is free.
    key: Option<K>,
    /// Counts the users of this place, so that an old id does not name a new timer.
    generation: u32,
    list: u32,
    previous: u32,
    /// In a free place: the next free one.
    next: u32,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    first: u32,
    last: u32,
}

/// An arena of timers, each linked into at most one of a fixed number of lists.
#[derive(Debug)]
pub(super) struct Lists<K> {
    entries: Vec<Entry<K>>,
    free: u32,
    len: usize,
    ends: Box<[Ends]>,
}

impl<K> Lists<K> {
    pub(super) fn new(count: usize) -> Self {
        let empty = Ends { first: NONE, last: NONE };
        Lists { entries: Vec::new(), free: NONE, len: 0, ends: vec![empty; count].into() }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self, list: usize) -> bool {
        self.ends[list].first == NONE
    }

    pub(super) fn front(&self, list: usize) -> Option<u32> {
        Some(self.ends[list].first).filter(|&first| first != NONE)
    }

    pub(super) fn tick(&self, index: u32) -> u64 {
        self.entries[index as usize].tick
    }

    /// The list that holds the timer, if this generation of it is still there.
    pub(super) fn list_of(&self, index: u32, generation: u32) -> Option<usize> {
        let entry = self.entries.get(index as usize)?;
        (entry.key.is_some() && entry.generation == generation).then_some(entry.list as usize)
    }

    /// Takes a place that is not linked anywhere yet: its index and generation.
    pub(super) fn insert(&mut self, tick: u64, key: K) -> (u32, u32) {
        self.len += 1;
        let index = self.free;
        if let Some(entry) = self.entries.get_mut(index as usize) {
            self.free = entry.next;
            entry.tick = tick;
            entry.key = Some(key);
            return (index, entry.generation);
        }
        let index = self.entries.len() as u32;
        let key = Some(key);
        self.entries.push(Entry {
            tick,
            key,
            generation: 0,
            list: NONE,
            previous: NONE,
            next: NONE,
        });
        (index, 0)
    }

    /// Unlinks a timer and frees its place.
    pub(super) fn remove(&mut self, index: u32) -> Option<K> {
        self.unlink(index);
        let entry = &mut self.entries[index as usize];
        let key = entry.key.take();
        entry.generation = entry.generation.wrapping_add(1);
        entry.next = self.free;
        self.free = index;
        self.len -= 1;
        key
    }

    /// Appends a timer that is in no list.
    pub(super) fn link(&mut self, list: usize, index: u32) {
        let ends = &mut self.ends[list];
        let last = std::mem::replace(&mut ends.last, index);
        if last == NONE {
            ends.first = index;
        } else {
            self.entries[last as usize].next = index;
        }
        let entry = &mut self.entries[index as usize];
        entry.list = list as u32;
        entry.previous = last;
        entry.next = NONE;
    }

    /// Takes a timer out of its list.
    pub(super) fn unlink(&mut self, index: u32) {
        let Entry { list, previous, next, .. } = self.entries[index as usize];
        match self.entries.get_mut(previous as usize) {
            Some(entry) => entry.next = next,
            None => self.ends[list as usize].first = next,
        }
        match self.entries.get_mut(next as usize) {
            Some(entry) => entry.previous = previous,
            None => self.ends[list as usize].last = previous,
        }
    }
}
