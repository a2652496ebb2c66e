//! What comes from other members, from the engine, and with owner tokens.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use control_core::cluster::membership::EngineLink;
use control_core::cluster::{Document as _, Key, MemberName, Revision, View};
use control_core::mesh::JoinToken;
use signaling_core::farm::{Errand, Identity, Incarnation, MemberId, Owner, Tokens, Why};
use signaling_core::proxy::farm::FarmOutput;
use signaling_core::proxy::output::Output;
use signaling_core::registrar::Replica;
use signaling_core::transport::{Arrival, ConnectionId, Transport};
use signaling_core::wire::Message;

use super::node::split;
use crate::farm::Lone;

/// Steps of one input; the rest is left.
const STEPS_MAX: usize = 24;

/// What one step may have sent: a request to ten contacts, with provisional answers, and then some.
const SENT_MAX: usize = 200;

/// Timers that are served in one step.
const WAKES_MAX: usize = 200;

const OTHER: Identity = identity(2);

const fn identity(member: u16) -> Identity {
    Identity { member: MemberId::new(member).expect("not 0"), incarnation: Incarnation(1) }
}

/// The second member of three, as the steps say: `U` a datagram; `R` and the number of a reason, a message that
/// another member relays; `P` registrations of another member; any other: time passes.
///
/// Whatever comes, a relayed message is not relayed again (B2), and what is sent parses if what came did.
pub(super) fn member(input: &[u8]) {
    let mut now = Instant::now();
    let Lone { mut proxy, .. } = Lone::new(now);
    let mut sound = true;
    for step in split(input).into_iter().take(STEPS_MAX) {
        let Some((&kind, rest)) = step.split_first() else { continue };
        let mut errand = None;
        match (kind, rest.split_first()) {
            (b'U', _) => {
                sound &= is_sound(rest);
                proxy.handle_message(now, arrival(None), Bytes::copy_from_slice(rest));
            }
            (b'R', Some((&why, rest))) => {
                sound &= is_sound(rest);
                let why = Why::from_number(why.wrapping_sub(b'0'));
                errand = Some(Errand { why, asked: 0 });
                let connection = rest.len().is_multiple_of(2).then_some(ConnectionId(7));
                let bytes = Bytes::copy_from_slice(rest);
                proxy.handle_relayed(
                    now,
                    OTHER,
                    Errand { why, asked: 0 },
                    arrival(connection),
                    bytes,
                );
            }
            (b'P', _) => {
                replicas(rest);
                proxy.handle_replicated(now, rest);
            }
            _ => {
                now += Duration::from_secs(u64::from(kind));
                proxy.handle_timeout(now);
            }
        }
        let mut wakes = 0;
        while wakes < WAKES_MAX && proxy.poll_timeout().is_some_and(|at| at <= now) {
            proxy.handle_timeout(now);
            wakes += 1;
        }
        let outputs = std::iter::from_fn(|| proxy.poll_output());
        let mut sent = 0;
        for output in outputs {
            sent += 1;
            judge(&output, errand, sound);
        }
        assert!(sent <= SENT_MAX, "{sent} messages for one");
    }
}

fn is_sound(bytes: &[u8]) -> bool {
    Message::parse_datagram(Bytes::copy_from_slice(bytes)).is_ok()
}

fn judge(output: &Output, errand: Option<Errand>, sound: bool) {
    let parses = |bytes: &Bytes| {
        let parsed = Message::parse_datagram(bytes.clone());
        assert!(parsed.is_ok() || !sound, "{:?}: {}", parsed.err(), String::from_utf8_lossy(bytes));
    };
    match output {
        Output::Transmit(transmit) => parses(&transmit.bytes),
        Output::Farm(farm) => match (&**farm, errand.map(|errand| errand.why)) {
            (FarmOutput::SendOut { transmit, .. }, _) => parses(&transmit.bytes),
            (FarmOutput::Replicate(bytes), _) => replicas(bytes),
            (FarmOutput::Relay(relay), Some(Why::Asked)) => {
                assert_eq!((relay.to, relay.errand.why), (OTHER, Why::Returned));
            }
            (FarmOutput::Relay(_), None | Some(Why::Returned)) => {}
            (FarmOutput::Ask { .. } | FarmOutput::Calls { .. }, _) => {}
            (FarmOutput::Relay(_), Some(why)) => panic!("relayed again what came as {why:?}"),
        },
        Output::Media(_)
        | Output::Alias { .. }
        | Output::Resolve(_)
        | Output::Close(_)
        | Output::Record(_)
        | Output::Notice(_) => {}
    }
}

fn arrival(connection: Option<ConnectionId>) -> Arrival {
    let transport = if connection.is_some() { Transport::Tcp } else { Transport::Udp };
    let local = crate::farm::SHARED;
    let remote = SocketAddr::from(([198, 51, 100, 1], 5060));
    Arrival { transport, listener: crate::node::UDP, local, remote, connection }
}

/// What is read is written as it was.
fn replicas(bytes: &[u8]) {
    let mut rest = bytes;
    loop {
        let before = rest;
        let Some(replica) = Replica::read(&mut rest) else { return };
        let mut written = Vec::new();
        replica.write(&mut written);
        let mut again = written.as_slice();
        assert_eq!(Replica::read(&mut again), Some(replica));
        assert_eq!(written.len(), before.len() - rest.len());
    }
}

/// A membership whose engine holds what the steps say: a key, a line's end, a document. `V` before a document that
/// is a view: the member `m0` has sent it.
///
/// Whatever is there, the membership does a bounded number of things, and goes by a view that is sound.
pub(super) fn membership(input: &[u8]) {
    let mut now = Instant::now();
    let Lone { mut membership, .. } = Lone::new(now);
    membership.handle_engine(EngineLink::Back, now);
    let sender = MemberName::new("m0").expect("a name");
    for (number, step) in split(input).into_iter().take(STEPS_MAX).enumerate() {
        let line = step.iter().position(|&byte| byte == b'\n').unwrap_or(step.len());
        let (key, document) = step.split_at(line);
        let document = document.get(1..).unwrap_or_default();
        let key = std::str::from_utf8(key).unwrap_or_default();
        let revision = Revision(number as u64 + 1);
        if let Some(key) = Key::parse(key) {
            assert_eq!(Key::parse(&key.to_string()), Some(key.clone()));
            membership.handle_value(&key, revision, Some(document), now);
        } else if let ("V", Ok(view)) = (key, View::from_bytes(document)) {
            assert_eq!(View::from_bytes(&view.to_bytes()), Ok(view.clone()));
            let _ = membership.handle_view(&sender, view, now);
        } else {
            now += Duration::from_secs(key.len() as u64);
            membership.handle_timeout(now);
        }
        let outputs = std::iter::from_fn(|| membership.poll_output()).take(SENT_MAX).count();
        assert!(outputs < SENT_MAX, "{outputs} things to do for one");
        assert!(membership.view().is_none_or(|view| view.is_sound()));
        let _ = membership.members(now).count();
    }
}

/// The first line is a Call-ID, the others are texts that might be tokens. What is read as one is one that
/// a member has made for that place and Call-ID, whatever its case (B1).
pub(super) fn token(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let tokens = Tokens::new(&crate::farm::first_secrets());
    let mut lines = text.lines();
    let call_id = lines.next().unwrap_or_default();
    for line in lines {
        for purpose in signaling_core::farm::Purpose::ALL {
            let Some(owner) = tokens.read(purpose, line, call_id) else { continue };
            let Owner { identity, local } = owner;
            let made = tokens.issue(purpose, &Owner { identity, local }, call_id);
            assert!(made.as_str().eq_ignore_ascii_case(line), "{line} was never made");
        }
        if let Ok(token) = JoinToken::parse(line) {
            assert_eq!(JoinToken::parse(&token.to_string()), Ok(token));
        }
    }
}
