//! Frames that this node sends; those of a server are not masked (RFC 6455 5.1).

use bytes::Bytes;

use super::CloseCode;
use super::header::{self, Opcode};

/// Most bytes of a header that is not masked.
const HEADER_BYTES_MAX: usize = 10;

/// What stands before a message: it is text where it can be, else binary (RFC 7118 5.2).
#[must_use]
pub fn message_header(message: &[u8]) -> Bytes {
    let is_text = std::str::from_utf8(message).is_ok();
    let mut header = Vec::with_capacity(HEADER_BYTES_MAX);
    header::write(if is_text { Opcode::Text } else { Opcode::Binary }, message.len(), &mut header);
    header.into()
}

/// A whole frame of text.
#[must_use]
pub fn text(text: &'static str) -> Bytes {
    frame(Opcode::Text, text.as_bytes())
}

/// Answers a ping with what it held (RFC 6455 5.5.3).
#[must_use]
pub fn pong(payload: &[u8]) -> Bytes {
    frame(Opcode::Pong, payload)
}

/// Ends a connection; `None` answers a close that gave no reason.
#[must_use]
pub fn close(code: Option<CloseCode>) -> Bytes {
    let code = code.map(|code| code.number().to_be_bytes());
    frame(Opcode::Close, code.as_ref().map_or(&[], |code| code.as_slice()))
}

fn frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(HEADER_BYTES_MAX + payload.len());
    header::write(opcode, payload.len(), &mut frame);
    frame.extend_from_slice(payload);
    frame.into()
}
