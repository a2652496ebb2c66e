//! Re-INVITEs: hold, resume, other ports, refusals, late offers.

use std::time::Duration;

use signaling_core::wire::{HeaderName, Message, Method};

use super::client::Purpose;
use super::leg::{Answered, Asked, Phase, Proposal};
use super::sdp::{Description, Direction};
use super::{Agent, Cx, Timer};
use crate::CallNo;
use crate::scenario::Change;

/// Asks the other side to refuse; the core passes what it does not know.
const REFUSE: &str = "X-Sim-Refuse";
/// Audio and video.
const STREAMS_MAX: usize = 2;
/// From one try to the next while another exchange is going on.
const PUT_OFF: Duration = Duration::from_millis(700);
/// How often a change is put off before it is left out.
const PUT_OFF_MAX: u8 = 8;

impl Agent {
    pub(super) fn change(&mut self, cx: &mut Cx<'_>, no: CallNo, place: usize, tries: u8) {
        let Some(leg) = self.legs.get(&no).filter(|leg| leg.phase == Phase::Up) else { return };
        let step = cx.scenario.call(no).and_then(|script| script.steps.get(place).copied());
        let Some(step) = step else { return };
        // RFC 3261 14.1: one at a time.
        if leg.asked.is_some() || leg.answered.is_some() {
            if tries < PUT_OFF_MAX {
                cx.wake(cx.now + PUT_OFF, Timer::Change(no, place, tries + 1));
            }
            return;
        }
        self.ask(cx, no, step.change);
    }

    fn proposal(&mut self, no: CallNo, change: Change) -> Option<Proposal> {
        let leg = self.legs.get(&no)?;
        let now = leg.media.proposal();
        Some(match change {
            Change::Hold => Proposal { direction: Direction::Send, ..now },
            Change::OldHold => Proposal { old_hold: true, ..now },
            Change::Resume | Change::Ask => Proposal { direction: Direction::Both, ..now },
            Change::Widen => {
                let mut ports = now.ports.clone();
                if ports.len() < STREAMS_MAX {
                    ports.extend(self.take_ports(no, 1));
                }
                Proposal { direction: Direction::Both, ports, ..now }
            }
            Change::Move | Change::Refused => {
                Proposal { ports: self.take_ports(no, now.ports.len()), ..now }
            }
        })
    }

    fn ask(&mut self, cx: &mut Cx<'_>, no: CallNo, change: Change) {
        let Some(proposal) = self.proposal(no, change) else { return };
        let Some(leg) = self.legs.get_mut(&no) else { return };
        let Some(dialog) = &mut leg.dialog else { return };
        dialog.cseq += 1;
        let dialog = dialog.clone();
        let sdp = (change != Change::Ask).then(|| leg.media.describe(&proposal));
        let request = self.in_dialog(&dialog, no, &Method::Invite, dialog.cseq, sdp);
        let Ok(mut request) = Message::parse_datagram(request) else { return };
        if change == Change::Refused
            && let Ok(marked) = request.edit().append(HeaderName::Subject, REFUSE).finish_message()
        {
            request = marked;
        }
        let to = dialog.next_hop().unwrap_or_else(|| self.home());
        let reliable = self.transport().is_reliable();
        cx.ledger.exchange_begins(cx.now, no);
        cx.ledger.invite_sent(cx.now, (no, self.device.id, dialog.cseq));
        let client = self.clients.send(cx, request, to, reliable, Purpose::Reinvite(no));
        if let Some(leg) = self.legs.get_mut(&no) {
            leg.asked = Some(Asked { client, change, proposal });
        }
    }

    /// The re-INVITE of this side has its final response, or none ever.
    pub(super) fn reinvite_answered(
        &mut self,
        cx: &mut Cx<'_>,
        id: u64,
        no: CallNo,
        response: Option<&Message>,
    ) {
        let Some(leg) = self.legs.get_mut(&no) else { return };
        let Some(asked) = leg.asked.take_if(|asked| asked.client == id) else { return };
        let status = response.and_then(Message::status);
        let (Some(response), Some(200..=299)) = (response, status) else {
            return self.reinvite_failed(cx, no, asked, status);
        };
        let description = Description::read(response.body());
        let agent = self.device.id;
        let Some(description) = description else {
            cx.ledger.lacks_description(cx.now, no, agent);
            return;
        };
        cx.ledger.description_seen(cx.now, no, agent, &description);
        self.make_streams(no, description.ports.len());
        let Some(leg) = self.legs.get_mut(&no) else { return };
        let (change, mut proposal) = (asked.change, asked.proposal);
        let mut answer = None;
        if change == Change::Ask {
            proposal = leg.media.answer_to(&description);
            proposal.direction = description.direction.answered();
            answer = Some(leg.media.describe(&proposal));
        }
        leg.media.agree(&proposal, &description);
        let Some(dialog) = leg.dialog.clone() else { return };
        let tag = response.to().tag().unwrap_or_default();
        let ack = self.in_dialog(&dialog, no, &Method::Ack, response.cseq().number, answer);
        let to = dialog.next_hop().unwrap_or_else(|| self.home());
        self.clients.acknowledge(cx, id, tag, to, ack);
    }

    fn reinvite_failed(&mut self, cx: &mut Cx<'_>, no: CallNo, asked: Asked, status: Option<u16>) {
        if status.is_none()
            && let Some(cseq) = self.clients.get(asked.client).map(|c| c.request.cseq().number)
        {
            cx.ledger.invite_given_up((no, self.id(), cseq));
        }
        // What was before holds again (RFC 3261 14.1); without a word from the other side nobody
        // knows what holds, and the dialog is ended, as it is when the other side has lost it.
        let certain = matches!(status, Some(488 | 491));
        cx.ledger.exchange_refused(cx.now, no, certain);
        let lost = matches!(status, None | Some(408 | 481));
        if lost && self.legs.get(&no).is_some_and(|leg| leg.phase == Phase::Up) {
            self.send_bye(cx, no);
        }
    }

    pub(super) fn handle_reinvite(
        &mut self,
        cx: &mut Cx<'_>,
        id: u64,
        no: CallNo,
        request: &Message,
    ) {
        let ours = self.legs.get(&no).filter(|leg| {
            matches!(leg.phase, Phase::Up | Phase::Accepted)
                && leg.dialog.as_ref().map(|d| &*d.remote_tag) == request.from().tag()
        });
        let Some(leg) = ours else { return self.respond(cx, id, 481, None) };
        if leg.asked.is_some() || leg.answered.is_some() || leg.phase == Phase::Accepted {
            return self.respond(cx, id, 491, None);
        }
        let offer = Description::read(request.body());
        if let Some(offer) = &offer {
            cx.ledger.description_seen(cx.now, no, self.id(), offer);
        }
        if request.first_str(HeaderName::Subject) == Some(REFUSE) {
            return self.respond(cx, id, 488, None);
        }
        self.answer_reinvite(cx, id, no, offer.as_ref());
    }

    fn answer_reinvite(
        &mut self,
        cx: &mut Cx<'_>,
        id: u64,
        no: CallNo,
        offer: Option<&Description>,
    ) {
        self.make_streams(no, offer.map_or(0, |offer| offer.ports.len()));
        let Some(leg) = self.legs.get_mut(&no) else { return };
        let mut answered = Answered { server: id, two_way: None, offer: None };
        let mut proposal = leg.media.proposal();
        match offer {
            Some(offer) => {
                proposal = leg.media.answer_to(offer);
                proposal.direction = offer.direction.answered();
                let two_way = proposal.direction == Direction::Both && !offer.is_old_hold();
                answered.two_way = Some(two_way);
                leg.media.agree(&proposal, offer);
            }
            None => {
                proposal.direction = Direction::Both;
                answered.offer = Some(proposal.clone());
            }
        }
        let sdp = leg.media.describe(&proposal);
        leg.answered = Some(answered);
        self.respond(cx, id, 200, Some(sdp));
    }

    /// Sees to it that the leg has so many streams.
    fn make_streams(&mut self, no: CallNo, count: usize) {
        let there = self.legs.get(&no).map_or(0, |leg| leg.media.streams.len());
        let ports = self.take_ports(no, count.saturating_sub(there));
        if let Some(leg) = self.legs.get_mut(&no) {
            leg.media.widen(&ports);
        }
    }

    pub(super) fn reinvite_acknowledged(&mut self, cx: &mut Cx<'_>, no: CallNo, ack: &Message) {
        let agent = self.id();
        let Some(leg) = self.legs.get_mut(&no) else { return };
        let Some(answered) = leg.answered.take() else { return };
        let mut two_way = answered.two_way;
        if let Some(own) = &answered.offer {
            let Some(answer) = Description::read(ack.body()) else {
                cx.ledger.lacks_description(cx.now, no, agent);
                return;
            };
            cx.ledger.description_seen(cx.now, no, agent, &answer);
            let direction = answer.direction.answered();
            leg.media.agree(&Proposal { direction, ..own.clone() }, &answer);
            two_way = Some(direction == Direction::Both && !answer.is_old_hold());
        }
        cx.ledger.exchange_ends(cx.now, no, two_way);
    }
}
