//! One device of a user.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::extensions::Extensions;
use crate::timer::TimerId;
use crate::transport::Arrival;
use crate::wire::{NameAddr, Uri};

/// q of a Contact that names none (RFC 3261 16.6 step 2 leaves the order to us: as if it were 1).
const Q_DEFAULT: u16 = 1000;

/// What stands behind the URI in the Contact of a 200 whose device names no instance.
const PARAMETERS_BYTES: usize = 32;

/// A Contact that a user has registered, and the way to it.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The Contact URI as registered.
    pub uri: Box<str>,
    /// How the REGISTER came: a phone behind NAT is reached the same way back.
    pub arrival: Arrival,
    /// Where it came to at the member that took it, if this one has no such address: other members that are
    /// told of it may have it.
    pub(super) came_to: Option<Box<SocketAddr>>,
    /// The connection that it came over has closed: it is reached as its Contact says.
    pub flow_lost: bool,
    /// The proxies on the way to it, as a Route header has them (RFC 3327).
    pub path: Option<Box<str>>,
    /// Preference, 0 to 1000.
    pub q_thousandths: u16,
    /// When it ends.
    pub expires: Instant,
    /// The device (`+sip.instance`, RFC 5626 4.1), without quotes and `<>`.
    pub instance: Option<Box<str>>,
    /// Which of the device's flows (`reg-id`, RFC 5626 4.2); `None` unless it asked for flows.
    pub reg_id: Option<u32>,
    /// Hash of the Call-ID of the REGISTER, which orders those of one device with `cseq`.
    pub(super) call_id: u64,
    pub(super) cseq: u32,
    /// Grows with every refresh.
    pub(super) serial: u64,
    pub(super) timer: Option<TimerId>,
}

impl Binding {
    /// One for `contact`; its time, place in the order and timer are still to be set.
    pub(super) fn new(
        contact: &NameAddr<'_>,
        arrival: Arrival,
        extensions: &Extensions,
        now: Instant,
    ) -> Self {
        Binding {
            uri: contact.uri_text().into(),
            arrival,
            came_to: None,
            flow_lost: false,
            path: extensions.path.clone(),
            q_thousandths: contact.q_thousandths().unwrap_or(Q_DEFAULT),
            expires: now,
            instance: contact.instance().map(Box::from),
            // RFC 5626 6: of a client that knows no flows, or without the device, it means nothing.
            reg_id: contact
                .reg_id()
                .filter(|_| extensions.knows_flows && contact.instance().is_some()),
            call_id: 0,
            cseq: 0,
            serial: 0,
            timer: None,
        }
    }

    /// Whether both are for the same device: the same flow of the same instance (RFC 5626 6), else
    /// equivalent URIs (RFC 3261 10.3 step 7).
    pub(super) fn is_same_device(&self, other: &Binding) -> bool {
        if let (Some(own), Some(theirs)) = (self.flow(), other.flow()) {
            return own == theirs;
        }
        if self.uri == other.uri {
            return true;
        }
        match (Uri::parse(&self.uri), Uri::parse(&other.uri)) {
            (Ok(own), Ok(theirs)) => own.equivalent(&theirs),
            (Ok(_) | Err(_), Ok(_) | Err(_)) => false,
        }
    }

    fn flow(&self) -> Option<(&str, u32)> {
        self.instance.as_deref().zip(self.reg_id)
    }

    /// Whether a request can be sent to it. A `tel` or `mailto` Contact is kept and told to whoever
    /// asks, but nothing is sent there (RFC 3261 10.2.1, 16.5).
    pub(super) fn is_target(&self) -> bool {
        let scheme = self.uri.split(':').next().unwrap_or_default();
        scheme.eq_ignore_ascii_case("sip") || scheme.eq_ignore_ascii_case("sips")
    }

    /// How long it lasts from `now`, in whole seconds rounded up.
    pub(super) fn remaining_secs(&self, now: Instant) -> u64 {
        let remaining = self.expires.saturating_duration_since(now);
        (remaining + Duration::from_nanos(999_999_999)).as_secs()
    }

    /// The Contact value for a 200 (RFC 3261 10.3 step 8).
    pub(super) fn contact(&self, now: Instant) -> String {
        let mut value = String::with_capacity(self.uri.len() + PARAMETERS_BYTES);
        value.push('<');
        value.push_str(&self.uri);
        value.push_str(">;expires=");
        // Writing to a String cannot fail.
        let _ = write!(value, "{}", self.remaining_secs(now));
        if self.q_thousandths != Q_DEFAULT {
            let _ = write!(value, ";q=0.{:03}", self.q_thousandths);
        }
        if let Some(instance) = &self.instance {
            let _ = write!(value, ";+sip.instance=\"<{instance}>\"");
        }
        if let Some(reg_id) = self.reg_id {
            let _ = write!(value, ";reg-id={reg_id}");
        }
        value
    }
}
