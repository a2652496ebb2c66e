//! How the core speaks of transports: where a message came from and where one goes.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;

/// A SIP transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP (RFC 3261 18).
    Udp,
    /// TCP (RFC 3261 18).
    Tcp,
    /// TLS over TCP (RFC 3261 26.2.1).
    Tls,
    /// WebSocket (RFC 7118).
    Ws,
    /// WebSocket over TLS (RFC 7118).
    Wss,
}

impl Transport {
    /// Every transport that this node speaks.
    pub const ALL: [Transport; 5] =
        [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss];

    /// Whether the transport retransmits by itself (RFC 3261 17.1.1.1), and hence has connections.
    #[must_use]
    pub const fn is_reliable(self) -> bool {
        match self {
            Transport::Udp => false,
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => true,
        }
    }

    /// Whether messages are encrypted on the way, as `sips` wants it (RFC 3261 26.2.2).
    #[must_use]
    pub const fn is_secure(self) -> bool {
        match self {
            Transport::Udp | Transport::Tcp | Transport::Ws => false,
            Transport::Tls | Transport::Wss => true,
        }
    }

    /// Whether only the peer can open a connection: a browser cannot be called back (RFC 7118 5).
    #[must_use]
    pub const fn is_web_socket(self) -> bool {
        match self {
            Transport::Udp | Transport::Tcp | Transport::Tls => false,
            Transport::Ws | Transport::Wss => true,
        }
    }

    /// The port where none is named (RFC 3261 19.1.2, RFC 7118 5.2).
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp => 5060,
            Transport::Tls => 5061,
            Transport::Ws => 80,
            Transport::Wss => 443,
        }
    }

    /// As in a Via's sent-protocol: `UDP`.
    #[must_use]
    pub const fn via_name(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
            Transport::Ws => "WS",
            Transport::Wss => "WSS",
        }
    }

    /// As in settings: `udp`. Unlike in URIs, the WebSocket transports are told apart.
    #[must_use]
    pub const fn lower_name(self) -> &'static str {
        match self {
            Transport::Wss => "wss",
            Transport::Udp | Transport::Tcp | Transport::Tls | Transport::Ws => self.uri_name(),
        }
    }

    /// As in a URI's transport parameter: `udp`. Both WebSocket transports are `ws` (RFC 7118 5.2.3).
    #[must_use]
    pub const fn uri_name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Ws | Transport::Wss => "ws",
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

    /// Case-insensitive, as in a Via or in a URI.
    fn from_str(s: &str) -> Result<Self, UnknownTransport> {
        let is_named = |transport: &Transport| s.eq_ignore_ascii_case(transport.via_name());
        Transport::ALL.into_iter().find(is_named).ok_or(UnknownTransport)
    }
}

/// The name is not that of a transport that this node speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown transport (this node speaks udp, tcp, tls, ws and wss)")]
pub struct UnknownTransport;

/// Names a listening socket: its place in the list of listeners that the node was started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(pub u16);

/// Names a stream connection, accepted or opened by us; never used twice in the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

impl ConnectionId {
    /// The connection of that number among those of a member in one of its lives. A node that is no member
    /// numbers its own from 1, which are those of member 0.
    #[must_use]
    pub const fn of_member(member: u16, incarnation: u32, number: u32) -> ConnectionId {
        ConnectionId((member as u64) << 48 | (incarnation as u64 & 0xffff) << 32 | number as u64)
    }

    /// The member that has the connection; 0: this node, which is no member.
    #[must_use]
    pub const fn member(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// The low 16 bits of the life of its member that it belongs to.
    #[must_use]
    pub const fn life(self) -> u16 {
        (self.0 >> 32) as u16
    }
}

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
            name: None,
        }
    }
}

/// A name that the server at the other end of a connection has to prove (RFC 5922), as a number that
/// means the same name for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerName(pub u64);

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
    /// The name that the server has to prove, over a transport that is secure; `None`: its address. A
    /// connection that was verified for one name does not serve another.
    pub name: Option<PeerName>,
}

/// A message to put on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub target: Target,
    /// The whole message.
    pub bytes: Bytes,
    /// What [`Target::name`] stands for, in case a connection has to be opened. Without it none is
    /// opened to a target that has a name.
    pub server_name: Option<Arc<str>>,
}
