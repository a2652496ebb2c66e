//! Names and numbers of the cluster, each a type of its own.

use std::fmt;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use crate::settings::problem::Wrong;
use crate::settings::read::{Text, quoted};
use crate::settings::values::{text_serde, text_values};

/// A member's name: 1 to 63 lower-case letters, digits and hyphens, so that it can stand in a host
/// name (RFC 1035 2.3.4) and in a key of the engine.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberName(String);

/// Longest name of a member: that of a label (RFC 1035 2.3.4).
const NAME_CHARS_MAX: usize = 63;

impl MemberName {
    /// Reads a name.
    ///
    /// # Errors
    /// In words, if it is empty, too long or has other signs.
    pub fn new(text: &str) -> Result<MemberName, String> {
        <MemberName as Text>::parse(text).map_err(|wrong| wrong.sentence())
    }

    /// Its characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Text for MemberName {
    fn parse(text: &str) -> Result<MemberName, Wrong> {
        let fits = (1..=NAME_CHARS_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fits {
            return Ok(MemberName(text.to_owned()));
        }
        let what = format!("{} is not a name for a member", quoted(text));
        let fix = format!("write 1 to {NAME_CHARS_MAX} lower-case letters, digits or hyphens");
        Err(Wrong::new(what, fix))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

text_values!(MemberName);
text_serde!(MemberName);

/// A member's number, allotted once to its name and never to another. Not 0, which in a handle means
/// "this node, whatever its number".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemberId(NonZeroU16);

impl MemberId {
    /// The first that is allotted.
    pub const FIRST: MemberId = MemberId(NonZeroU16::MIN);

    /// `None` for 0.
    #[must_use]
    pub fn new(number: u16) -> Option<MemberId> {
        NonZeroU16::new(number).map(MemberId)
    }

    /// As a number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }

    /// The next, if there is one.
    #[must_use]
    pub fn next(self) -> Option<MemberId> {
        self.0.checked_add(1).map(MemberId)
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Declares numbers that only grow.
macro_rules! growing {
    ($($(#[doc = $doc:literal])+ $Name:ident($Number:ty);)+) => {$(
        $(#[doc = $doc])+
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $Name(pub $Number);

        impl $Name {
            /// The one after this. At the end of the numbers it stays there, which no cluster lives
            /// to see.
            #[must_use]
            pub const fn next(self) -> $Name {
                $Name(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

growing! {
    /// Which start of a member this is: grows with each, so that a restarted member is never taken
    /// for its earlier self (B5). 0: none yet.
    Incarnation(u32);

    /// The number of a published view. 0: none yet.
    Epoch(u64);

    /// Which holder of the Controller's lease it was: grows when the lease is taken over. 0: none yet.
    Term(u64);

    /// The engine's number of a key's value; a key's revision grows with each write.
    Revision(u64);
}

/// A process: drawn at random at each start, so that two processes with one name are told apart
/// before either has an incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Instance(pub u64);

/// A moment by the calendar, in milliseconds since 1970 (UTC). For people to read only: members'
/// clocks differ, and nothing is decided by it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

/// A moment by the calendar, in seconds since 1970 (UTC): when a certificate was issued.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UnixSeconds(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_name_is_lower_case_letters_digits_and_hyphens() {
        for name in ["a", "fe-1", "0", &"x".repeat(63)] {
            assert_eq!(MemberName::new(name).map(|name| name.to_string()), Ok(name.to_owned()));
        }
        for name in ["", "Fe1", "a.b", "a_b", "a b", "ä", "a*", "a>", &"x".repeat(64)] {
            let wrong = MemberName::new(name).expect_err(name);
            assert!(wrong.contains("lower-case letters"), "{wrong}");
            assert!(serde_json::from_value::<MemberName>(name.into()).is_err(), "{name}");
        }
    }

    #[test]
    fn a_member_id_is_never_zero_and_ends_with_the_numbers() {
        assert_eq!(MemberId::new(0), None);
        assert!(serde_json::from_str::<MemberId>("0").is_err());
        assert_eq!(MemberId::FIRST.get(), 1);
        assert_eq!(MemberId::new(u16::MAX).and_then(MemberId::next), None);
    }
}
