//! `delete` and `query`: the sessions that a command means end, or report, and the reply has their
//! figures.

use std::time::Instant;

use relay_core::api::{CloseCause, Command, SessionId, SessionReport};
use smallvec::SmallVec;

use super::calls::Taken;
use super::command::{CommandError, Params};
use super::reply::{self, CallView};
use super::{Asker, Failure, Ng, Output, Record, Step, Work, too_busy};
use crate::table::Key;

/// Figures on their way.
#[derive(Debug)]
pub(super) struct Tally {
    subject: Subject,
    /// Sessions that have not reported yet.
    left: SmallVec<[SessionId; 1]>,
    reports: Vec<(SessionId, SessionReport)>,
}

/// What a tally is about.
#[derive(Debug)]
enum Subject {
    /// Branches of a call that goes on.
    Live { call: Key, sessions: SmallVec<[SessionId; 4]> },
    /// What was deleted.
    Gone(Taken),
}

impl Ng {
    pub(super) fn query(
        &mut self,
        now: Instant,
        asker: &Asker,
        params: &Params<'_>,
    ) -> Result<Step, Failure> {
        let id = params.call_id.ok_or(CommandError::Missing("call-id"))?;
        let call = self.calls.key(id).ok_or_else(unknown)?;
        let sessions = self.calls.meant(call, params);
        if sessions.is_empty() {
            return Err(unknown());
        }
        let known = sessions.iter().copied().filter(|id| self.sessions.contains_key(id));
        let left: SmallVec<[SessionId; 1]> = known.collect();
        let tokens: SmallVec<[u64; 1]> = left.iter().map(|_| self.next_token()).collect();
        let asked: Vec<Command> = left
            .iter()
            .zip(&tokens)
            .map(|(session, token)| Command::Report { session: *session, token: *token })
            .collect();
        let tally = Tally { subject: Subject::Live { call, sessions }, left, reports: Vec::new() };
        if tally.left.is_empty() {
            return Ok(Step::Reply(self.figures(&tally)));
        }
        self.await_relay(now, asker, tokens, Work::Tally(tally))?;
        asked.into_iter().for_each(|command| self.media(command));
        Ok(Step::Waits)
    }

    pub(super) fn delete(
        &mut self,
        now: Instant,
        asker: &Asker,
        params: &Params<'_>,
    ) -> Result<Step, Failure> {
        let id = params.call_id.ok_or(CommandError::Missing("call-id"))?;
        if self.requests.len() >= self.requests.limit() {
            return Err(too_busy());
        }
        let taken = self.calls.key(id).and_then(|call| self.calls.take_meant(call, params));
        let taken = match taken {
            Some(taken) => taken,
            None if params.fatal => return Err(unknown()),
            None => return Ok(Step::Reply(reply::ok().with("warning", UNKNOWN))),
        };
        let closing = self.close(&taken);
        let tally =
            Tally { subject: Subject::Gone(taken), left: closing.clone(), reports: Vec::new() };
        if closing.is_empty() {
            return Ok(Step::Reply(self.figures(&tally)));
        }
        let key = self.await_relay(now, asker, SmallVec::new(), Work::Tally(tally))?;
        for session in closing {
            if let Some(session) = self.sessions.get_mut(&session) {
                session.tally = Some(key);
            }
        }
        Ok(Step::Waits)
    }

    /// Has the relay close what was taken out of the table; returns the sessions that it knows.
    pub(super) fn close(&mut self, taken: &Taken) -> SmallVec<[SessionId; 1]> {
        if let Some(timer) = taken.timer {
            self.timers.cancel(timer);
        }
        let sessions = taken.branches.iter().map(|branch| branch.media.id());
        let known: SmallVec<[SessionId; 1]> =
            sessions.filter(|id| self.sessions.contains_key(id)).collect();
        known.iter().for_each(|session| self.media(Command::Close { session: *session }));
        known
    }

    /// Ends a call that nobody asks for any more.
    pub(super) fn end_call(&mut self, key: Key) {
        if let Some(taken) = self.calls.take(key) {
            self.close(&taken);
        }
    }

    /// The relay has closed a session: because it was told to, or because no media came.
    pub(super) fn session_closed(
        &mut self,
        id: SessionId,
        cause: CloseCause,
        report: SessionReport,
    ) {
        let Some(session) = self.sessions.remove(&id) else { return };
        let directions = report.streams.iter().flatten();
        self.counters.packets += directions.map(|direction| direction.packets).sum::<u64>();
        match cause {
            CloseCause::Idle(_) | CloseCause::WorkerLost => {
                self.counters.idle += u64::from(cause != CloseCause::WorkerLost);
                if let Some(taken) = self.calls.take_session(session.call, id) {
                    self.close(&taken);
                }
            }
            CloseCause::Asked | CloseCause::Unknown => {}
        }
        let call_id = String::from_utf8_lossy(&session.call_id).into_owned();
        let record = Record { call_id, cause, report: report.clone() };
        self.outputs.push_back(Output::Record(Box::new(record)));
        if let Some(key) = session.tally {
            self.tally(key, id, Some(report));
        }
    }

    /// A session has reported to a command that waits.
    pub(super) fn tally(&mut self, key: Key, session: SessionId, report: Option<SessionReport>) {
        let Some(request) = self.requests.get_mut(key) else { return };
        let Work::Tally(tally) = &mut request.work else { return };
        tally.left.retain(|id| *id != session);
        tally.reports.extend(report.map(|report| (session, report)));
        if !tally.left.is_empty() {
            return;
        }
        if let Some(request) = self.take_request(key)
            && let Work::Tally(tally) = &request.work
        {
            self.finish_tally(&request.asker, tally);
        }
    }

    pub(super) fn finish_tally(&mut self, asker: &Asker, tally: &Tally) {
        let figures = self.figures(tally);
        self.reply(asker, &figures);
    }

    fn figures(&self, tally: &Tally) -> super::Entries {
        let reports = &tally.reports[..];
        let view = match &tally.subject {
            Subject::Gone(Taken { branches, created, signalled, .. }) => CallView {
                created: *created,
                signalled: *signalled,
                branches: branches.iter().collect(),
                reports,
            },
            Subject::Live { call, sessions } => match self.calls.get(*call) {
                Some(call) => CallView {
                    created: call.created,
                    signalled: call.signalled,
                    branches: call
                        .branches
                        .iter()
                        .filter(|branch| sessions.contains(&branch.media.id()))
                        .collect(),
                    reports,
                },
                // Deleted meanwhile.
                None => CallView {
                    created: self.clock.at,
                    signalled: self.clock.at,
                    branches: Vec::new(),
                    reports,
                },
            },
        };
        view.entries(self.clock)
    }
}

const UNKNOWN: &str = "no call here has this call-id and these tags";

fn unknown() -> Failure {
    Failure::Refused(UNKNOWN.to_owned())
}
