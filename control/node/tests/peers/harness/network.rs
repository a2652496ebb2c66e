//! The hosts of a test: one namespace each, all on one bridge.

use std::net::{IpAddr, Ipv4Addr};

use super::{CALLEE, CALLER, NODE, NODE_OUTSIDE, Namespace, OUTSIDE, PROXY, run, v6};

/// The bridge, in the node's namespace: every packet to or from the node passes it, and no other.
pub(crate) const BRIDGE: &str = "br0";

/// What hosts behind a NAT are seen as: an address of the Internet.
const NAT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

/// Hosts with an address of each family. A peer that leaves its source address to the system, as some do for
/// media, sends from its own: with all addresses in one namespace it would send from the node's.
pub(crate) struct Network {
    node: Namespace,
    peers: [(Ipv4Addr, Namespace); 3],
    /// Hosts behind a NAT, by their own addresses.
    private: Vec<(Ipv4Addr, Namespace)>,
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
        Network { node, peers, private: Vec::new() }
    }

    /// Puts a host with this address (x.y.z.w/24, not ending in 1) behind the peer `nat`, which
    /// translates: what the host sends comes from [`NAT`], and only what answers it goes back.
    pub(crate) fn put_behind(&mut self, nat: Ipv4Addr, address: Ipv4Addr) {
        let host = Namespace::create();
        let [a, b, c, d] = address.octets();
        let (gateway, device) = (Ipv4Addr::new(a, b, c, 1), format!("in{d}"));
        let router = self.host(nat);
        host.ip(&format!("link add eth0 type veth peer name {device} netns {}", router.name()));
        host.ip(&format!("address add {address}/24 dev eth0"));
        host.ip("link set eth0 up");
        host.ip(&format!("route add default via {gateway}"));
        router.ip(&format!("address add {gateway}/32 dev {device}"));
        router.ip(&format!("link set {device} up"));
        router.ip(&format!("route add {address}/32 dev {device}"));
        run(router.command("sysctl").args(["-q", "-w", "net.ipv4.ip_forward=1"]));
        run(router.command("nft").arg(format!(
            "table ip nat_{d} {{\nchain out {{\ntype nat hook postrouting priority 100\n\
             ip saddr {address} oifname eth0 snat to {NAT}\n}}\n}}"
        )));
        router.ip(&format!("address replace {NAT}/32 dev lo"));
        self.node.ip(&format!("route replace {NAT}/32 via {nat}"));
        self.private.push((address, host));
    }

    /// The host with this address.
    pub(crate) fn host(&self, address: impl Into<IpAddr>) -> &Namespace {
        let address = address.into();
        let has = |host: Ipv4Addr| {
            address == host || address == v6(host) || (host == PROXY && address == OUTSIDE)
        };
        let mut all = self.peers.iter().chain(&self.private);
        let peer = all.find(|(of, _)| has(*of));
        peer.map_or(&self.node, |(_, namespace)| namespace)
    }
}

/// A host's addresses in the inside network, one a family.
fn addresses(host: &Namespace, device: &str, v4: Ipv4Addr) {
    host.ip(&format!("address add {v4}/24 dev {device}"));
    // nodad: nobody else has it, and it can be bound at once.
    host.ip(&format!("address add {}/64 dev {device} nodad", v6(v4)));
}
