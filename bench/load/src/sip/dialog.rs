//! Dialogs (RFC 3261 12): what a call needs to send ACK and BYE along the right way.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use rsip::headers::UntypedHeader;
use rsip::prelude::HeadersExt;
use rsip::{Header, Method, Param, Request, Response, Uri, UriWithParams};

use crate::sip::hop::Local;
use crate::sip::message::{self, Opening};

/// One side's view of a call.
#[derive(Clone, Debug)]
pub(crate) struct Dialog {
    pub(crate) call_id: String,
    /// Our own From value, with tag.
    pub(crate) local: String,
    /// The other party's To value, with tag.
    pub(crate) remote: String,
    pub(crate) remote_tag: String,
    target: Uri,
    route: Vec<UriWithParams>,
    pub(crate) cseq: u32,
}

impl Dialog {
    /// The caller's dialog, from its INVITE and a 2xx (RFC 3261 12.1.2).
    ///
    /// # Errors
    /// The response lacks a To tag or a Contact.
    pub(crate) fn of_caller(invite: &Request, response: &Response) -> Result<Dialog> {
        let mut route = message::record_routes(response)?;
        route.reverse();
        let from = invite.from_header().map_err(anyhow::Error::msg)?;
        let to = response.to_header().map_err(anyhow::Error::msg)?;
        Ok(Dialog {
            call_id: message::call_id(invite)?.to_owned(),
            local: from.value().to_owned(),
            remote: to.value().to_owned(),
            remote_tag: message::to_tag(response)?.context("a 2xx without a To tag")?,
            target: message::contact(response).context("a 2xx")?,
            route,
            cseq: message::cseq(invite)?.0,
        })
    }

    /// The callee's dialog, from an INVITE that it answers with `tag` (RFC 3261 12.1.1).
    ///
    /// # Errors
    /// The INVITE lacks a From tag or a Contact.
    pub(crate) fn of_callee(invite: &Request, tag: &str) -> Result<Dialog> {
        let from = invite.from_header().map_err(anyhow::Error::msg)?;
        let to = invite.to_header().map_err(anyhow::Error::msg)?;
        Ok(Dialog {
            call_id: message::call_id(invite)?.to_owned(),
            local: format!("{};tag={tag}", to.value()),
            remote: from.value().to_owned(),
            remote_tag: message::from_tag(invite)?.context("an INVITE without a From tag")?,
            target: message::contact(invite).context("an INVITE")?,
            route: message::record_routes(invite)?,
            // RFC 3261 12.2.1.1: the local sequence is empty until the first request.
            cseq: 0,
        })
    }

    /// A request within the dialog and where it goes: `None` if the next hop is not an address.
    ///
    /// An ACK has the number of its INVITE (13.2.2.4); anything else takes the next one.
    pub(crate) fn request(
        &mut self,
        method: Method,
        branch: &str,
        local: Local,
        more: Vec<Header>,
    ) -> (Request, Option<SocketAddr>) {
        if method != Method::Ack {
            self.cseq += 1;
        }
        let opening = Opening {
            local,
            branch,
            from: &self.local,
            to: &self.remote,
            call_id: &self.call_id,
            cseq: self.cseq,
        };
        let (uri, hop, mut headers) = self.way();
        headers.extend(more);
        (message::request(method, uri, &opening, headers, Vec::new()), hop)
    }

    /// Request-URI, next hop and Route headers (RFC 3261 12.2.1.1).
    fn way(&self) -> (Uri, Option<SocketAddr>, Vec<Header>) {
        let Some(first) = self.route.first() else {
            return (self.target.clone(), message::address_of(&self.target), Vec::new());
        };
        let hop = message::address_of(&first.uri);
        let header = |uri: &UriWithParams| Header::Route(uri.to_string().into());
        if is_loose(&first.uri) {
            return (self.target.clone(), hop, self.route.iter().map(header).collect());
        }
        // A strict router wants itself as Request-URI and the target as the last Route.
        let target = UriWithParams { uri: self.target.clone(), params: Vec::new() };
        let rest = self.route[1..].iter().chain(std::iter::once(&target)).map(header).collect();
        (first.uri.clone(), hop, rest)
    }
}

fn is_loose(uri: &Uri) -> bool {
    uri.params.iter().any(|param| match param {
        Param::Lr => true,
        Param::Other(name, _) => name.value().eq_ignore_ascii_case("lr"),
        Param::Transport(_)
        | Param::User(_)
        | Param::Method(_)
        | Param::Ttl(_)
        | Param::Maddr(_)
        | Param::Branch(_)
        | Param::Received(_)
        | Param::Tag(_)
        | Param::Expires(_)
        | Param::Q(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use rsip::SipMessage;

    use super::*;

    const LOCAL: Local = Local {
        address: SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1000),
        transport: crate::sipbench::Transport::Udp,
    };

    fn answered(record_routes: &str) -> Dialog {
        let invite = message::request(
            Method::Invite,
            message::uri("sip:b@d").unwrap(),
            &Opening {
                local: LOCAL,
                branch: "z9hG4bK1",
                from: "<sip:a@d>;tag=f",
                to: "<sip:b@d>",
                call_id: "c",
                cseq: 4,
            },
            vec![],
            vec![],
        );
        let text = format!(
            "SIP/2.0 200 OK\r\nTo: <sip:b@d>;tag=t\r\n{record_routes}Contact: <sip:b@127.0.0.1:2000>\r\n\r\n"
        );
        let SipMessage::Response(response) = message::read(text.as_bytes()).unwrap() else {
            panic!("a response was read")
        };
        Dialog::of_caller(&invite, &response).unwrap()
    }

    fn ack(dialog: &mut Dialog) -> (String, Option<SocketAddr>) {
        let (request, hop) = dialog.request(Method::Ack, "z9hG4bK2", LOCAL, vec![]);
        (request.to_string(), hop)
    }

    /// RFC 3261 12.1.2: the caller's route set is the Record-Route reversed.
    #[test]
    fn the_caller_goes_through_the_recorded_proxies_in_reverse() {
        let mut dialog = answered(
            "Record-Route: <sip:127.0.0.3;lr>,<sip:127.0.0.4:5070;lr=on;x=y>\r\nRecord-Route: <sip:127.0.0.5:5080;lr>\r\n",
        );
        let (text, hop) = ack(&mut dialog);
        assert_eq!(hop, Some("127.0.0.5:5080".parse().unwrap()));
        assert!(text.starts_with("ACK sip:b@127.0.0.1:2000 SIP/2.0\r\n"), "{text}");
        assert!(text.contains("CSeq: 4 ACK\r\n"), "{text}");
        let routes: Vec<_> = text.lines().filter(|line| line.starts_with("Route:")).collect();
        assert_eq!(
            routes,
            [
                "Route: <sip:127.0.0.5:5080;lr>",
                "Route: <sip:127.0.0.4:5070;lr=on;x=y>",
                "Route: <sip:127.0.0.3;lr>"
            ]
        );
    }

    /// RFC 3261 12.2.1.1.
    #[test]
    fn without_record_route_the_contact_is_the_next_hop() {
        let (_, hop) = ack(&mut answered(""));
        assert_eq!(hop, Some("127.0.0.1:2000".parse().unwrap()));
    }

    /// RFC 3261 12.2.1.1, second case.
    #[test]
    fn a_strict_router_becomes_the_request_uri() {
        let (text, hop) = ack(&mut answered("Record-Route: <sip:127.0.0.3:5066>\r\n"));
        assert_eq!(hop, Some("127.0.0.3:5066".parse().unwrap()));
        assert!(text.starts_with("ACK sip:127.0.0.3:5066 SIP/2.0\r\n"), "{text}");
        assert!(text.contains("Route: <sip:b@127.0.0.1:2000>\r\n"), "{text}");
    }

    #[test]
    fn each_bye_has_a_new_number() {
        let mut dialog = answered("");
        let (bye, _) = dialog.request(Method::Bye, "z9hG4bK3", LOCAL, vec![]);
        assert_eq!(message::cseq(&bye).unwrap().0, 5);
    }
}
