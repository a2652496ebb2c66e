//! The calling side: INVITE, its answers, ACK and CANCEL.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rsip::{Header, Method, Response};

use crate::engine::outcome::Failure;
use crate::engine::register::{CHALLENGES_MAX, refused_credentials, user_number, user_of};
use crate::engine::session::{Caller, Inviting};
use crate::engine::{Engine, Owner, Wake};
use crate::ids::{Kind, SessionId, Side};
use crate::media::flow::Remote;
use crate::sip::dialog::Dialog;
use crate::sip::hop::{Hop, Local};
use crate::sip::message::{self, Opening};
use crate::sip::{auth, sdp};

/// Names the call to the callee's side, whatever is done to Call-ID and SDP on the way.
pub(crate) const SESSION_HEADER: &str = "X-Load-Session";

impl Engine {
    /// Begins a call.
    pub(crate) fn call(&mut self, session: SessionId, now: Instant) {
        for side in Side::BOTH {
            if !self.is_registered(side, session.0) {
                return self.fail(session, Failure::NotRegistered(side), now);
            }
        }
        let inviting = Inviting {
            started: now,
            branch: self.new_branch(),
            cseq: 1,
            challenges: 0,
            provisional: None,
            rang: false,
            give_up: false,
            cancelled: false,
        };
        self.session(session).caller = Caller::Inviting(Box::new(inviting));
        let patience = Duration::from_secs_f64(self.plan.args.answer_seconds);
        self.timers.push(now + patience, Wake::GiveUp(session));
        self.send_invite(session, None, now);
    }

    pub(crate) fn call_id(&self, session: SessionId) -> String {
        format!("call-{:016x}-{}", self.run, session.0)
    }

    fn invite_uri(&self, session: SessionId) -> String {
        let callee = &user_of(&self.plan, Side::Callee, session.0).name;
        match self.plan.target {
            Some(_) => format!("sip:{callee}@{}", self.plan.users.domain),
            None => self.local(Side::Callee, session).uri(callee),
        }
    }

    /// Where the user of `side` in `session` is.
    pub(crate) fn local(&self, side: Side, session: SessionId) -> Local {
        self.wire.local(side, user_number(&self.plan, side, session.0))
    }

    /// The way of the user of `side` to `address`, or where it sends everything.
    pub(crate) fn hop(&self, side: Side, session: SessionId, address: Option<SocketAddr>) -> Hop {
        let address = address.or(self.plan.target);
        let address = address.unwrap_or_else(|| self.local(side.other(), session).address);
        self.wire.hop(side, user_number(&self.plan, side, session.0), address)
    }

    /// The RTP addresses of `side` in `session`, by kind.
    pub(crate) fn media_addresses(
        &self,
        session: SessionId,
        side: Side,
    ) -> [Option<SocketAddr>; 2] {
        Kind::BOTH.map(|kind| self.media.address(session, side, kind))
    }

    fn send_invite(&mut self, session: SessionId, credentials: Option<Header>, now: Instant) {
        let Caller::Inviting(inviting) = &self.session(session).caller else { return };
        let (branch, cseq) = (Arc::clone(&inviting.branch), inviting.cseq);
        let local = self.local(Side::Caller, session);
        let uri_text = self.invite_uri(session);
        let Ok(uri) = message::uri(&uri_text) else {
            return self.fail(session, Failure::BadOffer(format!("URI {uri_text}")), now);
        };
        let name = &user_of(&self.plan, Side::Caller, session.0).name;
        let call_id = self.call_id(session);
        let opening = Opening {
            local,
            branch: &branch,
            from: &format!("<sip:{name}@{}>;tag=f{}", self.plan.users.domain, session.0),
            to: &format!("<{uri_text}>"),
            call_id: &call_id,
            cseq,
        };
        let mut more = vec![
            Header::Contact(local.contact(name).into()),
            Header::Allow(message::ALLOW.into()),
            Header::Other(SESSION_HEADER.into(), format!("{:016x}-{}", self.run, session.0)),
            Header::ContentType("application/sdp".into()),
        ];
        more.extend(credentials);
        let offer = sdp::write(session.0, self.media_addresses(session, Side::Caller));
        let request = message::request(Method::Invite, uri, &opening, more, offer.into_bytes());
        let hop = self.hop(Side::Caller, session, None);
        self.calls.insert((Side::Caller, call_id), session);
        let owner = Owner::Invite(session);
        if !self.send_request(owner, (Side::Caller, hop), &branch, request, now) {
            self.fail(session, Failure::TargetNotAllowed, now);
        }
    }

    pub(crate) fn on_invite_response(
        &mut self,
        session: SessionId,
        key: &Arc<str>,
        response: &Response,
        now: Instant,
    ) {
        match response.status_code.code() {
            0..200 => self.on_provisional(session, key, response, now),
            200..300 => self.on_accepted(session, key, response, now),
            401 | 407 => self.on_invite_challenge(session, response, now),
            _ => {
                let failure = Failure::refused(Method::Invite, response);
                self.session(session).leave(Side::Caller);
                self.fail(session, failure, now);
            }
        }
    }

    fn on_provisional(
        &mut self,
        session: SessionId,
        key: &Arc<str>,
        response: &Response,
        now: Instant,
    ) {
        let Caller::Inviting(inviting) = &mut self.session(session).caller else { return };
        let code = response.status_code.code();
        inviting.provisional = Some(code);
        let cancel = inviting.give_up && !inviting.cancelled;
        inviting.cancelled |= cancel;
        let ringing = matches!(code, 180 | 183) && !inviting.rang;
        inviting.rang |= ringing;
        let elapsed = (now - inviting.started).as_nanos() as u64;
        if ringing {
            self.counters.post_dial_ns.saturating_record(elapsed.max(1));
        }
        if cancel {
            self.send_cancel(key, now);
        }
    }

    fn on_accepted(
        &mut self,
        session: SessionId,
        key: &Arc<str>,
        response: &Response,
        now: Instant,
    ) {
        let (tag, caller) = (message::to_tag(response), &self.session(session).caller);
        match caller {
            Caller::Inviting(inviting) => {
                let elapsed = (now - inviting.started).as_nanos() as u64;
                self.on_first_accepted(session, key, response, elapsed, now);
            }
            // RFC 3261 13.2.2.4: a repeated 2xx is acknowledged again.
            Caller::Up(dialog) if tag.ok().flatten().as_ref() == Some(&dialog.remote_tag) => {
                self.acknowledge_again(session);
            }
            Caller::Up(_) => self.refuse_fork(session, key, response, now),
            Caller::Gone => self.acknowledge_again(session),
            Caller::Waiting => self.counters.unexpected += 1,
        }
    }

    fn on_first_accepted(
        &mut self,
        session: SessionId,
        key: &Arc<str>,
        response: &Response,
        elapsed_ns: u64,
        now: Instant,
    ) {
        let Some(transaction) = self.clients.get(key) else { return };
        let dialog = match Dialog::of_caller(&transaction.request, response) {
            Ok(dialog) => dialog,
            Err(error) => {
                let failure = Failure::BadAnswer(format!("{error:#}"));
                self.session(session).leave(Side::Caller);
                return self.fail(session, failure, now);
            }
        };
        self.session(session).caller = Caller::Up(Box::new(dialog));
        if !self.acknowledge(session) {
            return self.fail(session, Failure::TargetNotAllowed, now);
        }
        if self.session(session).outcome.is_some() {
            // It was given up, but the answer crossed the CANCEL: hang up (RFC 3261 15.1.1).
            return self.take_down(session, now);
        }
        match self.read_sdp(Side::Caller, &response.body) {
            Ok(remotes) => {
                self.counters.setup_ns.saturating_record(elapsed_ns.max(1));
                self.session(session).remotes[Side::Caller.index()] = Some(remotes);
                self.side_is_up(session, now);
            }
            Err(failure) => self.fail(session, failure, now),
        }
    }

    /// Reads the description that `side` was sent; addresses that may not be sent to are refused.
    pub(crate) fn read_sdp(&self, side: Side, body: &[u8]) -> Result<[Option<Remote>; 2], Failure> {
        let remotes = sdp::read(body, self.plan.video.is_some()).map_err(|error| {
            let why = format!("{error:#}");
            match side {
                Side::Caller => Failure::BadAnswer(why),
                Side::Callee => Failure::BadOffer(why),
            }
        })?;
        let allowed = remotes.iter().flatten().all(|remote| {
            self.plan.guard.allows(remote.rtp.ip()) && self.plan.guard.allows(remote.rtcp.ip())
        });
        if allowed { Ok(remotes) } else { Err(Failure::TargetNotAllowed) }
    }

    /// Sends the ACK of the 2xx along the dialog's route; `false` if that leads to a place that may
    /// not be sent to.
    fn acknowledge(&mut self, session: SessionId) -> bool {
        let branch = self.new_branch();
        let local = self.local(Side::Caller, session);
        let Some(dialog) = self.session(session).dialog_mut(Side::Caller) else { return true };
        let (ack, hop) = dialog.request(Method::Ack, &branch, local, Vec::new());
        let ack = (ack.to_string().into_bytes(), self.hop(Side::Caller, session, hop));
        let sent = self.wire.send(Side::Caller, ack.1, &ack.0);
        self.session(session).ack = Some(ack);
        sent
    }

    fn acknowledge_again(&mut self, session: SessionId) {
        if let Some((ack, hop)) = &self.sessions[session.0 as usize].ack {
            self.wire.send(Side::Caller, *hop, ack);
            self.counters.retransmissions += 1;
        }
    }

    /// A second callee has answered (RFC 3261 13.2.2.4): it is acknowledged and hung up on.
    fn refuse_fork(
        &mut self,
        session: SessionId,
        key: &Arc<str>,
        response: &Response,
        now: Instant,
    ) {
        self.counters.unexpected += 1;
        let Some(transaction) = self.clients.get(key) else { return };
        let Ok(mut dialog) = Dialog::of_caller(&transaction.request, response) else { return };
        let local = self.local(Side::Caller, session);
        for method in [Method::Ack, Method::Bye] {
            let branch = self.new_branch();
            let (request, hop) = dialog.request(method, &branch, local, Vec::new());
            let hop = (Side::Caller, self.hop(Side::Caller, session, hop));
            if method == Method::Ack {
                self.wire.send(hop.0, hop.1, request.to_string().as_bytes());
            } else {
                self.send_request(Owner::CleanUp, hop, &branch, request, now);
            }
        }
    }

    fn on_invite_challenge(&mut self, session: SessionId, response: &Response, now: Instant) {
        let (cnonce, branch) = (self.token(), self.new_branch());
        let uri = message::uri(&self.invite_uri(session));
        let user = user_of(&self.plan, Side::Caller, session.0);
        let answer =
            uri.and_then(|uri| auth::answer(response, user, Method::Invite, &uri, &cnonce));
        let Caller::Inviting(inviting) = &mut self.session(session).caller else { return };
        inviting.challenges += 1;
        inviting.cseq += 1;
        inviting.branch = branch;
        let challenges = inviting.challenges;
        let failure = match answer {
            Ok(_) if challenges > CHALLENGES_MAX => {
                refused_credentials(Method::Invite, &response.status_code)
            }
            Ok(credentials) => return self.send_invite(session, Some(credentials), now),
            Err(error) => Failure::Unauthenticated(Method::Invite, error.to_string()),
        };
        self.session(session).leave(Side::Caller);
        self.fail(session, failure, now);
    }

    /// The caller has waited long enough.
    pub(crate) fn give_up(&mut self, session: SessionId, now: Instant) {
        let Caller::Inviting(inviting) = &self.session(session).caller else {
            // It was answered; but perhaps the callee never heard the ACK, which has its own timer.
            return;
        };
        let failure = Failure::NotAnswered(inviting.provisional);
        self.fail(session, failure, now);
    }
}
