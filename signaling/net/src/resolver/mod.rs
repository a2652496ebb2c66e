//! Look-ups in DNS (RFC 3263) for the signaling thread.
//!
//! [`Resolver::ask`] starts a look-up as a task of its own and never waits; [`Resolver::next`] yields what
//! the tasks have found. The core decides what is asked ([`Lookup`]); hickory asks it, with
//! `/etc/hosts`, a cache that honours TTLs, and TCP where an answer is truncated.

mod dns;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use signaling_core::resolve::{Hop, Lookup, Query, ResolveError};
use tokio::task::{Id, JoinSet};
use tokio::time::timeout;

pub use dns::BadConfig;
use dns::Dns;

/// Look-ups of different names at once: each is a task and a few queries, some 20 KiB. At the bound
/// further names are answered [`ResolveError::Busy`].
const LOOKUPS_MAX: usize = 1_024;

/// Requests that wait for one name at once; at the bound further ones are answered
/// [`ResolveError::Busy`].
const WAITERS_MAX: usize = 10_000;

/// How names are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolverConfig {
    /// The name servers; empty: those of `resolv_conf`.
    pub servers: Vec<SocketAddr>,
    /// The system's own settings: `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
    /// How long one query waits for its answer before it is tried elsewhere.
    pub query_timeout: Duration,
    /// How long a whole look-up may take.
    pub lookup_timeout: Duration,
    /// Most answers that are kept.
    pub cache_entries: u64,
    /// The longest that an answer is kept, whatever its TTL says.
    pub ttl_max: Duration,
    /// The longest that "there is no such name" is kept.
    pub negative_ttl_max: Duration,
}

impl Default for ResolverConfig {
    fn default() -> Self {
        ResolverConfig {
            servers: Vec::new(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            query_timeout: Duration::from_secs(2),
            lookup_timeout: Duration::from_secs(8),
            cache_entries: 10_000,
            ttl_max: Duration::from_secs(3_600),
            negative_ttl_max: Duration::from_secs(60),
        }
    }
}

/// What a look-up has found.
pub type Outcome = Result<Vec<Hop>, ResolveError>;

/// Looks names up.
#[derive(Debug)]
pub struct Resolver {
    dns: Dns,
    config: ResolverConfig,
    tasks: JoinSet<Outcome>,
    running: HashMap<Id, Query>,
    /// Who waits for what.
    waiting: HashMap<Query, Vec<u64>>,
    /// Answers that are there already.
    ready: Vec<(Vec<u64>, Outcome)>,
}

impl Resolver {
    /// Reads `/etc/resolv.conf` (unless servers are given) and `/etc/hosts`.
    ///
    /// # Errors
    /// [`BadConfig`] if `/etc/resolv.conf` is there and cannot be read.
    pub fn new(config: &ResolverConfig) -> Result<Resolver, BadConfig> {
        Ok(Resolver {
            dns: Dns::new(config)?,
            config: config.clone(),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            waiting: HashMap::new(),
            ready: Vec::new(),
        })
    }

    /// Reads the system's settings again; whether they have changed. If so, names are asked for there,
    /// and what was known is forgotten. Look-ups that have begun end as they have begun.
    ///
    /// # Errors
    /// As [`Resolver::new`]; the settings in use stay.
    pub fn reload(&mut self) -> Result<bool, BadConfig> {
        if !self.config.servers.is_empty() {
            return Ok(false);
        }
        let dns = Dns::new(&self.config)?;
        let changed = !dns.is_like(&self.dns);
        if changed {
            self.dns = dns;
        }
        Ok(changed)
    }

    /// Starts a look-up, whose outcome [`Resolver::next`] yields under `token`. A name that is being
    /// looked up already is not asked for twice. Needs a running tokio runtime.
    pub fn ask(&mut self, token: u64, query: Query, seed: u64) {
        let lookups = self.waiting.len();
        if let Some(tokens) = self.waiting.get_mut(&query) {
            if tokens.len() < WAITERS_MAX {
                tokens.push(token);
            } else {
                self.ready.push((vec![token], Err(ResolveError::Busy)));
            }
            return;
        }
        if lookups >= LOOKUPS_MAX {
            self.ready.push((vec![token], Err(ResolveError::Busy)));
            return;
        }
        self.waiting.insert(query.clone(), vec![token]);
        let (dns, limit) = (self.dns.clone(), self.config.lookup_timeout);
        let name = query.clone();
        let task = self.tasks.spawn(async move {
            let found = timeout(limit, run(&dns, query, seed)).await;
            found.unwrap_or(Err(ResolveError::NoAnswer))
        });
        self.running.insert(task.id(), name);
    }

    /// How many names are being looked up.
    #[must_use]
    pub fn lookups(&self) -> usize {
        self.waiting.len()
    }

    /// Whether [`Resolver::next`] has nothing to wait for.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.ready.is_empty()
    }

    /// The next outcome, with the tokens of all who asked. Waits for ever if nothing is being looked
    /// up. Cancel-safe.
    pub async fn next(&mut self) -> (Vec<u64>, Outcome) {
        loop {
            if let Some(ready) = self.ready.pop() {
                return ready;
            }
            let (task, outcome) = match self.tasks.join_next_with_id().await {
                Some(Ok(found)) => found,
                Some(Err(error)) => {
                    tracing::error!(%error, "a look-up has failed");
                    (error.id(), Err(ResolveError::NoAnswer))
                }
                None => std::future::pending().await,
            };
            let query = self.running.remove(&task);
            if let Some(tokens) = query.and_then(|query| self.waiting.remove(&query)) {
                return (tokens, outcome);
            }
        }
    }
}

async fn run(dns: &Dns, query: Query, seed: u64) -> Outcome {
    let mut lookup = Lookup::new(query, seed);
    loop {
        let questions = lookup.questions();
        if questions.is_empty() {
            return lookup.outcome();
        }
        let mut asked = JoinSet::new();
        for question in questions {
            let dns = dns.clone();
            asked.spawn(async move {
                let reply = dns.ask(&question).await;
                (question, reply)
            });
        }
        while let Some(answered) = asked.join_next().await {
            let Ok((question, reply)) = answered else { return Err(ResolveError::NoAnswer) };
            lookup.handle(question, reply);
        }
    }
}
