//! A phone: registers, calls, is called, with transactions and dialogs of its own making (RFC 3261).

mod client;
mod server;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::check::{Expected, Ledger};
use super::plan::{CallPlan, Wish};
use super::text::{Text, uri};
use crate::scenario::DOMAIN;
use client::Client;
use server::Server;

pub(super) const T1: Duration = Duration::from_millis(500);
pub(super) const T2: Duration = Duration::from_secs(4);
/// 64*T1.
pub(super) const LIMIT: Duration = Duration::from_secs(32);
/// How long a caller waits for somebody to answer before it cancels.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Something that a phone has to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Timer {
    Register,
    Options(usize),
    Call(usize),
    Cancel(usize),
    Refresh(usize),
    HangUp(usize),
    /// Send a request again, or give it up.
    Resend(usize),
    /// Ring, then answer.
    Ring(usize),
    Final(usize),
    /// Send a final answer again, or give it up.
    Repeat(usize),
}

/// What a phone may use.
pub(super) struct Cx<'w> {
    pub(super) now: Instant,
    pub(super) ledger: &'w mut Ledger,
    pub(super) calls: &'w [CallPlan],
    pub(super) sends: Vec<Bytes>,
    pub(super) timers: Vec<(Instant, Timer)>,
}

impl Cx<'_> {
    fn after(&mut self, delay: Duration, timer: Timer) {
        self.timers.push((self.now + delay, timer));
    }
}

/// One side of a call.
#[derive(Debug)]
struct Leg {
    local: String,
    remote: String,
    /// Where requests go.
    target: String,
    route: Vec<String>,
    cseq: u32,
    /// The INVITE: among the clients of a caller, among the servers of a callee.
    invite: usize,
    /// What a caller answers a repeated 200 with, by its CSeq.
    acks: HashMap<String, Bytes>,
    up: bool,
    cancelled: bool,
}

pub(super) struct Phone {
    number: usize,
    /// It has a connection, and repeats nothing that this carries.
    is_on_stream: bool,
    address: SocketAddr,
    clients: Vec<Client>,
    by_client: HashMap<(String, &'static str), usize>,
    servers: Vec<Server>,
    by_server: HashMap<String, usize>,
    legs: HashMap<usize, Leg>,
    registers: u32,
    serial: u32,
}

pub(super) fn address(number: usize) -> SocketAddr {
    ([198, 51, 100, 10 + number as u8], 5060).into()
}

pub(super) fn by_address(address: SocketAddr) -> Option<usize> {
    match address {
        SocketAddr::V4(v4) => v4.ip().octets()[3].checked_sub(10).map(usize::from),
        SocketAddr::V6(_) => None,
    }
}

pub(super) fn call_id(call: usize) -> String {
    format!("call-{call}@sim")
}

fn call_of(call_id: &str) -> Option<usize> {
    call_id.strip_prefix("call-")?.strip_suffix("@sim")?.parse().ok()
}

impl Phone {
    pub(super) fn new(number: usize, is_on_stream: bool) -> Phone {
        Phone {
            number,
            is_on_stream,
            address: address(number),
            clients: Vec::new(),
            by_client: HashMap::new(),
            servers: Vec::new(),
            by_server: HashMap::new(),
            legs: HashMap::new(),
            registers: 0,
            serial: 0,
        }
    }

    fn aor(&self) -> String {
        format!("sip:u{}@{DOMAIN}", self.number)
    }

    fn contact(&self) -> String {
        let transport = if self.is_on_stream { ";transport=tcp" } else { "" };
        format!("<sip:u{}@{}{transport}>", self.number, self.address)
    }

    const fn transport(&self) -> &'static str {
        if self.is_on_stream { "TCP" } else { "UDP" }
    }

    fn branch(&mut self) -> String {
        self.serial += 1;
        format!("z9hG4bKp{}x{}", self.number, self.serial)
    }

    pub(super) fn handle_timer(&mut self, cx: &mut Cx<'_>, timer: Timer) {
        match timer {
            Timer::Register => self.register(cx),
            Timer::Options(to) => self.options(cx, to),
            Timer::Call(call) => self.call(cx, call),
            Timer::Cancel(call) => self.cancel(cx, call),
            Timer::Refresh(call) => self.within(cx, call, "INVITE"),
            Timer::HangUp(call) => self.within(cx, call, "BYE"),
            Timer::Resend(at) => self.resend(cx, at),
            Timer::Ring(at) => self.ring(cx, at),
            Timer::Final(at) => self.answer(cx, at),
            Timer::Repeat(at) => self.repeat(cx, at),
        }
    }

    pub(super) fn handle_message(&mut self, cx: &mut Cx<'_>, bytes: &Bytes) {
        let Some(text) = Text::read(bytes) else { return };
        match text.status() {
            Some(status) => self.response(cx, &text, status),
            None => self.request(cx, &text),
        }
    }

    fn register(&mut self, cx: &mut Cx<'_>) {
        self.registers += 1;
        let aor = self.aor();
        let branch = self.branch();
        let (address, n, contact) = (self.address, self.registers, self.contact());
        let transport = self.transport();
        let bytes = format!(
            "REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/{transport} {address};branch={branch}\r\n\
             Max-Forwards: 70\r\nFrom: <{aor}>;tag=r{n}\r\nTo: <{aor}>\r\n\
             Call-ID: reg-{}@sim\r\nCSeq: {n} REGISTER\r\nContact: {contact};expires=300\r\n\
             Content-Length: 0\r\n\r\n",
            self.number
        );
        self.start(cx, "REGISTER", branch, bytes, None, Expected::Register(self.number));
    }

    fn options(&mut self, cx: &mut Cx<'_>, to: usize) {
        if !cx.ledger.is_registered(to) {
            return;
        }
        let branch = self.branch();
        let (address, aor, transport) = (self.address, self.aor(), self.transport());
        let to_aor = format!("sip:u{to}@{DOMAIN}");
        let bytes = format!(
            "OPTIONS {to_aor} SIP/2.0\r\nVia: SIP/2.0/{transport} {address};branch={branch}\r\n\
             Max-Forwards: 70\r\nFrom: <{aor}>;tag=o\r\nTo: <{to_aor}>\r\n\
             Call-ID: {branch}@sim\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        );
        self.start(cx, "OPTIONS", branch, bytes, None, Expected::Options(to));
    }

    fn call(&mut self, cx: &mut Cx<'_>, call: usize) {
        let plan = cx.calls[call];
        if !cx.ledger.is_registered(plan.callee) {
            return cx.ledger.skip();
        }
        let branch = self.branch();
        let (address, aor, contact) = (self.address, self.aor(), self.contact());
        let transport = self.transport();
        let to = format!("sip:u{}@{DOMAIN}", plan.callee);
        let local = format!("<{aor}>;tag=a{call}");
        let bytes = format!(
            "INVITE {to} SIP/2.0\r\nVia: SIP/2.0/{transport} {address};branch={branch}\r\n\
             Max-Forwards: 70\r\nFrom: {local}\r\nTo: <{to}>\r\nCall-ID: {}\r\n\
             CSeq: 1 INVITE\r\nContact: {contact}\r\nContent-Length: 0\r\n\r\n",
            call_id(call)
        );
        let invite = self.clients.len();
        let leg = Leg {
            local,
            remote: format!("<{to}>"),
            target: to,
            route: Vec::new(),
            cseq: 1,
            invite,
            acks: HashMap::new(),
            up: false,
            cancelled: false,
        };
        self.legs.insert(call, leg);
        self.start(cx, "INVITE", branch, bytes, Some(call), Expected::Call(call));
        if let Wish::Cancel(after, _) = plan.wish {
            cx.after(after, Timer::Cancel(call));
        }
        cx.after(PATIENCE, Timer::Cancel(call));
    }

    /// RFC 3261 9.1: a CANCEL waits for a provisional answer.
    fn cancel(&mut self, cx: &mut Cx<'_>, call: usize) {
        let Some(leg) = self.legs.get_mut(&call) else { return };
        let client = &mut self.clients[leg.invite];
        if client.is_done() || leg.cancelled {
            return;
        }
        if !client.proceeding {
            client.cancel_wanted = true;
            return;
        }
        leg.cancelled = true;
        cx.ledger.cancelled(call);
        let branch = client.branch.clone();
        let bytes = String::from_utf8_lossy(&client.bytes).replace("INVITE sip:u", "CANCEL sip:u");
        let bytes = bytes.replace("CSeq: 1 INVITE", "CSeq: 1 CANCEL");
        client.deadline = client.deadline.max(cx.now + LIMIT + T2);
        let invite = leg.invite;
        cx.after(LIMIT + T2, Timer::Resend(invite));
        self.start(cx, "CANCEL", branch, bytes, Some(call), Expected::Cancel);
    }

    /// A request within the dialog.
    fn within(&mut self, cx: &mut Cx<'_>, call: usize, method: &'static str) {
        let branch = self.branch();
        let Some(leg) = self.legs.get_mut(&call).filter(|leg| leg.up) else { return };
        leg.cseq += 1;
        if method == "BYE" {
            leg.up = false;
        }
        let expected = if method == "BYE" { Expected::Bye(call) } else { Expected::Refresh(call) };
        let bytes = self.compose(call, method, &branch);
        self.start(cx, method, branch, bytes, Some(call), expected);
    }

    fn compose(&self, call: usize, method: &str, branch: &str) -> String {
        let leg = &self.legs[&call];
        let route: String = leg.route.iter().map(|route| format!("Route: {route}\r\n")).collect();
        let (address, contact) = (self.address, self.contact());
        let transport = self.transport();
        format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/{transport} {address};branch={branch}\r\n{route}\
             Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} {method}\r\n\
             Contact: {contact}\r\nContent-Length: 0\r\n\r\n",
            leg.target,
            leg.local,
            leg.remote,
            call_id(call),
            leg.cseq
        )
    }

    /// What a peer says of where it is.
    fn learn(leg: &mut Leg, text: &Text<'_>) {
        let contact = text.header("Contact");
        if !contact.is_empty() {
            leg.target = uri(contact).to_owned();
        }
    }
}
