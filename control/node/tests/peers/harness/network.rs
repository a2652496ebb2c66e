//! The hosts of a test: one namespace each, all on one bridge.

use std::net::Ipv4Addr;

use super::{CALLEE, CALLER, NODE, Namespace, PROXY};

/// The bridge, in the node's namespace: every packet to or from the node passes it, and no other.
pub(crate) const BRIDGE: &str = "br0";

/// Hosts with an address each. A peer that leaves its source address to the system, as some do for
/// media, sends from its own: with all addresses in one namespace it would send from the node's.
pub(crate) struct Network {
    node: Namespace,
    peers: [(Ipv4Addr, Namespace); 3],
}

impl Network {
    pub(crate) fn create() -> Network {
        let node = Namespace::create();
        node.ip(&format!("link add {BRIDGE} type bridge"));
        node.ip(&format!("address add {NODE}/24 dev {BRIDGE}"));
        node.ip(&format!("link set {BRIDGE} up"));
        let peers = [CALLER, CALLEE, PROXY].map(|address| (address, Namespace::create()));
        for (number, (address, peer)) in peers.iter().enumerate() {
            let port = format!("port{number}");
            peer.ip(&format!("link add eth0 type veth peer name {port} netns {}", node.name()));
            peer.ip(&format!("address add {address}/24 dev eth0"));
            peer.ip("link set eth0 up");
            node.ip(&format!("link set {port} master {BRIDGE} up"));
        }
        Network { node, peers }
    }

    /// The host with this address.
    pub(crate) fn host(&self, address: Ipv4Addr) -> &Namespace {
        let peer = self.peers.iter().find(|(of, _)| *of == address);
        peer.map_or(&self.node, |(_, namespace)| namespace)
    }
}
