//! The SIP socket of one side over UDP.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

use crate::media::sockets::enlarge;

/// Longest SIP datagram: the most that UDP carries.
const DATAGRAM_BYTES: usize = 65_535;

/// Datagrams read before timers are looked at again.
const READS_MAX: u32 = 128;

/// One socket.
#[derive(Debug)]
pub(crate) struct Datagrams {
    socket: UdpSocket,
    address: SocketAddr,
    buffer: Vec<u8>,
}

impl Datagrams {
    /// Binds it to an ephemeral port of `address`.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn bind(address: IpAddr) -> Result<Datagrams> {
        let any = SocketAddr::new(address, 0);
        let socket = Socket::new(Domain::for_address(any), Type::DGRAM, Some(Protocol::UDP))
            .context("opening a SIP socket")?;
        enlarge(&socket);
        socket.set_nonblocking(true)?;
        socket.bind(&any.into()).with_context(|| format!("binding a SIP socket to {address}"))?;
        let socket = UdpSocket::from(socket);
        let address = socket.local_addr()?;
        Ok(Datagrams { socket, address, buffer: vec![0; DATAGRAM_BYTES] })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether the kernel has taken it.
    pub(crate) fn send(&self, destination: SocketAddr, bytes: &[u8]) -> bool {
        self.socket.send_to(bytes, destination).is_ok()
    }

    /// Hands on the datagrams that have arrived, up to a bound.
    pub(crate) fn receive(&mut self, mut take: impl FnMut(&[u8], SocketAddr)) {
        for _ in 0..READS_MAX {
            match self.socket.recv_from(&mut self.buffer) {
                Ok((length, source)) => {
                    take(&self.buffer[..length], source);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    }
}

impl AsFd for Datagrams {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
