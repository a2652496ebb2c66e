//! The command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use load::relaybench::stop::Stop;

use crate::calls::Transport;
use crate::plan::{Family, Method};
use crate::report::Spread;
use crate::topology;

const EXAMPLES: &str = "\
Examples:
  deploy/lab/run all                              every topology with 200 calls each
  deploy/lab/run dsr --calls 2000 --json          one, the figures as one JSON object
  deploy/lab/run single-ip-nat --session-binding  what goes wrong when the balancer binds sessions

It makes network namespaces (as root), sends to nobody outside of them, and removes them; what a run that
was killed has left behind goes with the next one. Exit code 0: no call failed, no packet was lost, none
came from a wrong address; 1: something did; 2: the lab could not be run.";

/// Puts a cluster behind a balancer, in network namespaces, and makes calls through it.
#[derive(Clone, Debug, Parser)]
#[command(name = "deploy/lab/run", after_help = EXAMPLES)]
pub struct LabArgs {
    /// single-ip-nat, multi-ip, multi-ip-nat, dsr, or all.
    #[arg(value_name = "TOPOLOGY", value_parser = methods)]
    topology: Methods,
    /// Calls in each topology, shared by all kinds of clients.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(crate) calls: u32,
    /// Calls a second, likewise.
    #[arg(long, value_name = "R", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) rate: u32,
    /// Seconds of media in each call.
    #[arg(long, value_name = "S", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(crate) seconds: u32,
    /// Calls that are being made while a frontend drains, and while another one dies; 0: none leaves.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(0..=20_000))]
    pub(crate) change_calls: u32,
    /// How the balancer chooses.
    #[arg(long, value_enum, default_value_t = Spread::Random)]
    pub(crate) spread: Spread,
    /// Clients of this family alone.
    #[arg(long, value_enum)]
    family: Option<Family>,
    /// Clients of this transport alone.
    #[arg(long, value_enum)]
    transport: Option<Transport>,
    /// The balancer binds sessions of SIP over UDP, as it must not (S37, S39).
    #[arg(long)]
    pub(crate) session_binding: bool,
    /// The program to run [default: beside this one].
    #[arg(long, value_name = "FILE", env = "RINGFARM_BIN")]
    ringfarm: Option<PathBuf>,
    /// The engine's server [default: where `deploy/test --install` puts it].
    #[arg(long, value_name = "FILE")]
    nats_server: Option<PathBuf>,
    /// Make no calls: have everything stay up for clients of your own, until Ctrl-C.
    #[arg(long, conflicts_with = "json")]
    pub(crate) stay: bool,
    /// Keep logs and captures.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Print the result as one JSON object and nothing else.
    #[arg(long)]
    json: bool,
}

/// The topologies that are asked for.
#[derive(Clone, Debug)]
struct Methods(Vec<Method>);

fn methods(text: &str) -> Result<Methods, String> {
    if text == "all" {
        return Ok(Methods(Method::ALL.to_vec()));
    }
    let found = Method::ALL.into_iter().find(|method| method.name() == text);
    let names = || Method::ALL.map(Method::name).join(", ");
    found.map(|method| Methods(vec![method])).ok_or_else(|| format!("give {} or all", names()))
}

impl LabArgs {
    pub(crate) fn methods(&self) -> Vec<Method> {
        self.topology.0.clone()
    }

    pub(crate) fn families(&self) -> Vec<Family> {
        self.family.map_or(Family::BOTH.to_vec(), |one| vec![one])
    }

    pub(crate) fn transports(&self) -> Vec<Transport> {
        self.transport.map_or(vec![Transport::Udp, Transport::Tcp, Transport::Tls], |one| vec![one])
    }

    pub(crate) fn ringfarm(&self) -> Result<PathBuf> {
        let program = match &self.ringfarm {
            Some(program) => program.clone(),
            None => std::env::current_exe().context("this program")?.with_file_name("ringfarm"),
        };
        found(program, "build it, or name it with --ringfarm")
    }

    pub(crate) fn nats_server(&self) -> Result<PathBuf> {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
        let cache = cache.or_else(home).unwrap_or_default();
        let server = self.nats_server.clone();
        let server = server.unwrap_or_else(|| cache.join("ringfarm-tests/nats-server"));
        found(server, "run `deploy/test --install` once, or name it with --nats-server")
    }
}

fn found(program: PathBuf, advice: &str) -> Result<PathBuf> {
    ensure!(program.is_file(), "{} is missing: {advice}", program.display());
    Ok(program)
}

/// Runs the lab and prints what came of it.
#[must_use]
pub fn execute(args: &LabArgs) -> ExitCode {
    let report = Stop::on_signals().and_then(|stop| topology::run(args, &stop));
    match report {
        Ok(report) => {
            if args.json {
                match serde_json::to_string_pretty(&report) {
                    Ok(text) => println!("{text}"),
                    Err(error) => eprintln!("deploy/lab/run: {error}"),
                }
            } else {
                print!("{report}");
            }
            if report.is_flawless() { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(error) => {
            eprintln!("deploy/lab/run: {error:#}");
            ExitCode::from(2)
        }
    }
}
