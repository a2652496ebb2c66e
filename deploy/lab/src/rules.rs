//! The rules of a balancer that binds sessions of SIP over UDP, as it must not (S37, S39): what connects a
//! client with the frontend that its request was given to gives the answer of another one another port.

use std::fmt::Write as _;

use crate::plan::{FRONTENDS, Family, Member, Method, SIP, VIP};
use crate::segment::OUT;

/// A file for `nft -f`, for [`Method::SingleIpNat`]: the connection tracker sees to everything.
pub(crate) fn binding_sessions() -> String {
    let (mut to, mut from) = (String::new(), String::new());
    for (ip, family) in [("ip", Family::Ipv4), ("ip6", Family::Ipv6)] {
        let vip = VIP.ip(family);
        let bracketed = if vip.is_ipv6() { format!("[{vip}]") } else { vip.to_string() };
        let own = |host: u8| Member { host }.own(Method::SingleIpNat).ip(family);
        let choice: Vec<String> =
            FRONTENDS.iter().zip(0..).map(|(host, at)| format!("{at} : {}", own(*host))).collect();
        let pick = format!("numgen random mod {} map {{ {} }}", FRONTENDS.len(), choice.join(", "));
        let _infallible = writeln!(
            to,
            "{ip} daddr {vip} meta l4proto {{ tcp, udp }} th dport {SIP} dnat {ip} to {pick}"
        );
        for host in FRONTENDS {
            let (own, ports) = (own(host), Member { host }.ports(Method::SingleIpNat));
            let range = format!("{}-{}", ports.start(), ports.end());
            let _infallible = writeln!(to, "{ip} daddr {vip} udp dport {range} dnat {ip} to {own}");
            let _infallible = writeln!(
                from,
                "oifname {OUT} {ip} saddr {own} udp sport {SIP} snat {ip} to {bracketed}\n\
                 oifname {OUT} {ip} saddr {own} snat {ip} to {bracketed}"
            );
        }
    }
    format!(
        "table inet ringfarm {{\n\
         chain to {{ type nat hook prerouting priority dstnat; policy accept;\n{to}}}\n\
         chain from {{ type nat hook postrouting priority srcnat; policy accept;\n{from}}}\n}}\n"
    )
}
