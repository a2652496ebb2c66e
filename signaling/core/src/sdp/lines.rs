//! The lines of a session description.

/// One line: `k=value` and its line end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    /// The letter before `=`; 0 for an empty line.
    pub(super) kind: u8,
    /// What follows `=`.
    pub(super) value: &'a [u8],
    /// The line end as received: CRLF, LF, or nothing at the end of the text.
    pub(super) ending: &'a [u8],
    /// The whole line with its end.
    pub(super) raw: &'a [u8],
}

impl<'a> Line<'a> {
    /// Takes the first line off `text`; `None` if it is not `k=value` and not empty.
    pub(super) fn take(text: &mut &'a [u8]) -> Option<Line<'a>> {
        let len = memchr::memchr(b'\n', text).map_or(text.len(), |i| i + 1);
        let (raw, rest) = text.split_at(len);
        *text = rest;
        let content = raw.strip_suffix(b"\n").unwrap_or(raw);
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        let ending = &raw[content.len()..];
        if content.is_empty() {
            return Some(Line { kind: 0, value: content, ending, raw });
        }
        // RFC 8866 5: exactly one letter, no white space around `=`.
        match content {
            [kind, b'=', value @ ..] if kind.is_ascii_lowercase() => {
                Some(Line { kind: *kind, value, ending, raw })
            }
            _ => None,
        }
    }

    /// The value of the attribute `name` if this line is it: `a=name` or `a=name:value`.
    pub(super) fn attribute(&self, name: &str) -> Option<&'a [u8]> {
        let (own, value) = self.as_attribute()?;
        if own == name.as_bytes() { Some(value) } else { None }
    }

    /// Name and value of an attribute line; the value is empty where there is none.
    pub(super) fn as_attribute(&self) -> Option<(&'a [u8], &'a [u8])> {
        if self.kind != b'a' {
            return None;
        }
        Some(match memchr::memchr(b':', self.value) {
            None => (self.value, &[]),
            Some(colon) => (&self.value[..colon], &self.value[colon + 1..]),
        })
    }
}

/// Attributes that belong to ICE (RFC 8839) and mean nothing once addresses have been replaced.
const ICE: [&[u8]; 9] = [
    b"candidate",
    b"remote-candidates",
    b"end-of-candidates",
    b"ice-ufrag",
    b"ice-pwd",
    b"ice-options",
    b"ice-lite",
    b"ice-mismatch",
    b"ice-pacing",
];

/// Whether the line is an ICE attribute.
pub(super) fn is_ice(line: &Line<'_>) -> bool {
    line.as_attribute().is_some_and(|(name, _)| ICE.contains(&name))
}

/// The identification tags of a BUNDLE group (RFC 9143), if the line is one.
pub(super) fn bundle_tags<'a>(line: &Line<'a>) -> Option<impl Iterator<Item = &'a [u8]> + use<'a>> {
    let value = line.attribute("group")?;
    let mut words = value.split(|b| *b == b' ');
    if words.next()? == b"BUNDLE" { Some(words) } else { None }
}
