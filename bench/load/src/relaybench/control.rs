//! How a system under test is told of sessions.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use anyhow::Result;

use crate::media::flow::Remote;

/// Where both clients of a session receive, `[side][kind]`.
pub(crate) type Ends = [[Option<SocketAddrV4>; 2]; 2];

/// Where both clients of a session are to send, `[side][kind]`.
pub(crate) type Remotes = [[Option<Remote>; 2]; 2];

/// A running system's control side.
pub(crate) trait Control {
    /// Sets a session up: when it returns, packets are relayed.
    ///
    /// # Errors
    /// The system refused, or does not answer.
    fn set_up(&mut self, session: u32, ends: &Ends) -> Result<Remotes>;

    /// Says something that changes nothing and waits for the answer: what any command takes at
    /// least. Systems that are told in another way than over the network do nothing.
    ///
    /// # Errors
    /// The system does not answer.
    fn ping(&mut self) -> Result<()> {
        Ok(())
    }

    /// Ends a session.
    ///
    /// # Errors
    /// The system refused, does not answer, or has no such command.
    fn tear_down(&mut self, session: u32) -> Result<()>;
}

/// No relay in between: each client sends to the other, and the kernel forwards.
#[derive(Debug)]
pub(crate) struct Direct;

impl Control for Direct {
    fn set_up(&mut self, _session: u32, ends: &Ends) -> Result<Remotes> {
        let remote = |rtp: &Option<SocketAddrV4>| rtp.map(remote_at);
        Ok([ends[1].each_ref().map(remote), ends[0].each_ref().map(remote)])
    }

    fn tear_down(&mut self, _session: u32) -> Result<()> {
        Ok(())
    }
}

/// RTP at `rtp`, RTCP at the port above it (RFC 3550 11).
pub(crate) const fn remote_at(rtp: SocketAddrV4) -> Remote {
    let rtcp = SocketAddrV4::new(*rtp.ip(), rtp.port().saturating_add(1));
    Remote { rtp: SocketAddr::V4(rtp), rtcp: SocketAddr::V4(rtcp) }
}

/// An address of the benchmark's own, which are all of IPv4.
pub(crate) const fn ipv4(address: SocketAddr) -> SocketAddrV4 {
    match address {
        SocketAddr::V4(address) => address,
        SocketAddr::V6(address) => SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, address.port()),
    }
}
