//! Virtual time: what happens next, and when.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// Something that is due.
#[derive(Debug)]
struct Due<T> {
    at: Instant,
    order: u64,
    /// Apart, as what is due moves about in the heap.
    what: Box<T>,
}

impl<T> PartialEq for Due<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl<T> Eq for Due<T> {}

impl<T> PartialOrd for Due<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Due<T> {
    /// The heap gives the greatest first: the one that is due first, of those the one put in first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// A clock that jumps from one event to the next.
#[derive(Debug)]
pub struct Clock<T> {
    epoch: Instant,
    now: Instant,
    heap: BinaryHeap<Due<T>>,
    order: u64,
}

impl<T> Default for Clock<T> {
    fn default() -> Self {
        Clock::new()
    }
}

impl<T> Clock<T> {
    /// A clock at its epoch with nothing to do.
    #[must_use]
    pub fn new() -> Self {
        // An instant can be had from the system alone; it serves as zero and nothing else is read of
        // it.
        let epoch = Instant::now();
        Clock { epoch, now: epoch, heap: BinaryHeap::new(), order: 0 }
    }

    /// The present.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// How long the run has lasted.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.now.duration_since(self.epoch)
    }

    /// Lets `what` happen at `at`, or now if that has passed. Of events at the same instant the one
    /// put in first happens first.
    pub fn at(&mut self, at: Instant, what: T) {
        let at = at.max(self.now);
        self.order += 1;
        self.heap.push(Due { at, order: self.order, what: Box::new(what) });
    }

    /// The next event; the clock is set to it.
    pub fn advance(&mut self) -> Option<T> {
        let due = self.heap.pop()?;
        self.now = due.at;
        Some(*due.what)
    }

    /// How many events are to come.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether nothing is to come.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_the_order_of_their_times_and_then_of_their_making() {
        let mut clock = Clock::new();
        let second = clock.now() + Duration::from_secs(1);
        clock.at(second, 'c');
        clock.at(clock.now(), 'a');
        clock.at(second, 'd');
        clock.at(clock.now(), 'b');
        let all: String = std::iter::from_fn(|| clock.advance()).collect();
        assert_eq!(all, "abcd");
        assert_eq!(clock.elapsed(), Duration::from_secs(1));
    }
}
