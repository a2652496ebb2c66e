//! `[[routes]]` and `[peers]`.

use control_core::settings::{NextHop, Transport};

use crate::{bad, good};

const CLOSED: &str = "[users]\nopen = false\n";

fn route(domain: &str, next_hop: &str) -> String {
    format!("[[routes]]\ndomain = \"{domain}\"\nnext_hop = \"{next_hop}\"\n")
}

#[test]
fn a_route_may_name_its_transport() {
    let text = route("PBX.example", "192.0.2.7:5060");
    let settings = good(&format!("{CLOSED}{text}"));
    assert_eq!(settings.routes[0].domain.as_str(), "pbx.example");
    assert_eq!(settings.routes[0].transport, None);
    let settings = good(&format!("{CLOSED}{text}transport = \"tcp\"\n"));
    assert_eq!(settings.routes[0].transport, Some(Transport::Tcp));
}

#[test]
fn a_second_route_to_a_domain_is_reported_with_both_lines() {
    let text = format!(
        "{CLOSED}{}{}",
        route("pbx.example", "192.0.2.7:5060"),
        route("PBX.example", "192.0.2.8:5060")
    );
    assert_eq!(
        bad(&text),
        "7:10: routes[1].domain: pbx.example has two routes, the first on line 4; keep one of the two"
    );
}

#[test]
fn a_domain_that_is_served_here_has_no_route() {
    let text = format!(
        "{CLOSED}[sip]\ndomains = [\"a.example\"]\n{}",
        route("a.example", "192.0.2.7:5060")
    );
    let problems = bad(&text);
    assert!(
        problems
            .starts_with("6:10: routes[0].domain: a.example is served here (sip.domains, line 4)"),
        "{problems}"
    );
}

#[test]
fn a_next_hop_can_be_sent_to() {
    for (next_hop, what) in [
        ("0.0.0.0:5060", "is a wildcard"),
        ("239.1.1.1:5060", "is a multicast address"),
        ("192.0.2.7:0", "port 0 cannot be sent to"),
        ("192.0.2.7", "add a port"),
        ("pbx_1.example:5060", "is not a domain name"),
        ("pbx.example:0", "port 0 cannot be sent to"),
        ("pbx.example:65536", "is not a port"),
        ("192.0.2.999:5060", "write numbers"),
    ] {
        let problems = bad(&format!("{CLOSED}{}", route("pbx.example", next_hop)));
        assert!(problems.starts_with("5:12: routes[0].next_hop: "), "{problems}");
        assert!(problems.contains(what), "{problems}");
    }
}

#[test]
fn a_route_that_leads_back_here_is_refused() {
    let listen = "[[sip.listen]]\ntransport = \"udp\"\naddress = \"192.0.2.1:5060\"\nadvertise = \"203.0.113.5:5060\"\n";
    for ours in ["192.0.2.1:5060", "203.0.113.5:5060"] {
        let problems = bad(&format!("{CLOSED}{listen}{}", route("pbx.example", ours)));
        assert!(
            problems.contains(&format!("routes[0].next_hop: {ours} is this node itself")),
            "{problems}"
        );
    }
}

#[test]
fn a_route_needs_a_socket_of_its_transport_and_family() {
    let problems = bad(&format!("{CLOSED}{}", route("pbx.example", "[2001:db8::7]:5060")));
    assert!(problems.contains("no socket of sip.listen can send udp over IPv6"), "{problems}");
    let listen = "[[sip.listen]]\ntransport = \"tcp\"\naddress = \"0.0.0.0:5060\"\n";
    let problems = bad(&format!("{CLOSED}{listen}{}", route("pbx.example", "192.0.2.7:5060")));
    assert!(problems.contains("can send udp over IPv4"), "{problems}");
}

#[test]
fn trusted_peers_are_networks_or_addresses() {
    let settings =
        good("[peers]\ntrusted = [\"192.0.2.0/24\", \"198.51.100.7\", \"2001:db8::/32\"]\n");
    let shown: Vec<_> = settings.peers.trusted.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["192.0.2.0/24", "198.51.100.7/32", "2001:db8::/32"]);
    let problems = bad("[peers]\ntrusted = [\"pbx.example\", \"192.0.2.0/33\"]\n");
    assert!(
        problems.contains("peers.trusted[0]") && problems.contains("peers.trusted[1]"),
        "{problems}"
    );
}

#[test]
fn a_network_with_host_bits_is_asked_what_it_means() {
    assert_eq!(
        bad("[peers]\ntrusted = [\"192.0.2.7/24\"]\n"),
        "2:12: peers.trusted[0]: 192.0.2.7/24 has bits set behind its prefix; \
         write \"192.0.2.0/24\" for the network or \"192.0.2.7\" for the host"
    );
}

#[test]
fn nobody_trusts_the_whole_world() {
    for world in ["0.0.0.0/0", "::/0"] {
        let problems = bad(&format!("[peers]\ntrusted = [\"{world}\"]\n"));
        assert!(problems.contains("trusts everybody"), "{problems}");
    }
}

#[test]
fn name_servers_can_be_asked() {
    let settings = good("[dns]\nservers = [\"127.0.0.1:53\", \"[2001:db8::53]:53\"]\n");
    assert_eq!(settings.dns.servers.len(), 2);
    let problems = bad("[dns]\nservers = [\"127.0.0.1:53\", \"127.0.0.1:0\"]\n");
    assert!(problems.contains("dns.servers[1]: port 0 cannot be sent to"), "{problems}");
    let problems = bad("[dns]\nservers = [\"192.0.2.53\"]\n");
    assert!(problems.contains("dns.servers[0]: ") && problems.contains("add a port"), "{problems}");
}

#[test]
fn a_next_hop_may_be_a_name() {
    for (text, wanted) in [("SIP.example", None), ("sip.example:5080", Some(5080))] {
        let settings = good(&format!("{CLOSED}{}", route("pbx.example", text)));
        let [NextHop::Name { host, port }] = &*settings.routes[0].next_hop else {
            panic!("{text}")
        };
        assert_eq!((host.as_str(), *port), ("sip.example", wanted));
    }
    let text = format!("{CLOSED}{}transport = \"tls\"\n", route("pbx.example", "sip.example"));
    assert!(bad(&text).contains("no socket of sip.listen can send tls to sip.example"));
}

fn route_of_several(hops: &str) -> String {
    format!("{CLOSED}[[routes]]\ndomain = \"pbx.example\"\nnext_hop = {hops}\n")
}

#[test]
fn a_route_lists_servers_in_the_order_in_which_they_are_tried() {
    let text = route_of_several("[\"192.0.2.7:5060\", \"sip.example\", \"192.0.2.7:5080\"]");
    let settings = good(&text);
    let shown: Vec<_> = settings.routes[0].next_hop.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["192.0.2.7:5060", "sip.example", "192.0.2.7:5080"]);
}

#[test]
fn each_wrong_server_of_a_list_is_named() {
    let hops = "[\"192.0.2.7:5060\", \"192.0.2.8\", \"239.1.1.1:5060\", \"192.0.2.7:5060\"]";
    let problems = bad(&route_of_several(hops));
    for wanted in [
        "routes[0].next_hop[1]: ",
        "routes[0].next_hop[2]: 239.1.1.1 is a multicast address",
        "routes[0].next_hop[3]: 192.0.2.7:5060 stands in routes[0].next_hop[0] already; keep one of the two",
    ] {
        assert!(problems.contains(wanted), "{problems}");
    }
    let problems = bad(&route_of_several("[\"192.0.2.7:5060\", \"[2001:db8::7]:5060\"]"));
    let wanted = "routes[0].next_hop[1]: no socket of sip.listen can send udp over IPv6";
    assert!(problems.contains(wanted), "{problems}");
    assert!(bad(&route_of_several("[]")).contains("routes[0].next_hop: names no server"));
    let many: Vec<_> = (1..=17).map(|last| format!("\"192.0.2.{last}:5060\"")).collect();
    let problems = bad(&route_of_several(&format!("[{}]", many.join(", "))));
    assert!(problems.contains("5:12: routes[0].next_hop: lists 17 servers, and 16"), "{problems}");
}

#[test]
fn a_name_needs_a_socket_that_dns_can_lead_to() {
    let listen = "[[sip.listen]]\ntransport = \"ws\"\naddress = \"127.0.0.1:8080\"\n";
    let text = route("pbx.example", "sip.example");
    let problems = bad(&format!("{CLOSED}{listen}{text}"));
    assert!(problems.contains("can send over UDP, TCP or TLS to sip.example"), "{problems}");
    good(&format!("{CLOSED}{listen}{}{text}", listen.replace("ws", "tcp").replace("8080", "5060")));
}
