//! What each device can do, and the file that its configuration is made from.

use super::site::{Site, Trouble};
use super::{Device, Method};

/// What a device is asked for that it cannot do.
pub(super) fn check(method: Method, device: Device, site: &Site, troubles: &mut Vec<Trouble>) {
    match device {
        Device::Nftables | Device::Keepalived => needs_device(device, site, troubles),
        Device::Haproxy => {
            if method == Method::Dsr {
                troubles.push(Trouble::new(
                    "HAProxy is itself the end of the clients' connections, so answers cannot pass it by",
                    format!("use one of the other methods, or {} for {method}", Device::Nftables),
                ));
            }
            if site.tcp_ports.is_empty() {
                let what = "HAProxy balances connections alone, and there is no TCP port";
                troubles.push(Trouble::new(what, "add --tcp-port 5060,5061"));
            }
        }
        Device::F5 => passes_answers_by(method, device, troubles),
        Device::Alteon | Device::Foundry => {
            passes_answers_by(method, device, troubles);
            if let Some(v6) = site.vip.v6 {
                troubles.push(Trouble::new(
                    format!("the configuration for {device} knows IPv4 alone, and {v6} is IPv6"),
                    format!("leave it out, or use {}", Device::Nftables),
                ));
            }
        }
        Device::Linux | Device::Freebsd | Device::Solaris => {
            if method != Method::Dsr {
                troubles.push(Trouble::new(
                    format!("with {method} nothing is to be set in the system of the members"),
                    format!("use {}, or --for ringfarm for their settings", Method::Dsr),
                ));
            }
        }
        Device::Ringfarm => {}
    }
}

/// Appliances remember sessions of UDP wherever they translate addresses (S37): they serve SIP by direct return, and media
/// goes to the members' own addresses then (S72).
fn passes_answers_by(method: Method, device: Device, troubles: &mut Vec<Trouble>) {
    if !matches!(method, Method::Dsr | Method::MultiIp) {
        troubles.push(Trouble::new(
            format!(
                "{device} remembers sessions of UDP where it translates addresses, and answers of other members then \
                 leave from a wrong port"
            ),
            format!("use {}, or {} for {method}", Method::Dsr, Device::Nftables),
        ));
    }
}

fn needs_device(device: Device, site: &Site, troubles: &mut Vec<Trouble>) {
    if site.outside.is_none() {
        let what = format!("{device} needs the name of the device towards the clients");
        troubles.push(Trouble::new(what, "add --outside DEVICE"));
    }
    for name in [&site.outside, &site.inside].into_iter().flatten().filter(|name| !fits(name)) {
        let what = format!("{name:?} is no name of a network device");
        troubles.push(Trouble::new(what, "write it as `ip link` shows it"));
    }
}

/// Whether Linux takes it for a device (`dev_valid_name`); quotes would end the string that it stands in.
fn fits(device: &str) -> bool {
    (1..16).contains(&device.len())
        && device.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b':' | b'"' | b'\\'))
}

/// The file that a configuration is made from.
pub(super) const fn template(method: Method, device: Device) -> &'static str {
    match (device, method) {
        (Device::Nftables, Method::Dsr) => include_str!("templates/dsr.nft"),
        (Device::Nftables, Method::SingleIpNat | Method::MultiIp | Method::MultiIpNat) => {
            include_str!("templates/nat.nft")
        }
        (Device::Keepalived, _) => include_str!("templates/keepalived.conf"),
        (Device::Haproxy, _) => include_str!("templates/haproxy.cfg"),
        (Device::F5, _) => include_str!("templates/f5.conf"),
        (Device::Alteon, _) => include_str!("templates/alteon.cfg"),
        (Device::Foundry, _) => include_str!("templates/foundry.cfg"),
        (Device::Linux, _) => include_str!("templates/linux.sh"),
        (Device::Freebsd, _) => include_str!("templates/freebsd.sh"),
        (Device::Solaris, _) => include_str!("templates/solaris.sh"),
        (Device::Ringfarm, _) => include_str!("templates/ringfarm.toml"),
    }
}
