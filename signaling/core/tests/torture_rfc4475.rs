//! The torture tests of RFC 4475, one test a message, named as in the RFC. `vectors/README.md` names their
//! source.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test by panicking")]

use std::path::Path;

use bytes::Bytes;
use signaling_core::wire::{Contact, Defect, HeaderName, Malformed, Message, Method, Scheme};

fn vector(name: &str) -> Bytes {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/rfc4475");
    Bytes::from(std::fs::read(dir.join(format!("{name}.dat"))).unwrap())
}

fn valid(name: &str) -> Message {
    let message = Message::parse_datagram(vector(name)).unwrap();
    assert!(message.call_id().starts_with(name) || name == "mpart01", "{}", message.call_id());
    // What can be read at all can be read in full.
    assert!(message.vias().all(|via| via.is_ok()));
    message
}

fn refused(name: &str, defect: Defect) -> Malformed {
    let refusal = Message::parse_datagram(vector(name)).unwrap_err();
    assert_eq!(refusal.defect(), defect, "{name}");
    refusal
}

/// As [`refused`], and what goes back to the sender.
fn answered(name: &str, defect: Defect) -> String {
    let refusal = refused(name, defect);
    let answer = refusal.answer().expect("a request with a usable Via is answered");
    let bytes = answer.write("s3rv3r", "203.0.113.9:5099".parse().unwrap());
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn strings<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<&'a str> {
    values.map(|value| std::str::from_utf8(value).unwrap()).collect()
}

fn contacts(message: &Message) -> Vec<&str> {
    message
        .contacts()
        .map(|contact| match contact.unwrap() {
            Contact::Any => "*",
            Contact::Addr(addr) => addr.uri_text(),
        })
        .collect()
}

/// 3.1.1.1: a short tortuous INVITE.
#[test]
fn wsinv() {
    let m = valid("wsinv");
    assert_eq!(m.request_uri(), "sip:vivekg@chair-dnrc.example.com;unknownparam");
    assert!(m.uri().unwrap().params().has("unknownparam"));
    assert_eq!(m.to().uri_text(), "sip:vivekg@chair-dnrc.example.com");
    assert_eq!(m.to().tag(), Some("1918181833n"));
    assert_eq!(m.from().display_text(), "J Rosenberg \\\"");
    assert_eq!(m.from().tag(), Some("98asjd8"));
    assert_eq!(m.max_forwards(), Some(68));
    assert_eq!((m.cseq().number, m.cseq().method), (9, &Method::Invite));
    assert_eq!(m.content_length(), Some(150));
    assert_eq!(m.body().len(), 150);
    let vias: Vec<_> = m.vias().map(Result::unwrap).collect();
    let read: Vec<_> =
        vias.iter().map(|v| (v.transport(), v.host().to_string(), v.branch().unwrap())).collect();
    assert_eq!(
        read,
        [
            ("UDP", "192.0.2.2".into(), "390skdjuw"),
            ("TCP", "spindle.example.com".into(), "z9hG4bK9ikj8"),
            ("UDP", "192.168.255.111".into(), "z9hG4bK30239"),
        ],
    );
    assert_eq!(vias[0].unique_branch(), None);
    assert_eq!(vias[1].unique_branch(), Some("9ikj8"));
    assert_eq!(m.first(HeaderName::Subject), Some(&b""[..]));
    let folded = m.headers().find(|h| h.raw_name == "NewFangledHeader").unwrap();
    assert_eq!(&folded.unfolded()[..], b"newfangled value continued newfangled value");
    assert_eq!(m.first("unknownheaderwithunusualvalue"), Some(&b";;,,;;,;"[..]));
    let route = m.routes().next().unwrap().unwrap();
    assert!(route.uri().unwrap().params().has("lr"));
    let Contact::Addr(contact) = m.contacts().next().unwrap().unwrap() else { panic!("not *") };
    assert_eq!(contact.display_text(), "Quoted string \"\"");
    assert_eq!(contact.params().get("newparam"), Some("newvalue"));
    assert!(contact.params().has("secondparam"));
    assert_eq!(contact.q_thousandths(), Some(330));
}

/// 3.1.1.2: a wide range of valid characters.
#[test]
fn intmeth() {
    let m = valid("intmeth");
    assert_eq!(m.method().as_str(), "!interesting-Method0123456789_*+`.%indeed'~");
    let uri = m.uri().unwrap();
    assert_eq!(uri.user(), Some("1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"),);
    assert_eq!(uri.password(), Some("&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"));
    assert_eq!(uri.host().to_string(), "example.com");
    assert_eq!(m.to().display_text(), "BEL:\u{7} NUL:\0 DEL:\u{7f}");
    assert_eq!(m.from().display(), b"token1~` token2'+_ token3*%!.-");
    assert_eq!(
        m.from().params().get_unquoted("fromParam''~+*_!.-%").unwrap(),
        "\u{440}\u{430}\u{431}\u{43e}\u{442}\u{430}\u{44e}\u{449}\u{438}\u{439}",
    );
    assert_eq!(m.from().tag(), Some("_token~1'+`*%!-."));
    assert_eq!(m.call_id(), "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{");
    assert_eq!(m.cseq().number, 139_122_385);
    assert_eq!(m.max_forwards(), Some(255));
    assert_eq!(m.top_via().branch(), Some("z9hG4bK-.!%66*_+`'~"));
    let value = m.first("extensionHeader-!.%*+_`'~").unwrap();
    assert_eq!(std::str::from_utf8(value).unwrap(), "\u{feff}\u{5927}\u{505c}\u{96fb}");
}

/// 3.1.1.3: valid use of the % escaping mechanism.
#[test]
fn esc01() {
    let m = valid("esc01");
    let uri = m.uri().unwrap();
    assert!(matches!(uri.scheme(), Scheme::Sip));
    assert_eq!(uri.user(), Some("sips%3Auser%40example.com"));
    assert_eq!(uri.user_unescaped().unwrap(), "sips:user@example.com");
    assert_eq!(m.to().uri().unwrap().user_unescaped().unwrap(), "user");
    assert_eq!(m.from().uri().unwrap().user_unescaped().unwrap(), "I have spaces");
    assert_eq!(contacts(&m), ["sip:cal%6Cer@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31"]);
    assert_eq!(m.content_type(), Some(&b"application/sdp"[..]));
}

/// 3.1.1.4: escaped nulls in URIs.
#[test]
fn escnull() {
    let m = valid("escnull");
    assert_eq!(m.to().uri().unwrap().user_unescaped().unwrap(), "null-\0-null");
    assert_eq!(contacts(&m), ["sip:%00@host5.example.com", "sip:%00%00@host5.example.com"]);
    let users: Vec<_> = m.contacts().map(|c| c.unwrap().addr().unwrap().uri().unwrap()).collect();
    assert!(!users[0].equivalent(&users[1]));
}

/// 3.1.1.5: use of % when it is not an escape.
#[test]
fn esc02() {
    let m = valid("esc02");
    assert_eq!(m.method().as_str(), "RE%47IST%45R");
    assert!(matches!(m.method(), Method::Other(_)), "an escape in a method means nothing");
    assert_eq!(m.to().display_text(), "%Z%45");
    assert_eq!(contacts(&m), ["sip:alias1@host1.example.com", "sip:alias3@host3.example.com"]);
    assert_eq!(m.first("C%6Fntact"), Some(&b"<sip:alias2@host2.example.com>"[..]));
}

/// 3.1.1.6: no LWS between display name and `<`.
#[test]
fn lwsdisp() {
    let m = valid("lwsdisp");
    assert_eq!(m.from().display(), b"caller");
    assert_eq!(m.from().uri_text(), "sip:caller@example.com");
    assert_eq!(m.from().tag(), Some("323"));
}

/// 3.1.1.7: long values in header fields.
#[test]
fn longreq() {
    let m = valid("longreq");
    assert_eq!(m.vias().count(), 34);
    assert_eq!(m.top_via().host().to_string(), "sip33.example.com");
    let last = m.vias().last().unwrap().unwrap();
    assert_eq!(last.received(), Some("192.0.2.5".parse().unwrap()));
    assert!(last.branch().unwrap().len() > 100);
    assert_eq!(m.to().uri().unwrap().port(), Some(6000));
    assert_eq!(m.body().len(), 150);
}

/// 3.1.1.8: extra trailing octets in a UDP datagram are dropped.
#[test]
fn dblreq() {
    let m = valid("dblreq");
    assert_eq!(m.method(), &Method::Register);
    assert!(m.body().is_empty());
    assert!(m.raw().ends_with(b"Content-Length: 0\r\n\r\n"));
}

/// 3.1.1.9: semicolon-separated parameters in the user part.
#[test]
fn semiuri() {
    let m = valid("semiuri");
    let uri = m.uri().unwrap();
    assert_eq!(uri.user(), Some("user;par=u%40example.net"));
    assert_eq!(uri.host().to_string(), "example.com");
    assert!(uri.params().is_empty());
    assert_eq!(m.values(HeaderName::Accept).count(), 6);
}

/// 3.1.1.10: varied and unknown transport types.
#[test]
fn transports() {
    let m = valid("transports");
    let vias: Vec<_> = m.vias().map(|via| via.unwrap().transport().to_owned()).collect();
    assert_eq!(vias, ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]);
}

/// 3.1.1.11: a multipart MESSAGE.
#[test]
fn mpart01() {
    let m = valid("mpart01");
    assert_eq!(m.method(), &Method::Message);
    assert_eq!(m.body().len(), 553);
    assert!(m.body().ends_with(b"--7a9cbec02ceef655--\r\n"));
}

/// 3.1.1.12: an unusual reason phrase.
#[test]
fn unreason() {
    let m = valid("unreason");
    assert_eq!(m.status(), Some(200));
    assert!(m.reason().starts_with("= 2**3 * 5**2 \u{43d}\u{43e}".as_bytes()));
    assert_eq!(m.method(), &Method::Invite);
}

/// 3.1.1.13: an empty reason phrase.
#[test]
fn noreason() {
    let m = valid("noreason");
    assert_eq!((m.status(), m.reason()), (Some(100), &b""[..]));
}

/// 3.1.2.1: extraneous header field separators.
#[test]
fn badinv01() {
    let answer = answered("badinv01", Defect::Bad(HeaderName::Via));
    assert!(answer.contains("\r\nVia: SIP/2.0/UDP 192.0.2.15;;,;,,\r\n"), "{answer}");
}

/// 3.1.2.2: Content-Length larger than the message.
#[test]
fn clerr() {
    let answer = answered("clerr", Defect::BodyShort);
    assert!(answer.starts_with("SIP/2.0 400 Content-Length Exceeds Datagram\r\n"));
}

/// 3.1.2.3: negative Content-Length.
#[test]
fn ncl() {
    let answer = answered("ncl", Defect::Bad(HeaderName::ContentLength));
    assert!(answer.starts_with("SIP/2.0 400 Bad Content-Length Header\r\n"));
}

/// 3.1.2.4: request scalar fields with overlarge values.
#[test]
fn scalar02() {
    answered("scalar02", Defect::Bad(HeaderName::CSeq));
}

/// 3.1.2.5: response scalar fields with overlarge values are dropped without a word.
#[test]
fn scalarlg() {
    assert!(refused("scalarlg", Defect::Bad(HeaderName::CSeq)).answer().is_none());
}

/// 3.1.2.6: unterminated quoted string in a display name.
#[test]
fn quotbal() {
    let answer = answered("quotbal", Defect::Bad(HeaderName::To));
    assert!(answer.contains("\r\nTo: \"Mr. J. User <sip:j.user@example.com>\r\n"), "{answer}");
}

/// 3.1.2.7: `<>` enclosing the Request-URI.
#[test]
fn ltgtruri() {
    answered("ltgtruri", Defect::RequestUri);
}

/// 3.1.2.8: malformed Request-URI (embedded LWS).
#[test]
fn lwsruri() {
    answered("lwsruri", Defect::RequestLine);
}

/// 3.1.2.9: multiple SP separating the request line.
#[test]
fn lwsstart() {
    answered("lwsstart", Defect::RequestLine);
}

/// 3.1.2.10: SP characters at the end of the request line.
#[test]
fn trws() {
    answered("trws", Defect::RequestLine);
}

/// 3.1.2.11: escaped headers in the Request-URI.
#[test]
fn escruri() {
    answered("escruri", Defect::RequestUriHeaders);
}

/// 3.1.2.12: invalid time zone in Date. Only who acts on the Date may refuse it; a proxy does not.
#[test]
fn baddate() {
    let m = valid("baddate");
    assert_eq!(m.first_str(HeaderName::Date), Some("Fri, 01 Jan 2010 16:00:00 EST"));
}

/// 3.1.2.13: a Contact URI with headers that is not in `<>`. The message stands; who reads the Contact
/// finds it bad.
#[test]
fn regbadct() {
    let m = valid("regbadct");
    let bad = m.contacts().next().unwrap().unwrap_err();
    assert_eq!(bad.to_string(), "Bad Contact Header");
}

/// 3.1.2.14: spaces within addr-spec.
#[test]
fn badaspec() {
    answered("badaspec", Defect::Bad(HeaderName::To));
}

/// 3.1.2.15: non-token characters in a display name. The vector also lacks the empty line at its end, so
/// that a copy that has it is what shows the From.
#[test]
fn baddn() {
    answered("baddn", Defect::HeadEnd);
    let whole = [&vector("baddn")[..], b"\r\n"].concat();
    let refusal = Message::parse_datagram(Bytes::from(whole)).unwrap_err();
    assert_eq!(refusal.defect(), Defect::Bad(HeaderName::From));
}

/// 3.1.2.16: unknown protocol version.
#[test]
fn badvers() {
    let answer = answered("badvers", Defect::Version);
    assert_eq!(
        answer,
        "SIP/2.0 505 Version Not Supported\r\n\
         Via: SIP/7.0/UDP c.example.com;branch=z9hG4bKkdjuw;received=203.0.113.9\r\n\
         From: A. Bell <sip:a.g.bell@example.com>;tag=qweoiqpe\r\n\
         To: T. Watson <sip:t.watson@example.org>;tag=s3rv3r\r\n\
         Call-ID: badvers.31417@c.example.com\r\n\
         CSeq: 1 OPTIONS\r\n\
         Content-Length: 0\r\n\r\n",
    );
}

/// 3.1.2.17: start line and CSeq method mismatch.
#[test]
fn mismatch01() {
    answered("mismatch01", Defect::CSeqMethod);
}

/// 3.1.2.18: unknown method with CSeq method mismatch.
#[test]
fn mismatch02() {
    answered("mismatch02", Defect::UnknownMethod);
}

/// 3.1.2.19: overlarge response code.
#[test]
fn bigcode() {
    assert!(refused("bigcode", Defect::StatusLine).answer().is_none());
}

/// 3.2.1: a branch of nothing but the magic cookie. The message is well-formed; the transaction layer
/// falls back to the rules of RFC 2543.
#[test]
fn badbranch() {
    let m = valid("badbranch");
    assert_eq!(m.top_via().branch(), Some("z9hG4bK"));
    assert_eq!(m.top_via().unique_branch(), None);
}

/// 3.3.1: missing required header fields.
#[test]
fn insuf() {
    answered("insuf", Defect::Missing(HeaderName::From));
}

/// 3.3.2: unknown Request-URI scheme. For the proxy to refuse (416).
#[test]
fn unkscm() {
    let m = valid("unkscm");
    let uri = m.uri().unwrap();
    assert!(matches!(uri.scheme(), Scheme::Other("nobodyKnowsThisScheme")));
    assert_eq!(uri.opaque(), "totallyopaquecontent");
}

/// 3.3.3: a Request-URI with a known but atypical scheme. For the proxy to refuse (416).
#[test]
fn novelsc() {
    let m = valid("novelsc");
    assert!(matches!(m.uri().unwrap().scheme(), Scheme::Other("soap.beep")));
}

/// 3.3.4: unknown URI schemes in header fields. For the registrar to refuse.
#[test]
fn unksm2() {
    let m = valid("unksm2");
    assert!(matches!(m.to().uri().unwrap().scheme(), Scheme::Other("isbn")));
    assert!(matches!(m.from().uri().unwrap().scheme(), Scheme::Other("http")));
    assert_eq!(contacts(&m), ["name:John_Smith"]);
}

/// 3.3.5: Proxy-Require and Require. For the proxy to refuse (420).
#[test]
fn bext01() {
    let m = valid("bext01");
    assert_eq!(
        strings(m.values(HeaderName::Require)),
        ["nothingSupportsThis", "nothingSupportsThisEither"],
    );
    assert!(m.has_token(HeaderName::ProxyRequire, "nordoanyproxiessupportthis"));
}

/// 3.3.6: unknown Content-Type. For the user agent to refuse (415).
#[test]
fn invut() {
    assert_eq!(valid("invut").content_type(), Some(&b"application/unknownformat"[..]));
}

/// 3.3.7: unknown authorization scheme. For the registrar to answer as if there were none.
#[test]
fn regaut01() {
    let m = valid("regaut01");
    let auth = m.auth(HeaderName::Authorization).next().unwrap().unwrap();
    assert_eq!(auth.scheme(), "NoOneKnowsThisScheme");
    assert_eq!(auth.get("opaque-data").unwrap(), "here");
}

/// 3.3.8: multiple values in single value required fields.
#[test]
fn multi01() {
    let answer = answered("multi01", Defect::Repeated(HeaderName::CSeq));
    assert!(answer.starts_with("SIP/2.0 400 Repeated CSeq Header\r\n"));
    assert_eq!(answer.matches("\r\nFrom: ").count(), 1);
}

/// 3.3.9: multiple Content-Length values.
#[test]
fn mcl01() {
    answered("mcl01", Defect::Repeated(HeaderName::ContentLength));
}

/// 3.3.10: a 200 OK with broadcast Via field value. For the transport to drop.
#[test]
fn bcast() {
    let m = valid("bcast");
    assert_eq!(m.vias().nth(1).unwrap().unwrap().host().to_string(), "255.255.255.255");
}

/// 3.3.11: Max-Forwards of zero. For the proxy to refuse (483).
#[test]
fn zeromf() {
    assert_eq!(valid("zeromf").max_forwards(), Some(0));
}

/// 3.3.12: REGISTER with a contact header parameter.
#[test]
fn cparam01() {
    let m = valid("cparam01");
    let contact = m.contacts().next().unwrap().unwrap().addr().unwrap();
    assert!(contact.params().has("unknownparam"));
    assert!(!contact.uri().unwrap().params().has("unknownparam"));
}

/// 3.3.13: REGISTER with a URL parameter.
#[test]
fn cparam02() {
    let m = valid("cparam02");
    let contact = m.contacts().next().unwrap().unwrap().addr().unwrap();
    assert!(!contact.params().has("unknownparam"));
    assert!(contact.uri().unwrap().params().has("unknownparam"));
}

/// 3.3.14: REGISTER with a URL escaped header.
#[test]
fn regescrt() {
    let m = valid("regescrt");
    let contact = m.contacts().next().unwrap().unwrap().addr().unwrap();
    assert_eq!(contact.uri().unwrap().headers(), Some("Route=%3Csip:sip.example.com%3E"));
}

/// 3.3.15: unacceptable Accept offering. For the user agent to refuse (406).
#[test]
fn sdp01() {
    assert_eq!(strings(valid("sdp01").values(HeaderName::Accept)), ["text/nobodyKnowsThis"]);
}

/// 3.4.1: an INVITE with RFC 2543 syntax: no branch, no From tag, no Max-Forwards, no Content-Length.
#[test]
fn inv2543() {
    let m = valid("inv2543");
    assert_eq!((m.top_via().branch(), m.from().tag(), m.max_forwards()), (None, None, None));
    assert_eq!(m.to().uri_text(), "sip:+16505552222@ss1.example.net");
    assert_eq!(m.to().params().get("user"), Some("phone"));
    assert_eq!(m.body().len(), 105);
    assert_eq!(m.record_routes().count(), 1);
}

/// In the archive, but not in the RFC: a request line without a version.
#[test]
fn test() {
    assert!(refused("test", Defect::RequestLine).answer().is_none());
}
