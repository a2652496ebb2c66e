//! A balancer that knows nothing of SIP: every datagram to the shared address goes to a random frontend, every
//! connection as a whole, too (rows S27, S31).
//!
//! Frontends hold the shared address themselves and answer from it (direct server return), so that the
//! balancer changes nothing of a packet but the address of the next machine, and sees no answers.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::harness::{Namespace, run};
use crate::lab::{SEGMENT_MAC, VIP, mac};

/// What stays when the frontends change: which connection goes where. One that its frontend has ended is
/// forgotten after a while.
const CONNECTIONS: &str = "map connections {\ntype ipv4_addr . inet_service : ether_addr\nsize 65536\n\
                           flags dynamic,timeout\ntimeout 1h\n}\n";

/// The balancer of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spreader;

impl Spreader {
    /// Spreads over these frontends from now on, at least one. What is on its way arrives, and connections
    /// stay where they are.
    pub(crate) fn over(self, segment: &Namespace, frontends: &[Ipv4Addr]) {
        run(segment.command("nft").arg(ruleset(frontends)));
    }

    /// Datagrams sent to this frontend since the frontends changed last.
    pub(crate) fn datagrams(self, segment: &Namespace, frontend: Ipv4Addr) -> u64 {
        let chain = chain(frontend);
        let listing =
            run(segment.command("nft").args(["-j", "list", "chain", "netdev", "spread", &chain]));
        let json: serde_json::Value = serde_json::from_str(&listing)
            .unwrap_or_else(|e| panic!("nft printed no JSON ({e}): {listing}"));
        let rules = json["nftables"].as_array().into_iter().flatten();
        let mut counters = rules.flat_map(|item| item["rule"]["expr"].as_array().cloned());
        let counted = counters.find_map(|rule| {
            rule.iter().find_map(|expression| expression["counter"]["packets"].as_u64())
        });
        counted.unwrap_or_else(|| panic!("nft does not count in {chain}: {listing}"))
    }
}

fn chain(frontend: Ipv4Addr) -> String {
    format!("to_{}", frontend.octets()[3])
}

/// Replaces the rules in one step. The shared address is the bridge's own, so that it is asked for it
/// (ARP), and what comes for it passes its ingress hook.
fn ruleset(frontends: &[Ipv4Addr]) -> String {
    let mut text = format!(
        "table netdev spread {{\n{CONNECTIONS}}}\nflush table netdev spread\ntable netdev spread {{\n"
    );
    for frontend in frontends {
        let (chain, mac) = (chain(*frontend), mac(*frontend));
        let forward =
            format!("ether saddr set {SEGMENT_MAC} ether daddr set {mac} fwd to \"br0\"\n");
        let _ = write!(
            text,
            "chain {chain} {{\ncounter {forward}}}\n\
             chain syn_{chain} {{\nupdate @connections {{ ip saddr . tcp sport : {mac} }} {forward}}}\n"
        );
    }
    let to = |prefix: &str| {
        let goto =
            |(number, to): (usize, &Ipv4Addr)| format!("{number} : goto {prefix}{}", chain(*to));
        let all: Vec<String> = frontends.iter().enumerate().map(goto).collect();
        format!("numgen random mod {} vmap {{ {} }}", frontends.len(), all.join(", "))
    };
    let (datagrams, connections) = (to(""), to("syn_"));
    let _ = write!(
        text,
        "chain in {{\ntype filter hook ingress device \"br0\" priority 0; policy accept;\n\
         ip daddr {VIP} udp dport 5060 {datagrams}\n\
         ip daddr {VIP} tcp flags & (syn | ack) == syn {connections}\n\
         ip daddr {VIP} meta l4proto tcp ether saddr set {SEGMENT_MAC} ether daddr set \
         ip saddr . tcp sport map @connections fwd to \"br0\"\n}}\n}}\n"
    );
    text
}
