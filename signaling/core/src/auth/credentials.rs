//! Credentials as a client sends them (RFC 7616 3.4).

use std::borrow::Cow;

use super::digest::Algorithm;
use crate::wire::{AuthValue, unquote};

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

/// The parameters that are looked at, as written: the first of each name.
#[derive(Default)]
struct Found<'a> {
    username: Option<&'a str>,
    encoded_username: Option<&'a str>,
    realm: Option<&'a str>,
    nonce: Option<&'a str>,
    uri: Option<&'a str>,
    response: Option<&'a str>,
    algorithm: Option<&'a str>,
    qop: Option<&'a str>,
    nc: Option<&'a str>,
    cnonce: Option<&'a str>,
}

impl<'a> Found<'a> {
    /// One walk through the list, which is longer than the rest of the request at times.
    fn read(value: &AuthValue<'a>) -> Result<Self, BadCredentials> {
        let mut found = Found::default();
        let mut params = value.walk();
        for (name, value) in &mut params {
            if let Some(slot) = found.slot(name) {
                slot.get_or_insert(value);
            }
        }
        if params.is_done() { Ok(found) } else { Err(BadCredentials) }
    }

    fn slot(&mut self, name: &str) -> Option<&mut Option<&'a str>> {
        let slots = [
            ("username", &mut self.username),
            ("realm", &mut self.realm),
            ("nonce", &mut self.nonce),
            ("uri", &mut self.uri),
            ("response", &mut self.response),
            ("algorithm", &mut self.algorithm),
            ("qop", &mut self.qop),
            ("nc", &mut self.nc),
            ("cnonce", &mut self.cnonce),
            ("username*", &mut self.encoded_username),
        ];
        slots.into_iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, slot)| slot)
    }

    /// RFC 7616 3.4: a name that is not ASCII may come as `username*`, as RFC 5987 encodes it.
    fn username(&self) -> Option<Cow<'a, str>> {
        match self.username {
            Some(name) => Some(unquote(name)),
            None => decoded(&unquote(self.encoded_username?)).map(Cow::Owned),
        }
    }

    fn qop(&self) -> Result<Option<Qop<'a>>, BadCredentials> {
        let Some(qop) = self.qop else { return Ok(None) };
        let (Some(nc), Some(cnonce)) = (self.nc, self.cnonce) else {
            return Err(BadCredentials);
        };
        let nc = unquote(nc);
        // Only `auth` is ever offered. nc is 8LHEX, but a shorter one has one meaning all the same.
        let is_hexadecimal = nc.len() <= 8 && nc.bytes().all(|b| b.is_ascii_hexdigit());
        if !unquote(qop).eq_ignore_ascii_case("auth") || !is_hexadecimal {
            return Err(BadCredentials);
        }
        let count = u32::from_str_radix(&nc, 16).map_err(|_| BadCredentials)?;
        Ok(Some(Qop { nc, count, cnonce: unquote(cnonce) }))
    }
}

impl<'a> Credentials<'a> {
    /// Reads a header value; `Ok(None)` if it is of another scheme than Digest.
    pub(super) fn parse(value: &'a [u8]) -> Result<Option<Self>, BadCredentials> {
        let value = AuthValue::split(value).ok_or(BadCredentials)?;
        if !value.is_digest() {
            return Ok(None);
        }
        let found = Found::read(&value)?;
        let needed = |param: Option<&'a str>| param.map(unquote).ok_or(BadCredentials);
        Ok(Some(Credentials {
            username: found.username().ok_or(BadCredentials)?,
            realm: needed(found.realm)?,
            nonce: needed(found.nonce)?,
            uri: needed(found.uri)?,
            response: needed(found.response)?,
            algorithm: match found.algorithm {
                None => Some(Algorithm::Md5),
                Some(name) => Algorithm::from_name(&unquote(name)),
            },
            qop: found.qop()?,
        }))
    }
}

/// `UTF-8'language'escaped`.
fn decoded(encoded: &str) -> Option<String> {
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
    String::from_utf8(bytes).ok()
}
