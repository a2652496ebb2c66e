//! What came of mutated messages.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::mutate::log::Warnings;
use crate::report::{Reasons, Report};

/// Shortest run in seconds whose memory is judged: half of it must outlast the transactions that it
/// began with (64 T1 are 32 s), so that as many end as begin.
const JUDGED_SECONDS_MIN: f64 = 80.0;

/// By how much memory may still grow in the second half of a run: a tenth, for tables that double at
/// another moment, and 16 MiB.
const GROWTH_BYTES_MAX: u64 = 16 << 20;

/// The outcome of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct MutateReport {
    /// What gave these messages: the same seed gives them again.
    pub seed: u64,
    /// Messages that were to be sent.
    pub messages_requested: u64,
    /// Messages that were sent over UDP.
    pub messages_udp: u64,
    /// Messages that were sent over TCP.
    pub messages_tcp: u64,
    /// Messages that the kernel or a closing connection did not take.
    pub messages_refused: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Seconds that it took.
    pub seconds: f64,
    /// What came back, by class of response; `requests` are those that the node passed on.
    pub answers: BTreeMap<&'static str, u64>,
    /// The node runs and answers.
    pub alive: bool,
    /// How the node ended, or why the run did.
    pub ended: Option<String>,
    /// Resident memory of the node in bytes: at the start, and after each tenth. Empty of a node that
    /// was not started here.
    pub resident_bytes: Vec<u64>,
    /// Whether memory was still growing in the second half; `None`: the run was too short to say.
    pub memory_grew: Option<bool>,
    /// Undisturbed calls that were made beside.
    pub calls: u32,
    /// Those that were answered.
    pub calls_answered: u32,
    /// Those that failed, or could not be ended.
    pub calls_failed: u32,
    /// Why: of each refusal the code, the phrase, and Retry-After, Warning and Reason.
    pub call_failures: Reasons,
    /// Users of these calls that could not register.
    pub registrations_failed: u32,
    /// What the node's log warned of, by kind. Empty of a node that was not started here.
    pub node_warnings: Vec<Warnings>,
    /// What its metrics tell: how full its tables were at their fullest, what it refused and dropped.
    /// Empty of a node that was not started here.
    pub node_figures: BTreeMap<String, f64>,
}

impl MutateReport {
    /// Takes over what became of the undisturbed calls.
    pub(super) fn take_calls(&mut self, load: Report) {
        self.calls = load.sessions_requested;
        self.calls_answered = load.sessions_answered;
        self.calls_failed = load.sessions_failed + load.hangups_failed;
        self.registrations_failed = load.registrations_failed;
        self.call_failures = load.failures;
        for reasons in [load.hangup_failures, load.registration_failures] {
            for (reason, count) in reasons {
                *self.call_failures.entry(reason).or_default() += count;
            }
        }
    }

    /// Compares the memory of the second half with that of the first.
    pub(super) fn judge_memory(&mut self) {
        let [first, .., last] = self.resident_bytes[..] else { return };
        if self.seconds < JUDGED_SECONDS_MIN {
            return;
        }
        let half = self.resident_bytes.len().div_ceil(2);
        let before = self.resident_bytes.iter().take(half).copied().max().unwrap_or(first);
        self.memory_grew = Some(last > before + before / 10 + GROWTH_BYTES_MAX);
    }

    /// Whether everything was sent, the node lives, its memory is bounded, and no call failed.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let sent = self.messages_udp + self.messages_tcp + self.messages_refused;
        self.alive
            && self.ended.is_none()
            && sent == self.messages_requested
            && self.memory_grew != Some(true)
            && self.calls_failed == 0
            && self.registrations_failed == 0
            && self.calls_answered == self.calls
    }
}

impl fmt::Display for MutateReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MutateReport { messages_udp: udp, messages_tcp: tcp, .. } = self;
        let rate = (udp + tcp) as f64 / self.seconds.max(0.001);
        writeln!(
            f,
            "messages   {udp} over UDP, {tcp} over TCP ({} connections), {} refused, in {:.1} s ({rate:.0}/s), seed {}",
            self.connections, self.messages_refused, self.seconds, self.seed
        )?;
        write!(f, "answers   ")?;
        for (class, count) in &self.answers {
            write!(f, " {class} {count}")?;
        }
        writeln!(f)?;
        let alive = if self.alive { "alive" } else { "DEAD or silent" };
        writeln!(
            f,
            "node       {alive}{}",
            self.ended.as_ref().map(|why| format!(": {why}")).unwrap_or_default()
        )?;
        let megabytes = self.resident_bytes.iter().map(|bytes| format!(" {}", bytes >> 20));
        let judged = match self.memory_grew {
            Some(true) => "STILL GROWING",
            Some(false) => "bounded",
            None => "not judged: the run was shorter than 80 s, or the node not its own",
        };
        writeln!(f, "RSS (MiB) {} ({judged})", megabytes.collect::<String>())?;
        writeln!(
            f,
            "calls      {} made beside, {} answered, {} failed",
            self.calls, self.calls_answered, self.calls_failed
        )?;
        for (reason, count) in &self.call_failures {
            writeln!(f, "           {count} x {reason}")?;
        }
        for Warnings { count, first } in &self.node_warnings {
            writeln!(f, "warned     {count} x {first}")?;
        }
        for (name, value) in &self.node_figures {
            writeln!(f, "figure     {name} {value}")?;
        }
        writeln!(f, "{}", if self.is_good() { "good" } else { "NOT GOOD" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(seconds: f64, megabytes: &[u64]) -> MutateReport {
        let resident_bytes = megabytes.iter().map(|size| size << 20).collect();
        let mut report =
            MutateReport { seconds, resident_bytes, alive: true, ..Default::default() };
        report.judge_memory();
        report
    }

    #[test]
    fn memory_that_stays_where_it_was_at_half_time_is_bounded() {
        let full = report(100.0, &[10, 60, 100, 150, 190, 200, 200, 200, 201, 210, 215]);
        assert_eq!((full.memory_grew, full.is_good()), (Some(false), true));
        let grows = report(100.0, &[10, 60, 100, 150, 190, 200, 250, 300, 350, 400, 450]);
        assert_eq!((grows.memory_grew, grows.is_good()), (Some(true), false));
        assert_eq!(report(10.0, &[10, 400]).memory_grew, None, "transactions have not ended yet");
        assert_eq!(report(100.0, &[]).memory_grew, None);
    }

    #[test]
    fn a_failed_call_or_a_dead_node_is_not_good() {
        let calm = report(1.0, &[]);
        assert!(calm.is_good());
        assert!(!MutateReport { calls: 1, calls_failed: 1, ..calm.clone() }.is_good());
        assert!(!MutateReport { messages_requested: 1, ..calm.clone() }.is_good());
        assert!(!MutateReport { alive: false, ..calm }.is_good());
    }
}
