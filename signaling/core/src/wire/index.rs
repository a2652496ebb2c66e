//! What the parser knows of a message: positions of its parts, and the few values that every message
//! must have and that everybody asks for.

use smallvec::SmallVec;

use super::addr::AddrSpans;
use super::method::Method;
use super::name::HeaderName;
use super::span::Span;
use super::via::ViaSpans;

/// Header lines that fit without a second allocation: a phone's INVITE has 12 to 16.
const ENTRIES_INLINE: usize = 20;

/// One header field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Where its line starts; it ends where the next one, or the empty line, starts.
    pub(super) start: u32,
    /// Length of the name as written.
    pub(super) name_len: u16,
    pub(super) name: Option<HeaderName>,
    /// The value without white space at its ends, folds inside included.
    pub(super) value: Span,
}

pub(super) type Entries = SmallVec<[Entry; ENTRIES_INLINE]>;

#[derive(Clone, Copy, Debug)]
pub(super) enum StartLine {
    Request { uri: Span },
    Response { status: u16, reason: Span },
}

/// All that is known of a parsed message. Spans of Via, From and To are relative to their values.
#[derive(Clone, Debug)]
pub(super) struct Index {
    pub(super) start: StartLine,
    pub(super) method: Method,
    pub(super) entries: Entries,
    /// Where the empty line starts.
    pub(super) head_end: u32,
    /// Where the body starts; it goes to the end of the message.
    pub(super) body: u32,
    pub(super) via_at: Span,
    pub(super) via: ViaSpans,
    pub(super) from_at: Span,
    pub(super) from: AddrSpans,
    pub(super) to_at: Span,
    pub(super) to: AddrSpans,
    pub(super) call_id: Span,
    pub(super) cseq: u32,
    pub(super) max_forwards: Option<u8>,
    pub(super) content_length: Option<u32>,
}

impl Index {
    /// The bytes of a header's line, or lines if it is folded, with the line end.
    pub(super) fn line(&self, i: usize) -> Span {
        let end = self.entries.get(i + 1).map_or(self.head_end, |next| next.start);
        let start = self.entries.get(i).map_or(end, |entry| entry.start);
        Span { start, end }
    }
}
