//! Requests that came over a connection of one member and were given to another one, which dies (B5).

use std::time::Duration;

use super::super::calls::{ALICE, BOB, from_alice, invite};
use super::super::harness::{register, reply, sdp};
use super::{Farm, connection};
use crate::proxy::farm::FarmOutput;

/// As it comes over TCP, and as the `n`th of them.
fn over_tcp(text: &str, n: u64) -> String {
    text.replace("/UDP", "/TCP")
        .replace("call-1", &format!("call-{n}"))
        .replace("z9hG4bK", &format!("z9hG4bK{n}x"))
}

impl Farm {
    /// A request on a connection of this member, which has given it to another one that has not got it yet; who.
    fn give_over(&mut self, at: usize, text: &str) -> Option<usize> {
        self.members[at].tcp(ALICE, connection(at).0, text);
        let relayed = self.members[at].farm.iter().find_map(|output| match output {
            FarmOutput::Relay(relay) => Some(usize::from(relay.to.member.get()) - 1),
            FarmOutput::SendOut { .. }
            | FarmOutput::Ask { .. }
            | FarmOutput::Replicate(_)
            | FarmOutput::Calls { .. } => None,
        });
        if relayed.is_none() {
            self.pump();
            self.taken();
        }
        relayed
    }

    #[track_caller]
    fn only_status(&mut self, status: u16) {
        self.status(ALICE, status);
        self.silence();
    }
}

/// B5: what a dead member was given over a stream, which is never repeated, goes to the next one.
#[test]
fn a_request_over_a_stream_whose_member_dies_unheard_goes_to_the_next() {
    let mut given = 0;
    for n in 0..24 {
        let mut farm = Farm::new(3, n);
        let text = over_tcp(&register(&format!("carol{n}"), ALICE, "1"), n);
        let Some(owner) = farm.give_over(0, &text) else { continue };
        given += 1;
        farm.kill(owner);
        farm.only_status(200);
        farm.register("bob", BOB);
        farm.assert_clean();
    }
    assert!(given > 8, "{given}");
}

/// B5: the same for a call that its member has said nothing of; the call is set up by another one.
#[test]
fn a_call_over_a_stream_that_its_member_has_not_begun_is_begun_by_the_next() {
    for n in 0..24 {
        let mut farm = Farm::new(3, n);
        farm.register("bob", BOB);
        let text = over_tcp(&invite("bob", &sdp("198.51.100.10", 4000)), n);
        let Some(owner) = farm.give_over(0, &text) else { continue };
        farm.kill(owner);
        let taken = farm.taken();
        assert_eq!(taken.len(), 2, "100 and the INVITE: {taken:?}");
        assert!(taken.iter().all(|(at, _)| *at != owner));
    }
}

/// B5: a call that has begun rings at somebody's already, and cannot be begun again; its caller, who waits for ever
/// otherwise, is told once.
#[test]
fn a_call_over_a_stream_whose_member_dies_while_it_rings_ends() {
    for n in 0..24 {
        let mut farm = Farm::new(3, n);
        farm.register("bob", BOB);
        let text = over_tcp(&invite("bob", &sdp("198.51.100.10", 4000)), n);
        let Some(owner) = farm.give_over(0, &text) else { continue };
        farm.pump();
        let taken = farm.taken();
        assert_eq!(taken.len(), 2, "{taken:?}");
        farm.kill(owner);
        farm.only_status(500);
        farm.pass(Duration::from_secs(40));
        farm.publish();
        farm.silence();
    }
}

/// B5: in a call the rules are those for every request that names its member: it may come back.
#[test]
fn a_request_in_a_call_over_a_stream_is_refused_when_its_member_dies() {
    for (n, listed, status) in [(3, true, 503), (5, false, 481), (7, true, 503), (9, false, 481)] {
        let mut farm = Farm::new(3, n);
        farm.register("bob", BOB);
        let (owner, ringing) = farm.ring();
        let ok = farm.answer(&ringing);
        let at = (owner + 1) % 3;
        let update = from_alice("UPDATE", 2, &ok, "", "").replace("/UDP", "/TCP");
        assert_eq!(farm.give_over(at, &update), Some(owner));
        farm.listed[owner] = listed;
        farm.kill(owner);
        farm.only_status(status);
    }
}

/// What has had its answer is not answered again, and what is left of a connection that has ended is nothing.
#[test]
fn what_is_answered_or_not_waited_for_any_more_is_left_alone_when_its_member_dies() {
    for n in 0..24 {
        let mut farm = Farm::new(3, n);
        farm.register("bob", BOB);
        let text = over_tcp(&register(&format!("carol{n}"), ALICE, "1"), n);
        let Some(owner) = farm.give_over(0, &text) else { continue };
        farm.pump();
        farm.only_status(200);
        let call = over_tcp(&invite("bob", &sdp("198.51.100.10", 4000)), n);
        if farm.give_over(0, &call) == Some(owner) {
            farm.pump();
            let taken = farm.taken();
            let invite = taken.iter().find(|(_, sent)| sent.bytes.starts_with(b"INVITE"));
            let invite = crate::wire::Message::parse_datagram(invite.unwrap().1.bytes.clone());
            farm.udp(BOB, &reply(&invite.unwrap(), 486, "tb", &format!("sip:bob@{BOB}"), ""));
            farm.taken();
        }
        let given = farm.give_over(0, &over_tcp(&register("dave", ALICE, "1"), n));
        farm.members[0].close(connection(0).0);
        farm.kill(owner);
        if given != Some(owner) {
            farm.pump();
        }
        let taken = farm.taken();
        assert!(taken.iter().all(|(at, _)| *at != 0), "{taken:?}");
        assert!(farm.members[0].proxy.unanswered.is_empty());
    }
}

/// A connection between members is replaced: what was on its way is sent again, and nothing is done twice that the
/// member still knows.
#[test]
fn what_was_lost_between_members_is_sent_again_once_they_meet() {
    for n in 0..24 {
        let mut farm = Farm::new(3, n);
        farm.register("bob", BOB);
        let text = over_tcp(&invite("bob", &sdp("198.51.100.10", 4000)), n);
        let Some(owner) = farm.give_over(0, &text) else { continue };
        let is_lost = n % 2 == 0;
        if is_lost {
            farm.members[0].farm.clear();
        } else {
            farm.pump();
            assert_eq!(farm.taken().len(), 2);
        }
        let now = farm.members[0].now;
        farm.members[0].proxy.handle_met(now, super::identity(owner, 1).member);
        farm.members[0].settle();
        farm.pump();
        let taken = farm.taken();
        let invites = taken.iter().filter(|(_, sent)| sent.bytes.starts_with(b"INVITE")).count();
        assert_eq!(invites, usize::from(is_lost), "{taken:?}");
        assert!(taken.iter().any(|(_, sent)| sent.bytes.starts_with(b"SIP/2.0 100")));
    }
}

/// A member that is given more than it takes gets no more: what cannot be repeated is answered at once.
#[test]
fn a_request_over_a_stream_that_its_member_has_no_room_for_is_refused() {
    let mut refused = 0;
    for n in 0..12 {
        let mut farm = Farm::new(2, n);
        for (text, answers) in [
            (over_tcp(&register(&format!("carol{n}"), ALICE, "1"), n), 1),
            (over_tcp(&invite("bob", "").replace("INVITE", "ACK"), n), 0),
        ] {
            let Some(_) = farm.give_over(0, &text) else { continue };
            let bench = &mut farm.members[0];
            let Some(FarmOutput::Relay(relay)) = bench.farm.pop_front() else { panic!("relayed") };
            bench.proxy.handle_unrelayed(bench.now, relay.arrival, relay.bytes);
            bench.settle();
            let taken = farm.taken();
            assert_eq!(taken.len(), answers, "{taken:?}");
            assert!(taken.iter().all(|(_, sent)| sent.bytes.starts_with(b"SIP/2.0 503")));
            assert!(farm.members[0].proxy.unanswered.is_empty());
            refused += answers;
        }
    }
    assert!(refused > 2, "{refused}");
}
