//! What is refused, and how.

use bytes::Bytes;
use signaling_core::wire::{
    Defect, HEAD_BYTES_MAX, HEADERS_MAX, HeaderName, Malformed, Message, is_keep_alive,
};

use crate::{INVITE, text};

fn refusal(raw: &str) -> Malformed {
    Message::parse_datagram(Bytes::copy_from_slice(raw.as_bytes())).unwrap_err()
}

/// [`INVITE`] with one piece of text replaced.
fn broken(old: &str, new: &str) -> Malformed {
    assert!(INVITE.contains(old));
    refusal(&INVITE.replacen(old, new, 1))
}

fn answer(refusal: &Malformed) -> Option<String> {
    let source = "198.51.100.7:40000".parse().unwrap();
    refusal.answer().map(|answer| text(&answer.write("tt", source)).to_owned())
}

#[test]
fn a_mandatory_header_that_is_missing_is_named() {
    for (line, name) in [
        (
            "f: \"Alice, of Atlanta\" <sip:alice@atlanta.example.com>;tag=9fxced76sl\r\n",
            HeaderName::From,
        ),
        ("t: Bob <sip:bob@biloxi.example.com>\r\n", HeaderName::To),
        ("i: 3848276298220188511@atlanta.example.com\r\n", HeaderName::CallId),
        ("CSeq: 314159 INVITE\r\n", HeaderName::CSeq),
    ] {
        let refusal = broken(line, "");
        assert_eq!(refusal.defect(), Defect::Missing(name));
        assert_eq!(refusal.reason(), format!("Missing {name} Header"));
        let answer = answer(&refusal).unwrap();
        assert!(answer.starts_with(&format!("SIP/2.0 400 Missing {name} Header\r\n")), "{answer}");
        assert!(!answer.contains(&format!("\r\n{name}: ")), "{answer}");
    }
}

#[test]
fn max_forwards_may_be_missing() {
    let raw = Bytes::from(INVITE.replace("Max-Forwards: 70\r\n", ""));
    assert_eq!(Message::parse_datagram(raw).unwrap().max_forwards(), None);
}

#[test]
fn a_header_that_may_stand_once_may_not_stand_twice() {
    for line in [
        "Call-ID: y",
        "To: <sip:a@b>",
        "From: <sip:a@b>",
        "CSeq: 314159 INVITE",
        "Max-Forwards: 7",
        "l: 4",
    ] {
        let refusal = broken("X-Odd:", &format!("{line}\r\nX-Odd:"));
        let name = HeaderName::from_bytes(line.split(':').next().unwrap().as_bytes()).unwrap();
        assert_eq!(refusal.defect(), Defect::Repeated(name));
    }
}

#[test]
fn an_unreadable_value_is_named_with_its_place() {
    for (old, new, name) in [
        ("9fxced76sl", "9fxced76sl;tag=2", HeaderName::From),
        ("t: Bob", "t: \"Bob", HeaderName::To),
        ("CSeq: 314159 INVITE", "CSeq: 2147483648 INVITE", HeaderName::CSeq),
        ("CSeq: 314159 INVITE", "CSeq: -1 INVITE", HeaderName::CSeq),
        ("CSeq: 314159 INVITE", "CSeq: 314159", HeaderName::CSeq),
        ("CSeq: 314159 INVITE", "CSeq: 314159INVITE", HeaderName::CSeq),
        ("CSeq: 314159 INVITE", "CSeq: 1 INVITE x", HeaderName::CSeq),
        ("Max-Forwards: 70", "Max-Forwards: 256", HeaderName::MaxForwards),
        ("Max-Forwards: 70", "Max-Forwards:", HeaderName::MaxForwards),
        ("l: 4", "l: 4 4", HeaderName::ContentLength),
        ("l: 4", "l: +4", HeaderName::ContentLength),
        ("i: 3848", "i: 38 48", HeaderName::CallId),
    ] {
        let refusal = broken(old, new);
        assert_eq!(refusal.defect(), Defect::Bad(name), "{new}");
        let value = new.split(": ").nth(1).map_or(0, |_| new.find(": ").unwrap() + 2);
        if value > 0 {
            assert_eq!(refusal.offset(), INVITE.find(old).unwrap() + value, "{new}");
        }
        assert!(refusal.answer().is_some());
    }
}

/// RFC 3261 8.1.1.5.
#[test]
fn the_method_of_cseq_must_be_that_of_the_request() {
    assert_eq!(broken("CSeq: 314159 INVITE", "CSeq: 314159 BYE").defect(), Defect::CSeqMethod);
    assert_eq!(broken("CSeq: 314159 INVITE", "CSeq: 314159 invite").defect(), Defect::CSeqMethod);
}

/// A lone CR or LF is a line end to some implementations and not to others: what passes it on lets a peer
/// put headers past one of them.
#[test]
fn a_lone_cr_or_lf_in_the_head_is_refused() {
    for (old, new) in [
        ("X-Odd: caf", "X-Odd: \rcaf"),
        ("X-Odd: caf", "X-Odd: \ncaf"),
        ("X-Odd: caf", "X-Odd: a\nVia: SIP/2.0/UDP evil\r\nX: caf"),
        ("X-Odd: caf", "X-Odd: a\rVia: SIP/2.0/UDP evil\r\nX: caf"),
        ("Supported: 100rel,,\r\n", "Supported: 100rel,,\n"),
        ("X-Odd: caf\u{e9} \r\n", "X-Odd: caf\r\r\n"),
    ] {
        let refusal = broken(old, new);
        assert_eq!(refusal.defect(), Defect::LineEnd, "{new:?}");
        assert!(answer(&refusal).unwrap().starts_with("SIP/2.0 400 Bare CR Or LF In Header\r\n"));
    }
    assert_eq!(broken("phone SIP", "phone\r SIP").defect(), Defect::RequestUri);
}

#[test]
fn a_line_that_is_no_header_is_refused() {
    for line in ["Foobar roobar", ": x", "A B: c", " : x", "na(me: x", "caf\u{e9}: x"] {
        // A line that starts with white space would continue the one before.
        let refusal =
            refusal(&INVITE.replacen("SIP/2.0\r\n", &format!("SIP/2.0\r\n{line}\r\n"), 1));
        assert_eq!(refusal.defect(), Defect::HeaderLine, "{line:?}");
    }
}

#[test]
fn a_head_without_an_end_is_refused() {
    let head = &INVITE[..INVITE.find("\r\n\r\n").unwrap()];
    for end in [head, &format!("{head}\r"), &format!("{head}\r\n"), &format!("{head}\r\n\r")] {
        assert_eq!(refusal(end).defect(), Defect::HeadEnd, "{end:?}");
    }
}

#[test]
fn more_header_lines_than_allowed_are_refused() {
    let lines = INVITE[..INVITE.find("\r\n\r\n").unwrap()].lines().count() - 2; // start line, fold
    let fits =
        INVITE.replacen("X-Odd", &format!("{}X-Odd", "A: b\r\n".repeat(HEADERS_MAX - lines)), 1);
    assert!(Message::parse_datagram(Bytes::from(fits.clone())).is_ok());
    let refusal = refusal(&fits.replacen("A: b", "A: b\r\nA: b", 1));
    assert_eq!((refusal.defect(), refusal.status()), (Defect::HeaderCount, 513));
}

#[test]
fn a_head_that_is_larger_than_allowed_is_refused() {
    let refusal = broken("X-Odd: ", &format!("A: {}\r\nX-Odd: ", "x".repeat(HEAD_BYTES_MAX)));
    assert_eq!((refusal.defect(), refusal.status()), (Defect::HeadSize, 513));
}

/// RFC 3261 18.3.
#[test]
fn a_datagram_shorter_than_its_content_length_is_refused() {
    assert_eq!(broken("l: 4", "l: 5").defect(), Defect::BodyShort);
    assert_eq!(broken("l: 4", "l: 4294967295").defect(), Defect::BodyShort);
    assert_eq!(broken("l: 4", "l: 4294967296").defect(), Defect::Bad(HeaderName::ContentLength));
}

#[test]
fn start_lines_are_told_apart() {
    for (line, defect) in [
        ("INVITE sip:a@b SIP/2.1", Defect::Version),
        ("INVITE sip:a@b SIP/3.0", Defect::Version),
        ("INVITE sip:a@b HTTP/1.1", Defect::RequestLine),
        ("INVITE sip:a@b SIP/2.0 ", Defect::RequestLine),
        ("INVITE sip:a@b", Defect::RequestLine),
        ("INVITE  SIP/2.0", Defect::RequestUri),
        ("INVITE bob SIP/2.0", Defect::RequestUri),
        ("INVITE sip:a@b?x=y SIP/2.0", Defect::RequestUriHeaders),
        ("INVITE", Defect::NotSip),
        ("IN(VITE sip:a@b SIP/2.0", Defect::NotSip),
        (" INVITE sip:a@b SIP/2.0", Defect::NotSip),
        ("SIP/3.0 200 OK", Defect::Version),
        ("SIP/2.0 20 OK", Defect::StatusLine),
        ("SIP/2.0 2000 OK", Defect::StatusLine),
        ("SIP/2.0 099 OK", Defect::StatusLine),
        ("SIP/2.0 700 OK", Defect::StatusLine),
        ("SIP/2.0 abc OK", Defect::StatusLine),
    ] {
        let raw = INVITE.replacen("INVITE sip:bob@biloxi.example.com;user=phone SIP/2.0", line, 1);
        assert_eq!(refusal(&raw).defect(), defect, "{line:?}");
    }
}

/// RFC 3261 17: an ACK is never answered. 18.1.2: nor is a response.
#[test]
fn silence_where_no_answer_is_wanted() {
    let ack = INVITE.replace("INVITE", "ACK").replace("l: 4", "l: 5");
    assert!(refusal(&ack).answer().is_none());
    let response = INVITE.replacen(
        "INVITE sip:bob@biloxi.example.com;user=phone SIP/2.0",
        "SIP/2.0 200 OK",
        1,
    );
    assert!(refusal(&response.replace("l: 4", "l: 5")).answer().is_none());
    assert!(
        broken("Via: SIP/2.0/UDP 192.0.2.1:5062", "Via: SIP/2.0/UDP 192.0.2.999:5062")
            .answer()
            .is_none()
    );
    for junk in
        ["", "\r\n", "\0", "GET / HTTP/1.1\r\n\r\n", "\u{16}\u{3}\u{1}", "hello", "\r\n\r\n\r\n"]
    {
        assert!(refusal(junk).answer().is_none(), "{junk:?}");
    }
}

#[test]
fn a_keep_alive_is_told_from_junk() {
    for ping in ["", "\r\n", "\r\n\r\n", "\0", "\0\0\0\0", "\n"] {
        assert!(is_keep_alive(ping.as_bytes()));
        assert_eq!(refusal(ping).defect(), Defect::Empty, "{ping:?}");
    }
    assert!(!is_keep_alive(b"\r\nx"));
}

/// RFC 3261 18.2.1 and RFC 3581 for the top Via; 8.2.6.2 for the rest.
#[test]
fn a_refusal_goes_where_the_request_came_from_and_copies_what_there_is() {
    assert_eq!(
        answer(&broken("l: 4", "l: 5")).unwrap(),
        "SIP/2.0 400 Content-Length Exceeds Datagram\r\n\
         Via: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bK1;rport=40000;received=198.51.100.7\r\n\
         Via: SIP/2.0/TCP outer.example.com;branch=z9hG4bK0\r\n\
         Via: SIP/2.0/UDP [2001:db8::1]:5070;branch=z9hG4bKx\r\n\
         From: \"Alice, of Atlanta\" <sip:alice@atlanta.example.com>;tag=9fxced76sl\r\n\
         To: Bob <sip:bob@biloxi.example.com>;tag=tt\r\n\
         Call-ID: 3848276298220188511@atlanta.example.com\r\n\
         CSeq: 314159 INVITE\r\n\
         Content-Length: 0\r\n\r\n",
    );
}

#[test]
fn a_refusal_keeps_a_to_tag_that_is_there() {
    let raw = INVITE
        .replace("t: Bob <sip:bob@biloxi.example.com>", "t: <sip:b@c>;tag=old")
        .replace("l: 4", "l: 5");
    assert!(answer(&refusal(&raw)).unwrap().contains("\r\nTo: <sip:b@c>;tag=old\r\n"));
}

#[test]
fn a_malformed_head_cannot_put_lines_into_its_refusal() {
    let answer = answer(&broken("t: Bob <sip:", "t: Bob\rX: y\n <sip:")).unwrap();
    // A To that cannot be read gets no tag: where it would go is not known.
    assert!(answer.contains("\r\nTo: Bob X: y <sip:bob@biloxi.example.com>\r\n"), "{answer}");
    assert!(!answer.replace("\r\n", "").contains(['\r', '\n']));
}

#[test]
fn the_error_says_status_reason_and_place_and_holds_no_addresses() {
    let refusal = broken("Max-Forwards: 70", "Max-Forwards: x");
    let place = INVITE.find("70\r\n").unwrap();
    assert_eq!(refusal.to_string(), format!("400 Bad Max-Forwards Header (at byte {place})"));
    assert!(!format!("{refusal:?}").contains("alice"));
}

/// A malformed datagram of many folds costs what any other of its size does: a peer of nobody's must not
/// be able to keep the node busy with a few of them.
#[test]
#[expect(clippy::disallowed_methods, reason = "what is bounded is time")]
fn folds_without_end_cost_time_in_proportion_to_their_number() {
    let folds = " \r\n".repeat(20_000);
    let raw =
        format!("OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nX: y\r\n{folds}");
    let started = std::time::Instant::now();
    assert!(answer(&refusal(&raw)).is_some());
    assert!(started.elapsed() < std::time::Duration::from_secs(1), "{:?}", started.elapsed());
}
