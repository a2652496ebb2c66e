//! Connections that the server has ended: what waited for an answer on them, and their users, who
//! register anew.

use std::sync::Arc;
use std::time::Instant;

use crate::engine::outcome::Failure;
use crate::engine::{Engine, Owner};
use crate::ids::{SessionId, Side};
use crate::sip::streams::News;

impl Engine {
    /// Looks after the connections of both sides.
    pub(crate) fn mind_connections(&mut self, now: Instant) {
        for side in Side::BOTH {
            for news in self.wire.take_news(side) {
                match news {
                    News::Lost(number) => self.connection_lost(side, number, now),
                    News::Restored(number) => self.connection_restored(side, number, now),
                    News::GivenUp(number) => self.connection_given_up(side, number, now),
                }
            }
        }
    }

    /// No answer comes any more to what was sent by this connection. An INVITE has failed; a BYE is sent
    /// once more, as a new request, once there is a connection.
    fn connection_lost(&mut self, side: Side, number: u32, now: Instant) {
        self.counters.connections_lost += 1;
        let hit: Vec<(Arc<str>, Owner)> = self
            .clients
            .iter()
            .filter(|(_, client)| client.side == side && client.is_pending())
            .filter(|(_, client)| client.destination.connection == Some(number))
            .map(|(branch, client)| (Arc::clone(branch), client.owner))
            .collect();
        for (branch, owner) in hit {
            self.clients.remove(&branch);
            match owner {
                Owner::Invite(session) => {
                    self.session(session).leave(Side::Caller);
                    self.fail(session, Failure::ConnectionLost, now);
                }
                Owner::Bye(session, side) => {
                    self.session(session).bye_repeats = true;
                    self.byes_waiting.push((side, number, session));
                }
                // It registers anew in any case.
                Owner::Register(_) | Owner::CleanUp => {}
            }
        }
    }

    fn connection_restored(&mut self, side: Side, number: u32, now: Instant) {
        self.counters.connections_restored += 1;
        for at in 0..self.registrations.len() {
            if self.is_by(at, side, number) {
                self.register_again(at, now);
            }
        }
        for session in self.take_byes(side, number) {
            self.send_bye(session, side, Vec::new(), now);
        }
    }

    fn connection_given_up(&mut self, side: Side, number: u32, now: Instant) {
        for at in 0..self.registrations.len() {
            if self.is_by(at, side, number) && self.registrations[at].is_pending {
                self.registration_failed(at, &Failure::ConnectionLost);
            }
        }
        for session in self.take_byes(side, number) {
            self.hangup_failed(session, &Failure::ConnectionLost, now);
        }
    }

    fn is_by(&self, at: usize, side: Side, number: u32) -> bool {
        self.connection_of(at) == Some((side, number))
    }

    /// The calls whose BYE waits for this connection.
    fn take_byes(&mut self, side: Side, number: u32) -> Vec<SessionId> {
        let waiting = std::mem::take(&mut self.byes_waiting);
        let is_here = |bye: &(Side, u32, SessionId)| (bye.0, bye.1) == (side, number);
        let (here, elsewhere) = waiting.into_iter().partition::<Vec<_>, _>(is_here);
        self.byes_waiting = elsewhere;
        here.into_iter().map(|(_, _, session)| session).collect()
    }
}
