//! The relay benchmark as a whole, as a user runs it, in sizes that say nothing about speed: needs
//! root for its namespaces, and rtpengine.

#![expect(clippy::unwrap_used, reason = "a test may end anywhere")]

mod run;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::run::{Run, children_of, namespaces_of, require};

const ENOUGH: Duration = Duration::from_secs(120);

fn benchmark(words: &str) -> Run {
    Run::start(words)
}

fn systems(report: &Value, load: usize) -> BTreeSet<String> {
    report["workloads"][load]["systems"].as_object().unwrap().keys().cloned().collect()
}

/// The figures that the report promises, of every system: cost, loss, latency, content.
#[test]
fn a_quick_run_reports_every_system_and_leaves_nothing_behind() {
    require("rtpengine");
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("relay.html");
    let run = benchmark(&format!(
        "--quick --systems rtpengine,epoll,forward --parts audio,video,setup --streams 4 --seconds 0.2 \
         --topology namespaces --json --html {}",
        page.display()
    ));
    let pid = run.pid();
    let (code, report, log) = run.finish(ENOUGH);
    assert_eq!(code, 0, "{log}");
    assert_eq!((&report["complete"], &report["quick"]), (&true.into(), &true.into()));
    assert_eq!(report["method"]["topology"], "namespaces");
    for load in 0..3 {
        assert_eq!(
            systems(&report, load),
            ["epoll", "forward", "rtpengine"].map(String::from).into(),
            "{log}"
        );
        for (system, row) in report["workloads"][load]["systems"].as_object().unwrap() {
            check_row(system, row, &log);
        }
    }
    check_order(&report["order"]);
    let set_up = &report["set_up"]["rtpengine"];
    assert_eq!((&set_up["sessions_held"], &set_up["content"]["lost"]), (&20.into(), &0.into()));
    assert!(set_up["setup_us_last_tenth"]["p99"].as_f64().unwrap() > 0.0, "{set_up}");
    let command = report["commands"]["rtpengine"].as_str().unwrap();
    for flag in ["--table=-1", "--num-threads=1", "--endpoint-learning=immediate"] {
        assert!(command.contains(flag), "{command}");
    }
    let html = std::fs::read_to_string(page).unwrap();
    assert!(html.contains("<svg ") && html.ends_with("</html>\n"));
    assert!(!html.contains("src=") && !html.contains("href="), "it needs nothing else");
    assert_eq!(namespaces_of(pid), [] as [String; 0]);
    assert_eq!(children_of(pid), [] as [u32; 0], "{log}");
}

fn check_row(system: &str, row: &Value, log: &str) {
    let number = |path: &str| row.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN);
    for field in ["/us_per_packet", "/latency_us/p99", "/loss"] {
        let (min, median, max) = (
            number(&format!("{field}/min")),
            number(&format!("{field}/median")),
            number(&format!("{field}/max")),
        );
        assert!(min <= median && median <= max, "{system} {field}: {row}\n{log}");
    }
    assert!(number("/us_per_packet/min") > 0.0, "{system}: {row}");
    let content = &row["content"];
    assert!(content["received"].as_u64().unwrap() > 20, "{system}: {row}");
    assert_eq!(content["received"], content["sent"], "{system}: {row}\n{log}");
    for fault in ["lost", "corrupt", "misdelivered", "duplicate"] {
        assert_eq!(content[fault], 0, "{system} {fault}: {row}\n{log}");
    }
    assert_eq!(row["rounds"].as_object().unwrap().len(), 2, "{system}");
}

/// A B C, A B C: each load meets the systems in turns, and each round meets every load.
fn check_order(order: &Value) {
    let steps = order.as_array().unwrap().iter().filter(|step| step["workload"] != "set-up");
    let steps: Vec<_> = steps
        .map(|step| {
            let text = |key: &str| step[key].as_str().unwrap().to_owned();
            (step["round"].as_u64().unwrap(), text("workload"), text("system"))
        })
        .collect();
    let mut expected = Vec::new();
    for round in [1, 2] {
        for load in ["g711-4", "video-4", "av-8"] {
            for system in ["rtpengine", "epoll", "forward"] {
                expected.push((round, load.to_owned(), system.to_owned()));
            }
        }
    }
    assert_eq!(steps, expected);
}

#[test]
fn over_loopback_it_says_so_and_what_cannot_be_there() {
    let run = benchmark(
        "--topology loopback --systems epoll,forward --parts audio --streams 4 --rounds 1 --seconds 0.2 --json",
    );
    let (code, report, log) = run.finish(ENOUGH);
    assert_eq!(code, 0, "{log}");
    assert_eq!(report["method"]["topology"], "loopback");
    let notes = report["method"]["notes"].to_string();
    assert!(notes.contains("Plain loopback"), "{notes}");
    let row = &report["workloads"][0]["systems"]["epoll"];
    assert_eq!(
        (&row["content"]["lost"], row["content"]["sent"].as_u64() > Some(10)),
        (&0.into(), true)
    );
    let why = report["workloads"][0]["systems"]["forward"]["why"].to_string();
    assert!(why.contains("only between namespaces"), "{why}");
}

#[test]
fn a_system_that_is_not_installed_has_a_row_that_says_so() {
    let run = benchmark(
        "--rtpengine /nonexistent/rtpengine --systems rtpengine,epoll --parts audio,setup,capacity --quick \
         --streams 4 --rounds 1 --seconds 0.1 --topology loopback",
    );
    let (code, text, log) = run.finish_text(ENOUGH);
    assert_eq!(code, 0, "{log}");
    assert!(text.contains("rtpengine cannot be started"), "{text}");
    assert!(text.contains("highest rate without loss, epoll"), "{text}");
}

#[test]
fn ctrl_c_ends_it_with_what_there_is_and_nothing_is_left() {
    let mut run = benchmark(
        "--systems epoll --parts audio --streams 4 --rounds 1000 --seconds 0.3 --json --topology namespaces",
    );
    let pid = run.pid();
    run.wait_log("round 1 g711-4 epoll: ", ENOUGH);
    assert_ne!(namespaces_of(pid).len(), 0);
    run.interrupt();
    let (code, report, log) = run.finish(Duration::from_secs(20));
    assert_eq!((code, &report["complete"]), (1, &false.into()), "{log}");
    let rounds = &report["workloads"][0]["systems"]["epoll"]["rounds"];
    assert!(rounds.as_object().is_some_and(|rounds| !rounds.is_empty()), "{report}");
    assert_eq!(namespaces_of(pid), [] as [String; 0]);
    assert_eq!(children_of(pid), [] as [u32; 0], "{log}");
}

/// A killed run can clean nothing up; its system dies with it, and the next run removes the rest.
#[test]
fn what_a_killed_run_leaves_behind_is_removed_by_the_next() {
    let mut run = benchmark(
        "--systems epoll --parts audio --streams 4 --rounds 1000 --seconds 0.3 --topology namespaces",
    );
    let pid = run.pid();
    run.wait_log("round 1 g711-4 epoll: ", ENOUGH);
    // One is running, or about to.
    run::wait_for("the system under test", || !children_of(pid).is_empty());
    run.kill();
    let left = namespaces_of(pid);
    assert_eq!(left.len(), 3, "{left:?}");
    run::wait_for("the system under test to be gone", || children_of(pid).is_empty());
    let next = benchmark(
        "--systems epoll --parts audio --streams 4 --rounds 1 --seconds 0.1 --topology namespaces",
    );
    let (code, _, log) = next.finish_text(ENOUGH);
    assert_eq!(code, 0, "{log}");
    assert_eq!(namespaces_of(pid), [] as [String; 0]);
}
