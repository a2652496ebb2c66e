//! What is counted.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use control_core::cluster::{Epoch, Incarnation, Load, MemberId, MemberName};
use control_core::mesh::Health;

/// A number that several threads see. Each is by itself: no order among them is promised.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Of one peer.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) frames_in: Count,
    pub(super) bytes_in: Count,
    pub(super) frames_out: Count,
    pub(super) bytes_out: Count,
    pub(super) writes: Count,
    pub(super) dropped_in: Count,
    pub(super) dropped_out: Count,
    pub(super) not_connected: Count,
    pub(super) unknown: Count,
    pub(super) connections: Count,
    pub(super) rtt_us: Count,
}

impl Figures {
    /// Takes a measured round trip into the mean, an eighth of which each makes (as RFC 6298 does).
    pub(super) fn note_rtt(&self, rtt: Duration) {
        let new = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX).max(1);
        let old = self.rtt_us.get();
        self.rtt_us.set(if old == 0 { new } else { (7 * old).saturating_add(new) / 8 });
    }
}

/// Of the whole mesh: strangers, and what comes to nothing.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) accepted: Count,
    pub(super) turned_away: Count,
    pub(super) handshakes_failed: Count,
    pub(super) malformed: Count,
    pub(super) joined: Count,
    pub(super) join_refused: Count,
}

/// A peer, as it is now.
#[derive(Clone, Debug)]
pub(crate) struct PeerFigures {
    /// Its name.
    pub(crate) name: MemberName,
    /// Its number and which start of it this is, once it has said so.
    pub(crate) id: Option<(MemberId, Incarnation)>,
    /// How it does; `None`: it has not been heard of yet.
    pub(crate) health: Option<Health>,
    /// Whether there is a connection.
    pub(crate) is_connected: bool,
    /// Where it is reached, as far as is known.
    pub(crate) address: Option<SocketAddr>,
    /// The version of the protocol that is spoken with it; 0: none yet.
    pub(crate) version: u16,
    /// How busy it says it is.
    pub(crate) load: Load,
    /// The view that it goes by.
    pub(crate) epoch: Epoch,
    /// Frames and bytes received, since the start.
    pub(crate) frames_in: u64,
    /// Bytes received.
    pub(crate) bytes_in: u64,
    /// Frames written.
    pub(crate) frames_out: u64,
    /// Bytes written.
    pub(crate) bytes_out: u64,
    /// Writes, each of as many frames as waited.
    pub(crate) writes: u64,
    /// Frames and bytes that wait.
    pub(crate) queued: (usize, usize),
    /// Frames received for which there was no room here.
    pub(crate) dropped_in: u64,
    /// Frames not sent for want of room.
    pub(crate) dropped_out: u64,
    /// Frames not sent for want of a connection.
    pub(crate) not_connected: u64,
    /// Frames of newer versions, passed over.
    pub(crate) unknown: u64,
    /// Connections that came up.
    pub(crate) connections: u64,
    /// Requests that wait for their replies.
    pub(crate) requests: usize,
    /// The usual round trip; zero: not measured yet.
    pub(crate) rtt: Duration,
}

/// The mesh, as it is now.
#[derive(Clone, Debug, Default)]
pub(crate) struct MeshFigures {
    /// Each peer.
    pub(crate) peers: Vec<PeerFigures>,
    /// Connections accepted.
    pub(crate) accepted: u64,
    /// Connections closed at once, because too many were not ready yet.
    pub(crate) turned_away: u64,
    /// Connections that came to nothing: no key, a wrong one, or nobody there in time.
    pub(crate) handshakes_failed: u64,
    /// Connections ended because of what was sent on them.
    pub(crate) malformed: u64,
    /// Nodes let in.
    pub(crate) joined: u64,
    /// Nodes not let in.
    pub(crate) join_refused: u64,
}
