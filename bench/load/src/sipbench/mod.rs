//! SIP servers side by side: the same calls and registrations through each, in turns, with what each
//! of them costs.
//!
//! A *cell* is one server under one load: the server is started anew with all its processes on a core
//! of its own, phones register, and one thread on another core, which is all the phones, makes calls
//! at a constant rate. A round is each server once with each load; figures are ranges over the rounds,
//! quotients pair the servers round by round. How processor time is accounted for is the same as for
//! relays ([`crate::relaybench`]).

mod calls;
mod cell;
mod cli;
mod digest;
mod driver;
mod ends;
mod engine;
mod generator;
mod html;
mod judge;
mod kamailio;
mod memory;
mod registrations;
pub mod report;
mod scan;
mod schedule;
mod stream;
pub(crate) mod systems;
mod table;
mod tally;
mod template;
mod texts;
mod udp;
mod workload;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

pub use cli::{Part, SipArgs};
pub use ends::Transport;
pub use report::SipReport;
pub use systems::Server;
pub use tally::Interval;
pub use workload::Kind;

use crate::os;
use crate::relaybench::stop::Stop;
use crate::sipbench::driver::Driver;

/// Runs the benchmark as the arguments say: progress on standard error, the report on standard
/// output. Succeeds only if nothing was left out, no call of ringfarm's failed at a fixed rate, and
/// the judge found nothing wrong.
///
/// # Errors
/// The benchmark could not be made at all.
pub fn execute(args: &SipArgs) -> Result<ExitCode> {
    let minutes = Duration::from_secs(60) * args.minutes_max;
    let stop = Stop::on_signals()?.with_deadline(Instant::now() + minutes);
    let report = run(args, &stop)?;
    if let Some(path) = &args.html {
        let page = html::page(&report)?;
        std::fs::write(path, page).with_context(|| format!("writing {}", path.display()))?;
        eprintln!("wrote {}", path.display());
    }
    if args.json {
        println!("{}", serde_json::to_string(&report).context("the report as JSON")?);
    } else {
        print!("{}", table::Table(&report));
    }
    let good = report.complete && report.failures == 0 && report.misjudged == 0;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Measures on a thread of its own, which stays off the server's core. Children live no longer than
/// that thread.
fn run(args: &SipArgs, stop: &Stop) -> Result<SipReport> {
    let plan = args.plan()?;
    os::raise_descriptor_limit()?;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("bench".into());
        let driving = thread.spawn_scoped(scope, || {
            os::pin_to(&plan.cores.generator)?;
            Ok(Driver::new(args, plan, stop.clone())?.run())
        });
        let driving = driving.context("starting the benchmark's thread")?;
        driving.join().map_err(|_| anyhow!("the benchmark's thread panicked"))?
    })
}
