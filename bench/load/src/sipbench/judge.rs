//! A sample of what arrives is read by somebody else's parser (`rsip`) and compared with what a
//! proxy may do to a message.

use rsip::headers::UntypedHeader as _;
use rsip::message::HeadersExt as _;
use rsip::prelude::HasHeaders as _;
use rsip::{Header, SipMessage};

/// One message in so many is judged: enough of each kind in a second, too few to cost anything.
const EVERY: u64 = 997;

/// Which end a message came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// From the callee, to whom called.
    ToCaller,
    /// From the caller, to who is called.
    ToCallee,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Judge {
    seen: u64,
}

impl Judge {
    /// Whether it is the turn of this message.
    pub(crate) fn is_next(&mut self) -> bool {
        self.seen += 1;
        self.seen % EVERY == 1
    }
}

/// What is wrong with a message of a call.
pub(crate) fn fault_of(bytes: &[u8], came: Came) -> Option<String> {
    let message = match SipMessage::try_from(bytes) {
        Ok(message) => message,
        Err(error) => return Some(format!("not a SIP message: {error}")),
    };
    fault(&message, came).map(str::to_owned)
}

fn fault(message: &SipMessage, came: Came) -> Option<&'static str> {
    let headers = message.headers();
    let count = |is: fn(&Header) -> bool| headers.iter().filter(|header| is(header)).count();
    let vias = count(|header| matches!(header, Header::Via(_)));
    let routes = count(|header| matches!(header, Header::RecordRoute(_)));
    let is_invite = message.cseq_header().ok()?.value().contains("INVITE");
    match (message, came) {
        (_, _) if message.call_id_header().is_err() => Some("no Call-ID"),
        (_, _) if message.from_header().and_then(|from| from.tag()).ok().flatten().is_none() => {
            Some("no tag in From")
        }
        (_, _) if wrong_length(message) => Some("Content-Length is not the body's"),
        // RFC 3261 16.6: a Via on top, one hop less.
        (SipMessage::Request(_), Came::ToCallee) if vias != 2 => Some("a request without two Vias"),
        (SipMessage::Request(_), Came::ToCallee) if hops(message) != Some(69) => {
            Some("Max-Forwards is not one less")
        }
        (SipMessage::Request(request), Came::ToCallee)
            if request.method == rsip::Method::Invite && routes == 0 =>
        {
            Some("an INVITE without a Record-Route")
        }
        // RFC 3261 16.7: its Via taken off again.
        (SipMessage::Response(_), Came::ToCaller) if vias != 1 => {
            Some("a response with a Via too many")
        }
        (SipMessage::Response(response), Came::ToCaller)
            if is_invite && response.status_code.code() == 200 && routes == 0 =>
        {
            Some("a 200 without a Record-Route")
        }
        (SipMessage::Request(_) | SipMessage::Response(_), _) => None,
    }
}

fn hops(message: &SipMessage) -> Option<u32> {
    message.max_forwards_header().ok()?.value().trim().parse().ok()
}

fn wrong_length(message: &SipMessage) -> bool {
    let length = message.headers().iter().find_map(|header| {
        let Header::ContentLength(length) = header else { return None };
        length.value().trim().parse::<usize>().ok()
    });
    length.is_some_and(|length| length != message.body().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &str = "INVITE sip:u@10.0.0.3 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKp\r\n\
        Via: SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKc\r\nMax-Forwards: 69\r\nRecord-Route: <sip:10.0.0.1;lr>\r\n\
        From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";

    #[test]
    fn a_relayed_invite_is_as_it_should_be() {
        assert_eq!(fault_of(INVITE.as_bytes(), Came::ToCallee), None);
    }

    #[test]
    fn each_fault_is_named() {
        for (right, wrong, what) in [
            ("Max-Forwards: 69", "Max-Forwards: 70", "Max-Forwards"),
            ("Record-Route", "X-Route", "Record-Route"),
            (";tag=1", "", "tag"),
            ("Content-Length: 0", "Content-Length: 7", "Content-Length"),
            ("Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKp\r\n", "", "Vias"),
        ] {
            let fault = fault_of(INVITE.replacen(right, wrong, 1).as_bytes(), Came::ToCallee);
            assert!(fault.as_ref().is_some_and(|fault| fault.contains(what)), "{wrong}: {fault:?}");
        }
        let ok = INVITE.replace("INVITE sip:u@10.0.0.3 SIP/2.0", "SIP/2.0 200 OK");
        assert_eq!(
            fault_of(ok.as_bytes(), Came::ToCaller).as_deref(),
            Some("a response with a Via too many")
        );
    }
}
