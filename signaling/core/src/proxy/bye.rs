//! Calls that this node has to end: BYE to both parties in the name of the other (RFC 3261 15.1.1).

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

use rand::RngCore;
use relay_core::api::Leg;

use super::Proxy;
use super::cancel::NODE_STOPPED;
use super::in_call::Onward;
use super::output::{CallEnd, Notice};
use super::way::{Step, Waiter};
use crate::call::{Call, CallBranch, CallId, Dialog, Party};
use crate::events::SubscriptionId;
use crate::resolve::Hop;
use crate::table::Key;
use crate::transport::{Arrival, Target};
use crate::wire::{HeaderName, MAX_FORWARDS_DEFAULT, Message, Method, RequestBuilder, Uri};

/// How long a party's own BYE may cross ours: as long as one is sent again (RFC 3261 17.1.2.2, 64*T1).
const CROSSING: Duration = Duration::from_secs(32);

/// Who asked for a client transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// A branch of a request that is being proxied.
    Branch(Key, usize),
    /// This node, for a BYE of its own.
    Node,
    /// This node, for a NOTIFY to a subscriber.
    Notify(SubscriptionId),
}

/// A BYE of this node's own.
#[derive(Debug)]
pub(super) struct Bye {
    /// Who gets it.
    to: Party,
    /// The way of the other party, in whose name it goes.
    from: Target,
    uri: String,
    /// The value of Route; may be empty.
    routes: String,
    /// The Request-URI is that of a strict router, and the next hop.
    is_strict: bool,
    addresses: [String; 2],
    call_id: Box<str>,
    cseq: u32,
    reason: &'static str,
}

/// Why parties are told that their call ends (RFC 3326); `None`: they end it themselves.
const fn reason_of(end: CallEnd) -> Option<&'static str> {
    match end {
        CallEnd::MediaIdle => Some("SIP;cause=408;text=\"Media Idle\""),
        CallEnd::MediaLost => Some("SIP;cause=503;text=\"Media Lost\""),
        CallEnd::LifetimeExceeded => Some("SIP;cause=408;text=\"Lifetime Exceeded\""),
        CallEnd::SessionExpired => Some("SIP;cause=408;text=\"Session Expired\""),
        CallEnd::NodeStopped => Some(NODE_STOPPED),
        CallEnd::CallerHungUp
        | CallEnd::CalleeHungUp
        | CallEnd::Refused(_)
        | CallEnd::Cancelled => None,
    }
}

/// BYEs to both parties of each dialog that is `chosen`, as far as its ways are known.
fn byes(call: &Call, reason: &'static str, chosen: impl Fn(&Dialog) -> bool) -> Vec<Bye> {
    let mut byes = Vec::new();
    for branch in &call.branches {
        for dialog in branch.dialogs.iter().filter(|dialog| chosen(dialog)) {
            let legs = [Leg::Caller, Leg::Callee];
            let bye = |leg| Bye::new(call, branch, dialog, leg, reason);
            byes.extend(legs.into_iter().filter_map(bye));
        }
    }
    byes
}

/// The URI that comes first in a Route value, and what follows it.
pub(super) fn first_route(routes: &str) -> Option<(&str, &str)> {
    let (first, rest) = routes.strip_prefix('<')?.split_once('>')?;
    Some((first, rest.strip_prefix(", ").unwrap_or(rest)))
}

impl Bye {
    fn new(
        call: &Call,
        branch: &CallBranch,
        dialog: &Dialog,
        to: Leg,
        reason: &'static str,
    ) -> Option<Bye> {
        let remote = dialog.remote(to)?;
        let caller = format!("<{}>;tag={}", call.parties[0], call.caller_tag);
        let callee = format!("<{}>;tag={}", call.parties[1], dialog.tag);
        let (addresses, party, from) = match to {
            Leg::Callee => ([caller, callee], branch.party, call.caller.flow),
            Leg::Caller => ([callee, caller], call.caller, branch.party.flow),
        };
        let (uri, routes, is_strict) = match first_route(remote.routes) {
            // RFC 3261 12.2.1.1: what a strict router wants.
            Some((first, rest)) if !Uri::parse(first).is_ok_and(|uri| uri.params().has("lr")) => {
                let comma = if rest.is_empty() { "" } else { ", " };
                (first.to_owned(), format!("{rest}{comma}<{}>", remote.target), true)
            }
            Some(_) | None => (remote.target.to_owned(), remote.routes.to_owned(), false),
        };
        let cseq = dialog.next_cseq(to.other());
        let call_id = call.sip_call_id.clone();
        Some(Bye { to: party, from, uri, routes, is_strict, addresses, call_id, cseq, reason })
    }

    /// As if the other party had sent it.
    const fn arrival(&self) -> Arrival {
        let Target { transport, listener, local, remote, connection, name: _ } = self.from;
        Arrival { transport, listener, local, remote, connection }
    }

    fn message(&self, via: &str) -> Option<Message> {
        let mut bye = RequestBuilder::new(&Method::Bye, &self.uri);
        bye.header(HeaderName::Via, via);
        if !self.routes.is_empty() {
            bye.header(HeaderName::Route, &self.routes);
        }
        bye.header(HeaderName::MaxForwards, MAX_FORWARDS_DEFAULT.to_string())
            .header(HeaderName::From, &self.addresses[0])
            .header(HeaderName::To, &self.addresses[1])
            .header(HeaderName::CallId, &*self.call_id)
            .header(HeaderName::CSeq, format!("{} BYE", self.cseq))
            .header(HeaderName::Reason, self.reason);
        bye.finish_message().ok()
    }
}

/// The calls that this node has ended a short while ago: at most as many as there may be calls, the
/// oldest of which are forgotten first.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// By their numbers; the hash of the Call-ID.
    calls: HashMap<Key, u64>,
    order: VecDeque<(Instant, Key)>,
}

impl Ended {
    fn note(&mut self, now: Instant, key: Key, call_id: &str, limit: usize) {
        if self.order.len() >= limit
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.calls.remove(&oldest);
        }
        self.calls.insert(key, hash_of(call_id));
        self.order.push_back((now + CROSSING, key));
    }

    pub(super) fn has(&self, call: Option<CallId>, call_id: &str) -> bool {
        let hash = call.and_then(|call| self.calls.get(&call.0));
        hash.is_some_and(|hash| *hash == hash_of(call_id))
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.order.front().map(|(due, _)| *due)
    }

    pub(super) fn purge(&mut self, now: Instant) {
        while let Some((_, key)) = self.order.pop_front_if(|(due, _)| *due <= now) {
            self.calls.remove(&key);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.order.is_empty()
    }
}

/// Nobody gains by a collision but a 200 to his own BYE.
fn hash_of(call_id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    call_id.hash(&mut hasher);
    hasher.finish()
}

impl Proxy {
    /// Tells both parties of each dialog that is still up that the call ends.
    pub(super) fn send_byes(&mut self, now: Instant, id: CallId, end: CallEnd) {
        let Some(call) = self.calls.get(id.0) else { return };
        // Without its media relayed here a call can live on without this node.
        if end == CallEnd::NodeStopped && call.sessions.is_empty() {
            return;
        }
        let Some(reason) = reason_of(end) else { return };
        let byes = byes(call, reason, Dialog::is_up);
        if !byes.is_empty() {
            self.ended.note(now, id.0, &call.sip_call_id, self.config.limits.calls);
        }
        for bye in byes {
            self.send_bye(now, bye);
        }
    }

    /// The sessions of a call that nobody has refreshed are over, and the call with its last one
    /// (RFC 4028 8.3). Parties that live have hung up before; that a proxy sends no BYE itself is for one
    /// that can let the call go on without it, and this one takes the call's media away.
    pub(super) fn expire_sessions(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get_mut(id.0) else { return };
        let expired = |dialog: &Dialog| dialog.has_expired(now);
        let dialogs = || call.branches.iter().flat_map(|branch| &branch.dialogs);
        if !dialogs().any(expired) {
            return self.watch_call(id);
        }
        if dialogs().filter(|dialog| dialog.is_up()).all(expired) {
            return self.end_call(now, id, CallEnd::SessionExpired);
        }
        let reason = reason_of(CallEnd::SessionExpired).unwrap_or_default();
        let byes = byes(call, reason, expired);
        let mut without = Vec::new();
        for (index, branch) in call.branches.iter_mut().enumerate() {
            let mut expired = branch.dialogs.iter_mut().filter(|d| d.has_expired(now)).peekable();
            if expired.peek().is_none() {
                continue;
            }
            expired.for_each(|dialog| dialog.over = true);
            without.extend((!branch.is_up()).then_some(index));
        }
        for index in without {
            self.release_media(id, index);
        }
        for bye in byes {
            self.send_bye(now, bye);
        }
        self.watch_call(id);
    }

    fn send_bye(&mut self, now: Instant, bye: Bye) {
        let route = first_route(&bye.routes).filter(|_| !bye.is_strict);
        let hop = route.map_or(bye.uri.as_str(), |(first, _)| first);
        let Ok(uri) = Uri::parse(hop) else { return };
        let arrival = bye.arrival();
        match self.onward(&arrival, &bye.to, &uri, !bye.routes.is_empty()) {
            Ok(Onward::Direct { target, .. }) => self.send_bye_to(now, &bye, target),
            Ok(Onward::Way(way)) => match way.ahead.front() {
                Some(Step::Hop(hop)) => self.send_bye_along(now, &bye, Some(hop)),
                Some(Step::Name(query)) => {
                    self.byes += 1;
                    if self.ask(query.clone(), Waiter::Bye(Box::new(bye))).is_none() {
                        self.byes -= 1;
                    }
                }
                // Flows are of contacts, to which no BYE is resolved anew.
                Some(Step::Flow(_)) | None => {}
            },
            // There is no way to it any more.
            Err(_) => {}
        }
    }

    /// The name that a BYE goes to has been looked up.
    pub(super) fn bye_resolved(&mut self, now: Instant, bye: &Bye, hops: &[Hop]) {
        self.byes -= 1;
        let hop = self.preferred(now, hops).cloned();
        self.send_bye_along(now, bye, hop.as_ref());
    }

    fn send_bye_along(&mut self, now: Instant, bye: &Bye, hop: Option<&Hop>) {
        if let Some(target) = hop.and_then(|hop| self.target_of(&bye.arrival(), hop)) {
            self.send_bye_to(now, bye, target);
        }
    }

    fn send_bye_to(&mut self, now: Instant, bye: &Bye, target: Target) {
        // Where a forwarded request says what decides its way: this one is never taken for a loop.
        let unlike = format!("{:012x}", self.rng.next_u64() >> 16);
        let via = self.via_with(&unlike, &target, &bye.call_id);
        let Some(message) = bye.message(&via) else { return };
        let bytes = message.raw().clone();
        match self.transactions.send(now, message, target) {
            Ok(tx) => {
                self.byes += 1;
                self.by_client.insert(tx, Asker::Node);
            }
            // More calls end at once than there are places: once, and not again if it is lost.
            Err(full) => {
                self.transmit(target, bytes);
                self.notice(Notice::TableFull { what: "client transactions", limit: full.limit });
            }
        }
    }
}
