//! A timer wheel: many timers, one next deadline, no clock of its own.
//!
//! [`Wheel`] is a hierarchical wheel of 1 ms granularity (seven levels of 64 slots, hence about 139
//! years). Scheduling and cancelling are O(1); a timer is moved down at most six times before it
//! expires. It never fires early: instants are rounded up to the next millisecond.
//!
//! Methods: getters ([`Wheel::len`], [`Wheel::next_deadline`]), mutators ([`Wheel::schedule`],
//! [`Wheel::cancel`]) and one `pop_*` ([`Wheel::pop_expired`]) that takes the time.

mod slots;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use slots::{Lists, SLOT_BITS, SLOTS};

/// Levels of the wheel: 64^7 ms is about 139 years, longer than any process lives.
const LEVELS: usize = 7;

/// The last tick that the wheel can hold; later deadlines are brought forward to it.
const TICK_MAX: u64 = (1 << (SLOT_BITS * LEVELS as u32)) - 1;

/// The list, after those of the slots, that holds what has expired and waits to be popped.
const EXPIRED: usize = LEVELS * SLOTS;

/// Names a scheduled timer. The id of a timer that expired or was cancelled names nothing: it is
/// never taken for a later timer that reuses its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerId {
    index: u32,
    generation: u32,
}

/// The wheel holds as many timers as it was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the timer wheel is full")]
pub struct WheelFull;

/// Timers that each carry a `K`, popped in the order of their deadlines.
///
/// Two timers of the same millisecond are popped in the order in which they were scheduled.
#[derive(Debug)]
pub struct Wheel<K> {
    epoch: Instant,
    /// The tick up to which slots have been emptied: every timer in a slot is due at it or later.
    current: u64,
    /// One bit a slot, set while its list is not empty.
    occupied: [u64; LEVELS],
    lists: Lists<K>,
    capacity: usize,
}

impl<K> Wheel<K> {
    /// An empty wheel for at most `capacity` timers. No memory is taken for them before they are
    /// scheduled. `epoch` is the present or any earlier instant.
    #[must_use]
    pub fn new(epoch: Instant, capacity: usize) -> Self {
        Wheel {
            epoch,
            current: 0,
            occupied: [0; LEVELS],
            lists: Lists::new(EXPIRED + 1),
            capacity: capacity.min(u32::MAX as usize - 1),
        }
    }

    /// How many timers are scheduled, those that expired but were not popped included.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.lists.len()
    }

    /// Whether no timer is scheduled.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Schedules a timer; one in the past expires with the next [`Wheel::pop_expired`].
    ///
    /// # Errors
    /// [`WheelFull`] if as many timers are scheduled as the wheel was made for.
    pub fn schedule(&mut self, at: Instant, key: K) -> Result<TimerId, WheelFull> {
        if self.len() >= self.capacity {
            return Err(WheelFull);
        }
        let tick = self.tick_ceil(at).max(self.current);
        let (index, generation) = self.lists.insert(tick, key);
        self.place(index, tick);
        Ok(TimerId { index, generation })
    }

    /// Takes a timer back; `None` if it has been popped or cancelled already.
    pub fn cancel(&mut self, id: TimerId) -> Option<K> {
        let list = self.lists.list_of(id.index, id.generation)?;
        let key = self.lists.remove(id.index);
        self.note_if_empty(list);
        key
    }

    /// When to call [`Wheel::pop_expired`] next; `None` while no timer is scheduled. Never after the
    /// earliest deadline. It may be before it, since timers far ahead are sorted coarsely: a timer
    /// takes at most six such calls that yield nothing.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        if !self.lists.is_empty(EXPIRED) {
            return Some(self.instant(self.current));
        }
        self.next_slot().map(|(_, _, tick)| self.instant(tick))
    }

    /// The earliest timer that is due at `now`, with its key. Call it until it yields `None`.
    pub fn pop_expired(&mut self, now: Instant) -> Option<K> {
        let now = self.tick_floor(now);
        while self.lists.is_empty(EXPIRED) {
            let Some((level, slot, tick)) = self.next_slot().filter(|&(_, _, tick)| tick <= now)
            else {
                self.current = self.current.max(now);
                return None;
            };
            self.current = tick;
            self.empty_slot(level, slot);
        }
        let index = self.lists.front(EXPIRED)?;
        self.lists.remove(index)
    }

    /// Moves what a slot holds to lower levels, or from the lowest to what has expired.
    fn empty_slot(&mut self, level: usize, slot: usize) {
        let list = level * SLOTS + slot;
        self.occupied[level] &= !(1 << slot);
        while let Some(index) = self.lists.front(list) {
            self.lists.unlink(index);
            if level == 0 {
                self.lists.link(EXPIRED, index);
            } else {
                let tick = self.lists.tick(index);
                self.place(index, tick);
            }
        }
    }

    /// Links a timer into the slot of its tick. The level is that of the highest digit (base 64) in
    /// which the tick differs from the current one, so that lower levels are always due earlier.
    fn place(&mut self, index: u32, tick: u64) {
        let differing = (self.current ^ tick) | (SLOTS as u64 - 1);
        let level = (differing.ilog2() / SLOT_BITS) as usize;
        let slot = (tick >> (SLOT_BITS * level as u32)) as usize % SLOTS;
        self.occupied[level] |= 1 << slot;
        self.lists.link(level * SLOTS + slot, index);
    }

    fn note_if_empty(&mut self, list: usize) {
        if list != EXPIRED && self.lists.is_empty(list) {
            self.occupied[list / SLOTS] &= !(1 << (list % SLOTS));
        }
    }

    /// The slot to empty next, and the tick at which it begins.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied.iter().position(|&bits| bits != 0)?;
        let slot = self.occupied[level].trailing_zeros() as usize;
        let shift = SLOT_BITS * level as u32;
        let above = self.current >> (shift + SLOT_BITS) << (shift + SLOT_BITS);
        Some((level, slot, above | (slot as u64) << shift))
    }

    fn tick_floor(&self, at: Instant) -> u64 {
        let ms = at.saturating_duration_since(self.epoch).as_millis();
        u64::try_from(ms).map_or(TICK_MAX, |ms| ms.min(TICK_MAX))
    }

    fn tick_ceil(&self, at: Instant) -> u64 {
        let ns = at.saturating_duration_since(self.epoch).as_nanos();
        u64::try_from(ns.div_ceil(1_000_000)).map_or(TICK_MAX, |ms| ms.min(TICK_MAX))
    }

    fn instant(&self, tick: u64) -> Instant {
        // An instant that the platform cannot name lies beyond every deadline that it can.
        self.epoch.checked_add(Duration::from_millis(tick)).unwrap_or(self.epoch)
    }
}
