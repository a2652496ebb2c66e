//! Reading a message.

use bytes::Bytes;
use signaling_core::wire::{Defect, FieldName, HeaderName, Message, Method};

use crate::{INVITE, invite, message, text};

#[test]
fn a_request_gives_its_start_line_and_body() {
    let m = invite();
    assert!(m.is_request() && !m.is_response());
    assert_eq!(m.method(), &Method::Invite);
    assert_eq!(m.request_uri(), "sip:bob@biloxi.example.com;user=phone");
    assert_eq!((m.status(), m.reason()), (None, &b""[..]));
    assert_eq!(m.body(), b"body");
    assert_eq!(&m.body_bytes()[..], b"body");
    assert_eq!(&m.raw()[..], INVITE.as_bytes());
}

#[test]
fn a_response_gives_status_reason_and_the_method_of_its_cseq() {
    let m = message(
        "SIP/2.0 486 Busy Here\r\nVia: SIP/2.0/UDP a\r\nFrom: <sip:a@b>\r\nTo: <sip:c@d>;tag=1\r\n\
         Call-ID: x\r\nCSeq: 7 BYE\r\n\r\n",
    );
    assert_eq!((m.status(), m.reason()), (Some(486), &b"Busy Here"[..]));
    assert_eq!(m.cseq().method, &Method::Bye);
    assert_eq!((m.request_uri(), m.uri().is_none()), ("", true));
}

/// RFC 3261 7.3.1: a comma-joined list and repeated lines are the same list.
#[test]
fn values_of_a_list_come_from_joined_and_repeated_lines_alike() {
    let m = invite();
    let routes: Vec<_> = m.values(HeaderName::Route).map(text).collect();
    assert_eq!(
        routes,
        ["<sip:p1.example.com;lr>", "<sip:p2.example.com;lr>", "<sip:p3.example.com;lr>"],
    );
    assert_eq!(m.count(HeaderName::Route), 2);
    let supported: Vec<_> = m.values(HeaderName::Supported).map(text).collect();
    assert_eq!(supported, ["100rel", "timer", "replaces"]);
    assert!(m.has_token(HeaderName::Supported, "TIMER"));
    assert!(!m.has_token(HeaderName::Supported, "path"));
}

#[test]
fn a_comma_in_quotes_or_angle_brackets_does_not_split() {
    let m = message(
        "REGISTER sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a\r\nFrom: <sip:a@b>\r\nTo: <sip:a@b>\r\nCall-ID: x\r\n\
         CSeq: 1 REGISTER\r\nContact: \"a, \\\"b\\\", c\" <sip:a,b@c;x=1,2>;y=\"d,e\",<sip:f@g>\r\n\r\n",
    );
    let values: Vec<_> = m.values(HeaderName::Contact).map(text).collect();
    assert_eq!(values, ["\"a, \\\"b\\\", c\" <sip:a,b@c;x=1,2>;y=\"d,e\"", "<sip:f@g>"]);
}

/// RFC 3261 7.3.1: commas in WWW-Authenticate and its like separate parameters, not values.
#[test]
fn a_header_that_is_no_list_is_not_split() {
    let m = message(
        "SIP/2.0 401 Unauthorized\r\nVia: SIP/2.0/UDP a\r\nFrom: <sip:a@b>\r\nTo: <sip:a@b>\r\nCall-ID: x\r\n\
         CSeq: 1 REGISTER\r\nWWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n\
         WWW-Authenticate: Digest realm=\"r\", nonce=\"m\"\r\n\r\n",
    );
    assert_eq!(m.values(HeaderName::WwwAuthenticate).count(), 2);
    let nonces: Vec<_> = m
        .auth(HeaderName::WwwAuthenticate)
        .map(|auth| auth.unwrap().get("nonce").unwrap().into_owned())
        .collect();
    assert_eq!(nonces, ["n", "m"]);
}

#[test]
fn compact_forms_and_any_case_name_the_same_header() {
    let m = invite();
    assert_eq!(m.call_id(), "3848276298220188511@atlanta.example.com");
    assert_eq!(m.first("call-id"), m.first(HeaderName::CallId));
    assert_eq!(m.first("i"), m.first(HeaderName::CallId));
    assert_eq!(m.content_type(), Some(&b"text/plain"[..]));
    assert_eq!(m.content_length(), Some(4));
    let from = m.headers().find(|h| h.name == FieldName::Known(HeaderName::From)).unwrap();
    assert_eq!(from.raw_name, "f");
}

#[test]
fn an_unknown_header_is_found_by_its_text_without_regard_to_case() {
    let m = invite();
    assert_eq!(m.first_str("x-odd"), Some("caf\u{e9}"));
    assert!(m.has("X-ODD") && !m.has("X-Even"));
}

#[test]
fn bytes_that_are_not_utf8_stay_as_they_are() {
    let mut raw = INVITE.as_bytes().to_vec();
    let at = INVITE.find("caf").unwrap();
    raw[at] = 0xFF;
    let m = Message::parse_datagram(Bytes::from(raw)).unwrap();
    assert_eq!(m.first("X-Odd").unwrap()[0], 0xFF);
    assert_eq!(m.first_str("X-Odd"), None);
}

#[test]
fn the_six_headers_that_every_element_reads() {
    let m = invite();
    assert_eq!(m.top_via().branch(), Some("z9hG4bK1"));
    assert_eq!(m.vias().count(), 3);
    assert_eq!(m.from().display_text(), "Alice, of Atlanta");
    assert_eq!(m.from().tag(), Some("9fxced76sl"));
    assert_eq!((m.to().display(), m.to().tag()), (&b"Bob"[..], None));
    assert_eq!((m.cseq().number, m.max_forwards()), (314_159, Some(70)));
    let contacts: Vec<_> = m.contacts().map(|c| c.unwrap().addr().unwrap()).collect();
    assert_eq!((contacts[0].expires(), contacts[0].q_thousandths()), (Some(60), Some(700)));
    assert_eq!(contacts[1].uri_text(), "sip:alice@host;ob");
    assert_eq!(m.routes().filter(Result::is_ok).count(), 3);
}

/// RFC 3261 10.2.1.1 and RFC 4475 3.1.2.4.
#[test]
fn an_expires_that_is_no_number_means_3600_and_one_that_is_too_large_the_largest() {
    let with = |value: &str| {
        message(&format!(
            "REGISTER sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a\r\nFrom: <sip:a@b>\r\nTo: <sip:a@b>\r\nCall-ID: x\r\n\
             CSeq: 1 REGISTER\r\nExpires: {value}\r\n\r\n"
        ))
        .expires()
    };
    assert_eq!(with("120"), Some(120));
    assert_eq!(with("soon"), Some(3600));
    assert_eq!(with("99999999999"), Some(u32::MAX));
    assert_eq!(invite().expires(), None);
}

/// RFC 3261 18.3.
#[test]
fn without_content_length_the_body_of_a_datagram_goes_to_its_end() {
    let m = message(&INVITE.replace("l: 4\r\n", ""));
    assert_eq!(m.body(), b"body");
}

/// RFC 3261 7.5.
#[test]
fn line_ends_before_the_start_line_are_skipped() {
    let m = message(&format!("\r\n\r\n{INVITE}"));
    assert_eq!(&m.raw()[..], INVITE.as_bytes());
}

#[test]
fn a_stream_message_must_say_its_length() {
    let raw = Bytes::from(INVITE.replace("l: 4\r\n", ""));
    let refusal = Message::parse_frame(raw).unwrap_err();
    assert_eq!(refusal.defect(), Defect::Missing(HeaderName::ContentLength));
}

#[test]
fn debug_output_holds_no_addresses() {
    assert_eq!(
        format!("{:?}", invite()),
        format!("Message(314159 INVITE, {} bytes)", INVITE.len())
    );
}
