//! Reading and building messages with `rsip`.

use std::net::SocketAddr;

use anyhow::{Context, Result, anyhow, ensure};
use rsip::headers::{ToTypedHeader, UntypedHeader};
use rsip::message::HasHeaders;
use rsip::prelude::HeadersExt;
use rsip::{Header, Method, Param, Request, Response, SipMessage, StatusCode, Uri};

use crate::sip::hop::{Hop, Local};
use crate::sip::hosts;

/// What the generator calls itself.
const USER_AGENT: &str = "ringfarm-load";

/// Methods that the generator's user agents understand.
pub(crate) const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS";

/// The port of a SIP URI that names none (RFC 3261 19.1.2).
pub(crate) const SIP_PORT: u16 = 5060;

/// The lowest code of an answer that is no success.
const FAILURES_FROM: u16 = 300;

/// Hops that a request may take (RFC 3261 8.1.1.6).
const MAX_FORWARDS: u32 = 70;

/// Reads a datagram as a SIP message.
///
/// # Errors
/// It is not one, or its body is shorter than it says.
pub(crate) fn read(datagram: &[u8]) -> Result<SipMessage> {
    let mut message = SipMessage::try_from(datagram).map_err(|error| anyhow!("{error}"))?;
    let said = message.headers().iter().find_map(|header| match header_of(header) {
        ("Content-Length" | "l", value) => Some(value.trim().parse::<usize>()),
        _ => None,
    });
    if let Some(said) = said {
        let said = said.context("Content-Length")?;
        let body = match &mut message {
            SipMessage::Request(request) => &mut request.body,
            SipMessage::Response(response) => &mut response.body,
        };
        // RFC 3261 18.3: what is beyond is ignored, what is missing is an error.
        ensure!(said <= body.len(), "Content-Length {said} but {} bytes", body.len());
        body.truncate(said);
    }
    if let SipMessage::Response(response) = &mut message {
        keep_phrase(response, datagram);
    }
    Ok(message)
}

/// Gives a failure its phrase back: `rsip` drops those of the codes that it knows, and a node tells by
/// them why it refuses.
fn keep_phrase(response: &mut Response, datagram: &[u8]) {
    let code = response.status_code.code();
    if code < FAILURES_FROM {
        return;
    }
    let line = datagram.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let phrase = line.splitn(3, |&byte| byte == b' ').nth(2).unwrap_or_default();
    response.status_code = StatusCode::Other(code, String::from_utf8_lossy(phrase).into_owned());
}

/// The name and value of the headers that are looked up by name here.
fn header_of(header: &Header) -> (&str, &str) {
    if let Header::ContentLength(length) = header {
        ("Content-Length", length.value())
    } else if let Header::RetryAfter(value) = header {
        ("Retry-After", value.value())
    } else if let Header::Warning(value) = header {
        ("Warning", value.value())
    } else if let Header::Other(name, value) = header {
        (name, value)
    } else {
        ("", "")
    }
}

/// The value of a header that `rsip` has no type for.
pub(crate) fn other<'a>(message: &'a impl HasHeaders, wanted: &str) -> Option<&'a str> {
    message.headers().iter().find_map(|header| {
        let (name, value) = header_of(header);
        name.eq_ignore_ascii_case(wanted).then_some(value)
    })
}

pub(crate) fn call_id(message: &impl HeadersExt) -> Result<&str> {
    Ok(message.call_id_header().map_err(|error| anyhow!("{error}"))?.value())
}

pub(crate) fn cseq(message: &impl HeadersExt) -> Result<(u32, Method)> {
    let typed = message.cseq_header().and_then(ToTypedHeader::typed);
    let typed = typed.map_err(|error| anyhow!("CSeq: {error}"))?;
    Ok((typed.seq, typed.method))
}

/// The branch and sent-by of the topmost Via.
pub(crate) fn branch(message: &impl HeadersExt) -> Result<(String, String)> {
    let via = message.via_header().and_then(ToTypedHeader::typed);
    let via = via.map_err(|error| anyhow!("Via: {error}"))?;
    let branch = via.branch().context("Via without a branch")?;
    Ok((branch.to_string(), via.sent_by().to_string()))
}

pub(crate) fn to_tag(message: &impl HeadersExt) -> Result<Option<String>> {
    let tag =
        message.to_header().and_then(|to| to.tag()).map_err(|error| anyhow!("To: {error}"))?;
    Ok(tag.map(|tag| tag.to_string()))
}

pub(crate) fn from_tag(message: &impl HeadersExt) -> Result<Option<String>> {
    let from = message.from_header().and_then(|from| from.tag());
    Ok(from.map_err(|error| anyhow!("From: {error}"))?.map(|tag| tag.to_string()))
}

pub(crate) fn contact(message: &impl HeadersExt) -> Result<Uri> {
    let contact = message.contact_header().and_then(ToTypedHeader::typed);
    Ok(contact.map_err(|error| anyhow!("Contact: {error}"))?.uri)
}

/// The URIs of all Record-Route headers, topmost first.
pub(crate) fn record_routes(message: &impl HasHeaders) -> Result<Vec<rsip::UriWithParams>> {
    let mut routes = Vec::new();
    for header in message.headers().iter() {
        if let Header::RecordRoute(route) = header {
            let typed = route.typed().map_err(|error| anyhow!("Record-Route: {error}"))?;
            routes.extend_from_slice(typed.uris());
        }
    }
    Ok(routes)
}

/// The address that a URI names, if it names one by number.
pub(crate) fn address_of(uri: &Uri) -> Option<SocketAddr> {
    let port = uri.port().map_or(SIP_PORT, |port| *port.value());
    match uri.host() {
        rsip::Host::IpAddr(ip) => Some(SocketAddr::new(*ip, port)),
        rsip::Host::Domain(name) => {
            hosts::address(&name.to_string()).map(|ip| SocketAddr::new(ip, port))
        }
    }
}

/// Reads a URI that we wrote ourselves or were given as an argument.
///
/// # Errors
/// `rsip` cannot read it.
pub(crate) fn uri(text: &str) -> Result<Uri> {
    Uri::try_from(text).map_err(|error| anyhow!("URI {text}: {error}"))
}

/// The headers that open a request: Via with a fresh branch, Max-Forwards, From, To, Call-ID, CSeq.
pub(crate) struct Opening<'a> {
    pub(crate) local: Local,
    pub(crate) branch: &'a str,
    pub(crate) from: &'a str,
    pub(crate) to: &'a str,
    pub(crate) call_id: &'a str,
    pub(crate) cseq: u32,
}

/// Builds a request; Content-Length is added.
pub(crate) fn request(
    method: Method,
    uri: Uri,
    opening: &Opening<'_>,
    more: Vec<Header>,
    body: Vec<u8>,
) -> Request {
    let mut headers = vec![
        Header::Via(opening.local.via(opening.branch).into()),
        Header::MaxForwards(MAX_FORWARDS.into()),
        Header::From(opening.from.into()),
        Header::To(opening.to.into()),
        Header::CallId(opening.call_id.into()),
        Header::CSeq(format!("{} {method}", opening.cseq).into()),
        Header::UserAgent(USER_AGENT.into()),
    ];
    headers.extend(more);
    headers.push(Header::ContentLength((body.len() as u32).into()));
    Request { method, uri, version: rsip::Version::V2, headers: headers.into(), body }
}

/// The ACK of a final answer that is not a 2xx (RFC 3261 17.1.1.3): same Via, Request-URI, From,
/// Call-ID, sequence number and Route as the INVITE; the answer's To.
pub(crate) fn ack_of_failure(invite: &Request, response: &Response) -> Result<Request> {
    let mut headers = Vec::new();
    for header in invite.headers.iter() {
        if let Header::Via(_) | Header::From(_) | Header::CallId(_) | Header::Route(_) = header {
            headers.push(header.clone());
        }
    }
    let to = response.to_header().map_err(|error| anyhow!("{error}"))?;
    headers.push(Header::To(to.clone()));
    headers.push(Header::MaxForwards(MAX_FORWARDS.into()));
    headers.push(Header::CSeq(format!("{} ACK", cseq(invite)?.0).into()));
    headers.push(Header::ContentLength(0.into()));
    Ok(bodiless(Method::Ack, invite, headers))
}

/// The CANCEL of an INVITE that has been answered provisionally (RFC 3261 9.1).
pub(crate) fn cancel_of(invite: &Request) -> Result<Request> {
    let mut headers = Vec::new();
    for header in invite.headers.iter() {
        if let Header::Via(_)
        | Header::From(_)
        | Header::To(_)
        | Header::CallId(_)
        | Header::Route(_) = header
        {
            headers.push(header.clone());
        }
    }
    headers.push(Header::MaxForwards(MAX_FORWARDS.into()));
    headers.push(Header::CSeq(format!("{} CANCEL", cseq(invite)?.0).into()));
    headers.push(Header::ContentLength(0.into()));
    Ok(bodiless(Method::Cancel, invite, headers))
}

fn bodiless(method: Method, invite: &Request, headers: Vec<Header>) -> Request {
    let uri = invite.uri.clone();
    Request { method, uri, version: rsip::Version::V2, headers: headers.into(), body: Vec::new() }
}

/// Builds a response (RFC 3261 8.2.6.2): Via, From, Call-ID and CSeq are the request's; To gets
/// `tag` unless it has one; a response that makes a dialog repeats Record-Route (12.1.1).
pub(crate) fn response(
    request: &Request,
    source: Hop,
    code: StatusCode,
    tag: &str,
    more: Vec<Header>,
    body: Vec<u8>,
) -> Response {
    let mut headers = Vec::new();
    let mut top = true;
    let dialog = request.method == Method::Invite && (101..300).contains(&code.code());
    for header in request.headers.iter() {
        if let Header::Via(via) = header {
            let value = via.value();
            headers.push(Header::Via(
                if top { stamped(value, source.address) } else { value.into() }.into(),
            ));
            top = false;
        } else if let Header::To(to) = header {
            headers.push(Header::To(tagged(to.value(), tag).into()));
        } else if let Header::From(_) | Header::CallId(_) | Header::CSeq(_) = header {
            headers.push(header.clone());
        } else if let Header::RecordRoute(_) = header
            && dialog
        {
            headers.push(header.clone());
        }
    }
    headers.extend(more);
    headers.push(Header::ContentLength((body.len() as u32).into()));
    Response { status_code: code, version: rsip::Version::V2, headers: headers.into(), body }
}

fn tagged(to: &str, tag: &str) -> String {
    let has_tag = to.rsplit('>').next().is_some_and(|rest| rest.contains("tag="));
    if has_tag || tag.is_empty() { to.to_owned() } else { format!("{to};tag={tag}") }
}

/// The Via value with the source noted (RFC 3581 4, RFC 3261 18.2.1).
fn stamped(via: &str, source: SocketAddr) -> String {
    let (first, others) = via.split_once(',').map_or((via, None), |(a, b)| (a, Some(b)));
    let mut params: Vec<String> = first.split(';').map(|part| part.trim().to_owned()).collect();
    let rport = params.iter_mut().find(|part| part.as_str() == "rport");
    if let Some(rport) = rport {
        *rport = format!("rport={}", source.port());
    }
    params.push(format!("received={}", source.ip()));
    let first = params.join(";");
    others.map_or(first.clone(), |others| format!("{first},{others}"))
}

/// Where the answer to a request goes: back by its connection, or to its source if it asks so, else to the
/// port that its Via names (RFC 3581 4, RFC 3261 18.2.2).
pub(crate) fn answer_to(request: &Request, source: Hop) -> Hop {
    if source.connection.is_some() {
        return source;
    }
    let Ok(via) = request.via_header().and_then(ToTypedHeader::typed) else { return source };
    let rport = via.params.iter().any(
        |param| matches!(param, Param::Other(name, None) if name.value().eq_ignore_ascii_case("rport")),
    );
    if rport {
        return source;
    }
    let port = via.uri.port().map_or(SIP_PORT, |port| *port.value());
    Hop { address: SocketAddr::new(source.address.ip(), port), connection: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(address: &str) -> Hop {
        Hop { address: address.parse().unwrap(), connection: None }
    }

    fn invite() -> Request {
        let text = "INVITE sip:b@127.0.0.1 SIP/2.0\r\n\
            Via: SIP/2.0/UDP 127.0.0.1:5070;rport;branch=z9hG4bKtop\r\n\
            Via: SIP/2.0/UDP 127.0.0.1:5080;branch=z9hG4bKlow;rport=1;received=127.0.0.1\r\n\
            Record-Route: <sip:127.0.0.1:5070;lr;ftag=x>\r\n\
            From: <sip:a@d>;tag=f\r\nTo: <sip:b@d>\r\nCall-ID: c1\r\nCSeq: 7 INVITE\r\n\
            Route: <sip:127.0.0.9;lr>\r\nContent-Length: 4\r\n\r\nbodyEXTRA";
        match read(text.as_bytes()).unwrap() {
            SipMessage::Request(request) => request,
            SipMessage::Response(_) => panic!("a request was read"),
        }
    }

    /// RFC 3261 18.3.
    #[test]
    fn a_body_ends_where_content_length_says() {
        assert_eq!(invite().body, b"body");
        assert!(read(b"SIP/2.0 200 OK\r\nCall-ID: x\r\nContent-Length: 5\r\n\r\nbody").is_err());
    }

    /// RFC 3261 8.2.6.2, 12.1.1; RFC 3581 4.
    #[test]
    fn a_response_mirrors_its_request() {
        let source = hop("127.0.0.1:9999");
        let text = response(&invite(), source, StatusCode::OK, "t1", vec![], vec![]).to_string();
        assert!(text.contains("Via: SIP/2.0/UDP 127.0.0.1:5070;rport=9999;branch=z9hG4bKtop;received=127.0.0.1\r\n"), "{text}");
        assert!(text.contains("branch=z9hG4bKlow;rport=1;received=127.0.0.1\r\n"), "{text}");
        assert!(text.contains("Record-Route: <sip:127.0.0.1:5070;lr;ftag=x>\r\n"), "{text}");
        assert!(text.contains("To: <sip:b@d>;tag=t1\r\n"), "{text}");
        assert!(text.contains("CSeq: 7 INVITE\r\n"), "{text}");
    }

    #[test]
    fn answers_go_to_the_source_port_only_if_asked() {
        let source = hop("127.0.0.1:9999");
        let mut request = invite();
        assert_eq!(answer_to(&request, source), source);
        request.headers.retain(|header| !matches!(header, Header::Via(_)));
        request.headers.push(Header::Via("SIP/2.0/UDP 127.0.0.1:5070;branch=z9hG4bK1".into()));
        assert_eq!(answer_to(&request, source).address.port(), 5070);
        let connected = Hop { connection: Some(1), ..source };
        assert_eq!(answer_to(&request, connected), connected);
    }

    /// RFC 3261 17.1.1.3.
    #[test]
    fn the_ack_of_a_failure_repeats_the_invite() {
        let answer =
            response(&invite(), hop("127.0.0.1:1"), StatusCode::BusyHere, "t2", vec![], vec![]);
        let ack = ack_of_failure(&invite(), &answer).unwrap();
        assert_eq!(branch(&ack).unwrap().0, "z9hG4bKtop");
        assert_eq!(to_tag(&ack).unwrap().as_deref(), Some("t2"));
        assert_eq!(cseq(&ack).unwrap(), (7, Method::Ack));
        assert!(ack.to_string().contains("Route: <sip:127.0.0.9;lr>"));
    }
}
