//! The hosts and the wires between them.

use anyhow::{Context, Result};
use load::relaybench::netns::Namespace;

use crate::plan::{
    BACKENDS, CLIENT, ENGINE, FRONTENDS, Family, GATEWAY, Method, Pair, ROUTER, SECRET_CLIENT, VIP,
    inside, mac, outside, public,
};
use crate::process;

/// The device by which each host is on its network.
pub(crate) const DEVICE: &str = "eth0";
/// The device that leads to the clients.
pub(crate) const OUT: &str = "out";

/// What every host has set before it gets an address: no check for a second owner of an address (which
/// takes a second), no packets dropped for where they come from.
const CALM: [&str; 5] = [
    "net.ipv6.conf.all.accept_dad=0",
    "net.ipv6.conf.default.accept_dad=0",
    "net.ipv6.conf.all.forwarding=0",
    "net.ipv4.conf.all.rp_filter=0",
    "net.ipv4.conf.default.rp_filter=0",
];

/// All hosts of a topology.
#[derive(Debug)]
pub(crate) struct Segment {
    method: Method,
    pub(crate) clients: Namespace,
    /// What stands between clients and frontends; the balancer, where it stands there.
    router: Option<Namespace>,
    pub(crate) balancer: Namespace,
    switch: Namespace,
    members: Vec<(u8, Namespace)>,
    pub(crate) engine: Namespace,
}

impl Segment {
    /// Makes the hosts.
    ///
    /// # Errors
    /// This process may not make network namespaces, or `ip` refuses something.
    pub(crate) fn create(method: Method) -> Result<Segment> {
        let host = |role: &str| -> Result<Namespace> {
            let host = Namespace::create(role)?;
            sysctl(&host, &CALM)?;
            Ok(host)
        };
        let members = FRONTENDS.into_iter().chain(BACKENDS);
        let members = members.map(|number| Ok((number, host(&format!("m{number}"))?)));
        let segment = Segment {
            method,
            clients: host("clients")?,
            router: (method == Method::Dsr).then(|| host("router")).transpose()?,
            balancer: host("balancer")?,
            switch: host("switch")?,
            members: members.collect::<Result<_>>()?,
            engine: host("engine")?,
        };
        segment.switch.ip("link add br0 type bridge")?;
        segment.switch.ip("link set br0 gso_max_segs 1 up")?;
        segment.plug(&segment.engine, ENGINE)?;
        give(&segment.engine, DEVICE, inside(ENGINE))?;
        segment.wire_outside()?;
        segment.members.iter().try_for_each(|(number, host)| segment.wire_member(*number, host))?;
        Ok(segment)
    }

    /// What clients reach everything else by.
    pub(crate) fn gate(&self) -> &Namespace {
        self.router.as_ref().unwrap_or(&self.balancer)
    }

    /// The host of a member.
    pub(crate) fn member(&self, number: u8) -> Result<&Namespace> {
        let found = self.members.iter().find(|(of, _)| *of == number);
        found.map(|(_, host)| host).with_context(|| format!("there is no host {number}"))
    }

    /// Connects a host to the members' segment.
    fn plug(&self, host: &Namespace, number: u8) -> Result<()> {
        let (mac, port, switch) = (mac(number), format!("port{number}"), self.switch.name());
        host.ip(&format!(
            "link add {DEVICE} address {mac} type veth peer name {port} netns {switch}"
        ))?;
        host.ip(&format!("link set {DEVICE} gso_max_segs 1 up"))?;
        self.switch.ip(&format!("link set {port} master br0 up"))
    }

    /// Clients, and what they reach everything else by.
    fn wire_outside(&self) -> Result<()> {
        let gate = self.gate();
        let clients = &self.clients;
        gate.ip(&format!("link add {OUT} type veth peer name {DEVICE} netns {}", clients.name()))?;
        gate.ip(&format!("link set {OUT} gso_max_segs 1 up"))?;
        clients.ip(&format!("link set {DEVICE} gso_max_segs 1 up"))?;
        give(gate, OUT, outside(GATEWAY))?;
        give(clients, DEVICE, outside(CLIENT))?;
        give(clients, DEVICE, outside(SECRET_CLIENT))?;
        leave(clients, outside(GATEWAY))?;
        sysctl(gate, &["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"])?;
        self.plug(&self.balancer, GATEWAY)?;
        give(&self.balancer, DEVICE, inside(GATEWAY))?;
        match self.method {
            Method::SingleIpNat | Method::MultiIpNat => own(&self.balancer, "lo", VIP),
            Method::MultiIp => {
                give(&self.balancer, DEVICE, public(GATEWAY))?;
                own(&self.balancer, "lo", VIP)
            }
            Method::Dsr => {
                self.plug(gate, ROUTER)?;
                give(gate, DEVICE, public(ROUTER))?;
                give(&self.balancer, DEVICE, public(GATEWAY))?;
                // It answers for the shared address (ARP, neighbour discovery).
                own(&self.balancer, DEVICE, VIP)?;
                leave(&self.balancer, public(ROUTER))
            }
        }
    }

    fn wire_member(&self, number: u8, host: &Namespace) -> Result<()> {
        self.plug(host, number)?;
        give(host, DEVICE, inside(number))?;
        if !FRONTENDS.contains(&number) {
            // No way out.
            return Ok(());
        }
        if self.method.is_public() {
            give(host, DEVICE, public(number))?;
        }
        match self.method {
            Method::SingleIpNat | Method::MultiIpNat => leave(host, inside(GATEWAY)),
            Method::MultiIp => leave(host, public(GATEWAY)),
            Method::Dsr => {
                leave(host, public(ROUTER))?;
                // S48: silent about the shared address, which is an alias of loopback (S44).
                sysctl(
                    host,
                    &["net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.all.arp_announce=2"],
                )?;
                own(host, "lo", VIP)
            }
        }
    }
}

/// Gives a device an address of its network.
fn give(host: &Namespace, device: &str, pair: Pair) -> Result<()> {
    host.ip(&format!("address add {}/24 dev {device}", pair.v4))?;
    host.ip(&format!("-6 address add {}/64 dev {device} nodad", pair.v6))
}

/// Gives a device an address alone.
fn own(host: &Namespace, device: &str, pair: Pair) -> Result<()> {
    host.ip(&format!("address add {}/32 dev {device}", pair.v4))?;
    host.ip(&format!("-6 address add {}/128 dev {device} nodad", pair.v6))
}

/// Everything else is reached by `gateway`.
fn leave(host: &Namespace, gateway: Pair) -> Result<()> {
    host.ip(&format!("route add default via {}", gateway.ip(Family::Ipv4)))?;
    host.ip(&format!("-6 route add default via {}", gateway.ip(Family::Ipv6)))
}

fn sysctl(host: &Namespace, settings: &[&str]) -> Result<()> {
    process::run(host.command("sysctl").args(["-q", "-w"]).args(settings)).map(drop)
}
