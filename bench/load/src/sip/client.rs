//! Client transactions (RFC 3261 17.1, RFC 6026): values without clock or socket.

use std::time::{Duration, Instant};

use rsip::{Method, Request};

use crate::ids::Side;
use crate::sip::hop::Hop;
use crate::sip::timers::Timers;

/// Where a client transaction stands. For anything but an INVITE, `Calling` is RFC 3261's Trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Calling,
    Proceeding,
    /// A final answer came; repeats are absorbed (a failed INVITE's with another ACK).
    Completed,
    /// A 2xx to an INVITE came; repeats go up, where the ACK is made (RFC 6026 7.2).
    Accepted,
}

/// What a due timer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing: the timer was stale.
    Nothing,
    /// Send the request once more.
    Resend,
    /// No final answer came (timer B or F).
    TimedOut,
    /// The transaction has remembered long enough.
    Forgotten,
}

/// What to do with a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Give it to whoever sent the request.
    Deliver,
    /// A failed INVITE: acknowledge it, then deliver.
    AcknowledgeAndDeliver,
    /// A repeat of a failure: send the ACK again.
    Reacknowledge,
    /// A repeat.
    Absorb,
}

/// A request that waits for its answer.
#[derive(Debug)]
pub(crate) struct ClientTx<O> {
    pub(crate) owner: O,
    pub(crate) side: Side,
    pub(crate) destination: Hop,
    pub(crate) request: Request,
    pub(crate) wire: Vec<u8>,
    /// The ACK of a failed INVITE, once it has been made.
    pub(crate) ack: Vec<u8>,
    state: State,
    interval: Duration,
    resend_at: Option<Instant>,
    expire_at: Instant,
    timers: Timers,
}

impl<O> ClientTx<O> {
    /// A request that is being sent at `now`.
    pub(crate) fn new(
        owner: O,
        side: Side,
        destination: Hop,
        request: Request,
        timers: Timers,
        now: Instant,
    ) -> ClientTx<O> {
        let wire = request.to_string().into_bytes();
        ClientTx {
            owner,
            side,
            destination,
            request,
            wire,
            ack: Vec::new(),
            state: State::Calling,
            interval: timers.t1,
            // RFC 3261 17.1.1.2 and 17.1.2.2: timers A and E are for unreliable transports.
            resend_at: (!destination.is_reliable()).then(|| now + timers.t1),
            expire_at: now + timers.timeout(),
            timers,
        }
    }

    fn is_invite(&self) -> bool {
        self.request.method == Method::Invite
    }

    /// Whether a final answer is still awaited.
    pub(crate) fn is_pending(&self) -> bool {
        matches!(self.state, State::Calling | State::Proceeding)
    }

    /// When [`ClientTx::on_timer`] wants to be called.
    pub(crate) fn wake_at(&self) -> Instant {
        self.resend_at.map_or(self.expire_at, |resend_at| resend_at.min(self.expire_at))
    }

    /// Gives a pending INVITE until `at` for its final answer; used once it is cancelled
    /// (RFC 3261 9.1 allows 64*T1).
    pub(crate) fn expire_at(&mut self, at: Instant) {
        self.expire_at = at;
    }

    pub(crate) fn on_timer(&mut self, now: Instant) -> Due {
        if now >= self.expire_at {
            return if self.is_pending() { Due::TimedOut } else { Due::Forgotten };
        }
        match self.resend_at {
            Some(at) if now >= at => {
                self.interval = self.next_interval();
                self.resend_at = Some(now + self.interval);
                Due::Resend
            }
            Some(_) | None => Due::Nothing,
        }
    }

    /// Timer A doubles without bound (17.1.1.2); timer E up to T2, and is T2 once a provisional
    /// answer came (17.1.2.2).
    fn next_interval(&self) -> Duration {
        match (self.is_invite(), self.state) {
            (true, _) => self.interval * 2,
            (false, State::Proceeding) => self.timers.t2(),
            (false, State::Calling | State::Completed | State::Accepted) => {
                (self.interval * 2).min(self.timers.t2())
            }
        }
    }

    pub(crate) fn on_response(&mut self, code: u16, now: Instant) -> Heard {
        match self.state {
            State::Calling | State::Proceeding => self.on_awaited(code, now),
            State::Completed if self.is_invite() && code >= 300 => Heard::Reacknowledge,
            State::Completed => Heard::Absorb,
            State::Accepted if (200..300).contains(&code) => Heard::Deliver,
            State::Accepted => Heard::Absorb,
        }
    }

    fn on_awaited(&mut self, code: u16, now: Instant) -> Heard {
        if code < 200 {
            if self.is_invite() && self.state == State::Calling {
                // Timer B ends with the first provisional answer: the caller's own patience rules.
                self.resend_at = None;
                self.expire_at = now + FOREVER;
            }
            self.state = State::Proceeding;
            return Heard::Deliver;
        }
        self.resend_at = None;
        if !self.is_invite() {
            self.state = State::Completed;
            self.expire_at = now + self.timers.t4(); // K
            return Heard::Deliver;
        }
        self.expire_at = now + self.timers.timeout(); // D, M
        if code < 300 {
            self.state = State::Accepted;
            Heard::Deliver
        } else {
            self.state = State::Completed;
            Heard::AcknowledgeAndDeliver
        }
    }
}

/// Longer than any run may last.
const FOREVER: Duration = Duration::from_secs(crate::cli::DEADLINE_SECONDS_MAX * 2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::hop::Local;
    use crate::sip::message::{self, Opening};
    use crate::sipbench::Transport;

    const TIMERS: Timers = Timers { t1: Duration::from_millis(500) };

    fn transaction(method: Method, now: Instant) -> ClientTx<()> {
        connected(method, None, now)
    }

    fn connected(method: Method, connection: Option<u32>, now: Instant) -> ClientTx<()> {
        let address = "127.0.0.1:2".parse().unwrap();
        let opening = Opening {
            local: Local { address, transport: Transport::Udp },
            branch: "z9hG4bK",
            from: "<sip:a@d>",
            to: "<sip:b@d>",
            call_id: "c",
            cseq: 1,
        };
        let uri = message::uri("sip:b@d").unwrap();
        let request = message::request(method, uri, &opening, vec![], vec![]);
        ClientTx::new((), Side::Caller, Hop { address, connection }, request, TIMERS, now)
    }

    /// When an unanswered request is sent again and when it is given up, in multiples of T1.
    fn schedule(method: Method) -> (Vec<u128>, u128) {
        let start = Instant::now();
        let mut transaction = transaction(method, start);
        let mut resends = Vec::new();
        loop {
            let now = transaction.wake_at();
            let elapsed = (now - start).as_millis() / 500;
            match transaction.on_timer(now) {
                Due::Resend => resends.push(elapsed),
                Due::TimedOut => return (resends, elapsed),
                Due::Nothing | Due::Forgotten => panic!("woken for nothing"),
            }
        }
    }

    /// RFC 3261 17.1.1.2, timers A and B.
    #[test]
    fn an_unanswered_invite_is_repeated_at_doubling_times_and_given_up_at_64_t1() {
        assert_eq!(schedule(Method::Invite), (vec![1, 3, 7, 15, 31, 63], 64));
    }

    /// RFC 3261 17.1.2.2, timers E and F.
    #[test]
    fn another_unanswered_request_is_repeated_at_most_every_t2() {
        assert_eq!(schedule(Method::Bye), (vec![1, 3, 7, 15, 23, 31, 39, 47, 55, 63], 64));
    }

    /// RFC 3261 17.1.1.2, 17.1.2.2: over TCP nothing is repeated, and given up all the same.
    #[test]
    fn a_request_on_a_connection_is_not_repeated() {
        let start = Instant::now();
        for method in [Method::Invite, Method::Bye] {
            let mut transaction = connected(method, Some(0), start);
            assert_eq!(transaction.wake_at(), start + TIMERS.timeout());
            assert_eq!(transaction.on_timer(transaction.wake_at()), Due::TimedOut);
        }
    }

    /// RFC 3261 17.1.1.2.
    #[test]
    fn a_provisional_answer_stops_the_repeats_of_an_invite() {
        let start = Instant::now();
        let mut transaction = transaction(Method::Invite, start);
        assert_eq!(transaction.on_response(180, start), Heard::Deliver);
        assert_eq!(transaction.on_timer(start + TIMERS.timeout()), Due::Nothing);
        assert!(transaction.is_pending());
    }

    /// RFC 3261 17.1.1.2, state Completed.
    #[test]
    fn a_repeated_failure_is_acknowledged_again_but_delivered_once() {
        let start = Instant::now();
        let mut transaction = transaction(Method::Invite, start);
        assert_eq!(transaction.on_response(486, start), Heard::AcknowledgeAndDeliver);
        assert_eq!(transaction.on_response(486, start), Heard::Reacknowledge);
        assert_eq!(transaction.on_timer(start + TIMERS.timeout()), Due::Forgotten);
    }

    /// RFC 6026 7.2, state Accepted.
    #[test]
    fn a_repeated_2xx_is_delivered_again_for_another_ack() {
        let start = Instant::now();
        let mut transaction = transaction(Method::Invite, start);
        assert_eq!(transaction.on_response(200, start), Heard::Deliver);
        assert_eq!(transaction.on_response(200, start), Heard::Deliver);
        assert_eq!(transaction.on_response(486, start), Heard::Absorb);
    }
}
