//! STUN Binding requests on SIP's UDP ports (RFC 8489, RFC 5626 4.4.2 and 5.4): a phone behind a NAT
//! asks for its address, and keeps the NAT's binding by that.
//!
//! What stands here is the "basic server" of RFC 8489 12.1: no authentication, no ALTERNATE-SERVER. An
//! answer says nothing that its receiver could not see itself, and is at most 2.2 times as large as the
//! request, so that a forged source address gains nothing.

use std::net::{IpAddr, SocketAddr};

/// Bytes before the attributes.
const HEADER_BYTES: usize = 20;

/// In every STUN message (RFC 8489 5).
const MAGIC_COOKIE: u32 = 0x2112_a442;

const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;

const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;

/// Attributes from this type on may be ignored by who does not know them (RFC 8489 14).
const OPTIONAL: u16 = 0x8000;

/// Credentials of a client that sends some unasked; this server wants none: USERNAME, MESSAGE-INTEGRITY,
/// REALM, NONCE, and RFC 8489's MESSAGE-INTEGRITY-SHA256, PASSWORD-ALGORITHM and USERHASH.
const IGNORED: [u16; 7] = [0x0006, MESSAGE_INTEGRITY, 0x0014, 0x0015, 0x001c, 0x001d, 0x001e];

/// Most unknown attributes that are named in an answer, which bounds its size.
const UNKNOWN_MAX: usize = 4;

/// Whether a datagram is STUN and not SIP: SIP's first octet is a letter, STUN's first two bits are 0, and
/// the magic cookie is there.
#[must_use]
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER_BYTES
        && datagram[0] & 0xc0 == 0
        && datagram[4..8] == MAGIC_COOKIE.to_be_bytes()
}

/// The answer to a datagram that [`is_stun`], which came from `source`; `None` if it is malformed or no
/// Binding request, and goes unanswered.
#[must_use]
pub fn answer(datagram: &[u8], source: SocketAddr) -> Option<Vec<u8>> {
    let request = Request::parse(datagram)?;
    let mut answer = Writer::new(request.transaction);
    if request.unknown.is_empty() {
        answer.mapped_address(source);
        return Some(answer.finish(BINDING_SUCCESS));
    }
    answer.attribute(ERROR_CODE, &[0, 0, 4, 20]);
    let unknown: Vec<u8> = request.unknown.iter().flat_map(|kind| kind.to_be_bytes()).collect();
    answer.attribute(UNKNOWN_ATTRIBUTES, &unknown);
    Some(answer.finish(BINDING_ERROR))
}

/// A Binding request.
struct Request<'d> {
    /// The magic cookie and the transaction's identifier.
    transaction: &'d [u8],
    /// What has to be understood (RFC 8489 6.3.1), as far as it is named in an answer.
    unknown: Vec<u16>,
}

impl Request<'_> {
    fn parse(datagram: &[u8]) -> Option<Request<'_>> {
        let (header, mut rest) = datagram.split_at_checked(HEADER_BYTES)?;
        let length = usize::from(number(header, 2)?);
        if !is_stun(datagram) || number(header, 0)? != BINDING_REQUEST || length != rest.len() {
            return None;
        }
        let mut request = Request { transaction: &header[4..], unknown: Vec::new() };
        while !rest.is_empty() {
            let (kind, length) = (number(rest, 0)?, usize::from(number(rest, 2)?));
            // Values are padded to four bytes.
            rest = rest.get(4 + length.next_multiple_of(4)..)?;
            let is_known = kind >= OPTIONAL || IGNORED.contains(&kind);
            if !is_known && request.unknown.len() < UNKNOWN_MAX {
                request.unknown.push(kind);
            }
        }
        Some(request)
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// Writes an answer.
struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn new(transaction: &[u8]) -> Writer {
        // The largest: an IPv6 address.
        let mut bytes = Vec::with_capacity(HEADER_BYTES + 24);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(transaction);
        Writer { bytes }
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend_from_slice(&kind.to_be_bytes());
        self.number(value.len());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// RFC 8489 14.2: hidden from NATs that replace what looks like an address.
    fn mapped_address(&mut self, address: SocketAddr) {
        let key: Vec<u8> = self.bytes[4..HEADER_BYTES].to_vec();
        let (family, ip) = match address.ip().to_canonical() {
            IpAddr::V4(ip) => (1, ip.octets().to_vec()),
            IpAddr::V6(ip) => (2, ip.octets().to_vec()),
        };
        let port = address.port().to_be_bytes();
        let mut value = vec![0, family, port[0] ^ key[0], port[1] ^ key[1]];
        value.extend(ip.iter().zip(&key).map(|(byte, key)| byte ^ key));
        self.attribute(XOR_MAPPED_ADDRESS, &value);
    }

    fn number(&mut self, number: usize) {
        let number = u16::try_from(number).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&number.to_be_bytes());
    }

    fn finish(mut self, kind: u16) -> Vec<u8> {
        let length = u16::try_from(self.bytes.len() - HEADER_BYTES).unwrap_or(u16::MAX);
        self.bytes[..2].copy_from_slice(&kind.to_be_bytes());
        self.bytes[2..4].copy_from_slice(&length.to_be_bytes());
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5769 2.1: a request with SOFTWARE, PRIORITY, ICE-CONTROLLED, USERNAME, MESSAGE-INTEGRITY
    /// and FINGERPRINT.
    const SAMPLE: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e2074657374\
                          20636c69656e74002400046e0001ff80290008932ff9b151263b36000600096576746a\
                          3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004\
                          e57a3bcf";

    /// RFC 5769 2.2 and 2.3: the XOR-MAPPED-ADDRESS attributes of 192.0.2.1:32853 and of
    /// [2001:db8:1234:5678:11:2233:4455:6677]:32853 for the transaction of 2.1.
    const MAPPED_V4: &str = "002000080001a147e112a643";
    const MAPPED_V6: &str = "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9";

    const TRANSACTION: &str = "2112a442b7e7a701bc34d686fa87dfae";

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
        digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// A Binding request with these attributes.
    fn request(attributes: &str) -> Vec<u8> {
        let attributes = hex(attributes);
        let mut bytes = hex("0001");
        bytes.extend((attributes.len() as u16).to_be_bytes());
        bytes.extend(hex(TRANSACTION));
        bytes.extend(attributes);
        bytes
    }

    /// RFC 5769 2.2, 2.3 without what only agents with credentials send.
    #[test]
    fn a_binding_request_is_told_its_source() {
        for (source, mapped) in [
            ("192.0.2.1:32853", MAPPED_V4),
            ("[2001:db8:1234:5678:11:2233:4455:6677]:32853", MAPPED_V6),
            ("[::ffff:192.0.2.1]:32853", MAPPED_V4),
        ] {
            let mapped = hex(mapped);
            let mut wanted = hex("0101");
            wanted.extend((mapped.len() as u16).to_be_bytes());
            wanted.extend(hex(TRANSACTION));
            wanted.extend(mapped);
            let got = answer(&request(""), address(source));
            assert_eq!(got.as_deref(), Some(&wanted[..]), "{source}");
        }
    }

    /// RFC 8489 6.3.1.1: PRIORITY (0x0024) of the sample is unknown to a server without ICE; what is
    /// optional, and credentials, are passed over.
    #[test]
    fn what_has_to_be_understood_and_is_not_is_answered_420() {
        let sample = hex(SAMPLE);
        assert_eq!(sample.len(), 108);
        let mut wanted = hex("01110010");
        wanted.extend(hex(TRANSACTION));
        wanted.extend(hex("00090004000004 14 000a0002 0024 0000"));
        assert_eq!(answer(&sample, address("192.0.2.1:32853")).unwrap(), wanted);
        let credentials = request("000600096576746a3a68367659202020 80220000");
        assert_eq!(answer(&credentials, address("192.0.2.1:1")).unwrap()[..2], hex("0101"));
    }

    /// No answer is much larger than what asked for it, whatever asked: an address can be forged.
    #[test]
    fn answers_are_small() {
        for count in 0..100 {
            let attributes: String = (0..count).map(|n| format!("01{n:02x}0000")).collect();
            let request = request(&attributes);
            let answer = answer(&request, address("[2001:db8::1]:5060")).unwrap();
            assert!(answer.len() * 10 <= request.len() * 22, "{count}");
        }
    }

    /// RFC 8489 6.3: what is no well-formed Binding request goes unanswered.
    #[test]
    fn what_is_malformed_or_no_request_goes_unanswered() {
        let source = address("192.0.2.1:1");
        let sample = hex(SAMPLE);
        for cut in 0..sample.len() {
            assert_eq!(answer(&sample[..cut], source), None, "{cut}");
        }
        // An indication, a response, and another method.
        for kind in ["0011", "0101", "0111", "0003"] {
            let other = [hex(kind), request("")[2..].to_vec()].concat();
            assert!(is_stun(&other) && answer(&other, source).is_none(), "{kind}");
        }
        // An attribute that ends behind the message.
        assert_eq!(answer(&request("8022 0005 00000000"), source), None);
        assert_eq!(answer(&request("802200"), source), None);
        assert_eq!(answer(&[request(""), vec![0]].concat(), source), None);
    }

    /// RFC 5626 4.4.2: both arrive on one port and are told apart.
    #[test]
    fn sip_is_not_taken_for_stun() {
        assert!(is_stun(&request("")));
        for sip in ["OPTIONS sip:a SIP/2.0\r\n\r\n", "SIP/2.0 200 OK\r\n\r\n", "\r\n\r\n"] {
            assert!(!is_stun(sip.as_bytes()));
        }
        // RFC 3489, without the cookie.
        let mut old = request("");
        old[4] = 0;
        assert!(!is_stun(&old));
    }

    proptest::proptest! {
        #[test]
        fn any_attributes_are_survived(
            attributes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)
        ) {
            let text: String = attributes.iter().map(|byte| format!("{byte:02x}")).collect();
            let _ = answer(&request(&text), address("192.0.2.1:1"));
        }
    }
}
