//! A call that is up: its media, its end.

use std::time::Duration;

use signaling_core::wire::{Message, Method};

use super::client::Purpose;
use super::leg::Phase;
use super::rtp::{INTERVAL, Mark};
use super::{Agent, Cx, Effect, Timer};
use crate::CallNo;
use crate::scenario::HangUp;

/// How much longer than agreed a side waits for the other to hang up.
const PATIENCE: Duration = Duration::from_secs(25);

impl Agent {
    /// The dialog is confirmed: the script of the conversation begins.
    pub(super) fn up(&mut self, cx: &mut Cx<'_>, no: CallNo) {
        let Some(leg) = self.legs.get_mut(&no) else { return };
        leg.phase = Phase::Up;
        let side = leg.side;
        let Some(script) = cx.scenario.call(no) else { return };
        let hangs_up = script.hang_up == HangUp::Both || script.hang_up == HangUp::By(side);
        let talk = if hangs_up { script.talk } else { script.talk + PATIENCE };
        cx.wake(cx.now + talk, Timer::HangUp(no));
        for (place, step) in script.steps.iter().enumerate().filter(|(_, s)| s.by == side) {
            cx.wake(cx.now + step.after, Timer::Change(no, place, 0));
        }
        if let Some((who, after)) = script.death
            && who == side
        {
            cx.wake(cx.now + after, Timer::Die(no));
        }
        self.start_playing(cx, no);
    }

    pub(super) fn start_playing(&mut self, cx: &mut Cx<'_>, no: CallNo) {
        let Some(leg) = self.legs.get_mut(&no) else { return };
        if !leg.plays {
            leg.plays = true;
            cx.wake(cx.now, Timer::Play(no));
        }
    }

    /// Sends a packet of each stream.
    pub(super) fn play(&mut self, cx: &mut Cx<'_>, no: CallNo) {
        let from = self.id();
        let Some(leg) = self.legs.get_mut(&no) else { return };
        if leg.is_done() || leg.phase == Phase::Ending {
            return;
        }
        cx.wake(cx.now + INTERVAL, Timer::Play(no));
        if !leg.media.direction.sends() {
            return;
        }
        for (place, stream) in leg.media.streams.iter_mut().enumerate() {
            let Some(to) = stream.remote else { continue };
            let mark = Mark { call: no, from, stream: place as u8, number: stream.sent };
            let bytes = mark.packet(stream.sequence);
            stream.sent += 1;
            stream.sequence = stream.sequence.wrapping_add(1);
            cx.ledger.media_sent(cx.now, mark);
            cx.effects.push(Effect::Media { port: stream.local, to, bytes });
        }
    }

    pub(super) fn hang_up(&mut self, cx: &mut Cx<'_>, no: CallNo) {
        if self.legs.get(&no).is_some_and(|leg| leg.phase == Phase::Up) {
            self.send_bye(cx, no);
        }
    }

    pub(super) fn send_bye(&mut self, cx: &mut Cx<'_>, no: CallNo) {
        let Some(leg) = self.legs.get_mut(&no) else { return };
        leg.phase = Phase::Ending;
        let side = leg.side;
        let Some(dialog) = &mut leg.dialog else { return };
        dialog.cseq += 1;
        let dialog = dialog.clone();
        cx.ledger.hung_up(cx.now, no, side, true);
        let bye = self.in_dialog(&dialog, no, &Method::Bye, dialog.cseq, None);
        let Ok(bye) = Message::parse_datagram(bye) else { return };
        let to = dialog.next_hop().unwrap_or_else(|| self.home());
        let reliable = self.transport().is_reliable();
        self.clients.send(cx, bye, to, reliable, Purpose::Bye(no));
    }

    pub(super) fn handle_bye(&mut self, cx: &mut Cx<'_>, id: u64, no: CallNo, bye: &Message) {
        let ours = self.legs.get(&no).is_some_and(|leg| {
            let tag = bye.from().tag();
            !leg.is_done() && leg.dialog.as_ref().is_some_and(|d| Some(&*d.remote_tag) == tag)
        });
        if !ours {
            return self.respond(cx, id, 481, None);
        }
        self.respond(cx, id, 200, None);
        self.over(cx, no);
    }

    /// The call has ended for this agent.
    pub(super) fn over(&mut self, cx: &mut Cx<'_>, no: CallNo) {
        let Some(leg) = self.legs.get_mut(&no) else { return };
        if leg.phase != Phase::Dead {
            leg.phase = Phase::Over;
            cx.ledger.leg_over(cx.now, no, self.device.id);
        }
    }

    /// From now on the agent hears and says nothing in this call.
    pub(super) fn die(&mut self, cx: &mut Cx<'_>, no: CallNo) {
        let Some(leg) = self.legs.get_mut(&no) else { return };
        if !leg.is_done() {
            leg.phase = Phase::Dead;
            cx.ledger.leg_dead(cx.now, no, self.device.id);
        }
    }
}
