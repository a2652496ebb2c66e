//! Writing header lines. Nothing that is written here can end a line early: a CR or LF in a value
//! becomes a space.

use super::message::unfold;
use super::name::HeaderName;

/// Appends `name: value` and the line end.
pub(super) fn push_header(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    push_value(out, name.as_bytes());
    out.extend_from_slice(b": ");
    push_value(out, value);
    out.extend_from_slice(b"\r\n");
}

/// As [`push_header`], for a name that this node has written.
pub(super) fn push_known_header(out: &mut Vec<u8>, name: HeaderName, value: &[u8]) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    push_value(out, value);
    out.extend_from_slice(b"\r\n");
}

/// Appends a number in decimal.
pub(super) fn push_number(out: &mut Vec<u8>, mut number: u32) {
    // 2^32 has ten digits.
    let mut digits = [b'0'; 10];
    let mut start = digits.len();
    while start == digits.len() || number > 0 {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&digits[start..]);
}

/// Appends a value, unfolded.
pub(super) fn push_value(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(&unfold(value));
}

const fn is_escaped(byte: u8) -> bool {
    byte <= b' ' || byte == 0x7f
}

/// Room for a URI that is written by [`push_uri`].
pub(super) fn uri_room(uri: &str) -> usize {
    if uri.bytes().any(is_escaped) { 3 * uri.len() } else { uri.len() }
}

/// Appends a URI; what could end the request line early is escaped.
pub(super) fn push_uri(out: &mut Vec<u8>, uri: &str) {
    use std::io::Write as _;
    for b in uri.bytes() {
        if is_escaped(b) {
            // Writing to a Vec does not fail.
            let _ = write!(out, "%{b:02X}");
        } else {
            out.push(b);
        }
    }
}
