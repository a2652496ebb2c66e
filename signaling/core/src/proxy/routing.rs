//! Where a request goes: registered contacts, static routes, or the next hop that it names.

use std::net::SocketAddr;
use std::time::Instant;

use super::Proxy;
use super::authorise::Caller;
use super::inbound::{Answer, Routed};
use crate::call::Party;
use crate::registrar::{Binding, Lookup};
use crate::transport::{Arrival, Target, Transport};
use crate::wire::{Host, Message, NameAddr, Scheme, Uri};

/// One target of a request.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    /// The new Request-URI; `None`: it stays as it is.
    pub(super) uri: Option<String>,
    /// The party there.
    pub(super) party: Party,
}

impl Proxy {
    /// RFC 3261 16.5.
    pub(super) fn resolve(
        &mut self,
        now: Instant,
        arrival: &Arrival,
        routed: &Routed,
        caller: Caller,
    ) -> Result<Vec<Destination>, Answer> {
        let uri = Uri::parse(&routed.uri).map_err(|_| Answer::new(400, "Bad Request-URI"))?;
        match &routed.next_route {
            Some(route) => Ok(vec![self.outward(arrival, route, caller)?]),
            None if self.addresses.is_served(&self.config, &uri) => self.contacts(now, &uri),
            None => Ok(vec![self.outward(arrival, &routed.uri, caller)?]),
        }
    }

    /// The registered contacts of a user of ours, best first.
    fn contacts(&mut self, now: Instant, uri: &Uri<'_>) -> Result<Vec<Destination>, Answer> {
        let Some(user) = uri.user_unescaped() else {
            return Err(Answer::new(484, "Address Incomplete"));
        };
        match self.registrar.lookup(now, &user) {
            Lookup::UnknownUser => Err(Answer::new(404, "Not Found")),
            Lookup::NotRegistered => Err(Answer::new(480, "Temporarily Unavailable")),
            Lookup::Bindings(bindings) => {
                Ok(bindings.iter().take(self.config.limits.branches).map(|b| contact(b)).collect())
            }
        }
    }

    /// A next hop outside: only for those who may send through this node.
    fn outward(
        &mut self,
        arrival: &Arrival,
        next_hop: &str,
        caller: Caller,
    ) -> Result<Destination, Answer> {
        let uri = Uri::parse(next_hop).map_err(|_| Answer::new(400, "Bad Route Header"))?;
        if !caller.may_send_outward() {
            return Err(Answer::new(403, "Relaying Denied"));
        }
        let flow = self.next_hop(arrival, &uri)?;
        Ok(Destination { uri: None, party: Party { flow, adjacent: false, pinned_to_flow: false } })
    }

    /// The target that `uri` names: a static route by its domain, else its IP address. There is no
    /// DNS yet.
    pub(super) fn next_hop(&mut self, arrival: &Arrival, uri: &Uri<'_>) -> Result<Target, Answer> {
        let domain = match uri.host() {
            Host::Name(name) => name.to_owned(),
            Host::V4(ip) => ip.to_string(),
            Host::V6(ip) => ip.to_string(),
        };
        let (transport, remote) = match (self.config.route(&domain), uri.host().ip()) {
            (Some(route), _) => (route.transport, route.next_hop),
            // The unspecified address would lead back here, a group to anybody.
            (None, Some(ip)) if ip.is_unspecified() || ip.is_multicast() => {
                return Err(Answer::new(404, "No Route To Address"));
            }
            (None, Some(ip)) => {
                let transport = uri_transport(uri)?;
                (transport, SocketAddr::new(ip, uri.port().unwrap_or(transport.default_port())))
            }
            (None, None) => return Err(Answer::new(404, "No Route To Domain")),
        };
        self.addresses
            .target(&self.config, transport, remote, Some(arrival))
            .ok_or_else(|| Answer::new(503, format!("No {transport} Listener Faces Destination")))
    }
}

fn uri_transport(uri: &Uri<'_>) -> Result<Transport, Answer> {
    // RFC 3261 26.2.2: what asked for TLS is not sent without.
    if matches!(uri.scheme(), Scheme::Sips) {
        return Err(Answer::new(503, "Transport Not Supported"));
    }
    match uri.params().get("transport") {
        None => Ok(Transport::Udp),
        Some(name) => name.parse().map_err(|_| Answer::new(503, "Transport Not Supported")),
    }
}

fn contact(binding: &Binding) -> Destination {
    let uri = Uri::parse(&binding.uri).ok();
    let flow = flow_of(&binding.arrival, uri.as_ref());
    Destination {
        uri: Some(request_uri(&binding.uri)),
        party: Party {
            flow,
            adjacent: true,
            pinned_to_flow: is_pinned(&binding.arrival, uri.as_ref()),
        },
    }
}

/// A Contact URI without what a Request-URI may not have (RFC 3261 16.6 step 2, 19.1.1): headers and
/// the method parameter.
fn request_uri(contact: &str) -> String {
    let before_headers = contact.split('?').next().unwrap_or_default();
    let (mut uri, from) = match before_headers.find('@') {
        // A `;` before the `@` belongs to the user.
        Some(at) => (before_headers[..at].to_owned(), at),
        None => (String::new(), 0),
    };
    let mut parts = before_headers[from..].split(';');
    uri += parts.next().unwrap_or_default();
    for param in parts.filter(|param| {
        let name = param.split('=').next().unwrap_or_default();
        !name.eq_ignore_ascii_case("method")
    }) {
        uri.push(';');
        uri += param;
    }
    uri
}

/// How the sender of a message is reached, judged by the message: it is adjacent if no proxy has put
/// a Via above its own, and pinned to its flow if its Contact cannot be reached as written.
pub(super) fn party_of(arrival: &Arrival, request: &Message) -> Party {
    let adjacent = request.vias().count() == 1;
    let contact = request.contacts().flatten().find_map(crate::wire::Contact::addr);
    let uri = contact.as_ref().and_then(|c: &NameAddr<'_>| c.uri().ok());
    Party {
        flow: flow_of(arrival, uri.as_ref()),
        adjacent,
        pinned_to_flow: adjacent && is_pinned(arrival, uri.as_ref()),
    }
}

/// Whether requests to a peer with this Contact take the way that its messages came: it is behind
/// NAT (the Contact names another address than it sends from) or it came over a connection.
fn is_pinned(arrival: &Arrival, contact: Option<&Uri<'_>>) -> bool {
    arrival.connection.is_some() || contact.is_none_or(|uri| !uri.host().is_ip(arrival.remote.ip()))
}

/// The way to a peer: its Contact's port where that can be reached, else the port it sends from; by
/// the connection that it opened while that lasts.
fn flow_of(arrival: &Arrival, contact: Option<&Uri<'_>>) -> Target {
    let mut flow = arrival.reply();
    if let Some(uri) = contact
        && uri.host().is_ip(arrival.remote.ip())
        && uri_transport(uri).is_ok_and(|t| t == arrival.transport)
    {
        flow.remote.set_port(uri.port().unwrap_or(arrival.transport.default_port()));
    }
    flow
}
