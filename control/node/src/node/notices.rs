//! Warnings to the operator, few enough to be read: what happens to every call while a table is full
//! or ports are out is said once a period, with how often it happened.

use std::fmt::Display;
use std::time::{Duration, Instant};

use signaling_core::proxy::output::Notice;
use signaling_core::{guard, ng};

/// How often the same kind of warning is logged.
const PERIOD: Duration = Duration::from_secs(1);

/// The same for what a balancer does with each of its pings.
const PINGS: Duration = Duration::from_secs(300);

/// When each kind of warning was logged last.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// As many as there are kinds: a handful.
    kinds: Vec<Kind>,
}

#[derive(Debug)]
struct Kind {
    name: &'static str,
    logged: Instant,
    held_back: u64,
}

impl Notices {
    pub(super) fn proxy(&mut self, now: Instant, notice: &Notice) {
        match notice {
            Notice::MediaRefused { .. } => self.warn(now, "media refused", notice),
            Notice::MediaFamily { .. } => self.warn(now, "media family", notice),
            Notice::TableFull { what, .. } => self.warn(now, what, notice),
            // Each rule tells every ten seconds at most.
            Notice::Guard(guard::Report::Dropped { .. }) => tracing::warn!("{notice}"),
            Notice::Guard(guard::Report::Ban { .. }) => self.warn(now, "ban", notice),
            Notice::NoExit => self.warn(now, "no exit", notice),
            // Twice an overload.
            Notice::Overload(_) => tracing::warn!("{notice}"),
            Notice::NoSuchPing => self.warn_each(PINGS, now, "no such ping", notice),
            // Strangers can cause any number of these.
            Notice::Malformed { .. } => tracing::debug!("{notice}"),
        }
    }

    pub(super) fn ng(&mut self, now: Instant, notice: &ng::Notice) {
        match notice {
            ng::Notice::Refused { .. } => self.warn(now, "ng refused", notice),
            ng::Notice::LifetimeExceeded { .. } => self.warn(now, "ng lifetime", notice),
            ng::Notice::Stranger { .. } | ng::Notice::NoCookie { .. } => {
                tracing::debug!("{notice}")
            }
        }
    }

    fn warn(&mut self, now: Instant, name: &'static str, notice: &dyn Display) {
        self.warn_each(PERIOD, now, name, notice);
    }

    fn warn_each(
        &mut self,
        period: Duration,
        now: Instant,
        name: &'static str,
        notice: &dyn Display,
    ) {
        match self.held_back(period, now, name) {
            Some(0) => tracing::warn!("{notice}"),
            Some(more) => tracing::warn!("{notice} (and {more} more of the kind before)"),
            None => tracing::debug!("{notice}"),
        }
    }

    /// How many of this kind were held back since one was logged; `None`: this one is held back too.
    fn held_back(&mut self, period: Duration, now: Instant, name: &'static str) -> Option<u64> {
        let Some(kind) = self.kinds.iter_mut().find(|kind| kind.name == name) else {
            self.kinds.push(Kind { name, logged: now, held_back: 0 });
            return Some(0);
        };
        if now.saturating_duration_since(kind.logged) < period {
            kind.held_back += 1;
            return None;
        }
        kind.logged = now;
        Some(std::mem::take(&mut kind.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_that_repeats_is_logged_once_a_period_with_how_often() {
        let mut notices = Notices::default();
        let start = Instant::now();
        assert_eq!(notices.held_back(PERIOD, start, "calls"), Some(0));
        for ms in [0, 10, 999] {
            assert_eq!(notices.held_back(PERIOD, start + Duration::from_millis(ms), "calls"), None);
        }
        assert_eq!(notices.held_back(PERIOD, start, "media refused"), Some(0), "another kind");
        assert_eq!(notices.held_back(PERIOD, start + PERIOD, "calls"), Some(3));
        assert_eq!(notices.held_back(PERIOD, start + 2 * PERIOD, "calls"), Some(0));
    }
}
