//! The engine of a member: sockets are map entries, and the system's part is played here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use relay_core::{Action, OpenError, Relay, SlotId, Verdict};

#[derive(Clone, Copy, Debug)]
struct Socket {
    address: SocketAddr,
    /// What it is connected to: the system lets in nobody else.
    peer: Option<SocketAddr>,
}

#[derive(Debug)]
pub(super) struct Engine {
    sockets: BTreeMap<SlotId, Socket>,
    by_address: BTreeMap<SocketAddr, SlotId>,
    /// How often another program has a port.
    port_taken: f64,
}

impl Engine {
    pub(super) fn new(port_taken: f64) -> Engine {
        Engine { sockets: BTreeMap::new(), by_address: BTreeMap::new(), port_taken }
    }

    pub(super) fn sockets(&self) -> usize {
        self.sockets.len()
    }

    pub(super) fn a_socket(&self, draw: usize) -> Option<SocketAddr> {
        let count = self.by_address.len();
        self.by_address.keys().nth(draw.checked_rem(count)?).copied()
    }

    /// Carries out what the relay asks for; the error says what it must not ask for.
    pub(super) fn act(
        &mut self,
        relay: &mut Relay,
        rng: &mut ChaCha8Rng,
        now: Instant,
        action: Action,
    ) -> Result<(), String> {
        match action {
            Action::Open { slot, address, traffic: _ } => {
                if self.sockets.contains_key(&slot) || self.by_address.contains_key(&address) {
                    return Err(format!("{slot:?} opened twice, or {address} bound twice"));
                }
                let result = if rng.random_bool(self.port_taken) {
                    Err(OpenError::AddressInUse)
                } else {
                    self.sockets.insert(slot, Socket { address, peer: None });
                    self.by_address.insert(address, slot);
                    Ok(())
                };
                relay.handle_opened(now, slot, result);
            }
            Action::Connect { slot, peer } => {
                let Some(socket) = self.sockets.get_mut(&slot) else {
                    return Err(format!("{slot:?} connected, but it is not open"));
                };
                socket.peer = peer;
                relay.handle_connected(slot, peer, true);
            }
            Action::Shut { slot } => {
                let Some(socket) = self.sockets.remove(&slot) else {
                    return Err(format!("{slot:?} shut, but it is not open"));
                };
                self.by_address.remove(&socket.address);
                relay.handle_shut(now, slot);
            }
        }
        Ok(())
    }

    /// A packet comes from the network; where it leaves from and goes to.
    pub(super) fn packet(
        &self,
        relay: &mut Relay,
        now: Instant,
        source: SocketAddr,
        to: SocketAddr,
        bytes: &[u8],
    ) -> Result<Option<(SocketAddr, SocketAddr)>, String> {
        let Some(slot) = self.by_address.get(&to) else { return Ok(None) };
        let Some(socket) = self.sockets.get(slot) else { return Ok(None) };
        if socket.peer.is_some_and(|peer| peer != source) {
            return Ok(None);
        }
        match relay.handle_packet(now, *slot, source, bytes) {
            Verdict::Forward { slot, to, .. } => self.forward(slot, to).map(Some),
            Verdict::Drop(_) => Ok(None),
        }
    }

    fn forward(
        &self,
        slot: SlotId,
        to: Option<SocketAddr>,
    ) -> Result<(SocketAddr, SocketAddr), String> {
        let Some(socket) = self.sockets.get(&slot) else {
            return Err(format!("a packet leaves from {slot:?}, which is not open"));
        };
        match to.or(socket.peer) {
            Some(to) => Ok((socket.address, to)),
            None => Err(format!("a packet leaves from {slot:?}, which is not connected")),
        }
    }
}
