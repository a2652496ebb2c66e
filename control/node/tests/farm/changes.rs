//! Calls with media while members come, drain and die, and while the engine loses its leader and all else.

use std::collections::HashSet;
use std::time::Duration;

use load::Report;

use crate::harness::{Process, Transport, node, wait_for};
use crate::lab::{ENGINE, FRONTENDS, Farm, Segment};
use crate::load::{Calls, Load};
use crate::member::{Member, OPEN};

/// A member that drains has let its calls end within this, and one that is killed is missed.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// Calls that are up on a member.
const CALLS: &str = "ringfarm_sip_calls";

/// The loads of a test.
struct Loads(Vec<Load>);

impl Loads {
    fn start(segment: &Segment, calls: Calls) -> Loads {
        let over = [Transport::Udp, Transport::Tcp];
        Loads(over.map(|transport| Load::start(segment, calls.over(transport))).into())
    }

    /// Waits until each has had so many calls up.
    fn wait_up(&mut self, count: u32) {
        self.0.iter_mut().for_each(|load| load.wait_up(count));
    }
}

/// What can be said afterwards of a member that was killed.
struct Dead {
    /// Calls that it may have owned: those that were up, and those of about a second besides.
    owned: u32,
    /// Calls that any member had then, and those of about a second besides.
    all: u32,
    /// Calls that it had seen the end of.
    ended: HashSet<String>,
}

/// Rows S16, B3 to B5, and that nothing waits for the engine, all at once: while calls are begun and ended over
/// UDP and TCP, a frontend joins, another one drains and goes, a third one dies, and then the engine's leader
/// and all its servers. With the member that is killed die the calls that it owned; no other call over UDP fails,
/// is not ended, or loses a packet.
#[test]
fn only_calls_of_a_member_that_dies_suffer_whatever_else_happens_to_the_farm() {
    let segment = Segment::create();
    let mut farm = Farm::start(&segment, 3, 2);
    let calls = Calls::new(200, 8);
    let mut loads = Loads::start(&segment, calls);

    loads.wait_up(calls.count / 8);
    farm.frontends.push(farm.frontends[0].let_in(FRONTENDS[3], OPEN));
    farm.wait_met();
    segment.spread_over(&farm.addresses());

    let leaving = farm.frontends.remove(1);
    let drained = drain(&segment, &leaving);
    // A balancer takes away whom its probe finds unwilling; datagrams under way still reach it.
    segment.spread_over(&farm.addresses());
    loads.wait_up(calls.count * 3 / 8);
    let mut survivors = wait_left(leaving, drained);

    loads.wait_up(calls.count / 2);
    let dead = kill_a_member(&segment, &mut farm, calls);

    let leader = farm.engine.wait_bucket_led();
    farm.engine.kill(leader);
    assert_ne!(farm.engine.wait_bucket_led(), leader);
    (0..ENGINE.len()).for_each(|server| farm.engine.kill(server));

    let reports: Vec<Report> = loads.0.into_iter().map(Load::report).collect();
    survivors.extend(farm.frontends.iter().flat_map(Member::ended_call_ids));
    survivors.extend(dead.ended.iter().cloned());
    for report in &reports {
        judge(report, &survivors, &dead);
    }
    // Calls that begin without any engine.
    let calls = Calls { count: 20, per_second: 20, ..calls };
    for report in Loads::start(&segment, calls).0.into_iter().map(Load::report) {
        assert!(report.is_flawless(), "without the engine, over {}:\n{report}", report.transport);
    }
}

/// Has a member drain; the command waits until it has nothing left to do.
fn drain(segment: &Segment, member: &Member<'_>) -> Process {
    let mut command = segment.host(member.address).command(node::binary());
    Process::spawn("drain", command.args(["drain", "--wait", "--socket"]).arg(member.socket()))
}

/// Waits until a member has drained, and has it go; the calls that it has seen the end of.
fn wait_left(leaving: Member<'_>, mut drained: Process) -> HashSet<String> {
    let status = drained.wait_end(SOON);
    assert!(status.success(), "`ringfarm drain --wait`: {status}");
    assert!(leaving.figure(CALLS) < 0.5, "it says that it has drained, and has calls");
    let calls = leaving.ended_call_ids().collect();
    leaving.stop();
    calls
}

/// Kills a member in its calls, and waits until the balancer has noticed, as its probes do.
fn kill_a_member(segment: &Segment, farm: &mut Farm<'_>, calls: Calls) -> Dead {
    let dying = farm.frontends.remove(1);
    // Those of the time between the look and the death are its own, too.
    let owned = dying.figure(CALLS) as u32 + 2 * calls.per_second;
    let others = farm.frontends.iter().chain(&farm.backends).map(|one| one.figure(CALLS) as u32);
    let up = owned + others.sum::<u32>();
    let ended = dying.kill();
    let all = farm.frontends.len() + farm.backends.len();
    wait_for("a death to be seen", SOON, || farm.frontends.iter().all(|one| one.sees() == all));
    segment.spread_over(&farm.addresses());
    Dead { owned, all: up, ended }
}

/// Holds a report against what members have logged of the ends of their calls: no call suffers that was not
/// owned by the dead member, nor more than it had. Over TCP phones whose connections were to the member that dies
/// suffer, too, until they have registered anew; but no more calls than there were, as what the dead member had been
/// given of others' connections is answered.
fn judge(report: &Report, survivors: &HashSet<String>, dead: &Dead) {
    let &Dead { owned, all, .. } = dead;
    eprintln!(
        "over {}, {} suffered of {owned}, and {all} in all:\n{report}",
        report.transport,
        report.suffered_calls.len()
    );
    let suffered: HashSet<&String> = report.suffered_calls.iter().collect();
    let unregistered = report.registrations_failed + report.unregistrations_failed;
    if report.transport != "udp" {
        assert!(suffered.len() <= all as usize, "{} of {all}:\n{report}", suffered.len());
        // Two phones a call register and leave; those of a second may have been about to.
        assert!(unregistered <= 4 * all, "{report}");
        return;
    }
    let others: Vec<_> = suffered.iter().filter(|call| survivors.contains(**call)).collect();
    assert!(others.is_empty(), "calls of members that live: {others:?}\n{report}");
    assert!(suffered.len() <= owned as usize, "{} of {owned}:\n{report}", suffered.len());
    assert_eq!(unregistered, 0, "{report}");
}
