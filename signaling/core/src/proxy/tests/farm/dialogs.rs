//! Dialogs that no call makes.

use std::time::Duration;

use super::super::calls::{ALICE, BOB};
use super::super::harness::{register, reply};
use super::{Farm, connection};
use crate::wire::{Contact, HeaderName, Message};

fn subscribe(uri: &str, to: &str, cseq: u32, lines: &str) -> String {
    format!(
        "SUBSCRIBE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {ALICE};branch=z9hG4bKs{cseq}\r\n{lines}\
         From: <sip:alice@example.test>;tag=fa\r\nTo: {to}\r\nCall-ID: sub\r\n\
         CSeq: {cseq} SUBSCRIBE\r\nContact: <sip:alice@{ALICE}>\r\nMax-Forwards: 70\r\n\
         Expires: 600\r\nContent-Length: 0\r\n\r\n"
    )
}

fn to_of(message: &Message) -> String {
    String::from_utf8_lossy(message.to().as_bytes()).into_owned()
}

/// S24, S30, B1: our Contact leads to the member that has the subscription.
#[test]
fn a_subscription_is_refreshed_where_it_is_kept() {
    for seed in 0..20 {
        let mut farm = Farm::new(3, seed);
        let event = "Event: presence\r\n";
        farm.udp(ALICE, &subscribe("sip:bob@example.test", "<sip:bob@example.test>", 1, event));
        let taken = farm.taken();
        let messages: Vec<Message> = taken
            .iter()
            .map(|(_, sent)| Message::parse_datagram(sent.bytes.clone()).unwrap())
            .collect();
        let (owner, ok) = (taken[0].0, &messages[0]);
        assert_eq!(ok.status(), Some(200));
        farm.udp(ALICE, &reply(&messages[1], 200, "", "sip:alice@x", ""));
        let contact = ok.contacts().flatten().find_map(Contact::addr).unwrap();
        for (cseq, at) in [(2, 0), (3, 1), (4, 2)] {
            farm.pass(Duration::from_secs(10));
            let refresh = subscribe(contact.uri_text(), &to_of(ok), cseq, event);
            farm.udp_at(at, ALICE, &refresh);
            let taken = farm.taken();
            assert_eq!(taken.len(), 2, "{taken:?}");
            for (from, sent) in taken {
                assert_eq!(from, owner);
                let message = Message::parse_datagram(sent.bytes).unwrap();
                if message.is_request() {
                    farm.udp(ALICE, &reply(&message, 200, "", "sip:alice@x", ""));
                } else {
                    assert_eq!(message.status(), Some(200));
                }
            }
        }
    }
}

/// RFC 5626 5.2, B5: what is remembered nowhere goes on after the member that it began at has died, as long
/// as the connection is there.
#[test]
fn a_dialog_that_nothing_is_remembered_of_finds_its_connection_from_any_member() {
    for seed in 0..30 {
        let mut farm = Farm::new(3, seed);
        let bob = register("bob", BOB, "1").replace("/UDP", "/TCP");
        farm.tcp_at(0, BOB, &bob);
        farm.taken();
        let event = "Event: other\r\n";
        farm.udp(ALICE, &subscribe("sip:bob@example.test", "<sip:bob@example.test>", 1, event));
        let (by, sent) = farm.taken().remove(0);
        assert_eq!(sent.target.connection, Some(connection(0)));
        let request = Message::parse_datagram(sent.bytes).unwrap();
        let contact = format!("sip:bob@{BOB};transport=tcp");
        farm.tcp_at(0, BOB, &reply(&request, 200, "tb", &contact, ""));
        let ok = farm.status(ALICE, 200);
        let mut routes: Vec<String> = ok
            .record_routes()
            .map(|route| format!("Route: <{}>\r\n", route.unwrap().uri_text()))
            .collect();
        assert_eq!(routes.len(), 2);
        assert!(routes.iter().all(|route| route.contains(";ft=")), "{routes:?}");
        routes.reverse();
        // The one that passed it on may die, but for the one that has the connection.
        if by != 0 && seed % 2 == 0 {
            farm.kill(by);
            farm.listed[by] = false;
            farm.publish();
        }
        let lines = event.to_owned() + &routes.concat();
        farm.udp(ALICE, &subscribe(&contact, &to_of(&ok), 2, &lines));
        let (_, sent) = farm.taken().remove(0);
        assert_eq!(sent.target.connection, Some(connection(0)), "seed {seed}");
        let refreshed = Message::parse_datagram(sent.bytes).unwrap();
        assert_eq!(refreshed.count(HeaderName::Route), 0);
    }
}
