//! Phones on connections: each has one, to whichever member the balancer has given it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::Rng;
use signaling_core::transport::{ConnectionId, Transmit};

use super::{Cause, Event, Frame, World};
use crate::farm::phone::{self, Timer};

/// A connection of a phone to a member.
#[derive(Debug)]
pub(super) struct Stream {
    phone: usize,
    slot: usize,
    life: u64,
    id: ConnectionId,
    is_open: bool,
    /// When what was sent last arrives, at the member and at the phone: nothing overtakes.
    up: Instant,
    down: Instant,
    /// Members that are told of its end.
    told: Vec<usize>,
}

impl World<'_> {
    fn stream_of(&self, phone: usize) -> Option<usize> {
        self.streams.iter().rposition(|stream| stream.phone == phone && stream.is_open)
    }

    pub(super) fn stream_name(&self, at: usize, way: &str) -> String {
        let stream = &self.streams[at];
        format!("u{} {way} m{} by {:x}", stream.phone, stream.slot, stream.id.0)
    }

    /// A phone connects to whom the balancer gives it, and registers.
    pub(super) fn connect_phone(&mut self, phone: usize) {
        let now = self.now();
        if self.stream_of(phone).is_some() {
            return;
        }
        let slot = self.spread();
        let process = slot.and_then(|slot| self.slots[slot].process.as_ref());
        let process = process.filter(|process| process.listens(now));
        let there = process.and_then(|process| Some((process.life, process.own?)));
        let (Some(slot), Some((life, own))) = (slot, there) else {
            let at = now + Duration::from_millis(500);
            return self.clock.at(at, Event::Connect(phone));
        };
        self.meet("a phone connects");
        let number = self.streams.len() as u32 + 1;
        let id = ConnectionId::of_member(own.member.get(), own.incarnation.0, number);
        let (up, down) = (now, now);
        let told = Vec::new();
        self.streams.push(Stream { phone, slot, life, id, is_open: true, up, down, told });
        self.clock.at(now, Event::Phone(phone, Timer::Register));
    }

    /// A phone sends on its connection; what it sends without one is lost.
    pub(super) fn sends_up(&mut self, phone: usize, bytes: Bytes) {
        let Some(at) = self.stream_of(phone) else { return self.ledger.loses(&bytes) };
        let arrives = self.now() + self.plan.link.delay(&mut self.rng);
        let stream = &mut self.streams[at];
        stream.up = stream.up.max(arrives);
        self.clock.at(stream.up, Event::Up { stream: at, bytes });
    }

    pub(super) fn comes_up(&mut self, at: usize, bytes: Bytes) {
        let now = self.now();
        let &Stream { phone, slot, life, id, is_open, .. } = &self.streams[at];
        let process = self.process(slot, life).filter(|process| is_open && process.takes_part());
        let Some(process) = process else { return };
        process.handle_message(now, phone::address(phone), Some(id), bytes);
        self.settle(slot, Cause::Own);
    }

    pub(super) fn comes_down(&mut self, at: usize, bytes: &Bytes) {
        if self.streams[at].is_open {
            let phone = self.streams[at].phone;
            self.with_phone(phone, |phone, cx| phone.handle_message(cx, bytes));
        }
    }

    /// A member has something to send on a connection, its own or another member's. Nobody can connect to a
    /// phone.
    pub(super) fn write(&mut self, slot: usize, transmit: Transmit, cause: Cause) {
        let now = self.now();
        let Some(process) = self.slots[slot].process.as_ref() else { return };
        let own = process.own.map_or(0, |own| own.member.get());
        if let Some(said) = process.says(cause) {
            self.ledger.sent(now, said, &transmit.bytes);
        }
        let target = transmit.target;
        let is_sent = match target.connection {
            None => false,
            Some(id) if id.member() == own => self.write_here(slot, id, transmit.bytes),
            Some(id) => self.write_there(slot, id, transmit),
        };
        if let Some(process) = self.slots[slot].process.as_mut().filter(|_| !is_sent) {
            process.failed.push(target);
        }
    }

    fn write_here(&mut self, slot: usize, id: ConnectionId, bytes: Bytes) -> bool {
        let now = self.now();
        let Some(life) = self.slots[slot].process.as_ref().map(|process| process.life) else {
            return false;
        };
        let Some(at) = self.streams.iter().position(|stream| stream.id == id) else {
            let what = format!("m{slot} writes to {id:?}");
            self.ledger.wrong(now, "only connections that there were are written to", what);
            return false;
        };
        let arrives = now + self.plan.link.delay(&mut self.rng);
        let stream = &mut self.streams[at];
        if !stream.is_open || (stream.slot, stream.life) != (slot, life) {
            return false;
        }
        stream.down = stream.down.max(arrives);
        self.clock.at(stream.down, Event::Down { stream: at, bytes });
        true
    }

    fn write_there(&mut self, slot: usize, id: ConnectionId, transmit: Transmit) -> bool {
        self.meet("a connection's owner writes for another member");
        let is_it = |slot: &super::Slot| {
            let own = slot.process.as_ref().and_then(|process| process.own);
            own.is_some_and(|own| own.member.get() == id.member())
        };
        let Some(at) = self.slots.iter().position(is_it) else { return false };
        self.mesh_in_order(slot, at, Frame::Write(transmit));
        true
    }

    /// A member writes for another one.
    pub(super) fn write_for(&mut self, slot: usize, from: usize, transmit: Transmit) {
        let target = transmit.target;
        let is_written = target.connection.is_some_and(|id| {
            self.tell_end_of(slot, id, from);
            let process = self.slots[slot].process.as_mut();
            process.into_iter().for_each(|p| p.proxy.handle_written(id, &transmit.bytes));
            self.write_here(slot, id, transmit.bytes)
        });
        if !is_written {
            self.meet("what another member was to write is not written");
            self.mesh_in_order(slot, from, Frame::Undelivered(target));
        }
    }

    /// Who has been given something of a connection is told when it ends.
    pub(super) fn tell_end_of(&mut self, slot: usize, id: ConnectionId, to: usize) {
        let is_it = |stream: &&mut Stream| stream.id == id && stream.slot == slot;
        let stream = self.streams.iter_mut().find(is_it);
        if let Some(stream) = stream.filter(|stream| !stream.told.contains(&to)) {
            stream.told.push(to);
        }
    }

    /// Some phone loses its connection.
    pub(super) fn disconnect(&mut self) {
        let open = |at: &usize| self.streams[*at].is_open;
        let open: Vec<usize> = (0..self.streams.len()).filter(open).collect();
        if !open.is_empty() {
            let at = open[self.rng.random_range(0..open.len())];
            self.meet("a connection ends");
            self.end_stream(at);
        }
    }

    fn open_at(&self, slot: usize) -> Vec<usize> {
        let open = self.streams.iter().filter(|stream| stream.is_open && stream.slot == slot);
        open.map(|stream| stream.phone).collect()
    }

    /// Its member takes nothing: it was taken for dead.
    pub(super) fn halt_streams(&mut self, slot: usize) {
        for phone in self.open_at(slot) {
            self.meet("a connection of a member that is taken for dead");
            self.ledger.halted(self.clock.now(), phone, true);
        }
    }

    /// Its member takes part.
    pub(super) fn serve_streams(&mut self, slot: usize) {
        let process = self.slots[slot].process.as_ref();
        if process.is_some_and(|process| process.takes_part()) {
            for phone in self.open_at(slot) {
                self.ledger.halted(self.clock.now(), phone, false);
            }
        }
    }

    /// All connections of a process end with it.
    pub(super) fn end_streams(&mut self, slot: usize) {
        for at in 0..self.streams.len() {
            if self.streams[at].slot == slot && self.streams[at].is_open {
                self.meet("a connection ends with its member");
                self.end_stream(at);
            }
        }
    }

    fn end_stream(&mut self, at: usize) {
        let now = self.now();
        let stream = &mut self.streams[at];
        stream.is_open = false;
        let (phone, slot, life, id) = (stream.phone, stream.slot, stream.life, stream.id);
        let told = std::mem::take(&mut stream.told);
        self.ledger.halted(now, phone, false);
        self.ledger.disconnected(now, phone);
        let again = now + self.draw(100, 2_000);
        self.clock.at(again, Event::Connect(phone));
        let Some(process) = self.process(slot, life) else { return };
        let local = process.skew.local(now);
        process.proxy.handle_closed(local, id);
        self.settle(slot, Cause::Own);
        for other in told {
            self.mesh_in_order(slot, other, Frame::Closed(id));
        }
    }
}
