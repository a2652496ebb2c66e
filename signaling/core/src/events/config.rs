//! What the event server is told once.

use std::time::Duration;

use super::Package;
use crate::wire::{BadUri, Uri};

/// What is served, to whom, and how much of it.
#[derive(Clone, Debug)]
pub struct Config {
    /// The packages that this node serves for its users. Subscriptions to others go on to the user's
    /// devices.
    pub packages: Vec<Package>,
    /// Who may watch whom.
    pub watch: Watch,
    /// A subscription or publication for less is refused with 423, unless it is for an hour or more.
    pub expires_min: Duration,
    /// One for more is cut to this.
    pub expires_max: Duration,
    /// Lists whose members are watched with one subscription (RFC 4662).
    pub lists: Vec<List>,
    /// Bounds.
    pub limits: Limits,
}

/// Who may watch a user of ours, besides the user itself and trusted peers. Registrations are shown to
/// nobody else (RFC 3680 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// The user alone.
    Own,
    /// The users of its domain.
    Domain,
    /// Every user.
    Users,
}

/// Bounds of the event server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most subscriptions. A further one is refused with 503. Each takes some 700 bytes: 70 MB.
    pub subscriptions: usize,
    /// Most subscriptions to one user or list, refused alike.
    pub subscriptions_per_user: usize,
    /// Most subscriptions of one user, refused alike: one that subscribes to a whole company, with several
    /// devices. Trusted peers are not counted.
    pub subscriptions_per_watcher: usize,
    /// Most documents that are published, refused alike. With one of 1,000 bytes for each user: 100 MB.
    pub publications: usize,
    /// Most documents published for one user in one package, refused alike: one a device.
    pub publications_per_user: usize,
    /// Largest document that is published, in bytes. A larger one is refused with 413.
    pub document_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            subscriptions: 100_000,
            subscriptions_per_user: 500,
            subscriptions_per_watcher: 1_000,
            publications: 100_000,
            publications_per_user: 10,
            document_bytes: 16 * 1024,
        }
    }
}

impl Default for Config {
    /// Nothing is served.
    fn default() -> Self {
        Config {
            packages: Vec::new(),
            watch: Watch::Domain,
            expires_min: Duration::from_secs(60),
            expires_max: Duration::from_secs(7200),
            lists: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// Most members of a list: each notification has a part for each of them.
pub const LIST_MEMBERS_MAX: usize = 200;

/// Several users under one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Its address of record.
    pub(super) uri: Box<str>,
    pub(super) members: Vec<Listed>,
}

/// A user in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) uri: Box<str>,
    pub(super) user: Box<str>,
}

impl List {
    /// A list at `uri` of the users with these addresses, of which those beyond
    /// [`LIST_MEMBERS_MAX`] and those without a user part are left out.
    ///
    /// # Errors
    /// [`BadUri`] if one of the addresses is none.
    pub fn new(uri: &str, members: &[String]) -> Result<List, BadUri> {
        let mut listed = Vec::new();
        for member in members.iter().take(LIST_MEMBERS_MAX) {
            let parsed = Uri::parse(member)?;
            if let Some(user) = parsed.user_unescaped() {
                listed
                    .push(Listed { uri: parsed.address_of_record().into(), user: (*user).into() });
            }
        }
        Ok(List { uri: Uri::parse(uri)?.address_of_record().into(), members: listed })
    }
}
