//! The Media Proxy's part of a proxied request: descriptions are handed to the relay before the
//! message that carries them goes on, and carry this node's ports when it does.

use std::net::IpAddr;
use std::time::Instant;

use relay_core::api::{CloseCause, Command, Event, Learning, Leg, SessionId, SessionReport};

use super::Proxy;
use super::config::{Config, MediaAddresses};
use super::context::Purpose;
use super::output::{CallEnd, Notice, Output};
use crate::call::media::Ports;
use crate::call::{CallId, MediaSession, OfferAnswerError, Party};
use crate::sdp::{Sdp, SdpPart, find_sdp};
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
    SendAck { target: Target, ack: Message },
    /// Nothing waits: the relay is told of a refused offer.
    Nothing,
}

/// Which leg of which branch of a call a description came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) call: CallId,
    pub(super) branch: usize,
    pub(super) leg: Leg,
}

/// Whether a description opens an exchange or closes it; the transaction that carries it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Offer,
    Answer,
}

/// What became of a description.
pub(super) enum Prepared {
    /// There is none, or its session is as wanted already: the message goes on with this body.
    Ready(Option<Vec<u8>>),
    /// The relay has been asked; the answer carries this token.
    Asked(u64),
}

/// Why a description cannot be carried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DescriptionError {
    #[error("Bad SDP: {0}")]
    Sdp(#[from] crate::sdp::SdpError),
    #[error("Bad SDP: {0}")]
    Exchange(#[from] OfferAnswerError),
}

impl Proxy {
    /// Prepares the branch's media and sends its request, now or once the relay has answered.
    pub(super) fn prepare_branch(&mut self, now: Instant, key: Key, index: usize) {
        let Some(context) = self.contexts.get(key) else { return };
        let origin = match context.purpose {
            Purpose::NewCall(call) => Origin { call, branch: index, leg: Leg::Caller },
            Purpose::InCall { call, from, branch } => Origin { call, branch, leg: from },
            Purpose::Plain => return self.send_branch(now, key, index, None),
        };
        let request = context.request.clone();
        match self.prepare(origin, &request, Role::Offer) {
            Ok(prepared) => {
                let offered = !matches!(prepared, Prepared::Ready(None));
                if let Some(branch) = self.branch_mut(key, index) {
                    branch.offered = offered;
                }
                match prepared {
                    Prepared::Ready(body) => self.send_branch(now, key, index, body),
                    Prepared::Asked(token) => {
                        let next = Continuation::SendBranch { context: key, branch: index };
                        self.by_token.insert(token, next);
                    }
                }
            }
            Err(error) => self.fail_branch(now, key, index, 488, &error.to_string()),
        }
    }

    /// Takes the description that `message` carries, if any, and asks the relay for what it needs.
    pub(super) fn prepare(
        &mut self,
        origin: Origin,
        message: &Message,
        role: Role,
    ) -> Result<Prepared, DescriptionError> {
        let Some(part) = description(message) else { return Ok(Prepared::Ready(None)) };
        let sdp = Sdp::parse(part.of(message.body()))?;
        let token = self.next_token();
        let fresh = self.sessions.fresh();
        let Some(call) = self.calls.get_mut(origin.call.0) else {
            return Ok(Prepared::Ready(None));
        };
        let Some(party) = call.party(origin.leg, origin.branch).copied() else {
            return Ok(Prepared::Ready(None));
        };
        let caller = call.caller;
        let ended = call.ended.is_some();
        let Some(branch) = call.branches.get_mut(origin.branch) else {
            return Ok(Prepared::Ready(None));
        };
        if branch.media.is_none() && ended {
            return Ok(Prepared::Ready(None));
        }
        let callee = branch.party;
        let media = branch
            .media
            .get_or_insert_with(|| new_session(&*self.media_addresses, fresh, &caller, &callee));
        let learning = |ip| learning(&self.config, &party, ip);
        match role {
            Role::Offer => media.offer(origin.leg, &sdp, &learning)?,
            Role::Answer => media.answer(origin.leg, &sdp, &learning)?,
        }
        let is_new = !media.is_known_to_relay();
        match media.command(token) {
            Some(command) => {
                if is_new {
                    call.sessions_open += 1;
                    self.by_session.insert(media.id(), (origin.call, origin.branch));
                }
                self.outputs.push_back(Output::Media(Box::new(command)));
                Ok(Prepared::Asked(token))
            }
            None => {
                let rewritten = media.rewrite_for(origin.leg.other(), &sdp);
                Ok(Prepared::Ready(Some(part.put_back(message.body(), &rewritten))))
            }
        }
    }

    /// The body of `message` with this node's ports in it; `None` if it carries no description or
    /// its session has gone.
    fn rewritten(&self, origin: Origin, message: &Message) -> Option<Vec<u8>> {
        let part = description(message)?;
        let sdp = Sdp::parse(part.of(message.body())).ok()?;
        let media = self.calls.get(origin.call.0)?.branches.get(origin.branch)?.media.as_ref()?;
        let rewritten = media.rewrite_for(origin.leg.other(), &sdp);
        Some(part.put_back(message.body(), &rewritten))
    }

    /// The relay answers, or has ended a session by itself.
    pub fn handle_media(&mut self, now: Instant, event: Event) {
        match event {
            Event::Applied { session, token, ports } => {
                let origin = self.session_applied(session, token, ports);
                if let Some(next) = self.by_token.remove(&token) {
                    self.go_on(now, origin, next);
                }
            }
            Event::Refused { session, token, reason } => {
                let call = self.session_refused(session);
                if let Some(next) = self.by_token.remove(&token) {
                    self.give_up(now, call, next, &reason.to_string());
                }
            }
            Event::Closed { session, cause, report } => {
                self.session_closed(now, session, cause, report);
            }
            // Not asked for here.
            Event::Report { .. } => {}
        }
        self.process_events(now);
    }

    fn session_applied(
        &mut self,
        session: SessionId,
        token: u64,
        ports: Ports,
    ) -> Option<(CallId, usize)> {
        let place = *self.by_session.get(&session)?;
        let call = self.calls.get_mut(place.0.0)?;
        call.branches.get_mut(place.1)?.media.as_mut()?.applied(token, ports);
        Some(place)
    }

    fn session_refused(&mut self, session: SessionId) -> Option<CallId> {
        let (id, index) = *self.by_session.get(&session)?;
        let call = self.calls.get_mut(id.0)?;
        let branch = call.branches.get_mut(index)?;
        let media = branch.media.as_mut()?;
        media.refused();
        if !media.exists_at_relay() {
            // The relay never had it: no report will come.
            branch.media = None;
            call.sessions_open = call.sessions_open.saturating_sub(1);
            self.by_session.remove(&session);
        }
        Some(id)
    }

    fn go_on(&mut self, now: Instant, place: Option<(CallId, usize)>, next: Continuation) {
        match next {
            Continuation::SendBranch { context, branch } => {
                let body = self.contexts.get(context).and_then(|c| {
                    let origin = match c.purpose {
                        Purpose::NewCall(call) => Origin { call, branch, leg: Leg::Caller },
                        Purpose::InCall { call, from, branch } => {
                            Origin { call, branch, leg: from }
                        }
                        Purpose::Plain => return None,
                    };
                    self.rewritten(origin, &c.request)
                });
                self.send_prepared(now, context, branch, body);
            }
            Continuation::ForwardResponse { context, branch, response } => {
                let body = self
                    .response_origin(context, branch)
                    .and_then(|origin| self.rewritten(origin, &response));
                self.forward_response(now, context, branch, response, body);
                self.take_waiting(now, context, branch);
            }
            Continuation::SendAck { target, ack } => {
                let origin = place.and_then(|(call, branch)| {
                    let leg = self.calls.get(call.0)?.sender_of(&ack)?.0;
                    Some(Origin { call, branch, leg })
                });
                let body = origin.and_then(|origin| self.rewritten(origin, &ack));
                self.send_ack(target, &ack, body);
            }
            Continuation::Nothing => {}
        }
    }

    fn give_up(&mut self, now: Instant, call: Option<CallId>, next: Continuation, reason: &str) {
        if let Some(call) = call.and_then(|id| self.calls.get(id.0)) {
            let call_id = call.sip_call_id.to_string();
            self.notice(Notice::MediaRefused { call_id, reason: reason.to_owned() });
        }
        match next {
            Continuation::SendBranch { context, branch } => {
                self.fail_branch(now, context, branch, 503, "No Media Port Available");
            }
            Continuation::ForwardResponse { context, branch, response } => {
                // The ports exist already; only the peer's address could not be taken over. The
                // parties decide what to do about the silence.
                let body = self
                    .response_origin(context, branch)
                    .and_then(|origin| self.rewritten(origin, &response));
                self.forward_response(now, context, branch, response, body);
                self.take_waiting(now, context, branch);
            }
            Continuation::SendAck { target, ack } => self.send_ack(target, &ack, None),
            Continuation::Nothing => {}
        }
    }

    /// An offer that this branch carried has been refused: the relay goes back to what was.
    pub(super) fn refuse_offer(&mut self, call: CallId, branch: usize) {
        let token = self.next_token();
        let Some(call) = self.calls.get_mut(call.0) else { return };
        let Some(media) = call.branches.get_mut(branch).and_then(|b| b.media.as_mut()) else {
            return;
        };
        media.refuse_offer();
        if let Some(command) = media.command(token) {
            self.by_token.insert(token, Continuation::Nothing);
            self.outputs.push_back(Output::Media(Box::new(command)));
        }
    }

    /// Ends the branch's relay session.
    pub(super) fn release_media(&mut self, call: CallId, branch: usize) {
        let Some(call) = self.calls.get_mut(call.0) else { return };
        let Some(media) = call.branches.get_mut(branch).and_then(|b| b.media.take()) else {
            return;
        };
        if media.is_known_to_relay() {
            self.outputs.push_back(Output::Media(Box::new(Command::Close { session: media.id() })));
        }
    }

    fn session_closed(
        &mut self,
        now: Instant,
        session: SessionId,
        cause: CloseCause,
        report: SessionReport,
    ) {
        let Some((id, index)) = self.by_session.remove(&session) else { return };
        let Some(call) = self.calls.get_mut(id.0) else { return };
        call.sessions_open = call.sessions_open.saturating_sub(1);
        call.reports.push(report);
        match cause {
            CloseCause::Idle(_) => {
                if let Some(branch) = call.branches.get_mut(index) {
                    branch.media = None;
                }
                if call.sessions_open == 0 && call.ended.is_none() {
                    self.end_call(now, id, CallEnd::MediaIdle);
                }
            }
            CloseCause::Asked | CloseCause::Unknown => {}
        }
        self.write_record_if_complete(id);
    }
}

fn description(message: &Message) -> Option<SdpPart> {
    find_sdp(message.content_type()?, message.body())
}

fn new_session(
    addresses: &dyn MediaAddresses,
    id: SessionId,
    caller: &Party,
    callee: &Party,
) -> MediaSession {
    let local = [caller, callee].map(|party| addresses.bind(party.flow.local.ip()));
    MediaSession::new(id, local, local.map(|ip| addresses.advertised(ip)))
}

/// Which sources are accepted from `party` when its description names `signalled`.
fn learning(config: &Config, party: &Party, signalled: IpAddr) -> Learning {
    if party.adjacent {
        config.learning.sources(party.flow.remote.ip(), signalled)
    } else {
        Learning::Signalled
    }
}
