//! What happens where a table is full.

use super::*;
use crate::wire::HeaderName;

fn bench(servers_max: usize, clients_max: usize) -> Bench {
    Bench::with(Transport::Udp, Config { servers_max, clients_max, ..Config::new([3; 32]) })
}

#[test]
fn a_new_request_that_finds_the_table_full_is_answered_503_with_retry_after() {
    let mut bench = bench(1, 1);
    let tx = bench.accept(&request("OPTIONS", "z9hG4bK1"));
    bench.receive(&request("OPTIONS", "z9hG4bK2"));
    let refusal = bench.last_sent();
    assert_eq!(refusal.status(), Some(503));
    assert_eq!(refusal.first_str(HeaderName::RetryAfter), Some("5"));
    assert!(refusal.to().tag().is_some());
    assert_eq!(bench.told(), ["refused OPTIONS"]);
    assert_eq!((bench.layer.servers(), bench.layer.counters().refused), (1, 1));

    // What is going on is not disturbed.
    bench.receive(&request("OPTIONS", "z9hG4bK1"));
    bench.respond(tx, &request("OPTIONS", "z9hG4bK1"), 200);
    bench.pass(ms(32_000));
    assert_eq!(bench.told(), ["server ended"]);
    bench.accept(&request("OPTIONS", "z9hG4bK2"));
}

/// RFC 3261 8.2.7: a stateless server answers retransmissions alike.
#[test]
fn a_refused_request_gets_the_same_to_tag_each_time() {
    let mut bench = bench(0, 0);
    let tags: Vec<_> = (0..2)
        .map(|_| {
            bench.receive(&request("OPTIONS", "z9hG4bK2"));
            bench.last_sent().to().tag().unwrap().to_owned()
        })
        .collect();
    assert_eq!(tags[0], tags[1]);
}

/// Refusing must not cost what there is too little of.
#[test]
fn refusals_of_a_full_table_are_answered_at_a_bounded_rate() {
    let mut bench = bench(0, 0);
    let mut answered = 0;
    for n in 0..5_000 {
        bench.receive(&request("OPTIONS", &format!("z9hG4bK{n}")));
        answered += bench.sent().len();
    }
    assert_eq!((answered, bench.layer.counters().refused), (1_000, 5_000));
    bench.now += ms(10);
    bench.receive(&request("OPTIONS", "z9hG4bKx"));
    assert_eq!(bench.sent().len(), 1);
}

#[test]
fn an_ack_is_never_refused() {
    let mut bench = bench(0, 0);
    bench.receive(&request("ACK", "z9hG4bK2"));
    assert_eq!(bench.sent(), [""; 0]);
    assert_eq!(bench.told(), ["ack"]);
}

#[test]
fn sending_fails_when_the_table_is_full() {
    let mut bench = bench(1, 1);
    bench.send(&request("OPTIONS", "z9hG4bK1"));
    bench.sent();
    let target = bench.target();
    let again = bench.layer.send(bench.now, request("OPTIONS", "z9hG4bK2"), target);
    assert_eq!(again, Err(TableFull { limit: 1 }));
    bench.take();
    assert_eq!(bench.sent(), [""; 0]);
}

#[test]
fn a_cancel_that_finds_the_table_full_is_sent_all_the_same() {
    let mut bench = bench(1, 1);
    let invite = request("INVITE", "z9hG4bK1");
    let tx = bench.send(&invite);
    bench.receive(&response(&invite, 180));
    bench.cancel(tx, None);
    assert_eq!(bench.sent(), ["INVITE", "CANCEL"]);
    assert_eq!(bench.layer.clients(), 1);
    // Its answer then belongs to nothing.
    bench.receive(&response(&request("CANCEL", "z9hG4bK1"), 200));
    assert_eq!(bench.told(), ["response 180", "stray 200"]);
}

#[test]
fn handles_do_not_outlive_their_transaction() {
    let mut bench = bench(1, 1);
    let options = request("OPTIONS", "z9hG4bK1");
    let old = bench.accept(&options);
    bench.pass(ms(32_000));
    let new = bench.accept(&request("OPTIONS", "z9hG4bK2"));
    assert_ne!(old, new);
    assert!(!bench.layer.respond(bench.now, old, response(&options, 200)));
    assert_eq!(bench.layer.server_state(new), Some(State::Trying));
}

#[test]
fn times_of_zero_do_not_hang() {
    for t1 in [Duration::ZERO, ms(1)] {
        let (t2, t4, proceeding_max) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        let timing = Timing { t1, t2, t4, proceeding_max };
        let mut bench = Bench::with(Transport::Udp, Config { timing, ..Config::new([3; 32]) });
        bench.send(&request("INVITE", "z9hG4bK1"));
        bench.send(&request("OPTIONS", "z9hG4bK2"));
        let tx = bench.accept(&request("INVITE", "z9hG4bK3"));
        bench.respond(tx, &request("INVITE", "z9hG4bK3"), 486);
        bench.accept(&request("INVITE", "z9hG4bK4"));
        bench.pass(ms(40_000));
        assert!(bench.is_empty());
    }
}
