//! `[sip]`: listeners, domains, registrar.

use std::time::Duration;

use control_core::settings::{Digest, Listen, Transport};

use crate::{bad, good};

fn listen(entries: &[(&str, &str)]) -> String {
    let entry = |(transport, address): &(&str, &str)| {
        format!("[[sip.listen]]\ntransport = \"{transport}\"\naddress = \"{address}\"\n")
    };
    entries.iter().map(entry).collect()
}

#[test]
fn by_default_udp_and_tcp_are_listened_on_everywhere() {
    let any = "0.0.0.0:5060".parse().unwrap();
    let expected = [Listen::on(Transport::Udp, any), Listen::on(Transport::Tcp, any)];
    assert_eq!(good("").sip.listen, expected);
}

#[test]
fn an_address_needs_a_port_and_numbers() {
    let problems = bad(&listen(&[("udp", "192.0.2.1")]));
    assert_eq!(
        problems,
        "3:11: sip.listen[0].address: \"192.0.2.1\" is not an address with a port; \
         add a port: \"192.0.2.1:5060\""
    );
    let problems = bad(&listen(&[("udp", "[2001:db8::1]")]));
    assert!(problems.ends_with("add a port: \"[2001:db8::1]:5060\""), "{problems}");
    let problems = bad(&listen(&[("udp", "sip.example.com:5060")]));
    assert!(problems.contains("write numbers"), "{problems}");
}

#[test]
fn an_unknown_transport_is_told_the_known_ones() {
    let problems = bad(&listen(&[("sctp", "0.0.0.0:5061")]));
    assert_eq!(
        problems,
        "2:13: sip.listen[0].transport: unknown transport \"sctp\"; \
         write \"udp\", \"tcp\", \"tls\", \"ws\" or \"wss\""
    );
}

/// RFC 6454 6.2: an origin has no path, so that one with a path would never be met.
#[test]
fn origins_of_web_pages_are_checked() {
    let settings =
        good("[sip]\nws_origins = [\"https://Phone.example.com\", \"http://[::1]:8080\"]\n");
    let origins = settings.sip.ws_origins.iter().map(|origin| origin.as_str());
    assert_eq!(origins.collect::<Vec<_>>(), ["https://phone.example.com", "http://[::1]:8080"]);
    for wrong in ["phone.example.com", "https://", "https://phone.example.com/", "*"] {
        let problems = bad(&format!("[sip]\nws_origins = [\"{wrong}\"]\n"));
        assert!(problems.contains("is not the origin of a web page"), "{problems}");
    }
}

/// RFC 7118 5: a browser cannot be called without a connection of its own.
#[test]
fn no_route_leads_over_a_web_socket() {
    let route = "[[routes]]\ndomain = \"pbx.example\"\nnext_hop = \"192.0.2.7:5060\"\n";
    let problems = bad(&format!("{route}transport = \"wss\"\n"));
    assert!(problems.contains("routes[0].transport: nobody can be called over wss"), "{problems}");
}

/// WebSockets over TLS show the certificates of TLS.
#[test]
fn a_secure_web_socket_needs_a_certificate() {
    let problems = bad(&listen(&[("wss", "0.0.0.0:443")]));
    assert!(problems.contains("TLS needs a certificate"), "{problems}");
}

#[test]
fn a_listener_names_transport_and_address() {
    let problems = bad("[[sip.listen]]\nadvertise = \"203.0.113.5:5060\"\n");
    assert!(problems.contains("sip.listen[0].transport: is missing; add it"), "{problems}");
    assert!(problems.contains("sip.listen[0].address: is missing; add it"), "{problems}");
}

#[test]
fn two_listeners_on_one_address_are_reported_with_both_lines() {
    let text =
        listen(&[("udp", "192.0.2.1:5060"), ("tcp", "192.0.2.1:5060"), ("udp", "192.0.2.1:5060")]);
    assert_eq!(
        bad(&text),
        "9:11: sip.listen[2].address: udp 192.0.2.1:5060 is taken by 192.0.2.1:5060 (line 1); \
         keep one of the two, or use another port"
    );
}

/// Row S52: UDP uses two sockets, VIP:5060 and all:5060. TCP refuses the like.
#[test]
fn a_wildcard_may_stand_beside_one_address_on_udp_alone() {
    good(&listen(&[("udp", "0.0.0.0:5060"), ("udp", "192.0.2.1:5060")]));
    let problems = bad(&listen(&[("tcp", "0.0.0.0:5060"), ("tcp", "192.0.2.1:5060")]));
    assert!(problems.contains("is taken by 0.0.0.0:5060"), "{problems}");
}

#[test]
fn the_wildcards_of_both_families_and_free_ports_do_not_collide() {
    good(&listen(&[("tcp", "0.0.0.0:5060"), ("tcp", "[::]:5060")]));
    good(&listen(&[("udp", "127.0.0.1:0"), ("udp", "127.0.0.1:0")]));
}

#[test]
fn no_listener_at_all_is_a_problem() {
    let problems = bad("[sip]\nlisten = []\n");
    assert!(problems.starts_with("2:10: sip.listen: no socket is listed"), "{problems}");
}

#[test]
fn there_are_256_listeners_at_most() {
    let listeners =
        |count: u32| (1..=count).map(|port| listen(&[("tcp", &format!("192.0.2.1:{port}"))]));
    good(&listeners(256).collect::<String>());
    let problems = bad(&listeners(257).collect::<String>());
    assert!(
        problems.contains("sip.listen: 257 sockets are listed; list at most 256"),
        "{problems}"
    );
}

#[test]
fn only_addresses_that_a_host_can_have_are_listened_on() {
    for address in [
        "224.0.0.1:5060",
        "255.255.255.255:5060",
        "0.0.0.7:5060",
        "[ff02::1]:5060",
        "[::ffff:192.0.2.1]:5060",
    ] {
        let problems = bad(&listen(&[("udp", address)]));
        assert!(problems.starts_with("3:11: sip.listen[0].address: "), "{problems}");
        assert!(problems.contains("write an address of this host"), "{problems}");
    }
}

#[test]
fn a_link_local_address_names_its_interface() {
    good(&listen(&[("udp", "[fe80::1%2]:5060")]));
    let problems = bad(&listen(&[("udp", "[fe80::1]:5060")]));
    assert!(problems.ends_with("name it by its index: \"[fe80::1%2]:5060\""), "{problems}");
}

#[test]
fn an_advertised_address_can_be_sent_to_and_is_of_the_same_family() {
    let with = |advertise: &str| {
        listen(&[("udp", "0.0.0.0:5060")]) + &format!("advertise = \"{advertise}\"\n")
    };
    let settings = good(&with("203.0.113.5:5060"));
    assert_eq!(settings.sip.listen[0].advertise, Some("203.0.113.5:5060".parse().unwrap()));
    for (advertise, what) in [
        ("0.0.0.0:5060", "is a wildcard"),
        ("203.0.113.5:0", "port 0 cannot be sent to"),
        ("[2001:db8::1]:5060", "is not of the address family"),
        ("239.1.1.1:5060", "is a multicast address"),
    ] {
        let problems = bad(&with(advertise));
        assert!(problems.starts_with("4:13: sip.listen[0].advertise: "), "{problems}");
        assert!(problems.contains(what), "{problems}");
    }
}

#[test]
fn a_problem_with_one_listener_does_not_hide_those_of_another() {
    let problems = bad(&listen(&[("sctp", "0.0.0.0:5060"), ("udp", "224.0.0.1:5060")]));
    assert!(problems.contains("sip.listen[0].transport"), "{problems}");
    assert!(problems.contains("sip.listen[1].address"), "{problems}");
}

#[test]
fn domains_are_names_without_scheme_port_or_wildcard() {
    assert_eq!(good("[sip]\ndomains = [\"Example.COM\"]\n").sip.domains[0].as_str(), "example.com");
    for domain in
        ["", "sip:example.com", "example.com:5060", "*.example.com", "a..b", "-a.b", "a b"]
    {
        let problems = bad(&format!("[sip]\ndomains = [\"ok.example\", \"{domain}\"]\n"));
        assert!(problems.starts_with("2:26: sip.domains[1]: "), "{problems}");
    }
}

#[test]
fn a_domain_is_listed_once_whatever_its_case() {
    let problems = bad("[sip]\ndomains = [\"a.example\", \"A.Example\"]\n");
    assert_eq!(problems, "2:25: sip.domains[1]: a.example is listed twice; list it once");
}

#[test]
fn the_realm_is_the_stated_one_else_the_first_domain_else_ringfarm() {
    assert_eq!(good("").sip.realm(), "ringfarm");
    assert_eq!(good("[sip]\ndomains = [\"a.example\", \"b.example\"]\n").sip.realm(), "a.example");
    assert_eq!(
        good("[sip]\ndomains = [\"a.example\"]\nrealm = \"Our phones\"\n").sip.realm(),
        "Our phones"
    );
}

/// RFC 3261 25.1: a realm is a quoted-string.
#[test]
fn a_realm_needs_no_escapes() {
    for realm in ["", "a\\\"b", "a\\\\b", "ä", "a\\nb"] {
        let problems = bad(&format!("[sip]\nrealm = \"{realm}\"\n"));
        assert!(problems.starts_with("2:9: sip.realm: "), "{problems}");
    }
}

#[test]
fn the_default_expiry_lies_between_the_bounds() {
    let text = |min, max, default| {
        format!(
            "[sip.registrar]\nmin_expires_s = {min}\nmax_expires_s = {max}\ndefault_expires_s = {default}\n"
        )
    };
    let settings = good(&text(30, 90, 60));
    assert_eq!(settings.sip.registrar.default_expires_s.duration(), Duration::from_secs(60));
    assert!(
        bad(&text(30, 90, 100))
            .starts_with("4:21: sip.registrar.default_expires_s: 100 lies outside 30 to 90")
    );
    assert!(
        bad(&text(100, 90, 95)).starts_with("2:17: sip.registrar.min_expires_s: 100 is more than")
    );
}

#[test]
fn a_nonce_lives_for_seconds_in_range() {
    assert_eq!(
        good("[sip]\nnonce_life_s = 60\n").sip.nonce_life_s.duration(),
        Duration::from_secs(60)
    );
    assert!(bad("[sip]\nnonce_life_s = 1\n").contains("1 is out of range; choose 10 to 86400"));
}

/// RFC 8760: the order is the preference; MD5 alone unless the file says otherwise, for phones that give
/// up at the sight of an algorithm that they do not know.
#[test]
fn digest_algorithms_are_offered_as_listed_and_md5_alone_by_default() {
    let digest = |text: &str| good(text).sip.digest;
    assert_eq!(digest(""), [Digest::Md5]);
    assert_eq!(digest("[sip]\ndigest = [\"sha-256\", \"md5\"]\n"), [Digest::Sha256, Digest::Md5]);
    assert!(bad("[sip]\ndigest = [\"sha1\"]\n").contains("digest algorithm"));
    assert!(bad("[sip]\ndigest = [\"md5\", \"md5\"]\n").contains("md5 is listed twice"));
    assert!(bad("[sip]\ndigest = []\n").contains("nobody could authenticate"));
}

/// RFC 3261 26.3.1: a server that accepts TLS has a certificate.
#[test]
fn a_tls_listener_needs_a_certificate_by_the_full_names_of_its_files() {
    let tls = listen(&[("tls", "0.0.0.0:5061")]);
    let problems = bad(&tls);
    assert!(problems.starts_with("2:13: sip.listen[0].transport: TLS needs a cert"), "{problems}");
    let with = |chain: &str| {
        format!("{tls}[[sip.tls.certificates]]\nchain = \"{chain}\"\nkey = \"/etc/key.pem\"\n")
    };
    let settings = good(&with("/etc/chain.pem"));
    assert_eq!(settings.sip.tls.certificates[0].key.as_path().to_str(), Some("/etc/key.pem"));
    let problems = bad(&with("chain.pem"));
    assert!(problems.contains("\"chain.pem\" is not the full name of a file"), "{problems}");
}

#[test]
fn tls_and_tcp_share_their_ports() {
    let problems = bad(&listen(&[("tcp", "192.0.2.1:5061"), ("tls", "0.0.0.0:5061")]));
    assert!(problems.contains("tls 0.0.0.0:5061 is taken by 192.0.2.1:5061"), "{problems}");
}

#[test]
fn certificates_of_clients_are_asked_for_together_with_their_authorities() {
    let problems = bad("[sip.tls]\nclient_certificates = \"required\"\n");
    assert!(problems.contains("add client_ca, or write \"none\""), "{problems}");
    good("[sip.tls]\nclient_certificates = \"optional\"\nclient_ca = \"/etc/ca.pem\"\n");
}

/// RFC 3608 5: a proxy that clients send through routes loosely; RFC 5626 4.4.1: the time of flows.
#[test]
fn service_routes_are_uris_of_loose_routers_and_the_flow_timer_has_a_range() {
    let settings = good(
        "[sip.registrar]\nflow_timer_s = 0\nservice_route = [\"sip:edge.example.com;lr\", \"sips:e:5061;x;lr\"]\n",
    );
    let routes: Vec<_> = settings.sip.registrar.service_route.iter().map(|r| r.as_str()).collect();
    assert_eq!(routes, ["sip:edge.example.com;lr", "sips:e:5061;x;lr"]);
    assert_eq!(settings.sip.registrar.flow_timer_s.duration(), Duration::ZERO);
    for wrong in ["edge.example.com", "sip:edge.example.com", "sip:;lr", "sip:a>;lr", "tel:1;lr"] {
        let told = bad(&format!("[sip.registrar]\nservice_route = [\"{wrong}\"]\n"));
        assert!(told.contains("is not the URI of a proxy"), "{wrong}: {told}");
    }
    bad("[sip.registrar]\nflow_timer_s = 3601\n");
}

/// RFC 4028 8.1: a proxy asks for no less than it takes.
#[test]
fn the_session_timer_is_at_least_the_shortest_that_is_taken_or_none() {
    let text = |expires, min| format!("[sip]\nsession_expires_s = {expires}\nmin_se_s = {min}\n");
    assert_eq!(good(&text(600, 600)).sip.session_expires_s, 600);
    assert_eq!(good(&text(0, 600)).sip.session_expires_s, 0);
    let problems = bad(&text(300, 600));
    assert!(
        problems.starts_with("2:21: sip.session_expires_s: 300 is less than min_se_s = 600"),
        "{problems}"
    );
    assert!(bad(&text(600, 89)).contains("min_se_s"), "RFC 4028 5");
}

/// RFC 3261 18.1.1: 1,300 where the MTU of the path is not known.
#[test]
fn requests_leave_udp_at_1300_bytes_unless_the_file_says_otherwise() {
    assert_eq!(good("").sip.udp_max_bytes, 1_300);
    assert_eq!(good("[sip]\nudp_max_bytes = 65535\n").sip.udp_max_bytes, 65_535);
    let problems = bad("[sip]\nudp_max_bytes = 100\n");
    assert!(problems.starts_with("2:17: sip.udp_max_bytes: "), "{problems}");
}
