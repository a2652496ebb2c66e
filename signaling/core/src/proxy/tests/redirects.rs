//! Redirections (3xx): followed here, or passed on with what is not.

use super::calls::{ALICE, BOB, from_alice, invite, set_up};
use super::forking::{DESK, ring_two};
use super::harness::{Bench, Plan, reply, sdp};
use crate::proxy::config::Redirects;
use crate::proxy::output::CallEnd;
use crate::wire::{HeaderName, Message};

const CAROL: &str = "198.51.100.30:5060";
const DAVE: &str = "198.51.100.40:5060";
const FAR: &str = "203.0.113.1:5060";

/// A 302 to these Contact values.
fn moved(request: &Message, contacts: &str) -> String {
    let text = reply(request, 302, "tr", "sip:x@x", "");
    text.replace("Contact: <sip:x@x>", &format!("Contact: {contacts}"))
}

/// Bob's phone gets Alice's INVITE and answers it 302.
fn forward(bench: &mut Bench, contacts: &str) {
    bench.register("bob", BOB);
    bench.udp(ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
    bench.expect_status(ALICE, 100);
    let ringing = bench.expect_request(BOB, "INVITE");
    bench.udp(BOB, &moved(&ringing, contacts));
    bench.expect_request(BOB, "ACK");
}

#[track_caller]
fn refuse(bench: &mut Bench, at: &str, status: u16) {
    let ringing = bench.expect_request(at, "INVITE");
    bench.udp(at, &reply(&ringing, status, "tx", "sip:x@x", ""));
    bench.expect_request(at, "ACK");
}

fn contacts(message: &Message) -> Vec<String> {
    let values = message.values(HeaderName::Contact);
    values.map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

/// RFC 3261 16.5: the caller hears nothing of it, and the call has its media with whom it has reached.
#[test]
fn a_phone_that_forwards_to_another_user_here_is_followed_and_the_call_goes_on() {
    let mut bench = Bench::new(Plan::default());
    bench.register("carol", CAROL);
    forward(&mut bench, "<sip:carol@example.test?Subject=x>;q=0.3");
    let ringing = bench.expect_request(CAROL, "INVITE");
    assert_eq!(ringing.request_uri(), format!("sip:carol@{CAROL}"));
    assert_eq!(ringing.max_forwards(), Some(69));
    assert_eq!((ringing.vias().count(), ringing.record_routes().count()), (2, 1));
    assert_eq!(bench.closed_sessions().len(), 1, "Bob's session");
    let contact = format!("sip:carol@{CAROL}");
    bench.udp(CAROL, &reply(&ringing, 200, "tc", &contact, &sdp("198.51.100.30", 6000)));
    let ok = bench.expect_status(ALICE, 200);
    bench.udp(ALICE, &from_alice("ACK", 1, &ok, "", ""));
    bench.expect_request(CAROL, "ACK");
    bench.udp(ALICE, &from_alice("BYE", 2, &ok, "", ""));
    let bye = bench.expect_request(CAROL, "BYE");
    bench.udp(CAROL, &reply(&bye, 200, "tc", "sip:x@x", ""));
    bench.expect_status(ALICE, 200);
    assert_eq!(bench.records[0].end, CallEnd::CallerHungUp);
    bench.expect_all_forgotten();
}

/// `sip.follow_redirects = "never"`, and what is only followed within the node's own domains.
#[test]
fn a_redirection_that_is_not_followed_reaches_the_caller_as_it_is() {
    for (redirects, to) in [
        (Redirects::Never, "<sip:carol@example.test>"),
        (Redirects::Served, "<sip:carol@far.test>"),
        (Redirects::Served, "<tel:+358555>"),
        (Redirects::Anywhere, "<mailto:carol@far.test>"),
        // An open domain is no open relay.
        (Redirects::Anywhere, "<sip:carol@203.0.113.1>"),
    ] {
        let mut bench = Bench::new(Plan { redirects, ..Plan::default() });
        bench.register("carol", CAROL);
        forward(&mut bench, to);
        let told = bench.expect_status(ALICE, 302);
        assert_eq!(contacts(&told), [to]);
        assert_eq!(bench.records[0].end, CallEnd::Refused(302));
        bench.expect_all_forgotten();
    }
}

/// RFC 3261 16.5: for callers who may send there.
#[test]
fn a_redirection_to_another_domain_is_followed_for_those_who_may_send_there() {
    let mut bench = Bench::new(Plan {
        redirects: Redirects::Anywhere,
        trusted: vec!["198.51.100.10"],
        ..Plan::default()
    });
    forward(&mut bench, &format!("<sip:carol@{FAR};method=INVITE>"));
    let ringing = bench.expect_request(FAR, "INVITE");
    assert_eq!(ringing.request_uri(), format!("sip:carol@{FAR}"));
    bench.udp(FAR, &reply(&ringing, 404, "tf", "sip:x@x", ""));
    bench.expect_request(FAR, "ACK");
    bench.expect_status(ALICE, 404);
    bench.expect_all_forgotten();
}

/// RFC 3261 16.5, 16.6: the best first, and all of them before what the user has registered as worse.
#[test]
fn the_contacts_of_a_redirection_are_tried_by_their_q_before_contacts_of_a_lower_q() {
    let mut bench = Bench::new(Plan::default());
    bench.register("carol", CAROL);
    bench.register("dave", DAVE);
    bench.register_with_q("bob", DESK, "0.1");
    forward(&mut bench, "<sip:carol@example.test>;q=0.5, <sip:dave@example.test>;q=0.9");
    refuse(&mut bench, DAVE, 486);
    refuse(&mut bench, CAROL, 404);
    refuse(&mut bench, DESK, 480);
    bench.expect_status(ALICE, 486);
    bench.expect_all_forgotten();
}

/// RFC 3261 16.5: no URI twice.
#[test]
fn phones_that_forward_to_each_other_are_answered_482() {
    for to_self in [true, false] {
        let mut bench = Bench::new(Plan::default());
        bench.register("carol", CAROL);
        if to_self {
            forward(&mut bench, "<sip:bob@example.test>");
        } else {
            forward(&mut bench, "<sip:carol@example.test>");
            let ringing = bench.expect_request(CAROL, "INVITE");
            bench.udp(CAROL, &moved(&ringing, "<sip:bob@Example.test>, <sip:carol@example.test>"));
            bench.expect_request(CAROL, "ACK");
        }
        bench.expect_status(ALICE, 482);
        bench.expect_all_forgotten();
    }
}

/// RFC 3261 16.7 step 4: what has been tried is not for the caller to try again.
#[test]
fn a_caller_is_told_only_of_the_contacts_that_were_not_followed() {
    let mut bench = Bench::new(Plan::default());
    bench.register("carol", CAROL);
    forward(&mut bench, "<sip:x@far.test>, <sip:carol@example.test>, <tel:+358555>;q=0.1");
    refuse(&mut bench, CAROL, 486);
    let told = bench.expect_status(ALICE, 302);
    assert_eq!(contacts(&told), ["<sip:x@far.test>", "<tel:+358555>;q=0.1"]);
    bench.expect_all_forgotten();
}

#[test]
fn forwarding_to_a_user_who_is_away_or_unknown_is_answered_as_a_call_to_that_user() {
    for (users, to, status) in
        [(vec![], "carol", 480), (vec![("bob", "x"), ("alice", "y")], "nobody", 404)]
    {
        let trusted = vec!["198.51.100.10"];
        let mut bench = Bench::new(Plan { trusted, ..Plan::default() });
        bench.register("bob", BOB);
        if !users.is_empty() {
            let trusted = vec!["198.51.100.10", "198.51.100.20"];
            bench = Bench::new(Plan {
                users,
                trusted,
                redirects: Redirects::Anywhere,
                ..Plan::default()
            });
            let abroad = invite("bob", "").replacen("bob@example.test", &format!("bob@{BOB}"), 1);
            bench.udp(ALICE, &abroad);
        } else {
            bench.udp(ALICE, &invite("bob", ""));
        }
        bench.expect_status(ALICE, 100);
        let ringing = bench.expect_request(BOB, "INVITE");
        bench.udp(BOB, &moved(&ringing, &format!("<sip:{to}@example.test>")));
        bench.expect_request(BOB, "ACK");
        bench.expect_status(ALICE, status);
        bench.expect_all_forgotten();
    }
}

/// RFC 3261 16.7 step 6: the caller can choose among all of them.
#[test]
fn the_redirections_of_all_forks_are_put_together() {
    let mut bench = Bench::new(Plan::default());
    let (mobile, desk) = ring_two(&mut bench);
    bench.udp(BOB, &moved(&mobile, "<sip:a@far.test>"));
    bench.udp(DESK, &moved(&desk, "<sip:b@far.test>, <sip:c@far.test>"));
    bench.sent.retain(|sent| sent.target.remote.to_string() == ALICE);
    let told = bench.expect_status(ALICE, 302);
    assert_eq!(contacts(&told), ["<sip:a@far.test>", "<sip:b@far.test>", "<sip:c@far.test>"]);
}

/// A chain of any length ends: no more targets than one request may be forked to.
#[test]
fn a_request_is_led_on_no_more_often_than_it_may_be_forked() {
    let mut bench = Bench::new(Plan::default());
    let limit = Plan::default().limits.branches;
    let phone = |n: usize| format!("198.51.100.{}:5060", 100 + n);
    for n in 1..=limit + 1 {
        bench.register(&format!("u{n}"), &phone(n));
    }
    forward(&mut bench, "<sip:u1@example.test>");
    for n in 1..limit {
        let ringing = bench.expect_request(&phone(n), "INVITE");
        bench.udp(&phone(n), &moved(&ringing, &format!("<sip:u{}@example.test>", n + 1)));
        bench.expect_request(&phone(n), "ACK");
    }
    let told = bench.expect_status(ALICE, 302);
    assert_eq!(contacts(&told), [format!("<sip:u{limit}@example.test>")]);
    bench.expect_all_forgotten();
}

/// While another phone rings, the one that forwards is replaced at once; the first answer wins.
#[test]
fn a_fork_that_forwards_rings_on_elsewhere_beside_the_others() {
    let mut bench = Bench::new(Plan::default());
    bench.register("carol", CAROL);
    let (mobile, desk) = ring_two(&mut bench);
    bench.udp(DESK, &reply(&desk, 180, "td", "sip:bob@x", ""));
    bench.expect_status(ALICE, 180);
    bench.udp(BOB, &moved(&mobile, "<sip:carol@example.test>"));
    bench.expect_request(BOB, "ACK");
    let ringing = bench.expect_request(CAROL, "INVITE");
    let contact = format!("sip:carol@{CAROL}");
    bench.udp(CAROL, &reply(&ringing, 200, "tc", &contact, &sdp("198.51.100.30", 6000)));
    bench.expect_status(ALICE, 200);
    bench.expect_request(DESK, "CANCEL");
}

/// Who has given up is not called anew; within a call, and for messages, the rules are the same.
#[test]
fn redirections_are_followed_for_messages_and_not_for_what_is_cancelled_or_in_a_call() {
    let mut bench = Bench::new(Plan::default());
    bench.register("carol", CAROL);
    bench.register("bob", BOB);
    let message = invite("bob", "").replace("INVITE", "MESSAGE");
    bench.udp(ALICE, &message);
    let request = bench.expect_request(BOB, "MESSAGE");
    bench.udp(BOB, &moved(&request, "<sip:carol@example.test>"));
    bench.expect_request(CAROL, "MESSAGE");

    let mut bench = Bench::new(Plan::default());
    bench.register("carol", CAROL);
    bench.register("bob", BOB);
    bench.udp(ALICE, &invite("bob", ""));
    bench.expect_status(ALICE, 100);
    let ringing = bench.expect_request(BOB, "INVITE");
    let cancel = invite("bob", "").replacen("INVITE", "CANCEL", 1).replace("1 INVITE", "1 CANCEL");
    bench.udp(ALICE, &cancel);
    bench.expect_status(ALICE, 200);
    bench.udp(BOB, &moved(&ringing, "<sip:carol@example.test>"));
    bench.expect_request(BOB, "ACK");
    bench.expect_status(ALICE, 302);

    let mut bench = Bench::new(Plan::default());
    bench.register("carol", CAROL);
    let (_, ok) = set_up(&mut bench);
    bench.udp(ALICE, &from_alice("INFO", 2, &ok, "", ""));
    let info = bench.expect_request(BOB, "INFO");
    bench.udp(BOB, &moved(&info, "<sip:carol@example.test>"));
    bench.expect_status(ALICE, 302);
}
