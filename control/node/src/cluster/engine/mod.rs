//! The cluster engine, behind one seam: a small store of keys with compare-and-set and a watch.
//!
//! It holds what needs consensus (members, the Controller's lease, the published view, media
//! ranges, cluster-wide settings). Nothing on a call's path waits for it. [`Coord`] is the seam;
//! behind it stand [`Embedded`] (this process alone, nothing to install) and [`Nats`] (NATS
//! JetStream). One suite of tests, `conformance`, runs on both.

mod embedded;
mod nats;
mod types;
mod watch;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod nats_faults;
#[cfg(test)]
pub(crate) mod nats_servers;

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch as latest;

pub(crate) use embedded::Embedded;
pub(crate) use nats::{Access, Nats, NatsSetup};
pub(crate) use types::{
    EngineState, Entry, Expected, Key, Outcome, Prefix, Revision, Unavailable, VALUE_MAX,
};
pub(crate) use watch::{Watch, WatchEvent};

/// No call lasts longer. An election of the engine takes up to ten seconds, which is longer: a
/// caller that needs the answer asks again, so that it stays its own master in the meantime.
pub(crate) const CALL_MAX: Duration = Duration::from_secs(2);

/// The seam. Cheap to clone; every clone speaks to the same engine.
#[derive(Clone)]
pub(crate) enum Coord {
    /// In this process: a node that is a cluster by itself.
    Embedded(Embedded),
    /// NATS JetStream servers.
    Nats(Nats),
}

impl Coord {
    /// The present value of `key`, or `None` if there is none. Reads from the engine's leader, so
    /// that what was acknowledged before is seen.
    pub(crate) async fn get(&self, key: &Key) -> Result<Option<Entry>, Unavailable> {
        match self {
            Self::Embedded(engine) => engine.get(key),
            Self::Nats(engine) => engine.get(key).await,
        }
    }

    /// Every key that begins with `prefix`, with its present value, in the order of their keys.
    pub(crate) async fn list(&self, prefix: &Prefix) -> Result<Vec<Entry>, Unavailable> {
        let mut watch = self.watch(prefix);
        tokio::time::timeout(CALL_MAX, watch.listing())
            .await
            .map_err(|_| Unavailable::new("the engine listed nothing within the time"))
    }

    /// What is there under `prefix` and, after [`WatchEvent::Complete`], what changes. Never fails:
    /// while the engine is away, nothing comes.
    pub(crate) fn watch(&self, prefix: &Prefix) -> Watch {
        match self {
            Self::Embedded(engine) => engine.watch(prefix),
            Self::Nats(engine) => engine.watch(prefix),
        }
    }

    /// Writes `value` under `key` if the key is as `expected`.
    ///
    /// # Errors
    /// None as such: see [`Outcome`]. A value of more than [`VALUE_MAX`] bytes is `Refused`.
    pub(crate) async fn cas(&self, key: &Key, expected: Expected, value: Bytes) -> Outcome {
        if value.len() > VALUE_MAX {
            return Outcome::Refused;
        }
        match self {
            Self::Embedded(engine) => engine.cas(key, expected, value),
            Self::Nats(engine) => engine.cas(key, expected, value).await,
        }
    }

    /// Deletes `key` if its revision is `expected`. Done tells the revision of the deletion.
    pub(crate) async fn delete(&self, key: &Key, expected: Revision) -> Outcome {
        match self {
            Self::Embedded(engine) => engine.delete(key, expected),
            Self::Nats(engine) => engine.delete(key, expected).await,
        }
    }

    /// Whether the engine answers; the receiver always holds the present state.
    pub(crate) fn state(&self) -> latest::Receiver<EngineState> {
        match self {
            Self::Embedded(engine) => engine.state(),
            Self::Nats(engine) => engine.state(),
        }
    }

    /// Like [`Coord::cas`], and if the outcome is unknown, reads the key again and compares it with
    /// `value`. That is an answer if `value` carries a nonce, so that nobody else writes the same
    /// bytes. Still [`Outcome::Unknown`] if the read fails too, or finds the key as it was: the
    /// write may be on its way yet.
    pub(crate) async fn cas_settled(&self, key: &Key, expected: Expected, value: Bytes) -> Outcome {
        let outcome = self.cas(key, expected, value.clone()).await;
        if outcome != Outcome::Unknown {
            return outcome;
        }
        match self.get(key).await {
            Err(_) => Outcome::Unknown,
            Ok(current) => settled(expected, &value, current),
        }
    }
}

/// What became of a write of `value` whose answer was lost, now that the key holds `current`.
fn settled(expected: Expected, value: &Bytes, current: Option<Entry>) -> Outcome {
    match (&current, expected) {
        (Some(entry), _) if entry.value == *value => Outcome::Done(entry.revision),
        (Some(entry), Expected::At(revision)) if entry.revision == revision => Outcome::Unknown,
        (None, Expected::Absent) => Outcome::Unknown,
        (Some(_) | None, Expected::At(_)) | (Some(_), Expected::Absent) => {
            Outcome::Conflict { current }
        }
    }
}
