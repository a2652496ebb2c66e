//! The called side until the call is up.

use signaling_core::wire::Message;

use super::leg::{Dialog, Leg, Media, Phase};
use super::sdp::Description;
use super::{Agent, Cx, Timer};
use crate::CallNo;
use crate::scenario::{DevicePart, Reply, Side};

/// How long a phone rings at most: longer than any proxy lets it.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(300);
/// From the 183 of early media to the 180 or the answer.
const EARLY: std::time::Duration = std::time::Duration::from_millis(100);

impl Agent {
    fn part(&self, cx: &Cx<'_>, no: CallNo) -> Option<DevicePart> {
        cx.scenario.call(no)?.devices.get(&self.id()).copied()
    }

    pub(super) fn invited(&mut self, cx: &mut Cx<'_>, id: u64, no: CallNo, request: &Message) {
        cx.ledger.device_invited(no, self.id());
        let Some(part) = self.part(cx, no) else { return self.respond(cx, id, 404, None) };
        if self.legs.contains_key(&no) {
            // RFC 3261 8.2.2.2: another INVITE of the same call.
            return self.respond(cx, id, 482, None);
        }
        let offer = Description::read(request.body());
        let streams = offer.as_ref().map_or(1, |offer| offer.ports.len());
        let ports = self.take_ports(no, streams);
        let mut leg = Leg::new(Side::Callee, Media::new(self.device.own_ip, ports));
        leg.invited = Some(id);
        leg.dialog = Some(Dialog::of_callee(request, &self.tag(Side::Callee, no)));
        match &offer {
            Some(offer) => {
                cx.ledger.description_seen(cx.now, no, self.device.id, offer);
                let own = leg.media.proposal();
                leg.media.agree(&own, offer);
            }
            None => leg.late_offer = true,
        }
        if part.reply == Reply::Silent {
            leg.phase = Phase::Dead;
        } else {
            cx.wake(cx.now + part.rings_after, Timer::Ring(no));
        }
        self.legs.insert(no, leg);
    }

    /// Whether the call is still to be answered.
    fn is_waiting(&self, no: CallNo) -> Option<u64> {
        let leg = self.legs.get(&no).filter(|leg| leg.phase == Phase::Inviting)?;
        leg.invited
    }

    pub(super) fn ring(&mut self, cx: &mut Cx<'_>, no: CallNo) {
        let (Some(id), Some(part)) = (self.is_waiting(no), self.part(cx, no)) else { return };
        if part.early_media {
            let sdp = self.legs.get_mut(&no).map(|leg| {
                let own = leg.media.proposal();
                leg.media.describe(&own)
            });
            self.respond(cx, id, 183, sdp);
            self.start_playing(cx, no);
        } else {
            self.respond(cx, id, 180, None);
        }
        let after = match part.reply {
            Reply::Accept(after) | Reply::Refuse(_, after) => after,
            Reply::FallSilent => EARLY,
            Reply::Ring => PATIENCE,
            Reply::Silent => return,
        };
        cx.wake(cx.now + after, Timer::Reply(no));
    }

    pub(super) fn reply(&mut self, cx: &mut Cx<'_>, no: CallNo) {
        let (Some(id), Some(part)) = (self.is_waiting(no), self.part(cx, no)) else { return };
        match part.reply {
            Reply::Accept(_) => {
                let Some(leg) = self.legs.get_mut(&no) else { return };
                let own = leg.media.proposal();
                let sdp = leg.media.describe(&own);
                leg.phase = Phase::Accepted;
                self.respond(cx, id, 200, Some(sdp));
                self.start_playing(cx, no);
            }
            Reply::Refuse(status, _) => {
                self.respond(cx, id, status, None);
                self.over(cx, no);
            }
            Reply::FallSilent | Reply::Silent => self.die(cx, no),
            Reply::Ring => {
                // Whoever wanted it to stop could not say so.
                self.respond(cx, id, 480, None);
                self.over(cx, no);
            }
        }
    }

    pub(super) fn handle_cancel(
        &mut self,
        cx: &mut Cx<'_>,
        id: u64,
        invite: Option<u64>,
        no: CallNo,
    ) {
        let Some(invite) = invite else { return self.respond(cx, id, 481, None) };
        self.respond(cx, id, 200, None);
        if self.is_waiting(no) == Some(invite) {
            self.respond(cx, invite, 487, None);
            self.over(cx, no);
        }
    }

    /// An ACK for a 2xx.
    pub(super) fn handle_ack(&mut self, cx: &mut Cx<'_>, no: Option<CallNo>, ack: &Message) {
        let Some(no) = no else { return };
        let Some(leg) = self.legs.get(&no) else { return };
        let answers = |id: Option<u64>| {
            let server = self.servers.get(id?)?;
            let fits = server.request.cseq().number == ack.cseq().number;
            (fits && !server.acked && (200..300).contains(&server.status)).then_some(id?)
        };
        if let Some(id) = answers(leg.invited) {
            self.servers.acknowledge(id);
            self.invite_acknowledged(cx, no, ack);
        } else if let Some(id) = answers(leg.answered.as_ref().map(|a| a.server)) {
            self.servers.acknowledge(id);
            self.reinvite_acknowledged(cx, no, ack);
        }
    }

    fn invite_acknowledged(&mut self, cx: &mut Cx<'_>, no: CallNo, ack: &Message) {
        let answer = Description::read(ack.body());
        let id = self.id();
        let Some(leg) = self.legs.get_mut(&no).filter(|l| l.phase == Phase::Accepted) else {
            return;
        };
        if leg.late_offer {
            match &answer {
                Some(answer) => {
                    cx.ledger.description_seen(cx.now, no, id, answer);
                    let own = leg.media.proposal();
                    leg.media.agree(&own, answer);
                }
                None => cx.ledger.lacks_description(cx.now, no, id),
            }
        }
        cx.ledger.callee_up(cx.now, no, id);
        self.up(cx, no);
    }

    /// A 2xx was never acknowledged (RFC 3261 13.3.1.4).
    pub(super) fn not_acknowledged(&mut self, cx: &mut Cx<'_>, id: u64) {
        let Some(server) = self.servers.get(id).filter(|s| (200..300).contains(&s.status)) else {
            return;
        };
        let Some(no) = CallNo::from_call_id(server.request.call_id()) else { return };
        let Some(leg) = self.legs.get_mut(&no) else { return };
        if leg.answered.as_ref().is_some_and(|a| a.server == id) {
            leg.answered = None;
            cx.ledger.exchange_ends(cx.now, no, None);
        }
        if matches!(leg.phase, Phase::Accepted | Phase::Up) {
            self.send_bye(cx, no);
        }
    }
}
