//! What a farm costs: the same calls through a single node, and through one, two and three members of a
//! cluster while every datagram goes to a random one of them.
//!
//! Everything but the systems is that of [`crate::sipbench`]: the generator, the cells, how processor time
//! is accounted for. All members run on the one core of the system under test, so that what they spend is
//! summed up where a single node's is.

mod cli;
mod driver;
mod html;
mod members;
pub mod report;
mod table;

use std::process::ExitCode;

use anyhow::Result;

pub use cli::FarmArgs;
pub use report::{FarmReport, System};

use crate::farmbench::driver::Driver;
use crate::paired;

/// Runs the benchmark as the arguments say: progress on standard error, the report on standard
/// output. Succeeds only if nothing was left out, no call failed at the fixed rate, and the judge found
/// nothing wrong.
///
/// # Errors
/// The benchmark could not be made at all.
pub fn execute(args: &FarmArgs) -> Result<ExitCode> {
    let stop = paired::stop_after(args.run.minutes_max)?;
    let plan = args.plan()?;
    let cores = plan.cores.generator.clone();
    let report = paired::on_own_thread(&cores, || Ok(Driver::new(args, plan, stop)?.run()))?;
    args.run.outlet().write(&report, html::page, table::Table(&report))?;
    let good = report.complete && report.failures == 0 && report.misjudged == 0;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
