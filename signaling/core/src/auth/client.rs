//! The answering side (RFC 7616 3.4), for requests of our own that are challenged.

use std::borrow::Cow;

use super::Secret;
use super::digest::{self, Algorithm, Input};
use super::quote::push_quoted;
use crate::wire::AuthValue;

/// A challenge that we can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Whose users are asked for.
    pub realm: String,
    /// To be sent back.
    pub nonce: String,
    /// To be sent back if there is one.
    pub opaque: Option<String>,
    /// The hash function.
    pub algorithm: Algorithm,
    /// `qop=auth` is offered; otherwise qop is left out, as RFC 2617 3.2.2 has it.
    pub qop_auth: bool,
    /// The credentials before were right but for the nonce: answer again with the same password.
    pub stale: bool,
}

impl Challenge {
    /// Reads the value of a `WWW-Authenticate` or `Proxy-Authenticate` header field. `None` if it
    /// cannot be answered: another scheme or algorithm, only `qop=auth-int`, or broken.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Challenge> {
        let value = AuthValue::parse(value).filter(AuthValue::is_digest)?;
        let text = |name| value.get(name).map(Cow::into_owned);
        let algorithm = match value.get("algorithm") {
            None => Algorithm::Md5,
            Some(name) => Algorithm::from_name(&name)?,
        };
        let is_auth = |qop: &str| qop.split(',').any(|q| q.trim().eq_ignore_ascii_case("auth"));
        let qop_auth = match value.get("qop") {
            None => false,
            Some(qop) if is_auth(&qop) => true,
            Some(_) => return None,
        };
        Some(Challenge {
            realm: text("realm")?,
            nonce: text("nonce")?,
            opaque: text("opaque"),
            algorithm,
            qop_auth,
            stale: value.get("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }

    /// The challenge to answer among several: the first that can be (RFC 8760 2.4).
    pub fn pick<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Option<Challenge> {
        values.into_iter().find_map(Challenge::parse)
    }
}

/// The request that is to be sent again with credentials.
#[derive(Clone, Copy, Debug)]
pub struct AnswerTo<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its Request-URI.
    pub uri: &'a str,
    /// A fresh random text.
    pub cnonce: &'a str,
    /// How many requests were sent with this nonce, this one included: from 1.
    pub nc: u32,
}

/// The value of the `Authorization` or `Proxy-Authorization` header field that answers `challenge`;
/// `None` if the secret lacks the H(A1) of its algorithm.
#[must_use]
pub fn answer(
    challenge: &Challenge,
    user: &str,
    secret: &Secret,
    to: AnswerTo<'_>,
) -> Option<String> {
    let nc = format!("{:08x}", to.nc);
    let input = Input {
        algorithm: challenge.algorithm,
        nonce: &challenge.nonce,
        method: to.method,
        uri: to.uri,
        qop: challenge.qop_auth.then_some((nc.as_str(), to.cnonce)),
    };
    let ha1 = digest::ha1(challenge.algorithm, user, &challenge.realm, secret)?;
    let response = digest::response(&ha1, &input);
    let response: String = response.into_iter().map(char::from).collect();

    let mut value = String::from("Digest ");
    push_quoted(&mut value, "username", user);
    push_quoted(&mut value, ", realm", &challenge.realm);
    push_quoted(&mut value, ", nonce", &challenge.nonce);
    push_quoted(&mut value, ", uri", to.uri);
    push_quoted(&mut value, ", response", &response);
    value.push_str(", algorithm=");
    value.push_str(challenge.algorithm.name());
    if let Some((nc, cnonce)) = input.qop {
        push_quoted(&mut value, ", cnonce", cnonce);
        value.push_str(", qop=auth, nc=");
        value.push_str(nc);
    }
    if let Some(opaque) = &challenge.opaque {
        push_quoted(&mut value, ", opaque", opaque);
    }
    Some(value)
}
