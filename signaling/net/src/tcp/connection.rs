//! The task of one connection.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use signaling_core::transport::{Arrival, ConnectionId};
use signaling_core::wire::FramingError;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::reader::{self, Stop};
use super::table::Controls;
use super::writer::Writer;
use super::{End, Event};
use crate::config::Limits;
use crate::input::CloseReason;

/// How long a connection that we close is still read from (and the bytes thrown away) until the peer
/// closes too. Closing with bytes unread would reset it, and a reset may overtake what was written.
const LINGER: Duration = Duration::from_secs(1);

/// What a connection's task knows of itself.
pub(super) struct Link {
    pub(super) connection: ConnectionId,
    /// Where its messages come from.
    pub(super) arrival: Arrival,
    pub(super) limits: Limits,
    writer: Writer,
    cut: oneshot::Receiver<()>,
    reports: mpsc::Sender<Event>,
}

impl Link {
    pub(super) fn new(
        connection: ConnectionId,
        arrival: Arrival,
        limits: Limits,
        controls: Controls,
        reports: mpsc::Sender<Event>,
    ) -> Link {
        let writer = Writer::new(controls.outgoing);
        Link { connection, arrival, limits, writer, cut: controls.cut, reports }
    }

    /// Resolves when the connection shall end at once.
    pub(super) async fn cut(&mut self) {
        let _ = (&mut self.cut).await;
    }

    /// Refuses what could not be framed, if enough of a request is left to be answered; `true` if it
    /// was.
    async fn refuse(&mut self, stream: &mut TcpStream, error: &FramingError) -> bool {
        let Some(answer) = error.0.answer() else { return false };
        let last = answer.write(&self.tag(), self.arrival.remote);
        let (_, sending) = stream.split();
        let refusal = self.writer.finish(sending, last);
        tokio::select! {
            biased;
            _ = &mut self.cut => false,
            refused = timeout(LINGER, refusal) => matches!(refused, Ok(Ok(()))),
        }
    }

    /// A To-tag that no two connections share, within a run and (by the hasher's random key) beyond.
    fn tag(&self) -> String {
        format!("{:016x}", RandomState::new().hash_one(self.connection.0))
    }

    /// Reports to the core, when it has room.
    pub(super) async fn report(&self, event: Event) {
        // The receiver is gone only when the transports are: nobody is left to tell.
        let _ = self.reports.send(event).await;
    }

    /// The last report.
    pub(super) async fn end(self, end: End) {
        let Link { connection, writer, reports, .. } = self;
        let unsent = writer.into_unsent();
        let _ = reports.send(Event::Ended { connection, end, unsent }).await;
    }
}

/// When something last moved on a connection, in either direction.
pub(super) struct Activity {
    start: Instant,
    last_ms: AtomicU64,
}

impl Activity {
    fn new() -> Activity {
        Activity { start: Instant::now(), last_ms: AtomicU64::new(0) }
    }

    /// Something moved.
    pub(super) fn touch(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(now, Ordering::Relaxed);
    }

    /// Resolves when nothing has moved for `limit`.
    async fn idle(&self, limit: Duration) {
        loop {
            let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            let due = self.start + last + limit;
            if Instant::now() >= due {
                return;
            }
            sleep_until(due).await;
        }
    }
}

/// Carries messages both ways until the connection ends, then reports why.
pub(super) async fn run(mut link: Link, mut stream: TcpStream) {
    // A connection that fails at this is broken, and reading says so in a moment.
    let _ = stream.set_nodelay(true);
    // How long what is written may stay unacknowledged, or wait for a closed window (RFC 5482, tcp(7)).
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(link.limits.write_stall));
    let stop = carry(&mut link, &mut stream).await;
    let (reason, orderly) = match stop {
        Stop::Closed(reason) => {
            let asked = reason == CloseReason::Asked;
            (reason, asked)
        }
        Stop::Malformed(error) => {
            let refused = link.refuse(&mut stream, &error).await;
            (CloseReason::Malformed(error.0.to_string()), refused)
        }
    };
    if orderly {
        tokio::select! {
            () = linger(&mut stream) => {}
            () = link.cut() => {}
        }
    }
    drop(stream);
    link.end(End::Closed(reason)).await;
}

async fn carry(link: &mut Link, stream: &mut TcpStream) -> Stop {
    let Link { arrival, limits, writer, cut, reports, .. } = link;
    let (activity, ping) = (Activity::new(), Notify::new());
    let (receiving, sending) = stream.split();
    tokio::select! {
        biased;
        _ = cut => Stop::Closed(CloseReason::SlowReader),
        reason = writer.run(sending, &ping, &activity) => Stop::Closed(reason),
        stop = reader::run(receiving, *arrival, limits, reports, &ping, &activity) => stop,
        () = activity.idle(limits.idle) => Stop::Closed(CloseReason::Idle),
    }
}

/// Why a connection that fails with `error` has ended.
pub(super) fn lost(error: &io::Error) -> CloseReason {
    if error.kind() == io::ErrorKind::TimedOut {
        // The user timeout that `run` sets.
        return CloseReason::SlowReader;
    }
    CloseReason::Lost(error.kind())
}

/// Ends our side and waits for the peer to end its own.
async fn linger(stream: &mut TcpStream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut waste = [0; 1_024];
    let until_end =
        async { while matches!(stream.read(&mut waste).await, Ok(count) if count > 0) {} };
    let _ = timeout(LINGER, until_end).await;
}
