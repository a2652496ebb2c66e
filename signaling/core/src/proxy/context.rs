//! The response context of one proxied request (RFC 3261 16.7): its branches, what each has
//! answered, and which answer is the best. Pure data; nothing here sends.

use std::collections::VecDeque;

use relay_core::api::Leg;
use smallvec::SmallVec;

use super::authorise::Caller;
use super::identity::Sender;
use super::inbound::Routed;
use super::large::Detour;
use super::routing::Destination;
use super::way::Way;

use crate::call::{CallId, OfferId};
use crate::timer::TimerId;
use crate::transaction::{ClientTx, ServerTx};
use crate::transport::{Arrival, Target};
use crate::wire::{Message, Method};

/// Most responses that wait on one branch while the relay is busy with an earlier one: a handful of
/// provisionals and one final. At the bound a provisional or a repeated 2xx is dropped; a final
/// response takes the place of a provisional one.
pub(super) const WAITING_RESPONSES_MAX: usize = 8;

/// What the proxied request is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// An INVITE that starts a call.
    NewCall(CallId),
    /// A request within a call: which leg sent it and which branch of the call it belongs to.
    InCall { call: CallId, from: Leg, branch: usize },
    /// Anything else.
    Plain,
}

/// How far a branch has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Waits for the failure of contacts that are preferred.
    Waiting,
    /// Waits for DNS.
    Resolving,
    /// Waits for the relay before the request can be sent.
    Preparing,
    /// Sent; no final response yet.
    Pending,
    /// A final response has come (or was made up for it).
    Finished,
}

/// One target that the request is sent to.
#[derive(Debug)]
pub(super) struct Branch {
    /// The new Request-URI; `None`: it stays as it is.
    pub(super) uri: Option<String>,
    /// The Route header that it gets besides.
    pub(super) path: Option<Box<str>>,
    /// The request as it will be sent, but for its body; once its target is known.
    pub(super) request: Option<Message>,
    pub(super) target: Target,
    /// Nothing stands between the target and this node.
    pub(super) adjacent: bool,
    /// See [`Destination::by_token`].
    pub(super) by_token: bool,
    /// The group of equal preference that it belongs to; the lowest goes first.
    pub(super) group: usize,
    /// The servers that may be tried, for a target outside.
    pub(super) way: Option<Box<Way>>,
    /// Nobody has named the transport: a large request may go over TCP.
    pub(super) any_transport: bool,
    /// The request is on its way over TCP for its size.
    pub(super) detour: Option<Box<Detour>>,
    /// The look-up that it waits for.
    pub(super) lookup: Option<u64>,
    /// Anything has been heard from the present target.
    pub(super) heard: bool,
    /// A provisional response of the present target's has gone upstream.
    pub(super) rang: bool,
    pub(super) tx: Option<ClientTx>,
    pub(super) progress: Progress,
    /// RFC 3261 16.6 step 11, INVITE only.
    pub(super) timer_c: Option<TimerId>,
    /// The relay works on a description from this branch; responses wait in `waiting`.
    pub(super) media_busy: bool,
    pub(super) waiting: VecDeque<Message>,
    /// The offer that the request carried.
    pub(super) offered: Option<OfferId>,
    /// The last offer that a response carried.
    pub(super) late_offer: Option<OfferId>,
    /// CANCEL has been asked for.
    pub(super) cancel_sent: bool,
    /// The server has less time than timer C to say that it is there: another could be tried.
    pub(super) on_trial: bool,
    /// The server has let that time pass, and another has been tried.
    pub(super) is_left: bool,
    /// It has been answered by a 2xx that nobody upstream can take any more.
    pub(super) is_orphan: bool,
}

impl Branch {
    pub(super) fn new(destination: Destination, group: usize) -> Self {
        Branch {
            uri: destination.uri,
            path: destination.path,
            request: None,
            target: destination.party.flow,
            adjacent: destination.party.adjacent,
            by_token: destination.by_token,
            group,
            way: destination.way,
            any_transport: destination.any_transport,
            detour: None,
            lookup: None,
            heard: false,
            rang: false,
            tx: None,
            progress: Progress::Waiting,
            timer_c: None,
            media_busy: false,
            waiting: VecDeque::new(),
            offered: None,
            late_offer: None,
            cancel_sent: false,
            on_trial: false,
            is_left: false,
            is_orphan: false,
        }
    }

    /// Lets a response wait its turn; `false` if it was dropped at the bound.
    pub(super) fn wait(&mut self, response: Message) -> bool {
        if self.waiting.len() >= WAITING_RESPONSES_MAX {
            let is_provisional = |r: &Message| r.status().is_some_and(|s| s < 200);
            let early = self.waiting.iter().position(is_provisional);
            let Some(early) = early.filter(|_| !is_provisional(&response)) else { return false };
            self.waiting.remove(early);
        }
        self.waiting.push_back(response);
        true
    }

    /// Whether it goes where `destination` says.
    pub(super) fn is_to(&self, destination: &Destination) -> bool {
        self.uri.is_some() && self.uri == destination.uri && self.path == destination.path
    }

    /// Whether the branch awaits its final response from below.
    pub(super) fn is_pending(&self) -> bool {
        self.progress == Progress::Pending
    }
}

/// A final response that is not a 2xx, without our Via.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) response: Message,
    /// It was made up here: no one below has sent it.
    pub(super) is_own: bool,
}

/// A proxied request.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) server: ServerTx,
    pub(super) arrival: Arrival,
    pub(super) request: Message,
    pub(super) method: Method,
    pub(super) purpose: Purpose,
    pub(super) sender: Sender,
    /// As whom the sender was let in; of nobody within a call.
    pub(super) caller: Caller,
    pub(super) branches: SmallVec<[Branch; 1]>,
    /// Kept where branches are still to be made.
    pub(super) routed: Option<Box<Routed>>,
    /// The group of branches that is being tried.
    pub(super) group: usize,
    /// Ends the time of the present group.
    pub(super) group_timer: Option<TimerId>,
    /// The best final response so far that is not a 2xx.
    pub(super) best: Option<Failure>,
    /// All branches' responses that are put together if one of them is the best: challenges (401, 407)
    /// and redirections (RFC 3261 16.7 steps 6 and 7).
    pub(super) mergeable: SmallVec<[Message; 2]>,
    /// The URIs that redirections have led to.
    pub(super) followed: Vec<Box<str>>,
    /// CANCEL has come from upstream.
    pub(super) cancelled: bool,
    /// A final response has gone upstream that is not a 2xx.
    pub(super) refused: bool,
    /// A final response has gone upstream.
    pub(super) answered: bool,
    /// The server transaction has ended.
    pub(super) server_ended: bool,
}

impl Context {
    pub(super) fn new(
        server: ServerTx,
        arrival: Arrival,
        request: Message,
        method: Method,
        purpose: Purpose,
        sender: Sender,
    ) -> Self {
        Context {
            server,
            arrival,
            request,
            method,
            purpose,
            sender,
            caller: Caller::Anybody,
            branches: SmallVec::new(),
            routed: None,
            group: 0,
            group_timer: None,
            best: None,
            mergeable: SmallVec::new(),
            followed: Vec::new(),
            cancelled: false,
            refused: false,
            answered: false,
            server_ended: false,
        }
    }

    /// Whether anything new may be tried: somebody waits, and nothing has decided yet. A 6xx does
    /// (RFC 3261 16.7 step 5).
    pub(super) fn may_try_more(&self) -> bool {
        let is_global = |best: &Failure| best.response.status().is_some_and(|status| status >= 600);
        !self.answered
            && !self.cancelled
            && !self.server_ended
            && !self.best.as_ref().is_some_and(is_global)
    }

    /// Whether its targets are contacts that were looked up here.
    pub(super) fn has_chosen_contacts(&self) -> bool {
        let is_chosen = |branch: &Branch| branch.uri.is_some() && !branch.by_token;
        self.branches.iter().any(is_chosen)
    }

    /// Whether every branch has its final response.
    pub(super) fn is_complete(&self) -> bool {
        self.branches.iter().all(|b| b.progress == Progress::Finished)
    }

    /// Whether nothing can happen any more and the context can be forgotten.
    pub(super) fn is_over(&self) -> bool {
        self.server_ended
            && self.branches.iter().all(|b| b.tx.is_none() && b.progress == Progress::Finished)
    }

    /// Takes note of a branch's final response that is not a 2xx (RFC 3261 16.7 step 6).
    pub(super) fn consider(&mut self, failure: Failure) {
        let Some(status) = failure.response.status() else { return };
        if matches!(status, 300..=399 | 401 | 407) {
            self.mergeable.push(failure.response.clone());
        }
        let best = self.best.as_ref().and_then(|best| best.response.status());
        if best.is_none_or(|best| rank(status) < rank(best)) {
            self.best = Some(failure);
        }
    }
}

/// The order in which final responses are preferred: the lower, the better (RFC 3261 16.7 step 6).
/// 6xx first; then the lowest class; within 4xx those first that tell the caller what to change.
/// 408 and 487 come last in their class: they say only that a branch had nothing to say.
pub(super) const fn rank(status: u16) -> u16 {
    match status {
        600..=699 => status - 600,
        300..=399 => status,
        401 | 407 => 400,
        415 | 420 | 422 | 484 => 401,
        480 | 486 | 488 => 402,
        408 | 487 => 499,
        400..=499 => 410,
        503 => 598,
        500..=599 => 510,
        _ => u16::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::rank;

    /// RFC 3261 16.7 step 6.
    #[test]
    fn the_best_response_is_a_6xx_then_the_lowest_class_then_the_one_that_helps_the_caller() {
        let order = [603, 302, 407, 420, 486, 404, 408, 500, 503];
        assert!(order.windows(2).all(|pair| rank(pair[0]) < rank(pair[1])));
    }
}
