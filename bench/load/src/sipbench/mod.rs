//! SIP servers side by side: the same calls and registrations through each, in turns, with what each
//! of them costs.
//!
//! A *cell* is one server under one load: the server is started anew with all its processes on a core
//! of its own, phones register, and one thread on another core, which is all the phones, makes calls
//! at a constant rate. A round is each server once with each load; figures are ranges over the rounds,
//! quotients pair the servers round by round. How processor time is accounted for is the same as for
//! relays ([`crate::relaybench`]).

mod calls;
pub(crate) mod cell;
mod cli;
mod digest;
pub(crate) mod driver;
mod ends;
mod engine;
mod generator;
pub(crate) mod html;
mod judge;
mod kamailio;
mod memory;
mod registrations;
pub mod report;
mod scan;
mod schedule;
mod stream;
pub(crate) mod systems;
pub(crate) mod table;
mod tally;
mod template;
mod texts;
mod udp;
pub(crate) mod workload;

use std::process::ExitCode;

use anyhow::Result;

pub use cli::{Part, SipArgs};
pub use ends::Transport;
pub use report::SipReport;
pub(crate) use scan::length_of;
pub use systems::Server;
pub use tally::Interval;
pub(crate) use udp::is_later;
pub use workload::Kind;

use crate::paired;
use crate::sipbench::driver::Driver;

/// Runs the benchmark as the arguments say: progress on standard error, the report on standard
/// output. Succeeds only if nothing was left out, no call of ringfarm's failed at a fixed rate, and
/// the judge found nothing wrong.
///
/// # Errors
/// The benchmark could not be made at all.
pub fn execute(args: &SipArgs) -> Result<ExitCode> {
    let stop = paired::stop_after(args.run.minutes_max)?;
    let plan = args.plan()?;
    let cores = plan.cores.generator.clone();
    let report = paired::on_own_thread(&cores, || Ok(Driver::new(args, plan, stop)?.run()))?;
    args.run.outlet().write(&report, html::page, table::Table(&report))?;
    let good = report.complete && report.failures == 0 && report.misjudged == 0;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
