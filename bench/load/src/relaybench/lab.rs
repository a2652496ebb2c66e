//! Where the systems run: client-a, relay and client-b as namespaces joined by veth, or plain
//! loopback.
//!
//! ```text
//! client-a 10.77.1.2 --- 10.77.1.1 relay 10.77.2.1 --- 10.77.2.2 client-b
//!                        10.77.0.1       10.77.0.2
//! ```
//!
//! The relay has an address for either side, so that one side's ports do not take the other's; the
//! clients reach these and, through the relay's kernel, each other. Received packets
//! are processed on the core of the side that they go to (receive packet steering), as a network
//! card with an interrupt of its own would have it: without that, the sender's core would do the
//! relay's receive work, and the relay's core the sink's.

use std::net::{Ipv4Addr, UdpSocket};
use std::ops::RangeInclusive;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::ids::Side;
use crate::media::sockets::{Binder, Pair};
use crate::relaybench::netns::{self, Namespace};
use crate::relaybench::udp_hash;

/// What the packets pass between generator and relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Topology {
    /// Namespaces and veth if this process may make them, else loopback.
    Auto,
    /// Namespaces joined by veth; needs root.
    Namespaces,
    /// This machine's loopback device; needs no rights.
    Loopback,
}

/// Where the relay stands in the namespaces, by side.
const RELAY: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(10, 77, 0, 2)];
const NETWORKS: [&str; 2] = ["10.77.1", "10.77.2"];
const CLIENTS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 77, 1, 2), Ipv4Addr::new(10, 77, 2, 2)];

/// Where the members of a farm stand.
const FARM: [Ipv4Addr; 3] = [RELAY[0], RELAY[1], Ipv4Addr::new(10, 77, 0, 3)];
const LOOPBACK_FARM: [Ipv4Addr; 3] =
    [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 4), Ipv4Addr::new(127, 0, 0, 5)];

const LOOPBACK_RELAY: [Ipv4Addr; 2] = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 4)];
const LOOPBACK_CLIENTS: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];

/// Addresses of the caller's network as the public Internet would see it (RFC 5737), for who is
/// behind NAT, and for a stranger.
const PUBLIC_NETWORK: &str = "198.51.100.0/24";
const PUBLIC: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const STRANGER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 66);
const LOOPBACK_STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);

/// For ng and SIP, in a namespace that nobody else uses.
const CONTROL_PORTS: [u16; 2] = [1_222, 1_060];

/// Buckets of the kernel's table of UDP sockets (`udp_hash_entries`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UdpHash {
    /// A table of the relay's namespace alone, with so many buckets.
    Own(u32),
    /// Whatever the system gives a namespace: usually the one table that all share.
    System,
}

/// The cores of both sides.
#[derive(Clone, Debug)]
pub(crate) struct CorePlan {
    pub(crate) relay: usize,
    pub(crate) generator: Vec<usize>,
    /// How many there are to choose from.
    pub(crate) available: usize,
}

/// The place of a benchmark.
#[derive(Debug)]
pub(crate) struct Lab {
    hosts: Option<Hosts>,
    /// Why loopback was taken in place of namespaces.
    pub(crate) fallback: Option<String>,
    pub(crate) cores: CorePlan,
    /// Buckets of the table of UDP sockets where the relay is, and whether others share it; `None`
    /// if the kernel does not say.
    pub(crate) udp_hash: Option<(u32, bool)>,
}

#[derive(Debug)]
struct Hosts {
    relay: Namespace,
    /// By side.
    clients: [Namespace; 2],
}

impl Lab {
    /// Makes the place, after removing what killed runs have left behind.
    ///
    /// # Errors
    /// Namespaces were asked for and cannot be made.
    pub(crate) fn make(topology: Topology, cores: CorePlan, hash: UdpHash) -> Result<Lab> {
        let (hosts, fallback) = match topology {
            Topology::Loopback => (None, None),
            Topology::Namespaces => (Some(Hosts::make(&cores, hash)?), None),
            Topology::Auto => match Hosts::make(&cores, hash) {
                Ok(hosts) => (Some(hosts), None),
                Err(error) => (None, Some(format!("{error:#}"))),
            },
        };
        let udp_hash = match &hosts {
            Some(hosts) => hosts.relay.enter(|| Ok(udp_hash::entries()))?,
            None => udp_hash::entries(),
        };
        Ok(Lab { hosts, fallback, cores, udp_hash })
    }

    /// [`Topology::Namespaces`] or [`Topology::Loopback`].
    pub(crate) const fn topology(&self) -> Topology {
        if self.hosts.is_some() { Topology::Namespaces } else { Topology::Loopback }
    }

    /// The addresses that a relay is to use, by side.
    pub(crate) const fn relay_addresses(&self) -> [Ipv4Addr; 2] {
        if self.hosts.is_some() { RELAY } else { LOOPBACK_RELAY }
    }

    /// Addresses for the members of a farm, where a relay runs.
    ///
    /// # Errors
    /// The third cannot be given to the relay's namespace.
    pub(crate) fn farm_addresses(&self) -> Result<[Ipv4Addr; 3]> {
        let Some(hosts) = &self.hosts else { return Ok(LOOPBACK_FARM) };
        let third = FARM[2];
        hosts.relay.ip(&format!("address replace {third}/32 dev lo"))?;
        Ok(FARM)
    }

    /// The namespace that a relay runs in, if it is not this process's own.
    pub(crate) fn relay_host(&self) -> Option<&Namespace> {
        self.hosts.as_ref().map(|hosts| &hosts.relay)
    }

    fn client(&self, side: Side) -> (Ipv4Addr, Option<&Namespace>) {
        match &self.hosts {
            Some(hosts) => (CLIENTS[side.index()], Some(&hosts.clients[side.index()])),
            None => (LOOPBACK_CLIENTS[side.index()], None),
        }
    }

    /// The address of the clients of `side`.
    pub(crate) fn client_address(&self, side: Side) -> Ipv4Addr {
        self.client(side).0
    }

    /// Another address of the caller's host, which is nobody's peer.
    pub(crate) const fn stranger_address(&self) -> Ipv4Addr {
        if self.hosts.is_some() { STRANGER } else { LOOPBACK_STRANGER }
    }

    /// The address that the caller's network would have on the Internet if it were behind NAT; there
    /// is none like that on loopback.
    pub(crate) const fn public_address(&self) -> Option<Ipv4Addr> {
        if self.hosts.is_some() { Some(PUBLIC) } else { None }
    }

    /// Runs `work` where the clients of `side` are; it is given their address.
    pub(crate) fn at_client<T: Send>(
        &self,
        side: Side,
        work: impl FnOnce(Ipv4Addr) -> Result<T> + Send,
    ) -> Result<T> {
        match self.client(side) {
            (address, Some(host)) => host.enter(|| work(address)),
            (address, None) => work(address),
        }
    }

    /// Two UDP ports of the relay's first address that are free now, outside of its media ports.
    pub(crate) fn control_ports(&self) -> Result<[u16; 2]> {
        if self.hosts.is_some() {
            return Ok(CONTROL_PORTS);
        }
        let [address, _] = self.relay_addresses();
        let bind = || UdpSocket::bind((address, 0)).context("looking for a free port");
        // Both at once, so that they differ.
        let sockets = [bind()?, bind()?];
        let mut ports = [0; 2];
        for (port, socket) in ports.iter_mut().zip(&sockets) {
            *port = socket.local_addr().context("a free port")?.port();
        }
        Ok(ports)
    }

    /// Where relays may take their media ports: in a namespace all that is above [`CONTROL_PORTS`],
    /// which has room for 16,000 sessions with four ports a side, else what
    /// is below the ports that the kernel gives away (`ip_local_port_range`).
    pub(crate) const fn media_ports(&self) -> RangeInclusive<u16> {
        if self.hosts.is_some() { 1_300..=65_535 } else { 10_000..=29_999 }
    }

    /// `count` pairs of media sockets where the clients of `side` are.
    pub(crate) fn media_sockets(&self, side: Side, count: usize) -> Result<Vec<Pair>> {
        self.at_client(side, |address| {
            let mut binder = Binder::new(address, None);
            (0..count).map(|_| binder.pair()).collect()
        })
    }
}

impl Hosts {
    fn make(cores: &CorePlan, hash: UdpHash) -> Result<Hosts> {
        netns::sweep();
        let relay = match hash {
            UdpHash::Own(buckets) => udp_hash::of_children(buckets, || Namespace::create("relay"))?,
            UdpHash::System => Namespace::create("relay")?,
        };
        let clients = [Namespace::create("client-a")?, Namespace::create("client-b")?];
        let hosts = Hosts { relay, clients };
        for address in RELAY {
            hosts.relay.ip(&format!("address add {address}/32 dev lo"))?;
        }
        for (side, network) in NETWORKS.iter().enumerate() {
            hosts.join(side, network)?;
            hosts.steer(side, cores).context("steering received packets to cores")?;
        }
        let [caller, _] = CLIENTS;
        for address in [PUBLIC, STRANGER] {
            hosts.clients[0].ip(&format!("address add {address}/32 dev lo"))?;
        }
        hosts.relay.ip(&format!("route add {PUBLIC_NETWORK} via {caller}"))?;
        hosts.relay.shell("echo 1 > /proc/sys/net/ipv4/ip_forward")?;
        Ok(hosts)
    }

    fn join(&self, side: usize, network: &str) -> Result<()> {
        let (relay, client) = (&self.relay, &self.clients[side]);
        let name = client.name();
        relay.ip(&format!("link add veth{side} type veth peer name eth0 netns {name}"))?;
        relay.ip(&format!("address add {network}.1/24 dev veth{side}"))?;
        client.ip(&format!("address add {network}.2/24 dev eth0"))?;
        relay.ip(&format!("link set veth{side} up"))?;
        client.ip("link set eth0 up")?;
        client.ip(&format!("route add default via {network}.1"))
    }

    fn steer(&self, side: usize, cores: &CorePlan) -> Result<()> {
        let steer = |host: &Namespace, device: &str, cores: &[usize]| -> Result<()> {
            let mask = mask(cores)?;
            host.shell(&format!(
                "for queue in /sys/class/net/{device}/queues/rx-*; do echo {mask} > $queue/rps_cpus || exit 1; done"
            ))
        };
        steer(&self.relay, &format!("veth{side}"), &[cores.relay])?;
        steer(&self.clients[side], "eth0", &cores.generator)
    }
}

/// Most cores that a mask can name here: the kernel reads it in words of 32 bits, and one must do.
const CORES_MAX: usize = 32;

fn mask(cores: &[usize]) -> Result<String> {
    let mut mask = 0u32;
    for &core in cores {
        ensure!(core < CORES_MAX, "core {core}: only cores below {CORES_MAX} can be steered to");
        mask |= 1 << core;
    }
    Ok(format!("{mask:x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_become_a_mask_as_the_kernel_reads_it() {
        assert_eq!(mask(&[0]).unwrap(), "1");
        assert_eq!(mask(&[1, 5]).unwrap(), "22");
        assert!(mask(&[32]).is_err());
    }
}
