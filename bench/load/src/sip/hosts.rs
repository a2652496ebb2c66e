//! IPv6 addresses as hosts: `rsip` 0.4 cannot read them, so within the generator a name stands for each, which
//! is exchanged for the address on the wire.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

const PREFIX: &str = "v6-";
/// Nobody's (RFC 2606).
const SUFFIX: &str = ".invalid";

/// A host as it stands in messages.
pub(crate) fn host(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("{PREFIX}{}{SUFFIX}", ip.to_string().replace(':', "-")),
    }
}

/// A host and its port as they stand in messages.
pub(crate) fn socket(address: SocketAddr) -> String {
    format!("{}:{}", host(address.ip()), address.port())
}

/// The address that a name stands for.
pub(crate) fn address(name: &str) -> Option<IpAddr> {
    let ip = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.replace('-', ":");
    ip.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

/// A URI as the wire has it, to be shown and hashed.
pub(crate) fn on_the_wire(uri: &rsip::Uri) -> rsip::Uri {
    let mut shown = uri.clone();
    if let rsip::Host::Domain(name) = uri.host()
        && let Some(ip) = address(&name.to_string())
    {
        shown.host_with_port.host = rsip::Host::Domain(format!("[{ip}]").into());
    }
    shown
}

/// A message from the wire, with names for addresses.
pub(crate) fn named(bytes: &[u8]) -> Cow<'_, [u8]> {
    exchanged(bytes, "[", "]", |inner| {
        let ip = inner.parse::<Ipv6Addr>().ok()?;
        Some(host(IpAddr::V6(ip)))
    })
}

/// A message for the wire, or a part of one, with addresses for names.
pub(crate) fn addressed(bytes: &[u8]) -> Cow<'_, [u8]> {
    exchanged(bytes, PREFIX, SUFFIX, |inner| {
        let ip = inner.replace('-', ":").parse::<Ipv6Addr>().ok()?;
        Some(format!("[{ip}]"))
    })
}

/// Replaces what stands between `open` and `close`, these included, wherever `with` knows it.
fn exchanged<'b>(
    bytes: &'b [u8],
    open: &str,
    close: &str,
    with: impl Fn(&str) -> Option<String>,
) -> Cow<'b, [u8]> {
    let Ok(text) = std::str::from_utf8(bytes) else { return Cow::Borrowed(bytes) };
    if !text.contains(open) {
        return Cow::Borrowed(bytes);
    }
    let (mut out, mut rest) = (String::with_capacity(bytes.len()), text);
    while let Some((before, after)) = rest.split_once(open) {
        out += before;
        rest = after;
        let known = after.split_once(close).and_then(|(inner, tail)| Some((with(inner)?, tail)));
        match known {
            Some((written, tail)) => {
                out += &written;
                rest = tail;
            }
            None => out += open,
        }
    }
    out += rest;
    Cow::Owned(out.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_becomes_a_name_and_back() {
        let wire =
            b"INVITE sip:b@[2001:db8::1]:5060 SIP/2.0\r\nVia: SIP/2.0/UDP [::1]:4000;x=[y\r\n\r\n";
        let text = named(wire);
        let shown = String::from_utf8_lossy(&text).into_owned();
        assert!(shown.contains("sip:b@v6-2001-db8--1.invalid:5060 "), "{shown}");
        assert!(shown.contains("v6---1.invalid:4000;x=[y"), "{shown}");
        assert_eq!(&*addressed(&text), wire);
        let ip: IpAddr = "2001:db8::1".parse().unwrap();
        assert_eq!(address(&host(ip)), Some(ip));
        assert_eq!(host("127.0.0.1".parse().unwrap()), "127.0.0.1");
        assert_eq!(address("example.com"), None);
        let uri = rsip::Uri::try_from(format!("sip:b@{}:5070", host(ip)).as_str()).unwrap();
        assert_eq!(on_the_wire(&uri).to_string(), "sip:b@[2001:db8::1]:5070");
    }
}
