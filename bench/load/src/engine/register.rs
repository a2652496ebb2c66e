//! REGISTER with digest authentication (RFC 3261 10.2).

use std::net::SocketAddr;
use std::time::Instant;

use rsip::headers::UntypedHeader;
use rsip::{Header, Method, Response, StatusCode};

use crate::cli::Plan;
use crate::engine::outcome::{self, Failure};
use crate::engine::{Engine, Owner};
use crate::ids::Side;
use crate::sip::auth;
use crate::sip::hop::{Hop, Local};
use crate::sip::hosts;
use crate::sip::message::{self, Opening};
use crate::sipbench::Transport;
use crate::users::User;

/// Asked lifetime of a registration in seconds: longer than most runs.
const EXPIRES_SECONDS: u32 = 3_600;

/// Challenges that are answered for one request: a second one means that the nonce went stale
/// meanwhile; a third, that the password is wrong.
pub(crate) const CHALLENGES_MAX: u32 = 2;

/// One user's way to the registrar.
#[derive(Debug)]
pub(crate) struct Registration {
    side: Side,
    user: User,
    call_id: String,
    tag: String,
    cseq: u32,
    challenges: u32,
    started: Option<Instant>,
    pub(crate) is_registered: bool,
    /// An answer is awaited.
    pub(crate) is_pending: bool,
    /// It is being made once more, by another connection.
    is_renewal: bool,
    /// The registration is being taken back.
    is_leaving: bool,
}

impl Registration {
    /// Those that `plan` asks for.
    pub(crate) fn all(plan: &Plan) -> Vec<Registration> {
        if plan.target.is_none() || plan.args.no_register {
            return Vec::new();
        }
        let callers = plan.users.callers.iter().map(|user| (Side::Caller, user));
        let callees = plan.users.callees.iter().map(|user| (Side::Callee, user));
        callers
            .chain(callees)
            .map(|(side, user)| Registration {
                side,
                user: user.clone(),
                call_id: String::new(),
                tag: String::new(),
                cseq: 0,
                challenges: 0,
                started: None,
                is_registered: false,
                is_pending: false,
                is_renewal: false,
                is_leaving: false,
            })
            .collect()
    }
}

impl Engine {
    /// Whether the user of `side` that takes part in call `number` can be reached.
    pub(crate) fn is_registered(&self, side: Side, number: u32) -> bool {
        if self.registrations.is_empty() {
            return true;
        }
        let callers = self.plan.users.callers.len();
        let at = match side {
            Side::Caller => number as usize % callers,
            Side::Callee => callers + number as usize % self.plan.users.callees.len(),
        };
        self.registrations[at].is_registered
    }

    /// Begins registration `at`.
    pub(crate) fn register(&mut self, at: usize, now: Instant) {
        let (call_id, tag) = (self.token(), self.token());
        let registration = &mut self.registrations[at];
        registration.call_id = format!("reg-{call_id}");
        registration.tag = tag;
        registration.started = Some(now);
        registration.is_pending = true;
        self.registering += 1;
        self.send_register(at, None, now);
    }

    /// Takes registration `at` back (RFC 3261 10.2.2), so that the next run's calls do not fork to
    /// contacts that are gone.
    pub(crate) fn unregister(&mut self, at: usize, now: Instant) {
        let registration = &mut self.registrations[at];
        registration.is_leaving = true;
        registration.challenges = 0;
        let is_under_way = std::mem::replace(&mut registration.is_pending, true);
        registration.is_renewal = false;
        self.registering += u32::from(!is_under_way);
        self.send_register(at, None, now);
    }

    /// Sends registration `at` again, since there is another connection for it.
    pub(crate) fn register_again(&mut self, at: usize, now: Instant) {
        let registration = &mut self.registrations[at];
        if registration.is_pending {
            // What was asked by the connection that is lost is asked again.
        } else if registration.is_registered && !registration.is_leaving {
            (registration.is_pending, registration.is_renewal) = (true, true);
            self.registering += 1;
        } else {
            return;
        }
        self.registrations[at].challenges = 0;
        self.send_register(at, None, now);
    }

    /// The connection of registration `at`, and whose side it is.
    pub(crate) fn connection_of(&self, at: usize) -> Option<(Side, u32)> {
        let (_, hop) = self.way_of(at, self.plan.target?);
        Some((self.registrations[at].side, hop.connection?))
    }

    fn send_register(&mut self, at: usize, credentials: Option<Header>, now: Instant) {
        let branch = self.new_branch();
        let Some(target) = self.plan.target else { return };
        let (local, hop) = self.way_of(at, target);
        let registration = &mut self.registrations[at];
        registration.cseq += 1;
        let (side, name) = (registration.side, registration.user.name.clone());
        let expires = if registration.is_leaving { 0 } else { EXPIRES_SECONDS };
        let domain = &self.plan.users.domain;
        let Ok(uri) = message::uri(&format!("sip:{domain}")) else {
            let failure = Failure::BadOffer(format!("domain {domain}"));
            return self.registration_failed(at, &failure);
        };
        let opening = Opening {
            local,
            branch: &branch,
            from: &format!("<sip:{name}@{domain}>;tag={}", registration.tag),
            to: &format!("<sip:{name}@{domain}>"),
            call_id: &registration.call_id,
            cseq: registration.cseq,
        };
        let mut more = vec![
            Header::Contact(contact(local, &name, &registration.tag).into()),
            Header::Expires(expires.into()),
        ];
        if hop.is_reliable() {
            // RFC 5626 4.2.1.
            more.push(Header::Supported("path, outbound".into()));
        }
        more.extend(credentials);
        let request = message::request(Method::Register, uri, &opening, more, Vec::new());
        self.send_request(Owner::Register(at), (side, hop), &branch, request, now);
    }

    /// Where the user of registration `at` is, and its way to `target`.
    fn way_of(&self, at: usize, target: SocketAddr) -> (Local, Hop) {
        let side = self.registrations[at].side;
        let callers = self.plan.users.callers.len();
        let number = if side == Side::Callee { at - callers } else { at };
        (self.wire.local(side, number), self.wire.hop(side, number, target))
    }

    pub(crate) fn on_register_response(&mut self, at: usize, response: &Response, now: Instant) {
        match response.status_code.code() {
            0..200 => {}
            200..300 => self.on_registered(at, response, now),
            401 | 407 => self.on_register_challenge(at, response, now),
            _ => {
                let failure = Failure::refused(Method::Register, response);
                self.registration_failed(at, &failure);
            }
        }
    }

    fn on_register_challenge(&mut self, at: usize, response: &Response, now: Instant) {
        let cnonce = self.token();
        let registration = &mut self.registrations[at];
        registration.challenges += 1;
        let code = response.status_code.clone();
        if registration.challenges > CHALLENGES_MAX {
            return self.registration_failed(at, &refused_credentials(Method::Register, &code));
        }
        let uri = message::uri(&format!("sip:{}", self.plan.users.domain));
        let answer = uri.and_then(|uri| {
            auth::answer(response, &registration.user, Method::Register, &uri, &cnonce)
        });
        match answer {
            Ok(credentials) => self.send_register(at, Some(credentials), now),
            Err(error) => {
                let failure = Failure::Unauthenticated(Method::Register, error.to_string());
                self.registration_failed(at, &failure);
            }
        }
    }

    /// RFC 3261 10.3 step 8: a 200 lists the current bindings, ours among them unless it was removed.
    fn on_registered(&mut self, at: usize, response: &Response, now: Instant) {
        let Some(target) = self.plan.target else { return };
        let (local, _) = self.way_of(at, target);
        let registration = &self.registrations[at];
        let ours = format!("sip:{}@{}", registration.user.name, hosts::socket(local.address));
        let listed = response.headers.iter().any(|header| {
            if let Header::Contact(contact) = header {
                contact.value().contains(&ours)
            } else {
                false
            }
        });
        match (registration.is_leaving, listed) {
            (false, true) if registration.is_renewal => {
                self.counters.registrations_renewed += 1;
                self.registration_done(at);
            }
            (false, true) => {
                let started = registration.started.unwrap_or(now);
                let elapsed_ns = (now - started).as_nanos() as u64;
                self.counters.register_ns.saturating_record(elapsed_ns.max(1));
                self.counters.registered += 1;
                self.registrations[at].is_registered = true;
                self.registration_done(at);
            }
            (true, false) => {
                self.counters.unregistered += 1;
                self.registration_done(at);
            }
            (false, false) => self.registration_failed(at, &Failure::NotListed),
            (true, true) => self.registration_failed(at, &Failure::StillListed),
        }
    }

    pub(crate) fn registration_failed(&mut self, at: usize, failure: &Failure) {
        debug_assert!(self.registrations[at].started.is_some(), "it was begun");
        outcome::note(&mut self.counters.registration_failures, failure);
        if self.registrations[at].is_leaving {
            self.counters.unregistrations_failed += 1;
        } else {
            self.counters.registrations_failed += 1;
        }
        self.registration_done(at);
    }

    /// Nothing is awaited for registration `at` any more.
    fn registration_done(&mut self, at: usize) {
        let registration = &mut self.registrations[at];
        registration.is_renewal = false;
        if std::mem::replace(&mut registration.is_pending, false) {
            self.registering -= 1;
        }
    }
}

/// The failure of a request whose credentials were not accepted.
pub(crate) fn refused_credentials(method: Method, code: &StatusCode) -> Failure {
    Failure::Unauthenticated(method, format!("{code} again"))
}

/// The Contact of a REGISTER. Who has a connection says which phone it is, so that its next connection takes
/// the place of this one (RFC 5626 4.1, 4.2): the identity is made from `seed`, 16 hexadecimal digits.
fn contact(local: Local, name: &str, seed: &str) -> String {
    let uri = local.uri(name);
    if local.transport == Transport::Udp {
        return format!("<{uri}>");
    }
    let instance = format!("urn:uuid:{}-0000-4000-8000-{:0>12}", &seed[..8], &seed[8..]);
    format!("<{uri};ob>;reg-id=1;+sip.instance=\"<{instance}>\"")
}

/// The users of `side`.
fn group(plan: &Plan, side: Side) -> &[User] {
    match side {
        Side::Caller => &plan.users.callers,
        Side::Callee => &plan.users.callees,
    }
}

/// Which user of its group answers for `side` of call `number`.
pub(crate) fn user_number(plan: &Plan, side: Side, number: u32) -> usize {
    number as usize % group(plan, side).len()
}

/// The user who answers for `side` of call `number`.
pub(crate) fn user_of(plan: &Plan, side: Side, number: u32) -> &User {
    &group(plan, side)[user_number(plan, side, number)]
}
