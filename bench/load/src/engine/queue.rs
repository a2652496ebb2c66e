//! Timers and pacing of the SIP side.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How much a pacer may catch up at once after it was held up.
const ARREARS_MAX: Duration = Duration::from_millis(200);

/// Things to be woken for, by time. Stale entries are allowed: whoever is woken looks whether there
/// is anything to do.
#[derive(Debug)]
pub(crate) struct TimerQueue<T> {
    entries: BTreeMap<(Instant, u64), T>,
    counter: u64,
}

impl<T> TimerQueue<T> {
    pub(crate) const fn new() -> TimerQueue<T> {
        TimerQueue { entries: BTreeMap::new(), counter: 0 }
    }

    pub(crate) fn push(&mut self, at: Instant, what: T) {
        self.counter += 1;
        self.entries.insert((at, self.counter), what);
    }

    /// The earliest time in the queue.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.entries.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the earliest entry if its time has come.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<T> {
        if self.next_at()? > now {
            return None;
        }
        self.entries.pop_first().map(|(_, what)| what)
    }
}

/// Lets things happen at a steady rate.
#[derive(Debug)]
pub(crate) struct Pacer {
    next_at: Instant,
    gap: Duration,
}

impl Pacer {
    /// `rate` a second, the first at `now`.
    pub(crate) fn new(rate: f64, now: Instant) -> Pacer {
        Pacer { next_at: now, gap: Duration::from_secs_f64(1.0 / rate) }
    }

    /// Starts counting at `now`.
    pub(crate) fn restart(&mut self, now: Instant) {
        self.next_at = now;
    }

    pub(crate) const fn next_at(&self) -> Instant {
        self.next_at
    }

    /// Whether the next one may happen; if so, it is taken to have happened.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        if now < self.next_at {
            return false;
        }
        let earliest = now.checked_sub(ARREARS_MAX).unwrap_or(now);
        self.next_at = self.next_at.max(earliest) + self.gap;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_come_in_order_of_time_then_of_setting() {
        let start = Instant::now();
        let mut queue = TimerQueue::new();
        queue.push(start + Duration::from_secs(2), 'c');
        queue.push(start, 'a');
        queue.push(start, 'b');
        assert_eq!(queue.pop(start), Some('a'));
        assert_eq!(queue.pop(start), Some('b'));
        assert_eq!(queue.pop(start), None);
        assert_eq!(queue.pop(start + Duration::from_secs(2)), Some('c'));
    }

    #[test]
    fn a_pacer_that_was_held_up_does_not_flood() {
        let start = Instant::now();
        let mut pacer = Pacer::new(100.0, start);
        let late = start + Duration::from_secs(60);
        let burst = (0..1000).filter(|_| pacer.take(late)).count();
        assert_eq!(burst, 21, "0.2 s at 100 a second, and the one that is due");
    }
}
