//! What the generator counts.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::media::stats;

/// Reasons of failures that are told apart; beyond, they are counted together.
const REASONS_MAX: usize = 32;

/// The intervals that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Interval {
    /// From when an INVITE was due to its relayed 180.
    InviteRinging,
    /// From when an INVITE was due to its 200, less the time that the callee let it ring.
    InviteOk,
    /// From a BYE to its 200.
    ByeOk,
    /// From when a REGISTER was due to its 200, with a challenge between them if there is one.
    RegisterOk,
}

impl Interval {
    pub(crate) const ALL: [Interval; 4] =
        [Interval::InviteRinging, Interval::InviteOk, Interval::ByeOk, Interval::RegisterOk];

    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Interval::InviteRinging => "invite_180",
            Interval::InviteOk => "invite_200",
            Interval::ByeOk => "bye_200",
            Interval::RegisterOk => "register_200",
        }
    }
}

/// Counters that only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Calls or registrations.
    pub(crate) started: u64,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    /// Calls that were answered.
    pub(crate) answered: u64,
    /// Requests and answers that the generator sent once more because none came in time.
    pub(crate) sent_again: u64,
    /// Messages that came once more.
    pub(crate) came_again: u64,
    /// Registrations that were challenged.
    pub(crate) challenged: u64,
    /// Messages, either way.
    pub(crate) messages_sent: u64,
    pub(crate) messages_received: u64,
    /// Messages that the judge looked at, and that it found wrong.
    pub(crate) judged: u64,
    pub(crate) misjudged: u64,
    /// Messages that belong to nothing that goes on.
    pub(crate) strays: u64,
}

/// Everything that was counted.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) counts: Counts,
    pub(crate) reasons: BTreeMap<String, u64>,
    pub(crate) latency_ns: [Histogram<u64>; Interval::ALL.len()],
    /// How late the generator began what was due.
    pub(crate) late_ns: Histogram<u64>,
    pub(crate) receive_drops: u64,
    pub(crate) send_failures: u64,
    pub(crate) cpu_ns: u64,
}

impl Tally {
    pub(crate) fn new() -> Tally {
        Tally {
            counts: Counts::default(),
            reasons: BTreeMap::new(),
            latency_ns: std::array::from_fn(|_| stats::histogram()),
            late_ns: stats::histogram(),
            receive_drops: 0,
            send_failures: 0,
            cpu_ns: 0,
        }
    }

    pub(crate) fn note(&mut self, interval: Interval, ns: u64) {
        self.latency_ns[interval as usize].saturating_record(ns.max(1));
    }

    pub(crate) fn fail(&mut self, reason: impl Into<String>) {
        self.counts.failed += 1;
        self.remark(reason);
    }

    /// Counts a reason that is no failure by itself.
    pub(crate) fn remark(&mut self, reason: impl Into<String>) {
        let mut reason = reason.into();
        if self.reasons.len() >= REASONS_MAX && !self.reasons.contains_key(&reason) {
            reason = "other".into();
        }
        *self.reasons.entry(reason).or_default() += 1;
    }

    /// Forgets all times, which begin anew.
    pub(crate) fn forget_times(&mut self) {
        self.latency_ns.iter_mut().for_each(Histogram::reset);
        self.late_ns.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_bounded() {
        let mut tally = Tally::new();
        (0..100).for_each(|number| tally.fail(format!("reason {number}")));
        assert_eq!((tally.counts.failed, tally.reasons.len()), (100, REASONS_MAX + 1));
        assert_eq!(tally.reasons["other"], 100 - REASONS_MAX as u64);
    }

    #[test]
    fn intervals_have_a_histogram_each() {
        let mut tally = Tally::new();
        for (at, interval) in Interval::ALL.into_iter().enumerate() {
            assert_eq!(interval as usize, at);
            tally.note(interval, 5);
        }
        assert!(tally.latency_ns.iter().all(|histogram| histogram.len() == 1));
        tally.forget_times();
        assert!(tally.latency_ns.iter().all(Histogram::is_empty));
    }
}
