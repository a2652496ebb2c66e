//! A table of fixed size without chains: eight places a key, chosen by a hash under a secret. What is
//! asked for costs one look at a cache line of keys; nothing is ever moved or allocated.

/// Places a key may have.
const WAYS: usize = 8;

/// Held entries that a full set keeps; of more, the one that ends soonest gives way.
const HELD_MAX: usize = WAYS / 2;

/// What an entry has to know of itself. Times are nanoseconds since the guard began.
pub(super) trait Entry: Copy + Default {
    /// When it was last used.
    fn used(&self) -> u64;
    /// Until when it should not be displaced: a ban, a silence.
    fn held(&self) -> u64;
}

/// No key is zero (see [`Ways::new`]).
const FREE: u64 = 0;

#[derive(Clone, Copy)]
struct Set<T> {
    keys: [u64; WAYS],
    entries: [T; WAYS],
}

/// The table. At the bound the entry that was used longest ago goes, and starts afresh if it comes
/// back; entries that are held go only where they fill more than half of their set.
pub(super) struct Ways<T> {
    sets: Box<[Set<T>]>,
    secret: [u64; 2],
}

impl<T: Entry> Ways<T> {
    /// Room for `places` entries, rounded up to a power of two. Keys are not zero.
    pub(super) fn new(places: usize, secret: [u64; 2]) -> Self {
        let sets = places.div_ceil(WAYS).next_power_of_two();
        let empty = Set { keys: [FREE; WAYS], entries: [T::default(); WAYS] };
        Ways { sets: vec![empty; sets].into_boxed_slice(), secret }
    }

    fn set(&self, key: u64) -> usize {
        // Multiply and fold under a secret: nobody outside can choose keys that meet in one set.
        let product = u128::from(key ^ self.secret[0]) * u128::from(self.secret[1] | 1);
        let hash = (product ^ (product >> 64)) as u64;
        hash as usize & (self.sets.len() - 1)
    }

    /// The entry of `key`, if it is known.
    pub(super) fn get(&mut self, key: u64) -> Option<&mut T> {
        let index = self.set(key);
        let set = self.sets.get_mut(index)?;
        let way = set.keys.iter().position(|k| *k == key)?;
        set.entries.get_mut(way)
    }

    /// The entry of `key`, if it is known, to look at.
    pub(super) fn peek(&self, key: u64) -> Option<&T> {
        let set = self.sets.get(self.set(key))?;
        let way = set.keys.iter().position(|k| *k == key)?;
        set.entries.get(way)
    }

    /// The entry of `key`, made if there is none.
    pub(super) fn entry(&mut self, now: u64, key: u64) -> &mut T {
        let index = self.set(key);
        let set = &mut self.sets[index];
        let way = match set.keys.iter().position(|k| *k == key) {
            Some(way) => way,
            None => {
                let way = set.victim(now);
                set.keys[way] = key;
                set.entries[way] = T::default();
                way
            }
        };
        &mut set.entries[way]
    }

    /// Every known entry with its key.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let pairs = self.sets.iter().flat_map(|set| set.keys.iter().copied().zip(&set.entries));
        pairs.filter(|(key, _)| *key != FREE)
    }
}

impl<T: Entry> Set<T> {
    /// Which place is given to a new key.
    fn victim(&self, now: u64) -> usize {
        if let Some(free) = self.keys.iter().position(|key| *key == FREE) {
            return free;
        }
        let held = self.entries.iter().filter(|entry| entry.held() > now).count();
        let worth = |entry: &T| match entry.held() > now {
            true if held > HELD_MAX => (0, entry.held()),
            true => (2, entry.held()),
            false => (1, entry.used()),
        };
        let least = self.entries.iter().enumerate().min_by_key(|(_, entry)| worth(entry));
        least.map_or(0, |(way, _)| way)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Default)]
    struct Mark {
        used: u64,
        held: u64,
    }

    impl Entry for Mark {
        fn used(&self) -> u64 {
            self.used
        }

        fn held(&self) -> u64 {
            self.held
        }
    }

    #[test]
    fn a_full_table_forgets_who_was_silent_longest() {
        let mut table = Ways::<Mark>::new(WAYS, [7, 9]);
        for key in 1..=8 {
            table.entry(key, key).used = key;
        }
        table.entry(9, 1).used = 9;
        table.entry(10, 99).used = 10;
        assert!(table.get(1).is_some() && table.get(99).is_some());
        assert!(table.get(2).is_none());
    }

    #[test]
    fn held_entries_outlive_a_flood_up_to_half_of_their_set() {
        let mut table = Ways::<Mark>::new(WAYS, [7, 9]);
        for key in 1..=6 {
            *table.entry(1, key) = Mark { used: 1, held: 1_000 + key };
        }
        for key in 100..10_000 {
            table.entry(2, key).used = key;
        }
        let kept: Vec<u64> = (1..=6).filter(|key| table.get(*key).is_some()).collect();
        assert_eq!(kept, [3, 4, 5, 6], "those that last longest");
        assert_eq!(table.iter().count(), WAYS);
    }

    #[test]
    fn what_is_no_longer_held_goes_like_any_other() {
        let mut table = Ways::<Mark>::new(WAYS, [7, 9]);
        *table.entry(1, 1) = Mark { used: 1, held: 50 };
        for key in 100..200 {
            table.entry(60, key).used = key;
        }
        assert!(table.get(1).is_none());
    }
}
