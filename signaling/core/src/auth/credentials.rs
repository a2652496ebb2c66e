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
            username: username(&value).ok_or(BadCredentials)?,
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

/// RFC 7616 3.4: a name that is not ASCII may come as `username*`, as RFC 5987 encodes it.
fn username<'a>(value: &AuthValue<'a>) -> Option<Cow<'a, str>> {
    if let Some(name) = value.get("username") {
        return Some(name);
    }
    let encoded = value.get("username*")?;
    let (charset, rest) = encoded.split_once('\'')?;
    let (_language, escaped) = rest.split_once('\'')?;
    if !charset.eq_ignore_ascii_case("UTF-8") {
        return None;
    }
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        bytes.push(u8::try_from(digit()? << 4 | digit()?).ok()?);
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
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
