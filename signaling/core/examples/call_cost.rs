//! Prints what the proxy core itself costs for a call without media: INVITE, 100, 180, 200, ACK, BYE, 200
//! between two trusted peers, each message going once through it, at a steady rate of calls on a
//! clock that the example turns. Run it with `--release`; `--calls N` for how many a round. With `--live N` it
//! prints what a call takes that is up, once the transactions of its set-up have ended.

mod bench_node;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use signaling_core::auth::{self, Authenticator};
use signaling_core::call::SessionTimers;
use signaling_core::proxy::config::{Config, NextHop, Route};
use signaling_core::proxy::output::Output;
use signaling_core::proxy::{Parts, Proxy};
use signaling_core::registrar::{self, AnyUser, Registrar};
use signaling_core::transaction::{self, Transactions};
use signaling_core::transport::{Arrival, ListenerId, Transport};
use signaling_core::wire::{HeaderName, Message};

use bench_node::{Local, node};

/// Long enough that a transaction's 32 s are a small part of a run.
const CALLS_DEFAULT: u64 = 100_000;
/// Rounds that the median is taken of.
const ROUNDS: usize = 7;
/// Between calls: 1,000 a second.
const GAP: Duration = Duration::from_millis(1);

const BODY: &str = "A body of the size of a description of one audio stream, which the core leaves alone.\
 It has no meaning; it is here so that the message is as long as a phone's, and is copied as often\
 as a description is. Two hundred and thirty-seven.";

fn caller() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 2], 5060))
}

fn callee() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 3], 5060))
}

fn proxy(now: Instant) -> Proxy {
    let config = Config {
        trusted: vec!["192.0.2.0/24".parse().expect("a network")],
        routes: vec![Route {
            domain: "callee.example".to_owned(),
            next_hops: vec![NextHop::Address(callee())],
            transport: None,
        }],
        session_timers: Some(SessionTimers::default()),
        ..bench_node::config()
    };
    let parts = Parts {
        transactions: Transactions::new(now, transaction::Config::new([1; 32])),
        registrar: Registrar::new(now, registrar::Config::default(), Box::new(AnyUser), [2; 32]),
        authenticator: Authenticator::new(
            auth::Config::new([3; 32]),
            [4; 32],
            now,
            Duration::from_secs(1_700_000_000),
        ),
        local: Box::new(Local(node().ip())),
        media: Box::new(Local(node().ip())),
        secret: [6; 32],
        seed: [5; 32],
    };
    Proxy::new(now, config, parts)
}

fn arrival(remote: SocketAddr) -> Arrival {
    Arrival {
        transport: Transport::Udp,
        listener: ListenerId(0),
        local: node(),
        remote,
        connection: None,
    }
}

/// Hands a message in and returns what is sent to `wanted`, the last of it.
fn pass(
    proxy: &mut Proxy,
    now: Instant,
    from: SocketAddr,
    text: String,
    sent: &mut u64,
) -> Option<Bytes> {
    proxy.handle_message(now, arrival(from), Bytes::from(text));
    let mut last = None;
    while let Some(output) = proxy.poll_output() {
        match output {
            Output::Transmit(transmit) => {
                *sent += 1;
                last = Some(transmit.bytes);
            }
            Output::Record(_) => {}
            Output::Alias { .. }
            | Output::Media(_)
            | Output::Resolve(_)
            | Output::Close(_)
            | Output::Farm(_)
            | Output::Notice(_) => {
                panic!("unexpected: {output:?}")
            }
        }
    }
    last
}

/// Header lines of a dialog's message, the peers' own.
fn call(proxy: &mut Proxy, now: Instant, n: u64, is_held: bool) -> u64 {
    let mut sent = 0;
    let ids = format!(
        "From: \"Alice\" <sip:alice@caller.example>;tag=a{n}\r\nCall-ID: {n}-89012@192.0.2.2\r\n"
    );
    let contact = "Contact: <sip:alice@192.0.2.2:5060>\r\n";
    let more = "Max-Forwards: 70\r\nAllow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY, MESSAGE, INFO\r\n\
                Supported: replaces, norefersub, outbound\r\nUser-Agent: Example Phone 4.2.1\r\n";
    let invite = format!(
        "INVITE sip:bob@callee.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKi{n};rport\r\n\
         {ids}To: <sip:bob@callee.example>\r\nCSeq: 1 INVITE\r\n{contact}{more}\
         Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    let forwarded = pass(proxy, now, caller(), invite, &mut sent).expect("the INVITE goes on");
    let forwarded = Message::parse_datagram(forwarded).expect("it parses");
    let lines = |message: &Message, name: &str, header| {
        message.lines(header).fold(String::new(), |mut text, value| {
            text.push_str(name);
            text.push_str(std::str::from_utf8(value).expect("text"));
            text.push_str("\r\n");
            text
        })
    };
    let answer = |request: &Message, status: &str, body: &str| {
        let vias = lines(request, "Via: ", HeaderName::Via);
        let routes = lines(request, "Record-Route: ", HeaderName::RecordRoute);
        let cseq = lines(request, "CSeq: ", HeaderName::CSeq);
        format!(
            "SIP/2.0 {status}\r\n{vias}{routes}{ids}To: <sip:bob@callee.example>;tag=b{n}\r\n{cseq}\
             Contact: <sip:bob@192.0.2.3:5060>\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    pass(proxy, now, callee(), answer(&forwarded, "180 Ringing", ""), &mut sent);
    let ok = pass(proxy, now, callee(), answer(&forwarded, "200 OK", BODY), &mut sent);
    let ok = Message::parse_datagram(ok.expect("the 200 goes on")).expect("it parses");
    let routes = lines(&ok, "Route: ", HeaderName::RecordRoute);
    let within = |method: &str, cseq: u32| {
        format!(
            "{method} sip:bob@192.0.2.3:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bK{method}{n};rport\r\n\
             {routes}{ids}To: <sip:bob@callee.example>;tag=b{n}\r\nCSeq: {cseq} {method}\r\nMax-Forwards: 70\r\n\
             Content-Length: 0\r\n\r\n"
        )
    };
    pass(proxy, now, caller(), within("ACK", 1), &mut sent);
    if is_held {
        return sent;
    }
    let bye = pass(proxy, now, caller(), within("BYE", 2), &mut sent).expect("the BYE goes on");
    let bye = Message::parse_datagram(bye).expect("it parses");
    pass(proxy, now, callee(), answer(&bye, "200 OK", ""), &mut sent);
    sent
}

#[expect(clippy::disallowed_methods, reason = "measuring is what this example is for")]
fn now() -> Instant {
    Instant::now()
}

/// What the program has in memory, in bytes.
#[expect(clippy::disallowed_methods, reason = "measuring is what this example is for")]
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux tells it");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of it");
    let kilobytes = line.split_whitespace().next().and_then(|kb| kb.parse::<f64>().ok());
    kilobytes.expect("a number") * 1_024.0
}

/// Three times as many calls, made at the same rate and left to rest: what grows is theirs, and what
/// transactions have taken meanwhile is there each time.
fn measure_live(mut proxy: Proxy, start: Instant, live: u64) {
    let (mut clock, mut marks) = (start, Vec::new());
    for step in 0..3 {
        for n in 0..live {
            clock += GAP;
            proxy.handle_timeout(clock);
            call(&mut proxy, clock, step * live + n, true);
        }
        clock += Duration::from_secs(64);
        proxy.handle_timeout(clock);
        while proxy.poll_output().is_some() {}
        let load = proxy.load();
        assert_eq!((load.calls as u64, load.transactions), ((step + 1) * live, 0));
        marks.push(resident());
    }
    println!("{:9.0} bytes a live call", (marks[2] - marks[0]) / (2 * live) as f64);
}

fn argument(name: &str) -> Option<u64> {
    std::env::args().skip_while(|arg| arg != name).nth(1)?.parse().ok()
}

fn main() {
    let calls = argument("--calls").unwrap_or(CALLS_DEFAULT);
    let start = now();
    let mut proxy = proxy(start);
    if let Some(live) = argument("--live") {
        return measure_live(proxy, start, live);
    }
    let (mut clock, mut n, mut rounds) = (start, 0, Vec::new());
    for _ in 0..ROUNDS {
        let (begin, mut sent) = (now(), 0);
        for _ in 0..calls {
            clock += GAP;
            n += 1;
            if proxy.poll_timeout().is_some_and(|due| due <= clock) {
                proxy.handle_timeout(clock);
            }
            sent += call(&mut proxy, clock, n, false);
        }
        let per_call = |total: u64| total as f64 / calls as f64;
        let ns = per_call((now() - begin).as_nanos() as u64);
        rounds.push(ns);
        println!(
            "{ns:9.0} ns a call, {:4.1} messages sent (the peers' part included)",
            per_call(sent)
        );
    }
    rounds.sort_by(f64::total_cmp);
    println!("{:9.0} ns a call: median of {ROUNDS} rounds of {calls} calls", rounds[ROUNDS / 2]);
}
