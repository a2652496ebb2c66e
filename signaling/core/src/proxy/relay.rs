//! What the relay answers, and what it tells of sessions that end.

use std::time::Instant;

use relay_core::api::{CloseCause, Command, Event, Refusal, SessionId, SessionReport};
use smallvec::SmallVec;

use super::Proxy;
use super::media::Origin;
use super::output::{CallEnd, Notice, Output};
use crate::call::media::Ports;
use crate::call::{CallId, log_name, refusal};
use crate::table::Key;
use crate::transport::Target;
use crate::wire::Message;

/// What goes on once the relay has answered.
#[derive(Debug)]
pub(super) enum Continuation {
    /// A request whose offer is being prepared.
    SendBranch { context: Key, branch: usize },
    /// A response whose description is being prepared.
    ForwardResponse { context: Key, branch: usize, response: Message },
    /// An ACK whose answer is being prepared.
    SendAck { target: Target, ack: Message, origin: Origin },
}

/// A session that the relay knows: whose it is, and what waits for the relay.
#[derive(Debug)]
pub(super) struct Place {
    call: CallId,
    branch: usize,
    /// By token. As many as the relay takes commands for one session at most.
    waiting: SmallVec<[(u64, Continuation); 1]>,
}

impl Place {
    pub(super) fn new(call: CallId, branch: usize) -> Self {
        Place { call, branch, waiting: SmallVec::new() }
    }

    fn take(&mut self, token: u64) -> Option<Continuation> {
        let at = self.waiting.iter().position(|(own, _)| *own == token)?;
        Some(self.waiting.remove(at).1)
    }
}

impl Proxy {
    /// Lets `next` wait for the relay's answer.
    pub(super) fn await_relay(&mut self, session: SessionId, token: u64, next: Continuation) {
        if let Some(place) = self.by_session.get_mut(&session) {
            place.waiting.push((token, next));
            self.media_requests += 1;
        }
    }

    /// The relay answers, or has ended a session by itself.
    pub fn handle_media(&mut self, now: Instant, event: Event) {
        match event {
            Event::Applied { session, token, ports } => {
                self.session_applied(now, session, token, ports);
            }
            Event::Refused { session, token, reason } => {
                self.session_refused(now, session, token, &reason);
            }
            Event::Closed { session, cause, report } => {
                self.session_closed(now, session, cause, report);
            }
            // Not asked for here.
            Event::Report { .. } => {}
        }
        self.process_events(now);
    }

    fn session_applied(&mut self, now: Instant, session: SessionId, token: u64, ports: Ports) {
        let Some(place) = self.by_session.get_mut(&session) else {
            // It had ended as idle before the relay read the command, which made it anew.
            return self.close_session(session);
        };
        let next = place.take(token);
        self.media_requests -= usize::from(next.is_some());
        let call = self.calls.get_mut(place.call.0);
        if let Some(media) =
            call.and_then(|c| c.branches.get_mut(place.branch)?.media.as_deref_mut())
        {
            media.applied(token, ports);
        }
        if let Some(next) = next {
            self.go_on(now, next);
        }
    }

    fn session_refused(&mut self, now: Instant, session: SessionId, token: u64, reason: &Refusal) {
        let why = refusal::explain(reason, |owner| self.name_of(owner));
        let Some(place) = self.by_session.get_mut(&session) else { return };
        let (id, index, next) = (place.call, place.branch, place.take(token));
        self.media_requests -= usize::from(next.is_some());
        if let Some(call) = self.calls.get_mut(id.0) {
            let call_id = log_name(&call.sip_call_id).to_owned();
            if let Some(branch) = call.branches.get_mut(index)
                && let Some(media) = &mut branch.media
            {
                media.refused(token);
                if !media.exists_at_relay() && !media.is_awaited() {
                    // The relay never had it: no report will come.
                    branch.media = None;
                    call.sessions.retain(|open| *open != session);
                    self.by_session.remove(&session);
                }
            }
            self.notice(Notice::MediaRefused { call_id, reason: why });
        }
        if let Some(next) = next {
            self.give_up(now, next, refusal::phrase(reason));
        }
    }

    /// The name in logs of the call that a session belongs to.
    fn name_of(&self, session: SessionId) -> Option<String> {
        let call = self.calls.get(self.by_session.get(&session)?.call.0)?;
        Some(log_name(&call.sip_call_id).to_owned())
    }

    fn go_on(&mut self, now: Instant, next: Continuation) {
        match next {
            Continuation::SendBranch { context, branch } => {
                let body = self.request_origin(context, branch).and_then(|(origin, _)| {
                    self.media(origin)?;
                    self.rewritten(origin, &self.contexts.get(context)?.request)
                });
                match body {
                    Some(_) => self.send_prepared(now, context, branch, body),
                    // Its call has ended meanwhile.
                    None => self.fail_branch(now, context, branch, 481, "Call Has Ended"),
                }
            }
            Continuation::ForwardResponse { .. } | Continuation::SendAck { .. } => {
                self.give_up(now, next, refusal::NO_MEDIA);
            }
        }
    }

    /// The session could not be brought to the state that a message asked for. A request fails, with
    /// this reason phrase. A response or an ACK goes on: the ports exist already, only the peer's address could not be
    /// taken over, and the parties decide what to do about the silence.
    fn give_up(&mut self, now: Instant, next: Continuation, phrase: &str) {
        match next {
            Continuation::SendBranch { context, branch } => {
                self.fail_branch(now, context, branch, 503, phrase);
            }
            Continuation::ForwardResponse { context, branch, response } => {
                let origin = self.response_origin(context, branch);
                let body = origin.and_then(|(origin, _)| self.rewritten(origin, &response));
                self.forward_response(now, context, branch, response, body);
                self.take_waiting(now, context, branch);
            }
            Continuation::SendAck { target, ack, origin } => {
                let body = self.rewritten(origin, &ack);
                self.send_ack(target, &ack, body);
            }
        }
    }

    /// Nobody waits for the relay any more.
    pub(super) fn forget_session(&mut self, now: Instant, session: SessionId) {
        if let Some(place) = self.by_session.remove(&session) {
            self.give_up_all(now, place);
        }
    }

    fn give_up_all(&mut self, now: Instant, place: Place) {
        self.media_requests -= place.waiting.len();
        for (_, next) in place.waiting {
            self.give_up(now, next, refusal::NO_MEDIA);
        }
    }

    /// Ends the branch's relay session.
    pub(super) fn release_media(&mut self, call: CallId, branch: usize) {
        let Some(call) = self.calls.get_mut(call.0) else { return };
        let Some(media) = call.branches.get_mut(branch).and_then(|b| b.media.take()) else {
            return;
        };
        if media.is_known_to_relay() {
            self.close_session(media.id());
        }
    }

    fn close_session(&mut self, session: SessionId) {
        self.outputs.push_back(Output::Media(Box::new(Command::Close { session })));
    }

    fn session_closed(
        &mut self,
        now: Instant,
        session: SessionId,
        cause: CloseCause,
        report: SessionReport,
    ) {
        let Some(place) = self.by_session.remove(&session) else { return };
        let id = place.call;
        let Some(call) = self.calls.get_mut(id.0) else { return };
        call.sessions.retain(|open| *open != session);
        call.reports.push(report);
        match cause {
            CloseCause::Idle(_) | CloseCause::WorkerLost => {
                if let Some(branch) = call.branches.get_mut(place.branch) {
                    branch.media = None;
                }
                let lasts = !call.sessions.is_empty() || call.ended.is_some();
                if !self.lose_early_media(now, id, place.branch, &cause) && !lasts {
                    let idle = matches!(cause, CloseCause::Idle(_));
                    let end = if idle { CallEnd::MediaIdle } else { CallEnd::MediaLost };
                    self.end_call(now, id, end);
                }
            }
            CloseCause::Asked | CloseCause::Unknown => {}
        }
        // What the relay was asked in the same moment concerns a session that is no more.
        self.give_up_all(now, place);
        self.write_record_if_complete(now, id);
    }
}
