//! Registration with digest authentication.

use std::time::Duration;

use signaling_core::auth::{self, AnswerTo, Challenge, Secret};
use signaling_core::wire::{HeaderName, Message, Method, RequestBuilder};

use super::client::Purpose;
use super::{Agent, Cx, Timer};
use crate::scenario::DOMAIN;

/// Seconds that a binding lasts: longer than any run in which calls are still made.
const EXPIRES: &str = "7200";
/// From a failed try to the next.
const RETRY: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Registration {
    cseq: u32,
    /// The last request carried credentials.
    authenticated: bool,
}

impl Agent {
    pub(super) fn register(&mut self, cx: &mut Cx<'_>) {
        self.registration.authenticated = false;
        self.send_register(cx, None);
    }

    fn send_register(&mut self, cx: &mut Cx<'_>, authorization: Option<String>) {
        self.registration.cseq += 1;
        let via = self.via();
        let (user, id) = (&self.device.user, self.device.id.0);
        let address = format!("<sip:{user}@{DOMAIN}>");
        let mut request = RequestBuilder::new(&Method::Register, &format!("sip:{DOMAIN}"));
        request
            .header(HeaderName::Via, via)
            .header(HeaderName::MaxForwards, "70")
            .header(HeaderName::From, format!("{address};tag=r{id}"))
            .header(HeaderName::To, address)
            .header(HeaderName::CallId, format!("register-{id}"))
            .header(HeaderName::CSeq, format!("{} REGISTER", self.registration.cseq))
            .header(HeaderName::Contact, self.contact())
            .header(HeaderName::Expires, EXPIRES);
        if let Some(value) = authorization {
            request.header(HeaderName::Authorization, value);
        }
        let Ok(request) = request.finish_message() else { return };
        let (to, reliable) = (self.home(), self.transport().is_reliable());
        self.clients.send(cx, request, to, reliable, Purpose::Register);
    }

    pub(super) fn registered(&mut self, cx: &mut Cx<'_>, response: &Message) {
        match response.status() {
            Some(200) => cx.ledger.registered(self.id()),
            Some(401) if !self.registration.authenticated => {
                self.registration.authenticated = true;
                let uri = format!("sip:{DOMAIN}");
                let name = HeaderName::WwwAuthenticate;
                let password = self.device.password.clone();
                let value = self.credentials(response, name, "REGISTER", &uri, &password);
                self.send_register(cx, value);
            }
            Some(_) | None => cx.wake(cx.now + RETRY, Timer::Register),
        }
    }

    /// The answer to the challenge in a 401 or 407.
    pub(super) fn credentials(
        &self,
        response: &Message,
        name: HeaderName,
        method: &str,
        uri: &str,
        password: &str,
    ) -> Option<String> {
        let challenge = Challenge::pick(response.lines(name))?;
        let secret = Secret::Plain(password.to_owned());
        let to = AnswerTo { method, uri, cnonce: "0a4f113b", nc: 1 };
        auth::answer(&challenge, &self.device.user, &secret, to)
    }
}
