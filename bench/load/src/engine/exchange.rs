//! Messages in and out: matches responses and requests to transactions, and runs their timers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use rsip::prelude::HeadersExt;
use rsip::{Header, Method, Request, Response, SipMessage, StatusCode};

use crate::engine::outcome::Failure;
use crate::engine::{Engine, Owner, Wake};
use crate::ids::Side;
use crate::sip::client::{self, ClientTx, Heard};
use crate::sip::hop::Hop;
use crate::sip::message;
use crate::sip::server::{self, ServerTx};

/// Server transactions remembered at once: 20,000 calls with INVITE, CANCEL and BYE each, and room
/// for strangers. A request beyond that is dropped, as if the network had lost it.
const SERVER_TRANSACTIONS_MAX: usize = 100_000;

impl Engine {
    pub(crate) fn new_branch(&mut self) -> Arc<str> {
        // RFC 3261 8.1.1.7: the cookie, then something unique.
        let serial = self.next_serial();
        format!("z9hG4bK{:x}.{serial:x}", self.run).into()
    }

    /// Sends a request in a transaction of its own, whose branch is the one in its Via; `false` if
    /// its destination is not allowed.
    pub(crate) fn send_request(
        &mut self,
        owner: Owner,
        (side, destination): (Side, Hop),
        branch: &Arc<str>,
        request: Request,
        now: Instant,
    ) -> bool {
        let transaction = ClientTx::new(owner, side, destination, request, self.sip_timers, now);
        if !self.wire.send(side, destination, &transaction.wire) {
            return false;
        }
        self.timers.push(transaction.wake_at(), Wake::Client(Arc::clone(branch)));
        self.clients.insert(Arc::clone(branch), transaction);
        true
    }

    pub(crate) fn on_client_timer(&mut self, branch: &Arc<str>, now: Instant) {
        let Some(transaction) = self.clients.get_mut(branch) else { return };
        match transaction.on_timer(now) {
            client::Due::Nothing => {}
            client::Due::Resend => {
                self.wire.send(transaction.side, transaction.destination, &transaction.wire);
                self.counters.retransmissions += 1;
            }
            client::Due::TimedOut => {
                let owner = transaction.owner;
                let method = transaction.request.method;
                self.clients.remove(branch);
                self.on_no_response(owner, method, now);
                return;
            }
            client::Due::Forgotten => {
                self.clients.remove(branch);
                return;
            }
        }
        let wake_at = transaction.wake_at();
        self.timers.push(wake_at.max(now), Wake::Client(Arc::clone(branch)));
    }

    fn on_no_response(&mut self, owner: Owner, method: Method, now: Instant) {
        let failure = Failure::NoResponse(method);
        match owner {
            Owner::Register(at) => self.registration_failed(at, &failure),
            Owner::Invite(session) => self.fail(session, failure, now),
            Owner::Bye(session, _) => self.hangup_failed(session, &failure, now),
            Owner::CleanUp => {}
        }
    }

    pub(crate) fn on_server_timer(&mut self, key: &Arc<str>, now: Instant) {
        let Some(transaction) = self.servers.get_mut(key) else { return };
        match transaction.on_timer(now) {
            server::Due::Nothing => {}
            server::Due::Resend => {
                self.wire.send(transaction.side, transaction.destination, &transaction.wire);
                self.counters.retransmissions += 1;
            }
            server::Due::Unacknowledged => {
                let session = transaction.session;
                self.servers.remove(key);
                if let Some(session) = session {
                    self.fail(session, Failure::Unacknowledged, now);
                }
                return;
            }
            server::Due::Forgotten => {
                self.servers.remove(key);
                return;
            }
        }
        let wake_at = transaction.wake_at();
        self.timers.push(wake_at.max(now), Wake::Server(Arc::clone(key)));
    }

    /// Reads what has come in.
    pub(crate) fn listen(&mut self) {
        for side in Side::BOTH {
            for (bytes, source) in self.wire.receive(side) {
                let now = Instant::now();
                match message::read(&bytes) {
                    Ok(SipMessage::Response(response)) => self.on_response(&response, now),
                    Ok(SipMessage::Request(request)) => {
                        if self.on_request(side, request, source, now).is_err() {
                            self.counters.unreadable += 1;
                        }
                    }
                    Err(_) => self.counters.unreadable += 1,
                }
            }
        }
    }

    fn on_response(&mut self, response: &Response, now: Instant) {
        let Ok((branch, _)) = message::branch(response) else {
            self.counters.unreadable += 1;
            return;
        };
        let key: Arc<str> = branch.into();
        let method = message::cseq(response).ok().map(|(_, method)| method);
        let Some(transaction) = self.clients.get_mut(&key) else {
            self.counters.unexpected += 1;
            return;
        };
        // A CANCEL shares its INVITE's branch, and its transaction has a key of its own.
        if method == Some(Method::Cancel) && transaction.request.method == Method::Invite {
            let cancel = cancel_key(&key);
            if let Some(transaction) = self.clients.get_mut(&cancel) {
                transaction.on_response(response.status_code.code(), now);
            }
            return;
        }
        if method != Some(transaction.request.method) {
            self.counters.unexpected += 1;
            return;
        }
        let heard = transaction.on_response(response.status_code.code(), now);
        let owner = transaction.owner;
        let wake_at = transaction.wake_at();
        self.timers.push(wake_at, Wake::Client(Arc::clone(&key)));
        match heard {
            Heard::Absorb => {}
            Heard::Reacknowledge => self.acknowledge_failure(&key, None),
            Heard::AcknowledgeAndDeliver => {
                self.acknowledge_failure(&key, Some(response));
                self.deliver(owner, &key, response, now);
            }
            Heard::Deliver => self.deliver(owner, &key, response, now),
        }
    }

    fn acknowledge_failure(&mut self, key: &Arc<str>, response: Option<&Response>) {
        let Some(transaction) = self.clients.get_mut(key) else { return };
        if let Some(response) = response {
            // An answer without To or CSeq cannot be acknowledged; its repeats are ignored.
            transaction.ack = message::ack_of_failure(&transaction.request, response)
                .map(|ack| ack.to_string().into_bytes())
                .unwrap_or_default();
        }
        if !transaction.ack.is_empty() {
            self.wire.send(transaction.side, transaction.destination, &transaction.ack);
        }
    }

    fn deliver(&mut self, owner: Owner, key: &Arc<str>, response: &Response, now: Instant) {
        match owner {
            Owner::Register(at) => self.on_register_response(at, response, now),
            Owner::Invite(session) => self.on_invite_response(session, key, response, now),
            Owner::Bye(session, side) => self.on_bye_response(session, side, response, now),
            Owner::CleanUp => {}
        }
    }

    /// Sends a CANCEL for the INVITE of transaction `key` and bounds the wait for its 487.
    pub(crate) fn send_cancel(&mut self, key: &Arc<str>, now: Instant) {
        let Some(invite) = self.clients.get_mut(key) else { return };
        let patience = now + self.sip_timers.timeout();
        invite.expire_at(patience);
        let (side, destination) = (invite.side, invite.destination);
        self.timers.push(patience, Wake::Client(Arc::clone(key)));
        // The INVITE is ours, so its headers are there.
        let Ok(cancel) = message::cancel_of(&invite.request) else { return };
        let own = cancel_key(key);
        self.send_request(Owner::CleanUp, (side, destination), &own, cancel, now);
    }

    /// Handles a request; an error means that it lacks what every request has.
    fn on_request(
        &mut self,
        side: Side,
        request: Request,
        source: Hop,
        now: Instant,
    ) -> Result<()> {
        let (branch, sent_by) = message::branch(&request)?;
        let method = request.method;
        let key_of =
            |method: Method| -> Arc<str> { format!("{side}|{branch}|{sent_by}|{method}").into() };
        if method == Method::Ack {
            self.on_ack(side, &key_of(Method::Invite), &request, now);
            return Ok(());
        }
        message::cseq(&request)?;
        let key = key_of(method);
        if let Some(transaction) = self.servers.get(&key) {
            if transaction.answers_repeat() {
                self.wire.send(side, transaction.destination, &transaction.wire);
                self.counters.retransmissions += 1;
            }
            return Ok(());
        }
        if self.servers.len() >= SERVER_TRANSACTIONS_MAX {
            self.counters.unexpected += 1;
            return Ok(());
        }
        self.open_server(side, &key, &request, source, now);
        match method {
            Method::Invite => self.on_invite(side, &key, request, source, now),
            Method::Bye => self.on_bye(side, &key, &request, source, now),
            Method::Cancel => {
                self.on_cancel(&key, &key_of(Method::Invite), &request, source, now);
            }
            Method::Options => {
                // RFC 3261 11.2.
                let more = vec![Header::Allow(message::ALLOW.into())];
                self.respond(&key, &request, source, (StatusCode::OK, more, Vec::new()), now);
            }
            Method::Ack
            | Method::Info
            | Method::Message
            | Method::Notify
            | Method::PRack
            | Method::Publish
            | Method::Refer
            | Method::Register
            | Method::Subscribe
            | Method::Update => {
                self.counters.unexpected += 1;
                let more = vec![Header::Allow(message::ALLOW.into())];
                let answer = (StatusCode::MethodNotAllowed, more, Vec::new());
                self.respond(&key, &request, source, answer, now);
            }
        }
        Ok(())
    }

    fn open_server(
        &mut self,
        side: Side,
        key: &Arc<str>,
        request: &Request,
        source: Hop,
        now: Instant,
    ) {
        let invite = request.method == Method::Invite;
        let destination = message::answer_to(request, source);
        // Longer than the caller's patience, so that a ringing call outlives it.
        let patience = Duration::from_secs_f64(self.plan.args.answer_seconds)
            + Duration::from_millis(self.plan.args.ring_ms)
            + self.sip_timers.timeout();
        let transaction =
            ServerTx::new(invite, side, destination, self.sip_timers, (now, patience));
        self.timers.push(transaction.wake_at(), Wake::Server(Arc::clone(key)));
        self.servers.insert(Arc::clone(key), transaction);
    }

    /// Answers the request of server transaction `key`; the tag of a call is derived from its id.
    pub(crate) fn respond(
        &mut self,
        key: &Arc<str>,
        request: &Request,
        source: Hop,
        (code, more, body): (StatusCode, Vec<Header>, Vec<u8>),
        now: Instant,
    ) {
        let tag = self.tag_for(request);
        let number = code.code();
        let response = message::response(request, source, code, &tag, more, body);
        let Some(transaction) = self.servers.get_mut(key) else { return };
        transaction.respond(number, response.to_string().into_bytes(), now);
        self.wire.send(transaction.side, transaction.destination, &transaction.wire);
        let wake_at = transaction.wake_at();
        self.timers.push(wake_at, Wake::Server(Arc::clone(key)));
    }

    /// The To tag of our answers: the same for all answers to one request (RFC 3261 8.2.6.2).
    pub(crate) fn tag_for(&self, request: &Request) -> String {
        let call_id = request.call_id_header().map(|id| id.to_string()).unwrap_or_default();
        let sum = call_id
            .bytes()
            .fold(self.run, |sum, byte| crate::media::packet::mix(sum ^ u64::from(byte)));
        format!("{sum:016x}")
    }
}

fn cancel_key(invite: &Arc<str>) -> Arc<str> {
    format!("{invite}|CANCEL").into()
}
