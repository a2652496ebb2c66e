//! The ACK for a 2xx: forwarded without a transaction (RFC 3261 16.11), and the answer of a call
//! whose 2xx carried the offer.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;

use super::Proxy;
use super::in_call::{Onward, Passage};
use super::inbound::Routed;
use super::media::{Origin, Prepared, Role};
use super::relay::Continuation;
use super::way::{Step, Waiter, Way};
use crate::call::LateOffer;
use crate::resolve::{Hop, Standing};
use crate::transport::{Arrival, Target};
use crate::wire::{HeaderName, Message};

/// An ACK whose next hop is being looked up.
#[derive(Debug)]
pub(super) struct WaitingAck {
    arrival: Arrival,
    request: Message,
    routed: Routed,
    passage: Passage,
}

impl Proxy {
    /// An ACK is never answered: one that belongs to no call is dropped.
    pub(super) fn handle_ack(&mut self, now: Instant, arrival: &Arrival, request: &Message) {
        let Ok(routed) = self.take_own_routes(request) else { return };
        if request.max_forwards() == Some(0) {
            return;
        }
        let Ok(passage) = self.passage(now, arrival, request, &routed) else { return };
        match passage.to.clone() {
            Onward::Direct { target, .. } => {
                self.pass_ack(arrival, request, &routed, &passage, target);
            }
            Onward::Way(way) => self.ack_along(arrival, request, routed, passage, &way),
        }
    }

    /// An ACK has no transaction that could try one server after another: it goes to the first.
    fn ack_along(
        &mut self,
        arrival: &Arrival,
        request: &Message,
        routed: Routed,
        passage: Passage,
        way: &Way,
    ) {
        match way.ahead.front() {
            Some(Step::Hop(hop)) => {
                if let Some(target) = self.target_of(arrival, hop) {
                    self.pass_ack(arrival, request, &routed, &passage, target);
                }
            }
            Some(Step::Name(query)) => {
                let ack =
                    WaitingAck { arrival: *arrival, request: request.clone(), routed, passage };
                self.ask(query.clone(), Waiter::Ack(Box::new(ack)));
            }
            // Flows are of contacts, to which no ACK is resolved anew.
            Some(Step::Flow(_)) | None => {}
        }
    }

    /// The name that an ACK goes to has been looked up. Without an answer it is dropped; the 2xx that
    /// comes again brings another.
    pub(super) fn ack_resolved(&mut self, now: Instant, ack: WaitingAck, hops: &[Hop]) {
        let Some(hop) = self.preferred(now, hops).cloned() else { return };
        let WaitingAck { arrival, request, routed, passage } = ack;
        if let Some(target) = self.target_of(&arrival, &hop) {
            self.pass_ack(&arrival, &request, &routed, &passage, target);
        }
    }

    /// The server that is asked where only one can be.
    pub(super) fn preferred<'h>(&mut self, now: Instant, hops: &'h [Hop]) -> Option<&'h Hop> {
        let is_good = |hop: &&Hop| self.resting.standing(now, hop) == Standing::Good;
        hops.iter().find(is_good).or(hops.first())
    }

    fn pass_ack(
        &mut self,
        arrival: &Arrival,
        request: &Message,
        routed: &Routed,
        passage: &Passage,
        target: Target,
    ) {
        let Some(ack) = self.outgoing_ack(arrival, request, routed, &target) else { return };
        let Passage { call, branch, from, .. } = *passage;
        let origin = Origin { call, branch, leg: from };
        // The answer where the 2xx that it acknowledges carried the offer. Any other description in an
        // ACK has no meaning (RFC 3264, RFC 6337), or is one that comes again.
        let is_for_this = |late: &LateOffer| late.cseq == request.cseq().number;
        let late = self.late_offer(origin).filter(is_for_this);
        let role = late.map_or(Role::Copy, |late| Role::Answer(late.offer));
        match self.prepare(origin, request, role) {
            Ok(Prepared::Ready { body, .. }) => self.send_ack(target, &ack, body),
            Ok(Prepared::Asked { session, token, .. }) => {
                self.await_relay(session, token, Continuation::SendAck { target, ack, origin });
            }
            Err(_) => self.send_ack(target, &ack, None),
        }
    }

    fn outgoing_ack(
        &mut self,
        arrival: &Arrival,
        request: &Message,
        routed: &Routed,
        target: &Target,
    ) -> Option<Message> {
        let via = self.via(request, target);
        let mut edit = request.edit();
        super::forward::take_routes(&mut edit, request, routed);
        super::forward::count_hop(&mut edit, request);
        super::forward::strip_credentials(&mut edit, request, &self.config.realm);
        let is_trusted = |peer: SocketAddr| self.is_in_trust_domain(peer.ip());
        let (from, to) = (is_trusted(arrival.remote), is_trusted(target.remote));
        super::identity::filter(&mut edit, request, from, to);
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
