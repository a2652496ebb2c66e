//! Lines that the tables of all paired benchmarks have.

use std::fmt::{Formatter, Result};

use crate::paired::report::Machine;
use crate::relaybench::statistics::Range;

/// What was measured on; the system under test is called `system`.
pub(crate) fn machine(machine: &Machine, system: &str, f: &mut Formatter<'_>) -> Result {
    writeln!(
        f,
        "{}, {} cores ({system} on {}, generator on {:?}), Linux {}",
        machine.processor,
        machine.cores,
        machine.relay_core,
        machine.generator_cores,
        machine.kernel
    )
}

/// How much was measured: rounds, seconds of a cell, those before them if any were told, and of the run.
pub(crate) fn rounds(
    (rounds, seconds, warm_up): (u32, f64, Option<f64>),
    elapsed: f64,
    complete: bool,
    f: &mut Formatter<'_>,
) -> Result {
    write!(f, "{rounds} rounds of {seconds} s a cell")?;
    if let Some(warm_up) = warm_up {
        write!(f, " after {warm_up} s")?;
    }
    let incomplete = if complete { "" } else { ", NOT COMPLETE" };
    writeln!(f, ", {elapsed:.0} s in all{incomplete}")
}

/// How busy the core was before each round.
pub(crate) fn background(shares: &[f64], system: &str, f: &mut Formatter<'_>) -> Result {
    let Some(share) = Range::of(shares.iter().copied()) else { return Ok(()) };
    let (median, max) = (share.median * 100.0, share.max * 100.0);
    writeln!(f, "the {system}'s core without load: {median:.2} % busy (at most {max:.2} %)")
}

/// Rows of quotients, their names in so many columns.
pub(crate) fn quotients<'r>(
    ranges: impl IntoIterator<Item = (&'r String, &'r Range)>,
    columns: usize,
    f: &mut Formatter<'_>,
) -> Result {
    for (path, range) in ranges {
        let Range { median, min, max } = range;
        writeln!(f, "  {path:<columns$} {median:.3} ({min:.3}..{max:.3})")?;
    }
    Ok(())
}

/// Whether the costs are the systems' own.
pub(crate) fn quiet(quiet: bool, f: &mut Formatter<'_>) -> Result {
    if quiet {
        return Ok(());
    }
    writeln!(f, "\nThe machine was NOT QUIET: other programs ran, and the costs hold theirs.")
}

/// What a run with this option is not: one that says how fast things are.
pub(crate) fn tiny(option: &str, f: &mut Formatter<'_>) -> Result {
    writeln!(f, "\nThis was a {option} run: it shows that things work, not how fast they are.")
}
