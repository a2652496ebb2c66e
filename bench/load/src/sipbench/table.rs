//! The report as a table for people.

use std::fmt;

use crate::paired::table;
use crate::sipbench::report::{Row, SipReport};

pub(crate) struct Table<'a>(pub(crate) &'a SipReport);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Table(report) = self;
        head(report, f)?;
        for (name, row) in &report.rows {
            writeln!(f, "\n{name}: {}", row.description)?;
            heading(row.kind.unit(), f)?;
            for (server, row) in &row.systems {
                row_of(server.name(), row, f)?;
            }
        }
        ratios(report, f)?;
        capacity(report, f)?;
        memory(report, f)?;
        table::quiet(report.quiet, f)?;
        if report.smoke {
            table::tiny("--smoke", f)?;
        }
        if report.quick {
            writeln!(
                f,
                "\nThis was a --quick run: rounds of {} s after {} s, before the first transactions end (32 s).",
                report.seconds, report.warm_up_seconds
            )?;
        }
        Ok(())
    }
}

fn head(report: &SipReport, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    table::machine(&report.machine, "server", f)?;
    let told = (report.rounds, report.seconds, Some(report.warm_up_seconds));
    table::rounds(told, report.elapsed_seconds, report.complete, f)?;
    table::background(&report.background_core_share, "server", f)?;
    for (server, version) in &report.versions {
        writeln!(f, "{:<10} {version}", server.name())?;
    }
    report.method.notes.iter().try_for_each(|note| writeln!(f, "- {note}"))
}

pub(crate) fn heading(unit: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(
        f,
        "  {:<10} {:>26} {:>9} {:>9} {:>9} {:>7} {:>7} {:>9}  latency p50/p99 us",
        "",
        format!("us/{unit} (min..max)"),
        "processes",
        "core busy",
        "a second",
        "failed",
        "again",
        "generator"
    )
}

pub(crate) fn row_of(name: &str, row: &Row, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if row.rounds.is_empty() {
        writeln!(f, "  {name:<10} {:>26}", "-")?;
    } else {
        let cost = &row.cpu_us_per_call;
        write!(
            f,
            "  {name:<10} {:>26} {:>9.1} {:>7.1} % {:>9.0} {:>7} {:>7} {:>7.0} % ",
            format!("{:.1} ({:.1}..{:.1})", cost.median, cost.min, cost.max),
            row.cpu_us_per_call_processes.median,
            row.core_busy_share.median * 100.0,
            row.completed_per_second.median,
            row.failures,
            row.retransmissions,
            row.generator_busy_share.median * 100.0,
        )?;
        for (interval, times) in &row.latency_us {
            write!(f, " {interval} {:.0}/{:.0}", times.p50.median, times.p99.median)?;
        }
        writeln!(f)?;
    }
    row.why.iter().try_for_each(|why| writeln!(f, "             {why}"))
}

fn ratios(report: &SipReport, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if !report.ratios.ranges.is_empty() {
        writeln!(f, "\nringfarm to kamailio, rounds in pairs: median (min..max)")?;
    }
    table::quotients(&report.ratios.ranges, 32, f)?;
    for (transport, ratio) in &report.ratios.highest_rate {
        writeln!(f, "  {:<32} {ratio:.3}", format!("highest_rate.{transport}"))?;
    }
    let memory = [
        ("memory_contacts", report.ratios.memory_contacts),
        ("memory_dialogs", report.ratios.memory_dialogs),
    ];
    for (name, ratio) in memory {
        if let Some(ratio) = ratio {
            writeln!(f, "  {name:<32} {ratio:.3}")?;
        }
    }
    Ok(())
}

fn capacity(report: &SipReport, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (transport, found) in &report.capacity {
        writeln!(
            f,
            "\nhighest rate over {transport}, below 0.1 % failures and without retransmissions:"
        )?;
        for (server, capacity) in found {
            let rate = &capacity.calls_per_second;
            writeln!(
                f,
                "  {:<10} {:.0} calls/s ({:.0}..{:.0}); {}",
                server.name(),
                rate.median,
                rate.min,
                rate.max,
                capacity.limits.join("; ")
            )?;
            for (percent, row) in &capacity.at_percent {
                row_of(&format!("{percent} %"), row, f)?;
            }
        }
    }
    Ok(())
}

fn memory(report: &SipReport, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (what, found) in &report.memory {
        writeln!(f, "\nmemory of {what}:")?;
        for (server, memory) in found {
            write!(
                f,
                "  {:<10} {}: {:.0} bytes each ({:.1} MB before, {:.1} MB with them)",
                server.name(),
                memory.count,
                memory.bytes_each,
                memory.before_bytes as f64 / 1e6,
                memory.with_bytes as f64 / 1e6
            )?;
            if let Some(shared) = memory.shared_bytes_each {
                write!(f, ", {shared:.0} of shared memory by its own account")?;
            }
            writeln!(f, "{}", memory.why.iter().map(|why| format!("; {why}")).collect::<String>())?;
        }
    }
    Ok(())
}
