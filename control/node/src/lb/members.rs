//! The members of a site: as options, or as a node knows them.

use std::net::IpAddr;

use anyhow::{Context as _, anyhow};
use control_core::balancer::SiteMember;
use control_core::cluster::MemberName;
use control_core::settings::{AddressPair, PortRange};
use serde_json::Value;

/// One address a family at most.
pub(super) fn pair(addresses: &[IpAddr]) -> Result<AddressPair, String> {
    let mut pair = AddressPair::default();
    for address in addresses {
        let taken = match *address {
            IpAddr::V4(v4) => pair.v4.replace(v4).is_some(),
            IpAddr::V6(v6) => pair.v6.replace(v6).is_some(),
        };
        if taken {
            return Err(format!(
                "{address} is the second address of its family; name one a family"
            ));
        }
        if address.is_unspecified() || address.is_multicast() {
            return Err(format!("{address} is no address of a host"));
        }
    }
    Ok(pair)
}

/// A range `FIRST-LAST`.
pub(super) fn range(text: &str) -> Result<PortRange, String> {
    let ends = text
        .split_once('-')
        .and_then(|(first, last)| Some((first.trim().parse().ok()?, last.trim().parse().ok()?)));
    let (first, last) =
        ends.ok_or_else(|| format!("{text:?} is no range of ports; write it as 10000-19999"))?;
    PortRange::new(first, last)
}

/// `name=NAME,lan=ADDRESS,...`.
pub(super) fn parse(text: &str) -> Result<SiteMember, String> {
    let (mut name, mut lan, mut wan, mut ports) = (None, Vec::new(), Vec::new(), None);
    let address = |key: &str, value: &str| {
        value.parse::<IpAddr>().map_err(|_| format!("{key}={value} is no address"))
    };
    for word in text.split(',') {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        match key.trim() {
            "name" => name = Some(MemberName::new(value)?),
            "lan" => lan.push(address(key, value)?),
            "wan" => wan.push(address(key, value)?),
            "ports" => ports = Some(range(value)?),
            other => {
                return Err(format!("{other:?} is not known; there are name, lan, wan and ports"));
            }
        }
    }
    let name = name.ok_or("a member needs name=NAME")?;
    Ok(SiteMember { name, lan: pair(&lan)?, wan: pair(&wan)?, ports })
}

/// The farm members of a cluster, from what a node says of them.
pub(super) fn of_cluster(list: &Value, vip: AddressPair) -> anyhow::Result<Vec<SiteMember>> {
    let members = list["members"].as_array().into_iter().flatten();
    members
        .filter(|member| {
            // One that drains comes back; one that was taken out does not.
            member["farm"]["effective"] == "member" && member["barred"] != true
        })
        .map(|member| one(member, vip).with_context(|| format!("member {}", member["name"])))
        .collect()
}

fn one(member: &Value, vip: AddressPair) -> anyhow::Result<SiteMember> {
    let name = member["name"].as_str().unwrap_or_default();
    let name = MemberName::new(name).map_err(|why| anyhow!(why))?;
    let end =
        |index: usize| member["media_ports"][index].as_u64().and_then(|p| u16::try_from(p).ok());
    let ports = end(0).zip(end(1)).and_then(|(first, last)| PortRange::new(first, last).ok());
    let wan = serde_json::from_value(member["wan_ip"]["own"].clone()).unwrap_or_default();
    Ok(SiteMember { name, lan: lan(member, vip), wan, ports })
}

/// Where a balancer reaches a member: where it takes SIP, which is neither the VIP nor its own loopback; in the
/// network of the mesh, if it is there, too. A member that tells the VIP alone is reached where other members reach it.
fn lan(member: &Value, vip: AddressPair) -> AddressPair {
    let ip = |text: &Value| {
        let address = text.as_str()?.parse::<std::net::SocketAddr>().ok()?;
        Some(address.ip())
    };
    let sip = member["sip"].as_array().into_iter().flatten();
    let mut sip: Vec<IpAddr> = sip
        .filter_map(|sip| ip(&sip["address"]))
        .filter(|ip| !ip.is_loopback() && vip.like(*ip) != Some(*ip))
        .collect();
    let mesh = ip(&member["mesh"]);
    sip.sort_by_key(|ip| Some(*ip) != mesh);
    sip.extend(mesh);
    let first = |wanted: fn(&IpAddr) -> bool| sip.iter().copied().find(wanted);
    let both = [first(IpAddr::is_ipv4), first(IpAddr::is_ipv6)];
    // One a family: that is what a pair takes.
    pair(&both.into_iter().flatten().collect::<Vec<_>>()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_member_is_read_from_an_option() {
        let member = parse("name=fe-1,lan=10.0.0.1,lan=fd00::1,wan=203.0.113.11,ports=10000-19999");
        let member = member.unwrap();
        assert_eq!(member.name.as_str(), "fe-1");
        assert_eq!(member.lan.addresses().len(), 2);
        assert_eq!(member.wan.v4, Some("203.0.113.11".parse().unwrap()));
        assert_eq!(member.ports, PortRange::new(10_000, 19_999).ok());
    }

    #[test]
    fn an_option_that_is_no_member_is_refused_with_what_is_wrong() {
        for (text, why) in [
            ("lan=10.0.0.1", "needs name=NAME"),
            ("name=fe-1,lan=10.0.0", "lan=10.0.0 is no address"),
            ("name=fe-1,lan=10.0.0.1,lan=10.0.0.2", "second address of its family"),
            ("name=fe-1,lan=0.0.0.0", "no address of a host"),
            ("name=fe-1,ports=10000", "no range of ports"),
            ("name=fe-1,ports=10001-10002", "odd"),
            ("name=FE 1", "FE 1"),
            ("name=fe-1,weight=3", "\"weight\" is not known"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    /// Backends, and members that were taken out, get nothing from a balancer; one that drains will be back.
    #[test]
    fn the_farm_members_of_a_cluster_are_taken_with_the_address_that_the_balancer_reaches() {
        let member = |name: &str, farm: &str, barred: bool| {
            json!({
                "name": name, "farm": { "effective": farm }, "barred": barred, "draining": true,
                "media_ports": [10_000, 19_999],
                "wan_ip": { "own": { "v4": "203.0.113.11", "v6": null } },
                "mesh": "10.0.0.1:7443",
                "sip": [
                    { "transport": "udp", "address": "203.0.113.5:5060" },
                    { "transport": "udp", "address": "127.0.0.1:5060" },
                    { "transport": "udp", "address": "192.168.0.1:5060" },
                    { "transport": "udp", "address": "10.0.0.1:5060" },
                    { "transport": "udp", "address": "[fd00::1]:5060" },
                ],
            })
        };
        let list = json!({ "members": [
            member("fe-1", "member", false), member("be-1", "relay", false),
            member("fe-9", "member", true),
        ]});
        let vip = pair(&["203.0.113.5".parse().unwrap()]).unwrap();
        let members = of_cluster(&list, vip).unwrap();
        assert_eq!(members.len(), 1);
        let expected =
            parse("name=fe-1,lan=10.0.0.1,lan=fd00::1,wan=203.0.113.11,ports=10000-19999");
        assert_eq!(members[0], expected.unwrap());
        let mut told = member("fe-1", "member", false);
        told["sip"] = json!([{ "transport": "udp", "address": "203.0.113.5:5060" }]);
        let members = of_cluster(&json!({ "members": [told] }), vip).unwrap();
        assert_eq!(members[0].lan.addresses(), ["10.0.0.1".parse::<IpAddr>().unwrap()]);
    }
}
