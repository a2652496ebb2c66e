//! A balancer without any memory: every datagram to the shared address goes to a random frontend, every
//! connection to one that is as good as random (rows S27, S31).
//!
//! Frontends hold the shared address themselves and answer from it (direct server return), so that the
//! balancer changes nothing of a packet but the address of the next machine, and sees no answers.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::harness::{Namespace, run};
use crate::lab::{SEGMENT_MAC, VIP, mac};

/// Connections are spread over so many shares, by their clients' ports; those of a frontend that leaves go
/// to the others, and all other connections stay where they are. 60 divides by all small counts of frontends.
const SHARES: usize = 60;

/// The balancer of a segment.
pub(crate) struct Spreader {
    /// The frontend of each share.
    shares: RefCell<Vec<Ipv4Addr>>,
}

impl Spreader {
    pub(crate) const fn new() -> Spreader {
        Spreader { shares: RefCell::new(Vec::new()) }
    }

    /// Spreads over these frontends from now on, at least one. What is on its way arrives.
    pub(crate) fn over(&self, segment: &Namespace, frontends: &[Ipv4Addr]) {
        let mut shares = self.shares.borrow_mut();
        shares.resize(SHARES, Ipv4Addr::UNSPECIFIED);
        for (number, share) in shares.iter_mut().enumerate() {
            if !frontends.contains(share) {
                *share = frontends[number % frontends.len()];
            }
        }
        run(segment.command("nft").arg(ruleset(frontends, &shares)));
    }

    /// Datagrams sent to this frontend since the frontends changed last.
    pub(crate) fn datagrams(&self, segment: &Namespace, frontend: Ipv4Addr) -> u64 {
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
fn ruleset(frontends: &[Ipv4Addr], shares: &[Ipv4Addr]) -> String {
    let mut text =
        "table netdev spread {\n}\ndelete table netdev spread\ntable netdev spread {\n".to_owned();
    for frontend in frontends {
        let (chain, mac) = (chain(*frontend), mac(*frontend));
        let _ = write!(
            text,
            "chain {chain} {{\ncounter ether saddr set {SEGMENT_MAC} ether daddr set {mac} fwd to \"br0\"\n}}\n"
        );
    }
    let goto = |(number, to): (usize, &Ipv4Addr)| format!("{number} : goto {}", chain(*to));
    let datagrams: Vec<String> = frontends.iter().enumerate().map(goto).collect();
    let connections = |(number, to): (usize, &Ipv4Addr)| format!("{number} : {}", mac(*to));
    let connections: Vec<String> = shares.iter().enumerate().map(connections).collect();
    let _ = write!(
        text,
        "chain in {{\ntype filter hook ingress device \"br0\" priority 0; policy accept;\n\
         ip daddr {VIP} udp dport 5060 numgen random mod {} vmap {{ {} }}\n\
         ip daddr {VIP} meta l4proto tcp counter ether saddr set {SEGMENT_MAC} ether daddr set \
         jhash ip saddr . tcp sport mod {SHARES} seed 0x5060 map {{ {} }} fwd to \"br0\"\n}}\n}}\n",
        frontends.len(),
        datagrams.join(", "),
        connections.join(", "),
    );
    text
}
