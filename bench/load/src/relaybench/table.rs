//! The report as a table for people.

use std::fmt;

use crate::paired::table;
use crate::relaybench::report::{RelayReport, Row};
use crate::relaybench::systems::System;

pub(crate) struct Table<'a>(pub(crate) &'a RelayReport);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Table(report) = self;
        head(report, f)?;
        rows(report, f)?;
        ratios(report, f)?;
        set_up(report, f)?;
        capacity(report, f)?;
        table::quiet(report.quiet, f)?;
        if report.quick { table::tiny("--quick", f) } else { Ok(()) }
    }
}

fn head(report: &RelayReport, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    table::machine(&report.machine, "relay", f)?;
    let told = (report.rounds, report.seconds, None);
    table::rounds(told, report.elapsed_seconds, report.complete, f)?;
    table::background(&report.background_core_share, "relay", f)?;
    for (system, version) in &report.versions {
        writeln!(f, "{:<10} {version}", system.name())?;
    }
    for note in &report.method.notes {
        writeln!(f, "- {note}")?;
    }
    Ok(())
}

fn rows(report: &RelayReport, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for load in &report.workloads {
        writeln!(f, "\n{}: {}", load.name, load.description)?;
        writeln!(
            f,
            "  {:<10} {:>22} {:>8} {:>9} {:>9} {:>9} {:>8} {:>8}",
            "",
            "us/packet (min..max)",
            "threads",
            "core busy",
            "packets/s",
            "lost",
            "p50 us",
            "p99 us"
        )?;
        for (system, row) in &load.systems {
            row_of(*system, row, f)?;
        }
    }
    Ok(())
}

fn row_of(system: System, row: &Row, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if row.rounds.is_empty() {
        writeln!(f, "  {:<10} {:>22}", system.name(), "-")?;
    } else {
        let cost = &row.us_per_packet;
        writeln!(
            f,
            "  {:<10} {:>22} {:>8.2} {:>7.1} % {:>9.0} {:>7.3} % {:>8.0} {:>8.0}",
            system.name(),
            format!("{:.2} ({:.2}..{:.2})", cost.median, cost.min, cost.max),
            row.us_per_packet_process.median,
            row.core_busy_share.median * 100.0,
            row.relayed_pps.median,
            row.loss.median * 100.0,
            row.latency_us.p50.median,
            row.latency_us.p99.median,
        )?;
    }
    row.why.iter().try_for_each(|why| writeln!(f, "             {why}"))
}

fn ratios(report: &RelayReport, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let ratios = &report.ratios;
    if ratios.ranges.is_empty() {
        return Ok(());
    }
    writeln!(f, "\nringfarm compared, median of the rounds' quotients (min..max)")?;
    table::quotients(&ratios.ranges, 34, f)
}

fn set_up(report: &RelayReport, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (system, set_up) in &report.set_up {
        let (all, last) = (&set_up.setup_us, &set_up.setup_us_last_tenth);
        writeln!(
            f,
            "\nset-up, {system}: {} of {} A/V sessions held\n  \
             offer and answer, us: all p50 {:.0} p99 {:.0}, last tenth p50 {:.0} p99 {:.0}; a ping and its answer p50 {:.0} p99 {:.0}; the system's threads ran {:.0} us a set-up; delete p50 {:.0} p99 {:.0}\n  \
             memory a session: {:.0} bytes of its own, {:.0} of the kernel's; {:.0} kB more than before after all had ended",
            set_up.sessions_held,
            set_up.sessions_wanted,
            all.p50,
            all.p99,
            last.p50,
            last.p99,
            set_up.ping_us.p50,
            set_up.ping_us.p99,
            set_up.setup_cpu_us,
            set_up.teardown_us.p50,
            set_up.teardown_us.p99,
            set_up.session_bytes,
            set_up.session_kernel_bytes,
            set_up.residue_bytes / 1024.0,
        )?;
        set_up.why.iter().try_for_each(|why| writeln!(f, "  {why}"))?;
        let content = &set_up.content;
        if content.lost > 0 || !content.is_true() {
            writeln!(f, "  packets through all sessions: {content:?}")?;
        }
    }
    Ok(())
}

fn capacity(report: &RelayReport, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (system, capacity) in &report.capacity {
        let pps = &capacity.pps;
        writeln!(
            f,
            "\nhighest rate without loss, {system}: {:.0} packets/s ({:.0}..{:.0})",
            pps.median, pps.min, pps.max
        )?;
        capacity.limits.iter().try_for_each(|limit| writeln!(f, "  {limit}"))?;
        if !capacity.overload.rounds.is_empty() {
            writeln!(f, "  with 130 % of that:")?;
            row_of(*system, &capacity.overload, f)?;
        }
    }
    Ok(())
}
