//! What the benchmarks that compare systems in turns have in common, whatever they compare.

pub(crate) mod args;
pub(crate) mod cell;
pub(crate) mod page;
pub(crate) mod report;
pub(crate) mod table;

use std::fmt::Display;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde::Serialize;

use crate::os;
use crate::relaybench::cpu::{Meter, Spent};
use crate::relaybench::stop::Stop;

/// How long the empty core is watched at the start of each round.
const BACKGROUND: Duration = Duration::from_secs(1);

/// Ends a run on signals, and after so many minutes with what it has by then.
///
/// # Errors
/// Signals cannot be waited for.
pub(crate) fn stop_after(minutes: u32) -> Result<Stop> {
    Ok(Stop::on_signals()?.with_deadline(Instant::now() + Duration::from_secs(60) * minutes))
}

/// Measures on a thread of its own, which is pinned to `cores` and so stays off that of the system under
/// test. Children live no longer than that thread.
///
/// # Errors
/// Those of `measure`, and of starting it.
pub(crate) fn on_own_thread<R: Send>(
    cores: &[usize],
    measure: impl FnOnce() -> Result<R> + Send,
) -> Result<R> {
    os::raise_descriptor_limit()?;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("bench".into());
        let measuring = thread.spawn_scoped(scope, || {
            os::pin_to(cores)?;
            measure()
        });
        let measuring = measuring.context("starting the benchmark's thread")?;
        measuring.join().map_err(|_| anyhow!("the benchmark's thread panicked"))?
    })
}

/// How busy `core` is without any system under test; no longer than a cell of `measured` is watched.
///
/// # Errors
/// The user has had enough, or the kernel's accounts cannot be read.
fn background(core: usize, measured: Duration, stop: &Stop) -> Result<f64> {
    let meter = Meter::new(core, None)?;
    let before = meter.read()?;
    stop.sleep(BACKGROUND.min(measured))?;
    let spent = Spent::between(&before, &meter.read()?);
    Ok(cell::share(&spent, spent.busy_ns))
}

/// Begins a round: notes in `shares` how busy the core of the system under test is without any. False if
/// that cannot be told any more, and so there are no further rounds.
pub(crate) fn begin_round(
    round: u32,
    core: usize,
    measured: Duration,
    stop: &Stop,
    shares: &mut Vec<f64>,
) -> bool {
    match background(core, measured, stop) {
        Ok(share) => shares.push(share),
        Err(error) => {
            eprintln!("round {round}: {error:#}");
            return false;
        }
    }
    true
}

/// Where a report goes.
pub(crate) struct Outlet<'a> {
    /// The web page's file, if there is to be one.
    pub(crate) html: Option<&'a PathBuf>,
    /// JSON on standard output instead of a table.
    pub(crate) json: bool,
}

impl Outlet<'_> {
    /// Writes the report in the forms that were asked for.
    ///
    /// # Errors
    /// The page cannot be made, or its file not be written.
    pub(crate) fn write<R: Serialize>(
        &self,
        report: &R,
        page: impl FnOnce(&R) -> Result<String>,
        table: impl Display,
    ) -> Result<()> {
        if let Some(path) = self.html {
            std::fs::write(path, page(report)?)
                .with_context(|| format!("writing {}", path.display()))?;
            eprintln!("wrote {}", path.display());
        }
        if self.json {
            println!("{}", serde_json::to_string(report).context("the report as JSON")?);
        } else {
            print!("{table}");
        }
        Ok(())
    }
}
