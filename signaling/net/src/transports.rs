//! All transports of a node.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use signaling_core::transport::{ConnectionId, ListenerId, Transmit, Transport};
use tokio::time::{Instant, timeout_at};

use crate::bind::{self, BindError, Bound};
use crate::config::{Limits, ListenerConfig};
use crate::counters::Counters;
use crate::input::{Input, SendError, fail};
use crate::tcp::Streams;
use crate::tls::Tls;
use crate::udp::{Backlog, Block, Scratch, UdpListener};

/// Every SIP socket of a node.
///
/// *Input*: [`recv_batch`](Transports::recv_batch), [`recv_now`](Transports::recv_now). *Output*: [`send`](Transports::send),
/// [`flush`](Transports::flush), [`close`](Transports::close). *Getters*:
/// [`bound`](Transports::bound), [`counters`](Transports::counters),
/// [`has_connections`](Transports::has_connections), [`has_input`](Transports::has_input). The end:
/// [`shutdown`](Transports::shutdown); dropping it instead ends every connection at once.
pub struct Transports {
    /// By listener.
    places: Vec<Place>,
    udp: Vec<UdpListener>,
    tcp: Streams,
    scratch: Scratch,
    block: Block,
    counters: Counters,
    /// What came of sending, for the next batch.
    outcomes: Vec<Input>,
    queue: Queue,
}

/// How long messages wait before they are received.
struct Queue {
    /// Whatever came before then has been received.
    empty_at: std::time::Instant,
    /// Nothing was there at the last look.
    found_empty: bool,
    waited: Duration,
}

impl Queue {
    /// A look has found something, and whether there may be more.
    fn found(&mut self, more: bool) {
        let now = std::time::Instant::now();
        let since = now.saturating_duration_since(self.empty_at);
        // Whoever waits is woken by the first message.
        self.waited = if self.found_empty { Duration::ZERO } else { since };
        if self.found_empty || !more {
            self.empty_at = now;
        }
        self.found_empty = false;
    }
}

/// Where a listener is.
#[derive(Clone, Copy)]
struct Place {
    transport: Transport,
    bound: SocketAddr,
    /// For UDP, its place in [`Transports::udp`].
    udp: Option<usize>,
}

/// What a shutdown could not finish in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Connections that were cut because they were not closed by both sides in time.
    pub connections_cut: usize,
    /// Messages that were not sent.
    pub messages_unsent: usize,
}

impl Transports {
    /// Opens every listener; the place of each in the list is its
    /// [`ListenerId`]. Must be called on the runtime that will drive it, which needs I/O and time enabled.
    ///
    /// # Errors
    /// The first listener that could not be opened, in words that name the address and what to do.
    /// Nothing is left open then.
    pub fn bind(listeners: Vec<ListenerConfig>, limits: Limits) -> Result<Transports, BindError> {
        Transports::bind_secure(listeners, limits, None)
    }

    /// As [`bind`](Transports::bind), with what TLS needs. Without it connections that want TLS are
    /// closed at once.
    ///
    /// # Errors
    /// As [`bind`](Transports::bind).
    pub fn bind_secure(
        listeners: Vec<ListenerConfig>,
        limits: Limits,
        tls: Option<Tls>,
    ) -> Result<Transports, BindError> {
        let opened = bind::bind_all(&listeners)?;
        let refuse = |place: usize, source: io::Error| bind::error(&listeners, place, source);
        let mut places = Vec::with_capacity(opened.len());
        let mut udp = Vec::new();
        let mut tcp = Vec::new();
        for (place, socket) in opened.into_iter().enumerate() {
            let listener = listener_id(place);
            let (transport, bound, udp_place) = match socket {
                Bound::Udp(socket) => {
                    let socket =
                        UdpListener::new(listener, socket).map_err(|e| refuse(place, e))?;
                    let bound = socket.bound();
                    udp.push(socket);
                    (Transport::Udp, bound, Some(udp.len() - 1))
                }
                Bound::Tcp(socket) => {
                    let bound = socket.local_addr().map_err(|e| refuse(place, e))?;
                    let transport = listeners[place].transport;
                    tcp.push((listener, transport, socket));
                    (transport, bound, None)
                }
            };
            places.push(Place { transport, bound, udp: udp_place });
        }
        let tcp = Streams::new(limits, tcp, tls).map_err(|(id, e)| refuse(usize::from(id.0), e))?;
        Ok(Transports {
            places,
            udp,
            tcp,
            scratch: Scratch::new(),
            block: Block::default(),
            counters: Counters::default(),
            outcomes: Vec::new(),
            queue: Queue {
                empty_at: std::time::Instant::now(),
                found_empty: true,
                waited: Duration::ZERO,
            },
        })
    }

    /// The address of each listener, with the port that the system chose where 0 was asked for.
    #[must_use]
    pub fn bound(&self) -> Vec<SocketAddr> {
        self.places.iter().map(|place| place.bound).collect()
    }

    /// What was counted since the start.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether there are connections, each of them a task of its own on the same runtime.
    #[must_use]
    pub fn has_connections(&self) -> bool {
        self.tcp.has_connections()
    }

    /// Whether [`recv_batch`](Transports::recv_batch) has something without looking at a socket.
    #[must_use]
    pub fn has_input(&self) -> bool {
        !self.outcomes.is_empty() || self.tcp.has_reports()
    }

    /// Sends what waits, then appends at least one input to `out`, waiting for it if need be. Inputs
    /// of one connection, and of one UDP peer on one listener, come in order.
    ///
    /// Cancel-safe: when the future is dropped before it is ready, `out` is as it was and nothing is
    /// lost.
    pub async fn recv_batch(&mut self, out: &mut Vec<Input>) {
        poll_fn(|context| self.poll_batch(context, out)).await;
    }

    fn poll_batch(&mut self, context: &mut Context<'_>, out: &mut Vec<Input>) -> Poll<()> {
        let before = out.len();
        out.append(&mut self.outcomes);
        let counters = &mut self.counters;
        for listener in &mut self.udp {
            let _ = listener.poll_flush(context, counters, out);
            listener.poll_reports(context, counters, out);
            listener.poll_receive(context, &mut self.scratch, &mut self.block, counters, out);
        }
        self.tcp.poll(context, counters, out);
        if out.len() > before {
            self.queue.found(self.tcp.has_more() || self.udp.iter().any(UdpListener::has_more));
            return Poll::Ready(());
        }
        self.queue.found_empty = true;
        Poll::Pending
    }

    /// Appends to `out` the datagrams that are there, and what came of sending, without waiting: for
    /// whoever has slept and expects some, as it leaves out to ask the runtime whether a socket is ready.
    /// `false` if there is nothing, or if something is left to do that the runtime has to know of
    /// (connections, datagrams for which there is no room): then it is for
    /// [`recv_batch`](Transports::recv_batch). New connections and ICMP reports are seen by that alone, so
    /// it has to be called now and then, too.
    pub fn recv_now(&mut self, out: &mut Vec<Input>) -> bool {
        if self.has_connections() || self.udp.iter().any(|listener| listener.unsent() > 0) {
            return false;
        }
        let before = out.len();
        out.append(&mut self.outcomes);
        for listener in &mut self.udp {
            listener.receive_now(&mut self.scratch, &mut self.block, &mut self.counters, out);
        }
        let found = out.len() > before;
        if found {
            self.queue.found(self.udp.iter().any(UdpListener::has_more));
        }
        found
    }

    /// How long the oldest message of the last batch has waited, at most: since the queues were last
    /// seen empty. Zero if the batch ended a wait.
    #[must_use]
    pub const fn waited(&self) -> Duration {
        self.queue.waited
    }

    /// What waits in the kernel for the UDP listeners; asks it.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        self.udp.iter().map(UdpListener::backlog).fold(Backlog::default(), |all, one| Backlog {
            full: all.full.max(one.full),
            lost: all.lost + one.lost,
        })
    }

    /// Takes a message for sending and never waits. A datagram leaves with the next
    /// [`recv_batch`](Transports::recv_batch) or [`flush`](Transports::flush), or when 32 wait; on a
    /// stream it is queued on its connection. If it cannot be sent, the next `recv_batch` has an
    /// [`Input::SendFailed`], except for a datagram that is dropped because the interface cannot keep
    /// up, which is only counted.
    pub fn send(&mut self, transmit: Transmit) {
        let target = transmit.target;
        let place = self.places.get(usize::from(target.listener.0));
        let place = place.filter(|place| place.transport == target.transport);
        let (counters, out) = (&mut self.counters, &mut self.outcomes);
        match place {
            None => fail(transmit, SendError::NoListener, counters, out),
            Some(Place { udp: Some(udp), .. }) => self.udp[*udp].send(transmit, counters, out),
            Some(Place { udp: None, .. }) => self.tcp.send(transmit, counters, out),
        }
    }

    /// Sends the datagrams that wait, as far as the sockets take them. Needed only where
    /// [`recv_batch`](Transports::recv_batch) is not called soon.
    pub fn flush(&mut self) {
        for listener in &mut self.udp {
            let _ = listener.flush(&mut self.counters, &mut self.outcomes);
        }
    }

    /// New connections use these certificates and rules; those that there are stay as they are.
    pub fn set_tls(&mut self, tls: Tls) {
        self.tcp.set_tls(tls);
    }

    /// New WebSockets are accepted from pages of these origins (`https://phone.example.com`) alone; of any
    /// origin, if there are none.
    pub fn set_origins(&mut self, origins: Vec<String>) {
        self.tcp.set_origins(origins);
    }

    /// This node is that member of a farm, in that life of it: the [`ConnectionId`]s of new connections say so,
    /// so that they are no other member's. Those that there are keep theirs.
    pub fn set_member(&mut self, member: u16, incarnation: u32) {
        self.tcp.set_member(member, incarnation);
    }

    /// The peer of a TLS connection asks that what goes to `port` of its address goes by this connection
    /// (RFC 5923). It does, as long as the connection lasts, where the peer has proved by its certificate
    /// to be whom the message is for: the name that a server there would have to prove or, where there is
    /// none, the address. Otherwise, and on connections that this node has opened, nothing changes.
    pub fn alias(&mut self, connection: ConnectionId, port: u16) {
        self.tcp.alias(connection, port);
    }

    /// Closes a connection once what waits for it is written; an [`Input::Closed`] follows. A
    /// connection that does not exist (any more) is closed already.
    pub fn close(&mut self, connection: ConnectionId) {
        self.tcp.close(connection);
    }

    /// Stops receiving, sends what waits and closes every connection in good order, all `within` the
    /// given time; what is not done by then is cut.
    pub async fn shutdown(mut self, within: Duration) -> ShutdownReport {
        let deadline = Instant::now() + within;
        self.flush();
        let (connections_cut, unsent) = self.tcp.shutdown(deadline).await;
        let mut out = std::mem::take(&mut self.outcomes);
        let flushed = poll_fn(|context| {
            let mut all = Poll::Ready(());
            for listener in &mut self.udp {
                if listener.poll_flush(context, &mut self.counters, &mut out).is_pending() {
                    all = Poll::Pending;
                }
            }
            all
        });
        let _ = timeout_at(deadline, flushed).await;
        let waiting: usize = self.udp.iter().map(UdpListener::unsent).sum();
        let failed = out.iter().filter(|input| matches!(input, Input::SendFailed { .. })).count();
        ShutdownReport { connections_cut, messages_unsent: unsent + waiting + failed }
    }
}

fn listener_id(place: usize) -> ListenerId {
    ListenerId(u16::try_from(place).expect("bind_all admits LISTENERS_MAX listeners, which fit"))
}
