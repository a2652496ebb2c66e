//! Who watches a user's calls sees all of them, whichever members have them (RFC 4235).

use std::time::Duration;

use super::super::calls::{ALICE, BOB, from_alice, invite};
use super::super::harness::{address, reply, sdp, show};
use super::Farm;
use crate::wire::Message;

/// A phone with a lamp for Bob's calls.
const CAROL: &str = "198.51.100.30:5060";

fn subscribe() -> String {
    format!(
        "SUBSCRIBE sip:bob@example.test SIP/2.0\r\nVia: SIP/2.0/UDP {CAROL};branch=z9hG4bKs1\r\n\
         Max-Forwards: 70\r\nFrom: <sip:carol@example.test>;tag=fc\r\nTo: <sip:bob@example.test>\r\n\
         Call-ID: lamp\r\nCSeq: 1 SUBSCRIBE\r\nContact: <sip:carol@{CAROL}>\r\nEvent: dialog\r\n\
         Expires: 3600\r\nContent-Length: 0\r\n\r\n"
    )
}

/// Each call has a member of its own.
fn nth(text: String, n: u64) -> String {
    text.replace("call-1", &format!("call-{n}"))
}

impl Farm {
    /// What has been sent but to Carol, and what her lamp shows after each notification, which is answered; and the
    /// member that notifies her.
    fn lamps(&mut self) -> (Vec<Message>, Vec<String>, Option<usize>) {
        let (mut rest, mut lamps, mut by) = (Vec::new(), Vec::new(), None);
        loop {
            let taken = self.taken();
            if taken.is_empty() {
                return (rest, lamps, by);
            }
            for (at, sent) in taken {
                let message = Message::parse_datagram(sent.bytes).unwrap();
                if sent.target.remote != address(CAROL) || !message.is_request() {
                    rest.push(message);
                    continue;
                }
                by = Some(at);
                let text = show(&message);
                let state = |word: &str| text.matches(&format!("<state>{word}</state>")).count();
                let all = ["early", "confirmed", "terminated"].map(|word| (word, state(word)));
                let on: Vec<_> = all.iter().filter(|(_, count)| *count > 0).collect();
                let names: Vec<_> = on.iter().map(|(word, n)| format!("{n} {word}")).collect();
                lamps.push(names.join(", "));
                self.udp(CAROL, &reply(&message, 200, "fc", &format!("sip:carol@{CAROL}"), ""));
            }
        }
    }

    /// As much later as a lamp is told of changes.
    fn lamps_later(&mut self) -> Vec<String> {
        let (_, mut lamps, _) = self.lamps();
        self.pass(Duration::from_secs(6));
        lamps.extend(self.lamps().1);
        lamps
    }

    /// Carol subscribes, and is told that there is no call; who notifies her.
    fn watch(&mut self) -> usize {
        self.udp(CAROL, &subscribe());
        let (rest, lamps, by) = self.lamps();
        assert_eq!((rest.len(), rest[0].status()), (1, Some(200)), "{}", show(&rest[0]));
        assert_eq!(lamps, [""]);
        by.unwrap()
    }

    /// Alice calls Bob for the `n`th time, and he rings; the member that has the call, and what Bob got.
    fn ring_watched(&mut self, n: u64) -> (usize, Message) {
        self.udp(ALICE, &nth(invite("bob", &sdp("198.51.100.10", 4000)), n));
        let mut taken = self.taken().into_iter();
        let invited = taken.find(|(_, sent)| sent.bytes.starts_with(b"INVITE"));
        let (owner, sent) = invited.unwrap();
        let ringing = Message::parse_datagram(sent.bytes).unwrap();
        self.udp(BOB, &reply(&ringing, 180, "tb", &format!("sip:bob@{BOB}"), ""));
        (owner, ringing)
    }
}

fn last(lamps: &[String]) -> &str {
    lamps.last().map_or("nothing", String::as_str)
}

/// RFC 4235: a call is told of from its first ringing to its end, wherever it is and wherever one asks.
#[test]
fn a_lamp_shows_calls_of_every_member() {
    let mut elsewhere = 0;
    for seed in 0..24 {
        let mut farm = Farm::new(3, seed);
        farm.register("bob", BOB);
        let notifier = farm.watch();
        farm.pass(Duration::from_secs(6));
        let (owner, ringing) = farm.ring_watched(seed);
        elsewhere += usize::from(owner != notifier);
        let (rest, lamps, _) = farm.lamps();
        assert_eq!(rest[0].status(), Some(180));
        assert_eq!(lamps, ["1 early"], "seed {seed}");
        let body = sdp("198.51.100.20", 6000);
        farm.udp(BOB, &reply(&ringing, 200, "tb", &format!("sip:bob@{BOB}"), &body));
        let (rest, mut lamps, _) = farm.lamps();
        let ok = rest.iter().find(|message| message.status() == Some(200)).unwrap().clone();
        farm.udp(ALICE, &nth(from_alice("ACK", 1, &ok, "", ""), seed));
        lamps.extend(farm.lamps_later());
        assert_eq!(last(&lamps), "1 confirmed", "seed {seed}: {lamps:?}");
        farm.udp(ALICE, &nth(from_alice("BYE", 2, &ok, "", ""), seed));
        let (rest, mut lamps, _) = farm.lamps();
        let bye = rest.iter().find(|message| message.is_request()).unwrap();
        farm.udp(BOB, &reply(bye, 200, "tb", "sip:bob@x", ""));
        lamps.extend(farm.lamps_later());
        assert_eq!(last(&lamps), "1 terminated", "seed {seed}: {lamps:?}");
    }
    assert!(elsewhere > 8, "{elsewhere}");
}

/// Who begins to watch sees the calls that there are.
#[test]
fn a_lamp_that_comes_late_shows_what_rings_elsewhere() {
    for seed in 0..12 {
        let mut farm = Farm::new(3, seed);
        farm.register("bob", BOB);
        farm.ring_watched(seed);
        farm.taken();
        farm.udp(CAROL, &subscribe());
        let lamps = farm.lamps_later();
        assert_eq!(last(&lamps), "1 early", "seed {seed}: {lamps:?}");
    }
}

/// The calls of a member that dies are over for those who watch.
#[test]
fn the_lamps_of_calls_go_out_when_their_member_dies() {
    let mut elsewhere = 0;
    for seed in 0..24 {
        let mut farm = Farm::new(3, seed);
        farm.register("bob", BOB);
        let notifier = farm.watch();
        farm.pass(Duration::from_secs(6));
        let (owner, _) = farm.ring_watched(seed);
        if owner == notifier {
            continue;
        }
        elsewhere += 1;
        assert_eq!(last(&farm.lamps_later()), "1 early");
        farm.kill(owner);
        assert_eq!(last(&farm.lamps_later()), "1 terminated", "seed {seed}");
    }
    assert!(elsewhere > 8, "{elsewhere}");
}

/// A member that comes is told what is watched; what was lost between two members is said anew, and what has ended
/// meanwhile is over.
#[test]
fn members_that_meet_say_anew_what_is_watched_and_how_things_stand() {
    for seed in 0..24 {
        let mut farm = Farm::new(2, seed);
        farm.register("bob", BOB);
        let notifier = farm.watch();
        farm.pass(Duration::from_secs(6));
        farm.join();
        let (owner, ringing) = farm.ring_watched(seed);
        assert_eq!(last(&farm.lamps_later()), "1 early", "seed {seed}");
        if owner == notifier {
            continue;
        }
        // The word of the end is lost.
        let busy = reply(&ringing, 486, "tb", &format!("sip:bob@{BOB}"), "");
        farm.members[owner].udp(BOB, &busy);
        farm.members[owner].farm.clear();
        assert_eq!(farm.lamps_later(), Vec::<String>::new(), "seed {seed}");
        for (one, other) in [(owner, notifier), (notifier, owner)] {
            let now = farm.members[one].now;
            let met = super::identity(other, 1).member;
            farm.members[one].proxy.handle_met(now, met);
            farm.members[one].settle();
        }
        farm.pump();
        assert_eq!(last(&farm.lamps_later()), "1 terminated", "seed {seed}");
    }
}

/// What nobody watches is told to nobody.
#[test]
fn calls_that_nobody_watches_are_not_told_to_other_members() {
    let mut farm = Farm::new(3, 5);
    farm.register("bob", BOB);
    let told = |farm: &Farm| farm.told_of_calls;
    let before = told(&farm);
    farm.ring_watched(5);
    farm.taken();
    assert_eq!(told(&farm), before);
    let notifier = farm.watch_ringing();
    assert!(told(&farm) > before);
    // It does not any more.
    let bench = &mut farm.members[notifier];
    let now = bench.now;
    bench.proxy.handle_drain(now);
    bench.settle();
    farm.pump();
    farm.lamps();
    let before = told(&farm);
    farm.pass(Duration::from_secs(400));
    farm.lamps();
    assert_eq!(told(&farm), before, "the call has ended meanwhile");
}

impl Farm {
    fn watch_ringing(&mut self) -> usize {
        self.udp(CAROL, &subscribe());
        self.lamps().2.unwrap()
    }
}
