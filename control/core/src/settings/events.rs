//! `[events]`: what the node tells of its users to those who subscribe to it.

use std::fmt;

use super::problem::Wrong;
use super::read::{Reader, Text, quoted};
use super::table::{Rules, settings_table};
use super::values::{Domain, Seconds, one_of, text_values};

settings_table! {
    /// Subscriptions and publications (RFC 6665, RFC 3903): what the node tells of its users.
    section Events {
        /// The event packages that the node serves itself: "reg", "presence", "message-summary" and
        /// "dialog" (lamps that show who rings and who talks). Subscriptions to any other go on to
        /// the user's devices, publications of any other are refused. Empty: it serves none, and all
        /// of them go on.
        restart packages: Vec<EventPackage> =
            default(vec![EventPackage::Reg, EventPackage::Presence, EventPackage::MessageSummary]);

        /// Who may watch a user besides the user itself and peers.trusted: "domain" (the users of its
        /// domain), "users" (every user) or "own" (nobody). Registrations ("reg") are never shown to
        /// others.
        restart watch: Watch = default(Watch::Domain);

        /// The shortest time for which a subscription or publication holds, in seconds; a client that
        /// asks for less is told this (423 Interval Too Brief).
        restart min_expires_s: Seconds = default(Seconds(60)) in 1..=3_600;

        /// The longest, in seconds; a client that asks for more is given this.
        restart max_expires_s: Seconds = default(Seconds(7200)) in 60..=604_800;

        /// Subscriptions at once; further ones are refused (503). Each takes some 700 bytes.
        restart subscriptions: usize = default(100_000) in 1..=10_000_000;

        /// Subscriptions to one user or list at once; further ones are refused (503).
        restart subscriptions_per_user: usize = default(500) in 1..=100_000;

        /// Subscriptions that one user has; further ones are refused (503).
        restart subscriptions_per_watcher: usize = default(1_000) in 1..=1_000_000;

        /// Documents published at once; further ones are refused (503).
        restart publications: usize = default(100_000) in 1..=10_000_000;

        /// Documents of one package published for one user at once, one a device; further ones are
        /// refused (503).
        restart publications_per_user: usize = default(10) in 1..=100;

        /// Largest published document, in bytes; a larger one is refused (413).
        restart document_bytes: usize = default(16_384) in 256..=32_768;

        /// Addresses that stand for several users: who subscribes to one is told of all of them
        /// (RFC 4662).
        restart lists: Vec<EventList> = default(Vec::new());
    }
}

settings_table! {
    /// Several users who are watched together.
    entry EventList {
        /// The list's address. No user has it.
        restart uri: Aor = required("\"sip:team@example.com\"");

        /// Its members' addresses, 200 at most.
        restart members: Vec<Aor> = required("[\"sip:alice@example.com\", \"sip:bob@example.com\"]");
    }
}

/// Most members of a list: each notification has a part for each of them.
const MEMBERS_MAX: usize = 200;

text_values!(EventPackage, Watch, Aor);

/// An event package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventPackage {
    /// Registrations (RFC 3680).
    Reg,
    /// Presence (RFC 3856).
    Presence,
    /// States of dialogs (RFC 4235).
    Dialog,
    /// Waiting messages (RFC 3842).
    MessageSummary,
}

impl EventPackage {
    const ALL: [EventPackage; 4] = [
        EventPackage::Reg,
        EventPackage::Presence,
        EventPackage::Dialog,
        EventPackage::MessageSummary,
    ];
}

impl fmt::Display for EventPackage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EventPackage::Reg => "reg",
            EventPackage::Presence => "presence",
            EventPackage::Dialog => "dialog",
            EventPackage::MessageSummary => "message-summary",
        })
    }
}

impl Text for EventPackage {
    fn parse(text: &str) -> Result<EventPackage, Wrong> {
        let found = EventPackage::ALL.into_iter().find(|package| package.to_string() == text);
        let words = "\"reg\", \"presence\", \"message-summary\" or \"dialog\"";
        found.ok_or_else(|| one_of(text, "event package", words))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Who may watch a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// The user alone.
    Own,
    /// The users of its domain.
    Domain,
    /// Every user.
    Users,
}

impl fmt::Display for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Watch::Own => "own",
            Watch::Domain => "domain",
            Watch::Users => "users",
        })
    }
}

impl Text for Watch {
    fn parse(text: &str) -> Result<Watch, Wrong> {
        let all = [Watch::Own, Watch::Domain, Watch::Users];
        let found = all.into_iter().find(|watch| watch.to_string() == text);
        found.ok_or_else(|| one_of(text, "rule", "\"domain\", \"users\" or \"own\""))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// An address of record: `sip:user@domain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aor(String);

impl Aor {
    /// As a URI.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Text for Aor {
    fn parse(text: &str) -> Result<Aor, Wrong> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.!~*'()&=+$,%".contains(c);
        let parts = text.strip_prefix("sip:").and_then(|rest| rest.split_once('@'));
        if let Some((user, domain)) = parts
            && (1..=128).contains(&user.len())
            && user.chars().all(plain)
        {
            let domain = Domain::parse(domain)?;
            return Ok(Aor(format!("sip:{user}@{domain}")));
        }
        let fix = "write scheme, user and domain: \"sip:alice@example.com\"";
        Err(Wrong::new(format!("{} is not an address of record", quoted(text)), fix))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

impl Rules for Events {
    fn check(&self, path: &str, reader: &mut Reader) {
        for (index, package) in self.packages.iter().enumerate() {
            if self.packages[..index].contains(package) {
                let at = reader.places.entry(&format!("{path}.packages"), index);
                let wrong = Wrong::new(format!("{package} is listed twice"), "list it once");
                reader.tell(&at, wrong);
            }
        }
        if reader.sound(&[path]) && self.min_expires_s > self.max_expires_s {
            let what = format!(
                "{} is more than max_expires_s = {}",
                self.min_expires_s.0, self.max_expires_s.0
            );
            let wrong = Wrong::new(what, "choose a minimum that is not above the maximum");
            reader.tell(&format!("{path}.min_expires_s"), wrong);
        }
        for (index, list) in self.lists.iter().enumerate() {
            if self.lists[..index].iter().any(|other| other.uri == list.uri) {
                let at = reader.places.entry(&format!("{path}.lists"), index);
                let what = format!("{} is the address of another list", list.uri.as_str());
                let wrong = Wrong::new(what, "give each list an address of its own");
                reader.tell(&format!("{at}.uri"), wrong);
            }
        }
    }
}

impl Rules for EventList {
    fn check(&self, path: &str, reader: &mut Reader) {
        if self.members.len() > MEMBERS_MAX {
            let what = format!("{} members are too many", self.members.len());
            let fix = format!("make lists of {MEMBERS_MAX} members at most");
            reader.tell(&format!("{path}.members"), Wrong::new(what, fix));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::settings::check;

    #[test]
    fn lists_and_packages_are_read_and_checked() {
        let list = "[[events.lists]]\nuri = \"sip:team@example.com\"\n\
                    members = [\"sip:a@Example.com\", \"sip:b@192.0.2.1\"]\n";
        let events = check(list).unwrap().events;
        assert_eq!(events.lists[0].members[0].as_str(), "sip:a@example.com");
        let many = format!(
            "[[events.lists]]\nuri = \"sip:t@x\"\nmembers = [{}]\n",
            "\"sip:a@x\",".repeat(201)
        );
        for (text, key) in [
            ("[events]\npackages = [\"presence\", \"winfo\"]\n", "events.packages"),
            ("[events]\npackages = [\"dialog\", \"dialog\"]\n", "events.packages"),
            ("[events]\nwatch = \"all\"\n", "events.watch"),
            ("[events]\nmin_expires_s = 90\nmax_expires_s = 80\n", "events.min_expires_s"),
            ("[[events.lists]]\nuri = \"team\"\nmembers = []\n", "uri"),
            ("[[events.lists]]\nuri = \"sip:t@x\"\nmembers = [\"sip:<a>@x\"]\n", "members"),
            (&format!("{list}{list}"), "uri"),
            (&many, "members"),
        ] {
            let problems = check(text).unwrap_err();
            let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
            assert!(said.len() == 1 && said[0].contains(key), "{text} {said:?}");
        }
    }
}
