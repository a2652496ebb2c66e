//! The state machines of RFC 3261 17 as RFC 6026 corrects them: pure, without keys, bytes or clocks.
//!
//! A machine is told what happened and answers with [`Action`]s, which the layer carries out in
//! order. Each has two timers: one that retransmits (A, E, G) and one that ends a state (B, D, F, H,
//! I, J, K, L, M).

pub(super) mod invite_client;
pub(super) mod invite_server;
pub(super) mod plain_client;
pub(super) mod plain_server;

use std::time::Duration;

use smallvec::SmallVec;

pub(super) use invite_client::InviteClient;
pub(super) use invite_server::InviteServer;
pub(super) use plain_client::PlainClient;
pub(super) use plain_server::PlainServer;

use super::{Cause, Timing};

/// The states of all four machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// INVITE client: sent, nothing heard yet.
    Calling,
    /// Other requests: sent or received, no response yet.
    Trying,
    /// A provisional response has come or gone, or an INVITE has just been received.
    Proceeding,
    /// A final response has come or gone; for INVITE, one that is not 2xx.
    Completed,
    /// INVITE server: the ACK has come, further ones are absorbed.
    Confirmed,
    /// INVITE: a 2xx has come or gone, and more may (RFC 6026).
    Accepted,
    /// Over.
    Terminated,
}

/// Which of a transaction's two timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// A, E or G.
    Retransmit,
    /// The one that ends the state.
    Deadline,
}

/// The kinds of response, as far as transactions tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// 1xx.
    Provisional,
    /// 2xx.
    Success,
    /// 300-699.
    Failure,
}

impl Class {
    /// That of a status code.
    pub(super) const fn of(status: u16) -> Class {
        match status {
            0..=199 => Class::Provisional,
            200..=299 => Class::Success,
            300.. => Class::Failure,
        }
    }
}

/// What a machine wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Client: send the request (again).
    SendRequest,
    /// Client: send the ACK for the non-2xx final response.
    SendAck,
    /// Client: send a CANCEL, in a transaction of its own.
    SendCancel,
    /// Server: send the response that came with the input and keep it.
    SendNew,
    /// Server: send the response again that was kept.
    SendLast,
    /// Hand the message that came with the input to the transaction user.
    Pass,
    /// The message that came with the input is none of this transaction's business any more.
    Stray,
    /// (Re)start a timer.
    Start(Timer, Duration),
    /// Stop a timer.
    Stop(Timer),
    /// Tell the transaction user what went wrong.
    Fail(Cause),
    /// The transaction is over.
    End,
}

/// Actions in order; no transition takes more than five.
pub(super) type Actions = SmallVec<[Action; 5]>;

/// A retransmission interval that doubles (timers A, E and G).
#[derive(Clone, Copy, Debug)]
struct Backoff(Duration);

impl Backoff {
    const fn new(timing: &Timing) -> Backoff {
        Backoff(timing.t1)
    }

    /// The interval after this one.
    fn double(&mut self) -> Duration {
        self.0 *= 2;
        self.0
    }

    /// The interval after this one, T2 at most.
    fn double_to_t2(&mut self, timing: &Timing) -> Duration {
        self.0 = (self.0 * 2).min(timing.t2);
        self.0
    }
}
