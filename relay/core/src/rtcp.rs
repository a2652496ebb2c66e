//! What a relay reads of the RTCP that passes through it (RFC 3550 6.4): when sender reports were
//! sent and how long their receivers kept them. SRTCP encrypts this; what is read of it then matches
//! nothing.

/// RFC 3550 6.4: version, type and length, then the sender's SSRC.
const HEADER_BYTES: usize = 8;
/// RFC 3550 6.4.1: NTP and RTP timestamps, packet and octet counts.
const SENDER_INFO_BYTES: usize = 20;
/// RFC 3550 6.4.1.
const BLOCK_BYTES: usize = 24;
const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
/// Packets of one compound that are looked at. RFC 3550 6.1 has reports first.
const PACKETS_MAX: usize = 8;

/// The middle 32 bits of an NTP timestamp: units of 1/65,536 s (RFC 3550 4).
pub(crate) type ShortNtp = u32;

/// One thing that a compound packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// A sender report was sent at this time of its sender's.
    Sent(ShortNtp),
    /// A receiver kept the sender report of that time for so long before it answered.
    Answered { report: ShortNtp, kept: ShortNtp },
}

/// Calls `each` for everything of interest. Stops at the first thing that is not well-formed.
pub(crate) fn read(compound: &[u8], mut each: impl FnMut(Item)) {
    let mut rest = compound;
    for _ in 0..PACKETS_MAX {
        let Some((packet, after)) = next(rest) else { return };
        rest = after;
        let blocks = usize::from(packet[0] & 0x1f);
        let reports = match packet[1] {
            SENDER_REPORT => {
                let Some(time) = word(packet, HEADER_BYTES + 2) else { return };
                each(Item::Sent(time));
                packet.get(HEADER_BYTES + SENDER_INFO_BYTES..)
            }
            RECEIVER_REPORT => packet.get(HEADER_BYTES..),
            _ => continue,
        };
        for block in reports.unwrap_or_default().chunks_exact(BLOCK_BYTES).take(blocks) {
            // RFC 3550 6.4.1: 0 where no sender report has come yet.
            if let (Some(report @ 1..), Some(kept)) = (word(block, 16), word(block, 20)) {
                each(Item::Answered { report, kept });
            }
        }
    }
}

/// The first packet of a compound, at least its header, and what follows.
fn next(compound: &[u8]) -> Option<(&[u8], &[u8])> {
    let [first, _, high, low] = *compound.first_chunk()?;
    let length = (usize::from(u16::from_be_bytes([high, low])) + 1) * 4;
    if first >> 6 != 2 || length < HEADER_BYTES {
        return None;
    }
    compound.split_at_checked(length)
}

fn word(bytes: &[u8], place: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(place..)?.first_chunk()?))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sender_report(time: ShortNtp, blocks: &[(ShortNtp, ShortNtp)]) -> Vec<u8> {
        let mut packet = vec![0x80 | blocks.len() as u8, SENDER_REPORT];
        packet.extend((6 + 6 * blocks.len() as u16).to_be_bytes());
        packet.extend([0, 0, 0, 1]);
        packet.extend((u64::from(time) << 16).to_be_bytes());
        packet.extend([0; 12]);
        add_blocks(&mut packet, blocks);
        packet
    }

    pub(crate) fn receiver_report(blocks: &[(ShortNtp, ShortNtp)]) -> Vec<u8> {
        let mut packet = vec![0x80 | blocks.len() as u8, RECEIVER_REPORT];
        packet.extend((1 + 6 * blocks.len() as u16).to_be_bytes());
        packet.extend([0, 0, 0, 2]);
        add_blocks(&mut packet, blocks);
        packet
    }

    fn add_blocks(packet: &mut Vec<u8>, blocks: &[(ShortNtp, ShortNtp)]) {
        for (report, kept) in blocks {
            packet.extend([0; 16]);
            packet.extend(report.to_be_bytes());
            packet.extend(kept.to_be_bytes());
        }
    }

    fn items(compound: &[u8]) -> Vec<Item> {
        let mut items = vec![];
        read(compound, |item| items.push(item));
        items
    }

    /// RFC 3550 6.4.1 and 6.4.2, in one compound with a source description between.
    #[test]
    fn reports_and_their_blocks_are_read() {
        let mut compound = sender_report(7, &[(5, 6), (0, 9)]);
        compound.extend([0x81, 202, 0, 1, 0, 0, 0, 1]);
        compound.extend(receiver_report(&[(3, 4)]));
        let answered = |report, kept| Item::Answered { report, kept };
        assert_eq!(items(&compound), [Item::Sent(7), answered(5, 6), answered(3, 4)]);
    }

    #[test]
    fn what_is_cut_short_or_claims_too_much_is_read_as_far_as_it_goes() {
        let whole = sender_report(7, &[(5, 6)]);
        for length in 0..whole.len() {
            assert_eq!(items(&whole[..length]), []);
        }
        let mut claims = receiver_report(&[(5, 6)]);
        claims[0] |= 0x1f;
        assert_eq!(items(&claims), [Item::Answered { report: 5, kept: 6 }]);
        assert_eq!(items(&[0x80, 200, 0, 0, 0x80, 200, 0, 0]), []);
        assert_eq!(items(&[0x80, 200, 0, 1, 0, 0, 0, 1]), []);
        let many = receiver_report(&[]).repeat(1000);
        assert_eq!(items(&many), []);
    }
}
