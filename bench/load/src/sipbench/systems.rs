//! The SIP servers under test: how each is started, and how its memory is read.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;
use rustls::{ClientConfig, RootCertStore};

use crate::ids::Side;
use crate::relaybench::lab::{Lab, Topology};
use crate::relaybench::process::Process;
use crate::sipbench::kamailio;
use crate::sipbench::registrations::PASSWORD;
use crate::sipbench::template;
use crate::sipbench::texts::DOMAIN;

/// How long a server may take to answer its first OPTIONS.
const READY_MAX: Duration = Duration::from_secs(20);

/// How long one OPTIONS waits for its answer.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Server {
    /// This program.
    Ringfarm,
    /// Kamailio.
    Kamailio,
}

impl Server {
    /// The name, as in the options and in the report.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Server::Ringfarm => "ringfarm",
            Server::Kamailio => "kamailio",
        }
    }
}

/// The programs to run.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) ringfarm: PathBuf,
    pub(crate) kamailio: PathBuf,
    /// Worker processes of Kamailio, for datagrams and for connections each.
    pub(crate) kamailio_children: u32,
}

/// Where a server listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    /// UDP and TCP.
    pub(crate) sip: u16,
    pub(crate) tls: u16,
}

/// What a run needs of a server.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Needs {
    /// REGISTER has to be authenticated.
    pub(crate) digest: bool,
    /// Dialogs are kept track of.
    pub(crate) dialogs: bool,
    pub(crate) tls: bool,
    /// Users that may register.
    pub(crate) users: u32,
}

/// A server that runs.
pub(crate) struct Running {
    /// One, or the members of a farm.
    pub(crate) processes: Vec<Process>,
    /// Where each of them listens.
    pub(crate) addresses: Vec<SocketAddrV4>,
    pub(crate) tls_address: SocketAddrV4,
    /// Whether each datagram goes to one of them at random.
    pub(crate) scatters: bool,
    /// How it was started and configured, for the report.
    pub(crate) configuration: String,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) folder: Folder,
    pub(crate) server: Server,
}

impl Running {
    /// The server's processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let mut pids: Vec<u32> = self.processes.iter().map(Process::id).collect();
        let mut at = 0;
        while let Some(pid) = pids.get(at).copied() {
            let path = format!("/proc/{pid}/task/{pid}/children");
            let children = fs::read_to_string(path).unwrap_or_default();
            pids.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
            at += 1;
        }
        pids
    }

    /// Refuses a server that has ended.
    ///
    /// # Errors
    /// Says how it ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.processes.iter_mut().try_for_each(Process::check)
    }

    /// Adds to what went wrong whether the server has ended, or else what it said last.
    pub(crate) fn explain(&mut self, error: anyhow::Error) -> anyhow::Error {
        match self.check() {
            Err(ended) => anyhow!("{error:#}; {ended:#}"),
            Ok(()) => {
                let words: Vec<String> = self.processes.iter().map(Process::last_words).collect();
                anyhow!("{error:#} (last words: {})", words.join(" | "))
            }
        }
    }

    /// Memory of all its processes in bytes, what they share counted once (the kernel's
    /// proportional set size).
    pub(crate) fn memory_bytes(&self) -> Result<u64> {
        let of = |pid: u32| -> Result<u64> {
            let path = format!("/proc/{pid}/smaps_rollup");
            let text = fs::read_to_string(&path).with_context(|| path.clone())?;
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context(path)?;
            let kilobytes =
                line.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
            Ok(kilobytes.context("Pss is no number")? * 1_024)
        };
        self.pids().into_iter().map(of).sum()
    }

    /// What Kamailio says itself of its shared memory: bytes in use. `None` of other servers.
    pub(crate) fn shared_memory_bytes(&self) -> Option<u64> {
        if self.server != Server::Kamailio {
            return None;
        }
        let socket = format!("unix:{}/ctl", self.folder.0.display());
        let output = Command::new("kamcmd").args(["-s", &socket, "core.shmmem"]).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find_map(|line| line.trim().strip_prefix("used:"))?;
        line.trim().parse().ok()
    }
}

/// A folder that goes with its value.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn make() -> Result<Folder> {
        let name = format!("ringfarm-bench-{}-{:x}", std::process::id(), crate::os::random_u64());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Folder(path))
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Starts a server in its place; when this returns, it answers.
///
/// # Errors
/// It is not installed or does not start.
pub(crate) fn start(
    server: Server,
    lab: &Lab,
    programs: &Programs,
    needs: &Needs,
) -> Result<Running> {
    let folder = Folder::make()?;
    let ports = ports(lab)?;
    let ip = lab.relay_addresses()[0];
    let address = SocketAddrV4::new(ip, ports.sip);
    let tls = needs.tls.then(|| certificate(ip, &folder)).transpose()?;
    let (mut command, text) = match server {
        Server::Ringfarm => ringfarm(address, ports, needs, lab.cores.relay, programs, &folder)?,
        Server::Kamailio => {
            let text = kamailio::configuration(
                address,
                ports,
                needs,
                programs.kamailio_children,
                &folder.0,
            );
            (kamailio_command(programs, &folder, &text)?, text)
        }
    };
    let configuration = format!("{command:?}\n{text}");
    let mut process =
        Process::spawn(server.name(), &mut command, lab.relay_host(), lab.cores.relay)
            .with_context(|| format!("{} cannot be started", server.name()))?;
    process.follow_output();
    let tls_address = SocketAddrV4::new(ip, ports.tls);
    let mut running = Running {
        processes: vec![process],
        addresses: vec![address],
        tls_address,
        scatters: false,
        configuration,
        tls,
        folder,
        server,
    };
    wait_ready(lab, &mut running)?;
    Ok(running)
}

/// In a namespace the usual ones, else some that are free.
fn ports(lab: &Lab) -> Result<Ports> {
    Ok(match lab.topology() {
        Topology::Namespaces => Ports { sip: 5_060, tls: 5_061 },
        Topology::Loopback | Topology::Auto => {
            let [sip, tls] = lab.control_ports()?;
            Ports { sip, tls }
        }
    })
}

fn ringfarm(
    address: SocketAddrV4,
    ports: Ports,
    needs: &Needs,
    core: usize,
    programs: &Programs,
    folder: &Folder,
) -> Result<(Command, String)> {
    let ip = address.ip();
    let mut text = ringfarm_settings(address, needs, core);
    if needs.tls {
        let folder = folder.0.display();
        let _ = writeln!(
            text,
            "[[sip.listen]]\ntransport = \"tls\"\naddress = \"{ip}:{}\"\n\
             [[sip.tls.certificates]]\nchain = \"{folder}/cert.pem\"\nkey = \"{folder}/key.pem\"",
            ports.tls
        );
    }
    let path = folder.write("ringfarm.toml", &text)?;
    let mut command = Command::new(&programs.ringfarm);
    command.args(["run", "--config"]).arg(path).env("NO_COLOR", "1");
    // The report need not repeat a thousand users.
    let shown = text.split("[[users.list]]").next().unwrap_or_default().to_owned();
    let rest = text.rsplit_once("[sip]").map_or("", |(_, rest)| rest);
    let users = if needs.digest {
        format!(
            "{shown}[[users.list]] u000000 to u{:06}\n[sip]{rest}",
            needs.users.saturating_sub(1)
        )
    } else {
        text
    };
    Ok((command, users))
}

/// The settings of a ringfarm that listens here, without TLS.
pub(crate) fn ringfarm_settings(address: SocketAddrV4, needs: &Needs, core: usize) -> String {
    let ip = address.ip();
    let mut text = format!(
        "[node]\nworkers = 1\ncores = [{core}]\npriority = \"inherited\"\nlog = \"warn\"\n\
         [media]\nrelay = \"never\"\nports = \"10000-10999\"\n\
         [limits]\nsessions = 200000\ntransactions = 1000000\nregistrations = 1000000\n\
         [defence]\nmessages_per_s = 1000000\nburst = 1000000\nban_failures = 1000000\n\
         account_calls_per_min = 0\naccount_registers_per_min = 0\n\
         [overload]\nenabled = false\n\
         [users]\nopen = {}\n",
        !needs.digest
    );
    if needs.digest {
        for number in 0..needs.users {
            let user = template::user(number);
            let user = String::from_utf8_lossy(&user);
            let _ = writeln!(text, "[[users.list]]\nname = \"u{user}\"\npassword = \"{PASSWORD}\"");
        }
    }
    let _ = writeln!(text, "[sip]\ndomains = [\"{DOMAIN}\"]");
    for transport in ["udp", "tcp"] {
        let _ = writeln!(
            text,
            "[[sip.listen]]\ntransport = \"{transport}\"\naddress = \"{ip}:{}\"",
            address.port()
        );
    }
    text
}

fn kamailio_command(programs: &Programs, folder: &Folder, text: &str) -> Result<Command> {
    let path = folder.write("kamailio.cfg", text)?;
    let mut command = Command::new(&programs.kamailio);
    command.arg("-f").arg(path).args(["-DD", "-E", "-m", "1024", "-M", "16"]);
    command.arg("-Y").arg(&folder.0).arg("-w").arg(&folder.0);
    Ok(command)
}

/// Writes a certificate for `ip` and its key, and returns a client's side that trusts just that.
fn certificate(ip: std::net::Ipv4Addr, folder: &Folder) -> Result<Arc<ClientConfig>> {
    let key = rcgen::generate_simple_self_signed([ip.to_string(), DOMAIN.to_owned()])
        .context("making a certificate")?;
    folder.write("cert.pem", &key.cert.pem())?;
    folder.write("key.pem", &key.signing_key.serialize_pem())?;
    let mut roots = RootCertStore::empty();
    roots.add(key.cert.der().clone()).context("trusting the certificate")?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("the TLS versions")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Asks over UDP until there is an answer.
///
/// # Errors
/// A server has ended, or does not answer.
pub(crate) fn wait_ready(lab: &Lab, running: &mut Running) -> Result<()> {
    let socket = lab.at_client(Side::Caller, |address| {
        UdpSocket::bind((address, 0)).with_context(|| format!("a UDP socket of {address}"))
    })?;
    for address in running.addresses.clone() {
        let asked = wait_for_answer(&socket, address, || running.check());
        asked.map_err(|error| running.explain(error))?;
    }
    Ok(())
}

/// Asks `server` with OPTIONS until there is an answer; `check` refuses a server that has ended.
///
/// # Errors
/// Those of `check`, or there is no answer within [`READY_MAX`].
pub(crate) fn wait_for_answer(
    socket: &UdpSocket,
    server: SocketAddrV4,
    mut check: impl FnMut() -> Result<()>,
) -> Result<()> {
    socket.set_read_timeout(Some(ASK_AGAIN)).context("a read timeout")?;
    let own = socket.local_addr().context("a socket's address")?;
    let deadline = Instant::now() + READY_MAX;
    let mut buffer = [0; 2_048];
    for number in 0u32.. {
        check()?;
        if Instant::now() > deadline {
            bail!("{server} does not answer within {READY_MAX:?}");
        }
        let options = format!(
            "OPTIONS sip:{server} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKready{number};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:ready@{DOMAIN}>;tag=r{number}\r\nTo: <sip:{server}>\r\n\
             Call-ID: ready-{number}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        );
        // Before it is bound, the kernel may refuse.
        let _ = socket.send_to(options.as_bytes(), server);
        if let Ok((length, _)) = socket.recv_from(&mut buffer)
            && buffer[..length].starts_with(b"SIP/2.0 ")
        {
            return Ok(());
        }
    }
    bail!("unreachable: it asks until the deadline")
}

/// What a program says of its version.
pub(crate) fn version(server: Server, programs: &Programs) -> String {
    let (program, argument): (&Path, _) = match server {
        Server::Ringfarm => (&programs.ringfarm, "--version"),
        Server::Kamailio => (&programs.kamailio, "-v"),
    };
    let output = Command::new(program).arg(argument).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned()
}
