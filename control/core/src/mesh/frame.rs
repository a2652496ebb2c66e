//! What members say to each other.

use std::net::SocketAddr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::codec::write;
use super::head::text;
use super::hello::Hello;
use super::join::{Grant, JoinAsk};
use crate::cluster::{Epoch, Load};

/// A payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body(pub Bytes);

/// One message between members.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// Who a member is, and what it says of itself: the first frame of each connection, and again
    /// whenever something of it changes.
    Hello(Box<Hello>),
    /// The connection is used from here on. Of two members, the one with the lower number says it, so
    /// that of two connections that are opened at the same time both take the same one.
    Welcome(Welcome),
    /// A sign of life.
    Heartbeat(Heartbeat),
    /// A SIP message that arrived at the sender is the receiver's (B2). It is not relayed again.
    SipRelay(Errand, Sip),
    /// The receiver writes a SIP message to a connection of its own.
    Write(Sip),
    /// A connection of the sender has closed.
    Closed(Closed),
    /// The receiver sends a SIP message from its own listeners (S22).
    SendOut(SendOut),
    /// What was to be written or sent could not be: the message, or nothing where all that goes that way fails.
    Undelivered(Hop, Body),
    /// Registrations that have changed at the sender.
    Registrations(Registrations),
    /// A part of all registrations.
    RegistrationSync(SyncStep, Body),
    /// What members tell each other of calls whose users are watched.
    Calls(Body),
    /// The view that the sender goes by, if it has published it.
    View(ViewFrame),
    /// A question.
    Request(Request),
    /// The answer to one.
    Reply(Reply),
    /// Something that has happened; those of one member arrive in their order.
    Event(Body),
    /// The connection ends, and why.
    Goodbye(Goodbye),
    /// A node wants to become a member. It has no certificate yet, and can say nothing else.
    JoinAsk(JoinAsk),
    /// It may.
    Grant(Box<Grant>),
    /// It may not: why, in words.
    JoinRefused(String),
}

/// Longest text of a refusal, in bytes: a sentence or two.
const WHY_BYTES_MAX: usize = 400;

/// See [`Frame::Welcome`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version of the protocol that both speak from here on.
    pub version: u16,
}

/// See [`Frame::Heartbeat`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Calls that the sender has.
    pub calls: u32,
    /// The use of its processors, in thousandths of all.
    pub cpu_permille: u16,
    /// The view that it goes by.
    pub epoch: Epoch,
    /// When it was sent, in microseconds of a clock of the sender's own.
    pub sent_us: u64,
    /// The last one that came from the receiver.
    pub echo: Option<Echo>,
}

impl Heartbeat {
    /// How busy the sender is.
    #[must_use]
    pub const fn load(&self) -> Load {
        Load { calls: self.calls, cpu_permille: self.cpu_permille }
    }
}

/// A heartbeat that came back, from which the round trip is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Echo {
    /// [`Heartbeat::sent_us`].
    pub sent_us: u64,
    /// How long it waited for the next heartbeat of the other side, in microseconds.
    pub held_us: u32,
}

/// The socket that a SIP message arrived at, or is to leave from: which kind it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "u8", into = "u8")]
pub enum ListenerKind {
    /// It is bound to one address.
    Address,
    /// It is bound to all addresses of the host.
    Wildcard,
    /// One that this version does not know.
    Other(u8),
}

impl From<u8> for ListenerKind {
    fn from(number: u8) -> ListenerKind {
        match number {
            0 => ListenerKind::Address,
            1 => ListenerKind::Wildcard,
            other => ListenerKind::Other(other),
        }
    }
}

impl From<ListenerKind> for u8 {
    fn from(kind: ListenerKind) -> u8 {
        match kind {
            ListenerKind::Address => 0,
            ListenerKind::Wildcard => 1,
            ListenerKind::Other(number) => number,
        }
    }
}

/// Between which addresses, and over which connection, a SIP message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hop {
    /// The transport, as a number that the node gives it; this protocol does not know transports.
    pub transport: u8,
    /// The member's socket.
    pub listener: ListenerKind,
    /// The member's address.
    pub local: SocketAddr,
    /// The other side's.
    pub remote: SocketAddr,
    /// The connection; 0: none.
    pub connection: u64,
}

/// What the receiver of a SIP message is to do with it. This protocol does not know what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Errand {
    /// Why it is sent, as a number that the node gives to each reason.
    pub why: u8,
    /// How many members have been asked before.
    pub asked: u8,
}

#[derive(Serialize, Deserialize)]
struct RelayHead {
    hop: Hop,
    errand: Errand,
}

/// A SIP message with its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sip {
    /// Its way.
    pub hop: Hop,
    /// The message as it was received or is to be sent.
    pub bytes: Bytes,
}

/// See [`Frame::Closed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// The connection.
    pub connection: u64,
}

/// See [`Frame::SendOut`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendOut {
    /// The transport, as in [`Hop`].
    pub transport: u8,
    /// Where to.
    pub remote: SocketAddr,
    /// The name that the server there has to prove (RFC 5922), at most 253 bytes; empty: its address.
    pub name: String,
    /// The message.
    pub bytes: Bytes,
}

/// Longest name of a server, in bytes (RFC 1035 2.3.4).
const SERVER_NAME_BYTES_MAX: usize = 253;

#[derive(Serialize, Deserialize)]
struct SendOutHead {
    transport: u8,
    remote: SocketAddr,
    #[serde(deserialize_with = "text::<_, SERVER_NAME_BYTES_MAX>")]
    name: String,
}

#[derive(Serialize)]
struct SendOutHeadRef<'a> {
    transport: u8,
    remote: SocketAddr,
    name: &'a str,
}

/// See [`Frame::Registrations`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registrations(pub Body);

/// What a part of all registrations is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncStep {
    /// Which copy it belongs to, as who asked for it has said.
    pub copy: u64,
    /// The number of the part, from 0.
    pub part: u32,
    /// 0: please send a copy; 1: a part; 2: the last part. 3: please tell of one user, whom the payload names; 4:
    /// that user's registrations. 5: who took new work before, for whoever is given a copy. Versions that do not
    /// know one pass it over.
    pub step: u8,
}

impl SyncStep {
    /// [`SyncStep::step`] of a request for a copy.
    pub const ASK: u8 = 0;
    /// Of a part.
    pub const PART: u8 = 1;
    /// Of the last part.
    pub const LAST: u8 = 2;
    /// Of a question about one user.
    pub const LOOK: u8 = 3;
    /// Of the answer to that.
    pub const TOLD: u8 = 4;
    /// Of what was before.
    pub const HISTORY: u8 = 5;
}

/// See [`Frame::View`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewFrame {
    /// Its epoch.
    pub epoch: Epoch,
    /// The document.
    pub body: Body,
}

/// Which question a reply answers; the asker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u64);

/// See [`Frame::Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its number.
    pub id: RequestId,
    /// How long the asker waits, in milliseconds from the moment that it sent this.
    pub deadline_ms: u32,
    /// The question.
    pub body: Body,
}

/// See [`Frame::Reply`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The question's number.
    pub id: RequestId,
    /// Whether the question was answered. `false`: it cannot be, and the payload says why in words.
    pub is_answered: bool,
    /// The answer.
    pub body: Body,
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "u8", into = "u8")]
pub enum Leave {
    /// The member stops.
    Stopping,
    /// There is another connection between the two members.
    Duplicate,
    /// The two speak no version in common.
    Versions,
    /// The sender does not take the receiver for who it says to be, or for a member.
    Refused,
    /// The sender could not make sense of what it was sent, or was sent too much.
    Broken,
    /// A reason that this version does not know.
    Other(u8),
}

impl From<u8> for Leave {
    fn from(number: u8) -> Leave {
        match number {
            0 => Leave::Stopping,
            1 => Leave::Duplicate,
            2 => Leave::Versions,
            3 => Leave::Refused,
            4 => Leave::Broken,
            other => Leave::Other(other),
        }
    }
}

impl From<Leave> for u8 {
    fn from(leave: Leave) -> u8 {
        match leave {
            Leave::Stopping => 0,
            Leave::Duplicate => 1,
            Leave::Versions => 2,
            Leave::Refused => 3,
            Leave::Broken => 4,
            Leave::Other(number) => number,
        }
    }
}

/// See [`Frame::Goodbye`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goodbye {
    /// Why.
    pub why: Leave,
}

#[derive(Serialize, Deserialize)]
struct RequestHead {
    id: RequestId,
    deadline_ms: u32,
}

#[derive(Serialize, Deserialize)]
struct ReplyHead {
    id: RequestId,
    is_answered: bool,
}

#[derive(Deserialize)]
struct Why {
    #[serde(deserialize_with = "text::<_, WHY_BYTES_MAX>")]
    why: String,
}

/// Kinds by their numbers. A number is never given to another kind.
mod kind {
    pub(super) const HELLO: u8 = 1;
    pub(super) const WELCOME: u8 = 2;
    pub(super) const HEARTBEAT: u8 = 3;
    pub(super) const GOODBYE: u8 = 4;
    pub(super) const SIP_RELAY: u8 = 16;
    pub(super) const WRITE: u8 = 17;
    pub(super) const CLOSED: u8 = 18;
    pub(super) const SEND_OUT: u8 = 19;
    pub(super) const UNDELIVERED: u8 = 20;
    pub(super) const REGISTRATIONS: u8 = 32;
    pub(super) const REGISTRATION_SYNC: u8 = 33;
    pub(super) const CALLS: u8 = 34;
    pub(super) const VIEW: u8 = 48;
    pub(super) const REQUEST: u8 = 49;
    pub(super) const REPLY: u8 = 50;
    pub(super) const EVENT: u8 = 51;
    pub(super) const JOIN_ASK: u8 = 64;
    pub(super) const GRANT: u8 = 65;
    pub(super) const JOIN_REFUSED: u8 = 66;
}

impl Frame {
    /// The number of its kind.
    #[must_use]
    pub const fn kind(&self) -> u8 {
        match self {
            Frame::Hello(_) => kind::HELLO,
            Frame::Welcome(_) => kind::WELCOME,
            Frame::Heartbeat(_) => kind::HEARTBEAT,
            Frame::Goodbye(_) => kind::GOODBYE,
            Frame::SipRelay(..) => kind::SIP_RELAY,
            Frame::Write(_) => kind::WRITE,
            Frame::Closed(_) => kind::CLOSED,
            Frame::SendOut(_) => kind::SEND_OUT,
            Frame::Undelivered(..) => kind::UNDELIVERED,
            Frame::Registrations(_) => kind::REGISTRATIONS,
            Frame::RegistrationSync(..) => kind::REGISTRATION_SYNC,
            Frame::Calls(_) => kind::CALLS,
            Frame::View(_) => kind::VIEW,
            Frame::Request(_) => kind::REQUEST,
            Frame::Reply(_) => kind::REPLY,
            Frame::Event(_) => kind::EVENT,
            Frame::JoinAsk(_) => kind::JOIN_ASK,
            Frame::Grant(_) => kind::GRANT,
            Frame::JoinRefused(_) => kind::JOIN_REFUSED,
        }
    }

    /// Whether it carries a message of SIP, which its sender may send again: such a frame may be dropped
    /// where there is too much.
    #[must_use]
    pub const fn is_sip(&self) -> bool {
        matches!(self, Frame::SipRelay(..) | Frame::Write(_) | Frame::SendOut(_))
    }

    pub(super) fn write_head(&self, out: &mut Vec<u8>) {
        match self {
            Frame::Hello(hello) => hello.write_head(out),
            Frame::Welcome(welcome) => write(welcome, out),
            Frame::Heartbeat(heartbeat) => write(heartbeat, out),
            Frame::Goodbye(goodbye) => write(goodbye, out),
            Frame::SipRelay(errand, Sip { hop, .. }) => {
                write(&RelayHead { hop: *hop, errand: *errand }, out);
            }
            Frame::Write(Sip { hop, .. }) | Frame::Undelivered(hop, _) => write(hop, out),
            Frame::Closed(closed) => write(closed, out),
            Frame::SendOut(SendOut { transport, remote, name, .. }) => {
                write(&SendOutHeadRef { transport: *transport, remote: *remote, name }, out);
            }
            Frame::Registrations(_) | Frame::Calls(_) | Frame::Event(_) => {}
            Frame::RegistrationSync(step, _) => write(step, out),
            Frame::View(view) => write(&view.epoch, out),
            Frame::Request(Request { id, deadline_ms, .. }) => {
                write(&RequestHead { id: *id, deadline_ms: *deadline_ms }, out);
            }
            Frame::Reply(Reply { id, is_answered, .. }) => {
                write(&ReplyHead { id: *id, is_answered: *is_answered }, out);
            }
            Frame::JoinAsk(ask) => write(ask, out),
            Frame::Grant(grant) => write(grant, out),
            Frame::JoinRefused(why) => write(&cut_to(why, WHY_BYTES_MAX), out),
        }
    }

    pub(super) fn write_payload(&self, out: &mut Vec<u8>) {
        match self {
            Frame::Hello(hello) => hello.write_payload(out),
            Frame::SipRelay(_, Sip { bytes, .. })
            | Frame::Write(Sip { bytes, .. })
            | Frame::SendOut(SendOut { bytes, .. })
            | Frame::Registrations(Registrations(Body(bytes)))
            | Frame::RegistrationSync(_, Body(bytes))
            | Frame::Calls(Body(bytes))
            | Frame::Undelivered(_, Body(bytes))
            | Frame::View(ViewFrame { body: Body(bytes), .. })
            | Frame::Request(Request { body: Body(bytes), .. })
            | Frame::Reply(Reply { body: Body(bytes), .. })
            | Frame::Event(Body(bytes)) => out.extend_from_slice(bytes),
            Frame::Welcome(_)
            | Frame::Heartbeat(_)
            | Frame::Goodbye(_)
            | Frame::Closed(_)
            | Frame::JoinAsk(_)
            | Frame::Grant(_)
            | Frame::JoinRefused(_) => {}
        }
    }

    /// `None`: a kind that this version does not know.
    pub(super) fn read(number: u8, head: &[u8], payload: Bytes) -> Result<Option<Frame>, String> {
        Ok(Some(match number {
            kind::HELLO => Frame::Hello(Box::new(Hello::read(head, &payload)?)),
            kind::WELCOME => Frame::Welcome(of(head)?),
            kind::HEARTBEAT => Frame::Heartbeat(of(head)?),
            kind::GOODBYE => Frame::Goodbye(of(head)?),
            kind::SIP_RELAY => {
                let RelayHead { hop, errand } = of(head)?;
                Frame::SipRelay(errand, Sip { hop, bytes: payload })
            }
            kind::WRITE => Frame::Write(Sip { hop: of(head)?, bytes: payload }),
            kind::CLOSED => Frame::Closed(of(head)?),
            kind::SEND_OUT => {
                let SendOutHead { transport, remote, name } = of(head)?;
                Frame::SendOut(SendOut { transport, remote, name, bytes: payload })
            }
            kind::UNDELIVERED => Frame::Undelivered(of(head)?, Body(payload)),
            kind::REGISTRATIONS => Frame::Registrations(Registrations(Body(payload))),
            kind::REGISTRATION_SYNC => Frame::RegistrationSync(of(head)?, Body(payload)),
            kind::CALLS => Frame::Calls(Body(payload)),
            kind::VIEW => Frame::View(ViewFrame { epoch: of(head)?, body: Body(payload) }),
            kind::REQUEST => {
                let RequestHead { id, deadline_ms } = of(head)?;
                Frame::Request(Request { id, deadline_ms, body: Body(payload) })
            }
            kind::REPLY => {
                let ReplyHead { id, is_answered } = of(head)?;
                Frame::Reply(Reply { id, is_answered, body: Body(payload) })
            }
            kind::EVENT => Frame::Event(Body(payload)),
            kind::JOIN_ASK => Frame::JoinAsk(of(head)?),
            kind::GRANT => Frame::Grant(Box::new(of(head)?)),
            kind::JOIN_REFUSED => {
                let Why { why } = of(head)?;
                Frame::JoinRefused(why)
            }
            _ => return Ok(None),
        }))
    }
}

/// What a head says; newer versions may have put more behind it.
pub(super) fn of<'a, T: Deserialize<'a>>(head: &'a [u8]) -> Result<T, String> {
    postcard::take_from_bytes(head).map(|(value, _)| value).map_err(|error| error.to_string())
}

fn cut_to(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default()
}
