//! What one measurement has, whatever is measured.

use std::time::Duration;

use serde::Serialize;

use crate::relaybench::cpu::Spent;

/// The generator was at its limit if one in a hundred of what it did was later than this: an eighth
/// of G.711's packet time.
const LATE_US_P99_MAX: f64 = 2_500.0;

/// Or if its thread was busy for more than this share of the time: real-time threads are throttled
/// at 0.95.
const BUSY_SHARE_MAX: f64 = 0.93;

/// Or if it did less than this share of what was asked for.
const DONE_SHARE_MIN: f64 = 0.98;

/// With more of the busy time of the core under test than this known to be of other programs or of the
/// hypervisor, the machine is not quiet: the costs may be theirs by that share, at any rate.
const FOREIGN_SHARE_MAX: f64 = 0.03;

/// Nor with more than this taken on all cores together. The generator goes before them where they
/// share its core, but caches and memory are everybody's.
const FOREIGN_CORES_MAX: f64 = 0.1;

/// How long the parts of a cell take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// Load before the figures count: peers are learned, caches fill.
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

impl Timing {
    /// The same, but no part longer than in `most`.
    pub(crate) fn at_most(self, most: Timing) -> Timing {
        Timing {
            warm_up: self.warm_up.min(most.warm_up),
            measured: self.measured.min(most.measured),
        }
    }
}

/// How the core of the system under test fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct CoreFigures {
    /// Share of the time that it was busy.
    #[serde(rename = "core_busy_share")]
    pub busy_share: f64,
    /// Share of the time that the hypervisor took away from it.
    pub steal_share: f64,
    /// Processor time of everything else on the machine, in cores: how quiet it was.
    pub foreign_cores: f64,
    /// The part of its busy time that other programs, as far as they are still there, and the
    /// hypervisor took.
    pub foreign_share: f64,
}

impl CoreFigures {
    pub(crate) fn of(spent: &Spent) -> CoreFigures {
        let foreign_ns = spent.foreign_on_core_ns + spent.steal_ns;
        CoreFigures {
            busy_share: share(spent, spent.busy_ns),
            steal_share: share(spent, spent.steal_ns),
            foreign_cores: share(spent, spent.foreign_ns),
            foreign_share: foreign_ns as f64 / spent.busy_ns.max(1) as f64,
        }
    }

    /// Whether what was measured is the system's own.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.foreign_cores <= FOREIGN_CORES_MAX && self.foreign_share <= FOREIGN_SHARE_MAX
    }
}

/// `ns` as a share of the time that was measured.
pub(crate) fn share(spent: &Spent, ns: u64) -> f64 {
    ns as f64 / spent.wall_ns.max(1) as f64
}

/// How the generator fared.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GeneratorFigures {
    /// Busy share of its busiest thread.
    pub busy_share: f64,
    /// How late it was after its own schedule, 99th percentile.
    pub late_us_p99: f64,
    /// Why failures, loss and latency may be its own; empty if it kept up.
    pub saturated_because: Vec<String>,
}

/// What the generator did of what it was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) busy_share: f64,
    pub(crate) late_us_p99: f64,
    /// Of what it was to begin.
    pub(crate) done_share: f64,
    /// What its sockets had no room for.
    pub(crate) receive_drops: u64,
    /// What the kernel did not take.
    pub(crate) send_failures: u64,
}

/// What a generator's figures are about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    /// What is late: "bursts".
    pub(crate) begun: &'static str,
    /// What it does with a load: "sent".
    pub(crate) did: &'static str,
    /// What its sockets carry: "packets".
    pub(crate) carried: &'static str,
}

impl Effort {
    /// Judges whether it kept up.
    pub(crate) fn judge(self, words: Words) -> GeneratorFigures {
        let Effort { busy_share, late_us_p99, done_share, receive_drops, send_failures } = self;
        let Words { begun, did, carried } = words;
        let reasons = [
            (
                late_us_p99 > LATE_US_P99_MAX,
                format!("1 % of {begun} were over {late_us_p99:.0} us late"),
            ),
            (
                busy_share > BUSY_SHARE_MAX,
                format!("it was busy {:.0} % of the time", busy_share * 100.0),
            ),
            (
                done_share < DONE_SHARE_MIN,
                format!("it {did} {:.0} % of the load", done_share * 100.0),
            ),
            (receive_drops > 0, format!("its sockets dropped {receive_drops} {carried}")),
            (send_failures > 0, format!("{send_failures} {carried} could not be sent")),
        ];
        let saturated_because = reasons.into_iter().filter(|(is, _)| *is).map(|(_, why)| why);
        GeneratorFigures { busy_share, late_us_p99, saturated_because: saturated_because.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 0.02 cores are nothing beside a busy core, and all of an idle one's cost.
    #[test]
    fn quiet_is_what_leaves_the_cost_to_the_system() {
        let quiet = |foreign_cores, foreign_share| {
            CoreFigures { foreign_cores, foreign_share, ..CoreFigures::default() }.is_quiet()
        };
        assert!(quiet(0.05, 0.01));
        assert!(!quiet(0.02, 0.2), "most of what ran on the core was not the system");
        assert!(!quiet(0.5, 0.0), "half of the other core");
    }

    #[test]
    fn each_limit_of_the_generator_is_named() {
        const WORDS: Words = Words { begun: "bursts", did: "sent", carried: "packets" };
        let fine = Effort {
            busy_share: 0.5,
            late_us_p99: 100.0,
            done_share: 1.0,
            receive_drops: 0,
            send_failures: 0,
        };
        assert!(fine.judge(WORDS).saturated_because.is_empty());
        for (effort, why) in [
            (Effort { late_us_p99: 3_000.0, ..fine }, "1 % of bursts were over 3000 us late"),
            (Effort { busy_share: 0.95, ..fine }, "it was busy 95 % of the time"),
            (Effort { done_share: 0.5, ..fine }, "it sent 50 % of the load"),
            (Effort { receive_drops: 3, ..fine }, "its sockets dropped 3 packets"),
            (Effort { send_failures: 4, ..fine }, "4 packets could not be sent"),
        ] {
            assert_eq!(effort.judge(WORDS).saturated_because, [why]);
        }
    }
}
