//! Comma-separated header values (RFC 3261 7.3.1).

use std::ops::Range;

use super::chars;

/// Iterates over the values of a comma-joined list, without surrounding white space. Commas in
/// quoted strings and in `<>` do not separate; empty elements are left out.
#[derive(Clone, Debug)]
pub(super) struct Commas<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Commas<'a> {
    pub(super) const fn new(text: &'a [u8]) -> Commas<'a> {
        Commas { text, at: 0 }
    }

    /// The position range of the next value.
    pub(super) fn next_range(&mut self) -> Option<Range<usize>> {
        while self.at < self.text.len() {
            let start = self.at;
            let end = element_end(self.text, start);
            self.at = end + 1;
            let inner = chars::trim(&self.text[start..end]);
            if !inner.is_empty() {
                let start = chars::skip_lws(self.text, start);
                return Some(start..start + inner.len());
            }
        }
        None
    }
}

impl<'a> Iterator for Commas<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let range = self.next_range()?;
        self.text.get(range)
    }
}

/// The position of the comma that ends the element at `at`, or the end of `text`. A quoted string or
/// `<` that is not closed takes the rest with it.
fn element_end(text: &[u8], mut at: usize) -> usize {
    loop {
        let Some(hit) = memchr::memchr3(b',', b'"', b'<', &text[at..]).map(|i| at + i) else {
            return text.len();
        };
        at = match text[hit] {
            b',' => return hit,
            b'"' => match chars::skip_quoted(text, hit) {
                Some(after) => after,
                None => return text.len(),
            },
            _ => match memchr::memchr(b'>', &text[hit..]) {
                Some(i) => hit + i + 1,
                None => return text.len(),
            },
        };
    }
}
