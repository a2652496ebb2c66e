//! What a media thread has counted.

use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;

use crate::ids::SessionId;

/// Highest recorded time: a minute in nanoseconds; anything longer is counted as a minute.
const HISTOGRAM_NS_MAX: u64 = 60_000_000_000;

/// Significant decimal digits kept.
const HISTOGRAM_DIGITS: u8 = 3;

/// A histogram of nanoseconds, 1 ns to a minute at three significant digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, HISTOGRAM_NS_MAX, HISTOGRAM_DIGITS)
        .expect("the bounds are constants that the histogram accepts")
}

/// Adds histogram `from` to `into`, both made by [`histogram`].
pub(crate) fn merge(into: &mut Histogram<u64>, from: &Histogram<u64>) {
    into.add(from).expect("both have the same bounds");
}

/// Counters of one thread that others read while it runs. They are written by the thread alone, so
/// plain stores suffice.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
    /// Numbers that were skipped and have not come later.
    pub(crate) missing: AtomicU64,
    /// Processor time of the thread in nanoseconds.
    pub(crate) cpu_ns: AtomicU64,
}

/// Sums of [`Live`] over the threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) missing: u64,
    pub(crate) cpu_ns: u64,
    /// The processor time of the busiest thread.
    pub(crate) cpu_ns_max: u64,
}

impl Snapshot {
    pub(crate) fn add(&mut self, live: &Live) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        self.sent += read(&live.sent);
        self.received += read(&live.received);
        self.missing += read(&live.missing);
        self.cpu_ns += read(&live.cpu_ns);
        self.cpu_ns_max = self.cpu_ns_max.max(read(&live.cpu_ns));
    }
}

/// Packets of one protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    /// First arrivals of whole packets at the right place.
    pub(crate) received: u64,
    pub(crate) lost: u64,
    pub(crate) duplicate: u64,
    pub(crate) reordered: u64,
    pub(crate) misdelivered: u64,
    pub(crate) corrupt: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Counts) {
        self.sent += other.sent;
        self.received += other.received;
        self.lost += other.lost;
        self.duplicate += other.duplicate;
        self.reordered += other.reordered;
        self.misdelivered += other.misdelivered;
        self.corrupt += other.corrupt;
    }
}

/// Everything that the media threads bring home.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) rtp: Counts,
    pub(crate) rtcp: Counts,
    /// One-way time per kind, from just before the send call to the receiving socket.
    pub(crate) latency_ns: [Histogram<u64>; 2],
    /// How late bursts were sent after their tick.
    pub(crate) late_ns: Histogram<u64>,
    /// Largest RFC 3550 interarrival jitter of any stream.
    pub(crate) jitter_ns_max: u64,
    pub(crate) sessions_with_loss: u64,
    /// Those sessions.
    pub(crate) lossy: Vec<SessionId>,
    /// Sessions in which some stream was sent but nothing of it arrived.
    pub(crate) sessions_silent: u64,
    /// Datagrams that our own socket buffers had no room for.
    pub(crate) receive_drops: u64,
    /// Datagrams that our own kernel refused to send.
    pub(crate) send_failures: u64,
    pub(crate) cpu_ns: u64,
}

impl Tally {
    pub(crate) fn new() -> Tally {
        Tally {
            rtp: Counts::default(),
            rtcp: Counts::default(),
            latency_ns: [histogram(), histogram()],
            late_ns: histogram(),
            jitter_ns_max: 0,
            sessions_with_loss: 0,
            lossy: Vec::new(),
            sessions_silent: 0,
            receive_drops: 0,
            send_failures: 0,
            cpu_ns: 0,
        }
    }

    /// Empties the histograms; counts stay.
    pub(crate) fn forget_times(&mut self) {
        self.latency_ns.iter_mut().for_each(Histogram::reset);
        self.late_ns.reset();
    }

    pub(crate) fn add(&mut self, other: &Tally) {
        self.rtp.add(&other.rtp);
        self.rtcp.add(&other.rtcp);
        for (into, from) in self.latency_ns.iter_mut().zip(&other.latency_ns) {
            merge(into, from);
        }
        merge(&mut self.late_ns, &other.late_ns);
        self.jitter_ns_max = self.jitter_ns_max.max(other.jitter_ns_max);
        self.sessions_with_loss += other.sessions_with_loss;
        self.lossy.extend(&other.lossy);
        self.sessions_silent += other.sessions_silent;
        self.receive_drops += other.receive_drops;
        self.send_failures += other.send_failures;
        self.cpu_ns += other.cpu_ns;
    }
}
