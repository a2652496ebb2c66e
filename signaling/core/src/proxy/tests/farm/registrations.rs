//! Registrations that every member knows.

use std::time::Duration;

use super::super::calls::{ALICE, BOB, invite};
use super::super::harness::{register, sdp};
use super::Farm;
use crate::farm::Mode;

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

/// S31: a member that has not the address that the others share (a backend) tells who joins where phones have
/// come to all the same, so that the one that joins writes to them as the others do.
#[test]
fn where_a_phone_has_come_to_is_told_on_by_members_that_have_no_such_address() {
    let mut farm = Farm::new(1, 5);
    farm.tcp_at(0, BOB, &register("bob", "10.0.0.9:5060", "1").replace("/UDP", "/TCP"));
    farm.taken();
    let now = farm.members[0].now;
    let told = farm.members[0].proxy.registrations_chunk(now, None).bytes.to_vec();
    // As if they shared an address that those whom it is told have not.
    let (own, shared) = ([192, 0, 2, 1], [198, 51, 100, 44]);
    let at = told.windows(4).position(|bytes| bytes == own).unwrap();
    let told = [&told[..at], &shared, &told[at + 4..]].concat();
    let mut backend = Farm::new(2, 1);
    backend.members[1].proxy.handle_replicated(now, &told);
    let on = backend.members[1].proxy.registrations_chunk(now, None).bytes;
    assert!(on.windows(4).any(|bytes| bytes == shared), "{on:?}");
    // What it writes itself to a connection of another member names that address, too.
    backend.modes[1] = Mode::Disabled;
    backend.publish();
    backend.udp_at(1, ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
    let taken = backend.taken();
    let texts = taken.iter().map(|(_, sent)| String::from_utf8_lossy(&sent.bytes).into_owned());
    let texts: Vec<String> = texts.collect();
    let sent = texts.iter().find(|text| text.starts_with("INVITE ")).expect("Bob is called");
    assert!(sent.contains("Record-Route: <sip:198.51.100.44:5060;"), "{sent}");
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
