//! The arguments of a run, and running it as a process of its own.

use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::guard::Guard;
use crate::media::layout::SESSIONS_PER_SOCKET_MAX;
use crate::media::packet::{PAYLOAD_BYTES_MAX, STAMP_BYTES, Shape};
use crate::progress::Event;
use crate::sip::hosts;
use crate::sip::message::SIP_PORT;
use crate::sip::timers::T1_DEFAULT;
use crate::sip::wire::Streaming;
use crate::sipbench::Transport;
use crate::users::Users;

/// Most calls of one run: more than the 16,000 A/V sessions that one IP address's 64,000 ports carry.
pub const SESSIONS_MAX: u32 = 20_000;

/// Most connections of either side: each is looked at whenever something has come by any.
pub const CONNECTIONS_MAX: u32 = 256;

/// Most seconds that a run may last: a day.
pub const DEADLINE_SECONDS_MAX: u64 = 86_400;

/// What the callees do with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CalleeBehaviour {
    /// Ring, then answer.
    Answer,
    /// Refuse with 486.
    Busy,
    /// Ring and never answer.
    Ring,
    /// Say nothing at all.
    Silent,
}

/// Which side ends the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Hangup {
    /// Always the caller.
    Caller,
    /// Always the callee.
    Callee,
    /// The caller and the callee in turns.
    Alternate,
}

/// Which cores the media threads are tied to, one thread each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cores {
    /// The last core that the process may use: node workers are put on the first ones.
    Last,
    /// One thread that is not tied to any core.
    Any,
    /// These.
    These(Vec<usize>),
}

impl FromStr for Cores {
    type Err = String;

    fn from_str(text: &str) -> Result<Cores, String> {
        match text {
            "last" => Ok(Cores::Last),
            "any" => Ok(Cores::Any),
            list => list
                .split(',')
                .map(|core| core.trim().parse().map_err(|_| format!("core {core:?}")))
                .collect::<Result<_, _>>()
                .map(Cores::These),
        }
    }
}

/// A range of UDP ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The lowest port.
    pub low: u16,
    /// The highest port.
    pub high: u16,
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<PortRange, String> {
        let (low, high) = text.split_once('-').ok_or("give LOW-HIGH")?;
        let port = |text: &str| text.trim().parse::<u16>().map_err(|_| format!("port {text:?}"));
        let range = PortRange { low: port(low)?, high: port(high)? };
        if range.low == 0 || range.low >= range.high {
            Err("give LOW-HIGH".into())
        } else {
            Ok(range)
        }
    }
}

/// Generate A/V calls through a SIP node and measure what it does with them.
#[derive(Args, Clone, Debug)]
pub struct LoadArgs {
    /// The SIP address of the node under test.
    #[arg(value_name = "ADDRESS:PORT", required_unless_present = "direct")]
    pub target: Option<SocketAddr>,

    /// Call without a node, callers to callees, to measure the generator itself.
    #[arg(long, conflicts_with = "target")]
    pub direct: bool,

    /// What SIP travels on.
    #[arg(long, value_enum, default_value_t = Transport::Udp)]
    pub transport: Transport,

    /// Connections of the callers, and as many of the callees, over tcp and tls: users share them, and
    /// calls to a user come by the connection that it has registered by.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub connections: u32,

    /// Who vouches for the node's certificate, which has to name the target's address (PEM; tls needs it).
    #[arg(long, value_name = "FILE")]
    pub tls_authority: Option<PathBuf>,

    /// Also allow packets to this address; otherwise only loopback may be loaded.
    #[arg(long, value_name = "ADDRESS")]
    pub allow_target: Vec<IpAddr>,

    /// The address that callers and callees use.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub bind: IpAddr,

    /// Calls to make.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub sessions: u32,

    /// Seconds of media after all calls are up.
    #[arg(long, value_name = "T", default_value_t = 10.0)]
    pub seconds: f64,

    /// Count the seconds of media for each call from its own answer.
    #[arg(long)]
    pub per_call_seconds: bool,

    /// Calls a second.
    #[arg(long, value_name = "R", default_value_t = 100.0)]
    pub rate: f64,

    /// Hang-ups a second.
    #[arg(long, value_name = "R", default_value_t = 500.0)]
    pub hangup_rate: f64,

    /// Registrations a second, and at the end their removals.
    #[arg(long, value_name = "R", default_value_t = 500.0)]
    pub register_rate: f64,

    /// Do not register (the node knows where the users are).
    #[arg(long)]
    pub no_register: bool,

    /// Leave the registrations to expire instead of taking them back at the end.
    #[arg(long)]
    pub keep_registrations: bool,

    /// Pairs of users [default: as many as sessions].
    #[arg(long, value_name = "N")]
    pub users: Option<u32>,

    /// The users' domain [default: the target's address, with its port unless that is 5060].
    #[arg(long, value_name = "NAME")]
    pub domain: Option<String>,

    /// Callers are named PREFIX0001 and so on.
    #[arg(long, value_name = "PREFIX", default_value = "a")]
    pub caller_prefix: String,

    /// Callees are named PREFIX0001 and so on.
    #[arg(long, value_name = "PREFIX", default_value = "b")]
    pub callee_prefix: String,

    /// Every user's password; it shows in the process list, use --users-file where that matters.
    #[arg(long, value_name = "PASSWORD", default_value = "ringfarm")]
    pub password: String,

    /// Domain, names and passwords as JSON: {"domain": .., "callers": [{"user": .., "password": ..}],
    /// "callees": [..]}; `-` reads standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["users", "domain"])]
    pub users_file: Option<PathBuf>,

    /// What callees do.
    #[arg(long, value_enum, default_value_t = CalleeBehaviour::Answer)]
    pub callee: CalleeBehaviour,

    /// Milliseconds from 180 to 200.
    #[arg(long, value_name = "MS", default_value_t = 20)]
    pub ring_ms: u64,

    /// Seconds that a caller waits for an answer before it cancels.
    #[arg(long, value_name = "T", default_value_t = 20.0)]
    pub answer_seconds: f64,

    /// Who hangs up.
    #[arg(long, value_enum, default_value_t = Hangup::Alternate)]
    pub hangup: Hangup,

    /// Milliseconds between the last packet and the hang-up, for what is under way to arrive.
    #[arg(long, value_name = "MS", default_value_t = 500)]
    pub drain_ms: u64,

    /// Audio only.
    #[arg(long)]
    pub no_video: bool,

    /// Video frames a second.
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub video_fps: u32,

    /// Packets a video frame.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub video_packets: u32,

    /// RTP payload of a video packet in bytes.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub video_bytes: u32,

    /// Calls that share a socket; the node sees one address and port for all of them.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub sessions_per_socket: u32,

    /// Ports for media [default: what the kernel gives].
    #[arg(long, value_name = "LOW-HIGH")]
    pub media_ports: Option<PortRange>,

    /// Cores for media threads: `last`, `any`, or a list such as 1,3.
    #[arg(long, value_name = "LIST", default_value = "last")]
    pub cores: Cores,

    /// SIP timer T1 in milliseconds (RFC 3261 17.1.1.1).
    #[arg(long, value_name = "MS", default_value_t = T1_DEFAULT.as_millis() as u64)]
    pub t1_ms: u64,

    /// Seconds after which the run ends whatever happens [default: derived from the rest].
    #[arg(long, value_name = "T")]
    pub deadline_seconds: Option<u64>,

    /// Write progress and report as lines of JSON to standard output.
    #[arg(long)]
    pub progress_json: bool,

    /// Write the report as JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Arguments that have been checked.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// `None`: direct.
    pub(crate) target: Option<SocketAddr>,
    /// `None`: over UDP.
    pub(crate) streaming: Option<Streaming>,
    pub(crate) bind: IpAddr,
    pub(crate) guard: Guard,
    pub(crate) users: Users,
    pub(crate) cores: Option<Vec<usize>>,
    /// There are cores besides these.
    pub(crate) other_cores: bool,
    pub(crate) video: Option<Shape>,
    pub(crate) args: LoadArgs,
}

/// What an option may be.
fn within<T: PartialOrd + std::fmt::Display>(name: &str, value: T, low: T, high: T) -> Result<()> {
    ensure!(value >= low && value <= high, "--{name} {value}: give {low} to {high}");
    Ok(())
}

impl LoadArgs {
    /// Checks everything that can be checked before a socket is opened.
    ///
    /// # Errors
    /// Names the option and what it may be.
    pub(crate) fn plan(&self) -> Result<Plan> {
        self.check_numbers()?;
        let bind = self.bind;
        let mut named = self.allow_target.clone();
        // What the generator is bound to is its own.
        named.push(self.bind);
        let guard = Guard::new(&named);
        let target = match self.target {
            Some(target) => {
                guard.check(target.ip())?;
                ensure!(
                    target.is_ipv4() == bind.is_ipv4(),
                    "{target} is not reached from {bind}: give --bind an address of its family"
                );
                Some(target)
            }
            None => None,
        };
        ensure!(self.direct == target.is_none(), "give a target or --direct");
        let streaming = self.streaming(target)?;
        let users = self.read_users(target.unwrap_or(SocketAddr::new(bind, SIP_PORT)))?;
        let video = (!self.no_video)
            .then(|| Shape::video(self.video_fps, self.video_packets, self.video_bytes as usize));
        let cores = self.pick_cores()?;
        let machine = crate::os::cores().len();
        Ok(Plan {
            target,
            streaming,
            bind,
            guard,
            users,
            other_cores: cores.as_ref().is_some_and(|cores| cores.len() < machine),
            cores,
            video,
            args: self.clone(),
        })
    }

    /// The connections that are asked for.
    fn streaming(&self, target: Option<SocketAddr>) -> Result<Option<Streaming>> {
        let is_secure = self.transport == Transport::Tls;
        ensure!(
            self.tls_authority.is_some() == is_secure,
            "--tls-authority FILE: give it with --transport tls, and only then"
        );
        if self.transport == Transport::Udp {
            return Ok(None);
        }
        let server = target.with_context(|| {
            format!("--transport {}: --direct is over UDP", self.transport.name())
        })?;
        let tls = self.tls_authority.as_ref().map(|path| trusting(path)).transpose()?;
        Ok(Some(Streaming { server, connections: self.connections, tls }))
    }

    fn check_numbers(&self) -> Result<()> {
        within("sessions", self.sessions, 1, SESSIONS_MAX)?;
        within("connections", self.connections, 1, CONNECTIONS_MAX)?;
        within("users", self.users.unwrap_or(1), 1, SESSIONS_MAX)?;
        let day = DEADLINE_SECONDS_MAX as f64;
        within("seconds", self.seconds, 0.0, day)?;
        within("rate", self.rate, 0.1, 10_000.0)?;
        within("hangup-rate", self.hangup_rate, 0.1, 10_000.0)?;
        within("register-rate", self.register_rate, 0.1, 10_000.0)?;
        within("ring-ms", self.ring_ms, 0, 60_000)?;
        within("answer-seconds", self.answer_seconds, 0.1, 600.0)?;
        within("drain-ms", self.drain_ms, 0, 60_000)?;
        within("video-fps", self.video_fps, 1, 120)?;
        within("video-packets", self.video_packets, 1, 64)?;
        within("video-bytes", self.video_bytes, STAMP_BYTES as u32, PAYLOAD_BYTES_MAX as u32)?;
        within("sessions-per-socket", self.sessions_per_socket, 1, SESSIONS_PER_SOCKET_MAX)?;
        within("t1-ms", self.t1_ms, 10, 10_000)?;
        within("deadline-seconds", self.deadline_seconds.unwrap_or(1), 1, DEADLINE_SECONDS_MAX)
    }

    fn read_users(&self, server: SocketAddr) -> Result<Users> {
        if let Some(path) = &self.users_file {
            return Users::read(path);
        }
        // What a phone does that knows nothing but its server.
        let domain = self.domain.clone().unwrap_or_else(|| match server.port() {
            SIP_PORT => hosts::host(server.ip()),
            _ => hosts::socket(server),
        });
        let prefixes = [self.caller_prefix.as_str(), self.callee_prefix.as_str()];
        let pairs = self.users.unwrap_or(self.sessions);
        let users = Users::numbered(&domain, prefixes, pairs, &self.password);
        users.check()?;
        Ok(users)
    }

    fn pick_cores(&self) -> Result<Option<Vec<usize>>> {
        let available = crate::os::cores();
        match &self.cores {
            Cores::Any => Ok(None),
            Cores::Last => Ok(available.last().map(|&core| vec![core])),
            Cores::These(cores) => {
                for core in cores {
                    ensure!(available.contains(core), "--cores: core {core} is not available");
                }
                ensure!(!cores.is_empty(), "--cores: none given");
                Ok(Some(cores.clone()))
            }
        }
    }

    /// How long the run may last: what the plan takes if every step needs all the time it is given.
    pub(crate) fn deadline(&self, users: &Users) -> Duration {
        if let Some(seconds) = self.deadline_seconds {
            return Duration::from_secs(seconds);
        }
        let registrations = (users.callers.len() + users.callees.len()) as f64;
        let sessions = f64::from(self.sessions);
        let pace =
            registrations / self.register_rate + sessions / self.rate + sessions / self.hangup_rate;
        // Registering, calling, cancelling, hanging up and unregistering may each take 64*T1 after the
        // last one was begun, twice if they are challenged.
        let timeouts = 10.0 * 64.0 * self.t1_ms as f64 / 1_000.0;
        let waits = self.answer_seconds + (self.ring_ms + self.drain_ms) as f64 / 1_000.0;
        let seconds = pace + timeouts + waits + self.seconds;
        Duration::from_secs_f64(seconds.min(DEADLINE_SECONDS_MAX as f64))
    }
}

/// A client's side of TLS that trusts who is in this file.
fn trusting(path: &Path) -> Result<Arc<ClientConfig>> {
    let place = || format!("--tls-authority {}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).with_context(place)? {
        roots.add(certificate.with_context(place)?).with_context(place)?;
    }
    ensure!(!roots.is_empty(), "{}: there is no certificate in it", place());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("the TLS versions")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Runs the load as the arguments say and writes to standard output; succeeds only if the run was
/// flawless.
///
/// # Errors
/// The run could not be made at all (with `--progress-json` that is an event too).
pub fn execute(args: &LoadArgs) -> Result<ExitCode> {
    let mut listener_is_gone = false;
    let outcome = crate::run(args, |progress| {
        if !args.progress_json {
            return ControlFlow::Continue(());
        }
        match Event::Progress(*progress).write(std::io::stdout()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => {
                listener_is_gone = true;
                ControlFlow::Break(())
            }
        }
    });
    if listener_is_gone {
        bail!("the reader of the progress is gone");
    }
    match outcome {
        Ok(report) => {
            let flawless = report.is_flawless();
            if args.progress_json {
                Event::Report(Box::new(report)).write(std::io::stdout())?;
            } else if args.json {
                println!("{}", serde_json::to_string(&report).context("the report as JSON")?);
            } else {
                print!("{report}");
            }
            Ok(if flawless { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Err(error) => {
            if args.progress_json {
                Event::Error { message: format!("{error:#}") }.write(std::io::stdout())?;
            }
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        load: LoadArgs,
    }

    fn parse(words: &str) -> LoadArgs {
        Line::try_parse_from(std::iter::once("load").chain(words.split_whitespace())).unwrap().load
    }

    fn refused(words: &str) -> String {
        format!("{:#}", parse(words).plan().unwrap_err())
    }

    #[test]
    fn a_target_outside_is_refused_unless_it_is_named() {
        assert!(refused("192.0.2.1:5060").contains("--allow-target 192.0.2.1"));
        assert!(parse("192.0.2.1:5060 --allow-target 192.0.2.1").plan().is_ok());
        assert!(refused("[::1]:5060").contains("--bind"));
        assert!(parse("[::1]:5060 --bind ::1").plan().is_ok());
    }

    #[test]
    fn numbers_out_of_range_are_refused_with_the_range() {
        assert_eq!(refused("--direct --sessions 0"), "--sessions 0: give 1 to 20000");
        assert_eq!(
            refused("--direct --sessions-per-socket 65"),
            "--sessions-per-socket 65: give 1 to 64"
        );
        assert!(refused("--direct --seconds NaN").contains("--seconds"));
    }

    #[test]
    fn users_take_the_targets_address_as_domain() {
        assert_eq!(parse("127.0.0.1:5070").plan().unwrap().users.domain, "127.0.0.1:5070");
        let plan = parse("127.0.0.1:5060 --sessions 3").plan().unwrap();
        assert_eq!(plan.users.domain, "127.0.0.1");
        assert_eq!(plan.users.callers.len(), 3);
    }

    #[test]
    fn the_media_thread_is_tied_to_the_last_core_by_default() {
        let plan = parse("--direct").plan().unwrap();
        assert_eq!(plan.cores.unwrap(), [*crate::os::cores().last().unwrap()]);
        assert_eq!(parse("--direct --cores any").plan().unwrap().cores, None);
    }

    #[test]
    fn a_run_has_a_deadline_of_its_own() {
        let args = parse("--direct --sessions 100 --seconds 5");
        let users = args.plan().unwrap().users;
        assert!(args.deadline(&users) > Duration::from_secs(5));
        assert!(args.deadline(&users) < Duration::from_secs(400));
    }
}
