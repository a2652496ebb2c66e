//! A member of the farm, as an operator starts it.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::engine::{self, get};
use crate::harness::{DOMAIN, Process, node, run, wait_for};
use crate::lab::{BACKENDS, ENGINE, FRONTENDS, Segment, VIP};

/// The tables of a member whose domain is open to everybody.
pub(crate) const OPEN: &str = "[users]\nopen = true\n\n";

const READY: Duration = Duration::from_secs(30);
/// Beyond `cluster.drain_s`, by which it gives up waiting for the ends of its transactions.
const STOPPED: Duration = Duration::from_secs(45);
/// Members find each other, and agree who is one of them, within this.
const MET: Duration = Duration::from_secs(60);
/// Where figures are asked for.
const METRICS: u16 = 9090;
/// Where other members connect to.
pub(crate) const MESH: u16 = 7443;
/// Figures that tell how many members a member knows of, and how many others it is connected to.
pub(crate) const MEMBERS: &str = "ringfarm_cluster_members";
const UP: &str = "ringfarm_cluster_peers{state=\"up\"}";

/// A running member.
pub(crate) struct Member<'s> {
    segment: &'s Segment,
    pub(crate) address: Ipv4Addr,
    process: Process,
}

impl<'s> Member<'s> {
    /// Starts one, with these tables besides those that all members have; returns once it says that it
    /// is ready.
    pub(crate) fn start(segment: &'s Segment, address: Ipv4Addr, more: &str) -> Member<'s> {
        let name = name(address);
        let dir = segment.dir().join(&name);
        let config = dir.join("ringfarm.toml");
        std::fs::create_dir_all(&dir)
            .and_then(|()| std::fs::write(&config, settings(&dir, address) + segment.tls() + more))
            .unwrap_or_else(|e| panic!("cannot write {}: {e}", config.display()));
        let mut command = segment.host(address).command(node::binary());
        command.arg("run").arg("--config").arg(&config).env("NO_COLOR", "1");
        let mut process = Process::spawn(&name, &mut command);
        process.wait_line("its ready line", READY, |line| line.starts_with("ringfarm: ready"));
        Member { segment, address, process }
    }

    /// Starts the member with which a cluster begins.
    pub(crate) fn found(segment: &'s Segment, address: Ipv4Addr, more: &str) -> Member<'s> {
        keys(segment, address, "init", &[]);
        Member::restart(segment, address, more)
    }

    /// Has another node become a member by way of this one, and starts it.
    pub(crate) fn let_in(&self, address: Ipv4Addr, more: &str) -> Member<'s> {
        let at = format!("{}:{MESH}", self.address);
        let token = keys(self.segment, self.address, "token", &["--address", &at]);
        keys(self.segment, address, "join", &[token.trim()]);
        Member::restart(self.segment, address, more)
    }

    /// Starts a member that has its keys.
    pub(crate) fn restart(segment: &'s Segment, address: Ipv4Addr, more: &str) -> Member<'s> {
        Member::start(segment, address, &(cluster(segment, address) + more))
    }

    /// How many members it can speak with, itself among them.
    pub(crate) fn sees(&self) -> usize {
        self.figure(UP) as usize + 1
    }

    /// Whether it knows of so many members, and can speak with each.
    fn has_met(&self, count: usize) -> bool {
        self.sees() == count && self.figure(MEMBERS) as usize == count
    }

    /// The sum of its figures of this name.
    pub(crate) fn figure(&self, name: &str) -> f64 {
        let at = self.address;
        let page = self.segment.host(at).enter(|| get(at, METRICS, "/metrics"));
        let page = page.unwrap_or_else(|| panic!("{} tells no figures", self.address));
        let of_name = page.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
        });
        of_name.sum()
    }

    /// The lines that it has logged at the end of each of its calls.
    pub(crate) fn ended_calls(&self) -> Vec<String> {
        self.process.lines().into_iter().filter(|line| line.contains("call ended")).collect()
    }

    /// The Call-IDs of those calls.
    pub(crate) fn ended_call_ids(&self) -> impl Iterator<Item = String> {
        self.ended_calls().into_iter().filter_map(|line| {
            let rest = line.split_once("call_id=\"")?.1;
            Some(rest.split_once('"')?.0.to_owned())
        })
    }

    /// Where it takes commands.
    pub(crate) fn socket(&self) -> PathBuf {
        self.segment.dir().join(name(self.address)).join("control.sock")
    }

    /// Whether it has logged a line with these words.
    pub(crate) fn has_logged(&self, words: &str) -> bool {
        self.process.lines().iter().any(|line| line.contains(words))
    }

    /// SIGKILL; the calls that it had seen the end of.
    pub(crate) fn kill(mut self) -> HashSet<String> {
        self.process.signal(Signal::SIGKILL);
        self.process.wait_end(STOPPED);
        self.ended_call_ids().collect()
    }

    /// Asks it to stop; it must end by itself and without an error.
    pub(crate) fn stop(mut self) {
        self.process.signal(Signal::SIGTERM);
        let status = self.process.wait_end(STOPPED);
        assert!(status.success(), "{} did not stop cleanly: {status}", self.address);
    }
}

/// Waits until each of these members, which are all, knows all others.
pub(crate) fn wait_met(members: &[&Member<'_>]) {
    let count = members.len();
    wait_for("the members to meet", MET, || members.iter().all(|one| one.has_met(count)));
}

/// Runs `ringfarm cluster`, where the member is.
pub(crate) fn keys(segment: &Segment, address: Ipv4Addr, command: &str, words: &[&str]) -> String {
    let mut ringfarm = segment.host(address).command(node::binary());
    ringfarm.args(["cluster", command]).args(words).arg("--state").arg(state(segment, address));
    if command != "token" {
        ringfarm.args(["--name", &name(address)]);
    }
    run(&mut ringfarm)
}

pub(crate) fn state(segment: &Segment, address: Ipv4Addr) -> PathBuf {
    segment.dir().join(format!("{}-keys", name(address)))
}

fn cluster(segment: &Segment, address: Ipv4Addr) -> String {
    let role = if FRONTENDS.contains(&address) { "frontend" } else { "backend" };
    // The other backend relays by itself.
    let farm = if address == BACKENDS[0] { "relay" } else { "auto" };
    let servers = ENGINE.map(|server| format!("\"{server}:{}\"", engine::PORT)).join(", ");
    format!(
        "[cluster]\nstate = \"{}\"\nlisten = \"{address}:{MESH}\"\nrole = \"{role}\"\nfarm = \"{farm}\"\n\n\
         [cluster.engine]\nservers = [{servers}]\n\n",
        state(segment, address).display()
    )
}

/// What the member with this address is called.
pub(crate) fn name(address: Ipv4Addr) -> String {
    let kind = if FRONTENDS.contains(&address) { "frontend" } else { "backend" };
    format!("{kind}-{}", address.octets()[3] % 10)
}

fn settings(dir: &Path, address: Ipv4Addr) -> String {
    // Disjoint (row S60), as they are where a balancer goes by them.
    let first_port = 20_000 + u16::from(address.octets()[3] % 10) * 4_000;
    let first_port = if FRONTENDS.contains(&address) { first_port } else { first_port + 20_000 };
    let last_port = first_port + 3_999;
    let mut text = format!(
        "[control]\nsocket = \"{}\"\n\n[node]\nname = \"{}\"\nworkers = 1\n\n[metrics]\nlisten = \"{address}:{METRICS}\"\n\n\
         [media]\naddresses = [\"{address}\"]\nports = \"{first_port}-{last_port}\"\n\n[defence]\nenabled = false\n\n\
         [sip]\ndomains = [\"{DOMAIN}\", \"{VIP}\"]\n\n",
        dir.join("control.sock").display(),
        name(address)
    );
    let shared = FRONTENDS.contains(&address).then_some(VIP);
    for own in shared.into_iter().chain([address]) {
        for (transport, port) in [("udp", 5060), ("tcp", 5060), ("tls", 5061)] {
            text += &format!(
                "[[sip.listen]]\ntransport = \"{transport}\"\naddress = \"{own}:{port}\"\n\n"
            );
        }
    }
    text
}
