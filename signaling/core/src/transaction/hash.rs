//! Hashing under a secret, so that a peer who chooses the keys cannot make them collide.

use std::hash::{BuildHasher, DefaultHasher, Hasher};

/// Builds hashers that start from a secret.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keyed {
    secret: [u64; 2],
}

impl Keyed {
    /// The secret is the first half of `seed`.
    pub(crate) fn new(seed: &[u8; 32]) -> Self {
        let mut secret = [0; 2];
        for (half, bytes) in secret.iter_mut().zip(seed.chunks_exact(8)) {
            *half = bytes.iter().fold(0, |value, &byte| value << 8 | u64::from(byte));
        }
        Keyed { secret }
    }

    /// The hash of `bytes`.
    pub(crate) fn hash(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.build_hasher();
        hasher.write(bytes);
        hasher.finish()
    }
}

impl BuildHasher for Keyed {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.secret[0]);
        hasher.write_u64(self.secret[1]);
        hasher
    }
}

/// Builds hashers for keys that no peer can choose: places in tables, and what has been hashed under a
/// secret before.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Plain;

impl BuildHasher for Plain {
    type Hasher = PlainHasher;

    fn build_hasher(&self) -> PlainHasher {
        PlainHasher(0)
    }
}

/// See [`Plain`].
pub(crate) struct PlainHasher(u64);

/// 2^64 divided by the golden ratio, made odd: neighbouring numbers end up far apart (Knuth, The Art of
/// Computer Programming 6.4).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for PlainHasher {
    fn finish(&self) -> u64 {
        // A table looks at both ends.
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(SPREAD);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// hashbrown takes the place from the low bits and tells entries apart by the seven highest.
    #[test]
    fn places_in_a_table_are_spread_by_both_ends_of_their_hash() {
        let hashes = (0..4096u32).map(|index| Plain.hash_one((index, 7u32)));
        let hashes: Vec<u64> = hashes.collect();
        let low: HashSet<u64> = hashes.iter().map(|hash| hash % 8192).collect();
        let high: HashSet<u64> = hashes.iter().map(|hash| hash >> 57).collect();
        assert!(low.len() > 2500, "{}", low.len());
        assert_eq!(high.len(), 128);
    }
}
