//! Credentials as a client sends them (RFC 7616 3.4).

use std::borrow::Cow;

use super::digest::Algorithm;
use crate::wire::AuthValue;

/// What one `Authorization` or `Proxy-Authorization` value says.
#[derive(Debug)]
pub(super) struct Credentials<'a> {
    pub(super) username: Cow<'a, str>,
    pub(super) realm: Cow<'a, str>,
    pub(super) nonce: Cow<'a, str>,
    pub(super) uri: Cow<'a, str>,
    pub(super) response: Cow<'a, str>,
    /// `None`: one that we do not know.
    pub(super) algorithm: Option<Algorithm>,
    pub(super) qop: Option<Qop<'a>>,
}

/// The parameters that come with `qop=auth`.
#[derive(Debug)]
pub(super) struct Qop<'a> {
    pub(super) nc: Cow<'a, str>,
    pub(super) count: u32,
    pub(super) cnonce: Cow<'a, str>,
}

/// The credentials break the grammar or lack something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadCredentials;

impl<'a> Credentials<'a> {
    /// Reads a header value; `Ok(None)` if it is of another scheme than Digest.
    pub(super) fn parse(value: &'a [u8]) -> Result<Option<Self>, BadCredentials> {
        let value = AuthValue::parse(value).ok_or(BadCredentials)?;
        if !value.is_digest() {
            return Ok(None);
        }
        let param = |name| value.get(name).ok_or(BadCredentials);
        Ok(Some(Credentials {
            username: param("username")?,
            realm: param("realm")?,
            nonce: param("nonce")?,
            uri: param("uri")?,
            response: param("response")?,
            algorithm: match value.get("algorithm") {
                None => Some(Algorithm::Md5),
                Some(name) => Algorithm::from_name(&name),
            },
            qop: qop(&value)?,
        }))
    }
}

fn qop<'a>(value: &AuthValue<'a>) -> Result<Option<Qop<'a>>, BadCredentials> {
    let Some(qop) = value.get("qop") else { return Ok(None) };
    let (Some(nc), Some(cnonce)) = (value.get("nc"), value.get("cnonce")) else {
        return Err(BadCredentials);
    };
    // Only `auth` is ever offered. nc is 8LHEX, but a shorter one has one meaning all the same.
    let is_hexadecimal = nc.len() <= 8 && nc.bytes().all(|b| b.is_ascii_hexdigit());
    if !qop.eq_ignore_ascii_case("auth") || !is_hexadecimal {
        return Err(BadCredentials);
    }
    let count = u32::from_str_radix(&nc, 16).map_err(|_| BadCredentials)?;
    Ok(Some(Qop { nc, count, cnonce }))
}
