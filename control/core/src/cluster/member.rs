//! What is known of a member.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::document::documents;
use super::ids::{Incarnation, Instance, MemberId, MemberName, UnixSeconds};
use super::role::{FarmSetting, PlacementSetting, Role};
use crate::settings::{AddressPair, PortRange, Transport};

/// How much of the farm's work a member takes, compared with the others: 1 to 10,000, usually 100. Its
/// share of new requests is its part of the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Capacity(u16);

impl Capacity {
    /// The largest.
    pub const MAX: u16 = 10_000;
    /// That of a member whose settings do not say.
    pub const USUAL: Capacity = Capacity(100);

    /// # Errors
    /// In words, if it is 0 or above [`Capacity::MAX`].
    pub fn new(number: u16) -> Result<Capacity, String> {
        Capacity::try_from(number)
    }

    /// As a number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for Capacity {
    type Error = String;

    fn try_from(number: u16) -> Result<Capacity, String> {
        if (1..=Capacity::MAX).contains(&number) {
            return Ok(Capacity(number));
        }
        Err(format!("a capacity of {number} is out of range; choose 1 to {}", Capacity::MAX))
    }
}

impl From<Capacity> for u16 {
    fn from(capacity: Capacity) -> u16 {
        capacity.0
    }
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How busy a member is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Load {
    /// Calls that it has.
    pub calls: u32,
    /// Its processors' use, in thousandths of all of them.
    pub cpu_permille: u16,
}

/// Where a member takes SIP from other servers and phones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SipAddress {
    /// Over which transport.
    pub transport: Transport,
    /// The address that it advertises.
    pub address: SocketAddr,
}

/// Versions of the protocol between members that a member speaks, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Versions {
    /// The oldest.
    pub oldest: u16,
    /// The newest.
    pub newest: u16,
}

impl Versions {
    /// The newest version that both speak.
    #[must_use]
    pub fn common(self, other: Versions) -> Option<u16> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest.max(other.oldest)).then_some(newest)
    }
}

/// What a member says of itself, apart from who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// What it is for.
    pub role: Role,
    /// Its `SIP Farm` as it is set; what that comes to depends on the others ([`super::View::farm`]).
    pub farm: FarmSetting,
    /// Its `Call Legs Processing` as it is set (S13).
    pub call_legs: PlacementSetting,
    /// Its `Signal Processing` as it is set (S19).
    pub signals: PlacementSetting,
    /// Whether it takes no new work (B4).
    pub draining: bool,
    /// Whether it has just come and does not know yet what the others do: it takes no new work until it does. Said
    /// over the mesh; views are not made anew for what lasts a moment.
    #[serde(default)]
    pub joining: bool,
    /// Earlier starts of the member that are this same process: it was taken for dead and has joined again, with
    /// everything that it had begun. What names one of them is its own (B5 speaks of processes that have ended).
    #[serde(default)]
    pub continues: Vec<Incarnation>,
    /// Its share of the work.
    pub capacity: Capacity,
    /// Its media ports.
    pub media_ports: PortRange,
    /// The address that its peers are told to send media to: its own WAN IP or else the cluster's.
    /// Empty: its local address.
    pub wan_ip: AddressPair,
    /// Its own WAN IP alone, which goes before the cluster's (S71).
    pub own_wan_ip: AddressPair,
    /// Where other members reach it.
    pub mesh: SocketAddr,
    /// Where it takes SIP.
    pub sip: Vec<SipAddress>,
    /// What it speaks with other members.
    pub protocol: Versions,
}

/// A member as views and the mesh know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: MemberName,
    /// Its number.
    pub id: MemberId,
    /// Which start of it this is.
    pub incarnation: Incarnation,
    /// What it says of itself.
    pub profile: Profile,
}

impl Member {
    /// Which start of which member it is.
    #[must_use]
    pub const fn incarnate(&self) -> Incarnate {
        Incarnate { id: self.id, incarnation: self.incarnation }
    }
}

/// Whether a member wants to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// It has its name and number, and claims what else it needs.
    Joining,
    /// As long as its record moves.
    Here,
    /// It has left. The record stays, so that the next incarnation is another.
    Left,
    /// The Controller took it for dead. If it is not, it comes back with another incarnation.
    Removed,
}

impl Presence {
    /// Whether the record's key is a lease that its member renews.
    #[must_use]
    pub const fn is_lease(self) -> bool {
        matches!(self, Presence::Joining | Presence::Here)
    }
}

/// One start of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Incarnate {
    /// The member.
    pub id: MemberId,
    /// Which start of it.
    pub incarnation: Incarnation,
}

/// `members.NAME`: what a member says of itself, and its sign of life: each write moves the key's
/// revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRecord {
    /// The document's version.
    pub version: u16,
    /// The process that writes it.
    pub instance: Instance,
    /// How often this incarnation has written it.
    pub beat: u64,
    /// Whether it wants to be a member.
    pub presence: Presence,
    /// How busy it is.
    pub load: Load,
    /// Whether it takes no new work yet, because it has just come.
    #[serde(default)]
    pub joining: bool,
    /// Members of its view whose hosts refuse its connections: no process of theirs is there.
    #[serde(default)]
    pub refused_by: Vec<Incarnate>,
    /// The newest key of tokens that it reads ([`super::TokenKeys::newest`]).
    #[serde(default)]
    pub token_key: u32,
    /// When its certificate was issued.
    #[serde(default)]
    pub certified: UnixSeconds,
    /// Who it is and what it says of itself.
    pub member: Member,
}

documents! {
    MemberRecord: "a member's record", 1;
}
