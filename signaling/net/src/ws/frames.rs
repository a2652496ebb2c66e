//! Frames that this node sends; those of a server are not masked (RFC 6455 5.1).

use bytes::Bytes;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
pub(crate) use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// What stands before a message: it is text where it can be, else binary (RFC 7118 5.2).
pub(crate) fn message_header(message: &[u8]) -> Bytes {
    let kind = if std::str::from_utf8(message).is_ok() { Data::Text } else { Data::Binary };
    header(OpCode::Data(kind), message.len(), 0).into()
}

/// A whole frame of text.
pub(crate) fn text(text: &'static str) -> Bytes {
    frame(OpCode::Data(Data::Text), text.as_bytes())
}

/// Answers a ping with what it held (RFC 6455 5.5.3).
pub(crate) fn pong(payload: &[u8]) -> Bytes {
    frame(OpCode::Control(Control::Pong), payload)
}

/// Ends a connection; `None` answers a close that gave no reason.
pub(crate) fn close(code: Option<CloseCode>) -> Bytes {
    let code = code.map(|code| u16::from(code).to_be_bytes());
    frame(OpCode::Control(Control::Close), code.as_ref().map_or(&[], |code| code.as_slice()))
}

fn frame(opcode: OpCode, payload: &[u8]) -> Bytes {
    let mut frame = header(opcode, payload.len(), payload.len());
    frame.extend_from_slice(payload);
    frame.into()
}

fn header(opcode: OpCode, length: usize, room: usize) -> Vec<u8> {
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    let length = length as u64;
    let mut bytes = Vec::with_capacity(header.len(length) + room);
    // Writing to a Vec does not fail.
    let _ = header.format(length, &mut bytes);
    bytes
}
