//! TCP listeners and connections.
//!
//! Each connection is a task of its own, so that a slow or malformed one delays no other. The tasks
//! report into one bounded channel; at its bound they stop reading (and TCP slows the peers down),
//! each getting its turn in order of arrival. What is to be written goes through a bounded queue a
//! connection.

mod accept;
mod connect;
mod connection;
mod outbound;
mod reader;
mod table;
mod writer;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::task::{Context, Poll};

use bytes::Bytes;
use signaling_core::transport::{Arrival, ConnectionId, ListenerId, Target, Transmit, Transport};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::accept::Acceptor;
use self::connection::Link;
use self::outbound::Offer;
use self::table::{Origin, Table};
use crate::config::Limits;
use crate::counters::Counters;
use crate::input::{CloseReason, Input, SendError, fail};

/// Reports that wait for the core: some 5 ms of work at 200,000 messages a second. A connection's
/// task that finds no place waits, and reads no more meanwhile.
const EVENTS_MAX: usize = 1_024;

/// Reports taken at a time, so that UDP gets its turn between.
const EVENTS_BATCH: usize = 64;

/// What a connection's task reports.
enum Event {
    /// A connection that we opened is established.
    Opened,
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
    NotOpened(io::ErrorKind),
    Closed(CloseReason),
}

/// Every TCP socket of the node.
pub(crate) struct Streams {
    limits: Limits,
    acceptors: Vec<Acceptor>,
    table: Table,
    /// For the tasks; also keeps the channel open while there are none.
    reports: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
    taken: Vec<Event>,
}

impl Streams {
    /// Needs a running tokio runtime.
    pub(crate) fn new(
        limits: Limits,
        listeners: Vec<(ListenerId, TcpListener)>,
    ) -> Result<Streams, (ListenerId, io::Error)> {
        let mut acceptors = Vec::with_capacity(listeners.len());
        for (listener, socket) in listeners {
            acceptors.push(Acceptor::new(listener, socket).map_err(|error| (listener, error))?);
        }
        let (reports, events) = mpsc::channel(EVENTS_MAX);
        let table = Table::new(limits);
        let taken = Vec::with_capacity(EVENTS_BATCH);
        Ok(Streams { limits, acceptors, table, reports, events, taken })
    }

    /// The listener's address.
    pub(crate) fn bound(&self, listener: ListenerId) -> Option<SocketAddr> {
        self.acceptors.iter().find(|a| a.listener() == listener).map(Acceptor::bound)
    }

    /// Accepts, and takes reports into `out`; if there are none, the task is woken when there are.
    pub(crate) fn poll(
        &mut self,
        context: &mut Context<'_>,
        counters: &mut Counters,
        out: &mut Vec<Input>,
    ) {
        self.poll_accept(context, counters);
        let before = out.len();
        while out.len() == before {
            match self.events.poll_recv_many(context, &mut self.taken, EVENTS_BATCH) {
                Poll::Ready(_) => {
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
        let (table, limits, reports) = (&mut self.table, self.limits, &self.reports);
        for acceptor in &mut self.acceptors {
            let (listener, bound) = (acceptor.listener(), acceptor.bound());
            acceptor.poll(context, counters, |stream, remote, counters| {
                let local = stream.local_addr().unwrap_or(bound);
                let arrival = Arrival {
                    transport: Transport::Tcp,
                    listener,
                    local: SocketAddr::new(local.ip(), bound.port()),
                    remote,
                    connection: None,
                };
                adopt(table, limits, reports, stream, arrival, counters);
            });
        }
    }

    fn digest(&mut self, event: Event, counters: &mut Counters, out: &mut Vec<Input>) {
        match event {
            Event::Opened => counters.tcp_opened += 1,
            Event::Message { arrival, bytes } => {
                counters.tcp_received += 1;
                out.push(Input::Message { arrival, bytes });
            }
            Event::Ended { connection, end, unsent } => {
                let remote = self.table.remove(connection);
                let error = match &end {
                    End::NotOpened(kind) => SendError::Connect(*kind),
                    End::Closed(reason) => SendError::Closed(reason.clone()),
                };
                for transmit in unsent {
                    fail(transmit, error.clone(), counters, out);
                }
                if let (Some(remote), End::Closed(reason)) = (remote, end) {
                    tracing::debug!(connection = connection.0, %remote, %reason, "TCP connection ended");
                    out.push(Input::Closed { connection, remote, reason });
                }
            }
        }
    }

    /// Queues a message on the connection that its target names, else on one to the same remote
    /// address, else on a new one.
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
        let alias = self.table.connection_to(target.listener, target.remote);
        for connection in [target.connection, alias].into_iter().flatten() {
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
        self.open(bound, transmit, counters, out);
    }

    fn open(
        &mut self,
        bound: SocketAddr,
        transmit: Transmit,
        counters: &mut Counters,
        out: &mut Vec<Input>,
    ) {
        let Target { listener, local, remote, .. } = transmit.target;
        let Some((connection, controls)) = self.table.insert(listener, remote, Origin::Opened)
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
            transport: Transport::Tcp,
            listener,
            local: SocketAddr::new(local.ip(), bound.port()),
            remote,
            connection: Some(connection),
        };
        let link = Link::new(connection, arrival, self.limits, controls, self.reports.clone());
        tokio::spawn(connect::run(link, local));
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
            Event::Opened | Event::Message { .. } => 0,
            Event::Ended { connection, unsent, .. } => {
                self.table.remove(connection);
                unsent.len()
            }
        }
    }
}

/// Gives an accepted connection its task, or closes it if a limit says so.
fn adopt(
    table: &mut Table,
    limits: Limits,
    reports: &mpsc::Sender<Event>,
    stream: TcpStream,
    mut arrival: Arrival,
    counters: &mut Counters,
) {
    let Some((connection, controls)) =
        table.insert(arrival.listener, arrival.remote, Origin::Accepted)
    else {
        counters.tcp_refused += 1;
        // A reset leaves nothing behind, where an orderly end would leave TIME_WAIT with us.
        let _ = stream.set_zero_linger();
        return;
    };
    counters.tcp_accepted += 1;
    arrival.connection = Some(connection);
    let link = Link::new(connection, arrival, limits, controls, reports.clone());
    tokio::spawn(connection::run(link, stream));
}
