//! When a worker waits for packets to come together.
//!
//! Waking up costs more than relaying a packet. At some ten thousand packets a second a worker that
//! wakes for each spends most of its time on that; one that lets them come together for a part of
//! a packet time does not. A worker with little to do need not care, and does not: the window
//! begins when the worker has nothing left to do, so a packet after a longer pause goes at once.

use std::time::{Duration, Instant};

use crate::ring::Gather;

/// Completions that end the wait. More save little further: the wake-up's cost is shared already.
const ENOUGH: usize = 32;
/// Commands come in groups (an offer, its answer, the next call's offer), and who has sent one
/// waits for its event: for so long after one, nothing is made to wait.
const AFTER_COMMAND: Duration = Duration::from_millis(1);

/// Decides for each wait whether it is for several completions.
#[derive(Debug)]
pub(super) struct Gathering {
    window: Duration,
    off_until: Option<Instant>,
}

impl Gathering {
    /// `window` of zero: never.
    pub(super) const fn new(window: Duration) -> Gathering {
        Gathering { window, off_until: None }
    }

    /// A command was carried out.
    pub(super) fn commanded(&mut self, now: Instant) {
        self.off_until = Some(now + AFTER_COMMAND);
    }

    /// What a wait of at most `timeout` that begins now is for.
    pub(super) fn plan(&self, now: Instant, timeout: Duration) -> Option<Gather> {
        let off = self.off_until.is_some_and(|until| now < until);
        let window = self.window.min(timeout);
        (!off && !window.is_zero()).then_some(Gather { completions: ENOUGH, window })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(1);

    #[test]
    fn packets_are_gathered_for_the_window_but_no_longer_than_the_next_timer_allows() {
        let gathering = Gathering::new(WINDOW);
        let now = Instant::now();
        let plan = |timeout| gathering.plan(now, timeout).map(|gather| gather.window);
        assert_eq!(plan(LONG), Some(WINDOW));
        assert_eq!(plan(WINDOW / 2), Some(WINDOW / 2));
        assert_eq!(plan(Duration::ZERO), None);
    }

    #[test]
    fn nothing_waits_for_others_right_after_a_command() {
        let mut gathering = Gathering::new(WINDOW);
        let now = Instant::now();
        gathering.commanded(now);
        assert_eq!(gathering.plan(now + AFTER_COMMAND / 2, LONG), None);
        assert!(gathering.plan(now + AFTER_COMMAND, LONG).is_some());
    }

    #[test]
    fn a_window_of_zero_gathers_nothing() {
        assert_eq!(Gathering::new(Duration::ZERO).plan(Instant::now(), LONG), None);
    }
}
