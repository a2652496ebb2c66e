//! REGISTER for a domain that is served here (RFC 3261 10.3).

use std::time::Instant;

use super::Proxy;
use super::inbound::Answer;
use crate::auth::Scheme;
use crate::transaction::ServerTx;
use crate::transport::Arrival;
use crate::wire::{HeaderName, Message, NameAddr};

/// What this registrar knows of what a client may ask for.
const SUPPORTED: &str = "path, outbound, gruu";

impl Proxy {
    pub(super) fn register(
        &mut self,
        now: Instant,
        tx: ServerTx,
        arrival: &Arrival,
        request: &Message,
    ) -> Result<(), Answer> {
        let to = request.to();
        let uri = to.uri().map_err(|_| Answer::new(400, "Bad To Header"))?;
        let Some(user) = uri.user_unescaped() else {
            return Err(Answer::new(400, "Missing User In To"));
        };
        // RFC 3261 10.3 step 5: the address of record must be of a domain that is served here.
        if !self.addresses.is_served(&self.config, &uri) {
            return Err(Answer::new(404, "Domain Not Served Here"));
        }
        let is_trusted = self.config.is_trusted(arrival.remote.ip());
        if !self.registrar.is_open() && !is_trusted {
            let authenticated = self.authenticate(now, Scheme::Server, arrival, request)?;
            // Step 4: whoever has a password may register itself only.
            if authenticated != user {
                return Err(Answer::new(403, "Not Your Address Of Record"));
            }
        } else if !self.registrar.exists(&user) {
            // A trusted source may name anybody, known or not.
            return Err(Answer::new(404, "Not Found"));
        }
        self.check_path(request, is_trusted)?;
        let outcome = self.registrar.process(now, &user, *arrival, request);
        let mut answer = Answer {
            status: outcome.status,
            reason: outcome.reason.into(),
            headers: outcome.headers,
        };
        if answer.status == 200 {
            self.tell_services(&mut answer, arrival, request);
        }
        self.answer(now, tx, request, &answer);
        Ok(())
    }

    /// A Path is a way that calls will take (RFC 3327 5.3, 6): it is believed of trusted sources, and of
    /// users who have authenticated, as these may send anywhere anyway. A client that does not
    /// understand it would not see who has put himself in the way: only a trusted proxy may do so
    /// for it.
    fn check_path(&self, request: &Message, is_trusted: bool) -> Result<(), Answer> {
        if request.count(HeaderName::Path) == 0 {
            return Ok(());
        }
        if !is_trusted && self.registrar.is_open() {
            return Err(Answer::new(403, "Path From Anybody Not Accepted"));
        }
        if !is_trusted && !request.has_token(HeaderName::Supported, "path") {
            let answer = Answer::new(421, "Extension Required");
            return Err(answer.with(HeaderName::Require, "path"));
        }
        // It would come back here as if this node had sent it for somebody.
        let mut paths = request.values(HeaderName::Path).filter_map(NameAddr::parse);
        let is_own = |addr: NameAddr<'_>| {
            addr.uri().is_ok_and(|uri| self.addresses.is_this_node(&self.config, &uri))
        };
        if paths.any(is_own) {
            return Err(Answer::new(400, "Path Names This Node"));
        }
        Ok(())
    }

    /// What a 200 says besides the bindings.
    fn tell_services(&self, answer: &mut Answer, arrival: &Arrival, request: &Message) {
        let headers = &mut answer.headers;
        if request.count(HeaderName::Supported) > 0 {
            headers.push((HeaderName::Supported, SUPPORTED.to_owned()));
        }
        let is_flow = headers.iter().any(|(name, _)| *name == HeaderName::Require);
        if let Some(time) = self.config.flow_timer
            && is_flow
            && arrival.transport.is_reliable()
        {
            headers.push((HeaderName::FlowTimer, time.as_secs().to_string()));
        }
        for route in &self.config.service_routes {
            headers.push((HeaderName::ServiceRoute, format!("<{route}>")));
        }
    }
}
