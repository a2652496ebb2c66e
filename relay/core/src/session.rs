//! One session: its streams, and the command that is being carried out on it.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

use smallvec::SmallVec;

use crate::api::{Command, DirectionReport, SessionSpec};

/// Commands for one session that may wait while an earlier one opens its ports. Signaling has one
/// offer under way at a time (RFC 3261 14.1), so more than a few is its mistake.
pub(crate) const WAITING_MAX: usize = 8;

/// Further ports that are tried for one leg of a stream when someone else on this host has those before,
/// until the session is refused: with a tenth of the range taken, nine in a row is one chance in 10^9.
pub(crate) const TRIES_MAX: u32 = 8;

/// A session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) local: [IpAddr; 2],
    pub(crate) born: Instant,
    /// Whether it was ever brought to a state; before that it does not exist for signaling.
    pub(crate) established: bool,
    /// One entry a m= line: the stream's key, `None` while it is closed.
    pub(crate) streams: SmallVec<[Option<usize>; 2]>,
    /// What streams relayed before they were closed, by place; those that were not are absent.
    pub(crate) archive: BTreeMap<usize, [DirectionReport; 2]>,
    pub(crate) pending: Option<Box<Pending>>,
    pub(crate) waiting: VecDeque<Command>,
    /// When it was last brought to a state: silence is counted from here at the earliest.
    pub(crate) applied: Instant,
    /// Its entry in the relay's timers.
    pub(crate) idle_check: Option<Instant>,
}

impl Session {
    pub(crate) fn new(now: Instant, local: [IpAddr; 2]) -> Session {
        Session {
            local,
            born: now,
            established: false,
            streams: SmallVec::new(),
            archive: BTreeMap::new(),
            pending: None,
            waiting: VecDeque::new(),
            applied: now,
            idle_check: None,
        }
    }
}

/// An apply whose ports are being opened.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) token: u64,
    pub(crate) spec: SessionSpec,
    /// The streams that it opens: place in the spec, and key.
    pub(crate) opened: SmallVec<[(usize, usize); 2]>,
    /// Sockets of theirs that the engine has not opened yet.
    pub(crate) unopened: usize,
}
