//! The servers of a target outside, one after another (RFC 3263 4.3): names are looked up as they are
//! needed, a server that fails makes way for the next, and is left alone for a while.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use rand::RngCore;

use super::ack::WaitingAck;
use super::bye::Bye;
use super::context::{Failure, Progress, Purpose};
use super::events::Outgoing;
use super::farm::NO_LISTENER;
use super::output::{Ask, Output};
use super::routing::Destination;
use super::{LOOKUP_GRACE, Proxy};
use crate::resolve::{Hop, Query, ResolveError, Standing};
use crate::table::Key;
use crate::transport::{Arrival, Target, Transport};
use crate::wire::HeaderName;

/// How long a server is tried last that did not answer or could not be reached: long enough that few
/// calls wait for it, short enough that it is found again soon.
pub(super) const REST: Duration = Duration::from_secs(60);

/// Something to try.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A server.
    Hop(Hop),
    /// A name, with servers behind it.
    Name(Query),
    /// A flow of a device that has several (RFC 5626 7).
    Flow(Box<Destination>),
}

/// What is left to be tried of a target.
#[derive(Clone, Debug, Default)]
pub(super) struct Way {
    pub(super) ahead: VecDeque<Step>,
    /// Nobody has named the transport.
    pub(super) any_transport: bool,
    /// Servers that have failed lately, for when there are no others.
    doubtful: VecDeque<Hop>,
    /// The server that is being tried.
    current: Option<Hop>,
    /// The last failure, which is the branch's once nothing is left.
    failure: Option<Failure>,
    /// Why the last of those that could not even be tried was not.
    obstacle: Option<Obstacle>,
}

/// Why nothing was sent.
#[derive(Clone, Copy, Debug)]
enum Obstacle {
    /// The server has asked for silence.
    Closed(Duration),
    /// No listener or no route leads there.
    Unfaced(Transport),
    /// The name leads nowhere.
    Unresolved(ResolveError),
}

/// Why a server is given up.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    /// 503, with the time that its Retry-After names.
    Unavailable(Option<Duration>),
    /// No answer, or no way.
    Silent,
    /// A proxy has found no way on, or got no answer: 430 or 408 (RFC 5626 7).
    FlowFailed,
}

/// Who waits for a look-up.
#[derive(Debug)]
pub(super) enum Waiter {
    Branch { context: Key, branch: usize },
    Ack(Box<WaitingAck>),
    Bye(Box<Bye>),
    Notify(Box<Outgoing>),
}

impl Way {
    pub(super) fn new(ahead: impl IntoIterator<Item = Step>) -> Way {
        Way { ahead: ahead.into_iter().collect(), ..Way::default() }
    }

    /// The same, the transport having been named by nobody (`any`).
    pub(super) fn of_any_transport(self, any: bool) -> Way {
        Way { any_transport: any, ..self }
    }

    /// The one server, where there is no choice and nothing to look up.
    pub(super) fn only(&self) -> Option<&Hop> {
        match (self.ahead.len(), self.ahead.front()) {
            (1, Some(Step::Hop(hop))) => Some(hop),
            (_, Some(Step::Hop(_) | Step::Name(_) | Step::Flow(_)) | None) => None,
        }
    }

    /// Whether nothing but TLS may come of it.
    pub(super) fn is_secure(&self) -> bool {
        self.ahead.iter().all(|step| match step {
            Step::Hop(hop) => hop.transport.is_secure(),
            Step::Name(query) => query.secure || query.transport.is_some_and(Transport::is_secure),
            Step::Flow(flow) => flow.is_secure(),
        })
    }

    /// The present server is given up with this failure; gives it, if it is one that is known by its
    /// address.
    pub(super) fn give_up(&mut self, failure: Failure) -> Option<Hop> {
        self.failure = Some(failure);
        self.current.take()
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.ahead.is_empty() && self.doubtful.is_empty()
    }
}

impl Proxy {
    /// Looks up the next name or sends to the next server of a branch; fails it if there is none.
    pub(super) fn advance(&mut self, now: Instant, key: Key, index: usize) {
        loop {
            let Some(context) = self.contexts.get_mut(key) else { return };
            let arrival = context.arrival;
            let Some(branch) = context.branches.get_mut(index) else { return };
            let Some(way) = &mut branch.way else { return };
            let hop = match way.ahead.pop_front() {
                Some(Step::Name(query)) => return self.look_up(now, key, index, query),
                Some(Step::Flow(flow)) => match self.take_flow(key, index, *flow) {
                    Some(target) => return self.try_target(now, key, index, target),
                    None => continue,
                },
                Some(Step::Hop(hop)) => match self.resting.standing(now, &hop) {
                    Standing::Good => hop,
                    Standing::Doubtful => {
                        way.doubtful.push_back(hop);
                        continue;
                    }
                    Standing::Closed(time) => {
                        way.obstacle = Some(Obstacle::Closed(time));
                        continue;
                    }
                },
                None => match way.doubtful.pop_front() {
                    Some(hop) => hop,
                    None => return self.way_ends(now, key, index),
                },
            };
            let Some(target) = self.target_of(&arrival, &hop) else {
                if let Some(way) = self.branch_mut(key, index).and_then(|b| b.way.as_mut()) {
                    way.obstacle = Some(Obstacle::Unfaced(hop.transport));
                }
                continue;
            };
            if let Some(way) = self.branch_mut(key, index).and_then(|b| b.way.as_mut()) {
                way.current = Some(hop);
            }
            return self.try_target(now, key, index, target);
        }
    }

    /// The way to a server for what came as `arrival`; `None` if no listener or no route leads there, or if
    /// it is this host's loopback and none of the sender's business.
    pub(super) fn target_of(&mut self, arrival: &Arrival, hop: &Hop) -> Option<Target> {
        if !self.may_reach(arrival, hop.address.ip()) {
            return None;
        }
        let own = self.addresses.target(&self.config, hop.transport, hop.address, Some(arrival));
        // Where farm members send, this node need not have a way there itself.
        let others = || self.relays().then(|| by_others(arrival, hop));
        let target = own.or_else(others)?;
        let name = hop.server_name.as_ref().filter(|_| hop.transport.is_secure());
        Some(Target { name: name.map(|name| self.names.number(name)), ..target })
    }

    /// Programs believe what reaches them over this host's loopback. Only who is there himself has this node
    /// send there, but for peers that settings name: a user's Route, Contact or DNS is no such word.
    fn may_reach(&self, arrival: &Arrival, ip: IpAddr) -> bool {
        !ip.to_canonical().is_loopback()
            || arrival.remote.ip().is_loopback()
            || self.config.is_peer(ip)
    }

    fn try_target(&mut self, now: Instant, key: Key, index: usize, target: Target) {
        let Some(context) = self.contexts.get_mut(key) else { return };
        let purpose = context.purpose;
        let Some(branch) = context.branches.get_mut(index) else { return };
        branch.target = target;
        branch.progress = Progress::Preparing;
        if let Purpose::NewCall(call) = purpose {
            let party = self.calls.get_mut(call.0).and_then(|c| c.branches.get_mut(index));
            let before = party.map(|b| std::mem::replace(&mut b.party.flow, target));
            // What faces one server may not face the other.
            if before.is_some_and(|before| before.local.ip() != target.local.ip()) {
                self.release_media(call, index);
            }
        }
        self.build_branch(now, key, index);
    }

    /// Turns a branch to another flow of its device. `None`: what leads there comes next.
    fn take_flow(&mut self, key: Key, index: usize, flow: Destination) -> Option<Target> {
        let context = self.contexts.get_mut(key)?;
        let purpose = context.purpose;
        let branch = context.branches.get_mut(index)?;
        branch.uri = flow.uri;
        branch.path = flow.path;
        branch.any_transport = flow.any_transport;
        branch.adjacent = flow.party.adjacent;
        let way = branch.way.as_mut()?;
        way.current = None;
        let is_direct = flow.way.is_none();
        for step in flow.way.into_iter().flat_map(|way| way.ahead).rev() {
            way.ahead.push_front(step);
        }
        if let Purpose::NewCall(call) = purpose
            && let Some(call) = self.calls.get_mut(call.0)
            && let Some(leg) = call.branches.get_mut(index)
        {
            leg.party.adjacent = flow.party.adjacent;
            leg.party.pinned_to_flow = flow.party.pinned_to_flow;
        }
        is_direct.then_some(flow.party.flow)
    }

    /// Leaves out what else leads to the flow that has failed. `false`: there is no other.
    pub(super) fn skip_to_flow(&mut self, key: Key, index: usize) -> bool {
        let branch = self.branch_mut(key, index);
        let Some(way) = branch.and_then(|branch| branch.way.as_mut()) else { return false };
        let Some(next) = way.ahead.iter().position(|step| matches!(step, Step::Flow(_))) else {
            return false;
        };
        way.ahead.drain(..next);
        way.doubtful.clear();
        true
    }

    fn look_up(&mut self, now: Instant, key: Key, index: usize, query: Query) {
        let waiter = Waiter::Branch { context: key, branch: index };
        let token = self.ask(query, waiter);
        let Some(branch) = self.branch_mut(key, index) else { return };
        branch.progress = Progress::Resolving;
        branch.lookup = token;
        match token {
            Some(_) => self.start_branch_timer(now + LOOKUP_GRACE, key, index),
            None => self.branch_resolved(now, key, index, Err(ResolveError::Busy)),
        }
    }

    /// Asks for a look-up; `None`: as many are going on as there may be.
    pub(super) fn ask(&mut self, query: Query, waiter: Waiter) -> Option<u64> {
        if self.lookups.len() >= self.config.limits.contexts {
            return None;
        }
        let token = self.next_token();
        let seed = self.rng.next_u64();
        self.lookups.insert(token, waiter);
        self.outputs.push_back(Output::Resolve(Box::new(Ask { token, query, seed })));
        Some(token)
    }

    /// The answer to an [`Output::Resolve`]. One that comes too late, or twice, changes nothing.
    pub fn handle_resolved(
        &mut self,
        now: Instant,
        token: u64,
        found: Result<Vec<Hop>, ResolveError>,
    ) {
        match self.lookups.remove(&token) {
            Some(Waiter::Branch { context, branch }) => {
                self.branch_resolved(now, context, branch, found);
            }
            Some(Waiter::Bye(bye)) => self.bye_resolved(now, &bye, &found.unwrap_or_default()),
            Some(Waiter::Notify(notify)) => {
                self.notify_resolved(now, &notify, &found.unwrap_or_default());
            }
            Some(Waiter::Ack(ack)) => self.ack_resolved(now, *ack, &found.unwrap_or_default()),
            None => {}
        }
        self.process_events(now);
    }

    pub(super) fn branch_resolved(
        &mut self,
        now: Instant,
        key: Key,
        index: usize,
        found: Result<Vec<Hop>, ResolveError>,
    ) {
        let Some(branch) = self.branch_mut(key, index) else { return };
        if branch.progress != Progress::Resolving {
            return;
        }
        let (timer, lookup) = (branch.timer_c.take(), branch.lookup.take());
        if let Some(way) = &mut branch.way {
            match found {
                Ok(hops) => {
                    for hop in hops.into_iter().rev() {
                        way.ahead.push_front(Step::Hop(hop));
                    }
                }
                Err(error) => way.obstacle = Some(Obstacle::Unresolved(error)),
            }
        }
        if let Some(timer) = timer {
            self.timers.cancel(timer);
        }
        if let Some(lookup) = lookup {
            self.lookups.remove(&lookup);
        }
        self.advance(now, key, index);
    }

    /// Nothing is left to be tried.
    fn way_ends(&mut self, now: Instant, key: Key, index: usize) {
        let Some(way) = self.branch_mut(key, index).and_then(|b| b.way.as_mut()) else { return };
        let (failure, obstacle) = (way.failure.take(), way.obstacle);
        if let Some(Failure { response, is_own }) = failure {
            return self.finish_branch(now, key, index, response, is_own);
        }
        let (status, reason) = match obstacle {
            // Not 503: it is not this node that is overloaded (RFC 3261 16.7 step 6).
            Some(Obstacle::Closed(time)) => {
                let seconds = time.as_secs().max(1).to_string();
                let more = Some((HeaderName::RetryAfter, seconds.as_str()));
                let reason = "Next Hop Unavailable";
                return self.fail_branch_with(now, key, index, 500, reason, more);
            }
            Some(Obstacle::Unfaced(transport)) => {
                let reason = format!("No {transport} Listener Faces Destination");
                return self.fail_branch(now, key, index, 503, &reason);
            }
            Some(Obstacle::Unresolved(ResolveError::NotReachable)) => {
                (502, "No Transport In Common With Domain")
            }
            Some(Obstacle::Unresolved(ResolveError::NoAnswer)) => (504, "DNS Does Not Answer"),
            Some(Obstacle::Unresolved(ResolveError::Busy)) => (503, "Too Many DNS Look-Ups"),
            Some(Obstacle::Unresolved(ResolveError::NotFound)) | None => {
                (480, "No Server Found For Domain")
            }
        };
        self.fail_branch(now, key, index, status, reason);
    }

    /// A branch has failed with `failure`: the next server of its target is tried if there is one and
    /// somebody still waits, else the branch is over.
    pub(super) fn finish_or_fail_over(
        &mut self,
        now: Instant,
        key: Key,
        index: usize,
        failure: Failure,
        trouble: Trouble,
    ) {
        if self.may_fail_over(now, key, index, trouble) {
            self.fail_over(now, key, index, failure);
        } else {
            self.finish_branch(now, key, index, failure.response, failure.is_own);
        }
    }

    fn may_fail_over(&mut self, now: Instant, key: Key, index: usize, trouble: Trouble) -> bool {
        let Some(context) = self.contexts.get(key) else { return false };
        let Some(branch) = context.branches.get(index) else { return false };
        let Some(way) = &branch.way else { return false };
        match (trouble, &way.current) {
            (Trouble::Unavailable(Some(time)), Some(hop)) => {
                self.resting.note(now, hop, time, true);
            }
            // RFC 3261 21.5.4: without Retry-After it is as good as a 500.
            (Trouble::Unavailable(None), Some(_)) => {}
            // RFC 5626 7: a device that has answered is not asked again by another way.
            (Trouble::Unavailable(_), None) => return false,
            (Trouble::Silent, _) if branch.heard || branch.cancel_sent => return false,
            (Trouble::Silent, Some(hop)) => self.resting.note(now, hop, REST, false),
            (Trouble::Silent, None) | (Trouble::FlowFailed, _) => {}
        }
        context.may_try_more() && !branch.rang && !branch.cancel_sent && !way.is_exhausted()
    }

    fn fail_over(&mut self, now: Instant, key: Key, index: usize, failure: Failure) {
        let Some(context) = self.contexts.get_mut(key) else { return };
        let purpose = context.purpose;
        let Some(branch) = context.branches.get_mut(index) else { return };
        let (timer, tx, offered) = (branch.timer_c.take(), branch.tx.take(), branch.offered.take());
        branch.late_offer = None;
        branch.heard = false;
        branch.detour = None;
        branch.waiting.clear();
        if let Some(way) = &mut branch.way {
            way.failure = Some(failure);
        }
        if let Some(timer) = timer {
            self.timers.cancel(timer);
        }
        // What else comes of the old transaction is nobody's concern.
        if let Some(tx) = tx {
            self.by_client.remove(&tx);
        }
        if let (Purpose::InCall { call, branch, .. }, Some(offer)) = (purpose, offered) {
            self.refuse_offer(call, branch, offer);
        }
        self.advance(now, key, index);
    }

    /// The server that a branch goes to has answered.
    pub(super) fn note_heard(&mut self, key: Key, index: usize, status: u16) {
        let Some(branch) = self.contexts.get_mut(key).and_then(|c| c.branches.get_mut(index))
        else {
            return;
        };
        branch.heard = true;
        branch.detour = None;
        if status != 503
            && let Some(hop) = branch.way.as_ref().and_then(|way| way.current.as_ref())
        {
            self.resting.forgive(hop);
        }
    }
}

/// The way to a server that farm members send to (S22).
const fn by_others(arrival: &Arrival, hop: &Hop) -> Target {
    Target {
        transport: hop.transport,
        listener: NO_LISTENER,
        local: arrival.local,
        remote: hop.address,
        connection: None,
        name: None,
    }
}
