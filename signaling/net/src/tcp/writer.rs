//! The writing half of a connection.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};
use signaling_core::transport::Transmit;
use signaling_core::ws;

use super::connection::{Activity, lost};
use super::outbound::Outgoing;
use super::pipe::Pipe;
use super::reader::Pongs;
use crate::input::CloseReason;

/// Messages in one write: they share system calls and segments, while the queue is looked at often.
const WRITE_BATCH: usize = 16;

/// A message, what stands before one, or a pong, that is being written.
struct Pending {
    /// What is left of it.
    rest: Bytes,
    /// The message, for when it fails; `None` for the rest.
    transmit: Option<Transmit>,
}

/// Writes what the queue holds, in order. It is kept apart from the future that drives it, so that
/// nothing is lost when that is dropped.
pub(super) struct Writer {
    outgoing: Outgoing,
    /// Each message is in a frame of its own (RFC 7118 5.2).
    is_web_socket: bool,
    pending: VecDeque<Pending>,
}

impl Writer {
    pub(super) fn new(outgoing: Outgoing, is_web_socket: bool) -> Writer {
        Writer { outgoing, is_web_socket, pending: VecDeque::new() }
    }

    /// Writes until the queue has ended and everything is written ([`CloseReason::Asked`]) or
    /// writing fails. Writes `pongs`, too.
    pub(super) async fn run(
        &mut self,
        pipe: &Pipe,
        pongs: &Pongs,
        activity: &Activity,
    ) -> CloseReason {
        loop {
            if !self.gather(pongs).await {
                return CloseReason::Asked;
            }
            while !self.pending.is_empty() {
                match self.write(pipe).await {
                    Ok(count) => self.advance(count),
                    Err(error) => return lost(&error),
                }
                activity.touch();
            }
        }
    }

    /// Writes what is left and `last` behind it.
    ///
    /// # Errors
    /// The system's; what was not written stays unsent.
    pub(super) async fn finish(&mut self, pipe: &Pipe, last: Bytes) -> io::Result<()> {
        while let Ok(transmit) = self.outgoing.queue.try_recv() {
            self.take(transmit);
        }
        self.pending.push_back(Pending { rest: last, transmit: None });
        while !self.pending.is_empty() {
            let count = self.write(pipe).await?;
            self.advance(count);
        }
        Ok(())
    }

    /// Waits for something to write and takes what is there; `false` if nothing will ever be.
    async fn gather(&mut self, pongs: &Pongs) -> bool {
        tokio::select! {
            biased;
            message = self.outgoing.queue.recv() => match message {
                Some(transmit) => self.take(transmit),
                None => return false,
            },
            pong = pongs.next() => self.pending.push_back(Pending { rest: pong, transmit: None }),
        }
        while self.pending.len() < WRITE_BATCH {
            let Ok(transmit) = self.outgoing.queue.try_recv() else { break };
            self.take(transmit);
        }
        true
    }

    fn take(&mut self, transmit: Transmit) {
        if self.is_web_socket {
            let header = ws::message_header(&transmit.bytes);
            self.pending.push_back(Pending { rest: header, transmit: None });
        }
        self.pending.push_back(Pending { rest: transmit.bytes.clone(), transmit: Some(transmit) });
    }

    async fn write(&self, pipe: &Pipe) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); WRITE_BATCH];
        for (slice, pending) in slices.iter_mut().zip(&self.pending) {
            *slice = IoSlice::new(&pending.rest);
        }
        let count = self.pending.len().min(WRITE_BATCH);
        pipe.write_vectored(&slices[..count]).await
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(first) = self.pending.front_mut() {
            if count < first.rest.len() {
                first.rest.advance(count);
                return;
            }
            count -= first.rest.len();
            if let Some(transmit) = &first.transmit {
                self.outgoing.written(transmit.bytes.len());
            }
            self.pending.pop_front();
        }
    }

    /// What was not (wholly) written, in order. Closes the queue.
    pub(super) fn into_unsent(mut self) -> Vec<Transmit> {
        self.outgoing.queue.close();
        let mut unsent: Vec<Transmit> =
            self.pending.into_iter().filter_map(|pending| pending.transmit).collect();
        while let Ok(transmit) = self.outgoing.queue.try_recv() {
            unsent.push(transmit);
        }
        unsent
    }
}
