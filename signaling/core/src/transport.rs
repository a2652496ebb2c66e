//! How the core speaks of transports: where a message came from and where one goes.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use bytes::Bytes;

/// A SIP transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP (RFC 3261 18).
    Udp,
    /// TCP (RFC 3261 18).
    Tcp,
}

impl Transport {
    /// Whether the transport retransmits by itself (RFC 3261 17.1.1.1).
    #[must_use]
    pub const fn is_reliable(self) -> bool {
        match self {
            Transport::Udp => false,
            Transport::Tcp => true,
        }
    }

    /// As in a Via's sent-protocol: `UDP`.
    #[must_use]
    pub const fn via_name(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        }
    }

    /// As in a URI's transport parameter: `udp`.
    #[must_use]
    pub const fn uri_name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.via_name())
    }
}

impl FromStr for Transport {
    type Err = UnknownTransport;

    /// Case-insensitive, either spelling.
    fn from_str(s: &str) -> Result<Self, UnknownTransport> {
        if s.eq_ignore_ascii_case("udp") {
            Ok(Transport::Udp)
        } else if s.eq_ignore_ascii_case("tcp") {
            Ok(Transport::Tcp)
        } else {
            Err(UnknownTransport)
        }
    }
}

/// The name is not that of a transport that this node speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown transport (this node speaks udp and tcp)")]
pub struct UnknownTransport;

/// Names a listening socket: its place in the list of listeners that the node was started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(pub u16);

/// Names a stream connection, accepted or opened by us; never used twice in the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub u64);

/// Where a message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The transport.
    pub transport: Transport,
    /// The listener that it belongs to. A connection that we opened belongs to the listener that it
    /// was opened for.
    pub listener: ListenerId,
    /// The local address that it was sent to (never a wildcard: IP_PKTINFO for UDP).
    pub local: SocketAddr,
    /// The sender's address.
    pub remote: SocketAddr,
    /// The connection, for stream transports.
    pub connection: Option<ConnectionId>,
}

impl Arrival {
    /// The way back to the sender.
    #[must_use]
    pub const fn reply(&self) -> Target {
        Target {
            transport: self.transport,
            listener: self.listener,
            local: self.local,
            remote: self.remote,
            connection: self.connection,
        }
    }
}

/// Where a message goes, and from which local socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The transport.
    pub transport: Transport,
    /// The listener whose socket (UDP) or whose address (TCP) it leaves from.
    pub listener: ListenerId,
    /// The local source address; never a wildcard.
    pub local: SocketAddr,
    /// The destination.
    pub remote: SocketAddr,
    /// The connection to use. `None` for a stream transport: the open connection to `remote`, else
    /// a new one. If the named connection has closed, the message goes to `remote` as for `None`.
    pub connection: Option<ConnectionId>,
}

/// A message to put on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub target: Target,
    /// The whole message.
    pub bytes: Bytes,
}
