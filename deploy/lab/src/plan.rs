//! Who has which address in each method.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use clap::ValueEnum;
use serde::Serialize;

/// How SIP and media reach the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// One address for SIP and media, whose ports lead to the members (S33, S59 to S63).
    SingleIpNat,
    /// SIP by the balancer's address, media by each frontend's own (S41, S66, S68).
    MultiIp,
    /// The same, with addresses of the balancer's that map to the frontends' (S69 to S71).
    MultiIpNat,
    /// Frontends hold the shared address themselves and answer by themselves (S43 to S54).
    Dsr,
}

impl Method {
    /// All of them.
    pub const ALL: [Method; 4] =
        [Method::SingleIpNat, Method::MultiIp, Method::MultiIpNat, Method::Dsr];

    /// As on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Method::SingleIpNat => "single-ip-nat",
            Method::MultiIp => "multi-ip",
            Method::MultiIpNat => "multi-ip-nat",
            Method::Dsr => "dsr",
        }
    }

    /// Whether frontends have addresses that clients see.
    #[must_use]
    pub const fn is_public(self) -> bool {
        match self {
            Method::SingleIpNat | Method::MultiIpNat => false,
            Method::MultiIp | Method::Dsr => true,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// Both.
    pub const BOTH: [Family; 2] = [Family::Ipv4, Family::Ipv6];
}

/// A host's address in both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// For IPv4.
    pub v4: Ipv4Addr,
    /// For IPv6.
    pub v6: Ipv6Addr,
}

impl Pair {
    /// Number `host` of a network, written in decimal in both families.
    const fn of(v4: [u8; 3], v6: [u16; 3], host: u8) -> Pair {
        let [a, b, c] = v4;
        let [x, y, z] = v6;
        // As its decimal digits are read: host 41 is ::41.
        let digits =
            ((host as u16 / 100) << 8) | ((host as u16 / 10 % 10) << 4) | (host as u16 % 10);
        Pair { v4: Ipv4Addr::new(a, b, c, host), v6: Ipv6Addr::new(x, y, z, 0, 0, 0, 0, digits) }
    }

    /// That of a family.
    #[must_use]
    pub const fn ip(self, family: Family) -> IpAddr {
        match family {
            Family::Ipv4 => IpAddr::V4(self.v4),
            Family::Ipv6 => IpAddr::V6(self.v6),
        }
    }

    /// A port at that of a family.
    #[must_use]
    pub const fn at(self, family: Family, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip(family), port)
    }

    /// Both.
    #[must_use]
    pub const fn both(self) -> [IpAddr; 2] {
        [IpAddr::V4(self.v4), IpAddr::V6(self.v6)]
    }
}

/// What only members, the engine and the balancer see.
#[must_use]
pub const fn inside(host: u8) -> Pair {
    Pair::of([10, 1, 0], [0xfd00, 1, 0], host)
}

/// What clients see.
#[must_use]
pub const fn public(host: u8) -> Pair {
    Pair::of([203, 0, 113], [0x2001, 0xdb8, 0xa], host)
}

/// The clients' network.
#[must_use]
pub const fn outside(host: u8) -> Pair {
    Pair::of([198, 51, 100], [0x2001, 0xdb8, 0xc], host)
}

/// Where clients are, in their network.
pub const CLIENT: u8 = 10;
/// The address of clients whose SIP only they can read.
pub const SECRET_CLIENT: u8 = 20;
/// The way to the balancer, in the clients' network; the balancer in the others.
pub const GATEWAY: u8 = 1;
/// The router between clients and frontends, where the balancer is none.
pub const ROUTER: u8 = 254;
/// The frontends.
pub const FRONTENDS: [u8; 3] = [11, 12, 13];
/// The backends.
pub const BACKENDS: [u8; 2] = [21, 22];
/// The engine's server.
pub const ENGINE: u8 = 41;
/// The shared address.
pub const VIP: Pair = public(100);

/// SIP over UDP and TCP.
pub const SIP: u16 = 5060;
/// SIP over TLS.
pub const SIPS: u16 = 5061;
/// Media ports of one member where they have to differ (S60).
pub const PORTS_EACH: u16 = 10_000;

/// A member, by its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number in each network.
    pub host: u8,
}

impl Member {
    /// Whether clients' packets reach it.
    #[must_use]
    pub fn is_frontend(self) -> bool {
        FRONTENDS.contains(&self.host)
    }

    /// As it is called.
    #[must_use]
    pub fn name(self) -> String {
        let kind = if self.is_frontend() { "frontend" } else { "backend" };
        format!("{kind}-{}", self.host % 10)
    }

    /// The address that its SIP and media use on its own host.
    #[must_use]
    pub fn own(self, method: Method) -> Pair {
        if self.is_frontend() && method.is_public() { public(self.host) } else { inside(self.host) }
    }

    /// Its media ports: a range of its own where the balancer goes by them; backends have some, too.
    #[must_use]
    pub fn ports(self, method: Method) -> RangeInclusive<u16> {
        let place = u16::from(self.host % 10);
        if !self.is_frontend() {
            // Beyond those that the balancer knows.
            let first = 40_000 + place * 1_000;
            return first..=first + 999;
        }
        match method {
            Method::SingleIpNat => place * PORTS_EACH..=place * PORTS_EACH + (PORTS_EACH - 1),
            Method::MultiIp | Method::MultiIpNat | Method::Dsr => 10_000..=19_999,
        }
    }

    /// What SDP says in place of its own address.
    #[must_use]
    pub fn wan(self, method: Method) -> Option<Pair> {
        match method {
            Method::SingleIpNat => Some(VIP),
            Method::MultiIpNat if self.is_frontend() => Some(public(self.host)),
            Method::MultiIpNat | Method::MultiIp | Method::Dsr => None,
        }
    }
}

/// The hardware address of a host on the members' segment.
#[must_use]
pub fn mac(host: u8) -> String {
    format!("02:00:00:00:00:{host:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_the_same_number_in_each_network_and_family() {
        assert_eq!(public(100), VIP);
        assert_eq!(VIP.v6.to_string(), "2001:db8:a::100");
        assert_eq!(inside(41).v6.to_string(), "fd00:1::41");
        assert_eq!(outside(CLIENT).v4.to_string(), "198.51.100.10");
        assert_eq!(mac(11), "02:00:00:00:00:0b");
    }

    /// S60, S66: ranges differ where ports tell the members apart, and only there.
    #[test]
    fn media_ports_differ_where_the_balancer_goes_by_them() {
        let of = |host, method| Member { host }.ports(method);
        assert_eq!(of(11, Method::SingleIpNat), 10_000..=19_999);
        assert_eq!(of(13, Method::SingleIpNat), 30_000..=39_999);
        assert_eq!(of(11, Method::Dsr), of(13, Method::Dsr));
    }

    /// S63, S66, S71.
    #[test]
    fn descriptions_name_the_address_that_media_reaches_a_member_by() {
        let member = Member { host: 12 };
        assert_eq!(member.wan(Method::SingleIpNat), Some(VIP));
        assert_eq!(member.wan(Method::MultiIpNat), Some(public(12)));
        assert_eq!(member.wan(Method::Dsr), None);
        assert_eq!(member.own(Method::Dsr), public(12));
        assert_eq!(member.own(Method::MultiIpNat), inside(12));
    }
}
