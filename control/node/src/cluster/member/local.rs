//! What this node's file says of it as a member.

use std::net::{IpAddr, SocketAddr};

use anyhow::Context as _;
use control_core::cluster::{Capacity, FarmSetting, LocalSettings, PlacementSetting, SipAddress};
use control_core::mesh::{PROTOCOL, SIP_ADDRESSES_MAX};
use control_core::settings::Settings;

use crate::node::host_addresses;

/// # Errors
/// If the settings do not say where other members reach this one.
pub(super) fn local(settings: &Settings) -> anyhow::Result<LocalSettings> {
    let cluster = &settings.cluster;
    let capacity = u16::try_from(cluster.capacity).ok().and_then(|it| Capacity::new(it).ok());
    Ok(LocalSettings {
        role: cluster.role,
        // What the file leaves as it is by default, the cluster's settings may say.
        farm: Some(cluster.farm).filter(|farm| *farm != FarmSetting::Auto),
        call_legs: Some(cluster.call_legs).filter(|place| *place != PlacementSetting::Auto),
        signals: Some(cluster.signals).filter(|place| *place != PlacementSetting::Auto),
        capacity: capacity.filter(|capacity| *capacity != Capacity::USUAL),
        media_ports: settings.media.ports,
        wan_ip: settings.media.wan_ip,
        cluster_wan_ip: settings.media.cluster_wan_ip,
        mesh: cluster.reached_at().context("cluster.listen is not set")?,
        sip: sip_addresses(settings, &host_addresses::others()),
        protocol: PROTOCOL,
    })
}

/// Where this member takes SIP: the addresses that its listeners are bound to (of wildcards, those of the
/// host), and those that they advertise.
fn sip_addresses(settings: &Settings, host: &[IpAddr]) -> Vec<SipAddress> {
    let mut found: Vec<SipAddress> = Vec::new();
    for listen in &*settings.sip.listen {
        let (bound, transport) = (listen.address, listen.transport);
        let is_like = |ip: &&IpAddr| ip.is_ipv4() == bound.is_ipv4();
        let of_host = host.iter().filter(is_like).map(|ip| SocketAddr::new(*ip, bound.port()));
        let is_wildcard = bound.ip().is_unspecified();
        let of_host = of_host.filter(|_| is_wildcard);
        let of_socket = Some(bound).filter(|_| !is_wildcard);
        for address in listen.advertise.into_iter().chain(of_socket).chain(of_host) {
            let one = SipAddress { transport, address };
            if !found.contains(&one) && found.len() < SIP_ADDRESSES_MAX {
                found.push(one);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_reached_at_what_its_listeners_are_bound_to_and_advertise() {
        let settings = control_core::settings::check(
            "[[sip.listen]]\ntransport = \"udp\"\naddress = \"0.0.0.0:5060\"\n\
             [[sip.listen]]\ntransport = \"tcp\"\naddress = \"192.0.2.1:5070\"\n",
        );
        let settings = settings.expect("good settings");
        let host = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let found: Vec<_> =
            sip_addresses(&settings, &host).iter().map(|one| one.address.to_string()).collect();
        assert_eq!(found, ["192.0.2.1:5060", "192.0.2.1:5070"]);
    }
}
