//! Server transactions: requests that were received.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::arrival::{reply_target, stamped};
use super::hash::Plain;
use super::index::Index;
use super::machine::{
    Action, Actions, Class, InviteServer, PlainServer, State, Timer, invite_server, plain_server,
};
use super::peers::Place;
use super::shared::{Due, Shared, Timers, Tx};
use super::{Config, Event, ServerTx, Timing, build};
use crate::overload::Admission;
use crate::table::{Key, Table};
use crate::transport::{Arrival, Target};
use crate::wire::{Message, Method, Reply};

#[derive(Debug)]
enum Machine {
    Invite(InviteServer),
    Plain(PlainServer),
}

/// What happens to a server transaction of either kind.
#[derive(Clone, Copy, Debug)]
enum Input {
    Retransmission,
    Ack,
    Respond(Class),
    Timer(Timer),
    TransportError,
}

impl Machine {
    fn start(method: &Method, timing: &Timing, reliable: bool) -> (Machine, Actions) {
        if *method == Method::Invite {
            let (machine, actions) = InviteServer::start(timing, reliable);
            (Machine::Invite(machine), actions)
        } else {
            let (machine, actions) = PlainServer::start(timing, reliable);
            (Machine::Plain(machine), actions)
        }
    }

    const fn state(&self) -> State {
        match self {
            Machine::Invite(machine) => machine.state(),
            Machine::Plain(machine) => machine.state(),
        }
    }

    fn handle(&mut self, timing: &Timing, input: Input) -> Actions {
        match self {
            Machine::Invite(machine) => machine.handle(
                timing,
                match input {
                    Input::Retransmission => invite_server::Input::Retransmission,
                    Input::Ack => invite_server::Input::Ack,
                    Input::Respond(class) => invite_server::Input::Respond(class),
                    Input::Timer(timer) => invite_server::Input::Timer(timer),
                    Input::TransportError => invite_server::Input::TransportError,
                },
            ),
            Machine::Plain(machine) => machine.handle(
                timing,
                match input {
                    Input::Retransmission => plain_server::Input::Retransmission,
                    // An ACK is looked for among INVITEs alone.
                    Input::Ack => return Actions::new(),
                    Input::Respond(class) => plain_server::Input::Respond(class),
                    Input::Timer(timer) => plain_server::Input::Timer(timer),
                    Input::TransportError => plain_server::Input::TransportError,
                },
            ),
        }
    }
}

/// The To tags of a transaction whose peer follows RFC 2543 (RFC 3261 17.2.3).
#[derive(Debug, Default)]
struct LegacyTags {
    /// That of the request; a retransmission or CANCEL has the same.
    request: Option<Box<str>>,
    /// That of the last response; the ACK has the same.
    response: Option<Box<str>>,
}

#[derive(Debug)]
struct Server {
    machine: Machine,
    target: Target,
    /// The last response, which is sent again when the request is.
    last: Bytes,
    legacy: Option<Box<LegacyTags>>,
    timers: Timers,
    /// Set as soon as the transaction has a name, until its peer has failed.
    place: Option<Place>,
    hash: u64,
    key: Box<[u8]>,
    /// What a merged request has in common with it.
    merge: Option<u64>,
}

impl Server {
    /// Whether `request`, whose key is the same, belongs to this transaction by its To tag.
    fn fits(&self, request: &Message) -> bool {
        let Some(tags) = &self.legacy else { return true };
        let tag = request.to().tag();
        match &tags.response {
            Some(response) if *request.method() == Method::Ack => tag == Some(response),
            Some(_) | None => tag == tags.request.as_deref(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Servers {
    table: Table<Server>,
    index: Index,
    /// How many transactions a merged request has something in common with.
    merges: HashMap<u64, u32, Plain>,
    retry_after: Duration,
}

impl Servers {
    pub(super) fn new(config: &Config) -> Self {
        Servers {
            table: Table::new(config.servers_max),
            index: Index::default(),
            merges: HashMap::with_hasher(Plain),
            retry_after: config.retry_after,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) const fn limit(&self) -> usize {
        self.table.limit()
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        self.index.len() + self.merges.len()
    }

    pub(super) fn state(&self, tx: ServerTx) -> Option<State> {
        self.table.get(tx.0).map(|server| server.machine.state())
    }

    pub(super) fn handle_request(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        arrival: Arrival,
        request: Message,
        admit: impl FnOnce(&Message, u64) -> Admission,
    ) {
        if *request.method() == Method::Ack {
            self.handle_ack(shared, now, arrival, request);
            return;
        }
        let legacy = shared.keys.server(&request, request.method());
        if let Some(key) = self.find(shared, &request) {
            shared.counters.absorbed += 1;
            self.handle(shared, now, ServerTx(key), Input::Retransmission);
            return;
        }
        match admit(&request, shared.keys.hash()) {
            Admission::Take if self.table.len() >= self.limit() => {
                shared.counters.refused += 1;
                if shared.may_refuse(now) {
                    refuse(shared, &arrival, &request, self.retry_after);
                }
                shared.events.push_back(Event::Refused { arrival, request });
            }
            Admission::Take => self.take(shared, now, arrival, request, legacy),
            Admission::Refuse { retry_after } => refuse(shared, &arrival, &request, retry_after),
            Admission::Drop => {}
        }
    }

    fn handle_ack(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        arrival: Arrival,
        request: Message,
    ) {
        shared.keys.server(&request, &Method::Invite);
        let invite = self.find(shared, &request);
        let actions = invite.and_then(|key| {
            let machine = &mut self.table.get_mut(key)?.machine;
            Some(machine.handle(&shared.timing, Input::Ack))
        });
        match (invite, actions) {
            (Some(key), Some(actions)) if !actions.contains(&Action::Pass) => {
                shared.counters.absorbed += 1;
                self.run(shared, now, ServerTx(key), actions, None);
            }
            (Some(_) | None, Some(_) | None) => {
                shared.counters.unmatched += 1;
                let request = stamped(&arrival, request);
                shared.events.push_back(Event::Ack { arrival, request });
            }
        }
    }

    pub(super) fn knows(&self, shared: &mut Shared, request: &Message) -> bool {
        let refers = matches!(request.method(), Method::Ack | Method::Cancel);
        shared.keys.server(request, if refers { &Method::Invite } else { request.method() });
        if self.find(shared, request).is_some() {
            return true;
        }
        if *request.method() != Method::Cancel {
            return false;
        }
        shared.keys.server(request, request.method());
        self.find(shared, request).is_some()
    }

    /// The transaction with the key last made, if `request` belongs to it.
    fn find(&self, shared: &Shared, request: &Message) -> Option<Key> {
        let wanted = shared.keys.bytes();
        self.index.find(shared.keys.hash(), |key| {
            self.table.get(key).is_some_and(|s| *s.key == *wanted && s.fits(request))
        })
    }

    /// Gives a new request a transaction.
    fn take(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        arrival: Arrival,
        request: Message,
        legacy: bool,
    ) {
        let target = reply_target(&arrival, &request);
        let reliable = arrival.transport.is_reliable();
        let is_cancel = *request.method() == Method::Cancel;
        let merge =
            (request.to().tag().is_none() && !is_cancel).then(|| shared.keys.merge(&request));
        let tags = || LegacyTags { request: request.to().tag().map(Box::from), response: None };
        let hash = shared.keys.hash();
        let (machine, actions) = Machine::start(request.method(), &shared.timing, reliable);
        let inserted = self.table.insert(Server {
            machine,
            target,
            last: Bytes::new(),
            legacy: legacy.then(|| Box::new(tags())),
            timers: Timers::default(),
            place: None,
            hash,
            key: shared.keys.bytes().into(),
            merge,
        });
        let request = stamped(&arrival, request);
        // Whoever calls this has seen that there is a place.
        let Ok(key) = inserted else { return };
        shared.counters.requests += 1;
        let tx = ServerTx(key);
        let merged = self.enter(shared, tx, target, hash, merge);
        self.run(shared, now, tx, actions, None);
        let event = if is_cancel {
            let invite = self.find_cancelled(shared, &request);
            Event::Cancel { cancel: tx, invite, arrival, request }
        } else {
            Event::Request { tx, arrival, request, merged }
        };
        shared.events.push_back(event);
    }

    /// Makes a transaction known to the indexes; says whether its request is a merged one.
    fn enter(
        &mut self,
        shared: &mut Shared,
        tx: ServerTx,
        target: Target,
        hash: u64,
        merge: Option<u64>,
    ) -> bool {
        if let Some(server) = self.table.get_mut(tx.0) {
            server.place = Some(shared.peers.insert(&target, Tx::Server(tx)));
        }
        self.index.insert(hash, tx.0);
        merge.is_some_and(|merge| {
            let count = self.merges.entry(merge).or_default();
            *count += 1;
            *count > 1
        })
    }

    /// The INVITE that a CANCEL is for (RFC 3261 9.2).
    fn find_cancelled(&self, shared: &mut Shared, cancel: &Message) -> Option<ServerTx> {
        shared.keys.server(cancel, &Method::Invite);
        self.find(shared, cancel).map(ServerTx)
    }

    pub(super) fn respond(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        tx: ServerTx,
        response: Reply,
    ) -> bool {
        let Some(server) = self.table.get_mut(tx.0) else { return false };
        let class = Class::of(response.status());
        let actions = server.machine.handle(&shared.timing, Input::Respond(class));
        self.run(shared, now, tx, actions, Some(response));
        true
    }

    /// Responds without timer G (RFC 3261 17.2.1) to a client that has seen nothing yet.
    pub(super) fn respond_once(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        tx: ServerTx,
        response: Reply,
    ) -> bool {
        let is_first = self.table.get(tx.0).is_some_and(|server| server.last.is_empty());
        let responded = self.respond(shared, now, tx, response);
        if is_first && let Some(server) = self.table.get_mut(tx.0) {
            shared.stop(&mut server.timers, Timer::Retransmit);
        }
        responded
    }

    pub(super) fn tag(&self, tx: ServerTx) -> Option<u64> {
        self.table.get(tx.0).map(|server| server.hash)
    }

    /// Responds as one does who keeps no state.
    pub(super) fn respond_and_forget(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        tx: ServerTx,
        response: Option<Reply>,
    ) {
        let Some(server) = self.table.get(tx.0) else { return };
        if !server.last.is_empty() {
            if let Some(response) = response {
                self.respond_once(shared, now, tx, response);
            }
            return;
        }
        if let Some(response) = response {
            shared.transmit(server.target, response.bytes().clone());
        }
        self.end(shared, tx);
    }

    pub(super) fn handle_timer(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        tx: ServerTx,
        timer: Timer,
    ) {
        if let Some(server) = self.table.get_mut(tx.0) {
            server.timers.expired(timer);
        }
        self.handle(shared, now, tx, Input::Timer(timer));
    }

    /// Told once: a peer that brings about errors without end has no walk through all of its
    /// transactions for each.
    pub(super) fn handle_transport_error(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        tx: ServerTx,
    ) {
        if let Some(server) = self.table.get_mut(tx.0)
            && let Some(place) = server.place.take()
        {
            shared.peers.remove(place, &server.target);
        }
        self.handle(shared, now, tx, Input::TransportError);
    }

    fn handle(&mut self, shared: &mut Shared, now: Instant, tx: ServerTx, input: Input) {
        let Some(server) = self.table.get_mut(tx.0) else { return };
        let actions = server.machine.handle(&shared.timing, input);
        self.run(shared, now, tx, actions, None);
    }

    /// Carries out what a machine wants.
    fn run(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        tx: ServerTx,
        actions: Actions,
        response: Option<Reply>,
    ) {
        for action in actions {
            let Some(server) = self.table.get_mut(tx.0) else { return };
            match action {
                Action::SendNew => server.send_new(shared, response.as_ref()),
                Action::SendLast => {
                    shared.counters.retransmitted += 1;
                    shared.transmit(server.target, server.last.clone());
                }
                Action::Start(timer, after) => {
                    let due = Due { tx: Tx::Server(tx), timer };
                    shared.start(now, &mut server.timers, due, after);
                }
                Action::Stop(timer) => shared.stop(&mut server.timers, timer),
                Action::Fail(cause) => {
                    shared.count_failure(cause);
                    shared.events.push_back(Event::ServerFailed { tx, cause });
                }
                Action::End => self.end(shared, tx),
                // An ACK is passed on before it gets here; the others are client actions.
                Action::Pass
                | Action::Stray
                | Action::SendRequest
                | Action::SendAck
                | Action::SendCancel => {}
            }
        }
    }

    fn end(&mut self, shared: &mut Shared, tx: ServerTx) {
        let Some(mut server) = self.table.remove(tx.0) else { return };
        shared.stop_all(&mut server.timers);
        if let Some(place) = server.place {
            shared.peers.remove(place, &server.target);
        }
        self.index.remove(server.hash, tx.0);
        if let Some(merge) = server.merge
            && let Some(count) = self.merges.get_mut(&merge)
        {
            *count -= 1;
            if *count == 0 {
                self.merges.remove(&merge);
            }
        }
        shared.events.push_back(Event::ServerEnded { tx });
    }
}

impl Server {
    fn send_new(&mut self, shared: &mut Shared, response: Option<&Reply>) {
        let Some(response) = response else { return };
        self.last = response.bytes().clone();
        if let Some(tags) = &mut self.legacy {
            // Few peers are of that age: for theirs alone a response is read again.
            let response = Message::parse_datagram(self.last.clone()).ok();
            tags.response = response.and_then(|response| Some(response.to().tag()?.into()));
        }
        shared.transmit(self.target, self.last.clone());
    }
}

/// Answers 503 to a request whose key was made last, without a trace.
fn refuse(shared: &mut Shared, arrival: &Arrival, request: &Message, retry_after: Duration) {
    let target = reply_target(arrival, request);
    let hash = shared.keys.hash();
    shared.transmit(target, build::unavailable(request, arrival.remote, retry_after, hash));
}
