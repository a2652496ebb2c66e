//! RFC 3261 17.2.2.

use super::*;

fn options() -> Message {
    request("OPTIONS", "z9hG4bK1")
}

#[test]
fn a_retransmission_is_absorbed_until_there_is_a_response_and_answered_with_it_then() {
    let mut bench = Bench::udp();
    let tx = bench.accept(&options());
    bench.receive(&options());
    assert_eq!(bench.sent(), [""; 0]);
    bench.respond(tx, &options(), 100);
    bench.receive(&options());
    bench.respond(tx, &options(), 200);
    bench.receive(&options());
    bench.respond(tx, &options(), 500);
    assert_eq!(bench.sent(), ["100", "100", "200", "200"]);
    assert_eq!(bench.told(), [""; 0]);
}

/// Timer J.
#[test]
fn over_udp_it_ends_64_t1_after_its_response() {
    let mut bench = Bench::udp();
    let tx = bench.accept(&options());
    bench.pass(ms(20_000));
    bench.respond(tx, &options(), 200);
    bench.pass(ms(31_999));
    assert_eq!(bench.layer.server_state(tx), Some(State::Completed));
    bench.pass(ms(1));
    assert_eq!(bench.told(), ["server ended"]);
    assert!(bench.is_empty());
}

#[test]
fn over_tcp_it_ends_with_its_response() {
    let mut bench = Bench::tcp();
    let tx = bench.accept(&options());
    bench.respond(tx, &options(), 200);
    assert_eq!(bench.sent(), ["200"]);
    assert_eq!(bench.told(), ["server ended"]);
    assert!(bench.is_empty());
}

/// RFC 4320 4.2.
#[test]
fn one_that_is_not_answered_in_64_t1_ends_in_silence() {
    let mut bench = Bench::udp();
    bench.accept(&options());
    bench.pass(ms(32_000));
    assert_eq!(bench.sent(), [""; 0]);
    assert_eq!(bench.told(), ["server failed Timeout", "server ended"]);
    assert!(bench.is_empty());
}

/// RFC 3261 17.2.4.
#[test]
fn a_transport_error_ends_it() {
    let mut bench = Bench::udp();
    let tx = bench.accept(&options());
    bench.respond(tx, &options(), 200);
    bench.transport_error();
    assert_eq!(bench.told(), ["server failed Transport", "server ended"]);
    assert!(bench.is_empty());
}
