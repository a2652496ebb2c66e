//! RFC 3261 17.1.2.

use super::*;

fn options() -> Message {
    request("OPTIONS", "z9hG4bK1")
}

fn receive(bench: &mut Bench, status: u16) {
    bench.receive(&response(&options(), status));
}

/// Timers E and F.
#[test]
fn over_udp_it_is_retransmitted_at_most_t2_apart_and_fails_after_64_t1() {
    let mut bench = Bench::udp();
    bench.send(&options());
    bench.pass(ms(32_000));
    let times: Vec<u64> = bench.sent_at().into_iter().map(|(at, _)| at).collect();
    assert_eq!(times[..5], [0, 500, 1_500, 3_500, 7_500]);
    assert_eq!(times[5..], [11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
    assert_eq!(bench.told(), ["client failed Timeout", "client ended"]);
    assert!(bench.is_empty());
}

#[test]
fn after_a_provisional_response_it_is_retransmitted_every_t2() {
    let mut bench = Bench::udp();
    bench.send(&options());
    bench.pass(ms(400));
    receive(&mut bench, 100);
    bench.pass(ms(12_000));
    let times: Vec<u64> = bench.sent_at().into_iter().map(|(at, _)| at).collect();
    assert_eq!(times, [0, 500, 4_500, 8_500]);
    bench.pass(ms(19_600));
    assert_eq!(bench.told(), ["response 100", "client failed Timeout", "client ended"]);
}

/// Timer K.
#[test]
fn the_final_response_is_passed_on_once_and_repeats_are_absorbed_for_t4() {
    let mut bench = Bench::udp();
    let tx = bench.send(&options());
    receive(&mut bench, 200);
    bench.pass(ms(4_999));
    receive(&mut bench, 200);
    assert_eq!(bench.told(), ["response 200"]);
    assert_eq!(bench.layer.client_state(tx), Some(State::Completed));
    bench.pass(ms(1));
    assert_eq!(bench.told(), ["client ended"]);
    assert_eq!(bench.sent(), ["OPTIONS"]);
    assert!(bench.is_empty());
}

#[test]
fn over_tcp_it_is_sent_once_and_ends_with_its_response() {
    let mut bench = Bench::tcp();
    bench.send(&options());
    bench.pass(ms(10_000));
    receive(&mut bench, 200);
    assert_eq!(bench.sent(), ["OPTIONS"]);
    assert_eq!(bench.told(), ["response 200", "client ended"]);
    assert!(bench.is_empty());
}

#[test]
fn a_transport_error_fails_it() {
    let mut bench = Bench::udp();
    bench.send(&options());
    receive(&mut bench, 100);
    bench.transport_error();
    assert_eq!(bench.told(), ["response 100", "client failed Transport", "client ended"]);
    assert!(bench.is_empty());
}

/// RFC 3261 9.1.
#[test]
fn it_cannot_be_cancelled() {
    let mut bench = Bench::udp();
    let tx = bench.send(&options());
    receive(&mut bench, 100);
    bench.cancel(tx, None);
    assert_eq!(bench.sent(), ["OPTIONS"]);
}
