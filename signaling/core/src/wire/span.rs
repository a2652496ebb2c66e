//! Positions inside a text, kept instead of references so that a parsed form can be stored beside
//! the bytes that it speaks of.

/// A half-open range of byte positions. 32 bits: a head is far shorter (`HEAD_BYTES_MAX`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    /// `start..end`, which every caller has taken from positions inside a text below 4 GiB.
    #[inline]
    pub(super) const fn new(start: usize, end: usize) -> Span {
        Span { start: start as u32, end: end as u32 }
    }

    #[inline]
    pub(super) const fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The bytes at these positions; empty if `text` is not the text that they belong to.
    #[inline]
    pub(super) fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}
