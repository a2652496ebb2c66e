//! Building requests.

use std::io::Write as _;

use bytes::Bytes;

use super::malformed::Malformed;
use super::message::Message;
use super::method::Method;
use super::name::{FieldName, HeaderName};
use super::response::push_body;
use super::write::{push_header, push_uri};

/// Max-Forwards of a new request (RFC 3261 8.1.1.6).
pub const MAX_FORWARDS_DEFAULT: u8 = 70;

/// A request, header by header.
#[derive(Clone, Debug)]
pub struct RequestBuilder<'r> {
    head: Vec<u8>,
    body: Option<(&'r str, Bytes)>,
}

impl<'r> RequestBuilder<'r> {
    /// Starts a request; every header but Content-Type and Content-Length is the caller's to add.
    #[must_use]
    pub fn new(method: &Method, uri: &str) -> RequestBuilder<'r> {
        let mut head = Vec::with_capacity(512);
        head.extend_from_slice(method.as_str().as_bytes());
        head.push(b' ');
        push_uri(&mut head, uri);
        head.extend_from_slice(b" SIP/2.0\r\n");
        RequestBuilder { head, body: None }
    }

    /// The CANCEL of an INVITE as it was sent (RFC 3261 9.1): same Request-URI, top Via, Call-ID, From,
    /// To, CSeq number and Routes.
    #[must_use]
    pub fn cancel(invite: &Message) -> RequestBuilder<'r> {
        RequestBuilder::beside(invite, &Method::Cancel, invite.to().as_bytes())
    }

    /// The ACK to a response other than 2xx of an INVITE as it was sent (RFC 3261 17.1.1.3): as for a
    /// CANCEL, but with the To of the response.
    #[must_use]
    pub fn ack(invite: &Message, response: &Message) -> RequestBuilder<'r> {
        RequestBuilder::beside(invite, &Method::Ack, response.to().as_bytes())
    }

    fn beside(invite: &Message, method: &Method, to: &[u8]) -> RequestBuilder<'r> {
        let mut builder = RequestBuilder::new(method, invite.request_uri());
        builder.header(HeaderName::Via, invite.top_via().as_bytes());
        for route in invite.lines(HeaderName::Route) {
            builder.header(HeaderName::Route, route);
        }
        builder.header(HeaderName::From, invite.from().as_bytes());
        builder.header(HeaderName::To, to);
        builder.header(HeaderName::CallId, invite.call_id());
        // Writing to a Vec does not fail.
        let _ = write!(
            builder.head,
            "CSeq: {} {method}\r\nMax-Forwards: {MAX_FORWARDS_DEFAULT}\r\n",
            invite.cseq().number,
        );
        builder
    }

    /// Adds a header line.
    pub fn header<'n>(
        &mut self,
        name: impl Into<FieldName<'n>>,
        value: impl AsRef<[u8]>,
    ) -> &mut Self {
        push_header(&mut self.head, name.into().as_str(), value.as_ref());
        self
    }

    /// Gives it a body.
    pub fn body(&mut self, content_type: &'r str, body: impl Into<Bytes>) -> &mut Self {
        self.body = Some((content_type, body.into()));
        self
    }

    /// Writes the request.
    #[must_use]
    pub fn finish(&self) -> Bytes {
        let body_len = self.body.as_ref().map_or(0, |(_, body)| body.len());
        let mut out = Vec::with_capacity(self.head.len() + body_len + 96);
        out.extend_from_slice(&self.head);
        push_body(&mut out, self.body.as_ref());
        Bytes::from(out)
    }

    /// Writes the request and parses it.
    ///
    /// # Errors
    /// [`Malformed`] if a header that must be there was not added.
    pub fn finish_message(&self) -> Result<Message, Malformed> {
        Message::parse_datagram(self.finish())
    }
}
