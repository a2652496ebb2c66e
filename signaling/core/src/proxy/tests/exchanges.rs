//! Offers and answers in unusual places and at unusual times.

use relay_core::api::{Command, Leg};

use super::calls::{ALICE, BOB, from_alice, from_bob, invite, set_up, text};
use super::harness::{Bench, Plan, address, reply, sdp};
use crate::wire::Message;

fn contact() -> String {
    format!("sip:bob@{BOB}")
}

fn remote(bench: &Bench, leg: Leg) -> std::net::SocketAddr {
    bench.last_spec().streams[0].legs[leg.index()].remote.unwrap().rtp
}

/// An early dialog: Bob has answered with 183.
fn ringing(bench: &mut Bench, offer: &str, early: &str) -> (Message, Message) {
    bench.register("bob", BOB);
    bench.udp(ALICE, &invite("bob", offer));
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(BOB, "INVITE");
    bench.udp(BOB, &reply(&forwarded, 183, "tb", &contact(), early));
    let early = bench.expect_status(ALICE, 183);
    (forwarded, early)
}

/// RFC 3262 5: a reliable provisional response carries the offer, its PRACK the answer.
#[test]
fn a_late_offer_in_a_provisional_response_is_answered_by_the_prack() {
    let mut bench = Bench::new(Plan::default());
    let (forwarded, early) = ringing(&mut bench, "", &sdp("198.51.100.20", 6000));
    assert!(text(&early).contains("m=audio 30100 "), "{}", text(&early));
    bench.udp(ALICE, &from_alice("PRACK", 2, &early, "", &sdp("198.51.100.10", 4000)));
    let prack = bench.expect_request(BOB, "PRACK");
    assert!(text(&prack).contains("m=audio 30104 "), "{}", text(&prack));
    assert_eq!(remote(&bench, Leg::Caller), address("198.51.100.10:4000"));
    assert_eq!(remote(&bench, Leg::Callee), address("198.51.100.20:6000"));
    bench.udp(BOB, &reply(&prack, 200, "tb", &contact(), ""));
    bench.expect_status(ALICE, 200);
    bench.udp(BOB, &reply(&forwarded, 200, "tb", &contact(), ""));
    bench.expect_status(ALICE, 200);
    assert!(bench.last_spec().streams[0].legs.iter().all(|leg| leg.sends));
}

/// RFC 3262 5: a PRACK may also open an exchange of its own.
#[test]
fn an_offer_in_a_prack_is_answered_by_its_200() {
    let mut bench = Bench::new(Plan::default());
    let offer = sdp("198.51.100.10", 4000);
    let (_, early) = ringing(&mut bench, &offer, &sdp("198.51.100.20", 6000));
    bench.udp(ALICE, &from_alice("PRACK", 2, &early, "", &sdp("198.51.100.10", 4444)));
    let prack = bench.expect_request(BOB, "PRACK");
    bench.udp(BOB, &reply(&prack, 200, "tb", &contact(), &sdp("198.51.100.20", 6666)));
    bench.expect_status(ALICE, 200);
    assert_eq!(remote(&bench, Leg::Caller), address("198.51.100.10:4444"));
    assert_eq!(remote(&bench, Leg::Callee), address("198.51.100.20:6666"));
}

/// RFC 6337 3.1: the 2xx repeats the answer of the 183 although Bob has moved since. It means nothing,
/// but names this node's ports like every description.
#[test]
fn a_copy_of_an_old_answer_moves_nobody_and_shows_no_address() {
    let mut bench = Bench::new(Plan::default());
    let answer = sdp("198.51.100.20", 6000);
    let (forwarded, _) = ringing(&mut bench, &sdp("198.51.100.10", 4000), &answer);
    bench.udp(BOB, &from_bob("UPDATE", 1, &forwarded, &sdp("198.51.100.20", 6666)));
    let update = bench.expect_request(ALICE, "UPDATE");
    bench.udp(ALICE, &reply(&update, 200, "fa", "sip:a@x", &sdp("198.51.100.10", 4000)));
    bench.expect_status(BOB, 200);
    bench.udp(BOB, &reply(&forwarded, 200, "tb", &contact(), &answer));
    let ok = bench.expect_status(ALICE, 200);
    assert!(text(&ok).contains("m=audio 30100 "), "{}", text(&ok));
    assert!(!text(&ok).contains("198.51.100.20"), "{}", text(&ok));
    assert_eq!(remote(&bench, Leg::Callee), address("198.51.100.20:6666"));
}

/// RFC 3261 11.2: what OPTIONS describes are abilities, no session.
#[test]
fn the_description_in_an_answer_to_options_leaves_the_session_alone() {
    let mut bench = Bench::new(Plan::default());
    let (_, ok) = set_up(&mut bench);
    let asked = bench.commands.len();
    bench.udp(ALICE, &from_alice("INVITE", 2, &ok, "", &sdp("198.51.100.10", 4444)));
    bench.expect_status(ALICE, 100);
    let reinvite = bench.expect_request(BOB, "INVITE");
    bench.udp(ALICE, &from_alice("OPTIONS", 3, &ok, "", ""));
    let options = bench.expect_request(BOB, "OPTIONS");
    bench.udp(BOB, &reply(&options, 200, "tb", &contact(), &sdp("198.51.100.20", 9)));
    bench.expect_status(ALICE, 200);
    assert_eq!(bench.commands.len(), asked);
    bench.udp(BOB, &reply(&reinvite, 200, "tb", &contact(), &sdp("198.51.100.20", 6000)));
    let ok = bench.expect_status(ALICE, 200);
    assert!(text(&ok).contains("m=audio 30100 "), "{}", text(&ok));
    assert_eq!(remote(&bench, Leg::Caller), address("198.51.100.10:4444"));
}

/// RFC 3264 8: a phone that was refused video can still put the call on hold.
#[test]
fn a_hold_after_a_refused_offer_of_video_goes_through() {
    let mut bench = Bench::new(Plan::default());
    let (_, ok) = set_up(&mut bench);
    let video = sdp("198.51.100.10", 4000) + "m=video 4002 RTP/AVP 96\r\n";
    bench.udp(ALICE, &from_alice("INVITE", 2, &ok, "", &video));
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(BOB, "INVITE");
    bench.udp(BOB, &reply(&forwarded, 488, "tb", &contact(), ""));
    bench.expect_request(BOB, "ACK");
    bench.expect_status(ALICE, 488);
    let hold = sdp("198.51.100.10", 4000) + "a=sendonly\r\n";
    bench.udp(ALICE, &from_alice("INVITE", 3, &ok, "", &hold));
    bench.expect_status(ALICE, 100);
    bench.expect_request(BOB, "INVITE");
}

/// RFC 3261 14.1, 14.2: both re-INVITE at once; one offer is answered, the other refused.
#[test]
fn the_answer_to_one_of_two_crossing_offers_carries_this_nodes_ports() {
    let mut bench = Bench::new(Plan::default());
    let (invite, ok) = set_up(&mut bench);
    bench.udp(ALICE, &from_alice("INVITE", 2, &ok, "", &sdp("198.51.100.10", 4444)));
    bench.expect_status(ALICE, 100);
    let to_bob = bench.expect_request(BOB, "INVITE");
    bench.udp(BOB, &from_bob("INVITE", 1, &invite, &sdp("198.51.100.20", 6666)));
    bench.expect_status(BOB, 100);
    let to_alice = bench.expect_request(ALICE, "INVITE");
    bench.udp(ALICE, &reply(&to_alice, 491, "fa", "sip:a@x", ""));
    bench.expect_request(ALICE, "ACK");
    bench.expect_status(BOB, 491);
    bench.udp(BOB, &reply(&to_bob, 200, "tb", &contact(), &sdp("198.51.100.20", 6000)));
    let ok = bench.expect_status(ALICE, 200);
    assert!(text(&ok).contains("m=audio 30100 "), "{}", text(&ok));
    assert_eq!(remote(&bench, Leg::Caller), address("198.51.100.10:4444"));
    assert_eq!(remote(&bench, Leg::Callee), address("198.51.100.20:6000"));
}

/// RFC 3264 6.1: 488 says that the description is at fault, where 503 would have the caller try again.
#[test]
fn an_offer_of_a_groups_address_is_488() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    bench.udp(ALICE, &invite("bob", &sdp("239.1.2.3", 4000)));
    bench.expect_status(ALICE, 100);
    bench.expect_status(ALICE, 488);
    assert!(bench.commands.is_empty());
    assert_eq!(bench.proxy.load().calls, 0);
}

/// RFC 3261 13.2.2.4: an ACK cannot be refused, and must not show Alice's address either.
#[test]
fn an_ack_whose_answer_the_relay_refuses_goes_on_with_this_nodes_ports() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    bench.udp(ALICE, &invite("bob", ""));
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(BOB, "INVITE");
    bench.udp(BOB, &reply(&forwarded, 200, "tb", &contact(), &sdp("198.51.100.20", 6000)));
    let ok = bench.expect_status(ALICE, 200);
    bench.relay_refuses = true;
    bench.udp(ALICE, &from_alice("ACK", 1, &ok, "", &sdp("198.51.100.10", 4000)));
    let ack = bench.expect_request(BOB, "ACK");
    assert!(text(&ack).contains("m=audio 30104 "), "{}", text(&ack));
    assert!(!text(&ack).contains("198.51.100.10"), "{}", text(&ack));
}

/// RFC 3261 13.3.1.4: each retransmitted 2xx is acknowledged again, answer included.
#[test]
fn every_ack_of_a_late_offer_carries_this_nodes_ports() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    bench.udp(ALICE, &invite("bob", ""));
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(BOB, "INVITE");
    let answer = reply(&forwarded, 200, "tb", &contact(), &sdp("198.51.100.20", 6000));
    for _ in 0..3 {
        bench.udp(BOB, &answer);
        let ok = bench.expect_status(ALICE, 200);
        bench.udp(ALICE, &from_alice("ACK", 1, &ok, "", &sdp("198.51.100.10", 4000)));
        let ack = bench.expect_request(BOB, "ACK");
        assert!(text(&ack).contains("m=audio 30104 "), "{}", text(&ack));
    }
    let applied = bench.commands.iter().filter(|c| matches!(c, Command::Apply { .. })).count();
    assert_eq!(applied, 2, "one for the offer, one for the answer");
}

/// Bob asks for an offer with a re-INVITE without one, Alice's 2xx carries it.
fn asked_by_bob(bench: &mut Bench, invite: &Message) -> (Message, Message) {
    bench.udp(BOB, &from_bob("INVITE", 1, invite, ""));
    bench.expect_status(BOB, 100);
    let to_alice = bench.expect_request(ALICE, "INVITE");
    bench.udp(ALICE, &reply(&to_alice, 200, "fa", "sip:a@x", &sdp("198.51.100.10", 4000)));
    let ok = bench.expect_status(BOB, 200);
    (to_alice, ok)
}

/// RFC 3261 13.3.1.4, RFC 6337 3.1.1: Alice's 2xx, which carried an offer, comes again after she has
/// offered anew. What she offered since is what Bob answers.
#[test]
fn a_copy_of_a_late_offer_does_not_take_the_place_of_the_next_one() {
    let mut bench = Bench::new(Plan::default());
    let (invite, ok) = set_up(&mut bench);
    let (to_alice, _) = asked_by_bob(&mut bench, &invite);
    bench.udp(BOB, &from_bob("ACK", 1, &invite, &sdp("198.51.100.20", 6000)));
    bench.expect_request(ALICE, "ACK");
    bench.udp(ALICE, &from_alice("INVITE", 2, &ok, "", &sdp("198.51.100.10", 4444)));
    bench.expect_status(ALICE, 100);
    let to_bob = bench.expect_request(BOB, "INVITE");
    let copy = reply(&to_alice, 200, "fa", "sip:a@x", &sdp("198.51.100.10", 4000));
    bench.udp(ALICE, &copy);
    bench.expect_status(BOB, 200);
    bench.udp(BOB, &reply(&to_bob, 200, "tb", &contact(), &sdp("198.51.100.20", 6000)));
    bench.expect_status(ALICE, 200);
    assert_eq!(remote(&bench, Leg::Caller), address("198.51.100.10:4444"));
}

/// UDP keeps no order: Bob's ACK, with the answer in it, comes after his next re-INVITE, and that is
/// refused.
#[test]
fn an_answer_in_an_ack_counts_although_the_next_invite_has_overtaken_it() {
    let mut bench = Bench::new(Plan::default());
    let (invite, _) = set_up(&mut bench);
    asked_by_bob(&mut bench, &invite);
    bench.udp(BOB, &from_bob("INVITE", 2, &invite, &sdp("198.51.100.20", 6888)));
    bench.expect_status(BOB, 100);
    let to_alice = bench.expect_request(ALICE, "INVITE");
    bench.udp(BOB, &from_bob("ACK", 1, &invite, &sdp("198.51.100.20", 6666)));
    let ack = bench.expect_request(ALICE, "ACK");
    assert!(!text(&ack).contains("198.51.100.20"), "{}", text(&ack));
    bench.udp(ALICE, &reply(&to_alice, 491, "fa", "sip:a@x", ""));
    assert_eq!(remote(&bench, Leg::Callee), address("198.51.100.20:6666"));
}

/// RFC 3261 15: a BYE overtakes the answer to a re-INVITE. The answer goes on for the transaction's
/// sake, and nobody is told where to send media past this node.
#[test]
fn an_answer_that_comes_after_the_call_has_ended_closes_its_streams() {
    let mut bench = Bench::new(Plan::default());
    let (_, ok) = set_up(&mut bench);
    bench.udp(ALICE, &from_alice("INVITE", 2, &ok, "", &sdp("198.51.100.10", 4444)));
    bench.expect_status(ALICE, 100);
    let reinvite = bench.expect_request(BOB, "INVITE");
    bench.udp(ALICE, &from_alice("BYE", 3, &ok, "", ""));
    let bye = bench.expect_request(BOB, "BYE");
    bench.udp(BOB, &reply(&bye, 200, "tb", &contact(), ""));
    bench.expect_status(ALICE, 200);
    assert_eq!(bench.records.len(), 1);
    bench.udp(BOB, &reply(&reinvite, 200, "tb", &contact(), &sdp("198.51.100.20", 6000)));
    let late = bench.expect_status(ALICE, 200);
    assert!(text(&late).contains("m=audio 0 "), "{}", text(&late));
    assert!(!text(&late).contains("198.51.100.20"), "{}", text(&late));
}

/// RFC 4320 4.2: 408 is for INVITE alone; the client of another request has its own timer.
#[test]
fn a_408_to_a_request_other_than_invite_goes_no_further() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    bench.udp(ALICE, &invite("bob", "").replace("INVITE", "MESSAGE"));
    let request = bench.expect_request(BOB, "MESSAGE");
    bench.udp(BOB, &reply(&request, 408, "t", "sip:bob@x", ""));
    bench.expect_silence();
    bench.pass(std::time::Duration::from_secs(64));
    bench.expect_silence();
    assert_eq!(bench.proxy.load(), crate::proxy::Load::default());
}
