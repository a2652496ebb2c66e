//! Who may send requests through this node.

use std::time::Instant;

use super::Proxy;
use super::identity::{self, Sender};
use super::inbound::Answer;
use crate::auth::{Scheme, Verdict};
use crate::guard::Offence;
use crate::transport::Arrival;
use crate::wire::{HeaderName, Message, Method};

/// Who sends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// A source whose word is taken: an outside proxy that is listed as trusted.
    Trusted,
    /// A user of ours who has shown that it is.
    Authenticated,
    /// Anybody, in an open test domain.
    Anybody,
}

impl Caller {
    /// Whether it may send to domains that are not served here.
    pub(super) const fn may_send_outward(self) -> bool {
        match self {
            Caller::Trusted | Caller::Authenticated => true,
            // An open domain that relayed to anywhere would be an open relay.
            Caller::Anybody => false,
        }
    }
}

impl Proxy {
    /// Judges the sender of a request outside a call.
    pub(super) fn authorise(
        &mut self,
        now: Instant,
        arrival: &Arrival,
        request: &Message,
    ) -> Result<(Caller, Sender), Answer> {
        if self.config.is_trusted(arrival.remote.ip()) {
            return Ok((Caller::Trusted, Sender::Trusted));
        }
        if self.registrar.is_open() {
            return Ok((Caller::Anybody, Sender::Unknown));
        }
        // RFC 3261 22.1: ACK and CANCEL cannot be challenged; neither gets here, but an ACK that did
        // must not be answered.
        if matches!(request.method(), Method::Ack | Method::Cancel) {
            return Err(Answer::new(403, "Forbidden"));
        }
        let from = request.from();
        let from_uri = from.uri().map_err(|_| Answer::new(400, "Bad From Header"))?;
        let anonymous = identity::is_anonymous(&from_uri);
        if !anonymous && !self.addresses.is_served(&self.config, &from_uri) {
            self.count_against(now, arrival, None, Offence::Stranger);
            return Err(Answer::new(403, "Caller Neither Local Nor Trusted"));
        }
        let user = self.authenticate(now, Scheme::Proxy, arrival, request)?;
        // Whoever has a password may speak in its own name only, or in none.
        if !anonymous && from_uri.user_unescaped().as_deref() != Some(user.as_str()) {
            return Err(Answer::new(403, "From Is Not The Authenticated User"));
        }
        Ok((Caller::Authenticated, self.sender(request, &user)))
    }

    /// Checks the digest credentials of `request`; the error challenges anew.
    pub(super) fn authenticate(
        &mut self,
        now: Instant,
        scheme: Scheme,
        arrival: &Arrival,
        request: &Message,
    ) -> Result<String, Answer> {
        let name = credentials_header(scheme);
        let values = request.lines(name);
        let registrar = &self.registrar;
        let verdict = self.authenticator.verify(
            now,
            &self.config.realm,
            request.method().as_str(),
            values,
            |user| registrar.secret(user),
        );
        self.judge_source(now, arrival, request, name, &verdict);
        match verdict {
            Verdict::Ok { user } => {
                self.check_account(now, arrival, request.method(), &user)?;
                Ok(user)
            }
            Verdict::NoCredentials => Err(self.challenge(now, scheme, false)),
            Verdict::Stale => Err(self.challenge(now, scheme, true)),
            // A client that has shown wrong credentials is told so with a nonce to try again, as if
            // it had shown none: it cannot tell an unknown user from a wrong password.
            Verdict::BadCredentials | Verdict::UnknownUser => {
                Err(self.challenge(now, scheme, false))
            }
            Verdict::Malformed => Err(Answer::new(400, "Bad Credentials Header")),
        }
    }

    fn challenge(&mut self, now: Instant, scheme: Scheme, stale: bool) -> Answer {
        let (status, reason, name) = match scheme {
            Scheme::Server => (401, "Unauthorized", HeaderName::WwwAuthenticate),
            Scheme::Proxy => (407, "Proxy Authentication Required", HeaderName::ProxyAuthenticate),
        };
        let realm = &self.config.realm;
        let values = self.authenticator.challenge(now, realm, stale);
        values.into_iter().fold(Answer::new(status, reason), |r, value| r.with(name, value))
    }
}

const fn credentials_header(scheme: Scheme) -> HeaderName {
    match scheme {
        Scheme::Server => HeaderName::Authorization,
        Scheme::Proxy => HeaderName::ProxyAuthorization,
    }
}
