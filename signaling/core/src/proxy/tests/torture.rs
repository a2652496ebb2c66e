//! What a node does with each message of RFC 4475, one test a message, named as in the RFC. It serves the
//! domains that the messages name and is open; whom they are for is registered. What the messages
//! *say* is tested where they are parsed (`tests/torture_rfc4475.rs`).
//!
//! A proxy leaves to the user agent what only that can judge (an unknown body, `Require`, `Accept`): such
//! requests go on as they are.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use super::calls::{ALICE, BOB};
use super::harness::{Bench, Plan, reply, show};
use crate::wire::{HeaderName, Message};

/// The domains that the messages are for.
const DOMAINS: [&str; 4] =
    ["example.com", "example.net", "registrar.example.com", "chair-dnrc.example.com"];

fn vector(name: &str) -> Bytes {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/rfc4475");
    Bytes::from(std::fs::read(folder.join(format!("{name}.dat"))).unwrap())
}

fn plan() -> Plan {
    Plan { domains: DOMAINS.to_vec(), ..Plan::default() }
}

/// A node that has got the message from Alice.
fn sent(name: &str, plan: Plan) -> Bench {
    let mut bench = Bench::new(plan);
    bench.datagram(ALICE, vector(name));
    bench
}

/// The node answers with this status, once, and does no more.
#[track_caller]
fn answers(name: &str, status: u16) -> Message {
    let mut bench = sent(name, plan());
    let answer = bench.expect_status(ALICE, status);
    bench.expect_silence();
    assert!(bench.asked.is_empty() && bench.commands.is_empty());
    answer
}

/// As [`answers`], and nothing is left of it: a stateless refusal.
#[track_caller]
fn refuses(name: &str, status: u16, reason: &str) {
    let mut bench = sent(name, plan());
    // Not all of these can be parsed by us: what is damaged is copied as it came.
    let answer = bench.next_to(ALICE);
    assert!(answer.starts_with(&format!("SIP/2.0 {status} {reason}\r\n")), "{answer}");
    bench.expect_silence();
    assert_eq!(bench.proxy.load().transactions, 0);
}

/// Nothing is sent, and nothing is kept.
#[track_caller]
fn ignores(name: &str) {
    let bench = sent(name, plan());
    bench.expect_silence();
    assert_eq!(bench.proxy.load().transactions, 0);
}

/// `user` is registered at Bob's phone, which gets the request; an INVITE is answered 100 before.
#[track_caller]
fn passes_on(name: &str, user: &str) -> Message {
    let mut bench = Bench::new(plan());
    let register = format!(
        "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP {BOB};branch=z9hG4bKreg\r\n\
         From: <sip:{user}@example.com>;tag=r\r\nTo: <sip:{user}@example.com>\r\nCall-ID: reg\r\n\
         CSeq: 1 REGISTER\r\nContact: <sip:phone@{BOB}>\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    );
    bench.udp(BOB, &register);
    bench.expect_status(BOB, 200);
    let original = vector(name);
    bench.datagram(ALICE, original.clone());
    if original.starts_with(b"INVITE") {
        bench.expect_status(ALICE, 100);
    }
    let passed = bench.message_to(BOB);
    assert!(passed.is_request(), "{}", show(&passed));
    bench.expect_silence();
    // RFC 3261 16.6 step 8, 18.2.1: our Via on top, and the sender's with where it came from.
    let vias: Vec<_> = passed.vias().map(Result::unwrap).collect();
    assert_eq!(vias[0].host().to_string(), "192.0.2.1");
    assert_eq!(vias[1].received(), Some("198.51.100.10".parse().unwrap()));
    let hops = Message::parse_datagram(original).unwrap().max_forwards();
    assert_eq!(passed.max_forwards(), Some(hops.map_or(70, |hops| hops - 1)));
    passed
}

/// The request is passed on with these bytes as they were.
#[track_caller]
fn keeps(passed: &Message, verbatim: &str) {
    let text = String::from_utf8_lossy(passed.raw());
    assert!(text.contains(verbatim), "{verbatim:?} is not in\n{text}");
}

/// 3.1.1.1: well-formed however it looks. It has a To tag, and the node has no such dialog.
#[test]
fn wsinv() {
    let answer = answers("wsinv", 481);
    assert_eq!(answer.from().tag(), Some("98asjd8"));
    assert_eq!(answer.to().tag(), Some("1918181833n"));
    assert_eq!(answer.vias().count(), 3);
}

/// 3.1.1.2: a method that is unknown, and characters as odd as can be, go on.
#[test]
fn intmeth() {
    let passed = passes_on("intmeth", "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*");
    assert_eq!(passed.method().as_str(), "!interesting-Method0123456789_*+`.%indeed'~");
    keeps(&passed, "\r\nextensionHeader-!.%*+_`'~:\u{feff}\u{5927}\u{505c}\u{96fb}\r\n");
    keeps(&passed, "\r\nTo: \"BEL:\\\u{7} NUL:\\\0 DEL:\\\u{7f}\" <sip:1_unusual.URI~(to-be!sure)");
}

/// 3.1.1.3: the user is the one that the escapes stand for.
#[test]
fn esc01() {
    let passed = passes_on("esc01", "sips%3Auser%40example.com");
    keeps(&passed, "\r\nTo: sip:%75se%72@example.com\r\n");
    keeps(&passed, "<sip:cal%6Cer@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31>\r\n");
}

/// 3.1.1.4: two contacts that differ in how many escaped NULs they hold.
#[test]
fn escnull() {
    let answer = answers("escnull", 200);
    assert_eq!(answer.contacts().count(), 2, "{}", show(&answer));
}

/// 3.1.1.5: an unknown method for the registrar itself.
#[test]
fn esc02() {
    let answer = answers("esc02", 501);
    assert!(answer.first(HeaderName::Allow).is_some());
}

/// 3.1.1.6
#[test]
fn lwsdisp() {
    keeps(&passes_on("lwsdisp", "user"), "\r\nFrom: caller<sip:caller@example.com>;tag=323\r\n");
}

/// 3.1.1.7
#[test]
fn longreq() {
    let passed = passes_on("longreq", "user");
    assert_eq!(passed.vias().count(), 35);
    assert_eq!(passed.vias().last().unwrap().unwrap().received(), "192.0.2.5".parse().ok());
}

/// 3.1.1.8: the second request in the datagram is no request.
#[test]
fn dblreq() {
    let answer = answers("dblreq", 200);
    assert_eq!(answer.contacts().count(), 1);
}

/// 3.1.1.9: what looks like parameters is the user's name.
#[test]
fn semiuri() {
    assert_eq!(passes_on("semiuri", "user;par=u%40example.net").vias().count(), 2);
}

/// 3.1.1.10
#[test]
fn transports() {
    let passed = passes_on("transports", "user");
    let names: Vec<_> = passed.vias().map(|via| via.unwrap().transport().to_owned()).collect();
    assert_eq!(names, ["UDP", "UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]);
}

/// 3.1.1.11: the body goes on byte by byte, along the Route that is not ours (and is a strict router's).
#[test]
fn mpart01() {
    // The strict router is on this host, where settings have to name it.
    let trusted = vec!["198.51.100.10", "127.0.0.1"];
    let mut bench = sent("mpart01", Plan { trusted, ..plan() });
    let passed = bench.message_to("127.0.0.1:5080");
    let original = Message::parse_datagram(vector("mpart01")).unwrap();
    assert_eq!(passed.body(), original.body());
    assert_eq!(passed.request_uri(), "sip:127.0.0.1:5080");
    assert_eq!(passed.routes().next().unwrap().unwrap().uri_text(), original.request_uri());
    bench.expect_silence();
}

/// 3.1.1.12: a response that nobody has asked for is dropped (RFC 6026 8.9), whatever its phrase.
#[test]
fn unreason() {
    ignores("unreason");
}

/// 3.1.1.13: likewise.
#[test]
fn noreason() {
    ignores("noreason");
}

/// 3.1.2.1
#[test]
fn badinv01() {
    refuses("badinv01", 400, "Bad Via Header");
}

/// 3.1.2.2
#[test]
fn clerr() {
    refuses("clerr", 400, "Content-Length Exceeds Datagram");
}

/// 3.1.2.3
#[test]
fn ncl() {
    refuses("ncl", 400, "Bad Content-Length Header");
}

/// 3.1.2.4
#[test]
fn scalar02() {
    refuses("scalar02", 400, "Bad CSeq Header");
}

/// 3.1.2.5
#[test]
fn scalarlg() {
    ignores("scalarlg");
}

/// 3.1.2.6
#[test]
fn quotbal() {
    refuses("quotbal", 400, "Bad To Header");
}

/// 3.1.2.7
#[test]
fn ltgtruri() {
    refuses("ltgtruri", 400, "Bad Request-URI");
}

/// 3.1.2.8: refused rather than guessed at.
#[test]
fn lwsruri() {
    refuses("lwsruri", 400, "Bad Request Line");
}

/// 3.1.2.9: refused rather than guessed at.
#[test]
fn lwsstart() {
    refuses("lwsstart", 400, "Bad Request Line");
}

/// 3.1.2.10: refused rather than guessed at.
#[test]
fn trws() {
    refuses("trws", 400, "Bad Request Line");
}

/// 3.1.2.11
#[test]
fn escruri() {
    refuses("escruri", 400, "Headers In Request-URI");
}

/// 3.1.2.12: a proxy does not act on Date, so it may let it pass.
#[test]
fn baddate() {
    keeps(&passes_on("baddate", "user"), "\r\nDate: Fri, 01 Jan 2010 16:00:00 EST\r\n");
}

/// 3.1.2.13: the registrar would have to guess whose the parameters are.
#[test]
fn regbadct() {
    answers("regbadct", 400);
}

/// 3.1.2.14
#[test]
fn badaspec() {
    refuses("badaspec", 400, "Bad To Header");
}

/// 3.1.2.15: the archive's file lacks the empty line at its end; with it, the From is what is wrong.
#[test]
fn baddn() {
    refuses("baddn", 400, "Missing End Of Headers");
    let mut bench = Bench::new(plan());
    bench.datagram(ALICE, Bytes::from([&vector("baddn")[..], b"\r\n"].concat()));
    let answer = bench.next_to(ALICE);
    assert!(answer.starts_with("SIP/2.0 400 Bad From Header\r\n"), "{answer}");
}

/// 3.1.2.16
#[test]
fn badvers() {
    refuses("badvers", 505, "Version Not Supported");
}

/// 3.1.2.17
#[test]
fn mismatch01() {
    refuses("mismatch01", 400, "CSeq Method Does Not Match");
}

/// 3.1.2.18
#[test]
fn mismatch02() {
    refuses("mismatch02", 501, "Not Implemented");
}

/// 3.1.2.19
#[test]
fn bigcode() {
    ignores("bigcode");
}

/// 3.2.1: matched by the rules of RFC 2543: the same once more is a retransmission, and the same from
/// another sender with another Call-ID is not.
#[test]
fn badbranch() {
    let mut bench = Bench::new(plan());
    bench.register("user", BOB);
    bench.datagram(ALICE, vector("badbranch"));
    bench.expect_request(BOB, "OPTIONS");
    bench.datagram(ALICE, vector("badbranch"));
    bench.expect_silence();
    let other = String::from_utf8(vector("badbranch").to_vec()).unwrap();
    bench.udp(ALICE, &other.replace("badbranch.", "another."));
    bench.expect_request(BOB, "OPTIONS");
    bench.expect_silence();
}

/// 3.3.1
#[test]
fn insuf() {
    refuses("insuf", 400, "Missing From Header");
}

/// 3.3.2
#[test]
fn unkscm() {
    answers("unkscm", 416);
}

/// 3.3.3
#[test]
fn novelsc() {
    answers("novelsc", 416);
}

/// 3.3.4: the registrar serves no address of record of that scheme.
#[test]
fn unksm2() {
    answers("unksm2", 400);
}

/// 3.3.5: the proxy refuses what it was asked for with Proxy-Require; Require is not for it.
#[test]
fn bext01() {
    let answer = answers("bext01", 420);
    let unsupported = answer.first_str(HeaderName::Unsupported);
    let wanted = "noProxiesSupportThis, norDoAnyProxiesSupportThis";
    assert_eq!(unsupported, Some(wanted), "{}", show(&answer));
}

/// 3.3.6: for the user agent to refuse (415).
#[test]
fn invut() {
    keeps(&passes_on("invut", "user"), "<audio>\r\n <pcmu port=\"443\"/>\r\n</audio>\r\n");
}

/// 3.3.7: credentials of an unknown kind are none.
#[test]
fn regaut01() {
    let mut bench = sent("regaut01", Plan { users: vec![("j.user", "secret")], ..plan() });
    let challenge = bench.expect_status(ALICE, 401);
    assert!(challenge.first(HeaderName::WwwAuthenticate).is_some());
    bench.expect_silence();
}

/// 3.3.8
#[test]
fn multi01() {
    refuses("multi01", 400, "Repeated CSeq Header");
}

/// 3.3.9
#[test]
fn mcl01() {
    refuses("mcl01", 400, "Repeated Content-Length Header");
}

/// 3.3.10: nothing goes to the broadcast address.
#[test]
fn bcast() {
    ignores("bcast");
}

/// 3.3.11
#[test]
fn zeromf() {
    answers("zeromf", 483);
}

/// 3.3.12
#[test]
fn cparam01() {
    let answer = answers("cparam01", 200);
    let contact = answer.contacts().next().unwrap().unwrap().addr().unwrap();
    assert_eq!(contact.uri_text(), "sip:+19725552222@gw1.example.net");
}

/// 3.3.13: the parameter is the URI's, and stays with it; one that the node does not know makes no other
/// device of it (RFC 3261 19.1.4).
#[test]
fn cparam02() {
    let mut bench = sent("cparam01", plan());
    bench.expect_status(ALICE, 200);
    // Both messages have one branch: that of a transaction that has to be over.
    bench.pass(Duration::from_secs(33));
    bench.datagram(ALICE, vector("cparam02"));
    let answer = bench.expect_status(ALICE, 200);
    let contacts: Vec<_> = answer.contacts().map(|c| c.unwrap().addr().unwrap()).collect();
    assert_eq!(contacts.len(), 1, "{}", show(&answer));
    assert_eq!(contacts[0].uri_text(), "sip:+19725552222@gw1.example.net;unknownparam");
}

/// 3.3.14: the header in the Contact is kept there, and is no Route of the requests that go to it.
#[test]
fn regescrt() {
    let mut bench = sent("regescrt", plan());
    let answer = bench.expect_status(ALICE, 200);
    let contact = answer.contacts().next().unwrap().unwrap().addr().unwrap();
    assert_eq!(contact.uri().unwrap().headers(), Some("Route=%3Csip:sip.example.com%3E"));
    bench.datagram(BOB, vector("lwsdisp"));
    let passed = bench.message_to(ALICE);
    assert_eq!(passed.request_uri(), "sip:user@example.com");
    assert_eq!(passed.routes().count(), 0);
}

/// 3.3.15: for the user agent to refuse (406).
#[test]
fn sdp01() {
    keeps(&passes_on("sdp01", "user"), "\r\nAccept: text/nobodyKnowsThis\r\n");
}

/// 3.4.1: a client of RFC 2543, without branch or tag, is served: it gets the answer, and its call can be
/// ended by the other side, whose BYE has no To tag then.
#[test]
fn inv2543() {
    let mut bench = Bench::new(plan());
    bench.register("UserB", BOB);
    bench.datagram(ALICE, vector("inv2543"));
    bench.expect_status(ALICE, 100);
    let invite = bench.expect_request(BOB, "INVITE");
    assert_eq!((invite.from().tag(), invite.record_routes().count()), (None, 2));
    bench.udp(BOB, &reply(&invite, 200, "b", "sip:UserB@198.51.100.20", ""));
    let answer = bench.expect_status(ALICE, 200);
    let route = answer.record_routes().next().unwrap().unwrap();
    let bye = format!(
        "BYE sip:caller@198.51.100.10 SIP/2.0\r\nVia: SIP/2.0/UDP {BOB};branch=z9hG4bKbye\r\n\
         Route: <{}>\r\nFrom: <{}>;tag=b\r\nTo: <{}>\r\nCall-ID: {}\r\nCSeq: 1 BYE\r\n\
         Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
        route.uri_text(),
        answer.to().uri_text(),
        answer.from().uri_text(),
        answer.call_id(),
    );
    bench.udp(BOB, &bye);
    bench.expect_request(ALICE, "BYE");
}

/// No message, however malformed, leaves anything behind once its transaction's time is over.
#[test]
fn nothing_is_left_of_any_message() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/rfc4475");
    let mut bench = Bench::new(plan());
    let mut count = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        bench.datagram(ALICE, Bytes::from(std::fs::read(path).unwrap()));
        count += 1;
    }
    assert_eq!(count, 50);
    bench.pass(Duration::from_secs(600));
    bench.proxy.assert_clean();
}
