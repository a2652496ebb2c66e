//! Which nonce counts have been used (RFC 7616 3.4.6).

use std::collections::BTreeMap;

use super::nonce::Nonce;

/// Counts that may still come after a higher one: UDP reorders requests.
const WINDOW_BITS: u32 = u64::BITS;

/// The counts of one nonce that have been used.
struct Window {
    highest: u32,
    /// Bit n: `highest - n` has been used.
    used: u64,
}

impl Window {
    /// Uses `count`; `false` if it has been used, or is too old to tell.
    fn use_count(&mut self, count: u32) -> bool {
        if count > self.highest {
            self.used = self.used.checked_shl(count - self.highest).unwrap_or(0) | 1;
            self.highest = count;
            return true;
        }
        let behind = self.highest - count;
        if behind >= WINDOW_BITS || self.used >> behind & 1 == 1 {
            return false;
        }
        self.used |= 1 << behind;
        true
    }
}

/// The nonces with which somebody has authenticated, oldest first.
pub(super) struct Replay {
    seen: BTreeMap<Nonce, Window>,
    /// A nonce issued at or before this time that is not in `seen` may have been there.
    forgotten_ms: Option<u64>,
    max: usize,
}

impl Replay {
    /// Nonces issued before `start_ms` may have been used.
    pub(super) fn since(start_ms: u64, max: usize) -> Self {
        Replay { seen: BTreeMap::new(), forgotten_ms: start_ms.checked_sub(1), max }
    }

    /// How many nonces are remembered.
    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }

    /// Uses a nonce once more; `false` if this may be a replay. Without a count (no qop) a nonce is
    /// good for one request.
    pub(super) fn use_nonce(&mut self, nonce: Nonce, count: Option<u32>) -> bool {
        if let Some(window) = self.seen.get_mut(&nonce) {
            return count.is_some_and(|count| window.use_count(count));
        }
        if self.forgotten_ms.is_some_and(|forgotten| nonce.issued_ms <= forgotten) {
            return false;
        }
        let window = match count {
            Some(count) => Window { highest: count, used: 1 },
            None => Window { highest: u32::MAX, used: u64::MAX },
        };
        self.seen.insert(nonce, window);
        while self.seen.len() > self.max {
            self.forget_oldest();
        }
        true
    }

    /// Forgets the nonces that were issued before `oldest_ms`, which expire anyway.
    pub(super) fn expire(&mut self, oldest_ms: u64) {
        while self.seen.first_key_value().is_some_and(|(nonce, _)| nonce.issued_ms < oldest_ms) {
            self.seen.pop_first();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((nonce, _)) = self.seen.pop_first() {
            self.forgotten_ms = self.forgotten_ms.max(Some(nonce.issued_ms));
        }
    }
}
