//! The transaction layer (RFC 3261 17, RFC 6026) as one value without I/O.
//!
//! [`Transactions`] takes parsed messages and the time, absorbs retransmissions, retransmits, and
//! turns the rest into [`Event`]s for the transaction user (TU). It answers nothing by itself but for
//! one thing: a new request that its table has no place for (see [`Event::Refused`]). Nothing that
//! fits no transaction is dropped: it is handed on as [`Event::Ack`], [`Event::StrayResponse`] or an
//! [`Event::Cancel`] without an INVITE.
//!
//! After any `handle_*` or mutator, take [`Transactions::poll_transmit`] and
//! [`Transactions::poll_event`] until they are empty: one input puts few things there,
//! [`Transactions::handle_timeout`] at most four a transaction that was due.

pub(crate) mod arrival;
mod build;
mod client;
pub(crate) mod hash;
mod index;
mod layer;
mod machine;
mod peers;
mod server;
mod shared;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use layer::Transactions;
pub use machine::State;

use crate::table::Key;
use crate::transport::Arrival;
use crate::wire::Message;

/// A server transaction: a request that was received. Names nothing after its
/// [`Event::ServerEnded`], and never a later transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServerTx(Key);

/// A client transaction: a request that was sent. Names nothing after its [`Event::ClientEnded`],
/// and never a later transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientTx(Key);

/// What went wrong with a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The other side did not answer in time (timers B, F, H), or this side did not.
    Timeout,
    /// The transport could not deliver a message.
    Transport,
}

/// What the transaction user is told.
#[derive(Clone, Debug)]
pub enum Event {
    /// A new request; answer it with [`Transactions::respond`]. An INVITE that will not be answered
    /// within 200 ms is to be answered 100 at once (RFC 3261 17.2.1). Another request that is not
    /// answered within 64*T1 ends as [`Event::ServerFailed`], silently (RFC 4320).
    Request {
        /// Its transaction.
        tx: ServerTx,
        /// Where it came from.
        arrival: Arrival,
        /// The request, with `received` and `rport` put into its top Via where they are due
        /// (RFC 3261 18.2.1, RFC 3581 4).
        request: Message,
        /// A request with the same From tag, Call-ID and CSeq is in another transaction, and this
        /// one has no To tag: a user agent answers it 482 (RFC 3261 8.2.2.2); for a proxy it may be
        /// a spiral.
        merged: bool,
    },
    /// A CANCEL, in a transaction of its own: answer it 200, or 481 if there is no `invite`, and
    /// answer the INVITE 487 if it has no final response (RFC 3261 9.2).
    Cancel {
        /// The CANCEL's own transaction.
        cancel: ServerTx,
        /// The INVITE that it is for.
        invite: Option<ServerTx>,
        /// Where it came from.
        arrival: Arrival,
        /// The CANCEL, its top Via as in [`Event::Request`].
        request: Message,
    },
    /// An ACK that is not for a non-2xx response of ours: for a 2xx, or for nothing that we know.
    Ack {
        /// Where it came from.
        arrival: Arrival,
        /// The ACK, its top Via as in [`Event::Request`].
        request: Message,
    },
    /// A new request found the table full. It has been answered 503 with Retry-After, statelessly; of
    /// very many a second only some are answered.
    Refused {
        /// Where it came from.
        arrival: Arrival,
        /// The request, as it came.
        request: Message,
    },
    /// A response: each provisional one, the final one once, and for INVITE every 2xx that comes
    /// within 64*T1 of the first.
    Response {
        /// The request's transaction.
        tx: ClientTx,
        /// Where it came from.
        arrival: Arrival,
        /// The response.
        response: Message,
    },
    /// A response that fits no transaction, or that came after the transaction was answered.
    StrayResponse {
        /// Where it came from.
        arrival: Arrival,
        /// The response.
        response: Message,
    },
    /// There will be no response. [`Event::ClientEnded`] follows.
    ClientFailed {
        /// The transaction.
        tx: ClientTx,
        /// Why.
        cause: Cause,
    },
    /// A response was not sent, not acknowledged or not given in time. For an INVITE the
    /// transaction may go on after [`Cause::Transport`] (RFC 6026 7.1); [`Event::ServerEnded`] says
    /// when it does not.
    ServerFailed {
        /// The transaction.
        tx: ServerTx,
        /// Why.
        cause: Cause,
    },
    /// The transaction is over; comes once for each [`ClientTx`].
    ClientEnded {
        /// The transaction.
        tx: ClientTx,
    },
    /// The transaction is over; comes once for each [`ServerTx`].
    ServerEnded {
        /// The transaction.
        tx: ServerTx,
    },
}

/// The times of RFC 3261 17.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Estimate of the round-trip time: 500 ms.
    pub t1: Duration,
    /// Longest interval of retransmissions but those of an INVITE: 4 s. Less than T1 is taken
    /// as T1.
    pub t2: Duration,
    /// How long a message stays in the network: 5 s.
    pub t4: Duration,
    /// How long an INVITE transaction may stay without anybody's doing anything about it. RFC 3261
    /// leaves that to the TU (timer C, 3 minutes and more); this is the bound for a TU that fails
    /// to: 15 minutes.
    pub proceeding_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            proceeding_max: Duration::from_secs(15 * 60),
        }
    }
}

impl Timing {
    /// 64*T1: how long one side waits for the other.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.t1 * 64
    }
}

/// Bounds and times of the transaction layer.
#[derive(Clone, Debug)]
pub struct Config {
    /// Most server transactions. At the bound new requests are refused, see [`Event::Refused`].
    pub servers_max: usize,
    /// Most client transactions. At the bound [`Transactions::send`] fails.
    pub clients_max: usize,
    /// What Retry-After says in the 503 to a request that was refused; whole seconds.
    pub retry_after: Duration,
    /// Times.
    pub timing: Timing,
    /// Makes the hashes of keys unpredictable; random.
    pub seed: [u8; 32],
}

impl Config {
    /// 262,144 transactions of either kind: each stays for 32 s after its answer over UDP, so that is
    /// some 8,000 new requests a second. With the message that it keeps each takes some 1.5 KiB,
    /// hence 768 MiB when both tables are full.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Config {
            servers_max: 1 << 18,
            clients_max: 1 << 18,
            retry_after: Duration::from_secs(5),
            timing: Timing::default(),
            seed,
        }
    }
}

/// As many client transactions are going on as the table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all {limit} client transactions are in use")]
pub struct TableFull {
    /// How many that is.
    pub limit: usize,
}

/// What the layer has seen since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// New requests that were given a transaction.
    pub requests: u64,
    /// New requests that were answered 503 for want of a place.
    pub refused: u64,
    /// Messages that a transaction had seen before, or that were for the layer alone.
    pub absorbed: u64,
    /// Messages sent again.
    pub retransmitted: u64,
    /// Responses and ACKs that fitted no transaction.
    pub unmatched: u64,
    /// Transactions that ended by [`Cause::Timeout`].
    pub timeouts: u64,
    /// Transactions that met [`Cause::Transport`].
    pub transport_errors: u64,
}
