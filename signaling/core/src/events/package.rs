//! The event packages that this node can serve.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// An event package (RFC 6665 7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Package {
    /// Registrations of a user (RFC 3680).
    Reg,
    /// Presence (RFC 3856).
    Presence,
    /// States of dialogs (RFC 4235).
    Dialog,
    /// Messages that wait (RFC 3842).
    MessageSummary,
}

impl Package {
    /// All of them.
    pub const ALL: [Package; 4] =
        [Package::Reg, Package::Presence, Package::Dialog, Package::MessageSummary];

    /// As in an Event header.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Package::Reg => "reg",
            Package::Presence => "presence",
            Package::Dialog => "dialog",
            Package::MessageSummary => "message-summary",
        }
    }

    /// Its place in [`Package::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The Content-Type of its documents.
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Package::Reg => "application/reginfo+xml",
            Package::Presence => "application/pidf+xml",
            Package::Dialog => "application/dialog-info+xml",
            Package::MessageSummary => "application/simple-message-summary",
        }
    }

    /// How long a subscription lasts that names no time (RFC 3680 4.4, 3856 6.4, 4235 3.4; RFC 3842
    /// 3.4 leaves it between hours and days).
    pub(super) const fn expires_default(self) -> Duration {
        match self {
            Package::Reg => Duration::from_secs(3761),
            Package::Presence | Package::Dialog | Package::MessageSummary => {
                Duration::from_secs(3600)
            }
        }
    }

    /// The shortest time between notifications of one subscription: every 5 s (RFC 3680 4.10, 3856
    /// 6.10) or every second (RFC 4235 3.10, 3842 3.9).
    pub(super) const fn interval(self) -> Duration {
        match self {
            Package::Reg | Package::Presence => Duration::from_secs(5),
            Package::Dialog | Package::MessageSummary => Duration::from_secs(1),
        }
    }

    /// Whether devices publish documents of it.
    pub(super) const fn is_published(self) -> bool {
        match self {
            Package::Presence | Package::Dialog | Package::MessageSummary => true,
            Package::Reg => false,
        }
    }

    /// Whether there are lists of it.
    pub(super) const fn has_lists(self) -> bool {
        match self {
            Package::Presence | Package::Dialog => true,
            Package::Reg | Package::MessageSummary => false,
        }
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name is not that of a package that this node can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown event package (there are reg, presence, dialog and message-summary)")]
pub struct UnknownPackage;

impl FromStr for Package {
    type Err = UnknownPackage;

    /// As in an Event header, where case counts (RFC 6665 8.4).
    fn from_str(text: &str) -> Result<Package, UnknownPackage> {
        Package::ALL.into_iter().find(|package| package.name() == text).ok_or(UnknownPackage)
    }
}
