//! The report as one web page that needs nothing else.

use anyhow::Result;

use crate::paired::page::{
    NOT_COMPLETE, NOT_QUIET, document, measured_on, notes, put, quotients, warnings,
};
use crate::relaybench::plot::{Plot, Scale, Series, escape};
use crate::relaybench::report::{RelayReport, Row, WorkloadReport};
use crate::relaybench::statistics::Range;
use crate::relaybench::systems::System;

/// The page.
///
/// # Errors
/// The report cannot be written as JSON, which stands at its end.
pub(crate) fn page(report: &RelayReport) -> Result<String> {
    document(report, ["Relay benchmark", "Relays side by side"], |page| {
        head(report, page);
        plots(report, page);
        ratios(report, page);
        tables(report, page);
        set_up(report, page);
        capacity(report, page);
        method(report, page);
    })
}

fn head(report: &RelayReport, page: &mut String) {
    measured_on(&report.machine, "relay", (report.rounds, report.seconds), page);
    let quick = "A quick run: it shows that things work, not how fast they are.";
    let known =
        [(report.quick, quick), (!report.quiet, NOT_QUIET), (!report.complete, NOT_COMPLETE)];
    warnings(known, page);
}

/// The G.711 loads that are rows of their own, by number of streams.
fn by_streams(report: &RelayReport) -> Vec<&WorkloadReport> {
    let plain = |load: &&WorkloadReport| load.name == format!("g711-{}", load.streams);
    report.workloads.iter().filter(plain).collect()
}

fn series(loads: &[&WorkloadReport], value: fn(&Row) -> Range) -> Vec<Series> {
    let mut systems: Vec<System> =
        loads.iter().flat_map(|load| load.systems.keys().copied()).collect();
    systems.sort_unstable();
    systems.dedup();
    let of = |system: System| Series {
        name: system.name().into(),
        class: system.name().into(),
        values: loads
            .iter()
            .map(|load| load.systems.get(&system).filter(|row| !row.rounds.is_empty()).map(value))
            .collect(),
    };
    systems.into_iter().map(of).collect()
}

fn plots(report: &RelayReport, page: &mut String) {
    let audio = by_streams(report);
    let others: Vec<&WorkloadReport> =
        report.workloads.iter().filter(|load| !load.name.starts_with("g711-")).collect();
    let plot = |title: &str, unit: &str, loads: &[&WorkloadReport], scale, value| Plot {
        title: title.into(),
        unit: unit.into(),
        places: loads.iter().map(|load| place(load)).collect(),
        series: series(loads, value),
        scale,
        mark: None,
    };
    let cost: fn(&Row) -> Range = |row| row.us_per_packet;
    let p99: fn(&Row) -> Range = |row| row.latency_us.p99;
    *page += "<div class=\"plots\">";
    if !audio.is_empty() {
        *page += &plot(
            "Core time of a packet, by streams of G.711",
            "us a packet",
            &audio,
            Scale::Linear,
            cost,
        )
        .svg();
        *page +=
            &plot("Latency, 99th percentile, by streams", "us", &audio, Scale::Logarithmic, p99)
                .svg();
    }
    if !others.is_empty() {
        *page += &plot("Core time of a packet, video", "us a packet", &others, Scale::Linear, cost)
            .svg();
    }
    *page += &ratio_plot(report).unwrap_or_default();
    *page += &capacity_plot(report).unwrap_or_default();
    *page += "</div>";
}

fn place(load: &WorkloadReport) -> String {
    let streams = load.streams.to_string();
    match load.name.split('-').next() {
        Some("g711") if load.stretched => format!("{streams}*"),
        Some("g711") | None => streams,
        Some(kind) => format!("{kind} {streams}"),
    }
}

fn ratio_plot(report: &RelayReport) -> Option<String> {
    let loads = by_streams(report);
    let ranges = &report.ratios.ranges;
    let of = |name: &str, system: System| Series {
        name: format!("to {system}"),
        class: system.name().into(),
        values: loads
            .iter()
            .map(|load| ranges.get(&format!("{name}.{}", load.streams)).copied())
            .collect(),
    };
    let series = vec![of("cpu_vs_rtpengine", System::Rtpengine), of("cpu_vs_epoll", System::Epoll)];
    series.iter().any(|series| series.values.iter().any(Option::is_some)).then(|| {
        Plot {
            title: "ringfarm's core time of a packet, compared".into(),
            unit: "quotient".into(),
            places: loads.iter().map(|load| place(load)).collect(),
            series,
            scale: Scale::Linear,
            mark: Some((1.0, "equal".into())),
        }
        .svg()
    })
}

fn capacity_plot(report: &RelayReport) -> Option<String> {
    let found: Vec<_> =
        report.capacity.iter().filter(|(_, capacity)| capacity.pps.max > 0.0).collect();
    let series = (0..).zip(&found).map(|(at, (system, capacity))| Series {
        name: system.name().into(),
        class: system.name().into(),
        values: (0..found.len()).map(|place| (place == at).then_some(capacity.pps)).collect(),
    });
    (!found.is_empty()).then(|| {
        Plot {
            title: "Highest rate without loss, one core".into(),
            unit: "packets/s".into(),
            places: found.iter().map(|(system, _)| system.name().into()).collect(),
            series: series.collect(),
            scale: Scale::Linear,
            mark: None,
        }
        .svg()
    })
}

fn ratios(report: &RelayReport, page: &mut String) {
    if report.ratios.ranges.is_empty() {
        return;
    }
    *page += "<h2>ringfarm compared</h2><p class=\"pale\">Quotients of the same round; below 1 is better for ringfarm.</p><div class=\"scroll\"><table><tr><th>quotient<th>median<th>min<th>max";
    quotients(&report.ratios.ranges, page);
    *page += "</table></div>";
}

fn tables(report: &RelayReport, page: &mut String) {
    for load in &report.workloads {
        put!(
            page,
            "<h2>{}</h2><p class=\"pale\">{}</p>",
            escape(&load.name),
            escape(&load.description)
        );
        *page += "<div class=\"scroll\"><table><tr><th>system<th>us a packet<th>min<th>max<th>threads alone<th>core busy<th>packets/s<th>lost<th>p50 us<th>p99 us<th>p99.9 us<th>content";
        for (system, row) in &load.systems {
            row_of(*system, row, page);
        }
        *page += "</table></div>";
    }
}

fn row_of(system: System, row: &Row, page: &mut String) {
    if row.rounds.is_empty() {
        put!(
            page,
            "<tr><td>{system}<td colspan=\"11\" class=\"why\">{}",
            escape(&row.why.join("; "))
        );
        return;
    }
    let cost = &row.us_per_packet;
    let content = if row.content.is_true() { "true" } else { "<span class=\"bad\">CHANGED</span>" };
    put!(
        page,
        "<tr><td>{system}<td>{:.2}<td>{:.2}<td>{:.2}<td>{:.2}<td>{:.1} %<td>{:.0}<td>{:.3} %<td>{:.0}<td>{:.0}<td>{:.0}<td>{content}",
        cost.median,
        cost.min,
        cost.max,
        row.us_per_packet_process.median,
        row.core_busy_share.median * 100.0,
        row.relayed_pps.median,
        row.loss.median * 100.0,
        row.latency_us.p50.median,
        row.latency_us.p99.median,
        row.latency_us.p999.median,
    );
    if !row.why.is_empty() {
        put!(page, "<tr><td><td colspan=\"11\" class=\"why\">{}", escape(&row.why.join("; ")));
    }
}

fn set_up(report: &RelayReport, page: &mut String) {
    if report.set_up.is_empty() {
        return;
    }
    *page += "<h2>Many sessions</h2><p class=\"pale\">A/V sessions, offer and answer over ng one after the other.</p><div class=\"scroll\"><table><tr><th>system<th>held<th>wanted<th>set-up p50 us<th>p99 us<th>last tenth p50 us<th>p99 us<th>ping p99 us<th>threads us<th>delete p99 us<th>bytes a session<th>kernel bytes<th>lost";
    for (system, set_up) in &report.set_up {
        put!(
            page,
            "<tr><td>{system}<td>{}<td>{}<td>{:.0}<td>{:.0}<td>{:.0}<td>{:.0}<td>{:.0}<td>{:.0}<td>{:.0}<td>{:.0}<td>{:.0}<td>{}",
            set_up.sessions_held,
            set_up.sessions_wanted,
            set_up.setup_us.p50,
            set_up.setup_us.p99,
            set_up.setup_us_last_tenth.p50,
            set_up.setup_us_last_tenth.p99,
            set_up.ping_us.p99,
            set_up.setup_cpu_us,
            set_up.teardown_us.p99,
            set_up.session_bytes,
            set_up.session_kernel_bytes,
            set_up.content.lost,
        );
        if !set_up.why.is_empty() {
            put!(
                page,
                "<tr><td><td colspan=\"12\" class=\"why\">{}",
                escape(&set_up.why.join("; "))
            );
        }
    }
    *page += "</table></div>";
}

fn capacity(report: &RelayReport, page: &mut String) {
    if report.capacity.is_empty() {
        return;
    }
    *page += "<h2>Highest rate without loss, and 130 % of it</h2><div class=\"scroll\"><table><tr><th>system<th>packets/s<th>min<th>max<th>lost at 130 %<th>p99 us at 130 %<th>what ended the search";
    for (system, capacity) in &report.capacity {
        let (pps, overload) = (&capacity.pps, &capacity.overload);
        put!(
            page,
            "<tr><td>{system}<td>{:.0}<td>{:.0}<td>{:.0}<td>{:.1} %<td>{:.0}<td class=\"why\">{}",
            pps.median,
            pps.min,
            pps.max,
            overload.loss.median * 100.0,
            overload.latency_us.p99.median,
            escape(&capacity.limits.join("; "))
        );
    }
    *page += "</table></div>";
}

fn method(report: &RelayReport, page: &mut String) {
    notes(&report.method.notes, page);
    *page += "<table><tr><th>system<th>version and command";
    for (system, command) in &report.commands {
        let version = report.versions.get(system).map_or("", String::as_str);
        put!(
            page,
            "<tr><td>{system}<td class=\"why\">{}<br><code>{}</code>",
            escape(version),
            escape(command)
        );
    }
    *page += "</table>";
}
