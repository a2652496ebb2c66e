//! The parser: one pass over the head that notes positions, then the checks that every message must
//! stand (RFC 3261 7, 8.1.1, 20; RFC 4475).

use std::sync::Arc;

use super::addr::AddrSpans;
use super::chars;
use super::index::{Entries, Entry, Index, StartLine};
use super::limits::{HEAD_BYTES_MAX, HEADERS_MAX};
use super::malformed::Defect;
use super::method::Method;
use super::name::HeaderName;
use super::name_lookup;
use super::scan;
use super::span::Span;
use super::uri::Uri;
use super::via::ViaSpans;

/// What is wrong and where.
pub(super) type Flaw = (Defect, usize);

/// Largest CSeq number (RFC 3261 8.1.1.5: less than 2^31).
pub const CSEQ_MAX: u32 = (1 << 31) - 1;

/// How a message's end is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// A datagram: what follows Content-Length bytes is dropped, and without one the body goes to the
    /// end (RFC 3261 18.3).
    Datagram,
    /// Cut out of a stream: Content-Length is there and fits.
    Stream,
}

/// Parses `raw`, which starts with the start line. Returns the index and where the message ends.
pub(super) fn parse(raw: &[u8], framing: Framing) -> Result<(Arc<Index>, usize), Flaw> {
    let mut lines = Lines::new(raw);
    let (start, method, first_header) = start_line(&mut lines)?;
    let mut entries = Entries::new();
    let head_end = header_lines(&mut lines, first_header, &mut entries)?;
    if let Some(at) = lines.bare_cr {
        return Err((Defect::LineEnd, at));
    }
    let known = Known::collect(raw, &entries)?;
    check(raw, start, method, entries, &known, head_end, framing)
}

/// Looks for line ends.
struct Lines<'r> {
    raw: &'r [u8],
    /// Where the bytes start that were looked at last, and a bit for each CR and LF in them.
    breaks_at: usize,
    breaks: u64,
    /// The first CR that no LF follows: some implementations take it for a line end, and would see header
    /// fields that this node has not. Refused once the whole head has been looked at.
    bare_cr: Option<usize>,
}

impl<'r> Lines<'r> {
    fn new(raw: &'r [u8]) -> Lines<'r> {
        let breaks = scan::line_breaks(raw, 0).unwrap_or_default();
        Lines { raw, breaks_at: 0, breaks, bare_cr: None }
    }

    /// Returns where the line that `at` is in ends (its CR).
    #[inline]
    fn end(&mut self, mut at: usize) -> Result<usize, Flaw> {
        loop {
            let Some(hit) = self.next_break(at) else {
                return Err((Defect::HeadEnd, self.raw.len()));
            };
            if self.raw[hit] == b'\n' {
                return Err((Defect::LineEnd, hit));
            }
            if self.raw.get(hit + 1) == Some(&b'\n') {
                return Ok(hit);
            }
            self.bare_cr.get_or_insert(hit);
            at = hit + 1;
        }
    }

    /// The first CR or LF from `at` on, which is not before where it was last time.
    #[inline]
    fn next_break(&mut self, mut at: usize) -> Option<usize> {
        loop {
            let offset = at - self.breaks_at;
            if offset < scan::STRETCH_LEN {
                let breaks = self.breaks & (u64::MAX << offset);
                if breaks != 0 {
                    return Some(self.breaks_at + breaks.trailing_zeros() as usize);
                }
                at = self.breaks_at + scan::STRETCH_LEN;
            }
            self.breaks = scan::line_breaks(self.raw, at)?;
            self.breaks_at = at;
        }
    }
}

/// Reads the first line. For a response the method is not known yet.
fn start_line(lines: &mut Lines<'_>) -> Result<(StartLine, Option<Method>, usize), Flaw> {
    let end = lines.end(0).map_err(|(defect, at)| {
        let defect = if defect == Defect::HeadEnd { Defect::NotSip } else { defect };
        (defect, at)
    })?;
    let line = &lines.raw[..end];
    if is_version_prefix(line) {
        return status_line(line).map(|start| (start, None, end + 2));
    }
    let (start, method) = request_line(line)?;
    Ok((start, Some(method), end + 2))
}

pub(super) fn is_version_prefix(line: &[u8]) -> bool {
    line.get(..4).is_some_and(|p| p.eq_ignore_ascii_case(b"SIP/"))
}

/// `SIP/2.0 200 OK`; the reason may be empty, and peers leave out the space before it then.
fn status_line(line: &[u8]) -> Result<StartLine, Flaw> {
    let rest = match line.get(..8) {
        Some(version) if version.eq_ignore_ascii_case(b"SIP/2.0 ") => &line[8..],
        _ => return Err((Defect::Version, 0)),
    };
    let digits = rest.get(..3).filter(|_| matches!(rest.get(3), None | Some(b' ')));
    let status = digits.and_then(|digits| chars::number(digits, 699)).filter(|n| *n >= 100);
    let Some(status) = status else { return Err((Defect::StatusLine, 8)) };
    let reason = Span::new(line.len().min(12), line.len());
    Ok(StartLine::Response { status: status as u16, reason })
}

/// `INVITE sip:a@b SIP/2.0` with exactly one space between (RFC 3261 7.1).
fn request_line(line: &[u8]) -> Result<(StartLine, Method), Flaw> {
    let Some(space) = scan::find(line, 0, b' ') else { return Err((Defect::NotSip, 0)) };
    let Some(method) = Method::from_token(&line[..space]) else { return Err((Defect::NotSip, 0)) };
    let uri_start = space + 1;
    let Some(uri_end) = scan::find(line, uri_start, b' ') else {
        return Err((Defect::RequestLine, uri_start));
    };
    let version = &line[uri_end + 1..];
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        return Err(bad_version(version, uri_end + 1));
    }
    check_request_uri(&line[uri_start..uri_end]).map_err(|defect| (defect, uri_start))?;
    Ok((StartLine::Request { uri: Span::new(uri_start, uri_end) }, method))
}

/// Tells another version (505) from a URI with a space in it or stray white space (400).
fn bad_version(text: &[u8], at: usize) -> Flaw {
    let number = |b: &u8| b.is_ascii_digit() || *b == b'.';
    let defect = if is_version_prefix(text) && text.len() > 4 && text[4..].iter().all(number) {
        Defect::Version
    } else {
        Defect::RequestLine
    };
    (defect, at)
}

pub(super) fn check_request_uri(text: &[u8]) -> Result<(), Defect> {
    let uri = Uri::parse(chars::text(text)).map_err(|_| Defect::RequestUri)?;
    if uri.headers().is_some() { Err(Defect::RequestUriHeaders) } else { Ok(()) }
}

/// Notes every header line up to the empty line; returns where that one starts.
fn header_lines(
    lines: &mut Lines<'_>,
    mut at: usize,
    entries: &mut Entries,
) -> Result<usize, Flaw> {
    loop {
        if lines.raw.get(at) == Some(&b'\r') && lines.raw.get(at + 1) == Some(&b'\n') {
            return Ok(at);
        }
        if at > HEAD_BYTES_MAX {
            return Err((Defect::HeadSize, at));
        }
        if entries.len() == HEADERS_MAX {
            return Err((Defect::HeaderCount, at));
        }
        let (entry, next) = header_line(lines, at)?;
        entries.push(entry);
        at = next;
    }
}

#[inline]
fn header_line(lines: &mut Lines<'_>, start: usize) -> Result<(Entry, usize), Flaw> {
    let raw = lines.raw;
    let (name, name_end, colon) = header_name(lines, start)?;
    let mut end = lines.end(colon + 1)?;
    // RFC 3261 7.3.1: a line that starts with white space continues the one before.
    while matches!(raw.get(end + 2), Some(b' ' | b'\t')) {
        end = lines.end(end + 2)?;
    }
    let value = trimmed(raw, colon + 1, end);
    let name_len = u16::try_from(name_end - start).map_err(|_| (Defect::HeaderLine, start))?;
    Ok((Entry { start: start as u32, name_len, name, value }, end + 2))
}

/// `start..end` without white space at its ends.
#[inline]
pub(super) fn trimmed(raw: &[u8], start: usize, end: usize) -> Span {
    let value_start = chars::skip_lws(&raw[..end], start);
    let mut value_end = end;
    while value_end > value_start && chars::is_lws(raw[value_end - 1]) {
        value_end -= 1;
    }
    Span::new(value_start, value_end)
}

/// Reads `name` and the colon after it; returns the known name, where it ends and where the colon is.
#[inline]
fn header_name(
    lines: &mut Lines<'_>,
    start: usize,
) -> Result<(Option<HeaderName>, usize, usize), Flaw> {
    let raw = lines.raw;
    if let Some((name, colon)) = name_lookup::at_line_start(raw, start) {
        return Ok((Some(name), colon, colon));
    }
    let end = chars::run(raw, start, chars::TOKEN);
    let mut colon = end;
    while matches!(raw.get(colon), Some(b' ' | b'\t')) {
        colon += 1;
    }
    if end == start || raw.get(colon) != Some(&b':') {
        // An unfinished head is named as such, whatever its last line holds.
        lines.end(start)?;
        return Err((Defect::HeaderLine, start));
    }
    Ok((HeaderName::from_bytes(&raw[start..end]), end, colon))
}

/// The header fields that every message must have, and the others that are read at once.
pub(super) struct Known {
    /// The first value of each; the last place is for all other headers.
    values: [Span; READ_AT_ONCE.len() + 1],
    seen: [bool; HeaderName::ALL.len()],
}

const READ_AT_ONCE: [HeaderName; 7] = [
    HeaderName::Via,
    HeaderName::From,
    HeaderName::To,
    HeaderName::CallId,
    HeaderName::CSeq,
    HeaderName::MaxForwards,
    HeaderName::ContentLength,
];

/// RFC 3261 8.1.1, Max-Forwards aside, which RFC 2543 elements do not send.
const NEEDED: [HeaderName; 5] =
    [HeaderName::Via, HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq];

/// The place of each header in [`Known::values`].
static PLACES: [u8; HeaderName::ALL.len()] = {
    let mut places = [READ_AT_ONCE.len() as u8; HeaderName::ALL.len()];
    let mut i = 0;
    while i < READ_AT_ONCE.len() {
        places[READ_AT_ONCE[i] as usize] = i as u8;
        i += 1;
    }
    places
};

impl Known {
    #[inline]
    pub(super) fn collect(raw: &[u8], entries: &[Entry]) -> Result<Known, Flaw> {
        let mut known = Known {
            values: [Span::default(); READ_AT_ONCE.len() + 1],
            seen: [false; HeaderName::ALL.len()],
        };
        for entry in entries {
            let Some(name) = entry.name else { continue };
            let is_seen = &mut known.seen[name as usize];
            if *is_seen {
                if name.is_single() {
                    return Err((Defect::Repeated(name), entry.start as usize));
                }
                continue;
            }
            *is_seen = true;
            known.values[usize::from(PLACES[name as usize])] = entry.value;
        }
        match NEEDED.into_iter().find(|name| !known.seen[*name as usize]) {
            Some(name) => Err((Defect::Missing(name), raw.len())),
            None => Ok(known),
        }
    }

    /// The first value of a header that is one of those read at once.
    #[inline]
    pub(super) fn get(&self, name: HeaderName) -> Option<Span> {
        let place = usize::from(PLACES[name as usize]);
        self.seen[name as usize].then(|| self.values[place])
    }
}

fn check(
    raw: &[u8],
    start: StartLine,
    method: Option<Method>,
    entries: Entries,
    known: &Known,
    head_end: usize,
    framing: Framing,
) -> Result<(Arc<Index>, usize), Flaw> {
    let via_at = known.get(HeaderName::Via).unwrap_or_default();
    let (via, via_len) =
        ViaSpans::parse_prefix(via_at.of(raw)).ok_or_else(|| bad(HeaderName::Via, via_at))?;
    let (from_at, from) = address(raw, known.get(HeaderName::From), HeaderName::From)?;
    let (to_at, to) = address(raw, known.get(HeaderName::To), HeaderName::To)?;
    let call_id = known.get(HeaderName::CallId).unwrap_or_default();
    if !scan::all(call_id.of(raw), chars::WORD) {
        return Err(bad(HeaderName::CallId, call_id));
    }
    let (cseq, method) = cseq(raw, known.get(HeaderName::CSeq).unwrap_or_default(), method)?;
    let max_forwards = max_forwards(raw, known.get(HeaderName::MaxForwards))?;
    let content_length = content_length(raw, known.get(HeaderName::ContentLength))?;
    let body = head_end + 2;
    let end = message_end(raw, body, content_length, framing)?;
    let index = Arc::new(Index {
        start,
        method,
        entries,
        head_end: head_end as u32,
        body: body as u32,
        via_at: Span { start: via_at.start, end: via_at.start + via_len as u32 },
        via,
        from_at,
        from,
        to_at,
        to,
        call_id,
        cseq,
        max_forwards,
        content_length,
    });
    Ok((index, end))
}

fn bad(name: HeaderName, at: Span) -> Flaw {
    (Defect::Bad(name), at.start as usize)
}

fn address(raw: &[u8], at: Option<Span>, name: HeaderName) -> Result<(Span, AddrSpans), Flaw> {
    let at = at.unwrap_or_default();
    match AddrSpans::parse(at.of(raw)) {
        Some(spans) => Ok((at, spans)),
        None => Err(bad(name, at)),
    }
}

/// Reads CSeq; for a request its method must be that of the request line (RFC 3261 8.1.1.5).
fn cseq(raw: &[u8], at: Span, method: Option<Method>) -> Result<(u32, Method), Flaw> {
    let text = at.of(raw);
    let flaw = bad(HeaderName::CSeq, at);
    let digits = text.iter().position(|b| !b.is_ascii_digit()).ok_or(flaw)?;
    let number = chars::number(&text[..digits], u64::from(CSEQ_MAX)).ok_or(flaw)?;
    let name_at = chars::skip_lws(text, digits);
    if name_at == digits {
        return Err(flaw);
    }
    let name = &text[name_at..];
    let method = match method {
        Some(method) if method.as_str().as_bytes() == name => method,
        Some(method) if chars::is_token(name) => {
            let is_known = !matches!(method, Method::Other(_));
            let defect = if is_known { Defect::CSeqMethod } else { Defect::UnknownMethod };
            return Err((defect, at.start as usize));
        }
        Some(_) => return Err(flaw),
        None => Method::from_token(name).ok_or(flaw)?,
    };
    Ok((number as u32, method))
}

pub(super) fn max_forwards(raw: &[u8], at: Option<Span>) -> Result<Option<u8>, Flaw> {
    let number = number(raw, at, u64::from(u8::MAX), HeaderName::MaxForwards)?;
    Ok(number.map(|n| n as u8))
}

pub(super) fn content_length(raw: &[u8], at: Option<Span>) -> Result<Option<u32>, Flaw> {
    number(raw, at, u64::from(u32::MAX), HeaderName::ContentLength)
}

fn number(raw: &[u8], at: Option<Span>, max: u64, name: HeaderName) -> Result<Option<u32>, Flaw> {
    let Some(at) = at else { return Ok(None) };
    match chars::number(at.of(raw), max) {
        Some(n) => Ok(Some(n as u32)),
        None => Err(bad(name, at)),
    }
}

/// Where the body ends (RFC 3261 18.3).
pub(super) fn message_end(
    raw: &[u8],
    body: usize,
    length: Option<u32>,
    framing: Framing,
) -> Result<usize, Flaw> {
    let Some(length) = length else {
        return match framing {
            Framing::Datagram => Ok(raw.len()),
            Framing::Stream => Err((Defect::Missing(HeaderName::ContentLength), body)),
        };
    };
    let end = body.saturating_add(length as usize);
    if end > raw.len() { Err((Defect::BodyShort, raw.len())) } else { Ok(end) }
}
