//! Which media ports are free, in use, at rest or known to be taken by someone else.
//!
//! Every operation is O(1) at any fill: each port is a node of exactly one doubly linked list, and
//! the lists are in the order in which their ports entered, so that the front of one is always the
//! oldest.

mod lists;
mod range;
mod table;

use std::fmt;
use std::time::{Duration, Instant};

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::api::SessionId;
use lists::{List, Lists, Place};
pub use range::{BadRange, PortRange};
pub use table::{AddressLease, Generation, PortSource, PortTable, TooManyRanges};

/// Decides the order in which ports are given out. Whoever knows it can guess the next port, so it
/// does not show itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub [u8; 32]);

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// How much of an allocator one lease takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// An even port and the odd one above it (RFC 3550 11).
    Pair,
    /// One port, even or odd.
    Single,
}

impl Width {
    /// How many ports that is.
    #[must_use]
    pub const fn ports(self) -> u32 {
        match self {
            Width::Pair => 2,
            Width::Single => 1,
        }
    }
}

/// A port, or a pair, that is in use. It goes back with [`PortAllocator::release`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    port: u16,
    width: Width,
}

impl Lease {
    /// The RTP port; even in a pair.
    #[must_use]
    pub const fn rtp(self) -> u16 {
        self.port
    }

    /// The RTCP port of a pair.
    #[must_use]
    pub const fn rtcp(self) -> Option<u16> {
        match self.width {
            Width::Pair => Some(self.port + 1),
            Width::Single => None,
        }
    }

    /// Whether it is a pair.
    #[must_use]
    pub const fn width(self) -> Width {
        self.width
    }
}

/// What becomes of a port that is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was promised to a peer: it rests, so that late packets meet nobody.
    Rest,
    /// Nobody heard of it: it is free at once.
    Free,
    /// Someone else on this host has it: it is not tried again for as long as a rest takes, and
    /// pressure does not shorten that.
    Quarantine,
}

/// How full an allocator is, in ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// In use.
    pub used: u32,
    /// At rest or in quarantine.
    pub resting: u32,
    /// Free.
    pub free: u32,
    /// Rests that were ended early because nothing else was free, since the start.
    pub rests_cut: u64,
    /// The owner of the port that has been in use the longest, and for how long.
    pub oldest: Option<(SessionId, Duration)>,
}

impl Usage {
    /// With what an earlier range of the same address still has. What of that is free is not given
    /// out any more.
    fn with(self, earlier: Usage) -> Usage {
        let age = |usage: &Usage| usage.oldest.map_or(Duration::ZERO, |(_, age)| age);
        let oldest = if age(&earlier) > age(&self) { earlier.oldest } else { self.oldest };
        Usage {
            used: self.used + earlier.used,
            resting: self.resting + earlier.resting,
            free: self.free,
            rests_cut: self.rests_cut + earlier.rests_cut,
            oldest,
        }
    }
}

/// Rests that are looked at whenever a port is taken. Each lease rests once, so two would keep up;
/// more drain a backlog, and the number bounds the time of one call.
const EXPIRED_PER_TAKE: usize = 8;

/// Rests that are ended at most when the usage is asked for: about 30 us.
const EXPIRED_PER_LOOK: usize = 1024;

/// Places among the free pairs that are tried for one that comes out of quarantine: with a fifth of the
/// range free, one in 35 finds none and goes to the end.
const SCATTER_TRIES: usize = 16;

/// The media ports of one local address.
#[derive(Debug)]
pub struct PortAllocator {
    range: PortRange,
    rest: Duration,
    lists: Lists,
    rests_cut: u64,
    /// Where ports go that come out of quarantine.
    rng: ChaCha8Rng,
}

impl PortAllocator {
    /// All of `range` free, in an order that `seed` decides and that cannot be guessed from the
    /// ports already seen (a stranger who can guess the next port can aim at it).
    #[must_use]
    pub fn new(now: Instant, range: PortRange, rest: Duration, seed: Seed) -> PortAllocator {
        let mut order: Vec<u16> = range.even_ports().collect();
        let mut rng = ChaCha8Rng::from_seed(seed.0);
        order.shuffle(&mut rng);
        let mut lists = Lists::new(now, range.first(), range.ports());
        for even in order {
            lists.enter_free(even, Width::Pair);
        }
        PortAllocator { range, rest, lists, rests_cut: 0, rng }
    }

    /// The range that it was made with.
    #[must_use]
    pub const fn range(&self) -> PortRange {
        self.range
    }

    /// Takes a port or a pair for `owner`, the one that has been free the longest. Where none is
    /// free the longest rest of that width ends early. A pair is never put together from two
    /// singles that rest.
    pub fn take(&mut self, now: Instant, width: Width, owner: SessionId) -> Option<Lease> {
        self.expire(now, EXPIRED_PER_TAKE);
        let port = match width {
            Width::Pair => self.take_pair(),
            Width::Single => self.take_single(),
        }?;
        self.lists.enter(port, Place::used(width), now, owner);
        Some(Lease { port, width })
    }

    fn take_pair(&mut self) -> Option<u16> {
        self.lists.pop(List::FreePairs).or_else(|| self.cut_rest(List::RestingPairs))
    }

    fn take_single(&mut self) -> Option<u16> {
        if let Some(port) = self.lists.pop(List::FreeHalves) {
            return Some(port);
        }
        if let Some(even) = self.lists.pop(List::FreePairs) {
            return Some(self.split(even));
        }
        if let Some(port) = self.cut_rest(List::RestingSingles) {
            return Some(port);
        }
        let even = self.cut_rest(List::RestingPairs)?;
        Some(self.split(even))
    }

    fn cut_rest(&mut self, list: List) -> Option<u16> {
        let port = self.lists.pop(list)?;
        self.rests_cut += 1;
        Some(port)
    }

    /// Makes two singles of a pair that is in no list: the odd one is free, the even one is taken.
    fn split(&mut self, even: u16) -> u16 {
        self.lists.enter_half(even + 1);
        even
    }

    /// Gives a lease back. A lease that is not in use is left alone (a bug of the caller, which
    /// must not lose a port).
    pub fn release(&mut self, now: Instant, lease: Lease, fate: Fate) {
        let Lease { port, width } = lease;
        let Some(owner) = self.lists.leave_used(port, width) else {
            debug_assert!(false, "port {port} was given back but is not in use");
            return;
        };
        match fate {
            Fate::Free => self.lists.enter_free(port, width),
            Fate::Rest if self.rest.is_zero() => self.lists.enter_free(port, width),
            Fate::Rest => self.lists.enter(port, Place::resting(width), now, owner),
            Fate::Quarantine => self.lists.enter(port, Place::quarantined(width), now, owner),
        }
    }

    /// Frees up to `most` ports or pairs whose rest is over.
    fn expire(&mut self, now: Instant, most: usize) -> usize {
        let mut freed = 0;
        for list in [List::RestingPairs, List::RestingSingles, List::Quarantined] {
            while freed < most {
                let Some((port, width, since)) = self.lists.front(list) else { break };
                if now.saturating_duration_since(since) < self.rest {
                    break;
                }
                self.lists.pop(list);
                match list {
                    List::Quarantined => self.scatter(port, width),
                    List::FreePairs
                    | List::FreeHalves
                    | List::Used
                    | List::RestingPairs
                    | List::RestingSingles => self.lists.enter_free(port, width),
                }
                freed += 1;
            }
        }
        freed
    }

    /// Frees a port that someone else on this host had, somewhere among the free ones. At their end those
    /// that met the same session would stay together, and with each rest more of them would: until a
    /// session meets so many in a row that it is refused.
    fn scatter(&mut self, port: u16, width: Width) {
        let pairs = (self.range.ports() / 2) as u16;
        let places = (0..SCATTER_TRIES).map(|_| self.rng.random_range(0..pairs) * 2);
        let before = places.into_iter().find(|&index| self.lists.is_free_pair(index));
        match before {
            Some(before) => self.lists.enter_free_after(port, width, before),
            None => self.lists.enter_free(port, width),
        }
    }

    /// How full it is now. After a long pause rests that are over may still count as rests: a
    /// bounded number is ended in one call.
    pub fn usage(&mut self, now: Instant) -> Usage {
        self.expire(now, EXPIRED_PER_LOOK);
        let used = self.lists.ports_in(List::Used);
        let free = self.lists.ports_in(List::FreePairs) + self.lists.ports_in(List::FreeHalves);
        let oldest = self.lists.front(List::Used).and_then(|(port, _, _)| self.owner(now, port));
        Usage {
            used,
            resting: self.range.ports() - used - free,
            free,
            rests_cut: self.rests_cut,
            oldest,
        }
    }

    /// Who has `port` in use, and for how long.
    #[must_use]
    pub fn owner(&self, now: Instant, port: u16) -> Option<(SessionId, Duration)> {
        let (owner, since) = self.lists.owner(port)?;
        Some((owner, now.saturating_duration_since(since)))
    }

    /// Whether nobody has a port of this lease here, neither in use nor at rest; also if they are not
    /// in this range.
    #[must_use]
    pub fn is_free(&self, lease: Lease) -> bool {
        let ports = [Some(lease.rtp()), lease.rtcp()];
        ports
            .into_iter()
            .flatten()
            .all(|port| !self.range.contains(port) || self.lists.is_free(port))
    }

    /// Whether every port is free, so that the allocator holds no knowledge worth keeping.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.lists.ports_in(List::FreePairs) == self.range.ports()
    }
}

#[cfg(test)]
mod tests;
