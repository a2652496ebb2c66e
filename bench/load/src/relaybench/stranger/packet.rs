//! Packets that say whose they are, wherever they turn up.

use crate::media::packet::AUDIO_PAYLOAD_TYPE;

/// Bytes of a packet: RTP's header and 20 ms of G.711.
const RTP_BYTES: usize = 172;

/// RTP's fixed header (RFC 3550 5.1).
const RTP_HEADER_BYTES: usize = 12;

/// A sender report without report blocks (RFC 3550 6.4.1); its last 20 bytes are the sender's to
/// fill.
const REPORT_BYTES: usize = 28;
const REPORT_MARK: usize = 8;
const SENDER_REPORT: u8 = 200;

/// G.711: 20 ms at 8 kHz.
const TICKS: u32 = 160;

const MARK_BYTES: usize = 16;

/// A dynamic payload type (RFC 3551 6) that nothing here negotiates.
pub(crate) const WRONG_TYPE: u8 = 111;

/// Who sent a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Caller,
    Callee,
    Stranger,
}

/// What a packet bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Tells the packets of this run from any other's.
    pub(crate) run: u64,
    pub(crate) who: Who,
    pub(crate) session: u16,
    pub(crate) number: u32,
}

impl Mark {
    fn bytes(self) -> [u8; MARK_BYTES] {
        let mut bytes = [0; MARK_BYTES];
        bytes[..8].copy_from_slice(&self.run.to_be_bytes());
        bytes[8] = match self.who {
            Who::Caller => 1,
            Who::Callee => 2,
            Who::Stranger => 3,
        };
        bytes[10..12].copy_from_slice(&self.session.to_be_bytes());
        bytes[12..].copy_from_slice(&self.number.to_be_bytes());
        bytes
    }

    fn of(bytes: [u8; MARK_BYTES], run: u64) -> Option<Mark> {
        let [r0, r1, r2, r3, r4, r5, r6, r7, who, _, s0, s1, n0, n1, n2, n3] = bytes;
        let who = match who {
            1 => Who::Caller,
            2 => Who::Callee,
            3 => Who::Stranger,
            _ => return None,
        };
        let mark = Mark {
            run: u64::from_be_bytes([r0, r1, r2, r3, r4, r5, r6, r7]),
            who,
            session: u16::from_be_bytes([s0, s1]),
            number: u32::from_be_bytes([n0, n1, n2, n3]),
        };
        (mark.run == run).then_some(mark)
    }

    /// The mark of a packet of this run, be it RTP, noise or RTCP.
    pub(crate) fn read(packet: &[u8], run: u64) -> Option<Mark> {
        [RTP_HEADER_BYTES, REPORT_MARK].iter().find_map(|at| {
            let bytes = packet.get(*at..at + MARK_BYTES)?.try_into().ok()?;
            Mark::of(bytes, run)
        })
    }
}

/// Whether a packet looks like RTCP (RFC 5761 4).
pub(crate) fn is_rtcp(packet: &[u8]) -> bool {
    matches!(packet, [128..=191, 192..=223, ..])
}

/// Where a packet stands in its stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) ssrc: u32,
    pub(crate) sequence: u16,
}

/// G.711, or what claims to be of another type.
pub(crate) fn rtp(mark: Mark, place: Place, payload_type: Option<u8>) -> Vec<u8> {
    let mut packet = vec![0x80, payload_type.unwrap_or(AUDIO_PAYLOAD_TYPE)];
    packet.extend(place.sequence.to_be_bytes());
    packet.extend((u32::from(place.sequence) * TICKS).to_be_bytes());
    packet.extend(place.ssrc.to_be_bytes());
    packet.extend(mark.bytes());
    // Silence in u-law.
    packet.resize(RTP_BYTES, 0xff);
    packet
}

/// A sender report, whose times and counts are taken for the mark.
pub(crate) fn rtcp(mark: Mark, ssrc: u32) -> Vec<u8> {
    let words = (REPORT_BYTES / 4 - 1) as u8;
    let mut packet = vec![0x80, SENDER_REPORT, 0, words];
    packet.extend(ssrc.to_be_bytes());
    packet.extend(mark.bytes());
    packet.resize(REPORT_BYTES, 0);
    packet
}

/// What RFC 7983 tells from RTP by the first byte: STUN, DTLS, TURN channels and nothing at all.
pub(crate) fn noise(mark: Mark) -> Vec<u8> {
    const FIRST: [[u8; 2]; 4] = [[0, 1], [22, 254], [64, 0], [255, 255]];
    let mut packet = FIRST[mark.number as usize % FIRST.len()].to_vec();
    packet.resize(RTP_HEADER_BYTES, 0x5a);
    packet.extend(mark.bytes());
    packet.resize(RTP_BYTES, 0x5a);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_says_whose_it_is_and_of_which_run() {
        let mark = Mark { run: 77, who: Who::Stranger, session: 41, number: 9 };
        let place = Place { ssrc: 5, sequence: 6 };
        for packet in [rtp(mark, place, None), rtcp(mark, 5), noise(mark)] {
            assert_eq!(Mark::read(&packet, 77), Some(mark));
            assert_eq!(Mark::read(&packet, 78), None);
        }
        assert!(is_rtcp(&rtcp(mark, 5)) && !is_rtcp(&rtp(mark, place, None)));
        assert_eq!(Mark::read(&[0; 20], 0), None);
    }

    /// What the judge's RTP library reads is what was meant.
    #[test]
    fn rtp_is_rtp() {
        use webrtc_util::marshal::Unmarshal;
        let mark = Mark { run: 1, who: Who::Caller, session: 0, number: 0 };
        let bytes = rtp(mark, Place { ssrc: 5, sequence: 65_535 }, Some(WRONG_TYPE));
        let packet = rtp::packet::Packet::unmarshal(&mut bytes.as_slice()).unwrap();
        let header = packet.header;
        assert_eq!((header.ssrc, header.sequence_number, header.payload_type), (5, 65_535, 111));
    }
}
