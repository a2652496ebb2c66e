//! Ending sessions: because it was asked for, or because nothing is heard any more.

use std::time::{Duration, Instant};

use super::{Relay, Timer};
use crate::api::{CloseCause, Event, SessionId, SessionReport};
use crate::ports::Fate;
use crate::session::Session;
use crate::stats;
use crate::stream::Stream;

impl Relay {
    pub(super) fn close_asked(&mut self, now: Instant, id: SessionId) {
        if self.sessions.contains_key(&id) {
            self.close(now, id, CloseCause::Asked);
        } else {
            self.answer_unknown_close(id);
        }
    }

    pub(super) fn answer_unknown_close(&mut self, session: SessionId) {
        let report = SessionReport::default();
        self.events.push_back(Event::Closed { session, cause: CloseCause::Unknown, report });
    }

    fn close(&mut self, now: Instant, id: SessionId, cause: CloseCause) {
        let Some(session) = self.sessions.remove(&id) else { return };
        if let Some(at) = session.idle_check {
            self.timers.remove(&(at, Timer::Idle(id)));
        }
        let report = self.report(now, &session);
        for key in session.streams.into_iter().flatten() {
            self.drain_stream(now, key, Fate::Rest);
        }
        self.events.push_back(Event::Closed { session: id, cause, report });
    }

    /// A session that was never brought to a state does not exist for signaling.
    pub(super) fn answer_report(&mut self, now: Instant, id: SessionId, token: u64) {
        let session = self.sessions.get(&id).filter(|session| session.established);
        let report = session.map(|session| self.report(now, session));
        self.events.push_back(Event::Report { session: id, token, report });
    }

    fn report(&self, now: Instant, session: &Session) -> SessionReport {
        let lifetime = now.saturating_duration_since(session.born);
        let streams = session.streams.iter().enumerate().map(|(place, key)| {
            let open = key.and_then(|key| self.streams.get(key));
            let open = open.map(|stream| stream.report(now, session.born));
            match (session.archive.get(&place).copied(), open) {
                (Some(archived), Some(open)) => stats::add_both(archived, open),
                (one, other) => one.or(other).unwrap_or_default(),
            }
        });
        SessionReport { lifetime, streams: streams.collect() }
    }

    /// Gives every port back and says what every session has relayed: the engine is at its end, and
    /// no socket is left. The relay has no session then.
    pub fn abandon(&mut self, now: Instant) -> Vec<(SessionId, SessionReport)> {
        let sessions = std::mem::take(&mut self.sessions);
        let established = sessions.iter().filter(|(_, session)| session.established);
        let reports = established.map(|(id, session)| (*id, self.report(now, session))).collect();
        let streams = std::mem::take(&mut self.streams);
        for (_, stream) in streams {
            for leg in stream.legs {
                self.give_back(now, leg.ports, Fate::Rest);
            }
        }
        self.give_back_drains(now);
        self.timers.clear();
        reports
    }

    /// Sees to it that the session is looked at when it could be idle. One timer a session: it is
    /// not moved by packets, but set anew for the time that is left when it fires.
    pub(super) fn arm_idle_check(&mut self, now: Instant, id: SessionId) {
        let Some(idle) = self.config.idle else { return };
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.idle_check.is_none() {
            let at = now + idle;
            session.idle_check = Some(at);
            self.timers.insert((at, Timer::Idle(id)));
        }
    }

    pub(super) fn check_idle(&mut self, now: Instant, id: SessionId) {
        let Some(idle) = self.config.idle else { return };
        let Some(session) = self.sessions.get(&id) else { return };
        let streams = || session.streams.iter().flatten().filter_map(|key| self.streams.get(*key));
        let heard = streams().filter_map(Stream::heard).max();
        let quiet_since = heard.map_or(session.applied, |heard| heard.max(session.applied));
        let left = idle.saturating_sub(now.saturating_duration_since(quiet_since));
        let expects_packets = streams().any(Stream::expects_packets);
        let busy = session.pending.is_some();
        if left == Duration::ZERO && expects_packets && !busy {
            self.close(now, id, CloseCause::Idle(idle));
            return;
        }
        // A session that may be silent (on hold, ringing) is looked at again a whole period later.
        let at = now + if left == Duration::ZERO { idle } else { left };
        if let Some(session) = self.sessions.get_mut(&id) {
            session.idle_check = Some(at);
            self.timers.insert((at, Timer::Idle(id)));
        }
    }
}
