//! What is in front of a cluster: configurations of balancers, for the site's own addresses (S33-S76).
//!
//! [`Site`] says what there is, [`render`] writes it in the words of a balancer or of the members' operating systems.
//! The texts stand in `templates/`; what is said there and here is about the same four [`Method`]s.

mod devices;
mod render;
mod shares;
mod site;
mod template;

pub use render::{BUCKETS_MIN, MARK_BASE, render};
pub use shares::{ANSWERS_MIN, Health, MISSES_MAX, Pinged, move_shares, shares};
pub use site::{MEMBERS_MAX, Site, SiteMember, Spread, Trouble};

use std::fmt;

/// A way to stand behind a balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// One address for everything; media goes to members by its port (S33, S59-S65).
    SingleIpNat,
    /// One address for SIP; members have visible addresses of their own for media (S41, S66, S68).
    MultiIp,
    /// One address for SIP; for media the balancer has one address for each member (S69-S71).
    MultiIpNat,
    /// Direct server return: the balancer hands packets on, answers pass it by (S43-S54, S67).
    Dsr,
}

impl Method {
    /// Every method.
    pub const ALL: [Method; 4] =
        [Method::SingleIpNat, Method::MultiIp, Method::MultiIpNat, Method::Dsr];

    /// As the command line says it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Method::SingleIpNat => "single-ip-nat",
            Method::MultiIp => "multi-ip",
            Method::MultiIpNat => "multi-ip-nat",
            Method::Dsr => "dsr",
        }
    }

    /// The method with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Method> {
        Method::ALL.into_iter().find(|method| method.word() == word)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What a configuration is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// A Linux host that balances without state, by nftables.
    Nftables,
    /// Keepalived: who of two balancers has the addresses, and LVS for direct server return.
    Keepalived,
    /// HAProxy, for connections alone.
    Haproxy,
    /// F5 BIG-IP.
    F5,
    /// Alteon or Nortel application switch.
    Alteon,
    /// Foundry or Brocade ServerIron.
    Foundry,
    /// The members' side of direct server return, on Linux.
    Linux,
    /// The same on FreeBSD.
    Freebsd,
    /// The same on Solaris and illumos.
    Solaris,
    /// The members' own settings.
    Ringfarm,
}

impl Device {
    /// Every device.
    pub const ALL: [Device; 10] = [
        Device::Nftables,
        Device::Keepalived,
        Device::Haproxy,
        Device::F5,
        Device::Alteon,
        Device::Foundry,
        Device::Linux,
        Device::Freebsd,
        Device::Solaris,
        Device::Ringfarm,
    ];

    /// As the command line says it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Device::Nftables => "nftables",
            Device::Keepalived => "keepalived",
            Device::Haproxy => "haproxy",
            Device::F5 => "f5",
            Device::Alteon => "alteon",
            Device::Foundry => "foundry",
            Device::Linux => "linux",
            Device::Freebsd => "freebsd",
            Device::Solaris => "solaris",
            Device::Ringfarm => "ringfarm",
        }
    }

    /// The device with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Device> {
        Device::ALL.into_iter().find(|device| device.word() == word)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
