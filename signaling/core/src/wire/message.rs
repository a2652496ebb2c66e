//! A parsed message.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::addr::{Contact, NameAddr, read_expires};
use super::auth::AuthValue;
use super::edit::Edit;
use super::index::{Entry, Index, StartLine};
use super::list::Commas;
use super::malformed::{BadHeader, Defect, Malformed};
use super::method::Method;
use super::name::{FieldName, HeaderName};
use super::parse::{self, Framing};
use super::uri::{self, Scheme, Uri};
use super::via::Via;
use super::{chars, malformed, scan};

/// A SIP message that has been parsed: its bytes as received, and where its parts are. Cloning it
/// copies two pointers.
///
/// What parsing guarantees: a start line, a readable top Via, From, To, Call-ID and CSeq (for a request
/// with the method of the request line), Max-Forwards and Content-Length absent or readable, no header
/// twice that may stand once. All else is read when asked for.
#[derive(Clone)]
pub struct Message {
    raw: Bytes,
    index: Arc<Index>,
}

/// One header field as it stands in the message.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// Which one.
    pub name: FieldName<'a>,
    /// The name as written.
    pub raw_name: &'a str,
    /// The value without white space at its ends; a folded one still holds its folds.
    pub value: &'a [u8],
}

impl<'a> Header<'a> {
    /// The value with every fold replaced by one space (RFC 3261 7.3.1).
    #[must_use]
    pub fn unfolded(&self) -> Cow<'a, [u8]> {
        unfold(self.value)
    }
}

/// The value of CSeq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// Below 2^31.
    pub number: u32,
    /// The method, also that of the request which a response answers.
    pub method: &'a Method,
}

impl Message {
    /// Parses a datagram. Line ends before the start line are skipped; octets after Content-Length are
    /// dropped; without Content-Length the body goes to the end (RFC 3261 7.5, 18.3).
    ///
    /// # Errors
    /// [`Malformed`], also when the datagram ends before the body does.
    pub fn parse_datagram(datagram: Bytes) -> Result<Message, Malformed> {
        Message::parse(datagram, Framing::Datagram)
    }

    /// Parses a message that [`StreamFramer`](super::StreamFramer) cut out of a stream.
    ///
    /// # Errors
    /// [`Malformed`], also when there is no Content-Length.
    pub fn parse_frame(frame: Bytes) -> Result<Message, Malformed> {
        Message::parse(frame, Framing::Stream)
    }

    fn parse(mut raw: Bytes, framing: Framing) -> Result<Message, Malformed> {
        if malformed::is_keep_alive(&raw[..raw.len().min(1)]) {
            let start = raw.iter().position(|b| !matches!(b, b'\r' | b'\n')).unwrap_or(raw.len());
            if malformed::is_keep_alive(&raw) {
                return Err(Malformed::new(Defect::Empty, 0, &raw));
            }
            raw = raw.slice(start..);
        }
        match parse::parse(&raw, framing) {
            Ok((index, end)) => {
                raw.truncate(end);
                Ok(Message { raw, index })
            }
            Err((defect, offset)) => Err(Malformed::new(defect, offset, &raw)),
        }
    }

    /// A message of which everything is known.
    pub(super) fn from_parts(raw: Bytes, index: Arc<Index>) -> Message {
        let message = Message { raw, index };
        #[cfg(test)]
        message.check_index();
        message
    }

    /// Whether parsing tells the same of the message.
    #[cfg(test)]
    fn check_index(&self) {
        let parsed =
            Message::parse_datagram(self.raw.clone()).expect("what is known has been read");
        assert_eq!(parsed.raw, self.raw);
        assert_eq!(format!("{:?}", parsed.index), format!("{:?}", self.index));
    }

    /// The whole message as received.
    #[must_use]
    pub const fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The body; empty if there is none.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.raw.get(self.index.body as usize..).unwrap_or_default()
    }

    /// The body, sharing the message's storage.
    #[must_use]
    pub fn body_bytes(&self) -> Bytes {
        self.raw.slice(self.index.body as usize..)
    }

    /// Whether it is a request.
    #[must_use]
    pub fn is_request(&self) -> bool {
        matches!(self.index.start, StartLine::Request { .. })
    }

    /// Whether it is a response.
    #[must_use]
    pub fn is_response(&self) -> bool {
        !self.is_request()
    }

    /// The method of a request; of a response, the method in its CSeq.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.index.method
    }

    /// The Request-URI as written; empty for a response.
    #[must_use]
    pub fn request_uri(&self) -> &str {
        match self.index.start {
            StartLine::Request { uri } => chars::text(uri.of(&self.raw)),
            StartLine::Response { .. } => "",
        }
    }

    /// The Request-URI taken apart; `None` for a response.
    #[must_use]
    pub fn uri(&self) -> Option<Uri<'_>> {
        Uri::parse(self.request_uri()).ok()
    }

    /// The scheme of the Request-URI; `None` for a response. Costs less than taking the URI apart.
    #[must_use]
    pub fn uri_scheme(&self) -> Option<Scheme<'_>> {
        uri::scheme(self.request_uri()).map(|(scheme, _)| scheme)
    }

    /// The status (100..=699) of a response.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self.index.start {
            StartLine::Request { .. } => None,
            StartLine::Response { status, .. } => Some(status),
        }
    }

    /// The reason phrase of a response, as sent; empty for a request.
    #[must_use]
    pub fn reason(&self) -> &[u8] {
        match self.index.start {
            StartLine::Request { .. } => &[],
            StartLine::Response { reason, .. } => reason.of(&self.raw),
        }
    }

    /// All header fields in order.
    pub fn headers(&self) -> impl Iterator<Item = Header<'_>> {
        self.index.entries.iter().map(|entry| self.header(entry))
    }

    fn header(&self, entry: &Entry) -> Header<'_> {
        let start = entry.start as usize;
        let end = start + usize::from(entry.name_len);
        let raw_name = chars::text(self.raw.get(start..end).unwrap_or_default());
        let name = entry.name.map_or(FieldName::Other(raw_name), FieldName::Known);
        Header { name, raw_name, value: entry.value.of(&self.raw) }
    }

    /// The values of the header lines of that name, in order, as they stand (no comma splitting).
    pub fn lines<'a>(&'a self, name: impl Into<FieldName<'a>>) -> impl Iterator<Item = &'a [u8]> {
        let name = name.into();
        self.index
            .entries
            .iter()
            .filter(move |entry| self.matches(entry, name))
            .map(|entry| entry.value.of(&self.raw))
    }

    #[inline]
    fn matches(&self, entry: &Entry, name: FieldName<'_>) -> bool {
        match name {
            FieldName::Known(wanted) => entry.name == Some(wanted),
            FieldName::Other(wanted) => entry.name.is_none() && self.is_written(entry, wanted),
        }
    }

    fn is_written(&self, entry: &Entry, name: &str) -> bool {
        self.header(entry).raw_name.eq_ignore_ascii_case(name)
    }

    /// The value of the first header line of that name.
    #[must_use]
    pub fn first<'a>(&'a self, name: impl Into<FieldName<'a>>) -> Option<&'a [u8]> {
        self.lines(name).next()
    }

    /// As [`Message::first`]; `None` also if it is not UTF-8.
    #[must_use]
    pub fn first_str<'a>(&'a self, name: impl Into<FieldName<'a>>) -> Option<&'a str> {
        std::str::from_utf8(self.first(name)?).ok()
    }

    /// How many header lines of that name there are.
    #[must_use]
    pub fn count<'a>(&'a self, name: impl Into<FieldName<'a>>) -> usize {
        self.lines(name).count()
    }

    /// Whether there is a header line of that name.
    #[must_use]
    pub fn has<'a>(&'a self, name: impl Into<FieldName<'a>>) -> bool {
        self.first(name).is_some()
    }

    /// The values of a header, in order: those of list headers split at their commas (empty ones left
    /// out), those of others one a line.
    pub fn values<'a>(&'a self, name: impl Into<FieldName<'a>>) -> impl Iterator<Item = &'a [u8]> {
        let name = name.into();
        let split = name.known().is_some_and(HeaderName::is_list);
        self.lines(name).flat_map(move |line| {
            let commas = split.then(|| Commas::new(line));
            let whole = (!split).then_some(line);
            commas.into_iter().flatten().chain(whole)
        })
    }

    /// Whether a list header holds `token` (case-insensitive), for example an option tag in Supported.
    #[must_use]
    pub fn has_token(&self, name: HeaderName, token: &str) -> bool {
        self.values(name).any(|value| value.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// The top Via.
    #[must_use]
    pub fn top_via(&self) -> Via<'_> {
        Via::from_spans(self.index.via_at.of(&self.raw), self.index.via)
    }

    /// All Vias, top first.
    pub fn vias(&self) -> impl Iterator<Item = Result<Via<'_>, BadHeader>> {
        self.values(HeaderName::Via)
            .map(|value| Via::parse(value).ok_or(BadHeader(HeaderName::Via)))
    }

    /// The From.
    #[must_use]
    pub fn from(&self) -> NameAddr<'_> {
        NameAddr::from_spans(self.index.from_at.of(&self.raw), self.index.from)
    }

    /// The To.
    #[must_use]
    pub fn to(&self) -> NameAddr<'_> {
        NameAddr::from_spans(self.index.to_at.of(&self.raw), self.index.to)
    }

    /// The Call-ID.
    #[must_use]
    pub fn call_id(&self) -> &str {
        chars::text(self.index.call_id.of(&self.raw))
    }

    /// The CSeq.
    #[must_use]
    pub fn cseq(&self) -> CSeq<'_> {
        CSeq { number: self.index.cseq, method: &self.index.method }
    }

    /// The Max-Forwards, if there is one.
    #[must_use]
    pub fn max_forwards(&self) -> Option<u8> {
        self.index.max_forwards
    }

    /// The Content-Length as written, if there is one.
    #[must_use]
    pub fn content_length(&self) -> Option<u32> {
        self.index.content_length
    }

    /// The Content-Type as written.
    #[must_use]
    pub fn content_type(&self) -> Option<&[u8]> {
        self.first(HeaderName::ContentType)
    }

    /// The Expires in seconds. What is not a number is taken as 3600, what does not fit as 2^32-1
    /// (RFC 3261 10.2.1.1).
    #[must_use]
    pub fn expires(&self) -> Option<u32> {
        self.first(HeaderName::Expires).map(read_expires)
    }

    /// All Contact values.
    pub fn contacts(&self) -> impl Iterator<Item = Result<Contact<'_>, BadHeader>> {
        self.values(HeaderName::Contact)
            .map(|value| Contact::parse(value).ok_or(BadHeader(HeaderName::Contact)))
    }

    /// The addresses in a header such as Route, Record-Route, Path or P-Asserted-Identity.
    pub fn addresses(
        &self,
        name: HeaderName,
    ) -> impl Iterator<Item = Result<NameAddr<'_>, BadHeader>> {
        self.values(name).map(move |value| NameAddr::parse(value).ok_or(BadHeader(name)))
    }

    /// All Route values, top first.
    pub fn routes(&self) -> impl Iterator<Item = Result<NameAddr<'_>, BadHeader>> {
        self.addresses(HeaderName::Route)
    }

    /// All Record-Route values, top first.
    pub fn record_routes(&self) -> impl Iterator<Item = Result<NameAddr<'_>, BadHeader>> {
        self.addresses(HeaderName::RecordRoute)
    }

    /// Challenges or credentials: each line of Authorization, Proxy-Authorization, WWW-Authenticate or
    /// Proxy-Authenticate.
    pub fn auth(&self, name: HeaderName) -> impl Iterator<Item = Result<AuthValue<'_>, BadHeader>> {
        self.lines(name).map(move |value| AuthValue::parse(value).ok_or(BadHeader(name)))
    }

    /// A changed copy of this message.
    #[must_use]
    pub fn edit(&self) -> Edit<'_> {
        Edit::new(self)
    }

    pub(super) fn index(&self) -> &Index {
        &self.index
    }
}

impl fmt::Debug for Message {
    /// Start line kind, CSeq and size alone: headers hold personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status() {
            Some(status) => write!(f, "Message({status}, ")?,
            None => f.write_str("Message(")?,
        }
        write!(f, "{} {}, {} bytes)", self.index.cseq, self.index.method, self.raw.len())
    }
}

/// `value` with every fold replaced by one space.
pub(super) fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    if !scan::has_line_break(value) {
        return Cow::Borrowed(value);
    }
    let mut plain = Vec::with_capacity(value.len());
    let mut at = 0;
    while at < value.len() {
        if matches!(value[at], b'\r' | b'\n') {
            at = chars::skip_lws(value, at);
            while plain.last().is_some_and(|b| chars::is_lws(*b)) {
                plain.pop();
            }
            plain.push(b' ');
        } else {
            plain.push(value[at]);
            at += 1;
        }
    }
    Cow::Owned(plain)
}
