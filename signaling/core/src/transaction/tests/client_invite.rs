//! RFC 3261 17.1.1, RFC 6026 7.2, and CANCEL (RFC 3261 9.1).

use super::*;
use crate::wire::{HeaderName, Method};

fn invite() -> Message {
    request("INVITE", "z9hG4bK1")
}

fn receive(bench: &mut Bench, status: u16) {
    bench.receive(&response(&invite(), status));
}

/// Timers A and B.
#[test]
fn over_udp_it_is_retransmitted_at_doubling_intervals_and_fails_after_64_t1() {
    let mut bench = Bench::udp();
    let tx = bench.send(&invite());
    assert_eq!(bench.layer.client_state(tx), Some(State::Calling));
    bench.pass(ms(32_000));
    let times: Vec<u64> = bench.sent_at().into_iter().map(|(at, _)| at).collect();
    assert_eq!(times, [0, 500, 1_500, 3_500, 7_500, 15_500, 31_500]);
    assert_eq!(bench.told(), ["client failed Timeout", "client ended"]);
    assert_eq!(bench.layer.counters().retransmitted, 6);
    assert!(bench.is_empty());
}

#[test]
fn over_tcp_it_is_sent_once_and_fails_after_64_t1() {
    let mut bench = Bench::tcp();
    bench.send(&invite());
    bench.pass(ms(32_000));
    assert_eq!(bench.sent(), ["INVITE"]);
    assert_eq!(bench.told(), ["client failed Timeout", "client ended"]);
    assert!(bench.is_empty());
}

#[test]
fn a_provisional_response_stops_retransmissions_and_the_clock() {
    let mut bench = Bench::udp();
    let tx = bench.send(&invite());
    bench.pass(ms(500));
    receive(&mut bench, 100);
    receive(&mut bench, 180);
    bench.pass(ms(180_000));
    assert_eq!(bench.sent(), ["INVITE", "INVITE"]);
    assert_eq!(bench.told(), ["response 100", "response 180"]);
    assert_eq!(bench.layer.client_state(tx), Some(State::Proceeding));
}

/// 17.1.1.3 and timer D.
#[test]
fn a_refusal_is_passed_on_once_and_acknowledged_each_time_for_32_s() {
    let mut bench = Bench::udp();
    let tx = bench.send(&invite());
    receive(&mut bench, 180);
    receive(&mut bench, 486);
    bench.pass(ms(31_999));
    receive(&mut bench, 486);
    receive(&mut bench, 180);
    assert_eq!(bench.sent(), ["INVITE", "ACK", "ACK"]);
    assert_eq!(bench.told(), ["response 180", "response 486"]);
    assert_eq!(bench.layer.client_state(tx), Some(State::Completed));
    bench.pass(ms(1));
    assert_eq!(bench.told(), ["client ended"]);
    assert!(bench.is_empty());
}

#[test]
fn the_ack_of_a_refusal_repeats_the_invite_s_via_and_route_and_the_response_s_to() {
    let mut bench = Bench::udp();
    bench.send(&invite());
    receive(&mut bench, 486);
    let ack = bench.last_sent();
    assert_eq!(ack.request_uri(), "sip:bob@example.org");
    assert_eq!(ack.top_via().branch(), Some("z9hG4bK1"));
    assert_eq!(ack.vias().count(), 1);
    assert_eq!(ack.to().tag(), Some("b1"));
    assert_eq!(ack.from().tag(), Some("a1"));
    assert_eq!((ack.call_id(), ack.cseq().number), ("c1", 7));
    assert_eq!(ack.routes().count(), 1);
}

#[test]
fn over_tcp_a_refusal_ends_it_at_once() {
    let mut bench = Bench::tcp();
    bench.send(&invite());
    receive(&mut bench, 404);
    assert_eq!(bench.sent(), ["INVITE", "ACK"]);
    assert_eq!(bench.told(), ["response 404", "client ended"]);
    assert!(bench.is_empty());
}

/// Timer M; RFC 6026 7.2.
#[test]
fn every_2xx_within_64_t1_of_the_first_is_passed_on_and_none_is_acknowledged_here() {
    let mut bench = Bench::udp();
    let tx = bench.send(&invite());
    receive(&mut bench, 200);
    bench.pass(ms(31_999));
    let fork = ResponseBuilder::new(&invite(), 200, None).to_tag("b2").finish_message().unwrap();
    bench.receive(&fork);
    receive(&mut bench, 183);
    assert_eq!(bench.told(), ["response 200", "response 200"]);
    assert_eq!(bench.sent(), ["INVITE"]);
    assert_eq!(bench.layer.client_state(tx), Some(State::Accepted));
    bench.pass(ms(1));
    assert_eq!(bench.told(), ["client ended"]);
    receive(&mut bench, 200);
    assert_eq!(bench.told(), ["stray 200"]);
    assert!(bench.is_empty());
}

#[test]
fn a_2xx_after_a_refusal_is_handed_on_as_a_stray() {
    let mut bench = Bench::udp();
    bench.send(&invite());
    receive(&mut bench, 486);
    receive(&mut bench, 200);
    assert_eq!(bench.told(), ["response 486", "stray 200"]);
}

#[test]
fn a_transport_error_before_any_response_fails_it() {
    let mut bench = Bench::udp();
    bench.send(&invite());
    bench.transport_error();
    assert_eq!(bench.told(), ["client failed Transport", "client ended"]);
    assert!(bench.is_empty());
}

#[test]
fn a_transport_error_after_a_provisional_response_changes_nothing() {
    let mut bench = Bench::udp();
    let tx = bench.send(&invite());
    receive(&mut bench, 180);
    bench.transport_error();
    assert_eq!(bench.told(), ["response 180"]);
    assert_eq!(bench.layer.client_state(tx), Some(State::Proceeding));
}

#[test]
fn one_that_rings_for_ever_is_given_up() {
    let mut bench = Bench::udp();
    bench.send(&invite());
    receive(&mut bench, 180);
    bench.pass(ms(900_000));
    assert_eq!(bench.told(), ["response 180", "client failed Timeout", "client ended"]);
    assert!(bench.is_empty());
}

#[test]
fn a_cancel_waits_for_a_provisional_response() {
    let mut bench = Bench::udp();
    let tx = bench.send(&invite());
    bench.cancel(tx, Some("SIP;cause=200;text=\"Call completed elsewhere\""));
    assert_eq!(bench.sent(), ["INVITE"]);
    receive(&mut bench, 100);
    let cancel = bench.last_sent();
    assert_eq!(cancel.method(), &Method::Cancel);
    assert_eq!(cancel.request_uri(), "sip:bob@example.org");
    assert_eq!(cancel.top_via().branch(), Some("z9hG4bK1"));
    assert_eq!((cancel.vias().count(), cancel.routes().count()), (1, 1));
    assert_eq!(cancel.cseq().number, 7);
    assert_eq!(cancel.to().tag(), None);
    assert_eq!(
        cancel.first_str(HeaderName::Reason),
        Some("SIP;cause=200;text=\"Call completed elsewhere\"")
    );
}

#[test]
fn the_answer_to_our_cancel_is_ours_and_the_invite_ends_with_487() {
    let mut bench = Bench::udp();
    let tx = bench.send(&invite());
    receive(&mut bench, 180);
    bench.cancel(tx, None);
    bench.cancel(tx, None);
    bench.receive(&response(&request("CANCEL", "z9hG4bK1"), 200));
    receive(&mut bench, 487);
    assert_eq!(bench.sent(), ["INVITE", "CANCEL", "ACK"]);
    assert_eq!(bench.told(), ["response 180", "response 487"]);
    bench.pass(ms(40_000));
    assert_eq!(bench.told(), ["client ended"]);
    assert!(bench.is_empty());
}

/// RFC 3261 9.1, last paragraph.
#[test]
fn a_cancelled_invite_without_final_response_is_given_up_after_64_t1() {
    let mut bench = Bench::udp();
    let tx = bench.send(&invite());
    receive(&mut bench, 180);
    bench.cancel(tx, None);
    bench.pass(ms(31_999));
    receive(&mut bench, 183);
    assert_eq!(bench.told(), ["response 180", "response 183"]);
    // The CANCEL is retransmitted like any request (timer E).
    assert_eq!(bench.sent().iter().filter(|sent| *sent == "CANCEL").count(), 11);
    bench.pass(ms(1));
    assert_eq!(bench.told(), ["client failed Timeout", "client ended"]);
    assert!(bench.is_empty());
}

#[test]
fn a_final_response_overtakes_a_cancel_that_waits() {
    let mut bench = Bench::udp();
    let tx = bench.send(&invite());
    bench.cancel(tx, None);
    receive(&mut bench, 200);
    bench.cancel(tx, None);
    assert_eq!(bench.sent(), ["INVITE"]);
    assert_eq!(bench.told(), ["response 200"]);
}
