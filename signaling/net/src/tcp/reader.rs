//! The reading half of a connection.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use signaling_core::transport::Arrival;
use signaling_core::wire::FramingError;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout_at};

use super::Event;
use super::connection::{Activity, lost};
use super::cutter::{Cutter, Piece};
use super::pipe::{Pipe, Progress};
use crate::config::Limits;
use crate::input::CloseReason;

/// Why reading ended.
pub(super) enum Stop {
    Closed(CloseReason),
    /// The stream cannot be cut any further.
    Malformed(FramingError),
    /// The peer is told so with `last`.
    Ended {
        reason: CloseReason,
        last: Bytes,
    },
}

/// The answer to the latest ping, until the writer takes it: pings that come faster than they can be
/// answered share a pong (RFC 6455 5.5.3).
#[derive(Default)]
pub(super) struct Pongs {
    latest: Mutex<Option<Bytes>>,
    news: Notify,
}

impl Pongs {
    fn put(&self, pong: Bytes) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(pong);
        self.news.notify_one();
    }

    /// Waits for one. Nothing is lost when it is dropped while it waits.
    pub(super) async fn next(&self) -> Bytes {
        loop {
            self.news.notified().await;
            if let Some(pong) = self.latest.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return pong;
            }
        }
    }
}

/// Cuts what arrives and reports each message, in order, until the connection ends or cannot be cut.
/// Answers to pings go to `pongs`.
pub(super) async fn run(
    pipe: &Pipe,
    mut cutter: Cutter,
    arrival: Arrival,
    limits: &Limits,
    reports: &mpsc::Sender<Event>,
    pongs: &Pongs,
    activity: &Activity,
) -> Stop {
    let mut partial = Partial { limit: limits.partial_message, due: None };
    loop {
        loop {
            match cutter.next() {
                Ok(Some(Piece::Message(bytes))) => {
                    partial.due = None;
                    // The receiver is gone only when the transports are, and this task then ends.
                    let _ = reports.send(Event::Message { arrival, bytes }).await;
                }
                Ok(Some(Piece::Ping(pong))) => pongs.put(pong),
                Ok(None) => break,
                Err(stop) => return stop,
            }
        }
        partial.note(cutter.is_within());
        if partial.wait(pipe).await.is_err() {
            return Stop::Closed(CloseReason::SlowSender);
        }
        match pipe.read(|bytes| cutter.push(bytes)) {
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

    fn note(&mut self, is_within: bool) {
        if !is_within {
            self.due = None;
        } else if self.due.is_none() {
            self.due = Some(Instant::now() + self.limit);
        }
    }
}
