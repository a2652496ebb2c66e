//! The outcome of a benchmark of farms.

use std::collections::BTreeMap;

use clap::ValueEnum;
use serde::Serialize;

use crate::paired::report::{Machine, Method};
use crate::relaybench::statistics::{Range, paired};
use crate::sipbench::report::{CapacityReport, Row};

/// The version of the report's shape; grows when a field changes its meaning.
pub const FARM_REPORT_VERSION: u32 = 1;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum System {
    /// A node that is a member of no cluster.
    Single,
    /// The same with a third of the calls: as many as each of three members is given.
    SingleThird,
    /// A farm of one member.
    #[value(name = "members1")]
    #[serde(rename = "members1")]
    Members1,
    /// A farm of two: half of the datagrams reach the wrong one.
    #[value(name = "members2")]
    #[serde(rename = "members2")]
    Members2,
    /// A farm of three: two thirds do.
    #[value(name = "members3")]
    #[serde(rename = "members3")]
    Members3,
}

impl System {
    /// The name, as in the options and in the report.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            System::Single => "single",
            System::SingleThird => "single-third",
            System::Members1 => "members1",
            System::Members2 => "members2",
            System::Members3 => "members3",
        }
    }

    /// How many members it has; none if it is no farm.
    #[must_use]
    pub const fn members(self) -> usize {
        match self {
            System::Single | System::SingleThird => 0,
            System::Members1 => 1,
            System::Members2 => 2,
            System::Members3 => 3,
        }
    }

    /// The part of the calls that it is given where costs are compared.
    #[must_use]
    pub const fn share(self) -> f64 {
        match self {
            System::SingleThird => 1.0 / 3.0,
            System::Single | System::Members1 | System::Members2 | System::Members3 => 1.0,
        }
    }
}

/// The quotients and differences that the targets are stated in, of the same round, medians.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Ratios {
    /// Processor time of a call through three members, two thirds of whose datagrams reach the wrong one,
    /// to that through a single node.
    pub cpu_per_call_vs_single: Option<f64>,
    /// The same to that through a single node that has as many calls as each of the members: what the way
    /// from member to member costs, without what a node saves by the calls that it has to itself.
    pub cpu_per_call_vs_single_third: Option<f64>,
    /// The same of the time that the kernel charged to the processes.
    pub processes_vs_single_third: Option<f64>,
    /// The first for each farm.
    pub by_system: BTreeMap<String, f64>,
    /// The same of the time that the kernel charged to the processes.
    pub processes_by_system: BTreeMap<String, f64>,
    /// Minimum, median and maximum of each.
    pub ranges: BTreeMap<String, Range>,
}

/// What the way from member to member adds, in microseconds: the farm's latency less that of the single
/// node in the same round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Added {
    /// Of the medians.
    pub p50: Range,
    /// Of the 99th percentiles.
    pub p99: Range,
}

/// One step, in the order in which they were made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// The round, from 1.
    pub round: u32,
    /// Calls a second that were offered.
    pub per_second: f64,
    /// What was measured.
    pub system: System,
}

/// The outcome.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FarmReport {
    /// See [`FARM_REPORT_VERSION`].
    pub version: u32,
    /// Nothing was left out.
    pub complete: bool,
    /// Everything was tiny: whether it works, not how fast.
    pub smoke: bool,
    /// Short rounds after a short warm-up, without the highest rates.
    pub quick: bool,
    /// No other program took enough to matter, in any round.
    pub quiet: bool,
    /// What was measured on.
    pub machine: Machine,
    /// How.
    pub method: Method,
    /// Rounds.
    pub rounds: u32,
    /// Measured seconds of each.
    pub seconds: f64,
    /// Seconds of each before that.
    pub warm_up_seconds: f64,
    /// Seconds that farms of several members were left alone before that.
    pub settle_seconds: f64,
    /// What SIP travels on.
    pub transport: String,
    /// Calls a second at which costs are compared.
    pub per_second: f64,
    /// What is compared.
    pub ratios: Ratios,
    /// By farm and interval: `invite_180`, `invite_200`, `bye_200`.
    pub latency_added_us: BTreeMap<String, BTreeMap<String, Added>>,
    /// At the fixed rate, over all systems.
    pub failures: u64,
    /// At the fixed rate, over all systems.
    pub retransmissions: u64,
    /// Messages that the judge found wrong.
    pub misjudged: u64,
    /// By system.
    pub systems: BTreeMap<System, Row>,
    /// The highest rate without failures and without retransmissions, by system; all members share one core.
    pub capacity: BTreeMap<System, CapacityReport>,
    /// How systems were started and configured.
    pub configurations: BTreeMap<System, String>,
    /// What the program says of itself.
    pub program: String,
    /// Busy share of the members' core before each round, without any.
    pub background_core_share: Vec<f64>,
    /// Everything that was measured, in its order.
    pub order: Vec<Step>,
    /// The whole run.
    pub elapsed_seconds: f64,
}

impl FarmReport {
    /// Draws the sums, quotients and differences.
    pub fn conclude(&mut self) {
        let rows: Vec<&Row> = self.systems.values().collect();
        self.failures = rows.iter().map(|row| row.failures).sum();
        self.retransmissions = rows.iter().map(|row| row.retransmissions).sum();
        self.misjudged = rows.iter().map(|row| row.misjudged).sum();
        let mut figures = rows.iter().flat_map(|row| row.rounds.values());
        self.quiet = figures.all(|figures| figures.core.is_quiet());
        let Some(single) = self.systems.get(&System::Single) else { return };
        let mut ratios = Ratios::default();
        let mut added = BTreeMap::new();
        for (system, row) in self.systems.iter().filter(|(system, _)| system.members() > 0) {
            let name = system.name().to_owned();
            if let Some(range) = cost(row, single) {
                ratios.by_system.insert(name.clone(), range.median);
                ratios.ranges.insert(format!("cpu_per_call_vs_single.{name}"), range);
            }
            if let Some(range) = process_cost(row, single) {
                ratios.processes_by_system.insert(name.clone(), range.median);
                ratios.ranges.insert(format!("processes_vs_single.{name}"), range);
            }
            added.insert(name, difference(row, single));
        }
        ratios.cpu_per_call_vs_single = ratios.by_system.get(System::Members3.name()).copied();
        let both = (self.systems.get(&System::Members3), self.systems.get(&System::SingleThird));
        if let (Some(farm), Some(third)) = both {
            if let Some(range) = cost(farm, third) {
                ratios.cpu_per_call_vs_single_third = Some(range.median);
                ratios.ranges.insert("cpu_per_call_vs_single_third.members3".to_owned(), range);
            }
            if let Some(range) = process_cost(farm, third) {
                ratios.processes_vs_single_third = Some(range.median);
                ratios.ranges.insert("processes_vs_single_third.members3".to_owned(), range);
            }
        }
        self.ratios = ratios;
        self.latency_added_us = added;
    }
}

fn cost(row: &Row, single: &Row) -> Option<Range> {
    let of = |row: &Row| row.rounds.by_number(|figures| figures.cpu_us_per_call);
    paired(&of(row), &of(single))
}

fn process_cost(row: &Row, single: &Row) -> Option<Range> {
    let of = |row: &Row| row.rounds.by_number(|figures| figures.cpu_us_per_call_processes);
    paired(&of(row), &of(single))
}

fn difference(row: &Row, single: &Row) -> BTreeMap<String, Added> {
    let pairs: Vec<_> = row.rounds.pairs(&single.rounds).collect();
    let intervals = single.latency_us.keys().filter(|name| row.latency_us.contains_key(*name));
    let of = |name: &String| {
        let both = pairs.iter().filter_map(|(farm, node)| {
            Some((farm.latency_us.get(name)?, node.latency_us.get(name)?))
        });
        let p50 = Range::of(both.clone().map(|(farm, node)| farm.p50 - node.p50));
        let p99 = Range::of(both.map(|(farm, node)| farm.p99 - node.p99));
        let added = Added { p50: p50.unwrap_or_default(), p99: p99.unwrap_or_default() };
        (name.clone(), added)
    };
    intervals.map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paired::report::Outcomes;
    use crate::relaybench::lab::Topology;
    use crate::report::Quantiles;
    use crate::sipbench::report::Figures;

    fn row(rounds: &[(f64, f64)]) -> Row {
        let mut row = Row::default();
        for (round, (cost, p50)) in (1..).zip(rounds) {
            let times = Quantiles { p50: *p50, p99: 3.0 * p50, ..Quantiles::default() };
            let figures = Figures {
                cpu_us_per_call: *cost,
                latency_us: BTreeMap::from([("bye_200".to_owned(), times)]),
                ..Figures::default()
            };
            row.add(round, figures);
        }
        row
    }

    /// The headline is that of three members; rounds are paired, and latency is told as what is added.
    #[test]
    fn a_farm_is_compared_with_the_node_of_the_same_round() {
        let mut report = FarmReport {
            version: FARM_REPORT_VERSION,
            complete: true,
            smoke: false,
            quick: false,
            quiet: false,
            machine: Machine::default(),
            method: Method { topology: Topology::Loopback, notes: Vec::new() },
            rounds: 2,
            seconds: 1.0,
            warm_up_seconds: 0.0,
            settle_seconds: 0.0,
            transport: "udp".into(),
            per_second: 1.0,
            ratios: Ratios::default(),
            latency_added_us: BTreeMap::new(),
            failures: 0,
            retransmissions: 0,
            misjudged: 0,
            systems: BTreeMap::from([
                (System::Single, row(&[(100.0, 50.0), (200.0, 60.0)])),
                (System::SingleThird, row(&[(280.0, 40.0), (400.0, 40.0)])),
                (System::Members3, row(&[(140.0, 80.0), (280.0, 90.0)])),
            ]),
            capacity: BTreeMap::new(),
            configurations: BTreeMap::new(),
            program: String::new(),
            background_core_share: Vec::new(),
            order: Vec::new(),
            elapsed_seconds: 0.0,
        };
        report.conclude();
        let json = serde_json::to_value(&report).unwrap();
        let ratio = json["ratios"]["cpu_per_call_vs_single"].as_f64().unwrap();
        assert!((ratio - 1.4).abs() < 1e-9, "{ratio}");
        let third = json["ratios"]["cpu_per_call_vs_single_third"].as_f64().unwrap();
        assert!((third - 0.6).abs() < 1e-9, "of 0.5 and 0.7: {third}");
        let added = &json["latency_added_us"]["members3"]["bye_200"];
        assert_eq!(
            (&added["p50"]["median"], &added["p99"]["median"]),
            (&30.0.into(), &90.0.into())
        );
    }
}
