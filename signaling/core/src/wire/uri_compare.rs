//! Comparison and canonical form of URIs (RFC 3261 19.1.4, 10.3).

use std::borrow::Cow;

use super::chars;
use super::params::{Param, Params};
use super::uri::{Scheme, Uri};

/// Parameters that never match where only one of the URIs has them. RFC 3261 19.1.4 lists user, ttl,
/// method and maddr in its rule, and transport in its examples.
const NEVER_ABSENT: [&str; 5] = ["user", "ttl", "method", "maddr", "transport"];

pub(super) fn equivalent(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    match (a.scheme(), b.scheme()) {
        (Scheme::Sip, Scheme::Sip) | (Scheme::Sips, Scheme::Sips) => sip_equivalent(a, b),
        (Scheme::Tel, Scheme::Tel) => a.opaque().eq_ignore_ascii_case(b.opaque()),
        (Scheme::Other(x), Scheme::Other(y)) => {
            x.eq_ignore_ascii_case(y) && a.opaque() == b.opaque()
        }
        (Scheme::Sip | Scheme::Sips | Scheme::Tel | Scheme::Other(_), _) => false,
    }
}

fn sip_equivalent(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    same_text(a.user(), b.user())
        && same_text(a.password(), b.password())
        && a.host() == b.host()
        && a.port() == b.port()
        && params_equivalent(a.params(), b.params())
        && headers_match(a.headers(), b.headers())
}

fn same_text(a: Option<&str>, b: Option<&str>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => same_escaped(a.as_bytes(), b.as_bytes(), false),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// Most parameters, and most headers, that are compared as sets, which takes time by the square of their
/// number; more of them must be written alike. Real URIs have a handful.
const SET_MAX: usize = 32;

fn params_equivalent(a: Params<'_>, b: Params<'_>) -> bool {
    if a.iter().count().max(b.iter().count()) > SET_MAX {
        return a.as_bytes() == b.as_bytes();
    }
    params_match(a, b) && params_match(b, a)
}

/// Every parameter of `a` agrees with `b`.
fn params_match(a: Params<'_>, b: Params<'_>) -> bool {
    a.iter().all(|own| match find_escaped(b, own.name) {
        Some(other) => {
            same_escaped(own.value.unwrap_or_default(), other.value.unwrap_or_default(), true)
        }
        None => !NEVER_ABSENT.iter().any(|name| name.eq_ignore_ascii_case(own.name)),
    })
}

fn find_escaped<'a>(params: Params<'a>, name: &str) -> Option<Param<'a>> {
    params.iter().find(|p| same_escaped(p.name.as_bytes(), name.as_bytes(), true))
}

/// URI headers are compared as a set; RFC 3261 19.1.4 leaves each value to its header's own rules,
/// of which the octets are the common part.
fn headers_match(a: Option<&str>, b: Option<&str>) -> bool {
    let (Some(a), Some(b)) = (a, b) else { return a.is_none() && b.is_none() };
    let (count_a, count_b) = (a.split('&').count(), b.split('&').count());
    if count_a.max(count_b) > SET_MAX {
        return a == b;
    }
    let contained = |a: &str, b: &str| {
        a.split('&').all(|own| b.split('&').any(|other| same_header(own, other)))
    };
    count_a == count_b && contained(a, b) && contained(b, a)
}

fn same_header(a: &str, b: &str) -> bool {
    let (name_a, value_a) = a.split_once('=').unwrap_or((a, ""));
    let (name_b, value_b) = b.split_once('=').unwrap_or((b, ""));
    same_escaped(name_a.as_bytes(), name_b.as_bytes(), true)
        && same_escaped(value_a.as_bytes(), value_b.as_bytes(), false)
}

/// Octet by octet, an escape of an unreserved character being that character; other escapes are
/// compared as escapes, because `%3B` is not `;` (RFC 3261 19.1.4, RFC 2396 2.3).
fn same_escaped(a: &[u8], b: &[u8], fold_case: bool) -> bool {
    let mut a = Units { text: a };
    let mut b = Units { text: b };
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some((x, ex)), Some((y, ey))) => {
                let same = if fold_case { x.eq_ignore_ascii_case(&y) } else { x == y };
                if !same || ex != ey {
                    return false;
                }
            }
            (None, Some(_)) | (Some(_), None) => return false,
        }
    }
}

/// The octets of an escaped text, each with whether it must stay escaped.
struct Units<'a> {
    text: &'a [u8],
}

impl Iterator for Units<'_> {
    type Item = (u8, bool);

    fn next(&mut self) -> Option<(u8, bool)> {
        let (&first, rest) = self.text.split_first()?;
        if first == b'%'
            && let Some(octet) = hex_pair(rest)
        {
            self.text = &rest[2..];
            return Some((octet, !chars::is(octet, chars::UNRESERVED)));
        }
        self.text = rest;
        Some((first, false))
    }
}

fn hex_pair(text: &[u8]) -> Option<u8> {
    let high = (*text.first()? as char).to_digit(16)?;
    let low = (*text.get(1)? as char).to_digit(16)?;
    Some((high * 16 + low) as u8)
}

/// `text` with every `%HH` undone; `None` if the result is not UTF-8.
pub(crate) fn unescape(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let octets: Vec<u8> = Units { text: text.as_bytes() }.map(|(octet, _)| octet).collect();
    String::from_utf8(octets).ok().map(Cow::Owned)
}

pub(super) fn address_of_record(uri: &Uri<'_>) -> String {
    let mut aor = String::with_capacity(uri.as_str().len());
    match uri.scheme() {
        Scheme::Sip => aor.push_str("sip:"),
        Scheme::Sips => aor.push_str("sips:"),
        Scheme::Tel => aor.push_str("tel:"),
        Scheme::Other(scheme) => {
            aor.push_str(&scheme.to_ascii_lowercase());
            aor.push(':');
        }
    }
    if !uri.is_sip() {
        aor.push_str(uri.opaque());
        return aor;
    }
    if let Some(user) = uri.user() {
        push_canonical(&mut aor, user);
        aor.push('@');
    }
    aor.push_str(&uri.host().to_string().to_ascii_lowercase());
    if let Some(port) = uri.port() {
        aor.push(':');
        aor.push_str(&port.to_string());
    }
    aor
}

/// Undoes the escapes of plain characters and writes the others in upper case, so that equal users
/// give equal text.
fn push_canonical(out: &mut String, user: &str) {
    use std::fmt::Write as _;
    for (octet, escaped) in (Units { text: user.as_bytes() }) {
        if escaped {
            // Writing to a String does not fail.
            let _ = write!(out, "%{octet:02X}");
        } else {
            out.push(octet as char);
        }
    }
}
