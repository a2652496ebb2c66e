//! Branches that fail, and the failure that goes upstream once all have (RFC 3261 16.7 steps 6
//! and 7, 16.9).

use std::time::{Duration, Instant};

use super::context::{Branch, Failure, Progress, Purpose};
use super::inbound::Answer;
use super::output::CallEnd;
use super::way::Trouble;
use super::{Proxy, flows};
use crate::table::Key;
use crate::transaction::{Cause, ClientTx};
use crate::wire::{HeaderName, Message, Method, ResponseBuilder, default_reason};

/// What Retry-After says in a 503 of our own; seconds.
pub(super) const RETRY_AFTER: &str = "5";

impl Proxy {
    /// A branch has failed with this response, be it from below or made up here (`is_own`).
    pub(super) fn finish_branch(
        &mut self,
        now: Instant,
        key: Key,
        index: usize,
        response: Message,
        is_own: bool,
    ) {
        self.end_branch(now, key, index, Some(Failure { response, is_own }));
    }

    /// As [`Proxy::finish_branch`]; `None`: what it has answered is not for upstream.
    pub(super) fn end_branch(
        &mut self,
        now: Instant,
        key: Key,
        index: usize,
        failure: Option<Failure>,
    ) {
        let Some(context) = self.contexts.get_mut(key) else { return };
        let Some(branch) = context.branches.get(index) else { return };
        if branch.progress == Progress::Finished {
            return;
        }
        let (purpose, offered) = (context.purpose, branch.offered);
        let status = failure.as_ref().and_then(|f| f.response.status()).unwrap_or_default();
        let is_global = status >= 600;
        if let Some(failure) = failure {
            context.consider(failure);
        }
        self.close_branch(key, index);
        match (purpose, offered) {
            (Purpose::NewCall(call), _) => self.release_media(call, index),
            (Purpose::InCall { call, branch, .. }, Some(offer)) => {
                self.refuse_offer(call, branch, offer);
            }
            (Purpose::InCall { .. } | Purpose::Plain, _) => {}
        }
        // RFC 3261 16.7 step 5: a 6xx ends the search, lower groups included.
        if is_global {
            let reason = format!("SIP;cause={status};text=\"{}\"", default_reason(status));
            self.cancel_others(now, key, Some(index), Some(&reason));
        }
        self.tell_of_early_ends(now, key, index, status);
        self.next_group(now, key);
        self.answer_if_complete(now, key);
        self.forget_if_over(key);
    }

    /// RFC 3261 16.6: contacts of a lower q are tried once all of a higher one have failed.
    fn next_group(&mut self, now: Instant, key: Key) {
        let Some(context) = self.contexts.get_mut(key) else { return };
        if !context.may_try_more() {
            return;
        }
        let busy =
            |branch: &Branch| !matches!(branch.progress, Progress::Waiting | Progress::Finished);
        if context.branches.iter().any(busy) {
            return;
        }
        let waiting = context.branches.iter().filter(|b| b.progress == Progress::Waiting);
        if let Some(group) = waiting.map(|branch| branch.group).min()
            && group > context.group
        {
            context.group = group;
            self.start_group(now, key);
        }
    }

    /// A branch has failed without a (usable) response from below.
    pub(super) fn fail_branch(
        &mut self,
        now: Instant,
        key: Key,
        index: usize,
        status: u16,
        reason: &str,
    ) {
        self.fail_branch_with(now, key, index, status, reason, None);
    }

    /// As [`Proxy::fail_branch`], with a header that says more.
    pub(super) fn fail_branch_with(
        &mut self,
        now: Instant,
        key: Key,
        index: usize,
        status: u16,
        reason: &str,
        more: Option<(HeaderName, &str)>,
    ) {
        if let Some(response) = self.own_response(key, status, reason, more) {
            self.finish_branch(now, key, index, response, true);
        }
    }

    /// What a branch that has no (usable) response is taken to have answered.
    pub(super) fn own_response(
        &mut self,
        key: Key,
        status: u16,
        reason: &str,
        more: Option<(HeaderName, &str)>,
    ) -> Option<Message> {
        let unique = self.new_unique();
        let context = self.contexts.get(key)?;
        let tag = self.tag_of(&context.request, unique);
        let mut response = ResponseBuilder::new(&context.request, status, reason);
        response.to_tag(&tag).header(HeaderName::Server, &self.config.server_name);
        if status == 503 {
            response.header(HeaderName::RetryAfter, RETRY_AFTER);
        }
        if let Some((name, value)) = more {
            response.header(name, value);
        }
        response.finish_message().ok()
    }

    pub(super) fn handle_client_failed(&mut self, now: Instant, tx: ClientTx, cause: Cause) {
        if self.notify_failed(now, tx, cause) {
            return;
        }
        let Some((key, index)) = self.take_asker(tx) else { return };
        self.release_if_left(key, index, tx);
        let (mut by_connection, mut by_token) = (false, false);
        if let Some(branch) = self.branch_mut(key, index) {
            branch.tx = None;
            by_connection = branch.target.transport.is_web_socket()
                || branch.uri.is_some() && branch.target.connection.is_some();
            by_token = branch.by_token;
        }
        // RFC 3261 16.9 and 16.7 step 6: a transport error counts as a 503 from below, which goes up
        // as 500.
        match cause {
            Cause::Timeout => self.lose_branch(now, key, index, 408, "Request Timeout"),
            Cause::Transport if by_token => {
                let Answer { status, reason, .. } = flows::flow_failed();
                self.lose_branch(now, key, index, status, &reason);
            }
            // Nobody can dial a browser (RFC 7118 5), nor what keeps a flow: without its connection it is
            // not there.
            Cause::Transport if by_connection => {
                self.lose_branch(now, key, index, 480, "Temporarily Unavailable");
            }
            Cause::Transport if self.take_back_to_udp(now, key, index) => {}
            Cause::Transport => self.lose_branch(now, key, index, 500, "Next Hop Unreachable"),
        }
        self.forget_if_over(key);
    }

    /// The server that a branch goes to does not answer.
    fn lose_branch(&mut self, now: Instant, key: Key, index: usize, status: u16, reason: &str) {
        let Some(response) = self.own_response(key, status, reason, None) else { return };
        let failure = Failure { response, is_own: true };
        self.finish_or_fail_over(now, key, index, failure, Trouble::Silent);
    }

    /// A branch has failed with a response from below.
    pub(super) fn refuse_branch(
        &mut self,
        now: Instant,
        key: Key,
        index: usize,
        response: Message,
    ) {
        let trouble = match response.status() {
            Some(503) => Trouble::Unavailable(retry_after(&response)),
            Some(408 | 430) if self.skip_to_flow(key, index) => Trouble::FlowFailed,
            Some(300..=302) => return self.redirect_branch(now, key, index, response),
            Some(_) | None => return self.finish_branch(now, key, index, response, false),
        };
        let failure = Failure { response, is_own: false };
        self.finish_or_fail_over(now, key, index, failure, trouble);
    }

    /// RFC 3261 16.7 step 6: once every branch has failed, the best failure goes upstream.
    fn answer_if_complete(&mut self, now: Instant, key: Key) {
        let Some(context) = self.contexts.get_mut(key) else { return };
        if context.answered || !context.is_complete() {
            return;
        }
        context.answered = true;
        context.refused = true;
        let (server, is_invite) = (context.server, context.method == Method::Invite);
        let Some(best) = context.best.take() else { return };
        let others = std::mem::take(&mut context.mergeable);
        let name = &self.config.server_name;
        let upstream = match best.response.status() {
            Some(401 | 407) => with_challenges(&best.response, &others),
            Some(300..=399) => with_contacts(&best.response, &others),
            // Another's 503 would make upstream think that this node is overloaded. This node's own
            // lack of ports or transactions is just that, and is passed on.
            Some(503) if !best.is_own => {
                instead_of(&best.response, &context.request, (500, "Next Hop Unavailable"), name)
            }
            // RFC 5626 11.1: it is for the proxy that has chosen the flow, not for who calls.
            Some(430) if context.has_chosen_contacts() => {
                instead_of(&best.response, &context.request, (480, "No Flow To User"), name)
            }
            Some(_) | None => None,
        };
        // RFC 4320 4.2: a client that is not told has given up by itself, one that is told may blame this node.
        let is_told = is_invite || best.response.status() != Some(408);
        if is_told {
            let upstream = upstream.unwrap_or_else(|| best.response.clone());
            self.transactions.respond(now, server, upstream);
        }
        self.after_final(now, key, &best.response);
    }

    /// A final response has gone upstream: what that means for the call.
    pub(super) fn after_final(&mut self, now: Instant, key: Key, response: &Message) {
        let Some(context) = self.contexts.get(key) else { return };
        let status = response.status().unwrap_or(500);
        let cancelled = context.cancelled;
        let is_bye = context.method == Method::Bye;
        match context.purpose {
            Purpose::NewCall(id) => {
                let Some(call) = self.calls.get_mut(id.0) else { return };
                call.inviting = false;
                if status >= 300 {
                    let end = if cancelled { CallEnd::Cancelled } else { CallEnd::Refused(status) };
                    call.setup = Some(now.saturating_duration_since(call.started));
                    self.end_call(now, id, end);
                }
            }
            // Whatever the answer to a BYE, the dialog is over (RFC 3261 15.1.1), unless the sender
            // was only asked to authenticate.
            Purpose::InCall { call, from, branch } if is_bye && !matches!(status, 401 | 407) => {
                self.dialog_over(now, call, from, branch, response);
            }
            Purpose::InCall { .. } | Purpose::Plain => {}
        }
    }
}

/// `best` with the challenges of all branches (RFC 3261 16.7 step 7).
fn with_challenges(best: &Message, others: &[Message]) -> Option<Message> {
    let mut edit = best.edit();
    let is_challenge = |other: &&Message| matches!(other.status(), Some(401 | 407));
    for other in others.iter().filter(is_challenge).filter(|c| c.raw() != best.raw()) {
        for name in [HeaderName::WwwAuthenticate, HeaderName::ProxyAuthenticate] {
            for line in other.lines(name) {
                edit.append(name, line);
            }
        }
    }
    edit.finish_message().ok()
}

/// `best` with the contacts that all branches have redirected to.
fn with_contacts(best: &Message, others: &[Message]) -> Option<Message> {
    let mut edit = best.edit();
    let redirects = |other: &&Message| matches!(other.status(), Some(300..=399));
    for other in others.iter().filter(redirects).filter(|r| r.raw() != best.raw()) {
        for line in other.lines(HeaderName::Contact) {
            edit.append(HeaderName::Contact, line);
        }
    }
    edit.finish_message().ok()
}

/// RFC 3261 20.33: the seconds, before a comment or parameters.
fn retry_after(response: &Message) -> Option<Duration> {
    let value = response.first_str(HeaderName::RetryAfter)?.trim_start();
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    value.get(..digits)?.parse().ok().map(Duration::from_secs)
}

/// What goes upstream in the place of a response from below.
fn instead_of(
    best: &Message,
    request: &Message,
    (status, reason): (u16, &str),
    server_name: &str,
) -> Option<Message> {
    let mut response = ResponseBuilder::new(request, status, reason);
    if let Some(tag) = best.to().tag() {
        response.to_tag(tag);
    }
    response.header(HeaderName::Server, server_name);
    response.finish_message().ok()
}
