//! The task of one connection.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};
use signaling_core::transport::{Arrival, ConnectionId};
use signaling_core::ws::{self, CloseCode};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::cutter::Cutter;
use super::pipe::{Pipe, Progress};
use super::reader::{self, Pongs, Stop};
use super::table::Controls;
use super::writer::Writer;
use super::{End, Event};
use crate::config::Limits;
use crate::input::CloseReason;
use crate::upgrade::{self, Answer};

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
        let writer = Writer::new(controls.outgoing, arrival.transport.is_web_socket());
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
                let (connection, peer) = (self.connection, pipe.peer().map(Box::new));
                self.report(Event::Secured { connection, resumed, peer }).await;
                Ok(early)
            }
            Ok(Err(error)) => Err(CloseReason::Handshake(error.to_string())),
            Err(_) => Err(CloseReason::Handshake(format!("not complete within {limit:?}"))),
        }
    }

    /// Opens the WebSocket that the peer asks for, within the time for handshakes. `early` has arrived
    /// before; returns what has arrived behind the request.
    async fn upgrade(
        &mut self,
        pipe: &Pipe,
        early: Vec<u8>,
        origins: &[String],
    ) -> Result<Vec<u8>, CloseReason> {
        let limit = self.limits.handshake;
        let done = tokio::select! {
            biased;
            () = self.cut() => return Err(CloseReason::Asked),
            done = timeout(limit, upgrade(pipe, early, origins)) => done,
        };
        let done = done.unwrap_or_else(|_| {
            Err(CloseReason::Upgrade(format!("not complete within {limit:?}")))
        });
        if done.is_ok() {
            self.report(Event::Upgraded).await;
        }
        done
    }

    /// Writes what waits, and `last` behind it; `true` if it could.
    async fn say_last(&mut self, pipe: &Pipe, last: Bytes) -> bool {
        let said = self.writer.finish(pipe, last);
        tokio::select! {
            biased;
            _ = &mut self.cut => false,
            said = timeout(LINGER, said) => matches!(said, Ok(Ok(()))),
        }
    }

    /// Why a connection ends, and how.
    fn farewell(&self, stop: Stop) -> (CloseReason, Farewell) {
        let is_web = self.arrival.transport.is_web_socket();
        match stop {
            Stop::Closed(reason @ (CloseReason::Asked | CloseReason::Idle)) if is_web => {
                (reason, Farewell::Say(ws::close(Some(CloseCode::AWAY))))
            }
            Stop::Closed(CloseReason::Asked) => (CloseReason::Asked, Farewell::Orderly),
            Stop::Closed(reason) => (reason, Farewell::None),
            // Refused, if enough of a request is left to be answered.
            Stop::Malformed(error) => {
                let answer = error.0.answer();
                let answer = answer.map(|answer| answer.write(&self.tag(), self.arrival.remote));
                let farewell = answer.map_or(Farewell::None, Farewell::Say);
                (CloseReason::Malformed(error.0.to_string()), farewell)
            }
            Stop::Ended { reason, last } => (reason, Farewell::Say(last)),
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
    let Some(Guard { session, origins, place }) = guard else {
        return run(link, Pipe::plain(stream), Vec::new()).await;
    };
    let pipe = match session {
        Some(session) => Pipe::tls(stream, session),
        None => Pipe::plain(stream),
    };
    let mut early = Vec::new();
    if pipe.is_tls() {
        match link.shake_hands(&pipe).await {
            Ok(behind) => early = behind,
            Err(why) => return link.end(End::Closed(why)).await,
        }
    }
    if let Some(origins) = origins {
        match link.upgrade(&pipe, early, &origins).await {
            Ok(behind) => early = behind,
            Err(why) => {
                drop(place);
                tokio::select! {
                    () = linger(&pipe) => {}
                    () = link.cut() => {}
                }
                return link.end(End::Closed(why)).await;
            }
        }
    }
    drop(place);
    run(link, pipe, early).await;
}

/// Opens the WebSocket that the peer asks for.
async fn upgrade(
    pipe: &Pipe,
    mut bytes: Vec<u8>,
    origins: &[String],
) -> Result<Vec<u8>, CloseReason> {
    loop {
        match upgrade::answer(&bytes, origins) {
            Answer::Incomplete => {}
            Answer::Accepted { response, used } => {
                write_all(pipe, response).await.map_err(|error| lost(&error))?;
                bytes.drain(..used);
                return Ok(bytes);
            }
            Answer::Refused { response, why } => {
                write_all(pipe, response).await.map_err(|error| lost(&error))?;
                return Err(CloseReason::Upgrade(why.to_owned()));
            }
        }
        pipe.readable().await.map_err(|error| lost(&error))?;
        match pipe.read(|read| bytes.extend_from_slice(read)) {
            Ok(Progress::Some) => {}
            Ok(Progress::End) => {
                return Err(CloseReason::Upgrade("the peer asked for none".to_owned()));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(lost(&error)),
        }
    }
}

async fn write_all(pipe: &Pipe, mut bytes: Bytes) -> io::Result<()> {
    while bytes.has_remaining() {
        let count = pipe.write_vectored(&[IoSlice::new(&bytes)]).await?;
        bytes.advance(count);
    }
    Ok(())
}

/// What is said before a connection ends.
enum Farewell {
    /// Nothing; it ends at once.
    None,
    /// Nothing more than was written.
    Orderly,
    /// This.
    Say(Bytes),
}

/// What an accepted connection needs besides for TLS, or for a WebSocket.
pub(super) struct Guard {
    /// What TLS begins with.
    pub(super) session: Option<rustls::Connection>,
    /// For a WebSocket: whose pages may open one.
    pub(super) origins: Option<Arc<[String]>>,
    /// Its place among the handshakes in progress.
    pub(super) place: OwnedSemaphorePermit,
}

/// Carries messages both ways until the connection ends, then reports why. `early` has arrived before.
pub(super) async fn run(mut link: Link, pipe: Pipe, early: Vec<u8>) {
    let stop = carry(&mut link, &pipe, early).await;
    let (reason, farewell) = link.farewell(stop);
    let orderly = match farewell {
        Farewell::None => false,
        Farewell::Orderly => true,
        Farewell::Say(last) => link.say_last(&pipe, last).await,
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
    let (activity, pongs) = (Activity::new(), Pongs::default());
    let cutter = Cutter::new(arrival.transport, limits.framing, &early);
    drop(early);
    tokio::select! {
        biased;
        _ = cut => Stop::Closed(CloseReason::SlowReader),
        reason = writer.run(pipe, &pongs, &activity) => Stop::Closed(reason),
        stop = reader::run(pipe, cutter, *arrival, limits, reports, &pongs, &activity) => stop,
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
