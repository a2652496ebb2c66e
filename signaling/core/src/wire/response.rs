//! Building responses (RFC 3261 8.2.6).

use std::net::SocketAddr;

use bytes::Bytes;

use super::malformed::Malformed;
use super::message::Message;
use super::name::{FieldName, HeaderName};
use super::reason::default_reason;
use super::stamp::stamped;
use super::write::{push_header, push_known_header, push_number, push_value};

/// Room for the lines that are added to most responses: a challenge, or contacts and what is supported.
const EXTRA_BYTES: usize = 256;

/// What stands in each response besides copied and given values: `SIP/2.0 200 ` and the line's end, the names
/// of From, To, Call-ID and CSeq with its number, and a Content-Length of up to ten digits.
const FIXED_BYTES: usize = 14 + 8 + 6 + 11 + 8 + 11 + 30;

/// What filling in a source may add to a Via: an IPv6 address and a port.
const STAMP_BYTES: usize = 64;

/// `Content-Type: ` and the line's end.
const BODY_BYTES: usize = 16;

/// A response to a request: its Vias, From, To, Call-ID and CSeq (and the Timestamp of a request that is
/// answered with 100, RFC 3261 8.2.6.1), then what is added.
#[derive(Clone, Debug)]
pub struct ResponseBuilder<'r> {
    request: &'r Message,
    status: u16,
    reason: &'r str,
    to_tag: Option<&'r str>,
    source: Option<SocketAddr>,
    record_route: bool,
    extra: Vec<u8>,
    body: Option<(&'r str, Bytes)>,
}

/// A response that is ready to be sent. One of this node's own is not read again for that.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    bytes: Bytes,
}

impl Reply {
    /// The status code.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The whole message.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl From<Message> for Reply {
    fn from(response: Message) -> Reply {
        Reply { status: response.status().unwrap_or_default(), bytes: response.raw().clone() }
    }
}

impl<'r> ResponseBuilder<'r> {
    /// A response to `request` with `status` (100..=699) and `reason`, by default the one that goes with
    /// the status. The request's top Via must have been stamped ([`stamp_source`](super::stamp_source)),
    /// unless that is left to [`ResponseBuilder::source`].
    #[must_use]
    pub fn new(
        request: &'r Message,
        status: u16,
        reason: impl Into<Option<&'r str>>,
    ) -> ResponseBuilder<'r> {
        ResponseBuilder {
            request,
            status,
            reason: reason.into().unwrap_or_else(|| default_reason(status)),
            to_tag: None,
            source: None,
            record_route: false,
            extra: Vec::new(),
            body: None,
        }
    }

    /// Adds `;tag=` to the To, unless the request's To has one already or the status is 100.
    pub fn to_tag(&mut self, tag: &'r str) -> &mut Self {
        self.to_tag = Some(tag);
        self
    }

    /// Fills in where the request came from (RFC 3261 18.2.1, RFC 3581 4), for a request whose top Via is
    /// as it was sent.
    pub const fn source(&mut self, source: SocketAddr) -> &mut Self {
        self.source = Some(source);
        self
    }

    /// Copies the Record-Routes, as a response that forms a dialog must (RFC 3261 12.1.1).
    pub fn copy_record_route(&mut self) -> &mut Self {
        self.record_route = true;
        self
    }

    /// Adds a header line.
    pub fn header<'n>(
        &mut self,
        name: impl Into<FieldName<'n>>,
        value: impl AsRef<[u8]>,
    ) -> &mut Self {
        if self.extra.is_empty() {
            self.extra.reserve(EXTRA_BYTES);
        }
        match name.into() {
            FieldName::Known(name) => push_known_header(&mut self.extra, name, value.as_ref()),
            FieldName::Other(name) => push_header(&mut self.extra, name, value.as_ref()),
        }
        self
    }

    /// Gives it a body.
    pub fn body(&mut self, content_type: &'r str, body: impl Into<Bytes>) -> &mut Self {
        self.body = Some((content_type, body.into()));
        self
    }

    /// Writes the response.
    #[must_use]
    pub fn finish(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.room());
        out.extend_from_slice(b"SIP/2.0 ");
        push_number(&mut out, self.status.into());
        out.push(b' ');
        push_value(&mut out, self.reason.as_bytes());
        out.extend_from_slice(b"\r\n");
        self.push_vias(&mut out);
        if self.record_route {
            self.copy(&mut out, HeaderName::RecordRoute);
        }
        push_known_header(&mut out, HeaderName::From, self.request.from().as_bytes());
        self.push_to(&mut out);
        out.extend_from_slice(b"Call-ID: ");
        // A word has no fold, and neither has a method.
        out.extend_from_slice(self.request.call_id().as_bytes());
        out.extend_from_slice(b"\r\nCSeq: ");
        let cseq = self.request.cseq();
        push_number(&mut out, cseq.number);
        out.push(b' ');
        out.extend_from_slice(cseq.method.as_str().as_bytes());
        out.extend_from_slice(b"\r\n");
        if self.status == 100 {
            self.copy(&mut out, HeaderName::Timestamp);
        }
        out.extend_from_slice(&self.extra);
        push_body(&mut out, self.body.as_ref());
        Bytes::from(out)
    }

    /// Bytes that the response takes, and few more: a transaction keeps it for 32 s, with the room around it.
    fn room(&self) -> usize {
        let copied = |name: HeaderName| {
            let lines = self.request.lines(name);
            lines.map(|line| line.len() + name.as_str().len() + ": \r\n".len()).sum::<usize>()
        };
        let mut room = FIXED_BYTES + self.reason.len() + self.extra.len();
        room += copied(HeaderName::Via) + self.source.map_or(0, |_| STAMP_BYTES);
        room += self.request.from().as_bytes().len() + self.request.to().as_bytes().len();
        room += self.request.call_id().len() + self.request.method().as_str().len();
        room += self.to_tag.map_or(0, |tag| ";tag=".len() + tag.len());
        if self.record_route {
            room += copied(HeaderName::RecordRoute);
        }
        if self.status == 100 {
            room += copied(HeaderName::Timestamp);
        }
        room + self.body.as_ref().map_or(0, |(name, body)| BODY_BYTES + name.len() + body.len())
    }

    /// Writes the response, to be sent as it is.
    #[must_use]
    pub fn finish_reply(&self) -> Reply {
        Reply { status: self.status, bytes: self.finish() }
    }

    /// Writes the response and parses it.
    ///
    /// # Errors
    /// [`Malformed`] if an added header may not stand there (a second CSeq, say).
    pub fn finish_message(&self) -> Result<Message, Malformed> {
        Message::parse_datagram(self.finish())
    }

    fn copy(&self, out: &mut Vec<u8>, name: HeaderName) {
        for value in self.request.lines(name) {
            push_known_header(out, name, value);
        }
    }

    fn push_vias(&self, out: &mut Vec<u8>) {
        let top = self.request.top_via();
        let stamp = self.source.and_then(|source| stamped(&top, source));
        let Some(stamp) = stamp else { return self.copy(out, HeaderName::Via) };
        for (index, line) in self.request.lines(HeaderName::Via).enumerate() {
            match line.strip_prefix(top.as_bytes()).filter(|_| index == 0) {
                // What follows the top value in its line are other values.
                Some(others) => push_header(out, "Via", &[&stamp, others].concat()),
                None => push_header(out, "Via", line),
            }
        }
    }

    fn push_to(&self, out: &mut Vec<u8>) {
        let to = self.request.to();
        out.extend_from_slice(b"To: ");
        push_value(out, to.as_bytes());
        if let Some(tag) = self.to_tag
            && to.tag().is_none()
            && self.status != 100
        {
            out.extend_from_slice(b";tag=");
            push_value(out, tag.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends Content-Type, Content-Length, the empty line and the body.
pub(super) fn push_body(out: &mut Vec<u8>, body: Option<&(&str, Bytes)>) {
    let (content_type, body) = body.map_or((None, &[][..]), |(text, body)| (Some(text), &body[..]));
    if let Some(text) = content_type {
        push_header(out, HeaderName::ContentType.as_str(), text.as_bytes());
    }
    out.extend_from_slice(b"Content-Length: ");
    // No body is as long as 4 GiB.
    push_number(out, u32::try_from(body.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "REGISTER sip:callee.example SIP/2.0\r\n\
        Via: SIP/2.0/UDP proxy.example;branch=z9hG4bKb;rport\r\n\
        Via: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKa\r\nRecord-Route: <sip:192.0.2.9;lr>\r\n\
        Timestamp: 54\r\nFrom: \"Bob\" <sip:bob@callee.example>;tag=1\r\nTo:\r\n <sip:bob@callee.example>\r\n\
        Call-ID: 843817637684230@192.0.2.2\r\nCSeq: 2147483647 REGISTER\r\nContent-Length: 0\r\n\r\n";

    /// A transaction keeps the response for 32 s (RFC 3261 17.2.2): by far the most of what a registration
    /// costs in memory.
    #[test]
    fn a_response_takes_hardly_more_memory_than_it_is_long() {
        let credentials = format!("Authorization: Digest {}\r\nContent-Length", "x".repeat(500));
        let text = REQUEST.replace("Content-Length", &credentials);
        let request = Message::parse_datagram(Bytes::from(text)).unwrap();
        let mut response = ResponseBuilder::new(&request, 200, None);
        response.to_tag("0123456789abcdef").header(HeaderName::Contact, "<sip:bob@192.0.2.2>");
        let (room, length) = (response.room(), response.finish().len());
        assert!((length..length + 32).contains(&room), "{room} for {length} bytes");
    }

    #[test]
    fn whatever_is_in_a_response_its_room_suffices() {
        let request = Message::parse_datagram(Bytes::from_static(REQUEST.as_bytes())).unwrap();
        for status in [100, 200] {
            for source in ["192.0.2.77:65535", "[2001:db8:1111:2222:3333:4444:5555:6666]:65535"] {
                let mut response = ResponseBuilder::new(&request, status, "A reason");
                response.to_tag("tag").source(source.parse().unwrap()).copy_record_route();
                response.header("X-Other", "what,\r\n\tever").body("text/plain", "0123456789");
                let (room, length) = (response.room(), response.finish().len());
                assert!((length..length + 128).contains(&room), "{room} for {length} bytes");
            }
        }
    }
}
