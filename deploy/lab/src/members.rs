//! The nodes of the cluster, as operators start them.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use load::relaybench::stop::Stop;
use nix::sys::signal::Signal;

use crate::certificates;
use crate::engine;
use crate::plan::{BACKENDS, ENGINE, FRONTENDS, Family, Member, Method, SIP, SIPS, VIP, inside};
use crate::process::{self, Process, until};
use crate::segment::Segment;

const READY: Duration = Duration::from_secs(30);
const MET: Duration = Duration::from_secs(60);
const ENDED: Duration = Duration::from_secs(60);
/// How long somebody who asks for figures waits.
const SAID: Duration = Duration::from_secs(5);
const MESH: u16 = 7443;
const METRICS: u16 = 9090;

/// A domain that they serve besides the shared address.
const DOMAIN: &str = "ring.test";

/// What starts members.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'s> {
    pub(crate) segment: &'s Segment,
    pub(crate) method: Method,
    pub(crate) ringfarm: &'s Path,
    pub(crate) folder: &'s Path,
    pub(crate) stop: &'s Stop,
}

/// A member that runs.
#[derive(Debug)]
pub(crate) struct Running<'s> {
    site: Site<'s>,
    pub(crate) member: Member,
    process: Process,
}

impl<'s> Site<'s> {
    /// Starts all members; they know each other when this returns.
    ///
    /// # Errors
    /// One of them does not start.
    pub(crate) fn start(self) -> Result<Vec<Running<'s>>> {
        let numbers = FRONTENDS.into_iter().chain(BACKENDS);
        let first = Member { host: FRONTENDS[0] };
        let mut running: Vec<Running<'s>> = Vec::new();
        for member in numbers.map(|host| Member { host }) {
            if member == first {
                self.keys(member, &["init"])?;
            } else {
                let at = inside(first.host).at(Family::Ipv4, MESH).to_string();
                let token = self.cluster(first, &["token", "--address", &at])?;
                self.keys(member, &["join", token.trim()])?;
            }
            running.push(self.run(member)?);
        }
        let count = running.len();
        until("the members to meet", MET, self.stop, || {
            running.iter_mut().try_for_each(|one| one.process.check())?;
            Ok(running.iter().all(|one| one.has_met(count)))
        })?;
        Ok(running)
    }

    /// Starts one that has its keys; it is ready when this returns.
    fn run(self, member: Member) -> Result<Running<'s>> {
        let config = self.file(member, "toml");
        fs::write(&config, self.settings(member))
            .with_context(|| format!("writing {}", config.display()))?;
        let mut command = self.segment.member(member.host)?.command(self.ringfarm);
        command.args(["run", "--config"]).arg(&config).env("NO_COLOR", "1");
        let mut process = Process::spawn(&member.name(), &mut command, self.folder)?;
        process.wait("its ready line", READY, self.stop, |said| {
            said.lines().any(|line| line.starts_with("ringfarm: ready"))
        })?;
        Ok(Running { site: self, member, process })
    }

    fn file(self, member: Member, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", member.name()))
    }

    fn keys(self, member: Member, words: &[&str]) -> Result<()> {
        let name = member.name();
        let words: Vec<&str> = words.iter().copied().chain(["--name", &name]).collect();
        self.cluster(member, &words).map(drop)
    }

    /// `ringfarm cluster`, where the member is.
    fn cluster(self, member: Member, words: &[&str]) -> Result<String> {
        let mut command = self.segment.member(member.host)?.command(self.ringfarm);
        command.arg("cluster").args(words).arg("--state").arg(self.file(member, "keys"));
        process::run(&mut command)
    }

    fn settings(self, member: Member) -> String {
        let Site { method, .. } = self;
        let (own, ports) = (member.own(method), member.ports(method));
        let within = inside(member.host);
        let engine = inside(ENGINE).at(Family::Ipv4, engine::PORT);
        let role = if member.is_frontend() { "frontend" } else { "backend" };
        let mut text = format!(
            "[control]\nsocket = \"{}\"\n\n[node]\nname = \"{}\"\nworkers = 1\n\n\
             [metrics]\nlisten = \"{}:{METRICS}\"\n\n[users]\nopen = true\n\n\
             [defence]\nenabled = false\n\n[sip]\ndomains = [\"{DOMAIN}\"]\n\n\
             [cluster]\nstate = \"{}\"\nlisten = \"{}:{MESH}\"\nrole = \"{role}\"\n\n\
             [cluster.engine]\nservers = [\"{engine}\"]\n\n\
             [media]\naddresses = [\"{}\", \"{}\"]\nports = \"{}-{}\"\n",
            self.file(member, "sock").display(),
            member.name(),
            within.v4,
            self.file(member, "keys").display(),
            within.v4,
            own.v4,
            own.v6,
            ports.start(),
            ports.end(),
        );
        if let Some(wan) = member.wan(method) {
            // S63: one for all members; S71: one for each.
            let key = if method == Method::SingleIpNat { "cluster_wan_ip" } else { "wan_ip" };
            let _infallible = writeln!(text, "{key} = [\"{}\", \"{}\"]", wan.v4, wan.v6);
        }
        text += &certificates::settings(self.folder);
        text + &self.listeners(member)
    }

    fn listeners(self, member: Member) -> String {
        let listen = |transport: &str, address: String, more: &str| {
            format!(
                "\n[[sip.listen]]\ntransport = \"{transport}\"\naddress = \"{address}\"\n{more}"
            )
        };
        let own = member.own(self.method);
        let mut text = String::new();
        for family in Family::BOTH {
            if !member.is_frontend() {
                for transport in ["udp", "tcp"] {
                    text += &listen(transport, own.at(family, SIP).to_string(), "");
                }
                continue;
            }
            let vip = VIP.at(family, SIP);
            let vip_tls = VIP.at(family, SIPS);
            if self.method == Method::Dsr {
                // S51, S52: over UDP a socket for the shared address and one for all.
                let all = match family {
                    Family::Ipv4 => format!("0.0.0.0:{SIP}"),
                    Family::Ipv6 => format!("[::]:{SIP}"),
                };
                text += &listen("udp", vip.to_string(), "");
                text += &listen("udp", all.clone(), "");
                text += &listen("tcp", all.clone(), "");
                text += &listen("tls", all.replace(&SIP.to_string(), &SIPS.to_string()), "");
                continue;
            }
            for transport in ["udp", "tcp"] {
                let address = own.at(family, SIP).to_string();
                text += &listen(transport, address, &format!("advertise = \"{vip}\"\n"));
            }
            let address = own.at(family, SIPS).to_string();
            text += &listen("tls", address, &format!("advertise = \"{vip_tls}\"\n"));
        }
        text
    }
}

impl Running<'_> {
    /// How many members it can speak with, itself among them, and knows of.
    fn has_met(&self, count: usize) -> bool {
        let Ok(page) = self.page() else { return false };
        let up = figure(&page, "ringfarm_cluster_peers{state=\"up\"}") + 1.0;
        up as usize == count && figure(&page, "ringfarm_cluster_members") as usize == count
    }

    /// What it has counted.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) fn page(&self) -> Result<String> {
        let at = inside(self.member.host).at(Family::Ipv4, METRICS);
        self.site.segment.member(self.member.host)?.enter(|| {
            let mut stream = TcpStream::connect_timeout(&at, SAID)?;
            stream.set_read_timeout(Some(SAID))?;
            write!(stream, "GET /metrics HTTP/1.0\r\nHost: {at}\r\n\r\n")?;
            let mut page = String::new();
            stream.read_to_string(&mut page)?;
            ensure!(page.contains(" 200 "), "no figures: {page}");
            Ok(page)
        })
    }

    /// # Errors
    /// It does not run any more.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.process.check()
    }

    /// Has it take nothing new from now on.
    ///
    /// # Errors
    /// It refuses.
    pub(crate) fn drain(&self) -> Result<()> {
        let mut command = self.site.segment.member(self.member.host)?.command(self.site.ringfarm);
        command.arg("drain").arg("--socket").arg(self.site.file(self.member, "sock"));
        process::run(&mut command).map(drop)
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// It does not end.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.process.signal(Signal::SIGKILL);
        self.process.wait_end(ENDED, self.site.stop).map(drop)
    }
}

/// The sum of the figures of this name, with any labels unless it has some.
pub(crate) fn figure(page: &str, name: &str) -> f64 {
    let of_name = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next())?;
        value?.parse::<f64>().ok()
    });
    of_name.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_one_name_are_summed() {
        let page = "a_total{why=\"x\"} 2\na_total{why=\"y\"} 3\na_total_more 7\nb 1\n";
        assert!((figure(page, "a_total") - 5.0).abs() < f64::EPSILON);
        assert!((figure(page, "a_total{why=\"y\"}") - 3.0).abs() < f64::EPSILON);
    }
}
