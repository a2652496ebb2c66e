//! The parser against another one, `rsip`: where both take a message, they must see the same in it.

use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use rsip::headers::{ToTypedHeader, UntypedHeader};
use rsip::prelude::HeadersExt;
use rsip::{Request, SipMessage};
use signaling_core::wire::{Message, Scheme};

/// What both are asked for, as text.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    start: String,
    branch: Option<String>,
    sent_by: String,
    from_tag: Option<String>,
    to_tag: Option<String>,
    call_id: String,
    cseq: (u32, String),
}

fn ours(bytes: &[u8]) -> Option<Seen> {
    let message = Message::parse_datagram(Bytes::copy_from_slice(bytes)).ok()?;
    let via = message.top_via();
    let port = via.port().map(|port| format!(":{port}")).unwrap_or_default();
    let start = match message.status() {
        Some(status) => status.to_string(),
        None => message.method().to_string(),
    };
    Some(Seen {
        start,
        branch: via.branch().map(str::to_owned),
        sent_by: format!("{}{port}", via.host()),
        from_tag: message.from().tag().map(str::to_owned),
        to_tag: message.to().tag().map(str::to_owned),
        call_id: message.call_id().to_owned(),
        cseq: (message.cseq().number, message.cseq().method.to_string()),
    })
}

fn seen_by_rsip(start: String, message: &impl HeadersExt) -> Option<Seen> {
    let via = message.via_header().ok()?.typed().ok()?;
    let cseq = message.cseq_header().ok()?.typed().ok()?;
    let from = message.from_header().ok()?.typed().ok()?;
    let to = message.to_header().ok()?.typed().ok()?;
    Some(Seen {
        start,
        branch: via.branch().map(ToString::to_string),
        sent_by: via.sent_by().to_string(),
        from_tag: from.tag().map(ToString::to_string),
        to_tag: to.tag().map(ToString::to_string),
        call_id: message.call_id_header().ok()?.value().to_owned(),
        cseq: (cseq.seq, cseq.method.to_string()),
    })
}

fn theirs(bytes: &[u8]) -> Option<Seen> {
    match SipMessage::try_from(bytes).ok()? {
        SipMessage::Request(request) => seen_by_rsip(request.method.to_string(), &request),
        SipMessage::Response(response) => {
            seen_by_rsip(response.status_code.code().to_string(), &response)
        }
    }
}

/// The torture messages that both take, with what `rsip` makes of them where that is wrong.
#[test]
fn torture_messages_that_both_take_are_read_alike() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/rfc4475");
    let mut alike = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let (Some(own), Some(other)) = (ours(&bytes), theirs(&bytes)) else { continue };
        assert_eq!(own, other, "{name}");
        alike.push(name);
    }
    assert!(alike.len() >= 15, "{alike:?}");
}

fn token() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9.!%*_+`'~-]{1,20}"
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,8}\\.[a-z]{2,6}",
        any::<[u8; 4]>().prop_map(|ip| std::net::Ipv4Addr::from(ip).to_string()),
    ]
}

/// A URI as `rsip` reads it, too: it takes a user part with other characters than these (`.`, `!`, `&`)
/// for part of the host, which the grammar of RFC 3261 25.1 does not allow.
fn uri() -> impl Strategy<Value = String> {
    ("[a-zA-Z0-9]{1,12}", host(), proptest::option::of(1u16..), proptest::option::of("[a-z]{1,6}"))
        .prop_map(|(user, host, port, param)| {
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            let param = param.map(|name| format!(";{name}=1")).unwrap_or_default();
            format!("sip:{user}@{host}{port}{param}")
        })
}

prop_compose! {
    fn request()(
        method in prop_oneof![Just("INVITE"), Just("BYE"), Just("REGISTER"), Just("OPTIONS"), Just("SUBSCRIBE")],
        target in uri(), from in uri(), to in uri(), contact in uri(),
        display in proptest::option::of("[a-zA-Z0-9 ]{0,10}"),
        (branch, from_tag) in (token(), token()), to_tag in proptest::option::of(token()),
        sent_by in host(), call_id in token(), cseq in 0u32..=0x7fff_ffff,
        compact in any::<bool>(), body in "[ -~]{0,40}",
    ) -> String {
        let [via_name, from_name, to_name, id_name, contact_name, length_name] = if compact {
            ["v", "f", "t", "i", "m", "l"]
        } else {
            ["Via", "From", "To", "Call-ID", "Contact", "Content-Length"]
        };
        let display = display.map(|text| format!("\"{text}\" ")).unwrap_or_default();
        let to_tag = to_tag.map(|tag| format!(";tag={tag}")).unwrap_or_default();
        format!(
            "{method} {target} SIP/2.0\r\n{via_name}: SIP/2.0/UDP {sent_by};branch=z9hG4bK{branch}\r\n\
             Max-Forwards: 70\r\n{from_name}: {display}<{from}>;tag={from_tag}\r\n{to_name}: <{to}>{to_tag}\r\n\
             {id_name}: {call_id}\r\nCSeq: {cseq} {method}\r\n{contact_name}: <{contact}>\r\n\
             {length_name}: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

proptest! {
    /// Every well-formed request is taken by us; where `rsip` takes it too, it sees the same, and the
    /// same Request-URI.
    #[test]
    fn requests_are_read_alike(text in request()) {
        let own = ours(text.as_bytes());
        prop_assert!(own.is_some(), "refused: {text}");
        if let Some(other) = theirs(text.as_bytes()) {
            prop_assert_eq!(own.unwrap(), other);
        }
        let message = Message::parse_datagram(Bytes::from(text.clone())).unwrap();
        let uri = message.uri().unwrap();
        prop_assert!(matches!(uri.scheme(), Scheme::Sip));
        if let Ok(request) = Request::try_from(text.as_bytes()) {
            prop_assert_eq!(uri.host().to_string(), request.uri.host().to_string());
            let port = request.uri.port().map(|port| *port.value());
            prop_assert_eq!(uri.port(), port);
            prop_assert_eq!(uri.user(), request.uri.user());
        }
    }
}
