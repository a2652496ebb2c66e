//! How late the signaling thread is, measured ten times a second.

use std::time::{Duration, Instant};

use signaling_core::ng::PortFigures;
use signaling_core::overload::Sample;
use signaling_net::Backlog;

/// The time that a sample stands for: the fifth part of what phones wait before they repeat
/// themselves.
const EVERY: Duration = Duration::from_millis(100);

/// What is measured of a sample that has begun.
#[derive(Debug)]
pub(super) struct Strain {
    since: Instant,
    /// The least of the turns so far: a burst comes to an end, a standing queue does not.
    lag: Option<Duration>,
    last_lag: Duration,
    lost: u64,
    ports_left: Option<f64>,
}

impl Strain {
    pub(super) const fn new(now: Instant) -> Strain {
        Strain { since: now, lag: None, last_lag: Duration::ZERO, lost: 0, ports_left: None }
    }

    /// When a sample is to be taken, at the latest, while there is overload.
    pub(super) fn due(&self) -> Instant {
        self.since + EVERY
    }

    /// The lag of the last sample.
    pub(super) const fn lag(&self) -> Duration {
        self.last_lag
    }

    /// Datagrams lost for want of room in a receive queue.
    pub(super) const fn lost(&self) -> u64 {
        self.lost
    }

    /// The media ports have been counted.
    pub(super) fn note_ports(&mut self, figures: PortFigures) {
        let all = figures.used + figures.resting + figures.free;
        // Ports that rest are given out before calls are refused.
        let left = figures.resting + figures.free;
        self.ports_left = (all > 0).then(|| left as f64 / all as f64);
    }

    /// A turn begins whose oldest message has waited for `lag`; a sample, if it is time for one.
    pub(super) fn turn(
        &mut self,
        now: Instant,
        lag: Duration,
        backlog: impl FnOnce() -> Backlog,
    ) -> Option<Sample> {
        let least = self.lag.map_or(lag, |least| least.min(lag));
        self.lag = Some(least);
        if now.saturating_duration_since(self.since) < EVERY {
            return None;
        }
        let backlog = backlog();
        let lost = backlog.lost > self.lost;
        (self.since, self.lag, self.last_lag, self.lost) = (now, None, least, backlog.lost);
        Some(Sample { lag: least, queue: backlog.full, lost, ports_left: self.ports_left.take() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn one_late_turn_is_not_told_and_lateness_that_lasts_is() {
        let start = Instant::now();
        let mut strain = Strain::new(start);
        let nothing = || unreachable!("it is not time yet");
        assert_eq!(strain.turn(start + 10 * MS, 300 * MS, nothing), None);
        assert_eq!(strain.turn(start + 20 * MS, 2 * MS, nothing), None);
        let backlog = Backlog { full: 0.25, lost: 7 };
        let sample = strain.turn(start + 110 * MS, 200 * MS, || backlog).expect("a sample");
        assert_eq!((sample.lag, sample.queue, sample.lost), (2 * MS, 0.25, true));
        let sample = strain.turn(start + 250 * MS, 200 * MS, || backlog).expect("a sample");
        assert_eq!((sample.lag, sample.lost, sample.ports_left), (200 * MS, false, None));
    }

    #[test]
    fn ports_that_rest_are_left() {
        let mut strain = Strain::new(Instant::now());
        strain.note_ports(PortFigures { used: 90, resting: 6, free: 4, rests_cut: 0 });
        assert_eq!(strain.ports_left, Some(0.1));
    }
}
