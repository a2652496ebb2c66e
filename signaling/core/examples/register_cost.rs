//! Prints what the core itself costs for a registration with digest: REGISTER, 401, REGISTER with
//! credentials, 200, and for a refresh with a nonce that is known, at 3,000 a second on a clock that the
//! example turns; processor time, of which the phones' part, which is measured by itself, is taken off. Run it with `--release`;
//! `--count N` for how many registrations a round; `--gap-us N` for longer between them, so that few are enough for
//! transactions to end while others begin.

mod bench_node;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use signaling_core::auth::{self, Algorithm, AnswerTo, Authenticator, Challenge, Secret};
use signaling_core::proxy::config::Config;
use signaling_core::proxy::output::Output;
use signaling_core::proxy::{Parts, Proxy};
use signaling_core::registrar::{self, Registrar, UserTable};
use signaling_core::transaction::{self, Transactions};
use signaling_core::transport::{Arrival, ListenerId, Transport};
use signaling_core::wire::{HeaderName, Message};

use bench_node::{Local, node};

/// Long enough that a transaction's 32 s are a small part of a run.
const COUNT_DEFAULT: u32 = 100_000;
/// Rounds that the median is taken of.
const ROUNDS: usize = 7;
/// Between registrations, unless `--gap-us` says otherwise.
const GAP_DEFAULT: Duration = Duration::from_micros(333);
/// Phones that register in turn.
const PHONES: u32 = 5_000;
const PASSWORD: &str = "secret-of-the-example";
const URI: &str = "sip:node.example";

fn phones() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 2], 5060))
}

fn proxy(now: Instant) -> Proxy {
    let config = Config {
        guard: signaling_core::guard::Config {
            rate: 1_000_000,
            burst: 1_000_000,
            ..signaling_core::guard::Config::default()
        },
        ..bench_node::config()
    };
    let mut users = UserTable::default();
    for phone in 0..PHONES {
        users.insert(user(phone), Secret::Plain(PASSWORD.to_owned()));
    }
    let digest = auth::Config {
        algorithms: vec![Algorithm::Md5],
        // Longer than a run.
        nonce_life: Duration::from_secs(86_400),
        ..auth::Config::new([3; 32])
    };
    let unix = Duration::from_secs(1_700_000_000);
    let parts = Parts {
        transactions: Transactions::new(now, transaction::Config::new([1; 32])),
        registrar: Registrar::new(now, registrar::Config::default(), Box::new(users), [2; 32]),
        authenticator: Authenticator::new(digest, [4; 32], now, unix),
        local: Box::new(Local(node().ip())),
        media: Box::new(Local(node().ip())),
        secret: [6; 32],
        seed: [5; 32],
    };
    Proxy::new(now, config, parts)
}

fn user(phone: u32) -> String {
    format!("u{phone:06}")
}

/// Hands a message in and returns what is sent.
fn pass(proxy: &mut Proxy, now: Instant, text: String) -> Option<Bytes> {
    let arrival = Arrival {
        transport: Transport::Udp,
        listener: ListenerId(0),
        local: node(),
        remote: phones(),
        connection: None,
    };
    proxy.handle_message(now, arrival, Bytes::from(text));
    let mut last = None;
    while let Some(output) = proxy.poll_output() {
        match output {
            Output::Transmit(transmit) => last = Some(transmit.bytes),
            Output::Record(_)
            | Output::Media(_)
            | Output::Alias { .. }
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

fn request(n: u64, cseq: u32, user: &str, credentials: &str) -> String {
    format!(
        "REGISTER {URI} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKr{n}-{cseq};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{user}@node.example>;tag=t{n}\r\nTo: <sip:{user}@node.example>\r\n\
         Call-ID: {user}-89012@192.0.2.2\r\nCSeq: {cseq} REGISTER\r\n\
         Contact: <sip:{user}@192.0.2.2:5060>\r\nExpires: 3600\r\n{credentials}Content-Length: 0\r\n\r\n"
    )
}

fn credentials(challenge: &Challenge, user: &str, nc: u32) -> String {
    let to = AnswerTo { method: "REGISTER", uri: URI, cnonce: "0a4f113b", nc };
    let secret = Secret::Plain(PASSWORD.to_owned());
    let value = auth::answer(challenge, user, &secret, to).expect("MD5 is offered");
    format!("Authorization: {value}\r\n")
}

/// What a phone knows.
#[derive(Clone, Default)]
struct Phone {
    challenge: Option<Challenge>,
    cseq: u32,
    nc: u32,
}

/// One registration. Without a proxy only the phone's part is done, with the answers of `last`.
fn register(
    proxy: Option<&mut Proxy>,
    clock: Instant,
    n: u64,
    phone: &mut Phone,
    user: &str,
    last: &mut [Bytes; 2],
) {
    let mut proxy = proxy;
    if phone.challenge.is_none() {
        phone.cseq += 1;
        let text = request(n, phone.cseq, user, "");
        if let Some(proxy) = &mut proxy {
            last[0] = pass(proxy, clock, text).expect("a 401");
        } else {
            std::hint::black_box(text);
        }
        let answer = Message::parse_datagram(last[0].clone()).expect("it parses");
        phone.challenge = Challenge::pick(answer.lines(HeaderName::WwwAuthenticate));
        phone.nc = 0;
    }
    phone.cseq += 1;
    phone.nc += 1;
    let challenge = phone.challenge.as_ref().expect("a challenge");
    let text = request(n, phone.cseq, user, &credentials(challenge, user, phone.nc));
    if let Some(proxy) = proxy {
        last[1] = pass(proxy, clock, text).expect("a 200");
        assert!(last[1].starts_with(b"SIP/2.0 200"), "{}", String::from_utf8_lossy(&last[1]));
    } else {
        std::hint::black_box(text);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a clock that the example turns has to begin somewhere"
)]
fn now() -> Instant {
    Instant::now()
}

/// The processor time of this program so far, in nanoseconds: other programs do not matter to it.
#[expect(clippy::disallowed_methods, reason = "measuring is what this example is for")]
fn spent_ns() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").expect("Linux tells it");
    text.split(' ').next().and_then(|ns| ns.parse().ok()).expect("a number")
}

/// Nanoseconds a registration; without a proxy those of the phones alone.
fn round(
    proxy: &mut Option<Proxy>,
    (clock, n, gap): &mut (Instant, u64, Duration),
    phones: &mut [Phone],
    count: u32,
    is_fresh: bool,
    last: &mut [Bytes; 2],
) -> f64 {
    let begin = spent_ns();
    for at in 0..count {
        let phone = &mut phones[(at % PHONES) as usize];
        if is_fresh {
            phone.challenge = None;
        }
        if let Some(proxy) = proxy {
            *clock += *gap;
            if proxy.poll_timeout().is_some_and(|due| due <= *clock) {
                proxy.handle_timeout(*clock);
            }
        }
        *n += 1;
        register(proxy.as_mut(), *clock, *n, phone, &user(at % PHONES), last);
    }
    (spent_ns() - begin) / f64::from(count)
}

fn median(mut rounds: Vec<f64>) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

fn argument(name: &str) -> Option<u32> {
    std::env::args().skip_while(|arg| arg != name).nth(1)?.parse().ok()
}

fn main() {
    let count = argument("--count").unwrap_or(COUNT_DEFAULT);
    let gap = argument("--gap-us").map_or(GAP_DEFAULT, |us| Duration::from_micros(us.into()));
    let mut time = (now(), 0, gap);
    let mut proxy = Some(proxy(time.0));
    let mut last = [Bytes::new(), Bytes::new()];
    let mut phones = vec![Phone::default(); PHONES as usize];
    for (name, is_fresh) in [("registration (2 requests)", true), ("refresh (1 request)", false)] {
        round(&mut proxy, &mut time, &mut phones, PHONES, true, &mut last);
        let mut both = || {
            let whole = round(&mut proxy, &mut time, &mut phones, count, is_fresh, &mut last);
            (whole, round(&mut None, &mut time, &mut phones, count, is_fresh, &mut last))
        };
        let (whole, own) = (0..ROUNDS).map(|_| both()).unzip();
        let (whole, own) = (median(whole), median(own));
        println!(
            "{:9.0} ns a {name}, and {own:.0} for the phone's part: medians of {ROUNDS} rounds of {count}",
            whole - own
        );
    }
}
