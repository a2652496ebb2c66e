//! What the node says to requests that are wrong, and to what it must ignore.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use crate::harness::{CALLEE, CALLER, DOMAIN, Lab, NODE, PROXY, Settings, Transport, User};
use crate::raw::{ANSWER, Answer, Raw};
use crate::sipp::{SIPP, register_callee};

/// A request of which any line can be replaced or left out.
struct Request {
    method: &'static str,
    uri: String,
    lines: Vec<(&'static str, String)>,
}

impl Request {
    /// A correct request from `user`@our domain to `to`; `id` makes it another one.
    fn new(peer: &Raw, method: &'static str, to: &str, id: &str) -> Request {
        let transport = match peer {
            Raw::Udp(_) => "UDP",
            Raw::Tcp(_) => "TCP",
        };
        let host = peer.address();
        let lines = vec![
            ("Via", format!("SIP/2.0/{transport} {host};branch=z9hG4bK{id};rport")),
            ("From", format!("<sip:alice@{DOMAIN}>;tag=f{id}")),
            ("To", format!("<sip:{to}>")),
            ("Call-ID", format!("{id}@peer.test")),
            ("CSeq", format!("1 {method}")),
            ("Contact", format!("<sip:alice@{host}>")),
            ("Max-Forwards", "70".to_owned()),
            ("Content-Length", "0".to_owned()),
        ];
        Request { method, uri: format!("sip:{to}"), lines }
    }

    fn without(mut self, name: &str) -> Request {
        self.lines.retain(|(other, _)| *other != name);
        self
    }

    fn with(self, name: &'static str, value: &str) -> Request {
        let mut request = self.without(name);
        request.lines.push((name, value.to_owned()));
        request
    }

    fn text(&self) -> String {
        let lines: String =
            self.lines.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("{} {} SIP/2.0\r\n{lines}\r\n", self.method, self.uri)
    }
}

fn lab(needed: &[&str]) -> Lab {
    Lab::start(&Settings::with_users(&["alice", "bob"]).with_outside(), needed)
}

/// Bad credentials get no further, and a nonce that has not been used for a guess before (RFC 7616
/// 3.3, 5.13).
#[test]
fn wrong_password_gets_a_fresh_challenge() {
    let lab = lab(&[]);
    let mut peer = Raw::open(&lab, CALLER, Transport::Udp);
    let register =
        |peer: &Raw, id: &str| Request::new(peer, "REGISTER", &format!("alice@{DOMAIN}"), id);
    let in_domain = |mut request: Request| {
        request.uri = format!("sip:{DOMAIN}");
        request
    };

    peer.send(&in_domain(register(&peer, "plain")).text());
    let challenge = peer.answer();
    assert_eq!(challenge.status, 401, "{challenge:?}");
    let mut nonce = challenge.nonce();
    for guess in ["guess1", "guess2"] {
        let credentials = format!(
            "Digest username=\"alice\", realm=\"{DOMAIN}\", nonce=\"{nonce}\", uri=\"sip:{DOMAIN}\", qop=auth, \
             nc=00000001, cnonce=\"{guess}\", response=\"{}\", algorithm=MD5",
            "0".repeat(32)
        );
        let request =
            register(&peer, guess).with("Authorization", &credentials).with("CSeq", "2 REGISTER");
        peer.send(&in_domain(request).text());
        let answer = peer.answer();
        assert!(matches!(answer.status, 401 | 403), "{answer:?}");
        assert_ne!(answer.nonce(), nonce, "the nonce of a failed guess is offered again");
        nonce = answer.nonce();
    }
    lab.finish(&[]);
}

/// A request that breaks a rule gets 400 and is told which (RFC 3261 8.2, 21.4.1: the reason phrase
/// names the problem), over UDP.
#[test]
fn malformed_request_is_told_what_is_wrong_over_udp() {
    malformed(Transport::Udp);
}

/// As over UDP; the connection stays usable, as the end of each message is known.
#[test]
fn malformed_request_is_told_what_is_wrong_over_tcp() {
    malformed(Transport::Tcp);
}

fn malformed(transport: Transport) {
    let lab = lab(&[]);
    let mut peer = Raw::open(&lab, CALLER, transport);
    let options =
        |peer: &Raw, id: &str| Request::new(peer, "OPTIONS", &format!("bob@{DOMAIN}"), id);
    let cases = [
        (options(&peer, "m1").without("Call-ID"), "Call-ID"),
        (options(&peer, "m2").without("CSeq"), "CSeq"),
        (options(&peer, "m3").without("From"), "From"),
        (options(&peer, "m4").without("To"), "To"),
        (options(&peer, "m5").with("CSeq", "1 INVITE"), "CSeq"),
        (options(&peer, "m6").with("CSeq", "many OPTIONS"), "CSeq"),
        (options(&peer, "m7").with("Max-Forwards", "lots"), "Max-Forwards"),
    ];
    for (request, culprit) in cases {
        peer.send(&request.text());
        let answer = peer.answer();
        assert_eq!(answer.status, 400, "for {culprit}: {answer:?}");
        assert!(answer.reason.contains(culprit), "the reason does not name {culprit}: {answer:?}");
    }
    if transport == Transport::Udp {
        // A datagram that is shorter than it says is cut off (RFC 3261 18.3). Over TCP, more would
        // be waited for.
        peer.send(&options(&peer, "m8").with("Content-Length", "10").text());
        let answer = peer.answer();
        assert!(answer.status == 400 && answer.reason.contains("Content-Length"), "{answer:?}");
    }
    assert_alive(&mut peer, "after");
    lab.finish(&[]);
}

/// A request that has used up its hops goes no further: 483 (RFC 3261 16.3).
#[test]
fn request_without_hops_left_gets_483() {
    let lab = lab(&[]);
    let mut peer = Raw::open(&lab, PROXY, Transport::Udp);
    peer.send(
        &Request::new(&peer, "INVITE", &format!("bob@{DOMAIN}"), "hops")
            .with("Max-Forwards", "0")
            .text(),
    );
    let answer = peer.final_answer(Duration::from_secs(5));
    assert_eq!(answer.status, 483, "{answer:?}");
    lab.finish(&[]);
}

/// A request that comes back as it was sent on has gone round in a loop: 482 (RFC 3261 16.3 step 4).
#[test]
fn request_that_comes_back_unchanged_gets_482() {
    let lab = lab(&[SIPP]);
    let mut callee = Raw::open(&lab, CALLEE, Transport::Udp);
    register_callee(&lab, &User::new("bob"), Transport::Udp, callee.address().port());
    let mut caller = Raw::open(&lab, PROXY, Transport::Udp);
    let to = format!("bob@{DOMAIN}");
    caller.send(&Request::new(&caller, "MESSAGE", &to, "round").text());
    let arrived = callee.receive(ANSWER);
    let (_, head) = arrived.split_once("\r\n").unwrap_or_else(|| panic!("no request: {arrived}"));
    let back = format!(
        "MESSAGE sip:{to} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bKback\r\n{head}",
        callee.address()
    );
    callee.send(&back);
    let answer = callee.answer();
    assert_eq!(answer.status, 482, "{answer:?}");
    // As the next proxy would pass it on.
    let vias = head.lines().filter(|line| line.starts_with("Via:")).collect::<Vec<_>>();
    assert_eq!(vias.len(), 2, "{head}");
    let kept = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
    let lines = head.lines().filter(|line| kept.iter().any(|name| line.starts_with(name)));
    let lines: String = lines.map(|line| format!("{line}\r\n")).collect();
    callee.send(&format!("SIP/2.0 482 Loop Detected\r\n{lines}Content-Length: 0\r\n\r\n"));
    assert_eq!(caller.final_answer(ANSWER).status, 482);
    lab.finish(&[]);
}

/// What is too large is refused (513, RFC 3261 21.5.7) once it is known to be, and not collected: a body on a
/// connection by its Content-Length, a message by its header lines.
#[test]
fn what_is_too_large_is_refused_with_513() {
    let lab = lab(&[]);
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut peer = Raw::open(&lab, CALLER, transport);
        let mut many = Request::new(&peer, "OPTIONS", DOMAIN, "many");
        many.lines.extend((0..300).map(|number| ("Subject", number.to_string())));
        peer.send(&many.text());
        let answer = peer.answer();
        assert_eq!(answer.status, 513, "over {transport:?}: {answer:?}");
    }
    let mut peer = Raw::open(&lab, CALLER, Transport::Tcp);
    let large = Request::new(&peer, "OPTIONS", DOMAIN, "large").with("Content-Length", "1000000");
    peer.send(&large.text());
    let answer = peer.answer();
    assert_eq!(answer.status, 513, "{answer:?}");
    lab.finish(&[]);
}

/// ACK is never answered (RFC 3261 8.2.7, 17.1.1.3), nor is an answer (18.1.2), nor what is no SIP
/// at all.
#[test]
fn malformed_ack_and_stray_answers_meet_silence() {
    let lab = lab(&[]);
    let mut peer = Raw::open(&lab, CALLER, Transport::Udp);
    let ack = |id: &str| Request::new(&peer, "ACK", &format!("bob@{DOMAIN}"), id);
    let stray = format!(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP {NODE}:5060;branch=z9hG4bKstray\r\nFrom: <sip:a@a>;tag=1\r\n\
         To: <sip:b@b>;tag=2\r\nCall-ID: stray\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
    );
    let silent = [
        ack("a1").text(),
        ack("a2").without("Call-ID").text(),
        ack("a3").with("CSeq", "1 INVITE").text(),
        ack("a4").with("Content-Length", "99").text(),
        stray.clone(),
        stray.replace("Call-ID: stray\r\n", ""),
        "SIP/2.0 nonsense\r\n\r\n".to_owned(),
        "hello\r\n\r\n".to_owned(),
        "\r\n\r\n".to_owned(),
        "\0\u{7f}\0".to_owned(),
    ];
    for text in &silent {
        peer.send(text);
    }
    // One socket's datagrams are taken in order: had any of those been answered, that answer would
    // come first.
    assert_alive(&mut peer, "after");
    lab.finish(&[]);
}

/// A callee that never answers: the INVITE is repeated at 0, 0.5, 1.5, .. 31.5 s, then the caller
/// gets 408 (RFC 3261 17.1.1.2, timers A and B; 16.8).
#[test]
fn callee_that_never_answers_gives_408_after_timer_b() {
    const CALLEE_PORT: u16 = 5080;
    let lab = lab(&[SIPP]);
    let callee = lab.host(CALLEE).enter(|| UdpSocket::bind((CALLEE, CALLEE_PORT)));
    let callee = callee.unwrap_or_else(|e| panic!("cannot bind: {e}"));
    register_callee(&lab, &User::new("bob"), Transport::Udp, CALLEE_PORT);

    // From the trusted proxy's host, as that needs no password.
    let mut caller = Raw::open(&lab, PROXY, Transport::Udp);
    let invite = Request::new(&caller, "INVITE", &format!("bob@{DOMAIN}"), "never");
    let started = Instant::now();
    caller.send(&invite.text());
    let answer = caller.final_answer(Duration::from_secs(40));
    let waited = started.elapsed();
    assert_eq!(answer.status, 408, "{answer:?}");
    assert!((31..36).contains(&waited.as_secs()), "timer B took {waited:?}");
    let mut ack = invite;
    ack.method = "ACK";
    ack = ack.with("CSeq", "1 ACK").with("To", answer.header("To").unwrap_or_default());
    caller.send(&ack.text());

    let set = callee.set_nonblocking(true);
    set.unwrap_or_else(|e| panic!("cannot set a socket: {e}"));
    let mut datagram = [0; 65_536];
    let received: Vec<bool> = std::iter::from_fn(|| {
        callee.recv(&mut datagram).ok().map(|_| datagram.starts_with(b"INVITE "))
    })
    .collect();
    assert_eq!(received, [true; 7], "the INVITE and its six repetitions, and nothing else");
    lab.finish(&["refused 408"]);
}

/// The node answers this request, and answers it next.
fn assert_alive(peer: &mut Raw, id: &str) {
    let request = Request::new(peer, "OPTIONS", &format!("nobody@{DOMAIN}"), id);
    peer.send(&request.text());
    let answer: Answer = peer.answer();
    assert_eq!(answer.header("Call-ID"), Some(format!("{id}@peer.test").as_str()), "{answer:?}");
}
