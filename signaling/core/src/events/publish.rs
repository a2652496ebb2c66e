//! What a PUBLISH does (RFC 3903 6).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::asked::{Asked, Asker, Outcome};
use super::documents::{dialog_info, pidf, summary, xml};
use super::subscribe::too_many;
use super::{Events, Package, Timer};
use crate::registrar::Registrar;
use crate::table::Key;
use crate::timer::TimerId;
use crate::wire::{HeaderName, MediaType};

/// How long a document lasts that names no time (RFC 3903 6 leaves it to us).
const EXPIRES_DEFAULT: Duration = Duration::from_secs(3600);

/// A published document, cut to what is passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Parts(Vec<xml::Child>),
    Summary(Box<str>),
}

/// What one device has published for a user.
#[derive(Clone, Debug)]
pub(super) struct Publication {
    package: Package,
    user: Arc<str>,
    etag: Box<str>,
    pub(super) content: Content,
    /// Of the document as it came.
    pub(super) bytes: usize,
    expiry: Option<TimerId>,
}

impl Events {
    /// Does what a PUBLISH asks.
    ///
    /// 200; 400, 403, 404, 412, 413, 415, 420, 423 or 489 if it cannot be done as asked; 503 at a
    /// bound.
    pub fn publish(&mut self, now: Instant, registrar: &Registrar, asked: &Asked<'_>) -> Outcome {
        self.take_publish(now, registrar, asked).unwrap_or_else(|refused| refused)
    }

    fn take_publish(
        &mut self,
        now: Instant,
        registrar: &Registrar,
        asked: &Asked<'_>,
    ) -> Result<Outcome, Outcome> {
        asked.check_required(&[])?;
        let package = asked.wanted(&self.config)?.package;
        if !package.is_published() {
            let allowed = HeaderName::AllowEvents;
            return Err(Outcome::new(489, "Bad Event").with(allowed, self.allow_events()));
        }
        let user = asked.user()?;
        if !registrar.exists(&user) {
            return Err(Outcome::new(404, "Not Found"));
        }
        match asked.asker {
            Asker::Trusted => {}
            Asker::User(name) if name == user => {}
            Asker::User(_) | Asker::Nobody => {
                return Err(Outcome::new(403, "Not Your Address Of Record"));
            }
        }
        let old = self.matched(asked, package, &user)?;
        let lasts = asked.lasts(&self.config, EXPIRES_DEFAULT)?;
        let content = self.content(asked, package)?;
        let key = match (old, content) {
            (Some(key), content) => {
                self.modify(key, content);
                key
            }
            (None, Some(_)) if lasts.is_zero() => return Ok(Outcome::new(200, "OK")),
            (None, Some((content, bytes))) => self.insert(package, &user, content, bytes)?,
            // RFC 3903 6 step 5.
            (None, None) => return Err(Outcome::new(400, "Nothing Is Published")),
        };
        let etag = format!("{key}{}", self.random());
        let outcome = Outcome::new(200, "OK")
            .with(HeaderName::SipETag, etag.as_str())
            .with(HeaderName::Expires, lasts.as_secs().to_string());
        if lasts.is_zero() {
            self.unpublish(key);
        } else if let Some(publication) = self.publications.get_mut(key) {
            publication.etag = etag.into();
            let old = publication.expiry.take();
            // The wheel has room for one of each publication.
            publication.expiry = self.timers.schedule(now + lasts, Timer::Publication(key)).ok();
            if let Some(old) = old {
                self.timers.cancel(old);
            }
        }
        self.changed(now, registrar, package, &user);
        Ok(outcome)
    }

    /// The publication that SIP-If-Match names (RFC 3903 6 step 3).
    fn matched(
        &self,
        asked: &Asked<'_>,
        package: Package,
        user: &str,
    ) -> Result<Option<Key>, Outcome> {
        let Some(etag) = asked.request.first_str(HeaderName::SipIfMatch) else { return Ok(None) };
        let failed = || Outcome::new(412, "Conditional Request Failed");
        let key = etag.trim().get(..16).and_then(|key| key.parse().ok()).ok_or_else(failed)?;
        let found = self.publications.get(key).ok_or_else(failed)?;
        let is_it = *found.etag == *etag.trim() && found.package == package && *found.user == *user;
        if is_it { Ok(Some(key)) } else { Err(failed()) }
    }

    /// What is published, with its size; `None`: no body.
    fn content(
        &self,
        asked: &Asked<'_>,
        package: Package,
    ) -> Result<Option<(Content, usize)>, Outcome> {
        let body = asked.request.body();
        if body.is_empty() {
            return Ok(None);
        }
        let unsupported = || {
            Outcome::new(415, "Unsupported Media Type")
                .with(HeaderName::Accept, package.content_type())
        };
        let media_type = asked.request.content_type().and_then(MediaType::parse);
        let expected = package.content_type().split_once('/').unwrap_or_default();
        let is_encoded = asked.request.has(HeaderName::ContentEncoding);
        if is_encoded || media_type.is_none_or(|given| !given.is(expected.0, expected.1)) {
            return Err(unsupported());
        }
        if body.len() > self.config.limits.document_bytes {
            return Err(Outcome::new(413, "Document Too Large"));
        }
        let content = match package {
            Package::Presence => pidf::read(body).map(Content::Parts).map_err(bad_document)?,
            Package::Dialog => dialog_info::read(body).map(Content::Parts).map_err(bad_document)?,
            Package::MessageSummary => summary::read(body)
                .map(Content::Summary)
                .ok_or_else(|| Outcome::new(400, "Bad Message Summary"))?,
            Package::Reg => return Err(unsupported()),
        };
        Ok(Some((content, body.len())))
    }

    fn insert(
        &mut self,
        package: Package,
        user: &str,
        content: Content,
        bytes: usize,
    ) -> Result<Key, Outcome> {
        let resource = self.index.resource(package, user);
        let count = resource.map_or(0, |resource| resource.publications.len());
        if count >= self.config.limits.publications_per_user {
            return Err(too_many("Too Many Publications Of One User"));
        }
        if self.publications.len() >= self.publications.limit() {
            return Err(too_many("Too Many Publications"));
        }
        let (user, _) = self.index.enter(package, user);
        let etag = "".into();
        let publication =
            Publication { package, user: user.clone(), etag, content, bytes, expiry: None };
        let key = self.publications.insert(publication);
        let key = key.map_err(|_| too_many("Too Many Publications"))?;
        self.index.enter(package, &user).1.publications.push(key);
        Ok(key)
    }

    /// A publication has been refreshed or replaced; what was said last goes before what was said
    /// earlier.
    fn modify(&mut self, key: Key, content: Option<(Content, usize)>) {
        let Some(publication) = self.publications.get_mut(key) else { return };
        let Some((content, bytes)) = content else { return };
        publication.content = content;
        publication.bytes = bytes;
        let resource = self.index.resource_mut(publication.package, &publication.user);
        if let Some(resource) = resource {
            resource.publications.retain(|other| *other != key);
            resource.publications.push(key);
        }
    }

    fn unpublish(&mut self, key: Key) -> Option<Publication> {
        let gone = self.publications.remove(key)?;
        if let Some(timer) = gone.expiry {
            self.timers.cancel(timer);
        }
        if let Some(resource) = self.index.resource_mut(gone.package, &gone.user) {
            resource.publications.retain(|other| *other != key);
        }
        self.index.leave(gone.package, &gone.user);
        Some(gone)
    }

    /// A document's time is over.
    pub(super) fn publication_expires(&mut self, now: Instant, registrar: &Registrar, key: Key) {
        if let Some(gone) = self.unpublish(key) {
            self.changed(now, registrar, gone.package, &gone.user);
        }
    }
}

fn bad_document(bad: xml::BadXml) -> Outcome {
    Outcome::new(400, bad.reason())
}
