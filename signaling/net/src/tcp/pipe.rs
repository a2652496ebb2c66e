//! The bytes of a connection, in the clear or through TLS.
//!
//! Both halves of a connection's task use it through `&self`. TLS records are made and opened under a
//! lock that nobody holds while waiting; both halves run in one task, so that it is never contended.

use std::io::{self, BufRead, IoSlice, Write};
use std::net::Shutdown;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls::{Connection, HandshakeKind};
use socket2::SockRef;
use tokio::net::TcpStream;

use crate::tls::Identities;

/// Bytes read at a time: some ten messages.
const READ_BYTES: usize = 8 * 1_024;

/// What a read has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Something, if only part of a TLS record.
    Some,
    /// The peer sends nothing any more.
    End,
}

/// A connection's bytes.
pub(super) struct Pipe {
    stream: TcpStream,
    tls: Option<Mutex<Session>>,
}

struct Session {
    connection: Connection,
    /// Bytes at the front of what is being written that are in records already, but not sent (all).
    taken: usize,
}

impl Pipe {
    /// Bytes as they are.
    pub(super) const fn plain(stream: TcpStream) -> Pipe {
        Pipe { stream, tls: None }
    }

    /// Bytes in TLS records; [`Pipe::handshake`] comes first.
    pub(super) fn tls(stream: TcpStream, connection: Connection) -> Pipe {
        Pipe { stream, tls: Some(Mutex::new(Session { connection, taken: 0 })) }
    }

    /// Whether there is TLS.
    pub(super) const fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Shakes hands. Returns what the peer has sent behind its part of it, and whether an earlier
    /// session was resumed.
    ///
    /// # Errors
    /// The system's; `InvalidData` with TLS's own words where the two do not agree.
    pub(super) async fn handshake(&self) -> io::Result<(Vec<u8>, bool)> {
        let mut early = Vec::new();
        while let Some(wants_write) = self.shake()? {
            if wants_write {
                self.stream.writable().await?;
                continue;
            }
            self.stream.readable().await?;
            match self.read(|bytes| early.extend_from_slice(bytes)) {
                Ok(Progress::Some) => {}
                Ok(Progress::End) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        let resumed = self.session().is_some_and(|session| {
            session.connection.handshake_kind() == Some(HandshakeKind::Resumed)
        });
        Ok((early, resumed))
    }

    /// Whom the peer has proved to be by its certificate; `None`: it has shown none, or there is no TLS.
    pub(super) fn peer(&self) -> Option<Identities> {
        let session = self.session()?;
        session.connection.peer_certificates()?.first().map(Identities::of)
    }

    /// Sends what the handshake has to say; `None`: it is over, else whether there is more to send.
    fn shake(&self) -> io::Result<Option<bool>> {
        let Some(mut session) = self.session() else { return Ok(None) };
        session.flush(&self.stream)?;
        let waits = session.connection.wants_write();
        Ok((waits || session.connection.is_handshaking()).then_some(waits))
    }

    /// Waits until there may be something to read.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.stream.readable().await
    }

    /// Hands what is there to `take`, in pieces.
    ///
    /// # Errors
    /// `WouldBlock` if there is nothing; the system's; `InvalidData` for what is no TLS.
    pub(super) fn read(&self, mut take: impl FnMut(&[u8])) -> io::Result<Progress> {
        // It lives no longer than this, so that an idle connection holds none.
        let mut buffer = [0; READ_BYTES];
        let count = self.stream.try_read(&mut buffer)?;
        if count == 0 {
            return Ok(Progress::End);
        }
        let bytes = &buffer[..count];
        match self.session() {
            None => take(bytes),
            Some(mut session) => return session.feed(bytes, &self.stream, &mut take),
        }
        Ok(Progress::Some)
    }

    /// Writes as much as the system takes at once, waiting for that. Through TLS all of the slices
    /// share records, and all records one system call.
    ///
    /// After it was dropped while it waited it must be called with the same bytes first.
    ///
    /// # Errors
    /// The system's.
    pub(super) async fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            match self.try_write(slices) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            self.stream.writable().await?;
        }
    }

    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let Some(mut session) = self.session() else {
            return self.stream.try_write_vectored(slices);
        };
        if session.taken == 0 {
            session.taken = session.connection.writer().write_vectored(slices)?;
        }
        session.flush(&self.stream)?;
        if session.connection.wants_write() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(std::mem::take(&mut session.taken))
    }

    /// Says that nothing follows, as far as the system takes it at once.
    pub(super) fn end(&self) -> io::Result<()> {
        if let Some(mut session) = self.session() {
            session.connection.send_close_notify();
            session.flush(&self.stream)?;
        }
        SockRef::from(&self.stream).shutdown(Shutdown::Write)
    }

    fn session(&self) -> Option<MutexGuard<'_, Session>> {
        let tls = self.tls.as_ref()?;
        Some(tls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Session {
    /// Opens the records in `bytes`.
    fn feed(
        &mut self,
        mut bytes: &[u8],
        stream: &TcpStream,
        take: &mut impl FnMut(&[u8]),
    ) -> io::Result<Progress> {
        while !bytes.is_empty() {
            if self.connection.read_tls(&mut bytes)? == 0 {
                return Ok(Progress::End);
            }
            let processed = self.connection.process_new_packets();
            if let Err(error) = processed {
                // The alert that tells the peer why; what becomes of it does not matter.
                let _ = self.flush(stream);
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
            if self.drain(take)? == Progress::End {
                return Ok(Progress::End);
            }
        }
        // Answers of the protocol itself. What does not go now goes with the next message.
        self.flush(stream)?;
        Ok(Progress::Some)
    }

    fn drain(&mut self, take: &mut impl FnMut(&[u8])) -> io::Result<Progress> {
        let mut reader = self.connection.reader();
        loop {
            let count = match reader.fill_buf() {
                Ok([]) => return Ok(Progress::End),
                Ok(bytes) => {
                    take(bytes);
                    bytes.len()
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Progress::Some);
                }
                Err(error) => return Err(error),
            };
            reader.consume(count);
        }
    }

    /// Sends the records that wait, as far as the system takes them.
    fn flush(&mut self, stream: &TcpStream) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut Socket(stream)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A socket as TLS wants to see it; `WouldBlock` where it would have to wait.
struct Socket<'s>(&'s TcpStream);

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
