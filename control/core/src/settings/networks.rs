//! `[[media.networks]]`: peers that are served on, and told, other media addresses than the rest.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::pair::AddressPair;
use super::problem::Wrong;
use super::read::{Reader, Text};
use super::table::{Rules, settings_table};
use super::values::{name, text_values};

settings_table! {
    /// A network of peers.
    entry Network {
        /// What it is called: letters, digits, dots, hyphens and underscores, at most 64.
        drain name: NetworkName = required("\"inside\"");

        /// Networks or addresses that the SIP of its peers comes from or goes to. Where several
        /// networks hold an address, the one with the longest prefix has it.
        drain peers: Vec<IpNet> = required("[\"10.0.0.0/8\", \"fd00::/8\"]");

        /// The local address that media of its peers uses: one IPv4 address, one IPv6 address or
        /// both. Absent, for either family: as for peers of no network (see media.addresses).
        drain address: Option<AddressPair> = usual("\"10.0.0.5\"");

        /// What its peers are told instead, where a NAT or a balancer stands before that address.
        /// Absent: media.wan_ip, else media.cluster_wan_ip, else the local address; so where there is
        /// a WAN IP that these peers do not need, write the local address here.
        drain advertise: Option<AddressPair> = optional("\"10.0.0.5\"");
    }
}

text_values!(NetworkName);

/// The name of a network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NetworkName(String);

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Text for NetworkName {
    fn parse(text: &str) -> Result<NetworkName, Wrong> {
        name(text, "a network").map(NetworkName)
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// Most networks: a member faces a handful.
const NETWORKS_MAX: usize = 64;

/// Most entries of `peers` in all networks: each leg of a new call is compared with all of them, some
/// nanoseconds each, which have to stay less than what a call takes to set up anyway.
const PEERS_MAX: usize = 1_024;

/// The network that `peer` belongs to: the one with the longest prefix that holds it.
#[must_use]
pub(super) fn network_of(networks: &[Network], peer: IpAddr) -> Option<&Network> {
    let longest = |network: &Network| {
        let holding = network.peers.iter().filter(|net| net.contains(&peer));
        holding.map(IpNet::prefix_len).max()
    };
    let found = networks.iter().filter_map(|network| Some((longest(network)?, network)));
    found.max_by_key(|(prefix, _)| *prefix).map(|(_, network)| network)
}

/// No name and no prefix twice, and few enough of both.
pub(super) fn check(networks: &[Network], path: &str, reader: &mut Reader) {
    let peers: usize = networks.iter().map(|network| network.peers.len()).sum();
    for (count, most, what) in
        [(networks.len(), NETWORKS_MAX, "networks"), (peers, PEERS_MAX, "peers of networks")]
    {
        if count > most {
            let wrong =
                Wrong::new(format!("{count} {what} are listed"), format!("list at most {most}"));
            return reader.tell(path, wrong);
        }
    }
    let mut names = BTreeMap::new();
    let mut prefixes: BTreeMap<IpNet, String> = BTreeMap::new();
    for (index, network) in networks.iter().enumerate() {
        let entry = reader.places.entry(path, index);
        if let Some(first) = names.insert(&network.name, format!("{entry}.name")) {
            let what = format!(
                "{} is the name of two networks ({})",
                network.name,
                reader.places.line_of(&first)
            );
            reader.tell(&format!("{entry}.name"), Wrong::new(what, "give each its own name"));
        }
        for (peer, net) in network.peers.iter().enumerate() {
            let at = reader.places.entry(&format!("{entry}.peers"), peer);
            let Some(first) = prefixes.insert(*net, at.clone()) else { continue };
            let line = reader.places.line_of(&first);
            let what = format!(
                "{net} is listed before ({line}), and its peers can belong to one network only"
            );
            reader.tell(&at, Wrong::new(what, "keep one of the two, or make one prefix longer"));
        }
    }
}

impl Rules for Network {
    fn check(&self, path: &str, reader: &mut Reader) {
        if self.peers.is_empty() && reader.sound(&[&format!("{path}.peers")]) {
            let wrong = Wrong::new("is empty, so the network is nobody's", "list its peers");
            reader.tell(&format!("{path}.peers"), wrong);
        }
        let address = self.address.unwrap_or_default();
        if address == AddressPair::default() {
            return;
        }
        let advertised = self.advertise.unwrap_or_default().addresses();
        for alone in advertised.into_iter().filter(|told| address.like(*told).is_none()) {
            let family = if alone.is_ipv4() { "IPv4" } else { "IPv6" };
            let what =
                format!("{alone} stands for no local address: `address` has none of {family}");
            let fix = format!("add the {family} address of this host to `address`");
            reader.tell(&format!("{path}.advertise"), Wrong::new(what, fix));
        }
    }
}
