//! Where responses go (RFC 3261 18.2, RFC 3581), and connections.

use super::*;
use crate::wire::{HeaderName, Rport};

/// A request whose sent-by is not where it comes from.
fn behind_nat(via_params: &str) -> Message {
    let text = request_with("OPTIONS", via_params, "").raw().to_vec();
    let text = String::from_utf8(text).unwrap().replace("192.0.2.1:5060", "10.0.0.7:5070");
    Message::parse_datagram(text.into_bytes().into()).unwrap()
}

fn from_port(bench: &Bench, port: u16) -> Arrival {
    let mut arrival = bench.arrival();
    arrival.remote.set_port(port);
    arrival
}

fn answer(bench: &mut Bench, arrival: Arrival, request: &Message) -> (Message, Target) {
    bench.receive_from(arrival, request);
    let Some(Event::Request { tx, request, .. }) = bench.events.pop() else { panic!("no request") };
    bench.respond(tx, &request, 200);
    (request, bench.wire.last().unwrap().1.target)
}

#[test]
fn with_rport_the_response_goes_to_the_port_that_the_request_came_from() {
    let mut bench = Bench::udp();
    let arrival = from_port(&bench, 33_000);
    let (seen, target) = answer(&mut bench, arrival, &behind_nat(";rport;branch=z9hG4bK1"));
    assert_eq!(target, arrival.reply());
    assert_eq!(seen.top_via().rport(), Rport::Port(33_000));
    assert_eq!(seen.top_via().received(), Some(addr(PEER).ip()));
}

#[test]
fn without_rport_the_response_goes_to_the_port_of_sent_by() {
    let mut bench = Bench::udp();
    let arrival = from_port(&bench, 33_000);
    let (seen, target) = answer(&mut bench, arrival, &behind_nat(";branch=z9hG4bK1"));
    assert_eq!(target.remote, addr("192.0.2.1:5070"));
    assert_eq!(seen.top_via().rport(), Rport::Absent);
    assert_eq!(seen.top_via().received(), Some(addr(PEER).ip()));
}

/// A stranger must not be able to direct responses at others.
#[test]
fn neither_received_nor_maddr_of_the_sender_steers_the_response() {
    let mut bench = Bench::udp();
    let arrival = from_port(&bench, 33_000);
    let via = ";branch=z9hG4bK1;received=198.51.100.1;rport=1;maddr=198.51.100.2";
    let (seen, target) = answer(&mut bench, arrival, &behind_nat(via));
    assert_eq!(target, arrival.reply());
    assert_eq!(seen.top_via().received(), Some(addr(PEER).ip()));
    assert_eq!(seen.top_via().rport(), Rport::Port(33_000));
}

#[test]
fn a_via_that_is_right_stays_as_it_is() {
    let mut bench = Bench::udp();
    let request = request("OPTIONS", "z9hG4bK1");
    let arrival = bench.arrival();
    let (seen, target) = answer(&mut bench, arrival, &request);
    assert_eq!(seen.raw(), request.raw());
    assert_eq!(target.remote, addr(PEER));
}

/// RFC 3261 18.2.2: the connection of the request, or a new one to the port of sent-by.
#[test]
fn over_a_stream_the_response_goes_back_on_the_connection() {
    let mut bench = Bench::tcp();
    let arrival = from_port(&bench, 33_000);
    for via in [";branch=z9hG4bK1", ";rport;branch=z9hG4bK2"] {
        let (_, target) = answer(&mut bench, arrival, &behind_nat(via));
        assert_eq!(target.connection, Some(ConnectionId(4)));
        assert_eq!(target.remote, addr("192.0.2.1:5070"));
    }
}

#[test]
fn ack_and_cancel_events_carry_the_filled_via_too() {
    let mut bench = Bench::udp();
    for method in ["ACK", "CANCEL"] {
        bench.receive(&request_with(method, ";rport;branch=z9hG4bK1", ""));
        let (Some(Event::Ack { request, .. }) | Some(Event::Cancel { request, .. })) =
            bench.events.pop()
        else {
            panic!("neither ACK nor CANCEL")
        };
        assert_eq!(request.top_via().rport(), Rport::Port(5060));
    }
}

#[test]
fn a_connection_that_closes_fails_what_was_sent_on_it_and_spares_what_came_on_it() {
    let mut bench = Bench::tcp();
    bench.send(&request("OPTIONS", "z9hG4bK1"));
    bench.send(&request("MESSAGE", "z9hG4bK1"));
    let server = bench.accept(&request("OPTIONS", "z9hG4bK2"));
    let mut elsewhere = bench.target();
    elsewhere.connection = Some(ConnectionId(5));
    bench.layer.send(bench.now, request("INFO", "z9hG4bK3"), elsewhere).unwrap();
    bench.layer.handle_connection_closed(bench.now, ConnectionId(4));
    bench.take();
    let mut told = bench.told();
    told.sort();
    assert_eq!(
        told,
        ["client ended", "client ended", "client failed Transport", "client failed Transport"]
    );
    assert_eq!(bench.layer.clients(), 1);
    assert_eq!(bench.layer.server_state(server), Some(State::Trying));
}

#[test]
fn a_transport_error_concerns_one_peer_alone() {
    let mut bench = Bench::udp();
    bench.send(&request("OPTIONS", "z9hG4bK1"));
    let mut other = bench.target();
    other.remote = addr("192.0.2.2:5060");
    bench.layer.send(bench.now, request("OPTIONS", "z9hG4bK2"), other).unwrap();
    bench.transport_error();
    assert_eq!(bench.told(), ["client failed Transport", "client ended"]);
    assert_eq!(bench.layer.clients(), 1);
}

#[test]
fn stateless_messages_are_passed_through() {
    let mut bench = Bench::udp();
    let (target, ack) = (bench.target(), request("ACK", "z9hG4bK1"));
    bench.layer.transmit(target, ack.raw().clone());
    bench.take();
    assert_eq!(bench.last_sent().raw(), ack.raw());
    assert!(bench.is_empty());
    assert!(!ack.has(HeaderName::Contact));
}
