//! The report as one web page that needs nothing else.

use anyhow::Result;

use crate::farmbench::report::FarmReport;
use crate::paired::page::{
    NOT_COMPLETE, NOT_QUIET, document, measured_on, notes, put, quotients, warnings,
};
use crate::sipbench::html::table;

/// The page.
///
/// # Errors
/// The report cannot be written as JSON, which stands at its end.
pub(crate) fn page(report: &FarmReport) -> Result<String> {
    document(report, ["Farm benchmark", "A farm beside a single node"], |page| {
        measured_on(&report.machine, "members", (report.rounds, report.seconds), page);
        let short = "A smoke or quick run: it shows that things work, not how fast they are.";
        let known = [
            (report.smoke || report.quick, short),
            (!report.quiet, NOT_QUIET),
            (!report.complete, NOT_COMPLETE),
        ];
        warnings(known, page);
        let rows: Vec<_> = report.systems.iter().map(|(of, row)| (of.name().into(), row)).collect();
        table("call", &rows, page);
        *page += "<h2>Farm to single node</h2><div class=\"scroll\"><table><tr><th>quotient<th>median<th>min<th>max";
        quotients(&report.ratios.ranges, page);
        *page += "</table></div>";
        added(report, page);
        capacity(report, page);
        notes(&report.method.notes, page);
    })
}

fn added(report: &FarmReport, page: &mut String) {
    *page += "<h2>Added latency, us</h2><div class=\"scroll\"><table><tr><th>farm<th>interval<th>p50<th>p99";
    for (system, intervals) in &report.latency_added_us {
        for (interval, added) in intervals {
            let (p50, p99) = (added.p50.median, added.p99.median);
            put!(page, "<tr><td>{system}<td>{interval}<td>{p50:.0}<td>{p99:.0}");
        }
    }
    *page += "</table></div>";
}

fn capacity(report: &FarmReport, page: &mut String) {
    if report.capacity.is_empty() {
        return;
    }
    *page += "<h2>Highest rate on one core</h2>";
    for (system, found) in &report.capacity {
        let rate = found.calls_per_second;
        put!(
            page,
            "<p>{}: {:.0} calls/s ({:.0} to {:.0})</p>",
            system.name(),
            rate.median,
            rate.min,
            rate.max
        );
    }
}
