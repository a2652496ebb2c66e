//! Server transactions (RFC 3261 17.2) and what they answer.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Cx, LIMIT, Leg, Phone, T1, T2, Timer, call_of};
use crate::farm::plan::Wish;
use crate::farm::text::Text;

#[derive(Debug)]
pub(super) struct Server {
    /// What answers carry: Via, Record-Route, From, To, Call-ID, CSeq.
    head: String,
    last: Option<Bytes>,
    call: Option<usize>,
    /// The final answer.
    status: Option<u16>,
    is_over: bool,
    interval: Duration,
    until: Instant,
}

impl Phone {
    pub(super) fn request(&mut self, cx: &mut Cx<'_>, text: &Text<'_>) {
        let Some(branch) = text.branches().first().copied() else { return };
        let known = self.by_server.get(branch).copied();
        let call = call_of(text.call_id());
        match text.method() {
            "ACK" => return self.acked(cx, text, known, call),
            "CANCEL" => return self.cancelled(cx, text, known),
            _ => {}
        }
        if let Some(at) = known {
            if let Some(last) = self.servers[at].last.clone() {
                cx.sends.push(last);
            }
            return;
        }
        let at = self.servers.len();
        let tag = format!("b{}", call.unwrap_or_default());
        let head = head(text, &tag);
        self.servers.push(Server {
            head,
            last: None,
            call,
            status: None,
            is_over: false,
            interval: T1,
            until: cx.now,
        });
        self.by_server.insert(branch.to_owned(), at);
        match (text.method(), call) {
            ("INVITE", Some(call)) if text.to_tag().is_none() => self.called(cx, text, at, call),
            ("INVITE", Some(call)) => self.refreshed(cx, text, at, call),
            ("BYE", Some(call)) => {
                let known = self.legs.get_mut(&call).is_some_and(|leg| {
                    leg.up = false;
                    true
                });
                self.send(cx, at, if known { 200 } else { 481 });
            }
            _ => self.send(cx, at, 200),
        }
    }

    fn called(&mut self, cx: &mut Cx<'_>, text: &Text<'_>, at: usize, call: usize) {
        if self.legs.contains_key(&call) {
            // RFC 3261 8.2.2.2: it has come by another way already.
            return self.send(cx, at, 482);
        }
        let leg = Leg {
            local: format!("{};tag=b{call}", text.header("To")),
            remote: text.header("From").to_owned(),
            target: String::new(),
            route: text.all("Record-Route").map(str::to_owned).collect(),
            cseq: 100,
            invite: at,
            acks: HashMap::new(),
            up: false,
            cancelled: false,
        };
        self.legs.insert(call, leg);
        if let Some(leg) = self.legs.get_mut(&call) {
            Self::learn(leg, text);
        }
        let after = match cx.calls[call].wish {
            Wish::Answer(after) | Wish::Reject(after) | Wish::Cancel(_, after) => after,
        };
        cx.after((after / 4).min(Duration::from_millis(300)), Timer::Ring(at));
        cx.after(after, Timer::Final(at));
    }

    fn refreshed(&mut self, cx: &mut Cx<'_>, text: &Text<'_>, at: usize, call: usize) {
        match self.legs.get_mut(&call).filter(|leg| leg.up) {
            Some(leg) => {
                Self::learn(leg, text);
                self.send(cx, at, 200);
            }
            None => self.send(cx, at, 481),
        }
    }

    pub(super) fn ring(&mut self, cx: &mut Cx<'_>, at: usize) {
        if self.servers[at].status.is_none() {
            self.send(cx, at, 180);
        }
    }

    pub(super) fn answer(&mut self, cx: &mut Cx<'_>, at: usize) {
        let server = &self.servers[at];
        let Some(call) = server.call.filter(|_| server.status.is_none()) else { return };
        let plan = cx.calls[call];
        if matches!(plan.wish, Wish::Reject(_)) {
            return self.send(cx, at, 486);
        }
        self.send(cx, at, 200);
        if let Some(leg) = self.legs.get_mut(&call) {
            leg.up = true;
        }
    }

    /// RFC 3261 15: a callee does not hang up before its answer was acknowledged.
    fn established(cx: &mut Cx<'_>, call: usize) {
        let plan = cx.calls[call];
        if let Some((after, false)) = plan.refresh {
            cx.after(after, Timer::Refresh(call));
        }
        if let (after, false) = plan.hangup {
            cx.after(after, Timer::HangUp(call));
        }
    }

    fn cancelled(&mut self, cx: &mut Cx<'_>, text: &Text<'_>, known: Option<usize>) {
        let status = if known.is_some() { 200 } else { 481 };
        let answer = format!("SIP/2.0 {status} x\r\n{}\r\n", head(text, "c"));
        cx.sends.push(answer.into());
        if let Some(at) = known.filter(|at| self.servers[*at].status.is_none()) {
            self.send(cx, at, 487);
        }
    }

    fn acked(
        &mut self,
        cx: &mut Cx<'_>,
        text: &Text<'_>,
        known: Option<usize>,
        call: Option<usize>,
    ) {
        let cseq = text.header("CSeq").split(' ').next().unwrap_or_default();
        // That of a 200 has a branch of its own.
        let wanted = format!("CSeq: {cseq} INVITE");
        let at = known.or_else(|| {
            let is_it = |server: &Server| server.call == call && server.head.contains(&wanted);
            self.servers.iter().position(is_it)
        });
        let Some(at) = at.filter(|at| !self.servers[*at].is_over) else { return };
        self.servers[at].is_over = true;
        let is_first =
            call.and_then(|call| self.legs.get(&call)).is_some_and(|leg| leg.invite == at);
        if let Some(call) = call.filter(|_| is_first && self.servers[at].status == Some(200)) {
            Self::established(cx, call);
        }
    }

    fn send(&mut self, cx: &mut Cx<'_>, at: usize, status: u16) {
        let contact = self.contact();
        let server = &mut self.servers[at];
        let head = &server.head;
        let bytes = Bytes::from(format!(
            "SIP/2.0 {status} x\r\n{head}Contact: {contact}\r\nContent-Length: 0\r\n\r\n"
        ));
        server.last = Some(bytes.clone());
        cx.sends.push(bytes);
        if status >= 200 && server.status.is_none() {
            server.status = Some(status);
            if head.contains(" INVITE\r\n") {
                server.until = cx.now + LIMIT;
                cx.after(T1, Timer::Repeat(at));
            }
        }
    }

    pub(super) fn repeat(&mut self, cx: &mut Cx<'_>, at: usize) {
        let server = &mut self.servers[at];
        if server.is_over {
            return;
        }
        if cx.now >= server.until {
            // The answer to a call that is over already is not acknowledged by anybody any more.
            let is_up = server.call.and_then(|call| self.legs.get(&call)).is_some_and(|leg| leg.up);
            if is_up || server.status != Some(200) {
                let answer = server.last.clone().unwrap_or_default();
                cx.ledger.not_acknowledged(cx.now, server.call, &answer);
            }
            return;
        }
        server.interval = (server.interval * 2).min(T2);
        let interval = server.interval;
        // RFC 3261 17.2.1, 13.3.1.4: a 200 is repeated over whatever it goes.
        if !self.is_on_stream || server.status == Some(200) {
            cx.sends.extend(server.last.clone());
        }
        cx.after(interval, Timer::Repeat(at));
    }
}

fn head(text: &Text<'_>, tag: &str) -> String {
    let mut head = String::with_capacity(512);
    for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
        for value in text.all(name) {
            head += name;
            head += ": ";
            head += value;
            if name == "To" && text.to_tag().is_none() {
                head += ";tag=";
                head += tag;
            }
            head += "\r\n";
        }
    }
    head
}
