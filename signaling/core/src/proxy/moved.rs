//! Parties of a call who are elsewhere than before: a phone has changed its network, NAT has given it
//! another port, or its connection has been opened anew.
//!
//! Call-ID, tags and our number of the call are known to whoever has seen one message of it. They are
//! enough to pass a request on, as its answer tells nobody anything new; they are not enough to turn the
//! call to where it came from. For that the sender has to be who it says, by the way it registered or by
//! its password, and its request has to be a new one.

use std::collections::{HashSet, VecDeque};
use std::time::Instant;

use relay_core::api::Leg;

use super::Proxy;
use super::in_call::Passage;
use super::inbound::Answer;
use super::routing::{contact, party_of};
use crate::auth::Scheme;
use crate::call::Party;
use crate::registrar::{Binding, Lookup};
use crate::transport::{Arrival, ConnectionId, Target};
use crate::wire::{HeaderName, Message, Method, Uri};

/// Most closed connections that are remembered, the latest: those of the phones of a network that has
/// just failed. A party whose connection has been forgotten is sought where it was.
const CLOSED_MAX: usize = 16_384;

/// Connections that have closed.
#[derive(Debug, Default)]
pub(super) struct Closed {
    known: HashSet<ConnectionId>,
    order: VecDeque<ConnectionId>,
}

impl Closed {
    pub(super) fn note(&mut self, connection: ConnectionId) {
        if !self.known.insert(connection) {
            return;
        }
        self.order.push_back(connection);
        if self.order.len() > CLOSED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    fn has(&self, flow: &Target) -> bool {
        flow.connection.is_some_and(|connection| self.known.contains(&connection))
    }
}

/// Whether both are the same way to the same peer.
fn is_same_way(one: &Target, other: &Target) -> bool {
    one.remote == other.remote
        && one.transport == other.transport
        && one.connection == other.connection
}

impl Proxy {
    /// Turns the call to where this request of one of its parties has come from, if the sender is who it
    /// says. A request that is not believed changes nothing and goes on.
    ///
    /// # Errors
    /// 407 for a re-INVITE or UPDATE from elsewhere whose sender could show a password but has not.
    pub(super) fn follow_sender(
        &mut self,
        now: Instant,
        arrival: &Arrival,
        request: &Message,
        passage: &Passage,
    ) -> Result<(), Answer> {
        let call = self.calls.get(passage.call.0);
        let Some(known) = call.and_then(|call| call.party(passage.from, passage.branch)).copied()
        else {
            return Ok(());
        };
        let is_there = is_same_way(&arrival.reply(), &known.flow);
        if is_there || !known.adjacent || request.vias().count() > 1 {
            return Ok(());
        }
        let found = party_of(arrival, request);
        let says_where = request.has(HeaderName::Contact);
        // A phone may send from another port than it listens at: its Contact says where that is, and
        // without one nothing is new unless NAT is in between.
        let is_elsewhere = !is_same_way(&found.flow, &known.flow)
            && (says_where || known.pinned_to_flow)
            && (found.pinned_to_flow || known.pinned_to_flow);
        if is_elsewhere
            && self.is_new(passage, request)
            && self.is_authentic(now, arrival, request)?
        {
            self.move_party(passage, found);
        }
        Ok(())
    }

    fn move_party(&mut self, passage: &Passage, to: Party) {
        let call = self.calls.get_mut(passage.call.0);
        if let Some(party) = call.and_then(|c| c.party_mut(passage.from, passage.branch)) {
            *party = to;
        }
    }

    /// Whether nothing later has come from the sender: what is sent again by somebody else moves nobody.
    fn is_new(&mut self, passage: &Passage, request: &Message) -> bool {
        let callee_tag = match passage.from {
            Leg::Caller => request.to().tag(),
            Leg::Callee => request.from().tag(),
        };
        let call = self.calls.get_mut(passage.call.0);
        let branch = call.and_then(|call| call.branches.get_mut(passage.branch));
        let dialog = branch.zip(callee_tag).and_then(|(branch, tag)| branch.dialog_mut(tag));
        dialog.is_some_and(|dialog| request.cseq().number >= dialog.next_cseq(passage.from))
    }

    /// Whether the sender is who its From says: a trusted peer, a user's registered device, or somebody
    /// who knows the user's password.
    fn is_authentic(
        &mut self,
        now: Instant,
        arrival: &Arrival,
        request: &Message,
    ) -> Result<bool, Answer> {
        if self.config.is_trusted(arrival.remote.ip()) {
            return Ok(true);
        }
        let from = request.from();
        let uri = from.uri().ok().filter(|uri| self.addresses.is_served(&self.config, uri));
        let Some(user) = uri.and_then(|uri| uri.user_unescaped()) else { return Ok(false) };
        if !self.registrar.exists(&user) {
            return Ok(false);
        }
        if self.registrar.has_flow(now, &user, arrival) {
            return Ok(true);
        }
        if self.registrar.is_open() {
            return Ok(false);
        }
        // What ends a call, or goes on in it, is not held up.
        let may_be_asked = matches!(request.method(), Method::Invite | Method::Update);
        if !may_be_asked && !request.has(HeaderName::ProxyAuthorization) {
            return Ok(false);
        }
        match self.authenticate(now, Scheme::Proxy, arrival, request) {
            Ok(name) => Ok(name == user),
            Err(challenge) if may_be_asked => Err(challenge),
            Err(_) => Ok(false),
        }
    }

    /// RFC 5627 5.1: a GRUU means the device, wherever it has registered since.
    fn found_by_gruu(&self, now: Instant, uri: &Uri<'_>, known: &Party) -> Option<Party> {
        if !self.addresses.is_served(&self.config, uri) {
            return None;
        }
        let user = uri.user_unescaped()?;
        let Lookup::Bindings(bindings) = self.look_for(now, &user, uri) else { return None };
        let is_direct = |binding: &&&Binding| binding.path.is_none() && !binding.flow_lost;
        let mut parties = bindings.iter().filter(is_direct).map(|binding| contact(binding).party);
        let first = parties.next()?;
        // One of its flows is as good as another.
        let is_known = |party: &Party| is_same_way(&party.flow, &known.flow);
        (!is_known(&first) && !parties.any(|party| is_known(&party))).then_some(first)
    }

    /// The other party where it is now, if it is named by its GRUU, or if its connection has closed and it has registered the Contact
    /// that `uri` names anew.
    pub(super) fn found_anew(
        &self,
        now: Instant,
        request: &Message,
        uri: &Uri<'_>,
        known: &Party,
    ) -> Option<Party> {
        if !known.adjacent {
            return None;
        }
        if uri.params().has("gr") {
            return self.found_by_gruu(now, uri, known);
        }
        let is_open = |connection| self.may_be_open(connection);
        if !self.closed.has(&known.flow) && known.flow.connection.is_none_or(is_open) {
            return None;
        }
        let to = request.to();
        let user = to.uri().ok().filter(|uri| self.addresses.is_served(&self.config, uri))?;
        let binding = self.registrar.lookup_contact(now, &user.user_unescaped()?, uri)?;
        Some(contact(binding).party)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At the bound the oldest is forgotten, and no more are kept.
    #[test]
    fn as_many_closed_connections_are_remembered_as_there_is_room_for() {
        let mut closed = Closed::default();
        for id in 0..=CLOSED_MAX as u64 {
            closed.note(ConnectionId(id));
            closed.note(ConnectionId(id));
        }
        assert_eq!((closed.known.len(), closed.order.len()), (CLOSED_MAX, CLOSED_MAX));
        assert!(
            !closed.known.contains(&ConnectionId(0)) && closed.known.contains(&ConnectionId(1))
        );
    }
}
