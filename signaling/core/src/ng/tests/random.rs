//! Any sequence of commands and mishaps: each command is answered once, and nothing is left behind.

use std::time::Duration;

use proptest::prelude::*;
use relay_core::api::{CloseCause, Event, Refusal, SessionReport};

use super::harness::{Bench, PROXY, command, config, list, offer, sdp};
use crate::ng::Config;

#[derive(Clone, Debug)]
enum Step {
    Describe { verb: &'static str, call: u8, from: u8, to: Option<u8>, via: Option<u8> },
    End { verb: &'static str, call: u8, from: Option<u8>, to: Option<u8>, via: Option<u8> },
    Garbage(Vec<u8>),
    Hold(bool),
    Refuse(bool),
    Idle(prop::sample::Index),
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let tag = || 0..3_u8;
    let some = || prop::option::of(0..3_u8);
    prop_oneof![
        6 => (prop::sample::select(vec!["offer", "answer"]), 0..3_u8, tag(), some(), some())
            .prop_map(|(verb, call, from, to, via)| Step::Describe { verb, call, from, to, via }),
        3 => (prop::sample::select(vec!["delete", "query"]), 0..3_u8, some(), some(), some())
            .prop_map(|(verb, call, from, to, via)| Step::End { verb, call, from, to, via }),
        1 => prop::collection::vec(any::<u8>(), 0..60).prop_map(Step::Garbage),
        2 => any::<bool>().prop_map(Step::Hold),
        1 => any::<bool>().prop_map(Step::Refuse),
        1 => any::<prop::sample::Index>().prop_map(Step::Idle),
        1 => (0..5000_u16).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn each_command_is_answered_once_and_nothing_is_left_behind(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut bench = Bench::new(Config { calls_max: 2, ..config() });
        let mut asked = 0;
        for step in steps {
            match step {
                Step::Describe { verb, call, from, to, via } => {
                    let text = sdp("198.51.100.10", 4000 + 2 * u16::from(from));
                    let mut entries = offer(&call.to_string(), &from.to_string(), &text);
                    entries.put("command", verb);
                    to.into_iter().for_each(|to| entries.put("to-tag", &*to.to_string()));
                    via.into_iter().for_each(|via| entries.put("via-branch", &*via.to_string()));
                    bench.send(&entries);
                    asked += 1;
                }
                Step::End { verb, call, from, to, via } => {
                    let mut entries = command(verb, &call.to_string());
                    from.into_iter().for_each(|from| entries.put("from-tag", &*from.to_string()));
                    to.into_iter().for_each(|to| entries.put("to-tag", &*to.to_string()));
                    via.into_iter().for_each(|via| entries.put("via-branch", &*via.to_string()));
                    bench.send(&entries.with("flags", list(&["fatal"])));
                    asked += 1;
                }
                Step::Garbage(bytes) => {
                    let mut datagram = b"garbage".to_vec();
                    datagram.extend(bytes.iter().filter(|b| **b != b' '));
                    bench.datagram(PROXY, &datagram);
                }
                Step::Hold(hold) => {
                    bench.relay_is_slow = hold;
                    if !hold {
                        bench.relay_answers();
                    }
                }
                Step::Refuse(refuse) => {
                    bench.refusal = refuse.then_some(Refusal::BadSpec("for the test"));
                }
                Step::Idle(which) => {
                    let sessions: Vec<_> = bench.commands.iter().map(|c| c.session()).collect();
                    if !sessions.is_empty() && bench.held.is_empty() {
                        let (session, report) = (*which.get(&sessions), SessionReport::default());
                        let cause = CloseCause::Idle(Duration::from_secs(60));
                        bench.relay_event(Event::Closed { session, cause, report });
                    }
                }
                Step::Wait(milliseconds) => bench.pass(Duration::from_millis(milliseconds.into())),
            }
        }
        bench.relay_is_slow = false;
        bench.relay_answers();
        bench.pass(Duration::from_secs(10));
        prop_assert_eq!(bench.sent.len(), asked);
        bench.stop();
        bench.pass(Duration::from_secs(3600));
        prop_assert_eq!((bench.ng.calls(), bench.ng.sessions()), (0, 0));
        bench.pass(Duration::from_secs(10));
        prop_assert_eq!(bench.ng.poll_timeout(), None);
    }
}
