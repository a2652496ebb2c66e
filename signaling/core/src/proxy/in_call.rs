//! Requests within a call (RFC 3261 16.12 seen from a proxy that record-routed): found by the number
//! in our Record-Route, checked by Call-ID and tags, sent to the other party.

use std::time::Instant;

use relay_core::api::Leg;

use super::Proxy;
use super::context::{Context, Purpose};
use super::farm::NO_LISTENER;
use super::inbound::{Answer, Routed};
use super::routing::{Destination, unfaced};
use super::way::Way;
use crate::call::{Call, CallId, Party};
use crate::transaction::ServerTx;
use crate::transport::{Arrival, Target};
use crate::wire::{Host, Message, Method, Scheme, Uri};

/// A call that a message belongs to, and the way it takes through it.
#[derive(Clone, Debug)]
pub(super) struct Passage {
    pub(super) call: CallId,
    pub(super) branch: usize,
    /// Who sent it.
    pub(super) from: Leg,
    /// Where it goes.
    pub(super) to: Onward,
}

/// The way of a message within a call.
#[derive(Clone, Debug)]
pub(super) enum Onward {
    /// To an address; `any_transport`: nobody has named the transport.
    Direct { target: Target, any_transport: bool },
    /// Along servers, or to a name.
    Way(Box<Way>),
}

/// RFC 3261 26.2.2: what asks for TLS goes no other way, within a call as before it. A BYE does, for a call
/// that could not be ended would be worse than its end overheard.
fn check_secure(request: &Message, method: &Method, to: &Onward) -> Result<(), Answer> {
    let is_sips = matches!(request.uri_scheme(), Some(Scheme::Sips));
    let is_secure = match to {
        Onward::Direct { target, .. } => target.transport.is_secure(),
        Onward::Way(way) => way.is_secure(),
    };
    if is_sips && !is_secure && *method != Method::Bye {
        return Err(Answer::new(416, "No Secure Way To Destination"));
    }
    Ok(())
}

impl Proxy {
    pub(super) fn in_call_request(
        &mut self,
        now: Instant,
        tx: ServerTx,
        arrival: &Arrival,
        request: &Message,
        method: Method,
        routed: &Routed,
    ) -> Result<(), Answer> {
        self.check_forwardable(request)?;
        if method == Method::Bye && self.ended.has(routed.call, request.call_id()) {
            // It has crossed ours.
            self.answer(now, tx, request, &Answer::new(200, "OK"));
            return Ok(());
        }
        let passage = self.passage(now, arrival, request, routed)?;
        self.follow_sender(now, arrival, request, &passage)?;
        self.note_cseq(&passage, request);
        check_secure(request, &method, &passage.to)?;
        let has_ended = self.calls.get(passage.call.0).is_some_and(|call| call.ended.is_some());
        if has_ended && matches!(method, Method::Invite | Method::Update) {
            return Err(Answer::new(481, "Call Has Ended"));
        }
        self.check_session_timer(request)?;
        if method == Method::Invite {
            self.trying(now, tx, request);
        }
        let purpose =
            Purpose::InCall { call: passage.call, from: passage.from, branch: passage.branch };
        let sender = self.sender_in_call(arrival);
        let context = Context::new(tx, *arrival, request.clone(), method, purpose, sender);
        let (flow, any_transport, way) = match passage.to {
            Onward::Direct { target, any_transport } => (target, any_transport, None),
            Onward::Way(way) => (arrival.reply(), way.any_transport, Some(way)),
        };
        let party = Party { flow, adjacent: false, pinned_to_flow: false };
        let destination =
            Destination { uri: None, path: None, party, way, any_transport, by_token: false, q: 0 };
        self.start_context(now, context, vec![destination], routed)
    }

    /// Finds the call of a request that has a To tag, and the next hop.
    pub(super) fn passage(
        &mut self,
        now: Instant,
        arrival: &Arrival,
        request: &Message,
        routed: &Routed,
    ) -> Result<Passage, Answer> {
        let unknown = || Answer::new(481, "Call/Transaction Does Not Exist");
        let id = routed.call.ok_or_else(unknown)?;
        let call = self.calls.get(id.0).filter(|c| &*c.sip_call_id == request.call_id());
        let (from, branch) = call.and_then(|c| c.sender_of(request)).ok_or_else(unknown)?;
        let to = call.and_then(|c| c.party(from.other(), branch)).copied();
        let mut to = to.ok_or_else(unknown)?;
        let text = routed.next_route.as_deref().unwrap_or(&routed.uri);
        let uri = Uri::parse(text).map_err(|_| Answer::new(400, "Bad Request-URI"))?;
        if let Some(anew) = self.found_anew(now, request, &uri, &to) {
            to = anew;
            let call = self.calls.get_mut(id.0);
            if let Some(party) = call.and_then(|c| c.party_mut(from.other(), branch)) {
                *party = anew;
            }
        }
        let onward = self.onward(arrival, &to, &uri, routed.next_route.is_some())?;
        Ok(Passage { call: id, branch, from, to: onward })
    }

    /// The way to a party whose next hop is `uri`, be it its own or a route to it (`has_route`).
    pub(super) fn onward(
        &mut self,
        arrival: &Arrival,
        to: &Party,
        uri: &Uri<'_>,
        has_route: bool,
    ) -> Result<Onward, Answer> {
        let to_flow = to.pinned_to_flow || self.names_own_user(to, uri);
        if !has_route && to_flow || self.is_held_to_flow(arrival, to, uri) {
            return Ok(Onward::Direct { target: to.flow, any_transport: false });
        }
        self.target_like(to, arrival, uri)
    }

    fn note_cseq(&mut self, passage: &Passage, request: &Message) {
        let callee_tag = match passage.from {
            Leg::Caller => request.to().tag(),
            Leg::Callee => request.from().tag(),
        };
        let call = self.calls.get_mut(passage.call.0);
        let branch = call.and_then(|call| call.branches.get_mut(passage.branch));
        if let Some(dialog) = branch.zip(callee_tag).and_then(|(b, tag)| b.dialog_mut(tag)) {
            dialog.note_cseq(passage.from, request.cseq().number);
        }
    }

    /// A party that its Contact names as a user of this node, by a GRUU say: whom it means is known, and DNS would
    /// lead back here.
    fn names_own_user(&self, to: &Party, uri: &Uri<'_>) -> bool {
        let is_name = matches!(uri.host(), Host::Name(_)) || uri.params().has("gr");
        to.adjacent && is_name && self.addresses.is_served(&self.config, uri)
    }

    /// In an open domain anybody can have a call with himself. That is no way to have this node send
    /// to whomever he likes: an adjacent party is where its messages came from.
    fn is_held_to_flow(&self, arrival: &Arrival, to: &Party, uri: &Uri<'_>) -> bool {
        self.registrar.is_open()
            && !self.config.is_trusted(arrival.remote.ip())
            && to.adjacent
            && !uri.host().is_ip(to.flow.remote.ip())
    }

    /// The target that `uri` names, by the listener that faces the party already.
    fn target_like(
        &mut self,
        to: &Party,
        arrival: &Arrival,
        uri: &Uri<'_>,
    ) -> Result<Onward, Answer> {
        let way = self.way(uri)?;
        let Some(hop) = way.only() else { return Ok(Onward::Way(Box::new(way))) };
        // Where a party is, this host itself included, is settled since its messages have come from there.
        let there = Arrival { remote: to.flow.remote, ..*arrival };
        let whose = if hop.address.ip() == to.flow.remote.ip() { &there } else { arrival };
        let mut target = self.target_of(whose, hop).ok_or_else(|| unfaced(hop.transport))?;
        if target.transport == to.flow.transport
            && target.remote.is_ipv4() == to.flow.remote.is_ipv4()
        {
            let is_flow = target.remote == to.flow.remote;
            // A connection of another member says nothing of this node's own ways.
            if is_flow || to.flow.connection.is_none() || to.flow.listener != NO_LISTENER {
                target.listener = to.flow.listener;
                target.local = to.flow.local;
            }
            if is_flow {
                target.connection = to.flow.connection;
            }
        }
        Ok(Onward::Direct { target, any_transport: way.any_transport })
    }
}

impl Call {
    /// The leg that sent `message`, and the branch that it belongs to, by its tags.
    #[must_use]
    pub(super) fn sender_of(&self, message: &Message) -> Option<(Leg, usize)> {
        let (from, to) = (message.from(), message.to());
        self.sender(from.tag().unwrap_or_default(), to.tag().unwrap_or_default())
    }
}
