//! The systems under test: a node by itself, or members of a cluster with their engine.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::farmbench::report::System;
use crate::relaybench::lab::{Lab, Topology};
use crate::relaybench::process::Process;
use crate::relaybench::stop::Stop;
use crate::sipbench::systems::{Folder, Needs, Running, Server, ringfarm_settings, wait_ready};

/// The engine answers, a member is ready, and all have found each other within this.
const READY_MAX: Duration = Duration::from_secs(60);

/// How often somebody who waits for them looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// In a namespace that nobody else uses.
const PORTS: Ports = Ports { sip: 5_060, mesh: 7_443, metrics: 9_090, engine: 4_222 };

/// Tells how many members a member knows of, and how many others it is connected to.
const MEMBERS: &str = "ringfarm_cluster_members ";
const UP: &str = "ringfarm_cluster_peers{state=\"up\"} ";

/// The programs to run.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) ringfarm: PathBuf,
    pub(crate) nats_server: PathBuf,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    sip: u16,
    mesh: u16,
    metrics: u16,
    engine: u16,
}

impl Ports {
    fn choose(lab: &Lab) -> Result<Ports> {
        if lab.topology() == Topology::Namespaces {
            return Ok(PORTS);
        }
        let free =
            || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port");
        // All at once, so that they differ.
        let held = [free()?, free()?, free()?, free()?];
        let mut ports = [0; 4];
        for (port, listener) in ports.iter_mut().zip(&held) {
            *port = listener.local_addr().context("a free port")?.port();
        }
        let [sip, mesh, metrics, engine] = ports;
        Ok(Ports { sip, mesh, metrics, engine })
    }
}

/// A system that runs. Members end before their engine does.
pub(crate) struct Started {
    pub(crate) running: Running,
    _engine: Option<Process>,
}

/// Starts a system; when this returns, it answers, and members know each other.
///
/// # Errors
/// A program is not installed or does not start.
pub(crate) fn start(
    system: System,
    lab: &Lab,
    programs: &Programs,
    stop: &Stop,
) -> Result<Started> {
    let ports = Ports::choose(lab)?;
    let mut place = Place { lab, programs, ports, folder: Folder::make()?, said: String::new() };
    let count = system.members();
    let addresses: Vec<Ipv4Addr> = lab.farm_addresses()?.into_iter().take(count.max(1)).collect();
    let engine = if count > 1 { Some(place.engine(stop)?) } else { None };
    let mut processes = Vec::new();
    for (number, address) in addresses.iter().enumerate() {
        if count > 0 {
            place.keys(number, addresses[0])?;
        }
        processes.push(place.node(number, *address, count)?);
        // The first lets the others in, so it has to be there before they ask.
        place.wait_answer(*address, processes.last_mut(), stop)?;
    }
    let sip: Vec<SocketAddrV4> =
        addresses.iter().map(|address| SocketAddrV4::new(*address, ports.sip)).collect();
    if count > 0 {
        place.wait_met(&addresses, &mut processes, stop)?;
    }
    let Place { folder, said, .. } = place;
    let mut running = Running {
        processes,
        tls_address: sip[0],
        addresses: sip,
        scatters: count > 1,
        configuration: said,
        tls: None,
        folder,
        server: Server::Ringfarm,
    };
    wait_ready(lab, &mut running)?;
    Ok(Started { running, _engine: engine })
}

struct Place<'p> {
    lab: &'p Lab,
    programs: &'p Programs,
    ports: Ports,
    folder: Folder,
    /// How it was started and configured, for the report.
    said: String,
}

impl Place<'_> {
    /// The engine's server is none of what is measured: it runs on the generator's core.
    fn engine(&self, stop: &Stop) -> Result<Process> {
        let at = SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.ports.engine);
        let store = self.folder.0.join("engine");
        let text =
            format!("server_name: bench\nlisten: \"{at}\"\njetstream {{ store_dir: {store:?} }}\n");
        let config = self.folder.write("engine.conf", &text)?;
        let mut command = Command::new(&self.programs.nats_server);
        command.arg("-c").arg(config);
        let core = self.lab.cores.generator.first().copied().unwrap_or(self.lab.cores.relay);
        let mut process =
            Process::spawn("nats-server", &mut command, self.lab.relay_host(), core).context(
                "nats-server cannot be started: `deploy/test --install` fetches it, --nats-server names it",
            )?;
        process.follow_output();
        self.until("the engine to listen", stop, || {
            process.check()?;
            self.inside(|| Ok(TcpStream::connect(at).is_ok()))
        })?;
        Ok(process)
    }

    fn state(&self, number: usize) -> PathBuf {
        self.folder.0.join(format!("keys{number}"))
    }

    /// The first member makes the cluster, the others enter it.
    fn keys(&mut self, number: usize, first: Ipv4Addr) -> Result<()> {
        let name = format!("member-{}", number + 1);
        let state = self.state(number);
        if number == 0 {
            self.tell(&state, &["init", "--name", &name])?;
            return Ok(());
        }
        let address = SocketAddrV4::new(first, self.ports.mesh).to_string();
        let token = self.tell(&self.state(0), &["token", "--address", &address])?;
        self.tell(&state, &["join", token.trim(), "--name", &name])?;
        Ok(())
    }

    /// Runs `ringfarm cluster`, where the members are.
    fn tell(&self, state: &Path, words: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.programs.ringfarm);
        command.arg("cluster").args(words).arg("--state").arg(state);
        let output = self.inside(|| command.output().context("starting ringfarm"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ringfarm cluster {}: {}", words[0], said.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn node(&mut self, number: usize, address: Ipv4Addr, members: usize) -> Result<Process> {
        let sip = SocketAddrV4::new(address, self.ports.sip);
        let core = self.lab.cores.relay;
        let mut text = ringfarm_settings(sip, &Needs::default(), core);
        text += &format!("[metrics]\nlisten = \"{address}:{}\"\n", self.ports.metrics);
        if members > 0 {
            text += &format!(
                "[cluster]\nstate = \"{}\"\nlisten = \"{address}:{}\"\n",
                self.state(number).display(),
                self.ports.mesh
            );
        }
        if members > 1 {
            text += &format!("[cluster.engine]\nservers = [\"127.0.0.1:{}\"]\n", self.ports.engine);
        }
        let config = self.folder.write(&format!("member{number}.toml"), &text)?;
        let mut command = Command::new(&self.programs.ringfarm);
        command.args(["run", "--config"]).arg(config).env("NO_COLOR", "1");
        self.said += &format!("{command:?}\n{text}\n");
        let mut process = Process::spawn("ringfarm", &mut command, self.lab.relay_host(), core)
            .context("ringfarm cannot be started")?;
        process.follow_output();
        Ok(process)
    }

    fn wait_answer(
        &self,
        address: Ipv4Addr,
        process: Option<&mut Process>,
        stop: &Stop,
    ) -> Result<()> {
        let Some(process) = process else { return Ok(()) };
        let answers = self.until("a member to answer", stop, || {
            process.check()?;
            Ok(self.figures(address).is_some())
        });
        answers.with_context(|| format!("its last words: {}", process.last_words()))
    }

    /// Waits until each knows all others.
    fn wait_met(
        &self,
        addresses: &[Ipv4Addr],
        processes: &mut [Process],
        stop: &Stop,
    ) -> Result<()> {
        let count = addresses.len();
        let wanted = [format!("{MEMBERS}{count}"), format!("{UP}{}", count - 1)];
        let has_met = |page: String| wanted.iter().all(|line| page.lines().any(|one| one == line));
        let met = self.until("the members to meet", stop, || {
            processes.iter_mut().try_for_each(Process::check)?;
            let mut pages = addresses.iter().map(|address| self.figures(*address));
            Ok(pages.all(|page| page.is_some_and(has_met)))
        });
        let words = || processes.iter().map(Process::last_words).collect::<Vec<_>>().join(" | ");
        met.with_context(|| format!("their last words: {}", words()))
    }

    /// The page of figures of the member with this address.
    fn figures(&self, address: Ipv4Addr) -> Option<String> {
        let at = SocketAddrV4::new(address, self.ports.metrics);
        let asked = self.inside(|| {
            let mut stream = TcpStream::connect(at)?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            write!(stream, "GET /metrics HTTP/1.0\r\nHost: {at}\r\n\r\n")?;
            let mut page = String::new();
            stream.read_to_string(&mut page)?;
            Ok(page)
        });
        asked.ok().filter(|page| page.contains(" 200 "))
    }

    fn until(
        &self,
        what: &str,
        stop: &Stop,
        mut is_so: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        let deadline = Instant::now() + READY_MAX;
        while !is_so()? {
            if Instant::now() > deadline {
                bail!("waited {READY_MAX:?} in vain for {what}");
            }
            stop.sleep(LOOK_AGAIN)?;
        }
        Ok(())
    }

    /// Runs `work` where the members are.
    fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        match self.lab.relay_host() {
            Some(host) => host.enter(work),
            None => work(),
        }
    }
}
