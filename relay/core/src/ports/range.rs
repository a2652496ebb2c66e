//! A range of ports that is made of whole pairs.

use std::ops::RangeInclusive;

/// A range of media ports: an even first and an odd last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// The range holds no whole pair of ports above 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the port range {first}-{last} holds no pair of an even and the next odd port")]
pub struct BadRange {
    /// As given.
    pub first: u16,
    /// As given.
    pub last: u16,
}

impl PortRange {
    /// The whole pairs within `range`; port 0 and its neighbour are never part of it.
    ///
    /// # Errors
    /// [`BadRange`] if there is none.
    pub fn new(range: RangeInclusive<u16>) -> Result<PortRange, BadRange> {
        let (first, last) = (*range.start(), *range.end());
        let bad = BadRange { first, last };
        let even = first.max(2).checked_next_multiple_of(2).ok_or(bad)?;
        let odd = if last % 2 == 1 { last } else { last.checked_sub(1).ok_or(bad)? };
        if even < odd { Ok(PortRange { first: even, last: odd }) } else { Err(bad) }
    }

    /// The first port, even.
    #[must_use]
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The last port, odd.
    #[must_use]
    pub const fn last(self) -> u16 {
        self.last
    }

    /// How many ports it has, an even number.
    #[must_use]
    pub const fn ports(self) -> u32 {
        (self.last - self.first) as u32 + 1
    }

    /// Whether a port is in both.
    #[must_use]
    pub const fn overlaps(self, other: PortRange) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// Whether the port is one of them.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    pub(super) fn even_ports(self) -> impl Iterator<Item = u16> {
        (self.first..self.last).step_by(2)
    }
}
