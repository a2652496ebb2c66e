//! Calls of this node's users, as the dialog package tells of them (RFC 4235).
//!
//! Watchers learn that a user rings or talks and whether it was called, which is what lamps show; not
//! with whom, nor anything by which they could take the call over.

use std::collections::HashMap;
use std::fmt;
use std::time::Instant;

use super::{Events, Package};
use crate::farm::MemberId;
use crate::registrar::Registrar;
use crate::table::Key;
use crate::transaction::hash::Keyed;

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallState {
    /// The called party rings.
    Early,
    /// It has answered.
    Confirmed,
}

impl CallState {
    /// As RFC 4235 4.1.1 names it; `None`: it has ended.
    const fn word(state: Option<CallState>) -> &'static str {
        match state {
            Some(CallState::Early) => "early",
            Some(CallState::Confirmed) => "confirmed",
            None => "terminated",
        }
    }
}

/// A call with users of ours.
#[derive(Debug)]
pub(super) struct Tracked {
    /// Caller and called party, as far as they are users.
    pub(super) users: [Option<Box<str>>; 2],
    /// `None`: nobody rings yet.
    pub(super) state: Option<CallState>,
    /// Its member has not said again that it goes on.
    pub(super) is_doubtful: bool,
}

/// Which call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum CallName {
    /// One of this node.
    Own(Key),
    /// One of another member of the farm, as one of its parties has it.
    Of {
        member: MemberId,
        /// Its number there.
        number: u64,
        is_called: bool,
    },
}

impl fmt::Display for CallName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallName::Own(key) => key.fmt(f),
            CallName::Of { member, number, is_called: _ } => {
                write!(f, "{:04x}{number:016x}", member.get())
            }
        }
    }
}

/// A call as one of its parties has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) call: CallName,
    pub(super) is_called: bool,
}

/// The calls that go on, at most one for each that the proxy core has, and those of other members that are
/// watched here.
#[derive(Debug)]
pub(super) struct Calls(pub(super) HashMap<CallName, Tracked, Keyed>);

impl Calls {
    pub(super) fn new(keyed: Keyed) -> Calls {
        Calls(HashMap::with_hasher(keyed))
    }

    /// The `dialog` element for a part of a call.
    pub(super) fn write(&self, out: &mut String, part: Part) {
        let state = CallState::word(self.0.get(&part.call).and_then(|tracked| tracked.state));
        let (mark, direction) =
            if part.is_called { ('r', "recipient") } else { ('i', "initiator") };
        let call = part.call;
        out.push_str(&format!(
            "<dialog id=\"{call}{mark}\" direction=\"{direction}\"><state>{state}</state></dialog>"
        ));
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Events {
    /// Whether calls are to be told of.
    #[must_use]
    pub fn tells_calls(&self) -> bool {
        self.config.packages.contains(&Package::Dialog)
    }

    /// A call has begun, between `users`: caller and called party, as far as they are users of ours. It
    /// is told of once somebody rings.
    pub fn call_begins(&mut self, call: Key, users: [Option<&str>; 2]) {
        if self.tells_calls() && users.iter().any(Option::is_some) {
            let users = users.map(|user| user.map(Box::from));
            let tracked = Tracked { users, state: None, is_doubtful: false };
            self.calls.0.insert(CallName::Own(call), tracked);
        }
    }

    /// A call rings or is answered.
    pub fn call_goes_on(
        &mut self,
        now: Instant,
        registrar: &Registrar,
        call: Key,
        state: CallState,
    ) {
        self.goes_on(now, registrar, CallName::Own(call), state);
    }

    pub(super) fn goes_on(
        &mut self,
        now: Instant,
        registrar: &Registrar,
        call: CallName,
        state: CallState,
    ) {
        let Some(tracked) = self.calls.0.get_mut(&call) else { return };
        // An answered call does not ring again.
        if tracked.state == Some(state) || tracked.state == Some(CallState::Confirmed) {
            return;
        }
        let is_first = tracked.state.replace(state).is_none();
        let users = tracked.users.clone();
        for (user, is_called) in users.iter().zip([false, true]) {
            let Some(user) = user else { continue };
            if is_first {
                let (_, resource) = self.index.enter(Package::Dialog, user);
                resource.calls.push(Part { call, is_called });
            }
            self.tell_of(call, is_called, Some(state), user);
            self.changed(now, registrar, Package::Dialog, user);
        }
    }

    /// A call is over.
    pub fn call_ends(&mut self, now: Instant, registrar: &Registrar, call: Key) {
        self.ends(now, registrar, CallName::Own(call));
    }

    pub(super) fn ends(&mut self, now: Instant, registrar: &Registrar, call: CallName) {
        let Some(Tracked { users, state: Some(_), .. }) = self.calls.0.remove(&call) else {
            return;
        };
        for (user, is_called) in users.iter().zip([false, true]) {
            let Some(user) = user else { continue };
            let part = Part { call, is_called };
            if let Some(resource) = self.index.resource_mut(Package::Dialog, user) {
                resource.calls.retain(|other| *other != part);
                // Some lamps go out at the word only.
                resource.ended = Some(part);
            }
            self.index.leave(Package::Dialog, user);
            self.tell_of(call, is_called, None, user);
            self.changed(now, registrar, Package::Dialog, user);
        }
    }
}
