//! A member that has come takes no new work until it knows what the others do.

use std::time::{Duration, Instant};

use super::Membership;
use crate::cluster::{Incarnation, MemberId};

/// How long a member that nobody gives a copy of the registrations is without new work: a hundred times what
/// such a copy takes. A cluster in which all are new has to begin at some time.
pub const JOINING_MAX: Duration = Duration::from_secs(3);

/// Most earlier starts that a process says to be its own: each took a lease to run out or a view without it. What
/// names an older one than these is answered as a dead member's.
pub const CONTINUES_MAX: usize = 8;

/// How far a member has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// No view holds it yet.
    Outside,
    /// One has held it since then.
    Since(Instant),
    /// It takes its part of what is new.
    Over,
}

impl Membership {
    /// This member knows what the others know: their registrations have been copied.
    pub fn handle_copied(&mut self, now: Instant) {
        self.wake(now);
        if self.own.admitted {
            self.own.arrival = Arrival::Over;
        }
        self.settle(now);
    }

    /// Whether this member takes no new work yet.
    #[must_use]
    pub fn is_joining(&self) -> bool {
        self.own.arrival != Arrival::Over
    }

    pub(super) fn settle_arrival(&mut self, now: Instant) {
        if !self.own.admitted {
            self.own.arrival = Arrival::Outside;
            return;
        }
        if self.own.arrival == Arrival::Outside {
            self.own.arrival = Arrival::Since(now);
        }
        let is_alone = self.view.as_ref().is_some_and(|view| view.members.len() == 1);
        if is_alone || self.arrived_by().is_some_and(|at| now >= at) {
            self.own.arrival = Arrival::Over;
        }
    }

    /// When this member takes new work at the latest, if it takes none yet.
    pub(super) fn arrived_by(&self) -> Option<Instant> {
        match self.own.arrival {
            Arrival::Since(at) => Some(at + JOINING_MAX),
            Arrival::Outside | Arrival::Over => None,
        }
    }

    /// The earlier starts of the member with this number that were this process.
    pub(super) fn continues(&self, id: MemberId) -> Vec<Incarnation> {
        let own = self.own.earlier.iter().filter(|earlier| earlier.id == id);
        own.map(|earlier| earlier.incarnation).collect()
    }
}
