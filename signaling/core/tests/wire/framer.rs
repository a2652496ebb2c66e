//! Cutting streams into messages (RFC 3261 18.3, RFC 5626 3.5.1).

use signaling_core::wire::{Defect, Frame, HeaderName, Limits, Message, StreamFramer};

use crate::{INVITE, text};

fn frames(framer: &mut StreamFramer) -> Vec<String> {
    let mut seen = Vec::new();
    while let Some(frame) = framer.next().unwrap() {
        seen.push(match frame {
            Frame::Message(bytes) => text(&bytes).to_owned(),
            Frame::KeepAlivePing => "ping".to_owned(),
        });
    }
    seen
}

fn defect(stream: &str, limits: Limits) -> Defect {
    let mut framer = StreamFramer::new(limits);
    framer.push(stream.as_bytes());
    let first = framer.next().unwrap_err().0.defect();
    assert_eq!(framer.next().unwrap_err().0.defect(), first, "it stays an error");
    first
}

#[test]
fn messages_back_to_back_are_cut_by_their_lengths() {
    let mut framer = StreamFramer::default();
    framer.push(INVITE.as_bytes());
    framer.push(INVITE.as_bytes());
    framer.push(b"INVITE");
    assert_eq!(frames(&mut framer), [INVITE, INVITE]);
    assert_eq!(framer.pending(), 6);
}

#[test]
fn a_frame_parses() {
    let mut framer = StreamFramer::default();
    framer.push(INVITE.as_bytes());
    let Some(Frame::Message(bytes)) = framer.next().unwrap() else { panic!("a message") };
    assert_eq!(Message::parse_frame(bytes).unwrap().body(), b"body");
}

#[test]
fn a_double_line_end_between_messages_is_a_ping_and_a_single_one_is_nothing() {
    let mut framer = StreamFramer::default();
    framer.push(format!("\r\n\r\n{INVITE}\r\n{INVITE}\r\n\r\n\r\n\r\n\r\n{INVITE}").as_bytes());
    assert_eq!(frames(&mut framer), ["ping", INVITE, INVITE, "ping", "ping", INVITE]);
}

#[test]
fn the_length_is_found_folded_in_any_case_and_compact() {
    for line in ["Content-Length: 4", "CONTENT-LENGTH:4", "L :\r\n 4", "content-length  :  4  "] {
        let mut framer = StreamFramer::default();
        framer.push(INVITE.replace("l: 4", line).as_bytes());
        assert_eq!(frames(&mut framer).len(), 1, "{line:?}");
    }
}

#[test]
fn a_length_that_is_missing_unreadable_or_double_ends_the_stream() {
    const LENGTH: HeaderName = HeaderName::ContentLength;
    let with = |line: &str| defect(&INVITE.replace("l: 4\r\n", line), Limits::default());
    assert_eq!(with(""), Defect::Missing(LENGTH));
    assert_eq!(with("l: -4\r\n"), Defect::Bad(LENGTH));
    assert_eq!(with("l: 4\r\nContent-Length: 4\r\n"), Defect::Repeated(LENGTH));
    assert_eq!(with("l: 99999999999\r\n"), Defect::Bad(LENGTH));
}

#[test]
fn what_is_no_sip_ends_the_stream_at_its_first_byte() {
    assert_eq!(defect("\u{16}\u{3}\u{1}", Limits::default()), Defect::NotSip);
    assert_eq!(defect("\rX", Limits::default()), Defect::NotSip);
}

#[test]
fn a_stream_past_its_limits_ends_and_one_at_them_does_not() {
    let head = INVITE.find("\r\n\r\n").unwrap() + 4;
    let exact = Limits { head_bytes_max: head, body_bytes_max: 4 };
    let mut framer = StreamFramer::new(exact);
    framer.push(INVITE.as_bytes());
    assert_eq!(frames(&mut framer), [INVITE]);
    assert_eq!(defect(INVITE, Limits { head_bytes_max: head - 1, ..exact }), Defect::HeadSize);
    assert_eq!(
        defect(&INVITE[..head - 2], Limits { head_bytes_max: head - 2, ..exact }),
        Defect::HeadSize
    );
    assert_eq!(defect(INVITE, Limits { body_bytes_max: 3, ..exact }), Defect::BodySize);
}

#[test]
fn the_error_that_ends_a_stream_can_be_answered() {
    let mut framer = StreamFramer::default();
    framer.push(INVITE.replace("l: 4", "l: -4").as_bytes());
    let error = framer.next().unwrap_err();
    let answer = error.0.answer().unwrap().write("t", "192.0.2.1:5062".parse().unwrap());
    assert!(text(&answer).starts_with("SIP/2.0 400 Bad Content-Length Header\r\nVia: "));
}

#[test]
fn memory_is_bounded_by_one_message_when_frames_are_taken() {
    let limits = Limits { head_bytes_max: 2048, body_bytes_max: 64 };
    let mut framer = StreamFramer::new(limits);
    for _ in 0..1000 {
        framer.push(INVITE.as_bytes());
        assert_eq!(frames(&mut framer).len(), 1);
        assert_eq!(framer.pending(), 0);
    }
}
