//! What came of it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::case::{Case, Mode, Stated};
use crate::relaybench::lab::Topology;
use crate::relaybench::systems::System;

/// The version of the report's shape; grows when a field changes its meaning.
pub(crate) const STRANGER_REPORT_VERSION: u32 = 1;

/// What was counted of one case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Outcome {
    /// The stranger's packets that reached a party.
    pub(crate) injected: u32,
    /// The parties' packets, RTP or RTCP, that reached the stranger.
    pub(crate) diverted: u32,
    /// The parties' RTP packets that did not reach the other party, both directions.
    pub(crate) lost: u32,
}

/// One case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct CaseReport {
    /// What was tried.
    #[serde(flatten)]
    pub(crate) case: Case,
    /// Packets that the stranger sent.
    pub(crate) sent: u32,
    /// RTP packets that the parties sent.
    pub(crate) media: u32,
    /// What came of it.
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
    /// The most that the documentation allows, if it says anything.
    pub(crate) stated: Option<Stated>,
    /// More came of it than is stated.
    pub(crate) exceeded: bool,
}

impl CaseReport {
    pub(crate) fn new(
        case: Case,
        sent: u32,
        media: u32,
        outcome: Outcome,
        stated: Option<Stated>,
    ) -> CaseReport {
        let beyond = |value: u32, most: Option<u32>| most.is_some_and(|most| value > most);
        let exceeded = stated.is_some_and(|stated| {
            beyond(outcome.injected, stated.injected)
                || beyond(outcome.diverted, stated.diverted)
                || beyond(outcome.lost, stated.lost)
        });
        CaseReport { case, sent, media, outcome, stated, exceeded }
    }
}

/// One mode of one system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ModeReport {
    /// Its key.
    pub(crate) mode: &'static str,
    /// The same in words.
    pub(crate) description: &'static str,
    /// How the system was started.
    pub(crate) command: String,
    /// Why it cannot be tried here.
    pub(crate) skipped: Option<String>,
    /// Why it was not tried to its end.
    pub(crate) failed: Option<String>,
    /// All cases.
    pub(crate) cases: Vec<CaseReport>,
}

impl ModeReport {
    pub(crate) fn new(mode: &Mode) -> ModeReport {
        ModeReport {
            mode: mode.name,
            description: mode.description,
            command: String::new(),
            skipped: None,
            failed: None,
            cases: Vec::new(),
        }
    }
}

/// One system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct SystemReport {
    /// What it says of itself.
    pub(crate) version: String,
    /// Its modes.
    pub(crate) modes: Vec<ModeReport>,
}

/// The outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct StrangerReport {
    /// See [`STRANGER_REPORT_VERSION`].
    pub(crate) version: u32,
    /// Everything that can be tried here was.
    pub(crate) complete: bool,
    /// What lies between the parties and the relay.
    pub(crate) topology: Topology,
    /// Packets of the stranger in each case.
    pub(crate) packets: u32,
    /// Sentences, for people.
    pub(crate) notes: Vec<String>,
    /// By name.
    pub(crate) systems: BTreeMap<System, SystemReport>,
    /// Where more came of an attack than is stated, in words.
    pub(crate) exceeded: Vec<String>,
}

impl StrangerReport {
    pub(crate) fn new(topology: Topology, packets: u32) -> StrangerReport {
        let notes = [
            "Each case is a call of its own. The stranger sends to the media ports that the caller was given: from another address or from another port of the caller's address; before the caller's first packet, in turns with it, or once the call has settled.",
            "Not tried: a source that is forged to be the peer's own address and port. Without SRTP nothing in the packets tells that stranger from the peer.",
        ];
        StrangerReport {
            version: STRANGER_REPORT_VERSION,
            complete: false,
            topology,
            packets,
            notes: notes.map(str::to_owned).to_vec(),
            systems: BTreeMap::new(),
            exceeded: Vec::new(),
        }
    }

    /// Fills in what follows from the cases.
    pub(crate) fn conclude(&mut self, stopped: bool) {
        let mut failed = stopped;
        for (system, report) in &self.systems {
            for mode in &report.modes {
                failed |= mode.failed.is_some() && *system == System::Ringfarm;
                let cases = mode.cases.iter().filter(|case| case.exceeded);
                self.exceeded.extend(cases.map(|report| {
                    let (case, outcome) = (report.case, report.outcome);
                    format!(
                        "{system}, {}: {} {} learning, {}: {outcome:?}, stated {:?}",
                        mode.mode,
                        case.place.name(),
                        case.time.name(),
                        case.kind.name(),
                        report.stated
                    )
                }));
            }
        }
        self.complete = !failed;
    }

    /// Whether nothing is missing and nothing was let through that should not be.
    pub(crate) const fn is_good(&self) -> bool {
        self.complete && self.exceeded.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::case::{Rule, stated};
    use super::*;

    /// A case that the documentation bounds, with one packet more in each figure, is a failure; so
    /// is the lack of a mode.
    #[test]
    fn one_packet_beyond_what_is_stated_fails_the_run() {
        let case = Case::all().next().unwrap();
        let bound = stated(Rule::Signalled, case);
        for outcome in [
            Outcome { injected: 1, ..Outcome::default() },
            Outcome { diverted: 1, ..Outcome::default() },
            Outcome { lost: 1, ..Outcome::default() },
        ] {
            assert!(CaseReport::new(case, 20, 100, outcome, bound).exceeded, "{outcome:?}");
            assert!(!CaseReport::new(case, 20, 100, outcome, None).exceeded);
        }
        assert!(!CaseReport::new(case, 20, 100, Outcome::default(), bound).exceeded);
    }

    #[test]
    fn a_mode_that_could_not_be_tried_fails_the_run() {
        let mode = &super::super::case::modes(System::Ringfarm)[0];
        let mut of_mode = ModeReport::new(mode);
        let report = |mode: &ModeReport| {
            let mut report = StrangerReport::new(Topology::Loopback, 1);
            let modes = vec![mode.clone()];
            let of_system = SystemReport { version: String::new(), modes };
            report.systems.insert(System::Ringfarm, of_system);
            report.conclude(false);
            report.is_good()
        };
        of_mode.skipped = Some("not here".into());
        assert!(report(&of_mode));
        of_mode.failed = Some("no".into());
        assert!(!report(&of_mode));
    }
}
