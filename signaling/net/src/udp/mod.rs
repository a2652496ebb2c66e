//! UDP listeners.

mod address;
mod block;
mod mmsg;
mod send_queue;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::task::{Context, Poll};

use signaling_core::transport::{Arrival, ListenerId, Transmit, Transport};
use signaling_core::wire;
use tokio::io::unix::AsyncFd;

pub(crate) use self::block::Block;
pub(crate) use self::mmsg::Scratch;
use self::mmsg::{BATCH_MAX, Received};
use self::send_queue::{Flushed, SendQueue};
use crate::counters::Counters;
use crate::input::{Input, SendError};

/// A UDP socket that is listened on and sent from.
pub(crate) struct UdpListener {
    listener: ListenerId,
    socket: AsyncFd<UdpSocket>,
    bound: SocketAddr,
    /// The kernel tells the local address of each datagram, and we tell it the source of each.
    wildcard: bool,
    queue: SendQueue,
}

impl UdpListener {
    /// Needs a running tokio runtime.
    pub(crate) fn new(listener: ListenerId, socket: UdpSocket) -> io::Result<UdpListener> {
        let bound = socket.local_addr()?;
        let wildcard = bound.ip().is_unspecified();
        // SAFETY: the UdpSocket owns its descriptor, and is neither replaced nor closed while the
        // AsyncFd owns it.
        let socket = unsafe { AsyncFd::register(socket)? };
        Ok(UdpListener { listener, socket, bound, wildcard, queue: SendQueue::default() })
    }

    pub(crate) const fn bound(&self) -> SocketAddr {
        self.bound
    }

    /// How many messages wait for the socket.
    pub(crate) fn unsent(&self) -> usize {
        self.queue.len()
    }

    /// Whether messages wait for the socket.
    pub(crate) fn has_unsent(&self) -> bool {
        !self.queue.is_empty()
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
        while let Poll::Ready(ready) = self.socket.poll_read_ready(context) {
            let Ok(mut ready) = ready else { return };
            match scratch.receive(self.socket.get_ref().as_fd()) {
                Ok(count) => {
                    // A batch that is not full has emptied the socket; a datagram that came since
                    // then raises readiness anew.
                    if count < BATCH_MAX {
                        ready.clear_ready();
                    }
                    let before = out.len();
                    self.hand_on(scratch, count, block, counters, out);
                    if out.len() > before {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                // What recvmsg reports besides is of one packet or of the moment (ENOMEM); the
                // socket stays ready and the next batch tries again.
                Err(error) => {
                    tracing::debug!(listener = self.listener.0, %error, "UDP receive failed");
                    context.waker().wake_by_ref();
                    return;
                }
            }
        }
    }

    fn hand_on(
        &self,
        scratch: &Scratch,
        count: usize,
        block: &mut Block,
        counters: &mut Counters,
        out: &mut Vec<Input>,
    ) {
        for (received, datagram) in (0..count).filter_map(|place| scratch.datagram(place)) {
            if wire::is_keep_alive(datagram) {
                counters.udp_keep_alives += 1;
                continue;
            }
            counters.udp_received += 1;
            let arrival = self.arrival(&received);
            out.push(Input::Message { arrival, bytes: block.copy(datagram) });
        }
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

    /// Sends what waits, as far as the socket takes it, and reports what fails into `out`.
    pub(crate) fn flush(&mut self, counters: &mut Counters, out: &mut Vec<Input>) {
        let _ = self.try_flush(counters, out);
    }

    /// Sends what waits; if the socket takes no more, the task is woken when it does.
    pub(crate) fn poll_flush(
        &mut self,
        context: &mut Context<'_>,
        counters: &mut Counters,
        out: &mut Vec<Input>,
    ) {
        while self.has_unsent() {
            if self.try_flush(counters, out) == Flushed::All {
                return;
            }
            let Poll::Ready(Ok(mut ready)) = self.socket.poll_write_ready(context) else { return };
            ready.clear_ready();
        }
    }

    fn try_flush(&mut self, counters: &mut Counters, out: &mut Vec<Input>) -> Flushed {
        let socket = self.socket.get_ref().as_fd();
        let wildcard = self.wildcard;
        let mut sent = 0;
        let flushed = self.queue.flush(
            |waiting| {
                let count = mmsg::send(socket, waiting.iter(), wildcard)?;
                sent += count as u64;
                Ok(count)
            },
            |transmit, error| match error.raw_os_error() {
                // The interface's queue or the kernel's memory is full for the moment: lost like
                // any datagram, and no reason to give the target up.
                Some(libc::ENOBUFS | libc::ENOMEM) => counters.udp_dropped += 1,
                Some(libc::EMSGSIZE) => fail(transmit, SendError::TooLarge, counters, out),
                Some(_) | None => fail(transmit, SendError::Os(error.kind()), counters, out),
            },
        );
        counters.udp_sent += sent;
        flushed
    }
}

fn fail(transmit: Transmit, error: SendError, counters: &mut Counters, out: &mut Vec<Input>) {
    counters.send_failed += 1;
    out.push(Input::SendFailed { target: transmit.target, bytes: transmit.bytes, error });
}
