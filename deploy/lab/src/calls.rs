//! Calls with media by `ringfarm load`, at the clients.

use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use load::Report;
use load::progress::Event;
use load::relaybench::stop::Stop;

use crate::certificates;
use crate::members::Site;
use crate::plan::{
    CLIENT, FRONTENDS, Family, Method, SECRET_CLIENT, SIP, SIPS, VIP, outside, public,
};
use crate::process::Process;

/// Beyond what a run is planned to take, which on a busy machine is longer.
const PATIENCE: Duration = Duration::from_secs(120);
const BUSY: u32 = 4;
/// Users of each side.
const USERS_MAX: u32 = 200;
const REGISTRATIONS_PER_SECOND: u32 = 100;

/// What SIP travels on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// Connections.
    Tcp,
    /// Connections that are encrypted. What is said on them only the generator can judge.
    Tls,
}

impl Transport {
    /// As `ringfarm load` calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        }
    }
}

/// What is asked of one generator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calls {
    pub(crate) family: Family,
    pub(crate) transport: Transport,
    pub(crate) count: u32,
    pub(crate) per_second: f64,
    /// Media of each, from its answer on.
    pub(crate) seconds: u32,
    /// Tells the users of one run from those of another.
    pub(crate) run: u32,
}

/// A generator that runs.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) calls: Calls,
    process: Process,
}

impl Load {
    /// Starts it.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(site: Site<'_>, calls: Calls) -> Result<Load> {
        let Calls { family, transport, count, per_second, seconds, run } = calls;
        let is_secret = transport == Transport::Tls;
        let (port, client) = if is_secret { (SIPS, SECRET_CLIENT) } else { (SIP, CLIENT) };
        let target = VIP.at(family, port);
        let mut command: Command = site.segment.clients.command(site.ringfarm);
        let bind = outside(client).ip(family).to_string();
        command.args(["load", &target.to_string(), "--bind", &bind]);
        let own = FRONTENDS.map(|host| public(host).ip(family));
        for allowed in own.iter().filter(|_| site.method != Method::SingleIpNat) {
            command.args(["--allow-target", &allowed.to_string()]);
        }
        command.args(["--allow-target", &target.ip().to_string()]);
        let name = transport.name();
        command.args(["--transport", name]);
        if is_secret {
            command.arg("--tls-authority").arg(certificates::authority(site.folder));
            command.args(["--domain", &domain(target.ip())]);
        }
        let kind = format!("{name}{}r{run}", if family == Family::Ipv4 { 4 } else { 6 });
        for side in ["caller", "callee"] {
            command.args([format!("--{side}-prefix"), format!("{kind}-{side}-")]);
        }
        let users = count.clamp(1, USERS_MAX).to_string();
        command.args(["--sessions", &count.to_string(), "--rate", &per_second.to_string()]);
        command.args(["--seconds", &seconds.to_string(), "--per-call-seconds", "--users", &users]);
        command.args(["--register-rate", &REGISTRATIONS_PER_SECOND.to_string()]);
        command.args(["--no-video", "--cores", "any", "--progress-json"]);
        let process = Process::spawn(&format!("load-{kind}"), &mut command, site.folder)?;
        Ok(Load { calls, process })
    }

    /// Waits until so many of its calls have been up, ended ones included.
    ///
    /// # Errors
    /// It ends before.
    pub(crate) fn wait_up(&mut self, count: u32, stop: &Stop) -> Result<()> {
        let limit = self.limit();
        self.process.wait(&format!("{count} calls"), limit, stop, |said| {
            let up = said.lines().rev().find_map(|line| match event(line)? {
                Event::Progress(progress) => Some(progress.sessions_up),
                Event::Report(_) | Event::Error { .. } => None,
            });
            up >= Some(count)
        })
    }

    /// Waits for its end, and returns what it counted.
    ///
    /// # Errors
    /// It could not make its calls.
    pub(crate) fn report(mut self, stop: &Stop) -> Result<Report> {
        let limit = self.limit();
        self.process.wait_end(limit, stop)?;
        let said = self.process.said();
        match said.lines().rev().find_map(event) {
            Some(Event::Report(report)) => Ok(*report),
            Some(Event::Error { message }) => bail!("the generator: {message}"),
            Some(Event::Progress(_)) | None => {
                bail!("the generator made no report: {}", self.process.last_words())
            }
        }
    }

    fn limit(&self) -> Duration {
        let Calls { count, per_second, seconds, .. } = self.calls;
        let planned = f64::from(count) / per_second + f64::from(seconds);
        Duration::from_secs_f64(planned) * BUSY + PATIENCE
    }
}

/// Users' domain: the shared address, whatever the port.
fn domain(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        // As the generator writes it (see `ringfarm load`), which cannot read the usual form.
        IpAddr::V6(ip) => format!("v6-{}.invalid", ip.to_string().replace(':', "-")),
    }
}

fn event(line: &str) -> Option<Event> {
    serde_json::from_str(line).ok()
}
