//! Hosts as they stand in URIs and Vias.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::chars;

/// A host: a name or an address (RFC 3261 25.1 `host`).
#[derive(Clone, Copy, Debug)]
pub enum Host<'a> {
    /// A domain name, as written.
    Name(&'a str),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address (written in brackets).
    V6(Ipv6Addr),
}

impl<'a> Host<'a> {
    /// Reads a host, an IPv6 address with its brackets; `None` if it is none.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Host<'a>> {
        let bytes = text.as_bytes();
        if let Some(inner) = bytes.strip_prefix(b"[") {
            let inner = chars::text(inner.strip_suffix(b"]")?);
            return parse_v6(inner).map(Host::V6);
        }
        if !chars::all(bytes, chars::HOST) {
            return None;
        }
        // RFC 3261 25.1: the last label of a name starts with a letter, so this is an address or bad.
        let name = bytes.strip_suffix(b".").unwrap_or(bytes);
        let label = memchr::memrchr(b'.', name).map_or(0, |dot| dot + 1);
        if name.get(label)?.is_ascii_digit() && name[label..].iter().all(u8::is_ascii_digit) {
            return Ipv4Addr::from_str(text).ok().map(Host::V4);
        }
        Some(Host::Name(text))
    }

    /// The address, unless it is a name.
    #[must_use]
    pub const fn ip(self) -> Option<IpAddr> {
        match self {
            Host::Name(_) => None,
            Host::V4(ip) => Some(IpAddr::V4(ip)),
            Host::V6(ip) => Some(IpAddr::V6(ip)),
        }
    }

    /// Whether this is `ip`, an IPv4-mapped IPv6 address counting as the IPv4 address in it.
    #[must_use]
    pub fn is_ip(self, ip: IpAddr) -> bool {
        self.ip().is_some_and(|own| own.to_canonical() == ip.to_canonical())
    }
}

/// An IPv6 address. RFC 5118 4.10: a superfluous colon before an embedded IPv4 address follows
/// from the grammar of RFC 3261 and is accepted.
fn parse_v6(text: &str) -> Option<Ipv6Addr> {
    if let Ok(ip) = Ipv6Addr::from_str(text) {
        return Some(ip);
    }
    let (head, tail) = text.split_once(":::")?;
    Ipv4Addr::from_str(tail).ok()?;
    Ipv6Addr::from_str(&format!("{head}::{tail}")).ok()
}

impl PartialEq for Host<'_> {
    /// Names compare without case; a name never equals an address, whatever it resolves to
    /// (RFC 3261 19.1.4).
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Host::Name(a), Host::Name(b)) => a.eq_ignore_ascii_case(b),
            (Host::V4(a), Host::V4(b)) => a == b,
            (Host::V6(a), Host::V6(b)) => a == b,
            (Host::Name(_) | Host::V4(_) | Host::V6(_), _) => false,
        }
    }
}

impl Eq for Host<'_> {}

impl From<IpAddr> for Host<'_> {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Host::V4(ip),
            IpAddr::V6(ip) => Host::V6(ip),
        }
    }
}

impl fmt::Display for Host<'_> {
    /// As it stands in a URI or Via: an IPv6 address in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::V4(ip) => ip.fmt(f),
            Host::V6(ip) => write!(f, "[{ip}]"),
        }
    }
}
