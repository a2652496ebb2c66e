//! What is counted of the packets received from one peer on one stream.

mod clock;
pub(crate) mod quality;
mod round_trip;
mod sequence;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::api::DirectionReport;
use crate::rtcp::{self, Item};
use crate::rtp::RtpHeader;
use crate::verdict::PacketKind;
use clock::Jitter;
use round_trip::RoundTrip;
use sequence::{Sequence, Step};

/// Sources (SSRC) of one peer on one stream whose sequence numbers are followed at once: media, a
/// retransmission or FEC stream, and one each that a new source takes over from. A further one
/// takes the place of the one that has been silent the longest, whose loss is kept.
const SOURCES_MAX: usize = 4;

const VIDEO_HZ: u32 = 90_000;

#[derive(Clone, Copy, Debug)]
struct Source {
    ssrc: u32,
    /// Value of [`DirectionStats::clock`] when it was last heard.
    heard: u64,
    sequence: Sequence,
    jitter: Jitter,
}

/// The counts.
#[derive(Debug, Default)]
pub(crate) struct DirectionStats {
    packets: u64,
    bytes: u64,
    rtcp_packets: u64,
    dropped: u64,
    duplicates: u64,
    reordered: u64,
    /// Of sources that are no longer followed.
    lost: u64,
    /// RTP packets seen: orders the sources by age.
    clock: u64,
    sources: [Option<Source>; SOURCES_MAX],
    source: Option<SocketAddr>,
    round_trip: RoundTrip,
}

impl DirectionStats {
    /// An RTP packet that was accepted, whether or not there is somewhere to relay it to: while
    /// the other side is on hold nothing is lost on the way to us.
    pub(crate) fn heard(&mut self, now: Instant, header: RtpHeader) {
        self.clock += 1;
        let clock = self.clock;
        let source = self.source_of(header);
        source.heard = clock;
        match source.sequence.step(header.sequence) {
            Step::New => source.jitter.arrived(now, header),
            Step::Duplicate => self.duplicates += 1,
            Step::Late => self.reordered += 1,
            Step::Suspect => {}
            Step::Restarted { lost } => {
                source.jitter = Jitter::new();
                self.lost += lost;
            }
        }
    }

    /// A packet of `bytes` bytes that is relayed.
    pub(crate) fn relayed(&mut self, kind: PacketKind, bytes: usize, from: SocketAddr) {
        match kind {
            PacketKind::Rtp | PacketKind::Other => {
                self.packets += 1;
                self.bytes += bytes as u64;
                self.source = Some(from);
            }
            PacketKind::Rtcp => self.rtcp_packets += 1,
        }
    }

    /// RTCP of this peer goes on to the peer that `far` counts for.
    pub(crate) fn reported(&mut self, far: &mut DirectionStats, now: Instant, compound: &[u8]) {
        rtcp::read(compound, |item| match item {
            Item::Sent(report) => far.round_trip.passed(now, report),
            Item::Answered { report, kept } => self.round_trip.answered(now, report, kept),
        });
    }

    /// The latest round trip between the relay and this peer.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.round_trip.latest()
    }

    /// The jitter of the source that was heard last, if that is speech (RFC 3551: video has a clock
    /// of 90 kHz).
    pub(crate) fn speech_jitter(&self) -> Option<Duration> {
        let latest = self.sources.iter().flatten().max_by_key(|s| s.heard)?;
        latest.jitter.time().filter(|(_, hz)| *hz != VIDEO_HZ).map(|(jitter, _)| jitter)
    }

    /// A packet that was not relayed.
    pub(crate) fn dropped(&mut self) {
        self.dropped += 1;
    }

    /// Stops following the sources heard so far, whose loss says nothing about the peer.
    pub(crate) fn forget_sources(&mut self) {
        self.sources = [None; SOURCES_MAX];
    }

    /// Whether RTP of this source is being followed.
    pub(crate) fn knows(&self, ssrc: u32) -> bool {
        self.sources.iter().flatten().any(|source| source.ssrc == ssrc)
    }

    fn source_of(&mut self, header: RtpHeader) -> &mut Source {
        let known = |source: &Option<Source>| source.is_some_and(|s| s.ssrc == header.ssrc);
        // An empty place is the oldest of all.
        let place = self.sources.iter().position(known).unwrap_or_else(|| self.oldest());
        if !known(&self.sources[place]) {
            self.lost += self.sources[place].take().map_or(0, |s| s.sequence.lost());
        }
        self.sources[place].get_or_insert_with(|| Source {
            ssrc: header.ssrc,
            heard: 0,
            sequence: Sequence::starting_before(header.sequence),
            jitter: Jitter::new(),
        })
    }

    fn oldest(&self) -> usize {
        let age = |place: &usize| self.sources[*place].map_or(0, |s| s.heard);
        (0..SOURCES_MAX).min_by_key(age).unwrap_or(0)
    }

    pub(crate) fn report(&self) -> DirectionReport {
        let followed = self.sources.iter().flatten();
        let latest = followed.clone().max_by_key(|s| s.heard);
        DirectionReport {
            packets: self.packets,
            bytes: self.bytes,
            lost: self.lost + followed.map(|s| s.sequence.lost()).sum::<u64>(),
            duplicates: self.duplicates,
            reordered: self.reordered,
            jitter: latest.map_or(0, |s| s.jitter.value()),
            rtcp_packets: self.rtcp_packets,
            dropped: self.dropped,
            source: self.source,
            round_trip: self.round_trip.latest(),
            ..DirectionReport::default()
        }
    }
}

/// [`add`] for both directions of a stream.
pub(crate) fn add_both(
    earlier: [DirectionReport; 2],
    later: [DirectionReport; 2],
) -> [DirectionReport; 2] {
    [add(earlier[0], later[0]), add(earlier[1], later[1])]
}

/// Adds what a stream relayed before it was closed and opened again.
pub(crate) fn add(earlier: DirectionReport, later: DirectionReport) -> DirectionReport {
    DirectionReport {
        packets: earlier.packets + later.packets,
        bytes: earlier.bytes + later.bytes,
        lost: earlier.lost + later.lost,
        duplicates: earlier.duplicates + later.duplicates,
        reordered: earlier.reordered + later.reordered,
        jitter: if later.packets > 0 { later.jitter } else { earlier.jitter },
        rtcp_packets: earlier.rtcp_packets + later.rtcp_packets,
        dropped: earlier.dropped + later.dropped,
        source: later.source.or(earlier.source),
        flow: later.flow,
        last_packet: later.last_packet.or(earlier.last_packet),
        round_trip: later.round_trip.or(earlier.round_trip),
        mos: later.mos.or(earlier.mos),
    }
}

#[cfg(test)]
mod tests;
