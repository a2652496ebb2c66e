//! Responses and requests made from scratch.

use signaling_core::wire::{HeaderName, Method, RequestBuilder, ResponseBuilder};

use crate::{invite, message, text};

/// RFC 3261 8.2.6.2.
#[test]
fn a_response_copies_vias_from_to_call_id_and_cseq() {
    let m = invite();
    let out = ResponseBuilder::new(&m, 180, None).to_tag("b0b").finish();
    assert_eq!(
        text(&out),
        "SIP/2.0 180 Ringing\r\n\
         Via: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bK1;rport, SIP/2.0/TCP outer.example.com;branch=z9hG4bK0\r\n\
         Via: SIP/2.0/UDP [2001:db8::1]:5070;branch=z9hG4bKx\r\n\
         From: \"Alice, of Atlanta\" <sip:alice@atlanta.example.com>;tag=9fxced76sl\r\n\
         To: Bob <sip:bob@biloxi.example.com>;tag=b0b\r\n\
         Call-ID: 3848276298220188511@atlanta.example.com\r\n\
         CSeq: 314159 INVITE\r\n\
         Content-Length: 0\r\n\r\n",
    );
}

#[test]
fn a_to_tag_that_is_there_stays() {
    let m = invite().edit().set(HeaderName::To, "<sip:b@c>;tag=old").finish_message().unwrap();
    let done = ResponseBuilder::new(&m, 200, None).to_tag("new").finish_message().unwrap();
    assert_eq!(done.to().tag(), Some("old"));
}

/// RFC 3261 8.2.6.1.
#[test]
fn a_100_copies_the_timestamp_and_gets_no_tag() {
    let m = invite().edit().append(HeaderName::Timestamp, "54.1").finish_message().unwrap();
    let trying = ResponseBuilder::new(&m, 100, None).to_tag("new").finish_message().unwrap();
    assert_eq!(
        (trying.to().tag(), trying.first(HeaderName::Timestamp)),
        (None, Some(&b"54.1"[..]))
    );
    let ringing = ResponseBuilder::new(&m, 180, None).finish_message().unwrap();
    assert!(!ringing.has(HeaderName::Timestamp));
}

/// RFC 3261 12.1.1.
#[test]
fn record_routes_are_copied_when_asked_for() {
    let m = invite()
        .edit()
        .append(HeaderName::RecordRoute, "<sip:r2;lr>, <sip:r1;lr>")
        .append(HeaderName::RecordRoute, "<sip:r0;lr>")
        .finish_message()
        .unwrap();
    let with = ResponseBuilder::new(&m, 200, None).copy_record_route().finish_message().unwrap();
    let routes: Vec<_> = with.record_routes().map(|r| r.unwrap().uri_text().to_owned()).collect();
    assert_eq!(routes, ["sip:r2;lr", "sip:r1;lr", "sip:r0;lr"]);
    let without = ResponseBuilder::new(&m, 200, None).finish_message().unwrap();
    assert_eq!(without.record_routes().count(), 0);
}

#[test]
fn a_response_takes_a_reason_headers_and_a_body() {
    let m = invite();
    let done = ResponseBuilder::new(&m, 488, "No Such\r\nCodec")
        .header(HeaderName::Warning, "304 here \"no codec\"")
        .header("X-A", "b")
        .body("application/sdp", "v=0\r\n")
        .finish_message()
        .unwrap();
    assert_eq!((done.status(), text(done.reason())), (Some(488), "No Such Codec"));
    assert_eq!((done.first_str("x-a"), done.body()), (Some("b"), &b"v=0\r\n"[..]));
    assert_eq!(done.content_type(), Some(&b"application/sdp"[..]));
}

/// RFC 3261 9.1.
#[test]
fn a_cancel_is_made_from_its_invite() {
    let m = invite();
    let done = RequestBuilder::cancel(&m).finish_message().unwrap();
    assert_eq!(done.method(), &Method::Cancel);
    assert_eq!(done.request_uri(), m.request_uri());
    assert_eq!(done.vias().count(), 1);
    assert_eq!(done.top_via().as_bytes(), m.top_via().as_bytes());
    assert_eq!(done.to().as_bytes(), m.to().as_bytes());
    assert_eq!(done.from().as_bytes(), m.from().as_bytes());
    assert_eq!((done.call_id(), done.cseq().number), (m.call_id(), m.cseq().number));
    assert_eq!(done.routes().count(), 3);
    assert_eq!((done.max_forwards(), done.content_length()), (Some(70), Some(0)));
    assert!(!done.has(HeaderName::Contact));
}

/// RFC 3261 17.1.1.3.
#[test]
fn an_ack_takes_its_to_from_the_response() {
    let m = invite();
    let busy = ResponseBuilder::new(&m, 486, None).to_tag("busy").finish_message().unwrap();
    let done = RequestBuilder::ack(&m, &busy).finish_message().unwrap();
    assert_eq!(done.method(), &Method::Ack);
    assert_eq!(done.to().tag(), Some("busy"));
    assert_eq!(done.top_via().branch(), m.top_via().branch());
    assert_eq!((done.cseq().number, done.routes().count()), (m.cseq().number, 3));
}

#[test]
fn a_request_is_made_header_by_header() {
    let done = RequestBuilder::new(&Method::Options, "sip:a@b")
        .header(HeaderName::Via, "SIP/2.0/UDP c;branch=z9hG4bK1")
        .header(HeaderName::From, "<sip:a@b>;tag=1")
        .header(HeaderName::To, "<sip:a@b>")
        .header(HeaderName::CallId, "x")
        .header(HeaderName::CSeq, "1 OPTIONS")
        .body("text/plain", "hi")
        .finish();
    let m = message(text(&done));
    assert_eq!((m.request_uri(), m.body()), ("sip:a@b", &b"hi"[..]));
    assert!(RequestBuilder::new(&Method::Options, "sip:a@b").finish_message().is_err());
}
