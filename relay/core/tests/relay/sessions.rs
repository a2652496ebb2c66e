//! Bringing sessions to states, and ending them.

use std::time::Duration;

use relay_core::api::*;

use crate::support::*;

#[test]
fn an_apply_gives_even_and_odd_ports_on_each_legs_address() {
    let mut rig = Rig::new();
    let ports = rig.apply(1, &call())[0].unwrap();
    for (leg, local) in ports.iter().zip([INSIDE, OUTSIDE]) {
        assert_eq!((leg.rtp.ip(), leg.rtp.port() % 2), (local, 0));
        assert_eq!((leg.rtcp.ip(), leg.rtcp.port()), (local, leg.rtp.port() + 1));
    }
    assert_eq!((rig.relay.slots(), rig.usage(INSIDE), rig.usage(OUTSIDE)), (4, (2, 0), (2, 0)));
}

#[test]
fn an_apply_is_answered_only_when_every_port_receives() {
    let mut rig = Rig::new();
    rig.hold = true;
    rig.submit(1, &call());
    for _ in 0..4 {
        assert_eq!(rig.relay.poll_event(), None);
        let action = rig.held.pop_front().unwrap();
        rig.act(action);
    }
    assert!(matches!(rig.relay.poll_event(), Some(Event::Applied { .. })));
}

#[test]
fn a_repeated_apply_changes_nothing_and_gives_the_same_ports() {
    let mut rig = Rig::new();
    let first = rig.apply(1, &call());
    let connects = rig.connects.len();
    assert_eq!(rig.apply(1, &call()), first);
    assert_eq!((rig.relay.slots(), rig.connects.len()), (4, connects));
}

/// RFC 3264 8: streams are appended and closed, never removed.
#[test]
fn streams_are_added_closed_and_opened_again() {
    let mut rig = Rig::new();
    let first = rig.apply(1, &call());
    let mut spec = call();
    spec.streams.push(spec.streams[0].clone());
    let both = rig.apply(1, &spec);
    assert_eq!((both.len(), both[0]), (2, first[0]));
    spec.streams[0].open = false;
    assert_eq!(rig.apply(1, &spec).as_slice(), [None, both[1]]);
    assert_eq!((rig.relay.slots(), rig.usage(INSIDE)), (4, (2, 2)));
    spec.streams[0].open = true;
    let again = rig.apply(1, &spec);
    assert_ne!(again[0], first[0], "a resting port was used");
    assert_eq!(again[1], both[1]);
    let fewer = rig.try_apply(1, &call());
    assert!(matches!(fewer, Err(Refusal::BadSpec(_))), "{fewer:?}");
}

/// T.38 takes over an audio stream's m= line, and gives it back (RFC 3264 8.3.3).
#[test]
fn a_stream_turns_into_an_opaque_one_and_back_on_its_ports() {
    let mut rig = Rig::new();
    let first = rig.apply(1, &call())[0].unwrap();
    let mut spec = call();
    spec.streams[0].payload = Payload::Opaque;
    assert_eq!(rig.apply(1, &spec)[0].unwrap()[0].rtp, first[0].rtp);
    assert!(rig.packet(at(CALLER), first[0].rtp, b"udptl").is_sent());
    assert_eq!(rig.apply(1, &call())[0].unwrap(), first);
    assert!(!rig.packet(at(CALLER), first[0].rtp, b"udptl").is_sent());
}

#[test]
fn a_stream_that_began_opaque_gets_new_ports_when_it_turns_into_rtp() {
    let mut rig = Rig::new();
    let mut spec = call();
    spec.streams[0].payload = Payload::Opaque;
    let first = rig.apply(1, &spec)[0].unwrap();
    assert_eq!((first[0].rtcp, rig.relay.slots(), rig.usage(INSIDE)), (first[0].rtp, 2, (1, 0)));
    assert!(rig.packet(at(CALLER), first[0].rtp, b"udptl").is_sent());
    let second = rig.apply(1, &call())[0].unwrap();
    assert_ne!(second[0].rtp, first[0].rtp);
    assert_eq!((rig.relay.slots(), rig.usage(INSIDE)), (4, (2, 1)));
    assert_eq!(rig.close(1).streams[0][0].packets, 1);
}

#[test]
fn a_closed_session_gives_back_everything_and_reports_what_it_relayed() {
    let mut rig = Rig::new();
    let ports = rig.apply(1, &call())[0].unwrap();
    for n in [1, 2, 4] {
        assert!(rig.packet(at(CALLER), ports[0].rtp, &rtp(0, 9, n)).is_sent());
    }
    assert!(rig.packet(at("198.51.100.7:5001"), ports[1].rtcp, &rtcp(8)).is_sent());
    assert!(!rig.packet(at(CALLEE), ports[1].rtp, b"?").is_sent());
    rig.wait(Duration::from_secs(5));
    let report = rig.close(1);
    assert_eq!(report.lifetime, Duration::from_secs(5));
    let [caller, callee] = report.streams[0];
    assert_eq!((caller.packets, caller.bytes, caller.lost), (3, 3 * 172, 1));
    assert_eq!(caller.source, Some(at(CALLER)));
    assert_eq!((callee.packets, callee.rtcp_packets, callee.dropped), (0, 1, 1));
    assert_eq!((rig.relay.sessions(), rig.relay.slots(), rig.open.len()), (0, 0, 0));
    assert_eq!(rig.usage(INSIDE), (0, 2));
    rig.wait(REST);
    assert_eq!(rig.usage(INSIDE), (0, 0));
}

#[test]
fn a_closing_socket_relays_nothing_and_its_port_rests_only_once_it_is_shut() {
    let mut rig = Rig::new();
    let ports = rig.apply(1, &call())[0].unwrap();
    rig.hold = true;
    rig.close(1);
    assert_eq!((rig.usage(INSIDE), rig.relay.slots()), ((2, 0), 4));
    let outcome = rig.packet(at(CALLER), ports[0].rtp, &rtp(0, 1, 1));
    assert_eq!(outcome, Outcome::Dropped(relay_core::DropReason::Closed));
    rig.release();
    assert_eq!((rig.usage(INSIDE), rig.relay.slots()), ((0, 2), 0));
}

#[test]
fn closing_an_unknown_session_is_answered() {
    let mut rig = Rig::new();
    rig.command(Command::Close { session: SessionId(5) });
    let event = rig.relay.poll_event();
    assert!(matches!(event, Some(Event::Closed { cause: CloseCause::Unknown, .. })), "{event:?}");
}

#[test]
fn commands_wait_for_the_one_under_way_and_each_is_answered_once() {
    let mut rig = Rig::new();
    rig.hold = true;
    let first = rig.submit(1, &call());
    let second = rig.submit(1, &call());
    rig.command(Command::Close { session: SessionId(1) });
    assert_eq!(rig.relay.poll_event(), None);
    rig.release();
    let tokens = [first, second].map(|expected| match rig.relay.poll_event() {
        Some(Event::Applied { token, .. }) => (token, expected),
        other => panic!("unexpected {other:?}"),
    });
    assert!(tokens.iter().all(|(token, expected)| token == expected));
    assert!(matches!(rig.relay.poll_event(), Some(Event::Closed { cause: CloseCause::Asked, .. })));
    assert_eq!((rig.relay.poll_event(), rig.relay.slots()), (None, 0));
}

#[test]
fn too_many_waiting_commands_are_refused() {
    let mut rig = Rig::new();
    rig.hold = true;
    for _ in 0..9 {
        rig.submit(1, &call());
    }
    assert_eq!(rig.relay.poll_event(), None);
    let last = rig.submit(1, &call());
    match rig.relay.poll_event() {
        Some(Event::Refused { token, reason: Refusal::TableFull { limit: 8, .. }, .. }) => {
            assert_eq!(token, last);
        }
        other => panic!("unexpected {other:?}"),
    }
    rig.release();
    for _ in 0..9 {
        assert!(matches!(rig.relay.poll_event(), Some(Event::Applied { .. })));
    }
}

#[test]
fn what_no_session_can_be_is_refused() {
    let mut rig = Rig::new();
    let with = |change: &dyn Fn(&mut SessionSpec)| {
        let mut spec = call();
        change(&mut spec);
        spec
    };
    let known = |address| remote(address, Learning::Signalled);
    let bad = [
        with(&|s| s.streams[0].legs[0].remote = known("10.0.0.7:0")),
        with(&|s| s.streams[0].legs[0].remote = known("0.0.0.0:4000")),
        with(&|s| s.streams[0].legs[0].remote = known("224.0.0.1:4000")),
        with(&|s| s.streams[0].legs[0].remote = known("[2001:db8::1]:4000")),
        with(&|s| s.local[0] = "0.0.0.0".parse().unwrap()),
        with(&|s| s.streams.resize(STREAMS_MAX + 1, s.streams[0].clone())),
    ];
    for spec in bad {
        let refused = rig.try_apply(1, &spec);
        assert!(matches!(refused, Err(Refusal::BadSpec(_))), "{refused:?}");
    }
    assert_eq!((rig.relay.sessions(), rig.relay.slots()), (0, 0));
    rig.apply(1, &call());
    let moved = rig.try_apply(1, &with(&|s| s.local[0] = OUTSIDE));
    assert!(matches!(moved, Err(Refusal::BadSpec(_))), "{moved:?}");
    // A closed stream's addresses do not matter (RFC 3264 8.2).
    let closed = with(&|s| {
        s.streams[0].open = false;
        s.streams[0].legs[0].remote = known("0.0.0.0:0");
    });
    rig.apply(1, &closed);
}

#[test]
fn a_session_in_which_nobody_sends_is_closed_when_idle() {
    let mut rig = Rig::new();
    let ports = rig.apply(1, &call())[0].unwrap();
    rig.wait(IDLE - Duration::from_secs(1));
    assert!(rig.packet(at(CALLER), ports[0].rtp, &rtp(0, 1, 1)).is_sent());
    rig.wait(IDLE - Duration::from_secs(1));
    assert_eq!(rig.relay.poll_event(), None);
    rig.wait(Duration::from_secs(1));
    match rig.relay.poll_event() {
        Some(Event::Closed { session: SessionId(1), cause, report }) => {
            assert_eq!(cause, CloseCause::Idle(IDLE));
            assert_eq!(report.streams[0][0].packets, 1);
        }
        other => panic!("unexpected {other:?}"),
    }
    assert_eq!((rig.relay.sessions(), rig.open.len(), rig.relay.poll_timeout()), (0, 0, None));
}

/// While it rings, or while both sides are on hold, silence is expected.
#[test]
fn a_session_that_may_be_silent_is_not_idle_until_it_is_to_speak() {
    let mut rig = Rig::new();
    let mut ringing = call();
    ringing.streams[0].legs[1].remote = None;
    rig.apply(1, &ringing);
    let mut inactive = call();
    inactive.streams[0].legs.iter_mut().for_each(|leg| leg.sends = false);
    rig.apply(2, &inactive);
    rig.wait(IDLE * 10 + Duration::from_secs(7));
    assert_eq!((rig.relay.poll_event(), rig.relay.sessions()), (None, 2));
    rig.apply(1, &call());
    rig.wait(IDLE - Duration::from_secs(1));
    assert_eq!(rig.relay.poll_event(), None);
    rig.wait(Duration::from_secs(1));
    assert!(matches!(rig.relay.poll_event(), Some(Event::Closed { session: SessionId(1), .. })));
    assert_eq!(rig.relay.sessions(), 1);
}

#[test]
fn a_session_after_an_idle_one_can_be_closed_as_unknown() {
    let mut rig = Rig::new();
    rig.apply(1, &call());
    rig.wait(IDLE);
    assert!(rig.relay.poll_event().is_some());
    rig.command(Command::Close { session: SessionId(1) });
    assert!(matches!(
        rig.relay.poll_event(),
        Some(Event::Closed { cause: CloseCause::Unknown, .. })
    ));
}

/// A report is what the close would report, and the session goes on.
#[test]
fn a_live_session_reports_what_it_has_relayed() {
    let mut rig = Rig::new();
    let ports = rig.apply(1, &call())[0].unwrap();
    assert!(rig.packet(at(CALLER), ports[0].rtp, &rtp(0, 1, 1)).is_sent());
    rig.wait(Duration::from_secs(3));
    rig.command(Command::Report { session: SessionId(1), token: 7 });
    match rig.relay.poll_event() {
        Some(Event::Report { session: SessionId(1), token: 7, report: Some(report) }) => {
            assert_eq!(report.streams[0][0].packets, 1);
            assert_eq!(report.lifetime, Duration::from_secs(3));
        }
        other => panic!("unexpected {other:?}"),
    }
    assert_eq!(rig.close(1).streams[0][0].packets, 1);
}

/// It does not wait for an apply under way, and there is none of a session that does not exist yet.
#[test]
fn a_report_is_answered_at_once_and_says_when_there_is_no_such_session() {
    let mut rig = Rig::new();
    rig.hold = true;
    rig.submit(1, &call());
    rig.command(Command::Report { session: SessionId(1), token: 3 });
    let none = |token| Some(Event::Report { session: SessionId(1), token, report: None });
    assert_eq!(rig.relay.poll_event(), none(3));
    rig.release();
    assert!(matches!(rig.relay.poll_event(), Some(Event::Applied { .. })));
    rig.close(1);
    rig.command(Command::Report { session: SessionId(1), token: 4 });
    assert_eq!(rig.relay.poll_event(), none(4));
}

/// The engine is at its end: every port comes back, also those of sockets that are being closed or
/// opened, and what the sessions relayed is known.
#[test]
fn an_abandoned_relay_gives_every_port_back_and_reports_its_sessions() {
    let mut rig = Rig::new();
    let ports = rig.apply(1, &call())[0].unwrap();
    rig.packet(at(CALLER), ports[0].rtp, &rtp(0, 1, 1));
    rig.apply(2, &call());
    rig.hold = true;
    rig.close(2);
    rig.submit(3, &call());
    assert_ne!(rig.usage(INSIDE).0, 0);
    let reports = rig.relay.abandon(rig.now);
    assert_eq!(reports.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [1]);
    assert_eq!(reports[0].1.streams[0][0].packets, 1);
    assert_eq!((rig.relay.sessions(), rig.relay.ports_used()), (0, 0));
    assert_eq!((rig.usage(INSIDE).0, rig.usage(OUTSIDE).0), (0, 0));
    // Answers that come late mean nothing any more.
    rig.release();
}
