//! The network segment of a farm.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::thread;

use tempfile::TempDir;

use crate::engine::Engine;
use crate::harness::tls::certificate_for;
use crate::harness::{CALLEE, CALLER, DOMAIN, Namespace, PROXY, Place, Transport, run};
use crate::member::{Member, OPEN, wait_met};
use crate::spreader::Spreader;

/// The address that all frontends share.
pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
/// Frontends; tests start as many of them as they need.
pub(crate) const FRONTENDS: [Ipv4Addr; 4] = [
    Ipv4Addr::new(10, 77, 0, 11),
    Ipv4Addr::new(10, 77, 0, 12),
    Ipv4Addr::new(10, 77, 0, 13),
    Ipv4Addr::new(10, 77, 0, 14),
];
/// Backends.
pub(crate) const BACKENDS: [Ipv4Addr; 2] =
    [Ipv4Addr::new(10, 77, 0, 21), Ipv4Addr::new(10, 77, 0, 22)];
/// The engine's servers: one host has them all.
pub(crate) const ENGINE: [Ipv4Addr; 3] =
    [Ipv4Addr::new(10, 77, 0, 41), Ipv4Addr::new(10, 77, 0, 42), Ipv4Addr::new(10, 77, 0, 43)];

/// The hardware address of the balancer.
pub(crate) const SEGMENT_MAC: &str = "02:00:00:00:00:01";

/// The hardware address of the host with this address.
pub(crate) fn mac(host: Ipv4Addr) -> String {
    format!("02:00:00:00:00:{:02x}", host.octets()[3])
}

/// One segment: hosts on a bridge, which is the balancer, too. What a test that was killed has left
/// behind goes with the next test's start (see [`Namespace::create`]).
pub(crate) struct Segment {
    bridge: Namespace,
    hosts: Vec<(Ipv4Addr, Namespace)>,
    dir: TempDir,
    tls: String,
}

impl Segment {
    /// Makes the hosts. The balancer sends nothing to anybody yet.
    pub(crate) fn create() -> Segment {
        let bridge = Namespace::create();
        bridge.ip(&format!("link add br0 address {SEGMENT_MAC} type bridge"));
        bridge.ip(&format!("address add {VIP}/32 dev br0"));
        // Packets that were handed to the kernel as one (UDP_SEGMENT) would cross as one.
        bridge.ip("link set br0 gso_max_segs 1 up");
        let dir = tempfile::Builder::new().prefix("ringfarm-farm-").tempdir();
        let dir = dir.unwrap_or_else(|e| panic!("cannot make a scratch folder: {e}"));
        let tls = certificate_for(dir.path(), vec![VIP.to_string(), DOMAIN.to_owned()]);
        let mut segment = Segment { bridge, hosts: Vec::new(), dir, tls };
        let singles = [CALLER, CALLEE, PROXY].into_iter().chain(FRONTENDS).chain(BACKENDS);
        for address in singles.chain([ENGINE[0]]) {
            segment.add(address);
        }
        for address in FRONTENDS {
            share_the_address(segment.host(address));
        }
        for address in &ENGINE[1..] {
            segment.host(ENGINE[0]).ip(&format!("address add {address}/24 dev eth0"));
        }
        segment
    }

    fn add(&mut self, address: Ipv4Addr) {
        let (host, port) = (Namespace::create(), format!("port{}", address.octets()[3]));
        let (mac, bridge) = (mac(address), self.bridge.name());
        host.ip(&format!("link add eth0 address {mac} type veth peer name {port} netns {bridge}"));
        host.ip(&format!("address add {address}/24 dev eth0"));
        host.ip("link set eth0 up");
        self.bridge.ip(&format!("link set {port} master br0 up"));
        self.hosts.push((address, host));
    }

    /// The host with this address.
    pub(crate) fn host(&self, address: Ipv4Addr) -> &Namespace {
        let address = if ENGINE.contains(&address) { ENGINE[0] } else { address };
        let found = self.hosts.iter().find(|(of, _)| *of == address);
        &found.unwrap_or_else(|| panic!("no host has {address}")).1
    }

    /// Has the balancer send to these frontends.
    pub(crate) fn spread_over(&self, frontends: &[Ipv4Addr]) {
        Spreader.over(&self.bridge, frontends);
    }

    /// Datagrams that the balancer has sent to this frontend since its frontends changed last.
    pub(crate) fn datagrams_to(&self, frontend: Ipv4Addr) -> u64 {
        Spreader.datagrams(&self.bridge, frontend)
    }

    /// The settings by which frontends show a certificate for the shared address.
    pub(crate) fn tls(&self) -> &str {
        &self.tls
    }

    /// The scratch folder.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Place for Segment {
    fn host_of(&self, address: IpAddr) -> &Namespace {
        match address {
            IpAddr::V4(address) => self.host(address),
            IpAddr::V6(_) => panic!("the segment knows IPv4 alone"),
        }
    }

    fn sip(&self, _: IpAddr, transport: Transport) -> SocketAddr {
        let port = if transport == Transport::Tls { 5061 } else { 5060 };
        SocketAddr::new(VIP.into(), port)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// The host has the shared address, too, and is silent about it: nobody but the balancer is to be
/// asked for it.
fn share_the_address(host: &Namespace) {
    run(host.command("sysctl").args([
        "-q",
        "-w",
        "net.ipv4.conf.all.arp_ignore=1",
        "net.ipv4.conf.all.arp_announce=2",
    ]));
    host.ip(&format!("address add {VIP}/32 dev lo"));
}

/// A segment with a cluster on it: the engine, frontends that the balancer spreads over, backends.
pub(crate) struct Farm<'s> {
    pub(crate) frontends: Vec<Member<'s>>,
    pub(crate) backends: Vec<Member<'s>>,
    pub(crate) engine: Engine<'s>,
}

impl<'s> Farm<'s> {
    /// Starts them; returns once each member knows all others.
    pub(crate) fn start(segment: &'s Segment, frontends: usize, backends: usize) -> Farm<'s> {
        Farm::start_with(segment, frontends, backends, OPEN)
    }

    /// As [`Farm::start`], with these tables for each member.
    pub(crate) fn start_with(
        segment: &'s Segment,
        frontends: usize,
        backends: usize,
        more: &str,
    ) -> Farm<'s> {
        let engine = Engine::start(segment);
        let first = Member::found(segment, FRONTENDS[0], more);
        let let_in = |address: &Ipv4Addr| first.let_in(*address, more);
        let others: Vec<Member<'s>> = FRONTENDS[1..frontends].iter().map(let_in).collect();
        let backends: Vec<Member<'s>> = BACKENDS[..backends].iter().map(let_in).collect();
        let frontends: Vec<Member<'s>> = std::iter::once(first).chain(others).collect();
        let farm = Farm { frontends, backends, engine };
        farm.wait_met();
        segment.spread_over(&farm.addresses());
        farm
    }

    /// The addresses of the frontends.
    pub(crate) fn addresses(&self) -> Vec<Ipv4Addr> {
        self.frontends.iter().map(|member| member.address).collect()
    }

    /// Waits until each member knows all others.
    pub(crate) fn wait_met(&self) {
        let all: Vec<&Member<'_>> = self.frontends.iter().chain(&self.backends).collect();
        wait_met(&all);
    }

    /// A figure, summed over the frontends.
    pub(crate) fn figure(&self, name: &str) -> f64 {
        self.frontends.iter().map(|member| member.figure(name)).sum()
    }

    /// How many calls each frontend has logged the end of.
    pub(crate) fn ended_calls(&self) -> Vec<usize> {
        self.frontends.iter().map(|member| member.ended_calls().len()).collect()
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if thread::panicking() {
            self.dir.disable_cleanup(true);
            eprintln!("the farm's files are kept in {}", self.dir.path().display());
        }
    }
}
