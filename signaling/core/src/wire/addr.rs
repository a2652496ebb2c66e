//! `name-addr` / `addr-spec` values: From, To, Contact, Route and their like (RFC 3261 20.10).

use std::borrow::Cow;

use super::chars;
use super::params::{self, Params};
use super::scan;
use super::span::Span;
use super::uri::{BadUri, Uri};

/// Where the parts of an address value are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AddrSpans {
    display: Span,
    uri: Span,
    params: Span,
    tag: Span,
}

impl AddrSpans {
    /// Reads a whole value, white space allowed around it.
    pub(super) fn parse(text: &[u8]) -> Option<AddrSpans> {
        let mut addr = AddrSpans::default();
        let start = chars::skip_lws(text, 0);
        let after = match addr.display(text, start)? {
            Some(open) => addr.bracketed(text, open)?,
            None => addr.bare(text, start)?,
        };
        addr.parameters(text, after)?;
        Some(addr)
    }

    /// Reads the display name; returns where `<` is, `Some(None)` if the URI stands bare.
    fn display(&mut self, text: &[u8], start: usize) -> Option<Option<usize>> {
        let mut at = start;
        if text.get(at) == Some(&b'"') {
            let end = chars::skip_quoted(text, at)?;
            self.display = Span::new(start, end);
            at = chars::skip_lws(text, end);
            return if text.get(at) == Some(&b'<') { Some(Some(at)) } else { None };
        }
        // Tokens, as the grammar wants, and bytes above 127, which real peers send unquoted.
        while at < text.len()
            && (chars::is(text[at], chars::TOKEN) || chars::is_lws(text[at]) || text[at] >= 0x80)
        {
            at += 1;
        }
        if text.get(at) != Some(&b'<') {
            return Some(None);
        }
        let name = chars::trim(&text[start..at]);
        self.display = Span::new(start, start + name.len());
        Some(Some(at))
    }

    #[inline]
    fn bracketed(&mut self, text: &[u8], open: usize) -> Option<usize> {
        let close = scan::run(text, open + 1, chars::URI);
        if text.get(close) != Some(&b'>') {
            return None;
        }
        self.set_uri(text, open + 1, close)?;
        Some(close + 1)
    }

    /// Without `<>` a `;` starts the header's parameters, and `?` and `,` cannot be part of the URI
    /// (RFC 3261 20.10); [`AddrSpans::parameters`] refuses whatever else comes next.
    #[inline]
    fn bare(&mut self, text: &[u8], start: usize) -> Option<usize> {
        let end = scan::run(text, start, chars::BARE_URI);
        self.set_uri(text, start, end)?;
        Some(end)
    }

    /// There must be a scheme; the rest is read when asked for.
    #[inline]
    fn set_uri(&mut self, text: &[u8], start: usize, end: usize) -> Option<()> {
        let uri = &text[start..end];
        if !uri.starts_with(b"sip:") && memchr::memchr(b':', uri)? == 0 {
            return None;
        }
        self.uri = Span::new(start, end);
        Some(())
    }

    fn parameters(&mut self, text: &[u8], start: usize) -> Option<()> {
        let mut at = start;
        while let Some(param) = params::next_param(text, at) {
            let (value, next) = (param.value, param.end);
            if param.name.eq_ignore_ascii_case(b"tag") {
                // Two tags would let two elements disagree on which dialog this is.
                if !self.tag.is_empty() || value.is_empty() || !value.is_ascii() {
                    return None;
                }
                self.tag = Span::new(next - value.len(), next);
            }
            at = next;
        }
        self.params = Span::new(start, at);
        if chars::skip_lws(text, at) == text.len() { Some(()) } else { None }
    }
}

/// An address: optional display name, URI, parameters.
#[derive(Clone, Copy, Debug)]
pub struct NameAddr<'a> {
    text: &'a [u8],
    spans: AddrSpans,
}

impl<'a> NameAddr<'a> {
    /// Reads one value; `None` if it is no address. The URI is checked for its characters only:
    /// [`NameAddr::uri`] says whether it is one.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<NameAddr<'a>> {
        AddrSpans::parse(value).map(|spans| NameAddr { text: value, spans })
    }

    pub(super) const fn from_spans(text: &'a [u8], spans: AddrSpans) -> NameAddr<'a> {
        NameAddr { text, spans }
    }

    /// The value as written.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.text
    }

    /// The display name as written, with the quotes of a quoted one; empty if there is none.
    #[must_use]
    pub fn display(&self) -> &'a [u8] {
        self.spans.display.of(self.text)
    }

    /// The display name without quotes and escapes, undecodable bytes replaced.
    #[must_use]
    pub fn display_text(&self) -> Cow<'a, str> {
        match String::from_utf8_lossy(self.display()) {
            Cow::Borrowed(text) => params::unquote(text),
            Cow::Owned(text) => Cow::Owned(params::unquote(&text).into_owned()),
        }
    }

    /// The URI as written, without `<>`.
    #[must_use]
    pub fn uri_text(&self) -> &'a str {
        chars::text(self.spans.uri.of(self.text))
    }

    /// The URI.
    ///
    /// # Errors
    /// [`BadUri`] as [`Uri::parse`].
    pub fn uri(&self) -> Result<Uri<'a>, BadUri> {
        Uri::parse(self.uri_text())
    }

    /// The parameters after the URI (not those in it).
    #[must_use]
    pub fn params(&self) -> Params<'a> {
        Params::new(self.spans.params.of(self.text))
    }

    /// The `tag` parameter.
    #[must_use]
    pub fn tag(&self) -> Option<&'a str> {
        if self.spans.tag.is_empty() {
            None
        } else {
            Some(chars::text(self.spans.tag.of(self.text)))
        }
    }

    /// The `q` parameter in thousandths (0..=1000); `None` if absent or not a `qvalue`.
    #[must_use]
    pub fn q_thousandths(&self) -> Option<u16> {
        read_q(self.params().find("q")?.value?)
    }

    /// The `expires` parameter in seconds: `None` if absent. RFC 3261 10.2.1.1: what is not a number is
    /// to be taken as 3600; what does not fit, as 2^32-1.
    #[must_use]
    pub fn expires(&self) -> Option<u32> {
        let param = self.params().find("expires")?;
        Some(read_expires(param.value.unwrap_or_default()))
    }

    /// The `+sip.instance` parameter (RFC 5626 4.1) without quotes and `<>`.
    #[must_use]
    pub fn instance(&self) -> Option<&'a str> {
        let text = self.params().get("+sip.instance")?;
        let text = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
        Some(text.strip_prefix('<').and_then(|t| t.strip_suffix('>')).unwrap_or(text))
    }

    /// The `reg-id` parameter (RFC 5626 4.2); `None` also if it is not a number from 1 to 2^31-1.
    #[must_use]
    pub fn reg_id(&self) -> Option<u32> {
        let number = chars::number(self.params().find("reg-id")?.value?, u64::from(u32::MAX))?;
        u32::try_from(number).ok().filter(|id| (1..=0x7fff_ffff).contains(id))
    }
}

/// A Contact value.
#[derive(Clone, Copy, Debug)]
pub enum Contact<'a> {
    /// `*`: all bindings, in a REGISTER that removes them (RFC 3261 10.2.2).
    Any,
    /// An address.
    Addr(NameAddr<'a>),
}

impl<'a> Contact<'a> {
    /// Reads one Contact value; `None` if it is none.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<Contact<'a>> {
        if chars::trim(value) == b"*" {
            return Some(Contact::Any);
        }
        NameAddr::parse(value).map(Contact::Addr)
    }

    /// The address, unless it is `*`.
    #[must_use]
    pub const fn addr(self) -> Option<NameAddr<'a>> {
        match self {
            Contact::Any => None,
            Contact::Addr(addr) => Some(addr),
        }
    }
}

/// `qvalue` (RFC 3261 25.1): 0 to 1 with up to three decimals.
fn read_q(text: &[u8]) -> Option<u16> {
    let (whole, decimals) = match memchr::memchr(b'.', text) {
        None => (text, &b""[..]),
        Some(dot) => (&text[..dot], &text[dot + 1..]),
    };
    if decimals.len() > 3 || !matches!(whole, b"0" | b"1" | b"") || text.is_empty() || text == b"."
    {
        return None;
    }
    let mut value: u16 = if whole == b"1" { 1000 } else { 0 };
    for (digit, weight) in decimals.iter().zip([100, 10, 1]) {
        if !digit.is_ascii_digit() {
            return None;
        }
        value += u16::from(digit - b'0') * weight;
    }
    if value <= 1000 { Some(value) } else { None }
}

/// Seconds to be taken where an `expires` parameter is not a number (RFC 3261 10.2.1.1).
const EXPIRES_UNREADABLE: u32 = 3600;

pub(super) fn read_expires(text: &[u8]) -> u32 {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return EXPIRES_UNREADABLE;
    }
    chars::number(text, u64::from(u32::MAX)).map_or(u32::MAX, |seconds| seconds as u32)
}
