//! Giving up branches: because the caller has (RFC 3261 16.10), because another branch has the
//! answer, or because the node stops.

use std::time::Instant;

use super::context::{Progress, Purpose};
use super::inbound::Answer;
use super::{CANCEL_GRACE, Proxy};
use crate::table::Key;
use crate::transaction::ServerTx;
use crate::wire::{HeaderName, Message, Method};

/// Another phone has taken the call: this one is not to show it as missed.
pub(super) const COMPLETED_ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";
/// It has rung for as long as it may.
pub(super) const RANG_TOO_LONG: &str = "SIP;cause=408;text=\"Rang Too Long\"";
/// What parties are told while the node stops.
pub(super) const NODE_STOPPED: &str = "SIP;cause=503;text=\"Node Stopped\"";

impl Proxy {
    /// RFC 3261 16.10.
    pub(super) fn handle_cancel(
        &mut self,
        now: Instant,
        cancel: ServerTx,
        invite: Option<ServerTx>,
        request: &Message,
    ) {
        if invite.is_some_and(|invite| self.give_up_held(now, invite)) {
            return self.answer(now, cancel, request, &Answer::new(200, "OK"));
        }
        let Some(key) = invite.and_then(|tx| self.by_server.get(&tx).copied()) else {
            let answer = Answer::new(481, "Call/Transaction Does Not Exist");
            return self.answer(now, cancel, request, &answer);
        };
        self.answer(now, cancel, request, &Answer::new(200, "OK"));
        if let Some(context) = self.contexts.get_mut(key).filter(|context| !context.answered) {
            context.cancelled = true;
            let reason = reasons_of(request);
            self.cancel_others(now, key, None, reason.as_deref());
        }
    }

    /// Gives up every branch but one (RFC 3261 16.7 step 10), for this reason.
    pub(super) fn cancel_others(
        &mut self,
        now: Instant,
        key: Key,
        except: Option<usize>,
        reason: Option<&str>,
    ) {
        let count = self.contexts.get(key).map_or(0, |c| c.branches.len());
        for index in (0..count).filter(|i| Some(*i) != except) {
            self.cancel_branch(now, key, index, reason);
        }
    }

    /// A branch that was not sent yet is over at once; one that was is asked to end, if it can be.
    /// `reason`: the value of Reason (RFC 3326) that tells the callee why.
    pub(super) fn cancel_branch(
        &mut self,
        now: Instant,
        key: Key,
        index: usize,
        reason: Option<&str>,
    ) {
        let Some(context) = self.contexts.get_mut(key) else { return };
        let is_invite = context.method == Method::Invite;
        let Some(branch) = context.branches.get_mut(index) else { return };
        match (branch.progress, branch.tx) {
            (Progress::Pending, Some(tx)) if is_invite && !branch.cancel_sent => {
                branch.cancel_sent = true;
                self.transactions.cancel(now, tx, reason);
                self.start_branch_timer(now + CANCEL_GRACE, key, index);
            }
            (Progress::Waiting | Progress::Resolving | Progress::Preparing, _) => {
                self.fail_branch(now, key, index, 487, "Request Terminated");
            }
            (Progress::Pending | Progress::Finished, _) => {}
        }
    }

    /// The node stops: a call that is not answered yet is refused, so that the caller can try
    /// elsewhere, and its branches are cancelled.
    pub(super) fn refuse_unanswered(&mut self, now: Instant) {
        for key in self.contexts.keys() {
            let Some(context) = self.contexts.get_mut(key) else { continue };
            if context.answered || !matches!(context.purpose, Purpose::NewCall(_)) {
                continue;
            }
            context.answered = true;
            context.refused = true;
            let (server, request) = (context.server, context.request.clone());
            self.answer(now, server, &request, &super::inbound::stopping());
            self.cancel_others(now, key, None, Some(NODE_STOPPED));
        }
    }
}

/// What a request gives as its reasons, as one value (RFC 3326 2: there may be one a protocol).
fn reasons_of(request: &Message) -> Option<String> {
    let values = request.lines(HeaderName::Reason).map(String::from_utf8_lossy);
    let values: Vec<_> = values.collect();
    (!values.is_empty()).then(|| values.join(", "))
}
