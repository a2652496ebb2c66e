//! Where a request goes: registered contacts, static routes, or the next hop that it names.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use smallvec::SmallVec;

use super::Proxy;
use super::authorise::Caller;
use super::config::{NextHop, Route};
use super::inbound::{Answer, Routed};
use super::way::{Step, Way};
use crate::call::Party;
use crate::registrar::{Binding, Lookup};
use crate::resolve::{Hop, Query};
use crate::transport::{Arrival, Target, Transport};
use crate::wire::{Host, Message, NameAddr, Scheme, Uri, unescape};

/// One target of a request.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    /// The new Request-URI; `None`: it stays as it is.
    pub(super) uri: Option<String>,
    /// The Route header that it gets: the Path of a contact (RFC 3327 5.4).
    pub(super) path: Option<Box<str>>,
    /// The party there; where there is a `way`, its flow is what comes of that.
    pub(super) party: Party,
    /// The servers to try, for a target outside.
    pub(super) way: Option<Box<Way>>,
    /// Nobody has named the transport (RFC 3261 18.1.1).
    pub(super) any_transport: bool,
    /// A flow token has named it: who sent the request is told if it fails (RFC 5626 5.3.1).
    pub(super) by_token: bool,
    /// Preference, 0 to 1000: those of one q are tried at once, the highest first (RFC 3261 16.6).
    pub(super) q: u16,
}

impl Destination {
    /// Whether every way that may be taken to it is, as far as the first hop (RFC 3261 26.2.2).
    pub(super) fn is_secure(&self) -> bool {
        match &self.way {
            Some(way) => way.is_secure(),
            None => self.party.flow.transport.is_secure(),
        }
    }

    /// Once nothing is to be had of this one, the other is tried in its place.
    fn or_by(&mut self, other: Destination) {
        let own = self.clone();
        let starts_with_flow = |way: &Way| matches!(way.ahead.front(), Some(Step::Flow(_)));
        if !self.way.as_deref().is_some_and(starts_with_flow) {
            self.way = Some(Box::new(Way::new([Step::Flow(Box::new(own))])));
        }
        if let Some(way) = &mut self.way {
            way.ahead.push_back(Step::Flow(Box::new(other)));
        }
    }
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
        match routed.next_route {
            None if self.addresses.is_served(&self.config, &uri) => {
                return self.contacts(now, &uri);
            }
            Some(_) | None => {}
        }
        if routed.next_route.is_none()
            && let Some(devices) = self.registered_device(now, &uri)
        {
            return Ok(devices);
        }
        let next_hop = routed.next_route.as_deref().unwrap_or(&routed.uri);
        let destination = self.outward(arrival, next_hop, caller)?;
        // RFC 3261 26.2.2: a Route or a static route does not take the place of TLS.
        if matches!(uri.scheme(), Scheme::Sips) && !destination.is_secure() {
            return Err(Answer::new(416, "No Secure Way To Destination"));
        }
        Ok(vec![destination])
    }

    /// The device of a user of ours whose Contact `uri` is: a phone that is transferred may know no other
    /// name of whom to call (RFC 5589 7.3), and the way that its REGISTER came may be the only one.
    fn registered_device(&self, now: Instant, uri: &Uri<'_>) -> Option<Vec<Destination>> {
        let Lookup::Bindings(mut bindings) = self.registrar.lookup(now, &uri.user_unescaped()?)
        else {
            return None;
        };
        bindings.retain(|binding| Uri::parse(&binding.uri).is_ok_and(|own| own.equivalent(uri)));
        let secure = matches!(uri.scheme(), Scheme::Sips);
        let devices = self.devices(&bindings, secure);
        (!devices.is_empty()).then_some(devices)
    }

    /// The registered contacts of a user of ours, best first.
    pub(super) fn contacts(&self, now: Instant, uri: &Uri<'_>) -> Result<Vec<Destination>, Answer> {
        let Some(user) = uri.user_unescaped() else {
            return Err(Answer::new(484, "Address Incomplete"));
        };
        let found = self.look_for(now, &user, uri);
        let unavailable = || Answer::new(480, "Temporarily Unavailable");
        match found {
            Lookup::UnknownUser => Err(Answer::new(404, "Not Found")),
            Lookup::NotRegistered => Err(unavailable()),
            Lookup::Bindings(bindings) => {
                // RFC 3261 26.2.2: what asks for TLS goes no way that is not secure.
                let secure = matches!(uri.scheme(), Scheme::Sips);
                let devices = self.devices(&bindings, secure);
                match (devices.is_empty(), secure) {
                    (false, _) => Ok(devices),
                    (true, true) => Err(Answer::new(480, "No Secure Way To User")),
                    (true, false) => Err(unavailable()),
                }
            }
        }
    }

    /// The devices that a URI of a user of ours means.
    pub(super) fn look_for(&self, now: Instant, user: &str, uri: &Uri<'_>) -> Lookup<'_> {
        // RFC 5627 5.1, 5.2: `gr` names one device; without a value it is the user part that does.
        match uri.params().get("gr") {
            None => self.registrar.lookup(now, user),
            Some("") => self.registrar.lookup_temporary(now, user),
            Some(instance) => {
                let instance = unescape(instance).unwrap_or_default();
                self.registrar.lookup_instance(now, user, &instance)
            }
        }
    }

    /// The targets that bindings are, best first. Of several flows of one device only one is tried at
    /// a time (RFC 5626 7). `secure`: only those that a secure way leads to.
    fn devices(&self, bindings: &[&Binding], secure: bool) -> Vec<Destination> {
        let mut devices: Vec<Destination> = Vec::with_capacity(bindings.len());
        let mut flows: SmallVec<[(&str, usize); 4]> = SmallVec::new();
        for binding in bindings {
            let destination = self.contact(binding).filter(|to| !secure || to.is_secure());
            let Some(destination) = destination else { continue };
            let device = binding.instance.as_deref().filter(|_| binding.reg_id.is_some());
            let known = flows.iter().find(|(own, _)| Some(*own) == device).map(|(_, at)| *at);
            if let Some(first) = known.and_then(|at| devices.get_mut(at)) {
                first.or_by(destination);
            } else if devices.len() < self.config.limits.branches {
                flows.extend(device.map(|device| (device, devices.len())));
                devices.push(destination);
            }
        }
        devices
    }

    /// `None` where its Path leads nowhere, or its Contact once that is all there is.
    fn contact(&self, binding: &Binding) -> Option<Destination> {
        let Some(path) = &binding.path else {
            return if binding.flow_lost {
                self.as_written(binding)
            } else {
                Some(contact(binding))
            };
        };
        let first = path.trim_start_matches('<').split('>').next()?;
        let way = self.way(&Uri::parse(first).ok()?).ok()?;
        let flow = binding.arrival.reply();
        Some(Destination {
            uri: Some(request_uri(&binding.uri)),
            path: Some(path.clone()),
            party: Party { flow, adjacent: false, pinned_to_flow: false },
            any_transport: way.any_transport,
            way: Some(Box::new(way)),
            by_token: false,
            q: binding.q_thousandths,
        })
    }

    /// A contact whose connection has closed: it listens where it says, be it over another transport.
    fn as_written(&self, binding: &Binding) -> Option<Destination> {
        let way = self.way(&Uri::parse(&binding.uri).ok()?).ok()?;
        let destination = contact(binding);
        Some(Destination {
            any_transport: way.any_transport,
            way: Some(Box::new(way)),
            party: Party { pinned_to_flow: false, ..destination.party },
            ..destination
        })
    }

    /// A next hop outside: only for those who may send through this node.
    pub(super) fn outward(
        &mut self,
        arrival: &Arrival,
        next_hop: &str,
        caller: Caller,
    ) -> Result<Destination, Answer> {
        let uri = Uri::parse(next_hop).map_err(|_| Answer::new(400, "Bad Route Header"))?;
        if !caller.may_send_outward() {
            return Err(Answer::new(403, "Relaying Denied"));
        }
        let way = self.way(&uri)?;
        if let Some(hop) = way.only()
            && self.target_of(arrival, hop).is_none()
        {
            return Err(unfaced(hop.transport));
        }
        let any_transport = way.any_transport;
        let way = Some(Box::new(way));
        let party = Party { flow: arrival.reply(), adjacent: false, pinned_to_flow: false };
        Ok(Destination { uri: None, path: None, party, way, any_transport, by_token: false, q: 0 })
    }

    /// The servers that `uri` names: a static route by its domain, else its IP address, else what DNS
    /// says (RFC 3263).
    pub(super) fn way(&self, uri: &Uri<'_>) -> Result<Way, Answer> {
        if !uri.is_sip() {
            return Err(Answer::new(416, "Unsupported URI Scheme"));
        }
        let domain = match uri.host() {
            Host::Name(name) => name.to_owned(),
            Host::V4(ip) => ip.to_string(),
            Host::V6(ip) => ip.to_string(),
        };
        if let Some(route) = self.config.route(&domain) {
            let way = Way::new(route.next_hops.iter().map(|hop| self.route_step(route, hop)));
            return Ok(way.of_any_transport(route.transport.is_none()));
        }
        let explicit = explicit_transport(uri)?;
        let secure = matches!(uri.scheme(), Scheme::Sips);
        let host = match uri.host() {
            Host::Name(name) => name,
            Host::V4(ip) => return self.literal(uri, ip.into()),
            Host::V6(ip) => return self.literal(uri, ip.into()),
        };
        // RFC 3261 26.2.2: over TCP, `sips` means TLS.
        let transport =
            explicit.map(|t| if secure && t == Transport::Tcp { Transport::Tls } else { t });
        let host = host.trim_end_matches('.').to_ascii_lowercase().into();
        let offered = self.offered.clone();
        let query = Query { host, port: uri.port(), transport, secure, offered };
        Ok(Way::new([Step::Name(query)]).of_any_transport(explicit.is_none()))
    }

    fn literal(&self, uri: &Uri<'_>, ip: IpAddr) -> Result<Way, Answer> {
        // The unspecified address would lead back here, a group to anybody.
        if ip.is_unspecified() || ip.is_multicast() {
            return Err(Answer::new(404, "No Route To Address"));
        }
        let transport = uri_transport(uri)?;
        let port = uri.port().unwrap_or_else(|| transport.default_port());
        let address = SocketAddr::new(ip, port);
        let way = Way::new([Step::Hop(Hop { address, transport, server_name: None })]);
        Ok(way.of_any_transport(explicit_transport(uri)?.is_none()))
    }

    fn route_step(&self, route: &Route, hop: &NextHop) -> Step {
        match hop {
            NextHop::Address(address) => Step::Hop(Hop {
                address: *address,
                transport: route.transport.unwrap_or(Transport::Udp),
                server_name: None,
            }),
            NextHop::Name { host, port } => Step::Name(Query {
                host: (**host).into(),
                port: *port,
                transport: route.transport,
                secure: false,
                offered: self.offered.clone(),
            }),
        }
    }
}

/// No listener or no route leads there.
pub(super) fn unfaced(transport: Transport) -> Answer {
    Answer::new(503, format!("No {transport} Listener Faces Destination"))
}

/// The transport that the URI names. WebSockets are opened by peers alone (RFC 7118 5).
fn explicit_transport(uri: &Uri<'_>) -> Result<Option<Transport>, Answer> {
    let unsupported = || Answer::new(503, "Transport Not Supported");
    let named = uri.params().get("transport").map(str::parse::<Transport>);
    let named = named.transpose().map_err(|_| unsupported())?;
    if named.is_some_and(Transport::is_web_socket) {
        return Err(unsupported());
    }
    Ok(named)
}

fn uri_transport(uri: &Uri<'_>) -> Result<Transport, Answer> {
    let unsupported = || Answer::new(503, "Transport Not Supported");
    match (explicit_transport(uri)?, matches!(uri.scheme(), Scheme::Sips)) {
        (None, false) => Ok(Transport::Udp),
        // RFC 3261 26.2.2: what asked for TLS is not sent without.
        (None | Some(Transport::Tcp | Transport::Tls), true) => Ok(Transport::Tls),
        (Some(transport), false) => Ok(transport),
        (Some(Transport::Udp | Transport::Ws | Transport::Wss), true) => Err(unsupported()),
    }
}

pub(super) fn contact(binding: &Binding) -> Destination {
    let uri = Uri::parse(&binding.uri).ok();
    let flow = flow_of(&binding.arrival, uri.as_ref());
    let pinned_to_flow = is_pinned(&binding.arrival, uri.as_ref());
    let named = uri.is_none_or(|uri| uri.params().has("transport"));
    Destination {
        uri: Some(request_uri(&binding.uri)),
        path: None,
        party: Party { flow, adjacent: true, pinned_to_flow },
        way: None,
        any_transport: !pinned_to_flow && !named,
        by_token: false,
        q: binding.q_thousandths,
    }
}

/// A Contact URI without what a Request-URI may not have (RFC 3261 16.6 step 2, 19.1.1): headers and
/// the method parameter.
pub(super) fn request_uri(contact: &str) -> String {
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
/// NAT (the Contact names another address than it sends from), it came over a connection, or its
/// Contact names a transport that nobody has seen it speak.
fn is_pinned(arrival: &Arrival, contact: Option<&Uri<'_>>) -> bool {
    let is_there = |uri: &Uri<'_>| {
        uri.host().is_ip(arrival.remote.ip())
            && uri_transport(uri).is_ok_and(|t| t == arrival.transport)
    };
    arrival.connection.is_some() || !contact.is_some_and(is_there)
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
