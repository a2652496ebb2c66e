//! Why requests are refused, and what is told of it.

use std::fmt;
use std::time::Duration;

/// What there is too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Messages wait too long.
    Lag,
    /// A receive queue is half full, or has overflowed.
    Queue,
    /// The tables of requests fill up.
    Requests,
    /// The table of calls fills up.
    Calls,
    /// The media ports run out.
    Ports,
    /// More new requests come than [`Config::new_per_s`](super::Config::new_per_s).
    Rate,
}

impl Reason {
    /// Every reason, in a fixed order.
    pub const ALL: [Reason; 6] =
        [Reason::Lag, Reason::Queue, Reason::Requests, Reason::Calls, Reason::Ports, Reason::Rate];

    /// As counters name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Lag => "lag",
            Reason::Queue => "queue",
            Reason::Requests => "requests",
            Reason::Calls => "calls",
            Reason::Ports => "ports",
            Reason::Rate => "rate",
        }
    }

    /// What it means, and what the operator can do.
    const fn advice(self) -> &'static str {
        match self {
            Reason::Lag => "messages wait longer than overload.lag_ms; add a member",
            Reason::Queue => {
                "messages come faster than they are read; add a member, or raise net.core.rmem_max"
            }
            Reason::Requests => "most places for requests are taken; raise limits.transactions",
            Reason::Calls => "most places for calls are taken; raise limits.sessions",
            Reason::Ports => "few media ports are left; widen media.ports or add an address",
            Reason::Rate => "more come than overload.new_per_s allows",
        }
    }

    /// Its place in [`Reason::ALL`].
    pub(super) const fn place(self) -> usize {
        match self {
            Reason::Lag => 0,
            Reason::Queue => 1,
            Reason::Requests => 2,
            Reason::Calls => 3,
            Reason::Ports => 4,
            Reason::Rate => 5,
        }
    }
}

/// What overload control has to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// The first request has been refused.
    Began {
        /// Why.
        why: Reason,
    },
    /// None has been for a while.
    Ended {
        /// From the first refusal to the last.
        time: Duration,
        /// How many requests have been refused.
        refused: u64,
    },
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Report::Began { why } => write!(
                f,
                "overload ({}): new requests are refused (503), calls in progress go on; {}",
                why.name(),
                why.advice()
            ),
            Report::Ended { time, refused } => {
                let seconds = time.as_secs_f64();
                write!(f, "overload is over: {refused} requests were refused in {seconds:.1} s")
            }
        }
    }
}
