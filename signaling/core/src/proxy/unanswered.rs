//! Requests that came over a connection of this member and were given to another member, until they have their
//! final response (B5). Their sender does not repeat them (RFC 3261 17.1.2.2): where their member dies nobody but
//! this one can still have them answered.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Proxy;
use super::failures::RETRY_AFTER;
use super::farm::{FarmOutput, Relay, refused};
use super::inbound::Answer;
use super::output::Output;
use crate::farm::membership::Standing;
use crate::farm::{Errand, Identity, MemberId, Refusal, Spread, Why};
use crate::transport::{Arrival, ConnectionId};
use crate::wire::{HeaderName, Message, Method};

/// Most requests that are kept: those of a second at 30,000 a second, or so many calls that ring. At the bound the
/// oldest is let go: it goes unanswered if its member dies, and not otherwise.
const COUNT_MAX: usize = 32_768;

/// Most bytes of them: about 1 kB each.
const BYTES_MAX: usize = 32 << 20;

/// RFC 3261 17.1.1.2, 17.1.2.2 (timers B and F, 64*T1): after this the sender of a request that has had no answer
/// has given it up.
const PATIENCE: Duration = Duration::from_secs(32);

/// What rings is given up by whoever rang it after [`TIMER_C`](super::TIMER_C) without another word; what is kept
/// for several of those has ended where nobody has told.
const AGE_MAX: Duration = Duration::from_secs(600);

/// Which request: its connection, the hash of its branch, its CSeq number, and whether it is a CANCEL, which has the
/// branch of its INVITE.
type Key = (ConnectionId, u64, u32, bool);

#[derive(Debug)]
struct Waiting {
    /// Who was given it last.
    to: Identity,
    since: Instant,
    /// Its place in the order of age.
    place: u64,
    arrival: Arrival,
    bytes: Bytes,
    /// It is an INVITE and a provisional response has passed: that member had it.
    has_begun: bool,
}

/// Requests whose final response has not passed yet.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    waiting: BTreeMap<Key, Waiting>,
    by_age: BTreeMap<u64, Key>,
    last_place: u64,
    bytes: usize,
}

fn key(spread: &Spread, connection: ConnectionId, message: &Message) -> Key {
    let cseq = message.cseq();
    let is_cancel = *cseq.method == Method::Cancel;
    (connection, spread.of_exchange(message), cseq.number, is_cancel)
}

impl Unanswered {
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.by_age.is_empty() && self.bytes == 0
    }

    fn note(&mut self, now: Instant, key: Key, mut waiting: Waiting) {
        self.remove(&key);
        self.last_place += 1;
        waiting.place = self.last_place;
        self.bytes += waiting.bytes.len();
        self.by_age.insert(waiting.place, key);
        self.waiting.insert(key, waiting);
        while self.is_past_bounds(now) {
            let Some((_, oldest)) = self.by_age.first_key_value() else { break };
            self.remove(&oldest.clone());
        }
    }

    fn is_past_bounds(&self, now: Instant) -> bool {
        let oldest = self.by_age.first_key_value().and_then(|(_, key)| self.waiting.get(key));
        self.waiting.len() > COUNT_MAX
            || self.bytes > BYTES_MAX
            || oldest.is_some_and(|oldest| now.saturating_duration_since(oldest.since) > AGE_MAX)
    }

    fn remove(&mut self, key: &Key) -> Option<Waiting> {
        let waiting = self.waiting.remove(key)?;
        self.by_age.remove(&waiting.place);
        self.bytes -= waiting.bytes.len();
        Some(waiting)
    }

    fn of(&self, connection: ConnectionId) -> impl Iterator<Item = &Key> {
        let all = (connection, 0, 0, false)..=(connection, u64::MAX, u32::MAX, true);
        self.waiting.range(all).map(|(key, _)| key)
    }

    /// Nobody waits at the other end of a connection any more.
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        let keys: Vec<Key> = self.of(connection).copied().collect();
        for key in keys {
            self.remove(&key);
        }
    }

    /// The requests whose member `is_lost`, taken out, in the order in which they came.
    fn take(&mut self, is_lost: impl Fn(Identity) -> bool) -> Vec<Waiting> {
        let lost = self.waiting.iter().filter(|(_, waiting)| is_lost(waiting.to));
        let keys: Vec<Key> = lost.map(|(key, _)| *key).collect();
        let mut taken: Vec<Waiting> = keys.iter().filter_map(|key| self.remove(key)).collect();
        taken.sort_unstable_by_key(|waiting| waiting.place);
        taken
    }
}

/// The status of a response, read without the rest of it.
fn status_of(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"SIP/2.0 ")?.get(..3)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

impl Proxy {
    /// Another member is given a message.
    pub(super) fn note_relayed(
        &mut self,
        now: Instant,
        to: Identity,
        arrival: Arrival,
        message: &Message,
    ) {
        let connection = arrival.connection.filter(|id| self.is_own_connection(*id));
        let (Some(farm), Some(connection)) = (&self.farm, connection) else { return };
        if message.is_request() && *message.method() != Method::Ack {
            let bytes = message.raw().clone();
            let waiting = Waiting { to, since: now, place: 0, arrival, bytes, has_begun: false };
            self.unanswered.note(now, key(&farm.spread, connection, message), waiting);
        }
    }

    /// A request comes back from whom it was given to, or never got there; whether it had begun elsewhere.
    pub(super) fn take_back(&mut self, arrival: &Arrival, message: &Message) -> bool {
        let (Some(farm), Some(connection)) = (&self.farm, arrival.connection) else { return false };
        if self.unanswered.waiting.is_empty() || !message.is_request() {
            return false;
        }
        let waiting = self.unanswered.remove(&key(&farm.spread, connection, message));
        waiting.is_some_and(|waiting| waiting.has_begun)
    }

    /// Another member has this written to a connection of this one.
    pub fn handle_written(&mut self, connection: ConnectionId, bytes: &Bytes) {
        let Some(farm) = &self.farm else { return };
        let Some(status) = status_of(bytes) else { return };
        if self.unanswered.of(connection).next().is_none() {
            return;
        }
        let Ok(response) = Message::parse_datagram(bytes.clone()) else { return };
        let key = key(&farm.spread, connection, &response);
        if status >= 200 {
            self.unanswered.remove(&key);
        } else if *response.cseq().method == Method::Invite
            && let Some(waiting) = self.unanswered.waiting.get_mut(&key)
            && !waiting.has_begun
        {
            waiting.has_begun = true;
            // It may ring for long: nothing else that was received with it is kept for it.
            waiting.bytes = Bytes::copy_from_slice(&waiting.bytes);
        }
    }

    /// A request could not be given to its member, which has too much waiting. Over UDP its sender repeats it.
    pub fn handle_unrelayed(&mut self, now: Instant, arrival: Arrival, bytes: Bytes) {
        if !arrival.connection.is_some_and(|connection| self.is_own_connection(connection)) {
            return;
        }
        let Ok(message) = Message::parse_datagram(bytes) else { return };
        self.take_back(&arrival, &message);
        if message.is_request() && *message.method() != Method::Ack {
            let arrival = self.adopt_arrival(arrival);
            self.refuse_at_once(now, &arrival, &message, &refused(Refusal::Unreachable));
        }
    }

    /// There is a connection to a member, be it the first or one in place of another: what was on its way to it
    /// may be lost. It gets again what has no answer, and returns what it does not know.
    pub fn handle_met(&mut self, now: Instant, member: MemberId) {
        for waiting in self.unanswered.take(|to| to.member == member) {
            let Some(farm) = &self.farm else { return };
            let membership = &farm.membership;
            match membership.standing(waiting.to) {
                Standing::Reachable => self.ask_again(now, membership.now(waiting.to), waiting),
                Standing::Own | Standing::Down | Standing::Gone => self.decide_anew(now, waiting),
            }
        }
        self.events.greet(member);
        self.process_events(now);
    }

    fn ask_again(&mut self, now: Instant, to: Identity, waiting: Waiting) {
        let (Some(farm), Some(connection)) = (&self.farm, waiting.arrival.connection) else {
            return;
        };
        let Ok(message) = Message::parse_datagram(waiting.bytes.clone()) else { return };
        if is_given_up(now, waiting.since, waiting.has_begun) {
            return;
        }
        let (arrival, bytes) = (waiting.arrival, waiting.bytes.clone());
        let errand = Errand { why: Why::Asked, asked: 0 };
        let key = key(&farm.spread, connection, &message);
        self.unanswered.note(now, key, Waiting { to, ..waiting });
        let relay = FarmOutput::Relay(Relay { to, errand, arrival, bytes });
        self.outputs.push_back(Output::Farm(Box::new(relay)));
    }

    /// Members have gone: what they were given and have not answered is decided anew (B5).
    pub(super) fn answer_for_the_dead(&mut self, now: Instant) {
        let Some(farm) = self.farm.as_deref().filter(|_| !self.unanswered.waiting.is_empty())
        else {
            return;
        };
        let membership = &farm.membership;
        let is_lost = |to| matches!(membership.standing(to), Standing::Down | Standing::Gone);
        for waiting in self.unanswered.take(is_lost) {
            self.decide_anew(now, waiting);
        }
    }

    /// What its member has not been heard of goes to whoever takes it now, as its repetition would over UDP. A call
    /// that had begun cannot be begun again, as its callees would take it for another copy (RFC 3261 8.2.2.2): it is
    /// answered 500, which is this request's alone. After 503 a client would go to another address of this
    /// farm with it, and a proxy stay away from all of them for a while (RFC 3261 16.7, 21.5.4).
    fn decide_anew(&mut self, now: Instant, waiting: Waiting) {
        let Waiting { since, arrival, bytes, has_begun, .. } = waiting;
        let Ok(message) = Message::parse_datagram(bytes) else { return };
        if is_given_up(now, since, has_begun) {
            return;
        }
        if has_begun && message.to().tag().is_none() {
            self.refuse_at_once(now, &arrival, &message, &lost());
        } else {
            self.route_message(now, arrival, message, None, 0);
        }
    }
}

/// Whether the sender of a request has stopped waiting.
fn is_given_up(now: Instant, since: Instant, has_begun: bool) -> bool {
    !has_begun && now.saturating_duration_since(since) >= PATIENCE
}

/// The answer to a call that was being set up by a member that has died.
pub(super) fn lost() -> Answer {
    Answer::new(500, "Member With The Call Is Gone").with(HeaderName::RetryAfter, RETRY_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::farm::Incarnation;
    use crate::proxy::tests::tcp_arrival;

    fn note(unanswered: &mut Unanswered, now: Instant, number: u64, bytes: Bytes) {
        let connection = ConnectionId(number / 3);
        let to = Identity { member: MemberId::new(2).unwrap(), incarnation: Incarnation(1) };
        let arrival = tcp_arrival(connection);
        let waiting = Waiting { to, since: now, place: 0, arrival, bytes, has_begun: false };
        unanswered.note(now, (connection, number, 1, false), waiting);
    }

    #[expect(clippy::disallowed_methods, reason = "an Instant can only be had from the clock")]
    fn start() -> Instant {
        Instant::now()
    }

    /// At the bounds of count, bytes and age the oldest is let go.
    #[test]
    fn what_is_kept_for_the_case_of_a_death_is_bounded() {
        let now = start();
        let mut unanswered = Unanswered::default();
        for number in 0..=COUNT_MAX as u64 {
            note(&mut unanswered, now, number, Bytes::from_static(b"x"));
        }
        assert_eq!((unanswered.waiting.len(), unanswered.bytes), (COUNT_MAX, COUNT_MAX));
        assert_eq!(unanswered.of(ConnectionId(0)).count(), 2, "the oldest has gone");
        unanswered.forget(ConnectionId(0));
        assert_eq!(unanswered.waiting.len(), COUNT_MAX - 2);
        note(&mut unanswered, now, 1 << 40, Bytes::from(vec![0; BYTES_MAX]));
        assert_eq!(unanswered.waiting.len(), 1);
        let later = now + AGE_MAX + Duration::from_secs(1);
        note(&mut unanswered, later, 1 << 41, Bytes::from_static(b"x"));
        assert_eq!((unanswered.waiting.len(), unanswered.by_age.len()), (1, 1));
        assert_eq!(unanswered.bytes, 1);
        let taken = unanswered.take(|_| true);
        assert_eq!((taken.len(), unanswered.is_empty()), (1, true));
    }
}
