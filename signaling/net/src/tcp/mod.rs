//! TCP, TLS and WebSocket listeners and connections.
//!
//! Each connection is a task of its own, so that a slow or malformed one delays no other. The tasks
//! report into one bounded channel; at its bound they stop reading (and TCP slows the peers down),
//! each getting its turn in order of arrival. What is to be written goes through a bounded queue a
//! connection.

mod accept;
mod connect;
mod connection;
mod cutter;
mod outbound;
mod pipe;
mod reader;
mod table;
mod writer;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use rustls::Connection;
use signaling_core::transport::{Arrival, ConnectionId, ListenerId, Target, Transmit, Transport};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use self::accept::Acceptor;
use self::connection::{Guard, Link};
use self::outbound::Offer;
use self::table::{Origin, Table, Way};
use crate::config::Limits;
use crate::counters::Counters;
use crate::input::{CloseReason, Input, SendError, fail};
use crate::tls::{Identities, Tls};

/// Reports that wait for the core: some 5 ms of work at 200,000 messages a second. A connection's
/// task that finds no place waits, and reads no more meanwhile.
const EVENTS_MAX: usize = 1_024;

/// Reports taken at a time, so that UDP gets its turn between.
const EVENTS_BATCH: usize = 64;

/// What a connection's task reports.
enum Event {
    /// A connection that we opened is established.
    Opened,
    /// A TLS handshake is complete.
    Secured {
        connection: ConnectionId,
        /// Whom the peer has proved to be.
        peer: Option<Box<Identities>>,
        /// An earlier session was resumed.
        resumed: bool,
    },
    /// A WebSocket is open.
    Upgraded,
    Message {
        arrival: Arrival,
        bytes: Bytes,
    },
    /// The last report of a connection.
    Ended {
        connection: ConnectionId,
        end: End,
        unsent: Vec<Transmit>,
    },
}

/// How a connection's task ended.
#[derive(Clone, Debug)]
enum End {
    NotOpened(SendError),
    Closed(CloseReason),
}

/// Every TCP socket of the node, with or without TLS.
pub(crate) struct Streams {
    limits: Limits,
    tls: Option<Tls>,
    /// Whose pages may open WebSockets; empty: everybody's.
    origins: Arc<[String]>,
    /// Places for handshakes of accepted connections.
    handshakes: Arc<Semaphore>,
    acceptors: Vec<Acceptor>,
    table: Table,
    /// For the tasks; also keeps the channel open while there are none.
    reports: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
    taken: Vec<Event>,
    /// The last batch was full: more may wait.
    more: bool,
}

impl Streams {
    /// Needs a running tokio runtime.
    pub(crate) fn new(
        limits: Limits,
        listeners: Vec<(ListenerId, Transport, TcpListener)>,
        tls: Option<Tls>,
    ) -> Result<Streams, (ListenerId, io::Error)> {
        let mut acceptors = Vec::with_capacity(listeners.len());
        for (listener, transport, socket) in listeners {
            let acceptor = Acceptor::new(listener, transport, socket);
            acceptors.push(acceptor.map_err(|error| (listener, error))?);
        }
        let (reports, events) = mpsc::channel(EVENTS_MAX);
        let table = Table::new(limits);
        let taken = Vec::with_capacity(EVENTS_BATCH);
        let handshakes = Arc::new(Semaphore::new(limits.handshakes_max));
        let origins = Arc::default();
        let more = false;
        Ok(Streams {
            limits,
            tls,
            origins,
            handshakes,
            acceptors,
            table,
            reports,
            events,
            taken,
            more,
        })
    }

    /// New WebSockets are accepted from pages of these origins alone, if there are any.
    pub(crate) fn set_origins(&mut self, origins: Vec<String>) {
        self.origins = origins.into();
    }

    /// New connections are those of this life of a member.
    pub(crate) fn set_member(&mut self, member: u16, incarnation: u32) {
        self.table.set_member(member, incarnation);
    }

    /// New connections use these certificates; those that there are stay as they are.
    pub(crate) fn set_tls(&mut self, tls: Tls) {
        self.tls = Some(tls);
    }

    /// Whether more may wait than the last batch brought.
    pub(crate) const fn has_more(&self) -> bool {
        self.more
    }

    /// The listener's address.
    pub(crate) fn bound(&self, listener: ListenerId) -> Option<SocketAddr> {
        self.acceptors.iter().find(|a| a.listener() == listener).map(Acceptor::bound)
    }

    pub(crate) fn has_connections(&self) -> bool {
        !self.table.is_empty()
    }

    /// Whether tasks have reported what was not taken yet.
    pub(crate) fn has_reports(&self) -> bool {
        !self.events.is_empty()
    }

    /// Accepts, and takes reports into `out`; if there are none, the task is woken when there are.
    pub(crate) fn poll(
        &mut self,
        context: &mut Context<'_>,
        counters: &mut Counters,
        out: &mut Vec<Input>,
    ) {
        self.poll_accept(context, counters);
        self.more = false;
        let before = out.len();
        while out.len() == before {
            match self.events.poll_recv_many(context, &mut self.taken, EVENTS_BATCH) {
                Poll::Ready(count) => {
                    self.more = count == EVENTS_BATCH;
                    let mut taken = std::mem::take(&mut self.taken);
                    for event in taken.drain(..) {
                        self.digest(event, counters, out);
                    }
                    self.taken = taken;
                }
                Poll::Pending => return,
            }
        }
    }

    fn poll_accept(&mut self, context: &mut Context<'_>, counters: &mut Counters) {
        let Streams { limits, tls, origins, handshakes, acceptors, table, reports, .. } = self;
        let tls = tls.as_ref();
        let mut adoption = Adoption { limits, tls, origins, handshakes, table, reports };
        for acceptor in acceptors {
            let (listener, bound) = (acceptor.listener(), acceptor.bound());
            let transport = acceptor.transport();
            acceptor.poll(context, counters, |stream, remote, counters| {
                let local = stream.local_addr().unwrap_or(bound);
                let arrival = Arrival {
                    transport,
                    listener,
                    local: SocketAddr::new(local.ip(), bound.port()),
                    remote,
                    connection: None,
                };
                match adoption.adopt(stream, arrival) {
                    Ok(()) => counters.tcp_accepted += 1,
                    Err(stream) => {
                        counters.tcp_refused += 1;
                        // A reset leaves nothing behind, where an orderly end would leave TIME_WAIT
                        // with us.
                        let _ = stream.set_zero_linger();
                    }
                }
            });
        }
    }

    fn digest(&mut self, event: Event, counters: &mut Counters, out: &mut Vec<Input>) {
        match event {
            Event::Opened => counters.tcp_opened += 1,
            Event::Secured { connection, resumed, peer } => {
                self.table.note_peer(connection, peer);
                counters.tls_handshakes += 1;
                counters.tls_resumed += u64::from(resumed);
            }
            Event::Upgraded => counters.ws_opened += 1,
            Event::Message { arrival, bytes } => {
                counters.tcp_received += 1;
                out.push(Input::Message { arrival, bytes });
            }
            Event::Ended { connection, end, unsent } => {
                let remote = self.table.remove(connection);
                let error = match &end {
                    End::NotOpened(error) => error.clone(),
                    End::Closed(reason) => SendError::Closed(reason.clone()),
                };
                counters.tls_failed += u64::from(is_tls_failure(&error));
                let upgrade = matches!(error, SendError::Closed(CloseReason::Upgrade(_)));
                counters.ws_refused += u64::from(upgrade);
                for transmit in unsent {
                    fail(transmit, error.clone(), counters, out);
                }
                if let (Some(remote), End::Closed(reason)) = (remote, end) {
                    tracing::debug!(connection = connection.0, %remote, %reason, "connection ended");
                    out.push(Input::Closed { connection, remote, reason });
                }
            }
        }
    }

    /// Queues a message on the connection that its target names, else on one to the same remote
    /// address, else on a new one; but WebSockets are opened by peers alone.
    pub(crate) fn send(
        &mut self,
        transmit: Transmit,
        counters: &mut Counters,
        out: &mut Vec<Input>,
    ) {
        let target = transmit.target;
        let Some(bound) = self.bound(target.listener) else {
            return fail(transmit, SendError::NoListener, counters, out);
        };
        if bound.is_ipv4() != target.remote.is_ipv4() {
            return fail(transmit, SendError::NoListener, counters, out);
        }
        let mut transmit = transmit;
        let own = self.table.connection_to(&way_of(&target));
        let alias = self.table.alias_to(&target, transmit.server_name.as_deref());
        for connection in [target.connection, own, alias].into_iter().flatten() {
            match self.table.offer(connection, transmit) {
                Offer::Taken => {
                    counters.tcp_sent += 1;
                    return;
                }
                Offer::Full(refused) => {
                    self.table.cut(connection);
                    return fail(
                        refused,
                        SendError::Closed(CloseReason::SlowReader),
                        counters,
                        out,
                    );
                }
                Offer::Closed(refused) => transmit = refused,
            }
        }
        if target.transport.is_web_socket() {
            return fail(transmit, SendError::NoWebSocket, counters, out);
        }
        self.open(bound, transmit, counters, out);
    }

    fn open(
        &mut self,
        bound: SocketAddr,
        transmit: Transmit,
        counters: &mut Counters,
        out: &mut Vec<Input>,
    ) {
        let Target { transport, listener, local, remote, .. } = transmit.target;
        let session = transport.is_secure().then(|| self.session(&transmit));
        let Some((connection, controls)) =
            self.table.insert(way_of(&transmit.target), Origin::Opened)
        else {
            let error = SendError::TooManyConnections(self.limits.connections_max);
            return fail(transmit, error, counters, out);
        };
        match self.table.offer(connection, transmit) {
            Offer::Taken => counters.tcp_sent += 1,
            // Not reached: a new queue is open and takes one message of any size.
            Offer::Full(refused) | Offer::Closed(refused) => {
                fail(refused, SendError::Closed(CloseReason::SlowReader), counters, out);
            }
        }
        let arrival = Arrival {
            transport,
            listener,
            local: SocketAddr::new(local.ip(), bound.port()),
            remote,
            connection: Some(connection),
        };
        let link = Link::new(connection, arrival, self.limits, controls, self.reports.clone());
        let acceptor = self.acceptors.iter().find(|a| a.listener() == listener);
        let dscp = acceptor.map_or(0, Acceptor::dscp);
        tokio::spawn(connect::run(link, local, session, dscp));
    }

    /// What TLS begins with, on the way to the server that the message's target names.
    fn session(&self, transmit: &Transmit) -> Result<Connection, String> {
        let tls = self.tls.as_ref().ok_or("this node has no TLS settings")?;
        match (transmit.target.name, &transmit.server_name) {
            (None, _) => tls.connect(transmit.target.remote.ip()),
            (Some(_), Some(name)) => tls.connect_to(name),
            (Some(_), None) => Err("the name of the server is not known any more".to_owned()),
        }
    }

    /// The peer of `connection` asks for its use to `port` of its address.
    pub(crate) fn alias(&mut self, connection: ConnectionId, port: u16) {
        self.table.alias(connection, port);
    }

    /// Closes a connection once what waits for it is written.
    pub(crate) fn close(&mut self, connection: ConnectionId) {
        self.table.finish(connection);
    }

    /// Stops accepting and closes every connection once what waits for it is written; what is left at
    /// `deadline` is cut. Returns how many connections were cut and how many messages were not sent.
    pub(crate) async fn shutdown(&mut self, deadline: Instant) -> (usize, usize) {
        self.acceptors.clear();
        self.table.finish_all();
        let mut unsent = 0;
        while !self.table.is_empty() {
            let Ok(Some(event)) = tokio::time::timeout_at(deadline, self.events.recv()).await
            else {
                break;
            };
            unsent += self.count_down(event);
        }
        let cut = self.table.len();
        self.table.cut_all();
        while !self.table.is_empty() {
            let Some(event) = self.events.recv().await else { break };
            unsent += self.count_down(event);
        }
        (cut, unsent)
    }

    fn count_down(&mut self, event: Event) -> usize {
        match event {
            Event::Opened | Event::Secured { .. } | Event::Upgraded | Event::Message { .. } => 0,
            Event::Ended { connection, unsent, .. } => {
                self.table.remove(connection);
                unsent.len()
            }
        }
    }
}

const fn way_of(target: &Target) -> Way {
    Way { listener: target.listener, remote: target.remote, name: target.name }
}

fn is_tls_failure(error: &SendError) -> bool {
    matches!(error, SendError::Tls(_) | SendError::Closed(CloseReason::Handshake(_)))
}

/// What an accepted connection meets.
struct Adoption<'s> {
    limits: &'s Limits,
    tls: Option<&'s Tls>,
    origins: &'s Arc<[String]>,
    handshakes: &'s Arc<Semaphore>,
    table: &'s mut Table,
    reports: &'s mpsc::Sender<Event>,
}

impl Adoption<'_> {
    /// Gives an accepted connection its task; gives the stream back if a limit forbids it.
    fn adopt(&mut self, stream: TcpStream, mut arrival: Arrival) -> Result<(), TcpStream> {
        let Ok(guard) = self.guard(arrival.transport) else { return Err(stream) };
        let way = Way { listener: arrival.listener, remote: arrival.remote, name: None };
        let origin = match arrival.transport.is_secure() {
            true => Origin::AcceptedSecure,
            false => Origin::Accepted,
        };
        let inserted = self.table.insert(way, origin);
        let Some((connection, controls)) = inserted else { return Err(stream) };
        arrival.connection = Some(connection);
        let link = Link::new(connection, arrival, *self.limits, controls, self.reports.clone());
        tokio::spawn(connection::accepted(link, stream, guard));
        Ok(())
    }

    /// What TLS and WebSockets begin with, where there are any; an error if they cannot.
    fn guard(&self, transport: Transport) -> Result<Option<Guard>, ()> {
        let (is_secure, is_web) = (transport.is_secure(), transport.is_web_socket());
        if !is_secure && !is_web {
            return Ok(None);
        }
        let place = self.handshakes.clone().try_acquire_owned().map_err(|_| ())?;
        let session = match is_secure {
            true => Some(self.tls.and_then(Tls::accept).ok_or(())?),
            false => None,
        };
        let origins = is_web.then(|| self.origins.clone());
        Ok(Some(Guard { session, origins, place }))
    }
}
