//! Sites that cannot be what is asked for: said with the member, its address and what to do.

use control_core::balancer::{Device, Method, Site, render};
use control_core::settings::PortRange;

use crate::{pair, site};

/// What is wrong with a site, one line each.
fn troubles(method: Method, site: &Site) -> Vec<String> {
    let refused = render(method, Device::Nftables, site);
    refused.expect_err("it is refused").iter().map(ToString::to_string).collect()
}

/// S60: under one address each member has ports of its own; elsewhere they may be the same.
#[test]
fn overlapping_media_ports_are_refused_with_both_names_where_they_share_an_address() {
    let mut site = site();
    site.members[1].ports = Some(PortRange::new(15_000, 24_999).unwrap());
    assert_eq!(
        troubles(Method::SingleIpNat, &site),
        [
            "media ports 15000-24999 of fe-2 overlap 10000-19999 of fe-1; with single-ip-nat give \
             each member a range of its own",
            "media ports 30000-39999 of fe-3 overlap 15000-24999 of fe-2; with single-ip-nat give \
             each member a range of its own"
        ][..1]
    );
    for method in [Method::MultiIp, Method::MultiIpNat, Method::Dsr] {
        assert!(render(method, Device::Nftables, &site).is_ok(), "{method}");
    }
    site.members[2].ports = None;
    assert!(troubles(Method::SingleIpNat, &site).iter().any(|line| {
        line == "single-ip-nat sends media by its port, and member fe-3 has no range; \
                 add ports=FIRST-LAST to --member name=fe-3"
    }));
}

#[test]
fn a_member_without_an_address_of_the_vips_family_is_refused() {
    let mut site = site();
    site.members[0].lan = pair(&["10.0.0.1"]);
    for method in Method::ALL {
        assert_eq!(
            troubles(method, &site),
            ["member fe-1 has no IPv6 address, and the VIP 2001:db8::5 needs one; \
              add lan=ADDRESS to --member name=fe-1"],
            "{method}"
        );
    }
}

/// S69: each member has an address of the balancer for itself.
#[test]
fn a_member_without_a_wan_address_is_refused_where_it_needs_one() {
    let mut site = site();
    site.members[2].wan = pair(&["203.0.113.13"]);
    assert_eq!(
        troubles(Method::MultiIpNat, &site),
        ["multi-ip-nat needs an IPv6 address of the balancer for member fe-3; \
          add wan=ADDRESS to --member name=fe-3"]
    );
    assert!(render(Method::MultiIp, Device::Nftables, &site).is_ok());
}

#[test]
fn what_two_have_or_nobody_has_is_refused() {
    let says = |change: &dyn Fn(&mut Site), line: &str| {
        let mut site = site();
        change(&mut site);
        let lines = troubles(Method::MultiIpNat, &site);
        assert!(lines.iter().any(|l| l == line), "{line}\n{lines:?}");
    };
    says(
        &|site| site.members[1].lan = site.members[0].lan,
        "fe-1 and fe-2 have the same address 10.0.0.1; give each its own in lan=",
    );
    says(
        &|site| site.members[1].wan = site.vip,
        "the address that stands for member fe-2 is the VIP; give each member a WAN address of its own",
    );
    says(
        &|site| site.members[1].lan = site.vip,
        "member fe-2 is to be reached at 203.0.113.5, which is the VIP; name an address that this \
         member alone has",
    );
    says(
        &|site| site.members[1].name = site.members[0].name.clone(),
        "there are two members fe-1; give each its own name",
    );
    says(&|site| site.members.clear(), "there is no member; add --member name=NAME,lan=ADDRESS");
    says(
        &|site| site.vip = pair(&[]),
        "the address that clients use is missing; add --vip ADDRESS",
    );
    says(&|site| site.udp_ports.clear(), "there is no UDP port of SIP; add --udp-port 5060");
    says(
        &|site| site.tcp_ports = vec![5060, 5060],
        "port 5060 is listed twice; list it once in --tcp-port",
    );
    says(
        &|site| site.outside = None,
        "nftables needs the name of the device towards the clients; add --outside DEVICE",
    );
    says(
        &|site| site.outside = Some("eth0\" accept".to_owned()),
        "\"eth0\\\" accept\" is no name of a network device; write it as `ip link` shows it",
    );
    says(
        &|site| site.udp_ports = vec![10_000],
        "media ports 10000-19999 of fe-1 include 10000, which is SIP's; choose a range without it",
    );
}

/// The members' own connections share the address with all media: some ports have to be nobody's.
#[test]
fn media_ports_that_leave_none_for_the_members_own_connections_are_refused() {
    let mut site = site();
    site.vip = pair(&["203.0.113.5"]);
    site.members.truncate(1);
    site.members[0].ports = Some(PortRange::new(1_024, 65_535).unwrap());
    site.udp_ports = vec![1_000];
    assert_eq!(
        troubles(Method::SingleIpNat, &site),
        ["the media ports leave no room for the members' own connections; leave at least 256 \
          ports in a row free"]
    );
}

/// S37: what a device cannot do is refused with the reason and what can be done.
#[test]
fn what_a_device_cannot_do_is_refused_with_the_way_out() {
    let v4 = || {
        let mut site = site();
        site.vip.v6 = None;
        site
    };
    let says = |method, device, site: &Site| {
        let refused = render(method, device, site).expect_err("it is refused");
        refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    for device in [Device::F5, Device::Alteon, Device::Foundry] {
        for method in [Method::SingleIpNat, Method::MultiIpNat] {
            let line = says(method, device, &v4());
            assert!(line.contains("remembers sessions of UDP"), "{line}");
            assert!(line.ends_with(&format!("use dsr, or nftables for {method}")), "{line}");
        }
        for method in [Method::Dsr, Method::MultiIp] {
            assert!(render(method, device, &v4()).is_ok(), "{device} {method}");
        }
    }
    let line = says(Method::Dsr, Device::Alteon, &site());
    assert!(line.contains("knows IPv4 alone, and 2001:db8::5 is IPv6"), "{line}");
    let line = says(Method::Dsr, Device::Haproxy, &site());
    assert!(line.contains("answers cannot pass it by"), "{line}");
    let mut no_tcp = site();
    no_tcp.tcp_ports.clear();
    let line = says(Method::MultiIp, Device::Haproxy, &no_tcp);
    assert!(line.contains("there is no TCP port"), "{line}");
    for device in [Device::Linux, Device::Freebsd, Device::Solaris] {
        let line = says(Method::MultiIp, device, &site());
        assert!(line.contains("nothing is to be set in the system of the members"), "{line}");
    }
    let mut site = site();
    site.outside = None;
    for device in Device::ALL {
        let needs = matches!(device, Device::Nftables | Device::Keepalived);
        let told = render(Method::Dsr, device, &site)
            .err()
            .is_some_and(|lines| lines.iter().any(|line| line.fix == "add --outside DEVICE"));
        assert_eq!(told, needs, "{device}");
    }
}
