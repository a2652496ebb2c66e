//! Responses from the branches of a proxied request (RFC 3261 16.7).

use std::time::Instant;

use relay_core::api::Leg;

use super::Proxy;
use super::context::{Progress, Purpose};
use super::inbound::Answer;
use super::media::{Continuation, Origin, Prepared, Role};
use super::output::CallEnd;
use crate::table::Key;
use crate::transaction::{Cause, ClientTx, ServerTx};
use crate::wire::{HeaderName, Message, Method, ResponseBuilder};

impl Proxy {
    pub(super) fn branch_mut(
        &mut self,
        key: Key,
        index: usize,
    ) -> Option<&mut super::context::Branch> {
        self.contexts.get_mut(key)?.branches.get_mut(index)
    }

    pub(super) fn handle_response(&mut self, now: Instant, tx: ClientTx, response: Message) {
        // RFC 3261 16.7 step 5: 100 is for one hop only.
        if response.status() == Some(100) {
            return;
        }
        let Some(&(key, index)) = self.by_client.get(&tx) else { return };
        let Some(branch) = self.branch_mut(key, index) else { return };
        if branch.media_busy {
            branch.wait(response);
        } else {
            self.take_response(now, key, index, response);
        }
    }

    /// Responses that came while the relay was busy.
    pub(super) fn take_waiting(&mut self, now: Instant, key: Key, index: usize) {
        if let Some(branch) = self.branch_mut(key, index) {
            branch.media_busy = false;
        }
        loop {
            let Some(branch) = self.branch_mut(key, index) else { return };
            if branch.media_busy {
                return;
            }
            let Some(response) = branch.waiting.pop_front() else { return };
            self.take_response(now, key, index, response);
        }
    }

    fn take_response(&mut self, now: Instant, key: Key, index: usize, response: Message) {
        self.note_dialog(now, key, index, &response);
        let status = response.status().unwrap_or(500);
        if status >= 300 {
            return self.finish_branch(now, key, index, response);
        }
        let Some(origin) = self.response_origin(key, index) else {
            return self.forward_response(now, key, index, response, None);
        };
        let Some(branch) = self.branch_mut(key, index) else { return };
        let role = if branch.offered { Role::Answer } else { Role::Offer };
        match self.prepare(origin, &response, role) {
            Ok(Prepared::Ready(body)) => {
                self.note_late_offer(origin, role, status, body.is_some());
                self.forward_response(now, key, index, response, body);
            }
            Ok(Prepared::Asked(token)) => {
                self.note_late_offer(origin, role, status, true);
                if let Some(branch) = self.branch_mut(key, index) {
                    branch.media_busy = true;
                }
                let next = Continuation::ForwardResponse { context: key, branch: index, response };
                self.by_token.insert(token, next);
            }
            // A description that cannot be read is the parties' affair: it passes as it is.
            Err(_) => self.forward_response(now, key, index, response, None),
        }
    }

    fn note_late_offer(&mut self, origin: Origin, role: Role, status: u16, described: bool) {
        if role == Role::Offer
            && described
            && status >= 200
            && let Some(call) = self.calls.get_mut(origin.call.0)
            && let Some(branch) = call.branches.get_mut(origin.branch)
        {
            branch.late_offer = true;
        }
    }

    /// The leg that a response on this branch comes from.
    pub(super) fn response_origin(&self, key: Key, index: usize) -> Option<Origin> {
        match self.contexts.get(key)?.purpose {
            Purpose::NewCall(call) => Some(Origin { call, branch: index, leg: Leg::Callee }),
            Purpose::InCall { call, from, branch } => {
                Some(Origin { call, branch, leg: from.other() })
            }
            Purpose::Plain => None,
        }
    }

    /// Keeps the call's dialogs up to date before anything else is done with the response.
    fn note_dialog(&mut self, now: Instant, key: Key, index: usize, response: &Message) {
        let Some(context) = self.contexts.get(key) else { return };
        let Purpose::NewCall(id) = context.purpose else { return };
        let status = response.status().unwrap_or(500);
        let Some(call) = self.calls.get_mut(id.0) else { return };
        if status < 300
            && let Some(tag) = response.to().tag()
            && let Some(branch) = call.branches.get_mut(index)
        {
            branch.note_dialog(tag, status >= 200);
        }
        if (200..300).contains(&status) && call.answered.is_none() {
            call.answered = Some(now);
            call.setup = Some(now.saturating_duration_since(call.started));
        }
    }

    /// A branch whose media was being prepared may be sent now, unless it has been given up.
    pub(super) fn send_prepared(
        &mut self,
        now: Instant,
        key: Key,
        index: usize,
        body: Option<Vec<u8>>,
    ) {
        let Some(context) = self.contexts.get(key) else { return };
        let Some(branch) = context.branches.get(index) else { return };
        match branch.progress {
            Progress::Preparing => self.send_branch(now, key, index, body),
            Progress::Pending | Progress::Finished => {}
        }
    }

    /// Sends a provisional or 2xx response upstream.
    pub(super) fn forward_response(
        &mut self,
        now: Instant,
        key: Key,
        index: usize,
        response: Message,
        body: Option<Vec<u8>>,
    ) {
        let status = response.status().unwrap_or(500);
        let Some(context) = self.contexts.get_mut(key) else { return };
        let is_invite = context.method == Method::Invite;
        if status >= 200 {
            // RFC 3261 16.7 step 5: of an INVITE every 2xx goes on, of others the first final one.
            if context.answered && !is_invite {
                return;
            }
            context.answered = true;
        } else if context.answered {
            return;
        }
        let server = context.server;
        let mut edit = response.edit();
        edit.remove_top(HeaderName::Via);
        if let Some(body) = body {
            edit.set_body(None, body);
        }
        // Without our Via there must be one more below, or the response is not for anybody.
        let Ok(upstream) = edit.finish_message() else { return };
        self.transactions.respond(now, server, upstream);
        if status >= 200 {
            self.close_branch(key, index);
            self.cancel_others(now, key, index);
            self.after_final(now, key, &response);
        } else if is_invite {
            self.start_timer_c(now, key, index);
        }
    }

    /// The branch has its final response: nothing is awaited from it.
    fn close_branch(&mut self, key: Key, index: usize) {
        let Some(branch) = self.branch_mut(key, index) else { return };
        branch.progress = Progress::Finished;
        if let Some(timer) = branch.timer_c.take() {
            self.timers.cancel(timer);
        }
    }

    /// A branch has failed with a response of its own or one made up here.
    fn finish_branch(&mut self, now: Instant, key: Key, index: usize, response: Message) {
        let Some(context) = self.contexts.get_mut(key) else { return };
        if context.branches.get(index).is_none_or(|b| b.progress == Progress::Finished) {
            return;
        }
        let purpose = context.purpose;
        let offered = context.branches.get(index).is_some_and(|b| b.offered);
        let is_global = response.status().is_some_and(|s| s >= 600);
        context.consider(response);
        self.close_branch(key, index);
        match purpose {
            Purpose::NewCall(call) => self.release_media(call, index),
            Purpose::InCall { call, branch, .. } if offered => self.refuse_offer(call, branch),
            Purpose::InCall { .. } | Purpose::Plain => {}
        }
        if is_global {
            self.cancel_others(now, key, index);
        }
        self.answer_if_complete(now, key);
    }

    /// A branch has failed without a response from outside.
    pub(super) fn fail_branch(
        &mut self,
        now: Instant,
        key: Key,
        index: usize,
        status: u16,
        reason: &str,
    ) {
        let tag = self.new_tag();
        let Some(context) = self.contexts.get(key) else { return };
        let Some(branch) = context.branches.get(index) else { return };
        // Made from the branch's request, so that it has our Via on top as one from outside has.
        let response =
            ResponseBuilder::new(&branch.request, status, reason).to_tag(&tag).finish_message();
        if let Ok(response) = response {
            self.finish_branch(now, key, index, response);
        }
    }

    pub(super) fn handle_client_failed(&mut self, now: Instant, tx: ClientTx, cause: Cause) {
        let Some((key, index)) = self.by_client.remove(&tx) else { return };
        if let Some(branch) = self.branch_mut(key, index) {
            branch.tx = None;
        }
        // RFC 3261 16.9 and 16.7 step 6: a transport error counts as a 503 from below, which goes up
        // as 500.
        match cause {
            Cause::Timeout => self.fail_branch(now, key, index, 408, "Request Timeout"),
            Cause::Transport => {
                self.fail_branch(now, key, index, 500, "Next Hop Unreachable");
            }
        }
        self.forget_if_over(key);
    }

    pub(super) fn handle_client_ended(&mut self, tx: ClientTx) {
        let Some((key, index)) = self.by_client.remove(&tx) else { return };
        if let Some(branch) = self.branch_mut(key, index) {
            branch.tx = None;
        }
        self.forget_if_over(key);
    }

    pub(super) fn handle_server_ended(&mut self, tx: ServerTx) {
        let Some(key) = self.by_server.remove(&tx) else { return };
        if let Some(context) = self.contexts.get_mut(key) {
            context.server_ended = true;
        }
        self.forget_if_over(key);
    }

    fn forget_if_over(&mut self, key: Key) {
        if self.contexts.get(key).is_some_and(super::context::Context::is_over) {
            self.contexts.remove(key);
        }
    }

    /// RFC 3261 16.7 step 6: once every branch has failed, the best failure goes upstream.
    fn answer_if_complete(&mut self, now: Instant, key: Key) {
        let Some(context) = self.contexts.get_mut(key) else { return };
        if context.answered || !context.is_complete() {
            return;
        }
        context.answered = true;
        let server = context.server;
        let Some(best) = context.best.take() else { return };
        let status = best.status().unwrap_or(500);
        let challenges = std::mem::take(&mut context.challenges);
        let mut edit = best.edit();
        edit.remove_top(HeaderName::Via);
        if matches!(status, 401 | 407) {
            for other in challenges.iter().filter(|c| c.raw() != best.raw()) {
                for name in [HeaderName::WwwAuthenticate, HeaderName::ProxyAuthenticate] {
                    for line in other.lines(name) {
                        edit.append(name, line);
                    }
                }
            }
        }
        // RFC 3261 16.7 step 6: another's 503 would make upstream think that this node is overloaded.
        // This node's own lack of ports or transactions is just that, and is passed on.
        let upstream = if status == 503 && !self.is_own_failure(key) {
            self.contexts.get(key).and_then(|context| {
                let mut response =
                    ResponseBuilder::new(&context.request, 500, "Next Hop Unavailable");
                if let Some(tag) = best.to().tag() {
                    response.to_tag(tag);
                }
                response.finish_message().ok()
            })
        } else {
            edit.finish_message().ok()
        };
        if let Some(upstream) = upstream {
            self.transactions.respond(now, server, upstream);
        }
        self.after_final(now, key, &best);
    }

    fn is_own_failure(&self, key: Key) -> bool {
        self.contexts.get(key).is_some_and(|c| c.branches.iter().all(|b| b.tx.is_none()))
    }

    /// Cancels every other branch that is still pending (RFC 3261 16.7 step 10).
    fn cancel_others(&mut self, now: Instant, key: Key, except: usize) {
        let count = self.contexts.get(key).map_or(0, |c| c.branches.len());
        for index in (0..count).filter(|i| *i != except) {
            self.cancel_branch(now, key, index);
        }
    }

    fn cancel_branch(&mut self, now: Instant, key: Key, index: usize) {
        let Some(context) = self.contexts.get_mut(key) else { return };
        if context.method != Method::Invite {
            return;
        }
        let Some(branch) = context.branches.get_mut(index) else { return };
        match (branch.progress, branch.tx) {
            (Progress::Pending, Some(tx)) if !branch.cancel_sent => {
                branch.cancel_sent = true;
                self.transactions.cancel(now, tx, None);
                self.start_branch_timer(now + super::CANCEL_GRACE, key, index);
            }
            (Progress::Preparing, _) => {
                self.fail_branch(now, key, index, 487, "Request Terminated");
            }
            (Progress::Pending | Progress::Finished, _) => {}
        }
    }

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
        let count = match self.contexts.get_mut(key) {
            Some(context) if !context.answered => {
                context.cancelled = true;
                context.branches.len()
            }
            Some(_) | None => 0,
        };
        for index in 0..count {
            self.cancel_branch(now, key, index);
        }
    }

    /// A final response has gone upstream: what that means for the call.
    fn after_final(&mut self, now: Instant, key: Key, response: &Message) {
        let Some(context) = self.contexts.get(key) else { return };
        let status = response.status().unwrap_or(500);
        let cancelled = context.cancelled;
        let method = context.method.clone();
        match context.purpose {
            Purpose::NewCall(call) if status >= 300 => {
                let end = if cancelled { CallEnd::Cancelled } else { CallEnd::Refused(status) };
                if let Some(call) = self.calls.get_mut(call.0) {
                    call.setup = Some(now.saturating_duration_since(call.started));
                }
                self.end_call(now, call, end);
            }
            // Whatever the answer to a BYE, the dialog is over (RFC 3261 15.1.1), unless the sender
            // was only asked to authenticate.
            Purpose::InCall { call, from, branch }
                if method == Method::Bye && !matches!(status, 401 | 407) =>
            {
                self.dialog_over(now, call, from, branch, response);
            }
            Purpose::NewCall(_) | Purpose::InCall { .. } | Purpose::Plain => {}
        }
    }
}
