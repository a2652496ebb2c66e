//! What is known of a node's host.

use std::net::IpAddr;

use super::Tracked;
use crate::settings::PortRange;

/// Facts of the host that a node runs on, or is to run on. What could not be found out is `None` or empty, and is not
/// complained of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The kernel's release.
    pub kernel: String,
    /// What the kernel lacks that the media engine needs, in words that say what to do.
    pub io_uring: Result<(), String>,
    /// Descriptors that a process here may have (hard RLIMIT_NOFILE).
    pub descriptors_max: u64,
    /// SIP connections that the settings allow.
    pub connections_max: u64,
    /// Whether a node runs here: then what it holds is its own.
    pub is_running: bool,
    /// The media ports of the settings.
    pub media_ports: PortRange,
    /// UDP ports of SIP.
    pub udp_ports: Vec<u16>,
    /// TCP ports of SIP.
    pub tcp_ports: Vec<u16>,
    /// What the kernel's own settings mean for the media ports: what is, and the command that mends it.
    pub port_advice: Vec<(String, String)>,
    /// Ports of ours that somebody has.
    pub occupied: Vec<Occupied>,
    /// Local addresses that the settings name, with the key that does.
    pub named: Vec<(String, IpAddr)>,
    /// The host's addresses.
    pub addresses: Vec<Address>,
    /// What its devices do about ARP; `all` is one of them.
    pub arp: Vec<Arp>,
    /// What the connection tracker knows of our ports.
    pub tracked: Option<Tracked>,
    /// The engine's servers, with what became of connecting to each.
    pub engine: Vec<(String, Result<(), String>)>,
    /// Other members' media, and our own, as the cluster knows it; the first is this host's.
    pub members: Vec<MediaOf>,
    /// Whether the system says that its clock is kept right.
    pub is_clock_kept: Option<bool>,
    /// Certificates.
    pub certificates: Vec<Ends>,
}

/// A port that somebody has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupied {
    /// `udp` or `tcp`.
    pub transport: &'static str,
    /// The port.
    pub port: u16,
    /// Whose it is, as far as can be seen: a program and its process.
    pub by: Option<String>,
}

/// An address of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Where it is.
    pub device: String,
    /// Whether that is the loopback device.
    pub is_loopback: bool,
}

/// What a device does about ARP (Linux, ip-sysctl).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arp {
    /// The device, or `all`, which holds for each where it is the greater.
    pub device: String,
    /// `arp_ignore`.
    pub ignore: u8,
    /// `arp_announce`.
    pub announce: u8,
}

/// Where a member's peers send media.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaOf {
    /// The member.
    pub name: String,
    /// Its ports.
    pub ports: PortRange,
    /// The address that its peers are told; empty: its own.
    pub wan: Vec<IpAddr>,
}

/// When something ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Its file.
    pub file: String,
    /// In seconds from now; negative once it has ended.
    pub left_s: i64,
    /// What renews it.
    pub renew: &'static str,
}
