//! Requests from outside: what RFC 3261 16.3 wants checked, and where each kind goes.

use std::borrow::Cow;
use std::time::Instant;

use super::authorise::Caller;
use super::context::{Context, Purpose};
use super::failures::RETRY_AFTER;
use super::identity::Sender;
use super::output::{Notice, Output};
use super::routing::Destination;
use super::{Proxy, flows, forward};
use crate::call::CallId;
use crate::call::session_timer::refreshes;
use crate::guard::Offence;
use crate::transaction::ServerTx;
use crate::transport::{Arrival, Transport};
use crate::wire::{HeaderName, Malformed, Message, Method, Reply, ResponseBuilder, Scheme, Uri};

/// What the node understands itself, for Allow.
pub(super) const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, REGISTER, PRACK, UPDATE, INFO, MESSAGE, SUBSCRIBE, NOTIFY, PUBLISH, REFER";

/// A response of this node's own: status, reason phrase and further header fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) reason: Cow<'static, str>,
    pub(super) headers: Vec<(HeaderName, String)>,
}

impl Answer {
    pub(super) fn new(status: u16, reason: impl Into<Cow<'static, str>>) -> Self {
        Answer { status, reason: reason.into(), headers: Vec::new() }
    }

    pub(super) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Where a request goes, or why nowhere.
type Found = Result<Vec<Destination>, Answer>;

/// A request after its Route header fields that name this node are taken off (RFC 3261 16.4).
#[derive(Clone, Debug)]
pub(super) struct Routed {
    /// How many Route values from the top are ours.
    pub(super) own_routes: usize,
    /// The first Route value that is not ours.
    pub(super) next_route: Option<String>,
    /// The call that our Record-Route named.
    pub(super) call: Option<CallId>,
    /// The flow token of the last Route value that is ours.
    pub(super) token: Option<String>,
    /// The Request-URI to use: the last Route value where a strict router put ours in its place.
    pub(super) uri: String,
    /// The last Route value is the Request-URI and has to go.
    pub(super) last_route_is_uri: bool,
    /// `next_route` has no `lr` parameter.
    pub(super) next_is_strict: bool,
}

impl Proxy {
    /// `length`: of the message.
    pub(super) fn refuse_malformed(
        &mut self,
        now: Instant,
        arrival: &Arrival,
        malformed: &Malformed,
        length: usize,
    ) {
        let tag = self.new_tag();
        if let Some(answer) = malformed.answer() {
            let bytes = answer.write(&tag, arrival.remote);
            if self.may_answer(now, arrival, length, bytes.len()) {
                self.transmit(arrival.reply(), bytes);
            }
        }
        self.count_against(now, arrival, None, Offence::Malformed);
        self.notice(Notice::Malformed {
            source: arrival.remote,
            kind: malformed.defect().kind(),
            reason: malformed.reason(),
        });
    }

    pub(super) fn handle_request(
        &mut self,
        now: Instant,
        tx: ServerTx,
        arrival: Arrival,
        request: Message,
    ) {
        self.note_alias(&arrival, &request);
        if let Err(answer) = self.take_request(now, tx, &arrival, &request) {
            self.refuse(now, tx, &arrival, &request, &answer);
        }
    }

    pub(super) fn refuse(
        &mut self,
        now: Instant,
        tx: ServerTx,
        arrival: &Arrival,
        request: &Message,
        answer: &Answer,
    ) {
        let Some(unique) = self.transactions.tag(tx) else { return };
        let tag = self.tag_of(request, unique);
        let response = self.response(request, answer, &tag);
        self.refuse_request(now, tx, arrival, request, response);
    }

    /// Whoever is refused may not be who it says: nothing is sent to it again, of a challenge nothing is
    /// kept, and over UDP nothing goes out that is much larger than what came (RFC 3261 26.3.2.4).
    fn refuse_request(
        &mut self,
        now: Instant,
        tx: ServerTx,
        arrival: &Arrival,
        request: &Message,
        response: Reply,
    ) {
        if !self.is_proportionate(now, arrival, request.raw().len(), response.bytes().len()) {
            self.transactions.respond_and_forget(now, tx, None);
        } else if matches!(response.status(), 401 | 407) {
            self.transactions.respond_and_forget(now, tx, Some(response));
        } else {
            self.transactions.respond_once(now, tx, response);
        }
    }

    /// RFC 5923 8.2: over TLS alone, for without it nobody proves who may be sent what.
    fn note_alias(&mut self, arrival: &Arrival, request: &Message) {
        if arrival.transport != Transport::Tls {
            return;
        }
        let via = request.top_via();
        if let Some(connection) = arrival.connection.filter(|id| self.is_own_connection(*id))
            && via.params().has("alias")
        {
            let port = via.port().unwrap_or(Transport::Tls.default_port());
            self.outputs.push_back(Output::Alias { connection, port });
        }
    }

    fn take_request(
        &mut self,
        now: Instant,
        tx: ServerTx,
        arrival: &Arrival,
        request: &Message,
    ) -> Result<(), Answer> {
        let method = request.method().clone();
        let routed = self.take_own_routes(request)?;
        let uri = Uri::parse(&routed.uri).map_err(|_| Answer::new(400, "Bad Request-URI"))?;
        let for_us = routed.next_route.is_none() && self.addresses.is_served(&self.config, &uri);
        match routed.last_route_is_uri {
            true => self.check_uri(arrival, request.uri(), for_us)?,
            false => self.check_uri(arrival, Some(uri), for_us)?,
        }
        if belongs_to_call(request, &routed) {
            return self.in_call_request(now, tx, arrival, request, method, &routed);
        }
        // In a farm it is the router that keeps new requests from a member that drains.
        if self.stopping || self.draining && self.farm.is_none() {
            return Err(stopping());
        }
        if method == Method::Register && for_us {
            return self.register(now, tx, arrival, request);
        }
        if for_us && routed.token.is_none() && self.is_for_events(request, &uri) {
            return self.event_request(now, tx, arrival, request, &uri);
        }
        if method == Method::Options && for_us && uri.user().is_none() {
            // RFC 3261 8.2.2.3: this node itself understands no option tag.
            check_extensions(request, HeaderName::Require)?;
            self.answer_options(now, tx, request);
            return Ok(());
        }
        if for_us && uri.user().is_none() && matches!(method, Method::Other(_)) {
            if method.as_str() == "OPTION" {
                self.notice(Notice::NoSuchPing);
            }
            // RFC 3261 21.5.2: for the node itself, which is no user.
            return Err(Answer::new(501, "Method Not Implemented").with(HeaderName::Allow, ALLOW));
        }
        self.proxy_request(now, tx, arrival, request, method, &routed, None)
    }

    /// What cannot be sent as it asks to be. `sips` goes where TLS is spoken; users' devices may be
    /// reached over a secure WebSocket, too (RFC 3261 26.2.2). It has to have come so, too, but for a
    /// trusted peer: that may be where TLS ends.
    fn check_uri(
        &self,
        arrival: &Arrival,
        uri: Option<Uri<'_>>,
        for_us: bool,
    ) -> Result<(), Answer> {
        let uri = uri.ok_or_else(|| Answer::new(400, "Bad Request-URI"))?;
        match uri.scheme() {
            Scheme::Sip => Ok(()),
            // Whoever is told 416 tries again with `sip` (RFC 3261 8.1.3.5), which gives up what was
            // asked for; 403 is not tried again.
            Scheme::Sips
                if self.config.listeners.iter().any(|l| l.transport.is_secure())
                    && !arrival.transport.is_secure()
                    && !self.config.is_trusted(arrival.remote.ip()) =>
            {
                Err(Answer::new(403, "Secure Transport Required"))
            }
            Scheme::Sips if self.offered.speaks(Transport::Tls) => Ok(()),
            Scheme::Sips
                if for_us && self.config.listeners.iter().any(|l| l.transport.is_secure()) =>
            {
                Ok(())
            }
            Scheme::Sips | Scheme::Tel | Scheme::Other(_) => {
                Err(Answer::new(416, "Unsupported URI Scheme"))
            }
        }
    }

    /// RFC 3261 16.3, for requests that go on.
    pub(super) fn check_forwardable(&self, request: &Message) -> Result<(), Answer> {
        if request.max_forwards() == Some(0) {
            return Err(Answer::new(483, "Too Many Hops"));
        }
        if forward::is_loop(&self.config, &self.addresses, self.farm.as_deref(), request) {
            return Err(Answer::new(482, "Loop Detected"));
        }
        // No option tag needs a proxy's help here (RFC 3261 20.29).
        check_extensions(request, HeaderName::ProxyRequire)
    }

    /// RFC 4028 8.1: the caller can ask again for what is taken here.
    pub(super) fn check_session_timer(&self, request: &Message) -> Result<(), Answer> {
        let refused = self
            .config
            .session_timers
            .filter(|timers| refreshes(request.method()) && timers.is_too_short(request));
        refused.map_or(Ok(()), |timers| {
            let answer = Answer::new(422, "Session Interval Too Small");
            Err(answer.with(HeaderName::MinSe, timers.min_s.to_string()))
        })
    }

    /// RFC 3261 16.4.
    pub(super) fn take_own_routes(&self, request: &Message) -> Result<Routed, Answer> {
        let call_id = request.call_id();
        let mut routes = Vec::new();
        for route in request.routes() {
            routes.push(route.map_err(|_| Answer::new(400, "Bad Route Header"))?);
        }
        let mut routed = Routed {
            own_routes: 0,
            next_route: None,
            call: None,
            token: None,
            uri: request.request_uri().to_owned(),
            last_route_is_uri: false,
            next_is_strict: false,
        };
        // Ours have parameters, and few others have.
        if !routes.is_empty()
            && request.request_uri().contains(';')
            && let Some(uri) = request.uri()
            && (uri.user().is_none() && uri.params().has("rf") || uri.params().has(flows::MARK))
            && (self.addresses.is_own(&self.config, &uri) || self.is_of_farm(&uri, call_id))
            && let Some(last) = routes.pop()
        {
            routed.call = self.call_of(&uri, call_id);
            routed.token = token_of(&uri);
            routed.uri = last.uri_text().to_owned();
            routed.last_route_is_uri = true;
        }
        for route in &routes {
            let uri = route.uri().map_err(|_| Answer::new(400, "Bad Route Header"))?;
            let call = self.call_of(&uri, call_id);
            // A request may pass here twice, as two calls: each takes its own Record-Routes off.
            let is_other_call = call.is_some() && routed.call.is_some() && call != routed.call;
            let is_own =
                self.addresses.is_this_node(&self.config, &uri) || self.is_of_farm(&uri, call_id);
            if is_other_call || !is_own {
                routed.next_route = Some(route.uri_text().to_owned());
                routed.next_is_strict = !uri.params().has("lr");
                break;
            }
            routed.call = routed.call.or(call);
            routed.token = token_of(&uri);
            routed.own_routes += 1;
        }
        Ok(routed)
    }

    fn answer_options(&mut self, now: Instant, tx: ServerTx, request: &Message) {
        let mut ok = Answer::new(200, "OK")
            .with(HeaderName::Allow, ALLOW)
            .with(HeaderName::Accept, "application/sdp");
        if self.events.is_enabled() {
            // RFC 6665 8.2.2.
            ok = ok.with(HeaderName::AllowEvents, self.events.allow_events());
        }
        self.answer(now, tx, request, &ok);
    }

    /// A request outside a call that goes on to somebody. `let_in`: its sender was judged before.
    #[expect(clippy::too_many_arguments, reason = "all that is known of a request")]
    pub(super) fn proxy_request(
        &mut self,
        now: Instant,
        tx: ServerTx,
        arrival: &Arrival,
        request: &Message,
        method: Method,
        routed: &Routed,
        let_in: Option<(Caller, Sender)>,
    ) -> Result<(), Answer> {
        self.check_forwardable(request)?;
        let is_held = let_in.is_some();
        let (found, caller, sender) = self.targets(now, arrival, request, routed, let_in)?;
        let let_in = (caller, sender);
        let targets = match found {
            Ok(targets) => targets,
            Err(answer)
                if answer.status == 480
                    && !is_held
                    && self.hold(now, tx, arrival, request, routed, &let_in) =>
            {
                return Ok(());
            }
            Err(answer) => return Err(answer),
        };
        let (caller, sender) = let_in;
        let is_invite = method == Method::Invite;
        let mut context =
            Context::new(tx, *arrival, request.clone(), method, Purpose::Plain, sender);
        context.caller = caller;
        if !is_invite {
            return self.start_context(now, context, targets, routed);
        }
        self.trying(now, tx, request);
        let call = self.new_call(now, arrival, request)?;
        context.purpose = Purpose::NewCall(call);
        let started = self.start_context(now, context, targets, routed);
        if started.is_err() {
            self.forget_call(now, call);
        } else if self.events.tells_calls() {
            self.tell_of_call(call, caller, request, routed);
        }
        started
    }

    /// Where a request outside a call goes (or why nowhere), as whom its sender was let in, and who that is.
    fn targets(
        &mut self,
        now: Instant,
        arrival: &Arrival,
        request: &Message,
        routed: &Routed,
        let_in: Option<(Caller, Sender)>,
    ) -> Result<(Found, Caller, Sender), Answer> {
        if let Some(token) = &routed.token {
            let (targets, sender) = self.along_token(now, arrival, request, routed, token)?;
            self.check_session_timer(request)?;
            return Ok((Ok(targets), Caller::Anybody, sender));
        }
        let (caller, sender) = match let_in {
            Some(let_in) => let_in,
            None => self.authorise(now, arrival, request)?,
        };
        self.check_session_timer(request)?;
        Ok((self.resolve(now, arrival, routed, caller), caller, sender))
    }

    /// RFC 3261 17.2.1: 100 before anything that can take time.
    pub(super) fn trying(&mut self, now: Instant, tx: ServerTx, request: &Message) {
        let trying = ResponseBuilder::new(request, 100, None).finish_reply();
        self.transactions.respond(now, tx, trying);
    }

    /// Answers `tx` with a response of this node's own.
    pub(super) fn answer(
        &mut self,
        now: Instant,
        tx: ServerTx,
        request: &Message,
        answer: &Answer,
    ) {
        let tag = self.new_tag_for(request);
        let response = self.response(request, answer, &tag);
        self.transactions.respond(now, tx, response);
    }

    fn response(&self, request: &Message, answer: &Answer, tag: &str) -> Reply {
        let mut response = ResponseBuilder::new(request, answer.status, &*answer.reason);
        response.to_tag(tag);
        for (name, value) in &answer.headers {
            response.header(*name, value);
        }
        response.header(HeaderName::Server, &self.config.server_name);
        response.finish_reply()
    }
}

/// Whether a request is one within a call: it names one of ours, or is of a kind that only comes within
/// a call, and calls are record-routed. Nothing is remembered of other dialogs (subscriptions): what
/// belongs to them finds its way by the flow tokens in their Record-Routes (`flows`).
fn belongs_to_call(request: &Message, routed: &Routed) -> bool {
    // A party of RFC 2543 may have no tag, but what comes within a call names it by our Record-Route.
    let is_tagged = request.to().tag().is_some();
    if !is_tagged && (routed.call.is_none() || *request.method() == Method::Invite) {
        return false;
    }
    match request.method() {
        Method::Register => false,
        Method::Invite
        | Method::Ack
        | Method::Bye
        | Method::Cancel
        | Method::Prack
        | Method::Update
        | Method::Info => true,
        Method::Options
        | Method::Message
        | Method::Subscribe
        | Method::Notify
        | Method::Publish
        | Method::Refer
        | Method::Other(_) => routed.call.is_some(),
    }
}

/// This node supports no extension by itself: each that `header` asks for is named in the refusal
/// (RFC 3261 8.2.2.3, 16.3 step 5).
fn check_extensions(request: &Message, header: HeaderName) -> Result<(), Answer> {
    if !request.has(header) {
        return Ok(());
    }
    let refusal = Answer::new(420, "Bad Extension");
    Err(request.lines(header).fold(refusal, |refusal, asked| {
        refusal.with(HeaderName::Unsupported, String::from_utf8_lossy(asked))
    }))
}

/// What is answered to whatever is new while the node stops.
pub(super) fn stopping() -> Answer {
    Answer::new(503, "Node Is Stopping").with(HeaderName::RetryAfter, RETRY_AFTER)
}

/// The flow token of one of our Record-Route or Path URIs.
fn token_of(uri: &Uri<'_>) -> Option<String> {
    uri.user().filter(|_| uri.params().has(flows::MARK)).map(str::to_owned)
}
