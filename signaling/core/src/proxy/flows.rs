//! Dialogs that no call makes (SUBSCRIBE, REFER), where a party has to be reached by its flow: it is
//! behind NAT, or only its connection leads to it. Nothing is remembered of them; what is to be known
//! again stands in our Record-Route (RFC 5626 5.3, RFC 3261 16.6 step 4).
//!
//! There are two values of it, one for each side, so that their order tells which way a request goes
//! even if its sender has moved: the last one that is ours is that of the side where it goes.

use std::net::SocketAddr;
use std::time::Instant;

use super::Proxy;
use super::config::Listener;
use super::flow_token::{Flow, Use};
use super::identity::Sender;
use super::inbound::{Answer, Routed};
use super::routing::{self, Destination};
use crate::call::Party;
use crate::transport::{Arrival, Target, Transport};
use crate::wire::digits::{into_text, push_socket};
use crate::wire::{HeaderName, Message, Method, Scheme, Uri};

/// The parameter of our Route URIs that may carry a flow token.
pub(super) const MARK: &str = "ft";

/// What a forged token is told, and one of another dialog.
const FORBIDDEN: &str = "Not A Flow Token Of This Dialog";

/// Whether a request makes a dialog without a call. NOTIFY does, too, for whoever has subscribed: it may
/// come before the 2xx, and its Record-Route is what counts (RFC 6665 4.4.1).
fn makes_dialog(request: &Message) -> bool {
    match request.method() {
        Method::Subscribe | Method::Refer => request.to().tag().is_none(),
        Method::Notify => true,
        Method::Invite
        | Method::Ack
        | Method::Bye
        | Method::Cancel
        | Method::Register
        | Method::Options
        | Method::Prack
        | Method::Update
        | Method::Info
        | Method::Message
        | Method::Publish
        | Method::Other(_) => false,
    }
}

/// Room for one of our URIs without a token.
const OWN_URI_BYTES: usize = 96;

/// One of our Record-Route or Path URIs.
pub(super) fn own_uri(
    transport: Transport,
    address: SocketAddr,
    is_sips: bool,
    user: Option<&str>,
    mark: &str,
) -> String {
    let mut uri = Vec::with_capacity(OWN_URI_BYTES);
    // RFC 3261 26.2.2: `sips` says TLS already.
    let says_tls = is_sips && transport == Transport::Tls;
    uri.extend_from_slice(if says_tls { b"<sips:" } else { b"<sip:" });
    if let Some(user) = user {
        uri.extend_from_slice(user.as_bytes());
        uri.push(b'@');
    }
    push_socket(&mut uri, address);
    if !says_tls {
        uri.extend_from_slice(b";transport=");
        uri.extend_from_slice(transport.uri_name().as_bytes());
    }
    uri.extend_from_slice(b";lr;");
    uri.extend_from_slice(mark.as_bytes());
    uri.push(b'>');
    into_text(uri)
}

impl Proxy {
    /// Our Record-Route values in the order in which they are put on top; none if the request makes no
    /// dialog. A party that nothing stands before is named by its flow; any other has put a value of
    /// its own next to ours.
    pub(super) fn dialog_routes(
        &self,
        request: &Message,
        arrival: &Arrival,
        to: &Target,
        to_adjacent: bool,
    ) -> Option<[String; 2]> {
        if !makes_dialog(request) {
            return None;
        }
        let is_sips = matches!(request.uri_scheme(), Some(Scheme::Sips));
        let mark = self.flow_mark(request.call_id());
        let value = |flow: &Target, is_adjacent: bool| {
            let purpose = Use::Dialog(request.call_id());
            let token = is_adjacent.then(|| self.flow_tokens.issue(purpose, flow));
            let address = self.sent_by(flow, request.call_id());
            own_uri(flow.transport, address, is_sips, token.as_deref(), &mark)
        };
        let from = routing::party_of(arrival, request);
        Some([value(&from.flow, from.adjacent), value(to, to_adjacent)])
    }

    /// Our Path value of a client's REGISTER for another registrar (RFC 5626 5.1): what is sent along it comes
    /// to the client's flow. None where a proxy is between us, which has the flow, or the client would
    /// not see that somebody is in its way (RFC 3327 5.1).
    pub(super) fn path_value(
        &self,
        request: &Message,
        arrival: &Arrival,
        to: &Target,
    ) -> Option<String> {
        let supports = |option| request.has_token(HeaderName::Supported, option);
        if *request.method() != Method::Register || !(supports("path") || supports("outbound")) {
            return None;
        }
        let client = routing::party_of(arrival, request);
        let token = self.flow_tokens.issue(Use::Path, &client.flow);
        let is_sips = matches!(request.uri_scheme(), Some(Scheme::Sips));
        let address = self.sent_by(to, request.call_id());
        let mark = format!("{MARK};ob");
        let value = own_uri(to.transport, address, is_sips, Some(&token), &mark);
        client.adjacent.then_some(value)
    }

    /// Where a request goes whose last Route value of ours has a token, and who its sender is.
    ///
    /// Within a dialog the token shows that the dialog was made by way of this node, by somebody who
    /// was allowed to: nobody is asked for a password, as within calls. Anything else has to be sent by
    /// somebody who may send requests.
    ///
    /// # Errors
    /// 403 for a token that this node has not made for this use, 430 if the flow is no more, 416 if a
    /// `sips` request would leave TLS; what [`Proxy::authorise`] says.
    pub(super) fn along_token(
        &mut self,
        now: Instant,
        arrival: &Arrival,
        request: &Message,
        routed: &Routed,
        token: &str,
    ) -> Result<(Vec<Destination>, Sender), Answer> {
        let uri = Uri::parse(&routed.uri).map_err(|_| Answer::new(400, "Bad Request-URI"))?;
        let of_dialog = self.flow_tokens.read(Use::Dialog(request.call_id()), token);
        let is_vouched_for = of_dialog.is_some() && request.to().tag().is_some();
        let flow = of_dialog
            .or_else(|| self.flow_tokens.read(Use::Path, token))
            .ok_or_else(|| Answer::new(403, FORBIDDEN))?;
        let flow = match flow {
            Flow::To(flow) if self.has_listener_of(&flow) => Some(flow),
            Flow::Elsewhere(flow) => self.take_over(flow),
            Flow::To(_) | Flow::Gone => None,
        };
        let sender = if is_vouched_for {
            self.sender_in_call(arrival)
        } else {
            self.authorise(now, arrival, request)?.1
        };
        let destination = match (self.registered(now, request, &uri), flow) {
            (Some(registered), _) => return Ok((registered, sender)),
            (None, Some(flow)) => {
                let party = Party { flow, adjacent: true, pinned_to_flow: true };
                Destination {
                    uri: None,
                    path: None,
                    party,
                    way: None,
                    any_transport: false,
                    by_token: true,
                    q: 0,
                }
            }
            (None, None) => return Err(flow_failed()),
        };
        if matches!(uri.scheme(), Scheme::Sips) && !destination.is_secure() {
            return Err(Answer::new(416, "No Secure Way To Destination"));
        }
        Ok((vec![destination], sender))
    }

    /// The present way to the device that a request within a dialog names by its GRUU or Contact: it may
    /// have registered anew since over another flow.
    fn registered(
        &self,
        now: Instant,
        request: &Message,
        uri: &Uri<'_>,
    ) -> Option<Vec<Destination>> {
        request.to().tag()?;
        let is_served = |uri: &Uri<'_>| self.addresses.is_served(&self.config, uri);
        if uri.params().has("gr") && is_served(uri) {
            return self.contacts(now, uri).ok();
        }
        let to = request.to().uri().ok().filter(is_served)?;
        let binding = self.registrar.lookup_contact(now, &to.user_unescaped()?, uri)?;
        let destination = Destination { uri: None, by_token: true, ..routing::contact(binding) };
        let is_secure = !matches!(uri.scheme(), Scheme::Sips) || destination.is_secure();
        is_secure.then(|| vec![destination])
    }

    /// Whether the flow is one of a listener that there is still: settings may have changed since.
    fn has_listener_of(&self, flow: &Target) -> bool {
        let listener = self.config.listeners.get(usize::from(flow.listener.0));
        let is_at = |bound: SocketAddr| {
            bound.is_ipv4() == flow.local.is_ipv4()
                && (bound.ip().is_unspecified() || bound.ip() == flow.local.ip())
        };
        listener.is_some_and(|l: &Listener| l.transport == flow.transport && is_at(l.bound))
    }
}

/// RFC 5626 5.3.1.
pub(super) fn flow_failed() -> Answer {
    Answer::new(430, "Flow Failed")
}
