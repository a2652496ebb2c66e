//! A site in a file.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use control_core::balancer::{Site, SiteMember, Spread};
use control_core::cluster::MemberName;
use control_core::settings::AddressPair;
use serde::Deserialize;

use super::members::{pair, range};

/// Ports of SIP, perhaps none.
#[derive(Clone, Debug)]
pub(super) struct Ports(pub(super) Vec<u16>);

/// `5060,5061` or `none`.
pub(super) fn ports(text: &str) -> Result<Ports, String> {
    if text == "none" {
        return Ok(Ports(Vec::new()));
    }
    let port = |port: &str| port.trim().parse().map_err(|_| format!("{port:?} is no port"));
    text.split(',').map(port).collect::<Result<_, _>>().map(Ports)
}

/// A file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    vip: Vec<IpAddr>,
    outside: Option<String>,
    inside: Option<String>,
    spread: Option<String>,
    udp_port: Option<Vec<u16>>,
    tcp_port: Option<Vec<u16>>,
    ready_port: Option<u16>,
    #[serde(default)]
    member: Vec<Member>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Member {
    name: String,
    #[serde(default)]
    lan: Vec<IpAddr>,
    #[serde(default)]
    wan: Vec<IpAddr>,
    ports: Option<String>,
}

/// A site of which nothing is known.
pub(super) fn empty() -> Site {
    Site {
        vip: AddressPair::default(),
        udp_ports: vec![5060],
        tcp_ports: vec![5060, 5061],
        outside: None,
        inside: None,
        spread: Spread::default(),
        ready_port: None,
        members: Vec::new(),
    }
}

/// Reads a file.
///
/// # Errors
/// If it cannot be read, is no TOML, or says something else than a site; with its name and, where there is one, the place.
pub(super) fn read(path: &Path) -> anyhow::Result<Site> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    site(&text).with_context(|| format!("{shown} does not describe a site"))
}

fn site(text: &str) -> anyhow::Result<Site> {
    let file: File = toml::from_str(text).map_err(|error| anyhow!("{error}"))?;
    let default = empty();
    let spread = match file.spread.as_deref() {
        None => default.spread,
        Some(word) => Spread::parse(word)
            .ok_or_else(|| anyhow!("spread = {word:?}: write \"source\" or \"packet\""))?,
    };
    let members: anyhow::Result<_> = file.member.iter().map(member).collect();
    Ok(Site {
        vip: pair(&file.vip).map_err(|why| anyhow!("vip: {why}"))?,
        udp_ports: file.udp_port.unwrap_or(default.udp_ports),
        tcp_ports: file.tcp_port.unwrap_or(default.tcp_ports),
        outside: file.outside,
        inside: file.inside,
        spread,
        ready_port: file.ready_port,
        members: members?,
    })
}

fn member(member: &Member) -> anyhow::Result<SiteMember> {
    let told =
        |key: &'static str| move |why: String| anyhow!("member {}: {key}: {why}", member.name);
    Ok(SiteMember {
        name: MemberName::new(&member.name).map_err(told("name"))?,
        lan: pair(&member.lan).map_err(told("lan"))?,
        wan: pair(&member.wan).map_err(told("wan"))?,
        ports: member.ports.as_deref().map(range).transpose().map_err(told("ports"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_read_from_a_file() {
        let text = "vip = [\"203.0.113.5\"]\noutside = \"eth0\"\nspread = \"packet\"\ntcp_port = []\n\
                    [[member]]\nname = \"fe-1\"\nlan = [\"10.0.0.1\"]\nports = \"10000-19999\"\n";
        let site = site(text).unwrap();
        assert_eq!(site.udp_ports, [5060]);
        assert!(site.tcp_ports.is_empty());
        assert_eq!(site.spread, Spread::Packet);
        assert_eq!(site.members[0].lan.v4, Some("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_file_that_says_something_else_is_refused_with_the_place() {
        for (text, why) in [
            ("vips = []", "vips"),
            ("vip = [\"x\"]", "line 1"),
            ("spread = \"both\"", "spread = \"both\""),
            ("[[member]]\nname = \"fe-1\"\nlan = [\"10.0.0.1\", \"10.0.0.2\"]", "member fe-1: lan"),
            ("[[member]]\nname = \"fe-1\"\nports = \"1-2\"", "member fe-1: ports"),
        ] {
            let error = site(text).err().map(|error| format!("{error:#}")).unwrap_or_default();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn ports_may_be_none() {
        assert!(ports("none").unwrap().0.is_empty());
        assert_eq!(ports("5060, 5061").unwrap().0, [5060, 5061]);
        assert!(ports("sip").unwrap_err().contains("\"sip\" is no port"));
    }
}
