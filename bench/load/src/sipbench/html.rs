//! The report as one web page that needs nothing else.

use anyhow::Result;

use crate::paired::page::{
    NOT_COMPLETE, NOT_QUIET, document, measured_on, notes, put, quotients, warnings,
};
use crate::relaybench::plot::{Plot, Scale, Series, escape};
use crate::relaybench::statistics::Range;
use crate::sipbench::report::{Row, RowReport, SipReport};
use crate::sipbench::systems::Server;

/// The page.
///
/// # Errors
/// The report cannot be written as JSON, which stands at its end.
pub(crate) fn page(report: &SipReport) -> Result<String> {
    document(report, ["SIP benchmark", "SIP servers side by side"], |page| {
        head(report, page);
        plots(report, page);
        ratios(report, page);
        for (name, row) in &report.rows {
            put!(
                page,
                "<h2>{}</h2><p class=\"pale\">{}</p>",
                escape(name),
                escape(&row.description)
            );
            let rows: Vec<_> =
                row.systems.iter().map(|(server, row)| (server.name().to_owned(), row)).collect();
            table(row.kind.unit(), &rows, page);
        }
        capacity(report, page);
        memory(report, page);
        method(report, page);
    })
}

fn head(report: &SipReport, page: &mut String) {
    measured_on(&report.machine, "server", (report.rounds, report.seconds), page);
    let smoke = "A smoke run: it shows that things work, not how fast they are.";
    let quick = "A quick run: short rounds, before the first transactions end (32 s).";
    let known = [
        (report.smoke, smoke),
        (report.quick, quick),
        (!report.quiet, NOT_QUIET),
        (!report.complete, NOT_COMPLETE),
    ];
    warnings(known, page);
}

const SERVERS: [(Server, &str); 2] =
    [(Server::Ringfarm, "ringfarm"), (Server::Kamailio, "rtpengine")];

/// The second server has the colour that the style sheet gives the other program.
fn plots(report: &SipReport, page: &mut String) {
    let value = |row: &RowReport, server: Server, of: fn(&Row) -> Range| {
        row.systems.get(&server).filter(|row| !row.rounds.is_empty()).map(of)
    };
    let cost: fn(&Row) -> Range = |row| row.cpu_us_per_call;
    let of = |(server, class): (Server, &str)| Series {
        name: server.name().into(),
        class: class.into(),
        values: report.rows.values().map(|row| value(row, server, cost)).collect(),
    };
    *page += "<div class=\"plots\">";
    *page += &Plot {
        title: "Core time of a call or registration".into(),
        unit: "us".into(),
        places: report.rows.keys().cloned().collect(),
        series: SERVERS.map(of).into(),
        scale: Scale::Linear,
        mark: None,
    }
    .svg();
    let rates = |(server, class): (Server, &str)| Series {
        name: server.name().into(),
        class: class.into(),
        values: report
            .capacity
            .values()
            .map(|found| found.get(&server).map(|capacity| capacity.calls_per_second))
            .collect(),
    };
    if !report.capacity.is_empty() {
        *page += &Plot {
            title: "Highest rate of calls, one core".into(),
            unit: "calls/s".into(),
            places: report.capacity.keys().cloned().collect(),
            series: SERVERS.map(rates).into(),
            scale: Scale::Linear,
            mark: None,
        }
        .svg();
    }
    *page += "</div>";
}

fn ratios(report: &SipReport, page: &mut String) {
    *page += "<h2>ringfarm to Kamailio</h2><p class=\"pale\">Quotients of the same round; below 1 is better for ringfarm, but for rates.</p><div class=\"scroll\"><table><tr><th>quotient<th>median<th>min<th>max";
    quotients(&report.ratios.ranges, page);
    for (transport, ratio) in &report.ratios.highest_rate {
        put!(page, "<tr><td>highest_rate.{}<td>{ratio:.3}<td><td>", escape(transport));
    }
    let memory = [
        ("memory_contacts", report.ratios.memory_contacts),
        ("memory_dialogs", report.ratios.memory_dialogs),
    ];
    for (name, ratio) in memory {
        if let Some(ratio) = ratio {
            put!(page, "<tr><td>{name}<td>{ratio:.3}<td><td>");
        }
    }
    *page += "</table></div>";
}

pub(crate) fn table(unit: &str, rows: &[(String, &Row)], page: &mut String) {
    put!(
        page,
        "<div class=\"scroll\"><table><tr><th>server<th>us a {unit}<th>min<th>max<th>us a transaction<th>processes alone<th>core busy<th>a second<th>failed<th>retransmissions<th>judged<th>wrong<th>generator busy<th>latency p50 / p99 / p99.9 us"
    );
    for (name, row) in rows {
        if !row.rounds.is_empty() {
            let cost = &row.cpu_us_per_call;
            let mut latency = String::new();
            for (interval, times) in &row.latency_us {
                put!(
                    latency,
                    "{interval} {:.0} / {:.0} / {:.0}<br>",
                    times.p50.median,
                    times.p99.median,
                    times.p999.median
                );
            }
            put!(
                page,
                "<tr><td>{}<td>{:.1}<td>{:.1}<td>{:.1}<td>{:.1}<td>{:.1}<td>{:.1} %<td>{:.0}<td>{}<td>{}<td>{}<td>{}<td>{:.0} %<td>{latency}",
                escape(name),
                cost.median,
                cost.min,
                cost.max,
                row.cpu_us_per_transaction.median,
                row.cpu_us_per_call_processes.median,
                row.core_busy_share.median * 100.0,
                row.completed_per_second.median,
                row.failures,
                row.retransmissions,
                row.judged,
                row.misjudged,
                row.generator_busy_share.median * 100.0
            );
        }
        if !row.why.is_empty() {
            let (name, why) = (escape(name), escape(&row.why.join("; ")));
            put!(page, "<tr><td>{name}<td colspan=\"13\" class=\"why\">{why}");
        }
    }
    *page += "</table></div>";
}

fn capacity(report: &SipReport, page: &mut String) {
    for (transport, found) in &report.capacity {
        put!(
            page,
            "<h2>Highest rate over {}</h2><p class=\"pale\">Below 0.1 % failures and without retransmissions; latency at 25, 50 and 75 % of it.</p>",
            escape(transport)
        );
        for (server, capacity) in found {
            let rate = &capacity.calls_per_second;
            put!(
                page,
                "<p>{}: {:.0} calls/s ({:.0} to {:.0}). <span class=\"pale\">{}</span></p>",
                server.name(),
                rate.median,
                rate.min,
                rate.max,
                escape(&capacity.limits.join("; "))
            );
            let rows: Vec<_> =
                capacity.at_percent.iter().map(|(at, row)| (format!("{at} %"), row)).collect();
            table("call", &rows, page);
        }
    }
}

fn memory(report: &SipReport, page: &mut String) {
    if report.memory.is_empty() {
        return;
    }
    *page += "<h2>Memory</h2><div class=\"scroll\"><table><tr><th>of<th>server<th>how many<th>bytes each<th>MB before<th>MB with them<th>shared memory each, own account<th>";
    for (what, found) in &report.memory {
        for (server, memory) in found {
            put!(
                page,
                "<tr><td>{}<td>{}<td>{}<td>{:.0}<td>{:.1}<td>{:.1}<td>{}<td class=\"why\">{}",
                escape(what),
                server.name(),
                memory.count,
                memory.bytes_each,
                memory.before_bytes as f64 / 1e6,
                memory.with_bytes as f64 / 1e6,
                memory.shared_bytes_each.map(|each| format!("{each:.0}")).unwrap_or_default(),
                escape(&memory.why.join("; "))
            );
        }
    }
    *page += "</table></div>";
}

fn method(report: &SipReport, page: &mut String) {
    notes(&report.method.notes, page);
    *page += "<h2>Configurations</h2>";
    for (server, version) in &report.versions {
        put!(page, "<p>{}: {}</p>", server.name(), escape(version));
    }
    for (load, of_load) in &report.configurations {
        for (server, text) in of_load {
            put!(
                page,
                "<details><summary>{}, {}</summary><pre>{}</pre></details>",
                escape(load),
                server.name(),
                escape(text)
            );
        }
    }
}
