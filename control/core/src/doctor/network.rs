//! Ports, addresses, ARP, the connection tracker.

use std::net::IpAddr;

use super::{Finding, Host};

/// Occupied ports that are named one by one; of more the number is said.
const OCCUPIED_SHOWN: usize = 5;

/// Ports that the kernel may give to others, and its table of sockets.
pub(super) fn kernel_ports(host: &Host, findings: &mut Vec<Finding>) {
    for (what, mend) in &host.port_advice {
        let why = "a port that another program has cannot be given to a stream, and a full table makes each packet dearer";
        findings.push(Finding::warning("ports", what, why, mend));
    }
    if host.port_advice.is_empty() {
        let what = format!(
            "media ports {} are kept apart from those that the kernel gives away",
            host.media_ports
        );
        findings.push(Finding::ok("ports", what));
    }
}

/// Ports of ours that other programs have. Of a node that runs they are its own.
pub(super) fn occupied(host: &Host, findings: &mut Vec<Finding>) {
    if host.is_running {
        return;
    }
    let is_sip = |port: &u16| host.udp_ports.contains(port) || host.tcp_ports.contains(port);
    for one in host.occupied.iter().filter(|one| is_sip(&one.port)) {
        let (transport, port) = (one.transport, one.port);
        findings.push(Finding::error(
            "occupied",
            format!(
                "{transport} port {port} is taken by {}",
                one.by.as_deref().unwrap_or("another program")
            ),
            "the node cannot listen there",
            format!(
                "ss -ltunp 'sport = :{port}'    # then stop that program, or change sip.listen"
            ),
        ));
    }
    let media: Vec<String> = host
        .occupied
        .iter()
        .filter(|one| !is_sip(&one.port))
        .map(|one| match &one.by {
            Some(by) => format!("{} ({by})", one.port),
            None => one.port.to_string(),
        })
        .collect();
    if media.is_empty() {
        return;
    }
    let mut list = media.iter().take(OCCUPIED_SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if media.len() > OCCUPIED_SHOWN {
        list += &format!(" and {} more", media.len() - OCCUPIED_SHOWN);
    }
    findings.push(Finding::warning(
        "occupied",
        format!("of media ports {} other programs have {list}", host.media_ports),
        "no stream gets these ports, and on a crowded range calls are refused sooner",
        format!(
            "ss -lunp 'sport >= :{} and sport <= :{}'    # then stop these programs, or change media.ports",
            host.media_ports.first(),
            host.media_ports.last()
        ),
    ));
}

/// S50: addresses that the settings name and the host lacks.
pub(super) fn addresses(host: &Host, findings: &mut Vec<Finding>) {
    let has = |ip: IpAddr| host.addresses.iter().any(|address| address.ip == ip);
    for (key, ip) in host.named.iter().filter(|(_, ip)| !has(*ip)) {
        findings.push(Finding::error(
            "address",
            format!("{key} = {ip} is no address of this host"),
            "nothing that is sent there arrives; behind a balancer with direct return (DSR) the VIP is an alias of lo",
            format!("ip address add {ip}/{} dev lo && ringfarm refresh", bits(*ip)),
        ));
    }
    if !host.named.is_empty() && host.named.iter().all(|(_, ip)| has(*ip)) {
        let what = "every address that the settings name is this host's";
        findings.push(Finding::ok("address", what));
    }
}

const fn bits(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// S48: an alias of the loopback device is meant for direct return, where nobody but the balancer may answer for it. IPv6
/// neighbours are answered for a device's own addresses only.
pub(super) fn silence(host: &Host, findings: &mut Vec<Finding>) {
    let aliases: Vec<IpAddr> = host
        .addresses
        .iter()
        .filter(|address| address.is_loopback && address.ip.is_ipv4() && !address.ip.is_loopback())
        .map(|address| address.ip)
        .collect();
    let [first, ..] = aliases.as_slice() else { return };
    let all = host.arp.iter().find(|arp| arp.device == "all");
    let all = all.map_or((0, 0), |arp| (arp.ignore, arp.announce));
    let mut is_silent = true;
    for arp in host.arp.iter().filter(|arp| arp.device != "all") {
        let device = &arp.device;
        for (key, value, wanted, why) in [
            (
                "arp_ignore",
                arp.ignore.max(all.0),
                1,
                "this host answers ARP for the VIP, and the router sends everybody's packets here, past the balancer",
            ),
            (
                "arp_announce",
                arp.announce.max(all.1),
                2,
                "this host asks with the VIP as its own address, and neighbours note it for the VIP, past the balancer",
            ),
        ] {
            if value < wanted {
                is_silent = false;
                findings.push(Finding::error(
                    "arp",
                    format!("{key} of {device} is {value} with {first} on lo"),
                    why,
                    format!("sysctl -w net.ipv4.conf.all.{key}={wanted} net.ipv4.conf.{device}.{key}={wanted}"),
                ));
            }
        }
    }
    if is_silent {
        findings.push(Finding::ok("arp", format!("{first} is on lo, and no device speaks of it")));
    }
}

/// S37: SIP and media pass the connection tracker by.
pub(super) fn conntrack(host: &Host, findings: &mut Vec<Finding>) {
    let Some(tracked) = host.tracked else { return };
    if tracked.sip == 0 && tracked.media == 0 {
        findings.push(Finding::ok("conntrack", "no SIP over UDP and no media is tracked"));
    } else {
        let ports: Vec<String> = host.udp_ports.iter().map(ToString::to_string).collect();
        let set = format!("{{ {}, {} }}", ports.join(", "), host.media_ports);
        findings.push(Finding::warning(
            "conntrack",
            format!(
                "this host's connection tracker has {} entries of SIP over UDP and {} of media",
                tracked.sip, tracked.media
            ),
            "each packet is looked up, a full table drops packets, and where addresses are translated answers of other \
             members leave from a wrong port",
            format!(
                "nft 'add table inet untracked; \
                 add chain inet untracked in {{ type filter hook prerouting priority raw; }}; \
                 add chain inet untracked out {{ type filter hook output priority raw; }}; \
                 add rule inet untracked in udp dport {set} notrack; \
                 add rule inet untracked in udp sport {set} notrack; \
                 add rule inet untracked out udp sport {set} notrack; \
                 add rule inet untracked out udp dport {set} notrack'"
            ),
        ));
    }
    if let Some((count, max)) = tracked.table
        && max > 0
        && count >= max / 10 * 9
    {
        findings.push(Finding::error(
            "conntrack_table",
            format!("the connection tracker's table has {count} of {max} entries"),
            "once it is full, packets of whatever is tracked are dropped, SIP over TCP among them",
            format!("sysctl -w net.netfilter.nf_conntrack_max={}", max.saturating_mul(4)),
        ));
    }
}
