//! Token buckets in one number each (the virtual scheduling of ITU-T I.371, "GCRA").

/// A rate: one token each `interval`, and `depth` that may be saved up; nanoseconds both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    interval: u64,
    depth: u64,
}

impl Rate {
    /// `per_second` tokens, at most `burst` at once; neither is below 1.
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        let interval = 1_000_000_000 / u64::from(per_second.max(1));
        Rate { interval, depth: interval * u64::from(burst.max(1)) }
    }

    /// A token each `interval`, at most `burst` at once.
    pub(crate) fn each(interval: std::time::Duration, burst: u32) -> Self {
        let interval = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX / 4);
        Rate { interval, depth: interval.saturating_mul(u64::from(burst.max(1))) }
    }

    /// Takes a token out of `bucket` (zero: full), if there is one.
    pub(crate) fn take(self, bucket: &mut u64, now: u64) -> bool {
        let next = (*bucket).max(now) + self.interval;
        if next - now > self.depth {
            return false;
        }
        *bucket = next;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let rate = Rate::new(10, 5);
        let mut bucket = 0;
        let start = 1_000_000_000;
        let mut given = |now| (0..100).filter(|_| rate.take(&mut bucket, now)).count();
        assert_eq!(given(start), 5);
        assert_eq!(given(start + 100_000_000), 1);
        assert_eq!(given(start + 1_000_000_000), 5, "a second gives ten, of which five are kept");
    }
}
