//! One dialog of a call, as far as this node has to know it to end it itself (RFC 3261 12).

use std::time::Instant;

use relay_core::api::Leg;

use crate::wire::{Contact, HeaderName, Message};

/// Most bytes that are kept of the ways to both parties: those of phones take some 100, and each hop
/// with Record-Route some 50. Of a dialog with longer ones nothing is kept, and this node can only
/// let go of it.
pub const WAYS_BYTES_MAX: usize = 4096;

/// A dialog that a branch's callee has created.
#[derive(Clone, Debug)]
pub struct Dialog {
    /// The callee's tag.
    pub tag: Box<str>,
    /// A 2xx has been seen.
    pub confirmed: bool,
    /// A BYE has been answered.
    pub over: bool,
    /// When its session ends if nobody refreshes it (RFC 4028 8.2); `None`: it goes on.
    pub expires: Option<Instant>,
    /// The highest CSeq number that each leg has used; 0: none yet.
    cseq: [u32; 2],
    /// Remote target and route set of the caller, then of the callee, a line each: one block of
    /// memory, because there are as many as calls.
    ways: Option<Box<str>>,
}

/// How a request within a dialog reaches a party (RFC 3261 12.2.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote<'d> {
    /// Its remote target, a URI.
    pub target: &'d str,
    /// The route set beyond this node: the value of a Route header field; may be empty.
    pub routes: &'d str,
}

impl Dialog {
    /// A dialog under the callee's `tag`.
    #[must_use]
    pub fn new(tag: &str, confirmed: bool) -> Dialog {
        Dialog { tag: tag.into(), confirmed, over: false, expires: None, cseq: [0; 2], ways: None }
    }

    /// Whether it is confirmed and goes on.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.confirmed && !self.over
    }

    /// Whether it is up and its session has not been refreshed in time (RFC 4028 8.3).
    #[must_use]
    pub fn has_expired(&self, now: Instant) -> bool {
        self.is_up() && self.expires.is_some_and(|at| at <= now)
    }

    /// A request with this CSeq number has come from `leg`.
    pub fn note_cseq(&mut self, leg: Leg, number: u32) {
        let highest = &mut self.cseq[leg.index()];
        *highest = number.max(*highest);
    }

    /// The CSeq number of a request that this node makes up in the name of `leg`.
    #[must_use]
    pub const fn next_cseq(&self, leg: Leg) -> u32 {
        self.cseq[leg.index()].saturating_add(1)
    }

    /// Keeps what the INVITE as it came and its 2xx tell of both parties, once.
    /// `mark` is the parameter by which our Record-Route names the call, with its value.
    pub fn confirm(&mut self, mark: &str, invite: &Message, ok: &Message) {
        self.note_cseq(Leg::Caller, invite.cseq().number);
        if self.ways.is_some() {
            return;
        }
        let mut ways = String::with_capacity(160);
        ways.push_str(target_of(invite).unwrap_or_default());
        ways.push('\n');
        push_routes(&mut ways, routes_of(invite).iter());
        ways.push('\n');
        ways.push_str(target_of(ok).unwrap_or_default());
        ways.push('\n');
        let routes = routes_of(ok);
        let own = routes.iter().position(|route| names(route, mark)).unwrap_or_default();
        push_routes(&mut ways, routes[..own].iter().rev());
        self.keep(ways);
    }

    /// `leg` has named a new Contact in a request that was accepted, or in its 2xx (RFC 3261 12.2).
    pub fn refresh(&mut self, leg: Leg, message: &Message) {
        let (Some(ways), Some(target)) = (&self.ways, target_of(message)) else { return };
        let line = 2 * leg.index();
        if ways.split('\n').nth(line) == Some(target) {
            return;
        }
        let lines = ways.split('\n').enumerate();
        let lines: Vec<&str> = lines.map(|(n, old)| if n == line { target } else { old }).collect();
        self.keep(lines.join("\n"));
    }

    fn keep(&mut self, ways: String) {
        self.ways = (ways.len() <= WAYS_BYTES_MAX).then(|| ways.into());
    }

    /// How `leg` is reached; `None` if it cannot be known.
    #[must_use]
    pub fn remote(&self, leg: Leg) -> Option<Remote<'_>> {
        let mut lines = self.ways.as_ref()?.split('\n').skip(2 * leg.index());
        let remote = Remote { target: lines.next()?, routes: lines.next()? };
        (!remote.target.is_empty()).then_some(remote)
    }
}

fn target_of(message: &Message) -> Option<&str> {
    let contact = message.contacts().flatten().find_map(Contact::addr)?;
    Some(contact.uri_text())
}

fn routes_of(message: &Message) -> Vec<&str> {
    if !message.has(HeaderName::RecordRoute) {
        return Vec::new();
    }
    message.record_routes().flatten().map(|route| route.uri_text()).collect()
}

/// Whether this Record-Route is the one that this node gave the call.
fn names(route: &str, mark: &str) -> bool {
    let uri = crate::wire::Uri::parse(route).ok();
    let own =
        mark.split_once('=').and_then(|(name, value)| Some((uri?.params().get(name)?, value)));
    own.is_some_and(|(value, own)| value.eq_ignore_ascii_case(own))
}

fn push_routes<'r>(ways: &mut String, routes: impl Iterator<Item = &'r &'r str>) {
    for (n, route) in routes.enumerate() {
        ways.push_str(if n == 0 { "<" } else { ", <" });
        ways.push_str(route);
        ways.push('>');
    }
}
