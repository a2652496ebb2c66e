//! The systems under test: how each is started, told of sessions, and measured.

use std::fmt;
use std::io::Write as _;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;

use crate::ids::Side;
use crate::relaybench::control::{Control, Direct};
use crate::relaybench::floor::FloorControl;
use crate::relaybench::lab::{Lab, Topology};
use crate::relaybench::ng::NgClient;
use crate::relaybench::process::Process;

/// The names of the relay's networks, as both ng servers are told them.
pub(crate) const NETWORKS: [&str; 2] = ["inside", "outside"];

/// What relays the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum System {
    /// This program, driven over its ng listener.
    Ringfarm,
    /// Sipwise rtpengine in user space, driven over ng.
    Rtpengine,
    /// The floor in user space: epoll, recvfrom, sendto.
    Epoll,
    /// The floor in the kernel: the clients' packets are routed, nothing is rewritten.
    Forward,
}

impl System {
    /// The name, as in the options and in the report.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            System::Ringfarm => "ringfarm",
            System::Rtpengine => "rtpengine",
            System::Epoll => "epoll",
            System::Forward => "forward",
        }
    }

    /// Whether sessions are set up over the ng protocol.
    pub(crate) const fn speaks_ng(self) -> bool {
        match self {
            System::Ringfarm | System::Rtpengine => true,
            System::Epoll | System::Forward => false,
        }
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The programs to run.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// Has the command `bench epoll-relay`.
    pub(crate) this: PathBuf,
    /// Has the command `run`.
    pub(crate) ringfarm: PathBuf,
    pub(crate) rtpengine: PathBuf,
}

/// A system that relays.
pub(crate) struct Running {
    pub(crate) control: Box<dyn Control>,
    pub(crate) process: Option<Process>,
    /// How it was started, for the report.
    pub(crate) command: String,
    /// Where it takes ng commands, if it does.
    pub(crate) ng: Option<SocketAddrV4>,
}

/// How a system finds out where a peer sends from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Habits {
    /// Ringfarm's `media.learning`.
    pub(crate) learning: &'static str,
    /// Rtpengine's `--endpoint-learning`.
    pub(crate) endpoint_learning: &'static str,
}

impl Habits {
    /// Those under which each system is fastest.
    pub(crate) const FASTEST: Habits =
        Habits { learning: "strict", endpoint_learning: "immediate" };
}

impl Running {
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Adds to what went wrong whether the system has ended, or else what it said last.
    pub(crate) fn explain(&mut self, error: anyhow::Error) -> anyhow::Error {
        let Some(process) = &mut self.process else { return error };
        match process.check() {
            Err(ended) => anyhow!("{error:#}; {ended:#}"),
            Ok(()) => anyhow!("{error:#} (its last words: {})", process.last_words()),
        }
    }
}

/// Starts a system in its place; when this returns, it takes sessions.
///
/// # Errors
/// It is not installed, does not start, or cannot be had in this place.
pub(crate) fn start(system: System, lab: &Lab, programs: &Programs) -> Result<Running> {
    start_with(system, lab, programs, Habits::FASTEST)
}

/// The same with habits of choice.
///
/// # Errors
/// As [`start`].
pub(crate) fn start_with(
    system: System,
    lab: &Lab,
    programs: &Programs,
    habits: Habits,
) -> Result<Running> {
    match system {
        System::Ringfarm => ringfarm(lab, programs, habits),
        System::Rtpengine => rtpengine(lab, programs, habits),
        System::Epoll => floor(lab, programs),
        System::Forward => match lab.topology() {
            Topology::Namespaces => {
                let command = "net.ipv4.ip_forward = 1".into();
                Ok(Running { control: Box::new(Direct), process: None, command, ng: None })
            }
            Topology::Loopback | Topology::Auto => {
                bail!("the kernel forwards only between namespaces, and this is loopback")
            }
        },
    }
}

fn ringfarm(lab: &Lab, programs: &Programs, habits: Habits) -> Result<Running> {
    let [ng, sip] = lab.control_ports()?;
    let settings = ringfarm_settings(lab, ng, sip, habits);
    let mut command = Command::new(&programs.ringfarm);
    command.args(["run", "--config", "/dev/stdin"]).env("NO_COLOR", "1");
    let mut process = spawn(System::Ringfarm, &mut command, lab)?;
    let mut input = process.take_input().context("ringfarm's input")?;
    input.write_all(settings.as_bytes()).context("handing ringfarm its settings")?;
    drop(input);
    ng_system(lab, process, ng, format!("{command:?} with {settings}"))
}

/// What differs from the defaults.
fn ringfarm_settings(lab: &Lab, ng: u16, sip: u16, habits: Habits) -> String {
    let addresses = lab.relay_addresses();
    let [inside, _] = addresses;
    let [first, last] = [*lab.media_ports().start(), *lab.media_ports().end()];
    let core = lab.cores.relay;
    let learning = habits.learning;
    let controller = lab.client_address(Side::Caller);
    let interfaces: String = NETWORKS
        .iter()
        .zip(addresses)
        .map(|(name, address)| {
            format!("[[ng.interfaces]]\nname = \"{name}\"\naddress = \"{address}\"\n")
        })
        .collect();
    format!(
        "[node]\nworkers = 1\ncores = [{core}]\nlog = \"warn\"\n\
         [[sip.listen]]\ntransport = \"udp\"\naddress = \"{inside}:{sip}\"\n\
         [media]\nports = \"{first}-{last}\"\nidle_timeout_s = 3600\nlearning = \"{learning}\"\n\
         [ng]\nlisten = \"{inside}:{ng}\"\nallow = [\"{controller}\"]\n{interfaces}"
    )
}

/// In user space, with what was measured to be its best flags.
fn rtpengine(lab: &Lab, programs: &Programs, habits: Habits) -> Result<Running> {
    let [ng, _] = lab.control_ports()?;
    let [inside, outside] = lab.relay_addresses();
    let [first, last] = [*lab.media_ports().start(), *lab.media_ports().end()];
    let mut command = Command::new(&programs.rtpengine);
    command.args(["--foreground", "--log-stderr", "--log-level=3", "--config-file=none"]);
    command.args(["--table=-1", "--num-threads=1", "--media-num-threads=0"]);
    command.arg(format!("--endpoint-learning={}", habits.endpoint_learning));
    command.args(["--delete-delay=0", "--timeout=3600"]);
    command.arg(format!("--interface={}/{inside}", NETWORKS[0]));
    command.arg(format!("--interface={}/{outside}", NETWORKS[1]));
    command.arg(format!("--listen-ng={inside}:{ng}"));
    command.args([format!("--port-min={first}"), format!("--port-max={last}")]);
    let process = spawn(System::Rtpengine, &mut command, lab)?;
    ng_system(lab, process, ng, format!("{command:?}"))
}

fn ng_system(lab: &Lab, mut process: Process, port: u16, command: String) -> Result<Running> {
    process.follow_output();
    let server = SocketAddrV4::new(lab.relay_addresses()[0], port);
    let mut client =
        lab.at_client(Side::Caller, |address| NgClient::bind(address, server, Some(NETWORKS)))?;
    client.wait_ready(|| process.check())?;
    let ng = Some(server);
    Ok(Running { control: Box::new(client), process: Some(process), command, ng })
}

fn floor(lab: &Lab, programs: &Programs) -> Result<Running> {
    let addresses = lab.relay_addresses();
    let mut command = Command::new(&programs.this);
    command.args(["bench", "epoll-relay"]).args(addresses.map(|address| address.to_string()));
    let mut process = spawn(System::Epoll, &mut command, lab)?;
    let to = process.take_input().context("the floor's input")?;
    let from = process.take_output().context("the floor's output")?;
    let control = Box::new(FloorControl::new(addresses, to, from));
    let command = format!("{command:?}");
    Ok(Running { control, process: Some(process), command, ng: None })
}

fn spawn(system: System, command: &mut Command, lab: &Lab) -> Result<Process> {
    Process::spawn(system.name(), command, lab.relay_host(), lab.cores.relay)
        .with_context(|| format!("{system} cannot be started"))
}
