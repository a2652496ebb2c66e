//! Rules that compare keys of different tables, and settings with a machine.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::media::PORTS_PER_AV_SESSION;
use super::problem::{Places, Problem, Wrong};
use super::read::Reader;
use super::sip::Listen;
use super::table::Rules;
use super::values::{Domain, Transport};
use super::{Checked, NextHop, Route, Settings, Workers, ng};

const LISTEN: &str = "sip.listen";
/// Most listening sockets: far more than a host has addresses, and few enough to compare in pairs.
const LISTENERS_MAX: usize = 256;

impl Rules for Settings {
    fn check(&self, _path: &str, reader: &mut Reader) {
        if reader.sound(&[LISTEN]) {
            listeners_do_not_collide(&self.sip.listen, reader);
        }
        if reader.sound(&[LISTEN, "cluster.state"]) {
            members_listen_where_others_know(self, reader);
        }
        if reader.sound(&[LISTEN, "sip.tls"]) {
            tls_has_a_certificate(self, reader);
        }
        if reader.sound(&[LISTEN, "media.ports", "media.addresses", "media.networks"]) {
            media_ports_avoid_sip(self, reader);
            media_has_each_family(self, reader);
        }
        if reader.sound(&[LISTEN, "media.ports", "media.addresses", "media.networks", "ng.listen"])
        {
            ng::has_a_port_of_its_own(self, reader);
        }
        if reader.sound(&["node.workers", "node.cores", "media.ports"])
            && let Some(workers) = self.stated_workers()
            && let Some(wrong) = too_few_ports(self, workers)
        {
            reader.tell("media.ports", wrong);
        }
        if reader.sound(&[LISTEN, "routes", "sip.domains"]) {
            routes_lead_elsewhere(self, reader);
        }
        open_domain_has_no_routes(self, reader);
    }
}

impl Settings {
    /// The number of workers, if it does not depend on the machine.
    fn stated_workers(&self) -> Option<usize> {
        match self.node.workers {
            Workers::Count(count) => Some(count),
            Workers::Auto => Some(self.node.cores.len()).filter(|count| *count > 0),
        }
    }
}

/// At least one, no two the same. For UDP a wildcard may stand beside one of its addresses (row S52:
/// VIP:5060 and all:5060); for TCP the system refuses that.
fn listeners_do_not_collide(listen: &[Listen], reader: &mut Reader) {
    if listen.is_empty() {
        let fix = "list one, or leave the key out for udp and tcp on port 5060";
        reader.tell(LISTEN, Wrong::new("no socket is listed, so no call could arrive", fix));
    }
    if listen.len() > LISTENERS_MAX {
        let what = format!("{} sockets are listed", listen.len());
        reader.tell(LISTEN, Wrong::new(what, format!("list at most {LISTENERS_MAX}")));
        return;
    }
    for (index, later) in listen.iter().enumerate() {
        let earlier = listen[..index].iter().position(|earlier| collide(earlier, later));
        let Some(earlier) = earlier else { continue };
        let first = reader.places.line_of(&reader.places.entry(LISTEN, earlier));
        let what = format!(
            "{} {} is taken by {} ({first})",
            later.transport, later.address, listen[earlier].address
        );
        let at = format!("{}.address", reader.places.entry(LISTEN, index));
        reader.tell(&at, Wrong::new(what, "keep one of the two, or use another port"));
    }
}

/// Members are told where the others take SIP before those have bound a socket.
fn members_listen_where_others_know(settings: &Settings, reader: &mut Reader) {
    if settings.cluster.state.is_none() {
        return;
    }
    for (index, listen) in settings.sip.listen.iter().enumerate() {
        if listen.address.port() == 0 {
            let at = format!("{}.address", reader.places.entry(LISTEN, index));
            let what = "port 0: no other member of the cluster could know which port that is";
            reader.tell(&at, Wrong::new(what, "choose a port, for example 5060"));
        }
    }
}

/// Nobody can connect over TLS to a node that has no certificate.
fn tls_has_a_certificate(settings: &Settings, reader: &mut Reader) {
    let secure = |listen: &Listen| listen.transport.is_secure();
    if let Some(index) = settings.sip.listen.iter().position(secure)
        && settings.sip.tls.certificates.is_empty()
    {
        let at = format!("{}.transport", reader.places.entry(LISTEN, index));
        let fix = "name its files under [[sip.tls.certificates]]";
        reader.tell(&at, Wrong::new("TLS needs a certificate, and none is listed", fix));
    }
}

fn collide(a: &Listen, b: &Listen) -> bool {
    let (ours, theirs) = (a.address, b.address);
    if a.transport.is_stream() != b.transport.is_stream()
        || ours.port() != theirs.port()
        || ours.port() == 0
    {
        return false;
    }
    let covered = ours.is_ipv4() == theirs.is_ipv4()
        && (ours.ip().is_unspecified() || theirs.ip().is_unspecified());
    ours.ip() == theirs.ip() || (covered && a.transport.is_stream())
}

/// A UDP socket for SIP takes its port from media on the same address.
fn media_ports_avoid_sip(settings: &Settings, reader: &mut Reader) {
    let media = &settings.media;
    for (index, listen) in settings.sip.listen.iter().enumerate() {
        let ip = listen.address.ip();
        let shares =
            |media: IpAddr| media == ip || (ip.is_unspecified() && media.is_ipv4() == ip.is_ipv4());
        let shared = media.addresses.is_empty() || media.named_addresses().any(shares);
        let port = listen.address.port();
        if listen.transport == Transport::Udp && shared && media.ports.contains(port) {
            let entry = format!("{}.address", reader.places.entry(LISTEN, index));
            let (at, what) = if reader.places.is_written("media.ports") {
                let line = reader.places.line_of(&entry);
                (
                    "media.ports".to_owned(),
                    format!("{} holds port {port} of SIP ({line})", media.ports),
                )
            } else {
                (entry, format!("port {port} lies in the media ports, {}", media.ports))
            };
            reader.tell(&at, Wrong::new(what, "move the media ports or the SIP port"));
        }
    }
}

/// A call whose SIP uses IPv6 needs media on IPv6, and likewise for IPv4.
fn media_has_each_family(settings: &Settings, reader: &mut Reader) {
    let addresses = &settings.media.addresses;
    let lacks = |v4: bool| {
        let listens = settings.sip.listen.iter().any(|listen| listen.address.is_ipv4() == v4);
        listens && !addresses.iter().any(|address| address.is_ipv4() == v4)
    };
    if addresses.is_empty() {
        return;
    }
    for (family, v4) in [("IPv4", true), ("IPv6", false)] {
        if lacks(v4) {
            let what = format!("SIP is listened for on {family}, but no address here is {family}");
            let fix = format!("add an {family} address of this host, or leave the list empty");
            reader.tell("media.addresses", Wrong::new(what, fix));
        }
    }
}

fn too_few_ports(settings: &Settings, workers: usize) -> Option<Wrong> {
    let ports = settings.media.ports;
    let needed = workers * PORTS_PER_AV_SESSION;
    (ports.count() < needed).then(|| {
        let what = format!("{ports} is {} ports for {workers} workers", ports.count());
        let fix = format!(
            "a call with audio and video takes {PORTS_PER_AV_SESSION}: give at least {needed}"
        );
        Wrong::new(what, fix)
    })
}

fn routes_lead_elsewhere(settings: &Settings, reader: &mut Reader) {
    let mut seen: BTreeMap<&Domain, String> = BTreeMap::new();
    for (index, route) in settings.routes.iter().enumerate() {
        let entry = reader.places.entry("routes", index);
        let at = format!("{entry}.domain");
        if let Some(first) = seen.get(&route.domain) {
            let line = reader.places.line_of(first);
            let what = format!("{} has two routes, the first on {line}", route.domain);
            reader.tell(&at, Wrong::new(what, "keep one of the two"));
        } else {
            seen.insert(&route.domain, at.clone());
        }
        if let Some(own) = settings.sip.domains.iter().position(|own| *own == route.domain) {
            let line = reader.places.line_of(&reader.places.entry("sip.domains", own));
            let what = format!("{} is served here (sip.domains, {line})", route.domain);
            reader.tell(&at, Wrong::new(what, "remove it there or here"));
        }
        next_hop_is_reachable(route, &entry, &settings.sip.listen, reader);
    }
}

/// Not ourselves, and by a transport and family that we have a socket for.
fn next_hop_is_reachable(route: &Route, entry: &str, listen: &[Listen], reader: &mut Reader) {
    for (at, hop) in route.hops(entry, reader) {
        let unreachable = match &hop {
            NextHop::Address(address) => {
                address_is_reachable(*address, route.transport.unwrap_or(Transport::Udp), listen)
            }
            NextHop::Name { host, .. } => name_is_reachable(host, route.transport, listen),
        };
        if let Err(wrong) = unreachable {
            reader.tell(&at, wrong);
        }
    }
}

/// Whether there is a socket for what may come of the name.
fn name_is_reachable(
    host: &Domain,
    transport: Option<Transport>,
    listen: &[Listen],
) -> Result<(), Wrong> {
    let fits = |listen: &Listen| match transport {
        Some(transport) => listen.transport == transport,
        None => !listen.transport.is_web_socket(),
    };
    if listen.iter().any(fits) {
        return Ok(());
    }
    let by = transport.map_or_else(|| "over UDP, TCP or TLS".to_owned(), |t| t.to_string());
    let what = format!("no socket of sip.listen can send {by} to {host}");
    let kind = transport.unwrap_or(Transport::Udp);
    Err(Wrong::new(what, format!("add a {kind} socket to sip.listen")))
}

fn address_is_reachable(
    address: SocketAddr,
    transport: Transport,
    listen: &[Listen],
) -> Result<(), Wrong> {
    let ours = |listen: &Listen| {
        listen.transport == transport
            && (listen.address == address || listen.advertise == Some(address))
    };
    let fits = |listen: &Listen| {
        listen.transport == transport && listen.address.is_ipv4() == address.is_ipv4()
    };
    if listen.iter().any(ours) {
        let what = format!("{address} is this node itself");
        let fix = "name the other domain's server, or serve the domain here with sip.domains";
        return Err(Wrong::new(what, fix));
    }
    if listen.iter().any(fits) {
        return Ok(());
    }
    let family = family(address);
    let what = format!("no socket of sip.listen can send {transport} over {family} to {address}");
    let fix = format!("add a {transport} socket with an {family} address to sip.listen");
    Err(Wrong::new(what, fix))
}

fn family(address: SocketAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// Anybody could place calls through the routes at their owner's expense.
fn open_domain_has_no_routes(settings: &Settings, reader: &mut Reader) {
    if !reader.sound(&["users", "routes"]) || !settings.users.is_open() {
        return;
    }
    if !settings.routes.is_empty() {
        let first = reader.places.line_of(&reader.places.entry("routes", 0));
        let what =
            format!("the domain is open, so anybody could call out through the routes ({first})");
        reader.tell("users.open", Wrong::new(what, "list users, or write open = false"));
    }
}

/// What has to be known of a machine to tell whether settings fit it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The cores that the process may run on.
    pub cores: Vec<usize>,
}

impl Checked {
    /// What keeps these settings from working on `host`.
    #[must_use]
    pub fn against(&self, host: &Host) -> Vec<Problem> {
        let mut problems = cores_that_are_not_there(&self.settings, host, &self.places);
        let workers = self.settings.node.worker_cores(&host.cores).len();
        if let Some(wrong) = too_few_ports(&self.settings, workers) {
            problems.push(self.places.problem("media.ports", wrong));
        }
        problems
    }
}

fn cores_that_are_not_there(settings: &Settings, host: &Host, places: &Places) -> Vec<Problem> {
    let absent = |(index, core): (usize, &usize)| {
        let wrong = Wrong::new(
            format!("the process may not run on core {core}"),
            format!("choose from {:?}", host.cores),
        );
        places.problem(&places.entry("node.cores", index), wrong)
    };
    let listed = settings.node.cores.iter().enumerate();
    listed.filter(|(_, core)| !host.cores.contains(core)).map(absent).collect()
}
