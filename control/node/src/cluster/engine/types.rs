//! The words of the seam: keys, revisions, entries, outcomes.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
pub(crate) use control_core::cluster::Revision;

/// Longest value, bytes: that of the longest document. NATS's servers take 1 MiB unless told otherwise.
pub(crate) const VALUE_MAX: usize = control_core::cluster::DOCUMENT_BYTES_MAX;

/// Longest key, bytes: `settings.member.` and a member's name of 63, with room to spare.
pub(crate) const KEY_MAX: usize = 128;

/// The name of a value: dot-separated words of `[A-Za-z0-9_-]`, at most [`KEY_MAX`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(Arc<str>);

/// Why a text is no key or prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadKey {
    text: String,
    why: &'static str,
}

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no key of the cluster engine: {}", self.text, self.why)
    }
}

impl std::error::Error for BadKey {}

impl Key {
    /// # Errors
    /// Empty, too long, a character outside of `[A-Za-z0-9._-]`, or an empty word.
    pub(crate) fn parse(text: &str) -> Result<Self, BadKey> {
        let why = if text.is_empty() {
            "it is empty"
        } else if text.split('.').any(str::is_empty) {
            "it has an empty word: a dot stands between two words"
        } else if let Some(why) = unfit(text) {
            why
        } else {
            return Ok(Self(text.into()));
        };
        Err(BadKey { text: shortened(text), why })
    }

    /// The key as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the keys of a listing or a watch begin with: nothing (all keys), or whole words and their
/// dot (`members.`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prefix(Arc<str>);

impl Prefix {
    /// Every key.
    pub(crate) fn all() -> Self {
        Self("".into())
    }

    /// # Errors
    /// As [`Key::parse`] of what stands before the last dot, or no dot at the end.
    pub(crate) fn parse(text: &str) -> Result<Self, BadKey> {
        match text.strip_suffix('.') {
            Some(words) => Key::parse(words).map(|_| Self(text.into())),
            None if text.is_empty() => Ok(Self::all()),
            None => Err(BadKey { text: shortened(text), why: "a prefix ends with a dot" }),
        }
    }

    /// The prefix as text: empty, or ending with a dot.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `key` begins with it.
    pub(crate) fn holds(&self, key: &Key) -> bool {
        key.0.starts_with(&*self.0)
    }
}

fn unfit(text: &str) -> Option<&'static str> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if text.len() > KEY_MAX {
        Some("it is longer than 128 bytes")
    } else if !text.bytes().all(fits) {
        Some("it may hold letters, digits, `.`, `_` and `-` only")
    } else {
        None
    }
}

/// As much of a bad key as an error shows.
fn shortened(text: &str) -> String {
    text.chars().take(KEY_MAX).collect()
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The key.
    pub(crate) key: Key,
    /// Of its last write.
    pub(crate) revision: Revision,
    /// At most [`VALUE_MAX`] bytes.
    pub(crate) value: Bytes,
}

/// What a compare-and-set expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The key must not exist.
    Absent,
    /// The key's last write must be this one.
    At(Revision),
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Written, and acknowledged by a majority of the engine.
    Done(Revision),
    /// Not written: the key is not as expected, but as `current` (`None`: it does not exist).
    Conflict {
        /// What the key held when it was read after the refusal.
        current: Option<Entry>,
    },
    /// Not written: the engine does not answer or cannot write now. Try again later.
    Unavailable(Unavailable),
    /// Written or not, or yet to be: the answer did not come. See `Coord::cas_settled`.
    Unknown,
    /// Not written, and never will be: the value is too large.
    Refused,
}

/// The engine does not answer, or says that it cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unavailable(Box<str>);

impl Unavailable {
    pub(super) fn new(why: impl Into<Box<str>>) -> Self {
        Self(why.into())
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unavailable {}

/// Whether the engine answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EngineState {
    /// It does.
    Connected,
    /// It does not; calls and the farm go on with the last view.
    Lost {
        /// When it last answered, or when this process began to try.
        since: Instant,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_words_with_dots_between_them() {
        for good in ["ids", "members.fe-1", "settings.member.a_b", "A9", &"k".repeat(KEY_MAX)] {
            assert_eq!(Key::parse(good).expect("a key").as_str(), good);
        }
        for bad in
            ["", ".", "a.", ".a", "a..b", "a b", "a*", "a>", "ä", "a/b", &"k".repeat(KEY_MAX + 1)]
        {
            assert!(Key::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bad_key_is_named_with_what_is_wrong() {
        let error = Key::parse("members.*").expect_err("a wildcard is no key").to_string();
        assert!(error.contains("`members.*`") && error.contains("letters, digits"), "{error}");
    }

    #[test]
    fn a_prefix_is_whole_words() {
        assert!(
            Prefix::parse("members.").expect("a prefix").holds(&Key::parse("members.a").unwrap())
        );
        assert!(!Prefix::parse("members.").unwrap().holds(&Key::parse("membersx").unwrap()));
        assert!(Prefix::parse("").unwrap().holds(&Key::parse("ids").unwrap()));
        for bad in ["mem", ".", "a..", "*."] {
            assert!(Prefix::parse(bad).is_err(), "{bad}");
        }
    }
}
