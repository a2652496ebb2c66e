//! User agents: phones that follow their scripts, tell the checkers what they see and share with the
//! cores nothing but the wire format.

mod callee;
mod caller;
mod client;
mod in_call;
mod leg;
mod register;
pub mod rtp;
pub mod sdp;
mod server;
mod talk;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use signaling_core::wire::{HeaderName, Message, Method, ResponseBuilder};

use crate::check::Ledger;
use crate::scenario::{Device, SIP_PORT, Scenario, Side, node_ip};
use crate::{AgentId, CallNo};
use client::{Clients, Heard, Purpose};
use leg::{Leg, Phase};
use server::Servers;

/// Something that an agent wants to be woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// A client transaction.
    Client {
        /// Which.
        id: u64,
        /// Its timer's number.
        generation: u32,
    },
    /// A server transaction.
    Server {
        /// Which.
        id: u64,
        /// Its timer's number.
        generation: u32,
    },
    /// To register.
    Register,
    /// To call.
    Call(CallNo),
    /// To give up a call.
    Cancel(CallNo),
    /// To ring.
    Ring(CallNo),
    /// To answer as the script says.
    Reply(CallNo),
    /// A change of the call, by its place in the script, and how often it was put off.
    Change(CallNo, usize, u8),
    /// To hang up.
    HangUp(CallNo),
    /// To fall silent.
    Die(CallNo),
    /// To send media.
    Play(CallNo),
}

/// What an agent wants done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// A SIP message.
    Sip {
        /// Where to.
        to: SocketAddr,
        /// The whole of it.
        bytes: Bytes,
    },
    /// A media packet.
    Media {
        /// The port that it leaves from.
        port: u16,
        /// Where to.
        to: SocketAddr,
        /// The whole of it.
        bytes: Vec<u8>,
    },
    /// To be woken.
    Wake {
        /// When.
        at: Instant,
        /// What for.
        timer: Timer,
    },
}

/// What an agent works with while it handles an event.
pub struct Cx<'a> {
    /// The present.
    pub now: Instant,
    /// What was drawn.
    pub scenario: &'a Scenario,
    /// The checkers.
    pub ledger: &'a mut Ledger,
    /// What is to be done.
    pub effects: &'a mut Vec<Effect>,
}

impl Cx<'_> {
    fn send(&mut self, to: SocketAddr, bytes: Bytes) {
        self.effects.push(Effect::Sip { to, bytes });
    }

    fn wake(&mut self, at: Instant, timer: Timer) {
        self.effects.push(Effect::Wake { at, timer });
    }
}

/// The first media port of an agent.
const PORTS_FIRST: u16 = 10_000;
/// One past the last: a NAT must be able to map it.
const PORTS_END: u16 = 40_000;

/// A user agent.
pub struct Agent {
    device: Device,
    clients: Clients,
    servers: Servers,
    legs: BTreeMap<CallNo, Leg>,
    /// The call that each media port was last used for.
    ports: BTreeMap<u16, CallNo>,
    next_port: u16,
    registration: register::Registration,
}

impl Agent {
    /// An agent that knows its device.
    #[must_use]
    pub fn new(device: Device) -> Agent {
        Agent {
            device,
            clients: Clients::default(),
            servers: Servers::default(),
            legs: BTreeMap::new(),
            ports: BTreeMap::new(),
            next_port: PORTS_FIRST,
            registration: register::Registration::default(),
        }
    }

    /// Which it is.
    #[must_use]
    pub const fn id(&self) -> AgentId {
        self.device.id
    }

    /// Its calls that have neither ended nor fallen silent.
    pub fn open_calls(&self) -> impl Iterator<Item = CallNo> {
        self.legs.iter().filter(|(_, leg)| !leg.is_done()).map(|(no, _)| *no)
    }

    /// A stream that is sent at the moment: its call, its port, and where it goes.
    #[must_use]
    pub fn a_stream(&self) -> Option<(CallNo, u16, SocketAddr)> {
        let playing = self.legs.iter().filter(|(_, leg)| leg.plays && !leg.is_done());
        playing
            .flat_map(|(no, leg)| leg.media.streams.iter().map(move |s| (no, s)))
            .find_map(|(no, stream)| Some((*no, stream.local, stream.remote?)))
    }

    fn home(&self) -> SocketAddr {
        SocketAddr::new(node_ip(self.device.home), SIP_PORT)
    }

    fn contact(&self) -> String {
        let ip = self.device.own_ip;
        format!("<sip:{}@{ip}:5060;transport={}>", self.device.user, self.transport().uri_name())
    }

    const fn transport(&self) -> signaling_core::transport::Transport {
        self.device.transport
    }

    fn via(&mut self) -> String {
        let branch = self.clients.next_branch(self.device.id.0);
        let name = self.transport().via_name();
        format!("SIP/2.0/{name} {}:5060;branch={branch};rport", self.device.own_ip)
    }

    fn take_ports(&mut self, call: CallNo, streams: usize) -> Vec<u16> {
        let ports = (0..streams).map(|_| {
            let port = self.next_port;
            self.next_port = if port + 2 >= PORTS_END { PORTS_FIRST } else { port + 2 };
            self.ports.insert(port, call);
            port
        });
        ports.collect()
    }

    /// A SIP message has come from a member.
    pub fn handle_message(&mut self, cx: &mut Cx<'_>, source: SocketAddr, bytes: Bytes) {
        let Ok(message) = Message::parse_datagram(bytes) else {
            cx.ledger.broken_message(cx.now, self.id());
            return;
        };
        if message.is_request() {
            self.handle_request(cx, source, message);
        } else {
            self.handle_response(cx, &message);
        }
    }

    /// A media packet has come to a port that the network knows.
    pub fn handle_media(&mut self, cx: &mut Cx<'_>, port: u16, bytes: &[u8]) {
        let port = self.device.unmapped(port);
        let call = self.ports.get(&port).copied();
        if let Some(call) = call
            && self.legs.get(&call).is_some_and(|leg| leg.phase == Phase::Dead)
        {
            return;
        }
        cx.ledger.media_arrived(cx.now, self.id(), call, bytes);
    }

    /// Time for something.
    pub fn handle_timer(&mut self, cx: &mut Cx<'_>, timer: Timer) {
        match timer {
            Timer::Client { id, generation } => {
                if let Some(purpose) = self.clients.handle_timer(cx, id, generation) {
                    self.given_up(cx, id, purpose);
                }
            }
            Timer::Server { id, generation } => {
                if self.servers.handle_timer(cx, id, generation) {
                    self.not_acknowledged(cx, id);
                }
            }
            Timer::Register => self.register(cx),
            Timer::Call(no) => self.call(cx, no),
            Timer::Cancel(no) => self.give_up(cx, no),
            Timer::Ring(no) => self.ring(cx, no),
            Timer::Reply(no) => self.reply(cx, no),
            Timer::Change(no, place, tries) => self.change(cx, no, place, tries),
            Timer::HangUp(no) => self.hang_up(cx, no),
            Timer::Die(no) => self.die(cx, no),
            Timer::Play(no) => self.play(cx, no),
        }
    }

    /// The connection that the agent registered over has broken.
    pub fn handle_reset(&mut self, cx: &mut Cx<'_>) {
        self.clients.connection_lost(cx);
        self.register(cx);
    }

    fn is_dead(&self, no: Option<CallNo>) -> bool {
        no.and_then(|no| self.legs.get(&no)).is_some_and(|leg| leg.phase == Phase::Dead)
    }

    fn handle_request(&mut self, cx: &mut Cx<'_>, source: SocketAddr, request: Message) {
        let no = CallNo::from_call_id(request.call_id());
        if self.is_dead(no) {
            return;
        }
        if let Some(id) = self.servers.find(&request) {
            if *request.method() == Method::Ack {
                self.servers.acknowledge(id);
            } else {
                self.servers.repeat(cx, id);
            }
            return;
        }
        if *request.method() == Method::Ack {
            return self.handle_ack(cx, no, &request);
        }
        let reliable = self.transport().is_reliable();
        let invite = self.servers.find_cancelled(&request);
        let id = self.servers.take(source, reliable, request.clone());
        let has_tag = request.to().tag().is_some();
        let method = request.method().as_str();
        match (method, no) {
            ("CANCEL", Some(no)) => self.handle_cancel(cx, id, invite, no),
            ("INVITE", Some(no)) if has_tag => self.handle_reinvite(cx, id, no, &request),
            ("INVITE", Some(no)) => self.invited(cx, id, no, &request),
            ("BYE", Some(no)) => self.handle_bye(cx, id, no, &request),
            _ => self.respond(cx, id, 481, None),
        }
    }

    fn handle_response(&mut self, cx: &mut Cx<'_>, response: &Message) {
        let no = CallNo::from_call_id(response.call_id());
        if self.is_dead(no) {
            return;
        }
        self.clients.cancel_answered(response);
        let Some(id) = self.clients.find(response) else { return };
        let status = response.status().unwrap_or_default();
        if let Some(no) = no
            && *response.method() == Method::Invite
            && status >= 200
        {
            let key = (no, self.id(), response.cseq().number);
            cx.ledger.final_seen(cx.now, key, status, response.to().tag());
        }
        let heard = self.clients.hear(cx, id, response);
        let Some(purpose) = self.clients.get(id).map(|c| c.purpose) else { return };
        match (purpose, heard) {
            (_, Heard::Old) => {}
            (Purpose::Register, Heard::Final) => self.registered(cx, response),
            (Purpose::Invite(no), Heard::Provisional) => self.progress(cx, no, response),
            (Purpose::Invite(no), Heard::Final) => self.invite_answered(cx, id, no, response),
            (Purpose::Reinvite(no), Heard::Final) => {
                self.reinvite_answered(cx, id, no, Some(response));
            }
            (Purpose::Bye(no), Heard::Final) => self.over(cx, no),
            (
                Purpose::Register
                | Purpose::Reinvite(_)
                | Purpose::Bye(_)
                | Purpose::StrayBye
                | Purpose::Cancel,
                Heard::Provisional | Heard::Final,
            ) => {}
        }
    }

    /// No final response has come.
    fn given_up(&mut self, cx: &mut Cx<'_>, id: u64, purpose: Purpose) {
        match purpose {
            Purpose::Register => self.register(cx),
            Purpose::Invite(no) => self.invite_given_up(cx, no),
            Purpose::Reinvite(no) => self.reinvite_answered(cx, id, no, None),
            Purpose::Bye(no) => self.over(cx, no),
            Purpose::StrayBye | Purpose::Cancel => {}
        }
    }

    fn tag(&self, side: Side, no: CallNo) -> String {
        let side = if side == Side::Caller { 'a' } else { 'b' };
        format!("{side}{}c{}", self.device.id.0, no.0)
    }

    /// Answers a request, with a description if there is one.
    fn respond(&mut self, cx: &mut Cx<'_>, id: u64, status: u16, sdp: Option<String>) {
        let Some(request) = self.servers.get(id).map(|s| s.request.clone()) else { return };
        let no = CallNo::from_call_id(request.call_id());
        let tag = no.map_or_else(|| "none".to_owned(), |no| self.tag(Side::Callee, no));
        let contact = self.contact();
        let mut response = ResponseBuilder::new(&request, status, None);
        response.to_tag(&tag).header(HeaderName::Contact, contact);
        if *request.method() == Method::Invite && status < 300 {
            response.copy_record_route();
        }
        if let Some(sdp) = sdp {
            response.body("application/sdp", sdp);
        }
        let bytes = response.finish();
        self.servers.respond(cx, id, status, bytes);
    }
}

/// The agent that has made a To tag.
#[must_use]
pub fn agent_of_tag(tag: &str) -> Option<AgentId> {
    let digits = tag.strip_prefix(['a', 'b'])?.split('c').next()?;
    digits.parse().ok().map(AgentId)
}
