//! Giving up branches: because the caller has (RFC 3261 16.10), because another branch has the
//! answer, or because the node stops.

use std::time::Instant;

use super::context::{Progress, Purpose};
use super::inbound::Answer;
use super::{CANCEL_GRACE, Proxy};
use crate::table::Key;
use crate::transaction::ServerTx;
use crate::wire::{Message, Method};

impl Proxy {
    /// RFC 3261 16.10.
    pub(super) fn handle_cancel(
        &mut self,
        now: Instant,
        cancel: ServerTx,
        invite: Option<ServerTx>,
        request: &Message,
    ) {
        let Some(key) = invite.and_then(|tx| self.by_server.get(&tx).copied()) else {
            let answer = Answer::new(481, "Call/Transaction Does Not Exist");
            return self.answer(now, cancel, request, &answer);
        };
        self.answer(now, cancel, request, &Answer::new(200, "OK"));
        if let Some(context) = self.contexts.get_mut(key).filter(|context| !context.answered) {
            context.cancelled = true;
            self.cancel_others(now, key, None);
        }
    }

    /// Gives up every branch but one (RFC 3261 16.7 step 10).
    pub(super) fn cancel_others(&mut self, now: Instant, key: Key, except: Option<usize>) {
        let count = self.contexts.get(key).map_or(0, |c| c.branches.len());
        for index in (0..count).filter(|i| Some(*i) != except) {
            self.cancel_branch(now, key, index);
        }
    }

    /// A branch that was not sent yet is over at once; one that was is asked to end, if it can be.
    pub(super) fn cancel_branch(&mut self, now: Instant, key: Key, index: usize) {
        let Some(context) = self.contexts.get_mut(key) else { return };
        let is_invite = context.method == Method::Invite;
        let Some(branch) = context.branches.get_mut(index) else { return };
        match (branch.progress, branch.tx) {
            (Progress::Pending, Some(tx)) if is_invite && !branch.cancel_sent => {
                branch.cancel_sent = true;
                self.transactions.cancel(now, tx, None);
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
            let (server, request) = (context.server, context.request.clone());
            self.answer(now, server, &request, &super::inbound::stopping());
            self.cancel_others(now, key, None);
        }
    }
}
