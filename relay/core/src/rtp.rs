//! Telling apart what shares a media port (RFC 7983, RFC 5761) and reading RTP's fixed header.

/// The fields of RTP's fixed header (RFC 3550 5.1) that a relay looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RtpHeader {
    pub(crate) payload_type: u8,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
}

/// What a datagram on a media port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Datagram {
    Rtp(RtpHeader),
    /// A compound RTCP packet or SRTCP; the SSRC is that of its first part's sender.
    Rtcp {
        ssrc: u32,
    },
    /// A DTLS record; `handshake`: of a type that a handshake begins with (RFC 6347 4.1).
    Dtls {
        handshake: bool,
    },
    Stun,
    Unknown,
}

/// RFC 3550 5.1: twelve bytes without contributing sources.
const RTP_HEADER_BYTES: usize = 12;
/// RFC 3550 6.4: header word and sender's SSRC.
const RTCP_BYTES_MIN: usize = 8;
/// RFC 6347 4.1: type, version, epoch, sequence number, length.
const DTLS_HEADER_BYTES: usize = 13;
const DTLS_HANDSHAKE: u8 = 22;

/// Looks at the first bytes only. RTCP is recognised by its packet type as RFC 5761 4 says, which
/// is why RTP payload types 64..=95 cannot be used with a marker bit.
pub(crate) fn classify(payload: &[u8]) -> Datagram {
    match payload.first() {
        Some(0..=3) => Datagram::Stun,
        Some(20..=63) => dtls(payload),
        Some(128..=191) => match payload.get(1) {
            Some(192..=223) => rtcp(payload),
            Some(_) => rtp(payload),
            None => Datagram::Unknown,
        },
        _ => Datagram::Unknown,
    }
}

fn dtls(payload: &[u8]) -> Datagram {
    // DTLS 1.0 and 1.2 write their versions as 254.255 and 254.253, 1.3 keeps the latter.
    let handshake =
        payload.len() >= DTLS_HEADER_BYTES && payload[0] == DTLS_HANDSHAKE && payload[1] == 254;
    Datagram::Dtls { handshake }
}

fn rtcp(payload: &[u8]) -> Datagram {
    match payload.get(4..RTCP_BYTES_MIN).and_then(|bytes| bytes.try_into().ok()) {
        Some(ssrc) => Datagram::Rtcp { ssrc: u32::from_be_bytes(ssrc) },
        None => Datagram::Unknown,
    }
}

fn rtp(payload: &[u8]) -> Datagram {
    let Some(header) = payload.first_chunk::<RTP_HEADER_BYTES>() else { return Datagram::Unknown };
    let [first, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *header;
    let contributing = usize::from(first & 0x0f) * 4;
    if payload.len() < RTP_HEADER_BYTES + contributing {
        return Datagram::Unknown;
    }
    Datagram::Rtp(RtpHeader {
        payload_type: second & 0x7f,
        sequence: u16::from_be_bytes([s0, s1]),
        timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
        ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
    })
}

/// Comfort noise (RFC 3389 4, RFC 3551 6): speech pauses, and perhaps nothing follows for long.
pub(crate) const COMFORT_NOISE: u8 = 13;

/// The clock rate in Hz that a static payload type stands for (RFC 3551 6, tables 4 and 5).
pub(crate) const fn static_clock_rate(payload_type: u8) -> Option<u32> {
    match payload_type {
        6 => Some(16_000),
        10 | 11 => Some(44_100),
        14 | 25 | 26 | 28 | 31..=34 => Some(90_000),
        16 => Some(11_025),
        17 => Some(22_050),
        0..=5 | 7..=9 | 12 | 13 | 15 | 18 => Some(8_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(first: u8, second: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![first, second, 0x12, 0x34, 0, 0, 1, 0, 0xaa, 0xbb, 0xcc, 0xdd];
        bytes.resize(length, 0);
        bytes
    }

    /// RFC 3550 5.1.
    #[test]
    fn the_fixed_header_is_read() {
        let header =
            RtpHeader { payload_type: 8, sequence: 0x1234, timestamp: 256, ssrc: 0xaabb_ccdd };
        assert_eq!(classify(&packet(0x80, 0x88, 172)), Datagram::Rtp(header));
    }

    /// RFC 7983 7.
    #[test]
    fn what_shares_the_port_is_told_apart_by_the_first_byte() {
        assert_eq!(classify(&packet(0, 1, 20)), Datagram::Stun);
        assert_eq!(classify(&packet(22, 254, 13)), Datagram::Dtls { handshake: true });
        assert_eq!(classify(&packet(23, 254, 13)), Datagram::Dtls { handshake: false });
        assert_eq!(classify(&packet(22, 3, 13)), Datagram::Dtls { handshake: false });
        assert_eq!(classify(&packet(64, 0, 20)), Datagram::Unknown);
        assert_eq!(classify(&packet(16, 0, 20)), Datagram::Unknown);
        assert_eq!(classify(&packet(192, 0, 20)), Datagram::Unknown);
    }

    /// RFC 5761 4: packet types 192 to 223 are RTCP, everything else RTP.
    #[test]
    fn rtcp_is_recognised_by_its_packet_type() {
        for packet_type in [192, 200, 207, 223] {
            let mut bytes = packet(0x80, packet_type, 8);
            bytes[4..8].copy_from_slice(&[1, 2, 3, 4]);
            assert_eq!(classify(&bytes), Datagram::Rtcp { ssrc: 0x0102_0304 });
        }
        for packet_type in [191, 224] {
            assert!(matches!(classify(&packet(0x80, packet_type, 12)), Datagram::Rtp(_)));
        }
    }

    #[test]
    fn what_is_cut_short_is_neither() {
        assert_eq!(classify(&[]), Datagram::Unknown);
        assert_eq!(classify(&[0x80]), Datagram::Unknown);
        assert_eq!(classify(&packet(0x80, 0, 11)[..11]), Datagram::Unknown);
        assert_eq!(classify(&packet(0x82, 0, 19)), Datagram::Unknown);
        assert_eq!(classify(&packet(0x80, 200, 7)[..7]), Datagram::Unknown);
    }
}
