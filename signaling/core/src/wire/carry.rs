//! What is known of an edited message without parsing it again: positions of what was kept move along, and
//! only values that are new are read. A proxy edits each message that it passes on, which would else cost
//! a second parse.

use std::sync::Arc;

use bytes::Bytes;

use super::addr::AddrSpans;
use super::chars;
use super::edit::{Edit, Line};
use super::index::{Entries, Entry, Index, StartLine};
use super::limits::{HEAD_BYTES_MAX, HEADERS_MAX};
use super::message::Message;
use super::method::Method;
use super::name::HeaderName;
use super::parse::{self, Framing, Known};
use super::scan;
use super::span::Span;
use super::via::ViaSpans;

/// The index of `raw`, which is `edit` as written; it is the one that parsing gives. `None` if that has to
/// be found out by parsing: CSeq or an address that every message has is another, or something is too
/// much or cannot be read.
pub(super) fn index(edit: &Edit<'_>, raw: &[u8]) -> Option<Arc<Index>> {
    let old = edit.message().index();
    let (start, first_header) = start_line(edit, old, raw)?;
    let mut entries = Entries::new();
    let head_end = header_lines(edit, old, raw, first_header, &mut entries)?;
    let known = Known::collect(raw, &entries).ok()?;
    let method = carried_method(edit, old, raw, &known)?;
    let carried = Carried { edit, old, raw };
    let (via_at, via) = carried.via(known.get(HeaderName::Via)?)?;
    let (from_at, from) = carried.address(known.get(HeaderName::From)?, old.from_at, old.from)?;
    let (to_at, to) = carried.address(known.get(HeaderName::To)?, old.to_at, old.to)?;
    let call_id = carried.same(known.get(HeaderName::CallId)?, old.call_id)?;
    let max_forwards = parse::max_forwards(raw, known.get(HeaderName::MaxForwards)).ok()?;
    let content_length = parse::content_length(raw, known.get(HeaderName::ContentLength)).ok()?;
    let body = head_end + 2;
    let end = parse::message_end(raw, body, content_length, Framing::Datagram).ok()?;
    if end != raw.len() {
        return None;
    }
    Some(Arc::new(Index {
        start,
        method,
        entries,
        head_end: head_end as u32,
        body: body as u32,
        via_at,
        via,
        from_at,
        from,
        to_at,
        to,
        call_id,
        cseq: old.cseq,
        max_forwards,
        content_length,
    }))
}

/// `message` with another top Via, all else byte by byte as it is. `None` where an edit has more to do: the Via
/// is folded, there is no Content-Length, or the head becomes too long.
pub(super) fn with_top_via(message: &Message, value: &[u8]) -> Option<Message> {
    let (raw, old) = (message.raw(), message.index());
    let (start, end) = (old.via_at.start as usize, old.via_at.end as usize);
    let head_end = old.head_end as usize - (end - start) + value.len();
    if scan::has_line_break(value) || old.content_length.is_none() || head_end >= HEAD_BYTES_MAX {
        return None;
    }
    let (via, _) = ViaSpans::parse_prefix(value).filter(|(_, len)| *len == value.len())?;
    let mut bytes = Vec::with_capacity(raw.len() - (end - start) + value.len());
    bytes.extend_from_slice(&raw[..start]);
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(&raw[end..]);
    let moved = |at: u32| {
        // What is behind the Via moves by as much as it has grown.
        if at < old.via_at.end { at } else { at - old.via_at.end + (start + value.len()) as u32 }
    };
    let span = |at: Span| Span { start: moved(at.start), end: moved(at.end) };
    let entry =
        |entry: &Entry| Entry { start: moved(entry.start), value: span(entry.value), ..*entry };
    let index = Index {
        start: old.start,
        method: old.method.clone(),
        entries: old.entries.iter().map(entry).collect(),
        head_end: moved(old.head_end),
        body: moved(old.body),
        via_at: span(old.via_at),
        via,
        from_at: span(old.from_at),
        from: old.from,
        to_at: span(old.to_at),
        to: old.to,
        call_id: span(old.call_id),
        cseq: old.cseq,
        max_forwards: old.max_forwards,
        content_length: old.content_length,
    };
    Some(Message::from_parts(Bytes::from(bytes), Arc::new(index)))
}

/// The start line, and where the header lines begin.
fn start_line(edit: &Edit<'_>, old: &Index, raw: &[u8]) -> Option<(StartLine, usize)> {
    let old_end = old.entries.first()?.start as usize;
    match (edit.request_uri(), old.start) {
        (None, start) => Some((start, old_end)),
        (Some(_), StartLine::Request { uri }) => {
            let start = uri.start as usize;
            let len = memchr::memchr(b' ', raw.get(start..)?)?;
            parse::check_request_uri(&raw[start..start + len]).ok()?;
            let uri_new = Span::new(start, start + len);
            Some((StartLine::Request { uri: uri_new }, old_end - uri.end as usize + start + len))
        }
        (Some(_), StartLine::Response { .. }) => Some((old.start, old_end)),
    }
}

/// Notes the header lines; returns where the empty line starts.
fn header_lines(
    edit: &Edit<'_>,
    old: &Index,
    raw: &[u8],
    first_header: usize,
    entries: &mut Entries,
) -> Option<usize> {
    let was = &old.entries[..];
    let mut at = first_header;
    for line in edit.lines() {
        let (entry, len) = match line {
            Line::Kept(i) => kept(was, old.head_end, *i as usize, at)?,
            Line::New { name, name_len, line } => {
                let len = (line.end - line.start) as usize;
                let name = match name {
                    Some(name) => Some(*name),
                    None => unknown(raw.get(at..at + usize::from(*name_len))?)?,
                };
                (written(name, *name_len, raw, at, len), len)
            }
        };
        entries.push(entry);
        at += len;
    }
    // What is left before the empty line is the Content-Length that there was not.
    if raw.get(at..at + 2) != Some(b"\r\n") {
        let name = HeaderName::ContentLength;
        let len = memchr::memchr(b'\n', raw.get(at..)?)? + 1;
        entries.push(written(Some(name), name.as_str().len() as u16, raw, at, len));
        at += len;
    }
    (entries.len() < HEADERS_MAX && at < HEAD_BYTES_MAX).then_some(at)
}

/// The line numbered `i` of a message that `was`, and whose head ended at `head_end`, where it starts at `at`
/// now; and how long it is.
#[inline]
fn kept(was: &[Entry], head_end: u32, i: usize, at: usize) -> Option<(Entry, usize)> {
    let entry = was.get(i)?;
    let end = was.get(i + 1).map_or(head_end, |next| next.start);
    let moved = |position: u32| position - entry.start + at as u32;
    let value = Span { start: moved(entry.value.start), end: moved(entry.value.end) };
    Some((Entry { start: at as u32, value, ..*entry }, (end - entry.start) as usize))
}

/// A line of `len` bytes that the edit has written at `at`: `name: value\r\n`.
fn written(name: Option<HeaderName>, name_len: u16, raw: &[u8], at: usize, len: usize) -> Entry {
    let value = parse::trimmed(raw, at + usize::from(name_len) + 1, at + len - 2);
    Entry { start: at as u32, name_len, name, value }
}

/// What parsing makes of a name that was not given as a known one; `None` if it is no name.
fn unknown(name: &[u8]) -> Option<Option<HeaderName>> {
    chars::is_token(name).then(|| HeaderName::from_bytes(name))
}

/// The method, if CSeq, which is to repeat it, has stayed as it was.
fn carried_method(edit: &Edit<'_>, old: &Index, raw: &[u8], known: &Known) -> Option<Method> {
    let before = edit.message().first(HeaderName::CSeq)?;
    (known.get(HeaderName::CSeq)?.of(raw) == before).then(|| old.method.clone())
}

/// Values of the new message that are those of the old one, read already.
struct Carried<'e> {
    edit: &'e Edit<'e>,
    old: &'e Index,
    raw: &'e [u8],
}

impl Carried<'_> {
    fn was(&self, at: Span) -> &[u8] {
        at.of(self.edit.message().raw())
    }

    /// Where a value is now, if it has stayed the same.
    fn same(&self, now: Span, before: Span) -> Option<Span> {
        (now.of(self.raw) == self.was(before)).then_some(now)
    }

    fn address(&self, now: Span, before: Span, spans: AddrSpans) -> Option<(Span, AddrSpans)> {
        self.same(now, before).map(|at| (at, spans))
    }

    /// The top Via, read anew if it is another: a proxy's own, or the one below that.
    fn via(&self, line: Span) -> Option<(Span, ViaSpans)> {
        let text = line.of(self.raw);
        let before = self.was(self.old.via_at);
        let (via, len) = match text.strip_prefix(before) {
            Some([] | [b',', ..]) => (self.old.via, before.len()),
            Some(_) | None => ViaSpans::parse_prefix(text)?,
        };
        Some((Span { start: line.start, end: line.start + len as u32 }, via))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::FieldName;
    use super::*;

    const TEXT: &str = "INVITE sip:bob@callee.example SIP/2.0\r\n\
        Via: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKa;rport , SIP/2.0/TCP other.example;branch=z9hG4bKb\r\n\
        v: SIP/2.0/UDP third.example;branch=z9hG4bKc\r\nMax-Forwards : 70\r\n\
        f: \"Alice\" <sip:alice@caller.example>;tag=1\r\nt:\r\n <sip:bob@callee.example>\r\n\
        i: 1@192.0.2.2\r\nCSeq: 7  INVITE\r\nX-Unknown: what,\r\n\tever\r\n\
        Route: <sip:192.0.2.1;lr>, <sip:192.0.2.9;lr>\r\nContact: <sip:alice@192.0.2.2>\r\n\r\nBody";

    const NAMES: [FieldName<'static>; 11] = [
        FieldName::Known(HeaderName::Via),
        FieldName::Known(HeaderName::From),
        FieldName::Known(HeaderName::To),
        FieldName::Known(HeaderName::CallId),
        FieldName::Known(HeaderName::CSeq),
        FieldName::Known(HeaderName::MaxForwards),
        FieldName::Known(HeaderName::ContentLength),
        FieldName::Known(HeaderName::Route),
        FieldName::Other("X-Unknown"),
        FieldName::Other("Subject"),
        FieldName::Other("no name"),
    ];

    const VALUES: [&str; 11] = [
        "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKd",
        "SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKa;rport",
        "SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKa;rport , SIP/2.0/UDP 192.0.2.1",
        "<sip:carol@callee.example>;tag=2",
        "  <sip:192.0.2.1;lr>\t",
        "7  INVITE",
        "8 BYE",
        "4",
        "2",
        "",
        "folded\r\n value",
    ];

    fn message() -> Message {
        Message::parse_datagram(Bytes::from_static(TEXT.as_bytes())).expect("it parses")
    }

    /// Parsing what a proxy makes of a message would be waste: RFC 3261 16.6 adds to a request, 16.7
    /// takes the top Via off a response.
    #[test]
    fn what_a_proxy_changes_is_known_without_parsing() {
        let message = message();
        let mut edit = message.edit();
        edit.set_request_uri("sip:bob@192.0.2.3")
            .remove_first(HeaderName::Route, 1)
            .set(HeaderName::MaxForwards, "69")
            .push_front(HeaderName::RecordRoute, "<sip:192.0.2.1;lr>")
            .push_front(HeaderName::Via, VALUES[0]);
        assert!(index(&edit, &edit.finish()).is_some());
        edit.remove_top(HeaderName::Via).remove_top(HeaderName::Via);
        assert!(index(&edit, &edit.finish()).is_some());
    }

    /// RFC 3261 18.2.1 and RFC 3581 4 have each request's top Via changed.
    #[test]
    fn another_top_via_needs_no_edit() {
        let message = message();
        assert!(with_top_via(&message, VALUES[0].as_bytes()).is_none(), "no Content-Length");
        for text in [TEXT.replace("Max-Forwards", "l: 4\r\nMax-Forwards"), {
            let at = TEXT.find("Via").unwrap();
            format!(
                "{}t: <sip:a@b>\r\nl:4\r\n{}",
                &TEXT[..at],
                TEXT[at..].replace("\r\nt:", "\r\nX:")
            )
        }] {
            let message = Message::parse_datagram(Bytes::from(text)).unwrap();
            for value in VALUES.iter().filter(|value| value.starts_with("SIP")) {
                let changed = with_top_via(&message, value.as_bytes());
                let joined = value.contains(',');
                assert_eq!(changed.is_none(), joined, "{value}");
                if let Some(changed) = changed {
                    assert_eq!(changed.top_via().as_bytes(), value.as_bytes());
                    let edited = message.edit().replace_value(HeaderName::Via, 0, value).finish();
                    let edited = Message::parse_datagram(edited).unwrap();
                    let all = |message: &Message| -> Vec<_> {
                        message.headers().map(|header| header.unfolded().into_owned()).collect()
                    };
                    assert_eq!((all(&changed), changed.body()), (all(&edited), edited.body()));
                }
            }
            assert!(with_top_via(&message, b"SIP/2.0/UDP h\r\n ;branch=a").is_none(), "folded");
            assert!(with_top_via(&message, b"").is_none());
        }
    }

    #[test]
    fn a_request_uri_that_is_none_is_found_out() {
        let message = message();
        for uri in ["", "sip:", "sip:bob@callee.example?Subject=x", "sip:bob@callee example"] {
            let mut edit = message.edit();
            edit.set_request_uri(uri);
            let parsed = Message::parse_datagram(edit.finish());
            assert_eq!(edit.finish_message().is_ok(), parsed.is_ok(), "{uri}");
        }
    }

    proptest! {
        /// `Message::from_parts` compares with what parsing gives, in tests.
        #[test]
        fn what_is_known_of_an_edited_message_is_what_parsing_tells(
            steps in prop::collection::vec((0..6u8, 0..NAMES.len(), 0..VALUES.len()), 0..5)
        ) {
            let message = message();
            let mut edit = message.edit();
            for (step, name, value) in steps {
                let (name, value) = (NAMES[name], VALUES[value]);
                match step {
                    0 => edit.push_front(name, value),
                    1 => edit.append(name, value),
                    2 => edit.set(name, value),
                    3 => edit.replace_value(name, 0, value),
                    4 => edit.remove_top(name),
                    _ => edit.remove_first(name, 2),
                };
            }
            let parsed = Message::parse_datagram(edit.finish());
            let finished = edit.finish_message();
            prop_assert_eq!(finished.is_ok(), parsed.is_ok());
            if let (Ok(finished), Ok(parsed)) = (finished, parsed) {
                prop_assert_eq!(finished.raw(), parsed.raw());
            }
        }
    }
}
