//! Members that drain, and members that are no farm members, between processes.

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::member::{Cluster, Member, logs, of};
use crate::phone::Phone;
use crate::{PATIENCE, make_calls, sip};

/// Far less than a drain may take (`cluster.drain_s` is 5 here, and calls last until they are ended).
const AT_ONCE: Duration = Duration::from_secs(4);

/// `ringfarm drain --wait` for a member.
fn drain_and_wait(member: &Member) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfarm"));
    command.args(["drain", "--wait", "--json", "--socket"]).arg(member.socket());
    command.stdout(Stdio::null()).spawn().expect("the binary runs")
}

/// Looks at a child until it has ended, for so long; whether it ended well.
fn ends(child: &mut Child, within: Duration) -> Option<bool> {
    let end = Instant::now() + within;
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return Some(status.success());
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// B4, S55 to S57: readiness and the balancers' OPTIONS turn unhealthy first, while the call goes on; the
/// command that waits comes back once the call has ended, not before.
#[test]
fn a_drain_that_is_waited_for_ends_with_the_last_call() {
    let cluster = Cluster::start(1);
    let members = sip(&cluster);
    let member = &cluster.members[0];
    let mut callee = Phone::new("b", 1);
    assert_eq!(callee.register(&members), 200, "{}", logs(&cluster));
    let mut caller = Phone::new("a", 2);
    let (mut call, _) = caller.call(&members, &mut callee).expect("a call");
    let mut ping = Phone::new("ping", 3);
    assert_eq!(ping.ping(members[0]), 200);
    assert_eq!(member.ready(), 200);
    let mut drain = drain_and_wait(member);
    member.until("it drains", |list| of(list, &member.name)["draining"] == true);
    assert_eq!((ping.ping(members[0]), member.ready()), (503, 503));
    assert_eq!(ends(&mut drain, Duration::from_millis(700)), None, "a call is up");
    assert_eq!(caller.hang_up(&members, &mut call, &mut callee), 200, "{}", logs(&cluster));
    assert_eq!(ends(&mut drain, PATIENCE), Some(true), "{}", logs(&cluster));
}

/// B4: who is told a second time does not wait for calls any more.
#[test]
fn a_second_signal_ends_a_member_at_once() {
    let mut cluster = Cluster::start(1);
    let members = sip(&cluster);
    let mut callee = Phone::new("b", 1);
    assert_eq!(callee.register(&members), 200, "{}", logs(&cluster));
    let mut caller = Phone::new("a", 2);
    assert!(caller.call(&members, &mut callee).is_ok(), "{}", logs(&cluster));
    let member = &mut cluster.members[0];
    member.signal(Signal::SIGTERM);
    member.until("it drains", |list| of(list, "n1")["draining"] == true);
    let told = Instant::now();
    member.signal(Signal::SIGTERM);
    assert_eq!(member.ended(), Some(1), "{}", member.log());
    assert!(told.elapsed() < AT_ONCE, "{:?}", told.elapsed());
    assert!(member.log().contains("SIGTERM again: ending at once"), "{}", member.log());
}

/// S22, S24: what belongs to a call reaches its owner also by way of members that are no farm members, be they
/// set to relay or to neither; what is new they process themselves.
#[test]
fn requests_of_calls_reach_their_owners_by_way_of_members_outside_the_farm() {
    let cluster = Cluster::start(3);
    for (name, mode) in [("n2", "disabled"), ("n3", "relay")] {
        cluster.members[0].ask(&["settings", "set", "member.farm", mode, "--member", name]);
        for member in &cluster.members {
            member.until("the setting", |list| of(list, name)["farm"]["effective"] == mode);
        }
    }
    make_calls(&cluster, &sip(&cluster), 12);
    for member in &cluster.members[1..] {
        let farm = &member.list()["farm"];
        assert!(farm["relayed_out"].as_u64() > Some(0), "pinned requests: {farm}");
        // Some calls are its own: their requests come back to it.
        assert!(farm["relayed_in"].as_u64() > Some(0), "{farm}");
        assert_eq!(farm["relay_failed"], 0, "{farm}");
    }
}
