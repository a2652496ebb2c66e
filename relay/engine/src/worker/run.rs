//! Packets on their way out, as long as the next one may join them.

use std::net::SocketAddr;

use relay_core::{PacketKind, SlotId};

use crate::ring::{Buffer, RUN_MAX, SEGMENT_MAX};

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) slot: SlotId,
    pub(super) to: Option<SocketAddr>,
    pub(super) kind: PacketKind,
}

/// Packets that go the same way, one after the other: all of the same length, but for a shorter
/// last one. That is what a video frame is.
#[derive(Debug)]
pub(super) struct Run {
    way: Option<Way>,
    buffers: Vec<Buffer>,
    /// Of all but the last.
    each: usize,
    last: usize,
}

impl Run {
    pub(super) fn new() -> Run {
        Run { way: None, buffers: Vec::with_capacity(RUN_MAX), each: 0, last: 0 }
    }

    /// Whether the packet may be added.
    pub(super) fn takes(&self, way: Way, length: usize) -> bool {
        self.way == Some(way)
            && self.buffers.len() < RUN_MAX
            && self.last == self.each
            && length <= self.each
            && self.each <= SEGMENT_MAX
            && length > 0
    }

    /// Adds a packet that it takes, or the first.
    pub(super) fn push(&mut self, way: Way, length: usize, buffer: Buffer) {
        if self.way.is_none() {
            self.way = Some(way);
            self.each = length;
        }
        self.last = length;
        self.buffers.push(buffer);
    }

    pub(super) fn way(&self) -> Option<Way> {
        self.way
    }

    pub(super) fn buffers(&self) -> &[Buffer] {
        &self.buffers
    }

    /// The length of all but the last packet, and of the last.
    pub(super) fn lengths(&self) -> (usize, usize) {
        (self.each, self.last)
    }

    /// Bytes of all its packets.
    pub(super) fn bytes(&self) -> usize {
        (self.buffers.len().max(1) - 1) * self.each + self.last
    }

    /// Starts over; hands out the buffers.
    pub(super) fn clear(&mut self) -> impl Iterator<Item = Buffer> {
        self.way = None;
        self.buffers.drain(..)
    }
}
