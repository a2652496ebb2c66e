//! What to listen on, and the limits that hold.

use std::net::SocketAddr;
use std::time::Duration;

use signaling_core::transport::Transport;
use signaling_core::wire;

/// One socket to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerConfig {
    /// The transport.
    pub transport: Transport,
    /// The local address. A wildcard address and single addresses may be listened on side by side
    /// over UDP on one port (S52); port 0 lets the system choose. An IPv6 wildcard takes IPv6 only.
    pub address: SocketAddr,
    /// The host need not have the address yet (S50): it is listened on as soon as it has.
    pub may_be_absent: bool,
    /// The Differentiated Services code point (RFC 2474), 0 to 63, of what is sent from here and over the
    /// connections that are accepted and opened here.
    pub dscp: u8,
}

impl ListenerConfig {
    /// A listener on an address that the host has.
    #[must_use]
    pub const fn new(transport: Transport, address: SocketAddr) -> ListenerConfig {
        ListenerConfig { transport, address, may_be_absent: false, dscp: 0 }
    }
}

/// Most listeners of a node. A host has a handful of addresses; a quarter of a thousand is more than
/// any cluster plan asks for, and each is looked at whenever any socket has something.
pub(crate) const LISTENERS_MAX: usize = 256;

/// Limits on connections and messages. UDP has its own bounds, which are constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most stream connections at a time, accepted and opened. Above it an accepted connection is
    /// closed at once and a message that would open one fails.
    pub connections_max: usize,
    /// Most connections accepted from one IPv4 address or IPv6 /64 at a time; above it a new one is closed at
    /// once.
    pub connections_per_source_max: usize,
    /// Bounds for a message on a stream; a larger one closes the connection.
    pub framing: wire::Limits,
    /// Most messages that wait to be written to one connection. At this bound the peer is taken for
    /// a slow reader and the connection is closed.
    pub write_queue_messages_max: usize,
    /// Most bytes that wait to be written to one connection; the same happens at this bound.
    pub write_queue_bytes_max: usize,
    /// A connection on which nothing moved for this long is closed.
    pub idle: Duration,
    /// A message must be complete this long after its first byte arrived, else the connection is
    /// closed (slow sender).
    pub partial_message: Duration,
    /// What is written must be acknowledged within this time, else the connection is closed (slow
    /// reader, or a peer that vanished). The system looks ever more seldom: it may take twice as long.
    pub write_stall: Duration,
    /// A connection that we open must be established within this time.
    pub connect: Duration,
    /// A TLS handshake must be complete within this time, and so must that of a WebSocket.
    pub handshake: Duration,
    /// Most handshakes of accepted connections in progress, of TLS and of WebSockets; above it a new
    /// connection is closed at once.
    pub handshakes_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            // Some 20 KB of ours and of the kernel's each while idle: 160 MB.
            connections_max: 8_192,
            // The phones of a large office share one address behind NAT; a single address must not
            // be able to take all connections.
            connections_per_source_max: 1_024,
            framing: wire::Limits::default(),
            // A busy trunk sends some 1,000 messages a second; a peer that is more than half a
            // second behind, with full socket buffers on both sides before that, does not read.
            write_queue_messages_max: 512,
            // 512 messages of 1 KiB, twice; three of the largest that may arrive.
            write_queue_bytes_max: 1_048_576,
            // A registration lasts 3,600 s by default (RFC 3261 10.2) and is refreshed before its
            // end, so that a registered phone's connection outlives its silence.
            idle: Duration::from_secs(3_600),
            // The largest message that framing admits, 320 KiB, needs 262 kbit/s; one of a usual 2 KB
            // needs 2 kbit/s.
            partial_message: Duration::from_secs(10),
            // 64*T1 (RFC 3261 17.1.1.2): by then the transaction has given up.
            write_stall: Duration::from_secs(32),
            // SYNs are repeated after 1 and 3 s: two losses are survived, and another target can
            // still be tried within the 32 s that a transaction lasts.
            connect: Duration::from_secs(5),
            // Two round trips and a lost segment of each on a satellite link.
            handshake: Duration::from_secs(5),
            // A handshake takes some 0.2 ms of this thread's time (ECDSA; four times that with RSA):
            // the last of so many waits for a fifth of a second, a fraction of `handshake`.
            handshakes_max: 1_024,
        }
    }
}
