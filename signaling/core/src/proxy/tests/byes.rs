//! Calls that the node ends: both parties are told, each in the name of the other.

use std::time::Duration;

use relay_core::api::{CloseCause, Event};

use super::calls::{ALICE, BOB, from_alice, from_bob, invite, set_up};
use super::harness::{Bench, Plan, reply, sdp, show};
use crate::transaction;
use crate::wire::{HeaderName, Message};

const IDLE: CloseCause = CloseCause::Idle(Duration::from_secs(60));

fn close(bench: &mut Bench, cause: CloseCause) {
    let session = bench.commands[0].session();
    bench.relay_event(Event::Closed { session, cause, report: Default::default() });
}

fn header(message: &Message, name: HeaderName) -> String {
    String::from_utf8_lossy(message.first(name).unwrap_or_default()).into_owned()
}

/// RFC 3261 12.2.1.1, 15.1.1; RFC 3326: each gets a BYE that fits its dialog.
#[test]
fn media_that_stays_away_brings_both_parties_a_bye_that_fits_their_dialog() {
    let mut bench = Bench::new(Plan::default());
    let (_, ok) = set_up(&mut bench);
    bench.udp(ALICE, &from_alice("INFO", 7, &ok, "", ""));
    bench.expect_request(BOB, "INFO");
    close(&mut bench, IDLE);
    let to_alice = bench.expect_request(ALICE, "BYE");
    assert_eq!(to_alice.request_uri(), format!("sip:alice@{ALICE}"));
    assert_eq!(header(&to_alice, HeaderName::From), "<sip:bob@example.test>;tag=tb");
    assert_eq!(header(&to_alice, HeaderName::To), "<sip:alice@example.test>;tag=fa");
    assert_eq!(to_alice.call_id(), "call-1");
    assert_eq!(to_alice.cseq().number, 1);
    let to_bob = bench.expect_request(BOB, "BYE");
    assert_eq!(to_bob.request_uri(), format!("sip:bob@{BOB}"));
    assert_eq!(header(&to_bob, HeaderName::From), "<sip:alice@example.test>;tag=fa");
    assert_eq!(header(&to_bob, HeaderName::To), "<sip:bob@example.test>;tag=tb");
    assert_eq!(to_bob.cseq().number, 8);
    assert_eq!(header(&to_bob, HeaderName::Reason), "SIP;cause=408;text=\"Media Idle\"");
    assert!(!to_bob.has(HeaderName::Route) && !to_alice.has(HeaderName::Route));
    assert_eq!(bench.proxy.load().byes, 2);
    bench.udp(ALICE, &reply(&to_alice, 200, "fa", "sip:alice@x", ""));
    bench.udp(BOB, &reply(&to_bob, 481, "tb", "sip:bob@x", ""));
    assert_eq!(bench.proxy.load().byes, 0);
    bench.expect_silence();
    bench.expect_all_forgotten();
}

/// What each party's latest Contact says (RFC 3261 12.2.1.2, RFC 3311 5.1), and the numbers that the
/// parties have used since.
#[test]
fn a_bye_of_the_nodes_goes_where_the_last_target_refresh_says() {
    let mut bench = Bench::new(Plan::default());
    let (forwarded, ok) = set_up(&mut bench);
    let moved = "198.51.100.20:5099";
    bench.udp(
        BOB,
        &from_bob("UPDATE", 40, &forwarded, "")
            .replace(&format!("bob@{BOB}"), &format!("bob@{moved}")),
    );
    let update = bench.expect_request(ALICE, "UPDATE");
    bench.udp(ALICE, &reply(&update, 200, "fa", "sip:alice2@198.51.100.10:5061", ""));
    bench.expect_status(BOB, 200);
    drop(ok);
    close(&mut bench, IDLE);
    let to_alice = bench.expect_request("198.51.100.10:5061", "BYE");
    assert_eq!(to_alice.request_uri(), "sip:alice2@198.51.100.10:5061");
    assert_eq!(to_alice.cseq().number, 41);
    let to_bob = bench.expect_request(moved, "BYE");
    assert_eq!((to_bob.request_uri(), to_bob.cseq().number), ("sip:bob@198.51.100.20:5099", 2));
}

/// RFC 3261 12.1: proxies on either side have record-routed; the callee's set is taken in reverse.
#[test]
fn a_bye_of_the_nodes_takes_the_route_sets_of_both_sides() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    let routes =
        "Record-Route: <sip:198.51.100.10:5070;lr>, <sip:10.0.0.1;lr>\r\nMax-Forwards: 70\r\n";
    let text =
        invite("bob", &sdp("198.51.100.10", 4000)).replacen("Max-Forwards: 70\r\n", routes, 1);
    bench.udp(ALICE, &text);
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(BOB, "INVITE");
    let answer = reply(&forwarded, 200, "tb", "sip:bob@10.0.0.9", &sdp("198.51.100.20", 6000));
    let below = "Record-Route: <sip:10.0.0.8;lr>\r\nRecord-Route: <sip:198.51.100.20:5080;lr>\r\nRecord-Route";
    bench.udp(BOB, &answer.replacen("Record-Route", below, 1));
    bench.expect_status(ALICE, 200);
    close(&mut bench, CloseCause::WorkerLost);
    let to_alice = bench.expect_request("198.51.100.10:5070", "BYE");
    assert_eq!(to_alice.request_uri(), format!("sip:alice@{ALICE}"));
    let route = "<sip:198.51.100.10:5070;lr>, <sip:10.0.0.1;lr>";
    assert_eq!(header(&to_alice, HeaderName::Route), route);
    let to_bob = bench.expect_request("198.51.100.20:5080", "BYE");
    assert_eq!(to_bob.request_uri(), "sip:bob@10.0.0.9");
    assert_eq!(
        header(&to_bob, HeaderName::Route),
        "<sip:198.51.100.20:5080;lr>, <sip:10.0.0.8;lr>"
    );
}

/// RFC 3261 12.2.1.1: a strict router is the Request-URI, and the party comes last.
#[test]
fn a_bye_of_the_nodes_is_put_together_as_a_strict_router_wants_it() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    let routes = "Record-Route: <sip:198.51.100.10:5070>\r\nMax-Forwards: 70\r\n";
    let text =
        invite("bob", &sdp("198.51.100.10", 4000)).replacen("Max-Forwards: 70\r\n", routes, 1);
    bench.udp(ALICE, &text);
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(BOB, "INVITE");
    let contact = format!("sip:bob@{BOB}");
    bench.udp(BOB, &reply(&forwarded, 200, "tb", &contact, &sdp("198.51.100.20", 6000)));
    bench.expect_status(ALICE, 200);
    close(&mut bench, IDLE);
    let to_alice = bench.expect_request("198.51.100.10:5070", "BYE");
    assert_eq!(to_alice.request_uri(), "sip:198.51.100.10:5070");
    assert_eq!(header(&to_alice, HeaderName::Route), format!("<sip:alice@{ALICE}>"));
}

/// RFC 3261 15.1: it is answered as the other party would have, for as long as it can come again.
#[test]
fn a_bye_that_crosses_the_nodes_is_answered_200_and_a_later_one_481() {
    let mut bench = Bench::new(Plan::default());
    let (_, ok) = set_up(&mut bench);
    close(&mut bench, IDLE);
    bench.sent.clear();
    bench.udp(ALICE, &from_alice("BYE", 2, &ok, "", ""));
    bench.expect_status(ALICE, 200);
    bench.udp(ALICE, &from_alice("BYE", 3, &ok, "", "").replace("call-1", "call-2"));
    bench.expect_status(ALICE, 481);
    bench.sent.clear();
    bench.pass(Duration::from_secs(33));
    bench.sent.clear();
    bench.udp(ALICE, &from_alice("BYE", 4, &ok, "", ""));
    bench.expect_status(ALICE, 481);
    bench.expect_all_forgotten();
}

/// Nobody answers: what was sent again and again is given up.
#[test]
fn parties_that_do_not_answer_the_nodes_bye_are_forgotten() {
    let mut bench = Bench::new(Plan::default());
    set_up(&mut bench);
    close(&mut bench, IDLE);
    bench.pass(Duration::from_secs(33));
    assert!(bench.sent.len() > 10, "sent again: {}", bench.sent.len());
    assert_eq!(bench.proxy.load().byes, 0);
    bench.expect_all_forgotten();
}

/// A challenge is not answered: whose password could it be?
#[test]
fn a_challenged_bye_of_the_nodes_is_given_up() {
    let mut bench = Bench::new(Plan::default());
    set_up(&mut bench);
    close(&mut bench, IDLE);
    for at in [ALICE, BOB] {
        let bye = bench.expect_request(at, "BYE");
        bench.udp(at, &reply(&bye, 407, "x", "sip:x@x", ""));
    }
    assert_eq!(bench.proxy.load().byes, 0);
    bench.expect_silence();
    bench.expect_all_forgotten();
}

/// Calls cannot live on without the relay of this node; those whose media passes it by can.
#[test]
fn a_node_that_stops_ends_the_calls_whose_media_it_relays() {
    for relay_media in [true, false] {
        let mut bench = Bench::new(Plan { relay_media, ..Plan::default() });
        set_up(&mut bench);
        bench.stop();
        if relay_media {
            let bye = bench.expect_request(ALICE, "BYE");
            assert_eq!(header(&bye, HeaderName::Reason), "SIP;cause=503;text=\"Node Stopped\"");
            bench.expect_request(BOB, "BYE");
            assert_eq!(bench.proxy.load().byes, 2, "the node waits for the answers");
        }
        bench.expect_silence();
    }
}

/// The longest life ends, and with it the dialogs.
#[test]
fn a_call_that_outlives_its_time_is_ended_by_bye() {
    let mut bench = Bench::new(Plan::default());
    set_up(&mut bench);
    bench.pass(Plan::default().limits.call_lifetime + Duration::from_secs(1));
    let bye = bench.expect_request(ALICE, "BYE");
    assert!(show(&bye).contains("Lifetime Exceeded"));
}

/// A dialog whose ways are longer than is kept: no BYE can be sent, and nothing else changes.
#[test]
fn a_dialog_with_endless_routes_is_let_go_without_a_bye() {
    let mut bench = Bench::new(Plan::default());
    bench.register("bob", BOB);
    let contact = format!("sip:{}@{ALICE}", "a".repeat(crate::call::dialog::WAYS_BYTES_MAX));
    let text = invite("bob", &sdp("198.51.100.10", 4000));
    bench.udp(ALICE, &text.replace(&format!("sip:alice@{ALICE}"), &contact));
    bench.expect_status(ALICE, 100);
    let forwarded = bench.expect_request(BOB, "INVITE");
    let contact = format!("sip:bob@{BOB}");
    bench.udp(BOB, &reply(&forwarded, 200, "tb", &contact, &sdp("198.51.100.20", 6000)));
    bench.expect_status(ALICE, 200);
    close(&mut bench, IDLE);
    bench.expect_silence();
    assert_eq!(bench.records.len(), 1);
}

/// A stop ends every call at once: those BYEs that find the table of transactions full go out once each,
/// and nobody is left untold.
#[test]
fn byes_beyond_the_table_of_transactions_go_out_once() {
    let transactions = transaction::Config { clients_max: 1, ..transaction::Config::new([1; 32]) };
    let mut bench = Bench::new(Plan { transactions, ..Plan::default() });
    set_up(&mut bench);
    bench.stop();
    bench.expect_request(ALICE, "BYE");
    bench.expect_request(BOB, "BYE");
    assert_eq!(bench.proxy.load().byes, 0, "the INVITE still has the only place");
    assert!(bench.notices.iter().any(|n| n.to_string().contains("1 client transactions")));
    assert_eq!(bench.records.len(), 1);
    bench.pass(Duration::from_secs(10));
    bench.expect_silence();
    bench.expect_all_forgotten();
}
