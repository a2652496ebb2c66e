//! Server transactions (RFC 3261 17.2, RFC 6026): values without clock or socket.
//!
//! The repeats of a 2xx to an INVITE, which RFC 3261 13.3.1.4 gives to the core, are kept here too.

use std::time::{Duration, Instant};

use crate::ids::{SessionId, Side};
use crate::sip::hop::Hop;
use crate::sip::timers::Timers;

/// Where a server transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// No final answer yet.
    Proceeding,
    /// An INVITE was accepted; the 2xx is repeated until its ACK comes.
    Accepted,
    /// A final answer went out; a failed INVITE's is repeated until its ACK comes.
    Completed,
    /// The ACK came, or none is needed: repeats of the request are absorbed.
    Confirmed,
}

/// What a due timer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing: the timer was stale.
    Nothing,
    /// Send the last response once more.
    Resend,
    /// The ACK never came (timer H).
    Unacknowledged,
    /// The transaction has remembered long enough.
    Forgotten,
}

/// A request that was received.
#[derive(Debug)]
pub(crate) struct ServerTx {
    pub(crate) side: Side,
    pub(crate) destination: Hop,
    /// The call that an INVITE belongs to.
    pub(crate) session: Option<SessionId>,
    /// The last response; empty if there was none.
    pub(crate) wire: Vec<u8>,
    invite: bool,
    state: State,
    interval: Duration,
    resend_at: Option<Instant>,
    expire_at: Instant,
    timers: Timers,
}

impl ServerTx {
    /// A request that arrived at `now`. An INVITE waits for its answer for up to `patience`.
    pub(crate) fn new(
        invite: bool,
        side: Side,
        destination: Hop,
        timers: Timers,
        (now, patience): (Instant, Duration),
    ) -> ServerTx {
        ServerTx {
            side,
            destination,
            session: None,
            wire: Vec::new(),
            invite,
            state: State::Proceeding,
            interval: timers.t1,
            resend_at: None,
            expire_at: now + patience.max(timers.timeout()),
            timers,
        }
    }

    pub(crate) const fn state(&self) -> State {
        self.state
    }

    /// When [`ServerTx::on_timer`] wants to be called.
    pub(crate) fn wake_at(&self) -> Instant {
        self.resend_at.map_or(self.expire_at, |resend_at| resend_at.min(self.expire_at))
    }

    /// Notes a response that is being sent at `now`.
    pub(crate) fn respond(&mut self, code: u16, wire: Vec<u8>, now: Instant) {
        self.wire = wire;
        if code < 200 {
            return;
        }
        self.expire_at = now + self.timers.timeout(); // H, J, L
        if !self.invite {
            self.state = State::Completed;
            return;
        }
        self.state = if code < 300 { State::Accepted } else { State::Completed };
        self.interval = self.timers.t1;
        // RFC 3261 17.2.1: timer G is for unreliable transports; 13.3.1.4: a 2xx is repeated over any.
        let repeats = code < 300 || !self.destination.is_reliable();
        self.resend_at = repeats.then(|| now + self.interval);
    }

    /// Notes that the ACK of a final answer to an INVITE came.
    pub(crate) fn acknowledged(&mut self, now: Instant) {
        if self.invite && matches!(self.state, State::Accepted | State::Completed) {
            self.state = State::Confirmed;
            self.resend_at = None;
            self.expire_at = now + self.timers.timeout();
        }
    }

    /// Whether a repeat of the request is answered with the last response.
    pub(crate) fn answers_repeat(&self) -> bool {
        match self.state {
            State::Proceeding | State::Completed => !self.wire.is_empty(),
            // RFC 6026 7.1: absorbed; the 2xx is repeated by time alone.
            State::Accepted | State::Confirmed => false,
        }
    }

    pub(crate) fn on_timer(&mut self, now: Instant) -> Due {
        if now >= self.expire_at {
            return match self.state {
                State::Accepted => Due::Unacknowledged,
                State::Completed if self.invite => Due::Unacknowledged,
                State::Proceeding | State::Completed | State::Confirmed => Due::Forgotten,
            };
        }
        match self.resend_at {
            Some(at) if now >= at => {
                self.interval = (self.interval * 2).min(self.timers.t2());
                self.resend_at = Some(now + self.interval);
                Due::Resend
            }
            Some(_) | None => Due::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMERS: Timers = Timers { t1: Duration::from_millis(500) };

    fn transaction(invite: bool, now: Instant) -> ServerTx {
        connected(invite, None, now)
    }

    fn connected(invite: bool, connection: Option<u32>, now: Instant) -> ServerTx {
        let destination = Hop { address: "127.0.0.1:2".parse().unwrap(), connection };
        ServerTx::new(invite, Side::Callee, destination, TIMERS, (now, Duration::ZERO))
    }

    /// RFC 3261 13.3.1.4 and 17.2.1 (timers G and H).
    #[test]
    fn a_final_answer_to_an_invite_is_repeated_until_64_t1_without_ack() {
        for code in [200, 486] {
            let start = Instant::now();
            let mut transaction = transaction(true, start);
            transaction.respond(code, vec![1], start);
            let mut resends = Vec::new();
            loop {
                let now = transaction.wake_at();
                match transaction.on_timer(now) {
                    Due::Resend => resends.push((now - start).as_millis() / 500),
                    Due::Unacknowledged => break,
                    Due::Nothing | Due::Forgotten => panic!("woken for nothing"),
                }
            }
            assert_eq!(resends, [1, 3, 7, 15, 23, 31, 39, 47, 55, 63]);
        }
    }

    /// RFC 3261 13.3.1.4, 17.2.1: the repeats of a 2xx are for losses behind the next hop.
    #[test]
    fn on_a_connection_only_a_2xx_is_repeated() {
        let start = Instant::now();
        for (code, due) in [(200, Due::Resend), (486, Due::Nothing)] {
            let mut transaction = connected(true, Some(0), start);
            transaction.respond(code, vec![1], start);
            assert_eq!(transaction.on_timer(start + TIMERS.t1), due, "{code}");
        }
    }

    #[test]
    fn an_ack_ends_the_repeats() {
        let start = Instant::now();
        let mut transaction = transaction(true, start);
        transaction.respond(200, vec![1], start);
        transaction.acknowledged(start);
        assert_eq!(transaction.on_timer(start + TIMERS.t2()), Due::Nothing);
        assert_eq!(transaction.on_timer(start + TIMERS.timeout()), Due::Forgotten);
    }

    /// RFC 3261 17.2.2.
    #[test]
    fn a_repeated_bye_is_answered_again_from_memory() {
        let start = Instant::now();
        let mut transaction = transaction(false, start);
        assert!(!transaction.answers_repeat());
        transaction.respond(200, vec![1], start);
        assert!(transaction.answers_repeat());
        assert_eq!(transaction.on_timer(start + TIMERS.timeout()), Due::Forgotten);
    }
}
