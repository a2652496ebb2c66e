//! The calls that controllers have set up: which relay session a command's call-id, tags and branch
//! mean.

use std::collections::HashMap;
use std::time::Instant;

use relay_core::api::{Leg, SessionId};
use smallvec::SmallVec;

use super::command::Params;
use crate::call::MediaSession;
use crate::table::{Key, Table};
use crate::timer::TimerId;

/// Most branches of one call: a proxy forks to ten (see
/// [`Limits::branches`](crate::proxy::config::Limits::branches)), and tries some more in turn.
pub(super) const BRANCHES_MAX: usize = 32;

/// Most parties that answer one offer, as `DIALOGS_PER_BRANCH_MAX` of the proxy.
pub(super) const ANSWERERS_MAX: usize = 8;

/// One side of a branch.
#[derive(Clone, Debug)]
pub(super) struct Party {
    pub(super) tag: Box<[u8]>,
    pub(super) label: Option<Box<[u8]>>,
    pub(super) created: Instant,
}

/// Kind and transport of a m= line, as its first offer had them.
pub(super) type Line = (Box<str>, Box<str>);

/// One offer and its answers: one relay session.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) offerer: Party,
    /// Whoever has answered the first offer; the last one has the media.
    pub(super) answerers: SmallVec<[Party; 1]>,
    pub(super) via: Option<Box<[u8]>>,
    pub(super) media: MediaSession,
    pub(super) lines: SmallVec<[Line; 2]>,
}

impl Branch {
    /// The leg of the party with this tag.
    fn leg_of(&self, tag: &[u8]) -> Option<Leg> {
        if &*self.offerer.tag == tag {
            Some(Leg::Caller)
        } else {
            self.answerers.iter().any(|party| &*party.tag == tag).then_some(Leg::Callee)
        }
    }

    /// The leg of `from` if the two tags are those of its two sides.
    fn joins(&self, from: &[u8], to: &[u8]) -> Option<Leg> {
        let leg = self.leg_of(from)?;
        (self.leg_of(to)? == leg.other()).then_some(leg)
    }

    /// Whether nothing speaks against its being the branch of a command with this Via branch.
    fn may_be(&self, via: Option<&[u8]>) -> bool {
        match (&self.via, via) {
            (Some(own), Some(given)) => &**own == given,
            (None, _) | (_, None) => true,
        }
    }

    /// Makes `tag` the party that has the media on the answering side.
    fn answered_by(&mut self, tag: &[u8], now: Instant) {
        let known = self.answerers.iter().position(|party| &*party.tag == tag);
        let party = match known {
            Some(at) => self.answerers.remove(at),
            None => Party { tag: tag.into(), label: None, created: now },
        };
        if self.answerers.len() == ANSWERERS_MAX {
            self.answerers.remove(0);
        }
        self.answerers.push(party);
    }

    /// The party on `leg` that has the media.
    pub(super) fn party(&self, leg: Leg) -> Option<&Party> {
        match leg {
            Leg::Caller => Some(&self.offerer),
            Leg::Callee => self.answerers.last(),
        }
    }

    pub(super) fn party_mut(&mut self, leg: Leg) -> Option<&mut Party> {
        match leg {
            Leg::Caller => Some(&mut self.offerer),
            Leg::Callee => self.answerers.last_mut(),
        }
    }
}

/// A call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: Box<[u8]>,
    /// A vector: a branch takes 1 KB, and calls are moved about.
    pub(super) branches: Vec<Branch>,
    pub(super) created: Instant,
    /// When the last command for it came.
    pub(super) signalled: Instant,
    /// Ends it if no command comes any more.
    pub(super) timer: Option<TimerId>,
}

impl Call {
    /// The branch that an offer continues, and the offerer's leg; `None`: a new one.
    fn offered(&self, from: &[u8], params: &Params<'_>) -> Option<(usize, Leg)> {
        if let Some(to) = params.to_tag
            && let Some(found) = self.find(|branch| branch.joins(from, to))
        {
            return Some(found);
        }
        // Its first offer once more, changed (authentication, another target in turn).
        self.find(|branch| {
            let unanswered = &*branch.offerer.tag == from && branch.answerers.is_empty();
            (unanswered && branch.may_be(params.via_branch)).then_some(Leg::Caller)
        })
    }

    /// The branch that an answer belongs to, and the *answerer's* leg.
    fn answered(&self, from: &[u8], to: &[u8], params: &Params<'_>) -> Option<(usize, Leg)> {
        let via = params.via_branch;
        let first_answer = |branch: &Branch| &*branch.offerer.tag == from && branch.may_be(via);
        self.find(|branch| branch.joins(to, from))
            .or_else(|| {
                self.find(|branch| {
                    (first_answer(branch) && branch.answerers.is_empty()).then_some(Leg::Callee)
                })
            })
            // One offer that was forked: its answerers share the session (RFC 3264 does not know
            // of forking; the last answer counts).
            .or_else(|| self.find(|branch| first_answer(branch).then_some(Leg::Callee)))
    }

    fn find(&self, leg: impl Fn(&Branch) -> Option<Leg>) -> Option<(usize, Leg)> {
        self.branches.iter().enumerate().find_map(|(at, branch)| Some((at, leg(branch)?)))
    }

    /// The places of the branches that `params` means, in descending order; all without tags.
    fn meant(&self, params: &Params<'_>) -> SmallVec<[usize; 4]> {
        let means = |branch: &&Branch| {
            branch.may_be(params.via_branch)
                && match (params.from_tag, params.to_tag) {
                    (None, None) => true,
                    (Some(tag), None) | (None, Some(tag)) => branch.leg_of(tag).is_some(),
                    (Some(from), Some(to)) => {
                        let unanswered =
                            branch.answerers.is_empty() && *branch.offerer.tag == *from;
                        unanswered || branch.joins(from, to).is_some()
                    }
                }
        };
        let places = self.branches.iter().enumerate().filter(|(_, branch)| means(branch));
        places.map(|(at, _)| at).rev().collect()
    }
}

/// A party's view of a branch: what an offer or answer changes.
pub(super) struct Place<'c> {
    pub(super) call: Key,
    pub(super) branch: &'c mut Branch,
    /// The leg that the description comes from.
    pub(super) leg: Leg,
}

/// Why there is no place for an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// The table of calls is full.
    Calls(usize),
    /// The call has as many branches as it may have.
    Branches,
}

/// Every call, by its id and by its sessions.
#[derive(Debug)]
pub(super) struct Calls {
    table: Table<Call>,
    by_id: HashMap<Box<[u8]>, Key>,
}

impl Calls {
    pub(super) fn new(limit: usize) -> Calls {
        Calls { table: Table::new(limit), by_id: HashMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn get(&self, key: Key) -> Option<&Call> {
        self.table.get(key)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Call> {
        self.table.get_mut(key)
    }

    pub(super) fn key(&self, id: &[u8]) -> Option<Key> {
        self.by_id.get(id).copied()
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        self.table.keys()
    }

    /// Up to `limit` ids.
    pub(super) fn ids(&self, limit: usize) -> impl Iterator<Item = &[u8]> {
        self.by_id.keys().map(|id| &**id).take(limit)
    }

    /// The branch that an offer continues.
    pub(super) fn offered(&mut self, params: &Params<'_>) -> Option<Place<'_>> {
        let call = self.key(params.call_id?)?;
        let (at, leg) = self.table.get(call)?.offered(params.from_tag?, params)?;
        let branch = self.table.get_mut(call)?.branches.get_mut(at)?;
        Some(Place { call, branch, leg })
    }

    /// The branch that an answer belongs to, with the answerer noted in it.
    pub(super) fn answered(&mut self, now: Instant, params: &Params<'_>) -> Option<Place<'_>> {
        let call = self.key(params.call_id?)?;
        let (from, to) = (params.from_tag?, params.to_tag?);
        let (at, leg) = self.table.get(call)?.answered(from, to, params)?;
        let branch = self.table.get_mut(call)?.branches.get_mut(at)?;
        if leg == Leg::Callee {
            branch.answered_by(to, now);
        }
        Some(Place { call, branch, leg })
    }

    /// A new branch, in a new call if need be.
    pub(super) fn add(
        &mut self,
        now: Instant,
        id: &[u8],
        from: &[u8],
        params: &Params<'_>,
        media: MediaSession,
    ) -> Result<Place<'_>, NoPlace> {
        let limit = self.table.limit();
        let key = match self.key(id) {
            Some(key) => key,
            None => self.insert(now, id).map_err(|_| NoPlace::Calls(limit))?,
        };
        let call = self.table.get_mut(key).ok_or(NoPlace::Calls(limit))?;
        if call.branches.len() == BRANCHES_MAX {
            return Err(NoPlace::Branches);
        }
        let party = |tag: &[u8]| Party { tag: tag.into(), label: None, created: now };
        call.branches.push(Branch {
            offerer: party(from),
            // An offer within a dialog that this node has not seen begin.
            answerers: params.to_tag.map(party).into_iter().collect(),
            via: params.via_branch.map(Into::into),
            media,
            lines: SmallVec::new(),
        });
        let branch = call.branches.last_mut().ok_or(NoPlace::Branches)?;
        Ok(Place { call: key, branch, leg: Leg::Caller })
    }

    fn insert(&mut self, now: Instant, id: &[u8]) -> Result<Key, Call> {
        // Few calls fork: room for one, where a push would make room for four.
        let branches = Vec::with_capacity(1);
        let call = Call { id: id.into(), branches, created: now, signalled: now, timer: None };
        let key = self.table.insert(call)?;
        self.by_id.insert(id.into(), key);
        Ok(key)
    }

    /// The branch with this session.
    pub(super) fn branch_mut(&mut self, call: Key, session: SessionId) -> Option<&mut Branch> {
        self.table.get_mut(call)?.branches.iter_mut().find(|branch| branch.media.id() == session)
    }

    /// The sessions that `params` means.
    pub(super) fn meant(&self, call: Key, params: &Params<'_>) -> SmallVec<[SessionId; 4]> {
        let Some(call) = self.table.get(call) else { return SmallVec::new() };
        call.meant(params).iter().map(|at| call.branches[*at].media.id()).collect()
    }

    /// Takes the branches out that `params` means, and the call with the last of them. A tag of one
    /// of several answerers ends the branch only if the media is theirs.
    pub(super) fn take_meant(&mut self, key: Key, params: &Params<'_>) -> Option<Taken> {
        let call = self.table.get_mut(key)?;
        let mut taken = Vec::new();
        let places = call.meant(params);
        let found = !places.is_empty();
        for at in places {
            let branch = &mut call.branches[at];
            let tags = [params.from_tag, params.to_tag];
            let loser =
                branch.answerers.iter().rev().skip(1).find(|p| tags.contains(&Some(&*p.tag)));
            match loser.map(|party| party.tag.clone()) {
                Some(tag) => branch.answerers.retain(|party| party.tag != tag),
                None => taken.push(call.branches.remove(at)),
            }
        }
        found.then(|| self.taken(key, taken)).flatten()
    }

    /// Takes one branch out, and the call with the last of them.
    pub(super) fn take_session(&mut self, key: Key, session: SessionId) -> Option<Taken> {
        let call = self.table.get_mut(key)?;
        let at = call.branches.iter().position(|branch| branch.media.id() == session)?;
        let branch = call.branches.remove(at);
        self.taken(key, vec![branch])
    }

    /// Takes a call out.
    pub(super) fn take(&mut self, key: Key) -> Option<Taken> {
        let branches = std::mem::take(&mut self.table.get_mut(key)?.branches);
        self.taken(key, branches)
    }

    fn taken(&mut self, key: Key, branches: Vec<Branch>) -> Option<Taken> {
        let call = self.table.get(key)?;
        let (created, signalled) = (call.created, call.signalled);
        let mut timer = None;
        if call.branches.is_empty()
            && let Some(call) = self.table.remove(key)
        {
            self.by_id.remove(&call.id);
            timer = call.timer;
        }
        Some(Taken { branches, created, signalled, timer })
    }
}

/// What was taken out of the table.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) branches: Vec<Branch>,
    pub(super) created: Instant,
    pub(super) signalled: Instant,
    /// The timer of the call, if it is gone.
    pub(super) timer: Option<TimerId>,
}
