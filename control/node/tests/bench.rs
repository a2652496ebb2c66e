//! `ringfarm bench`: this program's relay against the floor and its SIP side beside Kamailio, in sizes
//! that say nothing about speed, against a stranger, and under mutated messages. It needs root for its namespaces, as the peer tests do.

mod nats;

use std::process::Command;

use serde_json::Value;

/// Runs the benchmark to its end (it bounds itself) and returns its report.
fn bench(words: &str) -> (i32, Value, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ringfarm"))
        .args(["bench"])
        .args(words.split_whitespace())
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
    let words = "relay --quick --json --minutes-max 3 --systems ringfarm,epoll --parts audio,video,setup --streams 4 --rounds 1 --seconds 0.2 --topology namespaces";
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
    for path in ["/ratios/cpu_vs_epoll/4", "/setup_us/p99", "/ping_us/p99"] {
        assert!(report.pointer(path).and_then(Value::as_f64) > Some(0.0), "{path}: {report}");
    }
    assert!(report["session_bytes"].is_number(), "{report}");
    let set_up = &report["set_up"]["ringfarm"];
    assert!(set_up["setup_cpu_us"].as_f64() > Some(0.0), "{set_up}");
    // How many it holds within the time that a set-up may take is the machine's affair.
    assert!(set_up["sessions_held"].as_u64() > Some(0), "{log}");
    assert_eq!(set_up["content"]["lost"], 0, "{log}");
}

/// Calls pass through a single node and through farms of one, two and three members, none fails wherever its
/// datagrams arrive, and the report has the figures that the target is stated in.
#[test]
fn farms_are_measured_beside_a_single_node() {
    let words = format!(
        "farm --smoke --json --minutes-max 3 --topology namespaces --nats-server {}",
        nats::server().display()
    );
    let (code, report, log) = bench(&words);
    assert_eq!((code, &report["complete"]), (0, &Value::Bool(true)), "{log}");
    assert_eq!(report["failures"], 0, "{log}");
    let number = |path: &str| report.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN);
    assert!(number("/ratios/cpu_per_call_vs_single") > 0.0, "{log}");
    assert!(number("/latency_added_us/members3/bye_200/p99/median").is_finite(), "{report}");
}

/// Calls over UDP and TCP and registrations with digest pass through the node and through Kamailio,
/// none fails, none is repeated, what arrives is what a proxy may make of it, and the report has the
/// figures that its targets are stated in.
#[test]
fn calls_and_registrations_are_measured_beside_kamailio() {
    let words = "sip --smoke --json --minutes-max 3 --rounds 1 --seconds 0.4 --transports udp,tcp \
                 --parts calls,register,memory --topology namespaces";
    let (code, report, log) = bench(words);
    assert_eq!((code, &report["complete"]), (0, &Value::Bool(true)), "{log}");
    for field in ["failures", "retransmissions", "misjudged"] {
        assert_eq!(report[field], 0, "{field}: {log}");
    }
    let number = |path: &str| report.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN);
    for load in ["udp", "tcp", "tcp_phones", "register", "refresh"] {
        assert!(number(&format!("/ratios/cpu_vs_kamailio/{load}")) > 0.0, "{load}: {log}");
        for system in ["ringfarm", "kamailio"] {
            let row = &report["rows"][load]["systems"][system];
            assert!(row["cpu_us_per_call"]["min"].as_f64() > Some(0.0), "{load} {system}: {row}");
            assert!(row["started"].as_u64() > Some(50), "{load} {system}: {row}\n{log}");
            assert_eq!(row["failures"], 0, "{load} {system}: {row}\n{log}");
            assert!(report["configurations"][load][system].is_string(), "{load} {system}");
            let call = !load.starts_with("re");
            let latency = if call { "bye_200" } else { "register_200" };
            assert!(row["latency_us"][latency]["p99"]["median"].as_f64() > Some(0.0), "{row}");
            assert_eq!(row["judged"].as_u64() > Some(0), call, "{load} {system}: {row}");
        }
    }
    for what in ["contacts", "dialogs"] {
        for system in ["ringfarm", "kamailio"] {
            let memory = &report["memory"][what][system];
            assert!(memory["count"].as_u64() > Some(10), "{what} {system}: {memory}\n{log}");
            assert_eq!(memory["why"], serde_json::json!([]), "{what} {system}: {log}");
        }
    }
    let rounds = &report["rows"]["register"]["systems"]["ringfarm"]["rounds"]["1"];
    assert_eq!(rounds["challenged"], rounds["started"], "each is asked for its credentials");
}

/// "RTP bleed" (CVE-2025-53399): what a stranger achieves against the running node is no more than is
/// documented for each mode of learning, and where the documentation says that nothing can be done
/// (a run of its own from the peer's address, before the peer), the attack is seen to be real.
#[test]
fn a_stranger_achieves_no_more_than_is_documented() {
    const PLACES: usize = 2;
    const TIMES: usize = 3;
    const KINDS: usize = 7;
    let (code, report, log) = bench("stranger --packets 6 --json --topology namespaces");
    assert_eq!(report["exceeded"], serde_json::json!([]), "{log}");
    assert_eq!((code, &report["complete"]), (0, &Value::Bool(true)), "{log}");
    let modes = report["systems"]["ringfarm"]["modes"].as_array().expect("modes");
    let names: Vec<_> = modes.iter().filter_map(|mode| mode["mode"].as_str()).collect();
    let all = ["strict", "strict-nat", "nat", "asymmetric", "flag-sip-source", "flag-asymmetric"];
    assert_eq!(names, all);
    for mode in modes {
        let cases = mode["cases"].as_array().expect("cases");
        assert_eq!(cases.len(), PLACES * TIMES * KINDS, "{mode}");
        let sum = |field: &str| cases.iter().filter_map(|case| case[field].as_u64()).sum::<u64>();
        assert_eq!(sum("sent"), 6 * cases.len() as u64, "{mode}");
        let name = mode["mode"].as_str().unwrap_or_default();
        if ["strict", "flag-asymmetric"].contains(&name) {
            assert_eq!(["injected", "diverted", "lost"].map(sum), [0, 0, 0], "{mode}");
        } else {
            let real = |case: &&Value| {
                case["place"] == "same_address"
                    && case["time"] == "before"
                    && case["kind"] == "own_stream"
            };
            let taken = cases.iter().find(real).expect("the case");
            assert!(taken["injected"].as_u64() > Some(2), "{taken}");
            // What is sent to the peer goes where its SDP says if it may send from any port.
            assert_eq!(taken["diverted"].as_u64() > Some(0), name != "asymmetric", "{taken}");
        }
    }
}

/// Mutated messages over UDP and TCP do not end the node, and calls beside them do not fail.
#[test]
fn mutated_messages_disturb_neither_the_node_nor_the_calls_of_others() {
    const COUNT: u64 = 6_000;
    let (code, report, log) = bench(&format!("mutate --count {COUNT} --rate 3000 --json"));
    assert_eq!((code, &report["alive"]), (0, &Value::Bool(true)), "{report}\n{log}");
    let number = |field: &str| report[field].as_u64().unwrap_or_default();
    assert!(number("messages_udp") > COUNT / 2 && number("messages_tcp") > COUNT / 50, "{report}");
    assert!(number("calls") >= 10 && number("calls") == number("calls_answered"), "{report}");
    for class in ["2xx", "4xx", "requests"] {
        assert!(report["answers"][class].as_u64() > Some(5), "{class}: {report}");
    }
    assert_eq!(report["resident_bytes"].as_array().map(Vec::len), Some(11), "{report}");
    let fullest = &report["node_figures"]["ringfarm_sip_transactions"];
    assert!(fullest.as_f64() > Some(0.0), "the node's own figures: {report}");
}

/// Whoever names somebody else's machine is refused, and nothing is sent.
#[test]
fn mutated_messages_go_to_loopback_only() {
    let words = ["bench", "mutate", "--target", "192.0.2.1:5060"];
    let output =
        Command::new(env!("CARGO_BIN_EXE_ringfarm")).args(words).output().expect("it runs");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && log.contains("127.0.0.0/8"), "{log}");
}
