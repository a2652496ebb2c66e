//! Under load messages are let come together, so that they share a wake-up of the signaling thread,
//! its system calls and the interrupts that sending makes.
//!
//! At some thousand messages a second a wake-up for each costs more than what is done for it. So while
//! messages come that fast the thread sleeps for a window between its turns; what comes meanwhile is
//! handled in one turn and leaves in one batch. A message adds little to that: it waits for half a
//! window on average, and an answer that comes at once for a whole one. Whoever sends one message and waits for its answer before the next would wait
//! for a window each time: a few windows that bring next to nothing end the gathering, and it is not
//! tried again for a while that doubles with each time in vain.

use std::time::{Duration, Instant};

/// Messages that make a window worth its while, on average.
const WORTH: f64 = 2.0;

/// Messages that a window is to bring: the cost of a wake-up that so many share is small beside their
/// own. Where they come faster, the window is shorter than the longest, so that a call's set-up takes
/// no longer than it has to.
const WANTED: f64 = 4.0;

/// The shortest window, as a part of the longest: at a still higher rate turns take so long that
/// messages come together by themselves.
const SHORTEST: u32 = 4;

/// Messages of one turn after which more may be waiting already: a batch of a UDP socket.
const FULL: usize = 32;

/// How long messages are counted before it is judged whether they come fast enough: messages of few
/// calls come unevenly.
const PERIOD: Duration = Duration::from_millis(10);

/// How long gathering rests after it was in vain, the first time and at most.
const REST_MIN: Duration = Duration::from_millis(20);
const REST_MAX: Duration = Duration::from_secs(1);

/// Whether and how long to let messages come together.
#[derive(Debug)]
pub(super) struct Gather {
    /// The longest; zero: never.
    longest: Duration,
    /// The one that is worth its while at the present rate, if any is.
    window: Option<Duration>,
    /// Messages are counted from here on; until then it rests.
    since: Instant,
    messages: usize,
    rest: Duration,
}

impl Gather {
    pub(super) const fn new(now: Instant, longest: Duration) -> Gather {
        Gather { longest, window: None, since: now, messages: 0, rest: REST_MIN }
    }

    /// Whether messages come so fast that they are let come together.
    pub(super) const fn is_on(&self) -> bool {
        self.window.is_some()
    }

    /// A turn has handled so many messages, and so many that another member has relayed. How long to sleep
    /// before the next; `None`: not at all.
    pub(super) fn after(
        &mut self,
        now: Instant,
        messages: usize,
        relayed: usize,
    ) -> Option<Duration> {
        let handled = messages + relayed;
        // A turn without messages was for something else, and messages may be waiting.
        if self.longest.is_zero() || handled == 0 {
            return None;
        }
        let time = now.checked_duration_since(self.since)?;
        // What was relayed has waited for another member's window before: it counts twice, so that windows
        // are shorter, and two of them hardly longer than one.
        self.messages += handled + relayed;
        if time >= PERIOD.max(self.longest) {
            self.judge(now, time);
        }
        self.window.filter(|_| handled < FULL)
    }

    fn judge(&mut self, now: Instant, time: Duration) {
        let windows = time.as_secs_f64() / self.longest.as_secs_f64();
        let each = self.messages as f64 / windows;
        (self.since, self.messages) = (now, 0);
        let window = (each >= WORTH).then(|| {
            let window = self.longest.mul_f64((WANTED / each).min(1.0));
            window.max(self.longest / SHORTEST)
        });
        match (self.window, window) {
            (Some(_), None) => {
                self.since = now + self.rest;
                self.rest = (self.rest * 2).min(REST_MAX);
            }
            // It has been worth its while: what comes to a stop later is another matter.
            (Some(_), Some(_)) => self.rest = REST_MIN,
            (None, _) => {}
        }
        self.window = window;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_millis(1);

    /// Takes turns for `time`, each `every` and with `handled` messages, and returns how many of them
    /// were followed by sleep.
    fn slept(
        gather: &mut Gather,
        now: &mut Instant,
        time: Duration,
        every: Duration,
        handled: usize,
    ) -> usize {
        let end = *now + time;
        let mut slept = 0;
        while *now < end {
            *now += every;
            slept += usize::from(gather.after(*now, handled, 0).is_some());
        }
        slept
    }

    #[test]
    fn few_messages_go_at_once_and_many_are_let_come_together() {
        let mut now = Instant::now();
        let mut gather = Gather::new(now, WINDOW);
        let second = Duration::from_secs(1);
        assert_eq!(slept(&mut gather, &mut now, second, Duration::from_millis(2), 1), 0);
        // 3,000 a second, one a turn: gathering begins within two periods, and goes on.
        let before = slept(&mut gather, &mut now, 2 * PERIOD, Duration::from_micros(333), 1);
        assert!(before > 0);
        assert_eq!(slept(&mut gather, &mut now, second, WINDOW, 3), 1_000);
        assert_eq!(gather.after(now, 3, 0), Some(WINDOW));
        assert_eq!(gather.after(now, FULL, 0), None, "more are waiting already");
        assert_eq!(gather.after(now, 0, 0), None, "the turn was for something else");
    }

    /// So that a call's set-up takes no longer for it than it has to.
    #[test]
    fn the_faster_messages_come_the_shorter_is_the_window() {
        let window_at = |messages: usize| {
            let mut now = Instant::now();
            let mut gather = Gather::new(now, WINDOW);
            slept(&mut gather, &mut now, 4 * PERIOD, WINDOW, messages);
            gather.after(now, 1, 0).unwrap()
        };
        assert_eq!(window_at(4), WINDOW);
        let half = window_at(8);
        assert!(half > WINDOW * 4 / 10 && half < WINDOW * 6 / 10, "{half:?}");
        assert_eq!(window_at(31), WINDOW / SHORTEST);
    }

    /// So that a message that passes two members does not wait twice as long.
    #[test]
    fn what_another_member_has_relayed_makes_the_window_shorter() {
        let mut now = Instant::now();
        let mut gather = Gather::new(now, WINDOW);
        for _ in 0..40 {
            now += WINDOW;
            gather.after(now, 2, 2);
        }
        let window = gather.after(now, 1, 0).unwrap();
        assert!(window > WINDOW * 6 / 10 && window < WINDOW * 7 / 10, "{window:?}");
        assert_eq!(gather.after(now, 0, FULL), None, "more are waiting already");
        assert!(gather.after(now, 0, 1).is_some(), "it is gathered, too");
    }

    #[test]
    fn messages_that_come_unevenly_are_let_come_together_all_the_same() {
        let mut now = Instant::now();
        let mut gather = Gather::new(now, WINDOW);
        let mut slept = 0;
        for _ in 0..1_000 {
            now += 4 * WINDOW;
            slept += usize::from(gather.after(now, 9, 0).is_some());
        }
        assert!(slept > 990, "{slept}");
    }

    /// One request after the other, each a third of a millisecond after its answer if nothing is
    /// gathered: the windows in vain become rare.
    #[test]
    fn who_waits_for_each_answer_is_hardly_ever_kept_waiting() {
        let mut now = Instant::now();
        let mut gather = Gather::new(now, WINDOW);
        let (mut turns, mut slept) = (0, 0);
        for _ in 0..30_000 {
            turns += 1;
            now += Duration::from_micros(300);
            if let Some(window) = gather.after(now, 1, 0) {
                now += window;
                slept += 1;
            }
        }
        assert!(slept * 100 < turns, "{slept} of {turns}");
    }

    #[test]
    fn a_window_of_zero_is_never_waited_for() {
        let mut now = Instant::now();
        let mut gather = Gather::new(now, Duration::ZERO);
        let every = Duration::from_micros(10);
        assert_eq!(slept(&mut gather, &mut now, Duration::from_millis(50), every, 30), 0);
    }
}
