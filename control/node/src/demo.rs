//! `ringfarm demo`: a node, phones, calls and a verdict.

use anyhow::anyhow;

use crate::cli::DemoArgs;
use crate::exit::Stop;

/// Runs the demonstration.
pub(crate) fn demo(args: &DemoArgs) -> Result<(), Stop> {
    let DemoArgs { sessions, seconds, json } = args;
    Err(Stop::Failed(anyhow!(
        "a demo of {sessions} calls for {seconds} s (json: {json}) is not linked to its parts yet"
    )))
}
