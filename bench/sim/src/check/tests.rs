//! Every rule notices when it is broken.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use signaling_core::proxy::output::{CallEnd, CallRecord};

use super::Ledger;
use crate::agent::rtp::Mark;
use crate::agent::sdp::{Description, Direction};
use crate::net::Outages;
use crate::node::Holdings;
use crate::scenario::{Outcome, Scenario, Side, node_ip};
use crate::settings::{Profile, Settings};
use crate::{AgentId, CallNo, NodeId};

const CALL: CallNo = CallNo(0);
const CALLER: AgentId = AgentId(0);
const CALLEE: AgentId = AgentId(1);

struct Bench {
    now: Instant,
    ledger: Ledger,
}

impl Bench {
    /// A call that is up.
    fn new() -> Bench {
        let now = Instant::now();
        let mut settings = Settings::new(Profile::Calm, 1, 1);
        settings.nat_share = 0.0;
        let scenario = Scenario::draw(&settings, &mut ChaCha8Rng::seed_from_u64(1));
        let relays = BTreeSet::from([node_ip(NodeId(0))]);
        let mut ledger = Ledger::new(now, &settings, &scenario, relays, Outages::default());
        ledger.call_begins(now, CALL, CALLER);
        ledger.device_invited(CALL, CALLEE);
        ledger.call_result(now, CALL, Outcome::Status(200));
        ledger.caller_up(now, CALL, "b1c0");
        ledger.callee_up(now, CALL, CALLEE);
        Bench { now, ledger }
    }

    fn send(&mut self, from: AgentId, number: u32) -> Mark {
        let mark = Mark { call: CALL, from, stream: 0, number };
        self.ledger.media_sent(self.now, mark);
        mark
    }

    fn arrive(&mut self, at: AgentId, mark: Mark) {
        self.ledger.media_arrived(self.now, at, Some(CALL), &mark.packet(1));
    }

    fn wait(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }

    /// Both sides send until packets are held to arrive, and they do.
    fn talk(&mut self) {
        for number in 0..3 {
            let (one, two) = (self.send(CALLER, number), self.send(CALLEE, number));
            self.arrive(CALLEE, one);
            self.arrive(CALLER, two);
            self.wait(100);
        }
    }

    #[track_caller]
    fn broken(&mut self, rule: &str) {
        let rules: Vec<_> = self.ledger.violations().iter().map(|v| v.rule).collect();
        assert_eq!(rules, [rule]);
    }

    #[track_caller]
    fn fine(&mut self) {
        assert_eq!(self.ledger.violations(), []);
    }
}

#[test]
fn a_packet_that_goes_missing_in_a_conversation_is_noticed() {
    let mut bench = Bench::new();
    bench.talk();
    bench.fine();
    bench.send(CALLER, 9);
    bench.wait(1000);
    bench.ledger.check_missing(bench.now, false);
    bench.broken("no_packet_goes_missing");
}

#[test]
fn a_packet_that_is_under_way_when_somebody_hangs_up_may_go_missing() {
    let mut bench = Bench::new();
    bench.talk();
    bench.send(CALLER, 9);
    bench.ledger.hung_up(bench.now, CALL, Side::Callee, true);
    bench.wait(1000);
    bench.send(CALLER, 10);
    bench.wait(1000);
    bench.ledger.check_missing(bench.now, true);
    bench.fine();
}

#[test]
fn a_packet_of_another_call_is_noticed() {
    let mut bench = Bench::new();
    let mark = Mark { call: CallNo(7), from: AgentId(9), stream: 0, number: 1 };
    bench.arrive(CALLEE, mark);
    bench.broken("media_stays_in_its_call");
}

#[test]
fn a_strangers_packet_is_noticed() {
    let mut bench = Bench::new();
    bench.ledger.media_arrived(bench.now, CALLEE, Some(CALL), &[0x80; 50]);
    bench.broken("strangers_are_not_heard");
}

#[test]
fn a_description_that_shows_the_way_around_the_relay_is_noticed() {
    let mut bench = Bench::new();
    let mut seen =
        Description { ip: node_ip(NodeId(0)), ports: vec![4000], direction: Direction::Both };
    bench.ledger.description_seen(bench.now, CALL, CALLEE, &seen);
    bench.fine();
    seen.ip = [198, 18, 0, 1].into();
    bench.ledger.description_seen(bench.now, CALL, CALLEE, &seen);
    bench.broken("media_goes_through_the_relay");
}

/// RFC 3261 13.2.2.4: forks may each accept; nothing else comes twice.
#[test]
fn a_second_final_response_is_noticed_unless_another_fork_accepts_too() {
    let mut bench = Bench::new();
    let key = (CALL, CALLER, 1);
    bench.ledger.invite_sent(bench.now, key);
    bench.ledger.final_seen(bench.now, key, 200, Some("one"));
    bench.ledger.final_seen(bench.now, key, 200, Some("two"));
    bench.fine();
    bench.ledger.final_seen(bench.now, key, 487, Some("one"));
    bench.broken("an_invite_has_one_final_response");
}

#[test]
fn an_invite_without_an_end_is_noticed() {
    let mut bench = Bench::new();
    bench.ledger.invite_sent(bench.now, (CALL, CALLER, 1));
    bench.ledger.check_invites(bench.now);
    bench.broken("every_invite_has_a_result");
}

#[test]
fn an_invite_that_takes_too_long_is_noticed() {
    let mut bench = Bench::new();
    bench.ledger.invite_sent(bench.now, (CALL, CALLER, 1));
    bench.wait(400_000);
    bench.ledger.final_seen(bench.now, (CALL, CALLER, 1), 408, None);
    bench.broken("an_invite_ends_in_time");
}

#[test]
fn what_a_member_keeps_is_noticed() {
    let mut bench = Bench::new();
    bench.ledger.rests(bench.now, NodeId(0), &Holdings::default());
    bench.fine();
    let holdings = Holdings { ports_resting: 2, ..Holdings::default() };
    bench.ledger.rests(bench.now, NodeId(0), &holdings);
    bench.broken("nothing_is_left_behind");
}

fn record(call_id: &str) -> CallRecord {
    CallRecord {
        call_id: call_id.to_owned(),
        from: String::new(),
        to: String::new(),
        end: CallEnd::CallerHungUp,
        setup: None,
        duration: Duration::ZERO,
        media: Vec::new(),
    }
}

#[test]
fn a_call_that_is_recorded_twice_or_never_is_noticed() {
    let settings = Settings::new(Profile::Calm, 1, 40);
    let scenario = Scenario::draw(&settings, &mut ChaCha8Rng::seed_from_u64(1));
    let script = scenario.calls.iter().find(|s| s.expected().contains(&200)).unwrap();
    for times in [0, 2] {
        let mut bench = Bench::new();
        bench.ledger.call_begins(bench.now, script.no, script.caller);
        if script.no != CALL {
            bench.ledger.call_result(bench.now, script.no, Outcome::Status(200));
        }
        bench.ledger.device_invited(script.no, AgentId(5));
        bench.ledger.hung_up(bench.now, script.no, Side::Caller, true);
        for _ in 0..times {
            bench.ledger.record(bench.now, &record(&script.no.call_id()));
        }
        bench.ledger.check_call(bench.now, script);
        bench.broken("a_call_is_recorded_once");
    }
}
