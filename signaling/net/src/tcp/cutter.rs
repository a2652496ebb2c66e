//! Cuts what arrives on a connection into messages, be it a stream of them or a WebSocket.

use bytes::Bytes;
use signaling_core::transport::Transport;
use signaling_core::wire::{Frame, Limits, StreamFramer};
use signaling_core::ws::{self, Cut, Deframer, Violation};

use super::reader::Stop;
use crate::input::CloseReason;

/// What may wait in the framer without being part of a message: a CRLF of which it is not known yet
/// whether another follows (RFC 5626 3.5.1). Phones send one alone as a keep-alive.
const LINE_ENDS_MAX: usize = 3;

/// Answers a ping (RFC 5626 3.5.1).
const PONG: &str = "\r\n";

/// What was cut.
pub(super) enum Piece {
    Message(Bytes),
    /// A ping, which is answered with this.
    Ping(Bytes),
}

pub(super) enum Cutter {
    Stream(StreamFramer),
    Web(Deframer),
}

impl Cutter {
    /// Begins with what has arrived `early`.
    pub(super) fn new(transport: Transport, limits: Limits, early: &[u8]) -> Cutter {
        let mut cutter = match transport.is_web_socket() {
            true => Cutter::Web(Deframer::new(limits)),
            false => Cutter::Stream(StreamFramer::new(limits)),
        };
        cutter.push(early);
        cutter
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        match self {
            Cutter::Stream(framer) => framer.push(bytes),
            Cutter::Web(deframer) => deframer.push(bytes),
        }
    }

    /// Whether part of a message has arrived.
    pub(super) fn is_within(&self) -> bool {
        match self {
            Cutter::Stream(framer) => framer.pending() > LINE_ENDS_MAX,
            Cutter::Web(deframer) => deframer.is_within(),
        }
    }

    /// The next piece; `None` until more arrives, an error if nothing more can be cut.
    pub(super) fn next(&mut self) -> Result<Option<Piece>, Stop> {
        match self {
            Cutter::Stream(framer) => match framer.next() {
                Ok(Some(Frame::Message(bytes))) => Ok(Some(Piece::Message(bytes))),
                Ok(Some(Frame::KeepAlivePing)) => {
                    Ok(Some(Piece::Ping(Bytes::from_static(PONG.as_bytes()))))
                }
                Ok(None) => Ok(None),
                Err(error) => Err(Stop::Malformed(error)),
            },
            Cutter::Web(deframer) => next_of_web(deframer),
        }
    }
}

fn next_of_web(deframer: &mut Deframer) -> Result<Option<Piece>, Stop> {
    loop {
        match deframer.next() {
            // RFC 7118 6 permits the keep-alives of streams here, too.
            Ok(Some(Cut::Message(bytes))) if bytes.iter().all(|b| matches!(b, b'\r' | b'\n')) => {
                if bytes.len() > PONG.len() {
                    return Ok(Some(Piece::Ping(ws::text(PONG))));
                }
            }
            Ok(Some(Cut::Message(bytes))) => return Ok(Some(Piece::Message(bytes))),
            Ok(Some(Cut::Ping(payload))) => return Ok(Some(Piece::Ping(ws::pong(&payload)))),
            Ok(Some(Cut::Close(code))) => {
                return Err(Stop::Ended { reason: CloseReason::Peer, last: ws::close(code) });
            }
            Ok(None) => return Ok(None),
            Err(violation) => return Err(ended(violation)),
        }
    }
}

fn ended(violation: Violation) -> Stop {
    let reason = CloseReason::Malformed(violation.to_string());
    Stop::Ended { reason, last: ws::close(Some(violation.code)) }
}
