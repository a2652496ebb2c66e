//! The arithmetic of RFC 7616 3.4.

use md5::Md5;
use sha2::{Digest, Sha256};
use smallvec::SmallVec;

use super::Secret;

/// A hash function for digests (RFC 8760).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// `MD5`, for phones that know nothing better.
    Md5,
    /// `SHA-256`.
    Sha256,
}

impl Algorithm {
    /// As in the `algorithm` parameter.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
        }
    }

    /// The algorithm of that name (any case), if it is one of ours. The `-sess` variants are not.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Algorithm> {
        [Algorithm::Md5, Algorithm::Sha256]
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// LHEX of the hash of `parts` joined with colons.
    fn hash(self, parts: &[&[u8]]) -> Hex {
        match self {
            Algorithm::Md5 => hex(&joined::<Md5>(parts)),
            Algorithm::Sha256 => hex(&joined::<Sha256>(parts)),
        }
    }
}

/// Lower-case hexadecimal digits: 64 of them for SHA-256.
pub(super) type Hex = SmallVec<[u8; 64]>;

fn joined<H: Digest>(parts: &[&[u8]]) -> sha2::digest::Output<H> {
    let mut hash = H::new();
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            hash.update(b":");
        }
        hash.update(part);
    }
    hash.finalize()
}

const fn digits(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[(byte >> 4) as usize], DIGITS[(byte & 15) as usize]]
}

/// `bytes`, 32 at most, in lower-case hexadecimal.
fn hex(bytes: &[u8]) -> Hex {
    let mut text = [0; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&digits(*byte));
    }
    Hex::from_buf_and_len(text, 2 * bytes.len().min(32))
}

/// Appends `bytes` in lower-case hexadecimal.
pub(super) fn push_hex(text: &mut String, bytes: &[u8]) {
    for [high, low] in bytes.iter().copied().map(digits) {
        text.push(char::from(high));
        text.push(char::from(low));
    }
}

/// MD5 of `username:realm:password`, for [`Secret::Ha1`].
#[must_use]
pub fn ha1_md5(user: &str, realm: &str, password: &str) -> [u8; 16] {
    joined::<Md5>(&[user.as_bytes(), realm.as_bytes(), password.as_bytes()]).into()
}

/// SHA-256 of `username:realm:password`, for [`Secret::Ha1`].
#[must_use]
pub fn ha1_sha256(user: &str, realm: &str, password: &str) -> [u8; 32] {
    joined::<Sha256>(&[user.as_bytes(), realm.as_bytes(), password.as_bytes()]).into()
}

/// H(A1) (RFC 7616 3.4.2); `None` if the secret does not hold it for this algorithm.
pub(super) fn ha1(algorithm: Algorithm, user: &str, realm: &str, secret: &Secret) -> Option<Hex> {
    match (secret, algorithm) {
        (Secret::Plain(password), _) => {
            Some(algorithm.hash(&[user.as_bytes(), realm.as_bytes(), password.as_bytes()]))
        }
        (Secret::Ha1 { md5, .. }, Algorithm::Md5) => md5.as_ref().map(|ha1| hex(ha1)),
        (Secret::Ha1 { sha256, .. }, Algorithm::Sha256) => sha256.as_ref().map(|ha1| hex(ha1)),
    }
}

/// What a response is computed over, beside H(A1).
pub(super) struct Input<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) nonce: &'a str,
    pub(super) method: &'a str,
    pub(super) uri: &'a str,
    /// nc and cnonce as sent, with `qop=auth`.
    pub(super) qop: Option<(&'a str, &'a str)>,
}

/// The request-digest (RFC 7616 3.4.1), or without qop that of RFC 2617 3.2.2.1.
pub(super) fn response(ha1: &Hex, input: &Input<'_>) -> Hex {
    let algorithm = input.algorithm;
    let ha2 = algorithm.hash(&[input.method.as_bytes(), input.uri.as_bytes()]);
    let nonce = input.nonce.as_bytes();
    match input.qop {
        Some((nc, cnonce)) => {
            algorithm.hash(&[ha1, nonce, nc.as_bytes(), cnonce.as_bytes(), b"auth", &ha2])
        }
        None => algorithm.hash(&[ha1, nonce, &ha2]),
    }
}
