//! Under which names the cluster's documents stand in the engine.

use std::fmt;
use std::net::IpAddr;

use super::ids::MemberName;

/// A key of the engine.
///
/// Its characters are those that NATS has for keys: letters, digits and `-_=.` with dots between
/// parts. An IPv6 address has `_` in place of its colons.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// `ids`: which number each name has.
    Ids,
    /// `members.NAME`: what a member says of itself; its revision is its sign of life.
    Member(MemberName),
    /// `controller`: who publishes views; its revision is that member's lease of the role.
    Controller,
    /// `view`: the last published view.
    View,
    /// `ranges.IP`: the media ports that members have under one advertised address.
    Ranges(IpAddr),
    /// `settings.cluster`: settings of all members.
    ClusterSettings,
    /// `settings.member.NAME`: settings of one member.
    MemberSettings(MemberName),
}

impl Key {
    /// What the keys of member records begin with.
    pub const MEMBERS: &'static str = "members.";
    /// What the keys of media port ranges begin with.
    pub const RANGES: &'static str = "ranges.";
    /// What the keys of settings begin with.
    pub const SETTINGS: &'static str = "settings.";
    const SETTINGS_OF: &'static str = "settings.member.";

    /// Reads a key. `None`: no key of this version.
    #[must_use]
    pub fn parse(text: &str) -> Option<Key> {
        let name = |text| MemberName::new(text).ok();
        if let Some(rest) = text.strip_prefix(Key::MEMBERS) {
            return name(rest).map(Key::Member);
        }
        if let Some(rest) = text.strip_prefix(Key::RANGES) {
            return rest.replace('_', ":").parse().ok().map(Key::Ranges);
        }
        if let Some(rest) = text.strip_prefix(Key::SETTINGS_OF) {
            return name(rest).map(Key::MemberSettings);
        }
        match text {
            "ids" => Some(Key::Ids),
            "controller" => Some(Key::Controller),
            "view" => Some(Key::View),
            "settings.cluster" => Some(Key::ClusterSettings),
            _ => None,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Ids => f.write_str("ids"),
            Key::Member(name) => write!(f, "{}{name}", Key::MEMBERS),
            Key::Controller => f.write_str("controller"),
            Key::View => f.write_str("view"),
            Key::Ranges(address) => {
                write!(f, "{}{}", Key::RANGES, address.to_string().replace(':', "_"))
            }
            Key::ClusterSettings => write!(f, "{}cluster", Key::SETTINGS),
            Key::MemberSettings(name) => write!(f, "{}{name}", Key::SETTINGS_OF),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_read_as_it_is_written_and_has_signs_of_the_engine_only() {
        let name = || MemberName::new("fe-1").unwrap();
        for (key, text) in [
            (Key::Ids, "ids"),
            (Key::Member(name()), "members.fe-1"),
            (Key::Controller, "controller"),
            (Key::View, "view"),
            (Key::Ranges("203.0.113.5".parse().unwrap()), "ranges.203.0.113.5"),
            (Key::Ranges("2001:db8::5".parse().unwrap()), "ranges.2001_db8__5"),
            (Key::Ranges("::ffff:192.0.2.1".parse().unwrap()), "ranges.__ffff_192.0.2.1"),
            (Key::ClusterSettings, "settings.cluster"),
            (Key::MemberSettings(name()), "settings.member.fe-1"),
        ] {
            assert_eq!(key.to_string(), text);
            assert_eq!(Key::parse(text), Some(key));
            assert!(text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)));
        }
    }

    #[test]
    fn keys_of_others_are_no_keys() {
        for text in ["", "members", "members.", "members.A", "ranges.x", "settings.x", "views"] {
            assert_eq!(Key::parse(text), None, "{text}");
        }
    }
}
