//! WebSocket (RFC 6455) as a transport for SIP (RFC 7118): the opening handshake and frames, as bytes
//! in and bytes out.

mod deframer;
mod frames;
mod handshake;

pub(crate) use deframer::{Cut, Deframer, Violation};
pub(crate) use frames::{CloseCode, close, message_header, pong, text};
pub(crate) use handshake::{Answer, answer};
