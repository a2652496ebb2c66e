//! `[node]`, and what a machine must have for it.

use control_core::settings::{
    AbsentAddresses, Host, Overrides, WorkerPriority, Workers, check_with,
};

use crate::{bad, good};

fn on_host(text: &str, cores: &[usize]) -> Vec<String> {
    let checked =
        check_with(text, &Overrides::default()).unwrap_or_else(|problems| panic!("{problems:?}"));
    let problems = checked.against(&Host { cores: cores.to_vec() });
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_name_is_letters_digits_and_a_few_signs() {
    good("[node]\nname = \"fe-1.example_a\"\n");
    for name in ["", "two words", "ä", "x\\n", &"x".repeat(65)] {
        let problems = bad(&format!("[node]\nname = \"{name}\"\n"));
        assert!(problems.starts_with("2:8: node.name: "), "{problems}");
    }
}

#[test]
fn workers_are_auto_or_a_number_in_range() {
    assert_eq!(good("[node]\nworkers = 3\n").node.workers, Workers::Count(3));
    assert_eq!(good("[node]\nworkers = \"auto\"\n").node.workers, Workers::Auto);
    for workers in ["0", "257", "-1", "\"many\"", "1.5"] {
        let problems = bad(&format!("[node]\nworkers = {workers}\n"));
        assert!(problems.starts_with("2:11: node.workers: "), "{problems}");
    }
}

#[test]
fn a_core_is_listed_once() {
    assert_eq!(
        bad("[node]\ncores = [0, 1, 0]\n"),
        "2:16: node.cores[2]: core 0 is listed twice; list each core once"
    );
}

#[test]
fn as_many_workers_as_listed_cores() {
    good("[node]\nworkers = 2\ncores = [0, 1]\n");
    let problems = bad("[node]\nworkers = 3\ncores = [0, 1]\n");
    assert!(problems.starts_with("2:11: node.workers: 3 workers do not fit on 2"), "{problems}");
}

#[test]
fn a_worker_gets_each_listed_core_or_else_each_available_one_in_turn() {
    assert_eq!(good("").node.worker_cores(&[4, 6]), [4, 6]);
    assert_eq!(good("[node]\ncores = [6]\n").node.worker_cores(&[4, 6]), [6]);
    assert_eq!(good("[node]\nworkers = 1\n").node.worker_cores(&[4, 6]), [4]);
    assert_eq!(good("[node]\nworkers = 3\n").node.worker_cores(&[4, 6]), [4, 6, 4]);
    assert!(good("").node.worker_cores(&[]).is_empty());
}

#[test]
fn a_core_that_the_machine_lacks_is_a_problem_on_that_machine_only() {
    let text = "[node]\ncores = [0, 7]\n";
    assert!(on_host(text, &[0, 7]).is_empty());
    assert_eq!(
        on_host(text, &[0, 1]),
        ["2:13: node.cores[1]: the process may not run on core 7; choose from [0, 1]"]
    );
}

#[test]
fn ports_for_one_worker_a_core_are_counted_on_the_machine() {
    let text = "[media]\nports = \"20000-20015\"\n";
    assert!(on_host(text, &[0, 1]).is_empty());
    let problems = on_host(text, &[0, 1, 2]);
    assert!(problems[0].starts_with("2:9: media.ports: 20000-20015 is 16 ports for 3 workers"));
}

#[test]
fn a_log_filter_is_levels_and_levels_of_parts() {
    let text = "[node]\nlog = \"warn,signaling_net=debug,relay_core::leg=trace\"\n";
    assert_eq!(good(text).node.log.as_str(), "warn,signaling_net=debug,relay_core::leg=trace");
    for (log, what) in [
        ("loud", "\"loud\" is not a log level"),
        ("", "\"\" is not a log level"),
        ("info,a b=debug", "\"a b\" is not a part of the node"),
        ("info,x=y", "\"y\" is not a log level"),
    ] {
        let problems = bad(&format!("[node]\nlog = \"{log}\"\n"));
        assert!(problems.starts_with(&format!("2:7: node.log: {what}")), "{problems}");
    }
}

#[test]
fn limits_stay_in_their_ranges_and_a_call_counts_as_a_transaction() {
    assert_eq!(good("[limits]\nsessions = 10\n").limits.sessions, 10);
    assert_eq!(
        bad("[limits]\nsessions = 100\ntransactions = 50\n"),
        "3:16: limits.transactions: 50 is less than sessions = 100; \
         each call that is set up is a request in progress: choose at least as many"
    );
    let problems = bad("[limits]\ncontacts_per_user = 0\nregistrations = 0\ntcp_connections = 0\n");
    assert_eq!(problems.lines().count(), 3, "{problems}");
}

#[test]
fn workers_are_ranked_by_nice_unless_the_file_says_otherwise() {
    let priority = |text: &str| good(text).node.priority;
    assert_eq!(priority(""), WorkerPriority::Nice);
    assert_eq!(priority("[node]\npriority = \"realtime\"\n"), WorkerPriority::Realtime);
    assert_eq!(priority("[node]\npriority = \"inherited\"\n"), WorkerPriority::Inherited);
    assert!(bad("[node]\npriority = \"high\"\n").contains("unknown priority \"high\""));
}

/// S50: an address may come later, if the file says so.
#[test]
fn absent_addresses_are_refused_unless_the_file_accepts_them() {
    assert_eq!(good("").node.absent_addresses, AbsentAddresses::Refuse);
    let accepted = good("[node]\nabsent_addresses = \"accept\"\n");
    assert_eq!(accepted.node.absent_addresses, AbsentAddresses::Accept);
    assert!(bad("[node]\nabsent_addresses = \"wait\"\n").contains("\"refuse\" or \"accept\""));
}
