//! Tells the generator's own limit from that of the node under test.
//!
//! The generator was saturated if any of these held, in which case loss and latency of the run
//! are an upper bound for the node's:
//! - bursts were late by more than [`LATE_US_P99_MAX`] at the 99th percentile,
//! - a media thread was busy for more than [`BUSY_SHARE_MAX`] of the time while all calls were up,
//! - the generator's own sockets dropped datagrams, or its kernel refused to send some.

use crate::report::Report;

/// A quarter of an audio packet's 20 ms: later than that and packets of one stream begin to bunch.
pub const LATE_US_P99_MAX: f64 = 5_000.0;

/// Leaves little room to catch up with a burst; real-time threads are throttled at 0.95.
pub const BUSY_SHARE_MAX: f64 = 0.9;

/// The parts of the rule that hold for `report`, in words; none if the generator kept up.
/// `busiest_share` is the busy share of the busiest media thread.
pub(crate) fn reasons(report: &Report, busiest_share: f64) -> Vec<String> {
    let mut reasons = Vec::new();
    let late = report.generator_late_us.p99;
    if late > LATE_US_P99_MAX {
        reasons.push(format!("1 % of bursts were more than {late:.0} us late"));
    }
    if busiest_share > BUSY_SHARE_MAX {
        reasons.push(format!("a media thread was busy {:.0} % of the time", busiest_share * 100.0));
    }
    if report.generator_receive_drops > 0 {
        reasons.push(format!("its sockets dropped {} datagrams", report.generator_receive_drops));
    }
    if report.generator_send_failures > 0 {
        reasons.push(format!("{} datagrams could not be sent", report.generator_send_failures));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Quantiles;

    #[test]
    fn a_generator_that_keeps_up_is_not_saturated() {
        assert!(reasons(&Report::default(), 0.5).is_empty());
    }

    #[test]
    fn each_part_of_the_rule_is_named() {
        let late = Quantiles { p99: LATE_US_P99_MAX * 2.0, ..Quantiles::default() };
        let report = Report {
            generator_late_us: late,
            generator_receive_drops: 3,
            generator_send_failures: 4,
            ..Report::default()
        };
        let reasons = reasons(&report, 0.99).join("; ");
        for part in ["10000 us late", "99 %", "dropped 3", "4 datagrams could not"] {
            assert!(reasons.contains(part), "{reasons}");
        }
    }
}
