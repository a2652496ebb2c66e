//! What a worker counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use relay_core::{DropReason, PacketKind};

use crate::priority::Priority;

/// A snapshot of one worker's counters. Every count is since the start and only grows, unless
/// its name says "now".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerCounters {
    /// The worker's place in the configuration.
    pub worker: usize,
    /// The core it is pinned to.
    pub core: Option<usize>,
    /// Its kernel thread id.
    pub tid: u32,
    /// How its thread ranks against others: what was asked for, if it was permitted.
    pub priority: Priority,
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
    /// Runs of two and more of these packets that were handed over as one.
    pub runs: u64,
    /// Datagrams received that the kernel had merged from several.
    pub merged: u64,
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
    /// Ports in use now by this worker's sessions; see [`Engine::ports`](crate::Engine::ports) for
    /// those of all, at rest and free.
    pub ports_used_now: u64,
}

/// A count that one thread writes and any may read. Not a read-modify-write, so adding costs what
/// it costs with a plain integer.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the thread that owns the counter may call this.
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why the engine itself drops a packet, after the relay's own reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EngineDrop {
    /// Longer than a receive buffer.
    TooLong,
    /// The ring took no more submissions.
    RingFull,
}

const ENGINE_DROPS: [&str; 2] = ["too_long", "ring_full"];

/// Why the kernel did not send a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendError {
    /// An earlier packet found nobody at the peer's port (ECONNREFUSED).
    Refused,
    /// The socket's or the device's queue is full (EAGAIN, ENOBUFS).
    QueueFull,
    /// No way to the peer (ENETUNREACH, EHOSTUNREACH, ENETDOWN).
    Unreachable,
    /// Longer than the path carries (EMSGSIZE).
    TooLong,
    /// A firewall rule (EPERM, EACCES).
    Forbidden,
    /// Anything else.
    Other,
}

impl SendError {
    const NAMES: [&str; 6] =
        ["refused", "queue_full", "unreachable", "too_long", "forbidden", "other"];

    pub(crate) fn of(errno: i32) -> SendError {
        match errno {
            libc::ECONNREFUSED => SendError::Refused,
            libc::EAGAIN | libc::ENOBUFS => SendError::QueueFull,
            libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN => SendError::Unreachable,
            libc::EMSGSIZE => SendError::TooLong,
            libc::EPERM | libc::EACCES => SendError::Forbidden,
            _ => SendError::Other,
        }
    }
}

/// The counters of one worker. Written by its thread alone, on cache lines of their own.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) packets_in: Counter,
    pub(crate) bytes_in: Counter,
    rtp_relayed: Counter,
    rtcp_relayed: Counter,
    other_relayed: Counter,
    bytes_relayed: Counter,
    pub(crate) runs: Counter,
    pub(crate) merged: Counter,
    drops: [Counter; DropReason::ALL.len()],
    engine_drops: [Counter; ENGINE_DROPS.len()],
    send_errors: [Counter; SendError::NAMES.len()],
    pub(crate) receive_errors: Counter,
    pub(crate) wakes: Counter,
    pub(crate) completions: Counter,
    pub(crate) buffers_exhausted: Counter,
    pub(crate) rearmed: Counter,
    pub(crate) receive_failed: Counter,
    pub(crate) completions_overflowed: Counter,
    pub(crate) connect_errors: Counter,
    pub(crate) commands: Counter,
    pub(crate) sessions: Counter,
    pub(crate) sockets: Counter,
    pub(crate) ports_used: Counter,
    pub(crate) tid: Counter,
}

impl Counters {
    pub(crate) fn relayed(&self, kind: PacketKind, packets: u64, bytes: usize) {
        match kind {
            PacketKind::Rtp => self.rtp_relayed.add(packets),
            PacketKind::Rtcp => self.rtcp_relayed.add(packets),
            PacketKind::Other => self.other_relayed.add(packets),
        }
        self.bytes_relayed.add(bytes as u64);
    }

    pub(crate) fn dropped(&self, reason: DropReason) {
        self.drops[reason.index()].add(1);
    }

    pub(crate) fn engine_dropped(&self, reason: EngineDrop, packets: u64) {
        self.engine_drops[reason as usize].add(packets);
    }

    pub(crate) fn send_failed(&self, errno: i32) {
        self.send_errors[SendError::of(errno) as usize].add(1);
    }

    pub(crate) fn snapshot(&self, worker: usize, core: Option<usize>) -> WorkerCounters {
        let reasons = DropReason::ALL.iter().zip(&self.drops).map(|(r, c)| (r.name(), c.get()));
        let engine_drops = ENGINE_DROPS.iter().zip(&self.engine_drops).map(|(n, c)| (*n, c.get()));
        let send_errors =
            SendError::NAMES.iter().zip(&self.send_errors).map(|(n, c)| (*n, c.get()));
        // A thread id is positive and fits 32 bits.
        let tid = self.tid.get() as u32;
        WorkerCounters {
            worker,
            core,
            tid,
            priority: Priority::of(Pid::from_raw(tid.cast_signed())),
            cpu: thread_cpu_time(tid),
            packets_in: self.packets_in.get(),
            bytes_in: self.bytes_in.get(),
            rtp_relayed: self.rtp_relayed.get(),
            rtcp_relayed: self.rtcp_relayed.get(),
            other_relayed: self.other_relayed.get(),
            bytes_relayed: self.bytes_relayed.get(),
            runs: self.runs.get(),
            merged: self.merged.get(),
            drops: reasons.chain(engine_drops).collect(),
            send_errors: send_errors.collect(),
            receive_errors: self.receive_errors.get(),
            wakes: self.wakes.get(),
            completions: self.completions.get(),
            buffers_exhausted: self.buffers_exhausted.get(),
            rearmed: self.rearmed.get(),
            receive_failed: self.receive_failed.get(),
            completions_overflowed: self.completions_overflowed.get(),
            connect_errors: self.connect_errors.get(),
            commands: self.commands.get(),
            sessions_now: self.sessions.get(),
            sockets_now: self.sockets.get(),
            ports_used_now: self.ports_used.get(),
        }
    }
}

/// CPU time of a thread of this process; zero once it has ended.
fn thread_cpu_time(tid: u32) -> Duration {
    // clock_getres(2): a thread's clock id is the inverted thread id above three bits, of which 4
    // says "one thread" and 2 "precise".
    let clock = ClockId::from_raw((!tid.cast_signed() << 3) | 6);
    if tid == 0 {
        return Duration::ZERO;
    }
    clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_sends_are_told_apart() {
        assert_eq!(SendError::of(libc::EAGAIN), SendError::QueueFull);
        assert_eq!(SendError::of(libc::ENOBUFS), SendError::QueueFull);
        assert_eq!(SendError::of(libc::ECONNREFUSED), SendError::Refused);
        assert_eq!(SendError::of(libc::EPERM), SendError::Forbidden);
        assert_eq!(SendError::of(libc::EINVAL), SendError::Other);
        let counters = Counters::default();
        counters.send_failed(libc::ENOBUFS);
        assert_eq!(counters.snapshot(0, None).send_errors[1], ("queue_full", 1));
    }

    #[test]
    fn the_cpu_time_of_another_thread_can_be_read() {
        let tid = nix::unistd::gettid().as_raw().cast_unsigned();
        let mut sum = 0_u64;
        while thread_cpu_time(tid).is_zero() {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert_eq!(thread_cpu_time(0), Duration::ZERO);
    }
}
