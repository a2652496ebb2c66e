//! Registrations that every member knows.

use std::time::Duration;

use super::super::calls::BOB;
use super::super::harness::register;
use super::Farm;

/// S32 as far as frontends share what they know: all of them look up what one was told.
#[test]
fn what_one_member_registers_all_can_look_up_until_it_expires_or_is_taken_back() {
    let mut farm = Farm::new(3, 5);
    farm.register("bob", BOB);
    assert!(farm.members.iter().all(|bench| bench.proxy.registrar().len() == 1));
    farm.join();
    assert_eq!(farm.members[3].proxy.registrar().len(), 1);
    // A device that refreshes lasts longer everywhere.
    farm.pass(Duration::from_secs(3_000));
    let refresh = register("bob", BOB, "1").replace("CSeq: 1", "CSeq: 2").replace("bKr", "bKq");
    farm.udp(BOB, &refresh);
    farm.status(BOB, 200);
    farm.pass(Duration::from_secs(3_000));
    assert!(farm.members.iter().all(|bench| bench.proxy.registrar().len() == 1));
    let gone = register("bob", BOB, "1")
        .replace("Expires: 3600", "Expires: 0")
        .replace("CSeq: 1", "CSeq: 3")
        .replace("bKr", "bKs");
    // What was copied before is older than that.
    let now = farm.members[0].now;
    let old = farm.members[0].proxy.registrations_chunk(now, None);
    farm.udp(BOB, &gone);
    farm.status(BOB, 200);
    for bench in &mut farm.members {
        assert_eq!(bench.proxy.handle_replicated(bench.now, &old.bytes), 0);
        assert_eq!(bench.proxy.registrar().len(), 0);
    }
    farm.register("carol", BOB);
    farm.pass(Duration::from_secs(3_601));
    assert!(farm.members.iter().all(|bench| bench.proxy.registrar().is_empty()));
}

/// A copy of many comes in parts, each user once.
#[test]
fn a_member_that_joins_is_told_all_registrations_part_by_part() {
    let mut farm = Farm::new(2, 5);
    for n in 0..200 {
        farm.register(&format!("user{n}"), BOB);
    }
    let now = farm.members[0].now;
    let (mut after, mut parts) = (None, 0);
    let mut fresh = Farm::new(1, 1);
    loop {
        let chunk = farm.members[0].proxy.registrations_chunk(now, after.as_deref());
        let bench = &mut fresh.members[0];
        bench.proxy.handle_replicated(bench.now, &chunk.bytes);
        parts += 1;
        after = chunk.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((parts, fresh.members[0].proxy.registrar().len()), (4, 200));
}

/// The connections of a member that has died lead nowhere; who listens where he says is called there.
#[test]
fn what_was_reached_by_a_dead_members_connection_alone_is_not_registered_any_more() {
    let mut farm = Farm::new(3, 3);
    let nated = register("bob", "10.0.0.9:5060", "1").replace("/UDP", "/TCP");
    farm.tcp_at(1, BOB, &nated);
    farm.taken();
    assert_eq!(farm.members[0].proxy.registrar().len(), 1);
    farm.kill(1);
    farm.listed[1] = false;
    farm.publish();
    assert_eq!(farm.members[0].proxy.registrar().len(), 0);
}
