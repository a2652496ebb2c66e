//! Following the keys under a prefix.

use std::collections::BTreeMap;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::types::{Entry, Key, Revision};

/// Events that wait for a slow reader; past this its engine task waits, and later writes of one
/// key replace earlier ones where they wait in the engine.
pub(super) const EVENTS_MAX: usize = 256;

/// What a watch tells.
///
/// The contract, the same for every engine: every key's last value arrives, values in between may
/// be left out; revisions grow from event to event; nothing is lost when the connection or a
/// server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WatchEvent {
    /// The key holds this value.
    Changed(Entry),
    /// The key was deleted.
    Gone {
        /// The key.
        key: Key,
        /// Of the deletion.
        revision: Revision,
    },
    /// Everything that was there when the watch began has been told. Comes once, and once more
    /// after each `Restarted`.
    Complete,
    /// The engine came back with another memory (its bucket was made anew, or lost its last
    /// writes): what was told is void, everything that is there follows, then `Complete`.
    Restarted,
}

/// A watch; ends when it is dropped.
pub(crate) struct Watch {
    events: mpsc::Receiver<WatchEvent>,
    task: JoinHandle<()>,
}

impl Watch {
    pub(super) fn new(events: mpsc::Receiver<WatchEvent>, task: JoinHandle<()>) -> Self {
        Self { events, task }
    }

    /// The next event; `None` only when the engine was shut down. Cancelling loses nothing.
    pub(crate) async fn next(&mut self) -> Option<WatchEvent> {
        self.events.recv().await
    }

    /// Everything up to `Complete`, in the order of the keys.
    pub(super) async fn listing(&mut self) -> Vec<Entry> {
        let mut found = BTreeMap::new();
        while let Some(event) = self.next().await {
            match event {
                WatchEvent::Changed(entry) => drop(found.insert(entry.key.clone(), entry)),
                WatchEvent::Gone { key, .. } => drop(found.remove(&key)),
                WatchEvent::Restarted => found.clear(),
                WatchEvent::Complete => break,
            }
        }
        found.into_values().collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
