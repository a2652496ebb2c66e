//! The task that owns the membership.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use control_core::cluster::membership::{
    Ask, ChangeError, EngineLink, EngineOp, Identity, Membership, Nonce, Outcome, Output, Ticket,
    Timing,
};
use control_core::cluster::{Key, LocalSettings, Revision};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::{End, Input, News, Present, unix_now};
use crate::cluster::engine::{self, Coord, EngineState, Expected, Prefix, Watch, WatchEvent};

/// Owns the membership and everything that feeds it.
pub(super) struct Driver {
    engine: Coord,
    state: watch::Receiver<EngineState>,
    /// While the engine answers; a new one each time that it comes back.
    values: Option<Watch>,
    membership: Membership,
    /// The engine's calls that are under way, at most one a key.
    calls: JoinSet<(Nonce, Outcome)>,
    changes: BTreeMap<Ticket, oneshot::Sender<Result<(), ChangeError>>>,
    last_ticket: u64,
    present: watch::Sender<Arc<Present>>,
    end: Option<End>,
    news: mpsc::Sender<News>,
    news_dropped: u64,
}

/// What wakes the task.
enum Woken {
    Engine,
    Value(Option<WatchEvent>),
    Called(Nonce, Outcome),
    CallLost,
    Told(Input),
    Time,
    Over,
}

impl Driver {
    pub(super) fn new(
        engine: Coord,
        identity: Identity,
        local: LocalSettings,
        timing: Timing,
        news: mpsc::Sender<News>,
    ) -> (Self, watch::Receiver<Arc<Present>>) {
        let state = engine.state();
        let membership = Membership::new(identity, local, timing, Instant::now(), unix_now());
        let (present, receiver) =
            watch::channel(Arc::new(current(&membership, *state.borrow(), None, 0)));
        let driver = Self {
            engine,
            state,
            values: None,
            membership,
            calls: JoinSet::new(),
            changes: BTreeMap::new(),
            last_ticket: 0,
            present,
            end: None,
            news,
            news_dropped: 0,
        };
        (driver, receiver)
    }

    /// Runs until nobody has a handle any more.
    pub(super) async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        self.turn_to_engine();
        loop {
            self.carry_out();
            self.publish();
            match self.wait(&mut inputs).await {
                Woken::Engine => self.turn_to_engine(),
                Woken::Value(event) => self.take_value(event),
                Woken::Called(nonce, outcome) => {
                    self.membership.handle_outcome(nonce, outcome, Instant::now());
                }
                // The membership waits for no outcome for ever.
                Woken::CallLost => {}
                Woken::Told(input) => self.take_input(input),
                Woken::Time => self.membership.handle_timeout(Instant::now()),
                Woken::Over => return,
            }
        }
    }

    async fn wait(&mut self, inputs: &mut mpsc::Receiver<Input>) -> Woken {
        let due = self.membership.poll_timeout();
        tokio::select! {
            changed = self.state.changed() => match changed {
                Ok(()) => Woken::Engine,
                Err(_) => Woken::Over,
            },
            event = next(&mut self.values) => Woken::Value(event),
            Some(called) = self.calls.join_next() => match called {
                Ok((nonce, outcome)) => Woken::Called(nonce, outcome),
                Err(_) => Woken::CallLost,
            },
            input = inputs.recv() => input.map_or(Woken::Over, Woken::Told),
            () = tokio::time::sleep_until(due.into()) => Woken::Time,
        }
    }

    /// Begins to listen to an engine that is back; hears no more of one that is lost.
    fn turn_to_engine(&mut self) {
        let state = *self.state.borrow_and_update();
        match state {
            EngineState::Connected if self.values.is_none() => {
                self.values = Some(self.engine.watch(&Prefix::all()));
            }
            EngineState::Connected => {}
            EngineState::Lost { .. } => {
                self.values = None;
                self.membership.handle_engine(EngineLink::Lost, Instant::now());
            }
        }
    }

    fn take_value(&mut self, event: Option<WatchEvent>) {
        let now = Instant::now();
        match event {
            Some(WatchEvent::Changed(entry)) => {
                self.hand_in(&entry.key, entry.revision, Some(&entry.value), now);
            }
            Some(WatchEvent::Gone { key, revision }) => self.hand_in(&key, revision, None, now),
            // Only now is what was not told not there.
            Some(WatchEvent::Complete) => self.membership.handle_engine(EngineLink::Back, now),
            Some(WatchEvent::Restarted) => self.membership.handle_engine(EngineLink::Lost, now),
            // An engine that is shut down is lost; it says so itself.
            None => self.values = None,
        }
    }

    fn hand_in(
        &mut self,
        key: &engine::Key,
        revision: Revision,
        value: Option<&[u8]>,
        now: Instant,
    ) {
        // Keys of newer versions are theirs.
        if let Some(key) = Key::parse(key.as_str()) {
            self.membership.handle_value(&key, revision, value, now);
        }
    }

    fn take_input(&mut self, input: Input) {
        let now = Instant::now();
        match input {
            Input::Peer(name, incarnate, state) => {
                self.membership.handle_peer(&name, incarnate, state, now);
            }
            Input::View(from, view, answer) => {
                // Nobody has to wait for the verdict.
                let _ = answer.send(self.membership.handle_view(&from, *view, now));
            }
            Input::Load(load) => self.membership.handle_load(load),
            Input::Drain(draining) => self.membership.handle_drain(draining, now),
            Input::Copied => self.membership.handle_copied(now),
            Input::TokenKey(number) => self.membership.handle_token_key(number, now),
            Input::Local(local) => self.membership.handle_local(*local, now),
            Input::MediaUsed(latest, earlier) => {
                self.membership.handle_media_used(latest, &earlier, now);
            }
            Input::Leave => self.membership.handle_leave(now),
            Input::Change(scope, change, answer) => {
                self.last_ticket += 1;
                let ticket = Ticket(self.last_ticket);
                self.changes.insert(ticket, answer);
                self.membership.handle_settings_change(ticket, scope, change, now);
            }
            Input::Members(answer) => {
                let _ = answer.send(self.membership.members(now).collect());
            }
            Input::Settings(scope, answer) => {
                let _ = answer.send(self.membership.settings(&scope).cloned());
            }
        }
    }

    /// Does what the membership wants done.
    fn carry_out(&mut self) {
        while let Some(output) = self.membership.poll_output() {
            match output {
                Output::Engine(op) => {
                    self.calls.spawn(call(self.engine.clone(), op));
                }
                Output::Push { to, view } => self.tell(News::Push { to, view }),
                Output::Joined(incarnate) => self.tell(News::Joined(incarnate)),
                Output::ViewChanged(view) => self.tell(News::View(view)),
                Output::ProfileChanged(profile) => self.tell(News::Profile(profile)),
                Output::Fenced { was, why } => self.tell(News::Fenced { was, why }),
                Output::Refused(why) => self.end_with(End::Refused(why)),
                Output::Left => self.end_with(End::Left),
                Output::SettingChanged { ticket, result } => {
                    if let Some(answer) = self.changes.remove(&ticket) {
                        let _ = answer.send(result);
                    }
                }
                Output::Notice(notice) => self.tell(News::Notice(notice)),
            }
        }
    }

    fn end_with(&mut self, end: End) {
        self.end = Some(end.clone());
        self.tell(News::End(end));
    }

    fn tell(&mut self, news: News) {
        if self.news.try_send(news).is_err() {
            self.news_dropped += 1;
        }
    }

    fn publish(&self) {
        let engine = *self.state.borrow();
        let now = current(&self.membership, engine, self.end.as_ref(), self.news_dropped);
        self.present.send_if_modified(|present| {
            let changes = **present != now;
            if changes {
                *present = Arc::new(now);
            }
            changes
        });
    }
}

fn current(
    membership: &Membership,
    engine: EngineState,
    end: Option<&End>,
    news_dropped: u64,
) -> Present {
    let controller = membership.controller();
    Present {
        standing: membership.standing(),
        view: membership.view().cloned(),
        is_controller: membership.is_controller(),
        controller: controller.map(|(name, incarnate, term)| (name.clone(), incarnate, term)),
        engine,
        profile: membership.profile(),
        barred: membership.barred(),
        token_keys: membership.token_keys(),
        end: end.cloned(),
        news_dropped,
    }
}

/// The next value; without a watch, never.
async fn next(values: &mut Option<Watch>) -> Option<WatchEvent> {
    match values {
        Some(watch) => watch.next().await,
        None => std::future::pending().await,
    }
}

/// Carries out one operation. Its time limit is the seam's.
async fn call(engine: Coord, EngineOp { nonce, key, ask }: EngineOp) -> (Nonce, Outcome) {
    let key = match engine::Key::parse(&key.to_string()) {
        Ok(key) => key,
        Err(error) => {
            tracing::error!(%error, "a document of the cluster has a name that the engine refuses");
            return (nonce, Outcome::Unavailable);
        }
    };
    let outcome = match ask {
        Ask::Read => engine.get(&key).await.map_or(Outcome::Unavailable, |found| {
            Outcome::Value(found.map(|entry| (entry.revision, entry.value.to_vec())))
        }),
        Ask::Write { expected, bytes } => {
            let expected = expected.map_or(Expected::Absent, Expected::At);
            match engine.cas(&key, expected, Bytes::from(bytes)).await {
                engine::Outcome::Done(revision) => Outcome::Done(revision),
                engine::Outcome::Conflict { .. } => Outcome::Conflict,
                engine::Outcome::Unavailable(why) => {
                    tracing::debug!(%key, %why, "not written to the cluster engine");
                    Outcome::Unavailable
                }
                engine::Outcome::Unknown => Outcome::Unknown,
                engine::Outcome::Refused => {
                    tracing::error!(%key, "a document of the cluster is too long for its engine");
                    Outcome::Unavailable
                }
            }
        }
    };
    (nonce, outcome)
}
