//! What was answered to which request: a controller that hears nothing sends its request again, and
//! must get the same answer without anything being done twice.
//!
//! Requests are kept in the order in which they came, and found by a table of their numbers: the
//! memory of each is part of what a session takes while it is young. A reply with a description is
//! not kept, as the repeated request brings along all that it was made from but the ports, which
//! the session knows.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hashbrown::HashTable;
use relay_core::api::{Leg, SessionId};

/// How long a reply is kept. Kamailio and OpenSIPS send a request five times, a second apart, by
/// default.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(10);

/// How much longer old replies may stay, so that they are forgotten many at a time.
const PURGE_SLACK: Duration = Duration::from_secs(1);

/// Most replies kept, those under way included: 10,000 requests a second for [`KEPT_FOR`]. Beyond,
/// the oldest go first: their repetitions are carried out again, which changes nothing that the first
/// time did not.
pub(super) const REPLIES_MAX: usize = 100_000;

/// Most bytes of replies kept: a third of [`REPLIES_MAX`] are of calls that end, with 1 to 2 KB of
/// figures. Beyond, the oldest go first.
pub(super) const BYTES_MAX: usize = 64 << 20;

/// Whose request it was and which. The address is part of it: cookies of two controllers (a process
/// id and a number) may be the same.
pub(super) type Cookie = (SocketAddr, Bytes);

/// What is known of a cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// The request is being carried out.
    UnderWay,
    /// It was answered with its description as `to`'s peer of this session shall see it.
    Described {
        /// The session.
        session: SessionId,
        /// The leg whose peer reads it.
        to: Leg,
    },
    /// It was answered with this.
    Answered(Box<[u8]>),
}

#[derive(Debug)]
struct Entry {
    since: Instant,
    source: SocketAddr,
    cookie: Box<[u8]>,
    known: Known,
}

#[derive(Debug, Default)]
pub(super) struct Cache {
    /// In the order of their numbers.
    entries: VecDeque<Entry>,
    /// The number of the first.
    first: u64,
    /// Numbers of entries, by the hash of their cookie.
    numbers: HashTable<u64>,
    hasher: RandomState,
    bytes: usize,
}

impl Cache {
    fn hash(&self, source: SocketAddr, cookie: &[u8]) -> u64 {
        self.hasher.hash_one((source, cookie))
    }

    /// The place of the entry with this cookie.
    fn place(&self, (source, cookie): &Cookie) -> Option<usize> {
        let is_it = |number: &u64| {
            let entry = self.entries.get(self.place_of(*number));
            entry.is_some_and(|entry| entry.source == *source && *entry.cookie == **cookie)
        };
        let number = self.numbers.find(self.hash(*source, cookie), is_it)?;
        Some(self.place_of(*number))
    }

    /// Numbers are given out one after the other and entries leave from the front only.
    fn place_of(&self, number: u64) -> usize {
        (number - self.first) as usize
    }

    /// What became of the request with this cookie, if it came before.
    pub(super) fn get(&self, cookie: &Cookie) -> Option<&Known> {
        Some(&self.entries.get(self.place(cookie)?)?.known)
    }

    /// Notes a request that is being carried out, and whose cookie is not known.
    pub(super) fn begin(&mut self, now: Instant, (source, cookie): &Cookie) {
        let number = self.first + self.entries.len() as u64;
        let hash = self.hash(*source, cookie);
        let Cache { entries, first, numbers, hasher, .. } = self;
        let cookie = Box::from(&cookie[..]);
        entries.push_back(Entry { since: now, source: *source, cookie, known: Known::UnderWay });
        numbers.insert_unique(hash, number, |number| {
            let entry = &entries[(*number - *first) as usize];
            hasher.hash_one((entry.source, &*entry.cookie))
        });
        self.shrink();
    }

    /// Notes what the request was answered with, for as long as its entry lasts.
    pub(super) fn answered(&mut self, cookie: &Cookie, known: Known) {
        let Some(place) = self.place(cookie) else { return };
        let old = std::mem::replace(&mut self.entries[place].known, known);
        self.bytes += bytes_of(&self.entries[place].known);
        self.bytes -= bytes_of(&old);
        self.shrink();
    }

    /// Forgets what is old.
    pub(super) fn purge(&mut self, now: Instant) {
        while self.entries.front().is_some_and(|entry| entry.since + KEPT_FOR <= now) {
            self.forget_oldest();
        }
    }

    /// When [`Cache::purge`] has enough to do.
    pub(super) fn next_purge(&self) -> Option<Instant> {
        self.entries.front().map(|entry| entry.since + KEPT_FOR + PURGE_SLACK)
    }

    fn shrink(&mut self) {
        while self.entries.len() > REPLIES_MAX || self.bytes > BYTES_MAX {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        let oldest = self.first;
        self.first += 1;
        self.bytes -= bytes_of(&entry.known);
        let hash = self.hash(entry.source, &entry.cookie);
        if let Ok(number) = self.numbers.find_entry(hash, |number| *number == oldest) {
            number.remove();
        }
    }
}

fn bytes_of(known: &Known) -> usize {
    match known {
        Known::UnderWay | Known::Described { .. } => 0,
        Known::Answered(reply) => reply.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "an Instant can only be had from the clock")]
    fn start() -> Instant {
        Instant::now()
    }

    fn cookie(number: usize) -> Cookie {
        (SocketAddr::from(([127, 0, 0, 1], 9)), Bytes::from(number.to_string()))
    }

    fn reply(bytes: usize) -> Known {
        Known::Answered(vec![0; bytes].into())
    }

    #[test]
    fn a_reply_is_kept_for_its_time_and_no_longer() {
        let (mut cache, now) = (Cache::default(), start());
        cache.begin(now, &cookie(1));
        assert_eq!(cache.get(&cookie(1)), Some(&Known::UnderWay));
        cache.answered(&cookie(1), reply(2));
        cache.purge(now + KEPT_FOR - Duration::from_millis(1));
        assert_eq!(cache.get(&cookie(1)), Some(&reply(2)));
        cache.purge(now + KEPT_FOR);
        assert_eq!((cache.get(&cookie(1)), cache.bytes, cache.next_purge()), (None, 0, None));
        assert!(cache.numbers.is_empty());
    }

    #[test]
    fn beyond_its_bounds_the_oldest_go_first() {
        let (mut cache, now) = (Cache::default(), start());
        (0..=REPLIES_MAX).for_each(|number| cache.begin(now, &cookie(number)));
        assert_eq!((cache.get(&cookie(0)), cache.numbers.len()), (None, REPLIES_MAX));
        assert_eq!(cache.get(&cookie(REPLIES_MAX)), Some(&Known::UnderWay));
        // Too late for an entry that has gone.
        cache.answered(&cookie(0), reply(2));
        assert_eq!(cache.bytes, 0);
        cache.answered(&cookie(1), reply(BYTES_MAX));
        assert!(cache.get(&cookie(1)).is_some());
        cache.answered(&cookie(2), reply(2));
        assert_eq!((cache.get(&cookie(1)), cache.bytes), (None, 2));
    }

    /// Every session has two of these while it is young; see `tests/ng_memory.rs`.
    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Entry>() <= 96, "{} bytes", size_of::<Entry>());
    }
}
