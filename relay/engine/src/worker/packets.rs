//! What a worker does with a received packet.

use std::io;
use std::ops::Range;
use std::time::Instant;

use relay_core::{SlotId, Verdict};

use super::Worker;
use super::run::Way;
use crate::counters::EngineDrop;
use crate::ring::{Buffer, Datagram, SEGMENT_MAX};

/// Datagrams of a merged one: the kernel merges 64, and a sender of this host may have put 128
/// together (UDP_GRO_CNT_MAX and UDP_MAX_SEGMENTS of Linux).
pub(super) const PARTS_MAX: usize = 128;

/// Datagrams of a merged one that lie side by side and go the same way.
#[derive(Clone, Debug)]
pub(super) struct Part {
    way: Way,
    packets: u64,
    /// Where they are in the payload.
    bytes: Range<usize>,
}

impl Worker {
    pub(super) fn relay_packet(&mut self, now: Instant, slot: SlotId, buffer: Buffer) {
        let Some(datagram) = self.ring.datagram(&buffer) else {
            return self.ring.release(buffer);
        };
        let counters = &self.mailbox.counters;
        counters.bytes_in.add(datagram.payload.len() as u64);
        if datagram.truncated {
            counters.packets_in.add(1);
            counters.engine_dropped(EngineDrop::TooLong, 1);
            return self.ring.release(buffer);
        }
        if let Some(each) = datagram.merged {
            return self.relay_merged(now, slot, each, buffer);
        }
        counters.packets_in.add(1);
        let length = datagram.payload.len();
        match self.relay.handle_packet(now, slot, datagram.source, datagram.payload) {
            Verdict::Forward { slot, to, kind } => {
                let way = Way { slot, to, kind };
                if !(self.segments && self.run.takes(way, length)) {
                    self.send_run();
                }
                self.run.push(way, length, buffer);
            }
            Verdict::Drop(reason) => {
                counters.dropped(reason);
                self.ring.release(buffer);
            }
        }
    }

    /// Relays datagrams of `each` bytes that the kernel has merged: one verdict for each of them,
    /// one send for all that lie side by side and go the same way.
    fn relay_merged(&mut self, now: Instant, slot: SlotId, each: usize, buffer: Buffer) {
        // What came before them leaves before them.
        self.send_run();
        let Some(Datagram { source, payload, .. }) = self.ring.datagram(&buffer) else {
            return self.ring.release(buffer);
        };
        let counters = &self.mailbox.counters;
        counters.merged.add(1);
        for (place, packet) in payload.chunks(each).enumerate() {
            counters.packets_in.add(1);
            let start = place * each;
            let bytes = start..start + packet.len();
            match self.relay.handle_packet(now, slot, source, packet) {
                Verdict::Forward { slot, to, kind } => {
                    let way = Way { slot, to, kind };
                    match self.parts.last_mut() {
                        Some(part) if part.way == way && part.bytes.end == start => {
                            part.bytes.end = bytes.end;
                            part.packets += 1;
                        }
                        _ => self.parts.push(Part { way, packets: 1, bytes }),
                    }
                }
                Verdict::Drop(reason) => counters.dropped(reason),
            }
        }
        let mut parts = std::mem::take(&mut self.parts);
        for part in parts.drain(..) {
            self.send_part(&buffer, part, each);
        }
        self.parts = parts;
        self.ring.release(buffer);
    }

    fn send_part(&mut self, buffer: &Buffer, part: Part, each: usize) {
        let Part { way, packets, bytes } = part;
        if packets == 1 || (self.segments && each <= SEGMENT_MAX) {
            let cut = (packets > 1).then_some(each);
            return self.send_bytes(buffer, way, packets, bytes, cut);
        }
        for start in bytes.clone().step_by(each) {
            self.send_bytes(buffer, way, 1, start..bytes.end.min(start + each), None);
        }
    }

    fn send_bytes(
        &mut self,
        buffer: &Buffer,
        way: Way,
        packets: u64,
        bytes: Range<usize>,
        cut: Option<usize>,
    ) {
        // Below the table's size, which fits 32 bits.
        let (index, subject) = (way.slot.index() as u32, way.slot.to_bits());
        let length = bytes.len();
        let sent = match cut {
            Some(each) => self.ring.send_cut(index, buffer, (bytes, each), way.to, subject),
            None => self.ring.send(index, buffer, bytes, way.to, subject),
        };
        self.count_sent(way, packets, length, &sent);
    }

    /// Sends the packets that wait for others to join them.
    pub(super) fn send_run(&mut self) {
        let Some(way) = self.run.way() else { return };
        // Below the table's size, which fits 32 bits.
        let (index, subject) = (way.slot.index() as u32, way.slot.to_bits());
        let lengths = self.run.lengths();
        let sent = match self.run.buffers() {
            [buffer] => self.ring.send(index, buffer, 0..lengths.1, way.to, subject),
            several => self.ring.send_run(index, several, lengths, way.to, subject),
        };
        self.count_sent(way, self.run.buffers().len() as u64, self.run.bytes(), &sent);
        for buffer in self.run.clear() {
            self.ring.release(buffer);
        }
    }

    fn count_sent(&self, way: Way, packets: u64, bytes: usize, sent: &io::Result<()>) {
        let counters = &self.mailbox.counters;
        match sent {
            Ok(()) => {
                counters.relayed(way.kind, packets, bytes);
                counters.runs.add(u64::from(packets > 1));
            }
            Err(_) => counters.engine_dropped(EngineDrop::RingFull, packets),
        }
    }

    /// A run was not sent. Where that is because of what it is, packets are sent one by one from
    /// now on.
    pub(super) fn judge_segments(&mut self, errno: i32) {
        // EIO: a device that computes no checksums. EMSGSIZE, EINVAL: longer than the path carries.
        if self.segments && matches!(errno, libc::EIO | libc::EMSGSIZE | libc::EINVAL) {
            self.segments = false;
            let error = io::Error::from_raw_os_error(errno);
            tracing::info!(%error, "a relay worker sends packets one by one: UDP_SEGMENT failed");
        }
    }
}
