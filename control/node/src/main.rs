//! `ringfarm`: SIP proxy, registrar and media relay in one process.

mod bans;
mod check;
mod cli;
#[cfg_attr(not(test), expect(dead_code, unused_imports, reason = "the node does not start it yet"))]
mod cluster;
mod config;
mod control;
mod demo;
mod doctor;
mod exit;
mod lb;
mod logging;
mod members;
mod memory;
mod node;
mod output;
mod refresh;
mod run;
mod settings_io;

use std::process::ExitCode;

use clap::Parser;

use cli::{BenchCommand, Cli, Command, ConfigCommand};
use exit::Stop;

fn main() -> ExitCode {
    let Cli { run, command } = Cli::parse();
    let done = match command.unwrap_or(Command::Run(run)) {
        Command::Run(args) => settings_io::load(&args).and_then(run::run),
        Command::Demo(args) => demo::demo(&args),
        Command::Load(args) => return load_calls(&args),
        Command::Bench { command: BenchCommand::Relay(args) } => return compare_relays(&args),
        Command::Bench { command: BenchCommand::Sip(args) } => return compare_servers(&args),
        Command::Bench { command: BenchCommand::Farm(args) } => return compare_farms(&args),
        Command::Bench { command: BenchCommand::Stranger(args) } => return play_stranger(&args),
        Command::Bench { command: BenchCommand::Mutate(args) } => return send_mutants(&args),
        Command::Bench { command: BenchCommand::EpollRelay { a, b } } => {
            load::relaybench::floor::run([a, b]).map_err(Stop::from)
        }
        Command::Bench { command: BenchCommand::Mesh(args) } => cluster::bench::execute(&args),
        Command::Cluster { command } => cluster::commands::execute(&command),
        Command::Refresh(args) => refresh::refresh(&args),
        Command::Bans(args) => bans::bans(&args),
        Command::Drain(args) => members::drain(&args),
        Command::Members(args) => members::members(&args),
        Command::Settings { command } => members::settings(&command),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Lb { command } => lb::execute(&command),
        Command::Check(args) => check::check(&args),
        Command::Config { command: ConfigCommand::Default } => config::default(),
    };
    done.map_or_else(Stop::report, |()| ExitCode::SUCCESS)
}

/// The load generator decides its own exit code: 0 if the run was flawless, else 1.
fn load_calls(args: &load::cli::LoadArgs) -> ExitCode {
    load::cli::execute(args).unwrap_or_else(|error| Stop::Usage(error).report())
}

/// The benchmark decides its own exit code: 0 if it was complete and no packet was changed, else 1.
fn compare_relays(args: &load::relaybench::RelayArgs) -> ExitCode {
    load::relaybench::execute(args).unwrap_or_else(|error| Stop::Usage(error).report())
}

/// The benchmark decides its own exit code: 0 if it was complete and no call failed, else 1.
fn compare_servers(args: &load::sipbench::SipArgs) -> ExitCode {
    load::sipbench::execute(args).unwrap_or_else(|error| Stop::Usage(error).report())
}

/// The benchmark decides its own exit code: 0 if it was complete and no call failed, else 1.
fn compare_farms(args: &load::farmbench::FarmArgs) -> ExitCode {
    load::farmbench::execute(args).unwrap_or_else(|error| Stop::Usage(error).report())
}

/// The stranger decides its own exit code: 0 if no more came of it than is stated, else 1.
fn play_stranger(args: &load::relaybench::StrangerArgs) -> ExitCode {
    load::relaybench::stranger::execute(args).unwrap_or_else(|error| Stop::Usage(error).report())
}

/// The run decides its own exit code: 0 if the node lives and no call failed, else 1.
fn send_mutants(args: &load::mutate::MutateArgs) -> ExitCode {
    load::mutate::execute(args).unwrap_or_else(|error| Stop::Usage(error).report())
}
