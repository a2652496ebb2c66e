//! What a node does with each message of RFC 5118 (IPv6), one test a message, named as in the RFC. A
//! trusted server sends them, so that those for elsewhere go on.

use std::path::Path;

use bytes::Bytes;

use super::calls::BOB;
use super::harness::{Bench, Plan, show};
use crate::sdp::Sdp;
use crate::wire::{HeaderName, Message};

const SENDER: &str = "[2001:db8::9:1]:5060";

/// The message with CRLF line ends and an empty line after its head. Content-Length, which the RFC's
/// authors counted with other line ends, is left out: the body goes to the end.
fn vector(name: &str) -> Bytes {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/rfc5118");
    let text = String::from_utf8(std::fs::read(folder.join(name)).unwrap()).unwrap();
    let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
    let mut lines: Vec<&str> = head.lines().filter(|l| !l.starts_with("Content-Length")).collect();
    lines.extend(["", ""]);
    Bytes::from(lines.join("\r\n") + &body.replace('\n', "\r\n"))
}

fn sent(name: &str) -> Bench {
    let trusted = vec!["2001:db8::9:1"];
    let mut bench = Bench::new(Plan { trusted, domains: vec!["example.com"], ..Plan::default() });
    bench.register("user", BOB);
    bench.datagram(SENDER, vector(name));
    bench
}

/// The request goes on to this address, and nowhere else.
#[track_caller]
fn passes_on(name: &str, to: &str) -> Message {
    let mut bench = sent(name);
    if vector(name).starts_with(b"INVITE") {
        // 17.2.1, and 18.2.2: to where it came from.
        let trying = bench.sent.pop_front().expect("a 100");
        assert_eq!(trying.target.remote.ip(), SENDER.parse::<std::net::SocketAddr>().unwrap().ip());
    }
    let passed = bench.message_to(to);
    assert!(passed.is_request(), "{}", show(&passed));
    bench.expect_silence();
    passed
}

/// 4.1
#[test]
fn ipv6_good() {
    let passed = passes_on("ipv6-good", "[2001:db8::10]:5060");
    assert_eq!(passed.request_uri(), "sip:[2001:db8::10]");
}

/// 4.2: without brackets, where the address ends and the port begins is anybody's guess.
#[test]
fn ipv6_bad() {
    let mut bench = sent("ipv6-bad");
    let answer = bench.next_to(SENDER);
    assert!(answer.starts_with("SIP/2.0 400 Bad Request-URI\r\n"), "{answer}");
    bench.expect_silence();
}

/// 4.3: what stands in the brackets is all address.
#[test]
fn port_ambiguous() {
    passes_on("port-ambiguous", "[2001:db8::10:5070]:5060");
}

/// 4.4
#[test]
fn port_unambiguous() {
    passes_on("port-unambiguous", "[2001:db8::10]:5070");
}

/// 4.5: there is no such dialog here; the answer goes to the sender, whatever its Via claims.
#[test]
fn via_received_param_with_delim() {
    let mut bench = sent("via-received-param-with-delim");
    bench.expect_status(SENDER, 481);
    bench.expect_silence();
}

/// 4.5: without brackets, likewise understood.
#[test]
fn via_received_param_no_delim() {
    let passed = passes_on("via-received-param-no-delim", "[2001:db8::10]:5060");
    assert_eq!(passed.vias().nth(1).unwrap().unwrap().branch(), Some("z9hG4bKas3"));
}

/// 4.6: both streams are moved to this node's IPv6 address.
#[test]
fn ipv6_in_sdp() {
    let passed = passes_on("ipv6-in-sdp", "[2001:db8::10]:5060");
    let sdp = Sdp::parse(passed.body()).unwrap();
    let own = "2001:db8::1".parse::<std::net::IpAddr>().ok();
    let addresses: Vec<_> = sdp.media().iter().map(|m| m.rtp_address().map(|a| a.ip())).collect();
    assert_eq!(addresses, [own, own]);
}

/// 4.7: every Via is copied, whatever its family.
#[test]
fn mult_ip_in_header() {
    let mut bench = sent("mult-ip-in-header");
    let transmit = bench.sent.pop_front().expect("an answer");
    let answer = Message::parse_datagram(transmit.bytes).unwrap();
    assert_eq!((answer.status(), answer.vias().count()), (Some(481), 3));
    // 18.2.2: without `rport`, to the port of the Via.
    assert_eq!(transmit.target.remote, "[2001:db8::9:1]:6050".parse().unwrap());
}

/// 4.8: it is understood, but this relay gives a leg addresses of one family: an offer of both is refused,
/// and says which it could not serve.
#[test]
fn mult_ip_in_sdp() {
    let mut bench = sent("mult-ip-in-sdp");
    bench.sent.pop_front().expect("a 100");
    let refusal = bench.expect_status(SENDER, 488);
    assert!(refusal.first_str(HeaderName::Warning).is_some_and(|w| w.starts_with("301 ")));
    bench.expect_silence();
}

/// 4.9: Vias with IPv4-mapped addresses are kept as they are.
#[test]
fn ipv4_mapped_ipv6() {
    let passed = passes_on("ipv4-mapped-ipv6", BOB);
    let text = show(&passed);
    assert!(
        text.contains("Via: SIP/2.0/UDP [::ffff:192.0.2.2];branch=z9hG4bKas3-111\r\n"),
        "{text}"
    );
}

/// 4.10: three colons, as the grammar of RFC 3261 had them, are taken for two.
#[test]
fn ipv6_bug_abnf_3_colons() {
    passes_on("ipv6-bug-abnf-3-colons", "[2001:db8::c000:201]:5060");
}

/// 4.10
#[test]
fn ipv6_correct_abnf_2_colons() {
    passes_on("ipv6-correct-abnf-2-colons", "[2001:db8::c000:201]:5060");
}
