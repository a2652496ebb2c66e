//! The outcome of a benchmark.

use std::collections::BTreeMap;

use serde::Serialize;

pub use crate::paired::cell::{CoreFigures, GeneratorFigures};
pub use crate::paired::report::{LatencyRange, Machine, Method, Rounds};
use crate::paired::report::{Outcomes, note, note_round};
use crate::relaybench::statistics::{Range, paired};
use crate::relaybench::systems::System;
use crate::report::Quantiles;

/// The version of the report's shape; grows when a field changes its meaning.
pub const RELAY_REPORT_VERSION: u32 = 2;

/// What became of the packets of a cell, warm-up included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Content {
    /// RTP packets that the generator's kernel took.
    pub sent: u64,
    /// Whole packets at the right place, each counted once.
    pub received: u64,
    /// Sent less received, stream by stream.
    pub lost: u64,
    /// Packets that came to the right place, changed.
    pub corrupt: u64,
    /// Packets that came where, or from where, they do not belong.
    pub misdelivered: u64,
    /// Further arrivals of packets that had come.
    pub duplicate: u64,
    /// Packets that came after a later one of their stream.
    pub reordered: u64,
}

impl Content {
    /// Whether every packet that arrived was whole, once, and at its place. Loss is another question.
    #[must_use]
    pub const fn is_true(&self) -> bool {
        self.corrupt == 0 && self.misdelivered == 0 && self.duplicate == 0
    }

    fn add(&mut self, other: &Content) {
        self.sent += other.sent;
        self.received += other.received;
        self.lost += other.lost;
        self.corrupt += other.corrupt;
        self.misdelivered += other.misdelivered;
        self.duplicate += other.duplicate;
        self.reordered += other.reordered;
    }
}

/// What one system did with one load in one round.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Busy time of the relay's core for each packet that was relayed, softirqs included.
    pub us_per_packet: f64,
    /// The part that the kernel charged to the system's threads.
    pub us_per_packet_process: f64,
    /// The part that the kernel charged to the core's ksoftirqd.
    pub us_per_packet_ksoftirqd: f64,
    /// How the relay's core fared.
    #[serde(flatten)]
    pub core: CoreFigures,
    /// Packets a second that were sent to the system.
    pub sent_pps: f64,
    /// Packets a second that it relayed.
    pub relayed_pps: f64,
    /// What became of the packets.
    pub content: Content,
    /// Lost share of the sent packets.
    pub loss: f64,
    /// From just before the send call to the arrival in the receiving kernel.
    pub latency_us: Quantiles,
    /// Time to set a session up, one after the other.
    pub setup_us: Quantiles,
    /// How the generator fared.
    pub generator: GeneratorFigures,
}

/// One system under one load, all rounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Row {
    /// Busy time of the relay's core for each relayed packet, softirqs included.
    pub us_per_packet: Range,
    /// The part that the kernel charged to the system's threads.
    pub us_per_packet_process: Range,
    /// Share of the time that the relay's core was busy.
    pub core_busy_share: Range,
    /// Packets a second that were relayed.
    pub relayed_pps: Range,
    /// Lost share of the packets.
    pub loss: Range,
    /// One way, through the relay.
    pub latency_us: LatencyRange,
    /// Sum over the rounds.
    pub content: Content,
    /// Why there are no figures, or not those that were asked for.
    pub why: Vec<String>,
    /// The rounds, by number.
    pub rounds: Rounds<Figures>,
}

impl Outcomes for Row {
    type Figures = Figures;

    fn add(&mut self, round: u32, figures: Figures) {
        self.content.add(&figures.content);
        note_round(&mut self.why, round, "relay", &figures.core, &figures.generator);
        if !figures.content.is_true() {
            self.note(format!("round {round}: the content was not what was sent"));
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
        self.latency_us = LatencyRange::of(rounds.values().map(|figures| &figures.latency_us));
        self.us_per_packet = rounds.range(|figures| figures.us_per_packet);
        self.us_per_packet_process = rounds.range(|figures| figures.us_per_packet_process);
        self.core_busy_share = rounds.range(|figures| figures.core.busy_share);
        self.relayed_pps = rounds.range(|figures| figures.relayed_pps);
        self.loss = rounds.range(|figures| figures.loss);
    }
}

/// One load and what the systems did with it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkloadReport {
    /// Its key, such as `g711-100`.
    pub name: String,
    /// The same in words.
    pub description: String,
    /// Streams, each in one direction.
    pub streams: u32,
    /// Packets a second that are offered.
    pub offered_pps: f64,
    /// Packets are sent less often than phones would, to stay within the rate.
    pub stretched: bool,
    /// By system.
    pub systems: BTreeMap<System, Row>,
}

/// Many sessions on one system.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SetUpReport {
    /// Sessions with audio and video that were asked for.
    pub sessions_wanted: u32,
    /// Those that were held at once.
    pub sessions_held: u32,
    /// Why not all.
    pub why: Vec<String>,
    /// Offer and answer of one session, in microseconds, all sessions.
    pub setup_us: Quantiles,
    /// The same for the last tenth, with all the others live.
    pub setup_us_last_tenth: Quantiles,
    /// The time that the system's threads were running for each set-up of the last tenth: its own
    /// part, system calls included, without any waiting or waking up.
    pub setup_cpu_us: f64,
    /// A ping and its answer with most sessions live: the floor of each of a set-up's two commands.
    pub ping_us: Quantiles,
    /// Ending one session.
    pub teardown_us: Quantiles,
    /// Growth of resident memory for each session held.
    pub session_bytes: f64,
    /// Growth of the kernel's structures (slab) for each session held.
    pub session_kernel_bytes: f64,
    /// Resident memory after all sessions were ended, less that before the first.
    pub residue_bytes: f64,
    /// What became of packets through all the sessions.
    pub content: Content,
}

/// The highest rate without loss.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CapacityReport {
    /// Packets a second, over the rounds.
    pub pps: Range,
    /// What ended the search, by round.
    pub limits: Vec<String>,
    /// With 130 % of it.
    pub overload: Row,
}

/// Quotients of paired rounds: below 1 is better for ringfarm.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Ratios {
    /// Core time of a packet, ringfarm to rtpengine, by streams.
    pub cpu_vs_rtpengine: BTreeMap<u32, f64>,
    /// Core time of a packet, ringfarm to the epoll floor, by streams.
    pub cpu_vs_epoll: BTreeMap<u32, f64>,
    /// Core time of a packet, ringfarm to the kernel's forwarding, by streams.
    pub cpu_vs_forward: BTreeMap<u32, f64>,
    /// 99th percentile of latency, ringfarm to rtpengine, by streams.
    pub latency_p99_vs_rtpengine: BTreeMap<u32, f64>,
    /// Ringfarm's core time of a packet, 16,000 streams to 100 streams at the same packet rate.
    pub cost_16000_vs_100: Option<f64>,
    /// The same where the 16,000 streams have the system's own table of UDP sockets, not a large one.
    pub cost_16000_vs_100_system_hash: Option<f64>,
    /// The same with the 100 streams at 50 packets a second each, where a wake-up serves fewer packets.
    pub cost_16000_vs_100_native: Option<f64>,
    /// The range over the rounds of each of the above, by its path.
    pub ranges: BTreeMap<String, Range>,
}

/// One cell of the order in which was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Counted from 1.
    pub round: u32,
    /// The load's key.
    pub workload: String,
    /// What was measured.
    pub system: System,
}

/// The outcome.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RelayReport {
    /// See [`RELAY_REPORT_VERSION`].
    pub version: u32,
    /// All that was asked for was measured (or could not be, and the row says why).
    pub complete: bool,
    /// Too short for its figures to mean anything.
    pub quick: bool,
    /// Others took neither 3 % of what the relay's core was busy nor 0.1 core of the machine in any
    /// cell. If not, the costs hold theirs.
    pub quiet: bool,
    /// The machine.
    pub machine: Machine,
    /// How it was measured.
    pub method: Method,
    /// Rounds of each cell.
    pub rounds: u32,
    /// Measured seconds of each cell.
    pub seconds: f64,
    /// How each system was started, by system.
    pub commands: BTreeMap<System, String>,
    /// The version of each system, by system.
    pub versions: BTreeMap<System, String>,
    /// Busy share of the relay's core before each round, without any system under test. It is in the
    /// costs: at 5,000 packets a second, 0.01 of a core is 2 us of a packet.
    pub background_core_share: Vec<f64>,
    /// The quotients.
    pub ratios: Ratios,
    /// Ringfarm's time to set a session up while most of its sessions are live.
    pub setup_us: Option<Quantiles>,
    /// The round trip of a ping to ringfarm meanwhile, two of which no set-up can go below.
    pub ping_us: Option<Quantiles>,
    /// Ringfarm's user memory for each session.
    pub session_bytes: Option<f64>,
    /// The loads, in the order of the plan.
    pub workloads: Vec<WorkloadReport>,
    /// Many sessions, by system.
    pub set_up: BTreeMap<System, SetUpReport>,
    /// Highest rates, by system.
    pub capacity: BTreeMap<System, CapacityReport>,
    /// What was measured after what.
    pub order: Vec<Step>,
    /// Seconds that it all took.
    pub elapsed_seconds: f64,
}

const OURS: System = System::Ringfarm;

impl RelayReport {
    /// Whether `system` never delivered anything but what was sent.
    #[must_use]
    pub fn content_is_true(&self, system: System) -> bool {
        let rows = self.workloads.iter().filter_map(|load| load.systems.get(&system));
        let mut contents: Vec<&Content> = rows.map(|row| &row.content).collect();
        contents.extend(self.set_up.get(&system).map(|set_up| &set_up.content));
        contents.extend(self.capacity.get(&system).map(|capacity| &capacity.overload.content));
        contents.iter().all(|content| content.is_true())
    }

    /// Fills in what follows from the rows.
    pub fn conclude(&mut self) {
        let rows = self.workloads.iter().flat_map(|load| load.systems.values());
        let mut figures = rows.flat_map(|row| row.rounds.values());
        self.quiet = figures.all(|figures| figures.core.is_quiet());
        let mut ratios = Ratios::default();
        for load in self.workloads.iter().filter(|load| load.name.starts_with("g711-")) {
            if load.name != format!("g711-{}", load.streams) {
                continue;
            }
            ratios.add_streams(load);
        }
        ratios.add_scale(&self.workloads);
        self.ratios = ratios;
        let ours = self.set_up.get(&OURS).filter(|set_up| set_up.sessions_held > 0);
        self.setup_us = ours.map(|set_up| set_up.setup_us_last_tenth);
        self.ping_us = ours.map(|set_up| set_up.ping_us);
        self.session_bytes = ours.map(|set_up| set_up.session_bytes);
    }
}

impl Ratios {
    fn add_streams(&mut self, load: &WorkloadReport) {
        let cpu: fn(&Figures) -> f64 = |figures| figures.us_per_packet;
        let p99: fn(&Figures) -> f64 = |figures| figures.latency_us.p99;
        let maps = [
            ("cpu_vs_rtpengine", System::Rtpengine, cpu, &mut self.cpu_vs_rtpengine),
            ("cpu_vs_epoll", System::Epoll, cpu, &mut self.cpu_vs_epoll),
            ("cpu_vs_forward", System::Forward, cpu, &mut self.cpu_vs_forward),
            (
                "latency_p99_vs_rtpengine",
                System::Rtpengine,
                p99,
                &mut self.latency_p99_vs_rtpengine,
            ),
        ];
        let Some(ours) = load.systems.get(&OURS) else { return };
        for (name, system, value, map) in maps {
            let Some(theirs) = load.systems.get(&system) else { continue };
            if let Some(range) =
                paired(&ours.rounds.by_number(value), &theirs.rounds.by_number(value))
            {
                map.insert(load.streams, range.median);
                self.ranges.insert(format!("{name}.{}", load.streams), range);
            }
        }
    }

    fn add_scale(&mut self, workloads: &[WorkloadReport]) {
        let ours = |name: &str| {
            let load = workloads.iter().find(|load| load.name == name)?;
            Some(load.systems.get(&OURS)?.rounds.by_number(|figures| figures.us_per_packet))
        };
        let Some(many) = ours("g711-16000") else { return };
        let mut scale = |path: &str, many: &[(u32, f64)], few: &str| {
            let range = paired(many, &ours(few)?)?;
            self.ranges.insert(path.into(), range);
            Some(range.median)
        };
        let same_rate = scale("cost_16000_vs_100", &many, "g711-100-same-rate");
        let native = scale("cost_16000_vs_100_native", &many, "g711-100");
        let system_hash = ours("g711-16000-system-hash")
            .and_then(|many| scale("cost_16000_vs_100_system_hash", &many, "g711-100-same-rate"));
        self.cost_16000_vs_100 = same_rate;
        self.cost_16000_vs_100_native = native;
        self.cost_16000_vs_100_system_hash = system_hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(us_per_packet: f64) -> Figures {
        Figures { us_per_packet, ..Figures::default() }
    }

    fn load(name: &str, streams: u32, cells: &[(System, &[f64])]) -> WorkloadReport {
        let mut systems = BTreeMap::new();
        for (system, values) in cells {
            let row: &mut Row = systems.entry(*system).or_default();
            for (round, value) in (1..).zip(*values) {
                row.add(round, figures(*value));
            }
        }
        let (name, description) = (name.to_owned(), String::new());
        WorkloadReport { name, description, streams, offered_pps: 0.0, stretched: false, systems }
    }

    #[test]
    fn ratios_are_medians_of_pairs_by_streams() {
        let mut ratios = Ratios::default();
        let ours: &[f64] = &[4.0, 5.0, 6.0];
        let theirs: &[f64] = &[8.0, 10.0, 10.0];
        ratios.add_streams(&load("g711-500", 500, &[(OURS, ours), (System::Rtpengine, theirs)]));
        assert_eq!(ratios.cpu_vs_rtpengine[&500], 0.5);
        assert_eq!(ratios.ranges["cpu_vs_rtpengine.500"].max, 0.6);
        assert!(ratios.cpu_vs_epoll.is_empty());
    }

    #[test]
    fn many_streams_are_compared_with_few_at_the_same_rate() {
        let mut ratios = Ratios::default();
        ratios.add_scale(&[
            load("g711-100", 100, &[(OURS, &[8.0])]),
            load("g711-100-same-rate", 100, &[(OURS, &[4.0])]),
            load("g711-16000", 16_000, &[(OURS, &[5.0])]),
            load("g711-16000-system-hash", 16_000, &[(OURS, &[6.0])]),
        ]);
        assert_eq!(ratios.cost_16000_vs_100_system_hash, Some(1.5));
        assert_eq!(ratios.cost_16000_vs_100, Some(1.25));
        assert_eq!(ratios.cost_16000_vs_100_native, Some(0.625));
    }

    #[test]
    fn false_content_and_a_limit_of_the_generator_are_named_in_the_row() {
        let mut row = Row::default();
        let mut bad = figures(1.0);
        bad.content.corrupt = 1;
        bad.generator.saturated_because.push("it was late".into());
        row.add(1, bad);
        assert_eq!(row.why.len(), 2);
        assert!(row.why.iter().any(|why| why.contains("not what was sent")), "{:?}", row.why);
        assert!(row.why.iter().any(|why| why.contains("it was late")), "{:?}", row.why);
    }
}
