//! The search for the highest rate that a system relays without loss.

use crate::relaybench::report::Figures;
use crate::relaybench::stop::Stop;

/// Where the search starts, in packets a second: every system should hold this.
pub(crate) const START_PPS: u32 = 40_000;

/// Beyond this no generator on one core goes.
pub(crate) const PPS_MAX: u32 = 2_000_000;

/// Streams of each step: few enough for every system.
pub(crate) const STREAMS: u32 = 1_000;

/// Up to this share counts as no loss: one packet in ten thousand may fall to a hiccup of the
/// machine that is not the system's.
const LOSS_MAX: f64 = 1e-4;

/// Each step up is this much more, until it is too much.
const GROWTH: f64 = 1.25;

/// Then the gap is halved so many times: to 3 % of the rate.
const HALVINGS: u32 = 3;

/// A search in progress: asks for a rate, is told what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    start: u32,
    most: u32,
    unit: &'static str,
    good: Option<u32>,
    bad: Option<u32>,
    halvings: u32,
    limit: Option<String>,
}

impl Search {
    pub(crate) const fn new() -> Search {
        Search::within(START_PPS, PPS_MAX, "packets/s")
    }

    /// From `start` on, up to `most`.
    pub(crate) const fn within(start: u32, most: u32, unit: &'static str) -> Search {
        Search { start, most, unit, good: None, bad: None, halvings: 0, limit: None }
    }

    /// The rate to try next, in packets a second; `None` when the search is over.
    pub(crate) fn next_pps(&self) -> Option<u32> {
        match (self.good, self.bad) {
            (None, None) => Some(self.start),
            (Some(good), None) if good >= self.most => None,
            (Some(good), None) => Some(((f64::from(good) * GROWTH) as u32).min(self.most)),
            (None, Some(bad)) if bad < self.start / 20 => None,
            (None, Some(bad)) => Some(bad / 2),
            (Some(_), Some(_)) if self.halvings >= HALVINGS => None,
            (Some(good), Some(bad)) => Some(u32::midpoint(good, bad)),
        }
    }

    /// Notes what became of `pps`.
    pub(crate) fn note(&mut self, pps: u32, outcome: Result<&Figures, String>) {
        self.note_why(pps, why_too_much(outcome));
    }

    /// The same in other words: why `rate` was too much, or `None`.
    pub(crate) fn note_why(&mut self, pps: u32, why: Option<String>) {
        if self.good.is_some() && self.bad.is_some() {
            self.halvings += 1;
        }
        match why {
            None => self.good = Some(pps),
            Some(why) => {
                self.bad = Some(pps);
                self.limit = Some(format!("{pps} {}: {why}", self.unit));
            }
        }
    }

    /// Searches to the end: `why_too_much` measures at a rate and says what was wrong, if anything was. What
    /// is broken off has found nothing.
    pub(crate) fn run(
        mut self,
        stop: &Stop,
        mut why_too_much: impl FnMut(u32) -> Option<String>,
    ) -> (Option<u32>, Option<String>) {
        while let Some(rate) = self.next_pps() {
            if stop.is_set() {
                return (None, None);
            }
            self.note_why(rate, why_too_much(rate));
        }
        self.result()
    }

    /// The highest rate without loss that was seen, and what was wrong with the next.
    pub(crate) fn result(self) -> (Option<u32>, Option<String>) {
        (self.good, self.limit)
    }
}

fn why_too_much(outcome: Result<&Figures, String>) -> Option<String> {
    let figures = match outcome {
        Ok(figures) => figures,
        Err(why) => return Some(why),
    };
    if let Some(why) = figures.generator.saturated_because.first() {
        return Some(format!("the generator was at its limit: {why}"));
    }
    let (loss, busy) = (figures.loss * 100.0, figures.core.busy_share * 100.0);
    (figures.loss > LOSS_MAX).then(|| format!("{loss:.3} % lost, core busy {busy:.0} %"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches a system that holds up to `limit`.
    fn search(limit: u32) -> (Option<u32>, u32) {
        let (mut search, mut steps) = (Search::new(), 0);
        while let Some(pps) = search.next_pps() {
            let loss = if pps <= limit { 0.0 } else { 0.01 };
            search.note(pps, Ok(&Figures { loss, ..Figures::default() }));
            steps += 1;
        }
        (search.result().0, steps)
    }

    #[test]
    fn the_limit_is_found_from_below_within_a_few_percent() {
        for limit in [45_000, 52_000, 100_000, 250_000] {
            let (found, steps) = search(limit);
            let found = found.unwrap();
            assert!(
                found <= limit && f64::from(found) > 0.93 * f64::from(limit),
                "{limit}: {found}"
            );
            assert!(steps < 20, "{limit}: {steps} steps");
        }
        assert_eq!(search(PPS_MAX * 2).0, Some(PPS_MAX));
    }

    #[test]
    fn a_system_that_relays_nothing_ends_the_search_too() {
        assert_eq!(search(0).0, None);
    }

    #[test]
    fn the_generators_limit_is_not_taken_for_the_systems() {
        let mut figures = Figures::default();
        figures.generator.saturated_because.push("it was late".into());
        let mut search = Search::new();
        search.note(START_PPS, Ok(&figures));
        assert!(search.result().1.unwrap().contains("the generator was at its limit"));
    }
}
