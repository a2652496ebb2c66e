//! The task of one connection.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use signaling_core::transport::{Arrival, ConnectionId};
use signaling_core::wire::FramingError;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::pipe::{Pipe, Progress};
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

    /// Shakes hands within the time for it; returns what has arrived behind the handshake.
    pub(super) async fn shake_hands(&mut self, pipe: &Pipe) -> Result<Vec<u8>, CloseReason> {
        let limit = self.limits.handshake;
        let done = tokio::select! {
            biased;
            () = self.cut() => return Err(CloseReason::Asked),
            done = timeout(limit, pipe.handshake()) => done,
        };
        match done {
            Ok(Ok((early, resumed))) => {
                self.report(Event::Secured { resumed }).await;
                Ok(early)
            }
            Ok(Err(error)) => Err(CloseReason::Handshake(error.to_string())),
            Err(_) => Err(CloseReason::Handshake(format!("not complete within {limit:?}"))),
        }
    }

    /// Refuses what could not be framed, if enough of a request is left to be answered; `true` if it
    /// was.
    async fn refuse(&mut self, pipe: &Pipe, error: &FramingError) -> bool {
        let Some(answer) = error.0.answer() else { return false };
        let last = answer.write(&self.tag(), self.arrival.remote);
        let refusal = self.writer.finish(pipe, last);
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

/// Sets what every connection has.
pub(super) fn prepare(stream: &TcpStream, limits: &Limits) {
    // A connection that fails at this is broken, and reading says so in a moment.
    let _ = stream.set_nodelay(true);
    // How long what is written may stay unacknowledged, or wait for a closed window (RFC 5482, tcp(7)).
    let _ = SockRef::from(stream).set_tcp_user_timeout(Some(limits.write_stall));
}

/// The task of a connection that was accepted.
pub(super) async fn accepted(mut link: Link, stream: TcpStream, guard: Option<Guard>) {
    prepare(&stream, &link.limits);
    let Some(Guard { session, place }) = guard else {
        return run(link, Pipe::plain(stream), Vec::new()).await;
    };
    let pipe = Pipe::tls(stream, session);
    match link.shake_hands(&pipe).await {
        Ok(early) => {
            drop(place);
            run(link, pipe, early).await;
        }
        Err(why) => link.end(End::Closed(why)).await,
    }
}

/// What an accepted connection needs besides for TLS.
pub(super) struct Guard {
    pub(super) session: rustls::Connection,
    /// Its place among the handshakes in progress.
    pub(super) place: OwnedSemaphorePermit,
}

/// Carries messages both ways until the connection ends, then reports why. `early` has arrived before.
pub(super) async fn run(mut link: Link, pipe: Pipe, early: Vec<u8>) {
    let stop = carry(&mut link, &pipe, early).await;
    let (reason, orderly) = match stop {
        Stop::Closed(reason) => {
            let asked = reason == CloseReason::Asked;
            (reason, asked)
        }
        Stop::Malformed(error) => {
            let refused = link.refuse(&pipe, &error).await;
            (CloseReason::Malformed(error.0.to_string()), refused)
        }
    };
    if orderly {
        tokio::select! {
            () = linger(&pipe) => {}
            () = link.cut() => {}
        }
    } else {
        // What becomes of it does not matter: the connection ends either way.
        let _ = pipe.end();
    }
    drop(pipe);
    link.end(End::Closed(reason)).await;
}

async fn carry(link: &mut Link, pipe: &Pipe, early: Vec<u8>) -> Stop {
    let Link { arrival, limits, writer, cut, reports, .. } = link;
    let (activity, ping) = (Activity::new(), Notify::new());
    tokio::select! {
        biased;
        _ = cut => Stop::Closed(CloseReason::SlowReader),
        reason = writer.run(pipe, &ping, &activity) => Stop::Closed(reason),
        stop = reader::run(pipe, &early, *arrival, limits, reports, &ping, &activity) => stop,
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
async fn linger(pipe: &Pipe) {
    if pipe.end().is_err() {
        return;
    }
    let until_end = async {
        while pipe.readable().await.is_ok() {
            match pipe.read(|_| {}) {
                Ok(Progress::Some) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(Progress::End) | Err(_) => return,
            }
        }
    };
    let _ = timeout(LINGER, until_end).await;
}
