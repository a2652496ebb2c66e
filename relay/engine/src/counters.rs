//! What a worker counts.

use std::time::Duration;

/// A snapshot of one worker's counters. Every count is since the start and only grows, unless
/// its name says "now".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerCounters {
    /// The worker's place in the configuration.
    pub worker: usize,
    /// The core it is pinned to.
    pub core: Option<usize>,
    /// Its kernel thread id.
    pub tid: u32,
    /// CPU time of its thread, user and system, and what the kernel charges to it.
    pub cpu: Duration,
    /// Datagrams received.
    pub packets_in: u64,
    /// Bytes of UDP payload in them.
    pub bytes_in: u64,
    /// RTP packets handed to the kernel for the other leg.
    pub rtp_relayed: u64,
    /// RTCP packets likewise.
    pub rtcp_relayed: u64,
    /// Opaque and DTLS datagrams likewise.
    pub other_relayed: u64,
    /// Bytes of UDP payload in the three.
    pub bytes_relayed: u64,
    /// Datagrams dropped, by reason (a word in `snake_case`), in a fixed order.
    pub drops: Vec<(&'static str, u64)>,
    /// Packets that the kernel refused to send, by cause, in a fixed order. They are also counted
    /// as relayed.
    pub send_errors: Vec<(&'static str, u64)>,
    /// Errors of earlier sends that a socket reported on receive (an unreachable peer).
    pub receive_errors: u64,
    /// Times that the worker returned from waiting.
    pub wakes: u64,
    /// Completions processed; divided by `wakes` the batch size.
    pub completions: u64,
    /// Times that a receive met no free buffer. No packet is lost by it: it stays in its socket.
    pub buffers_exhausted: u64,
    /// Multishot receives that ended and were armed again.
    pub rearmed: u64,
    /// Sockets whose receive could not be armed again after repeated errors.
    pub receive_failed: u64,
    /// Times that the completion queue was found to have overflowed.
    pub completions_overflowed: u64,
    /// Connects that the kernel refused; their packets go on with an explicit address.
    pub connect_errors: u64,
    /// Commands carried out.
    pub commands: u64,
    /// Sessions now.
    pub sessions_now: u64,
    /// Sockets open now.
    pub sockets_now: u64,
    /// Ports in use now.
    pub ports_used_now: u64,
    /// Ports at rest now.
    pub ports_resting_now: u64,
    /// Rests that ended early because no other port was free.
    pub rests_cut: u64,
}
