//! Nonces that any holder of the secret can verify without having issued them.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::digest::push_hex;

/// Separates this use of the secret from any other.
const PURPOSE: &[u8] = b"ringfarm digest nonce";

/// When issued (8 bytes), random (8 bytes).
const BODY_LEN: usize = 16;

/// The MAC is cut to 128 bits: a forger has one try a request.
const MAC_LEN: usize = 16;

const NONCE_LEN: usize = BODY_LEN + MAC_LEN;

/// What a nonce says, once its MAC was found right. Ordered by the time of issue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Nonce {
    /// Milliseconds since the Unix epoch.
    pub(super) issued_ms: u64,
    /// Tells apart those of the same millisecond.
    pub(super) random: u64,
}

/// Makes and verifies nonces under one secret.
pub(super) struct Mint {
    mac: Hmac<Sha256>,
}

impl Mint {
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
        mac.update(PURPOSE);
        Mint { mac }
    }

    /// The text of a nonce for `realm`: 64 hexadecimal digits.
    pub(super) fn issue(&self, nonce: Nonce, realm: &str) -> String {
        let body = body(nonce);
        let mac = self.mac(&body, realm).finalize().into_bytes();
        let mut text = String::with_capacity(2 * NONCE_LEN);
        push_hex(&mut text, &body);
        push_hex(&mut text, &mac[..MAC_LEN]);
        text
    }

    /// What the nonce says, if it was issued under this secret for `realm`.
    pub(super) fn verify(&self, text: &str, realm: &str) -> Option<Nonce> {
        let bytes = unhex(text)?;
        let (body, mac) = bytes.split_at(BODY_LEN);
        self.mac(body, realm).verify_truncated_left(mac).ok()?;
        let (issued, random) = body.split_at(BODY_LEN / 2);
        Some(Nonce {
            issued_ms: u64::from_be_bytes(issued.try_into().ok()?),
            random: u64::from_be_bytes(random.try_into().ok()?),
        })
    }

    fn mac(&self, body: &[u8], realm: &str) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(body);
        mac.update(realm.as_bytes());
        mac
    }
}

fn body(nonce: Nonce) -> [u8; BODY_LEN] {
    (u128::from(nonce.issued_ms) << 64 | u128::from(nonce.random)).to_be_bytes()
}

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Reads back what `push_hex` wrote.
fn unhex(text: &str) -> Option<[u8; NONCE_LEN]> {
    if text.len() != 2 * NONCE_LEN {
        return None;
    }
    let mut bytes = [0; NONCE_LEN];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(digits[0])? << 4 | digit(digits[1])?;
    }
    Some(bytes)
}
