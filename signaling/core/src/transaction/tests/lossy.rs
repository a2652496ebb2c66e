//! Two layers with a link between them that loses, repeats and delays: what the retransmissions are
//! for (RFC 3261 17).

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What the link does to one message. After the last of these it delivers everything at once.
#[derive(Clone, Copy, Debug)]
struct Fate {
    lost: bool,
    delay_ms: u64,
    /// A second copy, this long after the first.
    copy_ms: Option<u64>,
}

/// At most six losses: an INVITE is sent seven times in 64*T1. A message and what it causes at the other
/// side stay under way for less than T4, for which a client remembers its transaction (timer K).
fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = (prop::bool::weighted(0.7), 0u64..400, prop::option::of(0u64..1_500))
        .prop_map(|(lost, delay_ms, copy_ms)| Fate { lost, delay_ms, copy_ms });
    prop::collection::vec(fate, 0..=6)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

struct Link {
    client: Bench,
    server: Bench,
    fates: std::vec::IntoIter<Fate>,
    /// By arrival time and order of sending.
    under_way: BTreeMap<(Instant, usize), (Side, Message)>,
    sent: usize,
    /// Every event of either side.
    told: [Vec<String>; 2],
    responses: Vec<u16>,
}

impl Link {
    fn new(fates: Vec<Fate>, responses: Vec<u16>) -> Self {
        let client = Bench::udp();
        let mut server = Bench::udp();
        (server.start, server.now) = (client.start, client.now);
        let (under_way, told) = (BTreeMap::new(), [Vec::new(), Vec::new()]);
        Link { client, server, fates: fates.into_iter(), under_way, sent: 0, told, responses }
    }

    fn side(&mut self, side: Side) -> &mut Bench {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// Puts what both sides have sent on the link, and answers new requests.
    fn carry(&mut self) {
        self.answer();
        for (from, to) in [(Side::Client, Side::Server), (Side::Server, Side::Client)] {
            let now = self.side(from).now;
            for (_, transmit) in std::mem::take(&mut self.side(from).wire) {
                let fate = self.fates.next();
                let fate = fate.unwrap_or(Fate { lost: false, delay_ms: 1, copy_ms: None });
                let at = now + ms(fate.delay_ms);
                let copy = fate.copy_ms.map(|after| at + ms(after));
                for at in [(!fate.lost).then_some(at), copy].into_iter().flatten() {
                    self.sent += 1;
                    self.under_way.insert((at, self.sent), (to, parsed(&transmit)));
                }
            }
        }
    }

    fn answer(&mut self) {
        for event in std::mem::take(&mut self.server.events) {
            self.told[1].push(short(&event));
            if let Event::Request { tx, request, .. } = event {
                for status in self.responses.clone() {
                    self.server.respond(tx, &request, status);
                }
            }
        }
        self.told[0].extend(self.client.told());
    }

    /// The next arrival or timer, whichever is first; `false` if there is none.
    fn step(&mut self) -> bool {
        self.carry();
        let arrival = self.under_way.keys().next().map(|&(at, _)| at);
        let timers = [self.client.layer.poll_timeout(), self.server.layer.poll_timeout()];
        let Some(at) = arrival.into_iter().chain(timers.into_iter().flatten()).min() else {
            return false;
        };
        for side in [Side::Client, Side::Server] {
            let bench = self.side(side);
            let by = at.saturating_duration_since(bench.now);
            bench.pass(by);
        }
        if arrival == Some(at)
            && let Some((_, (side, message))) = self.under_way.pop_first()
        {
            self.side(side).receive(&message);
        }
        true
    }
}

/// Runs a request to its end: what the client and the server were told.
fn run(request: &Message, fates: Vec<Fate>, responses: Vec<u16>) -> [Vec<String>; 2] {
    let mut link = Link::new(fates, responses);
    link.client.send(request);
    // Each side sends some dozen messages and sets some dozen timers.
    for _ in 0..1_000 {
        if !link.step() {
            assert!(link.client.is_empty() && link.server.is_empty());
            return link.told;
        }
    }
    panic!("it does not end");
}

proptest! {
    #[test]
    fn a_refused_invite_comes_through_losses_and_repeats(fates in fates()) {
        let [client, server] = run(&request("INVITE", "z9hG4bK1"), fates, vec![180, 486]);
        prop_assert_eq!(&server, &["request INVITE", "server ended"]);
        let finals: Vec<_> = client.iter().filter(|told| *told != "response 180").collect();
        prop_assert_eq!(finals, ["response 486", "client ended"]);
    }

    #[test]
    fn another_request_comes_through_losses_and_repeats(fates in fates()) {
        let [client, server] = run(&request("OPTIONS", "z9hG4bK1"), fates, vec![200]);
        prop_assert_eq!(&server, &["request OPTIONS", "server ended"]);
        prop_assert_eq!(&client, &["response 200", "client ended"]);
    }
}
