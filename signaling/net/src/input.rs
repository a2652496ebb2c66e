//! What the transports hand to the core.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use signaling_core::transport::{Arrival, ConnectionId, Target, Transmit};

use crate::counters::Counters;

/// Something that happened on a transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A message arrived: a datagram, or one message framed on a stream (RFC 3261 18.3).
    Message {
        /// Where from. On a connection that we opened, `local` is the connection's local IP address
        /// with the *listener's* port: the address that the peer can reach us at, not the
        /// connection's ephemeral one.
        arrival: Arrival,
        /// The whole message. It is not yet known whether it is SIP.
        bytes: Bytes,
    },
    /// A connection has ended; it will not be heard of again. Its unsent messages were reported as
    /// [`Input::SendFailed`] before.
    Closed {
        /// The connection.
        connection: ConnectionId,
        /// Its other end.
        remote: SocketAddr,
        /// Why it ended.
        reason: CloseReason,
    },
    /// A message given to [`Transports::send`](crate::Transports::send) was not (wholly) sent, or
    /// cannot be delivered (RFC 3261 18.4). Reported once for each such message.
    SendFailed {
        /// From the [`Transmit`](signaling_core::transport::Transmit).
        target: Target,
        /// From the transmit too, so that the transaction can be told.
        bytes: Bytes,
        /// Why not.
        error: SendError,
    },
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The peer closed it.
    #[error("closed by the peer")]
    Peer,
    /// [`Transports::close`](crate::Transports::close) or
    /// [`Transports::shutdown`](crate::Transports::shutdown).
    #[error("closed by this node")]
    Asked,
    /// Nothing moved for [`Limits::idle`](crate::Limits::idle).
    #[error("idle for too long")]
    Idle,
    /// What arrived cannot be cut into messages.
    #[error("not a stream of SIP messages: {0}")]
    Malformed(String),
    /// A message was not complete within [`Limits::partial_message`](crate::Limits::partial_message).
    #[error("a message was not complete in time")]
    SlowSender,
    /// The peer does not read: a write queue's bound or
    /// [`Limits::write_stall`](crate::Limits::write_stall) was reached.
    #[error("the peer does not read what is sent to it")]
    SlowReader,
    /// The peer and this node did not agree on TLS, or not in time.
    #[error("TLS handshake failed: {0}")]
    Handshake(String),
    /// The peer and this node did not agree on a WebSocket (RFC 6455 4, RFC 7118 4.1).
    #[error("WebSocket handshake failed: {0}")]
    Upgrade(String),
    /// The system reported an error on the connection.
    #[error("connection lost: {0}")]
    Lost(io::ErrorKind),
}

/// Why a message was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The connection could not be opened; `ConnectionRefused` and `TimedOut` are the usual kinds.
    #[error("cannot connect: {0}")]
    Connect(io::ErrorKind),
    /// The connection was opened, but not secured: the peer could not be verified, say.
    #[error("cannot secure the connection: {0}")]
    Tls(String),
    /// The connection ended before the message was written.
    #[error("connection ended: {0}")]
    Closed(CloseReason),
    /// Only the peer can open a WebSocket (RFC 7118 5), and it has none open.
    #[error("the peer has no WebSocket open, and only the peer can open one")]
    NoWebSocket,
    /// [`Limits::connections_max`](crate::Limits::connections_max) is reached.
    #[error("no connection can be opened: this node holds {0} already")]
    TooManyConnections(usize),
    /// The target names a listener that does not exist or has another transport or address family.
    #[error("no listener of this node fits the target")]
    NoListener,
    /// A host or router on the way reported by ICMP that the datagram cannot be delivered;
    /// `ConnectionRefused`: nobody listens on the port.
    #[error("cannot be delivered: {0}")]
    Unreachable(io::ErrorKind),
    /// The message does not fit into a datagram (65,507 bytes over IPv4).
    #[error("the message is too large for a datagram")]
    TooLarge,
    /// The system refused to send it.
    #[error("cannot send: {0}")]
    Os(io::ErrorKind),
}

/// Reports and counts a message that was not sent.
pub(crate) fn fail(
    transmit: Transmit,
    error: SendError,
    counters: &mut Counters,
    out: &mut Vec<Input>,
) {
    counters.send_failed += 1;
    out.push(Input::SendFailed { target: transmit.target, bytes: transmit.bytes, error });
}
