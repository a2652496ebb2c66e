//! REGISTER for a domain that is served here (RFC 3261 10.3).

use std::time::Instant;

use super::Proxy;
use super::inbound::Answer;
use crate::auth::Scheme;
use crate::transaction::ServerTx;
use crate::transport::Arrival;
use crate::wire::Message;

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
        if !self.registrar.is_open() && !self.config.is_trusted(arrival.remote.ip()) {
            let authenticated = self.authenticate(now, Scheme::Server, arrival, request)?;
            // Step 4: whoever has a password may register itself only.
            if authenticated != user {
                return Err(Answer::new(403, "Not Your Address Of Record"));
            }
        }
        // A trusted source may name anybody, known or not.
        if !self.registrar.exists(&user) {
            return Err(Answer::new(404, "Not Found"));
        }
        let outcome = self.registrar.process(now, &user, *arrival, request);
        let answer = Answer {
            status: outcome.status,
            reason: outcome.reason.to_owned(),
            headers: outcome.headers,
        };
        self.answer(now, tx, request, &answer);
        Ok(())
    }
}
