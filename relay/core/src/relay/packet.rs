//! The way of a packet: no allocation, no scan, no clock.

use std::net::SocketAddr;
use std::time::Instant;

use super::{Relay, queue_relink};
use crate::slot::{Owner, SlotId};
use crate::verdict::{DropReason, PacketKind, Verdict};

impl Relay {
    /// Decides on a datagram that came in on `slot`. Call this for every datagram, also from a
    /// connected socket: one that was queued before it was connected may be a stranger's.
    ///
    /// `source` has neither a flow label nor a scope: addresses are compared as a whole.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        slot: SlotId,
        source: SocketAddr,
        payload: &[u8],
    ) -> Verdict {
        let Some((Owner::Stream { key, leg, part }, _)) = self.slots.get(slot) else {
            return Verdict::Drop(DropReason::Closed);
        };
        let Some(stream) = self.streams.get_mut(key) else {
            return Verdict::Drop(DropReason::Closed);
        };
        let content = stream.payload;
        let (near, far) = stream.near_and_far(leg);
        let accepted = near.accept(now, part, source, payload, content);
        if let Some(path) = near.path_mut(part) {
            queue_relink(&mut self.relinks, path);
        }
        match accepted.and_then(|kind| far.way_out(kind).map(|way| (kind, way))) {
            Ok((kind, (slot, to))) => {
                near.stats.relayed(kind, payload.len(), source);
                if kind == PacketKind::Rtcp {
                    near.stats.reported(&mut far.stats, now, payload);
                }
                Verdict::Forward { slot, to, kind }
            }
            Err(reason) => {
                near.stats.dropped();
                Verdict::Drop(reason)
            }
        }
    }

    /// The engine's answer to [`Action::Connect`](crate::Action::Connect): whether `slot` is
    /// connected to `peer` (or to nobody) now. Packets go out with an explicit address while that
    /// is open, and after a refusal.
    pub fn handle_connected(&mut self, slot: SlotId, peer: Option<SocketAddr>, done: bool) {
        let Some((Owner::Stream { key, leg, part }, _)) = self.slots.get(slot) else { return };
        let Some(stream) = self.streams.get_mut(key) else { return };
        if let Some(path) = stream.legs[leg.index()].path_mut(part) {
            path.link.answered(peer, done);
            queue_relink(&mut self.relinks, path);
        }
    }
}
