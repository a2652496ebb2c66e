//! What a script may come to.

use std::collections::BTreeSet;
use std::fmt;

use super::{Callee, Reply, Script};

/// How an INVITE ended for its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// With this final response.
    Status(u16),
    /// With none: the sender has given up waiting.
    NoAnswer,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Status(status) => write!(f, "{status}"),
            Outcome::NoAnswer => f.write_str("no answer"),
        }
    }
}

impl Script {
    /// The statuses that this call may end with on a network that loses nothing.
    #[must_use]
    pub fn expected(&self) -> BTreeSet<u16> {
        if self.wrong_password {
            return BTreeSet::from([407]);
        }
        match self.callee {
            Callee::Unknown => return BTreeSet::from([404]),
            Callee::Unregistered(_) => return BTreeSet::from([480]),
            Callee::User(_) => {}
        }
        let replies = || self.devices.values().map(|part| part.reply);
        let mut statuses = BTreeSet::new();
        let accepts = replies().any(|reply| matches!(reply, Reply::Accept(_)));
        if accepts {
            statuses.insert(200);
        }
        for reply in replies() {
            match reply {
                // One that is sure to be there makes the answer of a device count for nothing,
                // unless it speaks for the whole user (RFC 3261 16.7 step 5).
                Reply::Refuse(status, _) if status >= 600 || !accepts || self.cancel.is_some() => {
                    statuses.insert(status);
                }
                Reply::Ring | Reply::FallSilent | Reply::Silent
                    if !accepts || self.cancel.is_some() =>
                {
                    statuses.extend([408, 487]);
                }
                Reply::Accept(_)
                | Reply::Refuse(..)
                | Reply::Ring
                | Reply::FallSilent
                | Reply::Silent => {}
            }
        }
        if self.cancel.is_some() {
            statuses.insert(487);
        }
        statuses
    }

    /// Whether a party falls silent in it.
    #[must_use]
    pub fn has_death(&self) -> bool {
        let silent = |reply: &Reply| matches!(reply, Reply::FallSilent | Reply::Silent);
        self.death.is_some() || self.devices.values().any(|part| silent(&part.reply))
    }
}
