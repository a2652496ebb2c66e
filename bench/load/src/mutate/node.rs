//! The node under test: started in a namespace that leads nowhere, or somebody's own on loopback.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::mutate::corpus::DOMAIN;
use crate::mutate::figures::{self, Figures};
use crate::mutate::log::NodeLog;
use crate::relaybench::cpu::resident_bytes;
use crate::relaybench::process::Process;
use crate::sipbench::systems::{Folder, wait_for_answer};

/// The port of a node in a namespace of its own.
const PORT: u16 = 5_060;

/// Where that node tells its figures.
const FIGURES: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9_090);

/// Contacts that may be registered: mutated REGISTERs name ever new users, and what they take is to
/// reach its bound soon.
const REGISTRATIONS: u32 = 2_000;

/// Transactions linger for 64 T1; at 12,000 messages a second some 400,000 are there at a time.
const TRANSACTIONS: u32 = 1_000_000;

/// What is under test.
pub(super) struct Node {
    /// `None`: somebody else's.
    process: Option<Process>,
    pub(super) address: SocketAddrV4,
    /// What it warns of.
    pub(super) log: NodeLog,
    /// Its settings live as long as it does.
    _folder: Option<Folder>,
}

impl Node {
    /// Starts `program` on `core`, in the namespace that this thread is in.
    ///
    /// # Errors
    /// It does not start, or does not answer within 20 s.
    pub(super) fn start(program: &Path, core: usize) -> Result<Node> {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, PORT);
        let text = format!(
            "[node]\nworkers = 1\ncores = [{core}]\npriority = \"inherited\"\nlog = \"warn\"\n\
             [media]\nports = \"10000-59999\"\n\
             [limits]\nsessions = 20000\ntransactions = {TRANSACTIONS}\nregistrations = {REGISTRATIONS}\n\
             [overload]\nenabled = false\n[metrics]\nlisten = \"{FIGURES}\"\n[users]\nopen = true\n[sip]\ndomains = [\"{DOMAIN}\"]\n\
             [[sip.listen]]\ntransport = \"udp\"\naddress = \"{address}\"\n\
             [[sip.listen]]\ntransport = \"tcp\"\naddress = \"{address}\"\n"
        );
        let folder = Folder::make()?;
        let mut command = Command::new(program);
        command.args(["run", "--config"]).arg(folder.write("ringfarm.toml", &text)?);
        command.env("NO_COLOR", "1");
        let log = NodeLog::default();
        let listener = Box::new({
            let log = log.clone();
            move |line: &str| log.hear(line)
        });
        let mut process = Process::spawn_heard("ringfarm", &mut command, None, core, listener)?;
        process.follow_output();
        let mut node = Node { process: Some(process), address, log, _folder: Some(folder) };
        node.wait_for_answer().context("starting the node")?;
        Ok(node)
    }

    /// One that runs already.
    pub(super) fn at(address: SocketAddrV4) -> Node {
        Node { process: None, address, log: NodeLog::default(), _folder: None }
    }

    /// Takes what it tells of itself into `figures`; a node that is not ours tells nothing.
    ///
    /// # Errors
    /// It does not tell them in time.
    pub(super) fn take_figures(&self, figures: &mut Figures) -> Result<()> {
        if self.process.is_some() { figures::take(FIGURES, figures) } else { Ok(()) }
    }

    /// Asks with OPTIONS, over and over, until there is an answer.
    ///
    /// # Errors
    /// The node has ended, or does not answer within 20 s.
    pub(super) fn wait_for_answer(&mut self) -> Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("a UDP socket")?;
        let process = &mut self.process;
        wait_for_answer(&socket, self.address, || process.as_mut().map_or(Ok(()), Process::check))
    }

    /// # Errors
    /// It has ended: how, and what it said last.
    pub(super) fn check(&mut self) -> Result<()> {
        self.process.as_mut().map_or(Ok(()), Process::check)
    }

    /// Resident memory in bytes; `None` of a node that is not ours.
    pub(super) fn resident_bytes(&self) -> Option<u64> {
        self.process.as_ref().and_then(|process| resident_bytes(process.id()))
    }
}
