//! `[media]`: ports, addresses, WAN IP.

use std::net::IpAddr;

use control_core::settings::{Learning, PortRange, RelayMode};

use crate::{bad, good};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn ports_start_even_end_odd_and_need_no_privileges() {
    let ports = good("[media]\nports = \"10000-19999\"\n").media.ports;
    assert_eq!((ports.first(), ports.last(), ports.count()), (10_000, 19_999, 10_000));
    assert_eq!(ports.range(), 10_000..=19_999);
    good(
        "[media]\nports = \"1024-65535\"\n[[sip.listen]]\ntransport = \"udp\"\naddress = \"0.0.0.0:1023\"\n",
    );
    for (ports, what) in [
        ("1022-2001", "port 1022 needs privileges; start at 1024 or above"),
        ("20001-29999", "the first port, 20001, is odd, and RTP uses even ports; start at 20000"),
        (
            "20000-29998",
            "the last port, 29998, is even and would stay without its pair; end at 29999",
        ),
        ("20000-19999", "the range ends before it starts; write \"19999-20000\""),
        ("20000-70000", "is not a range of ports"),
        ("20000", "is not a range of ports"),
        ("a-b", "is not a range of ports"),
        ("", "is not a range of ports"),
    ] {
        let problems = bad(&format!("[media]\nports = \"{ports}\"\n"));
        assert!(
            problems.starts_with("2:9: media.ports: ") && problems.contains(what),
            "{problems}"
        );
    }
}

#[test]
fn a_range_too_small_for_its_workers_is_refused() {
    good("[node]\nworkers = 2\n[media]\nports = \"20000-20015\"\n");
    assert_eq!(
        bad("[node]\nworkers = 3\n[media]\nports = \"20000-20015\"\n"),
        "4:9: media.ports: 20000-20015 is 16 ports for 3 workers; \
         a call with audio and video takes 8: give at least 24"
    );
    bad("[node]\ncores = [0, 1, 2]\n[media]\nports = \"20000-20015\"\n");
}

#[test]
fn media_ports_that_hold_a_sip_port_are_refused_with_both_lines() {
    let listen = "[[sip.listen]]\ntransport = \"udp\"\naddress = \"0.0.0.0:25060\"\n";
    assert_eq!(
        bad(listen),
        "3:11: sip.listen[0].address: port 25060 lies in the media ports, 20000-29999; \
         move the media ports or the SIP port"
    );
    let problems = bad(&format!("{listen}[media]\nports = \"25000-25999\"\n"));
    assert!(
        problems.starts_with("5:9: media.ports: 25000-25999 holds port 25060 of SIP (line 3)"),
        "{problems}"
    );
}

#[test]
fn a_sip_port_on_tcp_or_on_another_address_does_not_collide_with_media() {
    good("[[sip.listen]]\ntransport = \"tcp\"\naddress = \"0.0.0.0:25060\"\n");
    let apart = "[[sip.listen]]\ntransport = \"udp\"\naddress = \"192.0.2.1:25060\"\n[media]\naddresses = [\"192.0.2.2\"]\n";
    good(apart);
    bad(&apart.replace("192.0.2.2", "192.0.2.1"));
}

/// Rows S63 and S71, and the interpretation: server-wide, else cluster-wide, else local.
#[test]
fn the_wan_ip_is_the_servers_else_the_clusters_else_the_local_address() {
    let local = ip("10.0.0.5");
    let advertised = |text: &str| good(&format!("[media]\n{text}")).media.advertised_address(local);
    let (server, cluster) = ("wan_ip = \"203.0.113.1\"\n", "cluster_wan_ip = \"203.0.113.9\"\n");
    assert_eq!(advertised(&format!("{server}{cluster}")), ip("203.0.113.1"));
    assert_eq!(advertised(server), ip("203.0.113.1"));
    assert_eq!(advertised(&format!("wan_ip = \"\"\n{cluster}")), ip("203.0.113.9"));
    assert_eq!(advertised(cluster), ip("203.0.113.9"));
    assert_eq!(advertised(""), local);
    assert_eq!(advertised("wan_ip = []\ncluster_wan_ip = \"\"\n"), local);
}

#[test]
fn a_wan_ip_stands_for_local_addresses_of_its_own_family() {
    let text =
        "[media]\nwan_ip = \"203.0.113.1\"\ncluster_wan_ip = [\"2001:db8::9\", \"203.0.113.9\"]\n";
    let media = good(text).media;
    assert_eq!(media.advertised_address(ip("10.0.0.5")), ip("203.0.113.1"));
    assert_eq!(media.advertised_address(ip("fd00::5")), ip("2001:db8::9"));
    assert_eq!(media.wan_ips(), [ip("203.0.113.1"), ip("2001:db8::9")]);
    let media = good("[media]\nwan_ip = \"203.0.113.1\"\n").media;
    assert_eq!(media.advertised_address(ip("fd00::5")), ip("fd00::5"));
}

#[test]
fn a_wan_ip_is_unicast_and_one_a_family() {
    for wan_ip in ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "::ffff:192.0.2.1"] {
        for key in ["wan_ip", "cluster_wan_ip"] {
            let problems = bad(&format!("[media]\n{key} = \"{wan_ip}\"\n"));
            assert!(
                problems.starts_with(&format!("2:{}: media.{key}: ", key.len() + 4)),
                "{problems}"
            );
        }
    }
    assert_eq!(
        bad("[media]\nwan_ip = [\"203.0.113.1\", \"203.0.113.2\"]\n"),
        "2:26: media.wan_ip[1]: 203.0.113.2 is the second address of its family; \
         list one IPv4 address and one IPv6 address at most"
    );
    assert!(bad("[media]\nwan_ip = \"wan.example\"\n").contains("is not an IP address"));
    assert!(bad("[media]\nwan_ip = 5\n").contains("expected a string"));
}

#[test]
fn media_uses_the_address_of_sip_unless_others_are_listed() {
    assert_eq!(good("").media.local_address(ip("192.0.2.1")), ip("192.0.2.1"));
    let text = "[media]\naddresses = [\"10.0.0.1\", \"10.0.0.2\"]\n";
    let media = good(text).media;
    assert_eq!(media.local_address(ip("10.0.0.2")), ip("10.0.0.2"));
    assert_eq!(media.local_address(ip("192.0.2.1")), ip("10.0.0.1"));
}

#[test]
fn media_addresses_are_unicast_and_listed_once() {
    let problems =
        bad("[media]\naddresses = [\"0.0.0.0\", \"10.0.0.1\", \"10.0.0.1\", \"239.0.0.1\"]\n");
    assert!(problems.contains("media.addresses[0]: 0.0.0.0 is a wildcard"), "{problems}");
    assert!(problems.contains("media.addresses[2]: 10.0.0.1 is listed twice"), "{problems}");
    assert!(
        problems.contains("media.addresses[3]: 239.0.0.1 is a multicast address"),
        "{problems}"
    );
}

#[test]
fn media_has_an_address_of_each_family_that_sip_uses() {
    let problems = bad("[media]\naddresses = [\"2001:db8::1\"]\n");
    assert_eq!(
        problems,
        "2:13: media.addresses: SIP is listened for on IPv4, but no address here is IPv4; \
         add an IPv4 address of this host, or leave the list empty"
    );
}

#[test]
fn learning_is_strict_unless_it_says_otherwise() {
    assert_eq!(good("").media.learning, Learning::Strict);
    assert_eq!(good("[media]\nlearning = \"nat\"\n").media.learning, Learning::Nat);
    let asymmetric = good("[media]\nlearning = \"asymmetric\"\n").media.learning;
    assert_eq!(asymmetric, Learning::Asymmetric);
    let problems = bad("[media]\nlearning = \"any\"\n");
    assert!(problems.contains("write \"strict\", \"nat\" or \"asymmetric\""), "{problems}");
}

#[test]
fn idle_and_rest_times_stay_in_their_ranges() {
    good("[media]\nrest_s = 0\nidle_timeout_s = 5\n");
    let problems = bad("[media]\nrest_s = 3601\nidle_timeout_s = 4\n");
    assert!(problems.contains("3601 is out of range; choose 0 to 3600"), "{problems}");
    assert!(problems.contains("4 is out of range; choose 5 to 86400"), "{problems}");
}

#[test]
fn a_port_range_is_made_only_if_it_is_right() {
    assert!(PortRange::new(1025, 1027).is_err());
    assert_eq!(
        PortRange::new(1024, 1025).map(|range| range.to_string()),
        Ok("1024-1025".to_owned())
    );
}

/// RFC 2474: a code point has six bits.
#[test]
fn a_code_point_has_six_bits() {
    let media = good("").media;
    assert_eq!((media.dscp, media.dscp_video, media.dscp_other), (46, 34, 0));
    assert_eq!(good("[media]\ndscp = 0\n").media.dscp, 0);
    for key in ["dscp", "dscp_video", "dscp_other"] {
        let problems = bad(&format!("[media]\n{key} = 64\n"));
        assert!(problems.contains("64 is out of range; choose 0 to 63"), "{problems}");
    }
}

#[test]
fn a_worker_is_given_up_after_5_s_and_runs_are_segmented_unless_the_settings_say_otherwise() {
    let media = good("").media;
    assert_eq!((media.stall_s.duration().as_secs(), media.segments), (5, true));
    let media = good("[media]\nstall_s = 60\nsegments = false\n").media;
    assert_eq!((media.stall_s.duration().as_secs(), media.segments), (60, false));
    let problems = bad("[media]\nsegments = \"yes\"\n");
    assert!(problems.contains("expected true or false, found string"), "{problems}");
    assert!(bad("[media]\nstall_s = 0\n").contains("0 is out of range; choose 1 to 60"));
}

/// Half a packet time of common telephony is the most that a relay may add.
#[test]
fn packets_are_gathered_for_at_most_ten_milliseconds() {
    assert_eq!(good("").media.gather_us, 1000);
    assert_eq!(good("[media]\ngather_us = 0\n").media.gather_us, 0);
    assert!(
        bad("[media]\ngather_us = 10001\n").contains("10001 is out of range; choose 0 to 10000")
    );
}

#[test]
fn media_is_relayed_unless_the_settings_say_never() {
    assert_eq!(good("").media.relay, RelayMode::Always);
    assert_eq!(good("[media]\nrelay = \"never\"\n").media.relay, RelayMode::Never);
    let problems = bad("[media]\nrelay = \"sometimes\"\n");
    assert!(
        problems.starts_with("2:9: media.relay: ") && problems.contains("\"always\" or \"never\""),
        "{problems}"
    );
}
