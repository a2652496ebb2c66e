//! Accepting connections.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use signaling_core::transport::{ListenerId, Transport};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep};

use crate::counters::Counters;
use crate::marking::marking;

/// Connections accepted at a time, so that messages get their turn between.
const ACCEPT_BATCH: usize = 64;

/// How long accepting rests when there is no descriptor or memory left for a connection; those that
/// come meanwhile wait in the kernel's backlog.
const PAUSE: Duration = Duration::from_millis(100);

/// A listening socket.
pub(super) struct Acceptor {
    listener: ListenerId,
    transport: Transport,
    socket: TcpListener,
    bound: SocketAddr,
    dscp: u8,
    pause: Option<Pin<Box<Sleep>>>,
    /// The shortage has been logged, and has not ended since.
    warned: bool,
}

impl Acceptor {
    pub(super) fn new(
        listener: ListenerId,
        transport: Transport,
        socket: std::net::TcpListener,
    ) -> io::Result<Acceptor> {
        let bound = socket.local_addr()?;
        let dscp = marking(&socket, bound)?;
        Ok(Acceptor {
            listener,
            transport,
            socket: TcpListener::from_std(socket)?,
            bound,
            dscp,
            pause: None,
            warned: false,
        })
    }

    pub(super) const fn listener(&self) -> ListenerId {
        self.listener
    }

    pub(super) const fn transport(&self) -> Transport {
        self.transport
    }

    pub(super) const fn bound(&self) -> SocketAddr {
        self.bound
    }

    /// The code point that its connections are marked with.
    pub(super) const fn dscp(&self) -> u8 {
        self.dscp
    }

    /// Hands what can be accepted to `adopt`; if there is nothing (more), the task is woken when there is.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        counters: &mut Counters,
        mut adopt: impl FnMut(TcpStream, SocketAddr, &mut Counters),
    ) {
        if let Some(pause) = &mut self.pause {
            if pause.as_mut().poll(context).is_pending() {
                return;
            }
            self.pause = None;
        }
        for _ in 0..ACCEPT_BATCH {
            match self.socket.poll_accept(context) {
                Poll::Ready(Ok((stream, remote))) => {
                    self.warned = false;
                    adopt(stream, remote, counters);
                }
                Poll::Ready(Err(error)) if is_shortage(&error) => {
                    counters.tcp_accept_paused += 1;
                    self.warn(&error);
                    return self.rest(context);
                }
                // The peer gave up before we came to it (accept(2) lists what may be reported): the next one.
                Poll::Ready(Err(_)) => {}
                Poll::Pending => return,
            }
        }
        context.waker().wake_by_ref();
    }

    fn warn(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.warned, true) {
            let address = self.bound;
            tracing::warn!(
                %address, %error,
                "cannot accept connections: raise LimitNOFILE or lower the connection limit"
            );
        }
    }

    fn rest(&mut self, context: &mut Context<'_>) {
        let mut pause = Box::pin(sleep(PAUSE));
        if pause.as_mut().poll(context).is_ready() {
            context.waker().wake_by_ref();
        }
        self.pause = Some(pause);
    }
}

fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}
