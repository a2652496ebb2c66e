//! An event server with a clock of its own, and requests that are lines of text.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::auth::Secret;
use crate::call::Party;
use crate::events::{Answered, Asked, Asker, Config, Events, Notify, Outcome, Package};
use crate::registrar::{self, Registrar, UserTable};
use crate::transport::{Arrival, ListenerId, Transport};
use crate::wire::{HeaderName, Message, Uri};

pub(super) const ALICE: &str = "198.51.100.10:5060";

#[expect(clippy::disallowed_methods, reason = "an Instant can only be had from the clock")]
fn start() -> Instant {
    Instant::now()
}

fn arrival() -> Arrival {
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    Arrival {
        transport: Transport::Udp,
        listener: ListenerId(0),
        local: address("192.0.2.1:5060"),
        remote: address(ALICE),
        connection: None,
    }
}

pub(super) struct Bench {
    pub(super) now: Instant,
    pub(super) events: Events,
    pub(super) registrar: Registrar,
    cseq: u32,
}

/// All packages.
pub(super) fn all() -> Config {
    Config { packages: Package::ALL.to_vec(), ..Config::default() }
}

impl Bench {
    pub(super) fn new(config: Config) -> Bench {
        let now = start();
        let users: UserTable = ["alice", "bob", "carol"]
            .map(|name| (name.to_owned(), Secret::Plain("x".to_owned())))
            .into_iter()
            .collect();
        let config_r = registrar::Config::default();
        Bench {
            now,
            events: Events::new(now, config, [7; 32]),
            registrar: Registrar::new(now, config_r, Box::new(users), [5; 32]),
            cseq: 0,
        }
    }

    /// A request by `asker` with these header lines (each with its line end) and this body.
    pub(super) fn ask(
        &mut self,
        asker: Asker<'_>,
        method: &str,
        to: &str,
        lines: &str,
        body: &str,
    ) -> Outcome {
        self.cseq += 1;
        let from = match asker {
            Asker::User(name) => name,
            Asker::Trusted | Asker::Nobody => "proxy",
        };
        let (uri, cseq) = (format!("sip:{to}@example.test"), self.cseq);
        let dialog = if lines.contains("To: ") {
            String::new()
        } else {
            format!("To: <{uri}>\r\nCall-ID: call-{cseq}\r\n")
        };
        let host = if lines.contains("Other-Domain") { "other.test" } else { "example.test" };
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {ALICE};branch=z9hG4bK{cseq}\r\n\
             From: <sip:{from}@{host}>;tag=f-{from}\r\n{dialog}CSeq: {cseq} {method}\r\n\
             {lines}Max-Forwards: 70\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let request = Message::parse_datagram(Bytes::from(text)).unwrap();
        let uri = Uri::parse(request.request_uri()).unwrap();
        let party = Party { flow: arrival().reply(), adjacent: true, pinned_to_flow: false };
        let asked = Asked { request: &request, uri: &uri, asker, party };
        match method {
            "SUBSCRIBE" => self.events.subscribe(self.now, &self.registrar, &asked),
            _ => self.events.publish(self.now, &self.registrar, &asked),
        }
    }

    /// Alice subscribes to Bob.
    pub(super) fn subscribe(&mut self, event: &str, lines: &str) -> Outcome {
        let lines = format!("Event: {event}\r\nContact: <sip:alice@{ALICE}>\r\n{lines}");
        self.ask(Asker::User("alice"), "SUBSCRIBE", "bob", &lines, "")
    }

    /// A request of Alice's within the dialog of a notification.
    pub(super) fn again(&mut self, notify: &Notify, lines: &str) -> Outcome {
        let lines = format!(
            "To: {}\r\nCall-ID: {}\r\nContact: <sip:alice@{ALICE};moved>\r\n{lines}",
            notify.addresses[0], notify.call_id
        );
        self.ask(Asker::User("alice"), "SUBSCRIBE", "bob", &lines, "")
    }

    /// Bob publishes.
    pub(super) fn publish(&mut self, event: &str, lines: &str, body: &str) -> Outcome {
        let lines = format!("Event: {event}\r\n{lines}");
        self.ask(Asker::User("bob"), "PUBLISH", "bob", &lines, body)
    }

    /// A device registers, or goes.
    pub(super) fn register(&mut self, user: &str, at: &str, expires: u32) {
        self.cseq += 1;
        let text = format!(
            "REGISTER sip:example.test SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK{}\r\n\
             From: <sip:{user}@example.test>;tag=r\r\nTo: <sip:{user}@example.test>\r\n\
             Call-ID: r-{at}\r\nCSeq: {} REGISTER\r\nContact: <sip:{user}@{at}>\r\n\
             Expires: {expires}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
            self.cseq, self.cseq
        );
        let request = Message::parse_datagram(Bytes::from(text)).unwrap();
        let outcome = self.registrar.process(self.now, user, arrival(), &request);
        assert_eq!(outcome.status, 200);
        self.events.registration_changed(self.now, &self.registrar, user);
    }

    pub(super) fn notified(&mut self) -> Option<Notify> {
        self.events.poll_notify()
    }

    /// The next notification, which is answered 200.
    #[track_caller]
    pub(super) fn notify(&mut self) -> Notify {
        let notify = self.notified().expect("a notification is sent");
        self.answer(&notify, Answered::Status(200, None));
        notify
    }

    pub(super) fn answer(&mut self, notify: &Notify, answered: Answered) {
        self.events.answered(self.now, &self.registrar, notify.subscription, answered);
    }

    #[track_caller]
    pub(super) fn silent(&mut self) {
        let notify = self.notified();
        assert!(notify.is_none(), "{notify:?}");
    }

    /// Lets time pass, stopping at every timer.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.events.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.events.handle_timeout(self.now, &self.registrar);
        }
        self.now = end;
    }

    /// The next request is numbered as the one before the last.
    pub(super) fn rewind(&mut self) {
        self.cseq -= 2;
    }

    pub(super) fn secs(&mut self, secs: u64) {
        self.pass(Duration::from_secs(secs));
    }
}

/// A header of an answer.
pub(super) fn header(outcome: &Outcome, name: HeaderName) -> Option<&str> {
    outcome.headers.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_str())
}

/// A presence document.
pub(super) fn pidf(basic: &str) -> String {
    format!(
        "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"sip:bob@example.test\">\
         <tuple id=\"t\"><status><basic>{basic}</basic></status></tuple></presence>"
    )
}

pub(super) const PIDF: &str = "Content-Type: application/pidf+xml\r\n";
