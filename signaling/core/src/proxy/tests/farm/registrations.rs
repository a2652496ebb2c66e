//! Registrations that every member knows.

use std::time::Duration;

use super::super::calls::{ALICE, BOB, invite};
use super::super::harness::{register, sdp};
use super::Farm;
use crate::farm::Mode;
use crate::transport::ListenerId;
use crate::wire::Message;

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

/// S31: a phone's connection may be known by what a member tells that has no such listener. The member whose
/// connection it is writes to it all the same.
#[test]
fn a_member_writes_to_its_own_connection_that_another_one_tells_of() {
    let mut farm = Farm::new(1, 5);
    farm.tcp_at(0, BOB, &register("bob", "10.0.0.9:5060", "1").replace("/UDP", "/TCP"));
    farm.taken();
    let now = farm.members[0].now;
    let told = farm.members[0].proxy.registrations_chunk(now, None).bytes.to_vec();
    let own = [192, 0, 2, 1];
    let at = told.windows(4).position(|bytes| bytes == own).unwrap();
    let mut others = Farm::new(2, 1);
    let foreign = [&told[..at], &[198, 51, 100, 44], &told[at + 4..]].concat();
    others.members[1].proxy.handle_replicated(now, &foreign);
    let on = others.members[1].proxy.registrations_chunk(now, None).bytes;
    let mut back = Farm::new(1, 1);
    back.members[0].proxy.handle_replicated(now, &on);
    back.udp_at(0, ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
    let taken = back.taken();
    let sent = taken.iter().find(|(_, sent)| sent.bytes.starts_with(b"INVITE "));
    let (_, sent) = sent.expect("Bob is called");
    assert_eq!(sent.target.listener, ListenerId(1), "the one of TCP: {:?}", sent.target);
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

fn call(n: u64) -> String {
    invite("bob", "")
        .replace("call-1", &format!("call-{n}"))
        .replace("z9hG4bKa1", &format!("z9hG4bKa1{n}"))
}

/// A phone that has its 200 can be called through any member, also before that has heard of it.
#[test]
fn who_has_just_registered_is_found_where_that_has_not_been_told_yet() {
    let mut farm = Farm::new(3, 5);
    farm.keeps_replicas = true;
    farm.register("bob", BOB);
    let known = |farm: &Farm| -> usize {
        farm.members.iter().map(|bench| bench.proxy.registrar().len()).sum()
    };
    assert_eq!(known(&farm), 1);
    for n in 0..20 {
        farm.udp(ALICE, &call(n));
        let taken = farm.taken();
        assert!(taken.iter().any(|(_, sent)| sent.bytes.starts_with(b"INVITE")), "{n}: {taken:?}");
    }
    assert_eq!(known(&farm), 3, "what was told is known from then on");
    // Who is there nowhere is told at once.
    farm.udp(ALICE, &call(99).replace("sip:bob@", "sip:carol@"));
    farm.status(ALICE, 480);
}

/// A member that does not answer keeps nobody waiting for long, and whoever gives up need not wait at all.
#[test]
fn a_request_waits_a_moment_for_what_another_member_knows_and_no_longer() {
    let mut farm = Farm::new(3, 5);
    farm.keeps_asks = true;
    let held = |farm: &mut Farm, first: u64| {
        // Whose users these are, takes no such call itself.
        (first..).find(|n| {
            farm.udp(ALICE, &call(*n));
            farm.taken().is_empty()
        })
    };
    held(&mut farm, 0).expect("a call of another member than the user's");
    farm.pass(Duration::from_millis(199));
    farm.silence();
    farm.pass(Duration::from_millis(2));
    farm.status(ALICE, 480);
    let n = held(&mut farm, 1_000).expect("another one");
    farm.udp(ALICE, &call(n).replace("INVITE", "CANCEL"));
    let statuses: Vec<Option<u16>> = farm
        .taken()
        .into_iter()
        .map(|(_, sent)| Message::parse_datagram(sent.bytes).unwrap().status())
        .collect();
    assert!(statuses.contains(&Some(487)) && statuses.contains(&Some(200)), "{statuses:?}");
    farm.assert_clean();
}
