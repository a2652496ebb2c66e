//! What can happen while sockets are being opened.

use relay_core::OpenError;
use relay_core::api::*;

use crate::support::*;

#[test]
fn a_taken_port_is_put_aside_and_another_pair_is_tried() {
    let mut rig = Rig::with(config(10_000, 10_009, 100));
    // One pair by its RTP port, one by its RTCP port.
    rig.taken = [10_002, 10_007].into();
    for session in 1..=3 {
        let ports = rig.apply(session, &call())[0].unwrap();
        assert!(ports.iter().all(|leg| ![10_002, 10_006].contains(&leg.rtp.port())));
    }
    assert!(matches!(rig.try_apply(4, &call()), Err(Refusal::PortsExhausted { .. })));
    // Each was tried once on each address, and waits until a rest has passed.
    assert_eq!((rig.usage(INSIDE), rig.relay.slots()), ((6, 4), 12));
    rig.taken.clear();
    rig.wait(REST);
    rig.apply(4, &call());
}

#[test]
fn a_range_taken_by_others_is_refused_after_a_bounded_number_of_tries() {
    let mut rig = Rig::new();
    rig.taken = (10_000..=10_099).collect();
    match rig.try_apply(1, &call()) {
        Err(Refusal::Os { operation: "bind", error, .. }) => {
            assert!(error.contains("taken"), "{error}")
        }
        other => panic!("unexpected {other:?}"),
    }
    assert_eq!((rig.relay.sessions(), rig.relay.slots(), rig.open.len()), (0, 0, 0));
    assert_eq!(rig.usage(INSIDE).0 + rig.usage(OUTSIDE).0, 0);
}

/// Each leg has its tries: a session of many streams meets more ports of other programs than one of few.
#[test]
fn many_streams_are_not_refused_for_what_each_meets_of_a_range_that_others_have_a_third_of() {
    let mut rig = Rig::new();
    rig.taken = (10_000..=10_099).filter(|port| (port / 2) % 3 == 0).collect();
    let mut many = call();
    many.streams.resize(12, many.streams[0].clone());
    assert_eq!(rig.apply(1, &many).len(), 12);
    let (inside, outside) = (rig.usage(INSIDE), rig.usage(OUTSIDE));
    let met = (inside.1 + outside.1) / 2;
    assert!(met > 8, "{met} ports of others were met");
}

#[test]
fn an_address_of_another_host_is_named_and_nothing_is_left() {
    let mut rig = Rig::new();
    rig.foreign = [OUTSIDE].into();
    assert_eq!(rig.try_apply(1, &call()), Err(Refusal::AddressNotLocal(OUTSIDE)));
    assert_eq!((rig.relay.sessions(), rig.relay.slots(), rig.open.len()), (0, 0, 0));
    // Nobody heard of the ports: they are free at once.
    assert_eq!((rig.usage(INSIDE), rig.usage(OUTSIDE)), ((0, 0), (0, 0)));
}

#[test]
fn a_refused_change_leaves_the_session_as_it_was() {
    let mut rig = Rig::with(config(10_000, 10_003, 100));
    let ports = rig.apply(1, &call());
    let mut more = call();
    more.streams[0].legs[0].remote = remote("10.0.0.8:4000", Learning::Signalled);
    more.streams.push(more.streams[0].clone());
    more.streams.push(more.streams[0].clone());
    match rig.try_apply(1, &more) {
        Err(Refusal::PortsExhausted { address, first, last, used, resting, oldest }) => {
            assert_eq!((address, first, last, used, resting), (INSIDE, 10_000, 10_003, 4, 0));
            assert_eq!(oldest.unwrap().0, SessionId(1));
        }
        other => panic!("unexpected {other:?}"),
    }
    assert!(rig.packet(at(CALLER), ports[0].unwrap()[0].rtp, &rtp(0, 1, 1)).is_sent());
    assert_eq!((rig.relay.slots(), rig.usage(INSIDE)), (4, (2, 0)));
    assert_eq!(rig.apply(1, &call()), ports);
}

#[test]
fn an_error_of_the_system_is_passed_on_and_sockets_that_open_late_are_shut() {
    let mut rig = Rig::new();
    rig.hold = true;
    rig.submit(1, &call());
    let relay_core::Action::Open { slot, address, .. } = rig.held.pop_front().unwrap() else {
        panic!()
    };
    let error = OpenError::Os { operation: "socket", error: "no memory".into() };
    rig.relay.handle_opened(rig.now, slot, Err(error));
    let expected = Refusal::Os { operation: "socket", address, error: "no memory".into() };
    match rig.relay.poll_event() {
        Some(Event::Refused { reason, .. }) => assert_eq!(reason, expected),
        other => panic!("unexpected {other:?}"),
    }
    assert_eq!(rig.relay.slots(), 3);
    rig.release();
    assert_eq!((rig.relay.slots(), rig.open.len(), rig.usage(INSIDE)), (0, 0, (0, 0)));
}

#[test]
fn a_full_table_of_sockets_is_refused_and_room_is_used_again() {
    let mut rig = Rig::with(config(10_000, 10_099, 4));
    rig.apply(1, &call());
    let full = rig.try_apply(2, &call());
    assert_eq!(full, Err(Refusal::TableFull { what: "sockets", limit: 4 }));
    assert_eq!(rig.usage(INSIDE), (2, 0));
    rig.close(1);
    rig.apply(2, &call());
}

/// With one place free a pair that must be opened elsewhere has no room.
#[test]
fn a_taken_port_in_a_full_table_leaves_nothing_behind() {
    let mut rig = Rig::with(config(10_000, 10_099, 4));
    rig.taken = (10_000..=10_099).filter(|port| port % 2 == 1).collect();
    let refused = rig.try_apply(1, &call());
    assert_eq!(refused, Err(Refusal::TableFull { what: "sockets", limit: 4 }));
    assert_eq!((rig.relay.slots(), rig.open.len(), rig.usage(INSIDE).0), (0, 0, 0));
}

#[test]
fn sessions_without_sockets_are_bounded_too() {
    let mut rig = Rig::with(config(10_000, 10_099, 4));
    let nothing = spec([]);
    for session in 0..4 {
        rig.apply(session, &nothing);
    }
    assert_eq!(rig.try_apply(9, &nothing), Err(Refusal::TableFull { what: "sessions", limit: 4 }));
}

#[test]
fn local_addresses_are_bounded_and_unused_ones_make_room() {
    let mut rig = Rig::new();
    let on = |n: u8| SessionSpec { local: [[10, 1, 0, n].into(); 2], ..call() };
    for n in 0..16 {
        rig.apply(u64::from(n), &on(n));
    }
    assert!(matches!(rig.try_apply(16, &on(16)), Err(Refusal::TableFull { limit: 16, .. })));
    rig.close(3);
    assert!(matches!(rig.try_apply(16, &on(16)), Err(Refusal::TableFull { .. })));
    rig.wait(REST);
    assert_eq!(rig.usage([10, 1, 0, 3].into()), (0, 0));
    rig.apply(16, &on(16));
}

/// RFC 4594: the marking is the stream's, on each of its sockets, also where another port had to be
/// tried.
#[test]
fn every_socket_of_a_stream_is_marked_as_the_stream_is() {
    let mut rig = Rig::with(config(10_000, 10_009, 100));
    rig.taken = [10_002, 10_007].into();
    let mut spec = call();
    spec.streams.push(StreamSpec { traffic: Traffic::Video, ..spec.streams[0].clone() });
    let ports = rig.apply(1, &spec);
    for (ports, traffic) in ports.iter().zip([Traffic::Audio, Traffic::Video]) {
        for leg in ports.unwrap() {
            assert_eq!([rig.marked[&leg.rtp], rig.marked[&leg.rtcp]], [traffic; 2]);
        }
    }
}

/// Calls of many streams, which meet many of the ports that others have, leave none of one stream
/// without a port: neither now nor when those ports are tried again.
#[test]
fn a_call_finds_ports_however_many_of_others_those_before_it_have_met() {
    const CALLS: u64 = 100;
    let mut rig = Rig::with(config(10_000, 10_999, 1_000));
    // One pair in 16 is another program's.
    rig.taken = (10_000..=10_999).filter(|port| (port / 2) % 16 == 0).collect();
    let mut many = call();
    many.streams.resize(16, many.streams[0].clone());
    for number in 0..CALLS {
        let mut wide: Vec<u64> = (0..4).map(|more| number * 8 + more).collect();
        wide.retain(|id| rig.try_apply(*id, &many).is_ok());
        let plain = rig.try_apply(number * 8 + 7, &call());
        assert!(plain.is_ok(), "call {number}: {plain:?}");
        for id in wide.into_iter().chain([number * 8 + 7]) {
            rig.close(id);
        }
        rig.wait(REST / 8);
    }
}
