//! Messages that the layer writes itself.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::wire::{HeaderName, Message, RequestBuilder, ResponseBuilder};

/// The CANCEL of an INVITE as it was sent (RFC 3261 9.1), with a Reason (RFC 3326) if there is one.
///
/// Requests are kept as bytes alone, since few of them are ever cancelled or refused; they were a
/// message before, so reading them again does not fail.
pub(super) fn cancel(invite: &Bytes, reason: Option<&str>) -> Option<Message> {
    let invite = Message::parse_datagram(invite.clone()).ok()?;
    let mut cancel = RequestBuilder::cancel(&invite);
    if let Some(reason) = reason {
        cancel.header(HeaderName::Reason, reason);
    }
    cancel.finish_message().ok()
}

/// The ACK to a non-2xx final response (RFC 3261 17.1.1.3).
pub(super) fn ack(invite: &Bytes, response: &Message) -> Option<Bytes> {
    let invite = Message::parse_datagram(invite.clone()).ok()?;
    Some(RequestBuilder::ack(&invite, response).finish())
}

/// The refusal of a request that there is no place for. Its To tag comes from the request alone, so
/// that a retransmission is answered alike (RFC 3261 8.2.7).
pub(super) fn unavailable(
    request: &Message,
    source: SocketAddr,
    retry_after: Duration,
    tag: u64,
) -> Bytes {
    let tag = format!("{tag:016x}");
    let retry_after = retry_after.as_secs().max(1).to_string();
    let mut response = ResponseBuilder::new(request, 503, None);
    response.source(source).to_tag(&tag).header(HeaderName::RetryAfter, retry_after);
    response.finish()
}
