//! What the signaling side says to a relay worker, and what it hears back.
//!
//! A session is described *declaratively*: [`Command::Apply`] carries the whole wanted state and the
//! relay works out which ports to open, which to close and which peers to move. That makes
//! re-INVITE, hold, roll-back after a rejected offer and a repeated command one and the same thing.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use smallvec::SmallVec;

/// Most streams (m= lines) that one session may have; a larger spec is refused.
pub const STREAMS_MAX: usize = 16;

/// Names a media session. Chosen by the signaling side, never used twice in the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// The two legs that a Media Proxy session joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Leg {
    /// Faces the party that sent the INVITE.
    Caller,
    /// Faces the party that the INVITE was forwarded to.
    Callee,
}

impl Leg {
    /// Both legs, in the order in which pairs such as [`StreamSpec::legs`] hold them.
    pub const BOTH: [Leg; 2] = [Leg::Caller, Leg::Callee];

    /// The leg that a packet received on this one leaves from.
    #[must_use]
    pub const fn other(self) -> Leg {
        match self {
            Leg::Caller => Leg::Callee,
            Leg::Callee => Leg::Caller,
        }
    }

    /// This leg's place in a pair: 0 for the caller, 1 for the callee.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Leg::Caller => 0,
            Leg::Callee => 1,
        }
    }
}

/// The wanted state of a whole session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSpec {
    /// The local address that each leg's ports are bound to (caller, callee). It does not change in
    /// the life of a session.
    pub local: [IpAddr; 2],
    /// One entry a m= line, in the order of the SDP. A later spec may append streams but never
    /// remove one (RFC 3264 8: m= lines are never deleted): it closes them.
    pub streams: SmallVec<[StreamSpec; 2]>,
}

/// The wanted state of one stream (m= line).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSpec {
    /// `false`: the m= line has port 0 (RFC 3264 8.2) or is not carried over UDP; it holds no ports.
    pub open: bool,
    /// What its packets are.
    pub payload: Payload,
    /// How its packets are marked. Sockets that are open keep the marking that they were opened
    /// with.
    pub traffic: Traffic,
    /// How each leg sees it (caller, callee).
    pub legs: [StreamLeg; 2],
}

/// What a stream's packets are, which decides what is checked before one is relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// RTP and RTCP (RFC 3550), plain or SRTP; `dtls` also lets DTLS records pass (RFC 7983).
    Rtp {
        /// The profile is `UDP/TLS/...`: DTLS handshakes share the port.
        dtls: bool,
    },
    /// Datagrams that the relay does not look into (for example UDPTL). No RTCP port.
    Opaque,
}

/// What the network shall take a stream's packets for: which Differentiated Services code point
/// they are marked with, by the settings of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Traffic {
    /// Telephony (RFC 4594 4.1): speech, and the fax (T.38) and text that go with it.
    Audio,
    /// Pictures of a conversation (RFC 4594 4.3).
    Video,
    /// Anything else, of which neither rate nor urgency is known.
    Other,
}

impl Traffic {
    /// Every kind, in the order of their declaration.
    pub const ALL: [Traffic; 3] = [Traffic::Audio, Traffic::Video, Traffic::Other];
}

/// One leg's view of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamLeg {
    /// Where this leg's RTCP goes.
    pub rtcp: RtcpMode,
    /// The peer's address as signalled; `None` until its SDP is known, or while it is held with
    /// `c=0.0.0.0`: nothing is sent to this leg then.
    pub remote: Option<Remote>,
    /// Whether this leg's peer announced that it sends (`sendrecv` or `sendonly`). Used for silence
    /// and idle detection only; a packet sent against the direction is relayed all the same.
    pub sends: bool,
    /// RTP payload types that this leg's peer may send.
    pub payload_types: PayloadTypes,
}

/// Where the RTCP of one leg of a stream travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtcpMode {
    /// On a port of its own, the odd one above the RTP port (RFC 3550 11).
    Separate,
    /// On the RTP port (RFC 5761). While an offer of `a=rtcp-mux` is unanswered use
    /// [`RtcpMode::Separate`]: both ports are bound, and RTCP that arrives on the RTP port is
    /// recognised in either mode.
    Mux,
}

/// A peer's media address as its SDP gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// RTP goes here until a source is learned.
    pub rtp: SocketAddr,
    /// RTCP goes here (`a=rtcp`, RFC 3605, else the port above; the RTP address when muxed).
    pub rtcp: SocketAddr,
    /// Which sources are accepted.
    pub learning: Learning,
}

/// Which sources of media are accepted from a peer ("RTP bleed", CVE-2025-53399).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learning {
    /// Exactly the signalled address and port.
    Signalled,
    /// The peer is behind NAT: its signalled address, or the first source within this network that
    /// sends a run of consistent RTP; then that source alone until signaling says otherwise. Where
    /// that is the place that signaling has just moved the peer from, it is not locked for 32 s.
    Within(IpNet),
    /// The peer may send from another port than it receives on (it is not symmetric, RFC 4961): its
    /// signalled address and port, or the first port of that address that sends a run of consistent
    /// RTP; then that source alone. What is sent to the peer goes to the signalled port all the
    /// same.
    AnyPort,
}

/// A set of RTP payload types (0..=127).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PayloadTypes(u128);

impl PayloadTypes {
    /// Every payload type.
    pub const ANY: PayloadTypes = PayloadTypes(u128::MAX);
    /// None.
    pub const NONE: PayloadTypes = PayloadTypes(0);

    /// This set with `payload_type` added; a value above 127 changes nothing.
    #[must_use]
    pub const fn with(self, payload_type: u8) -> PayloadTypes {
        if payload_type > 127 { self } else { PayloadTypes(self.0 | 1 << payload_type) }
    }

    /// Whether `payload_type` is in the set.
    #[must_use]
    pub const fn contains(self, payload_type: u8) -> bool {
        payload_type <= 127 && self.0 & (1 << payload_type) != 0
    }

    /// Every type that is in either set.
    #[must_use]
    pub const fn union(self, other: PayloadTypes) -> PayloadTypes {
        PayloadTypes(self.0 | other.0)
    }
}

impl fmt::Debug for PayloadTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries((0..128).filter(|pt| self.contains(*pt))).finish()
    }
}

/// An order to a relay worker. Each is answered by exactly one [`Event`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every command is an Apply: a box would cost an allocation each and save nothing"
)]
pub enum Command {
    /// Creates the session or brings it to this state. Answered by [`Event::Applied`] once every
    /// port that it names receives, or by [`Event::Refused`], which leaves the session as it was
    /// (or absent).
    Apply {
        /// The session.
        session: SessionId,
        /// Copied into the answer, so that answers can be told apart.
        token: u64,
        /// The wanted state.
        spec: SessionSpec,
    },
    /// Ends the session. Its ports rest before they are used again. Answered by [`Event::Closed`].
    Close {
        /// The session.
        session: SessionId,
    },
    /// Asks what the session has relayed so far. Answered by [`Event::Report`], also while an
    /// [`Command::Apply`] for the session is under way.
    Report {
        /// The session.
        session: SessionId,
        /// Copied into the answer, so that answers can be told apart.
        token: u64,
    },
}

impl Command {
    /// The session that it is about.
    #[must_use]
    pub const fn session(&self) -> SessionId {
        match self {
            Command::Apply { session, .. }
            | Command::Close { session }
            | Command::Report { session, .. } => *session,
        }
    }
}

/// What a relay worker tells the signaling side.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The session is in the wanted state and its ports receive.
    Applied {
        /// The session.
        session: SessionId,
        /// From the command.
        token: u64,
        /// One entry a stream: the ports of each leg (caller, callee), `None` for a closed stream.
        ports: SmallVec<[Option<[LocalPorts; 2]>; 2]>,
    },
    /// The command could not be carried out.
    Refused {
        /// The session.
        session: SessionId,
        /// From the command.
        token: u64,
        /// Why not.
        reason: Refusal,
    },
    /// The session has ended.
    Closed {
        /// The session.
        session: SessionId,
        /// Why it ended.
        cause: CloseCause,
        /// What it relayed.
        report: SessionReport,
    },
    /// The answer to [`Command::Report`].
    Report {
        /// The session.
        session: SessionId,
        /// From the command.
        token: u64,
        /// What it has relayed so far; `None` if it does not exist (any more).
        report: Option<SessionReport>,
    },
}

impl Event {
    /// The session that it is about.
    #[must_use]
    pub const fn session(&self) -> SessionId {
        match self {
            Event::Applied { session, .. }
            | Event::Refused { session, .. }
            | Event::Closed { session, .. }
            | Event::Report { session, .. } => *session,
        }
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCause {
    /// [`Command::Close`].
    Asked,
    /// No packet arrived on any stream for this long although a peer had announced that it sends.
    Idle(Duration),
    /// [`Command::Close`] named a session that does not exist (any more).
    Unknown,
    /// The worker that carried it has died or hangs. The report is empty if it could not be had.
    WorkerLost,
}

/// The local ports of one leg of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalPorts {
    /// Receives RTP (and RTCP when muxed).
    pub rtp: SocketAddr,
    /// Receives RTCP; equal to `rtp` where there is no port of its own.
    pub rtcp: SocketAddr,
}

/// Why a [`Command::Apply`] was refused. The session keeps the state it had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No free port (pair) is left in the member's range.
    #[error(
        "no free media port in {first}-{last} on {address}: {used} used, {resting} resting, \
         oldest in use by session {} for {} s", oldest.map_or(0, |o| o.0.0), oldest.map_or(0, |o| o.1.as_secs())
    )]
    PortsExhausted {
        /// The local address whose ports ran out.
        address: IpAddr,
        /// First port of the range.
        first: u16,
        /// Last port of the range.
        last: u16,
        /// Ports in use.
        used: u32,
        /// Ports at rest.
        resting: u32,
        /// The session that has held a port the longest, and for how long.
        oldest: Option<(SessionId, Duration)>,
    },
    /// The local address does not exist on this host: never reported as a lack of ports.
    #[error("media address {0} is not an address of this host")]
    AddressNotLocal(IpAddr),
    /// The worker's table of sockets or sessions is full.
    #[error("the worker's table is full ({limit} {what})")]
    TableFull {
        /// What is full.
        what: &'static str,
        /// How many fit.
        limit: u32,
    },
    /// The worker that was to answer has died or hangs.
    #[error("the media worker of the session has died")]
    WorkerLost,
    /// The spec is not one that a session can be brought to.
    #[error("media description refused: {0}")]
    BadSpec(&'static str),
    /// The system refused an operation.
    #[error("{operation} on {address} failed: {error}")]
    Os {
        /// What was tried.
        operation: &'static str,
        /// On which local address.
        address: SocketAddr,
        /// The system's words.
        error: String,
    },
}

/// What a session relayed, per stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionReport {
    /// From the first [`Command::Apply`] to the end, or to the time of the report.
    pub lifetime: Duration,
    /// One entry a stream; each holds what was *received from* each leg's peer (caller, callee).
    pub streams: SmallVec<[[DirectionReport; 2]; 2]>,
}

impl SessionReport {
    /// Whether packets of the stream come from one side while the other, that should send as well,
    /// never started or has stopped.
    #[must_use]
    pub fn is_one_way(&self, stream: usize) -> bool {
        let silent = |flow| matches!(flow, Flow::NeverStarted | Flow::Stopped);
        let flows = self.streams.get(stream).map(|[a, b]| [a.flow, b.flow]);
        flows
            .is_some_and(|flows| flows.contains(&Flow::Flowing) && flows.iter().any(|f| silent(*f)))
    }
}

/// What was received from one leg's peer on one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DirectionReport {
    /// RTP (or opaque) packets relayed.
    pub packets: u64,
    /// Bytes of UDP payload in them.
    pub bytes: u64,
    /// RTP packets lost before they reached us, by sequence number (RFC 3550 A.3); duplicates can
    /// make it negative there, here it stops at 0.
    pub lost: u64,
    /// RTP packets that had arrived before and were relayed all the same.
    pub duplicates: u64,
    /// RTP packets that arrived after one with a later sequence number.
    pub reordered: u64,
    /// Interarrival jitter at the end, in RTP timestamp units (RFC 3550 6.4.1), of the source
    /// (SSRC) that was heard last. A dynamic payload type does not say its clock rate: it is taken
    /// from how fast the timestamps run, and until that is settled (2 s) this is 0.
    pub jitter: u32,
    /// RTCP packets relayed.
    pub rtcp_packets: u64,
    /// Packets dropped: wrong source, not RTP, payload type not negotiated, nowhere to send.
    pub dropped: u64,
    /// The source that was learned or signalled, if a packet came.
    pub source: Option<SocketAddr>,
    /// Whether packets come as they should.
    pub flow: Flow,
    /// When the last packet was accepted, counted like [`SessionReport::lifetime`], which less this
    /// is its age.
    pub last_packet: Option<Duration>,
    /// The latest round trip between the relay and this peer, from sender reports that were relayed
    /// to it and its answers (RFC 3550 6.4.1). `None` without RTCP from both sides, or if it is
    /// encrypted.
    pub round_trip: Option<Duration>,
    /// What a listener would think of the speech that came, with the delay to the other side:
    /// see [`Mos`]. `None` for video, and for less than 50 packets.
    pub mos: Option<Mos>,
}

/// Whether the packets of one direction come as signaling says that they should.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// None has to: the stream is closed or held, or one side's address is not known.
    #[default]
    NotExpected,
    /// None has come so far.
    NeverStarted,
    /// They come, or the last of them announced a pause (comfort noise, RFC 3389).
    Flowing,
    /// They came, and none has for longer than [`FLOW_GAP`].
    Stopped,
}

/// Silence that is taken for the end of a flow: above what comfort noise (RFC 3389) and RTCP leave
/// between packets, below what makes callers hang up.
pub const FLOW_GAP: Duration = Duration::from_secs(6);

/// An estimated mean opinion score: 1.00 (bad) to 4.50 (excellent), by a simplified E-model (ITU-T
/// G.107) for G.711 with loss concealment, from loss, jitter and round trips.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mos(u16);

impl Mos {
    /// From hundredths.
    pub(crate) const fn from_hundredths(hundredths: u16) -> Mos {
        Mos(hundredths)
    }

    /// In hundredths: 100 to 450.
    #[must_use]
    pub const fn hundredths(self) -> u16 {
        self.0
    }

    /// As a number from 1 to 4.5.
    #[must_use]
    pub fn value(self) -> f32 {
        f32::from(self.0) / 100.0
    }
}

impl fmt::Display for Mos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}", self.value())
    }
}
