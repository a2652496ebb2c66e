//! The cores in simulated networks: a handful of seeds of each kind. Longer runs are the binary's:
//! `cargo run -p ringfarm-sim -- --seeds 1000`.

use sim::{Profile, Report, Settings};

/// Calls of a run: enough for several at once, few enough for a debug build.
const CALLS: u32 = 40;

fn run(profile: Profile, seed: u64) -> Report {
    sim::run(&Settings::new(profile, seed, CALLS), None)
}

/// Runs the seeds; the run that fails says how to repeat it.
#[track_caller]
fn holds(profile: Profile, seeds: impl IntoIterator<Item = u64>) {
    for seed in seeds {
        let report = run(profile, seed);
        assert!(report.violations.is_empty(), "{report}");
        let counts = report.counts;
        assert_eq!(counts.calls, u64::from(CALLS), "every call is made: {report}");
        assert!(counts.answered > 0 && counts.failed > 0, "calls of both kinds: {report}");
    }
}

/// Nothing is lost: each call ends as its script says, and every packet of a conversation arrives.
#[test]
fn calls_end_as_their_parties_want_on_a_calm_network() {
    holds(Profile::Calm, [1, 2, 5, 157]);
}

/// RFC 3261 17: copies are absorbed, and late ones mean nothing to what has begun since.
#[test]
fn copies_and_overtaking_change_nothing() {
    holds(Profile::Jittery, [1, 4, 8, 9]);
}

/// RFC 3261 17.1.1.2: what is lost is sent again until it is answered.
#[test]
fn lost_messages_cost_time_and_nothing_else() {
    holds(Profile::Lossy, [1, 3, 4, 5]);
}

/// RFC 3261 18.2.2: a connection that breaks is replaced where the peer can be reached.
#[test]
fn broken_connections_leave_nothing_behind() {
    holds(Profile::Streams, [1, 2, 7]);
}

#[test]
fn phones_that_vanish_for_a_while_leave_nothing_behind() {
    holds(Profile::Outages, [1, 2, 3]);
}

/// CVE-2025-53399: a peer is learned where it is, and nobody else is.
#[test]
fn media_behind_nat_is_learned_and_stays_in_its_call() {
    holds(Profile::Nat, [1, 2, 110, 148]);
}

/// A call for which there is no port is refused, and none goes around the relay instead.
#[test]
fn calls_without_ports_are_refused_and_never_go_around_the_relay() {
    holds(Profile::Scarce, [1, 2, 3, 5]);
}

#[test]
fn everything_comes_to_rest_after_a_storm() {
    holds(Profile::Storm, [1, 3, 136]);
}

/// The cores draw nothing from anywhere but what they are given, or a seed would be worth nothing.
#[test]
fn the_same_seed_gives_the_same_history() {
    for profile in [Profile::Storm, Profile::Nat] {
        let (first, second) = (run(profile, 11), run(profile, 11));
        assert_eq!(first, second);
        assert_ne!(first.fingerprint, run(profile, 12).fingerprint);
    }
}

/// A run says how to repeat it, and is one line of JSON.
#[test]
fn a_report_names_the_command_that_repeats_the_run() {
    let report = sim::run(&Settings::new(Profile::Calm, 3, 5).with_loss(0.25), None);
    let command = report.command();
    assert!(command.ends_with("--seed 3 --profile calm --calls 5 --loss 0.25"), "{command}");
    let json = report.json();
    assert!(json.starts_with("{\"seed\":3,") && json.ends_with('}'), "{json}");
    assert!(!json.contains('\n'));
}

/// A share of the packets must have been expected, or the checks would pass on silence.
#[test]
fn most_packets_of_calm_conversations_are_held_to_arrive() {
    let counts = run(Profile::Calm, 2).counts;
    assert!(counts.packets_expected * 2 > counts.packets_delivered, "{counts:?}");
    assert!(counts.packets_strange > 100 && counts.changes > 10, "{counts:?}");
}
