//! Calls with media while members come, drain and die, and while the engine loses its leader and all else.

use std::time::Duration;

use crate::harness::{node, run, wait_for};
use crate::lab::{ENGINE, FRONTENDS, Farm, Segment};
use crate::load::{Calls, Load};
use crate::member::{OPEN, wait_alone};

const SOON: Duration = Duration::from_secs(60);
/// Calls that are up on a member.
const CALLS: &str = "ringfarm_sip_calls";

/// Half of the calls have begun: something can happen to the farm now.
fn wait_half_begun(farm: &Farm<'_>, calls: Calls) {
    let half = usize::try_from(calls.count / 2).unwrap_or(usize::MAX);
    wait_for("half of the calls", SOON, || {
        farm.figure(CALLS) as usize + farm.ended_calls().iter().sum::<usize>() >= half
    });
}

/// Row S16, B3: a member that joins takes new calls once it knows whom the others know, and no call that is being
/// set up or is up notices.
#[test]
fn a_frontend_that_joins_disturbs_no_call() {
    let segment = Segment::create();
    let mut farm = Farm::start(&segment, 2, 0);
    let calls = Calls::new(120);
    let load = Load::start(&segment, calls);
    wait_half_begun(&farm, calls);
    farm.frontends.push(farm.frontends[0].let_in(FRONTENDS[2], OPEN));
    farm.wait_met();
    segment.spread_over(&farm.addresses());
    let report = load.report();
    assert!(report.is_flawless(), "{report}");
}

/// Row B4: a member that drains keeps its calls until they have ended, takes no new ones, and ends.
#[test]
fn a_frontend_that_drains_disturbs_no_call() {
    let segment = Segment::create();
    let mut farm = Farm::start(&segment, 3, 0);
    let calls = Calls::new(120);
    let load = Load::start(&segment, calls);
    wait_half_begun(&farm, calls);
    let leaving = farm.frontends.remove(1);
    let socket = segment.dir().join("frontend-2").join("control.sock");
    let mut drain = segment.host(leaving.address).command(node::binary());
    run(drain.args(["drain", "--socket"]).arg(&socket));
    // A balancer takes away whom its probe finds unwilling; datagrams under way still reach it.
    segment.spread_over(&farm.addresses());
    let report = load.report();
    assert!(report.is_flawless(), "{report}");
    let kept = leaving.ended_calls().len();
    let ended = farm.ended_calls().iter().sum::<usize>();
    assert_eq!(kept + ended, calls.count as usize);
    assert!(kept < calls.count as usize / 2, "it took new calls: {kept}");
    leaving.stop();
}

/// Row B5: with a member die the calls that it owned, and no others.
#[test]
fn calls_of_other_members_survive_the_death_of_one() {
    let segment = Segment::create();
    let mut farm = Farm::start(&segment, 3, 0);
    let calls = Calls::new(120);
    let load = Load::start(&segment, calls);
    wait_half_begun(&farm, calls);
    let dying = farm.frontends.remove(1);
    // Those of the time between the look and the death are its own, too.
    let owned = dying.figure(CALLS) as u32 + calls.per_second;
    dying.kill();
    // The balancer notices after a while, as its probes do.
    wait_alone(&farm.frontends.iter().collect::<Vec<_>>());
    segment.spread_over(&farm.addresses());
    let report = load.report();
    let suffered = report.sessions_failed + report.hangups_failed;
    assert!(suffered <= owned, "{suffered} of {owned} calls of the dead member:\n{report}");
    assert!(report.sessions_with_loss <= u64::from(owned), "{report}");
    eprintln!("{suffered} calls suffered, the dead member owned at most {owned}");
}

/// No call waits for the engine: neither the death of its leader nor that of all its servers is noticed by
/// calls that are up or begin.
#[test]
fn calls_go_on_and_begin_while_the_engine_dies() {
    let segment = Segment::create();
    let mut farm = Farm::start(&segment, 3, 0);
    let calls = Calls::new(120);
    let load = Load::start(&segment, calls);
    wait_half_begun(&farm, calls);
    let leader = farm.engine.wait_bucket_led();
    farm.engine.kill(leader);
    assert_ne!(farm.engine.wait_bucket_led(), leader);
    (0..ENGINE.len()).for_each(|server| farm.engine.kill(server));
    let report = load.report();
    assert!(report.is_flawless(), "{report}");
    assert_eq!(farm.ended_calls().iter().sum::<usize>(), calls.count as usize);
    // Calls that begin without any engine.
    let report = Load::start(&segment, Calls { count: 20, ..calls }).report();
    assert!(report.is_flawless(), "{report}");
}
