//! Collecting from a malformed request what a stateless refusal needs.

use std::fmt;
use std::io::Write as _;
use std::net::SocketAddr;

use bytes::Bytes;
use smallvec::SmallVec;

use super::addr::NameAddr;
use super::chars;
use super::limits::HEADERS_MAX;
use super::list::Commas;
use super::malformed::Defect;
use super::name::HeaderName;
use super::span::Span;
use super::stamp;
use super::via::{Via, ViaSpans};
use super::write::{push_header, push_value};

/// Positions of the header values that a response copies.
#[derive(Clone, Default)]
pub(super) struct Salvage {
    raw: Bytes,
    vias: SmallVec<[Span; 4]>,
    from: Option<Span>,
    to: Option<Span>,
    call_id: Option<Span>,
    cseq: Option<Span>,
}

impl fmt::Debug for Salvage {
    /// How much there is alone: the message holds personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Salvage({} bytes, {} Via lines)", self.raw.len(), self.vias.len())
    }
}

/// What can be answered with; `None` where silence is right.
pub(super) fn collect(defect: Defect, raw: &Bytes) -> Option<Salvage> {
    if matches!(defect, Defect::Empty | Defect::NotSip) {
        return None;
    }
    let mut at = request_line_end(raw)?;
    let mut salvage = Salvage { raw: raw.clone(), ..Salvage::default() };
    for _ in 0..HEADERS_MAX {
        let Some((line, next)) = logical_line(raw, at) else { break };
        if line.is_empty() {
            break;
        }
        salvage.note(raw, line);
        at = next;
    }
    // With a sent-by the sender knows the Via as its own, be its parameters ever so broken (RFC 4475 3.1.2.1);
    // the answer goes to where the request came from either way.
    let top = salvage.vias.first()?.of(raw);
    ViaSpans::names_sender(top).then_some(salvage)
}

/// The end of the first line if it looks like that of a request other than ACK (which is never
/// answered, RFC 3261 17).
fn request_line_end(raw: &[u8]) -> Option<usize> {
    let end = memchr::memchr(b'\n', raw)?;
    let line = chars::trim(&raw[..end]);
    let method_end = chars::run(line, 0, chars::TOKEN);
    let last = line.rsplit(|b| *b == b' ').next()?;
    let is_request = method_end > 0
        && line.get(method_end) == Some(&b' ')
        && super::parse::is_version_prefix(last)
        && &line[..method_end] != b"ACK";
    if is_request { Some(end + 1) } else { None }
}

/// The line at `at` with its continuation lines, and where the next one starts; `None` if it does not
/// end.
fn logical_line(raw: &[u8], at: usize) -> Option<(Span, usize)> {
    let next_line = |at: usize| Some(at + memchr::memchr(b'\n', raw.get(at..)?)? + 1);
    let mut end = next_line(at)?;
    if chars::trim(&raw[at..end]).is_empty() {
        return Some((Span::new(at, at), end));
    }
    while matches!(raw.get(end), Some(b' ' | b'\t')) {
        end = next_line(end)?;
    }
    Some((Span::new(at, end), end))
}

impl Salvage {
    fn note(&mut self, raw: &[u8], line: Span) {
        let text = line.of(raw);
        let name_end = chars::run(text, 0, chars::TOKEN);
        let Some(name) = HeaderName::from_bytes(&text[..name_end]) else { return };
        let mut at = name_end;
        while matches!(text.get(at), Some(b' ' | b'\t')) {
            at += 1;
        }
        if text.get(at) != Some(&b':') {
            return;
        }
        let value = chars::trim(&text[at + 1..]);
        let start = line.start as usize + chars::skip_lws(text, at + 1);
        let span = Span::new(start, start + value.len());
        if name == HeaderName::Via {
            self.vias.push(span);
        } else if let Some(slot) = self.slot(name) {
            slot.get_or_insert(span);
        }
    }

    fn slot(&mut self, name: HeaderName) -> Option<&mut Option<Span>> {
        #[expect(clippy::wildcard_enum_match_arm, reason = "a response copies these alone")]
        match name {
            HeaderName::From => Some(&mut self.from),
            HeaderName::To => Some(&mut self.to),
            HeaderName::CallId => Some(&mut self.call_id),
            HeaderName::CSeq => Some(&mut self.cseq),
            _ => None,
        }
    }
}

/// Writes the refusal.
pub(super) fn write(salvage: &Salvage, defect: Defect, to_tag: &str, source: SocketAddr) -> Bytes {
    let raw = &salvage.raw[..];
    let mut out = Vec::with_capacity(512);
    // Writing to a Vec does not fail.
    let _ = write!(out, "SIP/2.0 {} {defect}\r\n", defect.status());
    for (line, span) in salvage.vias.iter().enumerate() {
        let values = Commas::new(span.of(raw));
        if values.clone().any(|value| Via::parse(value).is_none()) {
            push_header(&mut out, "Via", span.of(raw));
            continue;
        }
        for (i, value) in values.enumerate() {
            let stamped = if line == 0 && i == 0 {
                Via::parse(value).and_then(|via| stamp::stamped(&via, source))
            } else {
                None
            };
            push_header(&mut out, "Via", stamped.as_deref().unwrap_or(value));
        }
    }
    if let Some(from) = salvage.from {
        push_header(&mut out, "From", from.of(raw));
    }
    if let Some(to) = salvage.to {
        out.extend_from_slice(b"To: ");
        push_value(&mut out, to.of(raw));
        push_tag(&mut out, to.of(raw), to_tag);
        out.extend_from_slice(b"\r\n");
    }
    if let Some(call_id) = salvage.call_id {
        push_header(&mut out, "Call-ID", call_id.of(raw));
    }
    if let Some(cseq) = salvage.cseq {
        push_header(&mut out, "CSeq", cseq.of(raw));
    }
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    Bytes::from(out)
}

/// A To that cannot be read gets no tag: where it would go is not known.
fn push_tag(out: &mut Vec<u8>, to: &[u8], tag: &str) {
    if NameAddr::parse(to).is_some_and(|to| to.tag().is_none()) {
        out.extend_from_slice(b";tag=");
        push_value(out, tag.as_bytes());
    }
}
