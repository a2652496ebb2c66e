//! What a node says of its host's settings when it starts.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{Namespace, Process};

const READY: Duration = Duration::from_secs(15);

/// Starts a node with the default media ports and stops it; what it has logged.
fn started(namespace: &Namespace) -> Vec<String> {
    let mut command = namespace.command(env!("CARGO_BIN_EXE_ringfarm"));
    command.args(["run", "--listen", "127.0.0.1:5060"]).env("NO_COLOR", "1");
    let mut node = Process::spawn("node", &mut command);
    node.wait_line("its ready line", READY, |line| line.starts_with("ringfarm: ready"));
    node.signal(Signal::SIGTERM);
    // Whatever was said at the start has been read once this has.
    node.wait_line("its last words", READY, |line| line.contains("told to stop"));
    node.lines()
}

fn set(namespace: &Namespace, key: &str, value: &str) {
    let path = format!("/proc/sys/{}", key.replace('.', "/"));
    let written = namespace.enter(|| fs::write(&path, value));
    written.unwrap_or_else(|e| panic!("cannot write {path}: {e}"));
}

/// The kernel gives some of the media ports to whoever asks for any port: the node warns, and the
/// line that it gives mends it.
#[test]
fn media_ports_among_the_kernels_own_are_warned_about_and_the_advice_helps() {
    let namespace = Namespace::create();
    set(&namespace, "net.ipv4.ip_local_port_range", "15000 25000");
    set(&namespace, "net.ipv4.ip_local_reserved_ports", "16000");
    let lines = started(&namespace);
    let warns = |line: &&String| line.contains("ip_local_port_range");
    let warning = lines.iter().find(warns).unwrap_or_else(|| panic!("no warning in {lines:#?}"));
    assert!(warning.contains("WARN") && warning.contains("15000-25000"), "{warning}");
    let advice = warning.split("sysctl -w ").nth(1).and_then(|line| line.split_once('='));
    let (key, value) = advice.unwrap_or_else(|| panic!("no advice in {warning}"));
    assert_eq!(value, "16000,20000-29999");
    set(&namespace, key, value);
    let lines = started(&namespace);
    assert!(!lines.iter().any(|line| warns(&line)), "{lines:#?}");
}
