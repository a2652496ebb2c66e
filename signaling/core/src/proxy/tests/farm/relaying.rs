//! A backend that sends through the members of the farm (S22).

use super::super::calls::{ALICE, BOB, from_alice, from_bob, invite};
use super::super::harness::{Bench, Plan, address, register, reply, sdp, show};
use super::Farm;
use crate::farm::Mode;
use crate::proxy::output::CallEnd;
use crate::wire::Message;

/// Two members of the farm and a backend.
fn farm(seed: u64) -> Farm {
    let mut farm = Farm::new(3, seed);
    farm.modes[2] = Mode::Relay;
    farm.publish();
    farm.register("bob", BOB);
    farm
}

impl Farm {
    /// A packet to one of the farm, as the balancer has it.
    fn udp_to_farm(&mut self, from: &str, text: &str) {
        loop {
            let at = self.any();
            if self.modes[at] == Mode::Member {
                return self.udp_at(at, from, text);
            }
        }
    }
}

/// S22, S28: what a backend sends leaves from a farm member, and what comes back finds the backend.
#[test]
fn a_call_of_a_backend_goes_out_and_comes_back_through_the_farm() {
    for seed in 0..20 {
        let mut farm = farm(seed);
        farm.udp_at(2, ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
        let taken = farm.taken();
        assert_eq!(taken.len(), 2, "{taken:?}");
        // What came to the backend's own socket is answered from there.
        let answer = taken.iter().find(|(_, sent)| sent.target.remote == address(ALICE)).unwrap();
        assert_eq!(answer.0, 2);
        let (exit, sent) =
            taken.iter().find(|(_, sent)| sent.target.remote == address(BOB)).unwrap();
        assert_ne!(*exit, 2);
        let ringing = Message::parse_datagram(sent.bytes.clone()).unwrap();
        let own = format!("10.0.0.{}", exit + 1);
        assert_eq!(ringing.top_via().host_text(), own, "{}", show(&ringing));
        let route = ringing.record_routes().next().unwrap().unwrap();
        assert!(route.uri_text().contains(&own), "{}", show(&ringing));
        let body = sdp("198.51.100.20", 6000);
        farm.udp_to_farm(BOB, &reply(&ringing, 200, "tb", &format!("sip:bob@{BOB}"), &body));
        let ok = farm.status(ALICE, 200);
        farm.udp_to_farm(ALICE, &from_alice("ACK", 1, &ok, "", ""));
        assert_eq!(farm.request(BOB, "ACK").0, *exit);
        farm.udp_to_farm(BOB, &from_bob("BYE", 1, &ringing, ""));
        let (by, bye) = farm.request(ALICE, "BYE");
        assert_ne!(by, 2);
        farm.udp_to_farm(ALICE, &reply(&bye, 200, "fa", "sip:x@x", ""));
        let (by, ok) = farm.only(BOB);
        assert_eq!((by == 2, ok.status()), (false, Some(200)));
        assert_eq!(farm.ends(), [CallEnd::CalleeHungUp]);
        farm.assert_clean();
    }
}

/// S22, S23: without a farm member `Relay` refuses what it would have to send, and `Auto` sends it itself.
#[test]
fn without_a_farm_member_a_backend_refuses_or_sends_by_itself_as_it_is_set() {
    for sends_itself in [false, true] {
        let mut farm = farm(1);
        farm.sends_itself = sends_itself;
        farm.kill(0);
        farm.kill(1);
        farm.udp_at(2, ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
        let taken = farm.taken();
        let last = Message::parse_datagram(taken.last().unwrap().1.bytes.clone()).unwrap();
        assert_eq!(taken.last().unwrap().0, 2);
        if sends_itself {
            assert_eq!(taken.last().unwrap().1.target.remote, address(BOB));
            assert_eq!(last.method().as_str(), "INVITE");
            assert_eq!(last.top_via().host_text(), "192.0.2.1");
        } else {
            assert_eq!(last.status(), Some(503), "{}", show(&last));
            let known = farm.members[2].proxy.farm().expect("a member");
            assert!(known.membership.has_no_exit(), "the alarm");
            assert_eq!(known.counters.no_exit, 1);
        }
    }
}

/// What a farm member could not send fails alone, not with everything else that goes there.
#[test]
fn a_request_that_could_not_be_sent_fails_and_others_to_the_same_peer_go_on() {
    let mut bench = Bench::new(Plan::default());
    bench.udp(BOB, &register("bob", BOB, "1"));
    bench.sent.clear();
    for n in 1..=2 {
        let call = invite("bob", "")
            .replace("call-1", &format!("call-{n}"))
            .replace("z9hG4bKa1", &format!("z9hG4bKn{n}"));
        bench.udp(ALICE, &call);
    }
    let sent: Vec<_> = bench.sent.drain(..).collect();
    let invites: Vec<_> = sent.iter().filter(|sent| sent.bytes.starts_with(b"INVITE")).collect();
    assert_eq!(invites.len(), 2, "{sent:?}");
    bench.proxy.handle_unsent(bench.now, &invites[0].target, &invites[0].bytes);
    bench.settle();
    let refused: Vec<_> = bench.sent.drain(..).collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    let text = String::from_utf8_lossy(&refused[0].bytes).into_owned();
    assert!(text.starts_with("SIP/2.0 500") && text.contains("Call-ID: call-1"), "{text}");
}
