//! A connection in use: what waits is written, what comes is handed on.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use control_core::cluster::MemberId;
use control_core::mesh::{Cut, Frame, Goodbye, Hello, Leave, Liveness, Malformed, cut};
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf,
};
use tokio::time::timeout;

use super::greet::{READ_BYTES, Ready, part};
use super::inbox::MeshEvent;
use super::outgoing::Taken;
use super::peer::Peer;
use super::shared::Shared;

/// How long a last word may take.
const LAST_WORD: Duration = Duration::from_millis(200);
/// Bytes read at a time after it.
const UNREAD_BYTES: usize = 2_048;
/// A member that takes nothing at all of what waits for it within this stands still, also if it shows signs
/// of life: twice the silence after which it would be down.
const STALLED_AFTER: Duration = Duration::from_secs(2);

/// Why a connection has ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    /// The other side closed it without a word.
    #[error("closed without a word")]
    Closed,
    /// The network or TLS.
    #[error("{0}")]
    Io(io::Error),
    /// What came makes no sense.
    #[error("it has sent {0}")]
    Malformed(Malformed),
    /// It sent what members do not send at that point.
    #[error("it has sent what it may not: {0}")]
    Unexpected(String),
    /// More waits for it than may, of what must not be left out.
    #[error("it takes what it is sent too slowly")]
    TooSlow,
    /// More of what it has sent waits here than may.
    #[error("it has sent more than this member takes")]
    TooMuch,
    /// It has said why.
    #[error("it says goodbye: {0:?}")]
    Goodbye(Leave),
    /// This member has said goodbye.
    #[error("this member leaves")]
    Left,
    /// It is down, or another connection has replaced this one.
    #[error("it is down, or has another connection")]
    Killed,
}

impl Ended {
    /// What the other side is told; `None`: it knows, or would not hear it.
    const fn last_word(&self) -> Option<Leave> {
        match self {
            Ended::Malformed(_) | Ended::Unexpected(_) | Ended::TooMuch => Some(Leave::Broken),
            Ended::Closed
            | Ended::Io(_)
            | Ended::TooSlow
            | Ended::Goodbye(_)
            | Ended::Left
            | Ended::Killed => None,
        }
    }
}

/// Uses a connection until it ends.
pub(super) async fn run<S: AsyncRead + AsyncWrite + Unpin>(shared: &Arc<Shared>, ready: Ready<S>) {
    let Ready { stream, buffer, peer, hello, link, .. } = ready;
    tracing::info!(
        member = %peer.name, incarnation = %hello.member.incarnation, version = link.version,
        "connected"
    );
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut is_writing = false;
    let mut reading = Reading::new(shared, &peer, hello);
    let ended = tokio::select! {
        biased;
        // First: what comes on a connection that was replaced is not to be mixed with what comes on its
        // successor.
        () = link.kill.notified() => Ended::Killed,
        ended = reading.run(&mut reader, buffer) => ended,
        ended = write(&peer, link.number, &mut writer, &mut is_writing) => ended,
        () = peer.out.overflows(link.number) => Ended::TooSlow,
        () = peer.requests.expire() => Ended::Left,
    };
    let parting = shared.parting.begin();
    end(shared, &peer, link.number, &ended);
    // In the middle of a frame nothing else can be said.
    let why = ended.last_word().filter(|_| !is_writing);
    if why.is_some() || matches!(ended, Ended::Left) {
        // Whether it is heard does not matter.
        let _ = timeout(LAST_WORD, hang_up(&mut reader, &mut writer, why)).await;
    }
    drop(parting);
}

/// Says the last word, if it has not been said, and that nothing else comes. What still comes is read until
/// the other side has done the same: a connection that is closed with something unread is reset, which takes
/// words with it that the other side has yet to read.
async fn hang_up<S: AsyncRead + AsyncWrite>(
    reader: &mut ReadHalf<S>,
    writer: &mut WriteHalf<S>,
    why: Option<Leave>,
) {
    match why {
        Some(why) => part(writer, why).await,
        // The other side may have gone.
        None => drop(writer.shutdown().await),
    }
    let mut rest = [0; UNREAD_BYTES];
    while matches!(reader.read(&mut rest).await, Ok(1..)) {}
}

/// The connection of that number is no more.
pub(super) fn end(shared: &Shared, peer: &Peer, number: u64, ended: &Ended) {
    if peer.uninstall(number, Instant::now()).is_none() {
        return;
    }
    match ended {
        Ended::Malformed(_) | Ended::Unexpected(_) => {
            shared.totals.malformed.add(1);
            tracing::warn!(member = %peer.name, "connection ended because of what it sent: {ended}");
        }
        Ended::TooSlow | Ended::TooMuch => {
            tracing::warn!(member = %peer.name, "connection ended: {ended}");
        }
        Ended::Closed | Ended::Io(_) | Ended::Goodbye(_) | Ended::Left | Ended::Killed => {
            tracing::info!(member = %peer.name, "connection ended: {ended}")
        }
    }
    let step = match ended {
        Ended::Goodbye(Leave::Stopping) => peer.step(Liveness::handle_goodbye),
        Ended::Closed
        | Ended::Io(_)
        | Ended::Malformed(_)
        | Ended::Unexpected(_)
        | Ended::TooSlow
        | Ended::TooMuch
        | Ended::Goodbye(_)
        | Ended::Left
        | Ended::Killed => peer.step(|live| live.handle_lost(Instant::now())),
    };
    shared.apply(peer, step);
    peer.changed.notify_one();
}

async fn write<S: AsyncWrite>(
    peer: &Peer,
    link: u64,
    writer: &mut WriteHalf<S>,
    is_writing: &mut bool,
) -> Ended {
    let mut batch = Vec::new();
    loop {
        let frames = match peer.out.take(link, &mut batch).await {
            Taken::Frames(frames) => frames,
            Taken::Finished => return Ended::Left,
            Taken::Replaced => return Ended::Killed,
        };
        *is_writing = true;
        if let Err(ended) = write_all(writer, &batch).await {
            return ended;
        }
        *is_writing = false;
        peer.figures.frames_out.add(frames as u64);
        peer.figures.bytes_out.add(batch.len() as u64);
        peer.figures.writes.add(1);
        batch.clear();
    }
}

async fn write_all<S: AsyncWrite>(writer: &mut WriteHalf<S>, batch: &[u8]) -> Result<(), Ended> {
    let stalled = |_| Ended::TooSlow;
    let mut rest = batch;
    while !rest.is_empty() {
        let taken = timeout(STALLED_AFTER, writer.write(rest)).await.map_err(stalled)?;
        match taken.map_err(Ended::Io)? {
            0 => return Err(Ended::Io(io::ErrorKind::WriteZero.into())),
            count => rest = rest.get(count..).unwrap_or_default(),
        }
    }
    timeout(STALLED_AFTER, writer.flush()).await.map_err(stalled)?.map_err(Ended::Io)
}

/// What is read of a connection.
struct Reading<'a> {
    shared: &'a Arc<Shared>,
    peer: &'a Arc<Peer>,
    hello: Arc<Hello>,
    signaling: Vec<MeshEvent>,
    control: Vec<MeshEvent>,
}

impl<'a> Reading<'a> {
    fn new(shared: &'a Arc<Shared>, peer: &'a Arc<Peer>, hello: Arc<Hello>) -> Reading<'a> {
        Reading { shared, peer, hello, signaling: Vec::new(), control: Vec::new() }
    }

    async fn run<S: AsyncRead>(&mut self, reader: &mut ReadHalf<S>, mut buffer: BytesMut) -> Ended {
        loop {
            let taken = self.take_all(&mut buffer);
            // What came before a frame that makes no sense has been said.
            if let Err(ended) = self.post().and(taken) {
                return ended;
            }
            buffer.reserve(READ_BYTES);
            match reader.read_buf(&mut buffer).await {
                Ok(0) => return Ended::Closed,
                Ok(count) => self.peer.figures.bytes_in.add(count as u64),
                Err(error) => return Ended::Io(error),
            }
            let step = self.peer.heard(Instant::now());
            self.shared.apply(self.peer, step);
        }
    }

    fn take_all(&mut self, buffer: &mut BytesMut) -> Result<(), Ended> {
        loop {
            match cut(buffer).map_err(Ended::Malformed)? {
                None => return Ok(()),
                Some(Cut::Unknown(_)) => self.peer.figures.unknown.add(1),
                Some(Cut::Frame(frame)) => {
                    self.peer.figures.frames_in.add(1);
                    self.take(frame)?;
                }
            }
        }
    }

    fn id(&self) -> MemberId {
        self.hello.member.id
    }

    fn take(&mut self, frame: Frame) -> Result<(), Ended> {
        let id = self.id();
        match frame {
            Frame::SipRelay(..)
            | Frame::Write(_)
            | Frame::Closed(_)
            | Frame::SendOut(_)
            | Frame::Undelivered(_)
            | Frame::Registrations(_)
            | Frame::RegistrationSync(..) => self.signaling.push(MeshEvent::Frame(id, frame)),
            Frame::View(_) | Frame::Request(_) | Frame::Event(_) => {
                self.control.push(MeshEvent::Frame(id, frame));
            }
            Frame::Reply(reply) => self.peer.requests.handle_reply(reply),
            Frame::Heartbeat(heartbeat) => {
                let now = Instant::now();
                let epoch = self.peer.note_heartbeat(heartbeat, now, self.shared.now_us(now));
                self.control.extend(epoch.map(|epoch| MeshEvent::PeerEpoch(id, epoch)));
            }
            Frame::Hello(hello) => self.take_hello(*hello)?,
            Frame::Goodbye(Goodbye { why }) => return Err(Ended::Goodbye(why)),
            Frame::Welcome(_) | Frame::JoinAsk(_) | Frame::Grant(_) | Frame::JoinRefused(_) => {
                let why = format!("a frame of kind {} on a connection in use", frame.kind());
                return Err(Ended::Unexpected(why));
            }
        }
        Ok(())
    }

    /// It says something else of itself than before; who it is does not change.
    fn take_hello(&mut self, hello: Hello) -> Result<(), Ended> {
        let who = |hello: &Hello| {
            let member = &hello.member;
            (hello.cluster, member.name.clone(), member.id, member.incarnation)
        };
        if who(&hello) != who(&self.hello) {
            return Err(Ended::Unexpected("it says to be somebody else than before".to_owned()));
        }
        self.hello = Arc::new(hello);
        self.peer.state().hello = Some(Arc::clone(&self.hello));
        self.signaling.push(MeshEvent::PeerChanged(Arc::clone(&self.hello)));
        self.control.push(MeshEvent::PeerChanged(Arc::clone(&self.hello)));
        Ok(())
    }

    fn post(&mut self) -> Result<(), Ended> {
        let from = self.id();
        let posted = [
            self.shared.signaling.post(from, &mut self.signaling),
            self.shared.control.post(from, &mut self.control),
        ];
        for one in posted {
            let dropped = one.map_err(|_| Ended::TooMuch)?;
            self.peer.figures.dropped_in.add(dropped);
        }
        Ok(())
    }
}
