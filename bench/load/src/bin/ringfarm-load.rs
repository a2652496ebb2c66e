//! The generator on its own: `cargo run --release -p ringfarm-load -- --direct`.

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(
    version,
    about = "Generate A/V calls through a SIP node and measure what it does with them"
)]
struct Line {
    #[command(flatten)]
    load: load::cli::LoadArgs,
}

fn main() -> anyhow::Result<ExitCode> {
    load::cli::execute(&Line::parse().load)
}
