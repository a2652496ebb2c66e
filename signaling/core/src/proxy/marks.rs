//! How this node knows again what it has written: the number of a call in Record-Route, and in a farm the
//! owner tokens in Via, To tag, Record-Route and Contact (B1).

use std::fmt::Write;

use rand::RngCore;

use super::Proxy;
use super::flows;
use super::forward::call_mark;
use crate::call::CallId;
use crate::farm::Purpose;
use crate::farm::membership::Standing;
use crate::farm::router::{CALL, CONTACT, FLOW};
use crate::table::Key;
use crate::wire::digits::{into_text, push_hex};
use crate::wire::{BRANCH_MAGIC, Message, Method, Uri};

impl Proxy {
    /// Writes a branch that was never used before, for a message with this Call-ID.
    pub(super) fn push_branch(&mut self, via: &mut Vec<u8>, call_id: &str) {
        let unique = self.new_unique();
        via.extend_from_slice(BRANCH_MAGIC.as_bytes());
        match &self.farm {
            None => push_hex::<16>(via, unique),
            Some(farm) => {
                let token = farm.issue(Purpose::Branch, unique, call_id);
                via.extend_from_slice(token.as_str().as_bytes());
            }
        }
    }

    /// The parameter of our Record-Route that names a call.
    pub(super) fn call_mark(&self, call: CallId, call_id: &str) -> String {
        match &self.farm {
            None => call_mark(call),
            Some(farm) => {
                format!("{CALL}={}", farm.issue(Purpose::Call, call.0.number(), call_id))
            }
        }
    }

    /// As [`Proxy::call_mark`], as it stands in `response`: keys may have changed since the request.
    pub(super) fn mark_in(&self, call: CallId, response: &Message) -> String {
        let call_id = response.call_id();
        let own = self.farm.as_ref().and_then(|_| {
            let routes = response.record_routes().flatten().filter_map(|route| route.uri().ok());
            let mut own = routes.filter(|uri| self.call_of(uri, call_id) == Some(call));
            Some(format!("{CALL}={}", own.next()?.params().get(CALL)?))
        });
        own.unwrap_or_else(|| self.call_mark(call, call_id))
    }

    /// The parameter of our Record-Route in a dialog that nothing is remembered of.
    pub(super) fn flow_mark(&self, call_id: &str) -> String {
        match &self.farm {
            None => flows::MARK.to_owned(),
            Some(farm) => format!("{FLOW}={}", farm.issue(Purpose::Place, 0, call_id)),
        }
    }

    /// Writes behind our Contact whose it is.
    pub(super) fn mark_contact(&self, uri: &mut String, call_id: &str) {
        if let Some(farm) = &self.farm {
            // Writing to a String cannot fail.
            let _ = write!(uri, ";{CONTACT}={}", farm.issue(Purpose::Place, 0, call_id));
        }
    }

    /// The call that one of our Record-Route URIs names.
    pub(super) fn call_of(&self, uri: &Uri<'_>, call_id: &str) -> Option<CallId> {
        let text = uri.params().get(CALL)?;
        let Some(farm) = &self.farm else { return text.parse().ok().map(CallId) };
        let owner = farm.tokens.read(Purpose::Call, text, call_id)?;
        let is_own = farm.membership.standing(owner.identity) == Standing::Own;
        is_own.then(|| CallId(Key::from_number(owner.local)))
    }

    /// Whether a member of this node's farm has written a Route, under whatever address: that of the
    /// member that it was sent out by, or of one that is no more.
    pub(super) fn is_of_farm(&self, uri: &Uri<'_>, call_id: &str) -> bool {
        let Some(farm) = &self.farm else { return false };
        let read = |purpose, name| farm.tokens.read(purpose, uri.params().get(name)?, call_id);
        let own = |purpose, name| {
            let owner = read(purpose, name)?;
            Some(farm.membership.standing(owner.identity) == Standing::Own)
        };
        own(Purpose::Call, CALL) == Some(true) || own(Purpose::Place, FLOW).is_some()
    }

    /// 64 random bits (RFC 3261 19.3).
    pub(super) fn new_unique(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// A tag for a response to `request`. Where requests may follow that name it, it names this member
    /// as well.
    pub(super) fn new_tag_for(&mut self, request: &Message) -> String {
        let unique = self.new_unique();
        self.tag_of(request, unique)
    }

    /// As [`Proxy::new_tag_for`], the same for each repetition.
    pub(super) fn tag_of(&self, request: &Message, unique: u64) -> String {
        let makes_dialog =
            matches!(request.method(), Method::Invite | Method::Subscribe | Method::Refer);
        match &self.farm {
            Some(farm) if makes_dialog && request.to().tag().is_none() => {
                farm.issue(Purpose::Tag, unique, request.call_id()).to_string()
            }
            Some(_) | None => hex_text(unique),
        }
    }
}

/// The sixteen hexadecimal digits of a number.
pub(super) fn hex_text(number: u64) -> String {
    let mut digits = Vec::with_capacity(16);
    push_hex::<16>(&mut digits, number);
    into_text(digits)
}
