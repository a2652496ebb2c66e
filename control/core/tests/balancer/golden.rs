//! What is rendered for one site, file by file.

use std::fs;
use std::path::PathBuf;

use control_core::balancer::{Device, Method, Site, Spread, render};

use crate::site;

/// Set to anything, the files are written anew instead of compared: look at what has changed, then commit it.
const BLESS: &str = "RINGFARM_BLESS";

/// The same members everywhere; appliances know IPv4 alone, and some devices ask /readyz.
fn site_for(device: Device) -> Site {
    let mut site = site();
    if matches!(device, Device::Alteon | Device::Foundry) {
        site.vip.v6 = None;
    }
    site.ready_port = matches!(device, Device::Haproxy | Device::Keepalived).then_some(9090);
    site
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/balancer/golden")
}

/// S72-S76 and every method for a Linux balancer: each text is as it stands in `golden/`, and nothing in it was left
/// without a value.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the test reads what it compares with; the core reads nothing"
)]
fn every_configuration_is_as_it_stands_in_its_file() {
    let mut seen = Vec::new();
    for method in Method::ALL {
        for device in Device::ALL {
            let Ok(text) = render(method, device, &site_for(device)) else { continue };
            assert!(!text.contains("{{"), "{method} for {device}:\n{text}");
            assert!(!text.lines().any(|line| line.starts_with('%')), "{method} for {device}");
            let name = format!("{method}.{device}");
            let path = folder().join(&name);
            if std::env::var_os(BLESS).is_some() {
                fs::write(&path, &text).unwrap();
            }
            let golden = fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(text, golden, "{name}; if this is meant, write it anew with {BLESS}=1");
            seen.push(name);
        }
    }
    seen.sort();
    let mut files: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(seen, files, "no file is left of what is rendered no more");
}

/// S34: spreading each packet for itself needs nothing but another choice of the share. TCP over DSR stays with its
/// member all the same, as a second SYN must meet the first one's.
#[test]
fn each_packet_can_go_its_own_way() {
    let mut site = site();
    site.spread = Spread::Packet;
    let nat = render(Method::SingleIpNat, Device::Nftables, &site).unwrap();
    assert!(nat.contains("numgen random mod 16 map @bucket ip daddr set"), "{nat}");
    assert!(!nat.contains("jhash"), "{nat}");
    let dsr = render(Method::Dsr, Device::Nftables, &site).unwrap();
    assert!(dsr.contains("udp dport { 5060 } meta mark set numgen random mod 16"), "{dsr}");
    assert!(dsr.contains("jhash ip saddr . tcp sport . tcp dport mod"), "{dsr}");
}

/// There are sixteen shares, or more where there are more members.
#[test]
fn every_member_has_a_share() {
    let mut site = site();
    site.members = (1..=20)
        .map(|number| {
            let mut member = crate::member(1, false);
            member.name = control_core::cluster::MemberName::new(&format!("fe-{number}")).unwrap();
            member.lan = crate::pair(&[&format!("10.0.1.{number}")]);
            member.wan = crate::pair(&[]);
            member
        })
        .collect();
    site.vip = crate::pair(&["203.0.113.5"]);
    let text = render(Method::Dsr, Device::Nftables, &site).unwrap();
    assert!(text.contains("numgen random mod 32 : meta mark"), "{text}");
    for number in 1..=20 {
        assert!(text.contains(&format!(" : {:#010x},", 0x5246_0000 + number)), "{number}: {text}");
    }
}
