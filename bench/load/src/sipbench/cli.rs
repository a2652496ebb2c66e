//! The arguments of a benchmark of SIP servers.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::paired::args::{self, Extent, RunArgs, Timings};
use crate::paired::cell::Timing;
use crate::relaybench::lab::{CorePlan, Topology};
use crate::sipbench::ends::Transport;
use crate::sipbench::memory::{LINGER, Steps, What};
use crate::sipbench::systems::Server;
use crate::sipbench::workload::{self, Kind, Workload};

const TIMINGS: Timings = Timings {
    // The transactions of the first calls have ended by then (RFC 3261: 64 T1, whatever the transport;
    // Kamailio: 5 s), so that as many end as begin, and memory that was used once is used again: what a
    // server does in its first seconds costs other than what it does later.
    full: Timing { warm_up: Duration::from_secs(34), measured: Duration::from_secs(4) },
    // Some 11 minutes: 48 cells of 8 s and 2 s more for each to start and settle (8 min), 20,000
    // contacts (0.5 min) and two steps of 3,000 dialogs (3 min). Kamailio's transactions, which last
    // 5 s, end as fast as they begin by then, and its memory has been used once; ringfarm's last 32 s
    // and do not end yet.
    quick: Timing { warm_up: Duration::from_millis(5_500), measured: Duration::from_millis(2_500) },
    // Enough to see that everything works, too little to learn anything.
    smoke: Timing { warm_up: SMOKE, measured: SMOKE },
};

/// Phones that register with digest in turn.
const REGISTERING: u32 = 5_000;

/// Connections a side where each phone has one of its own.
const ONE_EACH: u32 = 500;

/// What `--smoke` runs.
const SMOKE: Duration = Duration::from_millis(300);
const SMOKE_RATE: f64 = 100.0;
const SMOKE_COUNT: u32 = 200;

/// What `--quick` runs.
const QUICK_CONTACTS: u32 = 20_000;
const QUICK_DIALOGS: u32 = 3_000;

/// Steps of dialogs: growth is counted from the first to the last.
const STEPS: u32 = 3;
const STEPS_FEW: u32 = 2;

/// Parts of the benchmark, and of a quick one.
const PARTS: [Part; 4] = [Part::Calls, Part::Register, Part::Capacity, Part::Memory];
const PARTS_QUICK: [Part; 3] = [Part::Calls, Part::Register, Part::Memory];

/// Parts of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// What a call costs.
    Calls,
    /// What a registration with digest costs.
    Register,
    /// The highest rate of calls, and latency below it.
    Capacity,
    /// Memory of contacts and dialogs.
    Memory,
}

/// Compare SIP servers, call for call, on this machine.
#[derive(Args, Clone, Debug)]
pub struct SipArgs {
    /// Servers to compare, in the order in which they take turns.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST",
          default_values_t = [Server::Ringfarm, Server::Kamailio])]
    pub systems: Vec<Server>,

    /// What to measure [default: everything; with --quick all but capacity].
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    pub parts: Vec<Part>,

    /// What SIP travels on.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST",
          default_values_t = [Transport::Udp, Transport::Tcp, Transport::Tls])]
    pub transports: Vec<Transport>,

    /// Rounds: each measures every server once with every load [default: 6].
    #[arg(long, value_name = "N")]
    pub rounds: Option<u32>,

    /// Measured seconds of each server, load and round [default: 4].
    #[arg(long, value_name = "T")]
    pub seconds: Option<f64>,

    /// Seconds of load before that: by default what the transactions of the first calls
    /// take to end, so that as many end as begin [default: 34].
    #[arg(long, value_name = "T")]
    pub warm_up: Option<f64>,

    /// Calls a second at which costs are compared [default: 800].
    #[arg(long, value_name = "N")]
    pub rate: Option<f64>,

    /// Registrations a second at which costs are compared [default: 3000].
    #[arg(long, value_name = "N")]
    pub register_rate: Option<f64>,

    /// Phones that are called.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub phones: u32,

    /// Connections of either side over TCP and TLS.
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub connections: u32,

    /// Contacts to register when memory is measured [default: 100000].
    #[arg(long, value_name = "N")]
    pub contacts: Option<u32>,

    /// Calls to hold when memory is measured [default: 10000].
    #[arg(long, value_name = "N")]
    pub dialogs: Option<u32>,

    /// The core of the server under test [default: the first].
    #[arg(long, value_name = "N")]
    pub server_core: Option<usize>,

    /// The Kamailio to measure.
    #[arg(long, value_name = "FILE", default_value = "kamailio")]
    pub kamailio: PathBuf,

    /// Worker processes of Kamailio, for UDP and for TCP each, all on the one core.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub kamailio_children: u32,

    /// Six rounds within 12 minutes: short rounds after a short warm-up, the main loads, fewer
    /// contacts and dialogs.
    #[arg(long, conflicts_with = "smoke")]
    pub quick: bool,

    /// Everything tiny: whether it works, not how fast.
    #[arg(long)]
    pub smoke: bool,

    /// How it is run, and where the report goes.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Arguments that have been checked.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) servers: Vec<Server>,
    pub(crate) rounds: u32,
    pub(crate) timing: Timing,
    pub(crate) workloads: Vec<Workload>,
    /// The transports whose highest rate is looked for.
    pub(crate) capacity: Vec<Transport>,
    pub(crate) memory: Vec<What>,
    /// How dialogs are made, and how long memory is left to settle.
    pub(crate) steps: Steps,
    pub(crate) cores: CorePlan,
    pub(crate) topology: Topology,
    pub(crate) phones: u32,
    pub(crate) connections: u32,
    pub(crate) extent: Extent,
}

impl SipArgs {
    /// Checks everything that can be checked before anything is started.
    ///
    /// # Errors
    /// Names the option and what it may be.
    pub(crate) fn plan(&self) -> Result<Plan> {
        let rounds = args::rounds(self.rounds, if self.smoke { 2 } else { 6 })?;
        let extent = Extent::of(self.quick, self.smoke);
        let timing = TIMINGS.asked(extent, self.warm_up, self.seconds)?;
        args::each_once(&self.systems, |server| server.name())?;
        let phones = args::within("phones", self.phones, workload::PHONES)?;
        let connections = args::within("connections", self.connections, workload::CONNECTIONS)?;
        args::within("kamailio-children", self.kamailio_children, 1..=64)?;
        let capacity = if self.has(Part::Capacity) { self.transports.clone() } else { Vec::new() };
        Ok(Plan {
            servers: self.systems.clone(),
            rounds,
            timing,
            workloads: self.workloads()?,
            capacity,
            memory: self.memory()?,
            steps: Steps {
                count: if extent == Extent::Full { STEPS } else { STEPS_FEW },
                linger: if self.smoke { SMOKE } else { LINGER },
            },
            cores: self.run.cores(self.server_core)?,
            topology: self.run.topology,
            phones,
            connections,
            extent,
        })
    }

    fn has(&self, part: Part) -> bool {
        match (self.parts.is_empty(), self.quick) {
            (false, _) => self.parts.contains(&part),
            (true, true) => PARTS_QUICK.contains(&part),
            (true, false) => PARTS.contains(&part),
        }
    }

    fn workloads(&self) -> Result<Vec<Workload>> {
        let rate = |given: Option<f64>, otherwise: f64, name: &str| {
            let rate = given.unwrap_or(if self.smoke { SMOKE_RATE } else { otherwise });
            args::within(name, rate, workload::PER_SECOND)
        };
        let calls = rate(self.rate, 800.0, "rate")?;
        let registrations = rate(self.register_rate, 3_000.0, "register-rate")?;
        let load = |name: &str, kind, transport| Workload {
            name: name.to_owned(),
            kind,
            transport,
            per_second: match kind {
                Kind::Call => calls,
                Kind::Register | Kind::Refresh => registrations,
            },
            phones: match kind {
                Kind::Call => self.phones,
                Kind::Register | Kind::Refresh if self.smoke => SMOKE_COUNT,
                Kind::Register | Kind::Refresh => REGISTERING,
            },
            connections: self.connections,
        };
        let mut loads = Vec::new();
        if self.has(Part::Calls) {
            for transport in &self.transports {
                loads.push(load(transport.name(), Kind::Call, *transport));
            }
            if self.transports.contains(&Transport::Tcp) && !self.quick {
                let connections = if self.smoke { 20 } else { ONE_EACH };
                let tcp = load("tcp_phones", Kind::Call, Transport::Tcp);
                loads.push(Workload { connections, phones: connections, ..tcp });
            }
        }
        if self.has(Part::Register) {
            loads.push(load("register", Kind::Register, Transport::Udp));
            if !self.quick {
                loads.push(load("refresh", Kind::Refresh, Transport::Udp));
            }
        }
        Ok(loads)
    }

    fn memory(&self) -> Result<Vec<What>> {
        if !self.has(Part::Memory) {
            return Ok(Vec::new());
        }
        let (contacts, dialogs) = match (self.smoke, self.quick) {
            (true, _) => (SMOKE_COUNT, SMOKE_COUNT / 4),
            (false, true) => (QUICK_CONTACTS, QUICK_DIALOGS),
            (false, false) => (100_000, 10_000),
        };
        let contacts = self.contacts.unwrap_or(contacts);
        let dialogs = self.dialogs.unwrap_or(dialogs);
        Ok(vec![
            What::Contacts(args::within("contacts", contacts, 1..=900_000)?),
            What::Dialogs(args::within("dialogs", dialogs, 1..=100_000)?),
        ])
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        sip: SipArgs,
    }

    fn plan(words: &str) -> Result<Plan> {
        let words = std::iter::once("sip").chain(words.split_whitespace());
        Line::try_parse_from(words)?.sip.plan()
    }

    fn names(words: &str) -> Vec<String> {
        plan(words).unwrap().workloads.into_iter().map(|load| load.name).collect()
    }

    #[test]
    fn the_default_is_every_load() {
        assert_eq!(names(""), ["udp", "tcp", "tls", "tcp_phones", "register", "refresh"]);
        let plan = plan("").unwrap();
        assert_eq!((plan.rounds, plan.capacity.len(), plan.memory.len()), (6, 3, 2));
        assert!(plan.timing.warm_up >= Duration::from_secs(32));
    }

    /// The pairing and all six rounds stay; what is left out is what takes longest.
    #[test]
    fn a_quick_run_keeps_six_rounds_and_ends_within_twelve_minutes() {
        assert_eq!(names("--quick"), ["udp", "tcp", "tls", "register"]);
        let quick = plan("--quick").unwrap();
        assert_eq!((quick.rounds, quick.capacity.len(), quick.memory.len()), (6, 0, 2));
        let cells = quick.rounds * (quick.workloads.len() * quick.servers.len()) as u32;
        let settle = Duration::from_secs(2);
        let calls = (quick.timing.warm_up + quick.timing.measured + settle) * cells;
        let dialogs = 2 * quick.steps.count * (quick.steps.linger + Duration::from_secs(8));
        let contacts = 2 * Duration::from_secs(5 + 12);
        assert!(calls + dialogs + contacts < Duration::from_secs(12 * 60));
        assert!(plan("--quick --smoke").is_err());
    }

    #[test]
    fn parts_and_transports_are_chosen() {
        assert_eq!(names("--parts calls --transports udp --smoke"), ["udp"]);
        assert_eq!(names("--parts register"), ["register", "refresh"]);
        assert!(plan("--parts register").unwrap().memory.is_empty());
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (words, why) in [
            ("--rounds 0", "--rounds"),
            ("--seconds 0", "--seconds"),
            ("--rate 0", "--rate"),
            ("--systems kamailio,kamailio", "twice"),
            ("--dialogs 0", "--dialogs"),
            ("--kamailio-children 0", "--kamailio-children"),
            ("--server-core 9999", "core 9999"),
        ] {
            let error = format!("{:#}", plan(words).unwrap_err());
            assert!(error.contains(why), "{error}");
        }
    }
}
