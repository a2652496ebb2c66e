//! The signaling thread's end of the mesh: connections in use are read and written in its own turns, as its
//! sockets are, so that a message of another member costs it no more wake-ups and system calls than one
//! that comes from outside.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use control_core::cluster::MemberId;
use control_core::mesh::Frame;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::MeshHandle;
use super::inbox::Waking;
use super::outgoing::SendError;
use super::pipe::{Pipe, Read, Socket, Written};
use super::shared::Shared;

/// Up to so many connections it is cheaper to look at each than to ask the runtime which has something.
const FEW: usize = 4;

/// One connection.
struct Line {
    pipe: Arc<Pipe>,
    member: MemberId,
    fd: AsyncFd<Socket>,
    /// Something waits that this thread has left there.
    is_owed: bool,
    /// What it said last may not have been all.
    has_more: bool,
}

/// All connections. Without it, or once it is dropped, the mesh's own thread reads and writes them.
pub(crate) struct Pump {
    shared: Arc<Shared>,
    lines: Vec<Line>,
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.shared.pumped.send_replace(false);
    }
}

impl Pump {
    /// Takes over reading and writing. Has to be called inside the runtime that
    /// [`Pump::readable`] is called in.
    pub(crate) fn new(handle: &MeshHandle) -> Pump {
        let shared = Arc::clone(&handle.shared);
        shared.pumped.send_replace(true);
        Pump { shared, lines: Vec::new() }
    }

    /// As [`MeshHandle::send`], to be written by [`Pump::flush`].
    ///
    /// # Errors
    /// As [`MeshHandle::send`].
    pub(crate) fn send(&mut self, member: MemberId, frame: &Frame) -> Result<(), SendError> {
        match self.lines.iter_mut().find(|line| line.member == member && line.pipe.is_open()) {
            Some(line) => {
                line.is_owed = true;
                let peer = &line.pipe.peer;
                peer.out.push(frame, &peer.figures).map(drop)
            }
            None => self.shared.by_id(member).ok_or(SendError::NotConnected)?.send(frame),
        }
    }

    /// As [`MeshHandle::send_all`], to be written by [`Pump::flush`].
    pub(crate) fn send_all(&mut self, frame: &Frame) -> usize {
        let mut sent = 0;
        for peer in self.shared.all() {
            let is_its = |line: &&mut Line| Arc::ptr_eq(&line.pipe.peer, &peer);
            let pushed = match self.lines.iter_mut().find(is_its) {
                Some(line) => {
                    line.is_owed = true;
                    peer.out.push(frame, &peer.figures).map(drop)
                }
                None => peer.send(frame),
            };
            sent += usize::from(pushed.is_ok());
        }
        sent
    }

    /// Writes what this thread has left for other members; what the system does not take at once is the
    /// mesh's thread's.
    pub(crate) fn flush(&mut self) {
        for line in &mut self.lines {
            if !std::mem::take(&mut line.is_owed) || line.pipe.is_blocked() {
                continue;
            }
            match line.pipe.write() {
                Written::All | Written::Over => {}
                Written::Blocked | Written::More => line.pipe.peer.out.wake(),
            }
        }
    }

    /// How many connections it has.
    #[cfg(test)]
    pub(super) fn lines(&self) -> usize {
        self.lines.len()
    }

    /// Whether [`Pump::read_now`] costs less than to ask the runtime.
    pub(crate) fn is_small(&self) -> bool {
        self.lines.len() <= FEW
    }

    /// Reads what has come on all connections, without asking the runtime.
    pub(crate) fn read_now(&mut self) {
        self.take_over();
        for line in &mut self.lines {
            line.read(&self.shared);
        }
        self.lines.retain(Line::is_open);
    }

    /// Reads what has come on those connections that the runtime knows to have something.
    pub(crate) fn read_ready(&mut self) {
        self.take_over();
        let mut context = Context::from_waker(Waker::noop());
        for line in &mut self.lines {
            line.read_if_ready(&self.shared, &mut context);
        }
        self.lines.retain(Line::is_open);
    }

    /// Waits until there is something for [`Pump::read_ready`]. Cancel-safe.
    pub(crate) async fn readable(&self) {
        poll_fn(|context| {
            let mut is_ready = false;
            // Each, so that each wakes whoever waits.
            for line in &self.lines {
                is_ready |= line.has_more || line.fd.poll_read_ready(context).is_ready();
            }
            if is_ready { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Takes connections that have come up.
    fn take_over(&mut self) {
        for pipe in self.shared.take_handed() {
            match pipe.socket.watch(Interest::READABLE) {
                Ok(fd) => {
                    let member = pipe.member;
                    let line = Line { pipe, member, fd, is_owed: false, has_more: true };
                    self.lines.push(line);
                }
                // The mesh's thread reads what nobody else does, if late.
                Err(error) => tracing::error!(
                    member = %pipe.peer.name,
                    "its messages will be late, as its connection cannot be watched: {error}"
                ),
            }
        }
    }
}

impl Line {
    fn is_open(&self) -> bool {
        self.pipe.is_open()
    }

    fn read(&mut self, shared: &Shared) -> Read {
        let read = self.pipe.read(shared, Waking::Others);
        self.has_more = read == Read::More;
        read
    }

    fn read_if_ready(&mut self, shared: &Shared, context: &mut Context<'_>) {
        if self.has_more && self.read(shared) == Read::More {
            return;
        }
        match self.fd.poll_read_ready(context) {
            Poll::Ready(Ok(mut ready)) => {
                let read = self.pipe.read(shared, Waking::Others);
                self.has_more = read == Read::More;
                if read == Read::Drained {
                    ready.clear_ready();
                }
            }
            // The runtime is shutting down: the mesh's thread goes on.
            Poll::Ready(Err(_)) | Poll::Pending => {}
        }
    }
}
