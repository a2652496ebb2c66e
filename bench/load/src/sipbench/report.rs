//! The outcome of a benchmark of SIP servers.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

pub use crate::paired::cell::{CoreFigures, GeneratorFigures};
pub use crate::paired::report::{LatencyRange, Machine, Method, Rounds};
use crate::paired::report::{Outcomes, note, note_round};
use crate::relaybench::statistics::{Range, paired};
use crate::report::{Quantiles, Reasons};
use crate::sipbench::ends::Transport;
use crate::sipbench::systems::Server;
use crate::sipbench::workload::Kind;

/// The version of the report's shape; grows when a field changes its meaning.
pub const SIP_REPORT_VERSION: u32 = 1;

/// What one server did with one load in one round.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Busy time of the server's core for each call (or registration) that was completed, softirqs
    /// included.
    pub cpu_us_per_call: f64,
    /// The same for each transaction, end to end: a call has two, INVITE and BYE.
    pub cpu_us_per_transaction: f64,
    /// The part that the kernel charged to the server's processes.
    pub cpu_us_per_call_processes: f64,
    /// How the server's core fared.
    #[serde(flatten)]
    pub core: CoreFigures,
    /// What was asked for.
    pub offered_per_second: f64,
    /// What was completed while it was measured.
    pub completed_per_second: f64,
    /// Calls or registrations that began, warm-up included.
    pub started: u64,
    /// Of them, completed.
    pub completed: u64,
    /// Of them, failed.
    pub failures: u64,
    /// Messages that were sent once more by either end, or came once more; warm-up not included.
    pub retransmissions: u64,
    /// Registrations that were challenged.
    pub challenged: u64,
    /// Messages that the judge looked at.
    pub judged: u64,
    /// Of them, wrong.
    pub misjudged: u64,
    /// Why calls failed, and what the judge said.
    pub reasons: Reasons,
    /// Microseconds, by interval: `invite_180`, `invite_200`, `bye_200`, `register_200`.
    pub latency_us: BTreeMap<String, Quantiles>,
    /// How the generator fared.
    pub generator: GeneratorFigures,
}

impl Figures {
    /// The failed share of what began.
    pub(crate) fn failed_share(&self) -> f64 {
        self.failures as f64 / self.started.max(1) as f64
    }
}

/// One server under one load, all rounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Row {
    /// Busy time of the server's core for each call or registration, softirqs included.
    pub cpu_us_per_call: Range,
    /// For each transaction.
    pub cpu_us_per_transaction: Range,
    /// The part that the kernel charged to the server's processes.
    pub cpu_us_per_call_processes: Range,
    /// Share of the time that the server's core was busy.
    pub core_busy_share: Range,
    /// Completed a second.
    pub completed_per_second: Range,
    /// Sum over the rounds.
    pub started: u64,
    /// Sum over the rounds.
    pub failures: u64,
    /// Sum over the rounds.
    pub retransmissions: u64,
    /// Sum over the rounds: messages that the judge looked at, and those it found wrong.
    pub judged: u64,
    /// See [`Row::judged`].
    pub misjudged: u64,
    /// By interval.
    pub latency_us: BTreeMap<String, LatencyRange>,
    /// Busy share of the generator's thread.
    pub generator_busy_share: Range,
    /// Why there are no figures, or not those that were asked for.
    pub why: Vec<String>,
    /// The rounds, by number.
    pub rounds: Rounds<Figures>,
}

impl Outcomes for Row {
    type Figures = Figures;

    fn add(&mut self, round: u32, figures: Figures) {
        self.started += figures.started;
        self.failures += figures.failures;
        self.retransmissions += figures.retransmissions;
        self.judged += figures.judged;
        self.misjudged += figures.misjudged;
        note_round(&mut self.why, round, "server", &figures.core, &figures.generator);
        for (reason, count) in &figures.reasons {
            self.note(format!("round {round}: {reason}: {count}"));
        }
        self.rounds.insert(round, figures);
        self.summarize();
    }

    fn note(&mut self, why: String) {
        note(&mut self.why, why);
    }
}

impl Row {
    fn summarize(&mut self) {
        let rounds = &self.rounds;
        let intervals = rounds.values().flat_map(|figures| figures.latency_us.keys());
        let intervals: BTreeSet<String> = intervals.cloned().collect();
        let latency = |name: String| {
            let times = rounds.values().filter_map(|figures| figures.latency_us.get(&name));
            let range = LatencyRange::of(times);
            (name, range)
        };
        self.latency_us = intervals.into_iter().map(latency).collect();
        self.cpu_us_per_call = rounds.range(|figures| figures.cpu_us_per_call);
        self.cpu_us_per_transaction = rounds.range(|figures| figures.cpu_us_per_transaction);
        self.cpu_us_per_call_processes = rounds.range(|figures| figures.cpu_us_per_call_processes);
        self.core_busy_share = rounds.range(|figures| figures.core.busy_share);
        self.completed_per_second = rounds.range(|figures| figures.completed_per_second);
        self.generator_busy_share = rounds.range(|figures| figures.generator.busy_share);
    }
}

/// One load and what the servers did with it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RowReport {
    /// In words.
    pub description: String,
    /// What is repeated.
    pub kind: Kind,
    /// What it travels on.
    pub transport: Transport,
    /// How often a second.
    pub per_second: f64,
    /// By server.
    pub systems: BTreeMap<Server, Row>,
}

/// The highest rate without failures worth the name and without retransmissions.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CapacityReport {
    /// Calls a second, over the rounds.
    pub calls_per_second: Range,
    /// What ended the search, by round.
    pub limits: Vec<String>,
    /// At 25, 50 and 75 percent of it.
    pub at_percent: BTreeMap<u32, Row>,
}

/// Memory of one server with so many of something.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MemoryReport {
    /// Contacts or dialogs that are there.
    pub count: u32,
    /// Memory of all processes before, in bytes: proportional set size, what is shared counted once.
    pub before_bytes: u64,
    /// With them.
    pub with_bytes: u64,
    /// The difference for each.
    pub bytes_each: f64,
    /// What the server says itself that it uses of its shared memory, the difference for each
    /// (Kamailio alone).
    pub shared_bytes_each: Option<f64>,
    /// Failures on the way there.
    pub failures: u64,
    /// Why there are no figures.
    pub why: Vec<String>,
}

/// The quotients that the targets are stated in: ringfarm to Kamailio, of the same round, medians.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Ratios {
    /// Processor time of a call, by load: `udp`, `tcp`, `tls`; of a registration: `register`.
    pub cpu_vs_kamailio: BTreeMap<String, f64>,
    /// The same of the time that the kernel charged to the servers' processes: without what arrives
    /// while the core is idle, and without other programs.
    pub processes_vs_kamailio: BTreeMap<String, f64>,
    /// Memory of a registered contact.
    pub memory_contacts: Option<f64>,
    /// Memory of a live dialog.
    pub memory_dialogs: Option<f64>,
    /// Highest rate of calls, by transport.
    pub highest_rate: BTreeMap<String, f64>,
    /// Minimum, median and maximum of `cpu_vs_kamailio` and `processes_vs_kamailio`.
    pub ranges: BTreeMap<String, Range>,
}

/// One step, in the order in which they were made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// The round, from 1.
    pub round: u32,
    /// The load.
    pub workload: String,
    /// The server.
    pub system: Server,
}

/// The outcome.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SipReport {
    /// See [`SIP_REPORT_VERSION`].
    pub version: u32,
    /// Nothing was left out.
    pub complete: bool,
    /// Everything was tiny: whether it works, not how fast.
    pub smoke: bool,
    /// Short rounds after a short warm-up, fewer loads, contacts and dialogs.
    pub quick: bool,
    /// No other program took enough to matter, in any round.
    pub quiet: bool,
    /// What was measured on.
    pub machine: Machine,
    /// How.
    pub method: Method,
    /// Rounds of each load.
    pub rounds: u32,
    /// Measured seconds of each.
    pub seconds: f64,
    /// Seconds of each before that.
    pub warm_up_seconds: f64,
    /// What is compared.
    pub ratios: Ratios,
    /// Of ringfarm, over all loads at a fixed rate.
    pub failures: u64,
    /// Of ringfarm, over all loads at a fixed rate: by either end, seen or sent.
    pub retransmissions: u64,
    /// Messages that ringfarm relayed and the judge found wrong.
    pub misjudged: u64,
    /// Loads at a fixed rate, by name.
    pub rows: BTreeMap<String, RowReport>,
    /// By transport and server.
    pub capacity: BTreeMap<String, BTreeMap<Server, CapacityReport>>,
    /// `contacts` and `dialogs`, by server.
    pub memory: BTreeMap<String, BTreeMap<Server, MemoryReport>>,
    /// How servers were started and configured, by load and server.
    pub configurations: BTreeMap<String, BTreeMap<Server, String>>,
    /// What the programs say of themselves.
    pub versions: BTreeMap<Server, String>,
    /// Busy share of the server's core before each round, without a server.
    pub background_core_share: Vec<f64>,
    /// Everything that was measured, in its order.
    pub order: Vec<Step>,
    /// The whole run.
    pub elapsed_seconds: f64,
}

impl SipReport {
    /// Draws the sums and quotients.
    pub fn conclude(&mut self) {
        let ours = |report: &RowReport| report.systems.get(&Server::Ringfarm).cloned();
        let rows: Vec<Row> = self.rows.values().filter_map(ours).collect();
        self.failures = rows.iter().map(|row| row.failures).sum();
        self.retransmissions = rows.iter().map(|row| row.retransmissions).sum();
        self.misjudged = rows.iter().map(|row| row.misjudged).sum();
        let all = || self.rows.values().flat_map(|report| report.systems.values());
        self.quiet =
            all().flat_map(|row| row.rounds.values()).all(|figures| figures.core.is_quiet());
        let mut ratios = Ratios::default();
        for (name, report) in &self.rows {
            let quotient = |value: fn(&Figures) -> f64| {
                let of =
                    |server| report.systems.get(&server).map(|row| row.rounds.by_number(value));
                paired(&of(Server::Ringfarm)?, &of(Server::Kamailio)?)
            };
            if let Some(range) = quotient(|figures| figures.cpu_us_per_call) {
                ratios.cpu_vs_kamailio.insert(name.clone(), range.median);
                ratios.ranges.insert(format!("cpu_vs_kamailio.{name}"), range);
            }
            if let Some(range) = quotient(|figures| figures.cpu_us_per_call_processes) {
                ratios.processes_vs_kamailio.insert(name.clone(), range.median);
                ratios.ranges.insert(format!("processes_vs_kamailio.{name}"), range);
            }
        }
        ratios.memory_contacts = memory_ratio(self.memory.get("contacts"));
        ratios.memory_dialogs = memory_ratio(self.memory.get("dialogs"));
        for (transport, found) in &self.capacity {
            let of = |server| {
                let capacity: &CapacityReport = found.get(&server)?;
                Some(capacity.calls_per_second.median).filter(|rate| *rate > 0.0)
            };
            if let (Some(ours), Some(theirs)) = (of(Server::Ringfarm), of(Server::Kamailio)) {
                ratios.highest_rate.insert(transport.clone(), ours / theirs);
            }
        }
        self.ratios = ratios;
    }
}

fn memory_ratio(found: Option<&BTreeMap<Server, MemoryReport>>) -> Option<f64> {
    let each = |server| {
        let report: &MemoryReport = found?.get(&server)?;
        (report.why.is_empty() && report.bytes_each > 0.0).then_some(report.bytes_each)
    };
    Some(each(Server::Ringfarm)? / each(Server::Kamailio)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(costs: &[f64]) -> Row {
        let mut row = Row::default();
        for (round, cost) in (1..).zip(costs) {
            let figures = Figures { cpu_us_per_call: *cost, failures: 1, ..Figures::default() };
            row.add(round, figures);
        }
        row
    }

    /// Rounds are paired, failures are summed up.
    #[test]
    fn quotients_are_those_of_the_same_round() {
        let systems = BTreeMap::from([
            (Server::Ringfarm, row(&[100.0, 200.0])),
            (Server::Kamailio, row(&[400.0, 800.0])),
        ]);
        let report = RowReport {
            description: String::new(),
            kind: Kind::Call,
            transport: Transport::Udp,
            per_second: 1.0,
            systems,
        };
        let mut whole = SipReport {
            version: SIP_REPORT_VERSION,
            complete: true,
            smoke: false,
            quick: false,
            quiet: false,
            machine: Machine::default(),
            method: Method {
                topology: crate::relaybench::lab::Topology::Loopback,
                notes: Vec::new(),
            },
            rounds: 2,
            seconds: 1.0,
            warm_up_seconds: 0.0,
            ratios: Ratios::default(),
            failures: 0,
            retransmissions: 0,
            misjudged: 0,
            rows: BTreeMap::from([("udp".into(), report)]),
            capacity: BTreeMap::new(),
            memory: BTreeMap::from([(
                "contacts".into(),
                BTreeMap::from([
                    (Server::Ringfarm, MemoryReport { bytes_each: 1.0, ..Default::default() }),
                    (Server::Kamailio, MemoryReport { bytes_each: 4.0, ..Default::default() }),
                ]),
            )]),
            configurations: BTreeMap::new(),
            versions: BTreeMap::new(),
            background_core_share: Vec::new(),
            order: Vec::new(),
            elapsed_seconds: 0.0,
        };
        whole.conclude();
        let json = serde_json::to_value(&whole).unwrap();
        assert_eq!(json["ratios"]["cpu_vs_kamailio"]["udp"], 0.25);
        assert_eq!(json["ratios"]["memory_contacts"], 0.25);
        assert_eq!(json["ratios"]["memory_dialogs"], serde_json::Value::Null);
        assert_eq!((&json["failures"], &json["quiet"]), (&2.into(), &true.into()));
        assert_eq!(json["rows"]["udp"]["systems"]["kamailio"]["cpu_us_per_call"]["median"], 600.0);
    }
}
