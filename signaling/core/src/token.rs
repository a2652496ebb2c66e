//! Texts that carry what this node will want to know again, so that it need not remember it. They are
//! sealed: nobody else can read, make or change them.
//!
//! They are of the letters of URL-safe base64 (RFC 4648 5), which a URI's user part needs not escape.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use smallvec::SmallVec;
use subtle::ConstantTimeEq;

/// Longest text that is looked at, in bytes: room for [`BODY_BYTES_MAX`] and a MAC.
pub(crate) const TEXT_BYTES_MAX: usize = (BODY_BYTES_MAX + MAC_LEN).div_ceil(3) * 4;

/// Longest content, in bytes: URIs that carry it stay short enough for phones that copy them.
pub(crate) const BODY_BYTES_MAX: usize = 160;

/// MACs are cut to 128 bits: a forger has one try a request.
const MAC_LEN: usize = 16;

/// Of what SHA-256 gives, in bytes.
const BLOCK: usize = 32;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Content, or a token's bytes.
pub(crate) type Body = SmallVec<[u8; 64]>;

/// Makes and reads the tokens of one purpose under one secret.
#[derive(Clone)]
pub(crate) struct Tokens {
    mac: Hmac<Sha256>,
    stream: Hmac<Sha256>,
}

impl std::fmt::Debug for Tokens {
    /// Without its keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}

impl Tokens {
    /// `purpose` keeps the tokens of one use from being taken for those of another.
    pub(crate) fn new(secret: &[u8; 32], purpose: &str) -> Self {
        let keyed = |role: &[u8]| {
            let mut key = hmac(secret);
            key.update(role);
            key.update(purpose.as_bytes());
            hmac(&key.finalize().into_bytes())
        };
        Tokens { mac: keyed(b"ringfarm mac "), stream: keyed(b"ringfarm stream ") }
    }

    /// A text that hides `body`, but for its length, and is good together with `context` alone. The same
    /// of both make the same text: whoever wants them to differ puts something random in. `None`
    /// if the body is longer than [`BODY_BYTES_MAX`].
    pub(crate) fn seal(&self, context: &[u8], body: &[u8]) -> Option<String> {
        // The MAC of the content is what its encryption starts from (as in RFC 5297), so that no
        // content is encrypted with a stream that another has used.
        let mac = self.mac_of(context, body)?;
        let mut hidden = Body::from_slice(body);
        self.encrypt(&mac, &mut hidden);
        Some(encode(&[&mac[..], &hidden].concat()))
    }

    /// What [`Tokens::seal`] was given with `context`; `None` if it never made this text with it.
    pub(crate) fn open(&self, context: &[u8], text: &str) -> Option<Body> {
        let mut token = decode(text)?;
        let mac = split(&mut token)?;
        self.encrypt(&mac, &mut token);
        let right = self.mac_of(context, &token)?;
        bool::from(right.ct_eq(&mac)).then_some(token)
    }

    fn mac_of(&self, context: &[u8], body: &[u8]) -> Option<[u8; MAC_LEN]> {
        if body.len() > BODY_BYTES_MAX {
            return None;
        }
        let mut mac = self.mac.clone();
        // The length keeps the end of the one from being taken for the beginning of the other.
        mac.update(&(context.len() as u64).to_be_bytes());
        mac.update(context);
        mac.update(body);
        mac.finalize().into_bytes().first_chunk().copied()
    }

    /// Adds the stream that `start` gives; twice is nothing.
    fn encrypt(&self, start: &[u8; MAC_LEN], body: &mut [u8]) {
        for (count, block) in (0_u8..).zip(body.chunks_mut(BLOCK)) {
            let mut stream = self.stream.clone();
            stream.update(start);
            stream.update(&[count]);
            for (byte, key) in block.iter_mut().zip(stream.finalize().into_bytes()) {
                *byte ^= key;
            }
        }
    }
}

fn hmac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

/// Takes the MAC off the front.
fn split(token: &mut Body) -> Option<[u8; MAC_LEN]> {
    let mac = *token.first_chunk()?;
    token.drain(..MAC_LEN);
    Some(mac)
}

fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0, |group, &byte| group << 8 | usize::from(byte));
        let group = group << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            text.push(char::from(ALPHABET[group >> (18 - 6 * digit) & 63]));
        }
    }
    text
}

/// Reads back what [`encode`] wrote, and nothing that it would write otherwise.
fn decode(text: &str) -> Option<Body> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let mut bytes = Body::new();
    for chunk in text.as_bytes().chunks(4) {
        let mut group = 0_u32;
        for &letter in chunk {
            group = group << 6 | u32::from(value(letter)?);
        }
        group <<= 6 * (4 - chunk.len());
        let [_, whole @ ..] = group.to_be_bytes();
        let (taken, rest) = whole.split_at(chunk.len() - 1);
        if taken.is_empty() || rest.iter().any(|&left| left != 0) {
            return None;
        }
        bytes.extend_from_slice(taken);
    }
    Some(bytes)
}

const fn value(letter: u8) -> Option<u8> {
    match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        0..=u8::MAX => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(secret: u8) -> Tokens {
        Tokens::new(&[secret; 32], "test")
    }

    #[test]
    fn what_was_sealed_is_read_back_at_any_length() {
        for len in 0..=BODY_BYTES_MAX {
            let body: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let sealed = tokens(1).seal(b"", &body).unwrap();
            assert!(sealed.len() <= TEXT_BYTES_MAX);
            assert_eq!(tokens(1).open(b"", &sealed).unwrap()[..], body);
        }
        assert_eq!(tokens(1).seal(b"", &[0; BODY_BYTES_MAX + 1]), None);
    }

    #[test]
    fn a_sealed_text_shows_nothing_of_its_content() {
        let sealed = tokens(1).seal(b"", &[7; 64]).unwrap();
        let bytes = decode(&sealed).unwrap();
        assert!(!bytes.windows(4).any(|w| w == [7; 4]), "{bytes:?}");
        // Two that differ in one byte have nothing in common.
        let mut other = [7; 64];
        other[63] = 8;
        let other = decode(&tokens(1).seal(b"", &other).unwrap()).unwrap();
        let same = bytes.iter().zip(&other).filter(|(a, b)| a == b).count();
        assert!(same < 8, "{same}");
    }

    #[test]
    fn no_letter_can_be_changed_dropped_or_added() {
        let open = |text: &str| tokens(1).open(b"", text);
        let good = tokens(1).seal(b"", b"something to be sure of").unwrap();
        for at in 0..good.len() {
            let mut forged = good.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(open(&forged), None, "{forged}");
            assert_eq!(open(&good[..at]), None, "{}", &good[..at]);
        }
        for wrong in [format!("{good}A"), good.repeat(20), "not/base64+".to_owned()] {
            assert_eq!(open(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn another_secret_another_purpose_and_another_context_are_refused() {
        let sealed = tokens(1).seal(b"ab", b"c").unwrap();
        for other in [tokens(2), Tokens::new(&[1; 32], "else")] {
            assert_eq!(other.open(b"ab", &sealed), None);
        }
        for context in [&b""[..], b"a", b"abc"] {
            assert_eq!(tokens(1).open(context, &sealed), None);
        }
        assert_eq!(tokens(1).open(b"ab", &sealed).unwrap()[..], *b"c");
    }
}
