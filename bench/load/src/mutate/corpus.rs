//! The messages that mutations begin with: one of each kind that a node reads, whole and valid.
//!
//! `SELF` stands for the address and port that they leave from, `NODE` for the node's, `UNIQUE` for a
//! word that is in no other message, `TRANSPORT` for that of the Via.

/// The domain of a node that is started here.
pub(super) const DOMAIN: &str = "mutate.test";

const OFFER: &str = "v=0\r\no=m 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
    m=audio 40000 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
    a=rtcp:40001 IN IP4 127.0.0.1\r\na=sendrecv\r\n\
    m=video 40002 RTP/AVP 96\r\nb=AS:500\r\na=rtpmap:96 VP8/90000\r\na=rtcp-mux\r\n";

/// What a request has besides its start line, and how its body follows.
const DIALOG: &str = "Via: SIP/2.0/TRANSPORT SELF;branch=z9hG4bKUNIQUE;rport\r\nMax-Forwards: 70\r\n\
    From: \"M\" <sip:mutant@mutate.test>;tag=fUNIQUE\r\n";

fn request(method: &str, uri: &str, to: &str, cseq: u32, rest: &str, body: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\r\n{DIALOG}To: {to}\r\nCall-ID: UNIQUE@SELF\r\nCSeq: {cseq} {method}\r\n\
         {rest}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn response(status: &str, method: &str, rest: &str, body: &str) -> String {
    format!(
        "SIP/2.0 {status}\r\nVia: SIP/2.0/TRANSPORT NODE;branch=z9hG4bKnUNIQUE\r\n\
         Via: SIP/2.0/TRANSPORT SELF;branch=z9hG4bKUNIQUE;rport=5060;received=127.0.0.1\r\n\
         From: <sip:mutant@mutate.test>;tag=fUNIQUE\r\nTo: <sip:other@mutate.test>;tag=tUNIQUE\r\n\
         Call-ID: UNIQUE@SELF\r\nCSeq: 1 {method}\r\n{rest}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The corpus for a node of this `domain`, in a fixed order.
pub(super) fn corpus(domain: &str) -> Vec<String> {
    texts().into_iter().map(|text| text.replace(DOMAIN, domain)).collect()
}

fn texts() -> Vec<String> {
    const CONTACT: &str = "Contact: <sip:mutant@SELF;transport=TRANSPORT>\r\n";
    let with_sdp = format!("{CONTACT}Content-Type: application/sdp\r\n");
    let multipart = format!(
        "--b\r\nContent-Type: application/sdp\r\n\r\n{OFFER}\r\n--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--\r\n"
    );
    let other = "sip:other@mutate.test";
    let to = "<sip:other@mutate.test>";
    let in_dialog = "<sip:other@mutate.test>;tag=tUNIQUE";
    let refreshed = format!(
        "{CONTACT}Expires: 60\r\nAuthorization: Digest username=\"mutant\", realm=\"mutate.test\", \
         nonce=\"0123456789abcdef\", uri=\"sip:mutate.test\", response=\"00112233445566778899aabbccddeeff\", \
         algorithm=MD5, qop=auth, nc=00000001, cnonce=\"c\"\r\nSupported: path, outbound, gruu\r\n"
    );
    let routed = "Route: <sip:NODE;lr>, <sip:SELF;lr>\r\nRecord-Route: <sip:SELF;lr>\r\n";
    vec![
        request("INVITE", other, to, 1, &with_sdp, OFFER),
        request("INVITE", "sip:mutant@mutate.test", to, 1, &with_sdp, OFFER),
        request(
            "INVITE",
            other,
            to,
            1,
            &format!(
                "{CONTACT}{routed}Session-Expires: 1800;refresher=uac\r\nMin-SE: 90\r\nSupported: timer, 100rel, replaces\r\n"
            ),
            "",
        ),
        request(
            "INVITE",
            other,
            to,
            1,
            &format!("{CONTACT}Content-Type: multipart/mixed;boundary=b\r\n"),
            &multipart,
        ),
        request("INVITE", other, in_dialog, 2, &format!("{with_sdp}{routed}"), OFFER),
        request("REGISTER", "sip:mutate.test", "<sip:mutant@mutate.test>", 1, &refreshed, ""),
        request(
            "REGISTER",
            "sip:mutate.test",
            "<sip:mutant@mutate.test>",
            2,
            "Contact: <sip:mutant@SELF>;q=0.5;expires=60;+sip.instance=\"<urn:uuid:0>\";reg-id=1, <sip:m2@SELF>\r\n",
            "",
        ),
        request(
            "REGISTER",
            "sip:mutate.test",
            "<sip:mutant@mutate.test>",
            3,
            "Contact: *\r\nExpires: 0\r\n",
            "",
        ),
        request("BYE", other, in_dialog, 3, routed, ""),
        request("ACK", other, in_dialog, 1, routed, ""),
        request("CANCEL", other, to, 1, "Reason: SIP;cause=200;text=\"x\"\r\n", ""),
        request("OPTIONS", "sip:NODE", "<sip:NODE>", 1, "Accept: application/sdp\r\n", ""),
        request("PRACK", other, in_dialog, 4, "RAck: 1 1 INVITE\r\n", ""),
        request("UPDATE", other, in_dialog, 5, &with_sdp, OFFER),
        request(
            "INFO",
            other,
            in_dialog,
            6,
            "Content-Type: application/dtmf-relay\r\n",
            "Signal=1\r\nDuration=160\r\n",
        ),
        request("MESSAGE", other, to, 1, "Content-Type: text/plain\r\n", "good day"),
        request(
            "REFER",
            other,
            in_dialog,
            7,
            "Refer-To: <sip:third@mutate.test?Replaces=a%3Bto-tag%3Db>\r\n",
            "",
        ),
        request("SUBSCRIBE", other, to, 1, "Event: dialog\r\nExpires: 60\r\n", ""),
        response("100 Trying", "INVITE", "", ""),
        response("183 Session Progress", "INVITE", &with_sdp, OFFER),
        response("200 OK", "INVITE", &with_sdp, OFFER),
        response("302 Moved", "INVITE", CONTACT, ""),
        response(
            "401 Unauthorized",
            "REGISTER",
            "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\r\n",
            "",
        ),
        response("503 Service Unavailable", "INVITE", "Retry-After: 5 (soon);duration=60\r\n", ""),
        "\r\n\r\n".to_owned(),
    ]
}

/// Fills in what differs from message to message.
pub(super) fn fill(text: &str, own: &str, node: &str, transport: &str, unique: &str) -> Vec<u8> {
    let text = text.replace("SELF", own).replace("NODE", node);
    text.replace("TRANSPORT", transport).replace("UNIQUE", unique).into_bytes()
}
