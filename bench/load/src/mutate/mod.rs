//! Mutated messages at a running node, while undisturbed calls go on beside them.
//!
//! Valid messages of every kind are changed ([`mutator`]): bits, lines, numbers, ends. What the node
//! does with each is its own affair; it must live, its memory must be bounded, and calls of others
//! must not fail. A seed gives the same messages again.
//!
//! A mutated Route, Contact or request URI may name any address, and a proxy sends there. So the
//! node is started in a network namespace that has a loopback device and nothing else.

mod answers;
mod corpus;
mod figures;
mod log;
mod mutator;
mod node;
pub mod report;
pub(crate) mod rng;
mod sender;

use std::net::{SocketAddr, SocketAddrV4};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::{Args, Parser};

pub use log::Warnings;
pub use report::MutateReport;

use crate::cli::{LoadArgs, SESSIONS_MAX};
use crate::os;
use crate::paired::args::core_plan;
use crate::progress::Phase;
use crate::relaybench::netns::{self, Namespace};
use crate::relaybench::stop::Stop;
use crate::report::Report;

use node::Node;
use sender::{Order, Sender};

/// Most messages of a run.
const COUNT_MAX: u64 = 1_000_000_000;

/// Most messages a second.
const RATE_MAX: u32 = 100_000;

/// Pairs of users that call each other undisturbed.
const PAIRS: u32 = 20;

/// How long the users of the undisturbed calls may take to register.
const REGISTER_MAX: Duration = Duration::from_secs(30);

/// What a run may take beyond count / rate: a slow machine, and calls that time out.
const SPARE: Duration = Duration::from_secs(300);

/// How often memory is looked at.
const PARTS: u64 = 10;

/// How often the node is asked after.
const CHECK_EVERY: Duration = Duration::from_millis(100);

/// How often its figures are taken: a table that is full for seconds is seen.
const FIGURES_EVERY: Duration = Duration::from_secs(1);

/// Send mutated SIP messages to a node, with undisturbed calls beside them.
#[derive(Args, Clone, Debug)]
pub struct MutateArgs {
    /// Messages to send: 1 to 1000000000.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub count: u64,

    /// Messages a second: 1 to 100000.
    #[arg(long, value_name = "R", default_value_t = 12_000)]
    pub rate: u32,

    /// Decides every message.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// Of 100 messages, so many over TCP.
    #[arg(long, value_name = "P", default_value_t = 10, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub tcp_percent: u8,

    /// Undisturbed calls a second beside them, audio of 2 s each: 0.1 to 1000.
    #[arg(long, value_name = "R", default_value_t = 5.0)]
    pub call_rate: f64,

    /// Send to a node that runs already, on a loopback address, in place of one of its own (as root).
    /// It may be led to send to any address that it can reach: let it reach none that matters.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub target: Option<SocketAddr>,

    /// The domain of that node [default: its address and port].
    #[arg(long, value_name = "NAME", requires = "target")]
    pub domain: Option<String>,

    /// The ringfarm to try [default: this program].
    #[arg(long, value_name = "FILE", conflicts_with = "target")]
    pub ringfarm: Option<PathBuf>,

    /// Write the report as JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

impl MutateArgs {
    /// The target, if that is somebody else's.
    fn check(&self) -> Result<Option<SocketAddrV4>> {
        ensure!((1..=COUNT_MAX).contains(&self.count), "--count: give 1 to {COUNT_MAX}");
        ensure!((1..=RATE_MAX).contains(&self.rate), "--rate: give 1 to {RATE_MAX}");
        ensure!((0.1..=1_000.0).contains(&self.call_rate), "--call-rate: give 0.1 to 1000");
        match self.target {
            None => Ok(None),
            Some(SocketAddr::V4(target)) if target.ip().is_loopback() => Ok(Some(target)),
            Some(target) => bail!("--target {target}: give an address in 127.0.0.0/8"),
        }
    }

    fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.count as f64 / f64::from(self.rate))
    }
}

/// Sends the messages: the report goes to standard output. Succeeds only if the node lives, its memory
/// is bounded, and no call failed.
///
/// # Errors
/// The arguments cannot be, or the node cannot be started.
pub fn execute(args: &MutateArgs) -> Result<ExitCode> {
    let target = args.check()?;
    let stop = Stop::on_signals()?.with_deadline(Instant::now() + args.duration() * 2 + SPARE);
    os::raise_descriptor_limit()?;
    let report = match target {
        Some(target) => {
            let domain = args.domain.clone().unwrap_or_else(|| target.to_string());
            send_to(args, Node::at(target), &domain, &stop)?
        }
        None => send_to_own(args, &stop)?,
    };
    if args.json {
        println!("{}", serde_json::to_string(&report).context("the report as JSON")?);
    } else {
        print!("{report}");
    }
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Starts a node where nobody else can be reached.
fn send_to_own(args: &MutateArgs, stop: &Stop) -> Result<MutateReport> {
    let this = || std::env::current_exe().context("the path of this program");
    let program = args.ringfarm.clone().map_or_else(this, Ok)?;
    let cores = core_plan(None, Vec::new())?;
    netns::sweep();
    let place = Namespace::create("mutate").context(
        "a network namespace, in which a misled node reaches nobody; run this as root, or give --target",
    )?;
    // Children live no longer than the thread that starts them, which is this closure's.
    place.enter(|| {
        os::pin_to(&cores.generator)?;
        let node = Node::start(&program, cores.relay)?;
        send_to(args, node, corpus::DOMAIN, stop)
    })
}

fn send_to(args: &MutateArgs, mut node: Node, domain: &str, stop: &Stop) -> Result<MutateReport> {
    let calls = calls_beside(args, node.address, domain)?;
    std::thread::scope(|scope| {
        let (told, ready) = mpsc::sync_channel(1);
        let calling = scope.spawn(|| make_calls(&calls, stop, told));
        // An error is that of the calls, which tell it themselves.
        let _ = ready.recv_timeout(REGISTER_MAX);
        let mut report = send(args, &mut node, domain, stop)?;
        let load = calling.join().map_err(|_| anyhow!("the thread of the calls panicked"))?;
        report.take_calls(load.context("the undisturbed calls")?);
        match node.wait_for_answer().and_then(|()| node.take_figures(&mut report.node_figures)) {
            Ok(()) => report.alive = true,
            Err(error) => report.ended = Some(format!("{error:#}")),
        }
        report.node_warnings = node.log.kinds();
        Ok(report)
    })
}

/// The undisturbed calls, as `ringfarm load` makes them.
#[derive(Parser)]
struct Calls {
    #[command(flatten)]
    load: LoadArgs,
}

fn calls_beside(args: &MutateArgs, node: SocketAddrV4, domain: &str) -> Result<LoadArgs> {
    let sessions = args.duration().as_secs_f64() * args.call_rate;
    let sessions = (sessions as u32).clamp(1, SESSIONS_MAX);
    // Fewer a second where there would be too many.
    let rate = args.call_rate.min(f64::from(sessions) / args.duration().as_secs_f64()).max(0.1);
    let line = format!(
        "load {node} --domain {domain} --sessions {sessions} --rate {rate} --users {} --seconds 2 \
         --per-call-seconds --no-video --caller-prefix calm-a --callee-prefix calm-b",
        PAIRS.min(sessions)
    );
    Ok(Calls::try_parse_from(line.split_whitespace()).context("the calls beside")?.load)
}

fn make_calls(args: &LoadArgs, stop: &Stop, told: mpsc::SyncSender<()>) -> Result<Report> {
    let mut told = Some(told);
    crate::run(args, |progress| {
        if progress.phase != Phase::Registering {
            told = None;
        }
        if stop.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
}

fn send(args: &MutateArgs, node: &mut Node, domain: &str, stop: &Stop) -> Result<MutateReport> {
    let order = Order {
        node: node.address,
        domain,
        seed: args.seed,
        rate: args.rate,
        tcp_percent: args.tcp_percent,
    };
    let mut sender = Sender::new(order)?;
    let mut report =
        MutateReport { seed: args.seed, messages_requested: args.count, ..Default::default() };
    report.resident_bytes.extend(node.resident_bytes());
    let started = Instant::now();
    let (mut checked, mut figures_taken) = (started, started);
    for part in 1..=PARTS {
        let done = sender.send_until(args.count * part / PARTS, started, || {
            stop.check()?;
            if checked.elapsed() > CHECK_EVERY {
                checked = Instant::now();
                node.check()?;
            }
            if figures_taken.elapsed() > FIGURES_EVERY {
                figures_taken = Instant::now();
                node.take_figures(&mut report.node_figures)?;
            }
            Ok(())
        });
        report.resident_bytes.extend(node.resident_bytes());
        if let Err(error) = done {
            report.ended = Some(format!("{error:#}"));
            break;
        }
        eprintln!("{}0 %: {} messages, {} s", part, sender.sent.all(), started.elapsed().as_secs());
    }
    report.seconds = started.elapsed().as_secs_f64();
    report.messages_udp = sender.sent.udp;
    report.messages_tcp = sender.sent.tcp;
    report.messages_refused = sender.sent.refused;
    report.connections = sender.sent.connections;
    report.answers = sender.answers.classes;
    report.judge_memory();
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        mutate: MutateArgs,
    }

    fn check(words: &str) -> Result<Option<SocketAddrV4>> {
        let words = std::iter::once("mutate").chain(words.split_whitespace());
        Line::try_parse_from(words)?.mutate.check()
    }

    /// Mutated messages are an attack anywhere else.
    #[test]
    fn only_loopback_is_a_target() {
        assert!(check("").unwrap().is_none());
        assert!(check("--target 127.0.0.9:5060").unwrap().is_some());
        for target in ["192.0.2.1:5060", "0.0.0.0:5060", "[2001:db8::1]:5060"] {
            let error = check(&format!("--target {target}")).unwrap_err().to_string();
            assert!(error.contains(target) && error.contains("127.0.0.0/8"), "{error}");
        }
    }

    #[test]
    fn sizes_are_bounded() {
        for words in
            ["--count 0", "--rate 100001", "--rate 0", "--call-rate 0", "--tcp-percent 101"]
        {
            assert!(check(words).is_err(), "{words}");
        }
    }

    /// As many calls as last for the whole run, and no more than one run may make.
    #[test]
    fn the_calls_beside_last_as_long_as_the_messages() {
        let node = "127.0.0.1:5060".parse().unwrap();
        let calls = |words: &str| {
            let words = std::iter::once("mutate").chain(words.split_whitespace());
            let args = Line::try_parse_from(words).unwrap().mutate;
            let load = calls_beside(&args, node, "a.test").unwrap();
            load.plan().unwrap();
            (load.sessions, load.rate)
        };
        assert_eq!(calls("--count 120000 --rate 12000"), (50, 5.0));
        let (sessions, rate) = calls("--count 1000000000 --rate 10000");
        assert_eq!((sessions, rate), (SESSIONS_MAX, 0.2));
        assert_eq!(calls("--count 10 --rate 10000").0, 1);
    }
}
