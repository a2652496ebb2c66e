//! `settings.cluster` and `settings.member.NAME`: settings that stand in the engine.
//!
//! Precedence of a member's setting: its own document, its own file, the cluster's document, the
//! cluster-wide key of its file, the default. A document is a map of keys to values as `ringfarm
//! settings set KEY VALUE` writes them; keys of newer software are kept.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::document::{Document, documents};
use super::ids::{MemberName, UnixMillis, UnixSeconds};
use super::member::{Capacity, Member, Profile, SipAddress, Versions};
use super::role::{FarmSetting, PlacementSetting, Role};
use super::token_keys::TokenKeys;
use crate::settings::problem::Wrong;
use crate::settings::read::{Text, quoted};
use crate::settings::values::not_unicast;
use crate::settings::{AddressPair, Effect, PortRange};

/// Changes that a document remembers; older ones are in the logs of the members that made them.
pub const AUDIT_MAX: usize = 200;

/// Longest value, and longest name of whoever changes one, in bytes.
pub const VALUE_BYTES_MAX: usize = 256;

/// Which document.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Settings of all members.
    Cluster,
    /// Settings of one.
    Member(MemberName),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Cluster => f.write_str("the cluster"),
            Scope::Member(name) => write!(f, "member {name}"),
        }
    }
}

/// A setting that can stand in the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SettingKey {
    /// `cluster.wan_ip` (S63).
    ClusterWanIp,
    /// `member.role`.
    Role,
    /// `member.farm` (S20-S23).
    Farm,
    /// `member.call_legs` (S13).
    CallLegs,
    /// `member.signals` (S19).
    Signals,
    /// `member.capacity`.
    Capacity,
    /// `member.media_ports` (S60).
    MediaPorts,
    /// `member.wan_ip` (S71).
    WanIp,
    /// `member.barred`.
    Barred,
    /// `cluster.token_keys` (B1).
    TokenKeys,
}

/// Of which documents a setting may be part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Cluster,
    Member,
    Both,
}

impl SettingKey {
    /// Every one.
    pub const ALL: [SettingKey; 10] = [
        SettingKey::ClusterWanIp,
        SettingKey::Role,
        SettingKey::Farm,
        SettingKey::CallLegs,
        SettingKey::Signals,
        SettingKey::Capacity,
        SettingKey::MediaPorts,
        SettingKey::WanIp,
        SettingKey::Barred,
        SettingKey::TokenKeys,
    ];

    /// As commands and documents write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            SettingKey::ClusterWanIp => "cluster.wan_ip",
            SettingKey::Role => "member.role",
            SettingKey::Farm => "member.farm",
            SettingKey::CallLegs => "member.call_legs",
            SettingKey::Signals => "member.signals",
            SettingKey::Capacity => "member.capacity",
            SettingKey::MediaPorts => "member.media_ports",
            SettingKey::WanIp => "member.wan_ip",
            SettingKey::Barred => "member.barred",
            SettingKey::TokenKeys => "cluster.token_keys",
        }
    }

    /// What it means and what may be written, in a line.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            SettingKey::ClusterWanIp => {
                "the address that peers of all members are told to send media to, where a member has \
                 none of its own: one IPv4 address, one IPv6 address, or both with a comma between"
            }
            SettingKey::Role => "what it is for: \"frontend\" or \"backend\"",
            SettingKey::Farm => "SIP Farm: \"member\", \"disabled\", \"relay\" or \"auto\"",
            SettingKey::CallLegs => {
                "Call Legs Processing: \"locally\", \"locally-for-others\", \"remotely\" or \"auto\""
            }
            SettingKey::Signals => {
                "Signal Processing: \"locally\", \"locally-for-others\", \"remotely\" or \"auto\""
            }
            SettingKey::Capacity => "share of the farm's work, 1 to 10000, usually 100",
            SettingKey::MediaPorts => "media ports, \"FIRST-LAST\"",
            SettingKey::WanIp => "as cluster.wan_ip, for one member",
            SettingKey::Barred => {
                "no member speaks with who shows a certificate of this one that was issued until then, in \
                 seconds since 1970 (`ringfarm cluster remove NAME`)"
            }
            SettingKey::TokenKeys => {
                "what the tokens in SIP messages are made with, by number; changed by \
                 `ringfarm cluster rotate-key` alone"
            }
        }
    }

    /// When a change acts on the members that it concerns. None of them has to be started anew.
    #[must_use]
    pub const fn effect(self) -> Effect {
        match self {
            // Calls keep the ports that they have, and the address that their peers were told.
            SettingKey::ClusterWanIp | SettingKey::MediaPorts | SettingKey::WanIp => Effect::Drain,
            SettingKey::Role
            | SettingKey::Farm
            | SettingKey::CallLegs
            | SettingKey::Signals
            | SettingKey::Capacity
            | SettingKey::Barred
            | SettingKey::TokenKeys => Effect::Live,
        }
    }

    /// Whose it can be, as commands say it.
    #[must_use]
    pub const fn of(self) -> &'static str {
        match self.place() {
            Where::Cluster => "cluster",
            Where::Member => "member",
            Where::Both => "cluster or member",
        }
    }

    const fn place(self) -> Where {
        match self {
            SettingKey::ClusterWanIp | SettingKey::TokenKeys => Where::Cluster,
            SettingKey::Role | SettingKey::MediaPorts | SettingKey::WanIp | SettingKey::Barred => {
                Where::Member
            }
            SettingKey::Farm
            | SettingKey::CallLegs
            | SettingKey::Signals
            | SettingKey::Capacity => Where::Both,
        }
    }

    /// Reads a key's name for a document.
    ///
    /// # Errors
    /// There is no such key, or not in that document.
    pub fn parse(text: &str, scope: &Scope) -> Result<SettingKey, String> {
        let Some(key) = SettingKey::ALL.into_iter().find(|key| key.name() == text) else {
            let names = SettingKey::ALL.map(SettingKey::name).join(", ");
            return Err(format!("no such setting {}; there are {names}", quoted(text)));
        };
        match (key.place(), scope) {
            (Where::Both, _)
            | (Where::Cluster, Scope::Cluster)
            | (Where::Member, Scope::Member(_)) => Ok(key),
            (Where::Cluster, Scope::Member(_)) => {
                Err(format!("{text} is of the whole cluster; set it without naming a member"))
            }
            (Where::Member, Scope::Cluster) => {
                Err(format!("{text} is of one member; name the member"))
            }
        }
    }

    /// Whether `value` can stand there.
    fn check(self, value: &str) -> Result<(), Wrong> {
        match self {
            SettingKey::ClusterWanIp | SettingKey::WanIp => parse_pair(value).map(drop),
            SettingKey::Role => <Role as Text>::parse(value).map(drop),
            SettingKey::Farm => <FarmSetting as Text>::parse(value).map(drop),
            SettingKey::CallLegs | SettingKey::Signals => {
                <PlacementSetting as Text>::parse(value).map(drop)
            }
            SettingKey::Capacity => parse_capacity(value).map(drop),
            SettingKey::MediaPorts => <PortRange as Text>::parse(value).map(drop),
            SettingKey::Barred => parse_time(value).map(drop),
            SettingKey::TokenKeys => parse_keys(value).map(drop),
        }
    }
}

impl fmt::Display for SettingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One IPv4 address, one IPv6 address, both with a comma between, or nothing.
fn parse_pair(text: &str) -> Result<AddressPair, Wrong> {
    let mut pair = AddressPair::default();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let address = <IpAddr as Text>::parse(part)?;
        if let Some(why) = not_unicast(address) {
            return Err(Wrong::new(format!("{address} {why}"), "write the address of a host"));
        }
        let taken = match address {
            IpAddr::V4(v4) => pair.v4.replace(v4).is_some(),
            IpAddr::V6(v6) => pair.v6.replace(v6).is_some(),
        };
        if taken {
            let what = format!("{address} is the second address of its family");
            return Err(Wrong::new(what, "write one IPv4 address and one IPv6 address at most"));
        }
    }
    Ok(pair)
}

fn parse_capacity(text: &str) -> Result<Capacity, Wrong> {
    let number = text.parse::<u16>().ok().and_then(|number| Capacity::new(number).ok());
    number.ok_or_else(|| {
        let fix = format!("write a number from 1 to {}, usually 100", Capacity::MAX);
        Wrong::new(format!("{} is not a capacity", quoted(text)), fix)
    })
}

fn parse_time(text: &str) -> Result<UnixSeconds, Wrong> {
    text.parse().map(UnixSeconds).map_err(|_| {
        let what = format!("{} is not a time", quoted(text));
        Wrong::new(what, "write seconds since 1970, or use `ringfarm cluster remove NAME`")
    })
}

fn parse_keys(text: &str) -> Result<TokenKeys, Wrong> {
    text.parse().map_err(|()| {
        Wrong::new("these are no keys of tokens", "use `ringfarm cluster rotate-key`")
    })
}

/// A wanted change of one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which setting.
    pub key: SettingKey,
    /// Its new value; `None`: none, so that the next in the order of precedence holds.
    pub value: Option<String>,
    /// Who changes it, as the log of changes is to say.
    pub by: String,
    /// When, by the calendar.
    pub at: UnixMillis,
}

impl Change {
    /// Checks the change by itself.
    ///
    /// # Errors
    /// In words: the value cannot stand there, or a text is too long.
    pub fn check(&self) -> Result<(), String> {
        for (text, what) in [(self.value.as_deref().unwrap_or(""), "value"), (&self.by, "name")] {
            if text.len() > VALUE_BYTES_MAX {
                return Err(format!(
                    "the {what} is longer than {VALUE_BYTES_MAX} bytes; shorten it"
                ));
            }
        }
        let Some(value) = &self.value else { return Ok(()) };
        self.key.check(value).map_err(|wrong| format!("{}: {}", self.key, wrong.sentence()))
    }
}

/// A change that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// When, by the calendar of the member that made it.
    pub at: UnixMillis,
    /// Who.
    pub by: String,
    /// Which setting.
    pub key: String,
    /// The value before; `None`: it had none.
    pub old: Option<String>,
    /// The value since; `None`: it has none.
    pub new: Option<String>,
}

/// Settings that stand in the engine, with the last changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsDocument {
    /// The document's version.
    pub version: u16,
    /// Values by the names of their keys.
    pub values: BTreeMap<String, String>,
    /// Changes, the oldest first, [`AUDIT_MAX`] at most.
    #[serde(default)]
    pub audit: VecDeque<Audit>,
}

documents! {
    SettingsDocument: "a settings document", 1;
}

impl Default for SettingsDocument {
    fn default() -> SettingsDocument {
        SettingsDocument {
            version: SettingsDocument::VERSION,
            values: BTreeMap::new(),
            audit: VecDeque::new(),
        }
    }
}

impl SettingsDocument {
    /// A setting's value as it is written.
    #[must_use]
    pub fn get(&self, key: SettingKey) -> Option<&str> {
        self.values.get(key.name()).map(String::as_str)
    }

    /// Makes a change that [`Change::check`] has passed. `false`: it is so already.
    pub fn apply(&mut self, change: &Change) -> bool {
        let name = change.key.name().to_owned();
        let old = self.values.get(&name).cloned();
        if old == change.value {
            return false;
        }
        match &change.value {
            Some(value) => self.values.insert(name.clone(), value.clone()),
            None => self.values.remove(&name),
        };
        if self.audit.len() >= AUDIT_MAX {
            self.audit.drain(..=self.audit.len() - AUDIT_MAX);
        }
        // Salts are for the members, not for whoever reads who has changed what.
        let is_secret = change.key == SettingKey::TokenKeys;
        let shown = |value: Option<String>| match value {
            Some(text) if is_secret => text.parse().ok().map(|keys: TokenKeys| keys.shown()),
            value => value,
        };
        let (by, old, new) = (change.by.clone(), shown(old), shown(change.value.clone()));
        self.audit.push_back(Audit { at: change.at, by, key: name, old, new });
        true
    }

    /// What the farm's tokens are made and read with.
    #[must_use]
    pub fn token_keys(&self) -> TokenKeys {
        self.read(SettingKey::TokenKeys, parse_keys).unwrap_or_default()
    }

    /// Whether the change may be made to what stands here.
    ///
    /// # Errors
    /// In words: keys of tokens are changed step by step.
    pub(crate) fn allows(&self, change: &Change) -> Result<(), String> {
        if change.key != SettingKey::TokenKeys {
            return Ok(());
        }
        let next = change.value.as_deref().and_then(|text| text.parse::<TokenKeys>().ok());
        if next.is_some_and(|next| next.follow(&self.token_keys())) {
            return Ok(());
        }
        Err(format!(
            "{} is {} by now, and this is not the next step; use `ringfarm cluster rotate-key`",
            change.key,
            self.token_keys().shown()
        ))
    }

    /// Certificates of this member that were issued until then are no good any more.
    #[must_use]
    pub fn barred(&self) -> Option<UnixSeconds> {
        self.read(SettingKey::Barred, parse_time)
    }

    /// `member` as it would be under the cluster's WAN IP of this document.
    pub(crate) fn wan_ip_of(&self, member: &Member) -> Member {
        let wan_ip = member.profile.own_wan_ip.or(self.pair(SettingKey::ClusterWanIp));
        let profile = Profile { wan_ip, ..member.profile.clone() };
        Member { profile, ..member.clone() }
    }

    /// `member` as it would be with the media ports and WAN IP of this document, its own.
    pub(crate) fn media_of(&self, member: &Member) -> Member {
        let now = &member.profile;
        let media_ports = self.read(SettingKey::MediaPorts, Text::parse);
        let wan_ip = self.pair(SettingKey::WanIp).or(now.wan_ip);
        let media_ports = media_ports.unwrap_or(now.media_ports);
        Member { profile: Profile { media_ports, wan_ip, ..now.clone() }, ..member.clone() }
    }

    /// The value of `key`, if it is there and can be read. What somebody has written past all checks
    /// counts as absent.
    fn read<T>(&self, key: SettingKey, parse: impl FnOnce(&str) -> Result<T, Wrong>) -> Option<T> {
        self.get(key).and_then(|value| parse(value).ok())
    }

    fn pair(&self, key: SettingKey) -> AddressPair {
        self.read(key, parse_pair).unwrap_or_default()
    }
}

/// What a member's own file and sockets say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalSettings {
    /// What it is for.
    pub role: Role,
    /// `SIP Farm`, if the file says it.
    pub farm: Option<FarmSetting>,
    /// `Call Legs Processing`, if the file says it.
    pub call_legs: Option<PlacementSetting>,
    /// `Signal Processing`, if the file says it.
    pub signals: Option<PlacementSetting>,
    /// Its share of the work, if the file says it.
    pub capacity: Option<Capacity>,
    /// Its media ports.
    pub media_ports: PortRange,
    /// Its own WAN IP.
    pub wan_ip: AddressPair,
    /// The WAN IP of the cluster as this member's file has it.
    pub cluster_wan_ip: AddressPair,
    /// Where other members reach it: an address that this process listens on, so that no other
    /// process does.
    pub mesh: SocketAddr,
    /// Where it takes SIP.
    pub sip: Vec<SipAddress>,
    /// What it speaks with other members.
    pub protocol: Versions,
}

impl LocalSettings {
    /// What comes of the file and the two documents.
    #[must_use]
    pub fn profile(&self, cluster: &SettingsDocument, own: &SettingsDocument) -> Profile {
        let own_wan_ip = own.pair(SettingKey::WanIp).or(self.wan_ip);
        let cluster_wan_ip = cluster.pair(SettingKey::ClusterWanIp).or(self.cluster_wan_ip);
        let capacity = layered(SettingKey::Capacity, parse_capacity, own, self.capacity, cluster);
        Profile {
            role: own.read(SettingKey::Role, Text::parse).unwrap_or(self.role),
            farm: layered(SettingKey::Farm, Text::parse, own, self.farm, cluster)
                .unwrap_or(FarmSetting::Auto),
            call_legs: layered(SettingKey::CallLegs, Text::parse, own, self.call_legs, cluster)
                .unwrap_or(PlacementSetting::Auto),
            signals: layered(SettingKey::Signals, Text::parse, own, self.signals, cluster)
                .unwrap_or(PlacementSetting::Auto),
            draining: false,
            joining: false,
            continues: Vec::new(),
            capacity: capacity.unwrap_or(Capacity::USUAL),
            media_ports: own.read(SettingKey::MediaPorts, Text::parse).unwrap_or(self.media_ports),
            wan_ip: own_wan_ip.or(cluster_wan_ip),
            own_wan_ip,
            mesh: self.mesh,
            sip: self.sip.clone(),
            protocol: self.protocol,
        }
    }
}

/// The member's document, its file, the cluster's document.
fn layered<T>(
    key: SettingKey,
    parse: impl Fn(&str) -> Result<T, Wrong>,
    own: &SettingsDocument,
    file: Option<T>,
    cluster: &SettingsDocument,
) -> Option<T> {
    own.read(key, &parse).or(file).or_else(|| cluster.read(key, &parse))
}
