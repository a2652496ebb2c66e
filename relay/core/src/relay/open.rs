//! Opening the sockets of a stream, and giving sockets and ports back.

use std::net::SocketAddr;
use std::time::Instant;

use super::Relay;
use crate::api::{Leg, Payload, Refusal, SessionId, Traffic};
use crate::leg::LegState;
use crate::path::Path;
use crate::ports::{AddressLease, Fate, Width};
use crate::session::TRIES_MAX;
use crate::slot::{Owner, Part, SlotId, Stage};
use crate::stream::{Stream, width_of};
use crate::verdict::{Action, OpenError};

/// Sockets of one leg with such a lease.
pub(super) const fn sockets_of(width: Width) -> usize {
    match width {
        Width::Pair => 2,
        Width::Single => 1,
    }
}

fn taken_by_others(address: SocketAddr) -> Refusal {
    let error = format!("{} ports in a row are taken by other programs", TRIES_MAX + 1);
    Refusal::Os { operation: "bind", address, error }
}

/// Ports whose sockets are being closed; they go back once all are.
#[derive(Debug)]
pub(super) struct Drain {
    ports: AddressLease,
    fate: Fate,
    waiting: usize,
}

impl Relay {
    /// Takes the ports of a new stream.
    pub(super) fn take_stream_ports(
        &mut self,
        now: Instant,
        session: SessionId,
        payload: Payload,
    ) -> Result<[AddressLease; 2], Refusal> {
        let Some(local) = self.sessions.get(&session).map(|s| s.local) else {
            return Err(Refusal::BadSpec("the session is gone"));
        };
        let [caller, callee] = self.ports_of(session);
        let caller = self.take_ports(now, local[0], width_of(payload), session, caller)?;
        match self.take_ports(now, local[1], width_of(payload), session, callee) {
            Ok(callee) => Ok([caller, callee]),
            Err(refusal) => {
                self.give_back(now, caller, Fate::Free);
                Err(refusal)
            }
        }
    }

    /// Ports that the session has, or is being given, on either side.
    fn ports_of(&self, session: SessionId) -> [Option<AddressLease>; 2] {
        let Some(session) = self.sessions.get(&session) else { return [None; 2] };
        let opened = session.pending.iter().flat_map(|pending| &pending.opened);
        let keys = session.streams.iter().flatten().chain(opened.map(|(_, key)| key));
        let mut streams = keys.filter_map(|key| self.streams.get(*key));
        streams.next().map_or([None; 2], |stream| [0, 1].map(|leg| Some(stream.legs[leg].ports)))
    }

    /// Asks for the sockets of a new stream; there is room for them. Returns its key, and how many
    /// sockets it waits for.
    pub(super) fn open_stream(
        &mut self,
        session: SessionId,
        payload: Payload,
        traffic: Traffic,
        ports: [AddressLease; 2],
    ) -> (usize, usize) {
        let key = self.streams.vacant_key();
        let caller = self.open_leg(key, Leg::Caller, traffic, ports[0]);
        let callee = self.open_leg(key, Leg::Callee, traffic, ports[1]);
        let unopened = caller.slots().count() + callee.slots().count();
        let legs = [caller, callee];
        self.streams.insert(Stream { session, payload, traffic, legs });
        (key, unopened)
    }

    fn open_leg(
        &mut self,
        key: usize,
        leg: Leg,
        traffic: Traffic,
        ports: AddressLease,
    ) -> LegState {
        let owner = |part| Owner::Stream { key, leg, part };
        let rtp = self.open_path(owner(Part::Rtp), traffic, ports.rtp());
        let rtcp = ports.rtcp().map(|local| self.open_path(owner(Part::Rtcp), traffic, local));
        LegState::new(ports, rtp, rtcp)
    }

    fn open_path(&mut self, owner: Owner, traffic: Traffic, local: SocketAddr) -> Path {
        let slot = self.slots.insert(owner).expect("room is checked before a port is taken");
        let room = self.slots.len().saturating_sub(self.relinks.len());
        self.relinks.reserve(room);
        self.actions.push_back(Action::Open { slot, address: local, traffic });
        Path::new(slot)
    }

    /// The engine's answer to [`Action::Open`].
    pub fn handle_opened(&mut self, now: Instant, slot: SlotId, result: Result<(), OpenError>) {
        let Some((owner, Stage::Opening)) = self.slots.get(slot) else { return };
        match (owner, result) {
            (Owner::Stream { key, .. }, Ok(())) => {
                self.slots.set_stage(slot, Stage::Open);
                self.one_more_opened(now, key);
            }
            (Owner::Stream { key, leg, .. }, Err(error)) => {
                let address = self.address_of(slot, owner);
                self.slots.remove(slot);
                self.opening_failed(now, key, leg, address, error);
            }
            (Owner::Drain { .. }, Ok(())) => self.shut(slot),
            (Owner::Drain { key }, Err(_)) => {
                self.slots.remove(slot);
                self.drained_one(now, key);
            }
        }
    }

    fn address_of(&mut self, slot: SlotId, owner: Owner) -> Option<SocketAddr> {
        let Owner::Stream { key, leg, part } = owner else { return None };
        let leg = &mut self.streams.get_mut(key)?.legs[leg.index()];
        let is_its = leg.path_mut(part)?.slot() == slot;
        is_its.then_some(leg.ports).and_then(|ports| match part {
            Part::Rtp => Some(ports.rtp()),
            Part::Rtcp => ports.rtcp(),
        })
    }

    fn one_more_opened(&mut self, now: Instant, stream: usize) {
        let Some(id) = self.streams.get(stream).map(|s| s.session) else { return };
        let Some(pending) = self.sessions.get_mut(&id).and_then(|s| s.pending.as_mut()) else {
            return;
        };
        pending.unopened -= 1;
        if pending.unopened == 0 {
            self.commit(now, id);
        }
    }

    fn opening_failed(
        &mut self,
        now: Instant,
        stream: usize,
        leg: Leg,
        address: Option<SocketAddr>,
        error: OpenError,
    ) {
        let Some(id) = self.streams.get(stream).map(|s| s.session) else { return };
        let Some(address) = address else { return };
        let refusal = match error {
            OpenError::AddressInUse => match self.try_another(now, id, stream, leg) {
                Ok(()) => return,
                Err(refusal) => {
                    self.streams[stream].legs[leg.index()].contested = true;
                    refusal.unwrap_or_else(|| taken_by_others(address))
                }
            },
            OpenError::AddressNotLocal => Refusal::AddressNotLocal(address.ip()),
            OpenError::Os { operation, error } => Refusal::Os { operation, address, error },
        };
        self.refuse(now, id, refusal);
    }

    /// Someone else has a port of this leg: puts it in quarantine and opens others. `Err(None)` when
    /// that was tried often enough.
    fn try_another(
        &mut self,
        now: Instant,
        id: SessionId,
        stream: usize,
        leg: Leg,
    ) -> Result<(), Option<Refusal>> {
        let LegState { ports, tries_left, .. } = &self.streams[stream].legs[leg.index()];
        let (address, width) = (ports.address(), ports.lease().width());
        let beside = Some(*ports);
        let tries_left = tries_left.checked_sub(1).ok_or(None)?;
        if self.slots.available() < sockets_of(width) {
            return Err(Some(self.table_full()));
        }
        // The new port is taken before the old one goes back, so that it is another one.
        let ports = self.take_ports(now, address, width, id, beside).map_err(Some)?;
        let traffic = self.streams[stream].traffic;
        let mut state = self.open_leg(stream, leg, traffic, ports);
        state.tries_left = tries_left;
        let awaited = state.slots().count();
        let old = std::mem::replace(&mut self.streams[stream].legs[leg.index()], state);
        let opening = |slot: &SlotId| matches!(self.slots.get(*slot), Some((_, Stage::Opening)));
        // The socket that failed is gone from the table already.
        let no_longer_awaited = 1 + old.slots().filter(opening).count();
        self.drain(now, old.ports, old.slots(), Fate::Quarantine);
        if let Some(pending) = self.sessions.get_mut(&id).and_then(|s| s.pending.as_mut()) {
            pending.unopened = pending.unopened + awaited - no_longer_awaited;
        }
        Ok(())
    }

    pub(super) fn table_full(&self) -> Refusal {
        Refusal::TableFull { what: "sockets", limit: self.slots.limit() }
    }

    /// Closes a stream for good; its ports go back when its sockets are closed.
    pub(super) fn drain_stream(&mut self, now: Instant, key: usize, fate: Fate) {
        let Some(stream) = self.streams.try_remove(key) else { return };
        for leg in &stream.legs {
            let fate = if leg.contested { Fate::Quarantine } else { fate };
            self.drain(now, leg.ports, leg.slots(), fate);
        }
    }

    fn drain(
        &mut self,
        now: Instant,
        ports: AddressLease,
        slots: impl Iterator<Item = SlotId>,
        fate: Fate,
    ) {
        let key = self.drains.insert(Drain { ports, fate, waiting: 0 });
        for slot in slots {
            let Some((_, stage)) = self.slots.get(slot) else { continue };
            self.slots.set_owner(slot, Owner::Drain { key });
            self.drains[key].waiting += 1;
            match stage {
                Stage::Open => self.shut(slot),
                // It is shut once the engine has opened it.
                Stage::Opening | Stage::Shutting => {}
            }
        }
        if self.drains[key].waiting == 0 {
            self.finish_drain(now, key);
        }
    }

    fn shut(&mut self, slot: SlotId) {
        self.slots.set_stage(slot, Stage::Shutting);
        self.actions.push_back(Action::Shut { slot });
    }

    /// The engine's answer to [`Action::Shut`]: the port is no longer bound.
    pub fn handle_shut(&mut self, now: Instant, slot: SlotId) {
        let Some((Owner::Drain { key }, Stage::Shutting)) = self.slots.get(slot) else { return };
        self.slots.remove(slot);
        self.drained_one(now, key);
    }

    fn drained_one(&mut self, now: Instant, key: usize) {
        let Some(drain) = self.drains.get_mut(key) else { return };
        drain.waiting = drain.waiting.saturating_sub(1);
        if drain.waiting == 0 {
            self.finish_drain(now, key);
        }
    }

    /// Does not wait for the sockets that are being closed.
    pub(super) fn give_back_drains(&mut self, now: Instant) {
        for (_, Drain { ports, fate, .. }) in std::mem::take(&mut self.drains) {
            self.give_back(now, ports, fate);
        }
    }

    fn finish_drain(&mut self, now: Instant, key: usize) {
        let Drain { ports, fate, .. } = self.drains.remove(key);
        self.give_back(now, ports, fate);
    }
}
