//! Notifications: when they go, and what becomes of their answers (RFC 6665 4.2.2).

use std::time::{Duration, Instant};

use super::subscription::{Due, Reason, Watched};
use super::{Events, SubscriptionId, Timer};
use crate::call::Party;
use crate::registrar::Registrar;
use crate::table::Key;

/// How long a subscriber is left alone whose notification could not be sent for want of room here, or
/// that has refused one for now.
const PAUSE: Duration = Duration::from_secs(5);

/// The longest that it is left alone.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// A NOTIFY to send within a subscription's dialog.
#[derive(Clone, Debug)]
pub struct Notify {
    /// Goes back with [`Events::answered`].
    pub subscription: SubscriptionId,
    /// How the subscriber is reached.
    pub party: Party,
    /// The remote target.
    pub target: Box<str>,
    /// The route set: the value of a Route header; may be empty.
    pub routes: Box<str>,
    /// From and To.
    pub addresses: [Box<str>; 2],
    /// Call-ID.
    pub call_id: Box<str>,
    /// Of CSeq.
    pub cseq: u32,
    /// Event.
    pub event: String,
    /// Subscription-State.
    pub state: String,
    /// It is about a list (RFC 4662), which Require says.
    pub is_list: bool,
    /// Content-Type.
    pub content_type: String,
    /// The document.
    pub body: String,
}

/// What became of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// A final response, with the seconds that its Retry-After names.
    Status(u16, Option<u32>),
    /// No answer, or no way to the subscriber.
    Silence,
    /// There was no room to send it.
    NotSent,
}

impl Events {
    /// A notification has been answered, or has come to nothing.
    pub fn answered(
        &mut self,
        now: Instant,
        registrar: &Registrar,
        subscription: SubscriptionId,
        answered: Answered,
    ) {
        let key = subscription.0;
        let Some(subscription) = self.subscriptions.get_mut(key) else { return };
        subscription.outstanding = false;
        let pause = match answered {
            Answered::Status(200..=299, _) => None,
            Answered::Silence => return self.forget(key),
            // These say that there is no such subscription, or nobody there (RFC 6665 4.2.2).
            Answered::Status(
                404 | 405 | 410 | 416 | 480..=485 | 489 | 501 | 604 | 408 | 401 | 403 | 407,
                None,
            )
            | Answered::Status(481, _) => return self.forget(key),
            Answered::Status(_, Some(secs)) => Some(Duration::from_secs(secs.into())),
            Answered::Status(_, None) => None,
            Answered::NotSent => Some(PAUSE),
        };
        if let Some(pause) = pause {
            // It has not been told, so it is told again.
            subscription.last_hash = 0;
            subscription.due = subscription.due.or(Some(Due::Change));
            subscription.not_before = now + pause.clamp(PAUSE, PAUSE_MAX);
            if subscription.ending.is_some() {
                return self.forget(key);
            }
        }
        self.pump(now, registrar, key);
    }

    /// What is told of `user` may have changed.
    pub(super) fn changed(
        &mut self,
        now: Instant,
        registrar: &Registrar,
        package: super::Package,
        user: &str,
    ) {
        for key in self.index.told_of(package, user) {
            if let Some(subscription) = self.subscriptions.get_mut(key) {
                subscription.due = subscription.due.or(Some(Due::Change));
                self.pump(now, registrar, key);
            }
        }
    }

    /// The node stops: subscribers are told to go elsewhere (RFC 6665 4.1.3), and nothing is kept.
    pub fn stop(&mut self, now: Instant, registrar: &Registrar) {
        for key in self.subscriptions.keys() {
            if let Some(subscription) = self.subscriptions.get_mut(key) {
                subscription.ending = Some(Reason::Deactivated);
                subscription.due = Some(Due::Answer);
                self.pump(now, registrar, key);
            }
        }
    }

    /// Sends what is due to a subscription if its time has come.
    pub(super) fn pump(&mut self, now: Instant, registrar: &Registrar, key: Key) {
        let Some(subscription) = self.subscriptions.get_mut(key) else { return };
        let Some(due) = subscription.due.filter(|_| !subscription.outstanding) else { return };
        if due == Due::Change && now < subscription.not_before {
            if subscription.pacer.is_none() {
                // The wheel has room for one of each subscription.
                let at = subscription.not_before;
                subscription.pacer = self.timers.schedule(at, Timer::Pace(key)).ok();
            }
            return;
        }
        subscription.due = None;
        let Some(subscription) = self.subscriptions.get(key) else { return };
        let (_, plain) = self.document(now, registrar, subscription, None, "");
        let hash = self.keyed.hash(plain.as_bytes());
        if due == Due::Change && hash == subscription.last_hash {
            return;
        }
        self.send(now, registrar, key, hash);
    }

    fn send(&mut self, now: Instant, registrar: &Registrar, key: Key, hash: u64) {
        let unlike = self.random();
        let Some(subscription) = self.subscriptions.get(key) else { return };
        let version = subscription.version;
        let (content_type, body) =
            self.document(now, registrar, subscription, Some(version), &unlike);
        let Some(subscription) = self.subscriptions.get_mut(key) else { return };
        subscription.version = version.wrapping_add(1);
        subscription.last_hash = hash;
        subscription.not_before = now + subscription.interval;
        subscription.outstanding = true;
        subscription.dialog.cseq += 1;
        let dialog = &subscription.dialog;
        self.notifies.push_back(Notify {
            subscription: SubscriptionId(key),
            party: subscription.party,
            target: dialog.target.clone(),
            routes: dialog.routes.clone(),
            addresses: [dialog.local.clone(), dialog.remote.clone()],
            call_id: dialog.call_id.clone(),
            cseq: dialog.cseq,
            event: subscription.event(),
            state: subscription.state(now),
            is_list: matches!(subscription.watched, Watched::List(_)),
            content_type,
            body,
        });
        // RFC 6665 4.2.2: this was the last one. Whatever its answer says, nothing follows.
        if subscription.ending.is_some() {
            self.forget(key);
        }
    }
}
