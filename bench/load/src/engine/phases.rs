//! From registering to hanging up: what is begun when.

use std::time::{Duration, Instant};

use crate::engine::outcome::Failure;
use crate::engine::session::Hangup;
use crate::engine::summary::Window;
use crate::engine::{Engine, PROGRESS_PERIOD, Wake};
use crate::ids::SessionId;
use crate::progress::Phase;

/// Things begun in one turn, so that a high rate does not keep answers waiting.
const BEGUN_PER_TURN_MAX: u32 = 64;

/// Timers fired in one turn.
const TIMERS_PER_TURN_MAX: u32 = 512;

/// Registrations under way at once: enough for any rate at a sane round trip, while a dead registrar
/// is not sent tens of thousands of requests.
const REGISTERING_MAX: u32 = 1_000;

impl Engine {
    /// Does what is due.
    pub(crate) fn turn(&mut self, now: Instant) {
        if now >= self.deadline {
            self.end_at_deadline(now);
            return;
        }
        for _ in 0..TIMERS_PER_TURN_MAX {
            let Some(wake) = self.timers.pop(now) else { break };
            self.wake(wake, now);
        }
        match self.phase {
            Phase::Registering => self.turn_registering(now),
            Phase::Calling => self.turn_calling(now),
            Phase::Holding => self.turn_holding(now),
            Phase::Draining => self.turn_draining(now),
            Phase::HangingUp => self.turn_hanging_up(now),
            Phase::Unregistering => self.turn_unregistering(now),
            Phase::Done => {}
        }
    }

    fn wake(&mut self, wake: Wake, now: Instant) {
        match wake {
            Wake::Client(branch) => self.on_client_timer(&branch, now),
            Wake::Server(key) => self.on_server_timer(&key, now),
            Wake::Answer(session) => self.answer(session, now),
            Wake::GiveUp(session) => self.give_up(session, now),
            Wake::HoldOver(session) => {
                self.media.stop_session(session);
                let drained = now + Duration::from_millis(self.plan.args.drain_ms);
                self.timers.push(drained, Wake::DrainOver(session));
            }
            Wake::DrainOver(session) => self.hang_up(session, now),
        }
    }

    /// How long there is nothing to do but listen.
    pub(crate) fn idle_time(&self, now: Instant, snapshot_at: Instant) -> Duration {
        let paced = match self.phase {
            Phase::Registering | Phase::Unregistering
                if self.registering < REGISTERING_MAX
                    && self.next_registration < self.registrations.len() =>
            {
                Some(self.pacers.register.next_at())
            }
            Phase::Calling if self.next_call < self.plan.args.sessions => {
                Some(self.pacers.call.next_at())
            }
            Phase::Holding | Phase::Draining => Some(self.phase_ends_at),
            Phase::HangingUp if self.next_hangup < self.plan.args.sessions => {
                Some(self.pacers.hangup.next_at())
            }
            Phase::Registering
            | Phase::Calling
            | Phase::HangingUp
            | Phase::Unregistering
            | Phase::Done => None,
        };
        let next = [self.timers.next_at(), paced, Some(self.deadline), Some(snapshot_at)];
        let next = next.into_iter().flatten().min().unwrap_or(now);
        // Rounded up, since poll counts milliseconds and a wait of 0 would spin.
        let idle = next.saturating_duration_since(now).min(PROGRESS_PERIOD);
        if idle.is_zero() { idle } else { idle + Duration::from_millis(1) }
    }

    fn turn_registering(&mut self, now: Instant) {
        for _ in 0..BEGUN_PER_TURN_MAX {
            let more = self.next_registration < self.registrations.len();
            if !more || self.registering >= REGISTERING_MAX || !self.pacers.register.take(now) {
                break;
            }
            self.register(self.next_registration, now);
            self.next_registration += 1;
        }
        if self.next_registration == self.registrations.len() && self.registering == 0 {
            self.phase = Phase::Calling;
            self.pacers.call.restart(now);
        }
    }

    fn turn_calling(&mut self, now: Instant) {
        for _ in 0..BEGUN_PER_TURN_MAX {
            if self.next_call == self.plan.args.sessions || !self.pacers.call.take(now) {
                break;
            }
            self.call(SessionId(self.next_call), now);
            self.next_call += 1;
        }
        if self.counters.settled < self.plan.args.sessions {
            return;
        }
        if self.counters.up == 0 {
            self.begin_hanging_up(now);
            return;
        }
        self.phase = Phase::Holding;
        self.window = Window::open(self, now);
        self.phase_ends_at = now + Duration::from_secs_f64(self.plan.args.seconds);
    }

    fn turn_holding(&mut self, now: Instant) {
        let all_over = self.counters.over == self.plan.args.sessions;
        if now < self.phase_ends_at && !all_over {
            return;
        }
        self.window.close(self.media.snapshot(), now);
        if self.plan.args.per_call_seconds || all_over {
            self.begin_hanging_up(now);
            return;
        }
        for number in 0..self.plan.args.sessions {
            self.media.stop_session(SessionId(number));
        }
        self.phase = Phase::Draining;
        self.phase_ends_at = now + Duration::from_millis(self.plan.args.drain_ms);
    }

    fn turn_draining(&mut self, now: Instant) {
        if now >= self.phase_ends_at {
            self.begin_hanging_up(now);
        }
    }

    fn begin_hanging_up(&mut self, now: Instant) {
        self.phase = Phase::HangingUp;
        self.pacers.hangup.restart(now);
        if self.plan.args.per_call_seconds {
            // Each call has a timer for it.
            self.next_hangup = self.plan.args.sessions;
        }
    }

    fn turn_hanging_up(&mut self, now: Instant) {
        for _ in 0..BEGUN_PER_TURN_MAX {
            if self.next_hangup == self.plan.args.sessions {
                break;
            }
            let session = SessionId(self.next_hangup);
            let state = self.session(session);
            if state.outcome.is_none() && state.hangup == Hangup::No {
                if !self.pacers.hangup.take(now) {
                    break;
                }
                self.hang_up(session, now);
            }
            self.next_hangup += 1;
        }
        let done = self.counters.over == self.plan.args.sessions;
        if !done || self.clients.values().any(|client| client.is_pending()) {
            return;
        }
        let leave = !self.plan.args.keep_registrations && !self.cancelled;
        self.phase = if leave { Phase::Unregistering } else { Phase::Done };
        self.next_registration = 0;
        self.pacers.register.restart(now);
    }

    fn turn_unregistering(&mut self, now: Instant) {
        for _ in 0..BEGUN_PER_TURN_MAX {
            let Some(registration) = self.registrations.get(self.next_registration) else { break };
            if registration.is_registered {
                if self.registering >= REGISTERING_MAX || !self.pacers.register.take(now) {
                    break;
                }
                self.unregister(self.next_registration, now);
            }
            self.next_registration += 1;
        }
        if self.next_registration == self.registrations.len() && self.registering == 0 {
            self.phase = Phase::Done;
        }
    }

    fn end_at_deadline(&mut self, now: Instant) {
        let open = self.sessions.iter().any(|session| !session.is_over());
        // What is still to be cleaned up of cancelled calls does not make a run late.
        self.deadline_reached = open && !self.cancelled;
        self.fail_rest(&Failure::Deadline, now);
        self.phase = Phase::Done;
    }
}
