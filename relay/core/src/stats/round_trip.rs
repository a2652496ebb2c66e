//! Round-trip times between the relay and a peer, from the RTCP that passes.

use std::time::{Duration, Instant};

use crate::rtcp::ShortNtp;

/// Sender reports that are remembered until their receiver answers. Senders report every few
/// seconds and receivers answer the last one: one is under way, and one more where two sources
/// share a stream.
const REPORTS: usize = 2;
/// The clocks of RTCP tick 65,536 times a second, and senders round: an answer may seem this much
/// earlier than its report.
const ROUNDING: Duration = Duration::from_millis(1);

/// Follows the sender reports that go to one peer.
#[derive(Debug, Default)]
pub(super) struct RoundTrip {
    passed: [Option<(ShortNtp, Instant)>; REPORTS],
    latest: Option<Duration>,
}

impl RoundTrip {
    /// A sender report of that time goes on to the peer.
    pub(super) fn passed(&mut self, now: Instant, report: ShortNtp) {
        self.passed.rotate_right(1);
        self.passed[0] = Some((report, now));
    }

    /// The peer answers the report of that time, which it says it kept for so long (RFC 3550 6.4.1,
    /// with the relay's clock in the place of the sender's).
    pub(super) fn answered(&mut self, now: Instant, report: ShortNtp, kept: ShortNtp) {
        let Some((_, passed)) = self.passed.iter().flatten().find(|(time, _)| *time == report)
        else {
            return;
        };
        let kept = Duration::from_nanos((u64::from(kept) * 1_000_000_000) >> 16);
        let since = now.saturating_duration_since(*passed);
        if kept <= since + ROUNDING {
            self.latest = Some(since.saturating_sub(kept));
        }
    }

    pub(super) fn latest(&self) -> Option<Duration> {
        self.latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start_of_time;

    /// RFC 3550 6.4.1, figure 2: 5.25 s kept.
    #[test]
    fn the_round_trip_is_the_time_since_the_report_less_what_it_was_kept() {
        let (mut trip, now) = (RoundTrip::default(), start_of_time());
        trip.passed(now, 0xb705_2000);
        trip.answered(now + Duration::from_millis(11_375), 0xb705_2000, 0x0005_4000);
        assert_eq!(trip.latest(), Some(Duration::from_millis(6_125)));
    }

    #[test]
    fn an_answer_to_an_unknown_or_forgotten_report_or_from_the_future_says_nothing() {
        let (mut trip, now) = (RoundTrip::default(), start_of_time());
        for report in 1..=3 {
            trip.passed(now, report);
        }
        trip.answered(now, 1, 0);
        trip.answered(now, 9, 0);
        trip.answered(now, 3, 65_536);
        assert_eq!(trip.latest(), None);
        trip.answered(now, 2, 60);
        assert_eq!(trip.latest(), Some(Duration::ZERO));
    }
}
