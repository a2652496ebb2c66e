//! `deploy/lab/run`: see there.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    lab::cli::execute(&lab::LabArgs::parse())
}
