//! How calls begin and end: the table entry, the BYE, and the record that is written once the relay
//! has reported.

use std::time::Instant;

use relay_core::api::Leg;
use smallvec::SmallVec;

use super::failures::RETRY_AFTER;
use super::inbound::Answer;
use super::output::{CallEnd, Notice, Output};
use super::routing::party_of;
use super::timers::Timer;
use super::{Proxy, REPORT_GRACE};
use crate::call::{Call, CallId};
use crate::transport::Arrival;
use crate::wire::{HeaderName, Message};

impl Proxy {
    /// A table entry for the call that an INVITE starts.
    pub(super) fn new_call(
        &mut self,
        now: Instant,
        arrival: &Arrival,
        invite: &Message,
    ) -> Result<CallId, Answer> {
        let (from, to) = (invite.from(), invite.to());
        // RFC 3261 12.1.1: a caller of RFC 2543 may have no tag, which is a tag of its own.
        let caller_tag = from.tag().unwrap_or_default();
        let call = Call {
            sip_call_id: invite.call_id().into(),
            caller_tag: caller_tag.into(),
            caller: party_of(arrival, invite),
            branches: SmallVec::new(),
            parties: [from.uri_text().into(), to.uri_text().into()],
            started: now,
            answered: None,
            setup: None,
            timer: None,
            ended: None,
            inviting: true,
            context: None,
            sessions: SmallVec::new(),
            reports: Vec::new(),
        };
        let limit = self.calls.limit();
        let Ok(key) = self.calls.insert(call) else {
            self.notice(Notice::TableFull { what: "calls", limit });
            return Err(
                Answer::new(503, "Too Many Calls").with(HeaderName::RetryAfter, RETRY_AFTER)
            );
        };
        let id = CallId(key);
        self.watch_call(id);
        Ok(id)
    }

    /// Waits for the end of the call's longest life, or of the first session that nobody refreshes.
    pub(super) fn watch_call(&mut self, id: CallId) {
        let Some(call) = self.calls.get(id.0).filter(|call| call.ended.is_none()) else { return };
        let lifetime = call.started + self.config.limits.call_lifetime;
        let due = call.session_end().map_or(lifetime, |end| end.min(lifetime));
        self.set_call_timer(id, due);
    }

    fn set_call_timer(&mut self, id: CallId, due: Instant) {
        let Some(call) = self.calls.get_mut(id.0) else { return };
        if let Some(old) = call.timer.take() {
            self.timers.cancel(old);
        }
        call.timer = self.timers.schedule(due, Timer::Call(id)).ok();
    }

    /// A BYE has been answered: its dialog is over, and the call with its last dialog.
    pub(super) fn dialog_over(
        &mut self,
        now: Instant,
        id: CallId,
        from: Leg,
        branch: usize,
        response: &Message,
    ) {
        let callee_tag = match from {
            Leg::Caller => response.to().tag(),
            Leg::Callee => response.from().tag(),
        };
        let Some(call) = self.calls.get_mut(id.0) else { return };
        let Some(branch_state) = call.branches.get_mut(branch) else { return };
        for dialog in &mut branch_state.dialogs {
            if Some(&*dialog.tag) == callee_tag {
                dialog.over = true;
            }
        }
        if call.inviting {
            // RFC 3261 15: an early dialog has ended. The INVITE goes on, on this branch too: its
            // final response ends what is left.
            return;
        }
        let branch_is_up = branch_state.is_up();
        let call_is_up = call.is_up();
        if !branch_is_up {
            self.release_media(id, branch);
        }
        if !call_is_up {
            let end = match from {
                Leg::Caller => CallEnd::CallerHungUp,
                Leg::Callee => CallEnd::CalleeHungUp,
            };
            self.end_call(now, id, end);
        }
    }

    /// Ends a call: its media is released now, its record is written once the relay has reported.
    pub(super) fn end_call(&mut self, now: Instant, id: CallId, end: CallEnd) {
        let Some(call) = self.calls.get_mut(id.0) else { return };
        if call.ended.is_some() {
            return;
        }
        call.ended = Some((end, now));
        self.events.call_ends(now, &self.registrar, id.0);
        self.send_byes(now, id, end);
        let branches = self.calls.get(id.0).map_or(0, |call| call.branches.len());
        for branch in 0..branches {
            self.release_media(id, branch);
        }
        self.set_call_timer(id, now + REPORT_GRACE);
        self.write_record_if_complete(now, id);
    }

    pub(super) fn write_record_if_complete(&mut self, now: Instant, id: CallId) {
        if self.calls.get(id.0).is_some_and(|c| c.ended.is_some() && c.sessions.is_empty()) {
            self.write_record(now, id);
        }
    }

    pub(super) fn write_record(&mut self, now: Instant, id: CallId) {
        let Some(mut call) = self.forget_call(now, id) else { return };
        if let Some((end, at)) = call.ended {
            self.outputs.push_back(Output::Record(Box::new(call.record(end, at))));
        }
    }

    /// Takes a call out of the table without a word.
    pub(super) fn forget_call(&mut self, now: Instant, id: CallId) -> Option<Call> {
        let call = self.calls.remove(id.0)?;
        self.events.call_ends(now, &self.registrar, id.0);
        if let Some(timer) = call.timer {
            self.timers.cancel(timer);
        }
        // The relay has not reported in time. If it ever does, nobody is interested.
        for session in &call.sessions {
            self.forget_session(now, *session);
        }
        Some(call)
    }

    /// The node stops: nothing new is taken, every call's media is released, its parties are told, and its
    /// record written as the relay reports.
    pub fn handle_stop(&mut self, now: Instant) {
        self.stopping = true;
        for key in self.calls.keys() {
            self.end_call(now, CallId(key), CallEnd::NodeStopped);
        }
        self.refuse_unanswered(now);
        self.events.stop(now, &self.registrar);
        self.process_events(now);
    }

    /// The node does not wait any longer: the records of calls that the relay has not reported are
    /// written without.
    pub fn handle_stopped(&mut self, now: Instant) {
        for key in self.calls.keys() {
            self.end_call(now, CallId(key), CallEnd::NodeStopped);
            self.write_record(now, CallId(key));
        }
    }
}
