//! Any sequence of commands, packets and mishaps: nothing leaks, and each command is answered once.

use std::time::Duration;

use proptest::prelude::*;
use relay_core::api::*;

use crate::support::*;

#[derive(Clone, Debug)]
enum Step {
    Apply { session: u64, streams: Vec<(bool, bool, u8, u8)> },
    Close { session: u64 },
    Report { session: u64 },
    Wait { milliseconds: u64 },
    Take { port: u16 },
    Hold,
    Release,
    Packet { from: u8, socket: prop::sample::Index },
}

fn step() -> impl Strategy<Value = Step> {
    let stream = (any::<bool>(), prop::bool::weighted(0.8), 0..4_u8, 0..4_u8);
    prop_oneof![
        6 => (0..4_u64, prop::collection::vec(stream, 0..4))
            .prop_map(|(session, streams)| Step::Apply { session, streams }),
        2 => (0..4_u64).prop_map(|session| Step::Close { session }),
        1 => (0..4_u64).prop_map(|session| Step::Report { session }),
        2 => (0..70_000_u64).prop_map(|milliseconds| Step::Wait { milliseconds }),
        1 => (10_000..10_020_u16).prop_map(|port| Step::Take { port }),
        1 => Just(Step::Hold),
        2 => Just(Step::Release),
        4 => (0..4_u8, any::<prop::sample::Index>()).prop_map(|(from, socket)| Step::Packet { from, socket }),
    ]
}

fn peer(n: u8) -> Option<Remote> {
    match n {
        0 => None,
        1 => remote(CALLER, Learning::Signalled),
        2 => remote(CALLEE, Learning::Signalled),
        _ => remote("192.168.1.5:4000", within("198.51.100.0/24")),
    }
}

fn stream(description: &(bool, bool, u8, u8)) -> StreamSpec {
    let (open, is_rtp, caller, callee) = *description;
    let payload = if is_rtp { Payload::Rtp { dtls: false } } else { Payload::Opaque };
    StreamSpec {
        open,
        payload,
        traffic: Traffic::Audio,
        legs: [leg(peer(caller)), leg(peer(callee))],
    }
}

/// Commands put in less answers that came.
fn settle(rig: &mut Rig, unanswered: &mut i64) {
    while let Some(event) = rig.relay.poll_event() {
        match event {
            Event::Closed { cause: CloseCause::Idle(_), .. } => {}
            Event::Closed { .. }
            | Event::Applied { .. }
            | Event::Refused { .. }
            | Event::Report { .. } => *unanswered -= 1,
        }
    }
}

proptest! {
    #[test]
    fn nothing_leaks_and_every_command_is_answered(steps in prop::collection::vec(step(), 1..80)) {
        // 10 pairs on each address and 30 sockets: every table runs full.
        let mut rig = Rig::with(config(10_000, 10_019, 30));
        let mut unanswered = 0;
        for step in &steps {
            match step {
                Step::Apply { session, streams } => {
                    rig.submit(*session, &spec(streams.iter().map(stream)));
                    unanswered += 1;
                }
                Step::Close { session } => {
                    rig.command(Command::Close { session: SessionId(*session) });
                    unanswered += 1;
                }
                Step::Report { session } => {
                    rig.command(Command::Report { session: SessionId(*session), token: 0 });
                    unanswered += 1;
                }
                Step::Wait { milliseconds } => rig.wait(Duration::from_millis(*milliseconds)),
                Step::Take { port } => {
                    if !rig.taken.insert(*port) {
                        rig.taken.remove(port);
                    }
                }
                Step::Hold => rig.hold = true,
                Step::Release => rig.release(),
                Step::Packet { from, socket } => {
                    let bound: Vec<_> = rig.open.values().map(|(address, _)| *address).collect();
                    if let (Some(remote), false) = (peer(*from), bound.is_empty()) {
                        rig.queued_packet(remote.rtp, *socket.get(&bound), &rtp(0, 1, 1));
                    }
                }
            }
            settle(&mut rig, &mut unanswered);
            prop_assert!(rig.relay.slots() <= 30);
            prop_assert!(unanswered >= 0);
        }
        rig.release();
        for session in 0..4 {
            rig.command(Command::Close { session: SessionId(session) });
            unanswered += 1;
        }
        settle(&mut rig, &mut unanswered);
        prop_assert_eq!(unanswered, 0);
        prop_assert_eq!((rig.relay.sessions(), rig.relay.slots(), rig.open.len()), (0, 0, 0));
        rig.wait(REST);
        prop_assert_eq!((rig.usage(INSIDE), rig.usage(OUTSIDE)), ((0, 0), (0, 0)));
        rig.wait(Duration::from_secs(2));
        prop_assert_eq!(rig.relay.poll_timeout(), None);
    }
}
