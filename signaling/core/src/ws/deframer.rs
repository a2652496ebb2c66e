//! Frames that a client sends, put together to messages.

use bytes::{Buf, Bytes, BytesMut};

use super::CloseCode;
use super::header::{Header, Opcode};
use crate::wire;

/// Most frames of one message. Browsers send a message of SIP in one; without a bound a client could
/// keep this node busy with empty ones.
const FRAGMENTS_MAX: usize = 256;

/// Most bytes of a control frame (RFC 6455 5.5).
const CONTROL_BYTES_MAX: usize = 125;

/// What was cut out of a connection's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// A message: one of SIP, or a keep-alive.
    Message(Bytes),
    /// Asks for a pong with this in it.
    Ping(Bytes),
    /// The peer ends the connection, with this code if it gave one.
    Close(Option<CloseCode>),
}

/// The peer does not keep to RFC 6455, or to this node's bounds: the connection ends with this code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Violation {
    /// What the peer is told.
    pub code: CloseCode,
    what: &'static str,
}

/// Cuts a connection's bytes into frames, and joins those of a message.
#[derive(Debug)]
pub struct Deframer {
    bytes_max: usize,
    buffer: BytesMut,
    begun: Option<Begun>,
}

/// A message whose last frame is still to come.
#[derive(Debug)]
struct Begun {
    is_text: bool,
    fragments: usize,
    bytes: BytesMut,
}

impl Deframer {
    /// Messages may be as large as on any other stream.
    #[must_use]
    pub fn new(limits: wire::Limits) -> Deframer {
        let bytes_max = limits.head_bytes_max.saturating_add(limits.body_bytes_max);
        Deframer { bytes_max, buffer: BytesMut::new(), begun: None }
    }

    /// Takes bytes that have arrived. Everything that was there before has to be cut.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether part of a message, or of any frame, is there.
    #[must_use]
    pub fn is_within(&self) -> bool {
        !self.buffer.is_empty() || self.begun.is_some()
    }

    /// Bytes that wait for more.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.buffer.len() + self.begun.as_ref().map_or(0, |begun| begun.bytes.len())
    }

    /// The next message or control frame; `None` until more arrives.
    ///
    /// # Errors
    /// [`Violation`]: nothing more can be cut.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator's None is final, this one's is not"
    )]
    pub fn next(&mut self) -> Result<Option<Cut>, Violation> {
        loop {
            let Some((opcode, is_final, payload)) = self.frame()? else { return Ok(None) };
            let cut = match opcode {
                Opcode::Ping => Some(Cut::Ping(payload)),
                Opcode::Close => Some(Cut::Close(close_code(&payload)?)),
                // One that was not asked for means that the peer lives (RFC 6455 5.5.3).
                Opcode::Pong => None,
                Opcode::Continue => self.go_on(is_final, &payload)?.map(Cut::Message),
                Opcode::Text => self.begin(true, is_final, payload)?.map(Cut::Message),
                Opcode::Binary => self.begin(false, is_final, payload)?.map(Cut::Message),
            };
            if cut.is_some() {
                return Ok(cut);
            }
        }
    }

    fn frame(&mut self) -> Result<Option<(Opcode, bool, Bytes)>, Violation> {
        let Some(header) = Header::read(&self.buffer) else { return Ok(None) };
        let (opcode, length) = self.check(&header)?;
        let size = header.size + length;
        if self.buffer.len() < size {
            // All of it at once, instead of doubling again and again.
            self.buffer.reserve(size - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(header.size);
        let mut payload = self.buffer.split_to(length);
        if self.buffer.is_empty() {
            // So that a silent connection holds no memory.
            self.buffer = BytesMut::new();
        }
        unmask(&mut payload, header.mask);
        Ok(Some((opcode, header.is_final, payload.freeze())))
    }

    /// Kind and length of a frame that may stand here.
    fn check(&self, header: &Header) -> Result<(Opcode, usize), Violation> {
        let opcode = header.opcode.ok_or(wrong("unknown opcode"))?;
        if header.mask.is_none() {
            return Err(wrong("a frame that is not masked"));
        }
        if header.reserved != 0 {
            return Err(wrong("an extension that was not agreed on"));
        }
        let length = usize::try_from(header.length).unwrap_or(usize::MAX);
        if opcode.is_control() {
            if !header.is_final {
                return Err(wrong("a control frame in fragments"));
            }
            if length > CONTROL_BYTES_MAX {
                return Err(wrong("a control frame of more than 125 bytes"));
            }
            return Ok((opcode, length));
        }
        let before = self.begun.as_ref().map_or(0, |begun| begun.bytes.len());
        if length > self.bytes_max.saturating_sub(before) {
            return Err(Violation { code: CloseCode::SIZE, what: "a message too large" });
        }
        Ok((opcode, length))
    }

    /// A whole message, if this frame is its last.
    fn begin(
        &mut self,
        is_text: bool,
        is_final: bool,
        payload: Bytes,
    ) -> Result<Option<Bytes>, Violation> {
        if self.begun.is_some() {
            return Err(wrong("a message within another"));
        }
        if is_final {
            return whole(is_text, payload).map(Some);
        }
        self.begun = Some(Begun { is_text, fragments: 1, bytes: BytesMut::from(payload) });
        Ok(None)
    }

    fn go_on(&mut self, is_final: bool, payload: &[u8]) -> Result<Option<Bytes>, Violation> {
        let mut begun = self.begun.take().ok_or(wrong("a continuation of nothing"))?;
        begun.bytes.extend_from_slice(payload);
        begun.fragments += 1;
        if is_final {
            return whole(begun.is_text, begun.bytes.freeze()).map(Some);
        }
        if begun.fragments >= FRAGMENTS_MAX {
            let what = "a message in too many fragments";
            return Err(Violation { code: CloseCode::POLICY, what });
        }
        self.begun = Some(begun);
        Ok(None)
    }
}

const fn wrong(what: &'static str) -> Violation {
    Violation { code: CloseCode::PROTOCOL, what }
}

/// RFC 6455 8.1: text has to be UTF-8.
fn whole(is_text: bool, message: Bytes) -> Result<Bytes, Violation> {
    if is_text && std::str::from_utf8(&message).is_err() {
        return Err(Violation { code: CloseCode::INVALID, what: "text that is not UTF-8" });
    }
    Ok(message)
}

fn close_code(payload: &[u8]) -> Result<Option<CloseCode>, Violation> {
    match payload {
        [] => Ok(None),
        [high, low, ..] => {
            let code = CloseCode::from_frame(u16::from_be_bytes([*high, *low]));
            code.map(Some).ok_or(wrong("a close code of no use"))
        }
        [_] => Err(wrong("half a close code")),
    }
}

/// RFC 6455 5.3.
fn unmask(payload: &mut [u8], mask: Option<[u8; 4]>) {
    let Some(mask) = mask else { return };
    let mut words = payload.chunks_exact_mut(8);
    let wide = u64::from_ne_bytes([
        mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3],
    ]);
    for word in &mut words {
        if let Ok(bytes) = <[u8; 8]>::try_from(&*word) {
            word.copy_from_slice(&(u64::from_ne_bytes(bytes) ^ wide).to_ne_bytes());
        }
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame as a client sends it: first byte, payload.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        let mut bytes = vec![first];
        match payload.len() {
            short @ 0..126 => bytes.push(0x80 | short as u8),
            middle @ 126..65_536 => {
                bytes.push(0x80 | 126);
                bytes.extend((middle as u16).to_be_bytes());
            }
            long => {
                bytes.push(0x80 | 127);
                bytes.extend((long as u64).to_be_bytes());
            }
        }
        bytes.extend(mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        bytes
    }

    fn deframer() -> Deframer {
        Deframer::new(wire::Limits { head_bytes_max: 60_000, body_bytes_max: 10_000 })
    }

    fn cut_all(deframer: &mut Deframer, bytes: &[u8]) -> Result<Vec<Cut>, Violation> {
        deframer.push(bytes);
        std::iter::from_fn(|| deframer.next().transpose()).collect()
    }

    fn code(bytes: &[u8]) -> CloseCode {
        cut_all(&mut deframer(), bytes).unwrap_err().code
    }

    /// RFC 6455 5.7: the example of a masked text, and lengths of all three forms, whole and byte by
    /// byte.
    #[test]
    fn a_message_is_the_same_however_its_bytes_arrive() {
        let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(frame(0x81, b"Hello"), hello);
        for size in [0, 5, 7, 8, 9, 125, 126, 65_535, 65_536, 70_000] {
            let payload: Vec<u8> = (0..size).map(|n| n as u8).collect();
            let bytes = frame(0x82, &payload);
            let wanted = vec![Cut::Message(payload.into())];
            let mut whole = deframer();
            assert_eq!(cut_all(&mut whole, &bytes).unwrap(), wanted);
            assert!(!whole.is_within());
            let mut bytewise = deframer();
            let mut got = Vec::new();
            for byte in &bytes {
                assert!(got.is_empty());
                got = cut_all(&mut bytewise, &[*byte]).unwrap();
            }
            assert_eq!(got, wanted, "{size}");
        }
    }

    /// RFC 6455 5.4: control frames stand between the fragments of a message.
    #[test]
    fn fragments_are_joined_and_pings_between_them_come_first() {
        let bytes =
            [frame(0x01, b"a"), frame(0x89, b"p"), frame(0x8a, b""), frame(0x00, b"b")].concat();
        let mut deframer = deframer();
        let ping = Cut::Ping(Bytes::from_static(b"p"));
        assert_eq!(cut_all(&mut deframer, &bytes).unwrap(), [ping]);
        assert!(deframer.is_within());
        let end = cut_all(&mut deframer, &frame(0x80, b"c")).unwrap();
        assert_eq!(end, [Cut::Message(Bytes::from_static(b"abc"))]);
        assert!(!deframer.is_within());
    }

    #[test]
    fn a_close_gives_its_code() {
        let cut = |payload: &[u8]| cut_all(&mut deframer(), &frame(0x88, payload));
        assert_eq!(cut(b"").unwrap(), [Cut::Close(None)]);
        assert_eq!(cut(b"\x03\xe8bye").unwrap(), [Cut::Close(Some(CloseCode::NORMAL))]);
        assert_eq!(cut(b"\x03").unwrap_err().code, CloseCode::PROTOCOL);
        assert_eq!(cut(&1006_u16.to_be_bytes()).unwrap_err().code, CloseCode::PROTOCOL);
    }

    /// RFC 6455 5.1, 5.2, 5.4, 5.5, 8.1: each with the code that 7.4.1 has for it.
    #[test]
    fn what_breaks_the_protocol_ends_the_connection() {
        assert_eq!(code(&[0x81, 0x00]), CloseCode::PROTOCOL, "no mask");
        assert_eq!(code(&frame(0xc1, b"a")), CloseCode::PROTOCOL, "RSV1");
        assert_eq!(code(&frame(0x83, b"a")), CloseCode::PROTOCOL, "reserved opcode");
        assert_eq!(code(&frame(0x8b, b"a")), CloseCode::PROTOCOL, "reserved control");
        assert_eq!(code(&frame(0x09, b"a")), CloseCode::PROTOCOL, "control in fragments");
        assert_eq!(code(&frame(0x89, &[0; 126])), CloseCode::PROTOCOL, "control too large");
        assert_eq!(code(&frame(0x80, b"a")), CloseCode::PROTOCOL, "continues nothing");
        let nested = [frame(0x01, b"a"), frame(0x81, b"b")].concat();
        assert_eq!(code(&nested), CloseCode::PROTOCOL, "within another");
        assert_eq!(code(&frame(0x81, b"\xff")), CloseCode::INVALID);
    }

    /// The bound holds for the sum of a message's fragments, and before the bytes have arrived.
    #[test]
    fn a_message_beyond_the_bound_is_refused_at_its_header() {
        let header = |length: u64| {
            let mut bytes = vec![0x82, 0x80 | 127];
            bytes.extend(length.to_be_bytes());
            bytes.extend([0; 4]);
            bytes
        };
        assert_eq!(code(&header(70_001)), CloseCode::SIZE);
        assert_eq!(code(&header(u64::MAX)), CloseCode::SIZE);
        assert_eq!(cut_all(&mut deframer(), &header(70_000)).unwrap(), []);
        let sum = [frame(0x02, &[0; 40_000]), frame(0x00, &[0; 30_001])].concat();
        assert_eq!(code(&sum), CloseCode::SIZE);
    }

    #[test]
    fn fragments_are_counted() {
        let mut bytes = frame(0x01, b"");
        (2..FRAGMENTS_MAX).for_each(|_| bytes.extend(frame(0x00, b"")));
        let mut enough = deframer();
        assert_eq!(cut_all(&mut enough, &bytes).unwrap(), []);
        assert_eq!(cut_all(&mut enough, &frame(0x00, b"")).unwrap_err().code, CloseCode::POLICY);
    }

    proptest::proptest! {
        /// No bytes of a peer bring this down, and what waits stays bounded.
        #[test]
        fn any_bytes_are_survived(chunks in proptest::collection::vec(
            proptest::collection::vec(proptest::num::u8::ANY, 0..40), 0..20)
        ) {
            let mut deframer = deframer();
            for chunk in chunks {
                if cut_all(&mut deframer, &chunk).is_err() {
                    break;
                }
            }
        }
    }
}
