//! A connection to a server, plain or TLS: what is to be sent is gathered and written in one piece, what
//! comes is divided into messages.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustls::pki_types::{IpAddr as TlsIp, ServerName};
use rustls::{ClientConfig, ClientConnection};
use socket2::{Domain, Socket, Type};

use crate::sipbench::{is_later, length_of};

/// How long a server may take for a connection, handshake included.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// What is read at once.
pub(crate) const READ_BYTES: usize = 64 << 10;

/// More than this without the end of a message is no SIP.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// A connection that has been opened.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    address: SocketAddr,
    /// To be written.
    out: Vec<u8>,
    /// Read, and not yet a whole message.
    input: Vec<u8>,
    is_closed: bool,
}

impl Connection {
    /// Connects from `local`, over TLS if there is a client's side of it; waits for a few seconds.
    ///
    /// # Errors
    /// The server takes no connection, or does not prove who it is.
    pub(crate) fn open(
        local: IpAddr,
        server: SocketAddr,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Connection> {
        let socket =
            Socket::new(Domain::for_address(server), Type::STREAM, None).context("a TCP socket")?;
        socket.bind(&SocketAddr::new(local, 0).into()).context("binding it")?;
        socket.connect_timeout(&server.into(), CONNECT_MAX).context("connect")?;
        let socket = TcpStream::from(socket);
        socket.set_nodelay(true).context("TCP_NODELAY")?;
        socket.set_read_timeout(Some(CONNECT_MAX)).context("a read timeout")?;
        let tls = tls.map(|config| shake_hands(&socket, server, config)).transpose()?;
        socket.set_nonblocking(true).context("a socket that does not block")?;
        let address = socket.local_addr().context("a socket's address")?;
        let (out, input) = (Vec::new(), Vec::new());
        Ok(Connection { socket, tls, address, out, input, is_closed: false })
    }

    /// Our end.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether either side has ended it.
    pub(crate) const fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// What is to be written with the next [`Connection::flush`].
    pub(crate) const fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Whether everything has been written, or never will be.
    pub(crate) fn flush(&mut self) -> bool {
        if self.is_closed {
            self.out.clear();
            return true;
        }
        let Some(tls) = &mut self.tls else { return self.flush_plain() };
        if !self.out.is_empty() {
            // It takes all: its own buffer is unlimited (see `shake_hands`).
            match tls.writer().write(&self.out) {
                Ok(taken) => drop(self.out.drain(..taken)),
                Err(_) => self.is_closed = true,
            }
        }
        while tls.wants_write() {
            match tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if is_later(&error) => return false,
                Err(_) => {
                    self.is_closed = true;
                    return true;
                }
            }
        }
        self.out.is_empty()
    }

    fn flush_plain(&mut self) -> bool {
        let mut written = 0;
        while written < self.out.len() {
            match self.socket.write(&self.out[written..]) {
                Ok(count) => written += count,
                Err(error) if is_later(&error) => break,
                Err(_) => {
                    self.is_closed = true;
                    break;
                }
            }
        }
        self.out.drain(..written);
        self.out.is_empty() || self.is_closed
    }

    /// Reads once, and hands on the messages that have come whole: what is left makes the socket ready
    /// again.
    pub(crate) fn receive(&mut self, scratch: &mut [u8; READ_BYTES], mut take: impl FnMut(&[u8])) {
        self.read(scratch);
        let mut taken = 0;
        while let Some(rest) = self.input.get(taken..).filter(|rest| !rest.is_empty()) {
            // Keep-alives (RFC 5626 3.5.1).
            if rest.starts_with(b"\r\n") {
                taken += 2;
                continue;
            }
            let Some(length) = length_of(rest).filter(|length| *length <= rest.len()) else {
                break;
            };
            take(&rest[..length]);
            taken += length;
        }
        self.input.drain(..taken);
        if self.input.len() > MESSAGE_BYTES_MAX {
            self.is_closed = true;
        }
    }

    fn read(&mut self, scratch: &mut [u8; READ_BYTES]) {
        let Some(tls) = &mut self.tls else {
            match self.socket.read(scratch) {
                Ok(0) => self.is_closed = true,
                Ok(count) => self.input.extend_from_slice(&scratch[..count]),
                Err(error) if is_later(&error) => {}
                Err(_) => self.is_closed = true,
            }
            return;
        };
        match tls.read_tls(&mut self.socket) {
            Ok(0) => self.is_closed = true,
            Ok(_) => {}
            Err(error) if is_later(&error) => {}
            Err(_) => self.is_closed = true,
        }
        if tls.process_new_packets().is_err() {
            self.is_closed = true;
        }
        while let Ok(count @ 1..) = tls.reader().read(scratch) {
            self.input.extend_from_slice(&scratch[..count]);
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn shake_hands(
    mut socket: &TcpStream,
    server: SocketAddr,
    config: &Arc<ClientConfig>,
) -> Result<Box<ClientConnection>> {
    let name = ServerName::IpAddress(TlsIp::from(server.ip()));
    let mut tls = ClientConnection::new(Arc::clone(config), name).context("a TLS client")?;
    tls.set_buffer_limit(None);
    while tls.is_handshaking() {
        tls.complete_io(&mut socket).context("the TLS handshake")?;
    }
    ensure!(!tls.is_handshaking(), "the TLS handshake did not end");
    Ok(Box::new(tls))
}
