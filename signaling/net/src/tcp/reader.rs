//! The reading half of a connection.

use std::io;
use std::time::Duration;

use signaling_core::transport::Arrival;
use signaling_core::wire::{Frame, FramingError, StreamFramer};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout_at};

use super::Event;
use super::connection::{Activity, lost};
use super::pipe::{Pipe, Progress};
use crate::config::Limits;
use crate::input::CloseReason;

/// What may wait in the framer without being part of a message: a CRLF of which it is not known yet
/// whether another follows (RFC 5626 3.5.1). Phones send one alone as a keep-alive.
const LINE_ENDS_MAX: usize = 3;

/// Why reading ended.
pub(super) enum Stop {
    Closed(CloseReason),
    /// The stream cannot be cut any further.
    Malformed(FramingError),
}

/// Frames what arrives, behind what has arrived `early`, and reports each message, in order, until the
/// connection ends or its stream cannot be framed. Notifies `ping` of each ping.
pub(super) async fn run(
    pipe: &Pipe,
    early: &[u8],
    arrival: Arrival,
    limits: &Limits,
    reports: &mpsc::Sender<Event>,
    ping: &Notify,
    activity: &Activity,
) -> Stop {
    let mut framer = StreamFramer::new(limits.framing);
    let mut partial = Partial { limit: limits.partial_message, due: None };
    framer.push(early);
    loop {
        loop {
            match framer.next() {
                Ok(Some(Frame::Message(bytes))) => {
                    partial.due = None;
                    // The receiver is gone only when the transports are, and this task then ends.
                    let _ = reports.send(Event::Message { arrival, bytes }).await;
                }
                Ok(Some(Frame::KeepAlivePing)) => ping.notify_one(),
                Ok(None) => break,
                Err(error) => return Stop::Malformed(error),
            }
        }
        partial.note(framer.pending());
        if partial.wait(pipe).await.is_err() {
            return Stop::Closed(CloseReason::SlowSender);
        }
        match pipe.read(|bytes| framer.push(bytes)) {
            Ok(Progress::End) => return Stop::Closed(CloseReason::Peer),
            Ok(Progress::Some) => activity.touch(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Stop::Closed(lost(&error)),
        }
    }
}

/// When the message that has begun must be complete. Bytes that trickle in do not move it.
struct Partial {
    limit: Duration,
    due: Option<Instant>,
}

impl Partial {
    /// Waits until there is something to read; fails when the message is overdue.
    async fn wait(&self, pipe: &Pipe) -> Result<(), tokio::time::error::Elapsed> {
        // An error of the socket is met, and reported, by the read that follows.
        match self.due {
            Some(due) => timeout_at(due, pipe.readable()).await.map(|_| ()),
            None => {
                let _ = pipe.readable().await;
                Ok(())
            }
        }
    }

    fn note(&mut self, pending: usize) {
        if pending <= LINE_ENDS_MAX {
            self.due = None;
        } else if self.due.is_none() {
            self.due = Some(Instant::now() + self.limit);
        }
    }
}
