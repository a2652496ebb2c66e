//! What every test stands on: a network of hosts, a node on one of them, guarded processes, packet
//! meters.

mod meter;
mod namespace;
mod network;
pub(crate) mod node;
mod process;
pub(crate) mod tls;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub(crate) use meter::{Direction, Meter};
pub(crate) use namespace::Namespace;
pub(crate) use network::{BRIDGE, Network};
pub(crate) use node::{
    CALLEE_HUNG_UP, CALLER_HUNG_UP, CONTROL_SOCKET, DOMAIN, MEDIA_PORTS, NG_PORT, NODE_PORT,
    NODE_TLS_PORT, Node, OUTSIDE_DOMAIN, Settings, User, WAN,
};
pub(crate) use process::Process;
pub(crate) use tls::{AUTHORITY, PEER};

/// Where the node listens.
pub(crate) const NODE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Where the calling peer runs.
pub(crate) const CALLER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// Where the called peer runs.
pub(crate) const CALLEE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);
/// Where an outside SIP proxy runs.
pub(crate) const PROXY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 4);

/// The node's address in the outside network.
pub(crate) const NODE_OUTSIDE: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);
/// A host that is in the outside network, too: that of [`PROXY`].
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 4);

/// The IPv6 address of the host with this address in the inside network: its number in fd77::/64.
pub(crate) const fn v6(host: Ipv4Addr) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, host.octets()[3] as u16))
}

/// The node's address that a peer with this address talks to.
pub(crate) fn node_facing(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(OUTSIDE) => NODE_OUTSIDE.into(),
        IpAddr::V4(_) => NODE.into(),
        IpAddr::V6(_) => v6(NODE),
    }
}

/// Where a peer with this address finds the node's SIP.
pub(crate) fn sip_facing(peer: IpAddr, transport: Transport) -> SocketAddr {
    let port = match transport {
        Transport::Udp | Transport::Tcp => NODE_PORT,
        Transport::Tls => NODE_TLS_PORT,
    };
    SocketAddr::new(node_facing(peer), port)
}

/// Where peers run, and leave their files.
pub(crate) trait Place {
    /// The host with this address.
    fn host_of(&self, address: IpAddr) -> &Namespace;

    /// Where a peer with this address finds SIP.
    fn sip(&self, peer: IpAddr, transport: Transport) -> SocketAddr;

    /// A path in the test's scratch folder.
    fn path(&self, name: &str) -> PathBuf;

    /// Writes a file into the scratch folder.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
        path
    }
}

/// How often a condition that nothing announces (a file, a socket table) is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// A SIP transport, by the name that settings and URIs use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl Transport {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        }
    }
}

/// One test's world: hosts with the addresses above, a scratch folder and a running node.
///
/// Peers borrow it, so they end before it does. When the test panics the folder is kept and named.
pub(crate) struct Lab {
    node: Node,
    network: Network,
    dir: TempDir,
}

impl Lab {
    /// Makes the network and starts the node on it; returns once the node says that it is ready.
    ///
    /// Panics, with what to do, if `needed` names a program that is not installed or if the rights
    /// to make namespaces are missing.
    pub(crate) fn start(settings: &Settings, needed: &[&str]) -> Lab {
        for program in needed {
            require(program);
        }
        let network = Network::create();
        let dir = tempfile::Builder::new()
            .prefix("ringfarm-peers-")
            .tempdir()
            .unwrap_or_else(|e| panic!("cannot make a scratch folder: {e}"));
        let node = Node::start(network.host(NODE), dir.path(), settings);
        Lab { node, network, dir }
    }

    /// The host with this address.
    pub(crate) fn host(&self, address: impl Into<IpAddr>) -> &Namespace {
        self.network.host(address)
    }

    /// As [`Network::put_behind`].
    pub(crate) fn put_behind(&mut self, nat: Ipv4Addr, address: Ipv4Addr) {
        self.network.put_behind(nat, address);
    }

    /// A path in this test's scratch folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file into the scratch folder.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
        path
    }

    /// What a command to the running node prints: `refresh`, say.
    pub(crate) fn tell(&self, command: &str) -> String {
        let mut ringfarm = Command::new(node::binary());
        run(ringfarm.arg(command).arg("--socket").arg(self.path(CONTROL_SOCKET)))
    }

    /// Waits for a line in the node's log, and returns it.
    pub(crate) fn wait_logged(&mut self, what: &str) -> String {
        self.node.wait_logged(what)
    }

    /// The end of every test: no media port is left open in the node, it has logged how each call
    /// ended, in any order, and no call more, and it stops cleanly when asked. Returns what it
    /// logged for each call.
    pub(crate) fn finish(mut self, ends: &[&str]) -> Vec<String> {
        wait_for("the node to close its media sockets", Duration::from_secs(10), || {
            self.network.host(NODE).udp_sockets(MEDIA_PORTS).is_empty()
        });
        let lines = self.node.wait_calls_ended(ends);
        self.node.stop();
        lines
    }
}

impl Place for Lab {
    fn host_of(&self, address: IpAddr) -> &Namespace {
        self.network.host(address)
    }

    fn sip(&self, peer: IpAddr, transport: Transport) -> SocketAddr {
        sip_facing(peer, transport)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if thread::panicking() {
            self.dir.disable_cleanup(true);
            eprintln!("the peers' files are kept in {}", self.dir.path().display());
        }
    }
}

/// Waits until `done` holds, or panics with `what` after `limit`.
pub(crate) fn wait_for(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < deadline, "waited {limit:?} in vain for {what}");
        thread::sleep(LOOK_AGAIN);
    }
}

/// Panics unless `program` is installed. Never skips: an absent peer must not look like a passed
/// test.
pub(crate) fn require(program: &str) {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path)
            .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
            .any(|folder| folder.join(program).is_file())
    });
    assert!(
        found,
        "{program} is not installed: run `deploy/test`, which installs it and then runs these tests"
    );
}

/// Runs a short command to its end and returns what it printed; panics with its words if it fails.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?} failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The last `lines` lines of a file, or a note that it cannot be read.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    match fs::read(path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let all: Vec<&str> = text.lines().collect();
            all[all.len().saturating_sub(lines)..].join("\n")
        }
        Err(error) => format!("({}: {error})", path.display()),
    }
}
