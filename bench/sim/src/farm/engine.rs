//! The cluster's engine: one consistent store with compare-and-set and a watch.

use std::collections::BTreeMap;

use control_core::cluster::membership::{Ask, Outcome};
use control_core::cluster::{Key, Revision};

#[derive(Debug, Default)]
pub(super) struct Store {
    values: BTreeMap<Key, (Revision, Vec<u8>)>,
    last: u64,
    /// It takes no writes.
    pub(super) stalled: bool,
}

/// A value that has changed, as watchers are told.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) key: Key,
    pub(super) revision: Revision,
    pub(super) bytes: std::rc::Rc<[u8]>,
}

impl Store {
    /// What comes of it, and what watchers are to be told.
    pub(super) fn apply(&mut self, key: &Key, ask: Ask) -> (Outcome, Option<Change>) {
        match ask {
            Ask::Read => (Outcome::Value(self.values.get(key).cloned()), None),
            Ask::Write { .. } if self.stalled => (Outcome::Unavailable, None),
            Ask::Write { expected, bytes } => {
                if self.values.get(key).map(|(revision, _)| *revision) != expected {
                    return (Outcome::Conflict, None);
                }
                self.last += 1;
                let revision = Revision(self.last);
                let change = Change { key: key.clone(), revision, bytes: bytes.as_slice().into() };
                self.values.insert(key.clone(), (revision, bytes));
                (Outcome::Done(revision), Some(change))
            }
        }
    }

    pub(super) fn values(&self) -> impl Iterator<Item = (&Key, &(Revision, Vec<u8>))> {
        self.values.iter()
    }
}
