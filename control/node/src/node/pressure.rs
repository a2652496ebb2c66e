//! Whether the media ports run short: rests that end early are a sign of it before calls are refused.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use relay_core::ports::Usage;
use signaling_core::ng::PortFigures;

/// How often the ports are looked at: it takes some 10 us, and the lock that set-ups need.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often a lack that lasts is logged.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// What was seen of the ports so far.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    looked: Option<Instant>,
    said: Option<Instant>,
    /// Rests that had ended early when that was logged last.
    cut_said: u64,
}

impl Pressure {
    /// Looks at the ports if it is time to, and warns if rests have ended early since the last
    /// warning. Returns what it has seen.
    pub(super) fn look(
        &mut self,
        now: Instant,
        usage: impl FnOnce() -> Vec<(IpAddr, Usage)>,
    ) -> Option<PortFigures> {
        if !is_due(self.looked, now, LOOK_EVERY) {
            return None;
        }
        self.looked = Some(now);
        let usage = usage();
        let figures = sum(&usage);
        if let Some(warning) = self.warning(now, &usage, figures.rests_cut) {
            tracing::warn!("{warning}");
        }
        Some(figures)
    }

    fn warning(&mut self, now: Instant, usage: &[(IpAddr, Usage)], cut: u64) -> Option<String> {
        let more = cut.saturating_sub(self.cut_said);
        if more == 0 || !is_due(self.said, now, SAY_EVERY) {
            return None;
        }
        self.said = Some(now);
        self.cut_said = cut;
        let (address, worst) = usage.iter().max_by_key(|(_, usage)| usage.used)?;
        let Usage { used, resting, free, .. } = worst;
        Some(format!(
            "media ports run short: {more} rests (media.rest_s) ended early, so late packets of an \
             old call may meet a new one; {address} has {used} used, {resting} resting, {free} \
             free; widen media.ports, or add an address to media.addresses"
        ))
    }
}

fn is_due(last: Option<Instant>, now: Instant, every: Duration) -> bool {
    last.is_none_or(|last| now.saturating_duration_since(last) >= every)
}

fn sum(usage: &[(IpAddr, Usage)]) -> PortFigures {
    usage.iter().fold(PortFigures::default(), |sum, (_, usage)| PortFigures {
        used: sum.used + u64::from(usage.used),
        resting: sum.resting + u64::from(usage.resting),
        free: sum.free + u64::from(usage.free),
        rests_cut: sum.rests_cut + usage.rests_cut,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(used: u32, rests_cut: u64) -> Vec<(IpAddr, Usage)> {
        let of = |used, rests_cut| Usage { used, resting: 3, free: 1, rests_cut, oldest: None };
        let [one, two] = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse().expect("an address"));
        vec![(one, of(used, rests_cut)), (two, of(2, 0))]
    }

    #[test]
    fn the_ports_of_all_addresses_are_summed_once_a_second() {
        let mut pressure = Pressure::default();
        let start = Instant::now();
        let seen = PortFigures { used: 12, resting: 6, free: 2, rests_cut: 5 };
        assert_eq!(pressure.look(start, || usage(10, 5)), Some(seen));
        let early = start + LOOK_EVERY - Duration::from_millis(1);
        assert_eq!(pressure.look(early, || unreachable!("it is not time yet")), None);
        assert!(pressure.look(start + LOOK_EVERY, || usage(10, 5)).is_some());
    }

    #[test]
    fn rests_that_end_early_are_logged_once_a_minute_with_the_fullest_address() {
        let mut pressure = Pressure::default();
        let start = Instant::now();
        let mut at = |s, cut| pressure.warning(start + Duration::from_secs(s), &usage(10, 0), cut);
        assert_eq!(at(0, 0), None);
        let said = at(1, 5).expect("a warning");
        assert!(said.contains("5 rests") && said.contains("192.0.2.1 has 10 used"), "{said}");
        assert_eq!(at(2, 5), None);
        assert_eq!(at(60, 9), None);
        assert!(at(61, 9).is_some_and(|said| said.contains("4 rests")));
        assert_eq!(at(200, 9), None);
    }
}
