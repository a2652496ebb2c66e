//! The location service, and what a REGISTER does to it (RFC 3261 10.3).
//!
//! Addresses of record are texts that the caller makes: whatever it takes as one user's name, be it
//! the user part alone or a canonical URI. It authenticates first and processes then.
//!
//! Bindings that have expired are never looked up; [`Registrar::purge`] takes them out of memory.

mod binding;
mod copies;
mod extensions;
mod flows;
mod gruu;
mod process;
mod replica;
#[cfg(test)]
mod tests;
mod users;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::auth::Secret;
use crate::timer::Wheel;
use crate::token::Tokens;
use crate::transaction::hash::Keyed;
use crate::transport::{Arrival, ConnectionId};
use crate::wire::{HeaderName, Uri};

pub use binding::Binding;
pub use replica::{Copied, Replica, Version};
pub use users::{AnyUser, UserTable, Users};

/// How long bindings last and how many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// A shorter time is refused with 423, unless it is an hour or more (RFC 3261 10.3 step 7): 60 s.
    pub expires_min: Duration,
    /// A longer time is cut to this: 2 h.
    pub expires_max: Duration,
    /// For a Contact that names no time: 1 h.
    pub expires_default: Duration,
    /// Most bindings of one user. A REGISTER that would add more is refused with 503, and Retry-After
    /// says when the first of them expires.
    pub bindings_per_user_max: usize,
    /// Most bindings in all; refused alike. 1,000,000 with some 500 bytes each make 500 MB.
    pub bindings_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            expires_min: Duration::from_secs(60),
            expires_max: Duration::from_secs(2 * 3600),
            expires_default: Duration::from_secs(3600),
            bindings_per_user_max: 10,
            bindings_max: 1_000_000,
        }
    }
}

/// Whom a request for a user is to be sent to.
#[derive(Clone, Debug)]
pub enum Lookup<'r> {
    /// There is no such user: 404.
    UnknownUser,
    /// The user is on no device: 480.
    NotRegistered,
    /// At least one binding, the highest q first, of equal ones the one refreshed last.
    Bindings(SmallVec<[&'r Binding; 4]>),
}

/// The answer to a REGISTER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// 200, 400, 423, 439, 500 or 503.
    pub status: u16,
    /// What to say with it.
    pub reason: &'static str,
    /// Further header lines: a Contact for each binding with its remaining time, Path,
    /// `Require: outbound`, Min-Expires, Retry-After.
    pub headers: Vec<(HeaderName, String)>,
}

/// The bindings of one user.
#[derive(Debug, Default)]
struct Record {
    bindings: SmallVec<[Binding; 1]>,
}

/// A binding that expires: whose, and which.
#[derive(Clone, Debug)]
struct Expiry {
    aor: Arc<str>,
    serial: u64,
}

/// The location service with its users.
///
/// Getters: [`lookup`](Self::lookup), [`lookup_instance`](Self::lookup_instance),
/// [`lookup_temporary`](Self::lookup_temporary), [`lookup_contact`](Self::lookup_contact), [`len`](Self::len), [`secret`](Self::secret),
/// [`is_open`](Self::is_open), [`next_expiry`](Self::next_expiry). Input:
/// [`process`](Self::process). Mutators: [`purge`](Self::purge),
/// [`remove_flow`](Self::remove_flow).
#[derive(Debug)]
pub struct Registrar {
    config: Config,
    users: Box<dyn Users>,
    /// Hashes Call-IDs and instances: the same at each member of a farm.
    orders: Keyed,
    gruus: Tokens,
    records: HashMap<Arc<str>, Record, Keyed>,
    /// How many bindings there are in all records.
    len: usize,
    expiries: Wheel<Expiry>,
    /// Who has bindings that came over which connection; at most one entry a binding.
    flows: BTreeSet<(ConnectionId, Arc<str>)>,
    last_serial: u64,
    /// Whose bindings have changed, where that is to be told: at most one entry a binding between
    /// two calls of [`Registrar::poll_change`].
    changes: Option<VecDeque<Arc<str>>>,
    /// Where bindings are shared with other members of a farm.
    copies: Option<Box<copies::Copies>>,
}

impl Registrar {
    /// A location service without bindings. `now` is the present or any earlier instant; `seed` makes
    /// its hashes unpredictable.
    #[must_use]
    pub fn new(now: Instant, config: Config, users: Box<dyn Users>, seed: [u8; 32]) -> Self {
        let keyed = Keyed::new(&seed);
        Registrar {
            config,
            users,
            orders: keyed,
            gruus: Tokens::new(&seed, "gruu"),
            records: HashMap::with_hasher(keyed),
            len: 0,
            // A binding that is refreshed has its old timer cancelled first.
            expiries: Wheel::new(now, config.bindings_max),
            flows: BTreeSet::new(),
            last_serial: 0,
            changes: None,
            copies: None,
        }
    }

    /// Whether anybody may register and call without credentials.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.users.is_open()
    }

    /// What the credentials of a user are checked against.
    #[must_use]
    pub fn secret(&self, user: &str) -> Option<&Secret> {
        self.users.secret(user)
    }

    /// Whether there is such a user, registered or not.
    #[must_use]
    pub fn exists(&self, aor: &str) -> bool {
        self.users.exists(aor)
    }

    /// Replaces the users. Bindings of those that are gone stay until they expire, but are not looked
    /// up any more.
    pub fn set_users(&mut self, users: Box<dyn Users>) {
        self.users = users;
    }

    /// How many bindings there are, including those that have expired since the last
    /// [`Registrar::purge`].
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no binding.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The devices of a user.
    #[must_use]
    pub fn lookup(&self, now: Instant, aor: &str) -> Lookup<'_> {
        self.find(now, aor, |_| true)
    }

    /// The device of a user that has registered this Contact; by the way that it came last.
    #[must_use]
    pub fn lookup_contact(&self, now: Instant, aor: &str, contact: &Uri<'_>) -> Option<&Binding> {
        let is_meant = |binding: &Binding| {
            binding.path.is_none()
                && !binding.flow_lost
                && Uri::parse(&binding.uri).is_ok_and(|own| own.equivalent(contact))
        };
        match self.find(now, aor, is_meant) {
            Lookup::Bindings(found) => found.first().copied(),
            Lookup::UnknownUser | Lookup::NotRegistered => None,
        }
    }

    /// Whether a device of the user has registered the way that something has come.
    #[must_use]
    pub fn has_flow(&self, now: Instant, aor: &str, arrival: &Arrival) -> bool {
        let bindings = self.records.get(aor).map(|record| record.bindings.as_slice());
        bindings.unwrap_or_default().iter().any(|binding| {
            let own = &binding.arrival;
            binding.expires > now
                && binding.path.is_none()
                && !binding.flow_lost
                && (own.remote, own.transport, own.connection)
                    == (arrival.remote, arrival.transport, arrival.connection)
        })
    }

    /// Those of the user's bindings that requests can be sent to and `is_meant` picks.
    fn find(&self, now: Instant, aor: &str, is_meant: impl Fn(&Binding) -> bool) -> Lookup<'_> {
        if !self.users.exists(aor) {
            return Lookup::UnknownUser;
        }
        let record = self.records.get(aor);
        let mut bindings: SmallVec<[&Binding; 4]> = record
            .iter()
            .flat_map(|record| &record.bindings)
            .filter(|binding| binding.expires > now && binding.is_target() && is_meant(binding))
            .collect();
        if bindings.is_empty() {
            return Lookup::NotRegistered;
        }
        bindings.sort_by_key(|binding| std::cmp::Reverse((binding.q_thousandths, binding.serial)));
        Lookup::Bindings(bindings)
    }

    /// Whether [`Registrar::poll_change`] says whose bindings change. Whoever has it say so takes them
    /// out after each input.
    pub fn tell_changes(&mut self, tell: bool) {
        self.changes = tell.then(VecDeque::new);
    }

    /// A user whose bindings have changed, been refreshed or gone.
    pub fn poll_change(&mut self) -> Option<Arc<str>> {
        self.changes.as_mut()?.pop_front()
    }

    /// When the first binding expires, or earlier: calling [`Registrar::purge`] then is enough.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Instant> {
        self.expiries.next_deadline()
    }

    /// Takes the bindings that have expired out of memory. Costs nothing if there are none.
    pub fn purge(&mut self, now: Instant) {
        while let Some(Expiry { aor, serial }) = self.expiries.pop_expired(now) {
            let Some(record) = self.records.get_mut(&aor) else { continue };
            let Some(at) = record.bindings.iter().position(|binding| binding.serial == serial)
            else {
                continue;
            };
            let expired = record.bindings.remove(at);
            self.len -= 1;
            record.forget_flow(&mut self.flows, &aor, &expired);
            if let Some(changes) = &mut self.changes {
                changes.push_back(aor.clone());
            }
            if record.bindings.is_empty() {
                self.records.remove(&aor);
                if let Some(copies) = &mut self.copies {
                    copies.note_empty(&aor);
                }
            }
        }
    }
}
