//! When things are due: a constant rate, kept by the clock and not by the answers (no coordinated
//! omission), and waits of one length each.

use std::collections::VecDeque;

const NANOS_PER_SECOND: f64 = 1e9;

/// Starts at a constant rate.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    start_ns: u64,
    interval_ns: f64,
    taken: u64,
    left: u64,
}

impl Schedule {
    /// `count` starts, `per_second` of them a second, the first at `start_ns`.
    pub(crate) fn new(start_ns: u64, per_second: f64, count: u64) -> Schedule {
        Schedule { start_ns, interval_ns: NANOS_PER_SECOND / per_second, taken: 0, left: count }
    }

    /// When the next is due; `None` once there are no more.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        // Multiplied, not added up: a rate is kept for days without drifting away.
        (self.left > 0).then(|| self.start_ns + (self.taken as f64 * self.interval_ns) as u64)
    }

    /// Takes the next if it is due, and says when it was.
    pub(crate) fn take(&mut self, now_ns: u64) -> Option<u64> {
        let due = self.next_ns().filter(|due| *due <= now_ns)?;
        self.taken += 1;
        self.left -= 1;
        Some(due)
    }

    /// No more.
    pub(crate) fn end(&mut self) {
        self.left = 0;
    }
}

/// Waits that all last equally long, so that the first in is the first out.
#[derive(Clone, Debug)]
pub(crate) struct Waits<T> {
    after_ns: u64,
    waiting: VecDeque<(u64, T)>,
}

impl<T> Waits<T> {
    pub(crate) const fn new(after_ns: u64) -> Waits<T> {
        Waits { after_ns, waiting: VecDeque::new() }
    }

    pub(crate) fn add(&mut self, now_ns: u64, what: T) {
        self.waiting.push_back((now_ns + self.after_ns, what));
    }

    pub(crate) fn next_ns(&self) -> Option<u64> {
        self.waiting.front().map(|(due, _)| *due)
    }

    /// Takes what is due.
    pub(crate) fn take(&mut self, now_ns: u64) -> Option<T> {
        let due = self.next_ns()?;
        if due > now_ns { None } else { self.waiting.pop_front().map(|(_, what)| what) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was late does not move what comes after it.
    #[test]
    fn a_schedule_is_kept_by_the_clock() {
        let mut schedule = Schedule::new(1_000, 1_000.0, 4);
        assert_eq!(schedule.take(999), None);
        assert_eq!(schedule.take(1_000), Some(1_000));
        assert_eq!(schedule.take(1_000), None);
        let late = 2_500_000;
        assert_eq!(schedule.take(late), Some(1_001_000));
        assert_eq!(schedule.take(late), Some(2_001_000));
        assert_eq!(schedule.take(late), None);
        assert_eq!(schedule.next_ns(), Some(3_001_000));
        assert_eq!(schedule.take(4_000_000), Some(3_001_000));
        assert_eq!(schedule.next_ns(), None);
    }

    #[test]
    fn a_rate_does_not_drift() {
        let mut schedule = Schedule::new(0, 3.0, u64::MAX);
        for _ in 0..3_000_000 {
            schedule.take(u64::MAX).unwrap();
        }
        assert_eq!(schedule.next_ns(), Some(1_000_000_000_000_000));
    }

    #[test]
    fn waits_end_in_their_order() {
        let mut waits = Waits::new(10);
        waits.add(0, 'a');
        waits.add(5, 'b');
        assert_eq!((waits.take(9), waits.next_ns()), (None, Some(10)));
        assert_eq!((waits.take(20), waits.take(20), waits.take(20)), (Some('a'), Some('b'), None));
    }
}
