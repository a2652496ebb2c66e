//! Changing a message without touching the rest of it.

use std::borrow::Cow;

use bytes::Bytes;
use smallvec::SmallVec;

use super::carry;
use super::index::{Entry, StartLine};
use super::list::Commas;
use super::malformed::Malformed;
use super::message::Message;
use super::name::{FieldName, HeaderName};
use super::span::Span;
use super::write::{push_header, push_uri, push_value, uri_room};

/// Header lines that an edit holds without allocating: those of a phone's INVITE and what a proxy adds.
const LINES_INLINE: usize = 28;

/// Room for the lines that a proxy typically writes (Via, Record-Route, Max-Forwards).
const SCRATCH_BYTES: usize = 384;

/// A header line of the message to be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Line {
    /// The line of that number in the old message, verbatim.
    Kept(u32),
    /// A line in the scratch buffer, line end included.
    New { name: Option<HeaderName>, name_len: u16, line: Span },
}

impl Line {
    #[inline]
    fn known_name(&self, entries: &[Entry]) -> Option<HeaderName> {
        match self {
            Line::Kept(old) => entries.get(*old as usize)?.name,
            Line::New { name, .. } => *name,
        }
    }
}

/// A message to be made from an old one. Header lines that no operation names keep their bytes and their
/// order; one that is rewritten keeps its name as written (a compact form stays one).
///
/// Operations can be chained: `message.edit().remove_top(HeaderName::Route).finish()`.
#[derive(Clone, Debug)]
pub struct Edit<'m> {
    message: &'m Message,
    request_uri: Option<Cow<'m, str>>,
    lines: SmallVec<[Line; LINES_INLINE]>,
    scratch: Vec<u8>,
    body: Option<Bytes>,
}

impl<'m> Edit<'m> {
    /// Starts with an exact copy of `message`.
    #[must_use]
    pub fn new(message: &'m Message) -> Edit<'m> {
        let count = message.index().entries.len() as u32;
        Edit {
            message,
            request_uri: None,
            lines: (0..count).map(Line::Kept).collect(),
            scratch: Vec::with_capacity(SCRATCH_BYTES),
            body: None,
        }
    }

    /// Replaces the Request-URI (of a request). White space and control characters in it are escaped.
    pub fn set_request_uri(&mut self, uri: impl Into<Cow<'m, str>>) -> &mut Self {
        self.request_uri = Some(uri.into());
        self
    }

    /// Adds a header line before the first of that name; at the top if there is none. This is where
    /// Via, Route and Record-Route values go that are to come first.
    pub fn push_front<'n>(
        &mut self,
        name: impl Into<FieldName<'n>>,
        value: impl AsRef<[u8]>,
    ) -> &mut Self {
        let name = name.into();
        let at = self.position(name).unwrap_or(0);
        let line = self.write_line(name, name.as_str(), value.as_ref());
        self.lines.insert(at, line);
        self
    }

    /// Adds a header line after all others.
    pub fn append<'n>(
        &mut self,
        name: impl Into<FieldName<'n>>,
        value: impl AsRef<[u8]>,
    ) -> &mut Self {
        let name = name.into();
        let line = self.write_line(name, name.as_str(), value.as_ref());
        self.lines.push(line);
        self
    }

    /// Makes `value` the only one of that header: in the place of the first line, or after all others
    /// if there is none.
    pub fn set<'n>(
        &mut self,
        name: impl Into<FieldName<'n>>,
        value: impl AsRef<[u8]>,
    ) -> &mut Self {
        let name = name.into();
        let Some(at) = self.position(name) else { return self.append(name, value) };
        self.rewrite_line(at, value.as_ref());
        for i in (at + 1..self.lines.len()).rev() {
            if self.is_named(i, name) {
                self.lines.remove(i);
            }
        }
        self
    }

    /// Replaces the value with that number (from 0, counted as [`Message::values`] does); changes
    /// nothing if there are fewer.
    pub fn replace_value<'n>(
        &mut self,
        name: impl Into<FieldName<'n>>,
        nth: usize,
        value: impl AsRef<[u8]>,
    ) -> &mut Self {
        self.splice_value(name.into(), nth, Some(value.as_ref()));
        self
    }

    /// Removes the first value of a header, be it a line of its own or the first of a comma-joined list.
    pub fn remove_top<'n>(&mut self, name: impl Into<FieldName<'n>>) -> &mut Self {
        self.splice_value(name.into(), 0, None);
        self
    }

    /// Removes the first `count` values of a header, which costs no more than removing one: a list may
    /// hold thousands.
    pub fn remove_first<'n>(
        &mut self,
        name: impl Into<FieldName<'n>>,
        mut count: usize,
    ) -> &mut Self {
        let name = name.into();
        let is_list = name.known().is_some_and(HeaderName::is_list);
        while count > 0
            && let Some(at) = self.position(name)
        {
            let value = self.value(at);
            let mut commas = Commas::new(value);
            let passed = (0..count).take_while(|_| is_list && commas.next().is_some()).count();
            if let Some(next) = commas.next_range().filter(|_| is_list) {
                let left = value[next.start..].to_vec();
                self.rewrite_line(at, &left);
                return self;
            }
            count -= if is_list { passed } else { 1 };
            self.lines.remove(at);
        }
        self
    }

    /// Removes the value with that number (from 0, counted as [`Message::values`] does).
    pub fn remove_value<'n>(&mut self, name: impl Into<FieldName<'n>>, nth: usize) -> &mut Self {
        self.splice_value(name.into(), nth, None);
        self
    }

    /// Removes every line of that header.
    pub fn remove<'n>(&mut self, name: impl Into<FieldName<'n>>) -> &mut Self {
        let name = name.into();
        let entries = &self.message.index().entries[..];
        match name {
            FieldName::Known(unwanted) => {
                self.lines.retain(|line| line.known_name(entries) != Some(unwanted));
            }
            FieldName::Other(_) => {
                for i in (0..self.lines.len()).rev() {
                    if self.is_named(i, name) {
                        self.lines.remove(i);
                    }
                }
            }
        }
        self
    }

    /// Replaces the body and Content-Length, and Content-Type if one is given. An empty body without one
    /// takes Content-Type away.
    pub fn set_body(&mut self, content_type: Option<&str>, body: impl Into<Bytes>) -> &mut Self {
        let body = body.into();
        match content_type {
            Some(text) => self.set(HeaderName::ContentType, text),
            None if body.is_empty() => self.remove(HeaderName::ContentType),
            None => self,
        };
        self.set(HeaderName::ContentLength, body.len().to_string());
        self.body = Some(body);
        self
    }

    /// Writes the message. A Content-Length is added if there is none, so that the result can go over
    /// any transport (RFC 3261 16.6 step 8).
    #[must_use]
    pub fn finish(&self) -> Bytes {
        let body = self.body.as_deref().unwrap_or_else(|| self.message.body());
        let head = self.message.index().body as usize + self.scratch.len();
        // An added Content-Length line fits in the rest.
        let slack = self.request_uri.as_ref().map_or(0, |uri| uri_room(uri)) + 32;
        let mut out = Vec::with_capacity(head + body.len() + slack);
        self.push_start_line(&mut out);
        self.push_lines(&mut out);
        if self.position(HeaderName::ContentLength.into()).is_none() {
            push_header(
                &mut out,
                HeaderName::ContentLength.as_str(),
                body.len().to_string().as_bytes(),
            );
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(body);
        Bytes::from(out)
    }

    /// Writes the message and parses the result.
    ///
    /// # Errors
    /// [`Malformed`] if the operations took away what a message must have.
    pub fn finish_message(&self) -> Result<Message, Malformed> {
        let raw = self.finish();
        match carry::index(self, &raw) {
            Some(index) => Ok(Message::from_parts(raw, index)),
            None => Message::parse_datagram(raw),
        }
    }

    pub(super) const fn message(&self) -> &'m Message {
        self.message
    }

    pub(super) fn request_uri(&self) -> Option<&str> {
        self.request_uri.as_deref()
    }

    pub(super) fn lines(&self) -> &[Line] {
        &self.lines
    }

    fn push_start_line(&self, out: &mut Vec<u8>) {
        let raw = self.message.raw();
        let index = self.message.index();
        let end = index.entries.first().map_or(index.head_end, |first| first.start) as usize;
        match (&self.request_uri, index.start) {
            (Some(uri), StartLine::Request { uri: old }) => {
                out.extend_from_slice(&raw[..old.start as usize]);
                push_uri(out, uri);
                out.extend_from_slice(&raw[old.end as usize..end]);
            }
            (None, StartLine::Request { .. }) | (_, StartLine::Response { .. }) => {
                out.extend_from_slice(&raw[..end]);
            }
        }
    }

    /// Copies runs of kept lines in one go.
    fn push_lines(&self, out: &mut Vec<u8>) {
        let raw = self.message.raw();
        let mut run = Span::default();
        for line in &self.lines {
            match line {
                Line::Kept(i) => {
                    let span = self.message.index().line(*i as usize);
                    if span.start == run.end {
                        run.end = span.end;
                    } else {
                        out.extend_from_slice(run.of(raw));
                        run = span;
                    }
                }
                Line::New { line, .. } => {
                    out.extend_from_slice(run.of(raw));
                    run = Span::default();
                    out.extend_from_slice(line.of(&self.scratch));
                }
            }
        }
        out.extend_from_slice(run.of(raw));
    }

    fn position(&self, name: FieldName<'_>) -> Option<usize> {
        let entries = &self.message.index().entries[..];
        match name {
            FieldName::Known(wanted) => {
                self.lines.iter().position(|line| line.known_name(entries) == Some(wanted))
            }
            FieldName::Other(_) => (0..self.lines.len()).find(|i| self.is_named(*i, name)),
        }
    }

    #[inline]
    fn is_named(&self, i: usize, name: FieldName<'_>) -> bool {
        match name {
            FieldName::Known(wanted) => self.known_name(i) == Some(wanted),
            FieldName::Other(wanted) => {
                self.known_name(i).is_none() && self.written_name(i).eq_ignore_ascii_case(wanted)
            }
        }
    }

    #[inline]
    fn known_name(&self, i: usize) -> Option<HeaderName> {
        self.lines.get(i)?.known_name(&self.message.index().entries)
    }

    fn written_name(&self, i: usize) -> &str {
        match self.lines[i] {
            Line::Kept(old) => kept_name(self.message, old),
            Line::New { name_len, line, .. } => {
                let start = line.start as usize;
                let bytes = self.scratch.get(start..start + usize::from(name_len));
                super::chars::text(bytes.unwrap_or_default())
            }
        }
    }

    fn value(&self, i: usize) -> &[u8] {
        match self.lines[i] {
            Line::Kept(old) => {
                self.message.index().entries[old as usize].value.of(self.message.raw())
            }
            Line::New { name_len, line, .. } => {
                // `name: value\r\n`, as `write_line` has put it.
                let span = Span { start: line.start + u32::from(name_len) + 2, end: line.end - 2 };
                span.of(&self.scratch)
            }
        }
    }

    fn write_line(&mut self, name: FieldName<'_>, written: &str, value: &[u8]) -> Line {
        let start = self.scratch.len();
        push_value(&mut self.scratch, written.as_bytes());
        let name_len = (self.scratch.len() - start) as u16;
        self.scratch.extend_from_slice(b": ");
        push_value(&mut self.scratch, value);
        self.scratch.extend_from_slice(b"\r\n");
        Line::New { name: name.known(), name_len, line: Span::new(start, self.scratch.len()) }
    }

    /// Gives line `i` another value; its name stays as written.
    fn rewrite_line(&mut self, i: usize, value: &[u8]) {
        let known = self.known_name(i);
        let written = match self.lines[i] {
            Line::Kept(old) => Cow::Borrowed(kept_name(self.message, old)),
            Line::New { .. } => Cow::Owned(self.written_name(i).to_owned()),
        };
        let name = known.map_or(FieldName::Other(&written), FieldName::Known);
        self.lines[i] = self.write_line(name, &written, value);
    }

    /// Replaces (or with `None` removes) the `nth` value of a header.
    fn splice_value(&mut self, name: FieldName<'_>, nth: usize, new: Option<&[u8]>) {
        let is_list = name.known().is_some_and(HeaderName::is_list);
        let mut seen = 0;
        for i in 0..self.lines.len() {
            if !self.is_named(i, name) {
                continue;
            }
            let values = if is_list { Commas::new(self.value(i)).count() } else { 1 };
            if nth >= seen + values {
                seen += values;
                continue;
            }
            if values == 1 {
                match new {
                    Some(value) => self.rewrite_line(i, value),
                    None => drop(self.lines.remove(i)),
                }
            } else {
                let joined = splice(self.value(i), nth - seen, new);
                self.rewrite_line(i, &joined);
            }
            return;
        }
    }
}

/// The name of a header line of `message` as written.
fn kept_name(message: &Message, line: u32) -> &str {
    let Some(entry) = message.index().entries.get(line as usize) else { return "" };
    let start = entry.start as usize;
    let bytes = message.raw().get(start..start + usize::from(entry.name_len));
    super::chars::text(bytes.unwrap_or_default())
}

/// `list` with one of its two or more values replaced or removed, the rest of it verbatim.
fn splice(list: &[u8], nth: usize, new: Option<&[u8]>) -> Vec<u8> {
    let mut ranges = Vec::new();
    let mut commas = Commas::new(list);
    while let Some(range) = commas.next_range() {
        ranges.push(range);
    }
    let mut joined = Vec::with_capacity(list.len() + new.map_or(0, <[u8]>::len));
    let Some(old) = ranges.get(nth) else { return list.to_vec() };
    match (new, ranges.get(nth + 1)) {
        (Some(value), _) => {
            joined.extend_from_slice(&list[..old.start]);
            joined.extend_from_slice(value);
            joined.extend_from_slice(&list[old.end..]);
        }
        (None, Some(next)) => {
            joined.extend_from_slice(&list[..old.start]);
            joined.extend_from_slice(&list[next.start..]);
        }
        (None, None) => {
            let end = nth.checked_sub(1).and_then(|i| ranges.get(i)).map_or(0, |before| before.end);
            joined.extend_from_slice(&list[..end]);
        }
    }
    joined
}
