//! What comes back: counted by class, and requests answered as a phone that is busy would.

use std::collections::BTreeMap;

use memchr::memmem;

use crate::mutate::mutator::mutate;
use crate::mutate::rng::Rng;

/// What a response starts with; a Via has no blank there.
const STATUS: &[u8] = b"SIP/2.0 ";

/// One answer in so many is mutated: it is one that the node waits for.
const MUTATED_ONE_IN: usize = 4;

/// How often what came back.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    pub(super) classes: BTreeMap<&'static str, u64>,
}

impl Answers {
    fn count(&mut self, class: &'static str) {
        *self.classes.entry(class).or_default() += 1;
    }

    /// Counts the responses in what a connection gave. One that two reads divide may be missed.
    pub(super) fn read_stream(&mut self, bytes: &[u8]) {
        for at in memmem::find_iter(bytes, STATUS) {
            self.count(class(bytes.get(at + STATUS.len())));
        }
    }

    /// Counts a datagram. A request is to be answered with what this returns.
    pub(super) fn read_datagram(&mut self, rng: &mut Rng, bytes: &[u8]) -> Option<Vec<u8>> {
        if bytes.starts_with(STATUS) {
            self.count(class(bytes.get(STATUS.len())));
            return None;
        }
        self.count("requests");
        if bytes.starts_with(b"ACK ") {
            return None;
        }
        let mut answer = busy(bytes);
        if rng.below(MUTATED_ONE_IN) == 0 {
            mutate(rng, &mut answer, bytes);
        }
        Some(answer)
    }
}

const fn class(digit: Option<&u8>) -> &'static str {
    match digit {
        Some(b'1') => "1xx",
        Some(b'2') => "2xx",
        Some(b'3') => "3xx",
        Some(b'4') => "4xx",
        Some(b'5') => "5xx",
        Some(b'6') => "6xx",
        Some(_) | None => "other",
    }
}

/// Headers that a response repeats (RFC 3261 8.2.6.2), short forms included.
const REPEATED: [&[u8]; 9] = [b"via", b"v", b"from", b"f", b"to", b"t", b"call-id", b"i", b"cseq"];

/// 486 to a request, however odd that is.
fn busy(request: &[u8]) -> Vec<u8> {
    let mut answer = b"SIP/2.0 486 Busy Here\r\n".to_vec();
    let mut repeated = false;
    for line in request.split_inclusive(|&byte| byte == b'\n').skip(1) {
        if line.iter().all(u8::is_ascii_whitespace) {
            break;
        }
        let folded = line.first().is_some_and(u8::is_ascii_whitespace);
        if !folded {
            let name = line.split(|&byte| byte == b':').next().unwrap_or_default().trim_ascii();
            repeated = REPEATED.iter().any(|known| known.eq_ignore_ascii_case(name));
        }
        if repeated {
            answer.extend_from_slice(line);
        }
    }
    answer.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_class() {
        let mut answers = Answers::default();
        answers.read_stream(b"SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP a\r\n\r\nSIP/2.0 404 x\r\n\r\n");
        let mut rng = Rng::new(1);
        assert_eq!(answers.read_datagram(&mut rng, b"SIP/2.0 503 x\r\n\r\n"), None);
        assert!(answers.read_datagram(&mut rng, b"INVITE x SIP/2.0\r\n\r\n").is_some());
        let counted: Vec<_> = answers.classes.into_iter().collect();
        assert_eq!(counted, [("2xx", 1), ("4xx", 1), ("5xx", 1), ("requests", 1)]);
    }

    #[test]
    fn a_request_is_refused_with_what_names_it() {
        let request =
            b"INVITE sip:a SIP/2.0\r\nv: SIP/2.0/UDP b\r\n ;branch=1\r\nSubject: x\r\n y\r\n\
            CSeq : 1 INVITE\r\n\r\nv=0\r\n";
        let expected = "SIP/2.0 486 Busy Here\r\nv: SIP/2.0/UDP b\r\n ;branch=1\r\nCSeq : 1 INVITE\r\n\
            Content-Length: 0\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&busy(request)), expected);
    }
}
