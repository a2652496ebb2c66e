//! WebSocket frames (RFC 6455 5) that carry SIP (RFC 7118), as the server sees them: bytes in and bytes
//! out. The opening handshake comes before.

mod deframer;
mod frames;
mod header;

pub use deframer::{Cut, Deframer, Violation};
pub use frames::{close, message_header, pong, text};

/// Why a connection is ended (RFC 6455 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseCode(u16);

impl CloseCode {
    /// What it was for is done.
    pub const NORMAL: CloseCode = CloseCode(1000);
    /// This side goes away.
    pub const AWAY: CloseCode = CloseCode(1001);
    /// The peer has broken the protocol.
    pub const PROTOCOL: CloseCode = CloseCode(1002);
    /// Text that is not UTF-8.
    pub const INVALID: CloseCode = CloseCode(1007);
    /// What the peer does is not wanted here.
    pub const POLICY: CloseCode = CloseCode(1008);
    /// A message is too large.
    pub const SIZE: CloseCode = CloseCode(1009);

    /// A code that may stand in a frame: those of the protocol but for the ones that stand for no frame,
    /// those of IANA's registry, and those of applications (RFC 6455 7.4.1, 7.4.2).
    #[must_use]
    pub const fn from_frame(code: u16) -> Option<CloseCode> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(CloseCode(code)),
            _ => None,
        }
    }

    /// As it stands in a frame.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}
