//! `ranges.IP`: the media ports that members have under one advertised address.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::document::{Document, documents};
use super::ids::MemberName;
use super::member::{Incarnate, Member};
use crate::settings::PortRange;

/// Most claims under one address: with the fewest ports that a range can have there are more, but the
/// members of a full cluster have one or two each.
pub const CLAIMS_MAX: usize = 1_024;

/// Media ports of one member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The member's name.
    pub name: MemberName,
    /// Which start of it has claimed them.
    pub by: Incarnate,
    /// The ports.
    pub ports: PortRange,
}

/// Claims under one address that media is sent to: no two members' overlap. They do not expire; a
/// member releases its own, and the Controller those of members that are gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranges {
    /// The document's version.
    pub version: u16,
    /// The claims.
    pub claims: Vec<Claim>,
}

documents! {
    Ranges: "the table of media port ranges", 1;
}

impl Default for Ranges {
    fn default() -> Ranges {
        Ranges { version: Ranges::VERSION, claims: Vec::new() }
    }
}

/// Two members would have the same media ports under one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// The address.
    pub wan_ip: IpAddr,
    /// The member that has ports already, and which.
    pub holder: (MemberName, PortRange),
    /// The member that wants some of them, and which.
    pub other: (MemberName, PortRange),
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Overlap { wan_ip, holder, other } = self;
        write!(
            f,
            "media ports {} of {} overlap {} of {}, and both advertise {wan_ip}; \
             give each member its own range, or its own WAN IP",
            other.1, other.0, holder.1, holder.0
        )
    }
}

impl std::error::Error for Overlap {}

impl Overlap {
    /// Whether the media ports of two members are the same under an address that both advertise.
    /// Members without a WAN IP advertise their own addresses, which nobody else has.
    #[must_use]
    pub fn between(holder: &Member, other: &Member) -> Option<Overlap> {
        let ports = |member: &Member| (member.name.clone(), member.profile.media_ports);
        let theirs = other.profile.wan_ip.addresses();
        let shared = holder.profile.wan_ip.addresses().into_iter().find(|a| theirs.contains(a))?;
        let overlaps = holder.profile.media_ports.overlaps(other.profile.media_ports);
        (overlaps && holder.name != other.name).then(|| Overlap {
            wan_ip: shared,
            holder: ports(holder),
            other: ports(other),
        })
    }
}

impl Ranges {
    /// The claim of another member that `ports` overlaps.
    #[must_use]
    pub fn conflict(&self, name: &MemberName, ports: PortRange) -> Option<&Claim> {
        self.claims.iter().find(|claim| claim.name != *name && claim.ports.overlaps(ports))
    }

    /// As [`Ranges::conflict`], as an error under the address of this table.
    ///
    /// # Errors
    /// Another member has some of `ports`.
    pub fn check(
        &self,
        wan_ip: IpAddr,
        name: &MemberName,
        ports: PortRange,
    ) -> Result<(), Overlap> {
        match self.conflict(name, ports) {
            None => Ok(()),
            Some(claim) => Err(Overlap {
                wan_ip,
                holder: (claim.name.clone(), claim.ports),
                other: (name.clone(), ports),
            }),
        }
    }

    /// The ports that `name` has.
    pub fn of<'a>(&'a self, name: &'a MemberName) -> impl Iterator<Item = PortRange> + 'a {
        self.claims.iter().filter(move |claim| claim.name == *name).map(|claim| claim.ports)
    }

    /// Whether `name` has just `ports`, claimed by that start of it.
    #[must_use]
    pub fn holds(&self, name: &MemberName, by: Incarnate, ports: &[PortRange]) -> bool {
        self.of(name).eq(ports.iter().copied())
            && self.claims.iter().all(|claim| claim.name != *name || claim.by == by)
    }

    /// Puts `ports` in the place of whatever `name` has. The caller has asked
    /// [`Ranges::check`].
    pub fn set(&mut self, name: &MemberName, by: Incarnate, ports: &[PortRange]) {
        self.claims.retain(|claim| claim.name != *name);
        let claim = |ports: &PortRange| Claim { name: name.clone(), by, ports: *ports };
        self.claims.extend(ports.iter().map(claim));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Incarnation, MemberId};

    fn name(text: &str) -> MemberName {
        MemberName::new(text).unwrap()
    }

    fn ports(first: u16, last: u16) -> PortRange {
        PortRange::new(first, last).unwrap()
    }

    fn by() -> Incarnate {
        Incarnate { id: MemberId::FIRST, incarnation: Incarnation(1) }
    }

    /// S60: overlapping ranges under one address are refused with both names.
    #[test]
    fn an_overlapping_range_is_refused_with_both_names() {
        let mut ranges = Ranges::default();
        ranges.set(&name("fe1"), by(), &[ports(10_000, 19_999)]);
        let wan_ip = "203.0.113.5".parse().unwrap();
        for (first, last) in [(19_998, 20_001), (2_000, 10_001), (12_000, 12_001), (2_000, 60_001)]
        {
            let overlap = ranges.check(wan_ip, &name("fe2"), ports(first, last)).unwrap_err();
            assert_eq!(
                overlap.to_string(),
                format!(
                    "media ports {first}-{last} of fe2 overlap 10000-19999 of fe1, and both \
                     advertise 203.0.113.5; give each member its own range, or its own WAN IP"
                )
            );
        }
    }

    /// S60: 10000-19999 on one, 20000-29999 on the next.
    #[test]
    fn adjacent_ranges_and_ranges_of_the_member_itself_are_no_overlap() {
        let mut ranges = Ranges::default();
        ranges.set(&name("fe1"), by(), &[ports(10_000, 19_999)]);
        assert_eq!(ranges.conflict(&name("fe2"), ports(20_000, 29_999)), None);
        assert_eq!(ranges.conflict(&name("fe2"), ports(2_000, 9_999)), None);
        assert_eq!(ranges.conflict(&name("fe1"), ports(15_000, 25_001)), None);
    }

    #[test]
    fn a_claim_takes_the_place_of_the_earlier_ones_of_the_same_member() {
        let mut ranges = Ranges::default();
        ranges.set(&name("fe1"), by(), &[ports(10_000, 19_999), ports(30_000, 30_001)]);
        ranges.set(&name("fe1"), by(), &[ports(12_000, 12_001)]);
        assert!(ranges.holds(&name("fe1"), by(), &[ports(12_000, 12_001)]));
        ranges.set(&name("fe1"), by(), &[]);
        assert!(ranges.claims.is_empty());
    }
}
