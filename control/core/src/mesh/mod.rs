//! What members of a cluster say to each other, as pure state: frames and how they stand in a stream of
//! bytes, when a silent member counts as gone, tokens by which a new member comes in.
//!
//! A frame is a length (u32), a kind (u8), the length of a head (u16), the head in postcard's encoding, and
//! after it the payload as it is; numbers of this prefix are big-endian. So versions can be mixed while a
//! new one is rolled out: kinds that a version does not know are passed over, and what a newer one adds
//! at the end of a head is, too. A payload (a SIP message, say) is never copied in reading.
//!
//! Nothing here does I/O or knows a clock.

mod codec;
mod frame;
mod head;
mod hello;
mod join;
mod liveness;

pub use codec::{
    Cut, FRAME_BYTES_MAX, HEAD_BYTES_MAX, Malformed, PREFIX_BYTES, TooLong, cut, encode,
};
pub use frame::{
    Body, Closed, Echo, Errand, Frame, Goodbye, Heartbeat, Hop, Leave, ListenerKind, Registrations,
    Reply, Request, RequestId, SendOut, Sip, SyncStep, ViewFrame, Welcome,
};
pub use hello::{ClusterId, HELLO_BYTES_MAX, Hello, SIP_ADDRESSES_MAX};
pub use join::{
    CERTIFICATE_BYTES_MAX, ClusterSecret, Grant, JoinAsk, JoinToken, NotAToken, TokenId,
    TokenSecret,
};
pub use liveness::{HEARTBEAT, Health, Liveness, Step};

use crate::cluster::Versions;

/// The versions of the protocol that this software speaks.
pub const PROTOCOL: Versions = Versions { oldest: 1, newest: 1 };
