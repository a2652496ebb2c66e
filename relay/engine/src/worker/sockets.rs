//! The sockets in a worker's table, and in which order each is opened and closed: bind, install,
//! receive; cancel the receive, await its last completion, take the socket out of the table.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use relay_core::api::Traffic;
use relay_core::{Action, OpenError, Relay, SlotId};

use crate::ring::{Intake, Ring};
use crate::socket::{self, SocketOptions};

/// Errors in a row, other than those that say something about the peer or about buffers, after
/// which a receive is not armed again: the socket is broken, and trying for ever would spin.
const FAILURES_MAX: u8 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receive {
    /// The kernel has the request.
    Armed,
    /// It ended, and is to be armed again.
    Idle,
    /// It ended for good.
    Broken,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    slot: SlotId,
    intake: Intake,
    receive: Receive,
    closing: bool,
    failures: u8,
    /// The connect that is under way.
    connecting: Option<Option<SocketAddr>>,
}

/// What follows from the end of a receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Nothing,
    Rearm,
    GiveUp,
    Close,
}

/// The worker's side of the ring's table.
#[derive(Debug)]
pub(super) struct Sockets {
    entries: Vec<Option<Entry>>,
    open: usize,
    options: SocketOptions,
}

impl Sockets {
    pub(super) fn new(options: SocketOptions) -> Sockets {
        Sockets { entries: Vec::new(), open: 0, options }
    }

    /// Sockets in the table.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    fn get_mut(&mut self, slot: SlotId) -> Option<&mut Entry> {
        self.entries.get_mut(slot.index())?.as_mut().filter(|entry| entry.slot == slot)
    }

    /// Does what the relay asks for.
    pub(super) fn act(
        &mut self,
        now: Instant,
        action: Action,
        ring: &mut Ring,
        relay: &mut Relay,
    ) -> io::Result<()> {
        match action {
            Action::Open { slot, address, traffic } => {
                let result = self.install(slot, address, traffic, ring);
                if let Ok(intake) = result {
                    ring.receive(slot.index() as u32, intake, slot.to_bits())?;
                }
                relay.handle_opened(now, slot, result.map(drop));
            }
            Action::Connect { slot, peer } => {
                if let Some(entry) = self.get_mut(slot) {
                    entry.connecting = Some(peer);
                    ring.connect(slot.index() as u32, peer, slot.to_bits())?;
                }
            }
            Action::Shut { slot } => self.close(slot, ring)?,
        }
        Ok(())
    }

    fn install(
        &mut self,
        slot: SlotId,
        address: SocketAddr,
        traffic: Traffic,
        ring: &mut Ring,
    ) -> Result<Intake, OpenError> {
        let (socket, intake) = socket::open(address, traffic, self.options)?;
        ring.install(slot.index() as u32, socket.into())
            .map_err(|error| socket::failed("io_uring files update", &error))?;
        let entry = Entry {
            slot,
            intake,
            receive: Receive::Armed,
            closing: false,
            failures: 0,
            connecting: None,
        };
        if self.entries.len() <= slot.index() {
            self.entries.resize(slot.index() + 1, None);
        }
        self.entries[slot.index()] = Some(entry);
        self.open += 1;
        Ok(intake)
    }

    fn close(&mut self, slot: SlotId, ring: &mut Ring) -> io::Result<()> {
        let Some(entry) = self.get_mut(slot).filter(|entry| !entry.closing) else { return Ok(()) };
        entry.closing = true;
        match entry.receive {
            Receive::Armed => ring.cancel_receive(slot.to_bits()),
            Receive::Idle | Receive::Broken => ring.close(slot.index() as u32, slot.to_bits()),
        }
    }

    /// Closes every socket.
    pub(super) fn close_all(&mut self, ring: &mut Ring) -> io::Result<()> {
        for index in 0..self.entries.len() {
            if let Some(Entry { slot, .. }) = self.entries[index] {
                self.close(slot, ring)?;
            }
        }
        Ok(())
    }

    /// The multishot receive of a socket has completed for the last time.
    pub(super) fn receive_ended(&mut self, slot: SlotId, result: Result<u32, i32>) -> Next {
        let Some(entry) = self.get_mut(slot) else { return Next::Nothing };
        entry.receive = Receive::Idle;
        if entry.closing {
            return Next::Close;
        }
        match result {
            Ok(_) | Err(libc::ENOBUFS | libc::ECONNREFUSED) => entry.failures = 0,
            Err(_) => entry.failures += 1,
        }
        if entry.failures < FAILURES_MAX {
            return Next::Rearm;
        }
        entry.receive = Receive::Broken;
        Next::GiveUp
    }

    /// Notes that the receive is being armed, and says how; not if the socket was closed in the
    /// meantime.
    pub(super) fn arm(&mut self, slot: SlotId) -> Option<Intake> {
        let entry = self.get_mut(slot)?;
        if entry.closing || entry.receive != Receive::Idle {
            return None;
        }
        entry.receive = Receive::Armed;
        Some(entry.intake)
    }

    /// A connect has completed; whom it was to.
    pub(super) fn connect_answered(&mut self, slot: SlotId) -> Option<Option<SocketAddr>> {
        self.get_mut(slot)?.connecting.take()
    }

    /// The socket is out of the table.
    pub(super) fn remove(&mut self, slot: SlotId) {
        if self.get_mut(slot).is_some() {
            self.entries[slot.index()] = None;
            self.open -= 1;
        }
    }
}
