//! What the relay hands to its engine: verdicts on packets, and actions on sockets.

use std::net::SocketAddr;

use crate::api::Traffic;
use crate::slot::SlotId;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it, unchanged, from the socket `slot`.
    Forward {
        /// The socket that it leaves from.
        slot: SlotId,
        /// Where to; `None`: where the socket is connected to.
        to: Option<SocketAddr>,
        /// What it is, for counting.
        kind: PacketKind,
    },
    /// Do nothing.
    Drop(DropReason),
}

/// What a relayed packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketKind {
    /// RTP (RFC 3550 5).
    Rtp,
    /// RTCP (RFC 3550 6).
    Rtcp,
    /// DTLS, or a datagram of an opaque stream.
    Other,
}

/// Why a packet is not relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// Its socket is closed or closing.
    Closed,
    /// It is not from the peer.
    WrongSource,
    /// It may be from the peer, but too few packets say so yet.
    NotLearned,
    /// RTP of a payload type that was not negotiated.
    PayloadType,
    /// Not RTP, RTCP or what else may come here.
    NotRtp,
    /// Not RTCP, on an RTCP port.
    NotRtcp,
    /// DTLS on a stream that does without.
    Dtls,
    /// STUN: connectivity checks are not answered.
    Stun,
    /// The other leg's peer has no address (yet).
    Nowhere,
}

impl DropReason {
    /// All of them, in the order of [`DropReason::index`].
    pub const ALL: [DropReason; 9] = [
        DropReason::Closed,
        DropReason::WrongSource,
        DropReason::NotLearned,
        DropReason::PayloadType,
        DropReason::NotRtp,
        DropReason::NotRtcp,
        DropReason::Dtls,
        DropReason::Stun,
        DropReason::Nowhere,
    ];

    /// Its place in [`DropReason::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// A word in `snake_case` for counters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            DropReason::Closed => "closed",
            DropReason::WrongSource => "wrong_source",
            DropReason::NotLearned => "not_learned",
            DropReason::PayloadType => "payload_type",
            DropReason::NotRtp => "not_rtp",
            DropReason::NotRtcp => "not_rtcp",
            DropReason::Dtls => "dtls",
            DropReason::Stun => "stun",
            DropReason::Nowhere => "nowhere",
        }
    }
}

/// What the engine has to do with a socket.
///
/// Actions are carried out in the order in which they come, and an event that is polled after an
/// action is delivered after the action was carried out: that is why a peer that was told to move
/// meets a socket that already lets it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Bind a socket to the address and receive on it. Answered by
    /// [`Relay::handle_opened`](crate::Relay::handle_opened).
    Open {
        /// The socket's name from now on.
        slot: SlotId,
        /// What it is bound to.
        address: SocketAddr,
        /// How what it sends is marked.
        traffic: Traffic,
    },
    /// Connect the socket, so that the system lets only the peer in; `None`: dissolve the
    /// connection. Answered by [`Relay::handle_connected`](crate::Relay::handle_connected).
    Connect {
        /// The socket.
        slot: SlotId,
        /// Whom to.
        peer: Option<SocketAddr>,
    },
    /// Close the socket. Answered by [`Relay::handle_shut`](crate::Relay::handle_shut) once its
    /// port is no longer bound.
    Shut {
        /// The socket.
        slot: SlotId,
    },
}

/// Why a socket could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// Someone else has the port (EADDRINUSE): another one is tried.
    AddressInUse,
    /// The host has no such address (EADDRNOTAVAIL).
    AddressNotLocal,
    /// Anything else.
    Os {
        /// What was tried.
        operation: &'static str,
        /// The system's words.
        error: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_numbered_in_order() {
        for (place, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), place);
        }
    }
}
