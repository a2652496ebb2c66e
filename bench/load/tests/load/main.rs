//! The generator as a whole, over loopback: directly, and through a little node of the tests' own.

#![expect(clippy::unwrap_used, reason = "a test may end anywhere")]

mod calls;
mod judgement;
mod node;
mod process;

use clap::Parser;
use load::cli::LoadArgs;

use crate::node::PASSWORD;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    load: LoadArgs,
}

/// Arguments as on a command line. The threads are not tied to a core, since tests run side by side.
fn args(words: &str) -> LoadArgs {
    let password =
        if words.contains("--password") { String::new() } else { format!("--password {PASSWORD}") };
    let words = format!("load --cores any {password} {words}");
    Line::try_parse_from(words.split_whitespace()).unwrap().load
}
