//! The SIP Farm (S20 to S31): several nodes that act as one, whichever of them a packet reaches.
//!
//! Each member writes its [`token`] into what will come back to it. The [`router`] decides for every
//! message whether it is handled here, by another member, or not at all: what names its owner goes there;
//! everything else is spread by a hash of its key ([`key`], [`rendezvous`]) over the members that
//! [`membership`] knows to be available.
//!
//! Everything here is a pure function of values; the proxy core asks it once a message.

mod counters;
pub mod history;
pub mod key;
pub mod membership;
pub mod rendezvous;
pub mod router;
#[cfg(test)]
mod tests;
pub mod token;

use std::fmt;
use std::num::NonZeroU16;

pub use counters::Counters;
pub use history::History;
pub use key::Spread;
pub use membership::{Earlier, Member, Membership, Mode, PeerState, SipAddress, View};
pub use router::{Decision, Dropped, Errand, Facts, Home, Refusal, Why, decide};
pub use token::{Lasting, Owner, Purpose, Secrets, TokenKey, Tokens};

/// The number of a member, which is given to no other as long as the cluster lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(NonZeroU16);

impl MemberId {
    /// `None` for 0, which is no member's.
    #[must_use]
    pub const fn new(number: u16) -> Option<MemberId> {
        match NonZeroU16::new(number) {
            Some(number) => Some(MemberId(number)),
            None => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Counts the starts of a member: grows with each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u32);

/// One life of a member: what an earlier one knew, a later one does not (B5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The member.
    pub member: MemberId,
    /// Which of its lives.
    pub incarnation: Incarnation,
}

/// What the router knows.
#[derive(Debug)]
pub struct Farm {
    /// The members.
    pub membership: Membership,
    /// Makes and reads owner tokens.
    pub tokens: Tokens,
    /// Spreads what is new.
    pub spread: Spread,
    /// What it has decided.
    pub counters: Counters,
}

impl Farm {
    /// A member that knows nobody else yet.
    #[must_use]
    pub fn new(own: Identity, secrets: &Secrets) -> Self {
        Farm {
            membership: Membership::new(own),
            tokens: Tokens::new(secrets),
            spread: Spread::new(&secrets.lasting),
            counters: Counters::default(),
        }
    }

    /// This member's own token.
    #[must_use]
    pub fn issue(&self, purpose: Purpose, local: u64, call_id: &str) -> token::TokenText {
        self.tokens.issue(purpose, &Owner { identity: self.membership.own(), local }, call_id)
    }
}
