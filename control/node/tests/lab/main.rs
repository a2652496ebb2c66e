//! The lab behind every balancer (`deploy/lab/run`), with few calls: real members behind the rules that
//! `ringfarm lb render` gives to operators, in network namespaces, judged by tshark.

#[expect(dead_code, reason = "what only tests of a single node need of it")]
#[path = "../peers/baresip.rs"]
mod baresip;
mod clients;
#[expect(dead_code, unused_imports, reason = "what only tests of a single node need of it")]
#[path = "../peers/harness/mod.rs"]
mod harness;
#[expect(dead_code, reason = "what only tests of a single node need of it")]
#[path = "../peers/kamailio.rs"]
mod kamailio;
#[path = "../peers/scenario.rs"]
mod scenario;
#[expect(dead_code, reason = "what only tests of a single node need of it")]
#[path = "../peers/sipp.rs"]
mod sipp;
#[expect(dead_code, reason = "what only tests of a single node need of it")]
#[path = "../peers/tone.rs"]
mod tone;

use std::path::PathBuf;

use clap::Parser as _;
use lab::LabArgs;
use lab::changes::What;
use lab::report::{Outcome, Report};
use load::relaybench::stop::Stop;

/// The node to run.
fn program() -> PathBuf {
    let program = std::env::var_os("RINGFARM_BIN").map(PathBuf::from);
    program.unwrap_or_else(|| env!("CARGO_BIN_EXE_ringfarm").into())
}

/// Runs it with these words.
fn lab(words: &str) -> Report {
    let program = program();
    let mut line: Vec<String> =
        std::iter::once("lab").chain(words.split(' ')).map(str::to_owned).collect();
    line.extend(["--ringfarm".to_owned(), program.display().to_string()]);
    let args = LabArgs::parse_from(line);
    lab::run(&args, &Stop::default()).unwrap_or_else(|error| panic!("lab {words}: {error:#}"))
}

/// Every packet goes to a random frontend; no call may fail, no packet of media be lost, and nothing may come
/// from another address and port than the client has asked or was told.
fn flawless(words: &str) -> Outcome {
    let report = lab(words);
    assert!(report.is_flawless(), "{report}");
    let [outcome] = <[Outcome; 1]>::try_from(report.topologies).expect("one topology");
    assert!(outcome.answers_judged > 0 && outcome.media_judged > 0, "{outcome:?}");
    assert!(outcome.inner_hop_share > 0.3, "not at random: {outcome:?}");
    outcome
}

/// Rows S33, S38, S59 to S63, B4: clients see one address, whoever answers; what a dead or draining frontend
/// had of what is new goes to the others within two seconds.
#[test]
fn behind_a_single_address_calls_lose_nothing_also_when_frontends_leave() {
    let outcome = flawless("single-ip-nat --calls 24 --rate 12 --seconds 2 --change-calls 12");
    let left: Vec<What> = outcome.changes.iter().map(|change| change.what).collect();
    assert_eq!(left, [What::Drained, What::Killed]);
}

/// Rows S41, S66, S68: SIP by the balancer's address, media by the frontends' own.
#[test]
fn behind_a_balancer_of_sip_alone_media_goes_to_the_frontends_themselves() {
    flawless("multi-ip --calls 24 --rate 12 --seconds 2 --change-calls 0");
}

/// Rows S69 to S71: the same, where an address of the balancer's stands for each frontend.
#[test]
fn behind_mapped_addresses_descriptions_name_the_address_that_stands_for_the_frontend() {
    flawless("multi-ip-nat --calls 24 --rate 12 --seconds 2 --change-calls 0");
}

/// Rows S43 to S54, S67: answers pass the balancer by and come from the shared address, whichever frontend
/// got the request.
#[test]
fn with_direct_server_return_answers_come_from_the_shared_address() {
    flawless("dsr --calls 24 --rate 12 --seconds 2 --change-calls 0");
}

/// Rows S37, S39: a balancer that binds sessions gives answers of other frontends than the one that got the
/// request another port, and `ringfarm doctor` says from a client's host that it does.
#[test]
fn with_session_binding_answers_come_from_the_wrong_port() {
    let report = lab(
        "single-ip-nat --calls 6 --rate 6 --seconds 1 --family ipv4 --transport udp --session-binding",
    );
    assert!(report.wrong_source_answers > 0, "{report}");
    assert!(report.topologies[0].doctor.contains(&"session_binding".to_owned()), "{report}");
}
