//! Requests for users that this member of a farm knows no device of. One may just have registered with another
//! member, whose word has not come yet: the member that takes the user's REGISTER requests is asked once, and the
//! request waits for what it says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Proxy;
use super::authorise::Caller;
use super::farm::FarmOutput;
use super::identity::Sender;
use super::inbound::{Answer, Routed};
use super::output::Output;
use super::timers::Timer;
use crate::farm::membership::Standing;
use crate::registrar::Lookup;
use crate::timer::TimerId;
use crate::transaction::ServerTx;
use crate::transport::Arrival;
use crate::wire::{Message, Method, Uri};

/// How long a request waits for another member's answer: a hundred times what it takes. Nothing is repeated and
/// no 100 is due until then (RFC 3261 17.2.1).
const ANSWER_GRACE: Duration = Duration::from_millis(200);

/// Most requests that wait at once, some 2 kB each: what 20,000 a second for users without a device come to. Past
/// this they are answered 480 at once.
pub(super) const HELD_MAX: usize = 4_096;

/// A request whose sender was let in.
#[derive(Debug)]
pub(super) struct Held {
    tx: ServerTx,
    arrival: Arrival,
    request: Message,
    method: Method,
    routed: Routed,
    let_in: (Caller, Sender),
    timer: Option<TimerId>,
}

impl Proxy {
    /// Whether the request waits now for what another member knows of its user.
    pub(super) fn hold(
        &mut self,
        now: Instant,
        tx: ServerTx,
        arrival: &Arrival,
        request: &Message,
        routed: &Routed,
        let_in: &(Caller, Sender),
    ) -> bool {
        let Some(farm) = self.farm.as_deref().filter(|_| self.held.len() < HELD_MAX) else {
            return false;
        };
        let user = Uri::parse(&routed.uri).ok().and_then(|uri| {
            let user = uri.user_unescaped()?;
            // A temporary GRUU names a user only here.
            let is_unknown = matches!(self.look_for(now, &user, &uri), Lookup::NotRegistered);
            (is_unknown && uri.params().get("gr") != Some("")).then(|| Arc::from(&*user))
        });
        let Some(user) = user else { return false };
        let membership = &farm.membership;
        let taker = membership.taker(farm.spread.of_user(&user));
        let of = taker.filter(|taker| membership.standing(*taker) == Standing::Reachable);
        let Some(of) = of else { return false };
        let token = self.next_token();
        let timer = self.timers.schedule(now + ANSWER_GRACE, Timer::Held(token)).ok();
        let (arrival, request, routed) = (*arrival, request.clone(), routed.clone());
        let (method, let_in) = (request.method().clone(), let_in.clone());
        self.held.insert(token, Held { tx, arrival, request, method, routed, let_in, timer });
        let ask = FarmOutput::Ask { of, user, token };
        self.outputs.push_back(Output::Farm(Box::new(ask)));
        true
    }

    /// What this member knows of a user's registrations, for another that asks; empty: nothing.
    #[must_use]
    pub fn registrations_of(&self, now: Instant, user: &str) -> Bytes {
        let mut bytes = Vec::new();
        let replica = self.registrar.copy_of(now, user);
        replica.into_iter().for_each(|replica| replica.write(&mut bytes));
        bytes.into()
    }

    /// What another member knows of a user, as [`FarmOutput::Ask`] wanted to know. Says how many users'
    /// registrations were taken over.
    pub fn handle_told(&mut self, now: Instant, token: u64, bytes: &[u8]) -> usize {
        if !self.held.contains_key(&token) {
            return 0;
        }
        let taken = self.handle_replicated(now, bytes);
        self.go_on_with(now, token);
        self.process_events(now);
        taken
    }

    /// The request goes where it can now.
    pub(super) fn go_on_with(&mut self, now: Instant, token: u64) {
        let Some(held) = self.held.remove(&token) else { return };
        let Held { tx, arrival, request, method, routed, let_in, timer } = held;
        if let Some(timer) = timer {
            self.timers.cancel(timer);
        }
        // Its client may have gone meanwhile.
        if self.transactions.tag(tx).is_none() {
            return;
        }
        let went = self.proxy_request(now, tx, &arrival, &request, method, &routed, Some(let_in));
        if let Err(answer) = went {
            self.refuse(now, tx, &arrival, &request, &answer);
        }
    }

    /// The caller has given up an INVITE that waits; whether it was one. They are few and wait for a moment.
    pub(super) fn give_up_held(&mut self, now: Instant, invite: ServerTx) -> bool {
        let found = self.held.iter().find(|(_, held)| held.tx == invite);
        let Some(token) = found.map(|(token, _)| *token) else { return false };
        let Some(held) = self.held.remove(&token) else { return false };
        if let Some(timer) = held.timer {
            self.timers.cancel(timer);
        }
        let answer = Answer::new(487, "Request Terminated");
        self.answer(now, held.tx, &held.request, &answer);
        true
    }
}
