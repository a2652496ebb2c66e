//! Building the request that goes to a target (RFC 3261 16.6) and sending it.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::time::Instant;

use smallvec::{SmallVec, smallvec};

use super::Proxy;
use super::addresses::Addresses;
use super::bye::Asker;
use super::config::Config;
use super::context::{Branch, Context, Progress, Purpose};
use super::failures::RETRY_AFTER;
use super::flows::own_uri;
use super::identity::{self, Sender};
use super::inbound::{Answer, Routed};
use super::output::Notice;
use super::routing::Destination;
use crate::call::session_timer::refreshes;
use crate::call::{CallBranch, CallId};
use crate::farm::Farm;
use crate::farm::router::read_branch;
use crate::farm::token::TOKEN_LEN;
use crate::table::Key;
use crate::transport::{Arrival, Target, Transport};
use crate::wire::digits::{into_text, push_hex, push_socket};
use crate::wire::{
    AuthValue, Edit, FieldName, HeaderName, MAX_FORWARDS_DEFAULT, Message, Method, Scheme, Via,
};

/// What decides where this node sends a request: if one comes back with the same, it loops
/// (RFC 3261 16.6 step 8). [`LOOP_DIGITS`] at the end of our branch.
fn loop_hash(request: &Message) -> String {
    let mut text = Vec::with_capacity(LOOP_BYTES);
    let mut part = |part: &[u8]| {
        text.extend_from_slice(part);
        // No part holds it, since a head is text.
        text.push(0);
    };
    part(request.request_uri().as_bytes());
    part(request.call_id().as_bytes());
    part(&request.cseq().number.to_be_bytes());
    part(request.from().tag().unwrap_or_default().as_bytes());
    part(request.to().tag().unwrap_or_default().as_bytes());
    for name in [HeaderName::Route, HeaderName::ProxyAuthorization, HeaderName::ProxyRequire] {
        if request.has(name) {
            request.values(name).for_each(&mut part);
            part(name.as_str().as_bytes());
        }
    }
    // SipHash with fixed keys: the value must be the same each time the request passes, and nobody
    // gains by making two requests collide but the 482 that they would bring on themselves.
    let mut hasher = DefaultHasher::new();
    hasher.write(&text);
    let mut hash = Vec::with_capacity(LOOP_DIGITS);
    push_hex::<LOOP_DIGITS>(&mut hash, hasher.finish());
    into_text(hash)
}

/// Room for what decides the way of a usual request.
const LOOP_BYTES: usize = 256;

/// Hexadecimal digits at the end of our branch that are the same each time a request passes.
const LOOP_DIGITS: usize = 12;

/// Whether the request has passed this node before with nothing changed that decides its way.
///
/// In a farm: or another member, under whichever address.
pub(super) fn is_loop(
    config: &Config,
    addresses: &Addresses,
    farm: Option<&Farm>,
    request: &Message,
) -> bool {
    let mut hash = None;
    let mut is_ours = |via: &Via<'_>| {
        let Some(branch) = via.unique_branch() else { return false };
        let mut repeats =
            || branch.ends_with(hash.get_or_insert_with(|| loop_hash(request)).as_str());
        if addresses.is_own_sent_by(config, via) {
            return repeats();
        }
        farm.is_some_and(|farm| {
            branch.len() == TOKEN_LEN + LOOP_DIGITS
                && repeats()
                && read_branch(farm, branch, request.call_id()).is_some()
        })
    };
    // The top one has been read already, and most requests have no other.
    is_ours(&request.top_via())
        || request.values(HeaderName::Via).skip(1).filter_map(Via::parse).any(|via| is_ours(&via))
}

/// Takes off the Route values that name this node, puts right what a strict router has done to the
/// Request-URI (RFC 3261 16.4), and does the same for one that is next (16.6 step 6).
pub(super) fn take_routes<'m>(edit: &mut Edit<'m>, request: &Message, routed: &'m Routed) {
    if routed.last_route_is_uri {
        let last = request.values(HeaderName::Route).count().saturating_sub(1);
        edit.set_request_uri(routed.uri.as_str()).remove_value(HeaderName::Route, last);
    }
    edit.remove_first(HeaderName::Route, routed.own_routes);
    if let Some(next) = routed.next_route.as_ref().filter(|_| routed.next_is_strict) {
        edit.remove_top(HeaderName::Route);
        edit.append(HeaderName::Route, format!("<{}>", routed.uri));
        edit.set_request_uri(next.as_str());
    }
}

/// Takes off the credentials for this node's realm, and no others (RFC 3261 22.3): whoever gets them
/// could try to use them here.
pub(super) fn strip_credentials(edit: &mut Edit<'_>, request: &Message, realm: &str) {
    let is_ours = |value: &[u8]| {
        AuthValue::parse(value).and_then(|v| v.get("realm")).is_some_and(|own| own == realm)
    };
    let lines: Vec<_> = request.lines(HeaderName::ProxyAuthorization).map(is_ours).collect();
    for (nth, _) in lines.iter().enumerate().rev().filter(|(_, is_ours)| **is_ours) {
        edit.remove_value(HeaderName::ProxyAuthorization, nth);
    }
}

/// Room for our Via with an IPv4 address.
const VIA_BYTES: usize = 96;

/// What changes of a request with the contact that it goes to.
#[derive(Clone, Copy)]
struct Onto<'d> {
    /// The new Request-URI.
    uri: Option<&'d str>,
    /// The proxies on the way (RFC 3327 5.4).
    path: Option<&'d str>,
    /// Nothing stands between it and this node.
    adjacent: bool,
}

/// The parameter of our Record-Route that names a call.
pub(super) fn call_mark(call: CallId) -> String {
    let mut mark = Vec::with_capacity(24);
    mark.extend_from_slice(b"rf=");
    push_hex::<16>(&mut mark, call.0.number());
    into_text(mark)
}

/// RFC 3261 16.6 step 3. Zero has been refused before.
pub(super) fn count_hop(edit: &mut Edit<'_>, request: &Message) {
    let hops = request.max_forwards().map_or(MAX_FORWARDS_DEFAULT, |hops| hops.saturating_sub(1));
    edit.set(HeaderName::MaxForwards, hops.to_string());
}

/// Bounds the branches that a request may have at a time, on all proxies together (RFC 5393 5.3).
const MAX_BREADTH: FieldName<'static> = FieldName::Other("Max-Breadth");

/// What a request without Max-Breadth may have (RFC 5393 5.3.3).
const MAX_BREADTH_DEFAULT: usize = 60;

/// Gives each of so many `branches` its share of the request's breadth. One that is not forked keeps what
/// it has, and is not given what the next proxy takes it to have anyway.
///
/// # Errors
/// 440 if there is nothing to share.
fn share_breadth(edit: &mut Edit<'_>, request: &Message, branches: usize) -> Result<(), Answer> {
    let breadth = match request.first_str(MAX_BREADTH) {
        Some(text) => text.parse().map_err(|_| Answer::new(400, "Bad Max-Breadth Header"))?,
        None if branches < 2 => return Ok(()),
        None => MAX_BREADTH_DEFAULT,
    };
    match breadth / branches.max(1) {
        0 => Err(Answer::new(440, "Max-Breadth Exceeded")),
        _ if branches < 2 => Ok(()),
        share => {
            edit.set(MAX_BREADTH, share.to_string());
            Ok(())
        }
    }
}

/// What a request that goes on is made of.
#[derive(Clone, Copy)]
struct Source<'a> {
    request: &'a Message,
    /// How many branches it may have at a time.
    branches: usize,
    purpose: Purpose,
    arrival: &'a Arrival,
    sender: &'a Sender,
}

impl<'a> Source<'a> {
    fn of(context: &'a Context, branches: usize) -> Source<'a> {
        let Context { request, purpose, arrival, sender, .. } = context;
        Source { request, branches, purpose: *purpose, arrival, sender }
    }
}

impl Proxy {
    /// Puts the context into the table and sends its branches, or starts to prepare their media.
    pub(super) fn start_context(
        &mut self,
        now: Instant,
        mut context: Context,
        destinations: Vec<Destination>,
        routed: &Routed,
    ) -> Result<(), Answer> {
        self.check_exit()?;
        let purpose = context.purpose;
        let (mut group, mut q) = (0, None);
        for destination in &destinations {
            group += usize::from(q.replace(destination.q).is_some_and(|q| q != destination.q));
            let mut branch = Branch::new(destination.clone(), group);
            if branch.way.is_some() || group > 0 {
                context.routed.get_or_insert_with(|| Box::new(routed.clone()));
            } else {
                let party = &destination.party;
                let (uri, path) = (branch.uri.as_deref(), branch.path.as_deref());
                let onto = Onto { uri, path, adjacent: branch.adjacent };
                let source = Source::of(&context, destinations.len());
                branch.request = Some(self.outgoing(&source, onto, &party.flow, routed)?);
            }
            context.branches.push(branch);
            if let Purpose::NewCall(call) = purpose
                && let Some(call) = self.calls.get_mut(call.0)
            {
                call.branches.push(CallBranch::new(destination.party));
            }
        }
        let server = context.server;
        let limit = self.contexts.limit();
        let Ok(key) = self.contexts.insert(context) else {
            self.notice(Notice::TableFull { what: "proxied requests", limit });
            return Err(Answer::new(503, "Too Many Requests In Progress")
                .with(HeaderName::RetryAfter, RETRY_AFTER));
        };
        self.by_server.insert(server, key);
        if let Purpose::NewCall(call) = purpose
            && let Some(call) = self.calls.get_mut(call.0)
        {
            call.context = Some(key);
        }
        self.start_group(now, key);
        Ok(())
    }

    /// Sends the branches of the present group.
    pub(super) fn start_group(&mut self, now: Instant, key: Key) {
        let Some(context) = self.contexts.get(key) else { return };
        let (group, count) = (context.group, context.branches.len());
        let has_later = context.branches.iter().any(|branch| branch.group > group);
        if has_later && context.method == Method::Invite {
            self.start_group_timer(now, key);
        }
        for index in 0..count {
            let Some(branch) = self.branch_mut(key, index) else { return };
            if branch.group != group || branch.progress != Progress::Waiting {
                continue;
            }
            branch.progress = Progress::Preparing;
            if branch.way.is_some() {
                self.advance(now, key, index);
            } else if branch.request.is_some() {
                self.prepare_branch(now, key, index);
            } else {
                self.build_branch(now, key, index);
            }
        }
    }

    /// Makes the request of a branch whose target is known now, and sends it or has its media prepared.
    pub(super) fn build_branch(&mut self, now: Instant, key: Key, index: usize) {
        let Some(context) = self.contexts.get(key) else { return };
        let Some(routed) = context.routed.clone() else { return };
        let Some(branch) = context.branches.get(index) else { return };
        let (request, sender) = (context.request.clone(), context.sender.clone());
        let (purpose, arrival) = (context.purpose, context.arrival);
        // A redirection may lead to more branches than there are yet.
        let most = self.config.limits.branches;
        let branches = if context.followed.is_empty() { context.branches.len() } else { most };
        let (uri, path, target) = (branch.uri.clone(), branch.path.clone(), branch.target);
        let adjacent = branch.adjacent;
        let onto = Onto { uri: uri.as_deref(), path: path.as_deref(), adjacent };
        let (request, sender) = (&request, &sender);
        let source = Source { request, branches, purpose, arrival: &arrival, sender };
        let request = self.outgoing(&source, onto, &target, &routed);
        let Some(branch) = self.branch_mut(key, index) else { return };
        match request {
            Ok(request) => {
                branch.request = Some(request);
                self.prepare_branch(now, key, index);
            }
            Err(answer) => self.fail_branch(now, key, index, answer.status, &answer.reason),
        }
    }

    /// The request as `target` gets it, but for its body.
    fn outgoing(
        &mut self,
        source: &Source<'_>,
        onto: Onto<'_>,
        target: &Target,
        routed: &Routed,
    ) -> Result<Message, Answer> {
        let Source { request, branches, purpose, arrival, sender } = *source;
        let to_trusted = self.is_in_trust_domain(target.remote.ip());
        match purpose {
            Purpose::NewCall(_) | Purpose::Plain => identity::check_privacy(request, to_trusted)?,
            // What keeps a call going, or ends it, is not held up.
            Purpose::InCall { .. } => {}
        }
        let via = self.via(request, target);
        let mut edit = request.edit();
        take_routes(&mut edit, request, routed);
        if let Some(uri) = onto.uri {
            edit.set_request_uri(uri);
        }
        if let Some(path) = onto.path {
            edit.push_front(HeaderName::Route, path);
        }
        count_hop(&mut edit, request);
        share_breadth(&mut edit, request, branches)?;
        let routes = match purpose {
            Purpose::NewCall(call) => self.record_routes(request, call, arrival, target),
            Purpose::Plain => self
                .dialog_routes(request, arrival, target, onto.adjacent)
                .into_iter()
                .flatten()
                .collect(),
            Purpose::InCall { .. } => SmallVec::new(),
        };
        for route in routes {
            edit.push_front(HeaderName::RecordRoute, route);
        }
        if let Some(path) = self.path_value(request, arrival, target) {
            edit.push_front(HeaderName::Path, path);
        }
        if let Some(timers) = self.config.session_timers.filter(|_| refreshes(request.method())) {
            timers.ask(&mut edit, request);
        }
        strip_credentials(&mut edit, request, &self.config.realm);
        identity::put(&mut edit, request, sender, to_trusted);
        edit.push_front(HeaderName::Via, via);
        edit.finish_message().map_err(|malformed| Answer::new(400, malformed.reason()))
    }

    /// Our Via on the way to `target` (RFC 3261 16.6 step 8, RFC 3581).
    pub(super) fn via(&mut self, request: &Message, target: &Target) -> String {
        self.via_with(&loop_hash(request), target, request.call_id())
    }

    /// As [`Proxy::via`], with these twelve digits in the place of the loop's hash, for a message with this
    /// Call-ID.
    pub(super) fn via_with(&mut self, hash: &str, target: &Target, call_id: &str) -> String {
        let sent_by = self.sent_by(target, call_id);
        let mut via = Vec::with_capacity(VIA_BYTES);
        via.extend_from_slice(b"SIP/2.0/");
        via.extend_from_slice(target.transport.via_name().as_bytes());
        via.push(b' ');
        push_socket(&mut via, sent_by);
        via.extend_from_slice(b";branch=");
        self.push_branch(&mut via, call_id);
        via.extend_from_slice(hash.as_bytes());
        via.extend_from_slice(b";rport");
        into_text(via)
    }

    /// Our Record-Route values in the order in which they are put on top: one, or two where the
    /// sides of this node have different names (RFC 5658).
    fn record_routes(
        &self,
        request: &Message,
        call: CallId,
        arrival: &Arrival,
        target: &Target,
    ) -> SmallVec<[String; 2]> {
        // RFC 3261 16.6 step 4.
        let is_sips = matches!(request.uri_scheme(), Some(Scheme::Sips));
        let mark = self.call_mark(call, request.call_id());
        let route =
            |transport: Transport, address| own_uri(transport, address, is_sips, None, &mark);
        let inside = route(
            arrival.transport,
            self.known_as(arrival.transport, arrival.listener, arrival.local),
        );
        let outside = route(target.transport, self.sent_by(target, request.call_id()));
        let mut routes = smallvec![inside];
        routes.extend((routes[0] != outside).then_some(outside));
        routes
    }

    /// A branch whose media was being prepared may be sent now, unless it has been given up.
    pub(super) fn send_prepared(
        &mut self,
        now: Instant,
        key: Key,
        index: usize,
        body: Option<Vec<u8>>,
    ) {
        let branch = self.branch_mut(key, index);
        if branch.is_some_and(|branch| branch.progress == Progress::Preparing) {
            self.send_branch(now, key, index, body);
        }
    }

    /// Sends the branch's request, with `body` in place of its own if the relay has changed it.
    pub(super) fn send_branch(
        &mut self,
        now: Instant,
        key: Key,
        index: usize,
        body: Option<Vec<u8>>,
    ) {
        let Some(branch) = self.branch_mut(key, index) else { return };
        let request = branch.request.as_ref().and_then(|request| match body {
            // Only the body changes: what was parsed before still parses.
            Some(body) => request.edit().set_body(None, body).finish_message().ok(),
            None => Some(request.clone()),
        });
        let target = branch.target;
        let Some(request) = request else {
            return self.fail_branch(now, key, index, 500, "Server Internal Error");
        };
        let (request, target) = self.sized(now, key, index, request, target);
        self.put_on_way(now, key, index, request, target);
    }

    /// Puts the branch's request on the wire.
    pub(super) fn put_on_way(
        &mut self,
        now: Instant,
        key: Key,
        index: usize,
        request: Message,
        target: Target,
    ) {
        let Some(context) = self.contexts.get_mut(key) else { return };
        let is_invite = context.method == Method::Invite;
        let Some(branch) = context.branches.get_mut(index) else { return };
        match self.transactions.send(now, request, target) {
            Ok(tx) => {
                branch.tx = Some(tx);
                branch.progress = Progress::Pending;
                self.by_client.insert(tx, Asker::Branch(key, index));
                if is_invite {
                    self.start_invite_timer(now, key, index);
                }
            }
            Err(full) => {
                self.notice(Notice::TableFull { what: "client transactions", limit: full.limit });
                self.fail_branch(now, key, index, 503, "Too Many Transactions");
            }
        }
    }
}
