//! The layer as its user sees it.

use std::time::Instant;

use bytes::Bytes;

use super::client::Clients;
use super::machine::State;
use super::peers::Peer;
use super::server::Servers;
use super::shared::{Shared, Tx};
use super::{ClientTx, Config, Counters, Event, ServerTx, TableFull};
use crate::overload::Admission;
use crate::transport::{Arrival, ConnectionId, Target, Transmit};
use crate::wire::{Message, Reply};

/// All transactions of a node.
///
/// Getters: [`clients`](Self::clients), [`servers`](Self::servers),
/// [`client_state`](Self::client_state), [`server_state`](Self::server_state),
/// [`counters`](Self::counters). Inputs: `handle_*`. Mutators: [`respond`](Self::respond),
/// [`respond_once`](Self::respond_once), [`send`](Self::send), [`cancel`](Self::cancel), [`transmit`](Self::transmit). Outputs: `poll_*`.
#[derive(Debug)]
pub struct Transactions {
    clients: Clients,
    servers: Servers,
    shared: Shared,
}

impl Transactions {
    /// No transactions yet. `now` is the present or any earlier instant.
    #[must_use]
    pub fn new(now: Instant, config: Config) -> Self {
        Transactions {
            clients: Clients::new(config.clients_max),
            servers: Servers::new(&config),
            shared: Shared::new(now, &config),
        }
    }

    /// How many client transactions there are, those of our CANCELs included.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// How many server transactions there are.
    #[must_use]
    pub fn servers(&self) -> usize {
        self.servers.len()
    }

    /// How many server transactions there may be.
    #[must_use]
    pub const fn servers_max(&self) -> usize {
        self.servers.limit()
    }

    /// The state of a client transaction; `None` once it is over.
    #[must_use]
    pub fn client_state(&self, tx: ClientTx) -> Option<State> {
        self.clients.state(tx)
    }

    /// The state of a server transaction; `None` once it is over.
    #[must_use]
    pub fn server_state(&self, tx: ServerTx) -> Option<State> {
        self.servers.state(tx)
    }

    /// What has been seen so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.shared.counters
    }

    /// Entries of every index, which must go with their transactions.
    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        self.clients.entries() + self.servers.entries() + self.shared.peers.len()
    }

    /// A message has been received.
    pub fn handle_message(&mut self, now: Instant, arrival: Arrival, message: Message) {
        self.handle_message_if(now, arrival, message, |_, _| Admission::Take);
    }

    /// As [`Transactions::handle_message`], but `admit` decides whether a request that would begin a
    /// transaction is taken. It is given the request, as it came, and the hash of its transaction,
    /// which is unpredictable and the same for each repetition.
    pub fn handle_message_if(
        &mut self,
        now: Instant,
        arrival: Arrival,
        message: Message,
        admit: impl FnOnce(&Message, u64) -> Admission,
    ) {
        if message.is_request() {
            self.servers.handle_request(&mut self.shared, now, arrival, message, admit);
        } else {
            self.clients.handle_response(&mut self.shared, now, arrival, message);
        }
    }

    /// Whether a request comes again, or is the ACK or CANCEL of one that there is a transaction of.
    pub fn knows(&mut self, request: &Message) -> bool {
        self.servers.knows(&mut self.shared, request)
    }

    /// Something is due, see [`Transactions::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(due) = self.shared.wheel.pop_expired(now) {
            match due.tx {
                Tx::Client(tx) => self.clients.handle_timer(&mut self.shared, now, tx, due.timer),
                Tx::Server(tx) => self.servers.handle_timer(&mut self.shared, now, tx, due.timer),
            }
        }
    }

    /// A message could not be delivered to `target`, which is that of the [`Transmit`]: every
    /// transaction with this peer is told (RFC 3261 18.4, 17.1.4, 17.2.4).
    pub fn handle_transport_error(&mut self, now: Instant, target: &Target) {
        for tx in self.shared.peers.of(Peer::from(target)) {
            match tx {
                Tx::Client(tx) => self.clients.handle_transport_error(&mut self.shared, now, tx),
                Tx::Server(tx) => self.servers.handle_transport_error(&mut self.shared, now, tx),
            }
        }
    }

    /// This message could not be sent to `target`, where others go as well that are none the worse for it. What
    /// cannot be told apart from them, a response, fails with them.
    pub fn handle_unsent(&mut self, now: Instant, target: &Target, bytes: &[u8]) {
        if bytes.starts_with(b"SIP/2.0 ") {
            return self.handle_transport_error(now, target);
        }
        for tx in self.shared.peers.of(Peer::from(target)) {
            match tx {
                Tx::Client(tx) if self.clients.has_sent(tx, bytes) => {
                    self.clients.handle_transport_error(&mut self.shared, now, tx);
                }
                Tx::Client(_) | Tx::Server(_) => {}
            }
        }
    }

    /// A connection has closed. What was sent on it may be lost, so its client transactions fail;
    /// responses to what came on it can still go on another connection (RFC 3261 18.2.2).
    pub fn handle_connection_closed(&mut self, now: Instant, connection: ConnectionId) {
        for tx in self.shared.peers.of(Peer::Connection(connection)) {
            match tx {
                Tx::Client(tx) => self.clients.handle_transport_error(&mut self.shared, now, tx),
                Tx::Server(_) => {}
            }
        }
    }

    /// Sends a response to a request. A 2xx to an INVITE may be followed by more of them for 64*T1
    /// (RFC 6026 7.1): the UAS retransmits it, and a fork may bring another. What the state does not
    /// allow, for example a second final response, is not sent.
    ///
    /// `false` if the transaction is over; nothing is sent then.
    pub fn respond(&mut self, now: Instant, tx: ServerTx, response: impl Into<Reply>) -> bool {
        self.servers.respond(&mut self.shared, now, tx, response.into())
    }

    /// As [`Transactions::respond`], but over an unreliable transport the response does not go out again by
    /// itself, provided that nothing has been sent before: the client then repeats its request, and each time
    /// gets the response (RFC 3261 26.3.2.4, for what is answered to those whose address may be forged).
    pub fn respond_once(&mut self, now: Instant, tx: ServerTx, response: impl Into<Reply>) -> bool {
        self.servers.respond_once(&mut self.shared, now, tx, response.into())
    }

    /// What makes a To tag that is the same for each repetition of the request, even if nothing is kept of it
    /// (RFC 3261 8.2.7); `None` once the transaction is over.
    #[must_use]
    pub fn tag(&self, tx: ServerTx) -> Option<u64> {
        self.servers.tag(tx)
    }

    /// Sends a final response, if there is one, and forgets the request: nothing of it is kept, and a
    /// repetition is taken for a new request (RFC 3261 26.3.2.4). Where something has been sent before,
    /// as [`Transactions::respond_once`].
    pub fn respond_and_forget(&mut self, now: Instant, tx: ServerTx, response: Option<Reply>) {
        self.servers.respond_and_forget(&mut self.shared, now, tx, response);
    }

    /// Sends a request in a transaction of its own. Its top Via is ours, with a branch that was never
    /// used before. An ACK has no transaction: it goes through [`Transactions::transmit`].
    ///
    /// # Errors
    /// [`TableFull`]; nothing is sent then.
    pub fn send(
        &mut self,
        now: Instant,
        request: Message,
        target: Target,
    ) -> Result<ClientTx, TableFull> {
        self.clients.send(&mut self.shared, now, &request, target)
    }

    /// Cancels an INVITE (RFC 3261 9.1): the CANCEL goes out as soon as there is a provisional
    /// response; once there is a final one nothing happens. Without a final response within 64*T1 of
    /// the CANCEL the INVITE ends as [`Event::ClientFailed`]. `reason` is the value of the CANCEL's
    /// Reason header field (RFC 3326), for example `SIP;cause=200;text="Call completed elsewhere"`.
    pub fn cancel(&mut self, now: Instant, tx: ClientTx, reason: Option<&str>) {
        self.clients.cancel(&mut self.shared, now, tx, reason);
    }

    /// Sends a message outside of any transaction: an ACK for a 2xx, a response that fits none.
    pub fn transmit(&mut self, target: Target, bytes: Bytes) {
        self.shared.transmit(target, bytes);
    }

    /// When [`Transactions::handle_timeout`] is due next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.shared.wheel.next_deadline()
    }

    /// The next message to put on the wire.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.shared.transmits.pop_front()
    }

    /// The next thing to tell the transaction user.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.shared.events.pop_front()
    }
}
