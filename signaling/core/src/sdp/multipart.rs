//! Finding the session description in a body, which may be multipart (RFC 2046 5.1, RFC 5621).

use std::ops::Range;

use crate::wire::{HeaderName, MediaType};

/// Most parts that are looked at. Real bodies have two or three.
const PARTS_MAX: usize = 32;

/// Where the session description is in a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdpPart {
    sdp: Range<usize>,
    /// The value of a Content-Length among the part's own headers.
    length: Option<Range<usize>>,
}

/// Finds the session description in a body with that Content-Type: the whole body for `application/sdp`;
/// for `multipart/...` the first part of that type that is meant for the session (RFC 3261 20.11). `None` if
/// there is none. Parts inside parts are not looked into.
#[must_use]
pub fn find_sdp(content_type: &[u8], body: &[u8]) -> Option<SdpPart> {
    let media_type = MediaType::parse(content_type)?;
    if media_type.is("application", "sdp") {
        return if body.is_empty() {
            None
        } else {
            Some(SdpPart { sdp: 0..body.len(), length: None })
        };
    }
    if !media_type.kind().eq_ignore_ascii_case("multipart") {
        return None;
    }
    let boundary = media_type.params().get_unquoted("boundary")?;
    if boundary.is_empty() {
        return None;
    }
    let delimiter = format!("--{boundary}");
    let mut at = next_delimiter(body, 0, delimiter.as_bytes())?;
    for _ in 0..PARTS_MAX {
        let start = part_start(body, at.end)?;
        let next = next_delimiter(body, start, delimiter.as_bytes())?;
        if let Some(part) = read_part(body, start..next.start.max(start)) {
            return Some(part);
        }
        at = next;
    }
    None
}

impl SdpPart {
    /// The session description.
    #[must_use]
    pub fn of<'b>(&self, body: &'b [u8]) -> &'b [u8] {
        body.get(self.sdp.clone()).unwrap_or_default()
    }

    /// The body with another session description in its place.
    #[must_use]
    pub fn put_back(&self, body: &[u8], sdp: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(body.len() + sdp.len());
        let mut head = body.get(..self.sdp.start).unwrap_or_default();
        if let Some(length) = &self.length {
            out.extend_from_slice(head.get(..length.start).unwrap_or_default());
            out.extend_from_slice(sdp.len().to_string().as_bytes());
            head = head.get(length.end..).unwrap_or_default();
        }
        out.extend_from_slice(head);
        out.extend_from_slice(sdp);
        out.extend_from_slice(body.get(self.sdp.end..).unwrap_or_default());
        out
    }
}

/// The next delimiter line from `at` on: from the line end before it, which belongs to it, to the end of the
/// boundary text.
fn next_delimiter(body: &[u8], at: usize, delimiter: &[u8]) -> Option<Range<usize>> {
    let mut from = at;
    loop {
        let hit = from + memchr::memmem::find(body.get(from..)?, delimiter)?;
        let end = hit + delimiter.len();
        let before = &body[..hit];
        let starts_line = before.is_empty() || before.ends_with(b"\n");
        let rest = &body[end..];
        // A longer boundary may begin with this one.
        let ends_word = matches!(rest.first(), None | Some(b'\r' | b'\n' | b' ' | b'\t'));
        if starts_line && (ends_word || rest.starts_with(b"--")) {
            let before = before.strip_suffix(b"\n").unwrap_or(before);
            let before = before.strip_suffix(b"\r").unwrap_or(before);
            return Some(before.len()..end);
        }
        from = hit + 1;
    }
}

/// Where the part after a delimiter starts; `None` after the last one.
fn part_start(body: &[u8], after: usize) -> Option<usize> {
    let rest = body.get(after..)?;
    if rest.starts_with(b"--") {
        return None;
    }
    Some(after + memchr::memchr(b'\n', rest)? + 1)
}

/// Reads the headers of a part; `None` if it is no session description.
fn read_part(body: &[u8], part: Range<usize>) -> Option<SdpPart> {
    let mut at = part.start;
    let (mut is_sdp, mut is_session, mut length) = (false, true, None);
    loop {
        let end = at + memchr::memchr(b'\n', &body[at..part.end])? + 1;
        let line = body[at..end].trim_ascii_end();
        if line.is_empty() {
            break;
        }
        let colon = memchr::memchr(b':', line)?;
        let value = line[colon + 1..].trim_ascii();
        match HeaderName::from_bytes(line[..colon].trim_ascii_end()) {
            Some(HeaderName::ContentType) => {
                is_sdp = MediaType::parse(value).is_some_and(|t| t.is("application", "sdp"));
            }
            Some(HeaderName::ContentDisposition) => {
                let kind = value.split(|b| *b == b';').next().unwrap_or_default();
                is_session = kind.trim_ascii().eq_ignore_ascii_case(b"session");
            }
            Some(HeaderName::ContentLength) => {
                let start = at + line.len() - value.len();
                length = Some(start..at + line.len());
            }
            _ => {}
        }
        at = end;
    }
    let start = at + memchr::memchr(b'\n', &body[at..part.end])? + 1;
    if is_sdp && is_session { Some(SdpPart { sdp: start..part.end, length }) } else { None }
}
