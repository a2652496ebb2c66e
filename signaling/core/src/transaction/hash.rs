//! Hashing under a secret, so that a peer who chooses the keys cannot make them collide.

use std::hash::{BuildHasher, Hasher};

/// Builds hashers that start from a secret: SipHash-1-3 (Aumasson and Bernstein, 2012), as the standard
/// library's, but made for a few dozen bytes at once and with the secret in its own place, which takes
/// half as long.
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
    #[inline]
    pub(crate) fn hash(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.build_hasher();
        hasher.write(bytes);
        hasher.finish()
    }
}

impl BuildHasher for Keyed {
    type Hasher = KeyedHasher;

    #[inline]
    fn build_hasher(&self) -> KeyedHasher {
        let [k0, k1] = self.secret;
        KeyedHasher {
            v: [
                k0 ^ 0x736f_6d65_7073_6575,
                k1 ^ 0x646f_7261_6e64_6f6d,
                k0 ^ 0x6c79_6765_6e65_7261,
                k1 ^ 0x7465_6462_7974_6573,
            ],
            tail: 0,
            length: 0,
        }
    }
}

/// See [`Keyed`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyedHasher {
    v: [u64; 4],
    /// The bytes since the last word, the first of them lowest.
    tail: u64,
    /// Bytes so far.
    length: usize,
}

impl KeyedHasher {
    #[inline]
    const fn round(&mut self) {
        let [mut v0, mut v1, mut v2, mut v3] = self.v;
        v0 = v0.wrapping_add(v1);
        v2 = v2.wrapping_add(v3);
        v1 = v1.rotate_left(13) ^ v0;
        v3 = v3.rotate_left(16) ^ v2;
        v0 = v0.rotate_left(32);
        v2 = v2.wrapping_add(v1);
        v0 = v0.wrapping_add(v3);
        v1 = v1.rotate_left(17) ^ v2;
        v3 = v3.rotate_left(21) ^ v0;
        v2 = v2.rotate_left(32);
        self.v = [v0, v1, v2, v3];
    }

    #[inline]
    const fn word(&mut self, word: u64) {
        self.v[3] ^= word;
        self.round();
        self.v[0] ^= word;
    }

    /// As many bytes of the word that is being filled as there are.
    #[inline]
    const fn filled(&self) -> usize {
        self.length % 8
    }
}

impl Hasher for KeyedHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        while self.filled() > 0
            && let Some((first, rest)) = bytes.split_first()
        {
            self.write_u8(*first);
            bytes = rest;
        }
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        self.length += 8 * words.len();
        for byte in rest {
            self.write_u8(*byte);
        }
    }

    #[inline]
    fn write_u8(&mut self, byte: u8) {
        self.tail |= u64::from(byte) << (8 * self.filled());
        self.length += 1;
        if self.filled() == 0 {
            let word = std::mem::take(&mut self.tail);
            self.word(word);
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        let mut last = *self;
        last.word((self.length as u64) << 56 | self.tail);
        last.v[2] ^= 0xff;
        last.round();
        last.round();
        last.round();
        last.v.into_iter().fold(0, |hash, v| hash ^ v)
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
    use std::hash::DefaultHasher;

    use super::*;

    /// The standard library's has the same function, under a secret of zeros.
    #[test]
    fn hashes_are_those_of_siphash_however_the_bytes_come() {
        let bytes: Vec<u8> = (0..70u8).map(|byte| byte.wrapping_mul(37) ^ 0x5a).collect();
        let keyed = Keyed { secret: [0; 2] };
        for length in 0..bytes.len() {
            for cut in 0..=length {
                let parts = [&bytes[..cut], &bytes[cut..length]];
                let (mut own, mut known) = (keyed.build_hasher(), DefaultHasher::new());
                for part in parts {
                    own.write(part);
                    known.write(part);
                    own.write_u8(7);
                    known.write_u8(7);
                }
                assert_eq!(own.finish(), known.finish(), "{length} bytes, cut at {cut}");
            }
            let mut known = DefaultHasher::new();
            known.write(&bytes[..length]);
            assert_eq!(keyed.hash(&bytes[..length]), known.finish());
        }
    }

    #[test]
    fn another_secret_gives_another_hash() {
        let keyed = |byte: u8, at: usize| {
            let mut seed = [0; 32];
            seed[at] = byte;
            Keyed::new(&seed).hash(b"z9hG4bK776asdhds")
        };
        let hashes: HashSet<u64> =
            (0..16).flat_map(|at| (1..=255).map(move |byte| keyed(byte, at))).collect();
        assert_eq!(hashes.len(), 16 * 255);
    }

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
