//! The report as a table for people.

use std::fmt;

use crate::farmbench::report::FarmReport;
use crate::paired::table;
use crate::sipbench::table::{heading, row_of};

pub(crate) struct Table<'a>(pub(crate) &'a FarmReport);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Table(report) = self;
        table::machine(&report.machine, "member", f)?;
        let told = (report.rounds, report.seconds, Some(report.warm_up_seconds));
        table::rounds(told, report.elapsed_seconds, report.complete, f)?;
        table::background(&report.background_core_share, "member", f)?;
        writeln!(f, "{}", report.program)?;
        report.method.notes.iter().try_for_each(|note| writeln!(f, "- {note}"))?;
        writeln!(f, "\n{} at {} calls/s", report.transport, report.per_second)?;
        heading("call", f)?;
        for (system, row) in &report.systems {
            row_of(system.name(), row, f)?;
        }
        writeln!(f, "\nfarm to single node, rounds in pairs: median (min..max)")?;
        table::quotients(&report.ratios.ranges, 36, f)?;
        added(report, f)?;
        capacity(report, f)?;
        table::quiet(report.quiet, f)?;
        if report.smoke {
            table::tiny("--smoke", f)?;
        }
        if report.quick {
            table::tiny("--quick", f)?;
        }
        Ok(())
    }
}

fn added(report: &FarmReport, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "\nadded latency, us: median over the rounds (min..max)")?;
    for (system, intervals) in &report.latency_added_us {
        for (interval, added) in intervals {
            let (p50, p99) = (added.p50, added.p99);
            writeln!(
                f,
                "  {system:<9} {interval:<11} p50 {:.0} ({:.0}..{:.0})  p99 {:.0} ({:.0}..{:.0})",
                p50.median, p50.min, p50.max, p99.median, p99.min, p99.max
            )?;
        }
    }
    Ok(())
}

fn capacity(report: &FarmReport, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if report.capacity.is_empty() {
        return Ok(());
    }
    writeln!(f, "\nhighest rate on one core, calls/s: median (min..max)")?;
    for (system, found) in &report.capacity {
        let rate = found.calls_per_second;
        writeln!(
            f,
            "  {:<9} {:.0} ({:.0}..{:.0})",
            system.name(),
            rate.median,
            rate.min,
            rate.max
        )?;
        found.limits.iter().try_for_each(|limit| writeln!(f, "            {limit}"))?;
    }
    Ok(())
}
