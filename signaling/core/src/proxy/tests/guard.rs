//! The guard at work: who is answered and who is not.

use std::time::Duration;

use super::harness::{Bench, Plan};
use crate::auth::{AnswerTo, Challenge, Secret, answer};
use crate::guard::{Config, Rule};
use crate::wire::HeaderName;

const PHONE: &str = "198.51.100.1:5060";
const OFFICE: &str = "203.0.113.66:5060";
/// Behind the same address.
const OFFICE_TOO: &str = "203.0.113.66:5080";

fn register(at: &str, user: &str, branch: &str, more: &str) -> String {
    format!(
        "REGISTER sip:example.test SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK{branch}\r\n\
         From: <sip:{user}@example.test>;tag=r\r\nTo: <sip:{user}@example.test>\r\n\
         Call-ID: reg-{branch}\r\nCSeq: 1 REGISTER\r\nContact: <sip:{user}@{at}>\r\n{more}\
         Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
}

fn bench() -> Bench {
    Bench::new(Plan { users: vec![("alice", "right"), ("bob", "right")], ..Plan::default() })
}

/// Asks for a challenge and answers it.
fn attempt(bench: &mut Bench, at: &str, user: &str, password: &str, branch: &str) {
    bench.udp(at, &register(at, user, &format!("{branch}a"), ""));
    let asked = bench.expect_status(at, 401);
    let value = asked.lines(HeaderName::WwwAuthenticate).next().unwrap();
    let challenge = Challenge::parse(value).unwrap();
    let to = AnswerTo { method: "REGISTER", uri: "sip:example.test", cnonce: "c", nc: 1 };
    let secret = Secret::Plain(password.to_owned());
    let credentials = answer(&challenge, user, &secret, to).unwrap();
    let line = format!("Authorization: {credentials}\r\n");
    bench.udp(at, &register(at, user, &format!("{branch}b"), &line));
}

fn dropped(bench: &Bench, rule: Rule) -> u64 {
    let place = Rule::ALL.iter().position(|r| *r == rule).unwrap();
    bench.proxy.guard().dropped()[place]
}

#[test]
fn a_scanner_gets_no_answer_and_the_log_says_why() {
    let mut bench = bench();
    bench.udp(OFFICE, &register(OFFICE, "100", "s", "User-Agent: friendly-scanner\r\n"));
    bench.expect_silence();
    assert_eq!(dropped(&bench, Rule::Scanner), 1);
    let said = bench.notices[0].to_string();
    assert_eq!(said, "guard rule scanner: 1 messages dropped, last from 203.0.113.66");
    bench.udp(OFFICE, &register(OFFICE, "alice", "t", "User-Agent: Phone/1.0\r\n"));
    bench.expect_status(OFFICE, 401);
}

/// One bad phone costs its neighbours behind the same address nothing.
#[test]
fn a_phone_with_a_wrong_password_is_silenced_and_its_neighbour_is_not() {
    let mut bench = bench();
    for n in 0..5 {
        attempt(&mut bench, OFFICE, "alice", "wrong", &format!("w{n}"));
        bench.expect_status(OFFICE, 401);
    }
    attempt(&mut bench, OFFICE, "alice", "wrong", "w5");
    bench.expect_silence();
    assert_eq!(dropped(&bench, Rule::Account), 1);
    attempt(&mut bench, OFFICE_TOO, "bob", "right", "n");
    bench.expect_status(OFFICE_TOO, 200);
    attempt(&mut bench, PHONE, "alice", "right", "o");
    bench.expect_status(PHONE, 200);
    bench.pass(Duration::from_secs(2));
    attempt(&mut bench, OFFICE, "alice", "right", "w6");
    bench.expect_status(OFFICE, 200);
}

#[test]
fn whoever_guesses_on_is_banned_and_a_phone_elsewhere_registers() {
    let mut bench = bench();
    for n in 0..60 {
        attempt(&mut bench, OFFICE, &format!("u{n}"), "1234", &format!("g{n}"));
        bench.expect_status(OFFICE, 401);
    }
    bench.udp(OFFICE, &register(OFFICE, "alice", "late", ""));
    bench.expect_silence();
    assert_eq!(dropped(&bench, Rule::Banned), 1);
    assert!(bench.notices.iter().any(|n| n.to_string().contains("is banned for 600 s")));
    attempt(&mut bench, PHONE, "alice", "right", "r");
    bench.expect_status(PHONE, 200);
    bench.pass(Duration::from_secs(601));
    bench.udp(OFFICE, &register(OFFICE, "alice", "again", ""));
    bench.expect_status(OFFICE, 401);
}

/// Calls for foreign domains in foreign names: what toll fraud begins with.
#[test]
fn calls_in_strangers_names_count_against_their_source() {
    let guard = Config { ban_failures: 3, ..Config::default() };
    let mut bench = Bench::new(Plan { users: vec![("alice", "right")], guard, ..Plan::default() });
    let invite = |n| {
        format!(
            "OPTIONS sip:900{n}@example.test SIP/2.0\r\nVia: SIP/2.0/UDP {OFFICE};branch=z9hG4bK{n}\r\n\
             From: <sip:x@elsewhere.test>;tag=x\r\nTo: <sip:900{n}@example.test>\r\nCall-ID: x{n}\r\n\
             CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        )
    };
    for n in 0..3 {
        bench.udp(OFFICE, &invite(n));
        bench.expect_status(OFFICE, 403);
    }
    bench.udp(OFFICE, &invite(3));
    bench.expect_silence();
}

/// The node is of no use to amplify with: few answers a source, none much larger than its request.
#[test]
fn malformed_requests_are_answered_a_few_times_a_second_and_then_banned() {
    let mut bench = bench();
    let bad = register(OFFICE, "alice", "m", "Contact: <\r\n").replace("CSeq: 1", "CSeq: x");
    for _ in 0..100 {
        bench.udp(OFFICE, &bad);
    }
    assert_eq!(bench.sent.len(), 50);
    assert!(bench.sent.iter().all(|sent| sent.bytes.len() <= 2 * bad.len()));
    assert_eq!((dropped(&bench, Rule::Answers), dropped(&bench, Rule::Banned)), (10, 40));
}

#[test]
fn trusted_sources_are_not_held_back_where_they_are_exempt() {
    let guard = Config {
        rate: 1,
        burst: 1,
        exempt: vec!["203.0.113.66/32".parse().unwrap()],
        ..Config::default()
    };
    let mut bench = Bench::new(Plan { guard, ..Plan::default() });
    for n in 0..20 {
        bench.udp(OFFICE, &register(OFFICE, "alice", &format!("x{n}"), ""));
        bench.expect_status(OFFICE, 200);
    }
    for n in 0..20 {
        bench.udp(PHONE, &register(PHONE, "bob", &format!("y{n}"), ""));
    }
    assert_eq!(bench.sent.len(), 1, "a source that is not");
}

fn invite(at: &str, more: &str) -> String {
    format!(
        "INVITE sip:bob@example.test SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bKi1;rport\r\n\
         From: <sip:alice@example.test>;tag=a\r\nTo: <sip:bob@example.test>\r\nCall-ID: i1\r\n\
         CSeq: 1 INVITE\r\nContact: <sip:alice@{at}>\r\nMax-Forwards: 70\r\n{more}\
         Content-Length: 0\r\n\r\n"
    )
}

/// RFC 3261 26.3.2.4: the node is of no use to flood somebody whose address is forged. Nothing goes out
/// again by itself, nothing is kept, and the ACK is for nobody else.
#[test]
fn a_challenge_is_sent_once_and_nothing_is_kept_of_it() {
    let mut bench = bench();
    let text = invite(PHONE, "");
    bench.udp(PHONE, &text);
    let challenge = bench.expect_status(PHONE, 407);
    assert_eq!(bench.proxy.load().transactions, 0);
    bench.pass(Duration::from_secs(60));
    bench.expect_silence();
    let tag = challenge.to().tag().unwrap();
    let ack = text
        .replace("INVITE sip", "ACK sip")
        .replace("1 INVITE", "1 ACK")
        .replace("To: <sip:bob@example.test>", &format!("To: <sip:bob@example.test>;tag={tag}"));
    bench.udp(PHONE, &ack);
    bench.expect_silence();
    assert_eq!(bench.proxy.load().transactions, 0);
    bench.udp(PHONE, &text);
    bench.expect_status(PHONE, 407);
}

/// Bytes out for bytes in, over UDP, to somebody who has not been seen: 1.4 for what phones send with
/// both algorithms offered, and never more than 3.
#[test]
fn what_answers_a_stranger_over_udp_is_hardly_larger_than_its_request() {
    let mut bench = bench();
    let phone = "User-Agent: Phone/1.0 (12345678)\r\nSupported: replaces, outbound, path\r\n\
                 Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, NOTIFY, REFER, UPDATE, PRACK\r\n";
    let media = format!("{phone}Content-Type: application/sdp\r\n");
    let body = super::harness::sdp("198.51.100.1", 4000);
    let with_body = invite(PHONE, &media).replace("Length: 0", &format!("Length: {}", body.len()));
    for (text, most) in [
        (register(PHONE, "alice", "p", phone), 1.4),
        (with_body + &body, 1.1),
        (invite(PHONE, ""), 3.0),
        (register(PHONE, "alice", "q", "Route: <sip:x@elsewhere.test;lr>\r\n"), 3.0),
    ] {
        bench.udp(PHONE, &text);
        let out: usize = bench.sent.drain(..).map(|sent| sent.bytes.len()).sum();
        let factor = out as f64 / text.len() as f64;
        assert!(out > 0 && factor <= most, "{factor} {text}");
    }
    let tiny = "OPTIONS sip:b@h SIP/2.0\r\nv:SIP/2.0/UDP h;branch=z9hG4bKt\r\nf:<sip:a@example.test>\r\n\
                t:<sip:b@h>\r\ni:1\r\nCSeq:1 OPTIONS\r\n\r\n";
    bench.udp(PHONE, tiny);
    bench.expect_silence();
    assert_eq!(dropped(&bench, Rule::AnswerSize), 1);
    assert_eq!(bench.proxy.load().transactions, 0);
}

/// Scanners that hide their User-Agent.
#[test]
fn a_scanner_is_known_by_the_name_in_from_too() {
    let mut bench = bench();
    let text = register(OFFICE, "100", "s", "").replace("From: <", "From: \"sipvicious\" <");
    bench.udp(OFFICE, &text);
    bench.expect_silence();
    assert_eq!(dropped(&bench, Rule::Scanner), 1);
    let phone = register(OFFICE, "sipvicious", "t", "");
    bench.udp(OFFICE, &phone);
    bench.expect_status(OFFICE, 401);
}

/// A stream loses nothing: whoever is not listened to is told by the end of its connection.
#[test]
fn whoever_is_turned_away_on_a_connection_has_it_closed() {
    let guard = Config { rate: 1, burst: 2, ..Config::default() };
    let mut bench = Bench::new(Plan { guard, ..Plan::default() });
    let text = |n| register(OFFICE, "bob", &format!("c{n}"), "").replace("/UDP", "/TCP");
    for n in 0..2 {
        bench.tcp(OFFICE, 7, &text(n));
        bench.expect_status(OFFICE, 200);
    }
    assert_eq!(bench.closed, []);
    bench.tcp(OFFICE, 7, &text(2));
    assert_eq!(bench.closed, [crate::transport::ConnectionId(7)]);
    bench.expect_silence();
    let scanner = register(PHONE, "bob", "s", "User-Agent: sundayddr\r\n");
    bench.tcp(PHONE, 8, &scanner.replace("/UDP", "/TCP"));
    assert_eq!(bench.closed.len(), 2);
}

/// An account whose password is known to a thief: as many requests as it may have, from anywhere.
#[test]
fn an_account_that_sends_too_much_is_refused_with_the_rule_and_others_are_not() {
    let guard = Config { account_registers: 3, ..Config::default() };
    let users = vec![("alice", "right"), ("bob", "right")];
    let mut bench = Bench::new(Plan { users, guard, ..Plan::default() });
    for (n, at) in [PHONE, OFFICE, PHONE].into_iter().enumerate() {
        attempt(&mut bench, at, "alice", "right", &format!("r{n}"));
        bench.expect_status(at, 200);
    }
    attempt(&mut bench, OFFICE, "alice", "right", "r3");
    let refused = bench.expect_status(OFFICE, 503);
    assert_eq!(
        refused.first_str(HeaderName::Warning),
        Some("399 example.test \"guard rule account_registers\"")
    );
    assert_eq!(refused.first_str(HeaderName::RetryAfter), Some("30"));
    assert_eq!(dropped(&bench, Rule::AccountRegisters), 1);
    attempt(&mut bench, OFFICE, "bob", "right", "b");
    bench.expect_status(OFFICE, 200);
    bench.pass(Duration::from_secs(21));
    attempt(&mut bench, OFFICE, "alice", "right", "r4");
    bench.expect_status(OFFICE, 200);
}
