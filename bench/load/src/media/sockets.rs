//! The media sockets: pairs of an even RTP port and the odd RTCP port above it (RFC 3550 11).

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context, Result, bail};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

/// Asked of each socket as receive buffer: 64 sessions' video for a quarter of a second, so that a
/// generator that is held up drops nothing that the node delivered.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// Tries to find an even port whose odd neighbour is free too; half of all tries start odd, and the
/// neighbour is seldom taken.
const PAIR_TRIES_MAX: u32 = 200;

/// An RTP socket and its RTCP socket on one address.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) rtp: UdpSocket,
    pub(crate) rtcp: UdpSocket,
    pub(crate) address: SocketAddr,
}

/// Hands out pairs of ports on one address.
#[derive(Debug)]
pub(crate) struct Binder {
    address: IpAddr,
    /// `None`: whatever the kernel gives.
    range: Option<RangeInclusive<u16>>,
    next: u32,
}

impl Binder {
    pub(crate) fn new(address: impl Into<IpAddr>, range: Option<RangeInclusive<u16>>) -> Binder {
        let next = range.as_ref().map_or(0, |range| u32::from(*range.start()).next_multiple_of(2));
        Binder { address: address.into(), range, next }
    }

    /// Binds the next free pair.
    ///
    /// # Errors
    /// The range is used up, or the kernel finds no pair or allows no more sockets.
    pub(crate) fn pair(&mut self) -> Result<Pair> {
        match self.range.clone() {
            Some(range) => self.pair_in(&range),
            None => self.pair_anywhere(),
        }
    }

    fn pair_in(&mut self, range: &RangeInclusive<u16>) -> Result<Pair> {
        while self.next < u32::from(*range.end()) {
            let port = self.next as u16;
            self.next += 2;
            if let Some(pair) = self.try_pair(port)? {
                return Ok(pair);
            }
        }
        bail!("the media ports {}-{} are used up", range.start(), range.end())
    }

    fn pair_anywhere(&self) -> Result<Pair> {
        for _ in 0..PAIR_TRIES_MAX {
            let first = bind(SocketAddr::new(self.address, 0)).context("binding a media socket")?;
            let port = port_of(&first)?;
            if !port.is_multiple_of(2) {
                continue;
            }
            match bind(SocketAddr::new(self.address, port + 1)) {
                Ok(rtcp) => {
                    let address = SocketAddr::new(self.address, port);
                    return Ok(Pair { rtp: first, rtcp, address });
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error).context("binding an RTCP socket"),
            }
        }
        bail!("no pair of neighbouring ports found in {PAIR_TRIES_MAX} tries")
    }

    fn try_pair(&self, port: u16) -> Result<Option<Pair>> {
        let address = SocketAddr::new(self.address, port);
        let both =
            bind(address).and_then(|rtp| Ok((rtp, bind(SocketAddr::new(self.address, port + 1))?)));
        match both {
            Ok((rtp, rtcp)) => Ok(Some(Pair { rtp, rtcp, address })),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
            Err(error) => Err(error).with_context(|| format!("binding media port {port}")),
        }
    }
}

fn port_of(socket: &UdpSocket) -> Result<u16> {
    Ok(socket.local_addr().context("reading a socket's port")?.port())
}

/// A blocking UDP socket with a large receive buffer and kernel receive times.
fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    enlarge(&socket);
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// As large a receive buffer as may be had; what is dropped in spite of it is counted, not hidden.
pub(crate) fn enlarge(socket: &Socket) {
    let forced = setsockopt(&socket.as_fd(), sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES);
    if forced.is_err() {
        // Without privilege the kernel caps the size at net.core.rmem_max by itself.
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES).ok();
    }
}

/// Datagrams that the kernel threw away because this socket's buffer was full.
pub(crate) fn dropped(socket: &UdpSocket) -> u64 {
    const DROPS: usize = 8; // SK_MEMINFO_DROPS, linux/sock_diag.h
    let mut counters = [0u32; 16];
    let mut length = size_of_val(&counters) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `counters`, which outlives the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            counters.as_mut_ptr().cast(),
            &mut length,
        )
    };
    if result == 0 { u64::from(counters[DROPS]) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_an_even_port_and_the_odd_one_above() {
        let mut binder = Binder::new(std::net::Ipv4Addr::LOCALHOST, None);
        let pair = binder.pair().unwrap();
        assert!(pair.address.port().is_multiple_of(2));
        assert_eq!(pair.rtcp.local_addr().unwrap().port(), pair.address.port() + 1);
    }

    #[test]
    fn a_range_that_is_used_up_is_named() {
        let free = Binder::new(std::net::Ipv4Addr::LOCALHOST, None).pair().unwrap().address.port();
        let mut binder = Binder::new(std::net::Ipv4Addr::LOCALHOST, Some(free..=free + 1));
        let _only = binder.pair().unwrap();
        let refused = binder.pair().unwrap_err().to_string();
        assert_eq!(refused, format!("the media ports {free}-{} are used up", free + 1));
    }

    #[test]
    fn datagrams_that_overflow_a_socket_are_counted_as_dropped() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket2::SockRef::from(&receiver).set_recv_buffer_size(1).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..200 {
            sender.send_to(&[0; 1000], receiver.local_addr().unwrap()).unwrap();
        }
        let mut kept = 0;
        receiver.set_nonblocking(true).unwrap();
        while receiver.recv(&mut [0; 1000]).is_ok() {
            kept += 1;
        }
        assert_eq!(dropped(&receiver), 200 - kept);
    }
}
