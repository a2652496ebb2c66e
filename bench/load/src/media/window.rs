//! Which packet numbers of a stream have arrived: loss, duplicates and reordering.

/// How far back a packet may be late and still be told from a duplicate: 17 s of video at 60
/// packets/s. Anything older is taken for a duplicate, so that the loss it left stays counted.
pub(crate) const WINDOW_PACKETS: u64 = 1024;

const WORDS: usize = (WINDOW_PACKETS / 64) as usize;

/// What an arrival means for its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The newest so far; this many numbers before it have not arrived (yet).
    New {
        /// Numbers skipped since the newest before it.
        skipped: u64,
    },
    /// Fills a gap: overtaken by a later packet.
    Late,
    /// Seen before, or too old to know.
    Duplicate,
}

/// A sliding window over one stream's packet numbers, which start at 0.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    /// The number after the highest that arrived.
    next: u64,
    seen: [u64; WORDS],
}

impl Window {
    /// The number after the highest that arrived, that is: how many were expected so far.
    pub(crate) const fn expected(&self) -> u64 {
        self.next
    }

    /// Notes the arrival of `number`.
    pub(crate) fn arrive(&mut self, number: u64) -> Arrival {
        if number >= self.next {
            let skipped = number - self.next;
            self.advance(number);
            return Arrival::New { skipped };
        }
        if self.next - number > WINDOW_PACKETS {
            return Arrival::Duplicate;
        }
        let (word, bit) = place(number);
        if self.seen[word] & bit != 0 {
            return Arrival::Duplicate;
        }
        self.seen[word] |= bit;
        Arrival::Late
    }

    fn advance(&mut self, number: u64) {
        if number - self.next >= WINDOW_PACKETS {
            self.seen = [0; WORDS];
        } else {
            for passed in self.next..number {
                let (word, bit) = place(passed);
                self.seen[word] &= !bit;
            }
        }
        let (word, bit) = place(number);
        self.seen[word] |= bit;
        self.next = number + 1;
    }
}

const fn place(number: u64) -> (usize, u64) {
    ((number / 64) as usize % WORDS, 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_gap_then_its_late_packet_then_the_same_again() {
        let mut window = Window::default();
        assert_eq!(window.arrive(0), Arrival::New { skipped: 0 });
        assert_eq!(window.arrive(2), Arrival::New { skipped: 1 });
        assert_eq!(window.arrive(1), Arrival::Late);
        assert_eq!(window.arrive(1), Arrival::Duplicate);
        assert_eq!(window.arrive(2), Arrival::Duplicate);
    }

    #[test]
    fn a_packet_older_than_the_window_counts_as_a_duplicate() {
        let mut window = Window::default();
        window.arrive(WINDOW_PACKETS + 5);
        assert_eq!(window.arrive(5), Arrival::Duplicate);
        assert_eq!(window.arrive(6), Arrival::Late);
    }

    proptest! {
        /// Compared with a set that forgets nothing.
        #[test]
        fn arrivals_within_the_window_are_told_apart(numbers in prop::collection::vec(0u64..900, 1..400)) {
            let mut window = Window::default();
            let mut set = std::collections::HashSet::new();
            let mut highest = None;
            for number in numbers {
                let arrival = window.arrive(number);
                let fresh = set.insert(number);
                match arrival {
                    Arrival::New { .. } => prop_assert!(fresh && Some(number) > highest),
                    Arrival::Late => prop_assert!(fresh && Some(number) < highest),
                    Arrival::Duplicate => prop_assert!(!fresh),
                }
                highest = highest.max(Some(number));
            }
        }
    }
}
