//! The facts of this host.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use control_core::doctor::{Address, Ends, Host, MediaOf};
use control_core::settings::{AddressPair, EngineServer, NextHop, PortRange, Settings, Transport};
use nix::sys::resource::{Resource, getrlimit};
use serde_json::Value;

use super::proc;
use crate::cluster::keys::StateDir;
use crate::control::{Command, client};
use crate::node::kernel::Kernel;
use crate::node::{certificates, host_addresses};

/// How long a server of the engine may take to accept a connection.
const CONNECTED_WITHIN: Duration = Duration::from_secs(2);

/// NATS's own port.
const ENGINE_PORT: u16 = 4222;

/// Looks at everything that the checks ask for. What cannot be found out is left out.
pub(super) fn host(settings: &Settings, socket: &Path) -> Host {
    let ports_of = |udp: bool| -> Vec<u16> {
        let listen = settings.sip.listen.iter();
        let mut ports: Vec<u16> = listen
            .filter(|listen| (listen.transport == Transport::Udp) == udp)
            .map(|listen| listen.address.port())
            .filter(|port| *port != 0)
            .collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    };
    let (udp_ports, tcp_ports) = (ports_of(true), ports_of(false));
    let media_ports = settings.media.ports;
    let in_media = |port| (media_ports.first()..=media_ports.last()).contains(&port);
    Host {
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim()
            .to_owned(),
        io_uring: io_uring(),
        descriptors_max: getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(_, hard)| hard),
        connections_max: u64::try_from(settings.limits.tcp_connections).unwrap_or(u64::MAX),
        is_running: UnixStream::connect(socket).is_ok(),
        media_ports,
        port_advice: port_advice(media_ports),
        occupied: proc::occupied(|transport, port| match transport {
            "udp" => in_media(port) || udp_ports.contains(&port),
            _ => tcp_ports.contains(&port),
        }),
        named: host_addresses::named_addresses(settings),
        addresses: addresses(),
        arp: proc::arp(),
        tracked: proc::tracked(&udp_ports, media_ports),
        engine: settings.cluster.engine.servers.iter().map(server).collect(),
        members: members(socket),
        is_clock_kept: is_clock_kept(),
        certificates: ends(settings),
        udp_ports,
        tcp_ports,
    }
}

/// On a thread of its own: the kernel interrupts the one on which the rings are closed.
fn io_uring() -> Result<(), String> {
    let probe = thread::spawn(|| relay_engine::probe::check(false));
    let outcome = probe.join().map_err(|_| "the probe of io_uring panicked".to_owned())?;
    outcome.map_err(|error| error.to_string())
}

/// What the node says at its start, cut where the command begins.
fn port_advice(ports: PortRange) -> Vec<(String, String)> {
    let cut = |line: String| match line.rsplit_once("; ") {
        Some((what, mend)) => (what.to_owned(), mend.to_owned()),
        None => (line, String::new()),
    };
    Kernel::read().advice(ports).into_iter().map(cut).collect()
}

fn addresses() -> Vec<Address> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let address = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        let ip = v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))?;
        // `lo:0`, as it was once written, is lo.
        let device = interface.interface_name;
        let is_loopback = device.split(':').next() == Some("lo");
        Some(Address { ip, device, is_loopback })
    };
    interfaces.filter_map(address).collect()
}

/// Connects to a server of the engine, at the first of its addresses that takes it.
fn server(server: &EngineServer) -> (String, Result<(), String>) {
    let addresses: Result<Vec<SocketAddr>, _> = match &server.at {
        NextHop::Address(address) => Ok(vec![*address]),
        NextHop::Name { host, port } => (host.to_string(), port.unwrap_or(ENGINE_PORT))
            .to_socket_addrs()
            .map(Iterator::collect)
            .map_err(|error| error.to_string()),
    };
    let tried = addresses.and_then(|addresses| {
        let mut why = "its name has no address".to_owned();
        for address in addresses {
            match TcpStream::connect_timeout(&address, CONNECTED_WITHIN) {
                Ok(_) => return Ok(()),
                Err(error) => why = error.to_string(),
            }
        }
        Err(why)
    });
    (server.at.to_string(), tried)
}

/// Where the members' media is, this one's first; none if no member runs here.
fn members(socket: &Path) -> Vec<MediaOf> {
    let Ok(list) = client::ask(socket, &Command::Members {}) else { return Vec::new() };
    let members = list["members"].as_array().into_iter().flatten();
    let mut found: Vec<MediaOf> = members.filter_map(media_of).collect();
    found.sort_by_key(|member| list["member"] != member.name.as_str());
    found
}

fn media_of(member: &Value) -> Option<MediaOf> {
    let end = |index: usize| u16::try_from(member["media_ports"][index].as_u64()?).ok();
    let ports = PortRange::new(end(0)?, end(1)?).ok()?;
    let wan: AddressPair = serde_json::from_value(member["wan_ip"]["effective"].clone()).ok()?;
    Some(MediaOf { name: member["name"].as_str()?.to_owned(), ports, wan: wan.addresses() })
}

/// Whether the kernel was told that its clock is right (STA_UNSYNC is not set).
fn is_clock_kept() -> Option<bool> {
    // SAFETY: `timex` holds numbers alone, for which zero is a value.
    let mut clock: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a `timex` that lives through the call; with `modes` zero nothing is set.
    let state = unsafe { libc::adjtimex(&raw mut clock) };
    (state >= 0).then_some(clock.status & libc::STA_UNSYNC == 0)
}

fn ends(settings: &Settings) -> Vec<Ends> {
    let now = SystemTime::now();
    let left = |end: SystemTime| match end.duration_since(now) {
        Ok(left) => i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        Err(since) => -i64::try_from(since.duration().as_secs()).unwrap_or(i64::MAX),
    };
    let sip = certificates::ends(settings).into_iter();
    let sip = sip.map(|(file, end)| (file, end, "renew it, then: ringfarm refresh"));
    let keys = settings.cluster.state.as_ref().map(|path| StateDir::new(path.as_path()).ends());
    let keys = keys.and_then(Result::ok).into_iter().flatten();
    let keys =
        keys.map(|(file, end)| (file, end, "ringfarm cluster renew    # then start the node anew"));
    let ends = |(file, end, renew): (std::path::PathBuf, SystemTime, &'static str)| Ends {
        file: file.display().to_string(),
        left_s: left(end),
        renew,
    };
    sip.chain(keys).map(ends).collect()
}
