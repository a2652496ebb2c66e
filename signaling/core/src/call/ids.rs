//! The names of relay sessions.

use relay_core::api::SessionId;

/// The part of the node that a relay session belongs to. What the relay tells of a session goes to
/// its owner, so tokens need to be distinct within one owner only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The SIP proxy, [`crate::proxy`].
    Proxy,
    /// The ng control protocol, [`crate::ng`].
    Ng,
}

/// The bit that marks sessions of [`Owner::Ng`]. The highest: the lower ones place sessions on
/// workers and have to stay consecutive for each owner.
const NG: u64 = 1 << 63;

impl Owner {
    /// The owner of a session.
    #[must_use]
    pub const fn of(session: SessionId) -> Owner {
        if session.0 & NG == 0 { Owner::Proxy } else { Owner::Ng }
    }
}

/// Names for the sessions of one owner, none of them used twice: 2^63 last for the life of any
/// process.
#[derive(Debug)]
pub struct SessionIds {
    last: u64,
}

impl SessionIds {
    /// The names of `owner`'s sessions.
    #[must_use]
    pub const fn new(owner: Owner) -> SessionIds {
        SessionIds {
            last: match owner {
                Owner::Proxy => 0,
                Owner::Ng => NG,
            },
        }
    }

    /// A name that was not used before.
    pub const fn fresh(&mut self) -> SessionId {
        self.last += 1;
        SessionId(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_of_two_owners_are_told_apart_and_spread_over_workers_alike() {
        for owner in [Owner::Proxy, Owner::Ng] {
            let mut ids = SessionIds::new(owner);
            let taken: Vec<SessionId> = (0..8).map(|_| ids.fresh()).collect();
            assert!(taken.iter().all(|id| Owner::of(*id) == owner));
            assert!(taken.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1));
        }
    }
}
