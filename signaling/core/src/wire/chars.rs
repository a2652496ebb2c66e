//! Character classes of RFC 3261 25.1 and the few scanners that every parser here shares.

/// `token` characters.
pub(super) const TOKEN: u8 = 1;
/// Characters that may stand in a URI (reserved, unreserved, `%`, and `[` `]` of an IPv6 reference).
pub(super) const URI: u8 = 2;
/// Characters of a host name (RFC 3261 `hostname`, and `_`, which many real names hold).
pub(super) const HOST: u8 = 4;
/// `word` characters (Call-ID).
pub(super) const WORD: u8 = 8;
/// `unreserved` characters (RFC 2396 2.3).
pub(super) const UNRESERVED: u8 = 16;
/// What a parameter name may hold here: token and URI characters but the delimiters.
pub(super) const PARAM_NAME: u8 = 32;
/// What an unquoted parameter value may hold here: as its name, `=` and `@`, and bytes above 127. `gen-value`
/// is a token, host or quoted string; URI values hold more, and peers use all of it.
pub(super) const PARAM_VALUE: u8 = 64;
/// What a URI without `<>` around it may hold in a header (RFC 3261 20.10): no `;`, `?` or `,`.
pub(super) const BARE_URI: u8 = 128;

const CLASS: [u8; 256] = build();

const fn build() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut c = 0usize;
    while c < 128 {
        let b = c as u8;
        let alnum = b.is_ascii_alphanumeric();
        if alnum || member(b, b"-.!%*_+`'~") {
            table[c] |= TOKEN | WORD;
        }
        if alnum || member(b, b";/?:@&=+$,-_.!~*'()%[]#|^`{}\\") {
            table[c] |= URI;
        }
        if alnum || member(b, b"-._") {
            table[c] |= HOST;
        }
        if member(b, b"()<>:\\\"/[]?{}@") {
            table[c] |= WORD;
        }
        if alnum || member(b, b"-_.!~*'()") {
            table[c] |= UNRESERVED;
        }
        let plain = table[c] & (TOKEN | URI) != 0 && !member(b, b";,?");
        if plain {
            table[c] |= PARAM_VALUE;
        }
        if plain && !member(b, b"=@") {
            table[c] |= PARAM_NAME;
        }
        if table[c] & URI != 0 && !member(b, b";,?") {
            table[c] |= BARE_URI;
        }
        c += 1;
    }
    while c < 256 {
        table[c] |= PARAM_VALUE;
        c += 1;
    }
    table
}

const fn member(b: u8, set: &[u8]) -> bool {
    let mut i = 0;
    while i < set.len() {
        if set[i] == b {
            return true;
        }
        i += 1;
    }
    false
}

/// Whether `b` is in `class`.
#[inline]
pub(super) const fn is(b: u8, class: u8) -> bool {
    CLASS[b as usize] & class != 0
}

/// Whether `text` is a non-empty run of `class`.
#[inline]
pub(super) fn all(text: &[u8], class: u8) -> bool {
    !text.is_empty() && run(text, 0, class) == text.len()
}

/// Whether `text` is a token.
#[inline]
pub(super) fn is_token(text: &[u8]) -> bool {
    all(text, TOKEN)
}

/// Linear white space; CR and LF only ever stand in a value as part of a fold, which the line
/// splitter has checked.
#[inline]
pub(super) const fn is_lws(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\r' | b'\n')
}

/// The end of the run of `class` that starts at `at`. Most of the parser's time goes here: four bytes at a
/// time cost little more than one.
#[inline]
pub(super) fn run(text: &[u8], mut at: usize, class: u8) -> usize {
    while let Some(&[a, b, c, d]) = text.get(at..).and_then(<[u8]>::first_chunk) {
        let all = CLASS[a as usize] & CLASS[b as usize] & CLASS[c as usize] & CLASS[d as usize];
        if all & class == 0 {
            break;
        }
        at += 4;
    }
    while at < text.len() && is(text[at], class) {
        at += 1;
    }
    at
}

/// The first position from `at` on that is not linear white space.
#[inline]
pub(super) fn skip_lws(text: &[u8], mut at: usize) -> usize {
    while at < text.len() && is_lws(text[at]) {
        at += 1;
    }
    at
}

/// The position after the quoted string whose opening `"` is at `at`; `None` if it does not end.
#[inline]
pub(super) fn skip_quoted(text: &[u8], at: usize) -> Option<usize> {
    let mut i = at + 1;
    loop {
        let hit = i + memchr::memchr2(b'"', b'\\', text.get(i..)?)?;
        if text[hit] == b'"' {
            return Some(hit + 1);
        }
        i = hit + 2;
    }
}

/// `text` without linear white space at both ends.
#[inline]
pub(super) fn trim(text: &[u8]) -> &[u8] {
    let mut start = 0;
    let mut end = text.len();
    while start < end && is_lws(text[start]) {
        start += 1;
    }
    while end > start && is_lws(text[end - 1]) {
        end -= 1;
    }
    &text[start..end]
}

/// The number that `text` spells in decimal digits alone; `None` if it does not or is above `max`.
#[inline]
pub(super) fn number(text: &[u8], max: u64) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for b in text {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
        // `max` is at most u32::MAX everywhere, so that the next round cannot overflow.
        if value > max {
            return None;
        }
    }
    Some(value)
}

/// `bytes` as text, `""` if it is not UTF-8. Used where the parser has already seen that it is ASCII.
#[inline]
pub(super) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or("")
}
