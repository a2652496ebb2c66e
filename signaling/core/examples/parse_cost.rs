//! Prints what parsing a typical INVITE costs: as it is parsed on arrival, and with the six headers taken
//! out that every element looks at; both with this parser and with `rsip`, in turns. Run it with `--release`;
//! `--json` prints one object instead of a table.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rsip::Request;
use rsip::headers::{ToTypedHeader, UntypedHeader};
use rsip::prelude::HeadersExt;
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

/// Nanoseconds of one call: the median round, and the best one, which a busy machine disturbs least.
#[derive(Clone, Copy)]
struct Cost {
    median: f64,
    best: f64,
}

impl Cost {
    fn of(mut rounds: Vec<Duration>) -> Cost {
        rounds.sort();
        let ns = |round: Duration| round.as_nanos() as f64 / f64::from(CALLS_PER_ROUND);
        Cost { median: ns(rounds[rounds.len() / 2]), best: ns(rounds[0]) }
    }

    fn show(self, what: &str) {
        println!("{what:<42} {:6.0} ns  (best {:.0})", self.median, self.best);
    }
}

fn round(call: &mut impl FnMut()) -> Duration {
    let start = now();
    for _ in 0..CALLS_PER_ROUND {
        call();
    }
    now() - start
}

fn measure(mut call: impl FnMut()) -> Cost {
    Cost::of((0..ROUNDS).map(|_| round(&mut call)).collect())
}

/// Measures two in turns, so that what else the machine does meets both.
fn measure_two(mut a: impl FnMut(), mut b: impl FnMut()) -> (Cost, Cost) {
    let rounds = (0..ROUNDS).map(|_| (round(&mut a), round(&mut b)));
    let (first, second) = rounds.unzip();
    (Cost::of(first), Cost::of(second))
}

fn rsip_parse(bytes: &Bytes) -> Request {
    Request::try_from(&bytes[..]).expect("the INVITE above is well-formed")
}

/// The same as [`take_six`].
fn rsip_take_six(message: &Request) {
    let via = message.via_header().and_then(ToTypedHeader::typed).expect("a Via");
    black_box((via.branch(), via.sent_by().clone(), via.transport));
    let from = message.from_header().and_then(ToTypedHeader::typed).expect("a From");
    let to = message.to_header().and_then(ToTypedHeader::typed).expect("a To");
    black_box((from.tag(), to.tag()));
    let cseq = message.cseq_header().and_then(ToTypedHeader::typed).expect("a CSeq");
    let call_id = message.call_id_header().expect("a Call-ID");
    black_box((cseq.seq, cseq.method, call_id.value()));
    black_box(message.contact_header().and_then(ToTypedHeader::typed).expect("a Contact"));
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
    let (ours, theirs) = measure_two(
        || drop(black_box(parse(black_box(&invite)))),
        || drop(black_box(rsip_parse(black_box(&invite)))),
    );
    let (our_six, their_six) = measure_two(
        || take_six(black_box(&parse(black_box(&invite)))),
        || rsip_take_six(black_box(&rsip_parse(black_box(&invite)))),
    );
    let edit = measure(|| {
        let mut edit = message.edit();
        edit.push_front(HeaderName::Via, "SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK0123456789abcdef")
            .push_front(HeaderName::RecordRoute, "<sip:198.51.100.1;lr>")
            .set(HeaderName::MaxForwards, "69")
            .set_request_uri("sip:bob@203.0.113.5:5060");
        drop(black_box(edit.finish()));
    });
    let stamp = measure(|| {
        drop(black_box(stamp_source(&message, source).map(|edit| edit.finish())));
    });
    let target =
        MediaTarget { address: source.ip(), port: 20_000, rtcp_port: Some(20_001), mux: None };
    let rewrite =
        Rewrite { origin: Some(source.ip()), media: [Some(target)].into_iter().collect() };
    let description = measure(|| {
        let sdp = Sdp::parse(black_box(message.body()));
        drop(black_box(sdp.map(|sdp| sdp.rewrite(&rewrite))));
    });
    let (bytes, headers) = (invite.len(), message.headers().count());
    let ratio = |ours: Cost, theirs: Cost| ours.median / theirs.median;
    if std::env::args().any(|arg| arg == "--json") {
        println!(
            "{{\"bytes\":{bytes},\"headers\":{headers},\"rounds\":{ROUNDS},\"parse_ns\":{:.1},\"take_six_ns\":{:.1},\
             \"rsip_parse_ns\":{:.1},\"rsip_take_six_ns\":{:.1},\"ratios\":{{\"parse_vs_rsip\":{:.3},\
             \"take_six_vs_rsip\":{:.3}}},\"edit_ns\":{:.1},\"stamp_ns\":{:.1},\"sdp_ns\":{:.1}}}",
            ours.median,
            our_six.median,
            theirs.median,
            their_six.median,
            ratio(ours, theirs),
            ratio(our_six, their_six),
            edit.median,
            stamp.median,
            description.median,
        );
        return;
    }
    println!("INVITE of {bytes} bytes, {headers} headers, median of {ROUNDS} rounds");
    ours.show("parse");
    theirs.show("  rsip");
    our_six.show("parse, and take out six headers");
    their_six.show("  rsip");
    println!(
        "ratio to rsip: {:.2}, with six headers taken out {:.2}",
        ratio(ours, theirs),
        ratio(our_six, their_six)
    );
    edit.show("edit as a proxy does");
    stamp.show("fill in received and rport");
    description.show("read and rewrite the session description");
}
