//! Responses from the branches of a proxied request on their way up (RFC 3261 16.7).

use std::time::Instant;

use relay_core::api::Leg;

use super::Proxy;
use super::bye::Asker;
use super::cancel::COMPLETED_ELSEWHERE;
use super::context::{Branch, Context, Progress, Purpose};
use super::identity;
use super::media::{Prepared, Role};
use super::relay::Continuation;
use crate::call::{CallId, session_timer};
use crate::events::CallState;
use crate::table::Key;
use crate::transaction::{ClientTx, ServerTx};
use crate::wire::{HeaderName, Message, Method};

impl Proxy {
    pub(super) fn branch_mut(&mut self, key: Key, index: usize) -> Option<&mut Branch> {
        self.contexts.get_mut(key)?.branches.get_mut(index)
    }

    pub(super) fn handle_response(&mut self, now: Instant, tx: ClientTx, response: Message) {
        let status = response.status().unwrap_or_default();
        let (key, index) = match self.by_client.get(&tx) {
            Some(&Asker::Branch(key, index)) => (key, index),
            Some(Asker::Node) if status >= 200 => {
                // Whatever it says: the call is over.
                self.take_asker(tx);
                return;
            }
            Some(&Asker::Notify(id)) if status >= 200 => {
                return self.notify_answered(now, tx, id, &response);
            }
            Some(Asker::Node | Asker::Notify(_)) | None => return,
        };
        self.note_heard(key, index, status);
        // RFC 3261 16.7 step 5: 100 is for one hop only.
        if status == 100 {
            return;
        }
        let Some(branch) = self.branch_mut(key, index) else { return };
        if branch.media_busy {
            branch.wait(response);
        } else {
            self.take_response(now, key, index, &response);
        }
    }

    /// The branch that a transaction belongs to which is over.
    pub(super) fn take_asker(&mut self, tx: ClientTx) -> Option<(Key, usize)> {
        match self.by_client.remove(&tx)? {
            Asker::Branch(key, index) => Some((key, index)),
            Asker::Node => {
                self.byes -= 1;
                None
            }
            Asker::Notify(_) => None,
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
            self.take_response(now, key, index, &response);
        }
    }

    fn take_response(&mut self, now: Instant, key: Key, index: usize, response: &Message) {
        let Some(context) = self.contexts.get(key) else { return };
        let is_invite = context.method == Method::Invite;
        let makes_dialog = matches!(context.purpose, Purpose::NewCall(_));
        let status = response.status().unwrap_or(500);
        let is_success = (200..300).contains(&status);
        // RFC 3261 16.7 step 5: of an INVITE every 2xx goes on. Nothing else comes after the end.
        let is_pending = context.branches.get(index).is_some_and(Branch::is_pending);
        let is_wanted = is_pending || (is_invite && is_success);
        if !is_wanted {
            return;
        }
        // RFC 3261 16.7 step 3. Without a Via below ours nobody could be answered, and without a tag
        // a call could not be ended (RFC 3261 12.1.2).
        let is_usable = !(makes_dialog && is_success && response.to().tag().is_none());
        let target = context.branches.get(index).map(|branch| branch.target.remote.ip());
        let from_trusted = target.is_some_and(|peer| self.is_in_trust_domain(peer));
        let to_trusted = self.is_in_trust_domain(context.arrival.remote.ip());
        let mut edit = response.edit();
        identity::filter(&mut edit, response, from_trusted, to_trusted);
        if let Some(value) = self.session_timer(key, index, response) {
            session_timer::answer(&mut edit, &value);
        }
        match edit.remove_top(HeaderName::Via).finish_message() {
            Ok(upstream) if is_usable => self.take_upstream(now, key, index, upstream),
            Ok(_) | Err(_) if status < 200 => {}
            Ok(_) | Err(_) => self.fail_branch(now, key, index, 502, "Bad Gateway"),
        }
    }

    /// The session timer that a 2xx lacks, if the caller is to hear of one.
    fn session_timer(&self, key: Key, index: usize, response: &Message) -> Option<String> {
        self.config.session_timers?;
        let context = self.contexts.get(key)?;
        if !session_timer::refreshes(&context.method) || response.status()? / 100 != 2 {
            return None;
        }
        let sent = context.branches.get(index)?.request.as_ref()?;
        session_timer::on_behalf_of_callee(&context.request, sent, response)
    }

    /// Takes a response off which our Via has been taken.
    fn take_upstream(&mut self, now: Instant, key: Key, index: usize, response: Message) {
        let status = response.status().unwrap_or(500);
        if status >= 300 {
            return self.refuse_branch(now, key, index, response);
        }
        if status >= 200 && self.end_orphan(now, key, index, &response) {
            return self.forget_if_over(key);
        }
        if let Some(branch) = self.branch_mut(key, index) {
            branch.rang = true;
        }
        self.note_dialog(now, key, index, &response);
        let Some((origin, role)) = self.response_origin(key, index) else {
            return self.forward_response(now, key, index, response, None);
        };
        let mut prepared = self.prepare(origin, &response, role);
        if prepared.is_err() {
            // What cannot be taken over is the parties' affair, but for the addresses in it.
            prepared = self.prepare(origin, &response, Role::Copy);
        }
        let (offer, asked) = match prepared {
            Ok(Prepared::Ready { body, offer }) => {
                self.note_late_offer(key, index, origin, offer);
                self.update_relay(origin.call, origin.branch);
                return self.forward_response(now, key, index, response, body);
            }
            Ok(Prepared::Asked { session, token, offer }) => (offer, (session, token)),
            Err(_) => return self.forward_response(now, key, index, response, None),
        };
        self.note_late_offer(key, index, origin, offer);
        if let Some(branch) = self.branch_mut(key, index) {
            branch.media_busy = true;
        }
        let (session, token) = asked;
        let next = Continuation::ForwardResponse { context: key, branch: index, response };
        self.await_relay(session, token, next);
    }

    /// Keeps the call's dialogs up to date before anything else is done with the response.
    fn note_dialog(&mut self, now: Instant, key: Key, index: usize, response: &Message) {
        let Some(context) = self.contexts.get(key) else { return };
        let id = match context.purpose {
            Purpose::NewCall(id) => id,
            Purpose::InCall { call, from, branch } => {
                return self.refresh_dialog(now, key, response, (call, from, branch));
            }
            Purpose::Plain => return,
        };
        let is_success = response.status().is_some_and(|status| status >= 200);
        let expires = self.session_end(now, response);
        let mark = if is_success { self.mark_in(id, response) } else { String::new() };
        let Some(call) = self.calls.get_mut(id.0).filter(|call| call.ended.is_none()) else {
            return;
        };
        if let Some(state) = call_state(response.status().unwrap_or_default()) {
            self.events.call_goes_on(now, &self.registrar, id.0, state);
        }
        if let Some(tag) = response.to().tag()
            && let Some(branch) = call.branches.get_mut(index)
        {
            if response.status() == Some(199) {
                // RFC 6228: the callee's side has ended an early dialog, and says so itself.
                branch.dialog_mut(tag).into_iter().for_each(|dialog| dialog.over = true);
            } else {
                branch.note_dialog(tag, is_success);
            }
            if let Some(dialog) = branch.dialog_mut(tag).filter(|_| is_success) {
                dialog.confirm(&mark, &context.request, response);
                dialog.expires = expires;
            }
        }
        if is_success {
            if call.answered.is_none() {
                call.answered = Some(now);
                call.setup = Some(now.saturating_duration_since(call.started));
            }
            self.establish_media(id, index);
            if expires.is_some() {
                self.watch_call(id);
            }
        }
    }

    /// When the session ends that this 2xx has set a time for, if this node heeds it.
    fn session_end(&self, now: Instant, response: &Message) -> Option<Instant> {
        self.config.session_timers?;
        session_timer::agreed(response).map(|interval| now + interval)
    }

    /// RFC 3261 12.2, RFC 3311 5.1: a re-INVITE or UPDATE that is accepted says where its parties are
    /// reached from now on; and until when the session goes on (RFC 4028 8.2).
    fn refresh_dialog(
        &mut self,
        now: Instant,
        key: Key,
        response: &Message,
        (call, from, branch): (CallId, Leg, usize),
    ) {
        let Some(context) = self.contexts.get(key) else { return };
        let refreshes = matches!(context.method, Method::Invite | Method::Update);
        if !refreshes || response.status().is_none_or(|status| status < 200) {
            return;
        }
        let callee_tag = match from {
            Leg::Caller => response.to().tag(),
            Leg::Callee => response.from().tag(),
        };
        let expires = self.session_end(now, response);
        let branch = self.calls.get_mut(call.0).and_then(|call| call.branches.get_mut(branch));
        if let Some(dialog) = branch.zip(callee_tag).and_then(|(b, tag)| b.dialog_mut(tag)) {
            dialog.refresh(from, &context.request);
            dialog.refresh(from.other(), response);
            if dialog.expires != expires {
                dialog.expires = expires;
                self.watch_call(call);
            }
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
        let is_final = response.status().is_some_and(|status| status >= 200);
        let Some(context) = self.contexts.get_mut(key) else { return };
        let is_invite = context.method == Method::Invite;
        let is_late = context.answered && !(is_invite && is_final);
        let server = context.server;
        if !is_late {
            context.answered |= is_final;
            // Only the body changes: what was parsed before still parses.
            let upstream = body.map_or_else(
                || response.clone(),
                |body| {
                    let changed = response.edit().set_body(None, body).finish_message();
                    changed.unwrap_or_else(|_| response.clone())
                },
            );
            self.transactions.respond(now, server, upstream);
        }
        if !is_final {
            if is_invite {
                self.restart_timer_c(now, key, index);
            }
            return;
        }
        self.close_branch(key, index);
        if !is_late {
            self.cancel_others(now, key, Some(index), Some(COMPLETED_ELSEWHERE));
            self.after_final(now, key, &response);
        }
        self.forget_if_over(key);
    }

    /// The branch has its final response: nothing is awaited from it.
    pub(super) fn close_branch(&mut self, key: Key, index: usize) {
        let Some(branch) = self.branch_mut(key, index) else { return };
        branch.progress = Progress::Finished;
        let (lookup, timer) = (branch.lookup.take(), branch.timer_c.take());
        if let Some(lookup) = lookup {
            self.lookups.remove(&lookup);
        }
        if let Some(timer) = timer {
            self.timers.cancel(timer);
        }
    }

    pub(super) fn handle_client_ended(&mut self, tx: ClientTx) {
        let Some((key, index)) = self.take_asker(tx) else { return };
        self.release_if_left(key, index, tx);
        if let Some(branch) = self.branch_mut(key, index).filter(|b| b.tx == Some(tx)) {
            branch.tx = None;
        }
        self.forget_if_over(key);
    }

    /// Nobody waits for an answer any more. What has not been answered by now never will be: a branch
    /// that has not been sent is not sent, one that is pending is cancelled.
    pub(super) fn handle_server_ended(&mut self, now: Instant, tx: ServerTx) {
        let Some(key) = self.by_server.remove(&tx) else { return };
        let Some(context) = self.contexts.get_mut(key) else { return };
        context.server_ended = true;
        if !context.answered {
            self.cancel_others(now, key, None, None);
        }
        self.forget_if_over(key);
    }

    pub(super) fn forget_if_over(&mut self, key: Key) {
        if self.contexts.get(key).is_some_and(Context::is_over) {
            let timer = self.contexts.remove(key).and_then(|context| context.group_timer);
            if let Some(timer) = timer {
                self.timers.cancel(timer);
            }
        }
    }
}

/// What a response to an INVITE says of the call, but for failures.
const fn call_state(status: u16) -> Option<CallState> {
    match status {
        180..=183 => Some(CallState::Early),
        200..=299 => Some(CallState::Confirmed),
        _ => None,
    }
}
