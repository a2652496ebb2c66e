//! RTCP: a sender report with a report block and a source description each second and stream.

use bytes::Bytes;
use rtcp::reception_report::ReceptionReport;
use rtcp::sender_report::SenderReport;
use rtcp::source_description::{
    SdesType, SourceDescription, SourceDescriptionChunk, SourceDescriptionItem,
};
use webrtc_util::marshal::Marshal;

use crate::ids::StreamId;
use crate::media::packet::{Press, mix};

/// Time between two reports of a stream. RFC 3550 6.2 asks for 5 s by default; RFC 4585 allows less,
/// and a relay's RTCP path should see work.
pub(crate) const REPORT_PERIOD_NS: u64 = 1_000_000_000;

/// Seconds from 1900 (NTP) to 1970 (Unix).
const NTP_OFFSET_SECONDS: u64 = 2_208_988_800;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// RTCP packet types SR, RR, SDES, BYE, APP (RFC 3550 12.1): what a relay may bring us.
const KNOWN_TYPES: std::ops::RangeInclusive<u8> = 200..=204;

/// What a report says about the reporting stream and the one that it receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Counts the stream's reports from 0; travels in a NOTE item.
    pub(crate) number: u64,
    pub(crate) realtime_ns: u64,
    pub(crate) rtp_time: u32,
    pub(crate) packets: u32,
    pub(crate) octets: u32,
    /// About the stream that comes back: SSRC, cumulative loss, highest sequence, jitter.
    pub(crate) peer_ssrc: u32,
    pub(crate) peer_lost: u32,
    pub(crate) peer_highest: u32,
    pub(crate) peer_jitter: u32,
}

/// Builds the compound packet (RFC 3550 6.1) of one report.
pub(crate) fn build(press: &Press, stream: StreamId, facts: Facts) -> Bytes {
    let report = SenderReport {
        ssrc: press.ssrc(stream),
        ntp_time: ntp(facts.realtime_ns),
        rtp_time: facts.rtp_time,
        packet_count: facts.packets,
        octet_count: facts.octets,
        reports: vec![ReceptionReport {
            ssrc: facts.peer_ssrc,
            total_lost: facts.peer_lost.min(0x7F_FFFF),
            last_sequence_number: facts.peer_highest,
            jitter: facts.peer_jitter,
            ..ReceptionReport::default()
        }],
        ..SenderReport::default()
    };
    let body = marshalled(&report);
    let note = note_of(facts.number, check_of(&body));
    let description = SourceDescription {
        chunks: vec![SourceDescriptionChunk {
            source: press.ssrc(stream),
            items: vec![
                item(SdesType::SdesCname, cname(press, stream)),
                item(SdesType::SdesNote, note),
            ],
        }],
    };
    [body, marshalled(&description)].concat().into()
}

fn marshalled(packet: &dyn Marshal) -> Bytes {
    packet.marshal().expect("a report of fixed shape is within the limits of its format")
}

fn item(sdes_type: SdesType, text: String) -> SourceDescriptionItem {
    SourceDescriptionItem { sdes_type, text: text.into() }
}

fn note_of(number: u64, check: u64) -> String {
    format!("{number}/{check:016x}")
}

fn cname(press: &Press, stream: StreamId) -> String {
    format!("{:08x}@load", press.ssrc(stream))
}

fn ntp(realtime_ns: u64) -> u64 {
    let seconds = realtime_ns / NANOS_PER_SECOND + NTP_OFFSET_SECONDS;
    let fraction = ((realtime_ns % NANOS_PER_SECOND) << 32) / NANOS_PER_SECOND;
    (seconds << 32) | fraction
}

/// Reads a compound packet that [`build`] made; `None` if anything in it was changed.
pub(crate) fn judge(press: &Press, datagram: &[u8]) -> Option<(StreamId, u64)> {
    let body_bytes = first_packet_bytes(datagram)?;
    let packets = rtcp::packet::unmarshal(&mut Bytes::copy_from_slice(datagram)).ok()?;
    let [report, description] = packets.as_slice() else { return None };
    let report = report.as_any().downcast_ref::<SenderReport>()?;
    let description = description.as_any().downcast_ref::<SourceDescription>()?;
    let [chunk] = description.chunks.as_slice() else { return None };
    let [name, note] = chunk.items.as_slice() else { return None };
    let stream = press.stream_of(report.ssrc);
    let (number, _) = std::str::from_utf8(&note.text).ok()?.split_once('/')?;
    let number = number.parse().ok()?;
    let check = check_of(&datagram[..body_bytes]);
    // The crate overlooks padding that is not zero, so what it read is compared with what came.
    let whole = marshalled(description)[..] == datagram[body_bytes..]
        && chunk.source == report.ssrc
        && *name == item(SdesType::SdesCname, cname(press, stream))
        && *note == item(SdesType::SdesNote, note_of(number, check));
    if whole { Some((stream, number)) } else { None }
}

/// The length of the first packet, if the whole datagram is a chain of packets of known types: the
/// RTCP crate is not asked about anything else.
fn first_packet_bytes(datagram: &[u8]) -> Option<usize> {
    let mut first = None;
    let mut rest = datagram;
    while !rest.is_empty() {
        let header = rest.first_chunk::<4>()?;
        let bytes = 4 * (usize::from(u16::from_be_bytes([header[2], header[3]])) + 1);
        if header[0] >> 6 != 2 || !KNOWN_TYPES.contains(&header[1]) {
            return None;
        }
        rest = rest.get(bytes..)?;
        first.get_or_insert(bytes);
    }
    first
}

fn check_of(bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(0, |sum, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        mix(sum ^ u64::from_be_bytes(word))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::packet::Shape;

    fn press() -> Press {
        Press::new(0xfeed_0000_0000_0001, [Shape::AUDIO, Shape::video(30, 2, 1000)])
    }

    fn report() -> Bytes {
        let facts = Facts { number: 3, packets: 50, octets: 8000, ..Facts::default() };
        build(&press(), StreamId::from_number(6), facts)
    }

    #[test]
    fn a_report_is_a_compound_of_sr_and_sdes_that_is_read_back() {
        let bytes = report();
        assert_eq!(bytes[1], 200, "RFC 3550 6.1: the first packet is a report");
        assert_eq!(judge(&press(), &bytes), Some((StreamId::from_number(6), 3)));
    }

    #[test]
    fn the_ntp_time_of_1970_is_the_offset_of_rfc_868() {
        assert_eq!(ntp(500_000_000), (2_208_988_800 << 32) | 0x8000_0000);
    }

    proptest! {
        #[test]
        fn any_changed_byte_is_noticed(at in 0usize..1000, flip in 1u8..=255) {
            let mut bytes = report().to_vec();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            let judged = judge(&press(), &bytes);
            prop_assert_ne!(judged, Some((StreamId::from_number(6), 3)));
        }

        #[test]
        fn no_datagram_panics_the_judge(
            bytes in prop::collection::vec(any::<u8>(), 0..120),
            types in prop::collection::vec(200u8..206, 3),
        ) {
            let mut bytes = bytes;
            for (index, kind) in types.iter().enumerate() {
                if let Some(header) = bytes.get_mut(index * 12..index * 12 + 4) {
                    header.copy_from_slice(&[0x81, *kind, 0, 2]);
                }
            }
            prop_assert_eq!(judge(&press(), &bytes), None);
        }
    }
}
