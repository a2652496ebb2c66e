//! Members that come, go, drain and die.

use std::time::Duration;

use bytes::Bytes;

use super::super::calls::{ALICE, BOB, from_alice, invite, set_up};
use super::super::harness::{Bench, Plan, register, reply, sdp, udp_arrival};
use super::{Farm, identity, secrets};
use crate::farm::{Errand, Mode, Why};
use crate::proxy::output::CallEnd;

/// B3: calls that are being set up while members come and go, drain and change their setting.
#[test]
fn a_change_of_the_members_loses_no_call_that_is_being_set_up() {
    for seed in 0..60 {
        let mut farm = Farm::new(3, seed);
        farm.register("bob", BOB);
        let (owner, ringing) = farm.ring();
        farm.udp(BOB, &reply(&ringing, 180, "tb", &format!("sip:bob@{BOB}"), ""));
        farm.status(ALICE, 180);
        match seed % 4 {
            0 => farm.join(),
            1 => farm.draining[owner] = true,
            2 => farm.modes[owner] = Mode::Disabled,
            _ => farm.kill((owner + 1) % 3),
        }
        farm.publish();
        // It comes again, wherever.
        for at in 0..farm.members.len() {
            if !farm.dead[at] && farm.modes[at] == Mode::Member {
                farm.udp_at(at, ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
                farm.status(ALICE, 180);
            }
        }
        if seed % 8 < 4 {
            farm.pass(Duration::from_secs(100));
            farm.taken();
            let at = (0..farm.members.len())
                .find(|at| !farm.dead[*at] && farm.modes[*at] == Mode::Member)
                .unwrap();
            farm.udp_at(at, ALICE, &invite("bob", "").replace("INVITE", "CANCEL"));
            let answered = farm
                .taken()
                .into_iter()
                .any(|(at, sent)| at == owner && sent.bytes.starts_with(b"SIP/2.0 200"));
            assert!(answered, "seed {seed}");
        } else {
            let ok = farm.answer(&ringing);
            farm.udp(ALICE, &from_alice("BYE", 2, &ok, "", ""));
            let (at, bye) = farm.request(BOB, "BYE");
            assert_eq!(at, owner);
            farm.udp(BOB, &reply(&bye, 200, "tb", "sip:bob@x", ""));
            farm.status(ALICE, 200);
            assert_eq!(farm.ends(), [CallEnd::CallerHungUp], "seed {seed}");
        }
    }
}

/// B5: what a dead member had is refused, and what is new goes on.
#[test]
fn the_death_of_a_member_has_defined_results() {
    for seed in 0..20 {
        let mut farm = Farm::new(3, seed);
        farm.register("bob", BOB);
        let (owner, ringing) = farm.ring();
        let ok = farm.answer(&ringing);
        farm.kill(owner);
        // It may come back.
        farm.udp(ALICE, &from_alice("UPDATE", 2, &ok, "", ""));
        farm.status(ALICE, 503);
        farm.udp(ALICE, &from_alice("ACK", 1, &ok, "", ""));
        farm.udp(BOB, &reply(&ringing, 200, "tb", "sip:bob@x", ""));
        farm.silence();
        // It was taken off the list, or has come back as another.
        if seed % 2 == 0 {
            farm.listed[owner] = false;
        } else {
            farm.incarnations[owner] = 2;
            let mut bench = Bench::new(Plan { seed: 99, ..Plan::default() });
            bench.now = farm.members[owner].now;
            bench.proxy.set_farm(identity(owner, 2), &secrets(1));
            farm.members[owner] = bench;
            farm.dead[owner] = false;
        }
        farm.publish();
        farm.udp(ALICE, &from_alice("BYE", 3, &ok, "", ""));
        farm.status(ALICE, 481);
        farm.udp(ALICE, &from_alice("ACK", 1, &ok, "", ""));
        farm.silence();
        if seed % 2 == 1 {
            farm.copy((owner + 1) % 3, owner);
        }
        let again = invite("bob", &sdp("198.51.100.10", 4000))
            .replace("call-1", "call-2")
            .replace("z9hG4bKa1", "z9hG4bKa2");
        farm.udp(ALICE, &again);
        assert_eq!(farm.taken().len(), 2, "seed {seed}");
    }
}

/// B5: a process that was taken for dead and was not still has its calls, those that ring and those that are up.
/// No member handles anything of theirs twice.
#[test]
fn a_member_that_was_taken_for_dead_goes_on_with_what_it_had_begun() {
    for seed in 0..40 {
        let mut farm = Farm::new(3, seed);
        farm.register("bob", BOB);
        let (owner, ringing) = farm.ring();
        if seed % 2 == 0 {
            (0..seed % 3).for_each(|_| farm.fence(owner));
            // It comes again, wherever.
            farm.udp(ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
            farm.status(ALICE, 100);
        }
        let ok = farm.answer(&ringing);
        (0..1 + seed % 3).for_each(|_| farm.fence(owner));
        farm.udp(BOB, &reply(&ringing, 200, "tb", &format!("sip:bob@{BOB}"), ""));
        farm.status(ALICE, 200);
        farm.udp(ALICE, &from_alice("BYE", 2, &ok, "", ""));
        let (at, bye) = farm.request(BOB, "BYE");
        assert_eq!(at, owner, "seed {seed}");
        farm.udp(BOB, &reply(&bye, 200, "tb", "sip:bob@x", ""));
        farm.status(ALICE, 200);
        assert_eq!(farm.ends(), [CallEnd::CallerHungUp], "seed {seed}");
        farm.assert_clean();
    }
}

/// B5: the connections of such a process are there still, and the others know that again.
#[test]
fn phones_on_connections_of_a_member_that_was_taken_for_dead_are_reached_again() {
    let mut farm = Farm::new(3, 3);
    let nated = register("bob", "10.0.0.9:5060", "1").replace("/UDP", "/TCP");
    farm.tcp_at(1, BOB, &nated);
    farm.taken();
    farm.fence(1);
    for seed in 0..6 {
        let call = invite("bob", "")
            .replace("call-1", &format!("call-{seed}"))
            .replace("z9hG4bKa1", &format!("z9hG4bKb{seed}"));
        farm.udp_at(seed % 3, ALICE, &call);
        let taken = farm.taken();
        let to_bob = taken.iter().find(|(_, sent)| sent.bytes.starts_with(b"INVITE"));
        let (_, sent) = to_bob.unwrap_or_else(|| panic!("{taken:?}"));
        assert_eq!(sent.target.connection, Some(super::connection(1)));
    }
}

/// B3: a member that has just come takes nothing new until it knows what the others know, whatever comes to it;
/// what names it, it handles.
#[test]
fn a_member_that_has_just_come_leaves_what_is_new_to_the_others() {
    for seed in 0..12 {
        let mut farm = Farm::new(2, seed);
        farm.register("bob", BOB);
        farm.join();
        farm.joining[2] = true;
        farm.publish();
        let call = |n: u64| {
            invite("bob", "")
                .replace("call-1", &format!("call-{n}"))
                .replace("z9hG4bKa1", &format!("z9hG4bKn{n}"))
        };
        let mut owners = Vec::new();
        for n in 0..12 {
            if n == 6 {
                farm.joining[2] = false;
                farm.publish();
            }
            farm.udp_at(2, ALICE, &call(seed * 100 + n));
            let taken = farm.taken();
            assert_eq!(taken.len(), 2, "{taken:?}");
            owners.push(taken[1].0);
        }
        assert!(!owners[..6].contains(&2), "seed {seed}: {owners:?}");
    }
    // Where all have just come, they begin nevertheless.
    let mut farm = Farm::new(3, 1);
    farm.joining = vec![true; 3];
    farm.publish();
    farm.register("bob", BOB);
    farm.ring();
}

/// B4: nothing new is taken, what there is goes on, and then nothing is left.
#[test]
fn a_member_that_drains_takes_nothing_new_and_is_empty_once_its_calls_are_over() {
    for seed in 0..12 {
        let mut farm = Farm::new(3, seed);
        farm.register("bob", BOB);
        let (owner, ringing) = farm.ring();
        let ok = farm.answer(&ringing);
        let now = farm.members[owner].now;
        farm.members[owner].proxy.handle_drain(now);
        farm.draining[owner] = true;
        farm.publish();
        farm.pass(Duration::from_secs(40));
        farm.taken();
        assert!(!farm.members[owner].proxy.is_drained());
        for n in 2..12 {
            let call = invite("bob", "")
                .replace("call-1", &format!("call-{n}"))
                .replace("z9hG4bKa1", &format!("z9hG4bKn{n}"));
            farm.udp(ALICE, &call);
            assert!(farm.taken().iter().all(|(at, _)| *at != owner), "seed {seed}");
        }
        farm.udp(ALICE, &from_alice("BYE", 2, &ok, "", ""));
        let (at, bye) = farm.request(BOB, "BYE");
        assert_eq!(at, owner);
        farm.udp(BOB, &reply(&bye, 200, "tb", "sip:bob@x", ""));
        farm.status(ALICE, 200);
        farm.pass(Duration::from_secs(40));
        assert!(farm.members[owner].proxy.is_drained(), "{:?}", farm.members[owner].proxy.load());
    }
}

/// B4: a node that is no member of a farm drains, too.
#[test]
fn a_node_that_is_alone_refuses_what_is_new_while_it_drains() {
    let mut bench = Bench::new(Plan::default());
    let (_, ok) = set_up(&mut bench);
    bench.proxy.handle_drain(bench.now);
    bench.udp(
        ALICE,
        &invite("bob", "").replace("call-1", "call-2").replace("z9hG4bKa1", "z9hG4bKn"),
    );
    bench.expect_status(ALICE, 503);
    bench.udp(ALICE, &from_alice("BYE", 2, &ok, "", ""));
    let bye = bench.expect_request(BOB, "BYE");
    bench.udp(BOB, &reply(&bye, 200, "tb", "sip:bob@x", ""));
    bench.expect_status(ALICE, 200);
    assert!(!bench.proxy.is_drained());
    bench.pass(Duration::from_secs(60));
    assert!(bench.proxy.is_drained());
    assert!(bench.farm.is_empty());
}

/// B4: a balancer's question is answered by whom it is put to.
#[test]
fn a_balancers_ping_is_answered_by_each_member_for_itself() {
    let mut farm = Farm::new(2, 1);
    farm.draining[1] = true;
    farm.publish();
    for (at, status) in [(0, 200), (1, 503)] {
        let ping = "OPTIONS sip:192.0.2.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.10:5060;branch=z9hG4bKp\r\n\
                    Route: <sip:192.0.2.1:5060;lr>\r\nFrom: <sip:lb@lb.test>;tag=l\r\nTo: <sip:192.0.2.1>\r\n\
                    Call-ID: ping\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n";
        farm.udp_at(at, ALICE, ping);
        farm.status(ALICE, status);
    }
    assert!(farm.relayed.is_empty());
}

/// Whatever another member or another version sends, nothing breaks.
#[test]
fn messages_of_members_that_cannot_be_read_are_dropped() {
    let mut farm = Farm::new(2, 3);
    let bench = &mut farm.members[0];
    let arrival = udp_arrival(ALICE);
    for why in Why::ALL {
        let errand = Errand { why, asked: 255 };
        for text in ["", "x", "INVITE sip:a SIP/2.0\r\n\r\n"] {
            let bytes = Bytes::from(text);
            bench.proxy.handle_relayed(bench.now, identity(1, 1), errand, arrival, bytes);
        }
    }
    assert_eq!(bench.proxy.handle_replicated(bench.now, b"nonsense"), 0);
    bench.settle();
    farm.silence();
    assert_eq!(Why::from_number(77), Why::Spread);
    assert!(Why::ALL.iter().all(|why| Why::from_number(why.number()) == *why));
}
