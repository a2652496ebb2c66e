//! Overload control: more is asked of the node than it can do, so some is refused early (503 with
//! Retry-After), cheaply and without a trace, and the rest is done in time.
//!
//! Refused is what is new, strangers' first and then that of sources that have shown right credentials
//! or are trusted; what belongs to a dialog follows only when that is not enough; what ends something (ACK, CANCEL, BYE), responses, repetitions of what was taken and emergency calls
//! are always taken. How much is refused follows from how long messages wait, how full the tables are
//! and how many media ports are left. Which requests are refused is decided by the keyed hash of
//! their transaction: a repetition fares as the first time, and nobody outside can choose.
//!
//! Inputs: [`Overload::handle_sample`], [`Overload::admit`]. Outputs: [`Overload::poll_report`].

mod config;
mod report;
mod share;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use crate::guard::rate::Rate;

pub use config::Config;
pub use report::{Reason, Report};
use share::Shares;

/// What kind of request wants to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// It ends something: always taken.
    Ending,
    /// An emergency call. Of a stranger's a limited number come first ([`Config::emergency_per_s`]).
    Emergency {
        /// Its source is one whose word is taken.
        trusted: bool,
    },
    /// It belongs to a dialog.
    InDialog,
    /// Anything that is new.
    New {
        /// It is a call.
        is_call: bool,
        /// Its source has shown right credentials lately, or is trusted.
        is_known: bool,
    },
}

/// How full the tables are, 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fill {
    /// Of requests: the fullest of them.
    pub requests: f64,
    /// Of calls.
    pub calls: f64,
}

/// What was measured since the last sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// How long the oldest message of each turn waited, the least of all turns: bursts come to an end,
    /// a standing queue does not.
    pub lag: Duration,
    /// How full the fullest receive queue is, 0 to 1.
    pub queue: f64,
    /// Messages were lost because a receive queue was full.
    pub lost: bool,
    /// The share of media ports that is left, 0 to 1; `None`: not looked at.
    pub ports_left: Option<f64>,
}

/// Whether a request is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is.
    Take,
    /// It is answered 503 with this Retry-After.
    Refuse {
        /// Whole seconds.
        retry_after: Duration,
    },
    /// It is not even answered.
    Drop,
}

/// A queue that is that full is as bad as one that waits too long: it overflows next.
const QUEUE_FULL: f64 = 0.5;
/// How late a node is taken to be that loses messages, as a multiple of what is too late.
const LOST_STRAIN: f64 = 2.0;
/// Refusals a second that are answered, and that may be at once: 1 % of a core. More are dropped;
/// their senders repeat them later (RFC 3261 17.1.1.2).
const ANSWERS_PER_S: u32 = 10_000;
/// Refused transactions that are remembered, so that a repetition is not taken after all: those of
/// half a second, after which most clients have had their answer; 32 KiB.
const REMEMBERED: usize = 4_096;
/// An overload is over when nothing was refused for that long.
const OVER_AFTER: Duration = Duration::from_secs(5);
const SECOND: u64 = 1_000_000_000;

/// The overload control of one node.
pub struct Overload {
    config: Config,
    epoch: Instant,
    shares: Shares,
    why: Reason,
    ports_left: f64,
    sampled: Instant,
    new: Rate,
    new_bucket: u64,
    emergency: Rate,
    emergency_bucket: u64,
    answers: Rate,
    answers_bucket: u64,
    remembered: Box<[u64; REMEMBERED]>,
    refused: [u64; Reason::ALL.len()],
    emergencies: u64,
    unanswered: u64,
    /// Since when requests are refused, and how many had been before.
    began: Option<(Instant, u64)>,
    last: Instant,
    report: Option<Report>,
}

impl Overload {
    /// No load yet at `now`.
    #[must_use]
    pub fn new(now: Instant, config: Config) -> Self {
        Overload {
            epoch: now,
            shares: Shares::ALL,
            why: Reason::Lag,
            ports_left: 1.0,
            sampled: now,
            new: Rate::new(config.new_per_s, config.new_per_s.div_ceil(10)),
            new_bucket: 0,
            emergency: Rate::new(config.emergency_per_s, config.emergency_per_s),
            emergency_bucket: 0,
            answers: Rate::new(ANSWERS_PER_S, ANSWERS_PER_S),
            answers_bucket: 0,
            remembered: Box::new([0; REMEMBERED]),
            refused: [0; Reason::ALL.len()],
            emergencies: 0,
            unanswered: 0,
            began: None,
            last: now,
            report: None,
            config,
        }
    }

    /// Every tenth of a second or so, as long as messages come or [`Overload::is_on`].
    pub fn handle_sample(&mut self, now: Instant, sample: &Sample) {
        let since = now.saturating_duration_since(self.sampled);
        self.sampled = now;
        if let Some(left) = sample.ports_left {
            self.ports_left = left;
        }
        let late = sample.lag.as_secs_f64() / self.config.lag.as_secs_f64().max(1e-3);
        let (strain, why) = if sample.lost {
            (LOST_STRAIN.max(late), Reason::Queue)
        } else if sample.queue / QUEUE_FULL > late {
            (sample.queue / QUEUE_FULL, Reason::Queue)
        } else {
            (late, Reason::Lag)
        };
        if strain > 1.0 {
            self.why = why;
        }
        self.shares.adjust(strain, since);
        self.end_if_over(now);
    }

    /// Whether nothing is refused at present, so that [`Overload::admit`] need not be asked.
    #[must_use]
    pub fn takes_all(&self, fill: Fill) -> bool {
        let limit = f64::from(self.config.tables) / 100.0;
        let is_calm = !self.is_on() && fill.requests <= limit && fill.calls <= limit;
        let has_ports = self.ports_left * 100.0 >= f64::from(self.config.ports);
        !self.config.enabled || (is_calm && has_ports && self.config.new_per_s == 0)
    }

    /// Whether a new transaction is made for a request. `hash`: the keyed hash of the transaction.
    pub fn admit(&mut self, now: Instant, rank: Rank, fill: Fill, hash: u64) -> Admission {
        if !self.config.enabled {
            return Admission::Take;
        }
        let at = self.at(now);
        let (share, why) = match rank {
            Rank::Ending => return Admission::Take,
            Rank::InDialog => (self.shares.dialog, self.why),
            Rank::Emergency { trusted } => {
                if trusted || self.emergency.take(&mut self.emergency_bucket, at) {
                    self.emergencies += 1;
                    return Admission::Take;
                }
                self.share_of_new(true, trusted, fill)
            }
            Rank::New { is_call, is_known } => self.share_of_new(is_call, is_known, fill),
        };
        let is_new = rank != Rank::InDialog;
        let place = hash as usize % REMEMBERED;
        let again = self.began.is_some() && self.remembered[place] == hash;
        let fraction = (hash >> 11) as f64 / (1_u64 << 53) as f64;
        let why = if fraction >= share || again {
            why
        } else if is_new && self.is_beyond_rate(at) {
            Reason::Rate
        } else {
            return Admission::Take;
        };
        self.remembered[place] = hash;
        self.refuse(now, at, why, hash)
    }

    /// Whether requests are being refused, or have just been.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.began.is_some() || self.shares != Shares::ALL
    }

    /// The share of strangers' new requests that is taken as far as lag goes, 0 to 1.
    #[must_use]
    pub const fn share(&self) -> f64 {
        self.shares.new
    }

    /// Requests refused so far, by the place in [`Reason::ALL`].
    #[must_use]
    pub const fn refused(&self) -> [u64; Reason::ALL.len()] {
        self.refused
    }

    /// Those of them that were not answered.
    #[must_use]
    pub const fn unanswered(&self) -> u64 {
        self.unanswered
    }

    /// Requests that were taken as emergencies while others may have been refused.
    #[must_use]
    pub const fn emergencies(&self) -> u64 {
        self.emergencies
    }

    /// What was told once.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// What there is to tell.
    pub const fn poll_report(&mut self) -> Option<Report> {
        self.report.take()
    }

    /// The smallest of the shares that apply, and why.
    fn share_of_new(&self, is_call: bool, is_known: bool, fill: Fill) -> (f64, Reason) {
        let limit = f64::from(self.config.tables) / 100.0;
        let ports = f64::from(self.config.ports.max(1)) / 100.0;
        let share = if is_known { self.shares.known } else { self.shares.new };
        let mut least = (share, self.why);
        let mut consider = |share: f64, why| {
            if share < least.0 {
                least = (share, why);
            }
        };
        consider(share::of_table(fill.requests, limit), Reason::Requests);
        if is_call {
            consider(share::of_table(fill.calls, limit), Reason::Calls);
            consider((self.ports_left / ports).clamp(0.0, 1.0), Reason::Ports);
        }
        least
    }

    fn is_beyond_rate(&mut self, at: u64) -> bool {
        self.config.new_per_s > 0 && !self.new.take(&mut self.new_bucket, at)
    }

    fn refuse(&mut self, now: Instant, at: u64, why: Reason, hash: u64) -> Admission {
        if self.began.is_none() {
            self.began = Some((now, self.refused.iter().sum()));
            self.report = Some(Report::Began { why });
        }
        self.last = now;
        self.refused[why.place()] += 1;
        if !self.answers.take(&mut self.answers_bucket, at) {
            self.unanswered += 1;
            return Admission::Drop;
        }
        Admission::Refuse { retry_after: self.retry_after(hash) }
    }

    /// Between once and twice the setting: those who are refused together do not come back together.
    fn retry_after(&self, hash: u64) -> Duration {
        let least = self.config.retry_after.as_secs().max(1);
        Duration::from_secs(least + hash % (least + 1))
    }

    fn end_if_over(&mut self, now: Instant) {
        let Some((began, before)) = self.began else { return };
        if now.saturating_duration_since(self.last) < OVER_AFTER || self.shares != Shares::ALL {
            return;
        }
        self.began = None;
        let refused = self.refused.iter().sum::<u64>() - before;
        let time = self.last.saturating_duration_since(began);
        self.report = Some(Report::Ended { time, refused });
    }

    /// Never zero, which stands for the past.
    fn at(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.epoch).as_nanos();
        u64::try_from(since).unwrap_or(u64::MAX / 4) + SECOND
    }
}
