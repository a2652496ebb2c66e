//! Counts packets with nftables: exact, in the kernel, and blind to who sends and who receives.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use super::{Lab, run};

/// The packets of one direction: UDP from a host to a host's range of ports, counted where they
/// arrive.
#[derive(Clone, Debug)]
pub(crate) struct Direction {
    pub(crate) name: &'static str,
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    pub(crate) ports: RangeInclusive<u16>,
    /// Ends the packets here, after they are counted. For a peer whose player has no socket on the
    /// port it plays from: the answers would only provoke ICMP errors that no phone would send.
    pub(crate) swallow: bool,
}

/// Counters on the hosts of a network, one a [`Direction`].
pub(crate) struct Meter<'a> {
    lab: &'a Lab,
    directions: Vec<Direction>,
}

impl<'a> Meter<'a> {
    /// Starts to count.
    pub(crate) fn start(lab: &'a Lab, directions: &[Direction]) -> Meter<'a> {
        super::require("nft");
        for Direction { name, from, to, ports, swallow } in directions {
            let (first, last, verdict) =
                (ports.start(), ports.end(), if *swallow { "drop" } else { "accept" });
            let family = if from.is_ipv4() { "ip" } else { "ip6" };
            let ruleset = format!(
                "table inet {name} {{\ncounter seen {{}}\nchain input {{\ntype filter hook input priority 0;\n\
                 {family} saddr {from} udp dport {first}-{last} counter name seen {verdict}\n}}\n}}"
            );
            run(lab.host(*to).command("nft").arg(ruleset));
        }
        Meter { lab, directions: directions.to_vec() }
    }

    /// Starts to count the TCP segments with at most a few bytes of content: signs of life (RFC 5626 3.5.1)
    /// and no SIP.
    pub(crate) fn of_short_segments(
        lab: &'a Lab,
        name: &'static str,
        from: Ipv4Addr,
        to: Ipv4Addr,
    ) -> Meter<'a> {
        super::require("nft");
        let ruleset = format!(
            "table inet {name} {{\ncounter seen {{}}\nchain input {{\ntype filter hook input priority 0;\n\
             ip saddr {from} tcp flags & psh == psh ip length < 64 counter name seen\n}}\n}}"
        );
        run(lab.host(to).command("nft").arg(ruleset));
        let (from, to) = (from.into(), to.into());
        let direction = Direction { name, from, to, ports: 0..=u16::MAX, swallow: false };
        Meter { lab, directions: vec![direction] }
    }

    /// Packets counted so far in the direction of this name.
    pub(crate) fn packets(&self, name: &str) -> u64 {
        let direction = self.directions.iter().find(|direction| direction.name == name);
        let to = direction.unwrap_or_else(|| panic!("no direction {name} is metered")).to;
        let listing = run(self
            .lab
            .host(to)
            .command("nft")
            .args(["-j", "list", "counter", "inet", name, "seen"]));
        let json: serde_json::Value = serde_json::from_str(&listing)
            .unwrap_or_else(|e| panic!("nft printed no JSON ({e}): {listing}"));
        json["nftables"]
            .as_array()
            .and_then(|items| items.iter().find_map(|item| item["counter"]["packets"].as_u64()))
            .unwrap_or_else(|| panic!("nft has no counter {name}: {listing}"))
    }
}
