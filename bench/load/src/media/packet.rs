//! What is inside a media packet, so that each one can be judged on its own.
//!
//! ```text
//! RTP header (12) | magic (4) | stream (4) | run (8) | number (8) | sent, ns (8) | check (8) | filling
//! ```
//!
//! The check covers the fields before it; the filling is a piece of a pseudo-random block whose
//! place follows from stream and number, so every byte is verified. RTP sequence number, timestamp,
//! marker and SSRC follow from stream and number too.

use rtp::header::Header;
use webrtc_util::marshal::{Marshal, Unmarshal};

use crate::ids::{Kind, StreamId};

/// Bytes of an RTP header without CSRCs or extension (RFC 3550 5.1).
pub(crate) const RTP_HEADER_BYTES: usize = 12;

/// Bytes of our fields at the start of the payload.
pub(crate) const STAMP_BYTES: usize = 40;

/// What is written anew for each packet; the rest is filling.
pub(crate) const HEAD_BYTES: usize = RTP_HEADER_BYTES + STAMP_BYTES;

/// Largest payload: a datagram that fits an Ethernet frame together with its headers.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 1400;

/// RTP payload type of PCMU (RFC 3551 6).
pub(crate) const AUDIO_PAYLOAD_TYPE: u8 = 0;

/// The dynamic payload type that is offered for video (RFC 3551 3: 96..=127).
pub(crate) const VIDEO_PAYLOAD_TYPE: u8 = 96;

const MAGIC: [u8; 4] = *b"RFL1";
const RTP_VERSION: u8 = 2;
const VIDEO_CLOCK_HZ: u64 = 90_000;

/// Size of the pseudo-random block; a power of two so that a place in it is a mask.
const BLOCK_BYTES: usize = 64 << 10;

/// Odd, so that multiplying by it is invertible modulo 2^32.
const SSRC_FACTOR: u32 = 0x9E37_79B1;
const SSRC_FACTOR_INVERSE: u32 = inverse(SSRC_FACTOR);

/// How one kind of stream looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) payload_type: u8,
    /// RTP payload in bytes.
    pub(crate) payload_bytes: usize,
    /// Packets that share a timestamp; they are sent together and the last one carries the marker.
    pub(crate) packets_per_frame: u64,
    /// Frames are sent this often.
    pub(crate) frame_period_ns: u64,
    /// RTP clock in ticks a second.
    clock_hz: u64,
    /// RTP clock ticks from one frame to the next.
    clock_per_frame: u64,
}

impl Shape {
    /// G.711 mu-law, 20 ms a packet.
    pub(crate) const AUDIO: Shape = Shape {
        payload_type: AUDIO_PAYLOAD_TYPE,
        payload_bytes: 160,
        packets_per_frame: 1,
        frame_period_ns: 20_000_000,
        clock_hz: 8_000,
        clock_per_frame: 160,
    };

    /// G.711 mu-law packets that are sent each `period_ns` (1 to 60 s in nanoseconds) instead of each
    /// 20 ms: as many streams as one likes at any rate.
    pub(crate) const fn audio_each(period_ns: u64) -> Shape {
        Shape {
            frame_period_ns: period_ns,
            clock_per_frame: period_ns * Shape::AUDIO.clock_hz / 1_000_000_000,
            ..Shape::AUDIO
        }
    }

    /// `fps` frames a second (1..=1000) of `packets` packets of `bytes` bytes payload each.
    pub(crate) const fn video(fps: u32, packets: u32, bytes: usize) -> Shape {
        Shape {
            payload_type: VIDEO_PAYLOAD_TYPE,
            payload_bytes: bytes,
            packets_per_frame: packets as u64,
            frame_period_ns: 1_000_000_000 / fps as u64,
            clock_hz: VIDEO_CLOCK_HZ,
            clock_per_frame: VIDEO_CLOCK_HZ / fps as u64,
        }
    }
}

/// Our fields in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) stream: StreamId,
    /// The stream's packet count before this one: 0 for the first.
    pub(crate) number: u64,
    /// `CLOCK_MONOTONIC` when the packet was written.
    pub(crate) sent_ns: u64,
}

/// Why a datagram is not a packet of this run as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It cannot be told whose it was: not RTP, or our fields do not add up.
    Unreadable,
    /// A whole packet that another run sent, or whose header and payload name different streams.
    Foreign,
    /// The stream is known, but something in the packet was changed.
    Changed(StreamId),
}

/// Writes and judges the packets of one run.
pub(crate) struct Press {
    run: u64,
    shapes: [Shape; 2],
    block: Box<[u8]>,
}

impl Press {
    pub(crate) fn new(run: u64, shapes: [Shape; 2]) -> Press {
        let block = (0..(BLOCK_BYTES + PAYLOAD_BYTES_MAX) as u64 / 8)
            .flat_map(|word| mix(run ^ word).to_ne_bytes())
            .collect();
        Press { run, shapes, block }
    }

    pub(crate) fn shape(&self, kind: Kind) -> &Shape {
        &self.shapes[kind.index()]
    }

    /// RTP clock ticks a second.
    pub(crate) fn clock_hz(&self, kind: Kind) -> u64 {
        self.shape(kind).clock_hz
    }

    /// The SSRC of `stream`; differs for all streams of a run.
    pub(crate) fn ssrc(&self, stream: StreamId) -> u32 {
        stream.number().wrapping_mul(SSRC_FACTOR) ^ self.salt()
    }

    /// The inverse of [`Press::ssrc`].
    pub(crate) fn stream_of(&self, ssrc: u32) -> StreamId {
        StreamId::from_number((ssrc ^ self.salt()).wrapping_mul(SSRC_FACTOR_INVERSE))
    }

    const fn salt(&self) -> u32 {
        (self.run >> 32) as u32
    }

    /// The RTP timestamp of packet `number` of `stream`.
    pub(crate) fn timestamp(&self, stream: StreamId, number: u64) -> u32 {
        let shape = self.shape(stream.kind);
        let elapsed = (number / shape.packets_per_frame) * shape.clock_per_frame;
        (self.start(stream) as u32).wrapping_add(elapsed as u32)
    }

    /// The RTP sequence number of packet `number` of `stream`.
    pub(crate) fn sequence(&self, stream: StreamId, number: u64) -> u16 {
        ((self.start(stream) >> 32) as u16).wrapping_add(number as u16)
    }

    /// Where a stream's sequence numbers and timestamps start (RFC 3550 5.1: at random).
    fn start(&self, stream: StreamId) -> u64 {
        mix(self.run ^ u64::from(stream.number()))
    }

    fn header(&self, stream: StreamId, number: u64) -> Header {
        let shape = self.shape(stream.kind);
        let last_of_frame = (number + 1).is_multiple_of(shape.packets_per_frame);
        Header {
            version: RTP_VERSION,
            marker: shape.packets_per_frame > 1 && last_of_frame,
            payload_type: shape.payload_type,
            sequence_number: self.sequence(stream, number),
            timestamp: self.timestamp(stream, number),
            ssrc: self.ssrc(stream),
            ..Header::default()
        }
    }

    /// Writes the head of a packet and returns the filling that follows it.
    pub(crate) fn write(&self, stamp: Stamp, head: &mut [u8; HEAD_BYTES]) -> &[u8] {
        let (rtp, ours) = head.split_at_mut(RTP_HEADER_BYTES);
        self.header(stamp.stream, stamp.number)
            .marshal_to(rtp)
            .expect("a header without CSRCs and extensions is 12 bytes");
        ours[0..4].copy_from_slice(&MAGIC);
        ours[4..8].copy_from_slice(&stamp.stream.number().to_be_bytes());
        ours[8..16].copy_from_slice(&self.run.to_be_bytes());
        ours[16..24].copy_from_slice(&stamp.number.to_be_bytes());
        ours[24..32].copy_from_slice(&stamp.sent_ns.to_be_bytes());
        ours[32..40].copy_from_slice(&check_of(self.run, stamp).to_be_bytes());
        self.filling(stamp.stream, stamp.number)
    }

    fn filling(&self, stream: StreamId, number: u64) -> &[u8] {
        let length = self.shape(stream.kind).payload_bytes - STAMP_BYTES;
        let place = mix(self.start(stream).wrapping_add(number)) as usize & (BLOCK_BYTES - 8);
        &self.block[place..place + length]
    }

    /// Reads a datagram that arrived and verifies every byte of it.
    ///
    /// # Errors
    /// See [`Fault`].
    pub(crate) fn judge(&self, datagram: &[u8]) -> Result<Stamp, Fault> {
        // Ours have no extension; the RTP crate panics on some truncated ones, so keep them from it.
        let extended = datagram.first().is_none_or(|first| first & 0x10 != 0);
        if extended || datagram.len() < HEAD_BYTES {
            return Err(Fault::Unreadable);
        }
        let mut rest = datagram;
        let header = Header::unmarshal(&mut rest).map_err(|_| Fault::Unreadable)?;
        let (run, stamp) = read_stamp(rest).ok_or(Fault::Unreadable)?;
        let claimed = self.stream_of(header.ssrc);
        if run != self.run {
            return Err(Fault::Foreign);
        }
        if claimed != stamp.stream {
            // A flipped bit in the SSRC gives a stream number that no run has; a swapped payload
            // gives the SSRC of a real stream.
            let near = claimed.number() < SSRC_PLAUSIBLE_STREAMS;
            return Err(if near { Fault::Foreign } else { Fault::Changed(stamp.stream) });
        }
        let whole = header == self.header(stamp.stream, stamp.number)
            && rest[STAMP_BYTES..] == *self.filling(stamp.stream, stamp.number);
        if whole { Ok(stamp) } else { Err(Fault::Changed(stamp.stream)) }
    }
}

/// Streams that the largest run can have (four a session): see
/// [`crate::cli::SESSIONS_MAX`].
const SSRC_PLAUSIBLE_STREAMS: u32 = 4 * crate::cli::SESSIONS_MAX;

fn read_stamp(payload: &[u8]) -> Option<(u64, Stamp)> {
    let ours = payload.first_chunk::<STAMP_BYTES>()?;
    let long = |at: usize| ours[at..at + 8].try_into().map(u64::from_be_bytes).ok();
    let stream = u32::from_be_bytes([ours[4], ours[5], ours[6], ours[7]]);
    let run = long(8)?;
    let stamp =
        Stamp { stream: StreamId::from_number(stream), number: long(16)?, sent_ns: long(24)? };
    (ours[..4] == MAGIC && long(32)? == check_of(run, stamp)).then_some((run, stamp))
}

fn check_of(run: u64, stamp: Stamp) -> u64 {
    let ids = mix(run ^ mix(u64::from(stamp.stream.number())));
    mix(ids ^ mix(stamp.number) ^ stamp.sent_ns.rotate_left(17))
}

/// A bijective scrambler of 64 bits (the finalizer of SplitMix64).
pub(crate) const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// The inverse of an odd number modulo 2^32, by Newton's iteration.
const fn inverse(odd: u32) -> u32 {
    let mut guess = odd;
    let mut round = 0;
    while round < 5 {
        guess = guess.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(guess)));
        round += 1;
    }
    guess
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::{SessionId, Side};

    fn press() -> Press {
        Press::new(0x1234_5678_9abc_def0, [Shape::AUDIO, Shape::video(30, 2, 1000)])
    }

    fn stream(session: u32, kind: Kind) -> StreamId {
        StreamId { session: SessionId(session), side: Side::Caller, kind }
    }

    fn packet(press: &Press, stream: StreamId, number: u64) -> Vec<u8> {
        let mut head = [0; HEAD_BYTES];
        let filling = press.write(Stamp { stream, number, sent_ns: 77 }, &mut head);
        [&head[..], filling].concat()
    }

    #[test]
    fn an_audio_packet_is_pcmu_of_160_bytes_and_is_read_back() {
        let press = press();
        let bytes = packet(&press, stream(3, Kind::Audio), 9);
        assert_eq!(bytes.len(), 12 + 160);
        assert_eq!(bytes[1], 0);
        let stamp = press.judge(&bytes).unwrap();
        assert_eq!((stamp.number, stamp.sent_ns), (9, 77));
    }

    #[test]
    fn the_last_packet_of_a_video_frame_carries_the_marker_and_frames_share_a_timestamp() {
        let press = press();
        let video = stream(0, Kind::Video);
        let packets: Vec<_> = (0..4).map(|number| packet(&press, video, number)).collect();
        let markers: Vec<_> = packets.iter().map(|packet| packet[1] >> 7).collect();
        assert_eq!(markers, [0, 1, 0, 1]);
        assert_eq!(packets[0][4..8], packets[1][4..8]);
        assert_eq!(
            press.timestamp(video, 2).wrapping_sub(press.timestamp(video, 0)),
            3000,
            "90 kHz at 30 frames/s"
        );
    }

    #[test]
    fn a_swapped_payload_is_foreign_not_merely_changed() {
        let press = press();
        let mut bytes = packet(&press, stream(1, Kind::Audio), 5);
        bytes[12..].copy_from_slice(&packet(&press, stream(2, Kind::Audio), 5)[12..]);
        assert_eq!(press.judge(&bytes), Err(Fault::Foreign));
    }

    #[test]
    fn a_packet_of_another_run_is_foreign() {
        let other = Press::new(1, [Shape::AUDIO, Shape::video(30, 2, 1000)]);
        let bytes = packet(&other, stream(1, Kind::Audio), 5);
        assert_eq!(press().judge(&bytes), Err(Fault::Foreign));
    }

    #[test]
    fn an_ssrc_names_its_stream() {
        let press = press();
        for number in 0..4000 {
            let stream = StreamId::from_number(number);
            assert_eq!(press.stream_of(press.ssrc(stream)), stream);
        }
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_noticed(at in 0usize..1012, bit in 0u8..8, number in 0u64..100_000) {
            let press = press();
            let mut bytes = packet(&press, stream(1, Kind::Video), number);
            bytes[at] ^= 1 << bit;
            prop_assert!(press.judge(&bytes).is_err());
        }

        #[test]
        fn no_datagram_panics_the_judge(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(press().judge(&bytes).is_err());
        }
    }
}
