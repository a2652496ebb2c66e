//! Writing header lines. Nothing that is written here can end a line early: a CR or LF in a value
//! becomes a space.

use super::message::unfold;

/// Appends `name: value` and the line end.
pub(super) fn push_header(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    push_value(out, name.as_bytes());
    out.extend_from_slice(b": ");
    push_value(out, value);
    out.extend_from_slice(b"\r\n");
}

/// Appends a value, unfolded.
pub(super) fn push_value(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(&unfold(value));
}

/// Appends a URI; what could end the request line early is escaped.
pub(super) fn push_uri(out: &mut Vec<u8>, uri: &str) {
    use std::io::Write as _;
    for b in uri.bytes() {
        if b <= b' ' || b == 0x7f {
            // Writing to a Vec does not fail.
            let _ = write!(out, "%{b:02X}");
        } else {
            out.push(b);
        }
    }
}
