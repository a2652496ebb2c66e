//! The engine of a node that is a cluster by itself: a map in this process.
//!
//! It forgets with the process, which is right for it: what a single node must keep, its settings
//! file keeps.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{mpsc, watch as latest};

use super::types::{EngineState, Entry, Expected, Key, Outcome, Prefix, Revision, Unavailable};
use super::watch::{EVENTS_MAX, Watch, WatchEvent};

/// Most keys, deleted ones included: 1,000 members with a record, a range and settings each, and
/// as many again.
const KEYS_MAX: usize = 8 * 1024;

/// The engine in this process.
#[derive(Clone)]
pub(crate) struct Embedded {
    shared: Arc<Shared>,
    /// Connected, but in tests.
    state: Arc<latest::Sender<EngineState>>,
}

struct Shared {
    keys: Mutex<Keys>,
    /// The last revision; watchers wait for it to grow.
    last: latest::Sender<u64>,
}

#[derive(Default)]
struct Keys {
    /// A deleted key stays, so that a watcher that was slow learns of it.
    slots: BTreeMap<Key, Slot>,
    last: u64,
}

struct Slot {
    revision: Revision,
    value: Option<Bytes>,
}

impl Embedded {
    /// An engine without keys.
    pub(crate) fn new() -> Self {
        Self::with(Arc::new(Shared { keys: Mutex::default(), last: latest::Sender::new(0) }))
    }

    fn with(shared: Arc<Shared>) -> Self {
        Self { shared, state: Arc::new(latest::Sender::new(EngineState::Connected)) }
    }

    /// Another way to the same engine, which is lost for itself.
    #[cfg(test)]
    pub(crate) fn another_client(&self) -> Self {
        Self::with(self.shared.clone())
    }

    pub(super) fn get(&self, key: &Key) -> Result<Option<Entry>, Unavailable> {
        self.answers()?;
        Ok(self.keys().current(key))
    }

    pub(super) fn cas(&self, key: &Key, expected: Expected, value: Bytes) -> Outcome {
        if let Err(lost) = self.answers() {
            return Outcome::Unavailable(lost);
        }
        let mut keys = self.keys();
        let current = keys.current(key);
        if current.as_ref().map_or(Expected::Absent, |entry| Expected::At(entry.revision))
            != expected
        {
            return Outcome::Conflict { current };
        }
        if keys.slots.len() >= KEYS_MAX && !keys.slots.contains_key(key) {
            return Outcome::Unavailable(Unavailable::new("the engine is full"));
        }
        Outcome::Done(self.write(&mut keys, key, Some(value)))
    }

    pub(super) fn delete(&self, key: &Key, expected: Revision) -> Outcome {
        if let Err(lost) = self.answers() {
            return Outcome::Unavailable(lost);
        }
        let mut keys = self.keys();
        let current = keys.current(key);
        if current.as_ref().is_none_or(|entry| entry.revision != expected) {
            return Outcome::Conflict { current };
        }
        Outcome::Done(self.write(&mut keys, key, None))
    }

    pub(super) fn watch(&self, prefix: &Prefix) -> Watch {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        Watch::new(receiver, tokio::spawn(follow(self.clone(), prefix.clone(), sender)))
    }

    pub(super) fn state(&self) -> latest::Receiver<EngineState> {
        self.state.subscribe()
    }

    /// Makes the engine answer nothing, or answer again, as one whose servers are away.
    #[cfg(test)]
    pub(crate) fn set_lost(&self, lost: bool) {
        let since = std::time::Instant::now();
        let state = if lost { EngineState::Lost { since } } else { EngineState::Connected };
        self.state.send_replace(state);
    }

    fn answers(&self) -> Result<(), Unavailable> {
        match *self.state.borrow() {
            EngineState::Connected => Ok(()),
            EngineState::Lost { .. } => Err(Unavailable::new("the engine is lost")),
        }
    }

    fn write(&self, keys: &mut Keys, key: &Key, value: Option<Bytes>) -> Revision {
        keys.last += 1;
        let revision = Revision(keys.last);
        keys.slots.insert(key.clone(), Slot { revision, value });
        self.shared.last.send_replace(keys.last);
        revision
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        // No code that can panic runs under the lock, so a poisoned map is whole.
        self.shared.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keys {
    fn current(&self, key: &Key) -> Option<Entry> {
        let Slot { revision, value } = self.slots.get(key)?;
        Some(Entry { key: key.clone(), revision: *revision, value: value.clone()? })
    }

    /// What was written after `seen` under `prefix`, in the order of the writes.
    fn since(&self, seen: u64, prefix: &Prefix) -> Vec<WatchEvent> {
        let new = |(key, slot): &(&Key, &Slot)| slot.revision.0 > seen && prefix.holds(key);
        let mut slots: Vec<_> = self.slots.iter().filter(new).collect();
        slots.sort_unstable_by_key(|(_, slot)| slot.revision);
        let told = |(key, slot): (&Key, &Slot)| match slot.value.clone() {
            Some(value) => {
                WatchEvent::Changed(Entry { key: key.clone(), revision: slot.revision, value })
            }
            None => WatchEvent::Gone { key: key.clone(), revision: slot.revision },
        };
        slots.into_iter().map(told).collect()
    }
}

/// Tells what is there, then what changes, until the watch is dropped.
async fn follow(engine: Embedded, prefix: Prefix, events: mpsc::Sender<WatchEvent>) {
    let mut last = engine.shared.last.subscribe();
    let mut state = engine.state();
    let mut seen = 0;
    let mut complete = false;
    loop {
        // A lost engine tells nothing; what was written meanwhile follows.
        if state.wait_for(|state| *state == EngineState::Connected).await.is_err() {
            return;
        }
        let (news, upto) = {
            let keys = engine.keys();
            (keys.since(seen, &prefix), keys.last)
        };
        last.borrow_and_update();
        // What was deleted before the watch began is no news.
        let is_news = |event: &WatchEvent| complete || !matches!(event, WatchEvent::Gone { .. });
        for event in news.into_iter().filter(is_news) {
            if events.send(event).await.is_err() {
                return;
            }
        }
        seen = upto;
        if !complete && events.send(WatchEvent::Complete).await.is_err() {
            return;
        }
        complete = true;
        // More may have been written while the reader was slow: then this does not wait.
        if last.wait_for(|last| *last > seen).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What drivers are tested with behaves as an engine whose servers are away.
    #[tokio::test]
    async fn a_lost_engine_refuses_and_tells_nothing_until_it_is_back() {
        let engine = Embedded::new();
        let key = Key::parse("view").unwrap();
        engine.set_lost(true);
        assert!(engine.get(&key).is_err());
        let refused = engine.cas(&key, Expected::Absent, Bytes::new());
        assert!(matches!(refused, Outcome::Unavailable(_)), "{refused:?}");
        assert!(matches!(engine.delete(&key, Revision(1)), Outcome::Unavailable(_)));
        let mut watch = engine.watch(&Prefix::all());
        tokio::task::yield_now().await;
        engine.set_lost(false);
        assert_eq!(watch.next().await, Some(WatchEvent::Complete));
    }

    #[test]
    fn a_full_engine_takes_no_further_key() {
        let engine = Embedded::new();
        let key = |number: usize| Key::parse(&format!("k{number}")).unwrap();
        for number in 0..KEYS_MAX {
            let written = engine.cas(&key(number), Expected::Absent, Bytes::new());
            assert!(matches!(written, Outcome::Done(_)), "{written:?}");
        }
        let refused = engine.cas(&key(KEYS_MAX), Expected::Absent, Bytes::new());
        assert!(matches!(refused, Outcome::Unavailable(_)), "{refused:?}");
        let first = engine.get(&key(0)).unwrap().expect("it is there").revision;
        let over = engine.cas(&key(0), Expected::At(first), Bytes::from("x"));
        assert!(matches!(over, Outcome::Done(_)), "{over:?}");
    }
}
