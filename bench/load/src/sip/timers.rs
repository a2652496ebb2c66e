//! The timers of RFC 3261 17, derived from T1.

use std::time::Duration;

/// Default estimate of the round trip (RFC 3261 table 4).
pub(crate) const T1_DEFAULT: Duration = Duration::from_millis(500);

/// T2 and T4 as multiples of T1 (RFC 3261 table 4: 0.5 s, 4 s and 5 s).
const T2_PER_T1: u32 = 8;
const T4_PER_T1: u32 = 10;

/// Timers B, F, H and J are all 64*T1.
const TIMEOUT_PER_T1: u32 = 64;

/// T1 and what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timers {
    pub(crate) t1: Duration,
}

impl Timers {
    /// The longest time between retransmissions of anything but an INVITE.
    pub(crate) fn t2(self) -> Duration {
        self.t1 * T2_PER_T1
    }

    /// How long a message stays in the network.
    pub(crate) fn t4(self) -> Duration {
        self.t1 * T4_PER_T1
    }

    /// When a transaction gives up (timers B, F, H), and how long it remembers (D, J, M, L).
    pub(crate) fn timeout(self) -> Duration {
        self.t1 * TIMEOUT_PER_T1
    }
}
