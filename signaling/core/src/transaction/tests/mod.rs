//! The layer under a virtual clock.

mod bounds;
mod client_invite;
mod client_plain;
mod lossy;
mod matching;
mod random;
mod server_invite;
mod server_plain;
mod transport;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::transport::{ConnectionId, ListenerId, Target, Transmit, Transport};
use crate::wire::ResponseBuilder;

const PEER: &str = "192.0.2.1:5060";
const LOCAL: &str = "192.0.2.100:5060";

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn message(text: &str) -> Message {
    Message::parse_datagram(Bytes::from(text.replace('\n', "\r\n"))).unwrap()
}

/// A request from the peer.
fn request(method: &str, branch: &str) -> Message {
    request_with(method, &format!(";branch={branch}"), "")
}

fn request_with(method: &str, via_params: &str, to_params: &str) -> Message {
    message(&format!(
        "{method} sip:bob@example.org SIP/2.0\n\
         Via: SIP/2.0/UDP 192.0.2.1:5060{via_params}\n\
         Route: <sip:192.0.2.9;lr>\n\
         From: <sip:alice@example.org>;tag=a1\n\
         To: <sip:bob@example.org>{to_params}\n\
         Call-ID: c1\n\
         CSeq: 7 {method}\n\
         Max-Forwards: 70\n\
         Content-Length: 0\n\n"
    ))
}

fn response(request: &Message, status: u16) -> Message {
    ResponseBuilder::new(request, status, None).to_tag("b1").finish_message().unwrap()
}

/// The layer, the time and what has come out of it, in short.
struct Bench {
    start: Instant,
    now: Instant,
    layer: Transactions,
    transport: Transport,
    /// What has been sent, with its time.
    wire: Vec<(u64, Transmit)>,
    events: Vec<Event>,
}

impl Bench {
    fn new(transport: Transport) -> Self {
        Bench::with(transport, Config::new([3; 32]))
    }

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
    fn with(transport: Transport, config: Config) -> Self {
        let now = Instant::now();
        let layer = Transactions::new(now, config);
        Bench { start: now, now, layer, transport, wire: Vec::new(), events: Vec::new() }
    }

    fn udp() -> Self {
        Bench::new(Transport::Udp)
    }

    fn tcp() -> Self {
        Bench::new(Transport::Tcp)
    }

    fn arrival(&self) -> Arrival {
        let connection = self.transport.is_reliable().then_some(ConnectionId(4));
        Arrival {
            transport: self.transport,
            listener: ListenerId(0),
            local: addr(LOCAL),
            remote: addr(PEER),
            connection,
        }
    }

    fn target(&self) -> Target {
        self.arrival().reply()
    }

    fn take(&mut self) {
        let at = self.now.duration_since(self.start).as_millis() as u64;
        self.wire.extend(std::iter::from_fn(|| self.layer.poll_transmit()).map(|t| (at, t)));
        self.events.extend(std::iter::from_fn(|| self.layer.poll_event()));
    }

    fn receive(&mut self, message: &Message) {
        self.receive_from(self.arrival(), message);
    }

    fn receive_from(&mut self, arrival: Arrival, message: &Message) {
        self.layer.handle_message(self.now, arrival, message.clone());
        self.take();
    }

    /// Lets time pass, waking the layer when it asks for it.
    fn pass(&mut self, by: Duration) {
        let until = self.now + by;
        while let Some(at) = self.layer.poll_timeout().filter(|&at| at <= until) {
            self.now = self.now.max(at);
            self.layer.handle_timeout(self.now);
            self.take();
        }
        self.now = until;
    }

    /// Receives a new request, of which the event must tell.
    fn accept(&mut self, message: &Message) -> ServerTx {
        self.receive(message);
        match self.events.pop() {
            Some(Event::Request { tx, .. }) => tx,
            other => panic!("no request: {other:?}"),
        }
    }

    fn respond(&mut self, tx: ServerTx, request: &Message, status: u16) {
        assert!(self.layer.respond(self.now, tx, response(request, status)));
        self.take();
    }

    fn send(&mut self, request: &Message) -> ClientTx {
        let tx = self.layer.send(self.now, request.clone(), self.target()).unwrap();
        self.take();
        tx
    }

    fn cancel(&mut self, tx: ClientTx, reason: Option<&str>) {
        self.layer.cancel(self.now, tx, reason);
        self.take();
    }

    fn transport_error(&mut self) {
        let target = self.target();
        self.layer.handle_transport_error(self.now, &target);
        self.take();
    }

    /// What was sent since the last time: method or status.
    fn sent(&mut self) -> Vec<String> {
        self.sent_at().into_iter().map(|(_, what)| what).collect()
    }

    /// The same with the milliseconds since the start.
    fn sent_at(&mut self) -> Vec<(u64, String)> {
        let name = |transmit: &Transmit| title(&parsed(transmit));
        self.wire.drain(..).map(|(at, transmit)| (at, name(&transmit))).collect()
    }

    /// The last message sent, in full.
    fn last_sent(&self) -> Message {
        parsed(&self.wire.last().unwrap().1)
    }

    /// The events since the last time, in short.
    fn told(&mut self) -> Vec<String> {
        self.events.drain(..).map(|event| short(&event)).collect()
    }

    fn is_empty(&self) -> bool {
        self.layer.clients() == 0
            && self.layer.servers() == 0
            && self.layer.entries() == 0
            && self.layer.poll_timeout().is_none()
    }
}

fn parsed(transmit: &Transmit) -> Message {
    Message::parse_datagram(transmit.bytes.clone()).unwrap()
}

fn title(message: &Message) -> String {
    message.status().map_or_else(|| message.method().to_string(), |status| status.to_string())
}

fn short(event: &Event) -> String {
    match event {
        Event::Request { request, merged, .. } => {
            format!("request {}{}", title(request), if *merged { " merged" } else { "" })
        }
        Event::Cancel { invite, .. } => format!("cancel {}", invite.is_some()),
        Event::Ack { .. } => "ack".to_owned(),
        Event::Refused { request, .. } => format!("refused {}", title(request)),
        Event::Response { response, .. } => format!("response {}", title(response)),
        Event::StrayResponse { response, .. } => format!("stray {}", title(response)),
        Event::ClientFailed { cause, .. } => format!("client failed {cause:?}"),
        Event::ServerFailed { cause, .. } => format!("server failed {cause:?}"),
        Event::ClientEnded { .. } => "client ended".to_owned(),
        Event::ServerEnded { .. } => "server ended".to_owned(),
    }
}
