//! One subscription: its dialog, and what is due to be told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Package;
use super::asked::{Asked, Outcome, Wanted};
use crate::call::Party;
use crate::timer::TimerId;

/// Most bytes that are kept of a subscriber's dialog: those of phones take some 400, and each hop with
/// Record-Route some 50.
const DIALOG_BYTES_MAX: usize = 4096;

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Watched {
    /// A user.
    User(Arc<str>),
    /// A list, by its place in the configuration.
    List(usize),
}

/// Why a notification is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// What is watched may have changed. It is told if it has, and not too soon after the last time.
    Change,
    /// The subscriber has asked: it is told at once (RFC 6665 4.2.1.2).
    Answer,
}

/// Why a subscription ends (RFC 6665 4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Its time is over, or the subscriber has ended it.
    Timeout,
    /// The node stops: it is best renewed at once, elsewhere.
    Deactivated,
}

impl Reason {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Reason::Timeout => "timeout",
            Reason::Deactivated => "deactivated",
        }
    }
}

/// The dialog of a subscription (RFC 3261 12), as the notifier sees it.
#[derive(Clone, Debug)]
pub(super) struct Dialog {
    pub(super) call_id: Box<str>,
    /// This side's tag, and the address with it as notifications have it in From.
    pub(super) tag: Box<str>,
    pub(super) local: Box<str>,
    /// The subscriber's, as notifications have it in To.
    pub(super) remote: Box<str>,
    pub(super) remote_tag: Box<str>,
    /// The remote target.
    pub(super) target: Box<str>,
    /// The route set, as the value of a Route header; may be empty.
    pub(super) routes: Box<str>,
    pub(super) remote_cseq: u32,
    pub(super) cseq: u32,
}

impl Dialog {
    /// The dialog that a SUBSCRIBE opens; its tag and local address come once it has its place.
    pub(super) fn open(asked: &Asked<'_>) -> Result<Dialog, Outcome> {
        let request = asked.request;
        let contact = asked.contact().ok_or_else(|| Outcome::new(400, "Bad Or Missing Contact"))?;
        let mut routes = String::new();
        for route in request.record_routes() {
            let route = route.map_err(|_| Outcome::new(400, "Bad Record-Route"))?;
            let comma = if routes.is_empty() { "" } else { ", " };
            routes.push_str(&format!("{comma}<{}>", route.uri_text()));
        }
        let remote = String::from_utf8_lossy(request.from().as_bytes());
        let dialog = Dialog {
            call_id: request.call_id().into(),
            tag: "".into(),
            local: "".into(),
            remote: unfolded(&remote).into(),
            remote_tag: request.from().tag().unwrap_or_default().into(),
            target: contact.uri_text().into(),
            routes: routes.into(),
            remote_cseq: request.cseq().number,
            cseq: 0,
        };
        let parts = [&dialog.call_id, &dialog.remote, &dialog.target, &dialog.routes];
        let to = request.to().as_bytes().len();
        if parts.iter().map(|part| part.len()).sum::<usize>() + to > DIALOG_BYTES_MAX {
            return Err(Outcome::new(400, "Dialog Too Long"));
        }
        Ok(dialog)
    }

    /// Gives it this side's tag.
    pub(super) fn name(&mut self, tag: String, asked: &Asked<'_>) {
        let to = String::from_utf8_lossy(asked.request.to().as_bytes());
        self.local = format!("{};tag={tag}", unfolded(&to)).into();
        self.tag = tag.into();
    }

    /// Whether a request belongs to it.
    pub(super) fn is_of(&self, asked: &Asked<'_>) -> bool {
        let request = asked.request;
        *self.call_id == *request.call_id()
            && request.to().tag() == Some(&*self.tag)
            && *self.remote_tag == *request.from().tag().unwrap_or_default()
    }
}

/// A header value without line breaks (RFC 3261 7.3.1).
fn unfolded(value: &str) -> String {
    value.replace(['\r', '\n'], " ")
}

/// A subscription.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    pub(super) package: Package,
    pub(super) watched: Watched,
    /// The address of record that it was made for.
    pub(super) entity: Box<str>,
    /// Who watches; `None`: a trusted peer.
    pub(super) watcher: Option<Box<str>>,
    /// The `id` of its Event header.
    pub(super) id: Option<Box<str>>,
    pub(super) dialog: Dialog,
    pub(super) party: Party,
    pub(super) expires: Instant,
    pub(super) expiry: Option<TimerId>,
    /// The least time between notifications.
    pub(super) interval: Duration,
    /// When the next one may go.
    pub(super) not_before: Instant,
    /// Waits for that.
    pub(super) pacer: Option<TimerId>,
    pub(super) due: Option<Due>,
    /// A notification has not been answered yet.
    pub(super) outstanding: bool,
    /// It ends with the next notification.
    pub(super) ending: Option<Reason>,
    /// How many documents it has been sent.
    pub(super) version: u32,
    /// Of the last document but for its version.
    pub(super) last_hash: u64,
}

impl Subscription {
    pub(super) fn new(
        wanted: Wanted,
        watched: Watched,
        asked: &Asked<'_>,
        dialog: Dialog,
        now: Instant,
    ) -> Subscription {
        let Wanted { package, id, interval } = wanted;
        Subscription {
            package,
            watched,
            entity: asked.uri.address_of_record().into(),
            watcher: asked.asker.name().map(Box::from),
            id,
            dialog,
            party: asked.party,
            expires: now,
            expiry: None,
            interval: interval.max(package.interval()),
            not_before: now,
            pacer: None,
            due: None,
            outstanding: false,
            ending: None,
            version: 0,
            last_hash: 0,
        }
    }

    /// The value of its Event header.
    pub(super) fn event(&self) -> String {
        match &self.id {
            Some(id) => format!("{};id={id}", self.package),
            None => self.package.name().to_owned(),
        }
    }

    /// The value of Subscription-State.
    pub(super) fn state(&self, now: Instant) -> String {
        match self.ending {
            Some(reason) => format!("terminated;reason={}", reason.word()),
            None => {
                let left = self.expires.saturating_duration_since(now);
                format!("active;expires={}", left.as_millis().div_ceil(1000))
            }
        }
    }
}
