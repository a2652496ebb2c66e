//! `[[media.networks]]`: media addresses by where a peer is.

use std::net::IpAddr;

use control_core::settings::Media;

use crate::{bad, good};

const TWO: &str = r#"
[[media.networks]]
name = "inside"
peers = ["10.0.0.0/8", "fd00::/8"]
address = ["10.0.0.1", "fd00::1"]

[[media.networks]]
name = "outside"
peers = ["0.0.0.0/0", "2001:db8:7::/48"]
address = "192.0.2.1"
advertise = "203.0.113.1"
"#;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Local and advertised address for a peer, if there is a place.
fn place(media: &Media, peer: &str, facing: &str) -> Option<[String; 2]> {
    let place = media.place(ip(peer), ip(facing))?;
    Some([place.local.to_string(), place.advertised.to_string()])
}

fn is(local: &str, advertised: &str) -> Option<[String; 2]> {
    Some([local.to_owned(), advertised.to_owned()])
}

/// Row S66 and the interpretation of S63: by the peer's network, and the longest prefix has it.
#[test]
fn a_peer_gets_the_addresses_of_its_network_and_the_longest_prefix_wins() {
    let media = good(TWO).media;
    assert_eq!(place(&media, "10.1.2.3", "192.0.2.7"), is("10.0.0.1", "10.0.0.1"));
    assert_eq!(place(&media, "198.51.100.1", "192.0.2.7"), is("192.0.2.1", "203.0.113.1"));
    let third = "[[media.networks]]\nname = \"guests\"\npeers = [\"10.9.0.0/16\"]\naddress = \"10.9.0.1\"\n";
    for text in [format!("{TWO}{third}"), format!("{third}{TWO}")] {
        let media = good(&text).media;
        assert_eq!(place(&media, "10.9.2.3", "192.0.2.7"), is("10.9.0.1", "10.9.0.1"));
        assert_eq!(place(&media, "10.1.2.3", "192.0.2.7"), is("10.0.0.1", "10.0.0.1"));
    }
}

/// The family is that of the way to the peer's media, which its SIP need not share.
#[test]
fn a_network_serves_each_family_on_its_own_address() {
    let media = good(TWO).media;
    assert_eq!(place(&media, "10.1.2.3", "fd00::7"), is("fd00::1", "fd00::1"));
    assert_eq!(place(&media, "fd00::9", "10.0.0.7"), is("10.0.0.1", "10.0.0.1"));
    // The network names no IPv6 address: as for any other peer.
    assert_eq!(place(&media, "2001:db8:7::9", "2001:db8::7"), is("2001:db8::7", "2001:db8::7"));
    let listed =
        good(&format!("[media]\naddresses = [\"192.0.2.3\", \"2001:db8::3\"]\n{TWO}")).media;
    assert_eq!(place(&listed, "2001:db8:7::9", "2001:db8::7"), is("2001:db8::3", "2001:db8::3"));
}

/// Rows S63, S71: the network's, else the server's, else the cluster's, else the local address.
#[test]
fn what_a_peer_is_told_is_its_networks_else_the_wan_ip_else_the_local_address() {
    let told = |text: &str, peer: &str| {
        let place = good(text).media.place(ip(peer), ip("192.0.2.7")).expect("a place");
        place.advertised.to_string()
    };
    let network = "[[media.networks]]\nname = \"a\"\npeers = [\"10.0.0.0/8\"]\n";
    let advertises = format!("{network}advertise = \"10.0.0.5\"\n");
    let (server, cluster) = ("wan_ip = \"203.0.113.1\"\n", "cluster_wan_ip = \"203.0.113.9\"\n");
    for (keys, network, inside, elsewhere) in [
        (format!("{server}{cluster}"), advertises.as_str(), "10.0.0.5", "203.0.113.1"),
        (format!("{server}{cluster}"), network, "203.0.113.1", "203.0.113.1"),
        (cluster.to_owned(), advertises.as_str(), "10.0.0.5", "203.0.113.9"),
        (cluster.to_owned(), network, "203.0.113.9", "203.0.113.9"),
        (String::new(), advertises.as_str(), "10.0.0.5", "192.0.2.7"),
        (String::new(), network, "192.0.2.7", "192.0.2.7"),
    ] {
        let text = format!("[media]\n{keys}{network}");
        assert_eq!(told(&text, "10.1.2.3"), inside, "{text}");
        assert_eq!(told(&text, "198.51.100.1"), elsewhere, "{text}");
    }
}

/// Listed addresses are the only ones to use: a family that is not among them has no place.
#[test]
fn a_family_without_a_listed_address_has_no_place() {
    let media = good("[media]\naddresses = [\"192.0.2.3\"]\n").media;
    assert_eq!(place(&media, "198.51.100.1", "192.0.2.7"), is("192.0.2.3", "192.0.2.3"));
    assert_eq!(place(&media, "198.51.100.1", "2001:db8::7"), None);
    let network = "[[media.networks]]\nname = \"a\"\npeers = [\"198.51.100.0/24\"]\naddress = \"2001:db8::4\"\n";
    let media = good(&format!("[media]\naddresses = [\"192.0.2.3\"]\n{network}")).media;
    assert_eq!(place(&media, "198.51.100.1", "2001:db8::7"), is("2001:db8::4", "2001:db8::4"));
}

/// Which of the two would have the peers could only be guessed.
#[test]
fn a_prefix_in_two_networks_is_refused_with_both_lines() {
    assert_eq!(
        bad(&TWO.replace("\"0.0.0.0/0\"", "\"10.0.0.0/8\"")),
        "9:10: media.networks[1].peers[0]: 10.0.0.0/8 is listed before (line 4), \
         and its peers can belong to one network only; keep one of the two, or make one prefix longer"
    );
    let same_twice = TWO.replace("\"0.0.0.0/0\"", "\"192.0.2.9\", \"192.0.2.9/32\"");
    assert!(bad(&same_twice).contains("media.networks[1].peers[1]: 192.0.2.9/32 is listed before"));
}

#[test]
fn a_mistake_in_a_network_is_named_with_its_key_and_place() {
    for (from, to, what) in [
        ("\"outside\"", "\"inside\"", "8:8: media.networks[1].name: inside is the name of two"),
        (
            "\"outside\"",
            "\"a b\"",
            "8:8: media.networks[1].name: \"a b\" is not a name for a network",
        ),
        ("\"0.0.0.0/0\", \"2001:db8:7::/48\"", "", "9:9: media.networks[1].peers: is empty"),
        ("\"0.0.0.0/0\"", "\"10.1.0.0/8\"", "has bits set behind its prefix"),
        ("\"192.0.2.1\"", "\"0.0.0.0\"", "10:11: media.networks[1].address: 0.0.0.0 is a wildcard"),
        (
            "\"192.0.2.1\"",
            "[\"192.0.2.1\", \"192.0.2.2\"]",
            "media.networks[1].address[1]: 192.0.2.2 is the second address of its family",
        ),
        (
            "\"203.0.113.1\"",
            "\"2001:db8::1\"",
            "11:13: media.networks[1].advertise: 2001:db8::1 stands for no local address",
        ),
        (
            "\"203.0.113.1\"",
            "\"224.0.0.1\"",
            "media.networks[1].advertise: 224.0.0.1 is a multicast",
        ),
    ] {
        assert!(TWO.contains(from), "{from}");
        let problems = bad(&TWO.replace(from, to));
        assert!(problems.contains(what), "{what}: {problems}");
    }
    let nobodys = "[[media.networks]]\nname = \"a\"\n";
    assert!(bad(nobodys).contains("media.networks[0].peers: is missing"), "{}", bad(nobodys));
}

#[test]
fn networks_and_their_peers_have_a_bound() {
    let network = |n: usize, peers: &[String]| {
        format!("[[media.networks]]\nname = \"n{n}\"\npeers = [{}]\n", peers.join(", "))
    };
    let peer = |n: usize| format!("\"10.0.{}.{}\"", n / 256, n % 256);
    let networks = |count: usize| (0..count).map(|n| network(n, &[peer(n)])).collect::<String>();
    good(&networks(64));
    assert!(bad(&networks(65)).contains("65 networks are listed; list at most 64"));
    let peers: Vec<String> = (0..1025).map(peer).collect();
    good(&network(0, &peers[1..]));
    assert!(
        bad(&network(0, &peers)).contains("1025 peers of networks are listed; list at most 1024")
    );
}

/// What a network binds takes its ports, too.
#[test]
fn a_networks_address_shares_no_media_port_with_sip() {
    let listen = "[[sip.listen]]\ntransport = \"udp\"\naddress = \"10.0.0.1:25060\"\n";
    let apart = format!("{listen}[media]\naddresses = [\"192.0.2.2\"]\n");
    good(&apart);
    let problems = bad(&format!("{apart}{TWO}"));
    assert!(problems.contains("port 25060 lies in the media ports"), "{problems}");
}
