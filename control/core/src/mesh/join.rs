//! How a node becomes a member: a token that names whom to ask, what to ask, what is given.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::head::bytes;
use crate::cluster::MemberName;

/// Longest certificate, and longest request for one, in bytes: several times what ours have.
pub const CERTIFICATE_BYTES_MAX: usize = 4 << 10;

/// Names a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenId(pub [u8; 8]);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What makes a token one.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenSecret(pub [u8; 16]);

/// What tokens of the cluster are proved by.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterSecret(pub [u8; 32]);

/// Secrets are shown to nobody.
macro_rules! hidden {
    ($($Name:ident),+) => {$(
        impl fmt::Debug for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($Name), "(secret)"))
            }
        }
    )+};
}

hidden!(TokenSecret, ClusterSecret);

/// What an operator carries from a member to the node that is to become one. Written as
/// `rf1-` and hexadecimal digits, the last eight of which tell a slip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// Where the member that made it is reached.
    pub address: SocketAddr,
    /// SHA-256 of the certificate that vouches for the cluster's members: the node speaks to nobody else.
    pub ca: [u8; 32],
    /// Which token it is.
    pub id: TokenId,
    /// What proves it.
    pub secret: TokenSecret,
}

const PREFIX: &str = "rf1-";
/// Longest token, in characters: an IPv6 address, 57 bytes more, and the check.
const TOKEN_CHARS_MAX: usize = PREFIX.len() + 2 * (20 + 32 + 8 + 16 + CHECK_BYTES);
const CHECK_BYTES: usize = 4;

/// Why a text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAToken {
    /// It does not begin like one, or is too long.
    #[error("this is not a token; `ringfarm cluster token`, on a member, makes one")]
    Other,
    /// A part is missing or differs.
    #[error("the token is damaged: copy the whole of it, as `ringfarm cluster token` printed it")]
    Damaged,
}

impl JoinToken {
    /// Reads one; white space around it does not matter.
    ///
    /// # Errors
    /// If it is none, or not all of it.
    pub fn parse(text: &str) -> Result<JoinToken, NotAToken> {
        let digits = text.trim().strip_prefix(PREFIX).ok_or(NotAToken::Other)?;
        if text.trim().len() > TOKEN_CHARS_MAX {
            return Err(NotAToken::Other);
        }
        let bytes = unhex(digits).ok_or(NotAToken::Damaged)?;
        let (content, given) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or(NotAToken::Damaged)?;
        if check(content) != *given {
            return Err(NotAToken::Damaged);
        }
        match postcard::take_from_bytes(content) {
            Ok((token, [])) => Ok(token),
            Ok(_) | Err(_) => Err(NotAToken::Damaged),
        }
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::new();
        super::codec::write(self, &mut bytes);
        let check = check(&bytes);
        f.write_str(PREFIX)?;
        bytes.iter().chain(&check).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// FNV-1a, 32 bits: against slips, not against people.
fn check(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let step = |sum: u32, byte: &u8| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    bytes.iter().fold(0x811c_9dc5, step).to_be_bytes()
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let [high, low] = <[u8; 2]>::try_from(pair).ok()?;
            let digit = |digit: u8| char::from(digit).to_digit(16);
            u8::try_from(digit(high)? << 4 | digit(low)?).ok()
        })
        .collect()
}

/// A node asks to become a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinAsk {
    /// The token's name.
    pub id: TokenId,
    /// What proves it.
    pub secret: TokenSecret,
    /// The name that it would have.
    pub name: MemberName,
    /// A request for a certificate (PKCS 10, DER), by which the node shows that it has the key.
    #[serde(deserialize_with = "bytes::<_, CERTIFICATE_BYTES_MAX>")]
    pub request: Vec<u8>,
}

/// What a new member is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its certificate (DER).
    #[serde(deserialize_with = "bytes::<_, CERTIFICATE_BYTES_MAX>")]
    pub certificate: Vec<u8>,
    /// The one that vouches for it, and for the other members (DER).
    #[serde(deserialize_with = "bytes::<_, CERTIFICATE_BYTES_MAX>")]
    pub ca: Vec<u8>,
    /// What all members share.
    pub secret: ClusterSecret,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(address: &str) -> JoinToken {
        let address = address.parse().expect("an address");
        let (id, secret) = (TokenId([3; 8]), TokenSecret([4; 16]));
        JoinToken { address, ca: [9; 32], id, secret }
    }

    #[test]
    fn a_token_is_read_as_it_was_written() {
        for address in ["192.0.2.7:7443", "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535"] {
            let text = token(address).to_string();
            assert_eq!(JoinToken::parse(&format!(" {text}\n")), Ok(token(address)));
        }
    }

    #[test]
    fn a_damaged_token_is_told_from_what_is_none() {
        let text = token("192.0.2.7:7443").to_string();
        let mut swapped = text.clone().into_bytes();
        swapped.swap(20, 101);
        let swapped = String::from_utf8(swapped).expect("digits");
        let half = &text[..text.len() / 2];
        for damaged in [&swapped, half, &text[..text.len() - 1], "rf1-", "rf1-xy", "rf1-é"] {
            let wanted =
                if damaged == text { Ok(token("192.0.2.7:7443")) } else { Err(NotAToken::Damaged) };
            assert_eq!(JoinToken::parse(damaged), wanted, "{damaged}");
        }
        for other in ["", "hello", &format!("rf1-{}", "00".repeat(500))] {
            assert_eq!(JoinToken::parse(other), Err(NotAToken::Other), "{other}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?} {:?}", token("192.0.2.7:1"), ClusterSecret([7; 32]));
        assert!(!shown.contains("4, 4") && !shown.contains("7, 7"), "{shown}");
    }
}
