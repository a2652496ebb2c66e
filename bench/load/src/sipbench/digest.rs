//! Digest answers (RFC 2617, MD5) with everything in them that does not change computed once.

use std::fmt::Write as _;

use md5::{Digest, Md5};

/// Hexadecimal digits of a digest.
pub(crate) type Hex = [u8; 32];

/// What a registrar asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub(crate) realm: String,
    pub(crate) nonce: String,
    opaque: Option<String>,
    qop_auth: bool,
}

impl Challenge {
    /// Reads the value of a WWW-Authenticate; `None` if it is not one of MD5.
    pub(crate) fn read(value: &[u8]) -> Option<Challenge> {
        let text = std::str::from_utf8(value).ok()?;
        let rest = text.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("digest "))?;
        let mut params = &text[rest.len()..];
        let mut challenge =
            Challenge { realm: String::new(), nonce: String::new(), opaque: None, qop_auth: false };
        while let Some((name, value, left)) = param(params) {
            params = left;
            match () {
                () if name.eq_ignore_ascii_case("realm") => challenge.realm = value.into(),
                () if name.eq_ignore_ascii_case("nonce") => challenge.nonce = value.into(),
                () if name.eq_ignore_ascii_case("opaque") => challenge.opaque = Some(value.into()),
                () if name.eq_ignore_ascii_case("qop") => {
                    challenge.qop_auth = value.split(',').any(|qop| qop.trim() == "auth");
                }
                () if name.eq_ignore_ascii_case("algorithm") => {
                    if !value.eq_ignore_ascii_case("MD5") {
                        return None;
                    }
                }
                () => {}
            }
        }
        (!challenge.nonce.is_empty()).then_some(challenge)
    }
}

/// The next parameter of a list, its value without quotes, and what follows.
fn param(text: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = text.split_once('=')?;
    let name = name.trim_start_matches([',', ' ']).trim();
    let rest = rest.trim_start();
    if let Some(quoted) = rest.strip_prefix('"') {
        let (value, left) = quoted.split_once('"')?;
        return Some((name, value, left));
    }
    let (value, left) = rest.split_once(',').unwrap_or((rest, ""));
    Some((name, value.trim(), left))
}

/// What one user proves with.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    challenge: Challenge,
    ha1: Hex,
    /// How often the nonce was used.
    count: u32,
}

impl Credentials {
    pub(crate) fn new(user: &str, password: &str, challenge: Challenge) -> Credentials {
        let ha1 =
            hash(&[user.as_bytes(), b":", challenge.realm.as_bytes(), b":", password.as_bytes()]);
        Credentials { challenge, ha1, count: 0 }
    }

    /// Adds the header field `Authorization` for the next request with this method and URI, whose
    /// hash is `ha2` (see [`ha2`]).
    pub(crate) fn write(&mut self, into: &mut String, user: &str, uri: &str, ha2: &Hex) {
        self.count += 1;
        let Challenge { realm, nonce, opaque, qop_auth } = &self.challenge;
        let mut count = [0; 8];
        for (at, digit) in count.iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(self.count >> (28 - 4 * at) & 15) as usize];
        }
        let response = if *qop_auth {
            hash(&[
                &self.ha1,
                b":",
                nonce.as_bytes(),
                b":",
                &count,
                b":",
                CNONCE.as_bytes(),
                b":auth:",
                ha2,
            ])
        } else {
            hash(&[&self.ha1, b":", nonce.as_bytes(), b":", ha2])
        };
        let text = |digits: &[u8]| String::from_utf8_lossy(digits).into_owned();
        // Writing to a String does not fail.
        let _ = write!(
            into,
            "Authorization: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{}\", algorithm=MD5",
            text(&response)
        );
        if *qop_auth {
            let _ = write!(into, ", qop=auth, nc={}, cnonce=\"{CNONCE}\"", text(&count));
        }
        if let Some(opaque) = opaque {
            let _ = write!(into, ", opaque=\"{opaque}\"");
        }
        *into += "\r\n";
    }
}

/// A client may take what it likes.
const CNONCE: &str = "0a4f113b";

/// The hash of a method and a URI.
pub(crate) fn ha2(method: &str, uri: &str) -> Hex {
    hash(&[method.as_bytes(), b":", uri.as_bytes()])
}

fn hash(parts: &[&[u8]]) -> Hex {
    let mut md5 = Md5::new();
    parts.iter().for_each(|part| md5.update(part));
    let mut hex = [0; 32];
    for (at, byte) in md5.finalize().iter().enumerate() {
        hex[2 * at] = b"0123456789abcdef"[usize::from(byte >> 4)];
        hex[2 * at + 1] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2617 3.5, but for the client's nonce, which is ours.
    #[test]
    fn hashes_are_those_of_the_rfc() {
        let ha1 = hash(&[b"Mufasa", b":", b"testrealm@host.com", b":", b"Circle Of Life"]);
        assert_eq!(&ha1, b"939e7578ed9e3c518a452acee763bce9");
        assert_eq!(&ha2("GET", "/dir/index.html"), b"39aff3a2bab6126f332b942af96d3366");
    }

    /// The answer is the one that `rsip` computes.
    #[test]
    fn an_answer_is_what_another_implementation_computes() {
        let value = b"Digest realm=\"r\", nonce=\"n,1\", qop=\"auth,auth-int\", opaque=\"o\", algorithm=MD5";
        let challenge = Challenge::read(value).unwrap();
        let mut credentials = Credentials::new("bob", "secret", challenge);
        let uri = "sip:10.0.0.1";
        let mut text = String::new();
        credentials.write(&mut text, "bob", uri, &ha2("REGISTER", uri));
        let generator = rsip::services::DigestGenerator {
            username: "bob",
            password: "secret",
            nonce: "n,1",
            uri: &rsip::Uri::try_from(uri).unwrap(),
            realm: "r",
            method: &rsip::Method::Register,
            qop: Some(&rsip::headers::auth::AuthQop::Auth { cnonce: CNONCE.into(), nc: 1 }),
            algorithm: rsip::headers::auth::Algorithm::Md5,
        };
        assert!(text.contains(&format!("response=\"{}\"", generator.compute())), "{text}");
        assert!(text.contains("nc=00000001") && text.contains("opaque=\"o\""), "{text}");
        credentials.write(&mut text, "bob", uri, &ha2("REGISTER", uri));
        assert!(text.contains("nc=00000002"), "{text}");
    }

    #[test]
    fn a_challenge_of_another_algorithm_is_none() {
        assert!(Challenge::read(b"Digest realm=\"r\", nonce=\"n\", algorithm=SHA-256").is_none());
        assert!(Challenge::read(b"Basic realm=\"r\"").is_none());
        let plain = Challenge::read(b"Digest nonce=\"n\",realm=\"r\"").unwrap();
        assert!(!plain.qop_auth && plain.realm == "r");
    }
}
