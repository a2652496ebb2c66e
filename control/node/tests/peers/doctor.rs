//! `ringfarm doctor` on real hosts: what it finds is there, and what it says mends it.

use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;

use serde_json::Value;

use crate::harness::node::binary;
use crate::harness::{Namespace, run};

const VIP: &str = "203.0.113.5";

/// A host with one device besides loopback, and a settings file that names the VIP.
struct Patient {
    host: Namespace,
    dir: tempfile::TempDir,
}

impl Patient {
    fn new() -> Patient {
        let (host, dir) = (Namespace::create(), tempfile::tempdir().expect("a scratch folder"));
        host.ip("link add eth0 type veth peer name other");
        host.ip("address add 203.0.113.11/24 dev eth0");
        let settings = format!(
            "[[sip.listen]]\ntransport = \"udp\"\naddress = \"{VIP}:5060\"\n\
             [[sip.listen]]\ntransport = \"udp\"\naddress = \"0.0.0.0:5060\"\n\
             [media]\nports = \"10000-19999\"\n"
        );
        std::fs::write(dir.path().join("node.toml"), settings).expect("the settings");
        Patient { host, dir }
    }

    /// Its findings of one check that are worse than nothing, and the exit code.
    fn examined(&self, check: &str) -> (Vec<Value>, Option<i32>) {
        let mut command: Command = self.host.command(binary());
        command.args(["doctor", "--json", "--socket", "/nobody", "--config"]);
        let output = command.arg(self.dir.path().join("node.toml")).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stdout);
        let report: Value = serde_json::from_str(&said)
            .unwrap_or_else(|_| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)));
        let findings = report["findings"].as_array().expect("findings").iter();
        let ours = findings.filter(|one| one["check"] == check && one["severity"] != "ok");
        (ours.cloned().collect(), output.status.code())
    }

    /// Does what a finding says.
    fn mend(&self, finding: &Value) {
        let mend = finding["mend"].as_str().expect("a command");
        // There is no node here to be told.
        let mend = mend.split(" && ringfarm refresh").next().unwrap_or_default();
        run(self.host.command("sh").args(["-c", mend]));
    }
}

/// S48, S50: the alias is missing, then there with every neighbour hearing of it; the commands of the findings put both right.
#[test]
fn a_missing_alias_and_a_talkative_device_are_mended_by_the_commands_that_are_told() {
    let patient = Patient::new();
    let (findings, code) = patient.examined("address");
    assert_eq!((findings.len(), code), (1, Some(1)), "{findings:?}");
    assert!(patient.examined("arp").0.is_empty(), "nothing to be silent about");
    patient.mend(&findings[0]);
    assert!(patient.examined("address").0.is_empty());

    // A new network namespace may have the values of the first one.
    run(patient.host.command("sysctl").args([
        "-qw",
        "net.ipv4.conf.all.arp_ignore=0",
        "net.ipv4.conf.all.arp_announce=0",
        "net.ipv4.conf.eth0.arp_ignore=0",
        "net.ipv4.conf.eth0.arp_announce=0",
        "net.ipv4.conf.other.arp_ignore=0",
        "net.ipv4.conf.other.arp_announce=0",
    ]));
    let (findings, code) = patient.examined("arp");
    assert_eq!((findings.len(), code), (4, Some(1)), "{findings:?}");
    findings.iter().for_each(|finding| patient.mend(finding));
    let (findings, code) = patient.examined("arp");
    assert_eq!((findings.len(), code), (0, Some(0)), "{findings:?}");
}

/// S37: an entry of SIP in the connection tracker is seen, and after the rules that are told no packet makes another.
#[test]
fn tracked_sip_is_seen_and_no_longer_tracked_after_the_rules_that_are_told() {
    let patient = Patient::new();
    patient.host.ip(&format!("address add {VIP}/32 dev lo"));
    run(patient.host.command("nft").arg(
        "table ip t { chain i { type filter hook input priority 0; ct state new accept; }; }",
    ));
    let send = || {
        patient.host.enter(|| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
            // Nobody listens there, which the kernel may say of an earlier packet.
            let _ = socket.send_to(b"x", (Ipv4Addr::LOCALHOST, 5060));
        });
    };
    let entries = |findings: &[Value]| -> u64 {
        let what = findings[0]["what"].as_str().expect("text");
        let number = what.split(' ').find_map(|word| word.parse().ok());
        number.expect("how many")
    };
    assert!(patient.examined("conntrack").0.is_empty(), "nothing was sent yet");
    send();
    let (findings, _) = patient.examined("conntrack");
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0]["severity"], "warning", "{findings:?}");
    let before = entries(&findings);
    patient.mend(&findings[0]);
    for _ in 0..5 {
        send();
    }
    let (findings, _) = patient.examined("conntrack");
    assert!(findings.is_empty() || entries(&findings) <= before, "{findings:?}");
}

/// A port that somebody has is named with the program that has it.
#[test]
fn a_taken_port_is_named_with_its_program() {
    let patient = Patient::new();
    patient.host.ip(&format!("address add {VIP}/32 dev lo"));
    let _taken = patient.host.enter(|| UdpSocket::bind(("0.0.0.0", 5060)).expect("a socket"));
    let (findings, code) = patient.examined("occupied");
    assert_eq!((findings.len(), code), (1, Some(1)), "{findings:?}");
    let what = findings[0]["what"].as_str().expect("text");
    let own = format!("(process {})", std::process::id());
    assert!(what.starts_with("udp port 5060 is taken by") && what.ends_with(&own), "{what}");
}
