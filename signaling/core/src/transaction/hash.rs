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
