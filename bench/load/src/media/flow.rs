//! One medium at one end of a session: what it sends, and what it has received.

use std::net::SocketAddr;

use crate::ids::StreamId;
use crate::media::packet::{Press, Stamp};
use crate::media::rtcp::Facts;
use crate::media::window::{Arrival, Window};

/// Where a flow's packets go, which is also the only place that its peer's may come from: a relay
/// sends from the port that it announced (symmetric RTP, RFC 4961).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remote {
    pub(crate) rtp: SocketAddr,
    pub(crate) rtcp: SocketAddr,
}

/// Both directions of one medium at one end.
#[derive(Debug)]
pub(crate) struct Flow {
    /// What this end sends.
    pub(crate) outbound: StreamId,
    /// What it receives.
    pub(crate) inbound: StreamId,
    pub(crate) remote: Remote,
    /// Packets numbered so far, and those of them that the kernel refused to take.
    pub(crate) numbered: u64,
    pub(crate) refused: u64,
    pub(crate) window: Window,
    pub(crate) received: u64,
    jitter: Jitter,
    pub(crate) reports_numbered: u64,
    pub(crate) reports_refused: u64,
    pub(crate) reports_received: u64,
    pub(crate) report_window: Window,
    pub(crate) report_due_ns: u64,
}

impl Flow {
    pub(crate) fn new(outbound: StreamId, remote: Remote, first_report_ns: u64) -> Flow {
        let inbound = StreamId { side: outbound.side.other(), ..outbound };
        Flow {
            outbound,
            inbound,
            remote,
            numbered: 0,
            refused: 0,
            window: Window::default(),
            received: 0,
            jitter: Jitter::default(),
            reports_numbered: 0,
            reports_refused: 0,
            reports_received: 0,
            report_window: Window::default(),
            report_due_ns: first_report_ns,
        }
    }

    /// The stamp of the next packet.
    pub(crate) fn next_stamp(&mut self, sent_ns: u64) -> Stamp {
        let stamp = Stamp { stream: self.outbound, number: self.numbered, sent_ns };
        self.numbered += 1;
        stamp
    }

    /// Packets that left this end.
    pub(crate) const fn sent(&self) -> u64 {
        self.numbered - self.refused
    }

    /// Reports that left this end.
    pub(crate) const fn reports(&self) -> u64 {
        self.reports_numbered - self.reports_refused
    }

    /// Notes the arrival of a whole packet; `transit_ns` is its one-way time.
    pub(crate) fn arrive(&mut self, number: u64, transit_ns: u64) -> Arrival {
        let arrival = self.window.arrive(number);
        match arrival {
            Arrival::New { .. } | Arrival::Late => {
                self.received += 1;
                self.jitter.note(transit_ns);
            }
            Arrival::Duplicate => {}
        }
        arrival
    }

    pub(crate) const fn jitter_ns(&self) -> u64 {
        self.jitter.mean_ns
    }

    /// The facts of this flow's next report at `realtime_ns`, and counts it.
    pub(crate) fn next_report(&mut self, press: &Press, realtime_ns: u64) -> Facts {
        let payload_bytes = press.shape(self.outbound.kind).payload_bytes as u64;
        let clock_hz = press.clock_hz(self.inbound.kind);
        let expected = self.window.expected();
        let number = self.reports_numbered;
        self.reports_numbered += 1;
        Facts {
            number,
            realtime_ns,
            rtp_time: press.timestamp(self.outbound, self.numbered),
            packets: self.sent() as u32,
            octets: (self.sent() * payload_bytes) as u32,
            peer_ssrc: press.ssrc(self.inbound),
            peer_lost: expected.saturating_sub(self.received) as u32,
            peer_highest: u32::from(press.sequence(self.inbound, expected.saturating_sub(1))),
            peer_jitter: (self.jitter.mean_ns * clock_hz / 1_000_000_000) as u32,
        }
    }
}

/// Interarrival jitter (RFC 3550 6.4.1), in nanoseconds instead of clock ticks.
#[derive(Clone, Copy, Debug, Default)]
struct Jitter {
    last_transit_ns: Option<u64>,
    mean_ns: u64,
}

impl Jitter {
    fn note(&mut self, transit_ns: u64) {
        if let Some(last) = self.last_transit_ns.replace(transit_ns) {
            let difference = last.abs_diff(transit_ns);
            self.mean_ns = self.mean_ns - self.mean_ns / 16 + difference / 16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_approaches_a_steady_difference() {
        let mut jitter = Jitter::default();
        for round in 0..1000u64 {
            jitter.note(if round.is_multiple_of(2) { 0 } else { 1_600 });
        }
        assert!(jitter.mean_ns.abs_diff(1_600) < 50, "{}", jitter.mean_ns);
    }
}
