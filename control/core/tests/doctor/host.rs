//! A node's host.

use std::net::IpAddr;

use control_core::doctor::{
    Address, Arp, Ends, Finding, Host, MediaOf, Occupied, Severity, Tracked, examine,
};
use control_core::settings::PortRange;

use crate::{check_shape, worse};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn ports(first: u16, last: u16) -> PortRange {
    PortRange::new(first, last).expect("a range")
}

fn address(device: &str, text: &str) -> Address {
    Address { ip: ip(text), device: device.to_owned(), is_loopback: device == "lo" }
}

fn arp(device: &str, ignore: u8, announce: u8) -> Arp {
    Arp { device: device.to_owned(), ignore, announce }
}

/// A member with direct return, as it should be.
fn host() -> Host {
    Host {
        kernel: "6.18.0".to_owned(),
        io_uring: Ok(()),
        descriptors_max: 1 << 20,
        connections_max: 8_192,
        is_running: false,
        media_ports: ports(10_000, 19_999),
        udp_ports: vec![5060],
        tcp_ports: vec![5060, 5061],
        port_advice: Vec::new(),
        occupied: Vec::new(),
        named: vec![("sip.listen[0]".to_owned(), ip("203.0.113.5"))],
        addresses: vec![
            address("lo", "127.0.0.1"),
            address("lo", "203.0.113.5"),
            address("eth0", "203.0.113.11"),
        ],
        arp: vec![arp("all", 1, 2), arp("eth0", 0, 0), arp("eth1", 0, 0)],
        tracked: Some(Tracked::default()),
        engine: vec![("10.0.0.1:4222".to_owned(), Ok(())), ("10.0.0.2:4222".to_owned(), Ok(()))],
        members: Vec::new(),
        is_clock_kept: Some(true),
        certificates: Vec::new(),
    }
}

fn examined(change: impl FnOnce(&mut Host)) -> Vec<Finding> {
    let mut host = host();
    change(&mut host);
    let findings = examine(&host);
    check_shape(&findings);
    findings
}

/// The one finding of `check`, which is as bad as `severity`.
fn one(findings: &[Finding], check: &str, severity: Severity) -> Finding {
    let [finding] = worse(findings, check)[..] else { panic!("{check}: {findings:#?}") };
    assert_eq!(finding.severity, severity, "{finding:?}");
    finding.clone()
}

#[test]
fn a_host_that_is_as_it_should_be_is_told_so_check_by_check() {
    let findings = examined(|_| {});
    assert!(findings.iter().all(|finding| finding.severity == Severity::Ok), "{findings:#?}");
    assert!(findings.len() >= 8, "{findings:#?}");
}

/// What could not be found out is not complained of.
#[test]
fn what_is_not_known_is_not_complained_of() {
    let findings = examined(|host| {
        (host.tracked, host.is_clock_kept) = (None, None);
        host.arp.clear();
        host.addresses.clear();
        host.named.clear();
        host.engine.clear();
    });
    assert!(findings.iter().all(|finding| finding.severity == Severity::Ok), "{findings:#?}");
}

#[test]
fn a_kernel_without_io_uring_is_an_error_with_the_way_out() {
    let finding = one(
        &examined(|host| {
            host.io_uring =
                Err("io_uring is disabled on this host: kernel.io_uring_disabled is 2; \
                                 sysctl -w kernel.io_uring_disabled=0"
                    .to_owned());
        }),
        "io_uring",
        Severity::Error,
    );
    assert_eq!(finding.mend, "sysctl -w kernel.io_uring_disabled=0");
}

#[test]
fn fewer_descriptors_than_connections_are_warned_of_with_the_limit_to_set() {
    let finding =
        one(&examined(|host| host.descriptors_max = 4_096), "descriptors", Severity::Warning);
    assert!(finding.what.contains("4096") && finding.what.contains("9216"), "{finding:?}");
    assert!(finding.mend.contains("LimitNOFILE=16384"), "{finding:?}");
}

/// S50: an address that is not there is named with the key and the command that puts it on lo.
#[test]
fn an_address_that_the_host_lacks_is_an_error_with_the_command_that_adds_it() {
    let finding = one(
        &examined(|host| host.addresses.retain(|address| address.ip != ip("203.0.113.5"))),
        "address",
        Severity::Error,
    );
    assert!(finding.what.contains("sip.listen[0] = 203.0.113.5"), "{finding:?}");
    assert_eq!(finding.mend, "ip address add 203.0.113.5/32 dev lo && ringfarm refresh");
    let findings = examined(|host| host.named.push(("x".to_owned(), ip("2001:db8::5"))));
    assert!(one(&findings, "address", Severity::Error).mend.contains("2001:db8::5/128 dev lo"));
}

/// S48: on each device, the greater of its own value and that of `all`.
#[test]
fn a_device_that_speaks_of_the_vip_is_an_error_for_each_value_that_lets_it() {
    let findings = examined(|host| host.arp[0] = arp("all", 0, 0));
    assert_eq!(worse(&findings, "arp").len(), 4, "two devices, two values: {findings:#?}");
    let findings = examined(|host| host.arp = vec![arp("all", 0, 2), arp("eth0", 1, 0)]);
    assert!(worse(&findings, "arp").is_empty(), "{findings:#?}");
    let findings = examined(|host| host.arp = vec![arp("all", 1, 1), arp("eth0", 0, 0)]);
    let finding = one(&findings, "arp", Severity::Error);
    assert_eq!(finding.what, "arp_announce of eth0 is 1 with 203.0.113.5 on lo");
    assert_eq!(
        finding.mend,
        "sysctl -w net.ipv4.conf.all.arp_announce=2 net.ipv4.conf.eth0.arp_announce=2"
    );
    // Without an alias nobody is to be silent.
    let findings = examined(|host| {
        host.arp[0] = arp("all", 0, 0);
        host.addresses.retain(|address| !address.is_loopback);
        host.named.clear();
    });
    assert!(worse(&findings, "arp").is_empty(), "{findings:#?}");
}

/// S37: what is tracked is counted in lines of the kernel, by the ports of either direction.
#[test]
fn tracked_sip_and_media_are_warned_of_with_the_rules_that_end_it() {
    let mut tracked = Tracked::default();
    for line in [
        "ipv4     2 udp      17 29 src=1.1.1.1 dst=2.2.2.2 sport=40000 dport=5060 [UNREPLIED] \
         src=2.2.2.2 dst=1.1.1.1 sport=5060 dport=40000 mark=0 zone=0 use=2",
        "udp      17 29 src=1.1.1.1 dst=2.2.2.2 sport=12000 dport=40000 [ASSURED] mark=0 use=1",
        "ipv4     2 tcp      6 75 TIME_WAIT src=1.1.1.1 dst=2.2.2.2 sport=5060 dport=5060 use=2",
        "ipv4     2 udp      17 29 src=1.1.1.1 dst=2.2.2.2 sport=53 dport=40000 use=2",
        "",
        "udp sport=x dport=70000",
    ] {
        tracked.count(line, &[5060], ports(10_000, 19_999));
    }
    assert_eq!((tracked.sip, tracked.media), (1, 1));
    let finding =
        one(&examined(|host| host.tracked = Some(tracked)), "conntrack", Severity::Warning);
    assert!(finding.mend.contains("udp dport { 5060, 10000-19999 } notrack"), "{finding:?}");
}

#[test]
fn a_tracker_that_is_nearly_full_is_an_error() {
    let table = |count| {
        examined(|host| host.tracked.as_mut().expect("there").table = Some((count, 65_536)))
    };
    assert!(worse(&table(50_000), "conntrack_table").is_empty());
    let finding = one(&table(60_000), "conntrack_table", Severity::Error);
    assert_eq!(finding.mend, "sysctl -w net.netfilter.nf_conntrack_max=262144");
}

/// Of a node that runs its ports are its own.
#[test]
fn ports_that_others_have_are_named_with_the_program_unless_the_node_runs() {
    let taken =
        |transport, port, by: Option<&str>| Occupied { transport, port, by: by.map(str::to_owned) };
    let occupied = || {
        let mut all = vec![taken("udp", 5060, Some("kamailio (process 7)"))];
        all.extend((0..7).map(|number| taken("udp", 10_000 + number, None)));
        all
    };
    let findings = examined(|host| host.occupied = occupied());
    let [sip, media] = worse(&findings, "occupied")[..] else { panic!("{findings:#?}") };
    assert_eq!(sip.severity, Severity::Error);
    assert_eq!(sip.what, "udp port 5060 is taken by kamailio (process 7)");
    assert_eq!(media.severity, Severity::Warning);
    assert!(media.what.ends_with("10003, 10004 and 2 more"), "{media:?}");
    let findings = examined(|host| {
        host.occupied = occupied();
        host.is_running = true;
    });
    assert!(worse(&findings, "occupied").is_empty());
}

/// One server of three may be away; all of them stop changes.
#[test]
fn servers_of_the_engine_that_cannot_be_reached_are_named() {
    let refused = || Err("connection refused".to_owned());
    let findings = examined(|host| host.engine[1].1 = refused());
    let finding = one(&findings, "engine", Severity::Warning);
    assert!(finding.what.contains("10.0.0.2:4222"), "{finding:?}");
    let findings = examined(|host| host.engine.iter_mut().for_each(|server| server.1 = refused()));
    assert_eq!(worse(&findings, "engine").len(), 2);
    assert!(worse(&findings, "engine").iter().all(|one| one.severity == Severity::Error));
}

/// S60 and S64: overlaps under one address are errors; else the planner says what the address is good for.
#[test]
fn media_ports_of_members_under_one_address_are_judged_together() {
    let member = |name: &str, first, last, wan: &str| MediaOf {
        name: name.to_owned(),
        ports: ports(first, last),
        wan: vec![ip(wan)],
    };
    let g0 = "203.0.113.5";
    let findings = examined(|host| {
        host.members = vec![member("fe-1", 10_000, 19_999, g0), member("fe-2", 15_000, 24_999, g0)];
    });
    let finding = one(&findings, "ranges", Severity::Error);
    assert!(
        finding.what.contains("15000-24999 of fe-2 overlap 10000-19999 of fe-1"),
        "{finding:?}"
    );
    let findings = examined(|host| {
        host.members = vec![
            member("fe-1", 10_000, 19_999, g0),
            member("fe-2", 20_000, 29_999, g0),
            member("fe-3", 10_000, 19_999, "203.0.113.6"),
        ];
    });
    assert!(worse(&findings, "ranges").is_empty(), "{findings:#?}");
    let told =
        findings.iter().find(|finding| finding.check == "ranges").expect("the planner speaks");
    assert!(
        told.what.contains("2 members share 203.0.113.5 with 20000 of 64512 ports: 10000 streams")
    );
}

#[test]
fn clock_and_certificates_are_spoken_of_in_time() {
    let clock = one(&examined(|host| host.is_clock_kept = Some(false)), "clock", Severity::Warning);
    assert!(clock.mend.starts_with("timedatectl set-ntp true"));
    let ends = |left_s| {
        examined(|host| {
            let renew = "ringfarm cluster renew";
            host.certificates.push(Ends { file: "/x.pem".to_owned(), left_s, renew });
        })
    };
    assert!(worse(&ends(31 * 86_400), "certificate").is_empty());
    assert_eq!(one(&ends(86_400), "certificate", Severity::Warning).mend, "ringfarm cluster renew");
    assert_eq!(one(&ends(0), "certificate", Severity::Error).what, "/x.pem has ended");
}
