//! The parsers, one by one, and what is emitted: that parses again.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use signaling_core::auth::{Authenticator, Config, Secret};
use signaling_core::events::{Package, told};
use signaling_core::ng::bencode::Value;
use signaling_core::sdp::{MediaTarget, Rewrite, Sdp, find_sdp};
use signaling_core::stun;
use signaling_core::wire::{
    AuthValue, Contact, Frame, HeaderName, Limits, Message, NameAddr, StreamFramer, Uri, Via,
};
use signaling_core::ws::{self, Cut, Deframer};

/// Everything of a message is read.
pub(super) fn message(input: &[u8]) {
    let input = Bytes::copy_from_slice(input);
    for parsed in [Message::parse_datagram(input.clone()), Message::parse_frame(input)] {
        match parsed {
            Ok(message) => read(&message),
            Err(refusal) => assert!(!refusal.to_string().is_empty()),
        }
    }
}

fn read(message: &Message) {
    assert_ne!(message.is_request(), message.is_response());
    let _ = (message.uri(), message.max_forwards(), message.expires(), message.content_length());
    let _ = (message.top_via().branch(), message.from().tag(), message.to().uri(), message.cseq());
    let lines = message.headers().map(|header| header.unfolded().len()).sum::<usize>();
    assert!(lines <= message.raw().len(), "headers are parts of the message");
    let _ = message.vias().count() + message.routes().count() + message.contacts().count();
    let _ = message.auth(HeaderName::Authorization).count();
    if let Some(kind) = message.content_type()
        && let Some(part) = find_sdp(kind, message.body())
    {
        sdp(part.of(message.body()));
    }
}

/// A changed copy of what parses, parses, and has what was put in.
pub(super) fn edit(input: &[u8]) {
    let Ok(message) = Message::parse_datagram(Bytes::copy_from_slice(input)) else { return };
    let vias = message.count(HeaderName::Via);
    let mut edit = message.edit();
    edit.push_front(HeaderName::Via, "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKfuzz");
    edit.set(HeaderName::MaxForwards, "69");
    edit.remove(HeaderName::Route);
    edit.remove_top(HeaderName::RecordRoute);
    edit.set_body(Some("text/plain"), Bytes::from_static(b"body"));
    // A message of as many lines as there may be cannot take one more.
    let Ok(edited) = edit.finish_message() else {
        assert!(message.headers().count() + 4 > signaling_core::wire::HEADERS_MAX);
        return;
    };
    assert_eq!(edited.top_via().branch(), Some("z9hG4bKfuzz"));
    assert_eq!((edited.count(HeaderName::Via), edited.max_forwards()), (vias + 1, Some(69)));
    assert_eq!((edited.body(), edited.has(HeaderName::Route)), (&b"body"[..], false));
    read(&edited);
}

/// However a stream is cut into reads, the same messages come out of it. The first byte says how.
pub(super) fn stream(input: &[u8]) {
    let Some((&size, rest)) = input.split_first() else { return };
    let whole = frames(rest, rest.len().max(1));
    let pieces = frames(rest, usize::from(size).max(1));
    assert_eq!(whole, pieces, "in reads of {size}");
}

fn frames(input: &[u8], size: usize) -> (Vec<Frame>, bool) {
    let mut framer = StreamFramer::new(Limits::default());
    let mut frames = Vec::new();
    for piece in input.chunks(size) {
        framer.push(piece);
        loop {
            match framer.next() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => return (frames, false),
            }
        }
    }
    assert!(framer.pending() <= input.len());
    (frames, true)
}

/// However the bytes of a client's frames are cut into reads, the same messages and control frames come out
/// of them, and no more bytes wait than have come. The first byte says how.
pub(super) fn websocket(input: &[u8]) {
    let Some((&size, rest)) = input.split_first() else { return };
    let whole = cuts(rest, rest.len().max(1));
    let pieces = cuts(rest, usize::from(size).max(1));
    assert_eq!(whole, pieces, "in reads of {size}");
    for cut in whole.0 {
        match cut {
            Cut::Message(message) => assert!(ws::message_header(&message).len() >= 2),
            Cut::Ping(payload) => assert!(ws::pong(&payload).ends_with(&payload)),
            Cut::Close(code) => assert!(ws::close(code).len() >= 2),
        }
    }
}

fn cuts(input: &[u8], size: usize) -> (Vec<Cut>, bool) {
    let mut deframer = Deframer::new(Limits { head_bytes_max: 4_000, body_bytes_max: 4_000 });
    let mut cuts = Vec::new();
    for piece in input.chunks(size) {
        deframer.push(piece);
        loop {
            match deframer.next() {
                Ok(Some(cut)) => cuts.push(cut),
                Ok(None) => break,
                Err(_) => return (cuts, false),
            }
        }
    }
    assert!(deframer.pending() <= input.len());
    (cuts, true)
}

/// What is answered is an answer to what was asked, and little more than that.
pub(super) fn stun(input: &[u8]) {
    for source in ["192.0.2.1:5060", "[2001:db8::1]:65535"] {
        let source: SocketAddr = source.parse().expect("an address");
        let Some(answer) = stun::answer(input, source) else { continue };
        assert!(stun::is_stun(input) && stun::is_stun(&answer));
        assert_eq!(answer[4..20], input[4..20], "the transaction");
        assert_eq!(usize::from(u16::from_be_bytes([answer[2], answer[3]])), answer.len() - 20);
        assert!(answer.len() * 10 <= input.len() * 22);
    }
}

/// URIs are kept as they were written, and can be compared and reduced.
pub(super) fn uri(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(uri) = Uri::parse(text) else { return };
    assert_eq!(uri.as_str(), text);
    let _ = (uri.user_unescaped(), uri.port(), uri.headers(), uri.params().iter().count());
    let _ = (uri.equivalent(&uri), uri.is_sip().then(|| uri.address_of_record()));
}

/// Via, From and To, Contact, credentials.
pub(super) fn address(input: &[u8]) {
    if let Some(via) = Via::parse(input) {
        let _ = (via.branch(), via.received(), via.rport(), via.ttl(), via.maddr());
        let _ = (via.reply_host(), via.reply_port(), via.params().iter().count());
    }
    if let Some(address) = NameAddr::parse(input) {
        let _ = (address.display_text(), address.uri(), address.tag(), address.q_thousandths());
        let _ = (address.expires(), address.instance(), address.reg_id());
    }
    let _ = Contact::parse(input).and_then(Contact::addr);
    if let Some(auth) = AuthValue::parse(input) {
        let _ = (auth.params().count(), auth.get("nonce"));
    }
}

/// A description with other addresses has the same streams, at these addresses.
pub(super) fn sdp(input: &[u8]) {
    let Ok(sdp) = Sdp::parse(input) else { return };
    let ip = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
    let target =
        MediaTarget { address: ip, port: 40_000, rtcp_port: Some(40_001), mux: Some(false) };
    let media = sdp.media().iter().map(|_| Some(target)).collect();
    let written = sdp.rewrite(&Rewrite { origin: Some(ip), media });
    let again = Sdp::parse(&written)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&written)));
    assert_eq!(again.media().len(), sdp.media().len());
    for media in again.media() {
        let _ = (media.payload_types().count(), media.rtp_address(), media.rtcp_address());
    }
}

/// Credentials of all kinds are judged, and none that was not issued is remembered.
pub(super) fn digest(input: &[u8]) {
    let now = Instant::now();
    let unix = Duration::from_secs(1_700_000_000);
    let mut authenticator = Authenticator::new(Config::new([1; 32]), [2; 32], now, unix);
    let secret = Secret::Plain("secret".to_owned());
    let values = input.split(|&byte| byte == b'\n');
    let _ = authenticator.verify(now, "sim.test", "REGISTER", values, |_| Some(&secret));
    assert_eq!(authenticator.nonces_len(), 0);
}

/// ng's dictionaries.
pub(super) fn bencode(input: &[u8]) {
    match Value::parse(input) {
        Ok(_) => {}
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// What watchers are told of a document that is taken is a document that is taken, and says the same.
pub(super) fn document(input: &[u8]) {
    for package in Package::ALL {
        let Ok(first) = told(package, "sip:a@sim.test", input) else { continue };
        let second = told(package, "sip:a@sim.test", first.as_bytes());
        assert_eq!(second.as_deref(), Ok(first.as_str()));
    }
}
