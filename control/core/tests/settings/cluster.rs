//! `[cluster.engine]`.

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
