//! What the proxy core's own timers do.

use std::time::Instant;

use super::cancel::RANG_TOO_LONG;
use super::context::{Failure, Progress};
use super::output::CallEnd;
use super::{CANCEL_GRACE, Proxy, TIMER_C};
use crate::call::CallId;
use crate::resolve::ResolveError;
use crate::table::Key;

/// A timer of the proxy core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// An INVITE branch has rung too long (timer C), or has not answered its CANCEL.
    Branch { context: Key, branch: usize },
    /// The contacts that are being tried have rung long enough.
    Group(Key),
    /// A call has lived too long, its session has not been refreshed, or its record has waited too long for the relay.
    Call(CallId),
    /// A request has waited long enough for what another member knows.
    Held(u64),
}

impl Proxy {
    pub(super) fn handle_timer(&mut self, now: Instant, timer: Timer) {
        match timer {
            Timer::Branch { context, branch } => self.branch_timed_out(now, context, branch),
            Timer::Group(context) => self.group_timed_out(now, context),
            Timer::Call(call) => self.call_timed_out(now, call),
            Timer::Held(token) => self.go_on_with(now, token),
        }
    }

    /// Bounds how long the present group of contacts rings before the next one's turn.
    pub(super) fn start_group_timer(&mut self, now: Instant, key: Key) {
        let due = now + self.config.fork_time;
        let Some(context) = self.contexts.get_mut(key) else { return };
        if let Some(old) = context.group_timer.take() {
            self.timers.cancel(old);
        }
        context.group_timer = self.timers.schedule(due, Timer::Group(key)).ok();
    }

    /// The present group is given up, and the next one tried once it has said so: until then one of them
    /// may still answer.
    fn group_timed_out(&mut self, now: Instant, key: Key) {
        let Some(context) = self.contexts.get_mut(key) else { return };
        context.group_timer = None;
        if context.answered {
            return;
        }
        let group = context.group;
        self.note_timeout(key);
        let Some(context) = self.contexts.get(key) else { return };
        let members = context.branches.iter().enumerate().filter(|(_, b)| b.group == group);
        for index in members.map(|(index, _)| index).collect::<Vec<_>>() {
            self.cancel_branch(now, key, index, Some(RANG_TOO_LONG));
        }
    }

    /// RFC 3261 16.8: branches that have rung for too long are as good as answered 408. The 487 to our
    /// CANCEL is no answer to a caller who has cancelled nothing.
    fn note_timeout(&mut self, key: Key) {
        let response = self.own_response(key, 408, "Request Timeout", None);
        if let Some(context) = self.contexts.get_mut(key).filter(|context| !context.cancelled)
            && let Some(response) = response
        {
            context.consider(Failure { response, is_own: true });
        }
    }

    /// Starts timer C (RFC 3261 16.6 step 11).
    pub(super) fn start_timer_c(&mut self, now: Instant, key: Key, branch: usize) {
        if let Some(branch) = self.branch_mut(key, branch) {
            branch.on_trial = false;
        }
        self.start_branch_timer(now + TIMER_C, key, branch);
    }

    /// Starts timer C again after a provisional response (RFC 3261 16.7 step 2), but for a branch
    /// that has been cancelled: it may not ring on for ever.
    pub(super) fn restart_timer_c(&mut self, now: Instant, key: Key, index: usize) {
        if self.branch_mut(key, index).is_some_and(|b| b.is_pending() && !b.cancel_sent) {
            self.start_timer_c(now, key, index);
        }
    }

    pub(super) fn start_branch_timer(&mut self, due: Instant, key: Key, branch: usize) {
        let Some(b) = self.contexts.get_mut(key).and_then(|c| c.branches.get_mut(branch)) else {
            return;
        };
        if let Some(old) = b.timer_c.take() {
            self.timers.cancel(old);
        }
        // The wheel holds every timer that full tables can ask for (`timers_max`).
        b.timer_c = self.timers.schedule(due, Timer::Branch { context: key, branch }).ok();
    }

    /// RFC 3261 16.8: cancel the branch; one that has been cancelled already is given up as if it
    /// had answered 408.
    fn branch_timed_out(&mut self, now: Instant, key: Key, index: usize) {
        let Some(context) = self.contexts.get_mut(key) else { return };
        let Some(branch) = context.branches.get_mut(index) else { return };
        branch.timer_c = None;
        if branch.progress == Progress::Finished {
            return;
        }
        if branch.progress == Progress::Resolving {
            return self.branch_resolved(now, key, index, Err(ResolveError::NoAnswer));
        }
        if branch.on_trial && !branch.cancel_sent {
            return self.trial_ends(now, key, index);
        }
        let already_cancelled = branch.cancel_sent;
        match branch.tx {
            Some(tx) if !already_cancelled => {
                branch.cancel_sent = true;
                self.note_timeout(key);
                self.transactions.cancel(now, tx, Some(RANG_TOO_LONG));
                self.start_branch_timer(now + CANCEL_GRACE, key, index);
            }
            Some(_) | None => self.fail_branch(now, key, index, 408, "Request Timeout"),
        }
    }

    fn call_timed_out(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get_mut(id.0) else { return };
        call.timer = None;
        if call.ended.is_some() {
            self.write_record(now, id);
        } else if now >= call.started + self.config.limits.call_lifetime {
            self.end_call(now, id, CallEnd::LifetimeExceeded);
        } else {
            self.expire_sessions(now, id);
        }
    }
}
