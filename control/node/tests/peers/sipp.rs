//! Drives SIPp 3.6.1 with the scenarios in `scenarios/`; SIPp itself counts what succeeded and
//! failed.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::harness::{CALLEE, DOMAIN, Place, Process, Transport, User, run, wait_for};
pub(crate) use crate::scenario::Scenario;
use crate::scenario::scenario;

/// What a test that uses this needs installed.
pub(crate) const SIPP: &str = "sipp";

pub(crate) const REGISTER: Scenario = scenario!("register");
pub(crate) const CALLER: Scenario = scenario!("caller");
pub(crate) const CALLER_CANCELS: Scenario = scenario!("caller_cancels");
pub(crate) const CALLER_UNCHALLENGED: Scenario = scenario!("caller_unchallenged");
pub(crate) const CALLER_UNCHALLENGED_WAITS: Scenario = scenario!("caller_unchallenged_waits");
/// It takes a 503 for an answer, see [`SippRun::count_refused`].
pub(crate) const CALLER_SHED: Scenario = scenario!("caller_shed");
pub(crate) const CALLER_WAITS: Scenario = scenario!("caller_waits");
pub(crate) const CALLEE_ECHOES: Scenario = scenario!("callee");
pub(crate) const CALLEE_BUSY: Scenario = scenario!("callee_busy");
pub(crate) const CALLEE_HANGS_UP: Scenario = scenario!("callee_hangs_up");
pub(crate) const CALLEE_RINGS: Scenario = scenario!("callee_rings");

/// The caller that expects to be refused with `status`.
pub(crate) const fn caller_refused(status: u16) -> Scenario {
    scenario!("caller_refused").expecting(status)
}

/// SIPp's own count of calls (scenario runs).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Score {
    pub(crate) successful: u64,
    pub(crate) failed: u64,
}

/// A SIPp that is about to be started.
pub(crate) struct Sipp {
    scenario: Scenario,
    filled_in: Vec<(&'static str, String)>,
    transport: Transport,
    local: IpAddr,
    port: u16,
    media: IpAddr,
    media_port: u16,
    /// Its proxy, where it is not the node.
    remote: Option<SocketAddr>,
    calls: u32,
    rate: u32,
    pause: Duration,
    callee: String,
    records: Vec<String>,
    echo: bool,
    padding: usize,
}

impl Sipp {
    /// One call at a time from (or, for a callee scenario, to) `local`:`port`, with the node as its
    /// proxy.
    pub(crate) fn new(
        scenario: Scenario,
        transport: Transport,
        local: impl Into<IpAddr>,
        port: u16,
    ) -> Sipp {
        let local = local.into();
        Sipp {
            scenario,
            filled_in: Vec::new(),
            transport,
            local,
            port,
            media: local,
            media_port: MEDIA_PORT,
            remote: None,
            calls: 1,
            rate: 10,
            pause: Duration::from_secs(1),
            callee: String::new(),
            records: Vec::new(),
            echo: false,
            padding: 0,
        }
    }

    /// What stands for `blank` in the scenario.
    pub(crate) fn fill_in(mut self, blank: &'static str, with: &str) -> Sipp {
        self.filled_in.push((blank, with.to_owned()));
        self
    }

    /// Runs the scenario this often, starting `rate` a second.
    pub(crate) fn calls(mut self, calls: u32, rate: u32) -> Sipp {
        (self.calls, self.rate) = (calls, rate);
        self
    }

    /// How long the scenario's own pause lasts: the length of a call.
    pub(crate) fn pause(mut self, pause: Duration) -> Sipp {
        self.pause = pause;
        self
    }

    /// The address of its media, where it is not that of its SIP.
    pub(crate) fn media(mut self, media: IpAddr) -> Sipp {
        self.media = media;
        self
    }

    /// Its media port, where another SIPp of its host has [`MEDIA_PORT`].
    pub(crate) fn media_port(mut self, port: u16) -> Sipp {
        self.media_port = port;
        self
    }

    /// The proxy, where it is not the node.
    pub(crate) fn via(mut self, proxy: Ipv4Addr, port: u16) -> Sipp {
        self.remote = Some(SocketAddr::new(proxy.into(), port));
        self
    }

    /// Whom to call: `user@domain`.
    pub(crate) fn callee(mut self, callee: &str) -> Sipp {
        callee.clone_into(&mut self.callee);
        self
    }

    /// Adds a user for the scenario to act as; with several, runs take turns. `contact` is for
    /// [`REGISTER`].
    pub(crate) fn act_as(mut self, user: &User, contact: &str) -> Sipp {
        let User { name, password } = user;
        self.records
            .push(format!("{name};[authentication username={name} password={password}];{contact}"));
        self
    }

    /// Sends RTP that arrives on the media port back to where it came from.
    pub(crate) fn echo(mut self) -> Sipp {
        self.echo = true;
        self
    }

    /// Makes its first request larger by this many bytes.
    pub(crate) fn padded(mut self, bytes: usize) -> Sipp {
        self.padding = bytes;
        self
    }

    /// Starts it. A callee is returned once it listens.
    pub(crate) fn start<'a>(self, lab: &'a dyn Place, name: &str) -> SippRun<'a> {
        let files = Files::new(lab, name);
        let text = self.scenario.text();
        let text =
            self.filled_in.iter().fold(text, |text, (blank, with)| text.replace(blank, with));
        // No line of a message is longer than what SIPp and its peers take without doubt.
        let padding = format!("Subject: {}\n      ", "x".repeat(90)).repeat(self.padding / 100);
        let text = text.replacen("Max-Forwards", &format!("{padding}Max-Forwards"), 1);
        fs::write(&files.scenario, text).unwrap_or_else(|e| panic!("cannot write a scenario: {e}"));
        self.mend_checksums(lab);
        let mut command = lab.host_of(self.local).command(SIPP);
        let remote = self.remote.unwrap_or_else(|| lab.sip(self.local, self.transport));
        self.arguments(&mut command, &files, lab.path(""), remote);
        let process = Process::spawn(name, &mut command).with_evidence([files.errors.clone()]);
        let run =
            SippRun { process, lab, calls: u64::from(self.calls), statistics: files.statistics };
        if self.scenario.listens() {
            run.wait_listening(self.transport, self.local, self.port);
        }
        run
    }

    /// SIPp sends recordings through a raw socket, with UDP checksums of its own making, and one in
    /// 65,536 of them comes out as 0. Over IPv6 no receiver takes that; RFC 768 has it sent as 0xffff.
    fn mend_checksums(&self, lab: &dyn Place) {
        let ruleset = "table ip6 sipp {\nchain output {\ntype filter hook output priority 0\n\
                       udp checksum 0 udp checksum set 0xffff\n}\n}";
        if self.media.is_ipv6() {
            run(lab.host_of(self.local).command("nft").arg(ruleset));
        }
    }

    fn arguments(&self, command: &mut Command, files: &Files, dir: PathBuf, remote: SocketAddr) {
        let (local, port) = (self.local.to_string(), self.port.to_string());
        command.current_dir(dir).arg(remote.to_string()).arg("-sf").arg(&files.scenario);
        command.args([
            "-i",
            &local,
            "-p",
            &port,
            "-mi",
            &self.media.to_string(),
            "-mp",
            &self.media_port.to_string(),
        ]);
        command.args(["-t", if self.transport == Transport::Udp { "u1" } else { "t1" }]);
        command.args([
            "-m",
            &self.calls.to_string(),
            "-r",
            &self.rate.to_string(),
            "-l",
            &self.calls.to_string(),
        ]);
        command.args(["-d", &self.pause.as_millis().to_string()]);
        command.args(["-key", "domain", DOMAIN, "-key", "callee", &self.callee]);
        // The digest's uri is the Request-URI (RFC 7616 3.4.6).
        let uri = if self.callee.is_empty() { DOMAIN } else { &self.callee };
        command.args(["-auth_uri", uri]);
        command
            .args(["-nostdin", "-buff_size", "4000000", "-trace_err", "-error_file"])
            .arg(&files.errors);
        command.args(["-trace_stat", "-fd", "1", "-stf"]).arg(&files.statistics);
        if self.echo {
            command.args(["-rtp_echo", "-rtp_buffsize", "4000000"]);
        }
        if !self.records.is_empty() {
            let csv = format!("SEQUENTIAL\n{}\n", self.records.join("\n"));
            fs::write(&files.records, csv)
                .unwrap_or_else(|e| panic!("cannot write the records: {e}"));
            command.arg("-inf").arg(&files.records);
        }
    }
}

/// The port that every SIPp plays from and echoes on; calls beyond the first play from the even
/// ports above.
pub(crate) const MEDIA_PORT: u16 = 16000;

struct Files {
    scenario: PathBuf,
    records: PathBuf,
    statistics: PathBuf,
    errors: PathBuf,
}

impl Files {
    fn new(lab: &dyn Place, name: &str) -> Files {
        let path = |ending: &str| lab.path(&format!("{name}.{ending}"));
        Files {
            scenario: path("xml"),
            records: path("csv"),
            statistics: path("stats.csv"),
            errors: path("errors.log"),
        }
    }
}

/// A running SIPp.
pub(crate) struct SippRun<'a> {
    process: Process,
    lab: &'a dyn Place,
    calls: u64,
    statistics: PathBuf,
}

impl SippRun<'_> {
    /// Waits until every call is through; panics unless SIPp counts each as successful.
    pub(crate) fn succeed(mut self, limit: Duration) {
        let status = self.process.wait_end(limit);
        let score = score(&self.statistics);
        let wanted = Score { successful: self.calls, failed: 0 };
        assert!(
            score == wanted && status.success(),
            "SIPp says {score:?} ({status}), wanted {wanted:?}"
        );
    }

    /// Waits until every call is through, and returns how many were refused; panics if SIPp counts any as
    /// failed.
    pub(crate) fn count_refused(mut self, limit: Duration) -> u64 {
        let status = self.process.wait_end(limit);
        let score = score(&self.statistics);
        assert!(score.failed == 0 && status.success(), "SIPp says {score:?} ({status})");
        statistic(&self.statistics, "GenericCounter1(C)")
    }

    fn wait_listening(&self, transport: Transport, local: IpAddr, port: u16) {
        let kind = if transport == Transport::Udp { "-u" } else { "-t" };
        let wanted = SocketAddr::new(local, port).to_string();
        wait_for("SIPp to listen", Duration::from_secs(5), || {
            let listing =
                self.lab.host_of(local).command("ss").args(["-H", "-n", "-a", kind]).output();
            listing.is_ok_and(|output| {
                String::from_utf8_lossy(&output.stdout)
                    .lines()
                    .any(|line| line.split_whitespace().nth(3) == Some(wanted.as_str()))
            })
        });
    }
}

/// Reads the last line of SIPp's statistics file.
fn score(file: &Path) -> Score {
    let value = |name| statistic(file, name);
    Score { successful: value("SuccessfulCall(C)"), failed: value("FailedCall(C)") }
}

fn statistic(file: &Path, wanted: &str) -> u64 {
    let text =
        fs::read_to_string(file).unwrap_or_else(|e| panic!("SIPp left no {}: {e}", file.display()));
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let (Some(names), Some(values)) = (lines.next(), lines.next_back()) else {
        panic!("SIPp's statistics are empty: {text:?}")
    };
    let column = names.split(';').position(|name| name == wanted);
    let value = column.and_then(|column| values.split(';').nth(column));
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("SIPp's statistics lack {wanted}: {text}"))
}

/// Registers `user` at the node with a contact at the called peer's `port`.
pub(crate) fn register_callee(lab: &dyn Place, user: &User, transport: Transport, port: u16) {
    register(lab, user, transport, SocketAddr::new(CALLEE.into(), port));
}

/// Registers `user` at the node with this contact, from its host.
pub(crate) fn register(lab: &dyn Place, user: &User, transport: Transport, contact: SocketAddr) {
    Sipp::new(REGISTER, transport, contact.ip(), REGISTRATION_PORT)
        .act_as(user, &format!("sip:{}@{contact}", user.name))
        .start(lab, &format!("register-{}", user.name))
        .succeed(Duration::from_secs(10));
}

/// Where [`register`] sends from; apart from the callee's own port, which it announces.
const REGISTRATION_PORT: u16 = 5099;
