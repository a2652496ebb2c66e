//! Client transactions: requests that were sent.

use std::time::Instant;

use bytes::Bytes;

use super::index::Index;
use super::machine::{
    Action, Actions, Class, InviteClient, PlainClient, State, Timer, invite_client, plain_client,
};
use super::peers::Place;
use super::shared::{Due, Shared, Timers, Tx};
use super::{ClientTx, Event, TableFull, Timing, build};
use crate::table::Table;
use crate::transport::{Arrival, Target};
use crate::wire::{Message, Method};

#[derive(Debug)]
enum Machine {
    Invite(InviteClient),
    Plain(PlainClient),
}

/// What happens to a client transaction of either kind.
#[derive(Clone, Copy, Debug)]
enum Input {
    Response(Class),
    Cancel,
    Timer(Timer),
    TransportError,
}

impl Machine {
    fn start(method: &Method, timing: &Timing, reliable: bool) -> (Machine, Actions) {
        if *method == Method::Invite {
            let (machine, actions) = InviteClient::start(timing, reliable);
            (Machine::Invite(machine), actions)
        } else {
            let (machine, actions) = PlainClient::start(timing, reliable);
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
                    Input::Response(class) => invite_client::Input::Response(class),
                    Input::Cancel => invite_client::Input::Cancel,
                    Input::Timer(timer) => invite_client::Input::Timer(timer),
                    Input::TransportError => invite_client::Input::TransportError,
                },
            ),
            Machine::Plain(machine) => machine.handle(
                timing,
                match input {
                    Input::Response(class) => plain_client::Input::Response(class),
                    // RFC 3261 9.1: only an INVITE can be cancelled.
                    Input::Cancel => return Actions::new(),
                    Input::Timer(timer) => plain_client::Input::Timer(timer),
                    Input::TransportError => plain_client::Input::TransportError,
                },
            ),
        }
    }
}

/// Who asked for a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    User,
    /// The layer, for a CANCEL; nobody is told anything.
    Layer,
}

#[derive(Debug)]
struct Client {
    machine: Machine,
    owner: Owner,
    target: Target,
    /// The request as sent; retransmissions are this once more.
    request: Bytes,
    /// The ACK for a non-2xx final response.
    ack: Option<Bytes>,
    /// The value of Reason in the CANCEL.
    cancel_reason: Option<Box<str>>,
    timers: Timers,
    /// Set as soon as the transaction has a name, until its peer has failed.
    place: Option<Place>,
    hash: u64,
    key: Box<[u8]>,
}

#[derive(Debug)]
pub(super) struct Clients {
    table: Table<Client>,
    index: Index,
}

impl Clients {
    pub(super) fn new(max: usize) -> Self {
        Clients { table: Table::new(max), index: Index::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        self.index.len()
    }

    /// Whether `bytes` is the request of the transaction, as it was sent.
    pub(super) fn has_sent(&self, tx: ClientTx, bytes: &[u8]) -> bool {
        self.table.get(tx.0).is_some_and(|client| client.request == bytes)
    }

    pub(super) fn state(&self, tx: ClientTx) -> Option<State> {
        self.table.get(tx.0).map(|client| client.machine.state())
    }

    pub(super) fn send(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        request: &Message,
        target: Target,
    ) -> Result<ClientTx, TableFull> {
        self.start(shared, now, request, target, Owner::User)
    }

    fn start(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        request: &Message,
        target: Target,
        owner: Owner,
    ) -> Result<ClientTx, TableFull> {
        let full = TableFull { limit: self.table.limit() };
        if self.table.len() >= full.limit {
            return Err(full);
        }
        shared.keys.client(request);
        let reliable = target.transport.is_reliable();
        let (machine, actions) = Machine::start(request.method(), &shared.timing, reliable);
        let hash = shared.keys.hash();
        let client = Client {
            machine,
            owner,
            target,
            request: request.raw().clone(),
            ack: None,
            cancel_reason: None,
            timers: Timers::default(),
            place: None,
            hash,
            key: shared.keys.bytes().into(),
        };
        let key = self.table.insert(client).map_err(|_| full)?;
        let tx = ClientTx(key);
        if let Some(client) = self.table.get_mut(key) {
            client.place = Some(shared.peers.insert(&target, Tx::Client(tx)));
        }
        self.index.insert(hash, key);
        self.run(shared, now, tx, actions, None);
        Ok(tx)
    }

    pub(super) fn cancel(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        tx: ClientTx,
        reason: Option<&str>,
    ) {
        if let Some(client) = self.table.get_mut(tx.0)
            && client.cancel_reason.is_none()
        {
            client.cancel_reason = reason.map(Box::from);
        }
        self.handle(shared, now, tx, Input::Cancel, None);
    }

    pub(super) fn handle_response(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        arrival: Arrival,
        response: Message,
    ) {
        shared.keys.client(&response);
        let wanted = shared.keys.bytes();
        let has_key = |key| self.table.get(key).is_some_and(|client| *client.key == *wanted);
        match self.index.find(shared.keys.hash(), has_key) {
            Some(key) => {
                let class = Class::of(response.status().unwrap_or_default());
                let message = Some((arrival, response));
                self.handle(shared, now, ClientTx(key), Input::Response(class), message);
            }
            None => {
                shared.counters.unmatched += 1;
                shared.events.push_back(Event::StrayResponse { arrival, response });
            }
        }
    }

    pub(super) fn handle_timer(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        tx: ClientTx,
        timer: Timer,
    ) {
        if let Some(client) = self.table.get_mut(tx.0) {
            client.timers.expired(timer);
        }
        if timer == Timer::Retransmit {
            shared.counters.retransmitted += 1;
        }
        self.handle(shared, now, tx, Input::Timer(timer), None);
    }

    /// Told once, as a server transaction is.
    pub(super) fn handle_transport_error(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        tx: ClientTx,
    ) {
        if let Some(client) = self.table.get_mut(tx.0)
            && let Some(place) = client.place.take()
        {
            shared.peers.remove(place, &client.target);
        }
        self.handle(shared, now, tx, Input::TransportError, None);
    }

    fn handle(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        tx: ClientTx,
        input: Input,
        message: Option<(Arrival, Message)>,
    ) {
        let Some(client) = self.table.get_mut(tx.0) else { return };
        let actions = client.machine.handle(&shared.timing, input);
        self.run(shared, now, tx, actions, message);
    }

    /// Carries out what a machine wants.
    fn run(
        &mut self,
        shared: &mut Shared,
        now: Instant,
        tx: ClientTx,
        actions: Actions,
        message: Option<(Arrival, Message)>,
    ) {
        let is_for_user =
            actions.iter().any(|action| matches!(action, Action::Pass | Action::Stray));
        if message.is_some() && !is_for_user {
            shared.counters.absorbed += 1;
        }
        for action in actions {
            let Some(client) = self.table.get_mut(tx.0) else { return };
            match action {
                Action::SendRequest => client.send_request(shared),
                Action::SendAck => client.send_ack(shared, message.as_ref().map(|(_, m)| m)),
                Action::SendCancel => self.send_cancel(shared, now, tx),
                Action::Pass => client.pass(shared, tx, message.as_ref()),
                Action::Stray => {
                    let stray = message.clone();
                    shared.events.extend(
                        stray.map(|(arrival, response)| Event::StrayResponse { arrival, response }),
                    );
                }
                Action::Start(timer, after) => {
                    let due = Due { tx: Tx::Client(tx), timer };
                    shared.start(now, &mut client.timers, due, after);
                }
                Action::Stop(timer) => shared.stop(&mut client.timers, timer),
                Action::Fail(cause) => {
                    shared.count_failure(cause);
                    if client.owner == Owner::User {
                        shared.events.push_back(Event::ClientFailed { tx, cause });
                    }
                }
                Action::End => self.end(shared, tx),
                // Server actions.
                Action::SendNew | Action::SendLast => {}
            }
        }
    }

    /// The CANCEL takes the way of the INVITE, in a transaction of its own. If the table has no place
    /// for that it is sent once, without retransmissions, rather than not at all.
    fn send_cancel(&mut self, shared: &mut Shared, now: Instant, tx: ClientTx) {
        let Some(client) = self.table.get(tx.0) else { return };
        let target = client.target;
        let Some(cancel) = build::cancel(&client.request, client.cancel_reason.as_deref()) else {
            return;
        };
        if self.start(shared, now, &cancel, target, Owner::Layer).is_err() {
            shared.transmit(target, cancel.raw().clone());
        }
    }

    fn end(&mut self, shared: &mut Shared, tx: ClientTx) {
        let Some(mut client) = self.table.remove(tx.0) else { return };
        shared.stop_all(&mut client.timers);
        if let Some(place) = client.place {
            shared.peers.remove(place, &client.target);
        }
        self.index.remove(client.hash, tx.0);
        if client.owner == Owner::User {
            shared.events.push_back(Event::ClientEnded { tx });
        }
    }
}

impl Client {
    fn send_request(&self, shared: &mut Shared) {
        shared.transmit(self.target, self.request.clone());
    }

    fn send_ack(&mut self, shared: &mut Shared, response: Option<&Message>) {
        match self.ack {
            Some(_) => shared.counters.retransmitted += 1,
            None => self.ack = response.and_then(|response| build::ack(&self.request, response)),
        }
        if let Some(ack) = &self.ack {
            shared.transmit(self.target, ack.clone());
        }
    }

    fn pass(&self, shared: &mut Shared, tx: ClientTx, message: Option<&(Arrival, Message)>) {
        if self.owner == Owner::User
            && let Some((arrival, response)) = message.cloned()
        {
            shared.events.push_back(Event::Response { tx, arrival, response });
        }
    }
}
