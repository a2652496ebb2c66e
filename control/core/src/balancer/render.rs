//! Configurations, by device.

use std::net::IpAddr;

use super::site::{Site, SiteMember, Spread, Trouble};
use super::template::{Scope, fill};
use super::{Device, Method};

/// Shares that new SIP is divided into, at least: fine enough that a member's part can be given to several others.
pub const BUCKETS_MIN: usize = 16;

/// What the marks of packets begin with that nftables has sent on; the lower 16 bits are the member's number, from 1.
pub const MARK_BASE: u32 = 0x5246_0000;

/// Ports that the members' own connections need where they share one address with all media.
const FREE_PORTS_MIN: u16 = 256;

/// Shares on one line of a configuration.
const BUCKETS_A_LINE: usize = 4;

/// The configuration of `device` for `site`.
///
/// # Errors
/// Everything that keeps `method` from working there: addresses that are missing or used twice, media ports that
/// overlap, something that the device cannot do.
pub fn render(method: Method, device: Device, site: &Site) -> Result<String, Vec<Trouble>> {
    let mut troubles = site.check(method);
    let mut scope = common(method, site);
    match device {
        Device::Nftables => scope = nftables(method, site, scope, &mut troubles),
    }
    if !troubles.is_empty() {
        return Err(troubles);
    }
    Ok(fill(template(method, device), &scope))
}

const fn template(method: Method, device: Device) -> &'static str {
    match (device, method) {
        (Device::Nftables, Method::Dsr) => include_str!("templates/dsr.nft"),
        (Device::Nftables, Method::SingleIpNat | Method::MultiIp | Method::MultiIpNat) => {
            include_str!("templates/nat.nft")
        }
    }
}

/// What every template may say.
fn common(method: Method, site: &Site) -> Scope {
    let vips = site.vip.addresses();
    let families: Vec<Scope> = vips.iter().map(|vip| family(site, *vip)).collect();
    let first = families.first().cloned().into_iter().collect();
    Scope::default()
        .with("method", method)
        .with("vips", listed(&vips, " and "))
        .with("vip_first", listed(&vips[..vips.len().min(1)], ""))
        .with("count", site.members.len())
        .with("udp_ports", listed(&site.udp_ports, ", "))
        .with("tcp_ports", listed(&site.tcp_ports, ", "))
        .flag("tcp", !site.tcp_ports.is_empty())
        .flag("single_ip", method == Method::SingleIpNat)
        .flag("multi_ip", method == Method::MultiIp)
        .flag("one_to_one", method == Method::MultiIpNat)
        .flag("dsr", method == Method::Dsr)
        .each("family", families)
        .each("first_family", first)
}

/// What is said of one family: that of `vip`.
fn family(site: &Site, vip: IpAddr) -> Scope {
    let (n, ip, kind, bits) = match vip {
        IpAddr::V4(_) => (4, "ip", "ipv4_addr", 32),
        IpAddr::V6(_) => (6, "ip6", "ipv6_addr", 128),
    };
    // What tells connections apart. nft 1.0.6 aborts where a map that packets write to has an IPv6 address with
    // something beside it as its key.
    let (vip_port, connection) = match vip {
        IpAddr::V4(_) => (vip.to_string(), "ip saddr . tcp sport . tcp dport"),
        IpAddr::V6(_) => (format!("[{vip}]"), "ip6 saddr"),
    };
    let buckets = buckets(site.members.len());
    let members = site.members.iter().enumerate();
    Scope::default()
        .with("n", n)
        .with("ip", ip)
        .with("type", kind)
        .with("bits", bits)
        .with("vip", vip)
        .with("vip_port", vip_port)
        .flag("v4", vip.is_ipv4())
        .flag("v6", vip.is_ipv6())
        .each("member", members.map(|(index, member)| one(index, member, vip)).collect())
        .with("spread_udp", spread(site, site.spread, ip, "udp"))
        .with("spread_tcp", spread(site, site.spread, ip, "tcp"))
        .with("connection", connection)
        .with("spread_connection", format!("jhash {connection} mod {buckets} seed 0x5060"))
}

fn one(index: usize, member: &SiteMember, vip: IpAddr) -> Scope {
    let address = |address: Option<IpAddr>| address.map(|a| a.to_string()).unwrap_or_default();
    Scope::default()
        .with("name", &member.name)
        .with("number", index + 1)
        .with("mark", mark(index))
        .with("lan", address(member.lan.like(vip)))
        .with("wan", address(member.wan.like(vip)))
        .with("ports", member.ports.map(|ports| ports.to_string()).unwrap_or_default())
}

pub(super) fn mark(index: usize) -> String {
    format!("{MARK_BASE:#010x}", MARK_BASE = MARK_BASE as usize + index + 1)
}

fn spread(site: &Site, spread: Spread, ip: &str, transport: &str) -> String {
    let buckets = buckets(site.members.len());
    match spread {
        Spread::Source => {
            format!("jhash {ip} saddr . {transport} sport mod {buckets} seed 0x5060")
        }
        Spread::Packet => format!("numgen random mod {buckets}"),
    }
}

/// How many shares there are for so many members.
pub(super) const fn buckets(members: usize) -> usize {
    let wanted = members.next_power_of_two();
    if wanted < BUCKETS_MIN { BUCKETS_MIN } else { wanted }
}

fn nftables(method: Method, site: &Site, scope: Scope, troubles: &mut Vec<Trouble>) -> Scope {
    if site.outside.is_none() {
        let what = "nftables needs the name of the device towards the clients";
        troubles.push(Trouble::new(what, "add --outside DEVICE"));
    }
    for device in [&site.outside, &site.inside].into_iter().flatten().filter(|name| !fits(name)) {
        let what = format!("{device:?} is no name of a network device");
        troubles.push(Trouble::new(what, "write it as `ip link` shows it"));
    }
    let outside = site.outside.clone().unwrap_or_default();
    let inside = site.inside.clone().unwrap_or_else(|| outside.clone());
    let free = free_ports(method, site);
    if method == Method::SingleIpNat && free.1 - free.0 < FREE_PORTS_MIN {
        let what = "the media ports leave no room for the members' own connections";
        let fix = format!("leave at least {FREE_PORTS_MIN} ports in a row free");
        troubles.push(Trouble::new(what, fix));
    }
    let media: Vec<_> = site.members.iter().filter_map(|member| member.ports).collect();
    let members = site.members.len().max(1);
    let elements: Vec<String> = (0..buckets(members))
        .map(|bucket| format!("{bucket} : {}", mark(bucket % members)))
        .collect();
    let lines = elements.chunks(BUCKETS_A_LINE);
    scope
        .with("outside", outside)
        .with("inside", inside)
        .with("buckets", buckets(members))
        .with("mark_base", format!("{MARK_BASE:#010x}"))
        .with("mark_first", mark(0))
        .with("media_ports", listed(&media, ", "))
        .with("free_ports", format!("{}-{}", free.0, free.1))
        .each(
            "bucket_line",
            lines.map(|line| Scope::default().with("elements", line.join(", ") + ",")).collect(),
        )
}

/// Whether Linux takes it for a device (`dev_valid_name`); quotes would end the string that it stands in.
fn fits(device: &str) -> bool {
    (1..16).contains(&device.len())
        && device.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b':' | b'"' | b'\\'))
}

/// The longest run of ports that are neither SIP's nor, where they share the address, media's.
fn free_ports(method: Method, site: &Site) -> (u16, u16) {
    let media = site.members.iter().filter_map(|member| member.ports);
    let media = media.filter(|_| method == Method::SingleIpNat);
    let mut taken: Vec<(u16, u16)> = media.map(|ports| (ports.first(), ports.last())).collect();
    taken.extend(site.udp_ports.iter().chain(&site.tcp_ports).map(|port| (*port, *port)));
    taken.sort_unstable();
    let mut longest = (u16::MAX, u16::MAX);
    let mut next = 1024;
    for (first, last) in taken.into_iter().chain([(u16::MAX, u16::MAX)]) {
        // The last port of all is left out, so that no sum overflows.
        if first > next && first - 1 - next > longest.1 - longest.0 {
            longest = (next, first - 1);
        }
        next = next.max(last.saturating_add(1));
    }
    longest
}

fn listed<T: ToString>(entries: &[T], between: &str) -> String {
    entries.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}
