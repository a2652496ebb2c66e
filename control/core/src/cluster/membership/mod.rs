//! A member's part in the cluster, as one value: it joins, renews its lease, campaigns for the
//! Controller's, and does the Controller's work while it holds that.
//!
//! It is driven from outside: `handle_*` takes what has happened, `poll_output` gives what is to be
//! done, `poll_timeout` says when to call `handle_timeout` at the latest. After each input it compares
//! what stands in the engine with what should, and begins at most one operation on each key; what it
//! knows of a key after an operation is what the engine says, never what it has wished. So a lost, late
//! or unknown outcome needs no case of its own: the next comparison sees what is so.
//!
//! What makes it safe:
//! - Every write is a compare-and-set. A member is removed by a write to *its own record*, on the
//!   revision that has stood still: if it has renewed its lease in between, the write fails.
//! - Views are a chain: each is written on top of the last, with a greater epoch and never a smaller
//!   term. They are sent over the mesh only once they stand in the engine.
//! - Leases are judged by the watcher's own monotonic clock, from the moment that it has seen the
//!   revision move. While the engine is lost, or takes no writes of ours, or this process sleeps,
//!   nothing runs out; afterwards everybody has a whole lease again.

mod api;
mod arrival;
mod campaign;
mod changes;
mod claims;
mod duties;
mod leases;
mod outputs;
mod own;
mod slot;
mod status;
mod store;
mod token_keys;
mod views;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

pub use api::{
    Ask, ChangeError, EngineLink, EngineOp, Fence, Identity, JoinError, Nonce, Notice, Outcome,
    Output, PeerState, Standing, Ticket, Timing, UsedMedia, ViewVerdict,
};
pub use arrival::{CONTINUES_MAX, JOINING_MAX};
pub use status::MemberStatus;

use changes::Pending;
use outputs::Outputs;
use own::Own;
use store::Store;

use super::{
    Change, Epoch, Incarnate, Key, Load, LocalSettings, MEMBERS_MAX, MemberName, Profile, Revision,
    Scope, Term, TokenKeys, UnixMillis, Unreadable, View,
};

/// See the [module](self). Methods are `handle_*` (inputs), `poll_*` (outputs) and getters.
#[derive(Debug)]
pub struct Membership {
    identity: Identity,
    local: LocalSettings,
    timing: Timing,
    /// This moment by the calendar was that one by the clock.
    calendar: (Instant, UnixMillis),
    last_input: Instant,
    engine: EngineLink,
    had_engine: bool,
    /// When the engine took a write of ours last.
    last_write: Option<Instant>,
    /// The engine did not take a write.
    was_refused: bool,
    /// When anything in the engine moved last.
    last_move: Instant,
    store: Store,
    own: Own,
    view: Option<Arc<View>>,
    /// The furthest that the engine has had.
    token_keys: TokenKeys,
    /// The term in which this member holds the Controller's lease.
    holds: Option<Term>,
    peers: BTreeMap<MemberName, (Incarnate, PeerState)>,
    changes: VecDeque<Pending>,
    /// The epoch of the view that the engine had last.
    engine_epoch: Epoch,
    /// Removals of members that are being written.
    removals: BTreeMap<Nonce, Notice>,
    /// Who is kept out of the view, so that each is told once.
    kept_out: Vec<Notice>,
    outputs: Outputs,
}

impl Membership {
    /// A member that wants to join. `unix` is `now` by the calendar, for people to read.
    #[must_use]
    pub fn new(
        identity: Identity,
        local: LocalSettings,
        timing: Timing,
        now: Instant,
        unix: UnixMillis,
    ) -> Membership {
        Membership {
            identity,
            local,
            timing,
            calendar: (now, unix),
            last_input: now,
            engine: EngineLink::Lost,
            had_engine: false,
            last_write: None,
            was_refused: false,
            last_move: now,
            store: Store::new(now),
            own: Own::new(now),
            view: None,
            token_keys: TokenKeys::default(),
            holds: None,
            peers: BTreeMap::new(),
            changes: VecDeque::new(),
            engine_epoch: Epoch::default(),
            removals: BTreeMap::new(),
            kept_out: Vec::new(),
            outputs: Outputs::default(),
        }
    }

    /// A value that the engine has, or (`None`) has no longer, as its watch shows it. Older ones than
    /// those that are known are passed over.
    pub fn handle_value(
        &mut self,
        key: &Key,
        revision: Revision,
        bytes: Option<&[u8]>,
        now: Instant,
    ) {
        self.wake(now);
        let is_live = self.engine == EngineLink::Back;
        let seen = self.store.observe(key, revision, bytes, is_live, now);
        if seen == Ok(true) && is_live {
            self.last_move = now;
        }
        self.note_unreadable(key, seen.err());
        self.settle(now);
    }

    /// The outcome of an operation. One that comes too late is passed over.
    pub fn handle_outcome(&mut self, nonce: Nonce, outcome: Outcome, now: Instant) {
        self.wake(now);
        self.was_refused |= matches!(outcome, Outcome::Unavailable | Outcome::Unknown);
        if let Some((key, finished)) = self.store.finish(nonce, outcome, &self.timing, now) {
            if finished == Ok(true) {
                self.wrote(now);
                self.change_done(nonce);
                self.removal_done(nonce);
            }
            self.note_unreadable(&key, finished.err());
        }
        self.settle(now);
    }

    /// The engine can no longer be reached, or can again.
    pub fn handle_engine(&mut self, link: EngineLink, now: Instant) {
        self.wake(now);
        if link != self.engine {
            self.engine = link;
            match link {
                EngineLink::Lost => {
                    self.store.lose();
                    self.outputs.notice(Notice::EngineLost);
                }
                EngineLink::Back => {
                    self.store.come_back(now);
                    self.last_write = self.own.announced.map(|_| now);
                    self.last_move = now;
                    if self.had_engine {
                        self.outputs.notice(Notice::EngineBack);
                    }
                    self.had_engine = true;
                }
            }
        }
        self.settle(now);
    }

    /// The mesh sees another member, in that start of it, differently.
    pub fn handle_peer(
        &mut self,
        name: &MemberName,
        incarnate: Incarnate,
        state: PeerState,
        now: Instant,
    ) {
        self.wake(now);
        let is_known = self.peers.contains_key(name);
        if is_known || self.peers.len() < 2 * MEMBERS_MAX {
            self.peers.insert(name.clone(), (incarnate, state));
        }
        if state == PeerState::Up {
            self.push_to(name);
        }
        self.settle(now);
    }

    /// A view that `from` has sent over the mesh.
    pub fn handle_view(&mut self, from: &MemberName, view: View, now: Instant) -> ViewVerdict {
        self.wake(now);
        let verdict = if view.controller == *from {
            self.consider(view)
        } else {
            ViewVerdict::NotTheController
        };
        self.settle(now);
        verdict
    }

    /// How busy this member is. Others see it with the next beat.
    pub fn handle_load(&mut self, load: Load) {
        self.own.load = load;
    }

    /// This member's signaling reads tokens made with that key, and with those before it.
    pub fn handle_token_key(&mut self, number: u32, now: Instant) {
        self.wake(now);
        self.own.token_key = number;
        self.settle(now);
    }

    /// This member takes no new work any more, or takes it again (B4).
    pub fn handle_drain(&mut self, draining: bool, now: Instant) {
        self.wake(now);
        self.own.draining = draining;
        self.settle(now);
    }

    /// This member's own settings have changed.
    pub fn handle_local(&mut self, local: LocalSettings, now: Instant) {
        self.wake(now);
        self.local = local;
        self.settle(now);
    }

    /// A setting in the engine is to change. [`Output::SettingChanged`] answers.
    pub fn handle_settings_change(
        &mut self,
        ticket: Ticket,
        scope: Scope,
        change: Change,
        now: Instant,
    ) {
        self.wake(now);
        self.accept_change(ticket, scope, change, now);
        self.settle(now);
    }

    /// New calls have `latest`, as [`Membership::profile`] has said it; of what they had before, calls still
    /// use `earlier`. The rest of it is given back. Without effect if there is news of the profile.
    pub fn handle_media_used(&mut self, latest: UsedMedia, earlier: &[UsedMedia], now: Instant) {
        self.wake(now);
        if self.own.media.is_some_and(|media| media.used() == latest) {
            self.own.kept.retain(|(address, ports)| {
                let is = |used: &UsedMedia| {
                    used.ports == *ports && used.wan_ip.like(*address) == Some(*address)
                };
                earlier.iter().any(is)
            });
        }
        self.settle(now);
    }

    /// This member leaves: it gives back what it holds, then [`Output::Left`] comes. Without the engine
    /// it does not come; do not wait for it for long.
    pub fn handle_leave(&mut self, now: Instant) {
        self.wake(now);
        self.own.leave(None);
        self.settle(now);
    }

    /// Time has passed: to be called at [`Membership::poll_timeout`] at the latest.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.wake(now);
        self.settle(now);
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.poll().or_else(|| self.store.desk.poll().map(Output::Engine))
    }

    /// When [`Membership::handle_timeout`] is to be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        let now = self.last_input;
        let latest = now + self.timing.beat;
        let due = [
            self.store.next(&self.timing),
            self.next_lapse(now),
            self.changes.iter().map(|pending| pending.until).min(),
            Some(self.own.beat_at),
            self.arrived_by(),
            self.holds.map(|_| self.store.controller.moved_at() + self.timing.beat),
        ];
        due.into_iter().flatten().filter(|at| *at > now).fold(latest, Instant::min)
    }

    /// Notes that time has passed. A pause that no healthy driver makes was sleep, in which everything
    /// may have moved unseen.
    fn wake(&mut self, now: Instant) {
        if now >= self.last_input + self.timing.slept() {
            self.store.thaw(now);
        }
        self.last_input = self.last_input.max(now);
    }

    /// The engine has taken a write. If that had not happened for some time, it has taken nobody's.
    fn wrote(&mut self, now: Instant) {
        // Who has come while it took none has seen everybody's leases stand still.
        let was_refused = std::mem::take(&mut self.was_refused) && self.last_write.is_none();
        if was_refused || self.is_stalled(now) {
            self.store.thaw(now);
        }
        self.last_write = Some(now);
        self.last_move = now;
    }

    /// Compares what is with what should be, and begins what makes it so.
    fn settle(&mut self, now: Instant) {
        self.take_engine_view();
        self.take_token_keys();
        self.settle_arrival(now);
        if self.engine == EngineLink::Back {
            self.store.work(&self.timing, now);
            self.settle_claims(now);
            self.settle_own(now);
            self.settle_campaign(now);
            self.settle_duties(now);
        }
        self.settle_leaving();
        self.settle_changes(now);
    }

    fn note_unreadable(&mut self, key: &Key, unreadable: Option<Unreadable>) {
        if let Some(unreadable) = unreadable {
            let why = unreadable.to_string();
            self.outputs.notice(Notice::Unreadable { key: key.clone(), why });
        }
    }

    fn unix(&self, now: Instant) -> UnixMillis {
        let (then, unix) = self.calendar;
        let since = now.saturating_duration_since(then).as_millis();
        UnixMillis(unix.0.saturating_add(u64::try_from(since).unwrap_or(u64::MAX)))
    }

    /// What this member should say of itself; its media as the settings want it, claimed or not.
    fn wanted_profile(&self) -> Profile {
        let none = super::SettingsDocument::default();
        let cluster = self.store.cluster_settings.get().unwrap_or(&none);
        let own = self.store.member_settings.get(&self.identity.name);
        let own = own.and_then(|slot| slot.get()).unwrap_or(&none);
        Profile { draining: self.own.draining, ..self.local.profile(cluster, own) }
    }
}
