//! What the kernel tells in /proc.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use control_core::doctor::{Arp, Occupied, Tracked};
use control_core::settings::PortRange;

/// Most lines of a table that are read: as many as a large connection tracker has.
const LINES_MAX: usize = 4_000_000;

/// Programs whose descriptors are looked through for a socket's owner.
const PROGRAMS_MAX: usize = 50_000;

/// A line of a table of sockets: its port and its inode.
pub(super) fn socket(line: &str, listening_only: bool) -> Option<(u16, u64)> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let port = u16::from_str_radix(words.get(1)?.rsplit_once(':')?.1, 16).ok()?;
    // 0A: TCP_LISTEN.
    if listening_only && *words.get(3)? != "0A" {
        return None;
    }
    Some((port, words.get(9)?.parse().ok()?))
}

/// The ports among `is_ours` that somebody has, each once.
pub(super) fn occupied(is_ours: impl Fn(&str, u16) -> bool) -> Vec<Occupied> {
    let mut found: Vec<(Occupied, u64)> = Vec::new();
    for (transport, file) in [("udp", "udp"), ("udp", "udp6"), ("tcp", "tcp"), ("tcp", "tcp6")] {
        for line in lines(&format!("/proc/net/{file}")) {
            let Some((port, inode)) = socket(&line, transport == "tcp") else { continue };
            let known = found.iter().any(|(one, _)| one.transport == transport && one.port == port);
            if is_ours(transport, port) && !known {
                found.push((Occupied { transport, port, by: None }, inode));
            }
        }
    }
    let owners = if found.is_empty() { HashMap::new() } else { owners() };
    found
        .into_iter()
        .map(|(one, inode)| Occupied { by: owners.get(&inode).cloned(), ..one })
        .collect()
}

fn lines(path: &str) -> impl Iterator<Item = String> {
    let file = File::open(path).ok();
    let lines = file.into_iter().flat_map(|file| BufReader::new(file).lines());
    lines.map_while(Result::ok).take(LINES_MAX)
}

/// Programs by the inodes of their sockets, as far as this user may see them.
fn owners() -> HashMap<u64, String> {
    let mut owners = HashMap::new();
    let Ok(programs) = fs::read_dir("/proc") else { return owners };
    for program in programs.flatten().take(PROGRAMS_MAX) {
        let name = program.file_name();
        let Some(pid) = name.to_str().and_then(|pid| pid.parse::<u32>().ok()) else { continue };
        let Ok(descriptors) = fs::read_dir(program.path().join("fd")) else { continue };
        let command = fs::read_to_string(program.path().join("comm")).unwrap_or_default();
        for descriptor in descriptors.flatten() {
            if let Some(inode) = inode(&descriptor.path()) {
                owners.insert(inode, format!("{} (process {pid})", command.trim()));
            }
        }
    }
    owners
}

fn inode(descriptor: &Path) -> Option<u64> {
    let target = fs::read_link(descriptor).ok()?;
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// What each device does about ARP; `lo` has none to do.
pub(super) fn arp() -> Vec<Arp> {
    let folder = Path::new("/proc/sys/net/ipv4/conf");
    let Ok(devices) = fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<Arp> = devices
        .flatten()
        .filter_map(|device| {
            let name = device.file_name().into_string().ok()?;
            let value = |key: &str| {
                let text = fs::read_to_string(device.path().join(key)).ok()?;
                text.trim().parse().ok()
            };
            let is_meant = name != "lo" && name != "default";
            let (ignore, announce) = (value("arp_ignore")?, value("arp_announce")?);
            is_meant.then_some(Arp { device: name, ignore, announce })
        })
        .collect();
    found.sort_by(|a, b| a.device.cmp(&b.device));
    found
}

/// What the connection tracker knows of these ports; `None`: its table cannot be read.
pub(super) fn tracked(sip: &[u16], media: PortRange) -> Option<Tracked> {
    const TABLE: &str = "/proc/net/nf_conntrack";
    File::open(TABLE).ok()?;
    let number = |key: &str| {
        let text = fs::read_to_string(format!("/proc/sys/net/netfilter/{key}")).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let table = number("nf_conntrack_count").zip(number("nf_conntrack_max"));
    let mut tracked = Tracked { table, ..Tracked::default() };
    lines(TABLE).for_each(|line| tracked.count(&line, sip, media));
    Some(tracked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_read_from_the_kernels_table() {
        let udp = " 1: 0100007F:13C4 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 4711 2 0 0";
        assert_eq!(socket(udp, false), Some((5060, 4711)));
        assert_eq!(socket(udp, true), None, "it does not listen");
        let tcp = " 0: 00000000000000000000000000000000:13C5 0000:0000 0A 0:0 00:0 0 0 0 4712 1";
        assert_eq!(socket(tcp, true), Some((5061, 4712)));
        assert_eq!(socket("  sl  local_address rem_address   st tx_queue", false), None);
    }
}
