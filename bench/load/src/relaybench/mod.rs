//! Relays side by side: the same packets through each, in turns, with what each packet costs.
//!
//! A *cell* is one system under one load: the system is started anew on a core of its own, its
//! sessions are set up, generator and sink on the other cores send, count and compare. A round is
//! each system once, one after the other, so that what changes on the machine meets all of them; the
//! figures of a load are ranges over the rounds, and quotients pair the systems round by round.
//!
//! The cost of a packet is the busy time of the system's core ([`cpu`]), softirqs included, divided
//! by the packets that it relayed.

mod bencode;
pub(crate) mod capacity;
mod cell;
pub mod cli;
pub(crate) mod control;
pub(crate) mod cpu;
mod driver;
pub mod floor;
pub(crate) mod html;
pub(crate) mod lab;
pub(crate) mod machine;
pub mod netns;
mod ng;
pub(crate) mod plot;
pub(crate) mod process;
pub mod report;
mod setup;
pub mod statistics;
pub mod stop;
pub mod stranger;
mod systems;
mod table;
mod udp_hash;
mod workload;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use anyhow::Result;

pub use cli::{Part, RelayArgs};
pub use lab::Topology;
pub use report::RelayReport;
pub use stranger::StrangerArgs;
pub use systems::System;

use crate::paired;
use crate::relaybench::driver::Driver;

/// Runs the benchmark as the arguments say: progress on standard error, the report on standard
/// output. Succeeds only if ringfarm, where it was measured, relayed nothing but what was sent, and
/// nothing was left out.
///
/// # Errors
/// The benchmark could not be made at all.
pub fn execute(args: &RelayArgs) -> Result<ExitCode> {
    let stop = paired::stop_after(args.run.minutes_max)?;
    let plan = args.plan()?;
    let cores = plan.cores.generator.clone();
    let report = paired::on_own_thread(&cores, || Driver::new(args, plan, stop)?.run())?;
    args.run.outlet().write(&report, html::page, table::Table(&report))?;
    let good = report.complete && report.content_is_true(System::Ringfarm);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
