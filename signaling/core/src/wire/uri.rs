//! URIs (RFC 3261 19.1).

use super::host::Host;
use super::params::{self, Params};
use super::{chars, scan, uri_compare};

/// The scheme of a URI.
#[derive(Clone, Copy, Debug)]
pub enum Scheme<'a> {
    /// `sip`.
    Sip,
    /// `sips`.
    Sips,
    /// `tel` (RFC 3966).
    Tel,
    /// Any other, as written.
    Other(&'a str),
}

/// The text is not a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a URI")]
pub struct BadUri;

/// A URI, with borrowed parts.
///
/// Only `sip` and `sips` URIs are taken apart. Of any other, [`Uri::user`] is `None`, [`Uri::host`]
/// the empty name and [`Uri::params`] empty; what follows the scheme is in [`Uri::opaque`].
#[derive(Clone, Copy, Debug)]
pub struct Uri<'a> {
    text: &'a str,
    scheme: Scheme<'a>,
    opaque: &'a str,
    user: Option<&'a str>,
    password: Option<&'a str>,
    host: Host<'a>,
    port: Option<u16>,
    params: Params<'a>,
    headers: Option<&'a str>,
}

impl<'a> Uri<'a> {
    /// Reads a URI that stands alone (no `<>`).
    ///
    /// # Errors
    /// [`BadUri`] if it holds characters that no URI has, has no scheme, or is a `sip`/`sips` URI
    /// against the grammar of RFC 3261 25.1.
    pub fn parse(text: &'a str) -> Result<Uri<'a>, BadUri> {
        parse(text).ok_or(BadUri)
    }

    /// The whole URI as written.
    #[must_use]
    pub const fn as_str(&self) -> &'a str {
        self.text
    }

    /// The scheme.
    #[must_use]
    pub const fn scheme(&self) -> Scheme<'a> {
        self.scheme
    }

    /// Whether it is a `sip` or `sips` URI.
    #[must_use]
    pub const fn is_sip(&self) -> bool {
        matches!(self.scheme, Scheme::Sip | Scheme::Sips)
    }

    /// Everything after the scheme's colon, as written.
    #[must_use]
    pub const fn opaque(&self) -> &'a str {
        self.opaque
    }

    /// The user part as written, escapes included (`;` parameters of a telephone-subscriber are part
    /// of it).
    #[must_use]
    pub const fn user(&self) -> Option<&'a str> {
        self.user
    }

    /// The user part with its `%HH` escapes undone; `None` if there is no user or the result is not
    /// UTF-8.
    #[must_use]
    pub fn user_unescaped(&self) -> Option<std::borrow::Cow<'a, str>> {
        uri_compare::unescape(self.user?)
    }

    /// The password as written.
    #[must_use]
    pub const fn password(&self) -> Option<&'a str> {
        self.password
    }

    /// The host.
    #[must_use]
    pub const fn host(&self) -> Host<'a> {
        self.host
    }

    /// The port, if one is written.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// The `;` parameters after the host.
    #[must_use]
    pub const fn params(&self) -> Params<'a> {
        self.params
    }

    /// The headers after `?`, without it, as written.
    #[must_use]
    pub const fn headers(&self) -> Option<&'a str> {
        self.headers
    }

    /// Whether the two mean the same by RFC 3261 19.1.4. Not transitive.
    #[must_use]
    pub fn equivalent(&self, other: &Uri<'_>) -> bool {
        uri_compare::equivalent(self, other)
    }

    /// The canonical address of record (RFC 3261 10.3 step 5): scheme, user with escapes of plain
    /// characters undone, lower-case host, port if written; no password, parameters or headers. For
    /// other schemes the URI as written with its scheme in lower case.
    #[must_use]
    pub fn address_of_record(&self) -> String {
        uri_compare::address_of_record(self)
    }
}

/// The scheme of `text` and where its colon is.
pub(super) fn scheme(text: &str) -> Option<(Scheme<'_>, usize)> {
    let bytes = text.as_bytes();
    let colon = scan::find(bytes, 0, b':')?;
    let scheme = match bytes.get(..colon)? {
        s if s.eq_ignore_ascii_case(b"sip") => Scheme::Sip,
        s if s.eq_ignore_ascii_case(b"sips") => Scheme::Sips,
        s if s.eq_ignore_ascii_case(b"tel") => Scheme::Tel,
        s if is_scheme(s) => Scheme::Other(&text[..colon]),
        _ => return None,
    };
    Some((scheme, colon))
}

fn parse(text: &str) -> Option<Uri<'_>> {
    let (scheme, colon) = scheme(text)?;
    let opaque = &text[colon + 1..];
    let mut uri = Uri {
        text,
        scheme,
        opaque,
        user: None,
        password: None,
        host: Host::Name(""),
        port: None,
        params: Params::default(),
        headers: None,
    };
    match scheme {
        Scheme::Sip | Scheme::Sips => parse_sip(&mut uri)?,
        Scheme::Tel | Scheme::Other(_) if scan::all(opaque.as_bytes(), chars::URI) => {}
        Scheme::Tel | Scheme::Other(_) => return None,
    }
    Some(uri)
}

/// RFC 3986 3.1.
fn is_scheme(text: &[u8]) -> bool {
    text.first().is_some_and(u8::is_ascii_alphabetic)
        && text.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

fn parse_sip(uri: &mut Uri<'_>) -> Option<()> {
    let rest = uri.opaque;
    let bytes = rest.as_bytes();
    // `@` must be escaped everywhere but after the userinfo (RFC 3261 25.1).
    let start = match scan::find(bytes, 0, b'@') {
        None => 0,
        Some(at) => {
            userinfo(uri, &rest[..at])?;
            at + 1
        }
    };
    let (host, mut at) = Host::read(rest, start)?;
    uri.host = host;
    if bytes.get(at) == Some(&b':') {
        let (port, end) = port(bytes, at + 1)?;
        uri.port = Some(port);
        at = end;
    }
    let params_end = scan::find(bytes, at, b'?').unwrap_or(bytes.len());
    // Unlike a header's, a URI's parameters hold no white space and no quoted strings.
    if at < params_end && !scan::all(&bytes[at..params_end], chars::URI) {
        return None;
    }
    params::scan(&bytes[..params_end], at)?;
    uri.params = Params::new(&bytes[at..params_end]);
    if params_end < bytes.len() {
        uri.headers = Some(&rest[params_end + 1..]);
        return scan::all(&bytes[params_end..], chars::URI).then_some(());
    }
    Some(())
}

fn userinfo<'a>(uri: &mut Uri<'a>, text: &'a str) -> Option<()> {
    if !scan::all(text.as_bytes(), chars::URI) {
        return None;
    }
    let (user, password) = match scan::find(text.as_bytes(), 0, b':') {
        None => (text, None),
        Some(colon) => (&text[..colon], Some(&text[colon + 1..])),
    };
    uri.user = Some(user);
    uri.password = password;
    if user.is_empty() { None } else { Some(()) }
}

/// Reads a port and returns where it ends.
pub(super) fn port(text: &[u8], start: usize) -> Option<(u16, usize)> {
    let mut end = start;
    while text.get(end).is_some_and(u8::is_ascii_digit) {
        end += 1;
    }
    let port = chars::number(&text[start..end], u64::from(u16::MAX))?;
    Some((port as u16, end))
}
