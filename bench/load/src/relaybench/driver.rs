//! The order of things: rounds, loads, systems.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::paired;
use crate::paired::cell::Timing;
use crate::paired::report::Outcomes;
use crate::relaybench::capacity::{START_PPS, STREAMS, Search};
use crate::relaybench::cell;
use crate::relaybench::cli::{Plan, RelayArgs};
use crate::relaybench::cpu::Meter;
use crate::relaybench::lab::{Lab, Topology, UdpHash};
use crate::relaybench::report::{
    Figures, RELAY_REPORT_VERSION, Ratios, RelayReport, SetUpReport, Step, WorkloadReport,
};
use crate::relaybench::statistics::Range;
use crate::relaybench::stop::Stop;
use crate::relaybench::systems::{self, Programs, System};
use crate::relaybench::workload::{Purpose, Workload};
use crate::relaybench::{machine, setup};

/// Set-up and capacity take longer than other cells and vary less: no more rounds than this.
const LONG_ROUNDS_MAX: u32 = 3;

/// Steps of a search for the highest rate are no longer than this: there are many.
const STEP_MAX: Timing =
    Timing { warm_up: Duration::from_millis(500), measured: Duration::from_millis(1_500) };

/// How much more than its highest rate an overloaded system is sent, in percent.
const OVERLOAD_PERCENT: u32 = 130;

/// What a search or an overload must be, at least, to be a load at all.
const PPS_MIN: u32 = 1_000;

/// A benchmark in progress.
pub(crate) struct Driver {
    plan: Plan,
    programs: Programs,
    lab: Lab,
    /// The same with the system's own table of UDP sockets, for the loads that ask for it.
    system_hash_lab: Option<Lab>,
    stop: Stop,
    report: RelayReport,
    started: Instant,
    cells_done: u32,
}

impl Driver {
    /// Makes the place.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn new(args: &RelayArgs, mut plan: Plan, stop: Stop) -> Result<Driver> {
        let this = std::env::current_exe().context("the path of this program")?;
        let ringfarm = args.run.ringfarm.clone().unwrap_or_else(|| this.clone());
        let programs = Programs { this, ringfarm, rtpengine: args.rtpengine.clone() };
        let lab = Lab::make(plan.topology, plan.cores.clone(), plan.udp_hash)?;
        let is_apart = |load: &Workload| load.purpose == Purpose::SystemHash;
        if lab.topology() == Topology::Loopback {
            // Everything has the system's table there.
            plan.workloads.retain(|load| !is_apart(load));
        }
        let mut system_hash_lab = None;
        if plan.workloads.iter().any(is_apart) {
            let made = Lab::make(lab.topology(), plan.cores.clone(), UdpHash::System)?;
            system_hash_lab = Some(made);
        }
        let precision = Meter::new(plan.cores.relay, None)?.precision;
        let report = RelayReport {
            version: RELAY_REPORT_VERSION,
            complete: false,
            quick: plan.quick,
            quiet: true,
            machine: machine::machine(&plan.cores),
            method: machine::method(&lab, system_hash_lab.as_ref(), precision),
            rounds: plan.rounds,
            seconds: plan.timing.measured.as_secs_f64(),
            commands: BTreeMap::new(),
            versions: versions(&plan, &programs),
            background_core_share: Vec::new(),
            ratios: Ratios::default(),
            setup_us: None,
            ping_us: None,
            session_bytes: None,
            workloads: plan.workloads.iter().map(|load| self::report_of(load, &plan)).collect(),
            set_up: BTreeMap::new(),
            capacity: BTreeMap::new(),
            order: Vec::new(),
            elapsed_seconds: 0.0,
        };
        let started = Instant::now();
        Ok(Driver { plan, programs, lab, system_hash_lab, stop, report, started, cells_done: 0 })
    }

    /// Measures everything; ends early, with what there is, when told to.
    pub(crate) fn run(mut self) -> Result<RelayReport> {
        for note in self.report.method.notes.iter().filter(|note| note.contains("SHARE")) {
            eprintln!("{note}");
        }
        self.rounds();
        self.set_ups();
        self.capacities();
        let rounds = self.report.background_core_share.len();
        self.report.complete = !self.stop.is_set() && rounds == self.plan.rounds as usize;
        if let Err(why) = self.stop.check() {
            eprintln!("ended early: {why:#}");
        }
        self.report.conclude();
        self.report.elapsed_seconds = self.started.elapsed().as_secs_f64();
        Ok(self.report)
    }

    fn rounds(&mut self) {
        for round in 1..=self.plan.rounds {
            let (core, measured) = (self.plan.cores.relay, self.plan.timing.measured);
            let shares = &mut self.report.background_core_share;
            if !paired::begin_round(round, core, measured, &self.stop, shares) {
                return;
            }
            for at in 0..self.plan.workloads.len() {
                for system in self.plan.systems.clone() {
                    if self.stop.is_set() {
                        return;
                    }
                    self.round_of(round, at, system);
                }
            }
        }
    }

    fn round_of(&mut self, round: u32, at: usize, system: System) {
        let load = self.plan.workloads[at];
        let failed_before = |row: &super::report::Row| row.rounds.is_empty() && !row.why.is_empty();
        if self.report.workloads[at].systems.get(&system).is_some_and(failed_before) {
            return;
        }
        let outcome = self.cell(round, system, &load, self.plan.timing);
        let row = self.report.workloads[at].systems.entry(system).or_default();
        row.take(round, outcome, &self.stop);
    }

    /// One cell, with its line of progress.
    fn cell(
        &mut self,
        round: u32,
        system: System,
        load: &Workload,
        timing: Timing,
    ) -> Result<Figures> {
        self.report.order.push(Step { round, workload: load.name(), system });
        let outcome = self.measure(system, load, timing);
        self.cells_done += 1;
        let what = match &outcome {
            Ok(figures) => line_of(figures),
            Err(error) => format!("{error:#}"),
        };
        self.say(round, &load.name(), system, &what);
        outcome
    }

    fn measure(&mut self, system: System, load: &Workload, timing: Timing) -> Result<Figures> {
        let apart = self.system_hash_lab.as_ref().filter(|_| load.purpose == Purpose::SystemHash);
        let lab = apart.unwrap_or(&self.lab);
        let mut running = systems::start(system, lab, &self.programs)?;
        self.report.commands.entry(system).or_insert_with(|| running.command.clone());
        cell::measure(lab, &mut running, load, timing, &self.stop)
    }

    fn say(&self, round: u32, what: &str, system: System, outcome: &str) {
        let total = self.plan.rounds * (self.plan.workloads.len() * self.plan.systems.len()) as u32;
        let done = self.cells_done;
        let seconds = self.started.elapsed().as_secs();
        let (minutes, seconds) = (seconds / 60, seconds % 60);
        let place = if done <= total { format!("{done}/{total}") } else { "more".into() };
        eprintln!("[{minutes:02}:{seconds:02} {place}] round {round} {what} {system}: {outcome}");
    }

    fn set_ups(&mut self) {
        let Some(wanted) = self.plan.live_sessions else { return };
        let mut found: BTreeMap<System, Vec<SetUpReport>> = BTreeMap::new();
        for round in 1..=self.plan.rounds.min(LONG_ROUNDS_MAX) {
            for system in self.plan.systems.clone() {
                if self.stop.is_set() || !system.speaks_ng() {
                    continue;
                }
                let outcome = self.set_up(system, wanted);
                let what = match &outcome {
                    Ok(of_round) => format!(
                        "{} sessions, last tenth p99 {:.0} us, {:.0} bytes each",
                        of_round.sessions_held,
                        of_round.setup_us_last_tenth.p99,
                        of_round.session_bytes
                    ),
                    Err(error) => format!("{error:#}"),
                };
                self.report.order.push(Step { round, workload: "set-up".into(), system });
                self.say(round, "set-up", system, &what);
                let failed = |error: anyhow::Error| SetUpReport {
                    sessions_wanted: wanted,
                    why: vec![format!("{error:#}")],
                    ..SetUpReport::default()
                };
                if !self.stop.is_set() {
                    found.entry(system).or_default().push(outcome.unwrap_or_else(failed));
                }
            }
        }
        self.report.set_up =
            found.into_iter().filter_map(|(system, all)| Some((system, middle(all)?))).collect();
    }

    fn set_up(&mut self, system: System, wanted: u32) -> Result<SetUpReport> {
        let mut running = systems::start(system, &self.lab, &self.programs)?;
        self.report.commands.entry(system).or_insert_with(|| running.command.clone());
        setup::measure(&self.lab, &mut running, wanted, &self.stop)
    }

    fn capacities(&mut self) {
        if !self.plan.capacity {
            return;
        }
        let rounds = self.plan.rounds.min(LONG_ROUNDS_MAX);
        let mut found: BTreeMap<System, Vec<f64>> = BTreeMap::new();
        for round in 1..=rounds {
            for system in self.plan.systems.clone() {
                let (pps, limit) = self.search(round, system);
                let of_system = self.report.capacity.entry(system).or_default();
                of_system.limits.extend(limit.map(|limit| format!("round {round}: {limit}")));
                found.entry(system).or_default().extend(pps.map(f64::from));
            }
        }
        for (system, pps) in found {
            let of_system = self.report.capacity.entry(system).or_default();
            of_system.pps = Range::of(pps).unwrap_or_default();
        }
        for round in 1..=rounds {
            for system in self.plan.systems.clone() {
                self.overload(round, system);
            }
        }
    }

    fn search(&mut self, round: u32, system: System) -> (Option<u32>, Option<String>) {
        let mut search = Search::new();
        while let Some(pps) = search.next_pps() {
            if self.stop.is_set() {
                return (None, None);
            }
            let load = Workload::at_rate(self.capacity_streams(), pps, Purpose::Capacity);
            let outcome = self.cell(round, system, &load, self.plan.timing.at_most(STEP_MAX));
            if let (Err(error), START_PPS) = (&outcome, pps) {
                // Nothing has worked yet: it is not the rate.
                return (None, Some(format!("{error:#}")));
            }
            search.note(pps, outcome.as_ref().map_err(|error| format!("{error:#}")));
        }
        search.result()
    }

    /// Sends more than the system was found to hold; nothing if the generator was what gave up.
    fn overload(&mut self, round: u32, system: System) {
        let Some(of_system) = self.report.capacity.get(&system) else { return };
        let pps = (of_system.pps.median as u32) / 100 * OVERLOAD_PERCENT;
        if self.stop.is_set() || pps < PPS_MIN {
            return;
        }
        let load = Workload::at_rate(self.capacity_streams(), pps, Purpose::Overload);
        let outcome = self.cell(round, system, &load, self.plan.timing);
        let row = &mut self.report.capacity.entry(system).or_default().overload;
        row.take(round, outcome, &self.stop);
    }

    const fn capacity_streams(&self) -> u32 {
        if self.plan.quick { 20 } else { STREAMS }
    }
}

fn report_of(load: &Workload, plan: &Plan) -> WorkloadReport {
    WorkloadReport {
        name: load.name(),
        description: load.description(),
        streams: load.streams(),
        offered_pps: load.offered_pps(),
        stretched: load.is_stretched(),
        systems: plan.systems.iter().map(|system| (*system, Default::default())).collect(),
    }
}

fn versions(plan: &Plan, programs: &Programs) -> BTreeMap<System, String> {
    let version = |system: &System| match system {
        System::Ringfarm => machine::version(&programs.ringfarm),
        System::Epoll => machine::version(&programs.this),
        System::Rtpengine => machine::version(&programs.rtpengine),
        System::Forward => {
            let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
            format!("Linux {}", release.trim())
        }
    };
    plan.systems.iter().map(|system| (*system, version(system))).collect()
}

/// The round whose set-up time is in the middle.
fn middle(mut rounds: Vec<SetUpReport>) -> Option<SetUpReport> {
    rounds.sort_by(|a, b| {
        // Rounds without sessions last.
        let key = |of: &SetUpReport| (of.sessions_held == 0, of.setup_us_last_tenth.p99);
        let ((a_failed, a), (b_failed, b)) = (key(a), key(b));
        a_failed.cmp(&b_failed).then(a.total_cmp(&b))
    });
    let middle = rounds.len().saturating_sub(1) / 2;
    rounds.into_iter().nth(middle)
}

fn line_of(figures: &Figures) -> String {
    let Figures { us_per_packet, loss, latency_us, core, relayed_pps, .. } = figures;
    let mut line = format!(
        "{us_per_packet:.2} us/packet at {relayed_pps:.0}/s, core {:.0} % busy, lost {:.3} %, latency p50 {:.0} p99 {:.0} us, set-up p50 {:.0} us",
        core.busy_share * 100.0,
        loss * 100.0,
        latency_us.p50,
        latency_us.p99,
        figures.setup_us.p50,
    );
    if !figures.content.is_true() {
        line += ", CONTENT CHANGED";
    }
    for why in &figures.generator.saturated_because {
        line += &format!("; generator at its limit: {why}");
    }
    line
}
