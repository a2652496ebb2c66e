//! The end of calls: BYE, planned or not.

use std::sync::Arc;
use std::time::Instant;

use rsip::{Header, Method, Request, Response, StatusCode};

use crate::cli;
use crate::engine::outcome::{self, Failure};
use crate::engine::register::{CHALLENGES_MAX, refused_credentials, user_of};
use crate::engine::session::{Callee, Caller, Hangup, Outcome};
use crate::engine::{Engine, Owner};
use crate::ids::{SessionId, Side};
use crate::sip::hop::Hop;
use crate::sip::{auth, message};

impl Engine {
    /// Ends a call as planned.
    pub(crate) fn hang_up(&mut self, session: SessionId, now: Instant) {
        let side = match self.plan.args.hangup {
            cli::Hangup::Caller => Side::Caller,
            cli::Hangup::Callee => Side::Callee,
            cli::Hangup::Alternate => Side::BOTH[session.0 as usize % 2],
        };
        let state = self.session(session);
        if state.outcome.is_some() || state.hangup != Hangup::No {
            return;
        }
        state.outcome = Some(Outcome::Answered);
        state.hangup = Hangup::Begun;
        self.send_bye(session, side, Vec::new(), now);
    }

    pub(crate) fn send_bye(
        &mut self,
        session: SessionId,
        side: Side,
        more: Vec<Header>,
        now: Instant,
    ) {
        let owner = Owner::Bye(session, side);
        if self.bye(owner, session, side, more, now) == Some(false) {
            self.hangup_failed(session, &Failure::TargetNotAllowed, now);
        }
    }

    /// Sends a BYE in `side`'s dialog. `None`: it has none; `Some(false)`: it may not be sent.
    fn bye(
        &mut self,
        owner: Owner,
        session: SessionId,
        side: Side,
        more: Vec<Header>,
        now: Instant,
    ) -> Option<bool> {
        let branch = self.new_branch();
        let local = self.local(side, session);
        let dialog = self.session(session).dialog_mut(side)?;
        let (request, hop) = dialog.request(Method::Bye, &branch, local, more);
        let hop = (side, self.hop(side, session, hop));
        Some(self.send_request(owner, hop, &branch, request, now))
    }

    pub(crate) fn on_bye_response(
        &mut self,
        session: SessionId,
        side: Side,
        response: &Response,
        now: Instant,
    ) {
        match response.status_code.code() {
            0..200 => {}
            200..300 => {
                self.session(session).leave(side);
                if self.session(session).bye_received {
                    self.counters.hangups_ok += 1;
                    self.hangup_over(session);
                } else {
                    self.hangup_failed(session, &Failure::ByeNotDelivered, now);
                }
            }
            // The first one has done it.
            481 if self.session(session).bye_repeats && self.session(session).bye_received => {
                self.session(session).leave(side);
                self.counters.hangups_ok += 1;
                self.hangup_over(session);
            }
            401 | 407 => self.on_bye_challenge(session, side, response, now),
            _ => {
                let failure = Failure::refused(Method::Bye, response);
                self.hangup_failed(session, &failure, now);
            }
        }
    }

    fn on_bye_challenge(
        &mut self,
        session: SessionId,
        side: Side,
        response: &Response,
        now: Instant,
    ) {
        let cnonce = self.token();
        let branch = self.new_branch();
        let local = self.local(side, session);
        let state = self.session(session);
        state.bye_challenges += 1;
        if state.bye_challenges > CHALLENGES_MAX {
            let failure = refused_credentials(Method::Bye, &response.status_code);
            return self.hangup_failed(session, &failure, now);
        }
        // The digest covers the Request-URI, which the next BYE of the dialog will have again.
        let Some(dialog) = state.dialog_mut(side) else { return };
        let (next, _) = dialog.clone().request(Method::Bye, &branch, local, Vec::new());
        let user = user_of(&self.plan, side, session.0);
        match auth::answer(response, user, Method::Bye, &next.uri, &cnonce) {
            Ok(credentials) => self.send_bye(session, side, vec![credentials], now),
            Err(error) => {
                let failure = Failure::Unauthenticated(Method::Bye, error.to_string());
                self.hangup_failed(session, &failure, now);
            }
        }
    }

    pub(crate) fn hangup_failed(&mut self, session: SessionId, failure: &Failure, now: Instant) {
        if self.session(session).hangup != Hangup::Begun {
            return;
        }
        self.session(session).hangup_failed = true;
        outcome::note(&mut self.counters.hangup_failures, failure);
        self.counters.hangups_failed += 1;
        self.hangup_over(session);
        self.take_down(session, now);
    }

    fn hangup_over(&mut self, session: SessionId) {
        let state = self.session(session);
        if state.hangup == Hangup::Begun {
            state.hangup = Hangup::Over;
            self.counters.over += 1;
        }
    }

    /// Ends what there is of a call that has failed: CANCEL or BYE, whose answers nobody waits for.
    pub(crate) fn take_down(&mut self, session: SessionId, now: Instant) {
        if let Caller::Inviting(inviting) = &mut self.session(session).caller {
            inviting.give_up = true;
            let may = inviting.provisional.is_some() && !inviting.cancelled;
            inviting.cancelled |= may;
            let branch = Arc::clone(&inviting.branch);
            if may {
                self.send_cancel(&branch, now);
            }
        }
        for side in Side::BOTH {
            if side == Side::Callee && self.awaits_ack(session) {
                continue;
            }
            if self.bye(Owner::CleanUp, session, side, Vec::new(), now).is_some() {
                self.session(session).leave(side);
            }
        }
    }

    /// RFC 3261 15: the callee may not hang up before its 2xx is acknowledged or has timed out.
    fn awaits_ack(&self, session: SessionId) -> bool {
        match &self.sessions[session.0 as usize].callee {
            Callee::Answered(key, _) => self.servers.contains_key(key),
            Callee::Idle | Callee::Ringing(..) | Callee::Up(_) | Callee::Gone => false,
        }
    }

    /// A BYE from the other side.
    pub(crate) fn on_bye(
        &mut self,
        side: Side,
        key: &Arc<str>,
        request: &Request,
        source: Hop,
        now: Instant,
    ) {
        let call_id = message::call_id(request).unwrap_or_default().to_owned();
        let Some(&session) = self.calls.get(&(side, call_id)) else {
            self.counters.unexpected += 1;
            let answer = (StatusCode::CallTransactionDoesNotExist, Vec::new(), Vec::new());
            return self.respond(key, request, source, answer, now);
        };
        self.respond(key, request, source, (StatusCode::OK, Vec::new(), Vec::new()), now);
        self.session(session).leave(side);
        self.session(session).bye_received = true;
        // Expected if the other side of ours has sent it; a failed call's end is no news either.
        self.fail(session, Failure::Dropped(side), now);
    }
}
