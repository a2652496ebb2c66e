//! Content types (RFC 3261 20.15).

use super::chars;
use super::params::{self, Params};

/// The value of a Content-Type, or of another header of the form `type/subtype;parameters`.
#[derive(Clone, Copy, Debug)]
pub struct MediaType<'a> {
    kind: &'a str,
    subtype: &'a str,
    params: Params<'a>,
}

impl<'a> MediaType<'a> {
    /// Reads a value; `None` if it is no media type.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<MediaType<'a>> {
        let start = chars::skip_lws(value, 0);
        let end = chars::run(value, start, chars::TOKEN);
        let slash = chars::skip_lws(value, end);
        if end == start || value.get(slash) != Some(&b'/') {
            return None;
        }
        let sub = chars::skip_lws(value, slash + 1);
        let sub_end = chars::run(value, sub, chars::TOKEN);
        if sub_end == sub {
            return None;
        }
        params::scan(value, sub_end)?;
        Some(MediaType {
            kind: chars::text(&value[start..end]),
            subtype: chars::text(&value[sub..sub_end]),
            params: Params::new(&value[sub_end..]),
        })
    }

    /// Whether it is `kind/subtype` (case-insensitive).
    #[must_use]
    pub fn is(&self, kind: &str, subtype: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind) && self.subtype.eq_ignore_ascii_case(subtype)
    }

    /// The type, for example `application`. Compare without case.
    #[must_use]
    pub const fn kind(&self) -> &'a str {
        self.kind
    }

    /// The subtype, for example `sdp`. Compare without case.
    #[must_use]
    pub const fn subtype(&self) -> &'a str {
        self.subtype
    }

    /// The parameters, for example `boundary`.
    #[must_use]
    pub const fn params(&self) -> Params<'a> {
        self.params
    }
}
