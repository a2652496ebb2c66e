//! Calls.

use std::time::Duration;

use super::super::calls::{ALICE, BOB, from_alice, from_bob, invite};
use super::super::harness::{address, register, reply, sdp, show};
use super::{Farm, connection, identity, secrets};
use crate::farm::Why;
use crate::proxy::output::CallEnd;
use crate::wire::Message;

/// S27, S28, S29, S31, S34: 1 INVITE, 1 call, whatever goes where.
#[test]
fn a_call_is_one_call_wherever_each_of_its_packets_goes() {
    for seed in 0..60 {
        let mut farm = Farm::new(3, seed);
        farm.register("bob", BOB);
        let (owner, invite) = farm.ring();
        farm.udp(BOB, &reply(&invite, 180, "tb", &format!("sip:bob@{BOB}"), ""));
        farm.status(ALICE, 180);
        let ok = farm.answer(&invite);
        // Both parties refresh, and one hangs up.
        farm.udp(ALICE, &from_alice("UPDATE", 2, &ok, "", ""));
        let (at, update) = farm.request(BOB, "UPDATE");
        assert_eq!(at, owner);
        farm.udp(BOB, &reply(&update, 200, "tb", &format!("sip:bob@{BOB}"), ""));
        farm.status(ALICE, 200);
        farm.udp(BOB, &from_bob("BYE", 1, &invite, ""));
        let (at, bye) = farm.request(ALICE, "BYE");
        assert_eq!(at, owner);
        farm.udp(ALICE, &reply(&bye, 200, "fa", "sip:x@x", ""));
        farm.status(BOB, 200);
        assert_eq!(farm.ends(), [CallEnd::CalleeHungUp]);
        farm.assert_clean();
    }
}

/// B3: no request is handled twice.
#[test]
fn repetitions_of_a_request_meet_one_transaction() {
    for seed in 0..30 {
        let mut farm = Farm::new(3, seed);
        farm.register("bob", BOB);
        let (_, ringing) = farm.ring();
        for at in 0..3 {
            farm.udp_at(at, ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
            // The owner repeats its 100.
            farm.status(ALICE, 100);
        }
        farm.udp(BOB, &reply(&ringing, 486, "tb", "sip:x@x", ""));
        for (at, sent) in farm.taken() {
            let message = Message::parse_datagram(sent.bytes).unwrap();
            let is_ack = message.method().as_str() == "ACK";
            assert!(is_ack || message.status() == Some(486), "{at}: {}", show(&message));
        }
        for at in 0..3 {
            farm.udp_at(at, ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
            farm.status(ALICE, 486);
        }
        // S29: its ACK goes to the one that has it, and ends the repetitions.
        let ack = invite("bob", "").replace("INVITE", "ACK");
        farm.udp(
            ALICE,
            &ack.replace("To: <sip:bob@example.test>", "To: <sip:bob@example.test>;tag=tb"),
        );
        farm.pass(Duration::from_secs(40));
        farm.silence();
        farm.assert_clean();
    }
}

/// S29, B3: a CANCEL that crosses a 180 or a 200 has one result.
#[test]
fn a_cancel_finds_its_invite_wherever_it_goes() {
    for seed in 0..30 {
        let mut farm = Farm::new(3, seed);
        farm.register("bob", BOB);
        let (owner, ringing) = farm.ring();
        farm.udp(BOB, &reply(&ringing, 180, "tb", &format!("sip:bob@{BOB}"), ""));
        farm.status(ALICE, 180);
        farm.udp(ALICE, &invite("bob", "").replace("INVITE", "CANCEL"));
        let taken = farm.taken();
        let kinds: Vec<_> = taken
            .iter()
            .map(|(at, sent)| {
                let message = Message::parse_datagram(sent.bytes.clone()).unwrap();
                (*at, message.status(), message.method().as_str().to_owned())
            })
            .collect();
        assert!(kinds.contains(&(owner, Some(200), "CANCEL".to_owned())), "{kinds:?}");
        assert!(kinds.contains(&(owner, None, "CANCEL".to_owned())), "{kinds:?}");
        let late = seed % 2 == 0;
        let status = if late { 200 } else { 487 };
        let body = if late { sdp("198.51.100.20", 6000) } else { String::new() };
        farm.udp(BOB, &reply(&ringing, status, "tb", &format!("sip:bob@{BOB}"), &body));
        let got: Vec<_> = farm
            .taken()
            .into_iter()
            .map(|(_, sent)| (sent.target.remote, Message::parse_datagram(sent.bytes).unwrap()))
            .filter(|(to, _)| *to == address(ALICE))
            .filter_map(|(_, message)| message.status())
            .collect();
        assert_eq!(got, [status]);
        farm.pass(Duration::from_secs(700));
    }
}

/// S36, B2: what comes over a connection is answered on it, by the member that has it.
#[test]
fn a_connection_of_one_member_serves_calls_of_another() {
    for holder in 0..3 {
        for seed in 0..10 {
            let mut farm = Farm::new(3, seed);
            let bob = register("bob", BOB, "1").replace("/UDP", "/TCP");
            farm.tcp_at(holder, BOB, &bob);
            let (_, sent) = farm.taken().remove(0);
            assert_eq!(sent.target.connection, Some(connection(holder)));
            farm.udp(ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
            let taken = farm.taken();
            let (_, sent) =
                taken.iter().find(|(_, sent)| sent.target.remote == address(BOB)).unwrap();
            assert_eq!(sent.target.connection, Some(connection(holder)));
            let ringing = Message::parse_datagram(sent.bytes.clone()).unwrap();
            let contact = format!("sip:bob@{BOB};transport=tcp");
            let body = sdp("198.51.100.20", 6000);
            farm.tcp_at(holder, BOB, &reply(&ringing, 200, "tb", &contact, &body));
            let ok = farm.status(ALICE, 200);
            farm.udp(ALICE, &from_alice("ACK", 1, &ok, "", ""));
            let (_, sent) = farm.taken().remove(0);
            assert_eq!(sent.target.connection, Some(connection(holder)));
        }
    }
}

/// B1: keys change while a call goes on; nobody else's tokens are believed.
#[test]
fn a_call_outlives_one_change_of_the_key_and_a_forged_token_steers_nothing() {
    for seed in 0..12 {
        let mut farm = Farm::new(3, seed);
        farm.register("bob", BOB);
        let (owner, ringing) = farm.ring();
        for (at, bench) in farm.members.iter_mut().enumerate() {
            bench.proxy.set_farm(identity(at, 1), &secrets(2));
        }
        let ok = farm.answer(&ringing);
        let bye = from_alice("BYE", 2, &ok, "", "");
        let route = bye.find(";rf=").map(|at| at + 4).unwrap();
        let letter = if bye.as_bytes()[route + 20] == b'a' { "b" } else { "a" };
        let forged = format!("{}{letter}{}", &bye[..route + 20], &bye[route + 21..]);
        farm.relayed.clear();
        farm.udp(ALICE, &forged);
        farm.status(ALICE, 481);
        assert!(!farm.relayed.contains(&Why::Pinned));
        farm.udp(ALICE, &bye.replace("bKaBYE2", "bKagain"));
        assert_eq!(farm.request(BOB, "BYE").0, owner);
    }
}
