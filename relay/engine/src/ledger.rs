//! What the workers owe: which worker has which session, and which commands are unanswered.
//!
//! Kept on the handle's side, because a worker that has died or hangs cannot say what it had. From
//! it every outstanding command of such a worker is answered and the end of each of its sessions is
//! told, each exactly once.

use std::collections::{HashMap, VecDeque};

use relay_core::api::{CloseCause, Command, Event, Refusal, SessionId, SessionReport};
use smallvec::SmallVec;

/// A command that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Apply(u64),
    Report(u64),
    Close,
}

impl Asked {
    pub(crate) fn of(command: &Command) -> Asked {
        match command {
            Command::Apply { token, .. } => Asked::Apply(*token),
            Command::Report { token, .. } => Asked::Report(*token),
            Command::Close { .. } => Asked::Close,
        }
    }
}

#[derive(Debug)]
struct Entry {
    worker: usize,
    /// It was brought to a state, and has not been closed.
    established: bool,
    /// In the order of the commands. Seldom more than one.
    unanswered: SmallVec<[Asked; 1]>,
}

/// As large as the relays' tables of sessions and their queues of commands.
#[derive(Debug)]
pub(crate) struct Ledger {
    sessions: HashMap<SessionId, Entry>,
    /// By worker: it is lost, and what it owed has been told.
    mourned: Vec<bool>,
    obituaries: VecDeque<Event>,
}

impl Ledger {
    pub(crate) fn new(workers: usize) -> Ledger {
        let obituaries = VecDeque::new();
        Ledger { sessions: HashMap::new(), mourned: vec![false; workers], obituaries }
    }

    /// The worker that has the session, or is to answer about it.
    pub(crate) fn worker_of(&self, session: SessionId) -> Option<usize> {
        self.sessions.get(&session).map(|entry| entry.worker)
    }

    /// A command has been handed to a worker.
    pub(crate) fn asked(&mut self, session: SessionId, worker: usize, asked: Asked) {
        let new = || Entry { worker, established: false, unanswered: SmallVec::new() };
        self.sessions.entry(session).or_insert_with(new).unanswered.push(asked);
    }

    /// A worker has said this. Whether it is to be heard: what a lost worker owed has been told, and
    /// nothing that it still says counts.
    pub(crate) fn heard(&mut self, worker: usize, event: &Event) -> bool {
        if self.mourned[worker] {
            return false;
        }
        let session = event.session();
        let Some(entry) = self.sessions.get_mut(&session) else { return true };
        match event {
            Event::Applied { token, .. } => {
                entry.established = true;
                entry.answered(Asked::Apply(*token));
            }
            Event::Refused { token, .. } => entry.answered(Asked::Apply(*token)),
            Event::Report { token, .. } => entry.answered(Asked::Report(*token)),
            Event::Closed { cause, .. } => {
                entry.established = false;
                match cause {
                    CloseCause::Asked | CloseCause::Unknown => entry.answered(Asked::Close),
                    CloseCause::Idle(_) | CloseCause::WorkerLost => {}
                }
            }
        }
        if !entry.established && entry.unanswered.is_empty() {
            self.sessions.remove(&session);
        }
        true
    }

    pub(crate) fn is_mourned(&self, worker: usize) -> bool {
        self.mourned[worker]
    }

    /// A worker is lost: answers what it owes, and tells the end of its sessions, with what it
    /// could still say of them.
    pub(crate) fn mourn(&mut self, worker: usize, last: Vec<(SessionId, SessionReport)>) {
        self.mourned[worker] = true;
        let mut last: HashMap<_, _> = last.into_iter().collect();
        let lost: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, entry)| entry.worker == worker)
            .map(|(session, _)| *session)
            .collect();
        for session in lost {
            let Some(entry) = self.sessions.remove(&session) else { continue };
            let report = last.remove(&session).unwrap_or_default();
            self.obituaries.extend(entry.obituary(session, &report));
        }
    }

    pub(crate) fn next_obituary(&mut self) -> Option<Event> {
        self.obituaries.pop_front()
    }
}

impl Entry {
    fn answered(&mut self, asked: Asked) {
        if let Some(place) = self.unanswered.iter().position(|one| *one == asked) {
            self.unanswered.remove(place);
        }
    }

    fn obituary(&self, session: SessionId, report: &SessionReport) -> Vec<Event> {
        let closed =
            || Event::Closed { session, cause: CloseCause::WorkerLost, report: report.clone() };
        let mut events: Vec<Event> = Vec::with_capacity(self.unanswered.len() + 1);
        for asked in &self.unanswered {
            events.push(match asked {
                Asked::Apply(token) => {
                    Event::Refused { session, token: *token, reason: Refusal::WorkerLost }
                }
                Asked::Report(token) => Event::Report { session, token: *token, report: None },
                Asked::Close => closed(),
            });
        }
        if self.established && !self.unanswered.contains(&Asked::Close) {
            events.push(closed());
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: SessionId = SessionId(1);

    fn applied(token: u64) -> Event {
        Event::Applied { session: ONE, token, ports: Default::default() }
    }

    fn closed(cause: CloseCause) -> Event {
        Event::Closed { session: ONE, cause, report: SessionReport::default() }
    }

    fn obituaries(ledger: &mut Ledger) -> Vec<Event> {
        std::iter::from_fn(|| ledger.next_obituary()).collect()
    }

    #[test]
    fn a_lost_worker_owes_the_end_of_its_sessions_and_every_answer_once() {
        let mut ledger = Ledger::new(2);
        ledger.asked(ONE, 0, Asked::Apply(1));
        assert!(ledger.heard(0, &applied(1)));
        ledger.asked(ONE, 0, Asked::Apply(2));
        ledger.asked(ONE, 0, Asked::Report(3));
        ledger.asked(SessionId(2), 1, Asked::Apply(4));
        ledger.mourn(0, vec![]);
        let refused = Event::Refused { session: ONE, token: 2, reason: Refusal::WorkerLost };
        let report = Event::Report { session: ONE, token: 3, report: None };
        assert_eq!(obituaries(&mut ledger), [refused, report, closed(CloseCause::WorkerLost)]);
        assert_eq!(ledger.worker_of(ONE), None);
        assert_eq!(ledger.worker_of(SessionId(2)), Some(1));
        assert!(!ledger.heard(0, &applied(2)), "what a lost worker still says counts");
    }

    #[test]
    fn a_close_that_a_lost_worker_owes_is_the_end_of_the_session() {
        let mut ledger = Ledger::new(1);
        ledger.asked(ONE, 0, Asked::Apply(1));
        ledger.heard(0, &applied(1));
        ledger.asked(ONE, 0, Asked::Close);
        ledger.mourn(0, vec![]);
        assert_eq!(obituaries(&mut ledger), [closed(CloseCause::WorkerLost)]);
    }

    #[test]
    fn a_session_that_has_ended_or_never_was_is_owed_nothing() {
        let mut ledger = Ledger::new(1);
        for cause in [CloseCause::Asked, CloseCause::Unknown, CloseCause::Idle(Default::default())]
        {
            ledger.asked(ONE, 0, Asked::Apply(1));
            ledger.heard(0, &applied(1));
            if !matches!(cause, CloseCause::Idle(_)) {
                ledger.asked(ONE, 0, Asked::Close);
            }
            ledger.heard(0, &closed(cause));
            assert_eq!(ledger.worker_of(ONE), None);
        }
        ledger.asked(ONE, 0, Asked::Apply(1));
        let reason = Refusal::BadSpec("test");
        ledger.heard(0, &Event::Refused { session: ONE, token: 1, reason });
        ledger.mourn(0, vec![]);
        assert_eq!(obituaries(&mut ledger), []);
    }

    /// What the worker could still say of its sessions goes into their records.
    #[test]
    fn the_last_report_of_a_lost_session_is_kept() {
        let mut ledger = Ledger::new(1);
        ledger.asked(ONE, 0, Asked::Apply(1));
        ledger.heard(0, &applied(1));
        let report = SessionReport {
            lifetime: std::time::Duration::from_secs(9),
            ..SessionReport::default()
        };
        ledger.mourn(0, vec![(ONE, report.clone())]);
        let end = Event::Closed { session: ONE, cause: CloseCause::WorkerLost, report };
        assert_eq!(obituaries(&mut ledger), [end]);
    }
}
