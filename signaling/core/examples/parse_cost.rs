//! Prints what parsing a typical INVITE costs: as it is parsed on arrival, and with the six headers taken
//! out that every element looks at. Run it with `--release`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use signaling_core::sdp::{MediaTarget, Rewrite, Sdp};
use signaling_core::wire::{HeaderName, Message, stamp_source};

const INVITE: &str = "INVITE sip:bob@biloxi.example.com SIP/2.0\r\n\
Via: SIP/2.0/UDP 192.0.2.17:5062;branch=z9hG4bK-524287-1---8b2f7d3a1c;rport\r\n\
Max-Forwards: 70\r\n\
Contact: <sip:alice@192.0.2.17:5062;transport=udp>\r\n\
To: \"Bob\" <sip:bob@biloxi.example.com>\r\n\
From: \"Alice\" <sip:alice@atlanta.example.com>;tag=a73kszlfl\r\n\
Call-ID: 1j9FpLxk3uxtm8tn-89012@192.0.2.17\r\n\
CSeq: 314159 INVITE\r\n\
Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY, MESSAGE, INFO\r\n\
Supported: replaces, norefersub, outbound\r\n\
User-Agent: Example Phone 4.2.1\r\n\
Content-Type: application/sdp\r\n\
Content-Length: 237\r\n\
\r\n\
v=0\r\n\
o=alice 2890844526 2890844526 IN IP4 192.0.2.17\r\n\
s=-\r\n\
c=IN IP4 192.0.2.17\r\n\
t=0 0\r\n\
m=audio 49172 RTP/AVP 0 8 101\r\n\
a=rtpmap:0 PCMU/8000\r\n\
a=rtpmap:8 PCMA/8000\r\n\
a=rtpmap:101 telephone-event/8000\r\n\
a=fmtp:101 0-15\r\n\
a=ptime:20\r\n\
a=sendrecv\r\n";

/// Long enough for the clock, short enough that most rounds are not interrupted.
const CALLS_PER_ROUND: u32 = 1_000;
/// How many rounds the median and the best are taken of.
const ROUNDS: usize = 501;

#[expect(clippy::disallowed_methods, reason = "measuring is what this example is for")]
fn now() -> Instant {
    Instant::now()
}

/// Prints the median round, and the best one, which a busy machine disturbs least.
fn measure(what: &str, mut call: impl FnMut()) {
    let mut rounds: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = now();
            for _ in 0..CALLS_PER_ROUND {
                call();
            }
            now() - start
        })
        .collect();
    rounds.sort();
    let ns = |round: Duration| round.as_nanos() as f64 / f64::from(CALLS_PER_ROUND);
    println!("{what:<42} {:6.0} ns  (best {:.0})", ns(rounds[ROUNDS / 2]), ns(rounds[0]));
}

fn parse(bytes: &Bytes) -> Message {
    Message::parse_datagram(bytes.clone()).expect("the INVITE above is well-formed")
}

fn take_six(message: &Message) {
    let via = message.top_via();
    black_box((via.transport(), via.host(), via.port_or_default(), via.branch(), via.rport()));
    for addr in [message.from(), message.to()] {
        black_box((addr.display(), addr.uri().ok(), addr.tag()));
    }
    let cseq = message.cseq();
    black_box((cseq.number, cseq.method, message.call_id()));
    for contact in message.contacts() {
        let addr = contact.ok().and_then(|contact| contact.addr());
        black_box(addr.map(|addr| (addr.uri().ok(), addr.expires())));
    }
}

fn main() {
    let source = "192.0.2.17:5062".parse().expect("an address");
    let invite = Bytes::from_static(INVITE.as_bytes());
    let message = parse(&invite);
    println!(
        "INVITE of {} bytes, {} headers, median of {ROUNDS} rounds",
        invite.len(),
        message.headers().count()
    );
    measure("parse", || drop(black_box(parse(black_box(&invite)))));
    measure("parse, and take out six headers", || take_six(black_box(&parse(black_box(&invite)))));
    measure("edit as a proxy does", || {
        let mut edit = message.edit();
        edit.push_front(HeaderName::Via, "SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK0123456789abcdef")
            .push_front(HeaderName::RecordRoute, "<sip:198.51.100.1;lr>")
            .set(HeaderName::MaxForwards, "69")
            .set_request_uri("sip:bob@203.0.113.5:5060");
        drop(black_box(edit.finish()));
    });
    measure("fill in received and rport", || {
        drop(black_box(stamp_source(&message, source).map(|edit| edit.finish())));
    });
    let target =
        MediaTarget { address: source.ip(), port: 20_000, rtcp_port: Some(20_001), mux: None };
    let rewrite =
        Rewrite { origin: Some(source.ip()), media: [Some(target)].into_iter().collect() };
    measure("read and rewrite the session description", || {
        let sdp = Sdp::parse(black_box(message.body()));
        drop(black_box(sdp.map(|sdp| sdp.rewrite(&rewrite))));
    });
}
