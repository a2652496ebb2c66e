//! Subscriptions and publications that this node serves itself: requests on their way to the event
//! server, and its notifications on their way to subscribers.

use std::time::Instant;

use rand::RngCore;

use super::Proxy;
use super::authorise::Caller;
use super::bye::{Asker, first_route};
use super::identity;
use super::in_call::Onward;
use super::inbound::{Answer, Routed};
use super::large::over_tcp;
use super::output::Notice;
use super::routing::party_of;
use super::way::{REST, Step, Waiter};
use crate::call::CallId;
use crate::events::{self, Answered, Asked, Asker as From, Notify, Outcome, SubscriptionId};
use crate::resolve::{Hop, Standing};
use crate::transaction::{Cause, ClientTx, ServerTx};
use crate::transport::{Arrival, Target, Transport};
use crate::wire::{
    HeaderName, MAX_FORWARDS_DEFAULT, Message, Method, RequestBuilder, ResponseBuilder, Uri,
};

/// A notification with its way.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    notify: Notify,
    /// Request-URI and Route of the request (RFC 3261 12.2.1.1).
    uri: String,
    routes: String,
}

impl Outgoing {
    fn new(notify: Notify) -> Outgoing {
        let (target, routes) = (&notify.target, &notify.routes);
        let (uri, routes) = match first_route(routes) {
            // What a strict router wants.
            Some((first, rest)) if !Uri::parse(first).is_ok_and(|uri| uri.params().has("lr")) => {
                let comma = if rest.is_empty() { "" } else { ", " };
                (first.to_owned(), format!("{rest}{comma}<{target}>"))
            }
            Some(_) | None => (target.to_string(), routes.to_string()),
        };
        Outgoing { notify, uri, routes }
    }

    /// The URI that is sent to, and whether it is that of a route.
    fn next_hop(&self) -> (&str, bool) {
        let is_strict = !self.routes.is_empty() && *self.uri != *self.notify.target;
        match first_route(&self.routes) {
            Some((first, _)) if !is_strict => (first, true),
            Some(_) | None => (&self.uri, is_strict),
        }
    }

    /// About as large as the request will be.
    fn bytes(&self) -> usize {
        /// Via, Contact, CSeq and what else is not of the subscription.
        const FIXED: usize = 400;
        let notify = &self.notify;
        let addresses: usize = notify.addresses.iter().map(|address| address.len()).sum();
        let own = notify.event.len() + notify.state.len() + notify.content_type.len();
        let ways = self.uri.len() + self.routes.len() + notify.call_id.len();
        FIXED + addresses + own + ways + notify.body.len()
    }

    /// As if the subscriber sent it.
    const fn arrival(&self) -> Arrival {
        let Target { transport, listener, local, remote, connection, name: _ } =
            self.notify.party.flow;
        Arrival { transport, listener, local, remote, connection }
    }

    fn message(&self, via: &str, contact: &str, server_name: &str) -> Option<Message> {
        let notify = &self.notify;
        let mut request = RequestBuilder::new(&Method::Notify, &self.uri);
        request.header(HeaderName::Via, via);
        if !self.routes.is_empty() {
            request.header(HeaderName::Route, &self.routes);
        }
        request
            .header(HeaderName::MaxForwards, MAX_FORWARDS_DEFAULT.to_string())
            .header(HeaderName::From, &*notify.addresses[0])
            .header(HeaderName::To, &*notify.addresses[1])
            .header(HeaderName::CallId, &*notify.call_id)
            .header(HeaderName::CSeq, format!("{} NOTIFY", notify.cseq))
            .header(HeaderName::Contact, contact)
            .header(HeaderName::Event, &notify.event)
            .header(HeaderName::SubscriptionState, &notify.state)
            .header(HeaderName::UserAgent, server_name);
        if notify.is_list {
            // RFC 4662 4.4.
            request.header(HeaderName::Require, "eventlist");
        }
        request.body(&notify.content_type, notify.body.clone());
        request.finish_message().ok()
    }
}

impl Proxy {
    /// Whether the event server takes a request that is for a domain served here: what is published, and
    /// subscriptions to packages that it serves; the node itself has no device to ask.
    pub(super) fn is_for_events(&self, request: &Message, uri: &Uri<'_>) -> bool {
        if !self.events.is_enabled() {
            return false;
        }
        match request.method() {
            Method::Publish => true,
            Method::Subscribe if request.to().tag().is_some() => {
                self.events.has(request) || uri.user().is_none()
            }
            Method::Subscribe => {
                let event = request.first_str(HeaderName::Event).unwrap_or_default();
                self.events.serves(event).is_some() || uri.user().is_none()
            }
            Method::Invite
            | Method::Ack
            | Method::Bye
            | Method::Cancel
            | Method::Prack
            | Method::Update
            | Method::Info
            | Method::Register
            | Method::Options
            | Method::Message
            | Method::Notify
            | Method::Refer
            | Method::Other(_) => false,
        }
    }

    pub(super) fn event_request(
        &mut self,
        now: Instant,
        tx: ServerTx,
        arrival: &Arrival,
        request: &Message,
        uri: &Uri<'_>,
    ) -> Result<(), Answer> {
        let (caller, _) = self.authorise(now, arrival, request)?;
        let from = request.from();
        let from_uri = from.uri().map_err(|_| Answer::new(400, "Bad From Header"))?;
        let is_ours =
            !identity::is_anonymous(&from_uri) && self.addresses.is_served(&self.config, &from_uri);
        let name = from_uri.user_unescaped().filter(|_| is_ours);
        let asker = match (caller, &name) {
            (Caller::Trusted, _) => From::Trusted,
            (Caller::Authenticated | Caller::Anybody, Some(name)) => From::User(name),
            (Caller::Authenticated | Caller::Anybody, None) => From::Nobody,
        };
        let party = party_of(arrival, request);
        let asked = Asked { request, uri, asker, party };
        let outcome = if *request.method() == Method::Publish {
            self.events.publish(now, &self.registrar, &asked)
        } else {
            self.events.subscribe(now, &self.registrar, &asked)
        };
        self.answer_event(now, tx, arrival, request, &outcome);
        Ok(())
    }

    fn answer_event(
        &mut self,
        now: Instant,
        tx: ServerTx,
        arrival: &Arrival,
        request: &Message,
        outcome: &Outcome,
    ) {
        let own = self.new_tag_for(request);
        let mut response = ResponseBuilder::new(request, outcome.status, outcome.reason);
        response.to_tag(outcome.tag.as_deref().unwrap_or(&own));
        if outcome.tag.is_some() {
            response.copy_record_route();
            response
                .header(HeaderName::Contact, self.own_contact(&arrival.reply(), request.call_id()));
        }
        for (name, value) in &outcome.headers {
            response.header(*name, value);
        }
        response.header(HeaderName::Server, &self.config.server_name);
        self.transactions.respond(now, tx, response.finish_reply());
    }

    /// A call has begun: of those users of ours that it is known to be between.
    pub(super) fn tell_of_call(
        &mut self,
        call: CallId,
        caller: Caller,
        invite: &Message,
        routed: &Routed,
    ) {
        let from = invite.from();
        let is_known = matches!(caller, Caller::Authenticated | Caller::Anybody);
        let from = from.uri().ok().filter(|uri| {
            is_known && !identity::is_anonymous(uri) && self.addresses.is_served(&self.config, uri)
        });
        let to = Uri::parse(&routed.uri).ok().filter(|uri| {
            routed.next_route.is_none() && self.addresses.is_served(&self.config, uri)
        });
        let users =
            [from, to].map(|uri| uri.and_then(|uri| Some(uri.user_unescaped()?.into_owned())));
        let users = users.each_ref().map(Option::as_deref);
        let users = users.map(|user| user.filter(|user| self.registrar.exists(user)));
        self.events.call_begins(call.0, users);
    }

    /// What a subscriber sends its next request to.
    fn own_contact(&self, to: &Target, call_id: &str) -> String {
        let address = self.sent_by(to, call_id);
        let mut contact = format!("<sip:{address};transport={}", to.transport.uri_name());
        self.mark_contact(&mut contact, call_id);
        contact + ">"
    }

    /// Tells the event server what the registrar has seen, and subscribers what is due.
    pub(super) fn tell_subscribers(&mut self, now: Instant) {
        while let Some(user) = self.registrar.poll_change() {
            self.events.registration_changed(now, &self.registrar, &user);
        }
        while let Some(notify) = self.events.poll_notify() {
            self.send_notify(now, Outgoing::new(notify));
        }
    }

    fn send_notify(&mut self, now: Instant, outgoing: Outgoing) {
        let arrival = outgoing.arrival();
        let party = outgoing.notify.party;
        let (hop, is_route) = outgoing.next_hop();
        let onward = Uri::parse(hop)
            .map_err(|_| Answer::new(400, "Bad Contact"))
            .and_then(|uri| self.onward(&arrival, &party, &uri, is_route));
        let id = outgoing.notify.subscription;
        match onward {
            Ok(Onward::Direct { target, any_transport: true }) => {
                self.send_sized_notify(now, outgoing, target);
            }
            Ok(Onward::Direct { target, any_transport: false }) => {
                self.send_notify_to(now, &outgoing, target);
            }
            Ok(Onward::Way(way)) => match way.ahead.front() {
                Some(Step::Hop(hop)) => self.send_notify_along(now, &outgoing, Some(hop)),
                Some(Step::Name(query)) => {
                    let waiter = Waiter::Notify(Box::new(outgoing));
                    if self.ask(query.clone(), waiter).is_none() {
                        self.notify_done(now, id, Answered::NotSent);
                    }
                }
                // Flows are of contacts, to which nothing is notified.
                Some(Step::Flow(_)) | None => self.notify_done(now, id, Answered::Silence),
            },
            // There is no way to it any more.
            Err(_) => self.notify_done(now, id, Answered::Silence),
        }
    }

    /// The name that a notification goes to has been looked up.
    pub(super) fn notify_resolved(&mut self, now: Instant, outgoing: &Outgoing, hops: &[Hop]) {
        let hop = self.preferred(now, hops).cloned();
        self.send_notify_along(now, outgoing, hop.as_ref());
    }

    fn send_notify_along(&mut self, now: Instant, outgoing: &Outgoing, hop: Option<&Hop>) {
        match hop.and_then(|hop| self.target_of(&outgoing.arrival(), hop)) {
            Some(target) => {
                self.send_notify_to(now, outgoing, target);
            }
            None => self.notify_done(now, outgoing.notify.subscription, Answered::Silence),
        }
    }

    /// RFC 3261 18.1.1: what is too large for UDP goes over TCP, and over UDP after all where that leads
    /// nowhere.
    fn send_sized_notify(&mut self, now: Instant, outgoing: Outgoing, target: Target) {
        let is_large = outgoing.bytes() > self.config.udp_bytes_max;
        let tcp = (is_large && target.transport == Transport::Udp)
            .then(|| self.addresses.beside(&self.config, &target, Transport::Tcp))
            .flatten()
            .filter(|tcp| self.resting.standing(now, &over_tcp(tcp)) == Standing::Good);
        let Some(tcp) = tcp else {
            self.send_notify_to(now, &outgoing, target);
            return;
        };
        if let Some(tx) = self.send_notify_to(now, &outgoing, tcp) {
            self.large_notifies.insert(tx, Box::new((outgoing, target)));
        }
    }

    fn send_notify_to(
        &mut self,
        now: Instant,
        outgoing: &Outgoing,
        target: Target,
    ) -> Option<ClientTx> {
        let id = outgoing.notify.subscription;
        // Where a forwarded request says what decides its way: this one is never taken for a loop.
        let unlike = format!("{:012x}", self.rng.next_u64() >> 16);
        let via = self.via_with(&unlike, &target, &outgoing.notify.call_id);
        let contact = self.own_contact(&target, &outgoing.notify.call_id);
        let Some(message) = outgoing.message(&via, &contact, &self.config.server_name) else {
            self.notify_done(now, id, Answered::Silence);
            return None;
        };
        match self.transactions.send(now, message, target) {
            Ok(tx) => {
                self.by_client.insert(tx, Asker::Notify(id));
                Some(tx)
            }
            Err(full) => {
                self.notice(Notice::TableFull { what: "client transactions", limit: full.limit });
                self.notify_done(now, id, Answered::NotSent);
                None
            }
        }
    }

    fn notify_done(&mut self, now: Instant, id: SubscriptionId, answered: Answered) {
        self.events.answered(now, &self.registrar, id, answered);
    }

    /// A NOTIFY has its final response.
    pub(super) fn notify_answered(
        &mut self,
        now: Instant,
        tx: ClientTx,
        id: SubscriptionId,
        response: &Message,
    ) {
        self.by_client.remove(&tx);
        self.large_notifies.remove(&tx);
        let retry_after = response.first_str(HeaderName::RetryAfter);
        let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let secs = retry_after.and_then(|text| text.get(..digits(text))?.parse().ok());
        let status = response.status().unwrap_or(500);
        self.notify_done(now, id, Answered::Status(status, secs));
    }

    /// A NOTIFY of this node's own has come to nothing, if `tx` was one.
    pub(super) fn notify_failed(&mut self, now: Instant, tx: ClientTx, cause: Cause) -> bool {
        let Some(&Asker::Notify(id)) = self.by_client.get(&tx) else { return false };
        self.by_client.remove(&tx);
        match self.large_notifies.remove(&tx) {
            Some(large) if cause == Cause::Transport => {
                let (outgoing, target) = *large;
                if let Some(tcp) = self.addresses.beside(&self.config, &target, Transport::Tcp) {
                    self.resting.note(now, &over_tcp(&tcp), REST, false);
                }
                self.send_notify_to(now, &outgoing, target);
            }
            Some(_) | None => self.notify_done(now, id, Answered::Silence),
        }
        true
    }

    /// The event server.
    #[must_use]
    pub const fn events(&self) -> &events::Events {
        &self.events
    }

    /// What waits for a user, as another part of the node says: see
    /// [`Events::set_waiting`](events::Events::set_waiting).
    pub fn set_waiting(&mut self, now: Instant, user: &str, waiting: Option<events::Waiting>) {
        self.events.set_waiting(now, &self.registrar, user, waiting);
        self.tell_subscribers(now);
    }
}
