//! What `ringfarm lb render` prints, judged by the programs that it is for.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::node::binary;
use crate::harness::{Namespace, require, run};

/// Both families, three members, every address that any method needs.
const SITE: &str = "vip = [\"203.0.113.5\", \"2001:db8::5\"]\noutside = \"eth0\"\n";

fn site(dir: &Path) -> PathBuf {
    let member = |number: u16| {
        format!(
            "[[member]]\nname = \"fe-{number}\"\nlan = [\"10.0.0.{number}\", \"fd00::{number}\"]\n\
             wan = [\"203.0.113.1{number}\", \"2001:db8::1{number}\"]\nports = \"{number}0000-{number}9999\"\n"
        )
    };
    let text = (1..=3).fold(SITE.to_owned(), |text, number| text + &member(number));
    let path = dir.join("site.toml");
    std::fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    path
}

/// What is printed for `words`, such as `dsr --for nftables`, in a file.
fn rendered(dir: &Path, words: &str) -> PathBuf {
    let mut command = Command::new(binary());
    command.args(["lb", "render"]).args(words.split(' ')).arg("--site").arg(site(dir));
    let path = dir.join(words.replace(' ', "_"));
    std::fs::write(&path, run(&mut command)).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    path
}

/// A host with a device `eth0`.
fn host() -> Namespace {
    let host = Namespace::create();
    host.ip("link add eth0 type veth peer name other");
    host.ip("address add 203.0.113.4/24 dev eth0");
    host.ip("link set eth0 up");
    host.ip("link set other up");
    host
}

const NAT: [&str; 3] = ["single-ip-nat", "multi-ip", "multi-ip-nat"];

/// S59-S71: the kernel takes every table, again as well (a loaded table is replaced), and with and without TCP, for either spread.
#[test]
fn nftables_loads_what_is_rendered_for_it_again_and_again() {
    require("nft");
    let (host, dir) = (host(), tempfile::tempdir().expect("a scratch folder"));
    for method in NAT.into_iter().chain(["dsr"]) {
        for more in ["", " --spread packet", " --tcp-port none", " --udp-port 5060,5080"] {
            let file = rendered(dir.path(), &format!("{method} --for nftables{more}"));
            for _ in 0..2 {
                run(host.command("nft").arg("-f").arg(&file));
            }
        }
    }
    let tables = run(host.command("nft").args(["list", "tables"]));
    assert_eq!(tables, "table inet ringfarm\ntable netdev ringfarm\n", "and nothing else");
}

/// HAProxy and keepalived find nothing wrong with what is rendered for them.
#[test]
fn haproxy_and_keepalived_accept_what_is_rendered_for_them() {
    require("haproxy");
    require("keepalived");
    let (host, dir) = (host(), tempfile::tempdir().expect("a scratch folder"));
    for more in ["", " --ready-port 9090"] {
        for method in NAT {
            let file = rendered(dir.path(), &format!("{method} --for haproxy{more}"));
            run(host.command("haproxy").args(["-c", "-f"]).arg(&file).stdin(Stdio::null()));
        }
        for method in NAT.into_iter().chain(["dsr"]) {
            let file = rendered(dir.path(), &format!("{method} --for keepalived{more}"));
            // It ends with 0 where it only warns: what it says is part of the verdict.
            let mut command = host.command("keepalived");
            let output =
                command.args(["--config-test", "--log-console", "--use-file"]).arg(&file).output();
            let output = output.expect("keepalived starts");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.is_empty(), "{method}{more}: {said}");
        }
    }
}

/// The members' side of direct server return does as it says: the alias is there and the host is silent about it; run twice, it is the same.
#[test]
fn the_linux_members_side_of_direct_return_sets_alias_and_silence() {
    require("sysctl");
    let (host, dir) = (host(), tempfile::tempdir().expect("a scratch folder"));
    let file = rendered(dir.path(), "dsr --for linux");
    for _ in 0..2 {
        run(host.command("sh").arg(&file));
    }
    let addresses = run(host.command("ip").args(["-brief", "address", "show", "dev", "lo"]));
    assert!(addresses.contains("203.0.113.5/32"), "{addresses}");
    assert!(addresses.contains("2001:db8::5/128"), "{addresses}");
    let silence = run(host.command("sysctl").args([
        "-n",
        "net.ipv4.conf.all.arp_ignore",
        "net.ipv4.conf.eth0.arp_ignore",
        "net.ipv4.conf.all.arp_announce",
        "net.ipv4.conf.eth0.arp_announce",
    ]));
    assert_eq!(silence, "1\n1\n2\n2\n");
}

/// S34, S59: what is wrong with a site is said, all of it, with exit code 2 and nothing printed.
#[test]
fn a_site_that_cannot_be_is_refused_with_every_reason() {
    let output = Command::new(binary())
        .args(["lb", "render", "single-ip-nat", "--for", "nftables", "--vip", "203.0.113.5"])
        .args(["--member", "name=fe-1,lan=10.0.0.1,ports=10000-19999"])
        .args(["--member", "name=fe-2,ports=15000-24999"])
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(output.stdout.is_empty());
    for line in [
        "media ports 15000-24999 of fe-2 overlap 10000-19999 of fe-1",
        "member fe-2 has no IPv4 address",
        "nftables needs the name of the device",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
}
