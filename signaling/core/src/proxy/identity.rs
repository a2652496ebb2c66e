//! Who is said to have sent a message (RFC 3325), and what it asks to be kept private (RFC 3323).
//!
//! The trust domain is this node and the networks that are listed as trusted. Everything else is
//! outside of it, the phones of this node's own users too:
//!
//! - What comes from outside asserts nothing: its P-Asserted-Identity is taken off. Where its sender has
//!   authenticated, this node asserts the sender's address of record. Within a call nobody is
//!   authenticated, nor is whoever responds (RFC 3325 6), so there nothing is asserted in its place.
//! - What goes outside loses P-Asserted-Identity if `Privacy: id` asks for it, and keeps it otherwise
//!   (RFC 3325 7).
//! - P-Preferred-Identity goes nowhere (RFC 3325 9.2).
//!
//! `header`, `user` and `session` want a privacy service (RFC 3323 5), which this node is not: it passes
//! them on for one further along, and refuses what asks for one of them and says `critical` if it would
//! leave the trust domain.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use super::Proxy;
use super::addresses::Addresses;
use super::config::Config;
use super::inbound::Answer;
use crate::transport::Arrival;
use crate::wire::{Edit, HeaderName, Host, Message, NameAddr, Uri};

/// The host of a From that says nothing (RFC 3323 4.1.1.3).
const ANONYMOUS_HOST: &str = "anonymous.invalid";

/// Who has sent a request, as far as this node can tell others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Sender {
    /// Nobody knows.
    #[default]
    Unknown,
    /// A peer within the trust domain: what it asserts holds.
    Trusted,
    /// A user who has authenticated; the P-Asserted-Identity value.
    User(Arc<str>),
}

/// What a message asks to be kept private (RFC 3323 4.2, RFC 3325 9.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Privacy {
    id: bool,
    /// `header`, `user` or `session`.
    service: bool,
    critical: bool,
}

impl Privacy {
    fn of(message: &Message) -> Privacy {
        let mut privacy = Privacy::default();
        for line in message.lines(HeaderName::Privacy) {
            // The grammar wants `;`; commas are met with, too.
            for value in line.split(|byte| matches!(byte, b';' | b',')).map(<[u8]>::trim_ascii) {
                let is = |word: &str| value.eq_ignore_ascii_case(word.as_bytes());
                privacy.id |= is("id");
                privacy.service |= is("header") || is("user") || is("session");
                privacy.critical |= is("critical");
            }
        }
        privacy
    }
}

/// Whether a From names nobody: its sender is known by its credentials alone.
pub(super) fn is_anonymous(from: &Uri<'_>) -> bool {
    matches!(from.host(), Host::Name(name) if name.eq_ignore_ascii_case(ANONYMOUS_HOST))
}

/// Takes off what its sender may not say, and what the next hop may not see.
pub(super) fn filter(edit: &mut Edit<'_>, message: &Message, from_trusted: bool, to_trusted: bool) {
    if message.has(HeaderName::PPreferredIdentity) {
        edit.remove(HeaderName::PPreferredIdentity);
    }
    if message.has(HeaderName::PAssertedIdentity)
        && (!from_trusted || (!to_trusted && Privacy::of(message).id))
    {
        edit.remove(HeaderName::PAssertedIdentity);
    }
}

/// Puts the identity headers of a request right for the next hop.
pub(super) fn put(edit: &mut Edit<'_>, request: &Message, sender: &Sender, to_trusted: bool) {
    filter(edit, request, *sender == Sender::Trusted, to_trusted);
    if let Sender::User(identity) = sender
        && (to_trusted || !Privacy::of(request).id)
    {
        edit.append(HeaderName::PAssertedIdentity, identity.as_bytes());
    }
}

/// Refuses what may not go on without a service that this node does not give (RFC 3323 4.2).
///
/// # Errors
/// 500, as RFC 3323 5 says.
pub(super) fn check_privacy(request: &Message, to_trusted: bool) -> Result<(), Answer> {
    if to_trusted || !request.has(HeaderName::Privacy) {
        return Ok(());
    }
    let Privacy { service, critical, .. } = Privacy::of(request);
    if service && critical {
        return Err(Answer::new(500, "Privacy Service Not Available"));
    }
    Ok(())
}

impl Proxy {
    /// Whether a peer is within the trust domain.
    pub(super) fn is_in_trust_domain(&self, peer: IpAddr) -> bool {
        self.config.is_trusted(peer)
    }

    /// Within a call nobody is authenticated.
    pub(super) fn sender_in_call(&self, arrival: &Arrival) -> Sender {
        let is_trusted = self.is_in_trust_domain(arrival.remote.ip());
        if is_trusted { Sender::Trusted } else { Sender::Unknown }
    }

    /// What is asserted of `user`, who has authenticated.
    pub(super) fn sender(&self, request: &Message, user: &str) -> Sender {
        if !self.config.assert_identity {
            return Sender::Unknown;
        }
        let identity = identity(&self.config, &self.addresses, request, user);
        identity.map_or(Sender::Unknown, |identity| Sender::User(identity.into()))
    }
}

/// The address of record of `user` in the domain that the request names: by P-Preferred-Identity where
/// that is an address of the user's (RFC 3325 5), else by From, else the node's first domain.
fn identity(
    config: &Config,
    addresses: &Addresses,
    request: &Message,
    user: &str,
) -> Option<String> {
    let own = |address: NameAddr<'_>| {
        let uri = address.uri().ok()?;
        let is_own = uri.user_unescaped().as_deref() == Some(user);
        let is_own = is_own && addresses.is_served(config, &uri);
        is_own.then(|| format!("<sip:{}@{}>", uri.user().unwrap_or_default(), uri.host()))
    };
    let preferred = request.addresses(HeaderName::PPreferredIdentity).flatten().find_map(own);
    preferred.or_else(|| own(request.from())).or_else(|| {
        let domain = config.domains.first()?;
        Some(format!("<sip:{}@{domain}>", escaped(user)))
    })
}

/// `user` as it stands in a URI (RFC 3261 25.1: `unreserved` as it is, the rest escaped).
fn escaped(user: &str) -> String {
    let mut out = String::with_capacity(user.len());
    for byte in user.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
