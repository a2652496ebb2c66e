//! The two SIP sockets: one for all callers, one for all callees.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, Socket, Type};

use crate::guard::Guard;
use crate::ids::Side;
use crate::media::sockets::enlarge;
use crate::sip::message;

/// Longest SIP datagram: the most that UDP carries.
const DATAGRAM_BYTES: usize = 65_535;

/// Datagrams read from one socket before timers are looked at again.
const READS_MAX: u32 = 128;

/// Messages and their fates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WireStats {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Messages that were not sent because their destination is not allowed.
    pub(crate) refused: u64,
    /// Messages that our own kernel refused.
    pub(crate) failed: u64,
}

/// The SIP sockets of both sides.
#[derive(Debug)]
pub(crate) struct Wire {
    sockets: [UdpSocket; 2],
    addresses: [SocketAddrV4; 2],
    guard: Guard,
    buffer: Vec<u8>,
    pub(crate) stats: WireStats,
}

impl Wire {
    /// Binds both sockets to ephemeral ports of `address`.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn bind(address: Ipv4Addr, guard: Guard) -> Result<Wire> {
        let sockets = [bind(address)?, bind(address)?];
        let [caller, callee] = sockets.each_ref().map(UdpSocket::local_addr);
        let addresses = [caller?, callee?].map(message::ipv4_source);
        let buffer = vec![0; DATAGRAM_BYTES];
        Ok(Wire { sockets, addresses, guard, buffer, stats: WireStats::default() })
    }

    pub(crate) const fn address(&self, side: Side) -> SocketAddrV4 {
        self.addresses[side.index()]
    }

    /// Sends to an allowed destination; `false` if it is not allowed. What the kernel refuses is
    /// like a datagram lost on the way: a retransmission or a timeout follows.
    pub(crate) fn send(&mut self, side: Side, destination: SocketAddrV4, bytes: &[u8]) -> bool {
        if !self.guard.allows(*destination.ip()) {
            self.stats.refused += 1;
            return false;
        }
        match self.sockets[side.index()].send_to(bytes, destination) {
            Ok(_) => self.stats.sent += 1,
            Err(_) => self.stats.failed += 1,
        }
        true
    }

    /// Waits for a datagram, at most `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) {
        let [caller, callee] = self.sockets.each_ref();
        let mut ready =
            [caller, callee].map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN));
        let timeout = PollTimeout::try_from(timeout.as_millis()).unwrap_or(PollTimeout::ZERO);
        // EINTR is the only error that can happen; the caller comes back anyway.
        poll(&mut ready, timeout).ok();
    }

    /// Hands the datagrams that have arrived for `side` to `take`, up to a bound.
    pub(crate) fn receive(&mut self, side: Side) -> Vec<(Vec<u8>, SocketAddrV4)> {
        let mut taken = Vec::new();
        for _ in 0..READS_MAX {
            match self.sockets[side.index()].recv_from(&mut self.buffer) {
                Ok((length, source)) => {
                    self.stats.received += 1;
                    taken.push((self.buffer[..length].to_vec(), message::ipv4_source(source)));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        taken
    }
}

fn bind(address: Ipv4Addr) -> Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))
        .context("opening a SIP socket")?;
    enlarge(&socket);
    socket.set_nonblocking(true)?;
    socket
        .bind(&SocketAddrV4::new(address, 0).into())
        .with_context(|| format!("binding a SIP socket to {address}"))?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_to_a_foreign_address_is_refused_and_counted() {
        let mut wire = Wire::bind(Ipv4Addr::LOCALHOST, Guard::default()).unwrap();
        assert!(!wire.send(Side::Caller, "192.0.2.1:5060".parse().unwrap(), b"x"));
        assert_eq!(wire.stats, WireStats { refused: 1, ..WireStats::default() });
    }

    #[test]
    fn a_datagram_from_one_side_reaches_the_other() {
        let mut wire = Wire::bind(Ipv4Addr::LOCALHOST, Guard::default()).unwrap();
        assert!(wire.send(Side::Caller, wire.address(Side::Callee), b"hello"));
        wire.wait(Duration::from_secs(5));
        let taken = wire.receive(Side::Callee);
        assert_eq!(taken, [(b"hello".to_vec(), wire.address(Side::Caller))]);
    }
}
