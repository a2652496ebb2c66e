//! The stateful proxy core (RFC 3261 16) with registrar and Media Proxy, as one value without I/O.
//!
//! Inputs are the `handle_*` methods, outputs come from [`Proxy::poll_output`]; after any input, take
//! outputs until there is none. [`Proxy::poll_timeout`] says when [`Proxy::handle_timeout`] is due.
//!
//! A request with a description (SDP) waits until the relay has opened its ports, and so does a
//! response: a port is promised only once it receives.

mod ack;
mod addresses;
mod authorise;
mod bye;
mod cancel;
pub mod config;
mod context;
mod early;
mod end;
mod events;
mod failures;
pub mod farm;
mod flow_token;
mod flows;
mod forward;
mod guarding;
mod held;
mod identity;
mod in_call;
mod inbound;
mod large;
mod marks;
mod media;
mod moved;
mod orphan;
pub mod output;
mod redirect;
mod register;
mod relay;
mod responses;
mod routing;
mod send_out;
mod shedding;
#[cfg(test)]
mod tests;
mod timers;
mod trial;
mod unanswered;
mod way;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use relay_core::api::SessionId;

use crate::auth::Authenticator;
use crate::call::{Call, Owner, SessionIds};
use crate::events::Events;
use crate::farm::Farm;
use crate::guard::Guard;
use crate::names::Names;
use crate::overload::Overload;
use crate::registrar::Registrar;
use crate::resolve::{Offered, Resting};
use crate::table::{Key, Table};
use crate::timer::Wheel;
use crate::transaction::hash::Plain;
use crate::transaction::{ClientTx, Event, ServerTx, Transactions};
use crate::transport::{Arrival, ConnectionId, Target, Transmit};
use crate::wire::Message;

use addresses::Addresses;
pub use addresses::LocalAddresses;
use bye::{Asker, Ended};
use config::{Config, MediaAddresses};
use context::Context;
use flow_token::FlowTokens;
use moved::Closed;
use output::{Notice, Output};
use timers::Timer;
use way::Waiter;

/// Timers of calls, branches and requests that wait: one a branch, a context, a call and such a request at most.
const fn timers_max(limits: &config::Limits) -> usize {
    limits.contexts * (limits.branches + 1) + limits.calls + held::HELD_MAX
}

/// The proxy core of one node.
pub struct Proxy {
    config: Config,
    addresses: Addresses,
    media_addresses: Box<dyn MediaAddresses>,
    transactions: Transactions,
    registrar: Registrar,
    authenticator: Authenticator,
    flow_tokens: FlowTokens,
    closed: Closed,
    calls: Table<Call>,
    contexts: Table<Context>,
    by_server: HashMap<ServerTx, Key, Plain>,
    by_client: HashMap<ClientTx, Asker, Plain>,
    /// How many BYEs of this node's own have no answer yet.
    byes: usize,
    ended: Ended,
    by_session: HashMap<SessionId, relay::Place>,
    /// How many messages wait in `by_session`.
    media_requests: usize,
    timers: Wheel<Timer>,
    /// What this node can open a way with.
    offered: Arc<Offered>,
    /// Look-ups that are going on, and what waits for them.
    lookups: HashMap<u64, Waiter>,
    /// Requests that wait for what another member knows.
    held: HashMap<u64, held::Held>,
    resting: Resting,
    names: Names,
    guard: Guard,
    events: Events,
    /// Notifications that went over TCP for their size alone, and the way that they had before.
    large_notifies: HashMap<ClientTx, Box<(events::Outgoing, Target)>>,
    /// RFC 3261 19.3: whoever has seen tags and branches of this node must not be able to tell the next
    /// ones, by which responses and requests are believed.
    rng: ChaCha8Rng,
    overload: Overload,
    /// Of a node that is a member of a farm.
    farm: Option<Box<Farm>>,
    /// What other members were given and have not answered.
    unanswered: unanswered::Unanswered,
    sessions: SessionIds,
    last_token: u64,
    /// The node stops: nothing new is taken.
    stopping: bool,
    /// The node takes nothing new, and goes on with what it has.
    draining: bool,
    outputs: VecDeque<Output>,
}

/// What the proxy core is made of besides its settings.
pub struct Parts {
    /// Transaction layer.
    pub transactions: Transactions,
    /// Location service and users.
    pub registrar: Registrar,
    /// Digest authentication.
    pub authenticator: Authenticator,
    /// The host's routing table.
    pub local: Box<dyn LocalAddresses>,
    /// The addresses of media.
    pub media: Box<dyn MediaAddresses>,
    /// What flow tokens are sealed with; good for other purposes as well. With that of an earlier run of
    /// the process, tokens of that time are still known for what they are.
    pub secret: [u8; 32],
    /// Seeds tags and branches; another one with each run of the process.
    pub seed: [u8; 32],
}

fn offered(config: &Config) -> Arc<Offered> {
    let mut offered = Offered::default();
    for listener in &config.listeners {
        offered.add(listener.transport, listener.bound.ip());
    }
    Arc::new(offered)
}

/// How busy the proxy core is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Calls, ringing or answered, or waiting for their media report.
    pub calls: usize,
    /// Requests being proxied.
    pub contexts: usize,
    /// Relay sessions.
    pub sessions: usize,
    /// Transactions, server and client.
    pub transactions: usize,
    /// Messages that wait for the relay's answer.
    pub media_requests: usize,
    /// BYEs of the node's own that have no answer yet.
    pub byes: usize,
}

impl Proxy {
    /// A proxy core at `now` (the wheel's epoch).
    #[must_use]
    pub fn new(now: Instant, config: Config, parts: Parts) -> Self {
        let limits = config.limits;
        let mut rng = ChaCha8Rng::from_seed(parts.seed);
        let mut secret = [0; 32];
        rng.fill_bytes(&mut secret);
        let life = rng.next_u32().to_be_bytes();
        let mut events_seed = [0; 32];
        rng.fill_bytes(&mut events_seed);
        let mut registrar = parts.registrar;
        registrar.tell_changes(!config.events.packages.is_empty());
        Proxy {
            large_notifies: HashMap::new(),
            events: Events::new(now, config.events.clone(), events_seed),
            guard: Guard::new(now, config.guard.clone(), secret),
            overload: Overload::new(now, config.overload.clone()),
            addresses: Addresses::new(parts.local, &config),
            media_addresses: parts.media,
            transactions: parts.transactions,
            registrar,
            authenticator: parts.authenticator,
            flow_tokens: FlowTokens::new(&parts.secret, life),
            closed: Closed::default(),
            calls: Table::new(limits.calls),
            contexts: Table::new(limits.contexts),
            by_server: HashMap::default(),
            by_client: HashMap::default(),
            byes: 0,
            ended: Ended::default(),
            by_session: HashMap::new(),
            media_requests: 0,
            timers: Wheel::new(now, timers_max(&limits)),
            offered: offered(&config),
            lookups: HashMap::new(),
            held: HashMap::new(),
            resting: Resting::default(),
            names: Names::default(),
            rng,
            farm: None,
            unanswered: unanswered::Unanswered::default(),
            sessions: SessionIds::new(Owner::Proxy),
            last_token: 0,
            stopping: false,
            draining: false,
            outputs: VecDeque::new(),
            config,
        }
    }

    /// A datagram or a framed message from a stream.
    pub fn handle_message(&mut self, now: Instant, arrival: Arrival, bytes: Bytes) {
        if !self.guard.admit(now, arrival.remote.ip()) {
            return self.turn_away(&arrival);
        }
        self.addresses.note(arrival.local.ip());
        let length = bytes.len();
        match Message::parse_datagram(bytes) {
            Ok(message) if self.is_unwanted(now, &arrival, &message) => {}
            Ok(message) => self.take_message(now, arrival, message),
            Err(malformed) => self.refuse_malformed(now, &arrival, &malformed, length),
        }
        self.process_events(now);
    }

    /// The host has these addresses now, and no others (S50).
    pub fn set_host_addresses(&mut self, addresses: &[IpAddr]) {
        self.addresses.set_host(&self.config, addresses);
    }

    /// A message could not be delivered.
    pub fn handle_transport_error(&mut self, now: Instant, target: &Target) {
        self.transactions.handle_transport_error(now, target);
        self.process_events(now);
    }

    /// This message could not be sent to `target`; nothing is known of others.
    pub fn handle_unsent(&mut self, now: Instant, target: &Target, bytes: &[u8]) {
        self.transactions.handle_unsent(now, target, bytes);
        self.process_events(now);
    }

    /// A stream connection has closed.
    pub fn handle_closed(&mut self, now: Instant, connection: ConnectionId) {
        self.closed.note(connection);
        self.unanswered.forget(connection);
        self.registrar.remove_flow(connection);
        self.transactions.handle_connection_closed(now, connection);
        self.process_events(now);
    }

    /// Something is due, see [`Proxy::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        self.transactions.handle_timeout(now);
        self.process_events(now);
        while let Some(timer) = self.timers.pop_expired(now) {
            self.handle_timer(now, timer);
            self.process_events(now);
        }
        self.registrar.purge(now);
        self.ended.purge(now);
        self.events.handle_timeout(now, &self.registrar);
        self.tell_subscribers(now);
        self.tell_members(now);
    }

    /// When [`Proxy::handle_timeout`] is due next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        [
            self.transactions.poll_timeout(),
            self.timers.next_deadline(),
            self.registrar.next_expiry(),
            self.ended.poll_timeout(),
            self.events.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        let own = self.outputs.pop_front();
        let mut output = own.or_else(|| self.transactions.poll_transmit().map(Output::Transmit))?;
        if let Output::Transmit(transmit) = &mut output
            && let Some(name) = transmit.target.name
        {
            transmit.server_name = self.names.name(name);
        }
        if self.relays()
            && let Output::Transmit(transmit) = output
        {
            return Some(self.sent_out(transmit));
        }
        Some(output)
    }

    /// How busy it is.
    #[must_use]
    pub fn load(&self) -> Load {
        Load {
            calls: self.calls.len(),
            contexts: self.contexts.len(),
            sessions: self.by_session.len(),
            transactions: self.transactions.servers() + self.transactions.clients(),
            media_requests: self.media_requests,
            byes: self.byes,
        }
    }

    /// Every table and index is empty.
    #[cfg(test)]
    #[track_caller]
    fn assert_clean(&self) {
        assert!(self.by_server.is_empty(), "{:?}", self.by_server);
        assert!(self.by_client.is_empty(), "{:?}", self.by_client);
        assert!(self.lookups.is_empty(), "{:?}", self.lookups);
        assert!(self.held.is_empty(), "{:?}", self.held);
        assert!(self.unanswered.is_empty(), "{:?}", self.unanswered);
        assert!(self.ended.is_empty(), "{:?}", self.ended);
        assert!(self.by_session.is_empty(), "{:?}", self.by_session);
        assert!(self.timers.is_empty(), "{} timers", self.timers.len());
        assert_eq!(self.load(), Load::default());
    }

    /// What the transaction layer has counted.
    #[must_use]
    pub const fn transaction_counters(&self) -> crate::transaction::Counters {
        self.transactions.counters()
    }

    /// Who is dropped, and what has been.
    #[must_use]
    pub const fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Whether requests are refused, and what has been.
    #[must_use]
    pub const fn overload(&self) -> &Overload {
        &self.overload
    }

    /// The location service.
    #[must_use]
    pub const fn registrar(&self) -> &Registrar {
        &self.registrar
    }

    fn process_events(&mut self, now: Instant) {
        while let Some(event) = self.transactions.poll_event() {
            self.process_event(now, event);
        }
        self.tell_subscribers(now);
        self.tell_members(now);
    }

    fn process_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Request { tx, arrival, request, .. } => {
                self.handle_request(now, tx, arrival, request)
            }
            Event::Cancel { cancel, invite, request, .. } => {
                self.handle_cancel(now, cancel, invite, &request);
            }
            Event::Ack { arrival, request } => self.handle_ack(now, &arrival, &request),
            Event::Response { tx, response, .. } => self.handle_response(now, tx, response),
            // The layer has answered 503.
            Event::Refused { .. } => {
                let limit = self.transactions.servers_max();
                self.notice(Notice::TableFull { what: "server transactions", limit });
            }
            // RFC 6026 8.9: a response that matches no transaction is not forwarded.
            Event::StrayResponse { .. } => {}
            Event::ClientFailed { tx, cause } => self.handle_client_failed(now, tx, cause),
            // Nobody is left to be told: the context ends with its transaction.
            Event::ServerFailed { .. } => {}
            Event::ServerEnded { tx } => self.handle_server_ended(now, tx),
            Event::ClientEnded { tx } => self.handle_client_ended(tx),
        }
    }

    fn notice(&mut self, notice: Notice) {
        self.outputs.push_back(Output::Notice(notice));
    }

    fn transmit(&mut self, target: Target, bytes: Bytes) {
        let transmit = Transmit { target, bytes, server_name: None };
        self.outputs.push_back(Output::Transmit(transmit));
    }

    /// A tag (RFC 3261 19.3): 64 random bits.
    fn new_tag(&mut self) -> String {
        marks::hex_text(self.rng.next_u64())
    }

    fn next_token(&mut self) -> u64 {
        self.last_token += 1;
        self.last_token
    }
}

/// RFC 3261 16.6 step 11: a proxied INVITE may ring for more than three minutes.
const TIMER_C: Duration = Duration::from_secs(181);
/// How long a cancelled branch may take to answer (RFC 3261 9.1: 64*T1).
const CANCEL_GRACE: Duration = Duration::from_secs(32);
/// How long a request waits for DNS. Whoever looks names up answers earlier.
const LOOKUP_GRACE: Duration = Duration::from_secs(10);
/// How long the record of an ended call waits for the relay's reports.
const REPORT_GRACE: Duration = Duration::from_secs(5);
