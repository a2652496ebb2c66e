//! Cutting a stream into messages (RFC 3261 18.3, RFC 5626 3.5.1).

use bytes::{Buf, Bytes, BytesMut};

use super::chars;
use super::limits::Limits;
use super::malformed::{Defect, Malformed};
use super::name::HeaderName;

/// What stood in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The bytes of one message, for [`Message::parse_frame`](super::Message::parse_frame).
    Message(Bytes),
    /// A double CRLF between messages: answer with one CRLF (RFC 5626 3.5.1).
    KeepAlivePing,
}

/// The stream cannot be cut any further: where the next message starts is not known. The connection
/// is to be closed, after the answer if there is one.
#[derive(Clone, Debug, thiserror::Error)]
#[error("stream cannot be framed: {0}")]
pub struct FramingError(#[from] pub Malformed);

/// Cuts a byte stream into messages. Holds at most one message within its [`Limits`] and what was pushed
/// last, provided that [`StreamFramer::next`] is called until it returns `None` after each
/// [`StreamFramer::push`].
#[derive(Debug, Default)]
pub struct StreamFramer {
    limits: Limits,
    buffer: BytesMut,
    /// The empty line does not start before here.
    scanned: usize,
    /// Length of the message at the start of the buffer, once its head is complete.
    message_len: Option<usize>,
}

impl StreamFramer {
    /// A framer for a new stream.
    #[must_use]
    pub fn new(limits: Limits) -> StreamFramer {
        StreamFramer { limits, ..StreamFramer::default() }
    }

    /// Takes bytes as they were read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes that wait for more.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// The next thing in the stream; `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`FramingError`] when what stands there is no SIP, has no readable Content-Length, or exceeds the
    /// limits. Every later call returns an error as well.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator's None is final, this one's is not"
    )]
    pub fn next(&mut self) -> Result<Option<Frame>, FramingError> {
        if self.message_len.is_none() {
            if let Some(ping) = self.skip_line_ends() {
                return Ok(Some(ping));
            }
            self.message_len = self.find_message()?;
        }
        match self.message_len {
            Some(len) if self.buffer.len() >= len => {
                self.message_len = None;
                self.scanned = 0;
                // Copied, so that a message that a transaction keeps does not keep the whole buffer.
                let message = Bytes::copy_from_slice(&self.buffer[..len]);
                self.buffer.advance(len);
                Ok(Some(Frame::Message(message)))
            }
            Some(_) | None => Ok(None),
        }
    }

    /// Takes line ends before a message away; two in a row are a ping. One alone waits for what
    /// follows it, so that the result does not depend on how the stream was cut.
    fn skip_line_ends(&mut self) -> Option<Frame> {
        loop {
            if self.buffer.starts_with(b"\r\n\r\n") {
                self.buffer.advance(4);
                return Some(Frame::KeepAlivePing);
            }
            let after = self.buffer.get(2..).unwrap_or_default();
            let waits = after.is_empty() || after == b"\r";
            if !self.buffer.starts_with(b"\r\n") || waits {
                return None;
            }
            self.buffer.advance(2);
        }
    }

    /// The length of the message at the start of the buffer, if its head is complete.
    fn find_message(&mut self) -> Result<Option<usize>, FramingError> {
        let Some(first) = self.buffer.first() else { return Ok(None) };
        if matches!(&self.buffer[..], b"\r" | b"\r\n" | b"\r\n\r") {
            return Ok(None);
        }
        if !chars::is(*first, chars::TOKEN) {
            return Err(self.fail(Defect::NotSip));
        }
        let found = memchr::memmem::find(&self.buffer[self.scanned..], b"\r\n\r\n");
        let Some(blank) = found.map(|i| self.scanned + i) else {
            self.scanned = self.buffer.len().saturating_sub(3);
            if self.buffer.len() >= self.limits.head_bytes_max {
                return Err(self.fail(Defect::HeadSize));
            }
            return Ok(None);
        };
        let head = blank + 4;
        if head > self.limits.head_bytes_max {
            return Err(self.fail(Defect::HeadSize));
        }
        let length =
            content_length(&self.buffer[..blank + 2]).map_err(|defect| self.fail(defect))?;
        if length > self.limits.body_bytes_max as u64 {
            return Err(self.fail(Defect::BodySize));
        }
        Ok(Some(head + length as usize))
    }

    fn fail(&self, defect: Defect) -> FramingError {
        let seen = &self.buffer[..self.buffer.len().min(self.limits.head_bytes_max)];
        FramingError(Malformed::new(defect, 0, &Bytes::copy_from_slice(seen)))
    }
}

/// The Content-Length in a head, by the same rules as the parser: once, digits alone.
fn content_length(head: &[u8]) -> Result<u64, Defect> {
    const NAME: HeaderName = HeaderName::ContentLength;
    let mut found = None;
    let mut at = 0;
    while let Some(end) = memchr::memchr(b'\n', &head[at..]).map(|i| at + i + 1) {
        let mut next = end;
        if matches!(head.get(at), Some(b'C' | b'c' | b'L' | b'l')) {
            next = folded_end(head, end);
            if let Some(value) = content_length_value(&head[at..next]) {
                let number = chars::number(value, u64::from(u32::MAX)).ok_or(Defect::Bad(NAME))?;
                if found.replace(number).is_some() {
                    return Err(Defect::Repeated(NAME));
                }
            }
        }
        at = next;
    }
    found.ok_or(Defect::Missing(NAME))
}

fn folded_end(head: &[u8], mut end: usize) -> usize {
    while matches!(head.get(end), Some(b' ' | b'\t')) {
        end += memchr::memchr(b'\n', &head[end..]).map_or(head.len() - end, |i| i + 1);
    }
    end
}

fn content_length_value(line: &[u8]) -> Option<&[u8]> {
    let name_end = chars::run(line, 0, chars::TOKEN);
    if HeaderName::from_bytes(&line[..name_end]) != Some(HeaderName::ContentLength) {
        return None;
    }
    let colon = chars::skip_lws(line, name_end);
    if line.get(colon) == Some(&b':') { Some(chars::trim(&line[colon + 1..])) } else { None }
}
