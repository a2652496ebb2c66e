//! The farm in a simulated network: 200 seeds. More are the binary's:
//! `cargo run --release -p ringfarm-sim -- farm --seeds 100000`.

use sim::farm::{self, Counts};

/// S20 to S31, B1 to B5: whatever is lost, and whoever comes, goes and dies.
#[test]
fn members_that_act_as_one_do_so_whatever_happens() {
    let mut counts = Counts::default();
    for seed in 1..=200 {
        let report = farm::run(seed, None);
        assert!(report.violations.is_empty(), "{report}");
        counts.add(&report.counts);
    }
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
