//! The SIP side's way to the network: a socket for all callers and one for all callees over UDP,
//! connections of each side over TCP and TLS.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustls::ClientConfig;

use crate::guard::Guard;
use crate::ids::Side;
use crate::sip::datagrams::Datagrams;
use crate::sip::hop::{Hop, Local};
use crate::sip::hosts;
use crate::sip::streams::{Dialling, News, Streams};
use crate::sipbench::Transport;

/// How long is waited at most while connections are being opened.
const RESTLESS: Duration = Duration::from_millis(10);

/// Messages and their fates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WireStats {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Messages that were not sent because their destination is not allowed.
    pub(crate) refused: u64,
    /// Messages that our own kernel refused, or for which there was no connection.
    pub(crate) failed: u64,
}

/// Connections instead of datagrams.
#[derive(Clone, Debug)]
pub(crate) struct Streaming {
    pub(crate) server: SocketAddr,
    /// Of each side.
    pub(crate) connections: u32,
    /// How the server proves who it is; `None`: in the clear.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

#[derive(Debug)]
enum End {
    Datagrams(Datagrams),
    Streams(Streams),
}

/// The SIP sockets of both sides.
#[derive(Debug)]
pub(crate) struct Wire {
    ends: [End; 2],
    transport: Transport,
    guard: Guard,
    pub(crate) stats: WireStats,
}

impl Wire {
    /// Binds ephemeral ports of `address`: a socket for each side, or the connections.
    ///
    /// # Errors
    /// The kernel refuses, or the server does.
    pub(crate) fn open(
        address: IpAddr,
        streaming: Option<&Streaming>,
        guard: Guard,
    ) -> Result<Wire> {
        let (transport, ends) = match streaming {
            None => {
                let end = || Datagrams::bind(address).map(End::Datagrams);
                (Transport::Udp, [end()?, end()?])
            }
            Some(Streaming { server, connections, tls }) => {
                guard.check(server.ip())?;
                let dialling = Dialling { local: address, server: *server, tls: tls.clone() };
                let end = || Streams::open(dialling.clone(), *connections).map(End::Streams);
                let is_secure = tls.is_some();
                (if is_secure { Transport::Tls } else { Transport::Tcp }, [end()?, end()?])
            }
        };
        Ok(Wire { ends, transport, guard, stats: WireStats::default() })
    }

    /// Where user `number` of `side` is.
    pub(crate) fn local(&self, side: Side, number: usize) -> Local {
        let address = match &self.ends[side.index()] {
            End::Datagrams(end) => end.address(),
            End::Streams(end) => end.address(end.of_user(number)),
        };
        Local { address, transport: self.transport }
    }

    /// The way of user `number` of `side` to `address`.
    pub(crate) fn hop(&self, side: Side, number: usize, address: SocketAddr) -> Hop {
        let connection = match &self.ends[side.index()] {
            End::Datagrams(_) => None,
            End::Streams(end) => Some(end.of_user(number)),
        };
        Hop { address, connection }
    }

    /// Sends to an allowed destination; `false` if it is not allowed: another one than the server, where
    /// there are connections. What the kernel refuses is like a datagram lost on the way: a
    /// retransmission or a timeout follows.
    pub(crate) fn send(&mut self, side: Side, hop: Hop, bytes: &[u8]) -> bool {
        let named = hop.address.is_ipv6().then(|| hosts::addressed(bytes));
        let bytes = named.as_deref().unwrap_or(bytes);
        let sent = match (&mut self.ends[side.index()], hop.connection) {
            (End::Datagrams(end), None) if self.guard.allows(hop.address.ip()) => {
                end.send(hop.address, bytes)
            }
            (End::Streams(end), Some(number)) if hop.address == end.server() => {
                end.send(number, bytes)
            }
            (End::Datagrams(_) | End::Streams(_), _) => {
                self.stats.refused += 1;
                return false;
            }
        };
        *(if sent { &mut self.stats.sent } else { &mut self.stats.failed }) += 1;
        true
    }

    /// Sends what is to be sent, and waits for something to arrive, at most `timeout`.
    pub(crate) fn wait(&mut self, timeout: Duration) {
        let (now, mut timeout) = (Instant::now(), timeout);
        for end in &mut self.ends {
            if let End::Streams(end) = end {
                end.flush(now);
                if end.is_restless() {
                    timeout = timeout.min(RESTLESS);
                }
            }
        }
        let mut sockets = Vec::new();
        for end in &self.ends {
            match end {
                End::Datagrams(end) => sockets.push(end.as_fd()),
                End::Streams(end) => sockets.extend(end.sockets()),
            }
        }
        let mut ready: Vec<_> =
            sockets.into_iter().map(|socket| PollFd::new(socket, PollFlags::POLLIN)).collect();
        let timeout = PollTimeout::try_from(timeout.as_millis()).unwrap_or(PollTimeout::ZERO);
        // EINTR is the only error that can happen; the caller comes back anyway.
        poll(&mut ready, timeout).ok();
    }

    /// The messages that have arrived for `side`, up to a bound.
    pub(crate) fn receive(&mut self, side: Side) -> Vec<(Vec<u8>, Hop)> {
        let mut taken = Vec::new();
        match &mut self.ends[side.index()] {
            End::Datagrams(end) => end.receive(|bytes, address| {
                taken.push((read(bytes, address), Hop { address, connection: None }));
            }),
            End::Streams(end) => {
                let address = end.server();
                end.receive(Instant::now(), |bytes, number| {
                    taken.push((read(bytes, address), Hop { address, connection: Some(number) }));
                });
            }
        }
        self.stats.received += taken.len() as u64;
        taken
    }

    /// What has become of the connections of `side`.
    pub(crate) fn take_news(&mut self, side: Side) -> Vec<News> {
        match &mut self.ends[side.index()] {
            End::Datagrams(_) => Vec::new(),
            End::Streams(end) => end.take_news(),
        }
    }
}

/// A message from `address` as the generator reads it.
fn read(bytes: &[u8], address: SocketAddr) -> Vec<u8> {
    if address.is_ipv6() { hosts::named(bytes).into_owned() } else { bytes.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> Wire {
        Wire::open(std::net::Ipv4Addr::LOCALHOST.into(), None, Guard::default()).unwrap()
    }

    #[test]
    fn a_message_to_a_foreign_address_is_refused_and_counted() {
        let mut wire = open();
        let hop = wire.hop(Side::Caller, 0, "192.0.2.1:5060".parse().unwrap());
        assert!(!wire.send(Side::Caller, hop, b"x"));
        assert_eq!(wire.stats, WireStats { refused: 1, ..WireStats::default() });
    }

    #[test]
    fn a_datagram_from_one_side_reaches_the_other() {
        let mut wire = open();
        let [caller, callee] = Side::BOTH.map(|side| wire.local(side, 0).address);
        let hop = wire.hop(Side::Caller, 0, callee);
        assert!(wire.send(Side::Caller, hop, b"hello"));
        wire.wait(Duration::from_secs(5));
        let taken = wire.receive(Side::Callee);
        assert_eq!(taken, [(b"hello".to_vec(), Hop { address: caller, connection: None })]);
    }

    /// Who is connected to a server sends nothing elsewhere: a route that leads there is a fault.
    #[test]
    fn a_message_to_another_place_than_the_server_is_refused_and_counted() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let streaming = Streaming { server, connections: 2, tls: None };
        let mut wire =
            Wire::open(std::net::Ipv4Addr::LOCALHOST.into(), Some(&streaming), Guard::default())
                .unwrap();
        let hop = wire.hop(Side::Callee, 3, "127.0.0.1:9".parse().unwrap());
        assert_eq!(hop.connection, Some(1));
        assert!(!wire.send(Side::Callee, hop, b"x"));
        assert_eq!(wire.stats, WireStats { refused: 1, ..WireStats::default() });
    }
}
