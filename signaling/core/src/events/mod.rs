//! The event server: notifier for subscriptions (RFC 6665) and compositor of what devices publish
//! (RFC 3903), as one value without I/O.
//!
//! Users are named as the registrar names them. Who asks has been authenticated before; who may watch
//! whom is decided here. State comes from documents that devices publish, from the registrar, from
//! this node's calls, and from what other parts of it say ([`Events::set_waiting`]).
//!
//! Input: [`Events::subscribe`], [`Events::publish`], [`Events::answered`],
//! [`Events::registration_changed`], [`Events::call_begins`] and what follows it,
//! [`Events::handle_timeout`]; in a farm [`Events::members_are`], [`Events::greet`] and [`Events::handle_words`].
//! Output: what those return, [`Events::poll_notify`] and [`Events::poll_words`]. Getters: [`Events::has`], [`Events::serves`], [`Events::count`] and others.
//!
//! A subscription is told what there is at once when it asks, and then of changes, never more often
//! than its package allows and never while a notification has no answer: what changes meanwhile is
//! told as it is when its time comes. Every document is a full one.

mod asked;
mod calls;
mod config;
mod documents;
mod index;
mod notify;
mod package;
mod publish;
mod shared;
mod state;
mod subscribe;
mod subscription;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Instant;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

pub use asked::{Asked, Asker, Outcome};
pub use calls::CallState;
pub use config::{Config, LIST_MEMBERS_MAX, Limits, List, Watch};
pub use documents::summary::Waiting;
pub use documents::told;
pub use notify::{Answered, Notify};
pub use package::{Package, UnknownPackage};

use crate::registrar::Registrar;
use crate::table::{Key, Table};
use crate::timer::Wheel;
use crate::transaction::hash::Keyed;
use calls::Calls;
use index::Index;
use publish::Publication;
use shared::Shared;
use subscription::Subscription;

/// Names a subscription for as long as the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubscriptionId(Key);

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    /// A subscription's time is over.
    Expiry(Key),
    /// It may be told of changes again.
    Pace(Key),
    /// A document's time is over.
    Publication(Key),
}

/// The event server of one node.
#[derive(Debug)]
pub struct Events {
    config: Config,
    subscriptions: Table<Subscription>,
    publications: Table<Publication>,
    /// By the place in [`Package::ALL`].
    counts: [usize; Package::ALL.len()],
    index: Index,
    calls: Calls,
    shared: Shared,
    timers: Wheel<Timer>,
    keyed: Keyed,
    rng: ChaCha8Rng,
    notifies: VecDeque<Notify>,
}

impl Events {
    /// An event server at `now`, or any earlier instant. `seed`: for tags and hashes.
    #[must_use]
    pub fn new(now: Instant, config: Config, seed: [u8; 32]) -> Events {
        let limits = config.limits;
        let keyed = Keyed::new(&seed);
        Events {
            subscriptions: Table::new(limits.subscriptions),
            publications: Table::new(limits.publications),
            counts: [0; Package::ALL.len()],
            index: Index::new(&config.lists, keyed),
            calls: Calls::new(keyed),
            shared: Shared::new(keyed),
            // A subscription has two timers at most, a publication one.
            timers: Wheel::new(now, 2 * limits.subscriptions + limits.publications),
            keyed,
            rng: ChaCha8Rng::from_seed(seed),
            notifies: VecDeque::new(),
            config,
        }
    }

    /// Whether anything is served.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        !self.config.packages.is_empty()
    }

    /// The package of that name (the value of an Event header), if this node serves it.
    #[must_use]
    pub fn serves(&self, event: &str) -> Option<Package> {
        let name = event.split(';').next().unwrap_or_default().trim();
        asked::package(&self.config, name)
    }

    /// What Allow-Events says.
    #[must_use]
    pub fn allow_events(&self) -> String {
        asked::allow_events(&self.config)
    }

    /// How many subscriptions to a package there are.
    #[must_use]
    pub const fn count(&self, package: Package) -> usize {
        self.counts[package.index()]
    }

    /// How many documents are published.
    #[must_use]
    pub fn publications(&self) -> usize {
        self.publications.len()
    }

    /// When [`Events::handle_timeout`] is due next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next_deadline()
    }

    /// The next notification to send.
    pub fn poll_notify(&mut self) -> Option<Notify> {
        self.notifies.pop_front()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant, registrar: &Registrar) {
        while let Some(timer) = self.timers.pop_expired(now) {
            match timer {
                Timer::Expiry(key) => self.expire(now, registrar, key),
                Timer::Pace(key) => {
                    if let Some(subscription) = self.subscriptions.get_mut(key) {
                        subscription.pacer = None;
                    }
                    self.pump(now, registrar, key);
                }
                Timer::Publication(key) => self.publication_expires(now, registrar, key),
            }
        }
    }

    /// A text of 64 random bits.
    fn random(&mut self) -> String {
        format!("{:016x}", self.rng.next_u64())
    }

    #[cfg(test)]
    #[track_caller]
    fn assert_clean(&self) {
        assert_eq!(self.counts, [0; Package::ALL.len()]);
        assert!(self.subscriptions.is_empty());
        assert!(self.publications.is_empty());
        assert!(self.calls.is_empty(), "{:?}", self.calls);
        assert!(self.timers.is_empty(), "{} timers", self.timers.len());
        assert!(self.index.is_empty(), "{:?}", self.index);
    }
}
