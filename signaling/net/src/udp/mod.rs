//! UDP listeners.

mod address;
mod backlog;
mod block;
mod error_queue;
mod mmsg;
mod recent;
mod send_queue;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use signaling_core::transport::{Arrival, ListenerId, Transmit, Transport};
use signaling_core::{stun, wire};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Sleep, sleep};

pub use self::backlog::Backlog;
pub(crate) use self::block::Block;
use self::error_queue::{QUOTE_BYTES, Report};
pub(crate) use self::mmsg::Scratch;
use self::mmsg::{BATCH_MAX, Received};
use self::recent::Recent;
use self::send_queue::{Flushed, SendQueue};
use crate::counters::Counters;
use crate::input::{Input, SendError, fail};

/// How long sending rests when the socket's buffer is full: 1 Gbit/s carries 125 KB meanwhile, an
/// eighth of the buffer. (To be told of room by epoll would cost an event for every datagram.)
const SEND_PAUSE: Duration = Duration::from_millis(1);

/// How often a send is tried before its error is taken for its own: with `IP_RECVERR` a call also
/// fails for what ICMP reported about an earlier datagram.
const SEND_ATTEMPTS: usize = 3;

/// ICMP reports read at a time, so that a flood of them leaves messages their turn.
const REPORTS_BATCH: usize = 64;

/// A UDP socket that is listened on and sent from.
pub(crate) struct UdpListener {
    listener: ListenerId,
    socket: Arc<AsyncFd<UdpSocket>>,
    bound: SocketAddr,
    /// The kernel tells the local address of each datagram, and we tell it the source of each.
    wildcard: bool,
    queue: SendQueue,
    pause: Option<Pin<Box<Sleep>>>,
    recent: Recent,
    /// The last batch was full: more may wait.
    more: bool,
    /// Resolves when the socket's error queue holds something.
    troubled: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl UdpListener {
    /// Needs a running tokio runtime.
    pub(crate) fn new(listener: ListenerId, socket: UdpSocket) -> io::Result<UdpListener> {
        let bound = socket.local_addr()?;
        let wildcard = bound.ip().is_unspecified();
        // SAFETY: the UdpSocket owns its descriptor, and is neither replaced nor closed while the
        // AsyncFd owns it.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE)? };
        let socket = Arc::new(socket);
        let troubled = Box::pin(trouble(socket.clone()));
        let (queue, recent) = (SendQueue::default(), Recent::default());
        Ok(UdpListener {
            listener,
            socket,
            bound,
            wildcard,
            queue,
            pause: None,
            recent,
            more: false,
            troubled,
        })
    }

    pub(crate) const fn bound(&self) -> SocketAddr {
        self.bound
    }

    /// Whether more datagrams may wait than the last batch brought.
    pub(crate) const fn has_more(&self) -> bool {
        self.more
    }

    /// What the kernel tells of the socket's receive queue.
    pub(crate) fn backlog(&self) -> Backlog {
        backlog::of(self.socket.get_ref().as_fd())
    }

    /// How many messages wait for the socket.
    pub(crate) fn unsent(&self) -> usize {
        self.queue.len()
    }

    /// Receives one batch into `out` if there is one; else the task is woken when there is.
    pub(crate) fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        scratch: &mut Scratch,
        block: &mut Block,
        counters: &mut Counters,
        out: &mut Vec<Input>,
    ) {
        let before = out.len();
        self.more = false;
        while out.len() == before {
            let Poll::Ready(Ok(mut ready)) = self.socket.poll_read_ready(context) else { return };
            match scratch.receive(self.socket.get_ref().as_fd()) {
                Ok(count) => {
                    // A batch that is not full has emptied the socket; a datagram that came since
                    // then, or an error that cut the batch short, raises readiness anew.
                    self.more = count == BATCH_MAX;
                    if !self.more {
                        ready.clear_ready();
                    }
                    if self.hand_on(scratch, count, block, counters, out) {
                        let _ = self.poll_flush(context, counters, out);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                // An ICMP report, which the error queue tells of, or of the moment (ENOMEM): the
                // socket is still ready and is tried again, within the task's budget.
                Err(error) => {
                    tracing::trace!(listener = self.listener.0, %error, "UDP receive failed")
                }
            }
        }
    }

    /// Receives one batch into `out` if there is one, without asking the runtime. Whatever readiness it holds
    /// stays: at worst [`UdpListener::poll_receive`] looks once in vain. So does an error, which is for it to tell.
    pub(crate) fn receive_now(
        &mut self,
        scratch: &mut Scratch,
        block: &mut Block,
        counters: &mut Counters,
        out: &mut Vec<Input>,
    ) {
        let count = scratch.receive(self.socket.get_ref().as_fd()).unwrap_or(0);
        self.more = count == BATCH_MAX;
        if self.hand_on(scratch, count, block, counters, out) {
            self.flush(counters, out);
        }
    }

    /// Hands messages on and answers STUN; whether it has answered any.
    fn hand_on(
        &mut self,
        scratch: &Scratch,
        count: usize,
        block: &mut Block,
        counters: &mut Counters,
        out: &mut Vec<Input>,
    ) -> bool {
        let mut answered = false;
        for (received, datagram) in (0..count).filter_map(|place| scratch.datagram(place)) {
            if wire::is_keep_alive(datagram) {
                counters.udp_keep_alives += 1;
                continue;
            }
            if stun::is_stun(datagram) {
                answered |= self.answer_stun(&received, datagram, counters, out);
                continue;
            }
            counters.udp_received += 1;
            let arrival = self.arrival(&received);
            out.push(Input::Message { arrival, bytes: block.copy(datagram) });
        }
        answered
    }

    /// RFC 5626 4.4.2; `false` if it goes unanswered.
    fn answer_stun(
        &mut self,
        received: &Received,
        datagram: &[u8],
        counters: &mut Counters,
        out: &mut Vec<Input>,
    ) -> bool {
        let Some(answer) = stun::answer(datagram, received.remote) else {
            counters.stun_dropped += 1;
            return false;
        };
        counters.stun_answered += 1;
        let target = self.arrival(received).reply();
        let transmit = Transmit { target, bytes: answer.into(), server_name: None };
        self.send(transmit, counters, out);
        true
    }

    fn arrival(&self, received: &Received) -> Arrival {
        let local = received.local.filter(|_| self.wildcard);
        Arrival {
            transport: Transport::Udp,
            listener: self.listener,
            local: local.map_or(self.bound, |local| local.with_port(self.bound.port())),
            remote: received.remote,
            connection: None,
        }
    }

    /// Takes a message for sending; it leaves with the next flush, or now if a batch is full.
    pub(crate) fn send(
        &mut self,
        transmit: Transmit,
        counters: &mut Counters,
        out: &mut Vec<Input>,
    ) {
        if transmit.target.remote.is_ipv4() != self.bound.is_ipv4() {
            fail(transmit, SendError::NoListener, counters, out);
        } else if !self.queue.push(transmit) {
            counters.udp_dropped += 1;
        } else if self.queue.len().is_multiple_of(BATCH_MAX) {
            self.flush(counters, out);
        }
    }

    /// Sends what waits; if the socket takes no more, the task is woken to try again. Ready when
    /// nothing waits.
    pub(crate) fn poll_flush(
        &mut self,
        context: &mut Context<'_>,
        counters: &mut Counters,
        out: &mut Vec<Input>,
    ) -> Poll<()> {
        loop {
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            if self.flush(counters, out) {
                return Poll::Ready(());
            }
            self.pause = Some(Box::pin(sleep(SEND_PAUSE)));
        }
    }

    /// Sends what waits, as far as the socket takes it, and reports what fails into `out`; `false` if
    /// something still waits.
    pub(crate) fn flush(&mut self, counters: &mut Counters, out: &mut Vec<Input>) -> bool {
        let socket = self.socket.get_ref().as_fd();
        let (wildcard, recent) = (self.wildcard, &mut self.recent);
        let flushed = self.queue.flush(
            |waiting| try_send(|| mmsg::send(socket, waiting.iter(), wildcard)),
            |transmit, outcome| match outcome {
                Ok(()) => {
                    counters.udp_sent += 1;
                    recent.note(transmit);
                }
                Err(error) => match error.raw_os_error() {
                    // The interface's queue or the kernel's memory is full for the moment: lost
                    // like any datagram, and no reason to give the target up.
                    Some(libc::ENOBUFS | libc::ENOMEM) => counters.udp_dropped += 1,
                    Some(libc::EMSGSIZE) => fail(transmit, SendError::TooLarge, counters, out),
                    Some(_) | None => fail(transmit, SendError::Os(error.kind()), counters, out),
                },
            },
        );
        flushed == Flushed::All
    }

    /// Reports datagrams that ICMP says cannot be delivered; if there are none, the task is woken when
    /// there are.
    pub(crate) fn poll_reports(
        &mut self,
        context: &mut Context<'_>,
        counters: &mut Counters,
        out: &mut Vec<Input>,
    ) {
        while self.troubled.as_mut().poll(context).is_ready() {
            self.troubled = Box::pin(trouble(self.socket.clone()));
            if !self.take_reports(counters, out) {
                self.troubled = Box::pin(std::future::ready(()));
                context.waker().wake_by_ref();
                return;
            }
        }
    }

    /// Takes a batch of reports; `false` if there may be more.
    fn take_reports(&mut self, counters: &mut Counters, out: &mut Vec<Input>) -> bool {
        let mut quote = [0; QUOTE_BYTES];
        for _ in 0..REPORTS_BATCH {
            match error_queue::take(self.socket.get_ref().as_fd(), &mut quote) {
                Ok(Some(Report { remote, kind, quoted })) => {
                    match self.recent.take(remote, &quote[..quoted]) {
                        Some(transmit) => {
                            fail(transmit, SendError::Unreachable(kind), counters, out)
                        }
                        None => counters.udp_reports_ignored += 1,
                    }
                }
                Ok(None) => counters.udp_reports_ignored += 1,
                Err(_) => return true,
            }
        }
        false
    }
}

async fn trouble(socket: Arc<AsyncFd<UdpSocket>>) {
    match socket.ready(Interest::ERROR).await {
        Ok(mut ready) => ready.clear_ready(),
        // The runtime is shutting down.
        Err(_) => std::future::pending().await,
    }
}

/// Sends, and again if the error may be another datagram's.
fn try_send(mut send: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    for _ in 1..SEND_ATTEMPTS {
        match send() {
            Err(error) if recent::may_be_of_earlier(&error) => {}
            outcome => return outcome,
        }
    }
    send()
}
