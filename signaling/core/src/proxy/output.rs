//! What the proxy core wants done, and what it has to tell.

use std::fmt;
use std::time::Duration;

use relay_core::api::{Command, SessionReport};

use super::farm::FarmOutput;
use crate::call::Unserved;
use crate::guard;
use crate::overload;
use crate::resolve::Query;
use crate::transport::{ConnectionId, Transmit};

/// One thing for the node to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Put this message on the wire.
    Transmit(Transmit),
    /// Hand this to the relay; its answer comes back through
    /// [`Proxy::handle_media`](super::Proxy::handle_media).
    Media(Box<Command>),
    /// The peer of this TLS connection would have it used for requests to this port of its address, too
    /// (RFC 5923 5); what it may be used for is for the transports to judge, by its certificate.
    Alias {
        /// The connection.
        connection: ConnectionId,
        /// The port that the peer is reached at.
        port: u16,
    },
    /// Look this up; the answer comes back through
    /// [`Proxy::handle_resolved`](super::Proxy::handle_resolved), within ten seconds.
    Resolve(Box<Ask>),
    /// Close this connection: its sender is not listened to, and shall not wait for answers.
    Close(ConnectionId),
    /// What only a member of a farm wants done.
    Farm(Box<FarmOutput>),
    /// A call has ended.
    Record(Box<CallRecord>),
    /// Something that an operator should see.
    Notice(Notice),
}

/// A look-up that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Goes back with the answer.
    pub token: u64,
    /// What is looked for.
    pub query: Query,
    /// Decides among servers of one priority.
    pub seed: u64,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// BYE from the caller's side.
    CallerHungUp,
    /// BYE from the callee's side.
    CalleeHungUp,
    /// The INVITE was refused with this status.
    Refused(u16),
    /// CANCEL from the caller.
    Cancelled,
    /// No media in either direction for the idle timeout.
    MediaIdle,
    /// The media worker that carried it has died or hangs.
    MediaLost,
    /// The call outlived [`Limits::call_lifetime`](super::config::Limits::call_lifetime).
    LifetimeExceeded,
    /// Nobody refreshed the session in time (RFC 4028).
    SessionExpired,
    /// The node is stopping.
    NodeStopped,
}

impl CallEnd {
    /// Every word that [`CallEnd::kind`] gives, in a fixed order.
    pub const KINDS: [&'static str; 9] = [
        "caller_hung_up",
        "callee_hung_up",
        "refused",
        "cancelled",
        "media_idle",
        "media_lost",
        "lifetime_exceeded",
        "session_expired",
        "node_stopped",
    ];

    /// The kind of end as counters name it, one of [`CallEnd::KINDS`].
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            CallEnd::CallerHungUp => "caller_hung_up",
            CallEnd::CalleeHungUp => "callee_hung_up",
            CallEnd::Refused(_) => "refused",
            CallEnd::Cancelled => "cancelled",
            CallEnd::MediaIdle => "media_idle",
            CallEnd::MediaLost => "media_lost",
            CallEnd::LifetimeExceeded => "lifetime_exceeded",
            CallEnd::SessionExpired => "session_expired",
            CallEnd::NodeStopped => "node_stopped",
        }
    }
}

impl fmt::Display for CallEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallEnd::CallerHungUp => f.write_str("caller hung up"),
            CallEnd::CalleeHungUp => f.write_str("callee hung up"),
            CallEnd::Refused(status) => write!(f, "refused {status}"),
            CallEnd::Cancelled => f.write_str("cancelled"),
            CallEnd::MediaIdle => f.write_str("media idle"),
            CallEnd::MediaLost => f.write_str("media worker lost"),
            CallEnd::LifetimeExceeded => f.write_str("lifetime exceeded"),
            CallEnd::SessionExpired => f.write_str("session expired"),
            CallEnd::NodeStopped => f.write_str("node stopped"),
        }
    }
}

/// What is known of a call once it is over: the source of the line that is logged for it.
#[derive(Clone, Debug, PartialEq)]
pub struct CallRecord {
    /// The SIP Call-ID.
    pub call_id: String,
    /// The caller's address of record (personal data: never logged above DEBUG).
    pub from: String,
    /// The called address of record (personal data: never logged above DEBUG).
    pub to: String,
    /// How it ended.
    pub end: CallEnd,
    /// From the INVITE to its final response; `None` if there was none.
    pub setup: Option<Duration>,
    /// From the 2xx to the end.
    pub duration: Duration,
    /// What the media sessions relayed; more than one where the call was forked.
    pub media: Vec<SessionReport>,
}

/// Something that an operator should see, with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The relay could not bring a call's media to the wanted state. If it is the call's first, the
    /// call has been answered 503.
    MediaRefused {
        /// The call's name in logs ([`log_name`](crate::call::log_name)).
        call_id: String,
        /// The relay's reason.
        reason: String,
    },
    /// Media of an address family was described that is not carried: an offer has been answered 488,
    /// or one in a response has been passed on closed, or a stream of an answer has been closed.
    MediaFamily {
        /// The call's name in logs ([`log_name`](crate::call::log_name)).
        call_id: String,
        /// Why not, and what can be done.
        why: Unserved,
    },
    /// A table is full and a request was answered 503.
    TableFull {
        /// Which table.
        what: &'static str,
        /// Its bound.
        limit: usize,
    },
    /// A message could not be parsed (at DEBUG: strangers can cause any number of these).
    Malformed {
        /// Where it came from.
        source: std::net::SocketAddr,
        /// The kind of defect ([`Defect::kind`](crate::wire::Defect::kind)).
        kind: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The guard drops messages, or has banned somebody.
    Guard(guard::Report),
    /// This member is to send through farm members and none is there: a request was answered 503 (S22).
    NoExit,
    /// Requests begin to be refused for overload, or that is over.
    Overload(overload::Report),
    /// This node has been asked with the method `OPTION`, which there is not: a load balancer's ping that was
    /// set up from an example with that slip (S56).
    NoSuchPing,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::NoSuchPing => f.write_str(
                "answered 501 to the method OPTION; if that is your load balancer's ping, have it send OPTIONS",
            ),
            Notice::MediaRefused { call_id, reason } => {
                write!(f, "the relay refused the media of call {call_id}: {reason}")
            }
            Notice::MediaFamily { call_id, why } => {
                write!(f, "media of call {call_id} is not carried: {why}")
            }
            Notice::TableFull { what, limit } => {
                write!(
                    f,
                    "answered 503: all {limit} {what} are in use; raise [limits] or add a member"
                )
            }
            Notice::Malformed { source, reason, .. } => {
                write!(f, "malformed message from {source}: {reason}")
            }
            Notice::Guard(report) => report.fmt(f),
            Notice::NoExit => f.write_str(
                "answered 503: this member sends through farm members (SIP Farm is \"relay\"), and none is \
                 there; look at `ringfarm members`, or set member.farm to \"auto\" to let it send itself",
            ),
            Notice::Overload(report) => report.fmt(f),
        }
    }
}
