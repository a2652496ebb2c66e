//! RFC 3261 17.2.1, RFC 6026 7.1.

use super::*;

fn invite() -> Message {
    request("INVITE", "z9hG4bK1")
}

/// The ACK of a non-2xx response: same branch.
fn ack() -> Message {
    request_with("ACK", ";branch=z9hG4bK1", ";tag=b1")
}

#[test]
fn a_retransmitted_invite_is_absorbed_and_answered_with_the_last_provisional() {
    let mut bench = Bench::udp();
    let tx = bench.accept(&invite());
    bench.receive(&invite());
    assert_eq!(bench.sent(), [""; 0]);
    bench.respond(tx, &invite(), 100);
    bench.respond(tx, &invite(), 180);
    bench.receive(&invite());
    assert_eq!(bench.sent(), ["100", "180", "180"]);
    assert_eq!(bench.told(), [""; 0]);
    assert_eq!(bench.layer.server_state(tx), Some(State::Proceeding));
}

/// Timers G and H.
#[test]
fn a_refusal_is_retransmitted_until_timer_h_gives_up() {
    let mut bench = Bench::udp();
    let tx = bench.accept(&invite());
    bench.respond(tx, &invite(), 486);
    bench.pass(ms(31_999));
    let times: Vec<u64> = bench.sent_at().into_iter().map(|(at, _)| at).collect();
    assert_eq!(times[..5], [0, 500, 1_500, 3_500, 7_500]);
    assert_eq!(times[5..], [11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
    assert_eq!(bench.told(), [""; 0]);
    bench.pass(ms(1));
    assert_eq!(bench.told(), ["server failed Timeout", "server ended"]);
    assert!(bench.is_empty());
}

/// Timer I.
#[test]
fn the_ack_of_a_refusal_ends_retransmissions_and_further_acks_are_absorbed_for_t4() {
    let mut bench = Bench::udp();
    let tx = bench.accept(&invite());
    bench.respond(tx, &invite(), 486);
    bench.receive(&ack());
    assert_eq!(bench.layer.server_state(tx), Some(State::Confirmed));
    bench.pass(ms(4_999));
    bench.receive(&ack());
    bench.receive(&invite());
    assert_eq!(bench.sent(), ["486"]);
    assert_eq!(bench.told(), [""; 0]);
    bench.pass(ms(1));
    assert_eq!(bench.told(), ["server ended"]);
    assert!(bench.is_empty());
}

#[test]
fn a_retransmitted_invite_gets_the_refusal_again() {
    let mut bench = Bench::udp();
    let tx = bench.accept(&invite());
    bench.respond(tx, &invite(), 404);
    bench.receive(&invite());
    assert_eq!(bench.sent(), ["404", "404"]);
    assert_eq!(bench.layer.counters().retransmitted, 1);
}

#[test]
fn a_second_final_response_is_not_sent() {
    let mut bench = Bench::udp();
    let tx = bench.accept(&invite());
    bench.respond(tx, &invite(), 486);
    for status in [180, 200, 500] {
        bench.respond(tx, &invite(), status);
    }
    assert_eq!(bench.sent(), ["486"]);
}

#[test]
fn over_tcp_a_refusal_is_sent_once_and_its_ack_ends_the_transaction() {
    let mut bench = Bench::tcp();
    let tx = bench.accept(&invite());
    bench.respond(tx, &invite(), 486);
    bench.pass(ms(10_000));
    assert_eq!(bench.sent(), ["486"]);
    bench.receive(&ack());
    assert_eq!(bench.told(), ["server ended"]);
    assert!(bench.is_empty());
}

/// Timer L; RFC 6026 7.1.
#[test]
fn after_a_2xx_invites_are_absorbed_and_each_2xx_of_the_tu_is_sent() {
    let mut bench = Bench::udp();
    let tx = bench.accept(&invite());
    bench.respond(tx, &invite(), 200);
    bench.pass(ms(500));
    bench.receive(&invite());
    bench.respond(tx, &invite(), 200);
    bench.respond(tx, &invite(), 486);
    assert_eq!(bench.sent(), ["200", "200"]);
    assert_eq!(bench.layer.server_state(tx), Some(State::Accepted));
    bench.pass(ms(31_499));
    assert_eq!(bench.told(), [""; 0]);
    bench.pass(ms(1));
    assert_eq!(bench.told(), ["server ended"]);
    assert!(bench.is_empty());
    assert!(!bench.layer.respond(bench.now, tx, response(&invite(), 200)));
}

/// RFC 6026 7.1: also one that has the INVITE's branch, as some senders do.
#[test]
fn the_ack_of_a_2xx_is_handed_to_the_tu() {
    let mut bench = Bench::udp();
    let tx = bench.accept(&invite());
    bench.respond(tx, &invite(), 200);
    bench.receive(&request_with("ACK", ";branch=z9hG4bK2", ";tag=b1"));
    bench.receive(&ack());
    assert_eq!(bench.told(), ["ack", "ack"]);
    assert_eq!(bench.layer.server_state(tx), Some(State::Accepted));
}

#[test]
fn an_ack_for_nothing_is_handed_to_the_tu() {
    let mut bench = Bench::udp();
    bench.receive(&ack());
    assert_eq!(bench.told(), ["ack"]);
    assert!(bench.is_empty());
}

/// RFC 6026 7.1: the transaction user is told, the transaction goes on.
#[test]
fn a_transport_error_is_reported_and_does_not_end_an_invite() {
    let mut bench = Bench::udp();
    let tx = bench.accept(&invite());
    bench.respond(tx, &invite(), 180);
    bench.transport_error();
    assert_eq!(bench.told(), ["server failed Transport"]);
    assert_eq!(bench.layer.server_state(tx), Some(State::Proceeding));
}

#[test]
fn an_invite_that_nobody_answers_is_given_up() {
    let mut bench = Bench::udp();
    let tx = bench.accept(&invite());
    bench.pass(ms(600_000));
    bench.respond(tx, &invite(), 180);
    bench.pass(ms(899_999));
    assert_eq!(bench.layer.server_state(tx), Some(State::Proceeding));
    bench.pass(ms(1));
    assert_eq!(bench.told(), ["server failed Timeout", "server ended"]);
    assert!(bench.is_empty());
}

/// A peer that brings about errors without end must not have all of its transactions walked through for
/// each: one is told once.
#[test]
fn each_transaction_is_told_of_a_transport_error_once() {
    let mut bench = Bench::udp();
    let invites: Vec<_> = (0..10).map(|n| request("INVITE", &format!("z9hG4bK{n}"))).collect();
    for invite in &invites {
        let tx = bench.accept(invite);
        bench.respond(tx, invite, 486);
    }
    bench.transport_error();
    bench.transport_error();
    assert_eq!(bench.told().len(), 10);
    assert_eq!(bench.layer.counters().transport_errors, 10);
    bench.pass(ms(64_000));
    assert!(bench.is_empty());
}
