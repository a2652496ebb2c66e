//! The ACK for a 2xx: forwarded without a transaction (RFC 3261 16.11), and the answer of a call
//! whose 2xx carried the offer.

use std::time::Instant;

use bytes::Bytes;

use super::Proxy;
use super::in_call::Passage;
use super::inbound::Routed;
use super::media::{Continuation, Origin, Prepared, Role};
use crate::transport::{Arrival, Target};
use crate::wire::{HeaderName, Message};

impl Proxy {
    /// An ACK is never answered: one that belongs to no call is dropped.
    pub(super) fn handle_ack(&mut self, _now: Instant, arrival: &Arrival, request: &Message) {
        let Ok(routed) = self.take_own_routes(request) else { return };
        if request.max_forwards() == Some(0) {
            return;
        }
        let Ok(passage) = self.passage(arrival, request, &routed) else { return };
        let Some(ack) = self.outgoing_ack(request, &routed, &passage.target) else { return };
        match self.prepare_ack(&passage, request) {
            Prepared::Ready(body) => self.send_ack(passage.target, &ack, body),
            Prepared::Asked(token) => {
                let next = Continuation::SendAck { target: passage.target, ack };
                self.by_token.insert(token, next);
            }
        }
    }

    /// Takes the answer that an ACK carries when the 2xx carried the offer; any other description in
    /// an ACK has no meaning (RFC 3264, RFC 6337) and passes as it is.
    fn prepare_ack(&mut self, passage: &Passage, request: &Message) -> Prepared {
        let Passage { call, branch, from, .. } = *passage;
        let awaited = self
            .calls
            .get(call.0)
            .and_then(|c| c.branches.get(branch))
            .is_some_and(|b| b.late_offer);
        if !awaited {
            return Prepared::Ready(None);
        }
        let origin = Origin { call, branch, leg: from };
        self.prepare(origin, request, Role::Answer).unwrap_or(Prepared::Ready(None))
    }

    fn outgoing_ack(
        &mut self,
        request: &Message,
        routed: &Routed,
        target: &Target,
    ) -> Option<Message> {
        let via = self.via(request, target);
        let mut edit = request.edit();
        super::forward::take_routes(&mut edit, request, routed);
        super::forward::count_hop(&mut edit, request);
        edit.push_front(HeaderName::Via, via);
        edit.finish_message().ok()
    }

    pub(super) fn send_ack(&mut self, target: Target, ack: &Message, body: Option<Vec<u8>>) {
        let bytes = match body {
            Some(body) => ack.edit().set_body(None, body).finish(),
            None => Bytes::clone(ack.raw()),
        };
        self.transmit(target, bytes);
    }
}
