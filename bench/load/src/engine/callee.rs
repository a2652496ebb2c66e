//! The called side: rings, answers, and waits for the ACK.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rsip::{Header, Request, StatusCode};

use crate::cli::CalleeBehaviour;
use crate::engine::caller::SESSION_HEADER;
use crate::engine::outcome::Failure;
use crate::engine::register::user_of;
use crate::engine::session::{Callee, Caller};
use crate::engine::{Engine, Wake};
use crate::ids::{SessionId, Side};
use crate::sip::dialog::Dialog;
use crate::sip::hop::Hop;
use crate::sip::{message, sdp, server};

impl Engine {
    /// The call that an INVITE belongs to, if it is one of this run.
    fn session_of(&self, request: &Request) -> Option<SessionId> {
        let (run, number) = message::other(request, SESSION_HEADER)?.trim().split_once('-')?;
        let ours = u64::from_str_radix(run, 16).ok()? == self.run;
        let number: u32 = number.parse().ok()?;
        (ours && number < self.plan.args.sessions).then_some(SessionId(number))
    }

    pub(crate) fn on_invite(
        &mut self,
        side: Side,
        key: &Arc<str>,
        request: Request,
        source: Hop,
        now: Instant,
    ) {
        let known = match side {
            Side::Callee => self.session_of(&request),
            // Nobody calls the callers.
            Side::Caller => None,
        };
        let Some(session) = known else {
            self.counters.unexpected += 1;
            return self.refuse(key, &request, source, StatusCode::NotFound, now);
        };
        if !matches!(self.session(session).callee, Callee::Idle) {
            // RFC 3261 8.2.2.2: the same call by another way, or a re-INVITE, which we do not take.
            self.counters.unexpected += 1;
            let within = message::to_tag(&request).ok().flatten().is_some();
            let code =
                if within { StatusCode::NotAcceptableHere } else { StatusCode::LoopDetected };
            return self.refuse(key, &request, source, code, now);
        }
        if let Some(transaction) = self.servers.get_mut(key) {
            transaction.session = Some(session);
        }
        self.ring(session, key, request, source, now);
    }

    fn refuse(
        &mut self,
        key: &Arc<str>,
        request: &Request,
        source: Hop,
        code: StatusCode,
        now: Instant,
    ) {
        self.respond(key, request, source, (code, Vec::new(), Vec::new()), now);
    }

    fn ring(
        &mut self,
        session: SessionId,
        key: &Arc<str>,
        request: Request,
        source: Hop,
        now: Instant,
    ) {
        match self.plan.args.callee {
            CalleeBehaviour::Busy => {
                self.session(session).callee = Callee::Gone;
                self.refuse(key, &request, source, StatusCode::BusyHere, now);
            }
            CalleeBehaviour::Silent => {
                let ringing = Callee::Ringing(Arc::clone(key), Box::new(request), source);
                self.session(session).callee = ringing;
            }
            CalleeBehaviour::Ring | CalleeBehaviour::Answer => {
                let contact = self.contact(session);
                self.respond(key, &request, source, (StatusCode::Ringing, contact, vec![]), now);
                let ringing = Callee::Ringing(Arc::clone(key), Box::new(request), source);
                self.session(session).callee = ringing;
                if self.plan.args.callee == CalleeBehaviour::Answer {
                    let ring = Duration::from_millis(self.plan.args.ring_ms);
                    self.timers.push(now + ring, Wake::Answer(session));
                }
            }
        }
    }

    fn contact(&self, session: SessionId) -> Vec<Header> {
        let name = &user_of(&self.plan, Side::Callee, session.0).name;
        vec![Header::Contact(self.local(Side::Callee, session).contact(name).into())]
    }

    /// Answers a call that has rung long enough.
    pub(crate) fn answer(&mut self, session: SessionId, now: Instant) {
        let callee = std::mem::replace(&mut self.session(session).callee, Callee::Gone);
        let Callee::Ringing(key, request, source) = callee else {
            // It was cancelled meanwhile.
            self.session(session).callee = callee;
            return;
        };
        let tag = self.tag_for(&request);
        let read = self.read_sdp(Side::Callee, &request.body);
        let dialog = Dialog::of_callee(&request, &tag)
            .map_err(|error| Failure::BadOffer(format!("{error:#}")));
        let (remotes, dialog) = match (read, dialog) {
            (Ok(remotes), Ok(dialog)) => (remotes, dialog),
            (Err(failure), _) | (_, Err(failure)) => {
                self.refuse(&key, &request, source, StatusCode::NotAcceptableHere, now);
                return self.fail(session, failure, now);
            }
        };
        let mut more = self.contact(session);
        more.push(Header::Allow(message::ALLOW.into()));
        more.push(Header::ContentType("application/sdp".into()));
        let answer = sdp::write(session.0, self.media_addresses(session, Side::Callee));
        self.calls.insert((Side::Callee, dialog.call_id.clone()), session);
        let state = self.session(session);
        state.remotes[Side::Callee.index()] = Some(remotes);
        state.callee = Callee::Answered(Arc::clone(&key), Box::new(dialog));
        self.respond(&key, &request, source, (StatusCode::OK, more, answer.into_bytes()), now);
    }

    /// An ACK: of a failure, by its transaction, or of a 2xx, by its call.
    pub(crate) fn on_ack(&mut self, side: Side, key: &Arc<str>, request: &Request, now: Instant) {
        if let Some(transaction) = self.servers.get_mut(key)
            && transaction.state() != server::State::Accepted
        {
            transaction.acknowledged(now);
            let wake_at = transaction.wake_at();
            self.timers.push(wake_at, Wake::Server(Arc::clone(key)));
            return;
        }
        let call_id = message::call_id(request).unwrap_or_default().to_owned();
        let Some(&session) = self.calls.get(&(side, call_id)) else {
            self.counters.unexpected += 1;
            return;
        };
        let callee = std::mem::replace(&mut self.session(session).callee, Callee::Gone);
        let Callee::Answered(invite, dialog) = callee else {
            // A repeat: the answer to our repeated 2xx.
            self.session(session).callee = callee;
            return;
        };
        self.session(session).callee = Callee::Up(dialog);
        if let Some(transaction) = self.servers.get_mut(&invite) {
            transaction.acknowledged(now);
        }
        if self.session(session).outcome.is_some() {
            return self.take_down(session, now);
        }
        self.side_is_up(session, now);
    }

    /// Starts the media if both sides are up.
    pub(crate) fn side_is_up(&mut self, session: SessionId, now: Instant) {
        let state = self.session(session);
        let both = matches!((&state.caller, &state.callee), (Caller::Up(_), Callee::Up(_)));
        let [Some(of_caller), Some(of_callee)] = state.remotes else { return };
        if !both || state.up || state.outcome.is_some() {
            return;
        }
        state.up = true;
        self.media.start_session(session, [of_caller, of_callee]);
        self.counters.up += 1;
        self.counters.settled += 1;
        if self.plan.args.per_call_seconds {
            let hold = Duration::from_secs_f64(self.plan.args.seconds);
            self.timers.push(now + hold, Wake::HoldOver(session));
        }
    }

    /// RFC 3261 9.2.
    pub(crate) fn on_cancel(
        &mut self,
        key: &Arc<str>,
        invite: &Arc<str>,
        request: &Request,
        source: Hop,
        now: Instant,
    ) {
        let Some(transaction) = self.servers.get(invite) else {
            let code = StatusCode::CallTransactionDoesNotExist;
            return self.refuse(key, request, source, code, now);
        };
        let session = transaction.session;
        self.refuse(key, request, source, StatusCode::OK, now);
        let Some(session) = session else { return };
        let callee = std::mem::replace(&mut self.session(session).callee, Callee::Gone);
        if let Callee::Ringing(own, invite, source) = callee {
            self.refuse(&own, &invite, source, StatusCode::RequestTerminated, now);
        } else {
            // Answered already: the CANCEL has no effect.
            self.session(session).callee = callee;
        }
    }
}
