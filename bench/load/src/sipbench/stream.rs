//! Connections to the server, plain or TLS: what is to be sent is gathered and written in one piece,
//! what comes is divided into messages.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustls::pki_types::{IpAddr as TlsIp, ServerName};
use rustls::{ClientConfig, ClientConnection};
use socket2::{Domain, Socket, Type};

use crate::sipbench::ends::{EndPlan, Inbox, Link, Transport};
use crate::sipbench::scan;
use crate::sipbench::udp::is_later;

/// How long a server may take for a connection, handshake included.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// What is read at once.
const READ_BYTES: usize = 64 << 10;

/// More than this without the end of a message is no SIP.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

struct Connection {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    address: SocketAddrV4,
    /// To be written.
    out: Vec<u8>,
    /// Read, and not yet a whole message.
    input: Vec<u8>,
    is_closed: bool,
}

/// The connections of one side.
pub(crate) struct StreamEnd {
    connections: Vec<Connection>,
    /// Those that have something to write.
    dirty: Vec<u32>,
    scratch: Box<[u8; READ_BYTES]>,
}

impl StreamEnd {
    pub(crate) fn connect(plan: &EndPlan) -> Result<StreamEnd> {
        let tls = plan.tls.as_ref().filter(|_| plan.transport == Transport::Tls);
        let connect = |number: u32| {
            let server = plan.servers[number as usize % plan.servers.len()];
            Connection::open(plan, server, tls)
                .with_context(|| format!("connecting to {server} over {}", plan.transport.name()))
        };
        let connections = (0..plan.connections).map(connect).collect::<Result<_>>()?;
        Ok(StreamEnd { connections, dirty: Vec::new(), scratch: Box::new([0; READ_BYTES]) })
    }

    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddrV4> {
        self.connections.iter().map(|connection| connection.address).collect()
    }

    pub(crate) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.connections.iter().map(|connection| connection.socket.as_fd()).collect()
    }

    /// Connections that the server has closed.
    pub(crate) fn closed(&self) -> u64 {
        self.connections.iter().filter(|connection| connection.is_closed).count() as u64
    }

    pub(crate) fn is_stuck(&self) -> bool {
        !self.dirty.is_empty()
    }

    pub(crate) fn send(&mut self, to: u32, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(connection) = self.connections.get_mut(to as usize) else { return };
        if connection.out.is_empty() {
            self.dirty.push(to);
        }
        write(&mut connection.out);
    }

    pub(crate) fn flush(&mut self) {
        let connections = &mut self.connections;
        self.dirty.retain(|number| !connections[*number as usize].flush());
    }

    pub(crate) fn receive(&mut self, number: u32, inbox: &mut Inbox) {
        let Some(connection) = self.connections.get_mut(number as usize) else { return };
        connection.read(&mut self.scratch);
        let mut taken = 0;
        while let Some(rest) = connection.input.get(taken..).filter(|rest| !rest.is_empty()) {
            // Keep-alives (RFC 5626 3.5.1).
            if rest.starts_with(b"\r\n") {
                taken += 2;
                continue;
            }
            let Some(length) = scan::length_of(rest).filter(|length| *length <= rest.len()) else {
                break;
            };
            inbox.push(Link::Stream(number), &rest[..length]);
            taken += length;
        }
        connection.input.drain(..taken);
        if connection.input.len() > MESSAGE_BYTES_MAX {
            connection.is_closed = true;
        }
    }
}

impl Connection {
    fn open(
        plan: &EndPlan,
        server: SocketAddrV4,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Connection> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).context("a TCP socket")?;
        socket.bind(&SocketAddrV4::new(plan.address, 0).into()).context("binding it")?;
        socket.connect_timeout(&server.into(), CONNECT_MAX).context("connect")?;
        let socket = TcpStream::from(socket);
        socket.set_nodelay(true).context("TCP_NODELAY")?;
        socket.set_read_timeout(Some(CONNECT_MAX)).context("a read timeout")?;
        let tls = tls.map(|config| shake_hands(&socket, server, config)).transpose()?;
        socket.set_nonblocking(true).context("a socket that does not block")?;
        let SocketAddr::V4(address) = socket.local_addr().context("a socket's address")? else {
            anyhow::bail!("an IPv4 socket has an IPv6 address");
        };
        let (out, input) = (Vec::new(), Vec::new());
        Ok(Connection { socket, tls, address, out, input, is_closed: false })
    }

    /// Whether everything has been written, or never will be.
    fn flush(&mut self) -> bool {
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

    /// Reads once: what is left makes the socket ready again.
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

fn shake_hands(
    mut socket: &TcpStream,
    server: SocketAddrV4,
    config: &Arc<ClientConfig>,
) -> Result<Box<ClientConnection>> {
    let name = ServerName::IpAddress(TlsIp::from(std::net::IpAddr::V4(*server.ip())));
    let mut tls = ClientConnection::new(Arc::clone(config), name).context("a TLS client")?;
    tls.set_buffer_limit(None);
    while tls.is_handshaking() {
        tls.complete_io(&mut socket).context("the TLS handshake")?;
    }
    ensure!(!tls.is_handshaking(), "the TLS handshake did not end");
    Ok(Box::new(tls))
}
