//! Credentials as a client sends them (RFC 7616 3.4).

use std::borrow::Cow;

use super::digest::Algorithm;
use super::params::{BadParams, digest_params};

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

/// The parameters that we read; each may be there once.
#[derive(Default)]
struct Raw<'a> {
    username: Option<Cow<'a, str>>,
    realm: Option<Cow<'a, str>>,
    nonce: Option<Cow<'a, str>>,
    uri: Option<Cow<'a, str>>,
    response: Option<Cow<'a, str>>,
    algorithm: Option<Cow<'a, str>>,
    qop: Option<Cow<'a, str>>,
    nc: Option<Cow<'a, str>>,
    cnonce: Option<Cow<'a, str>>,
}

impl<'a> Raw<'a> {
    fn field(&mut self, name: &str) -> Option<&mut Option<Cow<'a, str>>> {
        Some(match name {
            "username" => &mut self.username,
            "realm" => &mut self.realm,
            "nonce" => &mut self.nonce,
            "uri" => &mut self.uri,
            "response" => &mut self.response,
            "algorithm" => &mut self.algorithm,
            "qop" => &mut self.qop,
            "nc" => &mut self.nc,
            "cnonce" => &mut self.cnonce,
            _ => return None,
        })
    }

    fn qop(&mut self) -> Result<Option<Qop<'a>>, BadParams> {
        let Some(qop) = self.qop.take() else { return Ok(None) };
        let (Some(nc), Some(cnonce)) = (self.nc.take(), self.cnonce.take()) else {
            return Err(BadParams);
        };
        // Only `auth` is ever offered. nc is 8LHEX, but a shorter one has one meaning all the same.
        let hexadecimal = nc.len() <= 8 && nc.bytes().all(|b| b.is_ascii_hexdigit());
        if !qop.eq_ignore_ascii_case("auth") || !hexadecimal {
            return Err(BadParams);
        }
        let count = u32::from_str_radix(&nc, 16).map_err(|_| BadParams)?;
        Ok(Some(Qop { nc, count, cnonce }))
    }
}

impl<'a> Credentials<'a> {
    /// Reads a header value; `Ok(None)` if it is of another scheme than Digest.
    pub(super) fn parse(value: &'a str) -> Result<Option<Self>, BadParams> {
        let Some(params) = digest_params(value) else { return Ok(None) };
        let mut raw = Raw::default();
        for param in params {
            let (name, value) = param?;
            if let Some(field) = raw.field(&name.to_ascii_lowercase())
                && field.replace(value).is_some()
            {
                return Err(BadParams);
            }
        }
        let qop = raw.qop()?;
        let algorithm = match &raw.algorithm {
            None => Some(Algorithm::Md5),
            Some(name) => Algorithm::from_name(name),
        };
        Ok(Some(Credentials {
            username: raw.username.ok_or(BadParams)?,
            realm: raw.realm.ok_or(BadParams)?,
            nonce: raw.nonce.ok_or(BadParams)?,
            uri: raw.uri.ok_or(BadParams)?,
            response: raw.response.ok_or(BadParams)?,
            algorithm,
            qop,
        }))
    }
}
