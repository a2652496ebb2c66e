//! The ng control protocol: SIP proxies such as Kamailio and OpenSIPS have this node relay the media
//! of *their* calls. A command is a datagram of a cookie and a bencoded dictionary; the reply carries
//! the same cookie.
//!
//! [`Ng`] is one value without I/O, with four kinds of method as [`crate::proxy::Proxy`]: `handle_*`,
//! [`Ng::poll_output`], [`Ng::poll_timeout`] and getters. It turns descriptions into relay sessions by
//! the same [`MediaSession`](crate::call::MediaSession) as the proxy does, and a reply with ports in
//! it leaves once the relay has opened them.
//!
//! Whoever can send a command controls media: only the addresses in [`Config::allow`] are heard.

pub mod bencode;
mod cache;
mod calls;
mod command;
mod delete;
mod exchange;
mod reply;
mod statistics;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ipnet::IpNet;
use relay_core::api::{CloseCause, Command, Event, Leg, Refusal, SessionId, SessionReport};
use smallvec::SmallVec;

use crate::call::media::OfferId;
use crate::call::refusal::explain;
use crate::call::{LearningPolicy, MediaAddresses, Owner, SessionIds, log_name};
use crate::proxy::LocalAddresses;
use crate::table::{Key, Table};
use crate::timer::{TimerId, Wheel};
use crate::transport::{Arrival, Target, Transmit};

use bencode::Entries;
use cache::{Cache, Cookie, Known};
use calls::Calls;
use command::{CommandError, Params, Verb};
use delete::Tally;
use reply::WallClock;
pub use statistics::{Counters, PortFigures};

/// Most commands that wait for the relay at a time; more are refused as an overload. A relay that
/// works answers within a millisecond, so this many are more than it can have.
pub const REQUESTS_MAX: usize = 8192;

/// How long a command waits for the relay before it is answered without it. Shorter than the five
/// seconds after which controllers give up.
const RELAY_PATIENCE: Duration = Duration::from_secs(3);

/// What this part of the node is told once.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who may send commands.
    pub allow: Vec<IpNet>,
    /// What `direction` can name.
    pub interfaces: Vec<Interface>,
    /// When the sources of media are learned.
    pub learning: LearningPolicy,
    /// Most calls; at the bound offers of new ones are refused as an overload.
    pub calls_max: usize,
    /// A call for which no command comes for this long is ended.
    pub call_lifetime: Duration,
    /// The wall clock at the instant of [`Ng::new`], since 1970.
    pub unix: Duration,
}

/// A local address with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// As commands name it; an IPv4 and an IPv6 address may share one name.
    pub name: String,
    /// What ports are bound to.
    pub address: IpAddr,
    /// What SDP says instead; `None`: as the node's media settings say.
    pub advertised: Option<IpAddr>,
}

/// One thing for the node to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send this reply.
    Transmit(Transmit),
    /// Hand this to the relay; its answer comes back through [`Ng::handle_media`].
    Media(Box<Command>),
    /// A session has ended.
    Record(Box<Record>),
    /// Something that an operator should see.
    Notice(Notice),
}

/// A relay session of a controller that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The SIP Call-ID, as far as it is text.
    pub call_id: String,
    /// Why it ended.
    pub cause: CloseCause,
    /// What it relayed.
    pub report: SessionReport,
}

/// Something that an operator should see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A command was answered with an error.
    Refused {
        /// Who sent it.
        source: SocketAddr,
        /// What it was told.
        reason: String,
    },
    /// Somebody who may not (at DEBUG: strangers can cause any number of these).
    Stranger {
        /// Where the datagram came from.
        source: SocketAddr,
    },
    /// A datagram without a cookie, which cannot be answered (at DEBUG, as above).
    NoCookie {
        /// Where it came from.
        source: SocketAddr,
    },
    /// A call was ended because no command came for it any more.
    LifetimeExceeded {
        /// The SIP Call-ID.
        call_id: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Refused { source, reason } => {
                write!(f, "ng command from {source} refused: {reason}")
            }
            Notice::Stranger { source } => {
                write!(f, "ng datagram from {source}, whom ng.allow does not list, ignored")
            }
            Notice::NoCookie { source } => write!(f, "ng datagram from {source} has no cookie"),
            Notice::LifetimeExceeded { call_id } => {
                let call_id = log_name(call_id);
                write!(f, "ng call {call_id} ended: no command came for it any more")
            }
        }
    }
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Failure {
    /// It cannot be, here or anywhere.
    Refused(String),
    /// This node has no room for it; another may.
    Overload(String),
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Failure {
        Failure::Refused(error.to_string())
    }
}

/// Who waits for a reply.
#[derive(Clone, Debug)]
struct Asker {
    target: Target,
    cookie: Cookie,
    knows_load_limit: bool,
}

/// A command that waits for the relay.
#[derive(Debug)]
struct Request {
    asker: Asker,
    work: Work,
    /// Of the relay commands that it waits for.
    tokens: SmallVec<[u64; 1]>,
    timer: Option<TimerId>,
}

#[derive(Debug)]
enum Work {
    /// A description, to be rewritten for `to`'s peer.
    Describe { session: SessionId, to: Leg, offer: Option<OfferId>, sdp: Bytes },
    /// Figures are being gathered.
    Tally(Tally),
}

#[derive(Clone, Copy, Debug)]
enum Timer {
    Request(Key),
    Call(Key),
}

/// A session that the relay has been told of and has not closed yet.
#[derive(Debug)]
struct Session {
    call: Key,
    call_id: Box<[u8]>,
    /// The command that waits for its end.
    tally: Option<Key>,
}

/// What became of a command for now.
enum Step {
    Reply(Entries),
    /// A description as `to`'s peer shall see it.
    Described {
        session: SessionId,
        to: Leg,
        sdp: Vec<u8>,
    },
    /// The reply follows when the relay has answered.
    Waits,
}

/// The ng side of one node.
pub struct Ng {
    config: Config,
    local: Box<dyn LocalAddresses>,
    addresses: Box<dyn MediaAddresses>,
    clock: WallClock,
    calls: Calls,
    sessions: HashMap<SessionId, Session>,
    requests: Table<Request>,
    by_token: HashMap<u64, Key>,
    cache: Cache,
    timers: Wheel<Timer>,
    session_ids: SessionIds,
    last_token: u64,
    counters: Counters,
    ports: PortFigures,
    outputs: VecDeque<Output>,
    is_stopping: bool,
}

impl Ng {
    /// The ng side of a node at `now`, without calls.
    #[must_use]
    pub fn new(
        now: Instant,
        config: Config,
        local: Box<dyn LocalAddresses>,
        addresses: Box<dyn MediaAddresses>,
    ) -> Ng {
        Ng {
            local,
            addresses,
            clock: WallClock { at: now, unix: config.unix },
            calls: Calls::new(config.calls_max),
            sessions: HashMap::new(),
            requests: Table::new(REQUESTS_MAX),
            by_token: HashMap::new(),
            cache: Cache::default(),
            timers: Wheel::new(now, config.calls_max + REQUESTS_MAX),
            session_ids: SessionIds::new(Owner::Ng),
            last_token: 0,
            counters: Counters::default(),
            ports: PortFigures::default(),
            outputs: VecDeque::new(),
            is_stopping: false,
            config,
        }
    }

    /// A datagram.
    pub fn handle_datagram(&mut self, now: Instant, arrival: &Arrival, datagram: &Bytes) {
        let source = arrival.remote;
        let ip = source.ip().to_canonical();
        if !self.config.allow.iter().any(|net| net.contains(&ip)) {
            self.counters.strangers += 1;
            return self.notice(Notice::Stranger { source });
        }
        let Some((cookie, document)) = command::split(datagram) else {
            self.counters.malformed += 1;
            return self.notice(Notice::NoCookie { source });
        };
        // A copy: a slice would keep the whole block of received datagrams.
        let cookie = (source, Bytes::copy_from_slice(cookie));
        self.cache.purge(now);
        if let Some(known) = self.cache.get(&cookie).cloned() {
            self.counters.repeated += 1;
            let asker = Asker { target: arrival.reply(), cookie, knows_load_limit: false };
            return match known {
                Known::UnderWay => {}
                Known::Described { session, to } => {
                    self.describe_again(&asker, session, to, document);
                }
                Known::Answered(bytes) => self.transmit(asker.target, bytes.into()),
            };
        }
        self.cache.begin(now, &cookie);
        let mut asker = Asker { target: arrival.reply(), cookie, knows_load_limit: false };
        let step = command::parse(document).map_err(Failure::from).and_then(|(verb, params)| {
            asker.knows_load_limit = params.knows_load_limit;
            self.counters.note(verb, &params);
            self.carry_out(now, &asker, verb, &params, datagram)
        });
        self.take_step(&asker, step);
    }

    fn carry_out(
        &mut self,
        now: Instant,
        asker: &Asker,
        verb: Verb,
        params: &Params<'_>,
        datagram: &Bytes,
    ) -> Result<Step, Failure> {
        match verb {
            Verb::Ping => Ok(Step::Reply(Entries::new().with("result", "pong"))),
            Verb::Offer | Verb::Answer => self.exchange(now, asker, verb, params, datagram),
            Verb::Delete => self.delete(now, asker, params),
            Verb::Query => self.query(now, asker, params),
            Verb::List => Ok(Step::Reply(self.list(params))),
            Verb::Statistics => Ok(Step::Reply(self.statistics(now))),
        }
    }

    /// The relay answers, or has ended a session by itself.
    pub fn handle_media(&mut self, event: Event) {
        match event {
            Event::Applied { session, token, ports } => {
                if let Some(branch) = self.branch_of(session) {
                    branch.media.applied(token, ports);
                }
                self.described(token, Ok(()));
            }
            Event::Refused { session, token, reason } => {
                let failure = self.failure(&reason);
                self.session_refused(session, token);
                self.described(token, Err(failure));
            }
            Event::Closed { session, cause, report } => self.session_closed(session, cause, report),
            Event::Report { session, token, report } => {
                if let Some(key) = self.by_token.remove(&token) {
                    self.tally(key, session, report);
                }
            }
        }
    }

    /// Something is due, see [`Ng::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        self.cache.purge(now);
        while let Some(timer) = self.timers.pop_expired(now) {
            match timer {
                Timer::Request(key) => self.request_timed_out(key),
                Timer::Call(key) => self.call_timed_out(key),
            }
        }
    }

    /// When [`Ng::handle_timeout`] is due next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.timers.next_deadline(), self.cache.next_purge()].into_iter().flatten().min()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The node stops: every session is closed, and offers of new calls are refused as an overload.
    pub fn handle_stop(&mut self) {
        self.is_stopping = true;
        for key in self.calls.keys() {
            self.end_call(key);
        }
    }

    /// Calls that are set up.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Relay sessions that have not been closed.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// How full the media ports are, which only the node knows: for the `statistics` command.
    pub const fn note_ports(&mut self, figures: PortFigures) {
        self.ports = figures;
    }

    /// What was counted since the start.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    fn notice(&mut self, notice: Notice) {
        self.outputs.push_back(Output::Notice(notice));
    }

    fn transmit(&mut self, target: Target, bytes: Bytes) {
        self.outputs.push_back(Output::Transmit(Transmit { target, bytes, server_name: None }));
    }

    fn media(&mut self, command: Command) {
        self.outputs.push_back(Output::Media(Box::new(command)));
    }

    fn next_token(&mut self) -> u64 {
        self.last_token += 1;
        self.last_token
    }

    fn take_step(&mut self, asker: &Asker, step: Result<Step, Failure>) {
        match step {
            Ok(Step::Reply(entries)) => self.reply(asker, &entries),
            Ok(Step::Described { session, to, sdp }) => {
                let bytes = reply::encode(&asker.cookie.1, &reply::ok().with("sdp", sdp));
                self.cache.answered(&asker.cookie, Known::Described { session, to });
                self.transmit(asker.target, bytes);
            }
            Ok(Step::Waits) => {}
            Err(failure) => self.fail(asker, &failure),
        }
    }

    fn fail(&mut self, asker: &Asker, failure: &Failure) {
        self.counters.errors += 1;
        let (Failure::Refused(reason) | Failure::Overload(reason)) = failure;
        let (source, reason) = (asker.target.remote, reason.clone());
        self.notice(Notice::Refused { source, reason });
        self.reply(asker, &reply::failure(failure, asker.knows_load_limit));
    }

    fn reply(&mut self, asker: &Asker, entries: &Entries) {
        let bytes = reply::encode(&asker.cookie.1, entries);
        self.cache.answered(&asker.cookie, Known::Answered(bytes[..].into()));
        self.transmit(asker.target, bytes);
    }

    /// Has a command wait for the relay.
    fn await_relay(
        &mut self,
        now: Instant,
        asker: &Asker,
        tokens: SmallVec<[u64; 1]>,
        work: Work,
    ) -> Result<Key, Failure> {
        let request = Request { asker: asker.clone(), work, tokens: tokens.clone(), timer: None };
        let key = self.requests.insert(request).map_err(|_| too_busy())?;
        let timer = self.timers.schedule(now + RELAY_PATIENCE, Timer::Request(key)).ok();
        if let Some(request) = self.requests.get_mut(key) {
            request.timer = timer;
        }
        self.by_token.extend(tokens.into_iter().map(|token| (token, key)));
        Ok(key)
    }

    /// A command need not wait any more.
    fn take_request(&mut self, key: Key) -> Option<Request> {
        let request = self.requests.remove(key)?;
        if let Some(timer) = request.timer {
            self.timers.cancel(timer);
        }
        for token in &request.tokens {
            self.by_token.remove(token);
        }
        Some(request)
    }

    fn request_timed_out(&mut self, key: Key) {
        let Some(request) = self.take_request(key) else { return };
        match request.work {
            Work::Describe { .. } => {
                let why = "the relay has not answered in time".to_owned();
                self.fail(&request.asker, &Failure::Overload(why));
            }
            Work::Tally(tally) => self.finish_tally(&request.asker, &tally),
        }
    }

    /// The relay's refusal, as the controller and the operator are told.
    fn failure(&self, refusal: &Refusal) -> Failure {
        let why = explain(refusal, |owner| {
            let call_id = String::from_utf8_lossy(&self.sessions.get(&owner)?.call_id);
            Some(log_name(&call_id).to_owned())
        });
        match refusal {
            Refusal::PortsExhausted { .. } | Refusal::TableFull { .. } | Refusal::WorkerLost => {
                Failure::Overload(why)
            }
            Refusal::AddressNotLocal(_) | Refusal::BadSpec(_) | Refusal::Os { .. } => {
                Failure::Refused(why)
            }
        }
    }

    fn call_timed_out(&mut self, key: Key) {
        let Some(call) = self.calls.get_mut(key) else { return };
        call.timer = None;
        let call_id = String::from_utf8_lossy(&call.id).into_owned();
        self.counters.lifetime_exceeded += 1;
        self.notice(Notice::LifetimeExceeded { call_id });
        self.end_call(key);
    }
}

fn too_busy() -> Failure {
    Failure::Overload(format!("{REQUESTS_MAX} commands wait for the relay"))
}
