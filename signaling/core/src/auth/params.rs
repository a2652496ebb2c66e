//! The grammar of challenges and credentials: a scheme and `name=value` pairs (RFC 7616 3.3, 3.4).

use std::borrow::Cow;
use std::fmt::Write;

/// The header value breaks the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadParams;

/// The parameters of a header value of the Digest scheme; `None` for any other scheme.
pub(super) fn digest_params(value: &str) -> Option<Params<'_>> {
    let value = value.trim();
    let end = value.find(|c: char| c.is_ascii_whitespace()).unwrap_or(value.len());
    let (scheme, rest) = value.split_at(end);
    scheme.eq_ignore_ascii_case("Digest").then_some(Params { rest })
}

/// Iterates over `name=value` pairs separated by commas; ends after the first error.
pub(super) struct Params<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Params<'a> {
    type Item = Result<(&'a str, Cow<'a, str>), BadParams>;

    fn next(&mut self) -> Option<Self::Item> {
        self.rest = self.rest.trim_start_matches(|c: char| c == ',' || c.is_ascii_whitespace());
        if self.rest.is_empty() {
            return None;
        }
        let param = self.param();
        if param.is_none() {
            self.rest = "";
        }
        Some(param.ok_or(BadParams))
    }
}

impl<'a> Params<'a> {
    fn param(&mut self) -> Option<(&'a str, Cow<'a, str>)> {
        let (name, rest) = self.rest.split_once('=')?;
        let (name, rest) = (name.trim_end(), rest.trim_start());
        if name.is_empty() || !name.bytes().all(is_token) {
            return None;
        }
        let (value, rest) = match rest.strip_prefix('"') {
            Some(rest) => quoted_string(rest)?,
            None => {
                let end = rest.bytes().position(|b| !is_token(b)).unwrap_or(rest.len());
                let (value, rest) = rest.split_at(end);
                (Cow::Borrowed(value), rest)
            }
        };
        let rest = rest.trim_start();
        if !rest.is_empty() && !rest.starts_with(',') {
            return None;
        }
        self.rest = rest;
        Some((name, value))
    }
}

/// RFC 3261 25.1.
const fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(b, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~')
        // Not token characters, but base64 nonces and URIs are sent without quotes now and then.
        || matches!(b, b'/' | b':' | b'@' | b'=')
}

/// The content of a quoted string whose opening quote has been read, and what follows it.
fn quoted_string(s: &str) -> Option<(Cow<'_, str>, &str)> {
    let plain = s.find(['"', '\\'])?;
    if s.as_bytes()[plain] == b'"' {
        return Some((Cow::Borrowed(&s[..plain]), &s[plain + 1..]));
    }
    let mut content = String::new();
    let mut chars = s.chars();
    loop {
        match chars.next()? {
            '"' => return Some((Cow::Owned(content), chars.as_str())),
            '\\' => content.push(chars.next()?),
            c => content.push(c),
        }
    }
}

/// Appends `name="content"`, escaped; characters that no header may hold are left out.
pub(super) fn push_quoted(to: &mut String, name: &str, content: &str) {
    // Writing to a String cannot fail.
    let _ = write!(to, "{name}=\"");
    for c in content.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            to.push('\\');
        }
        to.push(c);
    }
    to.push('"');
}
