//! Hosts as they stand in URIs and Vias.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::{chars, scan};

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
        if chars::all(bytes, chars::HOST) { Host::from_run(text) } else { None }
    }

    /// From a run of host characters.
    #[inline]
    pub(super) fn from_run(text: &'a str) -> Option<Host<'a>> {
        // RFC 3261 25.1: the last label of a name starts with a letter, so that one of digits alone makes
        // this an address, or bad.
        let name = text.strip_suffix('.').unwrap_or(text).as_bytes();
        match name.last() {
            None | Some(b'.') => None,
            Some(last) if last.is_ascii_digit() => Host::from_digits(text, name),
            Some(_) => Some(Host::Name(text)),
        }
    }

    fn from_digits(text: &'a str, name: &[u8]) -> Option<Host<'a>> {
        let label = memchr::memrchr(b'.', name).map_or(0, |dot| dot + 1);
        if name[label..].iter().all(u8::is_ascii_digit) {
            return parse_v4(text.as_bytes()).map(Host::V4);
        }
        Some(Host::Name(text))
    }

    /// Reads the host at `at` and returns where it ends.
    #[inline]
    pub(super) fn scan(text: &[u8], at: usize) -> Option<usize> {
        if text.get(at) == Some(&b'[') {
            let end = at + memchr::memchr(b']', &text[at..])? + 1;
            Host::parse(chars::text(&text[at..end]))?;
            return Some(end);
        }
        let end = scan::run(text, at, chars::HOST);
        match text[at..end].last() {
            None => None,
            // A name that ends in a letter needs no second look.
            Some(last) if last.is_ascii_alphabetic() => Some(end),
            Some(_) if parse_v4(&text[at..end]).is_some() => Some(end),
            Some(_) => Host::from_run(chars::text(&text[at..end])).map(|_| end),
        }
    }

    /// As [`Host::scan`], with the host itself.
    #[inline]
    pub(super) fn read(text: &'a str, at: usize) -> Option<(Host<'a>, usize)> {
        let bytes = text.as_bytes();
        if bytes.get(at) == Some(&b'[') {
            let end = at + memchr::memchr(b']', &bytes[at..])? + 1;
            return Host::parse(text.get(at..end)?).map(|host| (host, end));
        }
        let end = scan::run(bytes, at, chars::HOST);
        Host::from_run(text.get(at..end)?).map(|host| (host, end))
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

/// An IPv4 address: four numbers of up to 255, no superfluous zeros.
fn parse_v4(text: &[u8]) -> Option<Ipv4Addr> {
    let mut octets = [0u8; 4];
    let (last, firsts) = octets.split_last_mut()?;
    let mut at = 0;
    for octet in firsts {
        (*octet, at) = octet_at(text, at)?;
        if text.get(at) != Some(&b'.') {
            return None;
        }
        at += 1;
    }
    (*last, at) = octet_at(text, at)?;
    if at == text.len() { Some(Ipv4Addr::from(octets)) } else { None }
}

/// The number of up to three digits at `at`, and where it ends.
#[inline]
fn octet_at(text: &[u8], at: usize) -> Option<(u8, usize)> {
    let digit = |at| text.get(at).map(|b: &u8| b.wrapping_sub(b'0')).filter(|digit| *digit <= 9);
    let first = digit(at)?;
    let Some(second) = digit(at + 1).filter(|_| first != 0) else { return Some((first, at + 1)) };
    let two = first * 10 + second;
    let Some(third) = digit(at + 2) else { return Some((two, at + 2)) };
    Some((two.checked_mul(10)?.checked_add(third)?, at + 3))
}

/// An IPv6 address. RFC 5118 4.10: a superfluous colon before an embedded IPv4 address follows
/// from the grammar of RFC 3261 and is accepted.
fn parse_v6(text: &str) -> Option<Ipv6Addr> {
    if let Ok(ip) = Ipv6Addr::from_str(text) {
        return Some(ip);
    }
    let (head, tail) = text.split_once(":::")?;
    parse_v4(tail.as_bytes())?;
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
