//! Early dialogs and early media that end while the call is still being set up.

use std::time::Duration;

use relay_core::api::{CloseCause, Event};

use super::calls::{ALICE, BOB, invite};
use super::forking::DESK;
use super::harness::{Bench, Plan, reply, sdp};
use crate::proxy::output::CallEnd;
use crate::wire::{HeaderName, Message};

/// Two phones of Bob's, the desk's of the given q; Alice's INVITE has these lines.
fn ring_two(bench: &mut Bench, desk_q: &str, lines: &str) {
    bench.register("bob", BOB);
    bench.register_with_q("bob", DESK, desk_q);
    let invite = invite("bob", &sdp("198.51.100.10", 4000));
    bench.udp(ALICE, &invite.replacen("\r\n", &format!("\r\n{lines}"), 1));
    bench.expect_status(ALICE, 100);
}

#[track_caller]
fn provisional(bench: &mut Bench, at: &str, request: &Message, status: u16, tag: &str) {
    bench.udp(at, &reply(request, status, tag, &format!("sip:bob@{at}"), ""));
    bench.expect_status(ALICE, status);
}

#[track_caller]
fn refuse(bench: &mut Bench, at: &str, request: &Message, status: u16, tag: &str) {
    bench.udp(at, &reply(request, status, tag, "sip:bob@x", ""));
    bench.expect_request(at, "ACK");
}

/// RFC 6228 6: each early dialog of the branch that has failed, before the next is tried.
#[test]
fn a_caller_who_knows_199_hears_of_each_early_dialog_that_is_over() {
    let mut bench = Bench::new(Plan::default());
    ring_two(&mut bench, "0.1", "Supported: 100rel, 199\r\n");
    let mobile = bench.expect_request(BOB, "INVITE");
    provisional(&mut bench, BOB, &mobile, 180, "t1");
    provisional(&mut bench, BOB, &mobile, 183, "t2");
    provisional(&mut bench, BOB, &mobile, 183, "t1");
    refuse(&mut bench, BOB, &mobile, 486, "t1");
    for tag in ["t1", "t2"] {
        let dead = bench.expect_status(ALICE, 199);
        assert_eq!(dead.to().tag(), Some(tag));
        assert_eq!(dead.first_str(HeaderName::Reason), Some("SIP;cause=486;text=\"Busy Here\""));
        assert!(dead.body().is_empty(), "RFC 6228 4: no description");
        assert_eq!(dead.vias().count(), 1);
    }
    let desk = bench.expect_request(DESK, "INVITE");
    provisional(&mut bench, DESK, &desk, 180, "td");
    refuse(&mut bench, DESK, &desk, 404, "td");
    bench.expect_status(ALICE, 486);
    bench.expect_silence();
    bench.expect_all_forgotten();
}

/// RFC 6228 6: who does not know it, who wants it reliable, and who has had it from below.
#[test]
fn no_199_goes_to_who_does_not_know_it_wants_it_reliable_or_has_had_it() {
    let known = "Supported: 199\r\n";
    for (lines, from_below) in
        [("", false), ("Supported: 199\r\nRequire: 100rel\r\n", false), (known, true)]
    {
        let mut bench = Bench::new(Plan::default());
        ring_two(&mut bench, "0.1", lines);
        let mobile = bench.expect_request(BOB, "INVITE");
        provisional(&mut bench, BOB, &mobile, 180, "t1");
        if from_below {
            provisional(&mut bench, BOB, &mobile, 199, "t1");
        }
        refuse(&mut bench, BOB, &mobile, 486, "t1");
        bench.expect_request(DESK, "INVITE");
    }
}

/// RFC 6228 6: nothing after a final response, and nothing for who has given up.
#[test]
fn no_199_follows_an_answer_or_a_cancel() {
    let known = "Supported: 199\r\n";
    let mut bench = Bench::new(Plan::default());
    ring_two(&mut bench, "1", known);
    let mut sent = [bench.sent.pop_front().unwrap(), bench.sent.pop_front().unwrap()];
    sent.sort_by_key(|sent| sent.target.remote.to_string());
    let [mobile, desk] = sent.map(|sent| Message::parse_datagram(sent.bytes).unwrap());
    provisional(&mut bench, BOB, &mobile, 180, "tm");
    let contact = format!("sip:bob@{DESK}");
    bench.udp(DESK, &reply(&desk, 200, "td", &contact, &sdp("198.51.100.21", 6000)));
    bench.expect_status(ALICE, 200);
    bench.expect_request(BOB, "CANCEL");
    refuse(&mut bench, BOB, &mobile, 487, "tm");
    bench.expect_silence();

    let mut bench = Bench::new(Plan::default());
    ring_two(&mut bench, "0.1", known);
    let mobile = bench.expect_request(BOB, "INVITE");
    provisional(&mut bench, BOB, &mobile, 180, "tm");
    let cancel = invite("bob", "").replacen("INVITE", "CANCEL", 1).replace("1 INVITE", "1 CANCEL");
    bench.udp(ALICE, &cancel);
    bench.sent.clear();
    refuse(&mut bench, BOB, &mobile, 487, "tm");
    bench.expect_status(ALICE, 487);
    bench.expect_silence();
}

/// RFC 6228 8: a 2xx that has crossed our CANCEL counts all the same, and its dialog is up.
#[test]
fn a_phone_that_answers_while_it_is_cancelled_has_the_call() {
    let mut bench = Bench::new(Plan::default());
    ring_two(&mut bench, "0.1", "Supported: 199\r\n");
    let mobile = bench.expect_request(BOB, "INVITE");
    provisional(&mut bench, BOB, &mobile, 180, "tm");
    bench.pass(Duration::from_secs(21));
    bench.sent.retain(|sent| sent.bytes.starts_with(b"CANCEL"));
    bench.expect_request(BOB, "CANCEL");
    bench.sent.clear();
    let contact = format!("sip:bob@{BOB}");
    bench.udp(BOB, &reply(&mobile, 200, "tm", &contact, &sdp("198.51.100.20", 6000)));
    bench.expect_status(ALICE, 200);
    bench.expect_silence();
}

/// A worker that dies takes the media of calls with it that still ring: they are cancelled, and their
/// callers can try again at once.
#[test]
fn a_call_that_rings_and_loses_its_media_is_cancelled_and_refused() {
    let idle = CloseCause::Idle(Duration::from_secs(60));
    for (cause, status, reason) in [
        (CloseCause::WorkerLost, 503, "SIP;cause=503;text=\"Media Lost\""),
        (idle, 480, "SIP;cause=480;text=\"Media Idle\""),
    ] {
        let mut bench = Bench::new(Plan::default());
        bench.register("bob", BOB);
        bench.udp(ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
        bench.expect_status(ALICE, 100);
        let ringing = bench.expect_request(BOB, "INVITE");
        let body = sdp("198.51.100.20", 6000);
        bench.udp(BOB, &reply(&ringing, 183, "tb", &format!("sip:bob@{BOB}"), &body));
        bench.expect_status(ALICE, 183);
        let session = bench.commands[0].session();
        bench.relay_event(Event::Closed { session, cause, report: Default::default() });
        let mut sent = [bench.sent.pop_front().unwrap(), bench.sent.pop_front().unwrap()];
        sent.sort_by_key(|sent| sent.target.remote.to_string());
        let [refusal, cancel] = sent.map(|sent| Message::parse_datagram(sent.bytes).unwrap());
        assert_eq!(refusal.status(), Some(status));
        assert_eq!(cancel.method().as_str(), "CANCEL");
        assert_eq!(cancel.first_str(HeaderName::Reason), Some(reason));
        assert_eq!(bench.records[0].end, CallEnd::Refused(status));
        refuse(&mut bench, BOB, &ringing, 487, "tb");
        bench.udp(
            ALICE,
            &invite("bob", "").replacen("INVITE", "ACK", 1).replace("1 INVITE", "1 ACK"),
        );
        bench.expect_silence();
        bench.expect_all_forgotten();
    }
}

/// The other fork, with media of its own, is none the worse for it.
#[test]
fn a_fork_that_loses_its_media_is_given_up_and_the_others_ring_on() {
    let mut bench = Bench::new(Plan::default());
    ring_two(&mut bench, "1", "Supported: 199\r\n");
    let mut sent = [bench.sent.pop_front().unwrap(), bench.sent.pop_front().unwrap()];
    sent.sort_by_key(|sent| sent.target.remote.to_string());
    let [mobile, desk] = sent.map(|sent| Message::parse_datagram(sent.bytes).unwrap());
    provisional(&mut bench, BOB, &mobile, 180, "tm");
    provisional(&mut bench, DESK, &desk, 180, "td");
    let session = bench.commands[0].session();
    let cause = CloseCause::WorkerLost;
    bench.relay_event(Event::Closed { session, cause, report: Default::default() });
    let ended = bench.sent.iter().filter(|sent| sent.bytes.starts_with(b"CANCEL")).count();
    assert_eq!((ended, bench.records.len()), (1, 0));
    let is_199 = |sent: &&crate::transport::Transmit| sent.bytes.starts_with(b"SIP/2.0 199");
    assert_eq!(bench.sent.iter().filter(is_199).count(), 1);
}
