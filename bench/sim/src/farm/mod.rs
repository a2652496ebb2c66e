//! The SIP Farm: several members behind a balancer that sends every datagram to a random one of them.
//!
//! Unlike in the rest of this crate there is no media here. Members are the proxy core and the membership of
//! the control core as a node would wire them; the mesh, the engine and the phones are models.

mod check;
mod engine;
mod phone;
mod plan;
mod process;
mod text;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

pub use check::{Counts, Violation};
pub(crate) use process::{Lone, SHARED, first_secrets};

use crate::Trace;

/// By then all members go by one view, after the last thing that went wrong. A lease is void after 10 s,
/// the Controller's as well, each is judged anew once the engine is back, and a drained member goes last.
const SETTLED: Duration = Duration::from_secs(35);

/// The result of a seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Members at the beginning.
    pub members: usize,
    /// Calls.
    pub calls: usize,
    /// Things that went wrong or were done by an operator.
    pub disturbances: usize,
    /// How much time has passed in it.
    pub simulated: Duration,
    /// How many things have happened.
    pub events: u64,
    /// Two runs with the same one have the same history.
    pub fingerprint: u64,
    /// What was counted.
    pub counts: Counts,
    /// How often each kind of trouble and of errand has come about.
    pub met: BTreeMap<&'static str, u64>,
    /// What was wrong.
    pub violations: Vec<Violation>,
}

/// Runs a seed to its end.
#[must_use]
pub fn run(seed: u64, trace: Option<Trace<'_>>) -> Report {
    world::World::new(seed, trace).run()
}

impl Report {
    /// The command that repeats the run.
    #[must_use]
    pub fn command(&self) -> String {
        format!("cargo run --release -p ringfarm-sim -- farm --seed {} --steps", self.seed)
    }

    /// One line of JSON.
    #[must_use]
    pub fn json(&self) -> String {
        let c = &self.counts;
        let violations: Vec<String> =
            self.violations.iter().map(|v| crate::report::quoted(&v.to_string())).collect();
        format!(
            "{{\"seed\":{},\"members\":{},\"calls\":{},\"disturbances\":{},\"simulated_s\":{:.3},\
             \"events\":{},\"fingerprint\":\"{:016x}\",\"transactions\":{},\"answered\":{},\
             \"relayed\":{},\"asked\":{},\"excused\":{},\"worn_out\":{},\"twice\":{},\"skipped\":{},\"deaths\":{},\
             \"forged\":{},\"violations\":[{}]}}",
            self.seed,
            self.members,
            self.calls,
            self.disturbances,
            self.simulated.as_secs_f64(),
            self.events,
            self.fingerprint,
            c.transactions,
            c.answered,
            c.relayed,
            c.asked,
            c.excused,
            c.worn_out,
            c.twice,
            c.skipped,
            c.deaths,
            c.forged,
            violations.join(","),
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.counts;
        write!(
            f,
            "seed {}: {} members, {} disturbances, {} transactions ({} excused, {} handled twice), \
             {} calls ({} answered), {} messages between members ({} asked), {} events in {:.0} s \
             of virtual time",
            self.seed,
            self.members,
            self.disturbances,
            c.transactions,
            c.excused,
            c.twice,
            self.calls,
            c.answered,
            c.relayed,
            c.asked,
            self.events,
            self.simulated.as_secs_f64(),
        )?;
        crate::report::violated(&self.violations, || self.command(), f)
    }
}
