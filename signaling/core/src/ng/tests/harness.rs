//! An ng side with a clock of its own, a relay that answers at once (or when told to), and
//! controllers that send dictionaries.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use relay_core::api::{
    CloseCause, Command, DirectionReport, Event, LocalPorts, Refusal, SessionId, SessionReport,
    SessionSpec,
};
use smallvec::smallvec;

use crate::call::{LearningPolicy, MediaAddresses};
use crate::ng::bencode::{Entries, Item, Value};
use crate::ng::{Config, Interface, Ng, Notice, Output, Record};
use crate::proxy::LocalAddresses;
use crate::transport::{Arrival, ListenerId, Transmit, Transport};

pub(super) const PROXY: &str = "192.0.2.9:40000";
const NODE: &str = "192.0.2.1:2223";

pub(super) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "an Instant can only be had from the clock")]
fn start() -> Instant {
    Instant::now()
}

/// One address a family.
struct Addresses;

impl LocalAddresses for Addresses {
    fn local_for(&mut self, remote: SocketAddr) -> Option<IpAddr> {
        Some(if remote.is_ipv4() { "192.0.2.1" } else { "2001:db8::1" }.parse().unwrap())
    }
}

impl MediaAddresses for Addresses {
    fn bind(&self, signaling: IpAddr) -> IpAddr {
        signaling
    }

    fn advertised(&self, local: IpAddr) -> IpAddr {
        local
    }
}

pub(super) fn config() -> Config {
    Config {
        allow: vec!["192.0.2.0/24".parse().unwrap()],
        interfaces: Vec::new(),
        learning: LearningPolicy::Strict,
        calls_max: 100,
        call_lifetime: Duration::from_secs(3600),
        unix: Duration::from_secs(1_700_000_000),
    }
}

pub(super) fn interface(name: &str, address: &str, advertised: Option<&str>) -> Interface {
    Interface {
        name: name.to_owned(),
        address: address.parse().unwrap(),
        advertised: advertised.map(|a| a.parse().unwrap()),
    }
}

pub(super) struct Bench {
    pub(super) now: Instant,
    pub(super) ng: Ng,
    pub(super) sent: VecDeque<Transmit>,
    pub(super) commands: Vec<Command>,
    pub(super) records: Vec<Record>,
    pub(super) notices: Vec<Notice>,
    /// Commands that the relay has not answered.
    pub(super) held: VecDeque<Command>,
    pub(super) relay_is_slow: bool,
    pub(super) refusal: Option<Refusal>,
    cookie: u32,
}

impl Bench {
    pub(super) fn new(config: Config) -> Bench {
        let now = start();
        Bench {
            now,
            ng: Ng::new(now, config, Box::new(Addresses), Box::new(Addresses)),
            sent: VecDeque::new(),
            commands: Vec::new(),
            records: Vec::new(),
            notices: Vec::new(),
            held: VecDeque::new(),
            relay_is_slow: false,
            refusal: None,
            cookie: 0,
        }
    }

    /// A datagram as it is.
    pub(super) fn datagram(&mut self, from: &str, bytes: &[u8]) {
        let arrival = Arrival {
            transport: Transport::Udp,
            listener: ListenerId(7),
            local: address(NODE),
            remote: address(from),
            connection: None,
        };
        self.ng.handle_datagram(self.now, &arrival, &Bytes::copy_from_slice(bytes));
        self.work();
    }

    /// Sends a command under a cookie of its own, which is returned.
    pub(super) fn send(&mut self, command: &Entries) -> String {
        self.cookie += 1;
        let cookie = format!("77_{}", self.cookie);
        self.datagram(PROXY, &framed(&cookie, command));
        cookie
    }

    /// Sends a command, which must be answered at once.
    #[track_caller]
    pub(super) fn ask(&mut self, command: &Entries) -> Reply {
        let cookie = self.send(command);
        self.reply_to(&cookie)
    }

    /// As [`Bench::ask`]; the rewritten description of the reply.
    #[track_caller]
    pub(super) fn describe(&mut self, command: &Entries) -> String {
        let reply = self.ask(command);
        assert_eq!(reply.text("result"), "ok", "{reply:?}");
        reply.text("sdp")
    }

    /// As [`Bench::ask`]; why it was refused.
    #[track_caller]
    pub(super) fn refused(&mut self, command: &Entries) -> String {
        let reply = self.ask(command);
        assert_eq!(reply.text("result"), "error", "{reply:?}");
        reply.text("error-reason")
    }

    /// The next reply, which must have this cookie.
    #[track_caller]
    pub(super) fn reply_to(&mut self, cookie: &str) -> Reply {
        let transmit = self.sent.pop_front().expect("a reply is sent");
        assert_eq!(transmit.target.remote, address(PROXY));
        assert_eq!(transmit.target.listener, ListenerId(7));
        let head = format!("{cookie} ");
        let document = transmit.bytes.strip_prefix(head.as_bytes());
        Reply(document.unwrap_or_else(|| panic!("{:?}", transmit.bytes)).to_vec())
    }

    #[track_caller]
    pub(super) fn expect_silence(&self) {
        assert!(self.sent.is_empty(), "{:?}", self.sent);
    }

    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.ng.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.ng.handle_timeout(self.now);
            self.work();
        }
        self.now = end;
    }

    pub(super) fn stop(&mut self) {
        self.ng.handle_stop();
        self.work();
    }

    pub(super) fn relay_event(&mut self, event: Event) {
        self.ng.handle_media(event);
        self.work();
    }

    /// The relay answers what it has held back.
    pub(super) fn relay_answers(&mut self) {
        while let Some(command) = self.held.pop_front() {
            self.answer(command);
            self.work();
        }
    }

    fn work(&mut self) {
        while let Some(output) = self.ng.poll_output() {
            match output {
                Output::Transmit(transmit) => self.sent.push_back(transmit),
                Output::Media(command) => {
                    self.commands.push((*command).clone());
                    if self.relay_is_slow {
                        self.held.push_back(*command);
                    } else {
                        self.answer(*command);
                    }
                }
                Output::Record(record) => self.records.push(*record),
                Output::Notice(notice) => self.notices.push(notice),
            }
        }
    }

    fn answer(&mut self, command: Command) {
        self.ng.handle_media(match (command, &self.refusal) {
            (Command::Apply { session, token, .. }, Some(refusal)) => {
                Event::Refused { session, token, reason: refusal.clone() }
            }
            (Command::Apply { session, token, spec }, None) => {
                Event::Applied { session, token, ports: ports(session, &spec) }
            }
            (Command::Close { session }, _) => {
                Event::Closed { session, cause: CloseCause::Asked, report: report() }
            }
            (Command::Report { session, token }, _) => {
                Event::Report { session, token, report: Some(report()) }
            }
        });
    }

    /// The session and state that the relay was asked for last.
    #[track_caller]
    pub(super) fn last_spec(&self) -> (SessionId, &SessionSpec) {
        let spec = self.commands.iter().rev().find_map(|command| match command {
            Command::Apply { session, spec, .. } => Some((*session, spec)),
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
}

/// Ports that tell session and stream: 20000 and up, 100 a session, 4 a stream.
fn ports(
    session: SessionId,
    spec: &SessionSpec,
) -> smallvec::SmallVec<[Option<[LocalPorts; 2]>; 2]> {
    let first = 20_000 + 100 * (session.0 as u16);
    let streams = spec.streams.iter().zip((first..).step_by(4));
    streams
        .map(|(stream, first)| {
            stream.open.then(|| {
                [0, 1].map(|leg: u16| LocalPorts {
                    rtp: SocketAddr::new(spec.local[usize::from(leg)], first + 2 * leg),
                    rtcp: SocketAddr::new(spec.local[usize::from(leg)], first + 2 * leg + 1),
                })
            })
        })
        .collect()
}

/// What every session of these tests has relayed.
fn report() -> SessionReport {
    let direction = |packets| DirectionReport {
        packets,
        bytes: packets * 172,
        rtcp_packets: 2,
        dropped: 1,
        ..DirectionReport::default()
    };
    SessionReport {
        lifetime: Duration::from_secs(9),
        streams: smallvec![[direction(500), direction(400)]],
    }
}

/// A reply's document.
#[derive(Debug)]
pub(super) struct Reply(Vec<u8>);

impl Reply {
    fn find<T>(&self, path: &str, take: impl Fn(&Value<'_>) -> Option<T>) -> T {
        let root = Value::parse(&self.0).unwrap();
        let mut value = &root;
        for key in path.split('/') {
            value = match value {
                Value::Dictionary(dictionary) => dictionary.get(key.as_bytes()),
                Value::List(items) => items.get(key.parse::<usize>().unwrap()),
                Value::Integer(_) | Value::Text(_) => None,
            }
            .unwrap_or_else(|| panic!("no {path} in {}", String::from_utf8_lossy(&self.0)));
        }
        take(value).unwrap_or_else(|| panic!("{path} is {value:?}"))
    }

    /// The text at a path such as `tags/a/tag`.
    pub(super) fn text(&self, path: &str) -> String {
        self.find(path, |value| match value {
            Value::Text(text) => Some(String::from_utf8(text.to_vec()).unwrap()),
            Value::Integer(_) | Value::List(_) | Value::Dictionary(_) => None,
        })
    }

    pub(super) fn number(&self, path: &str) -> i64 {
        self.find(path, |value| match value {
            Value::Integer(number) => Some(*number),
            Value::Text(_) | Value::List(_) | Value::Dictionary(_) => None,
        })
    }

    pub(super) fn len(&self, path: &str) -> usize {
        self.find(path, |value| match value {
            Value::List(items) => Some(items.len()),
            Value::Dictionary(dictionary) => Some(dictionary.iter().count()),
            Value::Integer(_) | Value::Text(_) => None,
        })
    }
}

pub(super) fn framed(cookie: &str, command: &Entries) -> Vec<u8> {
    let mut out = format!("{cookie} ").into_bytes();
    command.write(&mut out);
    out
}

pub(super) fn list(items: &[&str]) -> Item {
    items.iter().map(|item| Item::from(*item)).collect::<Vec<_>>().into()
}

/// A description with one audio stream at this address.
pub(super) fn sdp(ip: &str, port: u16) -> String {
    let family = if ip.contains(':') { "IP6" } else { "IP4" };
    format!(
        "v=0\r\no=- 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 8 0\r\n"
    )
}

pub(super) fn command(name: &str, call: &str) -> Entries {
    Entries::new().with("command", name).with("call-id", call)
}

/// As Kamailio's module sends it.
pub(super) fn offer(call: &str, from: &str, sdp: &str) -> Entries {
    command("offer", call)
        .with("from-tag", from)
        .with("sdp", sdp)
        .with("replace", list(&["origin", "session-connection"]))
        .with("supports", list(&["load limit"]))
}

pub(super) fn answer(call: &str, from: &str, to: &str, sdp: &str) -> Entries {
    offer(call, from, sdp).with("command", "answer").with("to-tag", to)
}

/// Sets up a call `c` between `a` (198.51.100.10:4000) and `b` (198.51.100.20:6000).
pub(super) fn set_up(bench: &mut Bench) {
    bench.describe(&offer("c", "a", &sdp("198.51.100.10", 4000)));
    bench.describe(&answer("c", "a", "b", &sdp("198.51.100.20", 6000)));
}
