//! RFC 3261 17.1.3, 17.2.3, 9.2 and 8.2.2.2.

use super::*;

/// A request from an RFC 2543 element: its branch identifies nothing.
fn legacy(method: &str, to_params: &str) -> Message {
    request_with(method, ";branch=1", to_params)
}

#[test]
fn requests_match_by_branch_sent_by_and_method() {
    let mut bench = Bench::udp();
    bench.receive(&request("OPTIONS", "z9hG4bK1"));
    bench.receive(&request("OPTIONS", "z9hG4bK2"));
    bench.receive(&request("MESSAGE", "z9hG4bK1"));
    bench.receive(&request("OPTIONS", "z9hG4bK1"));
    assert_eq!(bench.told(), ["request OPTIONS", "request OPTIONS merged", "request MESSAGE"]);
    assert_eq!(bench.layer.counters().absorbed, 1);
}

#[test]
fn the_same_branch_of_another_sender_is_another_transaction() {
    let mut bench = Bench::udp();
    let here = "OPTIONS sip:b SIP/2.0\nVia: SIP/2.0/UDP A.example:5060;branch=z9hG4bK1\n\
                From: <sip:a@b>;tag=1\nTo: <sip:b@b>\nCall-ID: x\nCSeq: 1 OPTIONS\n\n";
    bench.receive(&message(here));
    bench.receive(&message(&here.replace("A.example:5060", "a.EXAMPLE")));
    assert_eq!(bench.told(), ["request OPTIONS"]);
    bench.receive(&message(&here.replace("A.example:5060", "a.example:5062")));
    bench.receive(&message(&here.replace("A.example:5060", "b.example:5060")));
    assert_eq!(bench.told(), ["request OPTIONS merged", "request OPTIONS merged"]);
}

#[test]
fn responses_match_by_branch_and_method() {
    let mut bench = Bench::udp();
    bench.send(&request("OPTIONS", "z9hG4bK1"));
    bench.receive(&response(&request("OPTIONS", "z9hG4bK2"), 200));
    bench.receive(&response(&request("INVITE", "z9hG4bK1"), 200));
    bench.receive(&response(&request("OPTIONS", "z9hG4bK1"), 200));
    assert_eq!(bench.told(), ["stray 200", "stray 200", "response 200"]);
    assert_eq!(bench.layer.counters().unmatched, 2);
}

#[test]
fn a_cancel_names_the_invite_that_it_is_for() {
    let mut bench = Bench::udp();
    let invite = bench.accept(&request("INVITE", "z9hG4bK1"));
    bench.receive(&request("CANCEL", "z9hG4bK1"));
    let Some(Event::Cancel { cancel, invite: found, .. }) = bench.events.pop() else {
        panic!("no CANCEL")
    };
    assert_eq!(found, Some(invite));
    // It is a transaction of its own, with its own retransmissions.
    bench.respond(cancel, &request("CANCEL", "z9hG4bK1"), 200);
    bench.receive(&request("CANCEL", "z9hG4bK1"));
    assert_eq!(bench.sent(), ["200", "200"]);
    assert_eq!(bench.layer.server_state(invite), Some(State::Proceeding));
}

#[test]
fn a_cancel_for_nothing_is_handed_on() {
    let mut bench = Bench::udp();
    bench.receive(&request("CANCEL", "z9hG4bK1"));
    bench.accept(&request("OPTIONS", "z9hG4bK2"));
    bench.receive(&request("CANCEL", "z9hG4bK2"));
    assert_eq!(bench.told(), ["cancel false", "cancel false"]);
}

/// RFC 3261 8.2.2.2; not within a dialog.
#[test]
fn a_request_that_came_by_another_way_is_marked_as_merged() {
    let mut bench = Bench::udp();
    let tx = bench.accept(&request("INVITE", "z9hG4bK1"));
    bench.receive(&request("INVITE", "z9hG4bK2"));
    bench.receive(&request_with("INVITE", ";branch=z9hG4bK3", ";tag=b1"));
    assert_eq!(bench.told(), ["request INVITE merged", "request INVITE"]);
    bench.respond(tx, &request("INVITE", "z9hG4bK1"), 200);
    bench.pass(ms(901_000));
    bench.told();
    bench.receive(&request("INVITE", "z9hG4bK4"));
    assert_eq!(bench.told(), ["request INVITE"]);
}

#[test]
fn a_legacy_request_matches_by_its_header_fields() {
    let mut bench = Bench::udp();
    let tx = bench.accept(&legacy("INVITE", ""));
    bench.receive(&legacy("INVITE", ""));
    assert_eq!(bench.told(), [""; 0]);
    bench.receive(&legacy("INVITE", ";tag=b9"));
    bench.receive(&legacy("OPTIONS", ""));
    assert_eq!(bench.told(), ["request INVITE", "request OPTIONS"]);
    bench.receive(&legacy("CANCEL", ""));
    let Some(Event::Cancel { invite, .. }) = bench.events.pop() else { panic!("no CANCEL") };
    assert_eq!(invite, Some(tx));
}

#[test]
fn a_branch_of_the_cookie_alone_identifies_nothing() {
    let mut bench = Bench::udp();
    let other = |call_id: &str| {
        let text = String::from_utf8(request("OPTIONS", "z9hG4bK").raw().to_vec()).unwrap();
        Message::parse_datagram(text.replace("c1", call_id).into_bytes().into()).unwrap()
    };
    for call_id in ["c1", "c2", "c1"] {
        bench.receive(&other(call_id));
    }
    assert_eq!(bench.told(), ["request OPTIONS", "request OPTIONS"]);
}

#[test]
fn a_legacy_ack_matches_by_the_to_tag_of_the_response() {
    let mut bench = Bench::udp();
    let tx = bench.accept(&legacy("INVITE", ""));
    bench.respond(tx, &legacy("INVITE", ""), 486);
    bench.receive(&legacy("ACK", ";tag=other"));
    assert_eq!(bench.told(), ["ack"]);
    assert_eq!(bench.layer.server_state(tx), Some(State::Completed));
    bench.receive(&legacy("ACK", ";tag=b1"));
    assert_eq!(bench.told(), [""; 0]);
    assert_eq!(bench.layer.server_state(tx), Some(State::Confirmed));
}
