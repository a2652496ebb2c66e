//! Which addresses are this node's own, which listener faces a destination, and what it is called
//! there.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use super::config::{Config, Listener};
use crate::farm::{Member, MemberId};
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
    /// Those that other members have, too: a balancer stands before them.
    shared: HashSet<IpAddr>,
}

impl Addresses {
    pub(super) fn new(local: Box<dyn LocalAddresses>, config: &Config) -> Self {
        Addresses {
            local,
            seen: own(config),
            last: None,
            cluster: HashSet::new(),
            shared: HashSet::new(),
        }
    }

    /// These are the host's addresses now (S50): what it had before is no longer this node.
    pub(super) fn set_host(&mut self, config: &Config, host: &[IpAddr]) {
        self.seen = own(config);
        self.last = None;
        host.iter().for_each(|ip| self.note(*ip));
    }

    /// The addresses of all members of the farm: what is written there means any of them.
    pub(super) fn set_cluster(&mut self, members: &[Member]) {
        let mut whose: HashMap<IpAddr, MemberId> = HashMap::new();
        self.cluster.clear();
        self.shared.clear();
        for (member, own) in members.iter().flat_map(|m| m.addresses.iter().map(move |a| (m, a))) {
            let (id, address) = (member.identity.member, own.address);
            self.cluster.insert(address);
            if *whose.entry(address.ip()).or_insert(id) != id {
                self.shared.insert(address.ip());
            }
        }
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
    /// fits, else the first that does. A connection is not opened from an address that is shared with other
    /// members if there is another: what answers it would reach any of them. `None`: no listener for this transport and address family, or
    /// no route.
    pub(super) fn target(
        &mut self,
        config: &Config,
        transport: Transport,
        remote: SocketAddr,
        arrival: Option<&Arrival>,
    ) -> Option<Target> {
        let arrived = arrival.map(|a| usize::from(a.listener.0));
        let index = self.listener_for(&config.listeners, transport, remote, arrived)?;
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
    fn listener_for(
        &self,
        listeners: &[Listener],
        transport: Transport,
        remote: SocketAddr,
        arrived: Option<usize>,
    ) -> Option<usize> {
        let fits = |listener: &Listener| {
            listener.transport == transport && listener.bound.is_ipv4() == remote.is_ipv4()
        };
        let arrived = arrived.filter(|index| listeners.get(*index).is_some_and(fits));
        if transport.is_reliable() && !self.shared.is_empty() {
            let returns =
                |listener: &Listener| fits(listener) && !self.shared.contains(&listener.bound.ip());
            let found = arrived.filter(|index| listeners.get(*index).is_some_and(returns));
            if let Some(index) = found.or_else(|| listeners.iter().position(returns)) {
                return Some(index);
            }
        }
        arrived.or_else(|| listeners.iter().position(fits))
    }

    /// The way to the remote of `target` over another transport, from the same address where a listener
    /// has it. `None`: no listener for it.
    pub(super) fn beside(
        &mut self,
        config: &Config,
        target: &Target,
        transport: Transport,
    ) -> Option<Target> {
        let (ip, remote) = (target.local.ip(), target.remote);
        if transport.is_reliable() && self.shared.contains(&ip) {
            return self.target(config, transport, remote, None);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::farm::{Identity, Incarnation, Mode, PeerState, SipAddress};

    struct Routes;

    impl LocalAddresses for Routes {
        fn local_for(&mut self, _: SocketAddr) -> Option<IpAddr> {
            None
        }
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn member(number: u16, own: &str) -> Member {
        let address = |text| SipAddress { transport: Transport::Tcp, address: at(text) };
        Member {
            joining: false,
            earlier: Default::default(),
            identity: Identity {
                member: MemberId::new(number).unwrap(),
                incarnation: Incarnation(1),
            },
            weight: 1,
            mode: Mode::Member,
            draining: false,
            state: PeerState::Up,
            addresses: vec![address("192.0.2.1:5060"), address(own)],
        }
    }

    /// What answers a connection to the shared address reaches any member, so it leaves from the member's own;
    /// datagrams leave from where they were asked for (S52, S53).
    #[test]
    fn connections_are_not_opened_from_an_address_that_members_share() {
        let listen = |transport, text| Listener { transport, bound: at(text), advertised: None };
        let listeners: Vec<Listener> = [Transport::Udp, Transport::Tcp]
            .into_iter()
            .flat_map(|t| ["192.0.2.1:5060", "10.0.0.1:5060"].map(|text| listen(t, text)))
            .collect();
        let mut addresses = Addresses {
            local: Box::new(Routes),
            seen: HashSet::new(),
            last: None,
            cluster: HashSet::new(),
            shared: HashSet::new(),
        };
        let from = |addresses: &Addresses, transport, arrived| {
            let remote = at("198.51.100.7:5060");
            let index = addresses.listener_for(&listeners, transport, remote, arrived).unwrap();
            listeners[index].bound
        };
        assert_eq!(
            from(&addresses, Transport::Tcp, Some(2)),
            at("192.0.2.1:5060"),
            "its own alone"
        );
        addresses.set_cluster(&[member(1, "10.0.0.1:5060"), member(2, "10.0.0.2:5060")]);
        for arrived in [None, Some(0), Some(2)] {
            assert_eq!(from(&addresses, Transport::Tcp, arrived), at("10.0.0.1:5060"));
        }
        assert_eq!(from(&addresses, Transport::Udp, Some(0)), at("192.0.2.1:5060"));
    }
}
