//! Digest authentication of requests (RFC 3261 22, RFC 8760), computed by `rsip`.

use anyhow::{Result, anyhow, bail};
use rsip::headers::UntypedHeader;
use rsip::headers::auth::{Algorithm, AuthQop};
use rsip::headers::typed::Tokenize;
use rsip::headers::typed::tokenizers::AuthTokenizer;
use rsip::message::HasHeaders;
use rsip::services::DigestGenerator;
use rsip::{Header, Method, Response, Uri};

use crate::sip::hosts;
use crate::users::User;

/// Who asks for credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    /// 401: the user agent server or registrar.
    Server,
    /// 407: a proxy.
    Proxy,
}

/// What a server asks to be proven.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Challenge {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    algorithm: Option<Algorithm>,
    qop_auth: bool,
}

/// Answers the first challenge of a 401 or 407 that can be answered (RFC 8760 2.4: the server puts
/// the one that it prefers on top): MD5 or SHA-256, with or without `qop=auth`.
///
/// # Errors
/// There is no challenge that can be answered.
pub(crate) fn answer(
    response: &Response,
    user: &User,
    method: Method,
    uri: &Uri,
    cnonce: &str,
) -> Result<Header> {
    for header in response.headers().iter() {
        let (asker, value) = if let Header::WwwAuthenticate(header) = header {
            (Asker::Server, header.value())
        } else if let Header::ProxyAuthenticate(header) = header {
            (Asker::Proxy, header.value())
        } else {
            continue;
        };
        if let Ok(challenge) = read(value) {
            return Ok(credentials(&challenge, asker, user, method, uri, cnonce));
        }
    }
    bail!("{} without a digest challenge of MD5 or SHA-256", response.status_code.code())
}

/// Reads a challenge. `rsip`'s own type knows neither `SHA-256` with its hyphen nor lists of qop.
fn read(value: &str) -> Result<Challenge> {
    let tokens = AuthTokenizer::tokenize(value).map_err(|error| anyhow!("{error}"))?;
    let scheme = rsip::headers::auth::Scheme::try_from(tokens.scheme.clone());
    if scheme.ok() != Some(rsip::headers::auth::Scheme::Digest) {
        bail!("not a digest challenge");
    }
    let find = |name: &str| {
        let mut params = tokens.params.iter();
        params.find(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    let algorithm = match find("algorithm") {
        None => None,
        Some(name) if name.eq_ignore_ascii_case("MD5") => Some(Algorithm::Md5),
        Some(name) if name.eq_ignore_ascii_case("SHA-256") => Some(Algorithm::Sha256),
        Some(name) => bail!("algorithm {name}"),
    };
    let qop_auth = match find("qop") {
        None => false,
        Some(list) if list.split(',').any(|qop| qop.trim().eq_ignore_ascii_case("auth")) => true,
        Some(list) => bail!("qop {list}"),
    };
    Ok(Challenge {
        realm: find("realm").ok_or_else(|| anyhow!("no realm"))?.to_owned(),
        nonce: find("nonce").ok_or_else(|| anyhow!("no nonce"))?.to_owned(),
        opaque: find("opaque").map(str::to_owned),
        algorithm,
        qop_auth,
    })
}

fn credentials(
    challenge: &Challenge,
    asker: Asker,
    user: &User,
    method: Method,
    uri: &Uri,
    cnonce: &str,
) -> Header {
    // Every nonce is used once, so its count is always 1.
    let qop = challenge.qop_auth.then(|| AuthQop::Auth { cnonce: cnonce.to_owned(), nc: 1 });
    // What the server gets is what it hashes.
    let on_the_wire = hosts::on_the_wire(uri);
    let digest = DigestGenerator {
        username: &user.name,
        password: &user.password,
        nonce: &challenge.nonce,
        uri: &on_the_wire,
        realm: &challenge.realm,
        method: &method,
        qop: qop.as_ref(),
        algorithm: challenge.algorithm.unwrap_or(Algorithm::Md5),
    };
    let mut value = format!(
        "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", response=\"{}\"",
        user.name,
        challenge.realm,
        challenge.nonce,
        digest.compute()
    );
    if let Some(algorithm) = challenge.algorithm {
        let name = if algorithm == Algorithm::Sha256 { "SHA-256" } else { "MD5" };
        value += &format!(", algorithm={name}");
    }
    if let Some(opaque) = &challenge.opaque {
        value += &format!(", opaque=\"{opaque}\"");
    }
    if challenge.qop_auth {
        value += &format!(", qop=auth, nc=00000001, cnonce=\"{cnonce}\"");
    }
    match asker {
        Asker::Server => Header::Authorization(value.into()),
        Asker::Proxy => Header::ProxyAuthorization(value.into()),
    }
}

#[cfg(test)]
mod tests {
    use rsip::{Headers, StatusCode};

    use super::*;

    fn challenge(code: StatusCode, headers: Vec<Header>) -> Response {
        Response { status_code: code, headers: Headers::from(headers), ..Response::default() }
    }

    fn answered(headers: Vec<Header>) -> Result<Header> {
        let user = User { name: "bob".into(), password: "zanzibar".into() };
        let uri = Uri::try_from("sip:bob@biloxi.com").unwrap();
        let response = challenge(StatusCode::Unauthorized, headers);
        answer(&response, &user, Method::Invite, &uri, "0a4f113b")
    }

    const NONCE: &str = "dcd98b7102dd2f0e8b11d0f600bfb0c093";

    /// The digest of draft-smith-sipping-auth-examples-01 3.3, which has the inputs of RFC 3261 20.27.
    #[test]
    fn an_md5_challenge_with_qop_is_answered_as_in_the_published_example() {
        let header = format!(
            "Digest realm=\"biloxi.com\", qop=\"auth,auth-int\", nonce=\"{NONCE}\", opaque=\"5cc\""
        );
        let answer = answered(vec![Header::WwwAuthenticate(header.into())]).unwrap();
        let text = answer.to_string();
        assert!(text.contains("response=\"89eb0059246c02b2f6ee02c7961d5ea3\""), "{text}");
        assert!(text.contains("qop=auth, nc=00000001, cnonce=\"0a4f113b\""), "{text}");
        assert!(text.contains("opaque=\"5cc\"") && !text.contains("algorithm"), "{text}");
    }

    /// The same draft, 3.1.
    #[test]
    fn an_md5_challenge_without_qop_is_answered_as_in_the_published_example() {
        let header = format!("Digest realm=\"biloxi.com\", nonce=\"{NONCE}\", algorithm=MD5");
        let text = answered(vec![Header::WwwAuthenticate(header.into())]).unwrap().to_string();
        assert!(text.contains("response=\"bf57e4e0d0bffc0fbaedce64d59add5e\""), "{text}");
    }

    /// RFC 8760 2.4.
    #[test]
    fn the_first_challenge_that_is_understood_is_answered() {
        let offer = |algorithm: &str| {
            let value = format!(
                "Digest realm=\"r\", nonce=\"n-{algorithm}\", qop=\"auth\", algorithm={algorithm}"
            );
            Header::WwwAuthenticate(value.into())
        };
        let text = answered(vec![offer("SHA-512-256"), offer("SHA-256"), offer("MD5")])
            .unwrap()
            .to_string();
        assert!(
            text.contains("nonce=\"n-SHA-256\"") && text.contains("algorithm=SHA-256"),
            "{text}"
        );
        assert!(answered(vec![offer("SHA-512-256")]).is_err());
    }

    /// RFC 3261 22.3.
    #[test]
    fn a_proxy_is_answered_in_its_own_header() {
        let header = Header::ProxyAuthenticate("Digest realm=\"r\", nonce=\"n\"".into());
        assert!(matches!(answered(vec![header]).unwrap(), Header::ProxyAuthorization(_)));
    }
}
