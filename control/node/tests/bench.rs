//! `ringfarm bench relay`: this program's relay against the floor, in a size that says nothing about
//! speed. It needs root for its namespaces, as the peer tests do.

use std::process::Command;

use serde_json::Value;

/// Runs the benchmark to its end (it bounds itself) and returns its report.
fn bench(words: &str) -> (i32, Value, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ringfarm"))
        .args(["bench", "relay", "--quick", "--json", "--minutes-max", "3"])
        .args(words.split(' '))
        .output()
        .expect("the binary runs");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: it did not report: {log}"));
    (output.status.code().expect("it ended by itself"), report, log)
}

/// The node relays sessions that are set up over ng: every packet of audio and video arrives as it
/// was sent, and the report has the figures that its targets are stated in.
#[test]
fn the_relay_is_measured_over_ng_against_the_floor() {
    let words = "--systems ringfarm,epoll --parts audio,video,setup --streams 4 --rounds 1 --seconds 0.2 --topology namespaces";
    let (code, report, log) = bench(words);
    assert_eq!((code, &report["complete"]), (0, &Value::Bool(true)), "{log}");
    for load in report["workloads"].as_array().expect("loads") {
        for system in ["ringfarm", "epoll"] {
            let row = &load["systems"][system];
            let content = &row["content"];
            assert_eq!(content["received"], content["sent"], "{system}: {load}\n{log}");
            assert!(row["us_per_packet"]["median"].as_f64() > Some(0.0), "{system}: {row}\n{log}");
        }
    }
    for path in ["/ratios/cpu_vs_epoll/4", "/setup_us/p99"] {
        assert!(report.pointer(path).and_then(Value::as_f64) > Some(0.0), "{path}: {report}");
    }
    assert!(report["session_bytes"].is_number(), "{report}");
    let set_up = &report["set_up"]["ringfarm"];
    let held = (&set_up["sessions_held"], &set_up["content"]["lost"], &set_up["why"]);
    assert_eq!(held, (&20.into(), &0.into(), &serde_json::json!([])), "{log}");
}
