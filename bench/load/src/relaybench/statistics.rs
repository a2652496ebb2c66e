//! Minimum, median and maximum over rounds, and ratios of paired rounds.

use serde::{Deserialize, Serialize};

/// Smallest, middle and largest of what the rounds gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// The smallest.
    pub min: f64,
    /// The middle one; of an even number, the mean of the middle two.
    pub median: f64,
    /// The largest.
    pub max: f64,
}

impl Range {
    /// `None` of nothing.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Range> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(values[middle - 1], values[middle])
        } else {
            values[middle]
        };
        Some(Range { min, median, max })
    }
}

/// The ratios `a / b` of the rounds in which both were measured; rounds are paired by their number,
/// so that what disturbs a whole round (a slower clock, a warmer host) cancels out.
pub(crate) fn paired(a: &[(u32, f64)], b: &[(u32, f64)]) -> Option<Range> {
    let ratio = |(round, a): &(u32, f64)| {
        let (_, b) = b.iter().find(|(other, _)| other == round)?;
        (*b > 0.0).then(|| a / b)
    };
    Range::of(a.iter().filter_map(ratio))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_odd_and_of_an_even_number() {
        assert_eq!(Range::of([3.0, 1.0, 2.0]), Some(Range { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(Range::of([4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(Range::of([]), None);
    }

    /// Rounds that were twice as slow for both leave the ratio as it is; ratios of medians would not.
    #[test]
    fn ratios_pair_rounds_by_number() {
        let ours = [(1, 4.0), (2, 8.0), (3, 4.0)];
        let theirs = [(3, 8.0), (2, 16.0), (1, 8.0)];
        assert_eq!(paired(&ours, &theirs), Some(Range { min: 0.5, median: 0.5, max: 0.5 }));
    }

    #[test]
    fn rounds_that_one_side_lacks_count_for_nothing() {
        assert_eq!(paired(&[(1, 2.0), (2, 9.0)], &[(1, 4.0)]).unwrap().max, 0.5);
        assert_eq!(paired(&[(1, 2.0)], &[(2, 4.0)]), None);
        assert_eq!(paired(&[(1, 2.0)], &[(1, 0.0)]), None);
    }
}
