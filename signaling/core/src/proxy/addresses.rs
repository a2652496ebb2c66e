//! Which addresses are this node's own, which listener faces a destination, and what it is called
//! there.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use super::config::{Config, Listener};
use crate::transport::{Arrival, ListenerId, Target, Transport};
use crate::wire::{Host, SIP_PORT_DEFAULT, SIPS_PORT_DEFAULT, Scheme, Uri, Via};

/// Most addresses of this host that are remembered as its own. A host with more has its further ones
/// recognised only where a message arrives on them.
const OWN_ADDRESSES_MAX: usize = 4096;

/// A port that has to be named to ask for a route; nothing is sent there.
const DISCARD: u16 = 9;

/// Tells which local address packets to a destination leave from. The node asks the kernel's routing
/// table; a simulation knows its network.
pub trait LocalAddresses: Send {
    /// The source address for `remote`; `None` if there is no route.
    fn local_for(&mut self, remote: SocketAddr) -> Option<IpAddr>;
}

/// The node's own addresses.
pub(super) struct Addresses {
    local: Box<dyn LocalAddresses>,
    seen: HashSet<IpAddr>,
    /// Noted last: most messages come to one address.
    last: Option<IpAddr>,
    /// Those of all members of the farm.
    cluster: HashSet<SocketAddr>,
}

impl Addresses {
    pub(super) fn new(local: Box<dyn LocalAddresses>, config: &Config) -> Self {
        Addresses { local, seen: own(config), last: None, cluster: HashSet::new() }
    }

    /// These are the host's addresses now (S50): what it had before is no longer this node.
    pub(super) fn set_host(&mut self, config: &Config, host: &[IpAddr]) {
        self.seen = own(config);
        self.last = None;
        host.iter().for_each(|ip| self.note(*ip));
    }

    /// The addresses of all members of the farm: what is written there means any of them.
    pub(super) fn set_cluster(&mut self, addresses: impl Iterator<Item = SocketAddr>) {
        self.cluster = addresses.collect();
    }

    /// The listener that sends from this address over this transport; `None` if this host has it not.
    pub(super) fn listener_at(
        &self,
        config: &Config,
        transport: Transport,
        local: SocketAddr,
    ) -> Option<ListenerId> {
        let is_at = |listener: &Listener| {
            let bound = listener.bound;
            listener.transport == transport
                && bound.is_ipv4() == local.is_ipv4()
                && bound.port() == local.port()
                && (bound.ip().is_unspecified() || bound.ip() == local.ip())
        };
        let index = config.listeners.iter().position(is_at)?;
        let id = u16::try_from(index).ok().map(ListenerId);
        id.filter(|_| self.seen.contains(&local.ip()))
    }

    /// A message came to this address, so it is ours.
    pub(super) fn note(&mut self, local: IpAddr) {
        if self.last == Some(local) {
            return;
        }
        if self.seen.len() < OWN_ADDRESSES_MAX {
            self.seen.insert(local);
            self.last = Some(local);
        }
    }

    /// Whether `uri` names one of this node's listeners by address.
    pub(super) fn is_own(&self, config: &Config, uri: &Uri<'_>) -> bool {
        // RFC 3261 19.1.2.
        let secure = matches!(uri.scheme(), Scheme::Sips);
        let default = if secure { SIPS_PORT_DEFAULT } else { SIP_PORT_DEFAULT };
        let port = uri.port().unwrap_or(default);
        uri.host().ip().is_some_and(|ip| self.is_listener(config, ip, port))
    }

    /// Whether `uri`, of a Route, means this node: by an address, or by a domain that is served here,
    /// as phones write it that are given a domain for their outbound proxy.
    pub(super) fn is_this_node(&self, config: &Config, uri: &Uri<'_>) -> bool {
        match uri.host() {
            Host::V4(_) | Host::V6(_) => self.is_own(config, uri),
            Host::Name(_) => {
                let listens = |port| config.listeners.iter().any(|l| l.is_at(port));
                self.is_served(config, uri) && uri.port().is_none_or(listens)
            }
        }
    }

    /// Whether a Via was written by this node.
    pub(super) fn is_own_sent_by(&self, config: &Config, via: &Via<'_>) -> bool {
        via.host().ip().is_some_and(|ip| self.is_listener(config, ip, via.port_or_default()))
    }

    fn is_listener(&self, config: &Config, ip: IpAddr, port: u16) -> bool {
        let is_of_cluster =
            !self.cluster.is_empty() && self.cluster.contains(&SocketAddr::new(ip, port));
        is_of_cluster
            || self.seen.contains(&ip)
                && config.listeners.iter().any(|listener| {
                    listener.bound.port() == port
                        || listener.advertised.is_some_and(|a| a.ip() == ip && a.port() == port)
                })
    }

    /// Whether `uri` is in a domain that this node serves: a configured one or its own address.
    pub(super) fn is_served(&self, config: &Config, uri: &Uri<'_>) -> bool {
        match uri.host() {
            Host::Name(name) => config.domains.iter().any(|d| d.eq_ignore_ascii_case(name)),
            Host::V4(_) | Host::V6(_) => {
                self.is_own(config, uri)
                    || config
                        .domains
                        .iter()
                        .any(|d| d.parse::<IpAddr>().is_ok_and(|ip| uri.host().is_ip(ip)))
            }
        }
    }

    /// This host's address on the way to `remote`; `None` if there is no route.
    pub(super) fn facing(&mut self, remote: IpAddr) -> Option<IpAddr> {
        self.local.local_for(SocketAddr::new(remote, DISCARD))
    }

    /// The way to `remote` over `transport`: by the listener that the message came in on where that
    /// fits, else the first that does. `None`: no listener for this transport and address family, or
    /// no route.
    pub(super) fn target(
        &mut self,
        config: &Config,
        transport: Transport,
        remote: SocketAddr,
        arrival: Option<&Arrival>,
    ) -> Option<Target> {
        let fits = |listener: &Listener| {
            listener.transport == transport && listener.bound.is_ipv4() == remote.is_ipv4()
        };
        let preferred = arrival
            .map(|a| usize::from(a.listener.0))
            .filter(|i| config.listeners.get(*i).is_some_and(fits));
        let index = preferred.or_else(|| config.listeners.iter().position(fits))?;
        let bound = config.listeners.get(index)?.bound;
        let ip =
            if bound.ip().is_unspecified() { self.local.local_for(remote)? } else { bound.ip() };
        self.note(ip);
        Some(Target {
            transport,
            listener: ListenerId(u16::try_from(index).ok()?),
            local: SocketAddr::new(ip, bound.port()),
            remote,
            connection: None,
            name: None,
        })
    }
}

impl Addresses {
    /// The way to the remote of `target` over another transport, from the same address where a listener
    /// has it. `None`: no listener for it.
    pub(super) fn beside(
        &mut self,
        config: &Config,
        target: &Target,
        transport: Transport,
    ) -> Option<Target> {
        let (ip, remote) = (target.local.ip(), target.remote);
        let index = config.listeners.iter().position(|listener| {
            let bound = listener.bound.ip();
            listener.transport == transport
                && bound.is_ipv4() == ip.is_ipv4()
                && (bound == ip || bound.is_unspecified())
        });
        let Some(index) = index else { return self.target(config, transport, remote, None) };
        let local = SocketAddr::new(ip, config.listeners.get(index)?.bound.port());
        let listener = ListenerId(u16::try_from(index).ok()?);
        Some(Target { transport, listener, local, remote, connection: None, name: None })
    }
}

/// What the listeners say of this node's addresses.
fn own(config: &Config) -> HashSet<IpAddr> {
    let named = |l: &Listener| [Some(l.bound.ip()), l.advertised.map(|a| a.ip())];
    let addresses = config.listeners.iter().flat_map(named).flatten();
    addresses.filter(|ip| !ip.is_unspecified()).collect()
}

/// What Via and Record-Route call this node on the way to `target`.
pub(super) fn advertised(config: &Config, listener: ListenerId, local: SocketAddr) -> SocketAddr {
    let listener = config.listeners.get(usize::from(listener.0));
    let named = listener.and_then(|l| l.advertised);
    // A connection that we opened has an ephemeral local port: peers must be told the listener's.
    let port = listener.map_or(local.port(), |l| l.bound.port());
    named.unwrap_or_else(|| SocketAddr::new(local.ip(), port))
}
