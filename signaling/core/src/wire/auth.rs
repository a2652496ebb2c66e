//! Challenges and credentials (RFC 3261 20.7, 20.27, 20.28, 20.44; grammar of RFC 7616 and 8760).

use std::borrow::Cow;

use super::chars;
use super::params::unquote;

/// The value of Authorization, Proxy-Authorization, WWW-Authenticate or Proxy-Authenticate.
#[derive(Clone, Copy, Debug)]
pub struct AuthValue<'a> {
    scheme: &'a str,
    rest: &'a str,
}

impl<'a> AuthValue<'a> {
    /// Reads a value: a scheme, and either `name=value` parameters or, for schemes that have none, any
    /// other text. `None` without a scheme, or if a `Digest` value is not a list of parameters.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<AuthValue<'a>> {
        let auth = AuthValue::split(value)?;
        if auth.is_digest() {
            let mut params = auth.walk();
            params.by_ref().for_each(drop);
            return params.is_done().then_some(auth);
        }
        Some(auth)
    }

    /// As [`AuthValue::parse`], but whoever walks through the parameters of a `Digest` value sees then
    /// whether they are a list ([`AuthParams::is_done`]).
    pub(crate) fn split(value: &'a [u8]) -> Option<AuthValue<'a>> {
        let value = chars::trim(value);
        let end = chars::run(value, 0, chars::TOKEN);
        if end == 0 || !value.get(end).is_none_or(|b| chars::is_lws(*b)) {
            return None;
        }
        // Read as text once, and not parameter by parameter.
        let rest = std::str::from_utf8(chars::trim(&value[end..]));
        let auth = AuthValue { scheme: chars::text(&value[..end]), rest: rest.unwrap_or_default() };
        (rest.is_ok() || !auth.is_digest()).then_some(auth)
    }

    /// The scheme as written, for example `Digest`. Compare without case.
    #[must_use]
    pub const fn scheme(&self) -> &'a str {
        self.scheme
    }

    /// Whether the scheme is Digest.
    #[must_use]
    pub const fn is_digest(&self) -> bool {
        self.scheme.eq_ignore_ascii_case("Digest")
    }

    /// The parameters in order: name and value as written, a quoted string with its quotes.
    pub fn params(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.walk()
    }

    /// As [`AuthValue::params`].
    pub(crate) const fn walk(&self) -> AuthParams<'a> {
        AuthParams { text: self.rest, at: 0 }
    }

    /// The first parameter of that name (case-insensitive) without quotes and escapes.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        self.params()
            .find(|(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| unquote(value))
    }
}

/// Iterates over `name=value` separated by commas; stops at what is not one.
pub(crate) struct AuthParams<'a> {
    text: &'a str,
    at: usize,
}

impl AuthParams<'_> {
    /// After the last one: whether nothing is left that is not a parameter.
    pub(crate) const fn is_done(&self) -> bool {
        self.at == self.text.len()
    }
}

impl<'a> Iterator for AuthParams<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<(&'a str, &'a str)> {
        let text = self.text.as_bytes();
        let mut start = chars::skip_lws(text, self.at);
        // Empty elements are allowed by the list rule of RFC 7230 7.
        while text.get(start) == Some(&b',') {
            start = chars::skip_lws(text, start + 1);
        }
        if start == text.len() {
            self.at = start;
            return None;
        }
        let name_end = chars::run(text, start, chars::TOKEN);
        let equals = chars::skip_lws(text, name_end);
        if name_end == start || text.get(equals) != Some(&b'=') {
            return None;
        }
        let value = chars::skip_lws(text, equals + 1);
        let value_end = value_end(text, value)?;
        let after = chars::skip_lws(text, value_end);
        if !matches!(text.get(after), None | Some(b',')) {
            return None;
        }
        let param = (self.text.get(start..name_end)?, self.text.get(value..value_end)?);
        self.at = after;
        Some(param)
    }
}

/// A quoted string, or text up to a comma or white space: `uri` and `realm` are quoted by the grammar
/// but not by every peer.
fn value_end(text: &[u8], at: usize) -> Option<usize> {
    if text.get(at) == Some(&b'"') {
        return chars::skip_quoted(text, at);
    }
    let mut end = at;
    while end < text.len() && text[end] != b',' && text[end] != b'"' && !chars::is_lws(text[end]) {
        end += 1;
    }
    Some(end)
}
