//! What a SUBSCRIBE or PUBLISH asks for, and who asks.

use std::time::Duration;

use super::{Config, Package};
use crate::call::Party;
use crate::wire::{HeaderName, MediaType, Message, NameAddr, Uri};

/// Longest that a subscriber may ask to be left alone between notifications (RFC 6446
/// `min-interval`): an hour.
const INTERVAL_MAX_SECS: u64 = 3600;

/// An interval that is not too brief whatever the minimum is (RFC 6665 4.2.1.1).
const NEVER_TOO_BRIEF: Duration = Duration::from_secs(3600);

/// A request for the event server, and who has sent it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'r> {
    /// The request.
    pub request: &'r Message,
    /// The Request-URI once routes that were this node's are off it.
    pub uri: &'r Uri<'r>,
    /// Who has sent it.
    pub asker: Asker<'r>,
    /// The way back to it.
    pub party: Party,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker<'r> {
    /// A peer whose word is taken.
    Trusted,
    /// A user of ours, which From names. In an open domain it need not have shown that it is.
    User(&'r str),
    /// Somebody who does not say who it is.
    Nobody,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The status.
    pub status: u16,
    /// What to say with it.
    pub reason: &'static str,
    /// Further header lines.
    pub headers: Vec<(HeaderName, String)>,
    /// The tag of the dialog that is created or goes on. Such an answer has a Contact and repeats
    /// the Record-Routes.
    pub tag: Option<Box<str>>,
}

impl Outcome {
    pub(super) const fn new(status: u16, reason: &'static str) -> Outcome {
        Outcome { status, reason, headers: Vec::new(), tag: None }
    }

    pub(super) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Outcome {
        self.headers.push((name, value.into()));
        self
    }
}

/// The value of an Event header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) package: Package,
    pub(super) id: Option<Box<str>>,
    /// The least time between notifications that the subscriber asks for.
    pub(super) interval: Duration,
}

impl<'r> Asked<'r> {
    /// The package that the request is about, if it is one of those that are served.
    pub(super) fn wanted(&self, config: &Config) -> Result<Wanted, Outcome> {
        let bad =
            || Outcome::new(489, "Bad Event").with(HeaderName::AllowEvents, allow_events(config));
        let value = self.request.first_str(HeaderName::Event).ok_or_else(bad)?;
        let mut parts = value.split(';').map(str::trim);
        let package = package(config, parts.next().unwrap_or_default()).ok_or_else(bad)?;
        let mut wanted = Wanted { package, id: None, interval: Duration::ZERO };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            if name.trim().eq_ignore_ascii_case("id") {
                let value = value.trim();
                wanted.id = value.bytes().all(|b| b.is_ascii_graphic()).then(|| value.into());
            } else if name.trim().eq_ignore_ascii_case("min-interval") {
                // RFC 6446 5.1: seconds, maybe with decimals, which are taken as one more.
                let (whole, rest) = value.trim().split_once('.').unwrap_or((value.trim(), ""));
                let secs = whole.parse::<u64>().unwrap_or_default() + u64::from(!rest.is_empty());
                wanted.interval = Duration::from_secs(secs.min(INTERVAL_MAX_SECS));
            }
        }
        Ok(wanted)
    }

    /// How long it is to last; zero: not at all.
    pub(super) fn lasts(&self, config: &Config, default: Duration) -> Result<Duration, Outcome> {
        let asked = self.request.expires().map(|secs| Duration::from_secs(secs.into()));
        let lasts = asked.unwrap_or(default).min(config.expires_max);
        if !lasts.is_zero() && lasts < config.expires_min && lasts < NEVER_TOO_BRIEF {
            let min = config.expires_min.as_secs().to_string();
            return Err(Outcome::new(423, "Interval Too Brief").with(HeaderName::MinExpires, min));
        }
        Ok(lasts)
    }

    /// RFC 3261 8.2.2.3: nothing is required but `known`.
    pub(super) fn check_required(&self, known: &[&str]) -> Result<(), Outcome> {
        let is_known =
            |tag: &&[u8]| known.iter().any(|known| tag.eq_ignore_ascii_case(known.as_bytes()));
        let unknown: Vec<_> = self
            .request
            .values(HeaderName::Require)
            .filter(|tag| !tag.is_empty() && !is_known(tag))
            .map(String::from_utf8_lossy)
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        Err(Outcome::new(420, "Bad Extension").with(HeaderName::Unsupported, unknown.join(", ")))
    }

    /// Whether bodies of this type are welcome (RFC 3261 20.1; without Accept the package's own is).
    pub(super) fn accepts(&self, content_type: &str) -> bool {
        let Some((kind, subtype)) = content_type.split_once('/') else { return false };
        if !self.request.has(HeaderName::Accept) {
            return true;
        }
        self.request
            .values(HeaderName::Accept)
            .filter_map(MediaType::parse)
            .any(|range| range.is(kind, subtype) || range.is(kind, "*") || range.is("*", "*"))
    }

    /// The user that the request is for.
    pub(super) fn user(&self) -> Result<std::borrow::Cow<'r, str>, Outcome> {
        self.uri.user_unescaped().ok_or_else(|| Outcome::new(404, "Not Found"))
    }

    /// The one Contact.
    pub(super) fn contact(&self) -> Option<NameAddr<'r>> {
        let mut contacts = self.request.contacts();
        let first = contacts.next()?.ok()?.addr()?;
        (contacts.next().is_none() && first.uri().is_ok()).then_some(first)
    }
}

/// The package of that name, if it is served. Templates (`presence.winfo`) are other packages.
pub(super) fn package(config: &Config, name: &str) -> Option<Package> {
    name.parse().ok().filter(|package| config.packages.contains(package))
}

/// The value of Allow-Events.
pub(super) fn allow_events(config: &Config) -> String {
    let names: Vec<_> = config.packages.iter().map(|package| package.name()).collect();
    names.join(", ")
}

impl<'r> Asker<'r> {
    /// The user, if it is one.
    pub(super) const fn name(self) -> Option<&'r str> {
        match self {
            Asker::User(name) => Some(name),
            Asker::Trusted | Asker::Nobody => None,
        }
    }
}
