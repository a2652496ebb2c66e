//! Backends that send out through farm members (rows S22, S23).

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::changes::SOON;
use crate::harness::{run, wait_for};
use crate::lab::{BACKENDS, Farm, Segment};
use crate::load::{Calls, Load};
use crate::member::{MEMBERS, Member};

/// What a backend has sent by way of farm members, and whether it lacks one that it needs.
const SENT_OUT: &str = "ringfarm_farm_sent_out_total";
const NO_EXIT: &str = "ringfarm_farm_no_exit";

/// A list of members without those that have left is made once the engine takes it, which on a busy machine
/// it does not at once.
const LEFT: Duration = Duration::from_secs(150);

/// Calls of each backend.
const COUNT: u32 = 10;

/// Requests to other hosts than members are dropped where a backend would send them itself: responses begin
/// with `SIP/`.
const NO_WAY_OUT: &str = "table ip exit {\nchain out {\ntype filter hook output priority 0\n\
    udp sport 5060 @th,64,32 != 0x5349502f counter drop\n}\n}";

fn calls_at(backend: Ipv4Addr) -> Calls {
    Calls { at: Some(backend), count: COUNT, per_second: COUNT, ..Calls::new(COUNT, COUNT) }
}

fn loads(segment: &Segment) -> [Load; 2] {
    BACKENDS.map(|backend| Load::start(segment, calls_at(backend)))
}

/// S22, S23: calls that come to a backend, which is set to relay or is one by itself, go out through farm
/// members, though nothing else leads out, and so does what follows within them.
pub(crate) fn through_farm_members(segment: &Segment, farm: &Farm<'_>) {
    BACKENDS
        .iter()
        .for_each(|backend| drop(run(segment.host(*backend).command("nft").arg(NO_WAY_OUT))));
    for report in loads(segment).map(Load::report) {
        assert!(report.is_flawless(), "at {}:\n{report}", report.target);
    }
    for backend in &farm.backends {
        assert_eq!(backend.ended_calls().len(), COUNT as usize, "calls of {}", backend.address);
        // INVITE, ACK and, of every other call, BYE.
        let sent = backend.figure(SENT_OUT);
        assert!(sent >= f64::from(2 * COUNT), "{}: {sent} messages", backend.address);
        let exits =
            run(segment.host(backend.address).command("nft").args(["list", "table", "ip", "exit"]));
        assert!(
            exits.contains("counter packets 0 "),
            "{} sent requests itself: {exits}",
            backend.address
        );
    }
}

/// S22, S23: once there is no farm member any more, a backend that is set to relay refuses what it would have to
/// send (503), at once, and says so to its operator; one that relays by itself sends by itself.
pub(crate) fn without_farm_members(segment: &Segment, farm: Farm<'_>) {
    let Farm { frontends, backends, engine } = farm;
    frontends.into_iter().for_each(Member::stop);
    let [set, by_itself] = &backends[..] else { panic!("two backends") };
    // They are off the list, not only away: who sees less than half of the farm takes nothing new.
    wait_for("the frontends to be off the list", LEFT, || {
        backends.iter().all(|backend| backend.figure(MEMBERS) < 2.5)
    });
    wait_for("the alarm of who has no way out", SOON, || set.figure(NO_EXIT) > 0.5);
    run(segment.host(by_itself.address).command("nft").args(["delete", "table", "ip", "exit"]));
    let [refused, served] = loads(segment).map(Load::report);
    let why = "INVITE answered 503 No Farm Member To Send Through";
    let count: u64 = refused
        .failures
        .iter()
        .filter(|(said, _)| said.starts_with(why))
        .map(|(_, count)| count)
        .sum();
    assert_eq!(count, u64::from(COUNT), "{refused}");
    assert!(served.is_flawless(), "{served}");
    assert!(by_itself.figure(NO_EXIT) < 0.5, "it has a way out of its own");
    drop(engine);
}
