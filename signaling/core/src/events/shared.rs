//! Calls of other members of a farm, whose users are watched here.
//!
//! A call is on one member, and those who watch its users have their subscriptions on any. So each member says
//! whose calls it watches, and is told of those alone: how things stand, and then of changes. Members that meet say
//! all of it anew. Of a member that is gone, all calls are over.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use smallvec::SmallVec;

use super::calls::{CallName, Tracked};
use super::subscription::Watched;
use super::{CallState, Events, Package};
use crate::farm::MemberId;
use crate::registrar::Registrar;
use crate::transaction::hash::Keyed;

/// Most calls of other members that are kept, some 200 bytes each: several for each subscription that there
/// may be. Further ones are not told of.
const OTHERS_MAX: usize = 65_536;

/// Most users whose calls other members watch. Of further ones they are not told.
const WATCHED_MAX: usize = 131_072;

/// Longest name of a user that members tell each other of, in bytes: that of an address of a REGISTER.
const USER_BYTES_MAX: usize = 640;

/// What is said at once, in bytes, before something else may be said between.
const BATCH_BYTES: usize = 16 << 10;

/// What one member says to another. Each word stands behind its length, so that one that a later version has
/// brought is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word<'a> {
    /// The sender watches this user.
    Watch(&'a str),
    /// It does not any more.
    Leave(&'a str),
    /// A call of the sender's with this user; without a state it is over.
    Call { number: u64, is_called: bool, state: Option<CallState>, user: &'a str },
    /// That is all that the sender watches.
    Ask,
    /// The answer to that: the receiver has been told of everything that it watches.
    All,
}

mod kind {
    pub(super) const WATCH: u8 = 1;
    pub(super) const LEAVE: u8 = 2;
    pub(super) const CALL: u8 = 3;
    pub(super) const ASK: u8 = 4;
    pub(super) const ALL: u8 = 5;
}

impl<'a> Word<'a> {
    fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 2]);
        match *self {
            Word::Watch(user) => {
                out.push(kind::WATCH);
                out.extend_from_slice(user.as_bytes());
            }
            Word::Leave(user) => {
                out.push(kind::LEAVE);
                out.extend_from_slice(user.as_bytes());
            }
            Word::Call { number, is_called, state, user } => {
                out.push(kind::CALL);
                out.extend_from_slice(&number.to_be_bytes());
                let state = match state {
                    None => 0,
                    Some(CallState::Early) => 1,
                    Some(CallState::Confirmed) => 2,
                };
                out.extend_from_slice(&[u8::from(is_called), state]);
                out.extend_from_slice(user.as_bytes());
            }
            Word::Ask => out.push(kind::ASK),
            Word::All => out.push(kind::ALL),
        }
        // Names are short: see `USER_BYTES_MAX`.
        let length = u16::try_from(out.len() - start - 2).unwrap_or(u16::MAX);
        out[start..start + 2].copy_from_slice(&length.to_be_bytes());
    }

    /// The next word; `Some(None)`: one that this version does not know. `None`: there is none.
    fn read(rest: &mut &'a [u8]) -> Option<Option<Word<'a>>> {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let word = after.get(..usize::from(u16::from_be_bytes(*length)))?;
        *rest = &after[word.len()..];
        let (kind, body) = word.split_first()?;
        let user = |bytes: &'a [u8]| {
            let user = std::str::from_utf8(bytes).ok()?;
            Some(user).filter(|user| user.len() <= USER_BYTES_MAX)
        };
        Some(match *kind {
            kind::WATCH => user(body).map(Word::Watch),
            kind::LEAVE => user(body).map(Word::Leave),
            kind::CALL => Word::read_call(body),
            kind::ASK => Some(Word::Ask),
            kind::ALL => Some(Word::All),
            _ => None,
        })
    }

    fn read_call(body: &'a [u8]) -> Option<Word<'a>> {
        let (number, rest) = body.split_first_chunk::<8>()?;
        let ([is_called, state], user) = rest.split_first_chunk::<2>()?;
        let state = match state {
            0 => None,
            1 => Some(CallState::Early),
            2 => Some(CallState::Confirmed),
            _ => return None,
        };
        let user = std::str::from_utf8(user).ok().filter(|user| user.len() <= USER_BYTES_MAX)?;
        let number = u64::from_be_bytes(*number);
        Some(Word::Call { number, is_called: *is_called == 1, state, user })
    }
}

/// What is shared with other members.
#[derive(Debug)]
pub(super) struct Shared {
    is_on: bool,
    /// Who is told of calls of each user.
    watched: HashMap<Box<str>, SmallVec<[MemberId; 2]>, Keyed>,
    /// Those that have been told what is watched here.
    met: BTreeSet<MemberId>,
    /// How many calls of others are kept.
    others: usize,
    /// What is to be said, and to whom (`None`: to all).
    words: VecDeque<(Option<MemberId>, Vec<u8>)>,
}

impl Shared {
    pub(super) fn new(keyed: Keyed) -> Shared {
        Shared {
            is_on: false,
            watched: HashMap::with_hasher(keyed),
            met: BTreeSet::new(),
            others: 0,
            words: VecDeque::new(),
        }
    }

    fn say(&mut self, to: Option<MemberId>, word: Word<'_>) {
        match self.words.back_mut() {
            Some((last, bytes)) if *last == to && bytes.len() < BATCH_BYTES => word.write(bytes),
            Some(_) | None => {
                let mut bytes = Vec::with_capacity(64);
                word.write(&mut bytes);
                self.words.push_back((to, bytes));
            }
        }
    }

    fn forget(&mut self, member: MemberId) {
        self.watched.retain(|_, members| {
            members.retain(|other| *other != member);
            !members.is_empty()
        });
    }
}

impl Events {
    /// From now on calls are shared with the other members of a farm: what [`Events::poll_words`] has is for
    /// their [`Events::handle_words`].
    pub fn share(&mut self) {
        self.shared.is_on = self.tells_calls();
    }

    /// What is to be said to that member, or to all.
    pub fn poll_words(&mut self) -> Option<(Option<MemberId>, Bytes)> {
        let (to, bytes) = self.shared.words.pop_front()?;
        Some((to, bytes.into()))
    }

    /// These other members can be reached, and no others.
    pub fn members_are(
        &mut self,
        now: Instant,
        registrar: &Registrar,
        members: &BTreeSet<MemberId>,
    ) {
        if !self.shared.is_on {
            return;
        }
        let gone: Vec<MemberId> = self.shared.met.difference(members).copied().collect();
        for member in gone {
            self.shared.met.remove(&member);
            self.shared.forget(member);
            self.end_calls_of(now, registrar, member, |_| true);
        }
        let come: Vec<MemberId> = members.difference(&self.shared.met).copied().collect();
        for member in come {
            self.shared.met.insert(member);
            self.greet(member);
        }
    }

    /// There is a connection to a member, be it in place of another: what was said before may be lost.
    pub fn greet(&mut self, member: MemberId) {
        if !self.shared.met.contains(&member) {
            return;
        }
        self.shared.forget(member);
        for (name, tracked) in &mut self.calls.0 {
            tracked.is_doubtful |= is_of(name, member);
        }
        for user in self.index.watched_users(Package::Dialog) {
            self.shared.say(Some(member), Word::Watch(&user));
        }
        self.shared.say(Some(member), Word::Ask);
    }

    /// What another member says.
    pub fn handle_words(
        &mut self,
        now: Instant,
        registrar: &Registrar,
        from: MemberId,
        bytes: &[u8],
    ) {
        let mut rest = bytes;
        while let Some(word) = Word::read(&mut rest) {
            match word.filter(|_| self.shared.is_on) {
                Some(Word::Watch(user)) => self.is_watched_by(from, user),
                Some(Word::Leave(user)) => {
                    if let Some(members) = self.shared.watched.get_mut(user) {
                        members.retain(|other| *other != from);
                        if members.is_empty() {
                            self.shared.watched.remove(user);
                        }
                    }
                }
                Some(Word::Call { number, is_called, state, user }) => {
                    let call = CallName::Of { member: from, number, is_called };
                    self.call_of_another(now, registrar, call, state, user);
                }
                Some(Word::Ask) => self.shared.say(Some(from), Word::All),
                Some(Word::All) => {
                    self.end_calls_of(now, registrar, from, |tracked| tracked.is_doubtful);
                }
                None => {}
            }
        }
    }

    /// A member watches this user: it is told how things stand.
    fn is_watched_by(&mut self, member: MemberId, user: &str) {
        let is_full = self.shared.watched.len() >= WATCHED_MAX;
        match self.shared.watched.get_mut(user) {
            Some(members) if members.contains(&member) => {}
            Some(members) => members.push(member),
            None if is_full => return,
            None => {
                self.shared.watched.insert(user.into(), SmallVec::from_elem(member, 1));
            }
        }
        let resource = self.index.resource(Package::Dialog, user);
        for part in resource.into_iter().flat_map(|resource| &resource.calls) {
            let CallName::Own(key) = part.call else { continue };
            let state = self.calls.0.get(&part.call).and_then(|tracked| tracked.state);
            let (number, is_called) = (key.number(), part.is_called);
            self.shared.say(Some(member), Word::Call { number, is_called, state, user });
        }
    }

    /// A call of this node has come so far: those who watch the user elsewhere are told.
    pub(super) fn tell_of(
        &mut self,
        call: CallName,
        is_called: bool,
        state: Option<CallState>,
        user: &str,
    ) {
        let CallName::Own(key) = call else { return };
        let Some(members) = self.shared.watched.get(user).cloned() else { return };
        let number = key.number();
        for member in members {
            self.shared.say(Some(member), Word::Call { number, is_called, state, user });
        }
    }

    fn call_of_another(
        &mut self,
        now: Instant,
        registrar: &Registrar,
        call: CallName,
        state: Option<CallState>,
        user: &str,
    ) {
        let Some(state) = state else { return self.ends_elsewhere(now, registrar, call) };
        if let Some(tracked) = self.calls.0.get_mut(&call) {
            tracked.is_doubtful = false;
        } else {
            let is_full = self.shared.others >= OTHERS_MAX;
            if is_full || self.index.told_of(Package::Dialog, user).is_empty() {
                return;
            }
            let CallName::Of { is_called, .. } = call else { return };
            let mut users = [None, None];
            users[usize::from(is_called)] = Some(user.into());
            self.shared.others += 1;
            self.calls.0.insert(call, Tracked { users, state: None, is_doubtful: false });
        }
        self.goes_on(now, registrar, call, state);
    }

    fn ends_elsewhere(&mut self, now: Instant, registrar: &Registrar, call: CallName) {
        if self.calls.0.contains_key(&call) {
            self.shared.others -= 1;
            self.ends(now, registrar, call);
        }
    }

    fn end_calls_of(
        &mut self,
        now: Instant,
        registrar: &Registrar,
        member: MemberId,
        is_over: impl Fn(&Tracked) -> bool,
    ) {
        let all = self.calls.0.iter();
        let over = all.filter(|(name, tracked)| is_of(name, member) && is_over(tracked));
        let over: Vec<CallName> = over.map(|(name, _)| *name).collect();
        for call in over {
            self.ends_elsewhere(now, registrar, call);
        }
    }

    /// Somebody begins to watch.
    pub(super) fn watch_begins(&mut self, package: Package, watched: &Watched) {
        if !self.shared.is_on || package != Package::Dialog {
            return;
        }
        for user in self.users_of(watched) {
            if self.index.told_of(package, &user).len() == 1 && user.len() <= USER_BYTES_MAX {
                self.shared.say(None, Word::Watch(&user));
            }
        }
    }

    /// Somebody does not watch any more: calls of others that nobody here watches are forgotten.
    pub(super) fn watch_ends(&mut self, package: Package, watched: &Watched) {
        if !self.shared.is_on || package != Package::Dialog {
            return;
        }
        for user in self.users_of(watched) {
            if !self.index.told_of(package, &user).is_empty() {
                continue;
            }
            self.shared.say(None, Word::Leave(&user));
            let Some(resource) = self.index.resource_mut(package, &user) else { continue };
            let mut others = SmallVec::<[CallName; 4]>::new();
            resource.calls.retain(|part| {
                let is_own = matches!(part.call, CallName::Own(_));
                others.extend((!is_own).then_some(part.call));
                is_own
            });
            self.index.leave(package, &user);
            for call in others {
                self.calls.0.remove(&call);
                self.shared.others -= 1;
            }
        }
    }

    fn users_of(&self, watched: &Watched) -> Vec<std::sync::Arc<str>> {
        match watched {
            Watched::User(user) => vec![user.clone()],
            Watched::List(at) => {
                let list = self.config.lists.get(*at);
                let members = list.map(|list| list.members.as_slice()).unwrap_or_default();
                members.iter().map(|member| (*member.user).into()).collect()
            }
        }
    }
}

fn is_of(name: &CallName, of: MemberId) -> bool {
    match name {
        CallName::Own(_) => false,
        CallName::Of { member, .. } => *member == of,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Members of a later version may say more, and whatever anybody says breaks nothing.
    #[test]
    fn words_come_back_as_they_were_and_unknown_ones_are_passed_over() {
        let words = [
            Word::Watch("bob"),
            Word::Leave("b\u{f6}b"),
            Word::Call {
                number: u64::MAX - 1,
                is_called: true,
                state: Some(CallState::Early),
                user: "bob",
            },
            Word::Call { number: 7, is_called: false, state: None, user: "" },
            Word::Ask,
            Word::All,
        ];
        let mut bytes = Vec::new();
        for word in words {
            word.write(&mut bytes);
            bytes.extend_from_slice(&[0, 3, 77, 1, 2]);
        }
        let mut rest = &bytes[..];
        for word in words {
            assert_eq!(Word::read(&mut rest), Some(Some(word)));
            assert_eq!(Word::read(&mut rest), Some(None));
        }
        assert_eq!((Word::read(&mut rest), rest.len()), (None, 0));
        for end in 0..bytes.len() {
            let mut cut = &bytes[..end];
            while Word::read(&mut cut).is_some() {}
        }
        for bad in [&[0, 0][..], &[0, 2, 1, 0xff], &[0, 4, 3, 1, 2, 3], &[255, 255, 1]] {
            let mut rest = bad;
            assert!(Word::read(&mut rest).flatten().is_none(), "{bad:?}");
        }
    }
}
