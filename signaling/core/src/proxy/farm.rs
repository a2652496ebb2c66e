//! This node as a member of a farm: whose a message is, and what members send each other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::addresses::Addresses;
use super::config::Config;
use super::failures::RETRY_AFTER;
use super::flow_token::FlowTokens;
use super::inbound::{ALLOW, Answer};
use super::output::Output;
use super::unanswered::lost;
use super::{Load, Proxy};
use crate::farm::membership::Standing;
use crate::farm::{
    Decision, Errand, Facts, Farm, History, Home, Identity, MemberId, PeerState, Refusal, Secrets,
    View, Why, decide,
};
use crate::registrar::Replica;
use crate::transaction::Transactions;
use crate::transaction::arrival::reply_target;
use crate::transport::{Arrival, ConnectionId, ListenerId, Target, Transmit, Transport};
use crate::wire::{HeaderName, Message, ResponseBuilder, Uri};

/// What a member of a farm wants done besides.
#[derive(Clone, Debug, PartialEq)]
pub enum FarmOutput {
    /// Give this message to another member, whose [`Proxy::handle_relayed`] it is for.
    ///
    /// Where it cannot be given to it, [`Proxy::handle_unrelayed`] is told; of what members have written to
    /// connections of this one, [`Proxy::handle_written`]; of connections to members, [`Proxy::handle_met`].
    Relay(Relay),
    /// Have a member of the farm send this from its own listeners (S22).
    SendOut {
        /// Who sends it.
        by: Identity,
        /// The message; of its way, the transport, the remote address and the name count.
        transmit: Transmit,
    },
    /// Ask a member what it knows of a user's registrations: what its [`Proxy::registrations_of`] says comes back
    /// through [`Proxy::handle_told`], or nothing does.
    Ask {
        /// Whom.
        of: Identity,
        /// The user.
        user: Arc<str>,
        /// Goes back with the answer.
        token: u64,
    },
    /// Tell all other members: it is for their [`Proxy::handle_replicated`].
    Replicate(Bytes),
    /// Tell a member, or all others, of calls whose users are watched: it is for their
    /// [`Proxy::handle_calls`]. What one member is told comes in its order.
    Calls {
        /// Whom; `None`: all others.
        to: Option<MemberId>,
        /// What.
        bytes: Bytes,
    },
}

/// A part of all registrations ([`Proxy::registrations_chunk`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// For the other member's [`Proxy::handle_replicated`].
    pub bytes: Bytes,
    /// What the next part follows; `None`: this was the last one.
    pub next: Option<Arc<str>>,
}

/// Most users of one part. A user has ten bindings of some 3 kB at most unless settings allow more; a
/// usual one has one or two of 200 bytes, so that a part has some 16 kB.
const CHUNK_USERS_MAX: usize = 64;

/// A message for another member.
#[derive(Clone, Debug, PartialEq)]
pub struct Relay {
    /// Who gets it.
    pub to: Identity,
    /// What it is to do with it.
    pub errand: Errand,
    /// How it came to this node.
    pub arrival: Arrival,
    /// The message as it came.
    pub bytes: Bytes,
}

/// A listener that there is not: of what only another member's socket leads to.
pub(super) const NO_LISTENER: ListenerId = ListenerId(u16::MAX);

/// What the router asks of this node.
struct Own<'p> {
    transactions: &'p mut Transactions,
    addresses: &'p Addresses,
    config: &'p Config,
}

impl Home for Own<'_> {
    fn knows(&mut self, message: &Message) -> bool {
        message.is_request() && self.transactions.knows(message)
    }

    fn serves(&mut self, uri: &Uri<'_>) -> bool {
        self.addresses.is_served(self.config, uri)
    }
}

impl Proxy {
    /// This node becomes a member of a farm, in this life of it, or gets other secrets. Nothing that it wrote
    /// before it was one is known again. Without this nothing of a farm is done.
    ///
    /// One that was a member before, and was taken for dead, has another life of it: it keeps what it had begun
    /// and knows it again.
    pub fn set_farm(&mut self, own: Identity, secrets: &Secrets) {
        let mut farm = Farm::new(own, secrets);
        let before = self.farm.take();
        let lives_on = before.as_ref().is_some_and(|before| before.membership.own() != own);
        if let Some(mut before) = before {
            farm.counters = before.counters;
            before.membership.live_on(own);
            farm.membership = before.membership;
        }
        self.registrar.share(own.member, &secrets.lasting);
        self.events.share();
        if lives_on {
            self.registrar.tell_flows_of(own.member);
        }
        self.flow_tokens = FlowTokens::of_farm(own, secrets);
        self.farm = Some(Box::new(farm));
    }

    /// The members as they are now. Does nothing for a node that is none.
    pub fn set_membership(&mut self, now: Instant, view: View) {
        let Some(farm) = &mut self.farm else { return };
        let before: Vec<Identity> =
            farm.membership.members().iter().map(|member| member.identity).collect();
        farm.membership.update(now, view);
        let membership = &farm.membership;
        let members = membership.members();
        self.addresses.set_cluster(members);
        let is_gone = |identity: &Identity| membership.standing(*identity) == Standing::Gone;
        for Identity { member, incarnation } in before.into_iter().filter(is_gone) {
            // The low bits of its life are what connections carry.
            self.registrar.remove_flows_of(member.get(), incarnation.0 as u16);
        }
        self.answer_for_the_dead(now);
        self.share_calls(now);
        self.process_events(now);
    }

    /// Registrations that have changed at another member, or a part of all of them. Says how many users'
    /// were taken over; the others are known by later ones, or there is no room.
    pub fn handle_replicated(&mut self, now: Instant, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        let mut taken = 0;
        while let Some(mut replica) = Replica::read(&mut rest) {
            replica.adopt(|arrival| self.adopt_arrival(arrival));
            taken += usize::from(self.registrar.take_copy(now, replica));
        }
        self.process_events(now);
        taken
    }

    /// The registrations of some users, in order, that follow those of `after`: what a member that has
    /// just come is told, part by part.
    #[must_use]
    pub fn registrations_chunk(&self, now: Instant, after: Option<&str>) -> Chunk {
        let replicas = self.registrar.copies(now, after, CHUNK_USERS_MAX);
        let mut bytes = Vec::new();
        replicas.iter().for_each(|replica| replica.write(&mut bytes));
        let next = replicas.last().filter(|_| replicas.len() == CHUNK_USERS_MAX);
        Chunk { bytes: bytes.into(), next: next.map(|last| last.aor.clone()) }
    }

    /// Who took what is new before, for a member that has just come: see [`Proxy::handle_history`].
    #[must_use]
    pub fn history(&self, now: Instant) -> Bytes {
        let mut bytes = Vec::new();
        if let Some(farm) = &self.farm {
            farm.membership.history(now).write(&mut bytes);
        }
        bytes.into()
    }

    /// Another member tells a new one what took place before it came: without it, repetitions of what was begun
    /// by then would find nobody (B3).
    pub fn handle_history(&mut self, now: Instant, bytes: &[u8]) {
        if let (Some(farm), Some(history)) = (&mut self.farm, History::read(bytes)) {
            farm.membership.learn(now, history);
        }
    }

    /// Says to members that can be reached now whose calls are watched here; of the others, calls are over.
    fn share_calls(&mut self, now: Instant) {
        let Some(farm) = &self.farm else { return };
        if self.events.tells_calls() {
            let own = farm.membership.own().member;
            let members = farm.membership.members().iter();
            let there = members
                .filter(|member| member.state != PeerState::Down && member.identity.member != own);
            let there = there.map(|member| member.identity.member).collect();
            self.events.members_are(now, &self.registrar, &there);
        }
    }

    /// What another member tells of calls that are watched here, or asks to be told of.
    pub fn handle_calls(&mut self, now: Instant, from: MemberId, bytes: &[u8]) {
        self.events.handle_words(now, &self.registrar, from, bytes);
        self.process_events(now);
    }

    /// Tells the other members what has changed of registrations, and of calls that they watch.
    pub(super) fn tell_members(&mut self, now: Instant) {
        if self.farm.is_none() {
            return;
        }
        while let Some(replica) = self.registrar.poll_copy(now) {
            let mut bytes = Vec::with_capacity(256);
            replica.write(&mut bytes);
            let output = FarmOutput::Replicate(bytes.into());
            self.outputs.push_back(Output::Farm(Box::new(output)));
        }
        while let Some((to, bytes)) = self.events.poll_words() {
            let output = FarmOutput::Calls { to, bytes };
            self.outputs.push_back(Output::Farm(Box::new(output)));
        }
    }

    /// What the router knows; `None`: this node is no member of a farm.
    #[must_use]
    pub fn farm(&self) -> Option<&Farm> {
        self.farm.as_deref()
    }

    /// The node takes nothing new from now on and goes on with what it has (B4). What is new goes to other
    /// members of its farm, or is answered 503 where nobody takes it. Subscribers are told to subscribe
    /// anew, which they do elsewhere.
    pub fn handle_drain(&mut self, now: Instant) {
        self.draining = true;
        if let Some(farm) = &mut self.farm {
            farm.membership.drain(now);
        }
        self.events.stop(now, &self.registrar);
        self.process_events(now);
    }

    /// Whether the node drains and has nothing left to do: no call, no transaction that might be asked for
    /// again, nothing that waits for the relay.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.draining && self.load() == Load::default()
    }

    /// A message has come from outside and may be taken, as far as the guard is concerned.
    pub(super) fn take_message(&mut self, now: Instant, arrival: Arrival, message: Message) {
        if self.farm.is_none() {
            return self.admit(now, arrival, message);
        }
        self.route_message(now, arrival, message, None, 0);
    }

    /// A message from another member, which it has sent for this reason.
    pub fn handle_relayed(
        &mut self,
        now: Instant,
        from: Identity,
        errand: Errand,
        arrival: Arrival,
        bytes: Bytes,
    ) {
        let arrival = self.adopt_arrival(arrival);
        // It has been read where it came from: only another version could read it otherwise.
        if let Ok(message) = Message::parse_datagram(bytes) {
            match errand.why {
                Why::Returned if self.take_back(&arrival, &message) => {
                    self.refuse_at_once(now, &arrival, &message, &lost());
                }
                Why::Returned => {
                    self.route_message(now, arrival, message, None, errand.asked);
                }
                Why::Pinned | Why::Named | Why::Spread | Why::Asked => {
                    self.route_message(now, arrival, message, Some((from, errand)), 0);
                }
            }
        }
        self.process_events(now);
    }

    pub(super) fn route_message(
        &mut self,
        now: Instant,
        arrival: Arrival,
        message: Message,
        relayed: Option<(Identity, Errand)>,
        asked: u8,
    ) {
        let Some(farm) = &mut self.farm else { return };
        let (transactions, addresses) = (&mut self.transactions, &self.addresses);
        let mut own = Own { transactions, addresses, config: &self.config };
        let facts = Facts {
            reliable: arrival.transport.is_reliable(),
            relayed: relayed.map(|(_, errand)| errand.why),
            asked,
        };
        let decision = decide(now, farm, &mut own, facts, &message);
        farm.counters.note(&decision);
        match decision {
            Decision::Here => self.admit(now, arrival, message),
            Decision::Relay { to, why } => {
                self.note_relayed(now, to, arrival, &message);
                self.relay_to(to, Errand { why, asked }, arrival, &message);
            }
            Decision::Return => {
                if let Some((from, errand)) = relayed {
                    let asked = errand.asked.saturating_add(1);
                    let errand = Errand { why: Why::Returned, asked };
                    self.relay_to(from, errand, arrival, &message);
                }
            }
            Decision::Refuse(refusal) => {
                self.refuse_at_once(now, &arrival, &message, &refused(refusal));
            }
            Decision::Ping { ready } => {
                let answer = if ready {
                    Answer::new(200, "OK").with(HeaderName::Allow, ALLOW)
                } else {
                    nothing_new()
                };
                self.refuse_at_once(now, &arrival, &message, &answer);
            }
            Decision::Drop(_) => {}
        }
    }

    fn relay_to(&mut self, to: Identity, errand: Errand, arrival: Arrival, message: &Message) {
        let bytes = message.raw().clone();
        let relay = FarmOutput::Relay(Relay { to, errand, arrival, bytes });
        self.outputs.push_back(Output::Farm(Box::new(relay)));
    }

    /// Answers without a trace, as far as the guard allows.
    pub(super) fn refuse_at_once(
        &mut self,
        now: Instant,
        arrival: &Arrival,
        request: &Message,
        answer: &Answer,
    ) {
        let Some(farm) = &self.farm else { return };
        let tag = format!("{:016x}", farm.spread.of_transaction(request));
        let mut response = ResponseBuilder::new(request, answer.status, &*answer.reason);
        response.source(arrival.remote).to_tag(&tag);
        for (name, value) in &answer.headers {
            response.header(*name, value);
        }
        response.header(HeaderName::Server, &self.config.server_name);
        let bytes = response.finish();
        if self.may_answer(now, arrival, request.raw().len(), bytes.len()) {
            self.transmit(reply_target(arrival, request), bytes);
        }
    }

    /// How a message that came to another member is answered from here: from the same local address where
    /// this host has it, else by a listener of the same transport (S38).
    pub(super) fn adopt_arrival(&mut self, arrival: Arrival) -> Arrival {
        let target = self.adopt(arrival.reply());
        Arrival { listener: target.listener, local: target.local, ..arrival }
    }

    /// The way that another member has to a peer, as one of this node's. What is on a connection stays so.
    pub(super) fn adopt(&mut self, target: Target) -> Target {
        if target.connection.is_some_and(|connection| self.is_own_connection(connection)) {
            // Others number listeners in their own way, and may have none where this one came to.
            let listener = self.listener_like(target.transport, target.local);
            return Target { listener: listener.unwrap_or(target.listener), ..target };
        }
        // What came by way of a farm member goes back by way of it.
        if self.relays() && target.connection.is_none() {
            return Target { listener: NO_LISTENER, ..target };
        }
        let own = self.addresses.listener_at(&self.config, target.transport, target.local);
        let (listener, local) = match own {
            Some(listener) => (listener, target.local),
            // What is said to a peer names the address that it is connected to, whoever has that.
            None if target.connection.is_some() => (NO_LISTENER, target.local),
            None => self
                .addresses
                .target(&self.config, target.transport, target.remote, None)
                .map_or((NO_LISTENER, target.local), |own| (own.listener, own.local)),
        };
        Target { listener, local, ..target }
    }

    /// The listener at that address, or one of its kind: any of them knows every connection of its transport.
    fn listener_like(&self, transport: Transport, local: SocketAddr) -> Option<ListenerId> {
        let at = self.addresses.listener_at(&self.config, transport, local);
        at.or_else(|| {
            let mut listeners = self.config.listeners.iter();
            let place = listeners.position(|listener| listener.transport == transport)?;
            u16::try_from(place).ok().map(ListenerId)
        })
    }

    /// The way that a flow token of another member names; `None` if it leads nowhere any more.
    pub(super) fn take_over(&mut self, flow: Target) -> Option<Target> {
        match flow.connection {
            Some(connection) if !self.may_be_open(connection) => None,
            // The number of the name is the other's: nothing can be opened by it, and nothing need be.
            Some(_) => Some(self.adopt(Target { name: None, ..flow })),
            None if flow.name.is_some() => None,
            None => Some(self.adopt(flow)).filter(|flow| flow.listener != NO_LISTENER),
        }
    }

    /// Whether a connection is of this node's own transports.
    pub(super) fn is_own_connection(&self, connection: ConnectionId) -> bool {
        let own = self.farm.as_ref().map(|farm| farm.membership.own());
        let own = own.map_or(0, |own| own.member.get());
        connection.member() == own || connection.member() == 0
    }

    /// Whether a connection may be there still: it is this node's, or that of a life of a member that
    /// goes on.
    pub(super) fn may_be_open(&self, connection: ConnectionId) -> bool {
        let (Some(farm), Some(id)) = (&self.farm, MemberId::new(connection.member())) else {
            return true;
        };
        let membership = &farm.membership;
        let is_there = |identity: Identity| {
            matches!(membership.standing(identity), Standing::Own | Standing::Reachable)
        };
        // Connections carry the low bits of the life that they began in.
        let mut lives = membership.lives_of(id);
        lives.any(|identity| {
            identity.incarnation.0 as u16 == connection.life() && is_there(identity)
        })
    }
}

pub(super) fn refused(refusal: Refusal) -> Answer {
    match refusal {
        Refusal::Gone => Answer::new(481, "Call/Transaction Does Not Exist"),
        Refusal::Unreachable => Answer::new(503, "Owner Of Dialog Not Reachable")
            .with(HeaderName::RetryAfter, RETRY_AFTER),
        Refusal::NobodyTakes => nothing_new(),
    }
}

fn nothing_new() -> Answer {
    Answer::new(503, "No Member Takes New Requests").with(HeaderName::RetryAfter, RETRY_AFTER)
}
