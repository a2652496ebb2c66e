//! Which requests an overloaded node takes first.

use std::net::IpAddr;
use std::time::Instant;

use super::Proxy;
use super::config::Config;
use super::output::Notice;
use crate::overload::{Admission, Fill, Rank, Sample};
use crate::transport::Arrival;
use crate::wire::{HeaderName, Message, Method, Scheme, Uri};

impl Proxy {
    /// What the node has measured of its load; every tenth of a second or so while messages come, or
    /// [`Overload::is_on`](crate::overload::Overload::is_on).
    pub fn handle_load(&mut self, now: Instant, sample: &Sample) {
        self.overload.handle_sample(now, sample);
        self.tell_of_overload();
    }

    /// A message that may be taken: the transaction layer has it unless it is refused.
    pub(super) fn admit(&mut self, now: Instant, arrival: Arrival, message: Message) {
        let fill = self.fill();
        let (overload, config, guard) = (&mut self.overload, &self.config, &self.guard);
        self.transactions.handle_message_if(now, arrival, message, |request, hash| {
            if overload.takes_all(fill) {
                return Admission::Take;
            }
            let numbers = &overload.config().emergency_numbers;
            let is_known = |source| guard.is_known(now, source);
            let rank = rank(config, numbers, &arrival, request, is_known);
            overload.admit(now, rank, fill, hash)
        });
        self.tell_of_overload();
    }

    fn tell_of_overload(&mut self) {
        if let Some(report) = self.overload.poll_report() {
            self.notice(Notice::Overload(report));
        }
    }

    fn fill(&self) -> Fill {
        let full = |of: usize, limit: usize| of as f64 / limit.max(1) as f64;
        let limits = &self.config.limits;
        let servers = full(self.transactions.servers(), self.transactions.servers_max());
        Fill {
            requests: servers.max(full(self.contexts.len(), limits.contexts)),
            calls: full(self.calls.len(), limits.calls),
        }
    }
}

fn rank(
    config: &Config,
    numbers: &[String],
    arrival: &Arrival,
    request: &Message,
    is_known: impl FnOnce(IpAddr) -> bool,
) -> Rank {
    match request.method() {
        Method::Ack | Method::Cancel | Method::Bye => return Rank::Ending,
        Method::Invite
        | Method::Options
        | Method::Register
        | Method::Prack
        | Method::Update
        | Method::Info
        | Method::Message
        | Method::Subscribe
        | Method::Notify
        | Method::Publish
        | Method::Refer
        | Method::Other(_) => {}
    }
    if request.to().tag().is_some() {
        return Rank::InDialog;
    }
    let is_call = *request.method() == Method::Invite;
    let trusted = config.is_trusted(arrival.remote.ip());
    if is_call && (is_for_emergency(request, numbers) || (trusted && has_priority(request))) {
        return Rank::Emergency { trusted };
    }
    Rank::New { is_call, is_known: trusted || is_known(arrival.remote.ip()) }
}

/// `urn:service:sos` and what is below it (RFC 5031 4.2), or one of the numbers.
fn is_for_emergency(request: &Message, numbers: &[String]) -> bool {
    let Some(uri) = request.uri() else { return false };
    match uri.scheme() {
        Scheme::Sip | Scheme::Sips => is_emergency_number(&uri, numbers),
        Scheme::Tel => numbers.iter().any(|number| number == before_params(uri.opaque())),
        Scheme::Other(_) => is_sos(uri.as_str()),
    }
}

fn is_emergency_number(uri: &Uri<'_>, numbers: &[String]) -> bool {
    let dialled = uri.user().map(before_params);
    dialled.is_some_and(|dialled| numbers.iter().any(|number| number == dialled))
}

fn before_params(text: &str) -> &str {
    text.split(';').next().unwrap_or_default()
}

fn is_sos(uri: &str) -> bool {
    const SOS: &str = "urn:service:sos";
    let (Some(start), Some(rest)) = (uri.get(..SOS.len()), uri.get(SOS.len()..)) else {
        return false;
    };
    start.eq_ignore_ascii_case(SOS) && (rest.is_empty() || rest.starts_with('.'))
}

/// RFC 3261 20.26, and the namespaces of RFC 4412 and RFC 7135 that come before ordinary calls.
fn has_priority(request: &Message) -> bool {
    let is_urgent = |value: &str| {
        let namespace = value.trim().split('.').next().unwrap_or_default();
        ["esnet", "ets", "wps"].iter().any(|one| namespace.eq_ignore_ascii_case(one))
    };
    let priority = request.first_str(HeaderName::Priority);
    priority.is_some_and(|priority| priority.trim().eq_ignore_ascii_case("emergency"))
        || request
            .first_str("Resource-Priority")
            .is_some_and(|values| values.split(',').any(is_urgent))
}
