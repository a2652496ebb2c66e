//! Dependency direction: cores without I/O, a thin shell around them, one binary that links all.

use std::collections::BTreeSet;

use crate::metadata::Workspace;

const CORES: [&str; 3] =
    ["ringfarm-relay-core", "ringfarm-signaling-core", "ringfarm-control-core"];
const SIMULATION: &str = "ringfarm-sim";
const BINARY: &str = "ringfarm";

/// Which of our packages each of our packages may name. The binary may name all.
const MAY_KNOW: [(&str, &[&str]); 8] = [
    ("ringfarm-relay-core", &[]),
    // Its command and SDP-facing types.
    ("ringfarm-signaling-core", &["ringfarm-relay-core"]),
    ("ringfarm-control-core", &[]),
    ("ringfarm-relay-engine", &["ringfarm-relay-core"]),
    ("ringfarm-signaling-net", &["ringfarm-signaling-core"]),
    // Nothing of ours: the generator judges our code by the code of others.
    ("ringfarm-load", &[]),
    // The node is a program to it, as to operators.
    ("ringfarm-lab", &["ringfarm-load"]),
    (SIMULATION, &CORES),
];

/// Crates that open sockets or files, ask a clock, start threads or run an executor; libc and its
/// like stand for everything that calls the system by itself.
const IO: [&str; 34] = [
    "async-io",
    "async-nats",
    "async-std",
    "aya",
    "core_affinity",
    "crossbeam",
    "crossbeam-channel",
    "futures-executor",
    "getrandom",
    "hickory-resolver",
    "hyper",
    "indicatif",
    "io-uring",
    "libc",
    "linux-raw-sys",
    "mio",
    "nix",
    "notify",
    "polling",
    "quinn",
    "rayon",
    "reqwest",
    "rustix",
    "rustls",
    "signal-hook",
    "smol",
    "socket2",
    "sqlx",
    "tempfile",
    "tokio",
    "tokio-rustls",
    "tokio-uring",
    "tokio-util",
    "tracing-subscriber",
];

#[test]
fn every_package_knows_only_those_of_ours_that_it_may() {
    let workspace = Workspace::get();
    for (package, may) in MAY_KNOW {
        let may: BTreeSet<&str> = may.iter().copied().collect();
        let beyond: Vec<_> = workspace.direct(package).difference(&may).copied().collect();
        assert!(beyond.is_empty(), "{package} must not know {beyond:?}");
    }
}

#[test]
fn every_package_has_its_place_in_the_rules() {
    let known: BTreeSet<&str> =
        MAY_KNOW.iter().map(|(package, _)| *package).chain([BINARY]).collect();
    let ours: BTreeSet<&str> =
        Workspace::get().ours().iter().map(|package| package.name.as_str()).collect();
    assert_eq!(ours, known, "add the package to MAY_KNOW, with what it may know");
}

#[test]
fn nothing_that_does_input_or_output_is_linked_with_a_core() {
    let workspace = Workspace::get();
    for package in CORES.into_iter().chain([SIMULATION]) {
        let linked = workspace.linked(package);
        let io: Vec<_> = IO.iter().filter(|io| linked.contains(**io)).collect();
        assert!(
            io.is_empty(),
            "{package} links {io:?}: find out how with `cargo tree -p {package} -e normal -i NAME`"
        );
    }
}

/// The walk finds what is there: the rule above is not empty.
#[test]
fn what_does_input_and_output_is_found_where_it_is_linked() {
    let linked = Workspace::get().linked(BINARY);
    for io in ["tokio", "mio", "io-uring", "libc"] {
        assert!(linked.contains(io), "{io}");
    }
}

#[test]
fn the_simulation_links_cores_only() {
    let workspace = Workspace::get();
    let linked = workspace.linked(SIMULATION);
    let ours = workspace.ours();
    let others = ours
        .iter()
        .map(|package| package.name.as_str())
        .filter(|name| linked.contains(*name) && *name != SIMULATION && !CORES.contains(name));
    assert_eq!(others.collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn only_the_binary_links_everything() {
    let workspace = Workspace::get();
    for package in workspace.ours() {
        let name = package.name.as_str();
        let linked = workspace.linked(name);
        let shells = ["ringfarm-relay-engine", "ringfarm-signaling-net"];
        let links_all = shells.iter().all(|shell| linked.contains(*shell));
        assert_eq!(links_all, name == BINARY, "{name}");
    }
    let linked = workspace.linked(BINARY);
    let missing = CORES.iter().filter(|core| !linked.contains(**core)).collect::<Vec<_>>();
    assert!(missing.is_empty(), "{missing:?}");
}
