//! The order of things: rounds of all systems, then the highest rates.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::farmbench::cli::{FarmArgs, Plan};
use crate::farmbench::members::{self, Programs};
use crate::farmbench::report::{FARM_REPORT_VERSION, FarmReport, Ratios, Step, System};
use crate::paired;
use crate::paired::cell::Timing;
use crate::paired::report::{Method, Outcomes};
use crate::relaybench::capacity::Search;
use crate::relaybench::lab::{Lab, Topology, UdpHash};
use crate::relaybench::machine;
use crate::relaybench::statistics::Range;
use crate::relaybench::stop::Stop;
use crate::sipbench::driver::why_too_much;
use crate::sipbench::report::Figures;
use crate::sipbench::workload::Workload;
use crate::sipbench::{Server, cell, systems};

/// Searches take long and vary little: no more rounds than this.
const SEARCH_ROUNDS_MAX: u32 = 3;
/// Their steps are no longer than this.
const STEP_MAX: Timing =
    Timing { warm_up: Duration::from_millis(2_500), measured: Duration::from_millis(2_000) };
/// Where a search starts and where it ends at the latest, in calls a second.
const SEARCH: (u32, u32) = (500, 60_000);

/// A benchmark in progress.
pub(crate) struct Driver {
    plan: Plan,
    programs: Programs,
    lab: Lab,
    stop: Stop,
    report: FarmReport,
    started: Instant,
}

impl Driver {
    /// Makes the place.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn new(args: &FarmArgs, plan: Plan, stop: Stop) -> Result<Driver> {
        let this = std::env::current_exe().context("the path of this program")?;
        let ringfarm = args.run.ringfarm.clone().unwrap_or(this);
        let program = systems::version(
            Server::Ringfarm,
            &systems::Programs {
                ringfarm: ringfarm.clone(),
                kamailio: Default::default(),
                kamailio_children: 0,
            },
        );
        let programs = Programs { ringfarm, nats_server: args.nats_server.clone() };
        let lab = Lab::make(plan.topology, plan.cores.clone(), UdpHash::System)?;
        let report = FarmReport {
            version: FARM_REPORT_VERSION,
            complete: false,
            smoke: plan.extent.is_smoke(),
            quick: plan.extent.is_quick(),
            quiet: true,
            machine: machine::machine(&plan.cores),
            method: method(&lab),
            rounds: plan.rounds,
            seconds: plan.timing.measured.as_secs_f64(),
            warm_up_seconds: plan.timing.warm_up.as_secs_f64(),
            settle_seconds: plan.settle.as_secs_f64(),
            transport: plan.load.transport.name().to_owned(),
            per_second: plan.load.per_second,
            ratios: Ratios::default(),
            latency_added_us: BTreeMap::new(),
            failures: 0,
            retransmissions: 0,
            misjudged: 0,
            systems: plan.systems.iter().map(|system| (*system, Default::default())).collect(),
            capacity: BTreeMap::new(),
            configurations: BTreeMap::new(),
            program,
            background_core_share: Vec::new(),
            order: Vec::new(),
            elapsed_seconds: 0.0,
        };
        Ok(Driver { plan, programs, lab, stop, report, started: Instant::now() })
    }

    /// Measures everything; ends early, with what there is, when told to.
    pub(crate) fn run(mut self) -> FarmReport {
        self.rounds();
        if self.plan.capacity {
            self.capacities();
        }
        let measured = |row: &crate::sipbench::report::Row| !row.rounds.is_empty();
        self.report.complete = !self.stop.is_set() && self.report.systems.values().all(measured);
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
            let mut systems = self.plan.systems.clone();
            // Who comes first takes turns, so that what drifts within a round favours nobody.
            let turn = round as usize % systems.len();
            systems.rotate_left(turn);
            for system in systems {
                if self.stop.is_set() {
                    return;
                }
                let per_second = self.plan.load.per_second * system.share();
                let load = Workload { per_second, ..self.plan.load.clone() };
                let outcome = self.cell(round, system, &load, self.plan.timing);
                let row = self.report.systems.entry(system).or_default();
                row.take(round, outcome.with_context(|| format!("round {round}")), &self.stop);
            }
        }
    }

    /// One cell, with its line of progress.
    fn cell(
        &mut self,
        round: u32,
        system: System,
        load: &Workload,
        timing: Timing,
    ) -> Result<Figures> {
        self.report.order.push(Step { round, per_second: load.per_second, system });
        let outcome = self.measure(system, load, timing);
        let seconds = self.started.elapsed().as_secs();
        let what = match &outcome {
            Ok(figures) => line_of(figures),
            Err(error) => format!("{error:#}"),
        };
        let (minutes, seconds, name) = (seconds / 60, seconds % 60, system.name());
        eprintln!("[{minutes:02}:{seconds:02}] round {round} {name}: {what}");
        outcome
    }

    fn measure(&mut self, system: System, load: &Workload, timing: Timing) -> Result<Figures> {
        let mut started = members::start(system, &self.lab, &self.programs, &self.stop)?;
        if system.members() > 1 {
            self.stop.sleep(self.plan.settle)?;
        }
        let running = &mut started.running;
        let configurations = &mut self.report.configurations;
        configurations.entry(system).or_insert_with(|| running.configuration.clone());
        cell::measure(&self.lab, running, load, timing, &self.stop)
            .map_err(|error| running.explain(error))
    }

    fn capacities(&mut self) {
        let mut found: BTreeMap<System, Vec<f64>> = BTreeMap::new();
        for round in 1..=self.plan.rounds.min(SEARCH_ROUNDS_MAX) {
            let whole = |system: &System| system.share() >= 1.0;
            for system in self.plan.systems.clone().into_iter().filter(whole) {
                let (rate, limit) = self.search(round, system);
                let of_system = self.report.capacity.entry(system).or_default();
                of_system.limits.extend(limit.map(|limit| format!("round {round}: {limit}")));
                found.entry(system).or_default().extend(rate.map(f64::from));
            }
        }
        for (system, rates) in found {
            if let Some(range) = Range::of(rates) {
                self.report.capacity.entry(system).or_default().calls_per_second = range;
            }
        }
    }

    fn search(&mut self, round: u32, system: System) -> (Option<u32>, Option<String>) {
        let timing = self.plan.timing.at_most(STEP_MAX);
        let stop = self.stop.clone();
        Search::within(SEARCH.0, SEARCH.1, "calls/s").run(&stop, |rate| {
            let load = Workload { per_second: f64::from(rate), ..self.plan.load.clone() };
            let outcome = self.cell(round, system, &load, timing);
            outcome
                .map_or_else(|error| Some(format!("{error:#}")), |figures| why_too_much(&figures))
        })
    }
}

fn line_of(figures: &Figures) -> String {
    let mut line = format!(
        "{:.0} us/call (processes {:.0}) at {:.0}/s, core {:.0} % busy, {} failed, {} retransmissions",
        figures.cpu_us_per_call,
        figures.cpu_us_per_call_processes,
        figures.completed_per_second,
        figures.core.busy_share * 100.0,
        figures.failures,
        figures.retransmissions,
    );
    for (interval, times) in &figures.latency_us {
        line += &format!(", {interval} p50 {:.0} p99 {:.0} us", times.p50, times.p99);
    }
    for (reason, count) in &figures.reasons {
        line += &format!("; {count} x {reason}");
    }
    line
}

fn method(lab: &Lab) -> Method {
    let core = lab.cores.relay;
    let mut notes = vec![
        format!("All members run on core {core}, as the single node does: cpu_us_per_call is the busy time of that core, softirqs included, over the calls that were completed in that time, whichever members they passed. So calls per second are those of one core, shared by so many members."),
        "Over UDP the generator sends each datagram to a member that it picks at random, whatever its Route or Via names: with three members two thirds reach one that does not own the transaction. Over TCP connections are spread over the members, and messages keep to them.".to_owned(),
        "Members are joined by their mesh (TLS 1.3) over loopback, and agree by one nats-server, which runs on the generator's core. The farm of one member has the embedded engine.".to_owned(),
        "latency_added_us is the farm's less that of the single node in the same round. On the way of a BYE and its 200 each of the two datagrams may need an inner hop; of an INVITE and its 180 each of two.".to_owned(),
    ];
    if lab.cores.generator.contains(&core) {
        notes.push("Generator and members SHARE a core: the figures mean nothing.".into());
    }
    if lab.topology() != Topology::Namespaces {
        notes.push("Plain loopback: what the generator sends is received on its own core.".into());
    }
    notes.extend(
        lab.fallback
            .iter()
            .map(|why| format!("Namespaces could not be made, so loopback was taken: {why}")),
    );
    Method { topology: lab.topology(), notes }
}
