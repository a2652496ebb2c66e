//! `[cluster]` and `[cluster.engine]`.

use crate::{bad, good};

#[test]
fn servers_of_the_engine_are_addresses_or_names_with_or_without_tls() {
    let listed =
        r#"["10.0.0.1:4222", "tls://nats.example.com:4223", "nats://[2001:db8::1]:4222", "n1"]"#;
    let engine = good(&format!("[cluster.engine]\nservers = {listed}\n")).cluster.engine;
    let shown: Vec<_> = engine.servers.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "nats://10.0.0.1:4222",
            "tls://nats.example.com:4223",
            "nats://[2001:db8::1]:4222",
            "nats://n1"
        ]
    );
    assert!(good("").cluster.engine.servers.is_empty());
}

/// What members tell each other of their addresses holds before they listen.
#[test]
fn a_member_listens_on_ports_that_the_others_can_know() {
    let listen = "[[sip.listen]]\ntransport = \"udp\"\naddress = \"192.0.2.1:0\"\n";
    let problems =
        bad(&format!("{listen}[cluster]\nstate = \"/k\"\nlisten = \"192.0.2.1:7443\"\n"));
    assert!(problems.contains("sip.listen[0].address: port 0"), "{problems}");
    good(listen);
}

#[test]
fn a_server_of_the_engine_can_be_connected_to_and_is_listed_once() {
    for (servers, says) in [
        (r#"["10.0.0.1:0"]"#, "cluster.engine.servers[0]: port 0"),
        (r#"["0.0.0.0:4222"]"#, "is a wildcard"),
        (r#"["a b"]"#, "cluster.engine.servers[0]: "),
        (r#"["n1", "nats://n1"]"#, "cluster.engine.servers[1]: nats://n1 is listed twice"),
    ] {
        let problems = bad(&format!("[cluster.engine]\nservers = {servers}\n"));
        assert!(problems.contains(says), "{problems}");
    }
    let many: Vec<_> = (0..17).map(|number| format!("n{number}")).collect();
    let problems = bad(&format!("[cluster.engine]\nservers = {many:?}\n"));
    assert!(problems.contains("list at most 16"), "{problems}");
}

#[test]
fn a_node_that_says_who_it_is_to_the_engine_says_the_whole() {
    let engine = "[cluster.engine]\n";
    good(&format!("{engine}user = \"ringfarm\"\npassword_file = \"/p\"\n"));
    good(&format!("{engine}credentials = \"/c\"\ntrust = \"/ca.pem\"\n"));
    for (keys, says) in [
        ("user = \"ringfarm\"\n", "cluster.engine.user: a user needs a password"),
        ("password_file = \"/p\"\n", "cluster.engine.password_file: a password needs a user"),
        ("user = \"a b\"\npassword_file = \"/p\"\n", "is not a name for a user of the engine"),
        ("credentials = \"c\"\n", "is not the full name of a file"),
    ] {
        let problems = bad(&format!("{engine}{keys}"));
        assert!(problems.contains(says), "{problems}");
    }
}

#[test]
fn a_node_is_no_member_of_a_cluster_unless_it_is_said() {
    let cluster = good("").cluster;
    assert_eq!((cluster.state, cluster.listen, cluster.capacity), (None, None, 100));
    let text = "[cluster]\nstate = \"/k\"\nname = \"be-1\"\nlisten = \"0.0.0.0:7443\"\n\
                advertise = \"10.0.0.1:7443\"\nrole = \"backend\"\nfarm = \"relay\"\ncapacity = 50\n";
    let cluster = good(text).cluster;
    assert_eq!(cluster.reached_at(), Some("10.0.0.1:7443".parse().unwrap()));
    assert_eq!((cluster.role.word(), cluster.farm.word()), ("backend", "relay"));
}

#[test]
fn a_member_says_where_others_connect_to_it() {
    for (keys, says) in [
        (
            "state = \"/k\"",
            "cluster.state: other members could not connect to this one; add listen",
        ),
        ("listen = \"0.0.0.0:7443\"", "cluster.listen: 0.0.0.0 is a wildcard; name an address"),
        ("listen = \"10.0.0.1:7443\"\nadvertise = \"224.0.0.1:1\"", "cluster.advertise: 224.0.0.1"),
        ("listen = \"10.0.0.1:0\"", "cluster.listen: no other member could know which port"),
        ("name = \"FE 1\"", "cluster.name: \"FE 1\" is not a name for a member"),
        ("role = \"boss\"", "cluster.role: unknown role"),
        ("farm = \"on\"", "cluster.farm: unknown farm setting"),
        ("capacity = 0", "cluster.capacity: 0 is out of range"),
    ] {
        let problems = bad(&format!("[cluster]\n{keys}\n"));
        assert!(problems.contains(says), "{problems}");
    }
}
