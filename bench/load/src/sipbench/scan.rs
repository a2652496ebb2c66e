//! One pass over a message that arrives: where the lines are that an end of a call needs.
//!
//! It is quick, not strict: the generator's peers send one header field a line. What is strict is the
//! judge, which looks at a sample with another parser ([`super::judge`]).

use memchr::memchr;
use memchr::memmem;

/// Via or Record-Route lines of one message: two proxies, each with two Record-Routes, and an end.
const LINES_MAX: usize = 8;

/// The first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start<'a> {
    Request { method: &'a [u8] },
    Response { status: u16 },
}

/// Whole lines, with their line ends.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lines<'a> {
    lines: [&'a [u8]; LINES_MAX],
    count: usize,
}

impl<'a> Lines<'a> {
    fn push(&mut self, line: &'a [u8]) -> Option<()> {
        *self.lines.get_mut(self.count)? = line;
        self.count += 1;
        Some(())
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &'a [u8]> + use<'a, '_> {
        self.lines[..self.count].iter().copied()
    }

    pub(crate) const fn len(&self) -> usize {
        self.count
    }
}

/// A message that was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scan<'a> {
    pub(crate) start: Start<'a>,
    pub(crate) vias: Lines<'a>,
    pub(crate) record_routes: Lines<'a>,
    /// Whole lines.
    pub(crate) from: &'a [u8],
    pub(crate) to: &'a [u8],
    pub(crate) call_id: &'a [u8],
    pub(crate) cseq: &'a [u8],
    /// Values.
    pub(crate) contact: Option<&'a [u8]>,
    pub(crate) challenge: Option<&'a [u8]>,
    pub(crate) body: &'a [u8],
}

impl<'a> Scan<'a> {
    /// Reads a whole message; `None` if it lacks what every message has.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Scan<'a>> {
        let head_bytes = memmem::find(bytes, b"\r\n\r\n")? + 2;
        let (head, rest) = bytes.split_at(head_bytes);
        let first = line_of(head)?;
        let mut scan = Scan {
            start: start_of(first)?,
            vias: Lines::default(),
            record_routes: Lines::default(),
            from: &[],
            to: &[],
            call_id: &[],
            cseq: &[],
            contact: None,
            challenge: None,
            body: rest.get(2..)?,
        };
        let mut left = &head[first.len()..];
        while let Some(line) = line_of(left) {
            left = &left[line.len()..];
            scan.take(line)?;
        }
        let whole = [scan.from, scan.to, scan.call_id, scan.cseq].iter().all(|l| !l.is_empty());
        (whole && scan.vias.len() > 0).then_some(scan)
    }

    fn take(&mut self, line: &'a [u8]) -> Option<()> {
        let colon = memchr(b':', line)?;
        let name = line[..colon].trim_ascii_end();
        let is = |long: &str| name.eq_ignore_ascii_case(long.as_bytes());
        // The length tells most names apart.
        match name.len() {
            3 if is("via") => self.vias.push(line)?,
            4 if is("from") => self.from = line,
            2 if is("to") => self.to = line,
            7 if is("call-id") => self.call_id = line,
            4 if is("cseq") => self.cseq = line,
            12 if is("record-route") => self.record_routes.push(line)?,
            7 if is("contact") => self.contact = Some(value_of(line)),
            16 if is("www-authenticate") && self.challenge.is_none() => {
                self.challenge = Some(value_of(line));
            }
            _ => {}
        }
        Some(())
    }

    /// The value of Call-ID.
    pub(crate) fn call_id_value(&self) -> &'a [u8] {
        value_of(self.call_id)
    }

    /// Number and method of CSeq.
    pub(crate) fn cseq_value(&self) -> Option<(u32, &'a [u8])> {
        let value = value_of(self.cseq);
        let space = memchr(b' ', value)?;
        let number = std::str::from_utf8(&value[..space]).ok()?.parse().ok()?;
        Some((number, value[space..].trim_ascii()))
    }

    /// The tag of To, if it has one.
    pub(crate) fn has_to_tag(&self) -> bool {
        let params = memchr(b'>', self.to).map_or(self.to, |end| &self.to[end..]);
        memmem::find(params, b";tag=").is_some()
    }
}

/// What stands between the colon and the line end.
pub(crate) fn value_of(line: &[u8]) -> &[u8] {
    memchr(b':', line).map_or(&[], |colon| line[colon + 1..].trim_ascii())
}

/// The first line of `text`, with its line end.
fn line_of(text: &[u8]) -> Option<&[u8]> {
    Some(&text[..=memchr(b'\n', text)?])
}

fn start_of(line: &[u8]) -> Option<Start<'_>> {
    if let Some(rest) = line.strip_prefix(b"SIP/2.0 ") {
        let status = std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok()?;
        return Some(Start::Response { status });
    }
    let method = &line[..memchr(b' ', line)?];
    line.trim_ascii_end().ends_with(b" SIP/2.0").then_some(Start::Request { method })
}

/// The URI of a name-addr or addr-spec: what is in angle brackets, else all before parameters.
pub(crate) fn uri_of(value: &[u8]) -> &[u8] {
    if let Some(open) = memchr(b'<', value) {
        let rest = &value[open + 1..];
        return memchr(b'>', rest).map_or(rest, |close| &rest[..close]);
    }
    memchr(b';', value).map_or(value, |end| &value[..end]).trim_ascii()
}

/// The members of a comma-separated list of name-addrs.
pub(crate) fn members_of(value: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    let (mut in_brackets, mut start, mut members) = (false, 0, [&value[..0]; LINES_MAX]);
    let mut count = 0;
    for (at, byte) in value.iter().chain(b",").enumerate() {
        match byte {
            b'<' => in_brackets = true,
            b'>' => in_brackets = false,
            b',' if !in_brackets || at == value.len() => {
                if let Some(place) = members.get_mut(count) {
                    *place = value[start..at].trim_ascii();
                    count += 1;
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    members.into_iter().take(count)
}

/// How long the message at the start of a stream's bytes is, once its head is there.
pub(crate) fn length_of(bytes: &[u8]) -> Option<usize> {
    let head = memmem::find(bytes, b"\r\n\r\n")? + 4;
    let mut left = &bytes[..head];
    let mut body = 0;
    while let Some(line) = line_of(left) {
        left = &left[line.len()..];
        let Some(colon) = memchr(b':', line) else { continue };
        let name = line[..colon].trim_ascii_end();
        if name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"l") {
            body = std::str::from_utf8(value_of(line)).ok()?.parse().ok()?;
        }
    }
    Some(head + body)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &str = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKx\r\n\
        via: SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKy\r\nRecord-Route: <sip:10.0.0.1;lr>\r\n\
        From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\nCall-ID: 0123\r\nCSeq: 7 INVITE\r\n\
        Contact: \"C\" <sip:c@10.0.0.3:5080;transport=udp>;expires=3\r\nContent-Length: 4\r\n\r\nv=0\n";

    #[test]
    fn what_an_end_needs_is_found() {
        let scan = Scan::read(OK.as_bytes()).unwrap();
        assert_eq!(scan.start, Start::Response { status: 200 });
        assert_eq!((scan.vias.len(), scan.record_routes.len()), (2, 1));
        assert_eq!(scan.cseq_value(), Some((7, &b"INVITE"[..])));
        assert_eq!(scan.call_id_value(), b"0123");
        assert_eq!(uri_of(scan.contact.unwrap()), b"sip:c@10.0.0.3:5080;transport=udp");
        assert!(scan.has_to_tag());
        assert_eq!(scan.body, b"v=0\n");
    }

    #[test]
    fn a_request_has_a_method_and_a_message_without_a_via_is_none() {
        let request = OK.replace("SIP/2.0 200 OK", "BYE sip:a@b SIP/2.0");
        let scan = Scan::read(request.as_bytes()).unwrap();
        assert_eq!(scan.start, Start::Request { method: b"BYE" });
        assert!(Scan::read(OK.replace("Via", "Vi").replace("via", "vi").as_bytes()).is_none());
        assert!(Scan::read(b"nonsense\r\n\r\n").is_none());
        assert!(Scan::read(&OK.as_bytes()[..60]).is_none());
    }

    #[test]
    fn a_tag_within_the_uri_is_not_one_of_to() {
        let text = OK.replace("To: <sip:c@d>;tag=2", "To: <sip:c@d;tag=9>");
        assert!(!Scan::read(text.as_bytes()).unwrap().has_to_tag());
    }

    #[test]
    fn lists_are_divided_at_commas_outside_of_brackets() {
        let list = b"<sip:a,b@c;lr>, <sip:d;lr>";
        let members: Vec<_> = members_of(list).collect();
        assert_eq!(members, [&b"<sip:a,b@c;lr>"[..], b"<sip:d;lr>"]);
        assert_eq!(members_of(b"<sip:a>").count(), 1);
    }

    #[test]
    fn a_streams_first_message_ends_where_its_length_says() {
        let two = [OK.as_bytes(), OK.as_bytes()].concat();
        assert_eq!(length_of(&two), Some(OK.len()));
        assert_eq!(length_of(&two[..50]), None);
    }
}
