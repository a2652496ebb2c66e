//! `;name=value` parameters of URIs and header values.

use std::borrow::Cow;

use super::{chars, scan};

/// One parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    /// Its name as written; compare without case.
    pub name: &'a str,
    /// Its value as written, a quoted string with its quotes; `None` without `=`.
    pub value: Option<&'a [u8]>,
}

/// The parameters of a URI or of a header value, read when asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Params<'a> {
    text: &'a [u8],
}

impl<'a> Params<'a> {
    /// Over `text`, which starts at the first `;` (or is empty) and has been checked by [`scan`].
    pub(super) const fn new(text: &'a [u8]) -> Params<'a> {
        Params { text }
    }

    /// As written, from the first `;` on; empty if there are none.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.text
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.text.is_empty()
    }

    /// All of them, in order.
    #[must_use]
    pub const fn iter(self) -> ParamsIter<'a> {
        ParamsIter { text: self.text, at: 0 }
    }

    /// The first parameter of that name (case-insensitive).
    #[must_use]
    pub fn find(self, name: &str) -> Option<Param<'a>> {
        let mut at = 0;
        while let Some(param) = next_param(self.text, at) {
            if param.name.eq_ignore_ascii_case(name.as_bytes()) {
                return Some(param.read());
            }
            at = param.end;
        }
        None
    }

    /// Whether there is a parameter of that name, with or without a value.
    #[must_use]
    pub fn has(self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The value of the first parameter of that name, as written: `Some("")` if it has none, `None`
    /// if there is no such parameter or its value is not UTF-8.
    #[must_use]
    pub fn get(self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.find(name)?.value.unwrap_or_default()).ok()
    }

    /// As [`Params::get`], with the quotes and escapes of a quoted string taken away.
    #[must_use]
    pub fn get_unquoted(self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name).map(unquote)
    }
}

impl<'a> IntoIterator for Params<'a> {
    type Item = Param<'a>;
    type IntoIter = ParamsIter<'a>;

    fn into_iter(self) -> ParamsIter<'a> {
        self.iter()
    }
}

/// Iterates over [`Params`].
#[derive(Clone, Debug)]
pub struct ParamsIter<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Iterator for ParamsIter<'a> {
    type Item = Param<'a>;

    fn next(&mut self) -> Option<Param<'a>> {
        let param = next_param(self.text, self.at)?;
        self.at = param.end;
        Some(param.read())
    }
}

/// A parameter as it is read: name, value (empty without one), whether there is an `=`, and where it ends.
#[derive(Clone, Copy)]
pub(super) struct RawParam<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) has_value: bool,
    pub(super) end: usize,
}

impl<'a> RawParam<'a> {
    fn read(&self) -> Param<'a> {
        let value = self.has_value.then_some(self.value);
        Param { name: chars::text(self.name), value }
    }
}

/// Reads `;name[=value]` at `at`, white space allowed around each piece; `None` at the end of `text`
/// or where it is not a parameter. The name is ASCII.
#[inline]
pub(super) fn next_param(text: &[u8], at: usize) -> Option<RawParam<'_>> {
    let at = chars::skip_lws(text, at);
    if text.get(at) != Some(&b';') {
        return None;
    }
    let start = chars::skip_lws(text, at + 1);
    let end = chars::run(text, start, chars::PARAM_NAME);
    if end == start {
        return None;
    }
    let name = &text[start..end];
    let equals = chars::skip_lws(text, end);
    if text.get(equals) != Some(&b'=') {
        return Some(RawParam { name, value: &[], has_value: false, end });
    }
    let start = chars::skip_lws(text, equals + 1);
    let end = value_end(text, start)?;
    Some(RawParam { name, value: &text[start..end], has_value: true, end })
}

/// Where a parameter value ends: after a quoted string, or after a run of value characters.
#[inline]
fn value_end(text: &[u8], at: usize) -> Option<usize> {
    if text.get(at) == Some(&b'"') {
        return chars::skip_quoted(text, at);
    }
    Some(scan::run(text, at, chars::PARAM_VALUE))
}

/// `None` if what stands from `at` up to the end of `text` is not a list of parameters.
#[inline]
pub(super) fn scan(text: &[u8], mut at: usize) -> Option<()> {
    while let Some(param) = next_param(text, at) {
        at = param.end;
    }
    if chars::skip_lws(text, at) == text.len() { Some(()) } else { None }
}

/// A quoted string without its quotes and with its escapes undone; other text as it is.
pub(crate) fn unquote(text: &str) -> Cow<'_, str> {
    let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Cow::Borrowed(text);
    };
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut plain = String::with_capacity(inner.len());
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => plain.extend(letters.next()),
            other => plain.push(other),
        }
    }
    Cow::Owned(plain)
}
