//! The order in which records are used.

use rand::Rng;
use rand::rngs::SmallRng;

use super::{Naptr, Offered, Query, Srv};
use crate::transport::Transport;

/// The order of preference where DNS has none: what every SIP server speaks first (RFC 3263 4.1).
const PREFERENCE: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];

/// The transports that may be used, where the URI names none.
pub(super) fn transports(query: &Query) -> Vec<Transport> {
    let fits = |t: &Transport| query.offered.speaks(*t) && (!query.secure || t.is_secure());
    PREFERENCE.into_iter().filter(fits).collect()
}

/// The name of SRV records (RFC 3263 4.1). TLS is the transport of the service `sips`.
pub(super) fn srv_name(transport: Transport, host: &str) -> Box<str> {
    let service = match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tcp => "_sip._tcp",
        Transport::Tls => "_sips._tcp",
        Transport::Ws => "_sip._ws",
        Transport::Wss => "_sips._ws",
    };
    format!("{service}.{host}").into()
}

fn service(naptr: &Naptr) -> Option<Transport> {
    let is = |name: &str| naptr.service.eq_ignore_ascii_case(name);
    if !naptr.flags.eq_ignore_ascii_case("s") || naptr.replacement.is_empty() {
        return None;
    }
    if is("SIP+D2U") {
        Some(Transport::Udp)
    } else if is("SIP+D2T") {
        Some(Transport::Tcp)
    } else if is("SIPS+D2T") {
        Some(Transport::Tls)
    } else {
        None
    }
}

/// The services that this node can use, in the domain's order (RFC 3263 4.1).
pub(super) fn services(
    mut records: Vec<Naptr>,
    secure: bool,
    offered: &Offered,
) -> Vec<(Transport, Box<str>)> {
    records.sort_by_key(|naptr| (naptr.order, naptr.preference));
    let usable = |naptr: Naptr| {
        let transport = service(&naptr)?;
        let fits = offered.speaks(transport) && (!secure || transport.is_secure());
        fits.then_some((transport, naptr.replacement))
    };
    records.into_iter().filter_map(usable).collect()
}

/// By priority, and among equals at random by weight (RFC 2782).
pub(super) fn servers(mut records: Vec<Srv>, rng: &mut SmallRng) -> Vec<Srv> {
    // Those of weight 0 first, so that each has a small chance.
    records.sort_by_key(|srv| (srv.priority, srv.weight));
    let mut ordered = Vec::with_capacity(records.len());
    while let Some(first) = records.first() {
        let equal = records.iter().take_while(|srv| srv.priority == first.priority);
        let weights: Vec<u32> = equal.map(|srv| u32::from(srv.weight)).collect();
        let drawn = rng.random_range(0..=weights.iter().sum());
        let mut sum = 0;
        let passes = |weight: &u32| {
            sum += weight;
            sum >= drawn
        };
        let at = weights.iter().position(passes).unwrap_or_default();
        ordered.push(records.remove(at));
    }
    ordered
}
