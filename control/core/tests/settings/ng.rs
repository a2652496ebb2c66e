//! `[ng]`: who may control media, and from where.

use crate::{bad, good};

#[test]
fn there_is_no_ng_socket_unless_it_is_asked_for() {
    assert_eq!(good("").ng.listen, None);
    let settings = good("[ng]\nlisten = \"127.0.0.1:2223\"\n");
    assert_eq!(settings.ng.listen, Some("127.0.0.1:2223".parse().unwrap()));
}

/// Whoever speaks ng controls media.
#[test]
fn a_socket_that_others_reach_needs_a_list_of_controllers() {
    for listen in ["0.0.0.0:2223", "[::]:2223", "10.0.0.5:2223"] {
        let problems = bad(&format!("[ng]\nlisten = \"{listen}\"\n"));
        assert!(problems.starts_with("2:10: ng.listen: "), "{problems}");
        assert!(
            problems.contains("would control this node's media; list the SIP servers"),
            "{problems}"
        );
        good(&format!("[ng]\nlisten = \"{listen}\"\nallow = [\"10.0.0.7\", \"192.0.2.0/24\"]\n"));
    }
    for listen in ["127.0.0.1:2223", "127.0.0.9:0", "[::1]:2223"] {
        good(&format!("[ng]\nlisten = \"{listen}\"\n"));
    }
    let everybody = bad("[ng]\nlisten = \"0.0.0.0:2223\"\nallow = [\"0.0.0.0/0\"]\n");
    assert!(everybody.starts_with("3:10: ng.allow[0]: 0.0.0.0/0 lets everybody"), "{everybody}");
}

#[test]
fn without_a_list_this_host_alone_is_obeyed() {
    let obeyed = |text: &str, ip: &str| {
        let ip: std::net::IpAddr = ip.parse().unwrap();
        good(text).ng.controllers().iter().any(|net| net.contains(&ip))
    };
    assert!(obeyed("", "127.0.0.1") && obeyed("", "::1") && !obeyed("", "10.0.0.7"));
    let listed = "[ng]\nallow = [\"10.0.0.7\"]\n";
    assert!(obeyed(listed, "10.0.0.7") && !obeyed(listed, "127.0.0.1"));
}

#[test]
fn its_port_is_neither_sips_nor_medias() {
    let problems = bad("[ng]\nlisten = \"127.0.0.1:5060\"\n");
    assert!(problems.contains("127.0.0.1:5060 is taken by SIP (0.0.0.0:5060)"), "{problems}");
    let problems = bad("[ng]\nlisten = \"127.0.0.1:22222\"\n");
    assert!(problems.contains("port 22222 lies in the media ports, 20000-29999"), "{problems}");
    good("[ng]\nlisten = \"127.0.0.1:22222\"\n[media]\naddresses = [\"10.0.0.5\"]\n");
    good("[ng]\nlisten = \"[::1]:5060\"\n");
}

#[test]
fn interfaces_have_names_and_addresses_of_one_family() {
    let interface = |name: &str, address: &str, more: &str| {
        format!("[[ng.interfaces]]\nname = \"{name}\"\naddress = \"{address}\"\n{more}")
    };
    let pub4 = interface("pub", "10.0.0.5", "advertise = \"203.0.113.5\"\n");
    let both =
        pub4.clone() + &interface("pub", "2001:db8::5", "") + &interface("priv", "10.0.0.5", "");
    assert_eq!(good(&both).ng.interfaces.len(), 3);
    for (text, what) in [
        (pub4.clone() + &interface("pub", "10.0.0.6", ""), "pub has two IPv4 addresses"),
        (interface("a b", "10.0.0.5", ""), "is not a name for an interface"),
        (interface("a", "0.0.0.0", ""), "ng.interfaces[0].address: 0.0.0.0"),
        (interface("a", "10.0.0.5", "advertise = \"2001:db8::5\"\n"), "different families"),
        (
            interface("a", "10.0.0.5", "advertise = \"224.0.0.1\"\n"),
            "interfaces[0].advertise: 224.0.0.1",
        ),
        ("[[ng.interfaces]]\nname = \"a\"\n".to_owned(), "ng.interfaces[0].address: is missing"),
    ] {
        let problems = bad(&text);
        assert!(problems.contains(what), "{problems}");
    }
}
