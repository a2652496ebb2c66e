//! Where media is received, and whose it is: what the proxy and the ng protocol decide alike.

use std::net::IpAddr;

use ipnet::IpNet;
use relay_core::api::Learning;

/// Which addresses media uses; the node's settings know.
pub trait MediaAddresses {
    /// The local address that a leg's ports are bound to, for a peer whose SIP uses the local address
    /// `signaling`.
    fn bind(&self, signaling: IpAddr) -> IpAddr;

    /// The address that SDP carries for ports bound to `local` (S63, S71).
    fn advertised(&self, local: IpAddr) -> IpAddr;
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
}

impl LearningPolicy {
    /// Which sources are accepted from a peer whose description names `signalled` and whose message
    /// came from `source` without anybody in between.
    #[must_use]
    pub fn sources(self, source: IpAddr, signalled: IpAddr) -> Learning {
        let behind_nat = signalled != source && is_private(signalled) && !is_private(source);
        let learn = match self {
            LearningPolicy::Strict => behind_nat,
            LearningPolicy::Nat => true,
        };
        if learn { Learning::Within(IpNet::from(source)) } else { Learning::Signalled }
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
