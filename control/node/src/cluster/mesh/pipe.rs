//! A connection in use, whichever thread reads and writes it: the mesh's own, or the signaling thread in
//! its turns.
//!
//! Neither waits here: what the system does not take is kept, and what has not come is not there. Reading
//! and writing are bounded each time, so that whoever does it for many peers gets round.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use control_core::cluster::MemberId;
use control_core::mesh::{Frame, Goodbye, Leave, encode};
use rustls::Connection;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio_rustls::{client, server};

use super::inbox::Waking;
use super::outgoing::Taken;
use super::peer::{LinkNow, Peer};
use super::reading::Reading;
use super::shared::Shared;

/// Bytes read at a time, or somewhat more: some sixty messages of SIP.
const READ_MAX: usize = 64 << 10;
/// Bytes encrypted at a time, or somewhat more: a quarter of a millisecond's work.
const WRITE_MAX: usize = 256 << 10;
/// Bytes read at a time after the last word.
const UNREAD_BYTES: usize = 2_048;
/// Bytes given to TLS at once: four records.
const GIVEN_AT_ONCE: usize = 64 << 10;

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
    Malformed(control_core::mesh::Malformed),
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

/// The socket, for a runtime that tells when it is ready.
#[derive(Clone, Debug)]
pub(super) struct Socket(Arc<TcpStream>);

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Socket {
    /// Has the current runtime tell when it is ready.
    pub(super) fn watch(&self, interest: Interest) -> io::Result<AsyncFd<Socket>> {
        // SAFETY: the descriptor is the socket's own, which stays open for as long as any clone of this
        // does, and always is the same.
        let watched = unsafe { AsyncFd::register_with_interest(self.clone(), interest) };
        watched.map_err(|error| error.into_parts().1)
    }
}

/// What TLS runs on once it is established.
pub(super) trait Apart {
    /// The socket, and TLS by itself.
    fn apart(self) -> io::Result<(TcpStream, Connection)>;
}

impl Apart for client::TlsStream<tokio::net::TcpStream> {
    fn apart(self) -> io::Result<(TcpStream, Connection)> {
        let (stream, tls) = self.into_inner();
        Ok((stream.into_std()?, tls.into()))
    }
}

impl Apart for server::TlsStream<tokio::net::TcpStream> {
    fn apart(self) -> io::Result<(TcpStream, Connection)> {
        let (stream, tls) = self.into_inner();
        Ok((stream.into_std()?, tls.into()))
    }
}

/// What came of one reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// All that had come is read.
    Drained,
    /// There may be more.
    More,
    /// The connection has ended.
    Over,
}

/// What came of one writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Nothing waits.
    All,
    /// The system takes no more for now.
    Blocked,
    /// There is more.
    More,
    /// The connection has ended.
    Over,
}

/// What is being written.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// So many of them have been given to TLS.
    given: usize,
    frames: usize,
}

/// What came of receiving once.
enum Received {
    /// The other side has closed the connection.
    Closed,
    /// Nothing is there.
    Nothing,
    /// Something, and more may be there.
    Some,
    /// All that was there.
    All,
}

/// A socket that notes how much room there was for what it gave.
struct Asked<'s> {
    socket: &'s TcpStream,
    room: usize,
}

impl io::Read for Asked<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.room = into.len();
        self.socket.read(into)
    }
}

struct Io {
    tls: Connection,
    socket: Socket,
    /// What has been read and is not yet a whole frame.
    buffer: BytesMut,
    reading: Reading,
    batch: Batch,
    read_at: Instant,
    /// Why it has ended, until that is taken.
    ended: Option<Ended>,
}

/// A connection in use.
pub(super) struct Pipe {
    pub(super) peer: Arc<Peer>,
    pub(super) member: MemberId,
    pub(super) link: LinkNow,
    pub(super) socket: Socket,
    io: Mutex<Io>,
    /// The system has taken less than there was; it is the mesh's thread that waits for it.
    is_blocked: AtomicBool,
    is_over: AtomicBool,
    /// The connection has ended.
    over: Notify,
}

impl Pipe {
    /// Of a connection that has been greeted; `buffer` is what has been read of it beyond that.
    pub(super) fn new(
        (socket, tls): (TcpStream, Connection),
        buffer: BytesMut,
        peer: Arc<Peer>,
        link: LinkNow,
        reading: Reading,
    ) -> Pipe {
        let socket = Socket(Arc::new(socket));
        let member = reading.member();
        let io = Io {
            tls,
            socket: socket.clone(),
            buffer,
            reading,
            batch: Batch::default(),
            read_at: Instant::now(),
            ended: None,
        };
        Pipe {
            peer,
            member,
            link,
            socket,
            io: Mutex::new(io),
            is_blocked: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            over: Notify::new(),
        }
    }

    fn io(&self) -> MutexGuard<'_, Io> {
        self.io.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what has come, and leaves it with those that it is for.
    pub(super) fn read(&self, shared: &Shared, waking: Waking) -> Read {
        // Shut, it may have a successor, and what comes on this one is not to be mixed with what comes on
        // that.
        let gate = self.link.gate();
        let mut io = self.io();
        if gate.is_shut || !self.is_open() {
            return Read::Over;
        }
        match io.read(shared, &self.peer, waking) {
            Ok(read) => read,
            Err(ended) => {
                self.end(io, ended);
                Read::Over
            }
        }
    }

    /// Writes what waits.
    pub(super) fn write(&self) -> Written {
        let mut io = self.io();
        if !self.is_open() {
            return Written::Over;
        }
        match io.write(&self.peer, self.link.number) {
            Ok(written) => {
                self.is_blocked.store(written == Written::Blocked, Ordering::Release);
                written
            }
            Err(ended) => {
                self.end(io, ended);
                Written::Over
            }
        }
    }

    /// Whether it waits for the system to take more.
    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked.load(Ordering::Acquire)
    }

    /// Whether nobody has read it for so long.
    pub(super) fn is_unread_for(&self, time: Duration) -> bool {
        self.io().read_at.elapsed() > time
    }

    /// Whether it is read and written.
    pub(super) fn is_open(&self) -> bool {
        !self.is_over.load(Ordering::Acquire)
    }

    fn end(&self, mut io: MutexGuard<'_, Io>, ended: Ended) {
        self.is_over.store(true, Ordering::Release);
        io.ended.get_or_insert(ended);
        drop(io);
        self.over.notify_one();
    }

    /// Waits for its end.
    pub(super) async fn over(&self) -> Ended {
        loop {
            if let Some(ended) = self.io().ended.take() {
                return ended;
            }
            self.over.notified().await;
        }
    }

    /// It has ended for a reason that is not on the way itself.
    pub(super) fn fail(&self, ended: Ended) {
        self.end(self.io(), ended);
    }

    /// Nothing is read or written any more.
    pub(super) fn stop(&self) {
        self.is_over.store(true, Ordering::Release);
        // Whoever is at it has done with it then.
        drop(self.io());
    }

    /// Whether it is in the middle of a frame, where nothing else can be said.
    pub(super) fn is_amid(&self) -> bool {
        let batch = &self.io().batch;
        batch.given < batch.bytes.len()
    }

    /// Says the last word, if it has not been said, and that nothing else comes. What still comes is read
    /// until the other side has done the same: a connection that is closed with something unread is reset,
    /// which takes words with it that the other side has yet to read.
    pub(super) async fn hang_up(&self, why: Option<Leave>) -> io::Result<()> {
        {
            let mut io = self.io();
            if let Some(why) = why {
                let mut bytes = Vec::new();
                encode(&Frame::Goodbye(Goodbye { why }), &mut bytes).map_err(io::Error::other)?;
                io.tls.writer().write_all(&bytes)?;
            }
            io.tls.send_close_notify();
        }
        let fd = self.socket.watch(Interest::READABLE | Interest::WRITABLE)?;
        while !self.io().flush()? {
            fd.writable().await?.clear_ready();
        }
        self.socket.0.shutdown(std::net::Shutdown::Write)?;
        let mut rest = [0; UNREAD_BYTES];
        loop {
            match (&*self.socket.0).read(&mut rest) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    fd.readable().await?.clear_ready();
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Closes the socket, whoever else holds it.
    pub(super) fn close(&self) {
        // It may have been closed by the other side.
        let _ = self.socket.0.shutdown(std::net::Shutdown::Both);
    }
}

impl Io {
    fn read(&mut self, shared: &Shared, peer: &Arc<Peer>, waking: Waking) -> Result<Read, Ended> {
        self.read_at = Instant::now();
        let (mut got, mut is_drained) = (0, false);
        let read = loop {
            got += self.take_plain(peer)?;
            if got >= READ_MAX {
                break Ok(Read::More);
            }
            if is_drained {
                break Ok(Read::Drained);
            }
            match self.receive() {
                Ok(Received::Closed) => break Err(Ended::Closed),
                Ok(Received::Some) => {}
                // What TLS makes of the last of it is still to be taken.
                Ok(Received::All) => is_drained = true,
                Ok(Received::Nothing) => break Ok(Read::Drained),
                Err(error) => break Err(Ended::Io(error)),
            }
        };
        if !self.buffer.is_empty() {
            // What came before a frame that makes no sense has been said.
            let taken = self.reading.take_all(shared, peer, &mut self.buffer);
            self.reading.post(shared, peer, waking).and(taken)?;
        }
        if got > 0 {
            let step = peer.heard(self.read_at);
            shared.apply(peer, step);
        }
        if self.tls.wants_write() {
            // TLS has something of its own to say; what does not fit goes with what is sent next.
            self.flush().map_err(Ended::Io)?;
        }
        read
    }

    /// Moves what TLS has decrypted to the buffer; how much that was.
    fn take_plain(&mut self, peer: &Peer) -> Result<usize, Ended> {
        let state = match self.tls.process_new_packets() {
            Ok(state) => state,
            Err(error) => {
                // It is told what was wrong, if it listens.
                let _ = self.flush();
                return Err(Ended::Io(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
        };
        let count = state.plaintext_bytes_to_read();
        if count > 0 {
            let start = self.buffer.len();
            if start == 0 {
                // Of its own size: what is kept of a frame keeps no more than what came with it.
                self.buffer = BytesMut::with_capacity(count);
            }
            self.buffer.resize(start + count, 0);
            let into = &mut self.buffer[start..];
            self.tls.reader().read_exact(into).map_err(Ended::Io)?;
            peer.figures.bytes_in.add(count as u64);
        }
        Ok(count)
    }

    /// Receives what is there for TLS to decrypt.
    fn receive(&mut self) -> io::Result<Received> {
        let mut socket = Asked { socket: &self.socket.0, room: 0 };
        loop {
            match self.tls.read_tls(&mut socket) {
                Ok(0) => return Ok(Received::Closed),
                // The system gives all that there is, up to the room for it: to ask again would be in vain.
                Ok(count) if count < socket.room => return Ok(Received::All),
                Ok(_) => return Ok(Received::Some),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Received::Nothing);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn write(&mut self, peer: &Peer, link: u64) -> Result<Written, Ended> {
        let mut left = WRITE_MAX;
        loop {
            if !self.flush().map_err(Ended::Io)? {
                return Ok(Written::Blocked);
            }
            let batch = &mut self.batch;
            if batch.given < batch.bytes.len() {
                if left == 0 {
                    return Ok(Written::More);
                }
                let end = batch.bytes.len().min(batch.given + GIVEN_AT_ONCE.min(left));
                let given = self.tls.writer().write(&batch.bytes[batch.given..end]);
                let given = given.map_err(Ended::Io)?;
                batch.given += given;
                left -= given.min(left);
                continue;
            }
            batch.count(peer);
            match peer.out.take(link, &mut batch.bytes) {
                Taken::Nothing => return Ok(Written::All),
                Taken::Frames(frames) => batch.frames = frames,
                Taken::Finished => return Err(Ended::Left),
                Taken::Replaced => return Err(Ended::Killed),
            }
        }
    }

    /// Sends what TLS has encrypted. Whether the system has taken all of it.
    fn flush(&mut self) -> io::Result<bool> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut &*self.socket.0) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

impl Batch {
    /// All of it is written.
    fn count(&mut self, peer: &Peer) {
        if !self.bytes.is_empty() {
            peer.figures.frames_out.add(std::mem::take(&mut self.frames) as u64);
            peer.figures.bytes_out.add(self.bytes.len() as u64);
            peer.figures.writes.add(1);
            self.bytes.clear();
            self.given = 0;
        }
    }
}
