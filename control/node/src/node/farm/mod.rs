//! The farm's side of the signaling thread: what other members send goes into the proxy core, and what is
//! for them goes out over the mesh. A node that is no member has none of it.

mod arrival;
mod copies;
mod figures;
mod link;
mod words;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use control_core::cluster::{Incarnate, MemberId, TokenKeys};
use control_core::mesh::{
    Body, Closed, ClusterSecret, Frame, Hello, Registrations, SendOut, Sip, SyncStep,
};
use signaling_core::farm::{self, Membership, PeerState, Secrets};
use signaling_core::proxy::Proxy;
use signaling_core::proxy::farm::FarmOutput;
use signaling_core::transport::{ConnectionId, ListenerId, Target, Transmit, Transport};
use signaling_net::Transports;

use crate::cluster::mesh::{Inbox, MeshEvent, MeshHandle, Pump, SendError};
use arrival::Arrival;
use copies::Copies;
pub(crate) use figures::FarmFigures;
use figures::place;
pub(crate) use link::Link;
use link::Stand;
use words::Peer;
pub(in crate::node) use words::derive;

/// What makes a node a member: what the farm's side of the signaling thread is made of.
pub(crate) struct FarmParts {
    /// Where this member stands; its own number is known from the start.
    pub(crate) link: Arc<Link>,
    /// To the other members.
    pub(crate) mesh: MeshHandle,
    /// From them.
    pub(crate) inbox: Inbox,
    /// What all members know.
    pub(crate) secret: ClusterSecret,
}

/// Whom the end of a connection of this member is told to: they have been given messages of it.
type Told = Vec<MemberId>;

pub(super) struct FarmSide {
    parts: FarmParts,
    pump: Pump,
    secrets: Secrets,
    /// The start of the member that the proxy core has been told of last.
    life: Option<Incarnate>,
    stand: Stand,
    peers: BTreeMap<MemberId, Peer>,
    /// By connections that are open; so there are as many of them, times the members.
    told: HashMap<ConnectionId, Told>,
    copies: Copies,
    arrival: Arrival,
    events: Vec<MeshEvent>,
    /// What goes to other members when this turn's work is done.
    out: Vec<(MemberId, Frame)>,
    /// Ways over other members that have failed.
    failed: Vec<Target>,
    /// Messages that no other member was there to send.
    unsent: Vec<(Target, Bytes)>,
    /// Requests that a member could not be given.
    unrelayed: Vec<(signaling_core::transport::Arrival, Bytes)>,
    /// Members that there is a new connection to.
    met: Vec<MemberId>,
    /// The listeners, by their places.
    listeners: Vec<(Transport, SocketAddr)>,
    figures: FarmFigures,
    /// As it was said last.
    has_no_exit: bool,
}

impl FarmSide {
    pub(super) fn new(parts: FarmParts, listeners: Vec<(Transport, SocketAddr)>) -> FarmSide {
        FarmSide {
            secrets: words::secrets(&parts.secret, &TokenKeys::default()),
            life: None,
            pump: Pump::new(&parts.mesh),
            parts,
            stand: Stand::default(),
            peers: BTreeMap::new(),
            told: HashMap::new(),
            copies: Copies::default(),
            arrival: Arrival::default(),
            events: Vec::new(),
            out: Vec::new(),
            failed: Vec::new(),
            unsent: Vec::new(),
            unrelayed: Vec::new(),
            met: Vec::new(),
            listeners,
            figures: FarmFigures::default(),
            has_no_exit: false,
        }
    }

    pub(super) fn figures(&self, proxy: &Proxy) -> FarmFigures {
        let figures = FarmFigures { copies: self.copies.taken, ..self.figures };
        figures.standing(proxy.farm())
    }

    /// Waits until another member has sent something. Cancel-safe.
    pub(super) async fn readable(&self) {
        self.pump.readable().await;
    }

    /// Reads what other members are known to have sent, for [`FarmSide::take`].
    pub(super) fn read_ready(&mut self) {
        self.pump.read_ready();
    }

    /// As [`FarmSide::read_ready`], without the runtime's knowing: whether there is something. `false`, too,
    /// where there are so many members that it is better asked.
    pub(super) fn read_now(&mut self) -> bool {
        if !self.pump.is_small() {
            return false;
        }
        self.pump.read_now();
        !self.parts.inbox.is_empty()
    }

    /// Takes what other members have sent and what has become of them: how many messages that were.
    pub(super) fn take(
        &mut self,
        now: Instant,
        proxy: &mut Proxy,
        transports: &mut Transports,
    ) -> usize {
        let mut has_changed = false;
        let mut messages = 0;
        if let Some(stand) = self.parts.link.take() {
            self.stand_now(stand, proxy, transports);
            has_changed = true;
        }
        let mut events = std::mem::take(&mut self.events);
        self.parts.inbox.drain(&mut events);
        for event in events.drain(..) {
            match event {
                MeshEvent::Frame(from, frame) => {
                    messages += 1;
                    // What was said after a change is judged by what is so after it.
                    if std::mem::take(&mut has_changed) {
                        self.set_membership(now, proxy);
                    }
                    self.take_frame(now, proxy, transports, from, frame);
                }
                MeshEvent::PeerUp(hello) => {
                    self.peer_is(&hello, PeerState::Up);
                    self.met.push(hello.member.id);
                    let ask = self.copies.up(hello.member.id);
                    self.out.extend(ask);
                    has_changed = true;
                }
                MeshEvent::PeerChanged(hello) => {
                    let state = self.peers.get(&hello.member.id).map_or(PeerState::Up, |p| p.state);
                    self.peer_is(&hello, state);
                    has_changed = true;
                }
                MeshEvent::PeerSuspect(member) => {
                    has_changed |= self.set_state(member, PeerState::Suspect);
                }
                MeshEvent::PeerRecovered(member) => {
                    has_changed |= self.set_state(member, PeerState::Up);
                }
                MeshEvent::PeerDown { member, .. } => {
                    has_changed |= self.set_state(member, PeerState::Down);
                    let ask = self.copies.down(member);
                    self.out.extend(ask);
                }
                MeshEvent::PeerEpoch(..) => {}
            }
        }
        self.events = events;
        if has_changed {
            self.set_membership(now, proxy);
        }
        if self.stand.joining && self.arrival.is_over(&self.stand, &self.peers) {
            self.parts.link.copied();
        }
        messages
    }

    fn stand_now(&mut self, stand: Stand, proxy: &mut Proxy, transports: &mut Transports) {
        let has_new_keys = stand.token_keys != self.stand.token_keys;
        if has_new_keys {
            self.secrets = words::secrets(&self.parts.secret, &stand.token_keys);
        }
        let has_new_life = stand.own.is_some_and(|own| Some(own) != self.stand.own);
        self.life = stand.own.or(self.life);
        if let Some(own) = self.life.filter(|_| has_new_keys || has_new_life) {
            proxy.set_farm(words::identity(own), &self.secrets);
        }
        if let Some(own) = stand.own.filter(|_| has_new_life) {
            transports.set_member(own.id.get(), own.incarnation.0);
            self.arrive();
        }
        self.parts.link.reads(stand.token_keys.newest());
        self.stand = stand;
    }

    /// This process is another life of a member than before: what the others have told each other meanwhile it
    /// may not have heard.
    fn arrive(&mut self) {
        self.arrival = Arrival::default();
        let up = self.peers.iter().filter(|(_, peer)| peer.state == PeerState::Up);
        let asks: Vec<_> = up.filter_map(|(member, _)| self.copies.up(*member)).collect();
        self.out.extend(asks);
    }

    fn set_membership(&mut self, now: Instant, proxy: &mut Proxy) {
        if let Some(view) = &self.stand.view {
            let mut view = words::view(&self.stand, view, &self.peers);
            // It drains from the moment that it was told to, whatever the others know yet.
            let own = proxy.farm().map(|farm| &farm.membership);
            if let Some(own) = own.filter(|own| own.is_draining()).map(Membership::own) {
                let is_own = |member: &&mut farm::Member| member.identity == own;
                view.members.iter_mut().filter(is_own).for_each(|member| member.draining = true);
            }
            proxy.set_membership(now, view);
            let met = self.met.drain(..).filter_map(|id| farm::MemberId::new(id.get()));
            met.for_each(|member| proxy.handle_met(now, member));
            self.look_at_exit(proxy);
        }
    }

    /// Raises the alarm as soon as nobody sends for this member (S22), and says when that is over.
    fn look_at_exit(&mut self, proxy: &Proxy) {
        let has_no_exit = proxy.farm().is_some_and(|farm| farm.membership.has_no_exit());
        if has_no_exit == std::mem::replace(&mut self.has_no_exit, has_no_exit) {
            return;
        }
        if has_no_exit {
            tracing::warn!(
                "this member sends through farm members, and none is there: what it has to send is \
                 answered 503; look at `ringfarm members`, or set member.farm to \"auto\""
            );
        } else {
            tracing::warn!("what this member has to send can be sent again");
        }
    }

    fn peer_is(&mut self, hello: &Hello, state: PeerState) {
        let member = &hello.member;
        let draining = member.profile.draining;
        let joining = member.profile.joining;
        let peer = Peer { incarnation: member.incarnation, state, draining, joining };
        self.peers.insert(member.id, peer);
    }

    fn set_state(&mut self, member: MemberId, state: PeerState) -> bool {
        let Some(peer) = self.peers.get_mut(&member) else { return false };
        std::mem::replace(&mut peer.state, state) != state
    }

    fn take_frame(
        &mut self,
        now: Instant,
        proxy: &mut Proxy,
        transports: &mut Transports,
        from: MemberId,
        frame: Frame,
    ) {
        match frame {
            Frame::SipRelay(errand, sip) => self.take_relayed(now, proxy, from, errand, sip),
            Frame::Write(sip) => self.write_here(proxy, transports, from, sip),
            Frame::Closed(Closed { connection }) => {
                proxy.handle_closed(now, ConnectionId(connection));
            }
            Frame::Undelivered(hop, Body(bytes)) => {
                self.figures.undelivered += 1;
                match words::target(&hop) {
                    Some(target) if bytes.is_empty() => proxy.handle_transport_error(now, &target),
                    Some(target) => proxy.handle_unsent(now, &target, &bytes),
                    None => {}
                }
            }
            Frame::Registrations(Registrations(Body(bytes))) => {
                self.figures.replicas_in += proxy.handle_replicated(now, &bytes) as u64;
            }
            Frame::RegistrationSync(step, Body(bytes)) => {
                self.take_copy(now, proxy, from, step, &bytes);
            }
            Frame::Calls(Body(bytes)) => {
                if let Some(from) = farm::MemberId::new(from.get()) {
                    proxy.handle_calls(now, from, &bytes);
                }
            }
            Frame::SendOut(send) => self.send_for(proxy, from, send),
            // For others in this node.
            Frame::Hello(_)
            | Frame::Welcome(_)
            | Frame::Heartbeat(_)
            | Frame::View(_)
            | Frame::Request(_)
            | Frame::Reply(_)
            | Frame::Event(_)
            | Frame::Goodbye(_)
            | Frame::JoinAsk(_)
            | Frame::Grant(_)
            | Frame::JoinRefused(_) => {}
        }
    }

    fn take_relayed(
        &mut self,
        now: Instant,
        proxy: &mut Proxy,
        from: MemberId,
        errand: control_core::mesh::Errand,
        Sip { hop, bytes }: Sip,
    ) {
        let (Some(arrival), Some(peer)) = (words::arrival(&hop), self.peers.get(&from)) else {
            return;
        };
        let errand = words::errand_of(errand);
        self.figures.relayed_in[place(errand.why)] += 1;
        let from = words::identity(Incarnate { id: from, incarnation: peer.incarnation });
        proxy.handle_relayed(now, from, errand, arrival, bytes);
    }

    /// Writes to a connection of this member what another one has to say there.
    fn write_here(
        &mut self,
        proxy: &mut Proxy,
        transports: &mut Transports,
        from: MemberId,
        sip: Sip,
    ) {
        let Some(target) = words::target(&sip.hop) else { return };
        let own = target.connection.filter(|connection| !self.is_others(*connection));
        let listener = self.listener_of(target.transport, target.local);
        let (Some(connection), Some(listener)) = (own, listener) else {
            self.out.push((from, Frame::Undelivered(sip.hop, Body(Bytes::new()))));
            return;
        };
        self.figures.written_in += 1;
        self.tell_end_of(connection, from);
        proxy.handle_written(connection, &sip.bytes);
        let target = Target { listener, ..target };
        transports.send(Transmit { target, bytes: sip.bytes, server_name: None });
    }

    /// Sends what a member has to say that sends through others (S22).
    fn send_for(&mut self, proxy: &mut Proxy, from: MemberId, send: SendOut) {
        let SendOut { transport, remote, name, bytes } = send;
        let Some(transport) = words::transport(transport) else { return };
        self.figures.sent_for += 1;
        let name: Option<Arc<str>> = Some(name).filter(|name| !name.is_empty()).map(Into::into);
        if !proxy.handle_send_out(transport, remote, name.as_ref(), bytes.clone()) {
            let hop = words::hop(&words::way(transport, remote));
            self.out.push((from, Frame::Undelivered(hop, Body(bytes))));
        }
    }

    fn listener_of(&self, transport: Transport, local: SocketAddr) -> Option<ListenerId> {
        let of = |(_, (other, _)): &(usize, &(Transport, SocketAddr))| *other == transport;
        let mut candidates = self.listeners.iter().enumerate().filter(of);
        let exact = candidates.clone().find(|(_, (_, bound))| *bound == local);
        let like = |(_, (_, bound)): &(usize, &(Transport, SocketAddr))| {
            bound.is_ipv4() == local.is_ipv4()
        };
        let (place, _) = exact.or_else(|| candidates.find(like))?;
        u16::try_from(place).ok().map(ListenerId)
    }

    fn take_copy(
        &mut self,
        now: Instant,
        proxy: &mut Proxy,
        from: MemberId,
        step: SyncStep,
        bytes: &[u8],
    ) {
        match step.step {
            SyncStep::ASK => self.give_copy(now, proxy, from, step),
            SyncStep::LOOK => {
                let user = std::str::from_utf8(bytes).unwrap_or_default();
                let told = Body(proxy.registrations_of(now, user));
                let step = SyncStep { step: SyncStep::TOLD, ..step };
                self.out.push((from, Frame::RegistrationSync(step, told)));
            }
            SyncStep::TOLD => {
                self.figures.replicas_in += proxy.handle_told(now, step.copy, bytes) as u64;
            }
            SyncStep::HISTORY => proxy.handle_history(now, bytes),
            _ if self.copies.is_awaited(from, step) => {
                self.figures.replicas_in += proxy.handle_replicated(now, bytes) as u64;
                if step.step == SyncStep::LAST {
                    self.arrival.copied(from);
                }
                let ask = self.copies.took(step);
                self.out.extend(ask);
            }
            _ => {}
        }
    }

    fn give_copy(&mut self, now: Instant, proxy: &Proxy, from: MemberId, step: SyncStep) {
        let Some(after) = self.copies.asks(from, step) else { return };
        if step.part == 0 {
            let history = Body(proxy.history(now));
            let step = SyncStep { step: SyncStep::HISTORY, ..step };
            self.out.push((from, Frame::RegistrationSync(step, history)));
        }
        let chunk = proxy.registrations_chunk(now, after.as_deref());
        let given = self.copies.give(from, step, chunk.bytes, chunk.next);
        self.out.push((from, given));
    }

    /// Whether a connection is another member's.
    fn is_others(&self, connection: ConnectionId) -> bool {
        let own = self.stand.own.map_or(0, |own| own.id.get());
        connection.member() != 0 && connection.member() != own
    }

    /// Whether only another member can send to `target`.
    pub(super) fn is_way_of_others(&self, target: &Target) -> bool {
        target.connection.is_some_and(|connection| self.is_others(connection))
    }

    /// Has another member write to its connection.
    pub(super) fn write(&mut self, transmit: Transmit) {
        let Transmit { target, bytes, server_name: _ } = transmit;
        let owner = target.connection.map_or(0, ConnectionId::member);
        let Some(owner) = MemberId::new(owner) else { return };
        self.figures.written_out += 1;
        self.out.push((owner, Frame::Write(Sip { hop: words::hop(&target), bytes })));
    }

    /// Carries out what the proxy core wants of other members.
    pub(super) fn put(&mut self, output: FarmOutput) {
        match output {
            FarmOutput::Relay(relay) => {
                let Some(to) = MemberId::new(relay.to.member.get()) else { return };
                if let Some(connection) = relay.arrival.connection
                    && !self.is_others(connection)
                {
                    self.tell_end_of(connection, to);
                }
                self.figures.relayed_out[place(relay.errand.why)] += 1;
                let sip = Sip { hop: words::hop(&relay.arrival.reply()), bytes: relay.bytes };
                self.out.push((to, Frame::SipRelay(words::errand(relay.errand), sip)));
            }
            FarmOutput::SendOut { by, transmit } => self.send_out(by.member.get(), transmit),
            FarmOutput::Ask { of, user, token } => {
                let Some(of) = MemberId::new(of.member.get()) else { return };
                let step = SyncStep { copy: token, part: 0, step: SyncStep::LOOK };
                let user = Body(Bytes::copy_from_slice(user.as_bytes()));
                self.out.push((of, Frame::RegistrationSync(step, user)));
            }
            FarmOutput::Replicate(bytes) => {
                self.figures.replicas_out += 1;
                self.send_all(&Frame::Registrations(Registrations(Body(bytes))));
            }
            FarmOutput::Calls { to: None, bytes } => self.send_all(&Frame::Calls(Body(bytes))),
            FarmOutput::Calls { to: Some(to), bytes } => {
                let Some(to) = MemberId::new(to.get()) else { return };
                self.out.push((to, Frame::Calls(Body(bytes))));
            }
        }
    }

    /// Tells all others, in the order in which the core has said it.
    fn send_all(&mut self, frame: &Frame) {
        self.flush_out();
        self.pump.send_all(frame);
    }

    /// Has a member of the farm send from its own listeners (S22).
    fn send_out(&mut self, by: u16, transmit: Transmit) {
        let Some(by) = MemberId::new(by) else { return };
        let Transmit { target, bytes, server_name } = transmit;
        self.figures.sent_out += 1;
        let out = SendOut {
            transport: words::number(target.transport),
            remote: target.remote,
            name: server_name.as_deref().unwrap_or_default().to_owned(),
            bytes,
        };
        self.out.push((by, Frame::SendOut(out)));
    }

    fn tell_end_of(&mut self, connection: ConnectionId, to: MemberId) {
        let told = self.told.entry(connection).or_default();
        if !told.contains(&to) {
            told.push(to);
        }
    }

    /// A connection of this member has ended.
    pub(super) fn closed(&mut self, connection: ConnectionId) {
        for member in self.told.remove(&connection).unwrap_or_default() {
            self.out.push((member, Frame::Closed(Closed { connection: connection.0 })));
        }
    }

    /// A message was not sent: it may have been another member's.
    pub(super) fn send_failed(&mut self, target: &Target) {
        let told = target.connection.and_then(|connection| self.told.get(&connection));
        for member in told.into_iter().flatten() {
            let undelivered = Frame::Undelivered(words::hop(target), Body(Bytes::new()));
            self.out.push((*member, undelivered));
        }
    }

    /// Has what was said to other members written.
    pub(super) fn write_out(&mut self) {
        self.pump.flush();
    }

    /// Says what is for other members. Whether the proxy core has been told of failures, and may have more
    /// to say.
    pub(super) fn flush(&mut self, now: Instant, proxy: &mut Proxy) -> bool {
        self.flush_out();
        let failed = std::mem::take(&mut self.failed);
        failed.iter().for_each(|target| proxy.handle_transport_error(now, target));
        let unsent = std::mem::take(&mut self.unsent);
        unsent.iter().for_each(|(target, bytes)| proxy.handle_unsent(now, target, bytes));
        let unrelayed = std::mem::take(&mut self.unrelayed);
        let has_more = !failed.is_empty() || !unsent.is_empty() || !unrelayed.is_empty();
        for (arrival, bytes) in unrelayed {
            proxy.handle_unrelayed(now, arrival, bytes);
        }
        has_more
    }

    fn flush_out(&mut self) {
        if self.out.is_empty() {
            return;
        }
        for (to, frame) in self.out.drain(..) {
            let Err(error) = self.pump.send(to, &frame) else { continue };
            // What is not SIP need not be told again: a new connection compares what both have.
            tracing::debug!(member = %to, %error, "not sent to another member");
            if frame.is_sip() {
                self.figures.relay_failed += 1;
            }
            if let Frame::SipRelay(_, sip) = &frame {
                match error {
                    // It is told as soon as that member is down, or there again.
                    SendError::NotConnected => {}
                    SendError::Full | SendError::TooLong => {
                        let arrival = words::arrival(&sip.hop);
                        self.unrelayed.extend(arrival.map(|arrival| (arrival, sip.bytes.clone())));
                    }
                }
            }
            if let Frame::Write(sip) = &frame {
                // Whoever sends it is told, as of a connection of this member's own.
                self.failed.extend(words::target(&sip.hop));
            }
            if let Frame::SendOut(send) = &frame {
                let way = words::way_to(send).map(|way| (way, send.bytes.clone()));
                self.unsent.extend(way);
            }
        }
    }
}
