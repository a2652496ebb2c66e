//! The hosts of a test: one namespace each, all on one bridge.

use std::net::{IpAddr, Ipv4Addr};

use super::{CALLEE, CALLER, NODE, NODE_OUTSIDE, Namespace, OUTSIDE, PROXY, v6};

/// The bridge, in the node's namespace: every packet to or from the node passes it, and no other.
pub(crate) const BRIDGE: &str = "br0";

/// Hosts with an address of each family. A peer that leaves its source address to the system, as some do for
/// media, sends from its own: with all addresses in one namespace it would send from the node's.
pub(crate) struct Network {
    node: Namespace,
    peers: [(Ipv4Addr, Namespace); 3],
}

impl Network {
    pub(crate) fn create() -> Network {
        let node = Namespace::create();
        node.ip(&format!("link add {BRIDGE} type bridge"));
        addresses(&node, BRIDGE, NODE);
        node.ip(&format!("address add {NODE_OUTSIDE}/24 dev {BRIDGE}"));
        // Packets that the node has handed to the kernel as one (UDP_SEGMENT) would cross to the other
        // namespaces as one, as they cross no wire, and be counted as one.
        node.ip(&format!("link set {BRIDGE} gso_max_segs 1 up"));
        let peers = [CALLER, CALLEE, PROXY].map(|address| (address, Namespace::create()));
        for (number, (address, peer)) in peers.iter().enumerate() {
            let port = format!("port{number}");
            peer.ip(&format!("link add eth0 type veth peer name {port} netns {}", node.name()));
            addresses(peer, "eth0", *address);
            if *address == PROXY {
                peer.ip(&format!("address add {OUTSIDE}/24 dev eth0"));
            }
            peer.ip("link set eth0 up");
            node.ip(&format!("link set {port} master {BRIDGE} up"));
        }
        Network { node, peers }
    }

    /// The host with this address.
    pub(crate) fn host(&self, address: impl Into<IpAddr>) -> &Namespace {
        let address = address.into();
        let has = |host: Ipv4Addr| {
            address == host || address == v6(host) || (host == PROXY && address == OUTSIDE)
        };
        let peer = self.peers.iter().find(|(of, _)| has(*of));
        peer.map_or(&self.node, |(_, namespace)| namespace)
    }
}

/// A host's addresses in the inside network, one a family.
fn addresses(host: &Namespace, device: &str, v4: Ipv4Addr) {
    host.ip(&format!("address add {v4}/24 dev {device}"));
    // nodad: nobody else has it, and it can be bound at once.
    host.ip(&format!("address add {}/64 dev {device} nodad", v6(v4)));
}
