//! What whoever reaches the port can have the mesh do: little, and not all of it alone.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most connections that are not ready yet: each is a handshake's work and some 50 KiB.
pub(super) const PENDING_MAX: usize = 64;
/// Most of them from one address: a host that restarts its members, and some to spare.
pub(super) const PENDING_EACH_MAX: usize = 16;
/// A connection is ready within this, or ends.
pub(super) const READY_WITHIN: Duration = Duration::from_secs(5);
/// Each address is complained of once in this time.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);
/// Most addresses that complaints are remembered of.
const COMPLAINTS_MAX: usize = 1_024;

#[derive(Default)]
struct Held {
    pending: usize,
    by_source: HashMap<IpAddr, usize>,
    complaints: HashMap<IpAddr, Instant>,
}

/// Connections that are not ready yet.
#[derive(Clone, Default)]
pub(super) struct Strangers(Arc<Mutex<Held>>);

/// The right to try; given back when it is dropped.
pub(super) struct Permit {
    strangers: Strangers,
    source: IpAddr,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut held = self.strangers.held();
        held.pending = held.pending.saturating_sub(1);
        if let Some(count) = held.by_source.get_mut(&self.source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                held.by_source.remove(&self.source);
            }
        }
    }
}

impl Strangers {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None`: too many try already. Strangers, however many, keep no member's host from trying.
    pub(super) fn permit(&self, source: IpAddr, is_known: bool) -> Option<Permit> {
        let mut held = self.held();
        let mine = held.by_source.get(&source).copied().unwrap_or(0);
        if (held.pending >= PENDING_MAX && !is_known) || mine >= PENDING_EACH_MAX {
            return None;
        }
        held.pending += 1;
        held.by_source.insert(source, mine + 1);
        Some(Permit { strangers: self.clone(), source })
    }

    /// Whether it is time to complain of that address again.
    pub(super) fn may_complain(&self, source: IpAddr, now: Instant) -> bool {
        let mut held = self.held();
        let is_old = |last: &Instant| now.saturating_duration_since(*last) >= COMPLAIN_EVERY;
        if held.complaints.len() >= COMPLAINTS_MAX {
            held.complaints.retain(|_, last| !is_old(last));
        }
        let is_due = held.complaints.get(&source).is_none_or(is_old);
        let has_room = held.complaints.len() < COMPLAINTS_MAX;
        if is_due && has_room {
            held.complaints.insert(source, now);
        }
        is_due && has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn one_address_cannot_keep_others_from_trying() {
        let strangers = Strangers::default();
        let held: Vec<_> =
            (0..PENDING_EACH_MAX).map(|_| strangers.permit(source(1), false)).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(strangers.permit(source(1), false).is_none());
        assert!(strangers.permit(source(2), false).is_some());
        drop(held);
        assert!(strangers.permit(source(1), false).is_some());
        assert_eq!(strangers.held().pending, 0);
    }

    #[test]
    fn all_together_are_bounded() {
        let strangers = Strangers::default();
        let held: Vec<_> =
            (0..=255).map_while(|last| strangers.permit(source(last), false)).collect();
        assert_eq!(held.len(), PENDING_MAX);
        assert!(strangers.permit(source(255), false).is_none());
        assert!(strangers.permit(source(255), true).is_some(), "a member");
    }

    #[test]
    fn each_address_is_complained_of_once_a_minute() {
        let strangers = Strangers::default();
        let now = Instant::now();
        assert!(strangers.may_complain(source(1), now));
        assert!(!strangers.may_complain(source(1), now + COMPLAIN_EVERY / 2));
        assert!(strangers.may_complain(source(2), now));
        assert!(strangers.may_complain(source(1), now + COMPLAIN_EVERY));
        for address in 0..2_000_u32 {
            strangers.may_complain(IpAddr::from(address.to_be_bytes()), now);
        }
        assert!(strangers.held().complaints.len() <= COMPLAINTS_MAX);
    }
}
