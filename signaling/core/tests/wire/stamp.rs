//! Filling in where a request came from (RFC 3261 18.2.1, RFC 3581 4).

use bytes::Bytes;
use signaling_core::wire::{HeaderName, Message, ResponseBuilder, stamp_source, stamped_message};

use crate::message;

fn stamped(via: &str, source: &str) -> Option<String> {
    let request = message(&format!(
        "OPTIONS sip:a SIP/2.0\r\nv: {via}\r\nFrom: <sip:a@b>\r\nTo: <sip:a@b>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\
         l: 0\r\n\r\n",
    ));
    let edit = stamp_source(&request, source.parse().unwrap())?;
    let result = edit.finish_message().unwrap();
    let quick = stamped_message(&request, source.parse().unwrap()).unwrap();
    assert_eq!(quick.first(HeaderName::Via), result.first(HeaderName::Via));
    assert_eq!(result.headers().next().unwrap().raw_name, "v");
    Some(String::from_utf8(result.headers().next().unwrap().value.to_vec()).unwrap())
}

#[test]
fn nothing_is_added_where_sent_by_is_the_source() {
    assert_eq!(stamped("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1", "192.0.2.1:5060"), None);
    assert_eq!(stamped("SIP/2.0/UDP 192.0.2.1:7;branch=z9hG4bK1", "[::ffff:192.0.2.1]:9"), None);
}

#[test]
fn received_is_added_where_sent_by_is_a_name_or_another_address() {
    assert_eq!(
        stamped("SIP/2.0/UDP a.example.com;branch=z9hG4bK1", "192.0.2.1:5060").unwrap(),
        "SIP/2.0/UDP a.example.com;branch=z9hG4bK1;received=192.0.2.1",
    );
    assert_eq!(
        stamped("SIP/2.0/UDP 10.0.0.1 ; branch=z9hG4bK1", "[2001:db8::1]:5060").unwrap(),
        "SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1;received=2001:db8::1",
    );
}

#[test]
fn rport_is_filled_in_and_received_added_even_if_it_equals_sent_by() {
    assert_eq!(
        stamped("SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bK1", "192.0.2.1:40000").unwrap(),
        "SIP/2.0/UDP 192.0.2.1:5060;rport=40000;branch=z9hG4bK1;received=192.0.2.1",
    );
}

#[test]
fn what_the_peer_wrote_there_itself_is_overwritten() {
    assert_eq!(
        stamped(
            "SIP/2.0/UDP 192.0.2.1;received=198.51.100.66;rport=53;branch=z9hG4bK1",
            "192.0.2.1:5060"
        )
        .unwrap(),
        "SIP/2.0/UDP 192.0.2.1;rport=5060;branch=z9hG4bK1;received=192.0.2.1",
    );
}

#[test]
fn only_the_top_via_of_a_joined_line_changes() {
    assert_eq!(
        stamped("SIP/2.0/UDP a;branch=z9hG4bK1 , SIP/2.0/UDP b;branch=z9hG4bK2", "192.0.2.1:5060")
            .unwrap(),
        "SIP/2.0/UDP a;branch=z9hG4bK1;received=192.0.2.1 , SIP/2.0/UDP b;branch=z9hG4bK2",
    );
}

/// What a response is given by itself is what it would have from a request that was stamped first.
#[test]
fn a_response_can_fill_in_the_source_itself() {
    let source = "198.51.100.9:5099".parse().unwrap();
    for via in [
        "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa;rport, SIP/2.0/UDP h;branch=z9hG4bKb",
        "SIP/2.0/UDP 198.51.100.9:5099;branch=z9hG4bKa\r\nVia: SIP/2.0/TCP h;branch=z9hG4bKc",
        "SIP / 2.0 / UDP host.test;branch=z9hG4bKa;received=9.9.9.9\r\nv: SIP/2.0/TCP h",
    ] {
        let text = format!(
            "OPTIONS sip:b@h SIP/2.0\r\nVia: {via}\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\n\
             Call-ID: c\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        );
        let message = Message::parse_datagram(Bytes::from(text)).unwrap();
        let stamped = stamp_source(&message, source).map(|edit| edit.finish_message().unwrap());
        let stamped = stamped.unwrap_or_else(|| message.clone());
        let wanted = ResponseBuilder::new(&stamped, 503, None).finish();
        let made = ResponseBuilder::new(&message, 503, None).source(source).finish();
        assert_eq!(made, wanted);
    }
}
