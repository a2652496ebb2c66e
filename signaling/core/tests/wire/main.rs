//! Behaviour of the SIP wire format through its public interface.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test by panicking")]

mod accessors;
mod addr;
mod auth;
mod build;
mod edit;
mod framer;
mod malformed;
mod names;
mod props;
mod stamp;
mod uri;
mod via;

use bytes::Bytes;
use signaling_core::wire::Message;

/// An INVITE with a body, compact forms, a folded value and joined and repeated lists.
const INVITE: &str = "INVITE sip:bob@biloxi.example.com;user=phone SIP/2.0\r\n\
Via: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bK1;rport, SIP/2.0/TCP outer.example.com;branch=z9hG4bK0\r\n\
v: SIP/2.0/UDP [2001:db8::1]:5070;branch=z9hG4bKx\r\n\
Max-Forwards: 70\r\n\
f: \"Alice, of Atlanta\" <sip:alice@atlanta.example.com>;tag=9fxced76sl\r\n\
t: Bob <sip:bob@biloxi.example.com>\r\n\
i: 3848276298220188511@atlanta.example.com\r\n\
CSeq: 314159 INVITE\r\n\
Route: <sip:p1.example.com;lr>, <sip:p2.example.com;lr>\r\n\
Route: <sip:p3.example.com;lr>\r\n\
m: <sip:alice@192.0.2.1:5062>;expires=60;q=0.7, \"A\" <sip:alice@host;ob>\r\n\
Supported: 100rel,,\r\n timer , replaces\r\n\
X-Odd: caf\u{e9} \r\n\
c: text/plain\r\n\
l: 4\r\n\
\r\n\
body";

fn message(text: &str) -> Message {
    Message::parse_datagram(Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

fn invite() -> Message {
    message(INVITE)
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
