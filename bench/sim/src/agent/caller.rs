//! The calling side until it is answered.

use bytes::Bytes;
use signaling_core::wire::{HeaderName, Message, Method, RequestBuilder};

use super::client::Purpose;
use super::leg::{Dialog, Leg, Media, Phase};
use super::sdp::Description;
use super::{Agent, Cx, Timer};
use crate::CallNo;
use crate::scenario::{Callee, DOMAIN, Outcome, Script, Side};

fn request_uri(script: &Script) -> String {
    match &script.callee {
        Callee::User(name) | Callee::Unregistered(name) => format!("sip:{name}@{DOMAIN}"),
        Callee::Unknown => format!("sip:nobody@{DOMAIN}"),
    }
}

impl Agent {
    pub(super) fn call(&mut self, cx: &mut Cx<'_>, no: CallNo) {
        let Some(script) = cx.scenario.call(no) else { return };
        let ports = self.take_ports(no, 1 + usize::from(script.video));
        let media = Media::new(self.device.own_ip, ports);
        let mut leg = Leg::new(Side::Caller, media);
        leg.late_offer = script.late_offer;
        self.legs.insert(no, leg);
        if let Some(after) = script.cancel {
            cx.wake(cx.now + after, Timer::Cancel(no));
        }
        cx.ledger.call_begins(cx.now, no, self.id());
        self.send_invite(cx, no, 1, None);
    }

    fn send_invite(&mut self, cx: &mut Cx<'_>, no: CallNo, cseq: u32, credentials: Option<String>) {
        let Some(script) = cx.scenario.call(no) else { return };
        let uri = request_uri(script);
        let via = self.via();
        let from =
            format!("<sip:{}@{DOMAIN}>;tag={}", self.device.user, self.tag(Side::Caller, no));
        let contact = self.contact();
        let Some(leg) = self.legs.get_mut(&no) else { return };
        let mut request = RequestBuilder::new(&Method::Invite, &uri);
        request
            .header(HeaderName::Via, via)
            .header(HeaderName::MaxForwards, "70")
            .header(HeaderName::From, from)
            .header(HeaderName::To, format!("<{uri}>"))
            .header(HeaderName::CallId, no.call_id())
            .header(HeaderName::CSeq, format!("{cseq} INVITE"))
            .header(HeaderName::Contact, contact);
        if let Some(value) = credentials {
            request.header(HeaderName::ProxyAuthorization, value);
        }
        if !leg.late_offer {
            let proposal = leg.media.proposal();
            request.body("application/sdp", leg.media.describe(&proposal));
        }
        let Ok(request) = request.finish_message() else { return };
        let (to, reliable) = (self.home(), self.transport().is_reliable());
        cx.ledger.invite_sent(cx.now, (no, self.device.id, cseq));
        let id = self.clients.send(cx, request, to, reliable, Purpose::Invite(no));
        if let Some(leg) = self.legs.get_mut(&no) {
            leg.invite = Some(id);
        }
    }

    pub(super) fn progress(&mut self, cx: &mut Cx<'_>, no: CallNo, response: &Message) {
        if let Some(description) = Description::read(response.body()) {
            cx.ledger.description_seen(cx.now, no, self.id(), &description);
        }
        self.cancel_if_wanted(cx, no);
    }

    /// The user has had enough.
    pub(super) fn give_up(&mut self, cx: &mut Cx<'_>, no: CallNo) {
        if let Some(leg) = self.legs.get_mut(&no) {
            leg.wants_cancel = true;
        }
        self.cancel_if_wanted(cx, no);
    }

    fn cancel_if_wanted(&mut self, cx: &mut Cx<'_>, no: CallNo) {
        let Some(leg) = self.legs.get_mut(&no) else { return };
        let wanted = leg.wants_cancel && !leg.cancelled && leg.phase == Phase::Inviting;
        if let Some(id) = leg.invite.filter(|_| wanted)
            && self.clients.may_cancel(id)
        {
            leg.cancelled = true;
            self.clients.cancel(cx, id);
        }
    }

    pub(super) fn invite_given_up(&mut self, cx: &mut Cx<'_>, no: CallNo) {
        let Some(cseq) = self.invite_cseq(no) else { return };
        cx.ledger.invite_given_up((no, self.id(), cseq));
        self.failed(cx, no, Outcome::NoAnswer);
    }

    fn invite_cseq(&self, no: CallNo) -> Option<u32> {
        let id = self.legs.get(&no)?.invite?;
        Some(self.clients.get(id)?.request.cseq().number)
    }

    fn failed(&mut self, cx: &mut Cx<'_>, no: CallNo, outcome: Outcome) {
        cx.ledger.call_result(cx.now, no, outcome);
        if let Some(leg) = self.legs.get_mut(&no) {
            leg.phase = Phase::Over;
        }
    }

    pub(super) fn invite_answered(
        &mut self,
        cx: &mut Cx<'_>,
        id: u64,
        no: CallNo,
        response: &Message,
    ) {
        let status = response.status().unwrap_or_default();
        match status {
            200..=299 => self.accepted(cx, id, no, response),
            407 if self.legs.get(&no).is_some_and(|leg| !leg.authenticated) => {
                self.authenticate(cx, no, response);
            }
            _ => self.failed(cx, no, Outcome::Status(status)),
        }
    }

    fn authenticate(&mut self, cx: &mut Cx<'_>, no: CallNo, response: &Message) {
        let Some(script) = cx.scenario.call(no) else { return };
        if let Some(leg) = self.legs.get_mut(&no) {
            leg.authenticated = true;
        }
        let password =
            if script.wrong_password { "guess".to_owned() } else { self.device.password.clone() };
        let uri = request_uri(script);
        let name = HeaderName::ProxyAuthenticate;
        let value = self.credentials(response, name, "INVITE", &uri, &password);
        self.send_invite(cx, no, response.cseq().number + 1, value);
    }

    /// The first 2xx makes the call; another fork's, or one that comes too late, is ended at once.
    fn accepted(&mut self, cx: &mut Cx<'_>, id: u64, no: CallNo, response: &Message) {
        let tag = response.to().tag().unwrap_or_default();
        let description = Description::read(response.body());
        if let Some(description) = &description {
            cx.ledger.description_seen(cx.now, no, self.id(), description);
        }
        let dialog = Dialog::of_caller(response);
        let Some(leg) = self.legs.get_mut(&no) else { return };
        let is_first = leg.phase == Phase::Inviting;
        let wanted = is_first && !leg.cancelled;
        let mut answer = None;
        if let Some(description) = &description {
            if leg.late_offer {
                // An answer has the m= lines of its offer (RFC 3264 6).
                leg.media.streams.truncate(description.ports.len());
            }
            let own = if leg.late_offer {
                leg.media.answer_to(description)
            } else {
                leg.media.proposal()
            };
            if leg.late_offer {
                answer = Some(leg.media.describe(&own));
            }
            if wanted {
                leg.media.agree(&own, description);
            }
        } else if is_first {
            cx.ledger.lacks_description(cx.now, no, self.device.id);
        }
        let ack = self.in_dialog(&dialog, no, &Method::Ack, dialog.cseq, answer);
        let to = dialog.next_hop().unwrap_or_else(|| self.home());
        self.clients.acknowledge(cx, id, tag, to, ack);
        if is_first {
            cx.ledger.call_result(cx.now, no, Outcome::Status(200));
        }
        if !wanted {
            return self.end_stray(cx, no, dialog, is_first);
        }
        cx.ledger.caller_up(cx.now, no, tag);
        if let Some(leg) = self.legs.get_mut(&no) {
            leg.dialog = Some(dialog);
        }
        self.up(cx, no);
    }

    fn end_stray(&mut self, cx: &mut Cx<'_>, no: CallNo, mut dialog: Dialog, is_first: bool) {
        dialog.cseq += 1;
        let bye = self.in_dialog(&dialog, no, &Method::Bye, dialog.cseq, None);
        let Ok(bye) = Message::parse_datagram(bye) else { return };
        let to = dialog.next_hop().unwrap_or_else(|| self.home());
        let reliable = self.transport().is_reliable();
        let purpose = if is_first { Purpose::Bye(no) } else { Purpose::StrayBye };
        cx.ledger.hung_up(cx.now, no, Side::Caller, is_first);
        self.clients.send(cx, bye, to, reliable, purpose);
        if is_first && let Some(leg) = self.legs.get_mut(&no) {
            leg.phase = Phase::Ending;
        }
    }

    /// A request within a dialog, ready to be sent.
    pub(super) fn in_dialog(
        &mut self,
        dialog: &Dialog,
        no: CallNo,
        method: &Method,
        cseq: u32,
        sdp: Option<String>,
    ) -> Bytes {
        let via = self.via();
        let mut request = RequestBuilder::new(method, &dialog.target);
        request
            .header(HeaderName::Via, via)
            .header(HeaderName::MaxForwards, "70")
            .header(HeaderName::From, &dialog.local)
            .header(HeaderName::To, &dialog.remote)
            .header(HeaderName::CallId, no.call_id())
            .header(HeaderName::CSeq, format!("{cseq} {method}"))
            .header(HeaderName::Contact, self.contact());
        for route in &dialog.routes {
            request.header(HeaderName::Route, route);
        }
        if let Some(sdp) = sdp {
            request.body("application/sdp", sdp);
        }
        request.finish()
    }
}
