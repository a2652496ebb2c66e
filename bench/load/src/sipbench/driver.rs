//! The order of things: rounds, loads, servers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::paired;
use crate::paired::cell::Timing;
use crate::paired::report::{Method, Outcomes};
use crate::relaybench::capacity::Search;
use crate::relaybench::cpu::{Meter, Precision};
use crate::relaybench::lab::{Lab, Topology, UdpHash};
use crate::relaybench::machine;
use crate::relaybench::statistics::Range;
use crate::relaybench::stop::Stop;
use crate::sipbench::cell;
use crate::sipbench::cli::{Plan, SipArgs};
use crate::sipbench::ends::Transport;
use crate::sipbench::memory::{self, What};
use crate::sipbench::report::{
    Figures, MemoryReport, Ratios, RowReport, SIP_REPORT_VERSION, SipReport, Step,
};
use crate::sipbench::systems::{self, Needs, Programs, Server};
use crate::sipbench::workload::{Kind, Workload};

/// Searches take longer than other cells and vary less: no more rounds than this.
const LONG_ROUNDS_MAX: u32 = 3;

/// Steps of a search are no longer than this: there are many.
const STEP_MAX: Timing =
    Timing { warm_up: Duration::from_millis(2_500), measured: Duration::from_millis(2_000) };

/// Where a search starts and where it ends at the latest, in calls a second.
const SEARCH: (u32, u32) = (1_000, 60_000);
const SMOKE_SEARCH: (u32, u32) = (50, 100);

/// Up to this failed share counts as none: one call in a thousand.
const FAILED_SHARE_MAX: f64 = 1e-3;

/// Latency is told at these percentages of the highest rate.
const PERCENT: [u32; 3] = [25, 50, 75];

/// A benchmark in progress.
pub(crate) struct Driver {
    plan: Plan,
    programs: Programs,
    lab: Lab,
    stop: Stop,
    report: SipReport,
    started: Instant,
}

impl Driver {
    /// Makes the place.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn new(args: &SipArgs, plan: Plan, stop: Stop) -> Result<Driver> {
        let this = std::env::current_exe().context("the path of this program")?;
        let programs = Programs {
            ringfarm: args.run.ringfarm.clone().unwrap_or(this),
            kamailio: args.kamailio.clone(),
            kamailio_children: args.kamailio_children,
        };
        let lab = Lab::make(plan.topology, plan.cores.clone(), UdpHash::System)?;
        let precision = Meter::new(plan.cores.relay, None)?.precision;
        let row_of = |load: &Workload| RowReport {
            description: load.description(),
            kind: load.kind,
            transport: load.transport,
            per_second: load.per_second,
            systems: plan.servers.iter().map(|server| (*server, Default::default())).collect(),
        };
        let report = SipReport {
            version: SIP_REPORT_VERSION,
            complete: false,
            smoke: plan.extent.is_smoke(),
            quick: plan.extent.is_quick(),
            quiet: true,
            machine: machine::machine(&plan.cores),
            method: method(&lab, precision, &programs, plan.steps.linger),
            rounds: plan.rounds,
            seconds: plan.timing.measured.as_secs_f64(),
            warm_up_seconds: plan.timing.warm_up.as_secs_f64(),
            ratios: Ratios::default(),
            failures: 0,
            retransmissions: 0,
            misjudged: 0,
            rows: plan.workloads.iter().map(|load| (load.name.clone(), row_of(load))).collect(),
            capacity: BTreeMap::new(),
            memory: BTreeMap::new(),
            configurations: BTreeMap::new(),
            versions: plan
                .servers
                .iter()
                .map(|server| (*server, systems::version(*server, &programs)))
                .collect(),
            background_core_share: Vec::new(),
            order: Vec::new(),
            elapsed_seconds: 0.0,
        };
        Ok(Driver { plan, programs, lab, stop, report, started: Instant::now() })
    }

    /// Measures everything; ends early, with what there is, when told to.
    pub(crate) fn run(mut self) -> SipReport {
        self.rounds();
        self.capacities();
        self.memories();
        self.report.complete = !self.stop.is_set();
        if let Err(why) = self.stop.check() {
            eprintln!("ended early: {why:#}");
        }
        self.report.conclude();
        self.report.elapsed_seconds = self.started.elapsed().as_secs_f64();
        self.report
    }

    fn rounds(&mut self) {
        for round in 1..=self.plan.rounds {
            let (core, measured) = (self.plan.cores.relay, self.plan.timing.measured);
            let shares = &mut self.report.background_core_share;
            if !paired::begin_round(round, core, measured, &self.stop, shares) {
                return;
            }
            for load in self.plan.workloads.clone() {
                for server in self.plan.servers.clone() {
                    if self.stop.is_set() {
                        return;
                    }
                    self.round_of(round, &load, server);
                }
            }
        }
    }

    fn round_of(&mut self, round: u32, load: &Workload, server: Server) {
        let outcome = self.cell(round, server, load, self.plan.timing);
        let Some(report) = self.report.rows.get_mut(&load.name) else { return };
        let row = report.systems.entry(server).or_default();
        row.take(round, outcome.with_context(|| format!("round {round}")), &self.stop);
    }

    /// One cell, with its line of progress.
    fn cell(
        &mut self,
        round: u32,
        server: Server,
        load: &Workload,
        timing: Timing,
    ) -> Result<Figures> {
        let workload = load.name.clone();
        self.report.order.push(Step { round, workload, system: server });
        let outcome = self.measure(server, load, timing);
        let what = match &outcome {
            Ok(figures) => line_of(figures, load.kind),
            Err(error) => format!("{error:#}"),
        };
        self.say(round, &load.name, server, &what);
        outcome
    }

    fn measure(&mut self, server: Server, load: &Workload, timing: Timing) -> Result<Figures> {
        let mut running = self.start(server, &load.name, &load.needs())?;
        cell::measure(&self.lab, &mut running, load, timing, &self.stop)
            .map_err(|error| running.explain(error))
    }

    fn start(&mut self, server: Server, name: &str, needs: &Needs) -> Result<systems::Running> {
        let running = systems::start(server, &self.lab, &self.programs, needs)?;
        let of_load = self.report.configurations.entry(name.to_owned()).or_default();
        of_load.entry(server).or_insert_with(|| running.configuration.clone());
        Ok(running)
    }

    fn say(&self, round: u32, what: &str, server: Server, outcome: &str) {
        let seconds = self.started.elapsed().as_secs();
        let (minutes, seconds) = (seconds / 60, seconds % 60);
        eprintln!("[{minutes:02}:{seconds:02}] round {round} {what} {}: {outcome}", server.name());
    }

    fn capacities(&mut self) {
        let rounds = self.plan.rounds.min(LONG_ROUNDS_MAX);
        for transport in self.plan.capacity.clone() {
            let mut found: BTreeMap<Server, Vec<f64>> = BTreeMap::new();
            for round in 1..=rounds {
                for server in self.plan.servers.clone() {
                    let (rate, limit) = self.search(round, server, transport);
                    let of_transport =
                        self.report.capacity.entry(transport.name().into()).or_default();
                    let of_server = of_transport.entry(server).or_default();
                    of_server.limits.extend(limit.map(|limit| format!("round {round}: {limit}")));
                    found.entry(server).or_default().extend(rate.map(f64::from));
                }
            }
            for (server, rates) in found {
                let Some(range) = Range::of(rates) else { continue };
                let of_transport = self.report.capacity.entry(transport.name().into()).or_default();
                of_transport.entry(server).or_default().calls_per_second = range;
                for percent in PERCENT {
                    self.below(server, transport, range.median, percent);
                }
            }
        }
    }

    fn capacity_load(&self, transport: Transport, per_second: f64) -> Workload {
        Workload {
            name: format!("capacity_{}", transport.name()),
            kind: Kind::Call,
            transport,
            per_second,
            phones: self.plan.phones,
            connections: self.plan.connections,
        }
    }

    fn search(
        &mut self,
        round: u32,
        server: Server,
        transport: Transport,
    ) -> (Option<u32>, Option<String>) {
        let (start, most) = if self.plan.extent.is_smoke() { SMOKE_SEARCH } else { SEARCH };
        let timing = self.plan.timing.at_most(STEP_MAX);
        let stop = self.stop.clone();
        Search::within(start, most, "calls/s").run(&stop, |rate| {
            let load = self.capacity_load(transport, f64::from(rate));
            let outcome = self.cell(round, server, &load, timing);
            outcome
                .map_or_else(|error| Some(format!("{error:#}")), |figures| why_too_much(&figures))
        })
    }

    /// Latency at a share of the highest rate.
    fn below(&mut self, server: Server, transport: Transport, highest: f64, percent: u32) {
        if self.stop.is_set() {
            return;
        }
        let mut load = self.capacity_load(transport, highest * f64::from(percent) / 100.0);
        load.name = format!("{}_at_{percent}", transport.name());
        let outcome = self.cell(1, server, &load, self.plan.timing);
        let of_transport = self.report.capacity.entry(transport.name().into()).or_default();
        let row = of_transport.entry(server).or_default().at_percent.entry(percent).or_default();
        match outcome {
            Ok(figures) => row.add(1, figures),
            Err(error) => row.note(format!("{error:#}")),
        }
    }

    fn memories(&mut self) {
        for what in self.plan.memory.clone() {
            for server in self.plan.servers.clone() {
                if self.stop.is_set() {
                    return;
                }
                let outcome = self.memory(what, server);
                let line = match &outcome {
                    Ok(report) => format!("{:.0} bytes each", report.bytes_each),
                    Err(error) => format!("{error:#}"),
                };
                let workload = what.name().to_owned();
                self.say(1, &workload, server, &line);
                self.report.order.push(Step { round: 1, workload, system: server });
                let failed = |error: anyhow::Error| MemoryReport {
                    why: vec![format!("{error:#}")],
                    ..MemoryReport::default()
                };
                let of_what = self.report.memory.entry(what.name().into()).or_default();
                of_what.insert(server, outcome.unwrap_or_else(failed));
            }
        }
    }

    fn memory(&mut self, what: What, server: Server) -> Result<MemoryReport> {
        let mut running = self.start(server, what.name(), &what.needs())?;
        memory::measure(&self.lab, &mut running, what, self.plan.steps, &self.stop)
            .map_err(|error| running.explain(error))
    }
}

/// Why the rate of these figures is higher than the highest, if it is.
pub(crate) fn why_too_much(figures: &Figures) -> Option<String> {
    if let Some(why) = figures.generator.saturated_because.first() {
        return Some(format!("the generator was at its limit: {why}"));
    }
    let busy = figures.core.busy_share * 100.0;
    if figures.failed_share() >= FAILED_SHARE_MAX {
        let failed = figures.failed_share() * 100.0;
        return Some(format!("{failed:.2} % failed, core busy {busy:.0} %"));
    }
    let again = figures.retransmissions;
    (again > 0).then(|| format!("{again} retransmissions, core busy {busy:.0} %"))
}

fn line_of(figures: &Figures, kind: Kind) -> String {
    let mut line = format!(
        "{:.0} us/{} (processes {:.0}) at {:.0}/s, core {:.0} % busy, {} failed, {} retransmissions, generator {:.0} % busy",
        figures.cpu_us_per_call,
        kind.unit(),
        figures.cpu_us_per_call_processes,
        figures.completed_per_second,
        figures.core.busy_share * 100.0,
        figures.failures,
        figures.retransmissions,
        figures.generator.busy_share * 100.0,
    );
    for (interval, times) in &figures.latency_us {
        line += &format!(", {interval} p50 {:.0} p99 {:.0} us", times.p50, times.p99);
    }
    for (reason, count) in &figures.reasons {
        line += &format!("; {count} x {reason}");
    }
    for why in &figures.generator.saturated_because {
        line += &format!("; generator at its limit: {why}");
    }
    line
}

fn method(lab: &Lab, precision: Precision, programs: &Programs, linger: Duration) -> Method {
    let server = lab.cores.relay;
    let mut notes = Vec::new();
    notes.push(match lab.topology() {
        Topology::Namespaces => {
            "Namespaces of the callers, the server and the callees, joined by veth. Receive packet steering puts the receive processing of the server's devices on the server's core and that of the phones' devices on the generator's cores.".to_owned()
        }
        Topology::Loopback | Topology::Auto => {
            "Plain loopback: the receive processing of what the generator sends runs on the generator's core, and that of what the server sends on the server's core. Quotients compare; absolute costs are not those of a host with network cards.".to_owned()
        }
    });
    notes.extend(
        lab.fallback
            .iter()
            .map(|why| format!("Namespaces could not be made, so loopback was taken: {why}")),
    );
    if lab.cores.generator.contains(&server) {
        notes.push("Generator and server SHARE a core: the figures mean nothing.".into());
    }
    notes.push(format!(
        "cpu_us_per_call is the busy time of core {server} (wall-clock time less the kernel's idle time, which leaves out interrupts and softirqs), over the calls or registrations that were completed in that time. All processes of a server are pinned to that core. It holds everything that the server causes there, softirqs included, and whatever else ran there: foreign_share is the part that is known to be of others."
    ));
    notes.push(
        match precision {
            Precision::Nanoseconds => "The idle time is that of /proc/timer_list, in nanoseconds.",
            Precision::Ticks => "The idle time is that of /proc/stat, in ticks of 10 ms (/proc/timer_list cannot be read).",
        }
        .into(),
    );
    notes.push(format!(
        "One thread of this program is all callers and all callees. Calls begin at a constant rate by the clock, whatever becomes of those before (no coordinated omission), and latency counts from when a call was due. The callee rings at once and answers {} ms later, which invite_200 leaves out; the caller hangs up {} ms after that. Both follow Record-Route and Contact as phones do (RFC 3261 12). Descriptions are compared byte by byte in every call, and one message in 997 is read and judged by another parser (rsip).",
        cell::RING.as_millis(),
        cell::HOLD.as_millis()
    ));
    notes.push("Callees are registered phones; over TCP and TLS they are reached on the connections that they have registered on. Calls need no authentication; each REGISTER of the load `register` is challenged with a fresh nonce, those of `refresh` use one that is known, with its count (qop=auth, MD5).".into());
    notes.push("Retransmissions are what either end sent again (UDP: T1 = 500 ms) and what came to either end more than once.".into());
    notes.push(format!(
        "Kamailio has {} worker process(es) for UDP and as many for TCP, on the one core; it answers REGISTER without a transaction and keeps its locations in memory. Ringfarm has media.relay = \"never\" and keeps track of calls in any case. For live dialogs, Kamailio's module dialog is loaded, without it nothing of a call is left once it is up.",
        programs.kamailio_children
    ));
    notes.push(format!("Memory is the proportional set size of all processes of a server (/proc/PID/smaps_rollup, shared memory counted once): of contacts, with them less that of the server that has just started; of dialogs, what it grows by from one step of so many dialogs to the last, each step made at the same rate and followed by {:.0} s of rest, so that what transactions took and what allocators keep of that is in both. Contacts come over TCP on 10 connections, dialogs over UDP at 500 a second. shared_bytes_each is what Kamailio itself says of its shared memory (core.shmmem).", linger.as_secs_f64()));
    Method { topology: lab.topology(), notes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_too_high_with_failures_with_retransmissions_or_for_the_generator() {
        let good = Figures { started: 10_000, failures: 9, ..Figures::default() };
        assert_eq!(why_too_much(&good), None);
        let failing = Figures { failures: 10, ..good.clone() };
        assert!(why_too_much(&failing).unwrap().contains("failed"));
        let again = Figures { retransmissions: 1, ..good.clone() };
        assert!(why_too_much(&again).unwrap().contains("1 retransmissions"));
        let mut late = good;
        late.generator.saturated_because.push("late".into());
        assert!(why_too_much(&late).unwrap().contains("generator"));
    }
}
