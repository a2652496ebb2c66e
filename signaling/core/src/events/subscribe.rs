//! What a SUBSCRIBE does (RFC 6665 4.2.1).

use std::time::{Duration, Instant};

use super::asked::{Asked, Asker, Outcome, Wanted};
use super::subscription::{Dialog, Due, Reason, Subscription, Watched};
use super::{Events, Package, Timer, Watch};
use crate::registrar::Registrar;
use crate::table::Key;
use crate::wire::{HeaderName, Message};

/// When there may be room again; seconds.
const RETRY_AFTER: &str = "60";

/// The option tag of RFC 4662.
const EVENTLIST: &str = "eventlist";

impl Events {
    /// Whether a request within a dialog belongs to a subscription of this node.
    #[must_use]
    pub fn has(&self, request: &Message) -> bool {
        let to = request.to();
        let key = to.tag().and_then(key_of);
        key.and_then(|key| self.subscriptions.get(key)).is_some_and(|subscription| {
            *subscription.dialog.call_id == *request.call_id()
                && to.tag() == Some(&*subscription.dialog.tag)
        })
    }

    /// Whether `uri` is the address of record of a list.
    #[must_use]
    pub fn has_list(&self, uri: &str) -> bool {
        self.index.list(uri).is_some()
    }

    /// Does what a SUBSCRIBE asks.
    ///
    /// 200; 400, 403, 404, 406, 420, 421, 423, 481, 489 or 500 if it cannot be done as asked; 503 at
    /// a bound.
    pub fn subscribe(&mut self, now: Instant, registrar: &Registrar, asked: &Asked<'_>) -> Outcome {
        let result = match asked.request.to().tag() {
            Some(tag) => self.refresh(now, registrar, asked, tag),
            None => self.open(now, registrar, asked),
        };
        result.unwrap_or_else(|refused| refused)
    }

    fn open(
        &mut self,
        now: Instant,
        registrar: &Registrar,
        asked: &Asked<'_>,
    ) -> Result<Outcome, Outcome> {
        asked.check_required(&[EVENTLIST])?;
        let wanted = asked.wanted(&self.config)?;
        let package = wanted.package;
        let watched = self.watched(registrar, asked, &wanted)?;
        let lasts = asked.lasts(&self.config, package.expires_default())?;
        let dialog = Dialog::open(asked)?;
        let limit = self.config.limits.subscriptions_per_user;
        if self.index.watchers(package, &watched).len() >= limit {
            return Err(too_many("Too Many Watchers"));
        }
        let limit = self.config.limits.subscriptions_per_watcher;
        if asked.asker.name().is_some_and(|name| self.index.count_of(name) >= limit) {
            return Err(too_many("Too Many Subscriptions Of One User"));
        }
        let subscription = Subscription::new(wanted, watched.clone(), asked, dialog, now);
        let key = self
            .subscriptions
            .insert(subscription)
            .map_err(|_| too_many("Too Many Subscriptions"))?;
        self.index.add(package, &watched, key);
        self.watch_begins(package, &watched);
        self.counts[package.index()] += 1;
        if let Some(name) = asked.asker.name() {
            self.index.count_up(name);
        }
        self.note_contacts(now, registrar, package, &watched);
        let tag = format!("{key}{}", self.random());
        if let Some(subscription) = self.subscriptions.get_mut(key) {
            subscription.dialog.name(tag, asked);
        }
        Ok(self.grant(now, registrar, key, lasts))
    }

    /// RFC 6665 4.2.1.2: the subscription lasts from now on, and is told what there is.
    fn grant(&mut self, now: Instant, registrar: &Registrar, key: Key, lasts: Duration) -> Outcome {
        let Some(subscription) = self.subscriptions.get_mut(key) else { return gone() };
        subscription.expires = now + lasts;
        subscription.due = Some(Due::Answer);
        let old = subscription.expiry.take();
        if lasts.is_zero() {
            subscription.ending = Some(Reason::Timeout);
        } else {
            // The wheel has room for one of each subscription.
            subscription.expiry = self.timers.schedule(now + lasts, Timer::Expiry(key)).ok();
        }
        let mut outcome =
            Outcome::new(200, "OK").with(HeaderName::Expires, lasts.as_secs().to_string());
        if matches!(subscription.watched, Watched::List(_)) {
            // RFC 4662 4.3.
            outcome = outcome.with(HeaderName::Require, EVENTLIST);
        }
        outcome.tag = Some(subscription.dialog.tag.clone());
        if let Some(old) = old {
            self.timers.cancel(old);
        }
        self.pump(now, registrar, key);
        outcome
    }

    fn refresh(
        &mut self,
        now: Instant,
        registrar: &Registrar,
        asked: &Asked<'_>,
        tag: &str,
    ) -> Result<Outcome, Outcome> {
        let key = key_of(tag).ok_or_else(gone)?;
        let found = self.subscriptions.get(key);
        let found = found.filter(|subscription| subscription.dialog.is_of(asked));
        let found = found.filter(|subscription| subscription.ending.is_none()).ok_or_else(gone)?;
        asked.check_required(&[EVENTLIST])?;
        let wanted = asked.wanted(&self.config)?;
        // A dialog is for one subscription (RFC 6665 4.5.2).
        if (wanted.package, &wanted.id) != (found.package, &found.id) {
            return Err(gone());
        }
        if asked.asker.name() != found.watcher.as_deref() {
            return Err(Outcome::new(403, "Not Your Subscription"));
        }
        // RFC 3261 12.2.2.
        if asked.request.cseq().number <= found.dialog.remote_cseq {
            return Err(Outcome::new(500, "Request Out Of Order"));
        }
        let lasts = asked.lasts(&self.config, wanted.package.expires_default())?;
        let fresh = Dialog::open(asked)?;
        if let Some(subscription) = self.subscriptions.get_mut(key) {
            // RFC 3261 12.2.2: the target may change, the route set may not.
            subscription.dialog.target = fresh.target;
            subscription.dialog.remote_cseq = fresh.remote_cseq;
            subscription.party = asked.party;
            subscription.interval = wanted.interval.max(wanted.package.interval());
        }
        Ok(self.grant(now, registrar, key, lasts))
    }

    /// What is to be watched, if it may be.
    fn watched(
        &self,
        registrar: &Registrar,
        asked: &Asked<'_>,
        wanted: &Wanted,
    ) -> Result<Watched, Outcome> {
        let package = wanted.package;
        let user = asked.user()?;
        let list = self.index.list(&asked.uri.address_of_record());
        if let Some(at) = list.filter(|_| package.has_lists()) {
            self.may_watch(asked, package, None)?;
            if !asked.request.has_token(HeaderName::Supported, EVENTLIST) {
                let needed = Outcome::new(421, "Extension Required");
                return Err(needed.with(HeaderName::Require, EVENTLIST));
            }
            let needed = ["multipart/related", "application/rlmi+xml", package.content_type()];
            return match needed.iter().all(|kind| asked.accepts(kind)) {
                true => Ok(Watched::List(at)),
                false => Err(not_acceptable(&needed.join(", "))),
            };
        }
        if !registrar.exists(&user) {
            return Err(Outcome::new(404, "Not Found"));
        }
        self.may_watch(asked, package, Some(&user))?;
        if !asked.accepts(package.content_type()) {
            return Err(not_acceptable(package.content_type()));
        }
        Ok(Watched::User((*user).into()))
    }

    /// `user`: `None` for a list.
    fn may_watch(
        &self,
        asked: &Asked<'_>,
        package: Package,
        user: Option<&str>,
    ) -> Result<(), Outcome> {
        let name = match asked.asker {
            Asker::Trusted => return Ok(()),
            Asker::Nobody => return Err(Outcome::new(403, "Watcher Is Anonymous")),
            Asker::User(name) => name,
        };
        let is_itself = user == Some(name);
        let may = match (package, self.config.watch) {
            (Package::Reg, _) | (_, Watch::Own) => is_itself,
            (Package::Presence | Package::Dialog | Package::MessageSummary, Watch::Users) => true,
            (Package::Presence | Package::Dialog | Package::MessageSummary, Watch::Domain) => {
                let from = asked.request.from();
                is_itself || from.uri().is_ok_and(|from| same_host(&from, asked.uri))
            }
        };
        if may { Ok(()) } else { Err(Outcome::new(403, "Not Yours To Watch")) }
    }

    /// A subscription's time is over.
    pub(super) fn expire(&mut self, now: Instant, registrar: &Registrar, key: Key) {
        if let Some(subscription) = self.subscriptions.get_mut(key) {
            subscription.expiry = None;
            subscription.ending = Some(Reason::Timeout);
            subscription.due = Some(Due::Answer);
            self.pump(now, registrar, key);
        }
    }

    /// Forgets a subscription.
    pub(super) fn forget(&mut self, key: Key) {
        let Some(subscription) = self.subscriptions.remove(key) else { return };
        for timer in [subscription.expiry, subscription.pacer].into_iter().flatten() {
            self.timers.cancel(timer);
        }
        self.counts[subscription.package.index()] -= 1;
        if let Some(name) = &subscription.watcher {
            self.index.count_down(name);
        }
        self.index.remove(subscription.package, &subscription.watched, key);
        self.watch_ends(subscription.package, &subscription.watched);
    }
}

/// The subscription that a tag of this side's names.
fn key_of(tag: &str) -> Option<Key> {
    tag.get(..16)?.parse().ok()
}

fn same_host(one: &crate::wire::Uri<'_>, other: &crate::wire::Uri<'_>) -> bool {
    one.host().to_string().eq_ignore_ascii_case(&other.host().to_string())
}

fn gone() -> Outcome {
    Outcome::new(481, "Subscription Does Not Exist")
}

fn not_acceptable(accepted: &str) -> Outcome {
    Outcome::new(406, "Not Acceptable").with(HeaderName::Accept, accepted)
}

pub(super) fn too_many(reason: &'static str) -> Outcome {
    Outcome::new(503, reason).with(HeaderName::RetryAfter, RETRY_AFTER)
}
