//! Stretches of time in which something was so.

use std::time::Instant;

#[derive(Debug, Default)]
pub(in crate::farm) struct Times {
    past: Vec<(Instant, Instant)>,
    since: Option<Instant>,
}

impl Times {
    /// From now on it is so, or not.
    pub(in crate::farm) fn set(&mut self, now: Instant, is_so: bool) {
        match (self.since, is_so) {
            (None, true) => self.since = Some(now),
            (Some(since), false) => {
                self.past.push((since, now));
                self.since = None;
            }
            (None, false) | (Some(_), true) => {}
        }
    }

    /// Whether it was so at any time between the two, both included.
    pub(in crate::farm) fn touch(&self, from: Instant, until: Instant) -> bool {
        self.since.is_some_and(|since| since <= until)
            || self.past.iter().any(|(begin, end)| *begin <= until && from <= *end)
    }
}
