//! Bringing a session to a wanted state: all of it, or nothing.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use smallvec::SmallVec;

use super::open::sockets_of;
use super::{Relay, Timer, queue_relink};
use crate::api::{
    Event, LocalPorts, Payload, Refusal, RtcpMode, STREAMS_MAX, SessionId, SessionSpec, StreamSpec,
    Traffic,
};
use crate::ports::Fate;
use crate::session::{Pending, Session};
use crate::stats;
use crate::stream::width_of;

impl Relay {
    pub(super) fn begin_apply(
        &mut self,
        now: Instant,
        id: SessionId,
        token: u64,
        spec: SessionSpec,
    ) {
        if let Err(reason) = self.admit_spec(now, id, &spec) {
            self.events.push_back(Event::Refused { session: id, token, reason });
            return;
        }
        let pending = Pending { token, spec, opened: SmallVec::new(), unopened: 0 };
        let missing = self.missing_streams(id, &pending.spec);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.pending = Some(Box::new(pending));
        }
        match self.open_missing(now, id, &missing) {
            Ok(0) => self.commit(now, id),
            Ok(_) => {}
            Err(refusal) => self.refuse(now, id, refusal),
        }
    }

    /// Checks the spec, and makes the session if it is new.
    fn admit_spec(
        &mut self,
        now: Instant,
        id: SessionId,
        spec: &SessionSpec,
    ) -> Result<(), Refusal> {
        check_spec(spec).map_err(Refusal::BadSpec)?;
        match self.sessions.get(&id) {
            Some(session) if session.local != spec.local => {
                Err(Refusal::BadSpec("the local addresses of a session cannot change"))
            }
            Some(session) if session.streams.len() > spec.streams.len() => {
                Err(Refusal::BadSpec("streams can be closed, not removed (RFC 3264 8)"))
            }
            Some(_) => Ok(()),
            None if self.sessions.len() >= self.config.slots_max as usize => {
                Err(Refusal::TableFull { what: "sessions", limit: self.config.slots_max })
            }
            None => {
                self.sessions.insert(id, Box::new(Session::new(now, spec.local)));
                Ok(())
            }
        }
    }

    /// Places of streams that are wanted open and are not, or not with enough ports.
    fn missing_streams(
        &self,
        id: SessionId,
        spec: &SessionSpec,
    ) -> SmallVec<[(usize, Payload, Traffic); 2]> {
        let current = self.sessions.get(&id);
        let is_missing = |place: usize, wanted: &StreamSpec| {
            let key = current.and_then(|s| s.streams.get(place).copied().flatten());
            let fits =
                key.and_then(|key| self.streams.get(key)).is_some_and(|s| s.fits(wanted.payload));
            wanted.open && !fits
        };
        let streams = spec.streams.iter().enumerate();
        streams
            .filter(|(place, s)| is_missing(*place, s))
            .map(|(place, s)| (place, s.payload, s.traffic))
            .collect()
    }

    /// Asks for the sockets of these streams; returns how many are awaited.
    fn open_missing(
        &mut self,
        now: Instant,
        id: SessionId,
        missing: &[(usize, Payload, Traffic)],
    ) -> Result<usize, Refusal> {
        let needed = missing.iter().map(|(_, payload, _)| 2 * sockets_of(width_of(*payload)));
        if needed.sum::<usize>() > self.slots.available() {
            return Err(self.table_full());
        }
        for (place, payload, traffic) in missing {
            let ports = self.take_stream_ports(now, id, *payload)?;
            let (key, sockets) = self.open_stream(id, *payload, *traffic, ports);
            if let Some(pending) = self.sessions.get_mut(&id).and_then(|s| s.pending.as_mut()) {
                pending.opened.push((*place, key));
                pending.unopened += sockets;
            }
        }
        Ok(self.sessions.get(&id).and_then(|s| s.pending.as_ref()).map_or(0, |p| p.unopened))
    }

    /// Gives up the apply under way; the session stays as it was.
    pub(super) fn refuse(&mut self, now: Instant, id: SessionId, reason: Refusal) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(pending) = session.pending.take() else { return };
        for (_, key) in pending.opened {
            self.drain_stream(now, key, Fate::Free);
        }
        self.events.push_back(Event::Refused { session: id, token: pending.token, reason });
        self.after_pending(now, id);
    }

    /// Every socket is open: makes the wanted state the session's.
    pub(super) fn commit(&mut self, now: Instant, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(pending) = session.pending.take() else { return };
        session.established = true;
        session.applied = now;
        session.streams.resize(pending.spec.streams.len(), None);
        let mut retired: SmallVec<[(usize, usize); 2]> = SmallVec::new();
        for (place, key) in pending.opened {
            retired.extend(session.streams[place].replace(key).map(|old| (place, old)));
        }
        for (place, wanted) in pending.spec.streams.iter().enumerate() {
            if !wanted.open {
                retired.extend(session.streams[place].take().map(|old| (place, old)));
            }
        }
        for (place, key) in retired {
            self.retire(now, id, place, key);
        }
        let ports = self.settle_streams(now, id, &pending.spec);
        self.arm_idle_check(now, id);
        self.events.push_back(Event::Applied { session: id, token: pending.token, ports });
        self.after_pending(now, id);
    }

    /// Closes a stream and keeps what it counted.
    fn retire(&mut self, now: Instant, id: SessionId, place: usize, key: usize) {
        let Some(stream) = self.streams.get(key) else { return };
        if let Some(session) = self.sessions.get_mut(&id) {
            let report = stream.report(now, session.born);
            let archived = session.archive.entry(place).or_default();
            *archived = stats::add_both(*archived, report);
        }
        self.drain_stream(now, key, Fate::Rest);
    }

    /// Brings the open streams to their wanted state; returns their ports.
    fn settle_streams(
        &mut self,
        now: Instant,
        id: SessionId,
        spec: &SessionSpec,
    ) -> SmallVec<[Option<[LocalPorts; 2]>; 2]> {
        let Some(session) = self.sessions.get(&id) else { return SmallVec::new() };
        let keys = session.streams.clone();
        keys.iter()
            .zip(&spec.streams)
            .map(|(key, wanted)| self.settle(now, (*key)?, wanted))
            .collect()
    }

    fn settle(&mut self, now: Instant, key: usize, wanted: &StreamSpec) -> Option<[LocalPorts; 2]> {
        let stream = self.streams.get_mut(key)?;
        let handover_until = stream.apply(now, wanted);
        for path in stream.legs.iter_mut().flat_map(|leg| leg.paths_mut()) {
            queue_relink(&mut self.relinks, path);
            if let Some(until) = handover_until {
                self.timers.insert((until, Timer::Handover(path.slot())));
            }
        }
        Some(stream.local_ports())
    }

    /// Goes on with the commands that waited; a session that never came to be is forgotten.
    fn after_pending(&mut self, now: Instant, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let mut waiting = std::mem::take(&mut session.waiting);
        if !session.established {
            self.sessions.remove(&id);
        }
        while let Some(command) = waiting.pop_front() {
            self.handle_command(now, command);
        }
    }
}

/// What no state of a session can be.
fn check_spec(spec: &SessionSpec) -> Result<(), &'static str> {
    if spec.streams.len() > STREAMS_MAX {
        return Err("more streams than a session may have");
    }
    if spec.local.iter().any(|ip| ip.is_unspecified() || ip.is_multicast()) {
        return Err("a local media address must be one address of this host");
    }
    for stream in spec.streams.iter().filter(|s| s.open) {
        for (leg, local) in stream.legs.iter().zip(spec.local) {
            let Some(remote) = leg.remote else { continue };
            check_remote(remote.rtp, local)?;
            match (stream.payload, leg.rtcp) {
                (Payload::Rtp { .. }, RtcpMode::Separate) => check_remote(remote.rtcp, local)?,
                (Payload::Rtp { .. }, RtcpMode::Mux) | (Payload::Opaque, _) => {}
            }
        }
    }
    Ok(())
}

fn check_remote(remote: SocketAddr, local: IpAddr) -> Result<(), &'static str> {
    if remote.is_ipv4() != local.is_ipv4() {
        Err("a peer's address and the local address are of different families")
    } else if remote.port() == 0 {
        Err("a peer's port is 0")
    } else if remote.ip().is_unspecified() || remote.ip().is_multicast() {
        Err("a peer's address is unspecified or multicast")
    } else {
        Ok(())
    }
}
