//! How large a share of requests is taken: cut in proportion to how late the node is, and raised again
//! step by step (additive increase, multiplicative decrease).

use std::time::Duration;

/// Never none: whatever is wrong, some requests show whether it still is.
const LEAST: f64 = 0.02;
/// The most and the least that is left of a share by one cut.
const CUT: (f64, f64) = (0.5, 0.9);
/// What a tenth of a second of calm adds.
const STEP: f64 = 0.05;
/// Calm begins at half of what is too late, so that a share does not swing about the limit.
const CALM: f64 = 0.5;

/// The shares of requests of three ranks: those of the lowest one are refused first, and those of the
/// next only once that was not enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shares {
    /// Of strangers' requests outside of a dialog.
    pub(super) new: f64,
    /// Of such requests of sources that are known.
    pub(super) known: f64,
    /// Of requests within one.
    pub(super) dialog: f64,
}

impl Shares {
    pub(super) const ALL: Shares = Shares { new: 1.0, known: 1.0, dialog: 1.0 };

    /// `strain`: how much there is of what 1.0 is too much of; `since`: the time that it stands for.
    pub(super) fn adjust(&mut self, strain: f64, since: Duration) {
        if strain > 1.0 {
            let left = (1.0 / strain).clamp(CUT.0, CUT.1);
            let lower = [&mut self.new, &mut self.known].into_iter().find(|share| **share > LEAST);
            let share = lower.unwrap_or(&mut self.dialog);
            *share = (*share * left).max(LEAST);
        } else if strain < CALM {
            let step = STEP * since.as_secs_f64() * 10.0;
            let higher =
                [&mut self.dialog, &mut self.known].into_iter().find(|share| **share < 1.0);
            let share = higher.unwrap_or(&mut self.new);
            *share = (*share + step).min(1.0);
        }
    }
}

/// Kept back in each table for emergencies and for what is within a dialog, as a share of it.
const RESERVE: f64 = 0.02;

/// The share that is taken while a table is `full` (0 to 1) and filling it beyond `limit` is too much:
/// all up to there, none once only the reserve is left.
pub(super) fn of_table(full: f64, limit: f64) -> f64 {
    let end = 1.0 - RESERVE;
    if full <= limit {
        return 1.0;
    }
    ((end - full) / (end - limit).max(f64::EPSILON)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(100);

    #[test]
    fn what_is_new_is_refused_before_what_is_within_a_dialog_and_both_come_back_step_by_step() {
        let mut shares = Shares::ALL;
        shares.adjust(1.2, TICK);
        assert!(shares.new < 0.9 && shares.dialog == 1.0, "{shares:?}");
        for _ in 0..20 {
            shares.adjust(3.0, TICK);
        }
        assert_eq!((shares.new, shares.known, shares.dialog), (LEAST, LEAST, LEAST));
        let kept = shares;
        shares.adjust(0.8, TICK);
        assert_eq!(shares, kept, "neither too late nor calm");
        for _ in 0..10 {
            shares.adjust(0.1, TICK);
        }
        assert!(shares.dialog > 0.5 && shares.known == LEAST, "{shares:?}");
        for _ in 0..60 {
            shares.adjust(0.1, TICK);
        }
        assert_eq!(shares, Shares::ALL);
    }

    #[test]
    fn a_table_that_fills_takes_fewer_and_fewer_and_keeps_a_reserve() {
        assert_eq!(of_table(0.9, 0.9), 1.0);
        let half = of_table(0.94, 0.9);
        assert!((half - 0.5).abs() < 0.01, "{half}");
        assert_eq!(of_table(0.98, 0.9), 0.0);
        assert_eq!(of_table(1.0, 1.0), 1.0, "100 %: up to the table's own bound");
    }
}
