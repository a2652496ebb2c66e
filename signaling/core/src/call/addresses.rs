//! Where media is received, and whose it is: what the proxy and the ng protocol decide alike.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use relay_core::api::Learning;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// That of an address.
    #[must_use]
    pub const fn of(ip: IpAddr) -> Family {
        if ip.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Family {
        match self {
            Family::V4 => Family::V6,
            Family::V6 => Family::V4,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// Where media of one peer is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The local address that ports are bound to.
    pub local: IpAddr,
    /// What the peer's SDP says instead: of the same family.
    pub advertised: IpAddr,
}

/// Why media of an address family is not carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unserved {
    /// It is offered, and this host has no way there.
    #[error(
        "{0} media is offered, and this host has no {0} route to it: give the host an {0} address and route, \
         or have the phone offer {other}", other = .0.other()
    )]
    NoRoute(Family),
    /// It is offered, and the settings name local addresses, but none of this family.
    #[error(
        "{0} media is offered, and the settings name no {0} address for it: add one to media.addresses, or to \
         the address of the phone's network in media.networks"
    )]
    NotListed(Family),
    /// It is offered by a peer whose media has run over the other family since the call began.
    #[error(
        "{0} media is offered, and what this peer has had since the call began is {other}: a leg does not change \
         its family, a new call can", other = .0.other()
    )]
    OtherLeg(Family),
    /// It is answered to an offer of the other family.
    #[error(
        "{0} media is the answer to an offer of {other}, so the stream is closed: have the phone answer in the \
         family that it is offered, or register over {0}", other = .0.other()
    )]
    Answered(Family),
}

impl Unserved {
    /// The family.
    #[must_use]
    pub const fn family(self) -> Family {
        match self {
            Unserved::NoRoute(family)
            | Unserved::NotListed(family)
            | Unserved::OtherLeg(family)
            | Unserved::Answered(family) => family,
        }
    }
}

/// Which addresses media uses; the node's settings know.
pub trait MediaAddresses: Send {
    /// The local address that a leg's ports are bound to, for a peer whose SIP uses the local address
    /// `signaling`.
    fn bind(&self, signaling: IpAddr) -> IpAddr;

    /// The address that SDP carries for ports bound to `local` (S63, S71).
    fn advertised(&self, local: IpAddr) -> IpAddr;

    /// Where media is received from the peer whose SIP address is `peer`. `facing` is this host's
    /// address on the way to that media, and of the family that the place has to have. `None`: there
    /// is no local address of that family to use.
    ///
    /// By default the same for all peers.
    fn place(&self, peer: IpAddr, facing: IpAddr) -> Option<Place> {
        let _ = peer;
        let local = self.bind(facing);
        let advertised = self.advertised(local);
        (Family::of(local) == Family::of(facing)).then_some(Place { local, advertised })
    }
}

/// When a peer's media may come from elsewhere than its SDP says (see
/// [`relay_core::api::Learning`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LearningPolicy {
    /// Only where the peer is seen to be behind NAT: nothing but us between it and its SDP, whose
    /// address is private while the message came from a public one.
    Strict,
    /// Also wherever an adjacent peer's port may have been rewritten: media is accepted from the
    /// address that the SIP message came from.
    Nat,
    /// As [`LearningPolicy::Strict`], but a peer that is not behind NAT may send from any port of the
    /// address in its SDP; it is sent to the port in its SDP.
    Asymmetric,
}

impl LearningPolicy {
    /// Which sources are accepted from a peer whose description names `signalled` and whose message
    /// came from `source` without anybody in between. Where the two are of different families, the
    /// message says nothing about where media may come from.
    #[must_use]
    pub fn sources(self, source: IpAddr, signalled: IpAddr) -> Learning {
        if Family::of(source) != Family::of(signalled) {
            return self.sources_afar();
        }
        let behind_nat = signalled != source && is_private(signalled) && !is_private(source);
        let learn = match self {
            LearningPolicy::Strict | LearningPolicy::Asymmetric => behind_nat,
            LearningPolicy::Nat => true,
        };
        if learn { Learning::Within(IpNet::from(source)) } else { self.sources_afar() }
    }

    /// Which sources are accepted from a peer of which nothing is known but its description.
    #[must_use]
    pub const fn sources_afar(self) -> Learning {
        match self {
            LearningPolicy::Strict | LearningPolicy::Nat => Learning::Signalled,
            LearningPolicy::Asymmetric => Learning::AnyPort,
        }
    }
}

/// Addresses that mean nothing to the public Internet (RFC 1918, 6598, 3927, 4193, 4291, loopback).
fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || shared
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}
