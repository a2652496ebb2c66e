//! Arguments that every paired benchmark takes.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;

use crate::os;
use crate::paired::Outlet;
use crate::relaybench::lab::{CorePlan, Topology};

/// Most rounds: a day of them.
const ROUNDS_MAX: u32 = 1_000;

/// How a paired benchmark is run, and where its report goes.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// What lies between the generator and the system under test.
    #[arg(long, value_enum, default_value_t = Topology::Auto)]
    pub topology: Topology,

    /// The cores of the generator [default: one that is not that of the system under test].
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub generator_cores: Vec<usize>,

    /// The ringfarm to measure [default: this program].
    #[arg(long, value_name = "FILE")]
    pub ringfarm: Option<PathBuf>,

    /// Minutes after which the run ends with what it has.
    #[arg(long, value_name = "T", default_value_t = 120)]
    pub minutes_max: u32,

    /// Write the report as JSON instead of a table.
    #[arg(long)]
    pub json: bool,

    /// Also write the report as a web page with plots.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

impl RunArgs {
    /// Where the report goes.
    pub(crate) const fn outlet(&self) -> Outlet<'_> {
        Outlet { html: self.html.as_ref(), json: self.json }
    }

    /// The cores, with that of the system under test if one was asked for.
    ///
    /// # Errors
    /// Names a core that is not there.
    pub(crate) fn cores(&self, under_test: Option<usize>) -> Result<CorePlan> {
        core_plan(under_test, self.generator_cores.clone())
    }
}

/// The rounds that were asked for, or `otherwise`.
///
/// # Errors
/// Says how many there may be.
pub(crate) fn rounds(given: Option<u32>, otherwise: u32) -> Result<u32> {
    let rounds = given.unwrap_or(otherwise);
    ensure!((1..=ROUNDS_MAX).contains(&rounds), "--rounds {rounds}: give 1 to {ROUNDS_MAX}");
    Ok(rounds)
}

/// How long is measured: the seconds that were asked for, or `otherwise`.
///
/// # Errors
/// Says how many there may be.
pub(crate) fn measured(given: Option<f64>, otherwise: f64) -> Result<Duration> {
    let seconds = given.unwrap_or(otherwise);
    ensure!((0.1..=600.0).contains(&seconds), "--seconds {seconds}: give 0.1 to 600");
    Ok(Duration::from_secs_f64(seconds))
}

/// Refuses an empty list of systems, and one that names a system twice.
///
/// # Errors
/// Says which.
pub(crate) fn each_once<S: PartialEq>(systems: &[S], name: impl Fn(&S) -> &str) -> Result<()> {
    ensure!(!systems.is_empty(), "--systems: none given");
    for (at, system) in systems.iter().enumerate() {
        let twice = systems[..at].contains(system);
        ensure!(!twice, "--systems: {} is there twice", name(system));
    }
    Ok(())
}

/// The cores that were asked for, or a core for the system under test and another for the generator.
///
/// # Errors
/// Names a core that is not there.
pub(crate) fn core_plan(relay: Option<usize>, mut generator: Vec<usize>) -> Result<CorePlan> {
    let available = os::cores();
    let first = *available.first().unwrap_or(&0);
    let relay = relay.unwrap_or(first);
    let other = available.iter().copied().rfind(|core| *core != relay);
    if generator.is_empty() {
        // On a machine with one core they share it, and the report says so.
        generator.push(other.unwrap_or(relay));
    }
    for core in generator.iter().chain([&relay]) {
        ensure!(available.contains(core), "core {core} is not available");
    }
    Ok(CorePlan { relay, generator, available: available.len() })
}
