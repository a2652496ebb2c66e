//! Client transactions (RFC 3261 17.1).

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Cx, LIMIT, PATIENCE, Phone, T1, T2, Timer};
use crate::farm::check::{End, Expected};
use crate::farm::text::Text;

/// After this a phone that was refused registers again.
const AGAIN: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Client {
    pub(super) method: &'static str,
    pub(super) branch: String,
    pub(super) bytes: Bytes,
    call: Option<usize>,
    interval: Duration,
    next: Instant,
    pub(super) deadline: Instant,
    pub(super) proceeding: bool,
    pub(super) cancel_wanted: bool,
    status: Option<u16>,
    given_up: bool,
}

impl Client {
    pub(super) const fn is_done(&self) -> bool {
        self.status.is_some() || self.given_up
    }

    fn key(&self) -> (String, &'static str) {
        (self.branch.clone(), self.method)
    }
}

impl Phone {
    pub(super) fn start(
        &mut self,
        cx: &mut Cx<'_>,
        method: &'static str,
        branch: String,
        bytes: String,
        call: Option<usize>,
        expected: Expected,
    ) {
        let at = self.clients.len();
        let bytes = Bytes::from(bytes);
        cx.ledger.begins(cx.now, &branch, method, expected, &bytes);
        let client = Client {
            method,
            branch,
            bytes: bytes.clone(),
            call,
            interval: T1,
            next: cx.now + T1,
            deadline: cx.now + LIMIT,
            proceeding: false,
            cancel_wanted: false,
            status: None,
            given_up: false,
        };
        self.by_client.insert(client.key(), at);
        self.clients.push(client);
        cx.sends.push(bytes);
        cx.after(if self.is_on_stream { LIMIT } else { T1 }, Timer::Resend(at));
    }

    pub(super) fn resend(&mut self, cx: &mut Cx<'_>, at: usize) {
        let client = &mut self.clients[at];
        if client.is_done() {
            return;
        }
        if cx.now >= client.deadline {
            client.given_up = true;
            cx.ledger.ends(cx.now, &client.branch, client.method, End::Timeout);
            return;
        }
        let is_invite = client.method == "INVITE";
        if self.is_on_stream || cx.now < client.next || is_invite && client.proceeding {
            return;
        }
        client.interval = match is_invite {
            true => client.interval * 2,
            false => (client.interval * 2).min(T2),
        };
        client.next = cx.now + client.interval;
        cx.sends.push(client.bytes.clone());
        let next = client.next.min(client.deadline);
        cx.timers.push((next, Timer::Resend(at)));
    }

    pub(super) fn response(&mut self, cx: &mut Cx<'_>, text: &Text<'_>, status: u16) {
        let Some(branch) = text.branches().first().copied() else { return };
        let method = match text.method() {
            "INVITE" => "INVITE",
            "CANCEL" => "CANCEL",
            "BYE" => "BYE",
            "REGISTER" => "REGISTER",
            "OPTIONS" => "OPTIONS",
            _ => return,
        };
        let Some(at) = self.by_client.get(&(branch.to_owned(), method)).copied() else { return };
        let client = &mut self.clients[at];
        let call = client.call;
        if status < 200 {
            if method == "INVITE" && !client.proceeding {
                client.proceeding = true;
                client.deadline = cx.now + PATIENCE + LIMIT * 2;
                let wanted = std::mem::take(&mut client.cancel_wanted);
                cx.timers.push((client.deadline, Timer::Resend(at)));
                if let Some(call) = call.filter(|_| wanted) {
                    self.cancel(cx, call);
                }
            }
            return;
        }
        cx.ledger.final_arrives(branch, method, status, text.to_tag());
        let is_first = client.status.is_none();
        if is_first {
            client.status = Some(status);
            cx.ledger.ends(cx.now, branch, method, End::Final(status));
            // Nothing reaches it that is not registered by its connection.
            if self.is_on_stream && method == "REGISTER" && status >= 300 {
                cx.after(AGAIN, Timer::Register);
            }
        }
        if method == "INVITE" {
            self.invite_answered(cx, at, text, status);
        }
    }

    fn invite_answered(&mut self, cx: &mut Cx<'_>, at: usize, text: &Text<'_>, status: u16) {
        let Some(call) = self.clients[at].call else { return };
        if status >= 300 {
            // RFC 3261 17.1.1.3: of the same transaction.
            let invite = &self.clients[at];
            let request = String::from_utf8_lossy(&invite.bytes).into_owned();
            let to = Text::read(&invite.bytes).map_or("", |invite| invite.header("To"));
            let ack =
                request.replacen("INVITE", "ACK", 1).replace(" INVITE\r\n", " ACK\r\n").replace(
                    &format!("\r\nTo: {to}\r\n"),
                    &format!("\r\nTo: {}\r\n", text.header("To")),
                );
            cx.sends.push(ack.into());
            return;
        }
        let cseq = text.header("CSeq").to_owned();
        if let Some(ack) = self.legs.get(&call).and_then(|leg| leg.acks.get(&cseq)) {
            cx.sends.push(ack.clone());
            return;
        }
        let is_first = self.legs.get(&call).is_some_and(|leg| leg.acks.is_empty() && !leg.up);
        let is_caller = self.legs.get(&call).is_some_and(|leg| leg.invite == at);
        let branch = self.branch();
        let Some(leg) = self.legs.get_mut(&call) else { return };
        if is_first && is_caller {
            leg.remote = text.header("To").to_owned();
            leg.route = text.all("Record-Route").map(str::to_owned).collect();
            leg.route.reverse();
            leg.up = true;
        }
        Self::learn(leg, text);
        let number: u32 = cseq.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(1);
        let latest = std::mem::replace(&mut leg.cseq, number);
        let ack = Bytes::from(self.compose(call, "ACK", &branch));
        let leg = self.legs.get_mut(&call).expect("it is there");
        leg.cseq = latest;
        leg.acks.insert(cseq, ack.clone());
        cx.ledger.acknowledged(cx.now, &branch, &ack);
        cx.sends.push(ack);
        if is_first && is_caller {
            let plan = cx.calls[call];
            if let Some((after, true)) = plan.refresh {
                cx.after(after, Timer::Refresh(call));
            }
            // Somebody who has cancelled does not stay.
            let leg = &self.legs[&call];
            match plan.hangup {
                _ if leg.cancelled => cx.after(Duration::ZERO, Timer::HangUp(call)),
                (after, true) => cx.after(after, Timer::HangUp(call)),
                (_, false) => {}
            }
        }
    }
}
