//! The farm in a simulated network: 200 seeds. More are the binary's:
//! `cargo run --release -p ringfarm-sim -- farm --seeds 100000`.

use std::collections::BTreeSet;
use std::thread;

use sim::farm::{self, Counts};

/// What 200 seeds have to bring about.
const WANTED: [&str; 16] = [
    "a backend set to Auto",
    "a backend set to Relay",
    "a connection ends",
    "a connection ends with its member",
    "a connection's owner writes for another member",
    "a farm member sends for a backend",
    "a member dies and comes back",
    "a member drains",
    "a member is taken for dead",
    "a member joins",
    "a member sees few of the farm",
    "a member that is Disabled",
    "a split, also from the engine",
    "a token of a life that is over",
    "another key of tokens",
    "the Controller dies",
];

/// S20 to S31, B1 to B5: whatever is lost, and whoever comes, goes and dies.
#[test]
fn members_that_act_as_one_do_so_whatever_happens() {
    let threads = thread::available_parallelism().map_or(1, usize::from) as u64;
    let every = |first: u64| {
        let seeds = (first..=200).step_by(threads as usize);
        seeds.map(|seed| farm::run(seed, None)).collect::<Vec<_>>()
    };
    let reports = thread::scope(|scope| {
        let runs: Vec<_> = (1..=threads).map(|n| scope.spawn(move || every(n))).collect();
        runs.into_iter().flat_map(|run| run.join().expect("a run ends")).collect::<Vec<_>>()
    });
    let mut counts = Counts::default();
    let mut met = BTreeSet::new();
    for report in &reports {
        assert!(report.violations.is_empty(), "{report}");
        counts.add(&report.counts);
        met.extend(report.met.keys().copied());
    }
    for wanted in WANTED {
        assert!(met.contains(wanted), "nothing of this has come about: {wanted}");
    }
    assert_eq!(reports.len(), 200);
    assert!(counts.answered > 200 && counts.relayed > 2_000 && counts.asked > 200, "{counts:?}");
    assert!(counts.deaths > 50 && counts.forged > 50, "{counts:?}");
}

/// A seed is a history.
#[test]
fn one_seed_gives_one_history() {
    for seed in 1..=5 {
        assert_eq!(farm::run(seed, None), farm::run(seed, None), "seed {seed}");
    }
}
