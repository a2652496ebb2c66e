//! What comes of early dialogs and early media while the INVITE goes on elsewhere.

use std::time::Instant;

use relay_core::api::CloseCause;

use super::Proxy;
use super::context::Purpose;
use crate::call::{CallBranch, CallId};
use crate::table::Key;
use crate::transaction::ServerTx;
use crate::wire::{HeaderName, Message, ResponseBuilder, default_reason};

/// RFC 6228 6: to whoever asks for all provisional responses to be reliable none is sent that is not.
fn wants_199(invite: &Message) -> bool {
    invite.has_token(HeaderName::Supported, "199")
        && !invite.has_token(HeaderName::Require, "100rel")
}

impl Proxy {
    /// A branch has failed with `status` while others go on: the caller hears of each early dialog that
    /// is over with it, if it knows what that means (RFC 6228 6).
    pub(super) fn tell_of_early_ends(&mut self, now: Instant, key: Key, index: usize, status: u16) {
        let Some(context) = self.contexts.get(key) else { return };
        let Purpose::NewCall(id) = context.purpose else { return };
        let is_told = !context.answered && !context.cancelled && !context.is_complete();
        if !is_told || !wants_199(&context.request) {
            return;
        }
        let (server, request) = (context.server, context.request.clone());
        let call = self.calls.get_mut(id.0);
        let Some(branch) = call.and_then(|call| call.branches.get_mut(index)) else { return };
        for tag in end_early_dialogs(branch) {
            self.send_199(now, server, &request, &tag, status);
        }
    }

    fn send_199(&mut self, now: Instant, tx: ServerTx, request: &Message, tag: &str, status: u16) {
        let mut response = ResponseBuilder::new(request, 199, None);
        let reason = format!("SIP;cause={status};text=\"{}\"", default_reason(status));
        response.to_tag(tag).header(HeaderName::Reason, reason);
        response.header(HeaderName::Server, &self.config.server_name);
        self.transactions.respond(now, tx, response.finish_reply());
    }

    /// The media of a branch that rings is gone: the branch is given up. `false`: it does not ring.
    pub(super) fn lose_early_media(
        &mut self,
        now: Instant,
        id: CallId,
        index: usize,
        cause: &CloseCause,
    ) -> bool {
        let Some(call) = self.calls.get(id.0).filter(|call| call.inviting) else { return false };
        let Some(key) = call.context else { return false };
        let Some(branch) = self.branch_mut(key, index) else { return false };
        let (status, text) = match cause {
            CloseCause::Idle(_) => (480, "Media Idle"),
            // Whoever calls again is served by another worker.
            CloseCause::WorkerLost | CloseCause::Asked | CloseCause::Unknown => (503, "Media Lost"),
        };
        if let Some(tx) = branch.tx.filter(|_| branch.is_pending() && !branch.cancel_sent) {
            branch.cancel_sent = true;
            let reason = format!("SIP;cause={status};text=\"{text}\"");
            self.transactions.cancel(now, tx, Some(&reason));
        }
        self.fail_branch(now, key, index, status, text);
        true
    }
}

/// Takes the early dialogs of a branch for over; gives their tags.
fn end_early_dialogs(branch: &mut CallBranch) -> Vec<Box<str>> {
    let early = branch.dialogs.iter_mut().filter(|dialog| !dialog.confirmed && !dialog.over);
    early
        .map(|dialog| {
            dialog.over = true;
            dialog.tag.clone()
        })
        .collect()
}
