//! What a REGISTER brings along besides its Contacts: Path (RFC 3327), flows (RFC 5626) and the wish for
//! GRUUs (RFC 5627).

use super::Outcome;
use super::process::bad;
use crate::wire::{Contact, HeaderName, Message, NameAddr};

/// Longest Path of a binding, in bytes, which is kept for hours: some ten proxies.
const PATH_BYTES_MAX: usize = 1024;

/// Read from one REGISTER.
#[derive(Clone, Debug, Default)]
pub(super) struct Extensions {
    /// The Path values, as a Route header has them.
    pub(super) path: Option<Box<str>>,
    /// The client understands Path in the answer.
    pub(super) shows_path: bool,
    /// The client knows of flows, so that `reg-id` means one (RFC 5626 6).
    pub(super) knows_flows: bool,
    /// Its Contact is a flow that it wants to keep.
    pub(super) outbound: bool,
    /// The client wants GRUUs.
    pub(super) gruu: bool,
}

impl Extensions {
    /// 400 if one is wrong; 439 if a flow is asked for that the first hop does not keep.
    pub(super) fn read(request: &Message) -> Result<Extensions, Outcome> {
        let mut extensions = Extensions { path: path(request)?, ..Extensions::default() };
        if request.first_str(HeaderName::Supported).is_none() {
            return Ok(extensions);
        }
        let supports = |option| request.has_token(HeaderName::Supported, option);
        extensions.shows_path = supports("path");
        extensions.gruu = supports("gruu");
        extensions.knows_flows = supports("outbound");
        extensions.outbound = extensions.knows_flows && asks_for_flow(request)?;
        if extensions.outbound && request.vias().count() > 1 && !first_hop_keeps_flows(request) {
            let reason = "First Hop Lacks Outbound Support";
            return Err(Outcome { status: 439, reason, headers: Vec::new() });
        }
        Ok(extensions)
    }

    /// What the 200 says of them.
    pub(super) fn headers(&self) -> impl Iterator<Item = (HeaderName, String)> {
        let path = self.path.as_ref().filter(|_| self.shows_path);
        let path = path.map(|path| (HeaderName::Path, path.to_string()));
        let outbound = self.outbound.then(|| (HeaderName::Require, "outbound".to_owned()));
        path.into_iter().chain(outbound)
    }
}

/// RFC 3327 5.3. A strict router's URI would have to change places with the Request-URI: no proxy has
/// written one for twenty years, so it is refused.
fn path(request: &Message) -> Result<Option<Box<str>>, Outcome> {
    let mut path = String::new();
    for value in request.values(HeaderName::Path) {
        let addr = NameAddr::parse(value).and_then(|addr| Some((addr, addr.uri().ok()?)));
        let Some((addr, uri)) = addr.filter(|(_, uri)| uri.is_sip()) else {
            return Err(bad("Bad Path Header"));
        };
        if !uri.params().has("lr") {
            return Err(bad("Path Without lr"));
        }
        if !path.is_empty() {
            path.push_str(", ");
        }
        path.push('<');
        path.push_str(addr.uri_text());
        path.push('>');
        if path.len() > PATH_BYTES_MAX {
            return Err(bad("Path Too Long"));
        }
    }
    Ok((!path.is_empty()).then(|| path.into()))
}

/// RFC 5626 6: the Contact has `reg-id` and `+sip.instance`; of those there may be one.
fn asks_for_flow(request: &Message) -> Result<bool, Outcome> {
    let contacts = request.contacts().flatten().filter_map(Contact::addr);
    let flows = contacts.filter(|contact| {
        let is_flow = contact.reg_id().is_some() && contact.instance().is_some();
        is_flow && contact.expires().or(request.expires()) != Some(0)
    });
    match flows.count() {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(bad("More Than One Contact With reg-id")),
    }
}

/// RFC 5626 6: the proxy next to the client, whose Path value is the last, has marked it with `ob`.
fn first_hop_keeps_flows(request: &Message) -> bool {
    let last = request.values(HeaderName::Path).last().and_then(NameAddr::parse);
    last.and_then(|addr| addr.uri().ok()).is_some_and(|uri| uri.params().has("ob"))
}
