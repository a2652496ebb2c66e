//! The words of the messages: what a desk phone sends, some 800 bytes an INVITE.

use std::net::SocketAddrV4;

use crate::sipbench::ends::Transport;
use crate::sipbench::template::{ID_MARK, Template, USER_MARK};

/// The domain that the server under test serves.
pub(crate) const DOMAIN: &str = "bench.test";

/// What every phone sends about itself.
const ABOUT: &str = "Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY, INFO, UPDATE\r\n\
Supported: replaces, timer\r\nUser-Agent: Bench Phone 4.2.1\r\n";

/// How long a registration is asked to hold, in seconds: longer than any run of the generator.
pub(crate) const EXPIRES_S: u32 = 3_600;

/// What a caller sends from one address of its own.
#[derive(Clone, Debug)]
pub(crate) struct CallerTexts {
    pub(crate) invite: Template,
    /// Between the Request-URI and the Route lines of an ACK and of a BYE.
    pub(crate) ack_via: Template,
    pub(crate) bye_via: Template,
    /// From the Route lines on to the To line, which the callee has given a tag.
    pub(crate) from: Template,
    /// After the To line.
    pub(crate) ack_end: Template,
    pub(crate) bye_end: Template,
}

impl CallerTexts {
    pub(crate) fn new(transport: Transport, own: SocketAddrV4) -> CallerTexts {
        let (via, name, ip) = (transport.via(), transport.name(), own.ip());
        let via = |letter: &str| {
            format!("Via: SIP/2.0/{via} {own};branch=z9hG4bK{ID_MARK}{letter};rport\r\n")
        };
        let from = format!("From: \"Alice Bench\" <sip:alice@{DOMAIN}>;tag={ID_MARK}\r\n");
        let call_id = format!("Call-ID: {ID_MARK}@{ip}\r\n");
        let offer = offer(own);
        let invite = format!(
            "INVITE sip:u{USER_MARK}@{DOMAIN} SIP/2.0\r\n{}Max-Forwards: 70\r\n{from}\
             To: <sip:u{USER_MARK}@{DOMAIN}>\r\n{call_id}CSeq: 1 INVITE\r\n\
             Contact: <sip:alice@{own};transport={name}>\r\n{ABOUT}\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{offer}",
            via("i"),
            offer.len(),
        );
        let end = |method: &str, cseq: u32| {
            Template::new(&format!("{call_id}CSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n"))
        };
        CallerTexts {
            invite: Template::new(&invite),
            ack_via: Template::new(&via("a")),
            bye_via: Template::new(&via("b")),
            from: Template::new(&format!("Max-Forwards: 70\r\n{from}")),
            ack_end: end("ACK", 1),
            bye_end: end("BYE", 2),
        }
    }
}

/// What a callee sends from one address of its own.
#[derive(Clone, Debug)]
pub(crate) struct CalleeTexts {
    /// After the lines that an answer copies.
    pub(crate) ringing_end: Vec<u8>,
    pub(crate) ok_end: Vec<u8>,
}

impl CalleeTexts {
    pub(crate) fn new(transport: Transport, own: SocketAddrV4) -> CalleeTexts {
        let contact = format!("Contact: <sip:bob@{own};transport={}>\r\n{ABOUT}", transport.name());
        let answer = answer(own);
        let ok = format!(
            "{contact}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{answer}",
            answer.len()
        );
        let ringing_end = format!("{contact}Content-Length: 0\r\n\r\n").into_bytes();
        CalleeTexts { ringing_end, ok_end: ok.into_bytes() }
    }
}

/// What a phone registers with, from one address of its own.
#[derive(Clone, Debug)]
pub(crate) struct RegisterTexts {
    /// Up to the number of CSeq.
    pub(crate) head: Template,
    /// After it, up to the credentials.
    pub(crate) middle: Template,
}

/// What ends a REGISTER, after the credentials.
pub(crate) const REGISTER_END: &[u8] = b"Content-Length: 0\r\n\r\n";

/// The Request-URI of a REGISTER.
pub(crate) fn registrar_uri() -> String {
    format!("sip:{DOMAIN}")
}

impl RegisterTexts {
    /// `run`: eight digits that keep the Call-IDs of two runs apart.
    pub(crate) fn new(transport: Transport, own: SocketAddrV4, call_id: &str) -> RegisterTexts {
        let (via, name) = (transport.via(), transport.name());
        let aor = format!("<sip:u{USER_MARK}@{DOMAIN}>");
        let head = format!(
            "REGISTER {} SIP/2.0\r\nVia: SIP/2.0/{via} {own};branch=z9hG4bK{ID_MARK}r;rport\r\n\
             Max-Forwards: 70\r\nFrom: {aor};tag={ID_MARK}\r\nTo: {aor}\r\n\
             Call-ID: {call_id}{USER_MARK}\r\nCSeq: ",
            registrar_uri()
        );
        let middle = format!(
            " REGISTER\r\nContact: <sip:u{USER_MARK}@{own};transport={name}>\r\n\
             Expires: {EXPIRES_S}\r\nUser-Agent: Bench Phone 4.2.1\r\n"
        );
        RegisterTexts { head: Template::new(&head), middle: Template::new(&middle) }
    }
}

/// The description that every caller of this address offers.
pub(crate) fn offer(own: SocketAddrV4) -> String {
    description(own, "alice", 40_000)
}

/// The description that every callee of this address answers with.
pub(crate) fn answer(own: SocketAddrV4) -> String {
    description(own, "bob", 42_000)
}

fn description(own: SocketAddrV4, name: &str, port: u16) -> String {
    let ip = own.ip();
    format!(
        "v=0\r\no={name} 2890844526 2890844526 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0 8 9 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
         a=rtpmap:9 G722/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n"
    )
}

#[cfg(test)]
mod tests {
    use rsip::prelude::*;

    use super::*;
    use crate::sipbench::template;

    fn own() -> SocketAddrV4 {
        "10.77.1.2:40000".parse().unwrap()
    }

    /// The judge's parser reads what is sent, and an INVITE is as long as a phone's.
    #[test]
    fn an_invite_is_one_of_some_800_bytes() {
        let texts = CallerTexts::new(Transport::Udp, own());
        let mut bytes = Vec::new();
        texts.invite.write(&mut bytes, &template::id(1, 2), 3);
        assert!((750..=900).contains(&bytes.len()), "{}", bytes.len());
        let request = rsip::Request::try_from(bytes).unwrap();
        assert_eq!(request.uri.to_string(), "sip:u000003@bench.test");
        assert_eq!(request.call_id_header().unwrap().value(), "0000000100000002@10.77.1.2");
        let length = request.headers.iter().find_map(|header| {
            let rsip::Header::ContentLength(length) = header else { return None };
            length.value().trim().parse::<usize>().ok()
        });
        assert_eq!(length, Some(request.body.len()));
    }

    #[test]
    fn a_registration_is_one() {
        let texts = RegisterTexts::new(Transport::Tls, own(), "reg-");
        let mut bytes = Vec::new();
        texts.head.write(&mut bytes, &template::id(1, 2), 77);
        bytes.extend_from_slice(b"5");
        texts.middle.write(&mut bytes, &template::id(1, 2), 77);
        bytes.extend_from_slice(REGISTER_END);
        let request = rsip::Request::try_from(bytes).unwrap();
        assert_eq!(request.cseq_header().unwrap().seq().unwrap(), 5);
        assert!(request.contact_header().unwrap().value().contains("transport=tls"));
    }
}
