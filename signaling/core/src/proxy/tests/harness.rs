//! A proxy core with a clock of its own, a relay that answers at once (or when told to), and phones
//! that are lines of text.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use relay_core::api::{
    CloseCause, Command, Event, LocalPorts, Refusal, SessionId, SessionReport, SessionSpec,
};

use crate::auth::{Authenticator, Config as AuthConfig, Secret};
use crate::call::{Family, SessionTimers};
use crate::events;
use crate::guard;
use crate::overload;
use crate::proxy::config::{
    Config, LearningPolicy, Limits, Listener, MediaAddresses, Place, Redirects, Route,
};
use crate::proxy::farm::FarmOutput;
use crate::proxy::output::{Ask, CallRecord, Notice, Output};
use crate::proxy::{Load, LocalAddresses, Parts, Proxy};
use crate::registrar::{self, AnyUser, Registrar, UserTable, Users};
use crate::resolve::{Hop, ResolveError};
use crate::transaction::{self, Transactions};
use crate::transport::{Arrival, ConnectionId, ListenerId, Target, Transmit, Transport};
use crate::wire::Message;

pub(super) const NODE: &str = "192.0.2.1:5060";
/// The address of the TLS listener, where there is one.
pub(super) const NODE_TLS: &str = "192.0.2.1:5061";
pub(super) const NODE6: &str = "[2001:db8::1]:5060";

/// The node's address that faces a peer.
fn facing(peer: SocketAddr) -> SocketAddr {
    address(if peer.is_ipv4() { NODE } else { NODE6 })
}

pub(super) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "an Instant can only be had from the clock")]
fn start() -> Instant {
    Instant::now()
}

/// Nobody is listed: an open domain.
fn registrar(users: &[(&str, &str)], now: Instant) -> Registrar {
    let listed: UserTable = users
        .iter()
        .map(|(name, password)| ((*name).to_owned(), Secret::Plain((*password).to_owned())))
        .collect();
    let users: Box<dyn Users> =
        if listed.is_empty() { Box::new(AnyUser) } else { Box::new(listed) };
    Registrar::new(now, registrar::Config::default(), users, [5; 32])
}

/// One address a family, and routes of these families alone.
struct OneAddress {
    routes: Vec<Family>,
}

impl LocalAddresses for OneAddress {
    fn local_for(&mut self, remote: SocketAddr) -> Option<IpAddr> {
        let facing = facing(remote).ip();
        self.routes.contains(&Family::of(facing)).then_some(facing)
    }
}

struct Media {
    wan_ip: Option<IpAddr>,
    /// The families that there are local addresses of.
    listed: Vec<Family>,
    /// Where peers are served whose SIP address is this.
    places: Vec<(IpAddr, Place)>,
}

impl MediaAddresses for Media {
    fn bind(&self, signaling: IpAddr) -> IpAddr {
        signaling
    }

    fn advertised(&self, local: IpAddr) -> IpAddr {
        self.wan_ip.unwrap_or(local)
    }

    fn place(&self, peer: IpAddr, facing: IpAddr) -> Option<Place> {
        let own = self
            .places
            .iter()
            .find(|(of, at)| *of == peer && Family::of(at.local) == Family::of(facing));
        let common = Place { local: facing, advertised: self.advertised(facing) };
        own.map(|(_, at)| *at)
            .or_else(|| self.listed.contains(&Family::of(facing)).then_some(common))
    }
}

/// What a test node is like.
pub(super) struct Plan {
    /// Served besides `example.test`.
    pub(super) domains: Vec<&'static str>,
    pub(super) users: Vec<(&'static str, &'static str)>,
    pub(super) trusted: Vec<&'static str>,
    pub(super) assert_identity: bool,
    pub(super) routes: Vec<Route>,
    pub(super) service_routes: Vec<String>,
    pub(super) limits: Limits,
    pub(super) events: events::Config,
    pub(super) transactions: transaction::Config,
    pub(super) guard: guard::Config,
    pub(super) overload: overload::Config,
    pub(super) wan_ip: Option<IpAddr>,
    pub(super) ip_routes: Vec<Family>,
    pub(super) listed: Vec<Family>,
    pub(super) places: Vec<(IpAddr, Place)>,
    pub(super) relay_media: bool,
    pub(super) learning: LearningPolicy,
    /// There is a TLS listener, too.
    pub(super) secure: bool,
    pub(super) redirects: Redirects,
    pub(super) session_timers: Option<SessionTimers>,
    /// Another one for another run of the process.
    pub(super) seed: u8,
    /// What [`NODE`] is called by peers, where it is not this.
    pub(super) advertised: Option<SocketAddr>,
}

impl Default for Plan {
    /// An open domain.
    fn default() -> Self {
        Plan {
            domains: Vec::new(),
            users: Vec::new(),
            trusted: Vec::new(),
            assert_identity: true,
            routes: Vec::new(),
            service_routes: Vec::new(),
            limits: Limits::default(),
            events: events::Config::default(),
            transactions: transaction::Config::new([1; 32]),
            guard: guard::Config::default(),
            overload: overload::Config::default(),
            wan_ip: None,
            ip_routes: vec![Family::V4, Family::V6],
            listed: vec![Family::V4, Family::V6],
            places: Vec::new(),
            relay_media: true,
            learning: LearningPolicy::Strict,
            secure: false,
            redirects: Redirects::default(),
            session_timers: Some(SessionTimers::default()),
            seed: 4,
            advertised: None,
        }
    }
}

pub(super) struct Bench {
    pub(super) now: Instant,
    pub(super) proxy: Proxy,
    pub(super) sent: VecDeque<Transmit>,
    pub(super) commands: Vec<Command>,
    pub(super) records: Vec<CallRecord>,
    pub(super) notices: Vec<Notice>,
    /// Connections that the node wants closed.
    pub(super) closed: Vec<ConnectionId>,
    /// Commands that the relay has not answered, when it answers only when told to.
    pub(super) held: VecDeque<Command>,
    pub(super) relay_is_slow: bool,
    pub(super) relay_refuses: bool,
    pub(super) asked: Vec<Ask>,
    pub(super) aliases: Vec<(ConnectionId, u16)>,
    /// What other members are to get.
    pub(super) farm: VecDeque<FarmOutput>,
}

impl Bench {
    pub(super) fn new(plan: Plan) -> Bench {
        let now = start();
        let listener = |transport, at| Listener {
            transport,
            bound: address(at),
            advertised: plan.advertised.filter(|_| at == NODE),
        };
        let mut listeners = vec![
            listener(Transport::Udp, NODE),
            listener(Transport::Tcp, NODE),
            listener(Transport::Udp, "[::]:5060"),
        ];
        listeners.extend(plan.secure.then(|| listener(Transport::Tls, NODE_TLS)));
        let config = Config {
            listeners,
            domains: ["example.test"]
                .iter()
                .chain(&plan.domains)
                .map(|d| (*d).to_owned())
                .collect(),
            realm: "example.test".to_owned(),
            trusted: plan.trusted.iter().map(|t| t.parse::<IpAddr>().unwrap().into()).collect(),
            assert_identity: plan.assert_identity,
            routes: plan.routes,
            relay_media: plan.relay_media,
            learning: plan.learning,
            service_routes: plan.service_routes,
            flow_timer: Some(Duration::from_secs(120)),
            udp_bytes_max: 1_300,
            fork_time: Duration::from_secs(20),
            server_timeout: Duration::from_secs(4),
            redirects: plan.redirects,
            session_timers: plan.session_timers,
            server_name: "ringfarm/test".to_owned(),
            limits: plan.limits,
            events: plan.events,
            guard: plan.guard,
            overload: plan.overload,
        };
        let parts = Parts {
            transactions: Transactions::new(now, plan.transactions),
            registrar: registrar(&plan.users, now),
            authenticator: Authenticator::new(
                AuthConfig::new([2; 32]),
                [3; 32],
                now,
                Duration::from_secs(1_700_000_000),
            ),
            local: Box::new(OneAddress { routes: plan.ip_routes }),
            media: Box::new(Media {
                wan_ip: plan.wan_ip,
                listed: plan.listed,
                places: plan.places,
            }),
            secret: [6; 32],
            seed: [plan.seed; 32],
        };
        Bench {
            now,
            proxy: Proxy::new(now, config, parts),
            sent: VecDeque::new(),
            commands: Vec::new(),
            records: Vec::new(),
            notices: Vec::new(),
            closed: Vec::new(),
            held: VecDeque::new(),
            relay_is_slow: false,
            relay_refuses: false,
            asked: Vec::new(),
            aliases: Vec::new(),
            farm: VecDeque::new(),
        }
    }

    /// A datagram arrives.
    pub(super) fn udp(&mut self, from: &str, text: &str) {
        self.datagram(from, Bytes::from(text.to_owned()));
    }

    /// A datagram arrives that need not be text.
    pub(super) fn datagram(&mut self, from: &str, bytes: Bytes) {
        let arrival = Arrival {
            transport: Transport::Udp,
            listener: ListenerId(if address(from).is_ipv4() { 0 } else { 2 }),
            local: facing(address(from)),
            remote: address(from),
            connection: None,
        };
        self.arrive(arrival, bytes);
    }

    /// A message arrives on a connection.
    pub(super) fn tcp(&mut self, from: &str, connection: u64, text: &str) {
        let arrival = Arrival {
            transport: Transport::Tcp,
            listener: ListenerId(1),
            local: address(NODE),
            remote: address(from),
            connection: Some(ConnectionId(connection)),
        };
        self.arrive(arrival, Bytes::from(text.to_owned()));
    }

    /// A message arrives on a connection that is secured.
    pub(super) fn tls(&mut self, from: &str, connection: u64, text: &str) {
        let arrival = Arrival {
            transport: Transport::Tls,
            listener: ListenerId(3),
            local: address(NODE_TLS),
            remote: address(from),
            connection: Some(ConnectionId(connection)),
        };
        self.arrive(arrival, Bytes::from(text.to_owned()));
    }

    fn arrive(&mut self, arrival: Arrival, bytes: Bytes) {
        self.proxy.handle_message(self.now, arrival, bytes);
        self.settle();
    }

    /// Lets time pass, stopping at every timer.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.proxy.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.proxy.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
    }

    /// The relay answers the oldest command that it holds.
    pub(super) fn relay_answers(&mut self) {
        let command = self.held.pop_front().expect("a command is held");
        self.answer(command);
        self.settle();
    }

    /// The node is told to stop.
    pub(super) fn stop(&mut self) {
        self.proxy.handle_stop(self.now);
        self.settle();
    }

    /// A message could not be delivered.
    pub(super) fn cannot_send(&mut self, target: &Target) {
        self.proxy.handle_transport_error(self.now, target);
        self.settle();
    }

    /// A connection has closed.
    pub(super) fn close(&mut self, connection: u64) {
        self.proxy.handle_closed(self.now, ConnectionId(connection));
        self.settle();
    }

    /// DNS has answered.
    pub(super) fn resolved(&mut self, token: u64, found: Result<Vec<Hop>, ResolveError>) {
        self.proxy.handle_resolved(self.now, token, found);
        self.settle();
    }

    pub(super) fn relay_event(&mut self, event: Event) {
        self.proxy.handle_media(self.now, event);
        self.settle();
    }

    pub(super) fn settle(&mut self) {
        while let Some(output) = self.proxy.poll_output() {
            match output {
                Output::Transmit(transmit) => self.sent.push_back(transmit),
                Output::Media(command) => {
                    let command = *command;
                    self.commands.push(command.clone());
                    if self.relay_is_slow {
                        self.held.push_back(command);
                    } else {
                        self.answer(command);
                    }
                }
                Output::Resolve(ask) => self.asked.push(*ask),
                Output::Alias { connection, port } => self.aliases.push((connection, port)),
                Output::Farm(output) => self.farm.push_back(*output),
                Output::Record(record) => self.records.push(*record),
                Output::Close(connection) => self.closed.push(connection),
                Output::Notice(notice) => self.notices.push(notice),
            }
        }
    }

    fn answer(&mut self, command: Command) {
        let event = match command {
            Command::Apply { session, token, .. } if self.relay_refuses => Event::Refused {
                session,
                token,
                reason: Refusal::TableFull { what: "test", limit: 0 },
            },
            Command::Apply { session, token, spec } => {
                Event::Applied { session, token, ports: ports(session, &spec) }
            }
            Command::Close { session } => Event::Closed {
                session,
                cause: CloseCause::Asked,
                report: SessionReport::default(),
            },
            Command::Report { session, token } => Event::Report { session, token, report: None },
        };
        self.proxy.handle_media(self.now, event);
    }

    /// The next message sent, to `to`, as text.
    #[track_caller]
    pub(super) fn next_to(&mut self, to: &str) -> String {
        let transmit = self.sent.pop_front().expect("a message is sent");
        let text = String::from_utf8(transmit.bytes.to_vec()).unwrap();
        assert_eq!(transmit.target.remote, address(to), "{text}");
        text
    }

    /// The next message sent to `to`, which must be parsable.
    #[track_caller]
    pub(super) fn message_to(&mut self, to: &str) -> Message {
        let transmit = self.sent.pop_front().expect("a message is sent");
        let message = Message::parse_datagram(transmit.bytes).unwrap();
        assert_eq!(transmit.target.remote, address(to), "{}", show(&message));
        message
    }

    #[track_caller]
    pub(super) fn expect_status(&mut self, to: &str, status: u16) -> Message {
        let message = self.message_to(to);
        assert_eq!(message.status(), Some(status), "{}", show(&message));
        message
    }

    #[track_caller]
    pub(super) fn expect_request(&mut self, to: &str, method: &str) -> Message {
        let message = self.message_to(to);
        assert!(message.is_request(), "{}", show(&message));
        assert_eq!(message.method().as_str(), method);
        message
    }

    #[track_caller]
    pub(super) fn expect_silence(&self) {
        assert!(self.sent.is_empty(), "{:?}", self.sent);
    }

    /// Once every transaction has ended, nothing is left of what went on.
    #[track_caller]
    pub(super) fn expect_all_forgotten(&mut self) {
        self.pass(Duration::from_secs(64));
        assert_eq!(self.proxy.load(), Load::default());
        self.proxy.assert_clean();
    }

    /// The last state that the relay was asked for.
    #[track_caller]
    pub(super) fn last_spec(&self) -> &SessionSpec {
        let spec = self.commands.iter().rev().find_map(|command| match command {
            Command::Apply { spec, .. } => Some(spec),
            Command::Close { .. } | Command::Report { .. } => None,
        });
        spec.expect("a session was applied")
    }

    pub(super) fn closed_sessions(&self) -> Vec<SessionId> {
        let closed = |command: &Command| match command {
            Command::Close { session } => Some(*session),
            Command::Apply { .. } | Command::Report { .. } => None,
        };
        self.commands.iter().filter_map(closed).collect()
    }

    /// Registers `user` at the node in an open domain.
    pub(super) fn register(&mut self, user: &str, at: &str) {
        self.register_with_q(user, at, "1");
    }

    pub(super) fn register_with_q(&mut self, user: &str, at: &str, q: &str) {
        self.udp(at, &register(user, at, q));
        self.expect_status(at, 200);
    }
}

/// A REGISTER for `user` at `at`, over UDP.
pub(super) fn register(user: &str, at: &str, q: &str) -> String {
    format!(
        "REGISTER sip:example.test SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bKr{user}{at}\r\n\
                 From: <sip:{user}@example.test>;tag=r\r\nTo: <sip:{user}@example.test>\r\n\
                 Call-ID: reg-{user}-{at}\r\nCSeq: 1 REGISTER\r\nContact: <sip:{user}@{at}>;q={q}\r\n\
                 Expires: 3600\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
}

/// The ports that the test's relay gives: by session, stream and leg, so that a test can tell them
/// apart: session 3, stream 1, callee: 30000 + 3*100 + 1*10 + 4.
pub(super) fn ports(session: SessionId, spec: &SessionSpec) -> crate::call::media::Ports {
    let stream = |(i, stream): (usize, &relay_core::api::StreamSpec)| {
        let base = 30_000 + session.0 as u16 * 100 + i as u16 * 10;
        let leg = |leg: usize| LocalPorts {
            rtp: SocketAddr::new(spec.local[leg], base + 4 * leg as u16),
            rtcp: SocketAddr::new(spec.local[leg], base + 4 * leg as u16 + 1),
        };
        stream.open.then(|| [leg(0), leg(1)])
    };
    spec.streams.iter().enumerate().map(stream).collect()
}

/// What DNS answers: these servers, over UDP.
pub(super) fn hops_of(servers: &[&str]) -> Result<Vec<Hop>, ResolveError> {
    let hop =
        |at: &&str| Hop { address: address(at), transport: Transport::Udp, server_name: None };
    Ok(servers.iter().map(hop).collect())
}

/// How a datagram of this peer comes.
pub(super) fn udp_arrival(remote: &str) -> Arrival {
    let Target { transport, listener, local, remote, connection, name: _ } = udp_target(remote);
    Arrival { transport, listener, local, remote, connection }
}

/// How a message comes on this connection.
pub(in crate::proxy) fn tcp_arrival(connection: ConnectionId) -> Arrival {
    let listener = ListenerId(1);
    let connection = Some(connection);
    Arrival { transport: Transport::Tcp, listener, connection, ..udp_arrival("198.51.100.10:5060") }
}

/// The way to a peer over UDP.
pub(super) fn udp_target(remote: &str) -> Target {
    Target {
        transport: Transport::Udp,
        listener: ListenerId(0),
        local: address(NODE),
        remote: address(remote),
        connection: None,
        name: None,
    }
}

pub(super) fn show(message: &Message) -> String {
    String::from_utf8_lossy(message.raw()).into_owned()
}

/// A description with one audio stream.
pub(super) fn sdp(ip: &str, port: u16) -> String {
    let family = if ip.contains(':') { "IP6" } else { "IP4" };
    format!(
        "v=0\r\no=- 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n"
    )
}

/// A response to `request` as a user agent makes it.
pub(super) fn reply(
    request: &Message,
    status: u16,
    tag: &str,
    contact: &str,
    body: &str,
) -> String {
    use crate::wire::HeaderName;
    let mut text = format!("SIP/2.0 {status} Test\r\n");
    for via in request.lines(HeaderName::Via) {
        text += &format!("Via: {}\r\n", String::from_utf8_lossy(via));
    }
    for route in request.lines(HeaderName::RecordRoute) {
        text += &format!("Record-Route: {}\r\n", String::from_utf8_lossy(route));
    }
    let to = String::from_utf8_lossy(request.to().as_bytes()).into_owned();
    let to = if request.to().tag().is_some() { to } else { format!("{to};tag={tag}") };
    text += &format!(
        "From: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {} {}\r\nContact: <{contact}>\r\n",
        String::from_utf8_lossy(request.from().as_bytes()),
        request.call_id(),
        request.cseq().number,
        request.cseq().method,
    );
    text + &with_body(body)
}

pub(super) fn with_body(body: &str) -> String {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!("{kind}Content-Length: {}\r\n\r\n{body}", body.len())
}
