//! Servers that say nothing to an INVITE: the next one is tried long before the transaction gives up
//! (RFC 3263 4.3 leaves the time to the client).
//!
//! The INVITE may have arrived all the same. So the server that is left behind keeps a branch of its own
//! in the response context: whatever it says first is answered by CANCEL, and should a phone have taken
//! the call there already, its 2xx goes to the caller like that of any other fork, with its media.

use std::time::Instant;

use super::Proxy;
use super::context::{Branch, Failure, Purpose};
use super::routing::Destination;
use crate::call::CallBranch;
use crate::table::Key;
use crate::transaction::ClientTx;

/// What a server is told that answers once another is being tried.
const TOO_LATE: &str = "SIP;cause=408;text=\"Another Server Is Tried\"";

impl Proxy {
    /// Starts the time of the branch's server if there is another to turn to, else timer C.
    pub(super) fn start_invite_timer(&mut self, now: Instant, key: Key, index: usize) {
        let on_trial = self.has_other_server(key, index);
        if !on_trial {
            return self.start_timer_c(now, key, index);
        }
        if let Some(branch) = self.branch_mut(key, index) {
            branch.on_trial = true;
        }
        self.start_branch_timer(now + self.config.server_timeout, key, index);
    }

    fn has_other_server(&self, key: Key, index: usize) -> bool {
        let Some(context) = self.contexts.get(key) else { return false };
        let has_room = context.branches.len() < self.config.limits.branches;
        let starts_call = matches!(context.purpose, Purpose::NewCall(_));
        let branch = context.branches.get(index);
        let has_other = branch.and_then(|b| b.way.as_ref()).is_some_and(|way| !way.is_exhausted());
        has_room && starts_call && has_other && context.may_try_more()
    }

    /// The time of the branch's server is over.
    pub(super) fn trial_ends(&mut self, now: Instant, key: Key, index: usize) {
        let Some(branch) = self.branch_mut(key, index) else { return };
        let is_silent = branch.is_pending() && !branch.heard && !branch.cancel_sent;
        if is_silent && self.has_other_server(key, index) {
            self.leave_server(now, key, index);
        } else {
            self.start_timer_c(now, key, index);
        }
    }

    /// Leaves the branch to a server that says nothing, and goes on along its way with a new one.
    fn leave_server(&mut self, now: Instant, key: Key, index: usize) {
        let Some(response) = self.own_response(key, 408, "Request Timeout", None) else { return };
        let Some(context) = self.contexts.get_mut(key) else { return };
        let next = context.branches.len();
        let Some(branch) = context.branches.get_mut(index) else { return };
        branch.cancel_sent = true;
        branch.is_left = true;
        let Some(mut way) = branch.way.take() else { return };
        let silent = way.give_up(Failure { response, is_own: true });
        let (tx, group) = (branch.tx, branch.group);
        let (by_token, any_transport) = (branch.by_token, branch.any_transport);
        let (uri, path) = (branch.uri.clone(), branch.path.clone());
        let Purpose::NewCall(call) = context.purpose else { return };
        let Some(call) = self.calls.get_mut(call.0) else { return };
        let Some(party) = call.branches.get(index).map(|branch| branch.party) else { return };
        call.branches.push(CallBranch::new(party));
        let way = Some(way);
        let destination = Destination { uri, path, party, way, by_token, any_transport, q: 0 };
        context.branches.push(Branch::new(destination, group));
        self.close_branch(key, index);
        if let Some(hop) = silent {
            self.resting.note(now, &hop, super::way::REST, false);
        }
        if let Some(tx) = tx {
            self.transactions.cancel(now, tx, Some(TOO_LATE));
        }
        self.advance(now, key, next);
    }

    /// The transaction of a branch is over: of one that was left nothing comes any more.
    pub(super) fn release_if_left(&mut self, key: Key, index: usize, tx: ClientTx) {
        let Some(context) = self.contexts.get(key) else { return };
        let is_left = context.branches.get(index).is_some_and(|b| b.is_left && b.tx == Some(tx));
        let Purpose::NewCall(id) = context.purpose else { return };
        let branch = self.calls.get(id.0).and_then(|call| call.branches.get(index));
        if is_left && branch.is_some_and(|branch| !branch.is_up()) {
            self.release_media(id, index);
        }
    }
}
