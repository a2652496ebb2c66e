//! Configurations of balancers: what is made of a site, and what is refused.

mod golden;
mod refused;

use std::net::IpAddr;

use control_core::balancer::{Site, SiteMember, Spread};
use control_core::cluster::MemberName;
use control_core::settings::{AddressPair, PortRange};

/// The addresses of these texts, one a family.
fn pair(texts: &[&str]) -> AddressPair {
    let mut pair = AddressPair::default();
    for text in texts {
        match text.parse().expect("an address") {
            IpAddr::V4(v4) => pair.v4 = Some(v4),
            IpAddr::V6(v6) => pair.v6 = Some(v6),
        }
    }
    pair
}

fn member(number: u16, v6: bool) -> SiteMember {
    let first = number * 10_000;
    let mut lan = vec![format!("10.0.0.{number}")];
    let mut wan = vec![format!("203.0.113.1{number}")];
    if v6 {
        lan.push(format!("fd00::{number}"));
        wan.push(format!("2001:db8::1{number}"));
    }
    let pair = |texts: Vec<String>| pair(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    SiteMember {
        name: MemberName::new(&format!("fe-{number}")).expect("a name"),
        lan: pair(lan),
        wan: pair(wan),
        ports: Some(PortRange::new(first, first + 9_999).expect("a range")),
    }
}

/// Three members behind one address a family.
fn site() -> Site {
    Site {
        vip: pair(&["203.0.113.5", "2001:db8::5"]),
        udp_ports: vec![5060],
        tcp_ports: vec![5060, 5061],
        outside: Some("eth0".to_owned()),
        inside: None,
        spread: Spread::Source,
        ready_port: None,
        members: (1..=3).map(|number| member(number, true)).collect(),
    }
}
