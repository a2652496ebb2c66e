//! The IPv6 torture tests of RFC 5118, one test a message, named as in the RFC. `vectors/README.md` names
//! their source.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test by panicking")]

use std::net::IpAddr;
use std::path::Path;

use bytes::Bytes;
use signaling_core::sdp::{Connection, Sdp};
use signaling_core::wire::{Defect, Host, Malformed, Message};

/// The message with CRLF line ends and an empty line after its head. Content-Length, which the RFC's authors
/// counted with other line ends, is left out: the body goes to the end.
fn vector(name: &str) -> Bytes {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/rfc5118");
    let text = String::from_utf8(std::fs::read(dir.join(name)).unwrap()).unwrap();
    let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
    let mut lines: Vec<&str> = head.lines().filter(|l| !l.starts_with("Content-Length")).collect();
    lines.extend(["", ""]);
    Bytes::from(lines.join("\r\n") + &body.replace('\n', "\r\n"))
}

fn parse(name: &str) -> Result<Message, Malformed> {
    Message::parse_datagram(vector(name))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// 4.1: a valid message with an IPv6 reference.
#[test]
fn ipv6_good() {
    let m = parse("ipv6-good").unwrap();
    assert_eq!(m.uri().unwrap().host().ip(), Some(ip("2001:db8::10")));
    assert_eq!(m.top_via().host().ip(), Some(ip("2001:db8::9:1")));
    let contact = m.contacts().next().unwrap().unwrap().addr().unwrap();
    assert_eq!(contact.uri().unwrap().host().ip(), Some(ip("2001:db8::1")));
}

/// 4.2: an IPv6 address without brackets.
#[test]
fn ipv6_bad() {
    let refusal = parse("ipv6-bad").unwrap_err();
    assert_eq!(refusal.defect(), Defect::RequestUri);
    let answer = refusal.answer().unwrap().write("t", "[2001:db8::9:1]:5060".parse().unwrap());
    let text = std::str::from_utf8(&answer).unwrap();
    assert!(text.contains("Via: SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3-111\r\n"), "{text}");
}

/// 4.3: the port is in the brackets: the address is another, and there is no port.
#[test]
fn port_ambiguous() {
    let uri = parse("port-ambiguous").unwrap();
    let uri = uri.uri().unwrap();
    assert_eq!((uri.host().ip(), uri.port()), (Some(ip("2001:db8::10:5070")), None));
}

/// 4.4: the port is after the brackets.
#[test]
fn port_unambiguous() {
    let m = parse("port-unambiguous").unwrap();
    let uri = m.uri().unwrap();
    assert_eq!((uri.host().ip(), uri.port()), (Some(ip("2001:db8::10")), Some(5070)));
}

/// 4.5: an IPv6 address in `received`, with brackets.
#[test]
fn via_received_param_with_delim() {
    let m = parse("via-received-param-with-delim").unwrap();
    assert_eq!(m.top_via().received(), Some(ip("2001:db8::9:255")));
}

/// 4.5: an IPv6 address in `received`, without brackets.
#[test]
fn via_received_param_no_delim() {
    let m = parse("via-received-param-no-delim").unwrap();
    assert_eq!(m.top_via().received(), Some(ip("2001:db8::9:255")));
    assert_eq!(m.top_via().branch(), Some("z9hG4bKas3"));
}

/// 4.6: IPv6 in SDP.
#[test]
fn ipv6_in_sdp() {
    let m = parse("ipv6-in-sdp").unwrap();
    let sdp = Sdp::parse(m.body()).unwrap();
    assert_eq!(sdp.media().len(), 2);
    assert_eq!(sdp.media()[0].connection, Some(Connection::Ip(ip("2001:db8::20"))));
}

/// 4.7: IPv4 and IPv6 in one message's Vias.
#[test]
fn mult_ip_in_header() {
    let m = parse("mult-ip-in-header").unwrap();
    let hosts: Vec<_> = m.vias().map(|via| via.unwrap().host().ip().unwrap()).collect();
    assert_eq!(hosts, [ip("2001:db8::9:1"), ip("192.0.2.1"), ip("2001:db8::9:255")]);
    assert_eq!(m.vias().last().unwrap().unwrap().received(), Some(ip("192.0.2.200")));
}

/// 4.8: IPv4 and IPv6 in one session description.
#[test]
fn mult_ip_in_sdp() {
    let m = parse("mult-ip-in-sdp").unwrap();
    let sdp = Sdp::parse(m.body()).unwrap();
    let to: Vec<_> = sdp.media().iter().map(|media| media.rtp_address().unwrap()).collect();
    assert_eq!(to, ["192.0.2.1:22334".parse().unwrap(), "[2001:db8::1]:6024".parse().unwrap()]);
}

/// 4.9: IPv4-mapped IPv6 addresses.
#[test]
fn ipv4_mapped_ipv6() {
    let m = parse("ipv4-mapped-ipv6").unwrap();
    assert!(m.top_via().host().is_ip(ip("192.0.2.10")));
    assert_eq!(m.top_via().port(), Some(19823));
}

/// 4.10: three colons, which the grammar of RFC 3261 makes out of two.
#[test]
fn ipv6_bug_abnf_3_colons() {
    let m = parse("ipv6-bug-abnf-3-colons").unwrap();
    let Host::V6(host) = m.uri().unwrap().host() else { panic!("an IPv6 address") };
    assert_eq!(IpAddr::V6(host), ip("2001:db8::192.0.2.1"));
}

/// 4.10: two colons.
#[test]
fn ipv6_correct_abnf_2_colons() {
    let m = parse("ipv6-correct-abnf-2-colons").unwrap();
    assert_eq!(m.uri().unwrap().host().ip(), Some(ip("2001:db8::192.0.2.1")));
    assert_eq!(m.to().uri().unwrap().host().ip(), Some(ip("2001:db8::192.0.2.1")));
}
