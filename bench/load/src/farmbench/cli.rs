//! The arguments of a benchmark of farms.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;

use crate::farmbench::report::System;
use crate::paired::args::{self, Extent, RunArgs, Timings};
use crate::paired::cell::Timing;
use crate::relaybench::lab::{CorePlan, Topology};
use crate::sipbench::Transport;
use crate::sipbench::workload::{self, Kind, Workload};

const TIMINGS: Timings = Timings {
    // The first transactions have ended by then (RFC 3261: 64 T1), so that as many end as begin.
    full: Timing { warm_up: Duration::from_secs(34), measured: Duration::from_secs(4) },
    // 30 cells of 8 s, and 3 s more for each to start; farms of several members settle before.
    quick: Timing { warm_up: Duration::from_millis(5_500), measured: Duration::from_millis(2_500) },
    // Enough to see that everything works, too little to learn anything.
    smoke: Timing { warm_up: Duration::from_millis(500), measured: Duration::from_millis(500) },
};
const SMOKE_RATE: f64 = 50.0;

/// How long farms of several members are left alone before: for 32 s after a member has come, others are asked
/// whether they know a request before it is anybody's (B3), which is not what a farm costs the rest of its time.
const SETTLE: Duration = Duration::from_secs(33);
/// Longest time to settle, in seconds.
const SETTLE_MAX: f64 = 600.0;

/// Compare a single node with farms of one, two and three members.
#[derive(Args, Clone, Debug)]
pub struct FarmArgs {
    /// What is compared, in the order in which they take turns.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST",
          default_values_t = [System::Single, System::SingleThird, System::Members1, System::Members2,
              System::Members3])]
    pub systems: Vec<System>,

    /// What SIP travels on. Datagrams go to a random member each; connections are spread.
    #[arg(long, value_enum, default_value_t = Transport::Udp)]
    pub transport: Transport,

    /// Rounds: each measures every system once [default: 6].
    #[arg(long, value_name = "N")]
    pub rounds: Option<u32>,

    /// Measured seconds of each system and round [default: 4].
    #[arg(long, value_name = "T")]
    pub seconds: Option<f64>,

    /// Seconds of load before that [default: 34, what the first transactions take to end].
    #[arg(long, value_name = "T")]
    pub warm_up: Option<f64>,

    /// Seconds that farms of several members are left alone for before they are given load [default: 33, after
    /// which none asks those that took requests before a member came; 0: what they cost until then].
    #[arg(long, value_name = "T")]
    pub settle: Option<f64>,

    /// Calls a second at which costs are compared [default: 400].
    #[arg(long, value_name = "N")]
    pub rate: Option<f64>,

    /// Phones that are called.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub phones: u32,

    /// Connections of either side over TCP.
    #[arg(long, value_name = "N", default_value_t = 6)]
    pub connections: u32,

    /// Do not look for the highest rates.
    #[arg(long)]
    pub no_capacity: bool,

    /// The core of the members [default: the first].
    #[arg(long, value_name = "N")]
    pub server_core: Option<usize>,

    /// The nats-server that the members agree by.
    #[arg(long, value_name = "FILE", default_value = "nats-server")]
    pub nats_server: PathBuf,

    /// Six rounds within some 13 minutes after a short warm-up, without the highest rates.
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
    pub(crate) systems: Vec<System>,
    pub(crate) rounds: u32,
    pub(crate) timing: Timing,
    pub(crate) settle: Duration,
    pub(crate) load: Workload,
    pub(crate) capacity: bool,
    pub(crate) cores: CorePlan,
    pub(crate) topology: Topology,
    pub(crate) extent: Extent,
}

impl FarmArgs {
    /// Checks everything that can be checked before anything is started.
    ///
    /// # Errors
    /// Names the option and what it may be.
    pub(crate) fn plan(&self) -> Result<Plan> {
        let rounds = args::rounds(self.rounds, if self.smoke { 1 } else { 6 })?;
        let extent = Extent::of(self.quick, self.smoke);
        let timing = TIMINGS.asked(extent, self.warm_up, self.seconds)?;
        let settle = self.settle.unwrap_or(if self.smoke { 0.0 } else { SETTLE.as_secs_f64() });
        let settle = Duration::from_secs_f64(args::within("settle", settle, 0.0..=SETTLE_MAX)?);
        args::each_once(&self.systems, |system| system.name())?;
        let phones = args::within("phones", self.phones, workload::PHONES)?;
        let connections = args::within("connections", self.connections, workload::CONNECTIONS)?;
        ensure!(self.transport != Transport::Tls, "--transport tls: give udp or tcp");
        let rate = self.rate.unwrap_or(if self.smoke { SMOKE_RATE } else { 400.0 });
        let load = Workload {
            name: self.transport.name().to_owned(),
            kind: Kind::Call,
            transport: self.transport,
            per_second: args::within("rate", rate, workload::PER_SECOND)?,
            phones,
            connections,
        };
        Ok(Plan {
            systems: self.systems.clone(),
            rounds,
            timing,
            settle,
            load,
            capacity: !self.no_capacity && extent == Extent::Full,
            cores: self.run.cores(self.server_core)?,
            topology: self.run.topology,
            extent,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        farm: FarmArgs,
    }

    fn plan(words: &str) -> Result<Plan> {
        let words = std::iter::once("farm").chain(words.split_whitespace());
        Line::try_parse_from(words)?.farm.plan()
    }

    #[test]
    fn the_default_is_a_node_at_two_loads_and_three_farms_in_six_rounds() {
        let plan = plan("").unwrap();
        assert_eq!((plan.systems.len(), plan.rounds, plan.capacity), (5, 6, true));
        assert!(plan.timing.warm_up >= Duration::from_secs(32));
    }

    /// B3: until then requests are asked for elsewhere.
    #[test]
    fn farms_settle_for_longer_than_repetitions_are_looked_for_unless_told_otherwise() {
        for words in ["", "--quick"] {
            assert!(plan(words).unwrap().settle > Duration::from_secs(32));
        }
        for words in ["--smoke", "--settle 0"] {
            assert!(plan(words).unwrap().settle.is_zero());
        }
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (words, why) in [
            ("--rounds 0", "--rounds"),
            ("--seconds 0", "--seconds"),
            ("--rate 0", "--rate"),
            ("--settle 601", "--settle"),
            ("--systems single,single", "twice"),
            ("--transport tls", "--transport"),
            ("--phones 0", "--phones"),
            ("--quick --smoke", "--smoke"),
        ] {
            let error = format!("{:#}", plan(words).unwrap_err());
            assert!(error.contains(why), "{error}");
        }
    }
}
