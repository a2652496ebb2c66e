//! Replies that were sent, by the cookie of their request: a controller that hears nothing sends its
//! request again, and must get the same answer without anything being done twice.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

/// How long a reply is kept. Kamailio and OpenSIPS send a request five times, a second apart, by
/// default.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(10);

/// How much longer old replies may stay, so that they are forgotten many at a time.
const PURGE_SLACK: Duration = Duration::from_secs(1);

/// Most replies kept, those under way included: 10,000 requests a second for [`KEPT_FOR`]. Beyond,
/// the oldest go first: their repetitions are carried out again, which changes nothing that the first
/// time did not.
pub(super) const REPLIES_MAX: usize = 100_000;

/// Most bytes of replies kept: [`REPLIES_MAX`] of the usual size, 1.3 KB with an SDP every second
/// time. Beyond, the oldest go first.
pub(super) const BYTES_MAX: usize = 64 << 20;

/// Whose request it was and which. The address is part of it: cookies of two controllers (a process
/// id and a number) may be the same.
pub(super) type Cookie = (SocketAddr, Bytes);

/// What is known of a cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// The request is being carried out.
    UnderWay,
    /// It was answered with this.
    Answered(Bytes),
}

#[derive(Debug, Default)]
pub(super) struct Cache {
    known: HashMap<Cookie, Known>,
    order: VecDeque<(Instant, Cookie)>,
    bytes: usize,
}

impl Cache {
    /// What became of the request with this cookie, if it came before.
    pub(super) fn get(&self, cookie: &Cookie) -> Option<&Known> {
        self.known.get(cookie)
    }

    /// Notes a request that is being carried out.
    pub(super) fn begin(&mut self, now: Instant, cookie: Cookie) {
        self.order.push_back((now, cookie.clone()));
        self.known.insert(cookie, Known::UnderWay);
        self.shrink();
    }

    /// Keeps the reply for as long as its request's entry lasts.
    pub(super) fn answered(&mut self, cookie: &Cookie, reply: Bytes) {
        if let Some(known) = self.known.get_mut(cookie) {
            self.bytes += reply.len();
            *known = Known::Answered(reply);
            self.shrink();
        }
    }

    /// Forgets what is old.
    pub(super) fn purge(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(since, _)| *since + KEPT_FOR <= now) {
            self.forget_oldest();
        }
    }

    /// When [`Cache::purge`] has enough to do.
    pub(super) fn next_purge(&self) -> Option<Instant> {
        self.order.front().map(|(since, _)| *since + KEPT_FOR + PURGE_SLACK)
    }

    fn shrink(&mut self) {
        while self.order.len() > REPLIES_MAX || self.bytes > BYTES_MAX {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((_, cookie)) = self.order.pop_front() else { return };
        match self.known.remove(&cookie) {
            Some(Known::Answered(reply)) => self.bytes -= reply.len(),
            Some(Known::UnderWay) | None => {}
        }
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

    #[test]
    fn a_reply_is_kept_for_its_time_and_no_longer() {
        let (mut cache, now) = (Cache::default(), start());
        cache.begin(now, cookie(1));
        assert_eq!(cache.get(&cookie(1)), Some(&Known::UnderWay));
        cache.answered(&cookie(1), Bytes::from_static(b"ok"));
        cache.purge(now + KEPT_FOR - Duration::from_millis(1));
        assert_eq!(cache.get(&cookie(1)), Some(&Known::Answered(Bytes::from_static(b"ok"))));
        cache.purge(now + KEPT_FOR);
        assert_eq!((cache.get(&cookie(1)), cache.bytes, cache.next_purge()), (None, 0, None));
    }

    #[test]
    fn beyond_its_bounds_the_oldest_go_first() {
        let (mut cache, now) = (Cache::default(), start());
        (0..=REPLIES_MAX).for_each(|number| cache.begin(now, cookie(number)));
        assert_eq!((cache.get(&cookie(0)), cache.known.len()), (None, REPLIES_MAX));
        // Too late for an entry that has gone.
        cache.answered(&cookie(0), Bytes::from_static(b"ok"));
        assert_eq!(cache.bytes, 0);
        cache.answered(&cookie(1), Bytes::from(vec![0; BYTES_MAX]));
        assert!(cache.get(&cookie(1)).is_some());
        cache.answered(&cookie(2), Bytes::from_static(b"ok"));
        assert_eq!((cache.get(&cookie(1)), cache.bytes), (None, 2));
    }
}
