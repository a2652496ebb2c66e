//! The node under test, as a user starts it: `ringfarm run --config FILE`.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{NODE, NODE_OUTSIDE, Namespace, PROXY, Process, Transport, tls, v6};

/// The node's SIP port, UDP and TCP.
pub(crate) const NODE_PORT: u16 = 5060;
/// The node's port for SIP over TLS, where it has certificates.
pub(crate) const NODE_TLS_PORT: u16 = 5061;
/// The port that the node receives ng commands on.
pub(crate) const NG_PORT: u16 = 2223;
/// The domain whose users the node knows.
pub(crate) const DOMAIN: &str = "ring.test";
/// A domain that the node routes to the outside proxy.
pub(crate) const OUTSIDE_DOMAIN: &str = "outside.test";
/// The ports that the node's media may use.
pub(crate) const MEDIA_PORTS: RangeInclusive<u16> = 20000..=29999;

/// The node's control socket, in the test's scratch folder.
pub(crate) const CONTROL_SOCKET: &str = "control.sock";

/// How the node names the end of a call whose caller hung up.
pub(crate) const CALLER_HUNG_UP: &str = "caller hung up";
/// How the node names the end of a call whose callee hung up.
pub(crate) const CALLEE_HUNG_UP: &str = "callee hung up";

const READY: Duration = Duration::from_secs(15);
const STOPPED: Duration = Duration::from_secs(10);
const ENDED: Duration = Duration::from_secs(10);

/// A user whom the node knows.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) password: String,
}

impl User {
    pub(crate) fn new(name: &str) -> User {
        User { name: name.to_owned(), password: format!("secret-of-{name}") }
    }
}

/// What differs between the nodes of different tests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) users: Vec<User>,
    /// Whether [`OUTSIDE_DOMAIN`] is routed to [`PROXY`], and calls from there need no password.
    pub(crate) outside: bool,
    /// Whether [`PROXY`] may have its calls' media relayed over ng, on [`NG_PORT`].
    pub(crate) ng: bool,
    /// Whether media goes from peer to peer, past the node.
    pub(crate) unrelayed: bool,
    /// Whether [`WAN`] stands before the node, and there are the networks "inside" and "outside".
    pub(crate) networks: bool,
    /// Whether the node listens for TLS, too.
    pub(crate) tls: bool,
    /// Further tables of the settings file.
    pub(crate) more: String,
    /// What the node listens on, by transport and address, where it is not each of its addresses. They
    /// may be absent at its start.
    pub(crate) listen: Vec<(Transport, SocketAddr)>,
}

/// What stands before [`NODE_OUTSIDE`].
pub(crate) const WAN: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);

impl Settings {
    pub(crate) fn with_users(names: &[&str]) -> Settings {
        Settings {
            users: names.iter().map(|name| User::new(name)).collect(),
            ..Settings::default()
        }
    }

    pub(crate) fn with_outside(mut self) -> Settings {
        self.outside = true;
        self
    }

    /// Nobody's calls but those of [`PROXY`], over ng.
    pub(crate) fn with_ng() -> Settings {
        Settings { ng: true, ..Settings::default() }
    }

    fn to_toml(&self, dir: &Path) -> String {
        let (first, last) = (MEDIA_PORTS.start(), MEDIA_PORTS.end());
        let socket = dir.join(CONTROL_SOCKET);
        let mut toml = format!("[control]\nsocket = \"{}\"\n\n", socket.display());
        if !self.listen.is_empty() {
            toml += "[node]\nabsent_addresses = \"accept\"\n\n";
        }
        toml +=
            &format!("[sip]\ndomains = [\"{DOMAIN}\"]\n\n[media]\nports = \"{first}-{last}\"\n");
        if self.unrelayed {
            toml += "relay = \"never\"\n";
        }
        if self.networks {
            let _ = writeln!(toml, "wan_ip = \"{WAN}\"");
        }
        let own = [NODE.into(), v6(NODE), IpAddr::from(NODE_OUTSIDE)];
        let own = own.map(|ip| SocketAddr::new(ip, NODE_PORT));
        let both = [Transport::Udp, Transport::Tcp];
        let everywhere = both.iter().flat_map(|t| own.map(|address| (*t, address))).collect();
        let listen = if self.listen.is_empty() { &everywhere } else { &self.listen };
        for (transport, address) in listen {
            let transport = transport.name();
            let _ = writeln!(
                toml,
                "[[sip.listen]]\ntransport = \"{transport}\"\naddress = \"{address}\"\n"
            );
        }
        if self.tls {
            for address in [NODE.into(), v6(NODE)].map(|ip| SocketAddr::new(ip, NODE_TLS_PORT)) {
                let _ = writeln!(
                    toml,
                    "[[sip.listen]]\ntransport = \"tls\"\naddress = \"{address}\"\n"
                );
            }
            toml += &tls::certificate(dir);
        }
        for User { name, password } in &self.users {
            let _ =
                writeln!(toml, "[[users.list]]\nname = \"{name}\"\npassword = \"{password}\"\n");
        }
        if self.outside {
            let _ = writeln!(
                toml,
                "[peers]\ntrusted = [\"{PROXY}/32\", \"{}\"]\n\n\
                 [[routes]]\ndomain = \"{OUTSIDE_DOMAIN}\"\nnext_hop = \"{PROXY}:5060\"\ntransport = \"udp\"",
                v6(PROXY)
            );
        }
        if self.networks {
            let _ = writeln!(
                toml,
                "[[media.networks]]\nname = \"inside\"\npeers = [\"10.77.0.0/16\"]\n\
                 address = \"{NODE}\"\nadvertise = \"{NODE}\"\n\n\
                 [[media.networks]]\nname = \"outside\"\npeers = [\"0.0.0.0/0\"]\n\
                 address = \"{NODE_OUTSIDE}\"\n"
            );
        }
        if self.ng {
            let _ = writeln!(toml, "[ng]\nlisten = \"{NODE}:{NG_PORT}\"\nallow = [\"{PROXY}\"]\n");
        }
        toml + &self.more
    }
}

/// A running node.
pub(crate) struct Node {
    process: Process,
}

impl Node {
    /// Starts a node; returns once it says that it is ready.
    pub(crate) fn start(namespace: &Namespace, dir: &Path, settings: &Settings) -> Node {
        let config = dir.join("ringfarm.toml");
        std::fs::write(&config, settings.to_toml(dir))
            .unwrap_or_else(|e| panic!("cannot write {}: {e}", config.display()));
        let mut command = namespace.command(binary());
        command.arg("run").arg("--config").arg(&config).env("NO_COLOR", "1");
        let mut process = Process::spawn("node", &mut command);
        process.wait_line("its ready line", READY, |line| line.starts_with("ringfarm: ready"));
        Node { process }
    }

    /// Waits until as many calls have ended as `ends` has entries, by the node's own log, and
    /// panics unless they ended like that.
    pub(crate) fn wait_calls_ended(&mut self, ends: &[&str]) -> Vec<String> {
        self.process.wait_lines(
            &format!("{} ended calls in its log", ends.len()),
            ENDED,
            |lines| lines.iter().filter(|line| is_call_end(line)).count() >= ends.len(),
        );
        let logged: Vec<String> =
            self.process.lines().into_iter().filter(|line| is_call_end(line)).collect();
        let count_logged =
            |end: &str| logged.iter().filter(|line| line.contains(&format!("end={end} "))).count();
        let count_wanted = |end: &str| ends.iter().filter(|other| **other == end).count();
        assert!(
            logged.len() == ends.len() && ends.iter().all(|e| count_logged(e) == count_wanted(e)),
            "wanted {ends:?}, but the node logged {logged:#?}"
        );
        logged
    }

    /// Waits for a line in the node's log, and returns it.
    pub(crate) fn wait_logged(&mut self, what: &str) -> String {
        self.process.wait_line(what, ENDED, |line| line.contains(what));
        let lines = self.process.lines();
        lines.into_iter().find(|line| line.contains(what)).unwrap_or_default()
    }

    /// Asks the node to stop, as systemd would; it must end by itself and without an error.
    pub(crate) fn stop(&mut self) {
        self.process.signal(Signal::SIGTERM);
        let status = self.process.wait_end(STOPPED);
        assert!(status.success(), "the node did not stop cleanly: {status}");
    }
}

fn is_call_end(line: &str) -> bool {
    line.contains("call ended")
}

/// The node's binary: the one built with these tests, unless the test command names the release
/// build.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("RINGFARM_BIN")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_ringfarm")), PathBuf::from)
}
