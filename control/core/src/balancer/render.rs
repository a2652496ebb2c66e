//! Configurations, by device.

use std::net::IpAddr;

use super::site::{Site, SiteMember, Spread, Trouble};
use super::template::{Scope, fill};
use super::{Device, Method, devices};

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
    devices::check(method, device, site, &mut troubles);
    let mut scope = common(method, site);
    if device == Device::Nftables {
        scope = nftables(method, site, scope, &mut troubles);
    }
    if !troubles.is_empty() {
        return Err(troubles);
    }
    Ok(fill(devices::template(method, device), &scope))
}

/// What every template may say.
fn common(method: Method, site: &Site) -> Scope {
    let vips = site.vip.addresses();
    let mut families: Vec<Scope> = vips.iter().map(|vip| family(site, *vip)).collect();
    let members = site.members.iter().map(|member| settings(method, site, member)).collect();
    let dsr = if method == Method::Dsr { ", and SIP over the members" } else { "" };
    let vip4 = site.vip.v4.map(|vip| vip.to_string()).unwrap_or_default();
    let outside = site.outside.clone().unwrap_or_default();
    let scope = Scope::default()
        .with("method", method)
        .with("vips", listed(&vips, " and "))
        .with("vip_first", listed(&vips[..vips.len().min(1)], ""))
        .with("vip_pair", listed(&vips, ","))
        .with("ifconfig", format!("ifconfig lo:0 {vip4} netmask 255.255.255.255 up"))
        .with("vip4", vip4)
        .with("count", site.members.len())
        .with("and_dsr", dsr)
        .with("inside", site.inside.clone().unwrap_or_else(|| outside.clone()))
        .with("outside", outside)
        .with("udp_ports", listed(&site.udp_ports, ", "))
        .with("tcp_ports", listed(&site.tcp_ports, ", "))
        .flag("tcp", !site.tcp_ports.is_empty())
        .flag("ready", site.ready_port.is_some())
        .with("ready_port", site.ready_port.map(|port| port.to_string()).unwrap_or_default())
        .with("check_port", site.tcp_ports.first().or(site.udp_ports.first()).unwrap_or(&5060))
        .flag("single_ip", method == Method::SingleIpNat)
        .flag("multi_ip", method == Method::MultiIp)
        .flag("one_to_one", method == Method::MultiIpNat)
        .flag("dsr", method == Method::Dsr)
        .flag("has_v4", site.vip.v4.is_some())
        .flag("has_v6", site.vip.v6.is_some())
        .flag("two_families", families.len() == 2)
        .each("udp_port", ports(site, &site.udp_ports))
        .each("tcp_port", ports(site, &site.tcp_ports))
        .each("port", ports(site, &site.all_ports()))
        .each("family", families.clone())
        .each("member", members);
    let second = families.split_off(families.len().min(1));
    scope.each("first_family", families).each("second_family", second)
}

/// Ports of SIP, one by one.
fn ports(site: &Site, listed: &[u16]) -> Vec<Scope> {
    let one = |port: &u16| {
        let binds: String =
            site.members.iter().map(|member| format!(" {} {port}", member.name)).collect();
        Scope::default()
            .with("port", port)
            .with("binds", binds)
            .flag("udp", site.udp_ports.contains(port))
    };
    listed.iter().map(one).collect()
}

/// What is said of one family: that of `vip`.
fn family(site: &Site, vip: IpAddr) -> Scope {
    let (n, ip, kind, bits) = match vip {
        IpAddr::V4(_) => (4, "ip", "ipv4_addr", 32),
        IpAddr::V6(_) => (6, "ip6", "ipv6_addr", 128),
    };
    // What tells connections apart. nft 1.0.6 aborts where a map that packets write to has an IPv6 address with
    // something beside it as its key.
    let (any, f5_any, mask, connection) = match vip {
        IpAddr::V4(_) => ("0.0.0.0", ":any", "255.255.255.255", "ip saddr . tcp sport . tcp dport"),
        IpAddr::V6(_) => ("[::]", ".any", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ip6 saddr"),
    };
    let buckets = buckets(site.members.len());
    let members = site.members.iter().enumerate();
    Scope::default()
        .with("n", n)
        .with("ip", ip)
        .with("type", kind)
        .with("bits", bits)
        .with("vip", vip)
        .with("vip_port", bracketed(vip))
        .with("any", any)
        .with("f5_any", f5_any)
        .with("mask", mask)
        .flag("v4", vip.is_ipv4())
        .flag("v6", vip.is_ipv6())
        .each("member", members.map(|(index, member)| one(index, member, vip)).collect())
        .with("spread_udp", spread(site, site.spread, ip, "udp"))
        .with("spread_tcp", spread(site, site.spread, ip, "tcp"))
        .with("connection", connection)
        .with("spread_connection", format!("jhash {connection} mod {buckets} seed 0x5060"))
}

/// A member in the family of `vip`.
fn one(index: usize, member: &SiteMember, vip: IpAddr) -> Scope {
    let lan = member.lan.like(vip);
    let address = |address: Option<IpAddr>| address.map(|a| a.to_string()).unwrap_or_default();
    Scope::default()
        .with("name", &member.name)
        .with("number", index + 1)
        .with("mark", mark(index))
        .with("lan", address(lan))
        .with("lan_port", lan.map(bracketed).unwrap_or_default())
        .with("wan", address(member.wan.like(vip)))
        .with("ports", member.ports.map(|ports| ports.to_string()).unwrap_or_default())
}

/// The settings of a member: where it listens, its ports.
fn settings(method: Method, site: &Site, member: &SiteMember) -> Scope {
    let mut listens = Vec::new();
    let listen = |transport: &str, address: String, advertise: Option<String>| {
        Scope::default()
            .with("transport", transport)
            .with("address", address)
            .flag("advertise", advertise.is_some())
            .with("advertise", advertise.unwrap_or_default())
    };
    for vip in site.vip.addresses() {
        let any = if vip.is_ipv4() { "0.0.0.0" } else { "[::]" };
        let own = member.lan.like(vip).map(bracketed).unwrap_or_default();
        for (transport, ports) in [("udp", &site.udp_ports), ("tcp", &site.tcp_ports)] {
            for port in ports {
                // 5061 is the port of SIP over TLS (RFC 3261 19.1.2).
                let transport = if (transport, *port) == ("tcp", 5061) { "tls" } else { transport };
                let at_vip = format!("{}:{port}", bracketed(vip));
                if method != Method::Dsr {
                    listens.push(listen(transport, format!("{own}:{port}"), Some(at_vip)));
                    continue;
                }
                // S51, S52: two sockets for UDP; a connection has its address already.
                if transport == "udp" {
                    listens.push(listen(transport, at_vip, None));
                }
                listens.push(listen(transport, format!("{any}:{port}"), None));
            }
        }
    }
    let wans = member.wan.addresses().iter().map(|wan| format!("\"{wan}\"")).collect::<Vec<_>>();
    Scope::default()
        .with("name", &member.name)
        .each("listen", listens)
        .flag("has_ports", member.ports.is_some())
        .with("ports", member.ports.map(|ports| ports.to_string()).unwrap_or_default())
        .with("wans", wans.join(", "))
        .with("wan_pair", listed(&member.wan.addresses(), ","))
}

/// An address as it stands before a port.
fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
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
