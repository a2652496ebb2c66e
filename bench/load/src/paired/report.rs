//! What the reports of paired benchmarks have in common.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::paired::cell::{CoreFigures, GeneratorFigures};
use crate::relaybench::lab::Topology;
use crate::relaybench::statistics::Range;
use crate::relaybench::stop::Stop;
use crate::report::Quantiles;

/// Latency over the rounds, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LatencyRange {
    /// Median.
    pub p50: Range,
    /// 99th percentile.
    pub p99: Range,
    /// 99.9th percentile.
    pub p999: Range,
    /// Largest.
    pub max: Range,
}

impl LatencyRange {
    /// Of what each round measured.
    pub(crate) fn of<'q>(rounds: impl Iterator<Item = &'q Quantiles> + Clone) -> LatencyRange {
        let of =
            |value: fn(&Quantiles) -> f64| Range::of(rounds.clone().map(value)).unwrap_or_default();
        LatencyRange {
            p50: of(|times| times.p50),
            p99: of(|times| times.p99),
            p999: of(|times| times.p999),
            max: of(|times| times.max),
        }
    }
}

/// What was measured of one system under one load, by the number of the round.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Rounds<F>(BTreeMap<u32, F>);

impl<F> Default for Rounds<F> {
    fn default() -> Rounds<F> {
        Rounds(BTreeMap::new())
    }
}

impl<F> Rounds<F> {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rounds, in their order.
    pub fn values(&self) -> impl Iterator<Item = &F> + Clone {
        self.0.values()
    }

    pub(crate) fn insert(&mut self, round: u32, figures: F) {
        self.0.insert(round, figures);
    }

    /// A figure over the rounds; 0 if there is none.
    pub(crate) fn range(&self, figure: fn(&F) -> f64) -> Range {
        Range::of(self.values().map(figure)).unwrap_or_default()
    }

    /// What was measured of this system and of another in the same round.
    pub(crate) fn pairs<'r>(
        &'r self,
        other: &'r Rounds<F>,
    ) -> impl Iterator<Item = (&'r F, &'r F)> {
        self.0.iter().filter_map(|(round, figures)| Some((figures, other.0.get(round)?)))
    }

    /// A figure by the number of the round, to be paired with that of another system.
    pub(crate) fn by_number(&self, figure: fn(&F) -> f64) -> Vec<(u32, f64)> {
        self.0.iter().map(|(round, figures)| (*round, figure(figures))).collect()
    }
}

/// The machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Its processor's name.
    pub processor: String,
    /// Cores that may be used.
    pub cores: usize,
    /// The core of the system under test.
    pub relay_core: usize,
    /// The cores of the generator.
    pub generator_cores: Vec<usize>,
    /// Main memory.
    pub memory_bytes: u64,
    /// The kernel's release.
    pub kernel: String,
    /// Open descriptors that a process may have.
    pub descriptors_max: u64,
}

/// How it was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Method {
    /// What lay between generator and system.
    pub topology: Topology,
    /// Sentences, for people.
    pub notes: Vec<String>,
}

/// What the rounds of one system under one load are noted in.
pub(crate) trait Outcomes {
    /// What was measured in a round.
    type Figures;

    /// Adds a round.
    fn add(&mut self, round: u32, figures: Self::Figures);

    /// Adds why there is less than was asked for, if it is not there yet.
    fn note(&mut self, why: String);

    /// Adds what became of a round.
    fn take(&mut self, round: u32, outcome: anyhow::Result<Self::Figures>, stop: &Stop) {
        match outcome {
            Ok(figures) => self.add(round, figures),
            // What was broken off says nothing about the system.
            Err(_) if stop.is_set() => {}
            Err(error) => self.note(format!("{error:#}")),
        }
    }
}

/// Adds a sentence that is not there yet.
pub(crate) fn note(why: &mut Vec<String>, sentence: String) {
    if !why.contains(&sentence) {
        why.push(sentence);
    }
}

/// Adds what keeps the figures of a round from being those of the system, which is called `system`.
pub(crate) fn note_round(
    why: &mut Vec<String>,
    round: u32,
    system: &str,
    core: &CoreFigures,
    generator: &GeneratorFigures,
) {
    for limit in &generator.saturated_because {
        note(why, format!("round {round}: the generator was at its limit: {limit}"));
    }
    if !core.is_quiet() {
        note(
            why,
            format!(
                "round {round}: others took {:.2} cores, and {:.0} % of what the {system}'s core was busy: not quiet",
                core.foreign_cores,
                core.foreign_share * 100.0
            ),
        );
    }
}
