//! The opening handshake of a WebSocket, as the server (RFC 6455 4.2, RFC 7118 4.1).

use bytes::Bytes;
use tokio_tungstenite::tungstenite::handshake::machine::TryParse;
use tokio_tungstenite::tungstenite::handshake::server::{
    Request, Response, create_response, write_response,
};
use tokio_tungstenite::tungstenite::http::header::{HeaderMap, HeaderValue};

/// Most bytes of the request: what web servers commonly permit, cookies included.
const REQUEST_BYTES_MAX: usize = 8 * 1_024;

/// What RFC 7118 calls its protocol.
const PROTOCOL: &str = "sip";

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It has not arrived wholly.
    Incomplete,
    /// The connection is a WebSocket once this is sent; its frames begin behind `used` bytes.
    Accepted { response: Bytes, used: usize },
    /// The connection ends with this response.
    Refused { response: Bytes, why: &'static str },
}

/// Answers the request that `bytes` begin with. Pages of other `origins` are refused, if any are
/// listed; a client that names no origin is no browser, and is not asked for one (RFC 6455 10.2).
pub(crate) fn answer(bytes: &[u8], origins: &[String]) -> Answer {
    // Looked at once, however it arrives.
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
    let end = match end {
        Some(end) if end <= REQUEST_BYTES_MAX => end,
        None if bytes.len() <= REQUEST_BYTES_MAX => return Answer::Incomplete,
        Some(_) | None => {
            return refuse("431 Request Header Fields Too Large", "", "a request too large");
        }
    };
    let Ok(Some((_, request))) = Request::try_parse(&bytes[..end]) else {
        return bad("not a request of HTTP");
    };
    let Ok(mut response) = create_response(&request) else {
        let version = "Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n";
        return refuse("426 Upgrade Required", version, "no request for a WebSocket (RFC 6455)");
    };
    if !names(request.headers(), "sec-websocket-protocol", PROTOCOL) {
        return bad("the subprotocol sip is not offered (RFC 7118 4.1)");
    }
    if !is_permitted(request.headers(), origins) {
        return refuse(
            "403 Forbidden",
            "",
            "a page of an origin that sip.ws_origins does not list",
        );
    }
    response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(PROTOCOL));
    write(&response).map_or_else(
        || bad("not a request of HTTP"),
        |response| Answer::Accepted { response, used: end },
    )
}

fn is_permitted(headers: &HeaderMap, origins: &[String]) -> bool {
    let is_listed = |origin: &HeaderValue| {
        origins.iter().any(|listed| listed.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
    };
    origins.is_empty() || headers.get_all("origin").iter().all(is_listed)
}

/// Whether a list in these headers has this token.
fn names(headers: &HeaderMap, header: &str, token: &str) -> bool {
    let values = headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(token))
}

fn write(response: &Response) -> Option<Bytes> {
    let mut bytes = Vec::with_capacity(256);
    write_response(&mut bytes, response).ok()?;
    Some(bytes.into())
}

fn bad(why: &'static str) -> Answer {
    refuse("400 Bad Request", "", why)
}

fn refuse(status: &str, headers: &str, why: &'static str) -> Answer {
    let length = why.len() + 1;
    let response = format!(
        "HTTP/1.1 {status}\r\n{headers}Connection: close\r\nContent-Type: text/plain\r\n\
         Content-Length: {length}\r\n\r\n{why}\n"
    );
    Answer::Refused { response: response.into(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request of RFC 7118 8.1, without the Origin.
    const REQUEST: &str = "GET / HTTP/1.1\r\nHost: proxy.example.com\r\nUpgrade: websocket\r\n\
                           Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                           Sec-WebSocket-Protocol: sip\r\nSec-WebSocket-Version: 13\r\n\r\n";

    fn refused(request: &str, origins: &[&str]) -> Option<String> {
        let origins: Vec<String> = origins.iter().map(|origin| (*origin).to_owned()).collect();
        match answer(request.as_bytes(), &origins) {
            Answer::Refused { response, .. } => {
                Some(String::from_utf8_lossy(&response)["HTTP/1.1 ".len()..][..3].to_owned())
            }
            Answer::Accepted { .. } => None,
            Answer::Incomplete => panic!("incomplete"),
        }
    }

    /// RFC 6455 1.3 gives the answer to this key; what follows is left for the frames.
    #[test]
    fn a_request_is_answered_with_the_key_and_the_protocol() {
        let bytes = [REQUEST.as_bytes(), b"frames"].concat();
        let Answer::Accepted { response, used } = answer(&bytes, &[]) else { panic!("refused") };
        assert_eq!(&bytes[used..], b"frames");
        let response = String::from_utf8(response.to_vec()).unwrap().to_lowercase();
        assert!(response.starts_with("http/1.1 101 "), "{response}");
        assert!(
            response.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"),
            "{response}"
        );
        assert!(response.contains("sec-websocket-protocol: sip\r\n"), "{response}");
        for cut in 0..REQUEST.len() {
            assert_eq!(answer(&REQUEST.as_bytes()[..cut], &[]), Answer::Incomplete);
        }
    }

    /// RFC 7118 4.1: `sip` may stand anywhere in the list; without it there is no SIP to speak.
    #[test]
    fn a_client_that_does_not_offer_sip_is_refused() {
        assert_eq!(refused(REQUEST, &[]), None);
        assert_eq!(refused(&REQUEST.replace("l: sip", "l: chat, SIP"), &[]), None);
        assert_eq!(refused(&REQUEST.replace("l: sip", "l: msrp"), &[]).unwrap(), "400");
        let without = REQUEST.replace("Sec-WebSocket-Protocol: sip\r\n", "");
        assert_eq!(refused(&without, &[]).unwrap(), "400");
    }

    /// RFC 6455 4.2.2, 10.2.
    #[test]
    fn other_requests_are_refused_with_what_is_wrong() {
        let plain = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(refused(plain, &[]).unwrap(), "426");
        assert_eq!(refused(&REQUEST.replace(": 13", ": 8"), &[]).unwrap(), "426");
        assert_eq!(refused("OPTIONS sip:a SIP/2.0\r\n\r\n", &[]).unwrap(), "400");
        let long = format!("GET / HTTP/1.1\r\nCookie: {}", "c".repeat(REQUEST_BYTES_MAX));
        assert_eq!(refused(&long, &[]).unwrap(), "431");
    }

    /// RFC 6455 10.2: a page of another origin cannot use a browser's connection to this node.
    #[test]
    fn pages_of_other_origins_are_refused() {
        let listed = ["https://phone.example.com"];
        let from = |origin: &str| REQUEST.replace("Host:", &format!("Origin: {origin}\r\nHost:"));
        assert_eq!(refused(&from("https://phone.example.com"), &listed), None);
        assert_eq!(refused(&from("https://evil.example"), &listed).unwrap(), "403");
        assert_eq!(refused(&from("https://evil.example"), &[]), None);
        assert_eq!(refused(REQUEST, &listed), None, "no browser");
    }
}
