//! Random sequences of what peers, the relay and time can do. Whatever happens, once every timer has
//! run out nothing is left in any table or index.

use std::time::Duration;

use proptest::prelude::*;
use relay_core::api::{CloseCause, Event};

use super::calls::{ALICE, BOB};
use super::harness::{Bench, Plan, reply, sdp, with_body};
use crate::proxy::config::{Limits, Redirects};
use crate::resolve::ResolveError;
use crate::wire::{HeaderName, Message};

/// Something that happens. Numbers choose among what there is at that moment.
#[derive(Clone, Debug)]
enum Step {
    /// Alice calls a user: with or without an offer, and with one of `LINES`.
    Invite {
        user: &'static str,
        lines: &'static str,
        body: Body,
    },
    /// One of the phones answers one of the requests that it got.
    Answer {
        request: usize,
        status: u16,
        tag: u8,
        lines: &'static str,
        body: Body,
    },
    /// DNS has an answer to the oldest question: so many servers.
    Resolved {
        servers: usize,
    },
    /// One of the parties sends a request within a dialog that a response showed.
    Within {
        response: usize,
        method: &'static str,
        by_callee: bool,
        body: Body,
    },
    /// Alice cancels one of her calls.
    Cancel {
        call: usize,
    },
    /// The relay does its oldest command, or refuses it.
    RelayAnswers {
        refuses: bool,
    },
    /// The relay gives up one of the sessions.
    Idle {
        session: usize,
    },
    /// What was sent to this peer could not be delivered.
    Unreachable {
        callee: bool,
    },
    Pass {
        ms: u64,
    },
    Stop,
}

#[derive(Clone, Copy, Debug)]
enum Body {
    None,
    Audio,
    Video,
    Bad,
}

impl Body {
    fn text(self) -> String {
        match self {
            Body::None => String::new(),
            Body::Audio => sdp("198.51.100.10", 4000),
            Body::Video => sdp("198.51.100.20", 6000) + "m=video 6002 RTP/AVP 96\r\n",
            Body::Bad => "v=0\r\nm=\r\n".to_owned(),
        }
    }
}

/// What a caller may want besides.
const LINES: [&str; 4] = [
    "",
    "Supported: 199, timer\r\n",
    "Supported: timer\r\nSession-Expires: 30\r\n",
    "Session-Expires: 100\r\n",
];

/// What a phone's answer may say besides: of use in a 302, or a 2xx.
const ANSWERS: [&str; 5] = [
    "",
    "Contact: <sip:two@example.test>;q=0.1, <sip:bob@example.test>\r\n",
    "Contact: <sip:serial@example.test>, <sip:away@example.test>\r\n",
    "Contact: <sip:x@far.test>, <tel:1>\r\n",
    "Session-Expires: 100;refresher=uas\r\n",
];

const SERVERS: [&str; 2] = [BOB, "198.51.100.21:5060"];

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        2 => Just(Body::None),
        4 => Just(Body::Audio),
        2 => Just(Body::Video),
        1 => Just(Body::Bad),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let status = prop::sample::select(vec![
        100, 180, 183, 183, 199, 200, 200, 200, 202, 302, 302, 401, 407, 408, 422, 481, 486, 487,
        491, 503, 603,
    ]);
    let user = prop::sample::select(vec![
        "bob@example.test",
        "two@example.test",
        "serial@example.test",
        "bob@far.test",
    ]);
    let method = prop::sample::select(vec![
        "ACK", "ACK", "BYE", "INVITE", "INVITE", "UPDATE", "PRACK", "INFO", "OPTIONS",
    ]);
    prop_oneof![
        3 => (user, prop::sample::select(&LINES[..]), body())
            .prop_map(|(user, lines, body)| Step::Invite { user, lines, body }),
        8 => (0..64_usize, status, 0..3_u8, prop::sample::select(&ANSWERS[..]), body()).prop_map(
            |(request, status, tag, lines, body)| Step::Answer { request, status, tag, lines, body }
        ),
        2 => (0..3_usize).prop_map(|servers| Step::Resolved { servers }),
        6 => (0..64_usize, method, any::<bool>(), body()).prop_map(
            |(response, method, by_callee, body)| Step::Within { response, method, by_callee, body }
        ),
        2 => (0..64_usize).prop_map(|call| Step::Cancel { call }),
        8 => prop::bool::weighted(0.1).prop_map(|refuses| Step::RelayAnswers { refuses }),
        1 => (0..64_usize).prop_map(|session| Step::Idle { session }),
        1 => any::<bool>().prop_map(|callee| Step::Unreachable { callee }),
        3 => (1..40_000_u64).prop_map(|ms| Step::Pass { ms }),
        1 => prop::bool::weighted(0.1).prop_map(|stop| if stop { Step::Stop } else { Step::Pass { ms: 1 } }),
    ]
}

/// The peers: what they have seen.
struct World {
    bench: Bench,
    number: u32,
    invites: Vec<String>,
    requests: Vec<(String, Message)>,
    responses: Vec<Message>,
    forwarded: Vec<Message>,
}

impl World {
    fn new(limits: Limits) -> World {
        let mut bench = Bench::new(Plan {
            limits,
            trusted: vec!["198.51.100.10"],
            redirects: Redirects::Anywhere,
            ..Plan::default()
        });
        bench.register("bob", BOB);
        bench.register("two", BOB);
        bench.register("two", SERVERS[1]);
        bench.register_with_q("serial", BOB, "0.9");
        bench.register_with_q("serial", SERVERS[1], "0.2");
        bench.relay_is_slow = true;
        World {
            bench,
            number: 0,
            invites: Vec::new(),
            requests: Vec::new(),
            responses: Vec::new(),
            forwarded: Vec::new(),
        }
    }

    fn look(&mut self) {
        for transmit in std::mem::take(&mut self.bench.sent) {
            let message = Message::parse_datagram(transmit.bytes).expect("what is sent is SIP");
            if message.is_request() {
                if message.method().as_str() == "INVITE" && message.to().tag().is_none() {
                    self.forwarded.push(message.clone());
                }
                self.requests.push((transmit.target.remote.to_string(), message));
            } else if message.to().tag().is_some() && message.has(HeaderName::RecordRoute) {
                self.responses.push(message);
            }
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Invite { user, lines, body } => self.invite(user, lines, *body),
            Step::Resolved { servers } => self.resolved(*servers),
            Step::Answer { request, status, tag, lines, body } => {
                let Some((at, request)) = pick(&self.requests, *request).cloned() else { return };
                let answer = reply(
                    &request,
                    *status,
                    &format!("t{tag}"),
                    "sip:x@198.51.100.20",
                    &body.text(),
                );
                let own = "Contact: <sip:x@198.51.100.20>\r\n";
                let own = if lines.starts_with("Contact") { own } else { "" };
                let answer = answer.replacen(own, "", usize::from(!own.is_empty()));
                self.bench.udp(&at, &answer.replacen("\r\n", &format!("\r\n{lines}"), 1));
            }
            Step::Within { response, method, by_callee, body } => {
                self.within(*response, method, *by_callee, *body);
            }
            Step::Cancel { call } => {
                let Some(invite) = pick(&self.invites, *call).cloned() else { return };
                self.bench.udp(ALICE, &invite.replace("INVITE", "CANCEL"));
            }
            Step::RelayAnswers { refuses } => {
                if !self.bench.held.is_empty() {
                    self.bench.relay_refuses = *refuses;
                    self.bench.relay_answers();
                }
            }
            Step::Idle { session } => self.idle(*session),
            Step::Unreachable { callee } => self.unreachable(if *callee { BOB } else { ALICE }),
            Step::Pass { ms } => self.bench.pass(Duration::from_millis(*ms)),
            Step::Stop => self.bench.stop(),
        }
        self.look();
    }

    fn resolved(&mut self, servers: usize) {
        if self.bench.asked.is_empty() {
            return;
        }
        let token = self.bench.asked.remove(0).token;
        let found = super::harness::hops_of(&SERVERS[..servers]);
        let found = if servers == 0 { Err(ResolveError::NotFound) } else { found };
        self.bench.resolved(token, found);
    }

    fn invite(&mut self, user: &str, lines: &str, body: Body) {
        self.number += 1;
        let n = self.number;
        let head = format!(
            "INVITE sip:{user} SIP/2.0\r\nVia: SIP/2.0/UDP {ALICE};branch=z9hG4bKi{n}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:alice@example.test>;tag=f{n}\r\n\
             To: <sip:{user}>\r\nCall-ID: c{n}\r\nCSeq: 1 INVITE\r\n\
             Contact: <sip:alice@{ALICE}>\r\n{lines}"
        );
        self.invites.push(format!("{head}Content-Length: 0\r\n\r\n"));
        self.bench.udp(ALICE, &(head + &with_body(&body.text())));
    }

    fn within(&mut self, response: usize, method: &str, by_callee: bool, body: Body) {
        let Some(response) = pick(&self.responses, response).cloned() else { return };
        self.number += 1;
        let n = self.number;
        let route = response.record_routes().next().unwrap().unwrap();
        let route = String::from_utf8_lossy(route.as_bytes()).into_owned();
        let mut parties = [response.from(), response.to()]
            .map(|party| String::from_utf8_lossy(party.as_bytes()).into_owned());
        let (at, to) = if by_callee { (BOB, ALICE) } else { (ALICE, BOB) };
        if by_callee {
            parties.reverse();
        }
        let text = format!(
            "{method} sip:x@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bKw{n}\r\n\
             Max-Forwards: 70\r\nRoute: {route}\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\n\
             CSeq: {} {method}\r\nContact: <sip:x@{at}>\r\n{}",
            parties[0],
            parties[1],
            response.call_id(),
            n + 1,
            with_body(&body.text()),
        );
        self.bench.udp(at, &text);
    }

    fn idle(&mut self, session: usize) {
        let sessions: Vec<_> = self.bench.commands.iter().map(|c| c.session()).collect();
        let Some(session) = pick(&sessions, session).copied() else { return };
        self.bench.relay_event(Event::Closed {
            session,
            cause: CloseCause::Idle(Duration::from_secs(60)),
            report: Default::default(),
        });
    }

    fn unreachable(&mut self, remote: &str) {
        let target = super::harness::udp_target(remote);
        let now = self.bench.now;
        self.bench.proxy.handle_transport_error(now, &target);
        self.bench.pass(Duration::ZERO);
    }

    /// Nobody says anything any more.
    fn end(&mut self, relay_lives: bool) {
        self.bench.relay_refuses = false;
        for _ in 0..4 {
            while relay_lives && !self.bench.held.is_empty() {
                self.bench.relay_answers();
            }
            self.bench.pass(Duration::from_secs(20 * 60));
        }
        self.bench.pass(Limits::default().call_lifetime);
        while relay_lives && !self.bench.held.is_empty() {
            self.bench.relay_answers();
        }
        // Whoever looks names up answers, sooner or later.
        while !self.bench.asked.is_empty() {
            self.resolved(0);
        }
        self.bench.pass(Duration::from_secs(60));
        self.look();
    }
}

fn pick<T>(from: &[T], number: usize) -> Option<&T> {
    // The latest are the most interesting.
    let back = number % from.len().clamp(1, 6);
    from.iter().rev().nth(back)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_left_behind_whatever_happens(
        steps in prop::collection::vec(step(), 1..60),
        relay_lives in prop::bool::weighted(0.8),
        is_small in prop::bool::weighted(0.2),
    ) {
        let small = Limits { calls: 2, contexts: 3, branches: 2, ..Limits::default() };
        let mut world = World::new(if is_small { small } else { Limits::default() });
        for step in &steps {
            world.take(step);
        }
        world.end(relay_lives);
        world.bench.proxy.assert_clean();
        let started = world.forwarded.iter().map(|m| m.call_id()).collect::<std::collections::HashSet<_>>();
        prop_assert!(world.bench.records.len() >= started.len(), "every call has its record");
    }
}
