//! What the balancer is told.

use std::fmt::Write as _;

use crate::plan::{FRONTENDS, Family, Member, Method, SIP, VIP, public};
use crate::report::Spread;
use crate::segment::{DEVICE, OUT};

/// Shares of what is new: each belongs to one frontend, and moves as a whole.
pub(crate) const BUCKETS: usize = 16;

/// The table of the balancer's rules.
pub(crate) const TABLE: &str = "ringfarm_lb";

/// The words of nftables for a family.
struct Words {
    ip: &'static str,
    address: &'static str,
    number: u8,
    family: Family,
}

const WORDS: [Words; 2] = [
    Words { ip: "ip", address: "ipv4_addr", number: 4, family: Family::Ipv4 },
    Words { ip: "ip6", address: "ipv6_addr", number: 6, family: Family::Ipv6 },
];

fn bucket_map(method: Method, words: &Words) -> String {
    let to = |bucket: usize| {
        let host = FRONTENDS[bucket % FRONTENDS.len()];
        Member { host }.own(method).ip(words.family).to_string()
    };
    let all: Vec<String> =
        (0..BUCKETS).map(|bucket| format!("{bucket} : {}", to(bucket))).collect();
    all.join(", ")
}

fn pick(spread: Spread, ip: &str, protocol: &str) -> String {
    match spread {
        Spread::Random => format!("numgen random mod {BUCKETS}"),
        Spread::Source => format!("jhash {ip} saddr . {protocol} sport mod {BUCKETS} seed 0x5060"),
    }
}

/// A file for `nft -f`.
pub(crate) fn render(method: Method, spread: Spread, binding: bool) -> String {
    match method {
        Method::Dsr => dsr(spread),
        Method::SingleIpNat | Method::MultiIp | Method::MultiIpNat => nat(method, spread, binding),
    }
}

fn nat(method: Method, spread: Spread, binding: bool) -> String {
    let (mut maps, mut pre, mut post, mut to, mut from) =
        (String::new(), String::new(), String::new(), String::new(), String::new());
    for words in &WORDS {
        let Words { ip, address, number, family } = words;
        let vip = VIP.ip(*family);
        let own = |host: u8| Member { host }.own(method).ip(*family);
        let members = FRONTENDS.map(|host| own(host).to_string()).join(", ");
        let _ = write!(
            maps,
            "map sip{number} {{ type mark : {address}; elements = {{ {} }}; }}\n\
             set members{number} {{ type {address}; elements = {{ {members} }}; }}\n",
            bucket_map(method, words),
        );
        let chosen = format!("meta mark set {}", pick(spread, ip, "udp"));
        if binding {
            let _ = writeln!(
                to,
                "{ip} daddr {vip} udp dport {SIP} {chosen} dnat {ip} to meta mark map @sip{number}"
            );
            let _ = writeln!(
                from,
                "oifname {OUT} {ip} saddr @members{number} udp sport {SIP} snat {ip} to {vip}"
            );
        } else {
            let _ = writeln!(
                pre,
                "{ip} daddr {vip} udp dport {SIP} {chosen} notrack {ip} daddr set meta mark map @sip{number} accept\n\
                 {ip} saddr @members{number} udp sport {SIP} notrack accept"
            );
            let _ = writeln!(
                post,
                "oifname {OUT} {ip} saddr @members{number} udp sport {SIP} {ip} saddr set {vip} accept"
            );
        }
        let _ = writeln!(
            to,
            "{ip} daddr {vip} tcp dport {{ {SIP}, 5061 }} meta mark set {} dnat {ip} to meta mark map @sip{number}",
            pick(spread, ip, "tcp")
        );
        match method {
            Method::SingleIpNat => {
                let ranges = FRONTENDS.map(|host| {
                    let ports = Member { host }.ports(method);
                    format!("{}-{} : {}", ports.start(), ports.end(), own(host))
                });
                let _ = writeln!(
                    maps,
                    "map media{number} {{ type inet_service : {address}; flags interval; elements = {{ {} }}; }}",
                    ranges.join(", ")
                );
                let all = "10000-39999";
                let _ = writeln!(
                    pre,
                    "{ip} daddr {vip} udp dport {all} notrack {ip} daddr set udp dport map @media{number} accept\n\
                     {ip} saddr @members{number} udp sport {all} notrack accept"
                );
                let _ = writeln!(
                    post,
                    "oifname {OUT} {ip} saddr @members{number} udp sport {all} {ip} saddr set {vip} accept"
                );
                let _ = writeln!(
                    from,
                    "oifname {OUT} {ip} saddr @members{number} meta l4proto tcp snat {ip} to {vip}"
                );
            }
            Method::MultiIpNat => {
                let inward =
                    FRONTENDS.map(|host| format!("{} : {}", public(host).ip(*family), own(host)));
                let outward =
                    FRONTENDS.map(|host| format!("{} : {}", own(host), public(host).ip(*family)));
                let _ = write!(
                    maps,
                    "map in{number} {{ type {address} : {address}; elements = {{ {} }}; }}\n\
                     map out{number} {{ type {address} : {address}; elements = {{ {} }}; }}\n",
                    inward.join(", "),
                    outward.join(", ")
                );
                let _ = writeln!(
                    pre,
                    "meta l4proto udp {ip} daddr {{ {} }} notrack {ip} daddr set {ip} daddr map @in{number} accept\n\
                     {ip} saddr @members{number} udp sport != {SIP} notrack accept",
                    FRONTENDS.map(|host| public(host).ip(*family).to_string()).join(", ")
                );
                let _ = writeln!(
                    post,
                    "oifname {OUT} {ip} saddr @members{number} udp sport != {SIP} {ip} saddr set {ip} saddr map @out{number} accept"
                );
                let _ = writeln!(
                    from,
                    "oifname {OUT} {ip} saddr @members{number} meta l4proto tcp snat {ip} to {ip} saddr map @out{number}"
                );
            }
            Method::MultiIp | Method::Dsr => {
                let _ =
                    writeln!(pre, "meta l4proto udp {ip} daddr @members{number} notrack accept");
                let _ =
                    writeln!(pre, "meta l4proto udp {ip} saddr @members{number} notrack accept");
            }
        }
    }
    format!(
        "table inet {TABLE} {{\n{maps}\
         chain whole {{ type filter hook prerouting priority -150; policy accept; ct state new\n}}\n\
         chain pre {{ type filter hook prerouting priority raw; policy accept;\n{pre}}}\n\
         chain post {{ type filter hook postrouting priority srcnat; policy accept;\n{post}}}\n\
         chain to {{ type nat hook prerouting priority dstnat; policy accept;\n{to}}}\n\
         chain from {{ type nat hook postrouting priority srcnat; policy accept;\n{from}}}\n}}\n"
    )
}

fn dsr(spread: Spread) -> String {
    let (mut maps, mut rules) = (String::new(), String::new());
    for words in &WORDS {
        let Words { ip, address, number, family } = words;
        let vip = VIP.ip(*family);
        let hand_on = format!("fwd {ip} to meta mark map @sip{number} device {DEVICE}");
        let _ = write!(
            maps,
            "map sip{number} {{ type mark : {address}; elements = {{ {} }}; }}\n\
             map connections{number} {{ typeof {ip} saddr . tcp sport : meta mark; size 65536; flags dynamic,timeout; timeout 1h; }}\n",
            bucket_map(Method::Dsr, words)
        );
        let (is_fragment, id) = match family {
            Family::Ipv4 => ("ip frag-off & 0x3fff != 0", "ip id"),
            Family::Ipv6 => ("exthdr frag exists", "frag id"),
        };
        let _ = writeln!(
            rules,
            "{ip} daddr {vip} {is_fragment} meta mark set jhash {ip} saddr . {id} mod {BUCKETS} {hand_on}\n\
             {ip} daddr {vip} udp dport {SIP} meta mark set {} {hand_on}\n\
             {ip} daddr {vip} tcp flags & (syn | ack) == syn meta mark set {} update @connections{number} {{ {ip} saddr . tcp sport : meta mark }}\n\
             {ip} daddr {vip} meta l4proto tcp meta mark set {ip} saddr . tcp sport map @connections{number} {hand_on}",
            pick(spread, ip, "udp"),
            pick(spread, ip, "tcp"),
        );
    }
    format!(
        "table netdev {TABLE} {{\n{maps}chain in {{ type filter hook ingress device {DEVICE} priority 0; policy accept;\n{rules}}}\n}}\n"
    )
}
