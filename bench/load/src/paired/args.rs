//! Arguments that every paired benchmark takes.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;

use crate::os;
use crate::paired::Outlet;
use crate::paired::cell::Timing;
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
    within("rounds", given.unwrap_or(otherwise), 1..=ROUNDS_MAX)
}

/// How long is measured: the seconds that were asked for, or `otherwise`.
///
/// # Errors
/// Says how many there may be.
pub(crate) fn measured(given: Option<f64>, otherwise: f64) -> Result<Duration> {
    Ok(Duration::from_secs_f64(within("seconds", given.unwrap_or(otherwise), 0.1..=600.0)?))
}

/// How much of a benchmark is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of it.
    Full,
    /// Short rounds after a short warm-up.
    Quick,
    /// Whether it works, not how fast.
    Smoke,
}

impl Extent {
    /// As `--quick` and `--smoke` say, which exclude each other.
    pub(crate) const fn of(quick: bool, smoke: bool) -> Extent {
        match (quick, smoke) {
            (_, true) => Extent::Smoke,
            (true, false) => Extent::Quick,
            (false, false) => Extent::Full,
        }
    }

    pub(crate) fn is_quick(self) -> bool {
        self == Extent::Quick
    }

    pub(crate) fn is_smoke(self) -> bool {
        self == Extent::Smoke
    }
}

/// How long the parts of a cell take unless something else is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timings {
    pub(crate) full: Timing,
    pub(crate) quick: Timing,
    pub(crate) smoke: Timing,
}

impl Timings {
    /// That of a run of this extent, with the seconds that were asked for.
    ///
    /// # Errors
    /// Says how many there may be.
    pub(crate) fn asked(
        &self,
        extent: Extent,
        warm_up: Option<f64>,
        seconds: Option<f64>,
    ) -> Result<Timing> {
        let usual = match extent {
            Extent::Full => self.full,
            Extent::Quick => self.quick,
            Extent::Smoke => self.smoke,
        };
        let warm_up = warm_up.unwrap_or(usual.warm_up.as_secs_f64());
        Ok(Timing {
            measured: measured(seconds, usual.measured.as_secs_f64())?,
            warm_up: Duration::from_secs_f64(within("warm-up", warm_up, 0.0..=600.0)?),
        })
    }
}

/// What was given with an option.
///
/// # Errors
/// Says what it may be.
pub(crate) fn within<N: PartialOrd + Display>(
    option: &str,
    given: N,
    may_be: RangeInclusive<N>,
) -> Result<N> {
    let (least, most) = (may_be.start(), may_be.end());
    ensure!(may_be.contains(&given), "--{option} {given}: give {least} to {most}");
    Ok(given)
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
