//! The benchmarks on their own, with the command line that it has within `ringfarm`:
//! `cargo run --release -p ringfarm-load --bin ringfarm-bench -- bench relay --quick`.

use std::net::Ipv4Addr;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use load::farmbench::{self, FarmArgs};
use load::mutate::{self, MutateArgs};
use load::relaybench::{self, RelayArgs, StrangerArgs};
use load::sipbench::{self, SipArgs};

#[derive(Parser)]
#[command(version, about = "Compare media relays on this machine")]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compare programs, side by side.
    Bench {
        #[command(subcommand)]
        command: Bench,
    },
}

#[derive(Subcommand)]
enum Bench {
    /// Compare media relays.
    Relay(Box<RelayArgs>),
    /// Compare SIP servers (give --ringfarm: this program is none).
    Sip(Box<SipArgs>),
    /// Compare farms with a single node (give --ringfarm: this program is none).
    Farm(Box<FarmArgs>),
    /// Play the stranger (give --ringfarm: this program is none).
    Stranger(Box<StrangerArgs>),
    /// Send mutated SIP messages to a node (give --ringfarm or --target: this program is none).
    Mutate(Box<MutateArgs>),
    /// The floor that relays are compared with.
    #[command(hide = true)]
    EpollRelay { a: Ipv4Addr, b: Ipv4Addr },
}

fn main() -> anyhow::Result<ExitCode> {
    let Command::Bench { command } = Line::parse().command;
    match command {
        Bench::Relay(args) => relaybench::execute(&args),
        Bench::Sip(args) => sipbench::execute(&args),
        Bench::Farm(args) => farmbench::execute(&args),
        Bench::Stranger(args) => relaybench::stranger::execute(&args),
        Bench::Mutate(args) => mutate::execute(&args),
        Bench::EpollRelay { a, b } => relaybench::floor::run([a, b]).map(|()| ExitCode::SUCCESS),
    }
}
