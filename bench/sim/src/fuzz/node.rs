//! A whole member, with proxy, registrar and relay: messages, time, connections that close.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use signaling_core::transport::{Arrival, ConnectionId, Transport};
use signaling_core::wire::{Message, is_keep_alive};

use crate::node::{Effect, Node, TCP, UDP};
use crate::scenario::{SIP_PORT, Scenario};
use crate::{NodeId, Profile, Settings};

/// Steps of one input; the rest is left.
const STEPS_MAX: usize = 32;

/// What one step may send: a request to ten contacts, with provisional answers, and then some.
const SENT_MAX: usize = 200;

/// Timers that are served in one step.
const WAKES_MAX: usize = 200;

/// What a step may leave behind in any table.
const HELD_EACH_MAX: usize = 64;

/// Divides the steps. The first byte of each says what it is: `U` and `T` a message over UDP and TCP,
/// `C` the connection closes, `E` what went to the peer did not arrive, any other: time passes.
const DIVIDER: &[u8] = b"\n%%";

/// The member, an open domain, does as the steps say: it sends what parses (to what parses), sends a bounded number of
/// messages for each, and what it holds is bounded.
pub(super) fn node(input: &[u8]) {
    let scenario = Scenario { devices: Vec::new(), users: Vec::new(), calls: Vec::new() };
    let settings = Settings::new(Profile::Calm, 1, 0);
    let mut now = Instant::now();
    let rng = ChaCha8Rng::seed_from_u64(1);
    let mut node = Node::new(NodeId(0), now, &settings, &scenario, rng);
    let mut steps = 0;
    // The answer to what does not parse repeats headers of it, which may not parse either.
    let mut sound = true;
    for step in split(input).into_iter().take(STEPS_MAX) {
        let Some((&kind, rest)) = step.split_first() else { continue };
        let bytes = || Bytes::copy_from_slice(rest);
        let udp = arrival(&node, kind);
        let effects = match kind {
            b'U' | b'T' if is_keep_alive(rest) => Vec::new(),
            b'U' | b'T' => node.handle_message(now, udp, bytes()),
            b'C' => node.handle_closed(now, ConnectionId(1)),
            b'E' => node.handle_transport_error(now, &udp.reply()),
            _ => {
                now += Duration::from_secs(u64::from(kind));
                node.handle_wake(now)
            }
        };
        steps += 1;
        sound &= !matches!(kind, b'U' | b'T') || Message::parse_datagram(bytes()).is_ok();
        settle(&mut node, now, effects, sound);
        let held = node.holdings(now);
        let held = [held.signaling, held.transactions, held.sessions, held.slots];
        assert!(held.iter().all(|&held| held <= HELD_EACH_MAX * steps), "{held:?}");
    }
}

pub(super) fn split(input: &[u8]) -> Vec<&[u8]> {
    let mut steps = Vec::new();
    let mut from = 0;
    for at in 0..input.len() {
        if input[at..].starts_with(DIVIDER) && at >= from {
            steps.push(&input[from..at]);
            from = at + DIVIDER.len();
        }
    }
    steps.push(&input[from..]);
    steps
}

fn arrival(node: &Node, kind: u8) -> Arrival {
    let (transport, listener, connection) = match kind {
        b'T' => (Transport::Tcp, TCP, Some(ConnectionId(1))),
        _ => (Transport::Udp, UDP, None),
    };
    let remote = SocketAddr::from(([198, 18, 0, 1], 5060));
    Arrival { transport, listener, local: SocketAddr::new(node.ip, SIP_PORT), remote, connection }
}

/// Carries on until nothing is due.
fn settle(node: &mut Node, now: Instant, mut effects: Vec<Effect>, sound: bool) {
    let (mut sent, mut wakes) = (0, 0);
    while let Some(effect) = effects.pop() {
        match effect {
            Effect::Sip(transmit) => {
                sent += 1;
                let parsed = Message::parse_datagram(transmit.bytes.clone());
                let text = String::from_utf8_lossy(&transmit.bytes);
                assert!(parsed.is_ok() || !sound, "{:?}: {text}", parsed.err());
            }
            // The threads of a node are as fast as can be here.
            Effect::Work(_) => effects.extend(node.handle_work(now)),
            Effect::Wake(at) if at <= now && wakes < WAKES_MAX => {
                wakes += 1;
                effects.extend(node.handle_wake(now));
            }
            Effect::Wrong(wrong) => panic!("{wrong}"),
            Effect::Wake(_) | Effect::Media { .. } | Effect::Record(_) | Effect::Notice(_) => {}
        }
    }
    assert!(sent <= SENT_MAX, "{sent} messages for one");
}
