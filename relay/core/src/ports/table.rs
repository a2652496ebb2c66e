//! The allocators of several local addresses, and the seam by which relays share them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use slab::Slab;

use super::{Fate, Lease, PortAllocator, PortRange, Seed, Usage, Width};
use crate::api::{Refusal, SessionId};

/// Local addresses whose ports are known at once. A host has few media addresses; a full range
/// takes 2 MB each. One whose ports are all free makes room for another.
const ADDRESSES_MAX: usize = 16;

/// Allocators of earlier ranges that wait for their last ports: those of a few changes within the life of a
/// long call. More changes have to wait.
const RETIRED_MAX: usize = 16;

/// Names a range for as long as it, or one before it, is in use: 0 is the first, each change the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub u32);

/// So many earlier ranges still have ports in use that another change has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "media ports of {0} earlier ranges are still in use; wait until calls that use them have ended"
)]
pub struct TooManyRanges(pub usize);

/// A lease on a local address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressLease {
    address: IpAddr,
    allocator: usize,
    lease: Lease,
}

impl AddressLease {
    /// The local address.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// The port or pair.
    #[must_use]
    pub const fn lease(self) -> Lease {
        self.lease
    }

    /// Where its port or the first of its pair is.
    #[must_use]
    pub const fn rtp(self) -> SocketAddr {
        SocketAddr::new(self.address, self.lease.rtp())
    }

    /// Where the second port of its pair is.
    #[must_use]
    pub fn rtcp(self) -> Option<SocketAddr> {
        self.lease.rtcp().map(|port| SocketAddr::new(self.address, port))
    }
}

/// Where a relay takes its ports from: a [`PortTable`] of its own, or one that it shares with other
/// relays, so that none of them runs out while another has free ports. Used when sessions change,
/// never on a packet's way.
pub trait PortSource: fmt::Debug + Send {
    /// Takes a port or a pair on `address`: of the range that `beside` is of, if its session has ports
    /// already, else of the range for new sessions. What a session tells its peers of its address then
    /// goes for all its ports.
    ///
    /// # Errors
    /// [`Refusal::PortsExhausted`], or [`Refusal::TableFull`] if there are too many addresses.
    fn take(
        &mut self,
        now: Instant,
        address: IpAddr,
        width: Width,
        owner: SessionId,
        beside: Option<AddressLease>,
    ) -> Result<AddressLease, Refusal>;

    /// Gives a lease back.
    fn give_back(&mut self, now: Instant, lease: AddressLease, fate: Fate);

    /// How full the ports of each local address are that was used so far.
    fn usage(&mut self, now: Instant) -> Vec<(IpAddr, Usage)>;
}

#[derive(Debug)]
struct AddressPorts {
    address: IpAddr,
    generation: Generation,
    ports: PortAllocator,
}

/// The ports of every local address.
#[derive(Debug)]
pub struct PortTable {
    range: PortRange,
    generation: Generation,
    rest: Duration,
    rng: ChaCha8Rng,
    addresses: Slab<AddressPorts>,
}

impl PortTable {
    /// All of `range` free on every address; see [`PortAllocator::new`].
    #[must_use]
    pub fn new(range: PortRange, rest: Duration, seed: Seed) -> PortTable {
        PortTable {
            range,
            generation: Generation::default(),
            rest,
            rng: ChaCha8Rng::from_seed(seed.0),
            addresses: Slab::new(),
        }
    }

    /// New sessions get ports of `range` from now on; those that have ports keep them, and get more of the
    /// range that theirs are of. The same range again is another generation, so that it can be told when
    /// nothing from before is in use any more.
    ///
    /// # Errors
    /// [`TooManyRanges`]; nothing has changed then.
    pub fn set_range(
        &mut self,
        now: Instant,
        range: PortRange,
    ) -> Result<Generation, TooManyRanges> {
        let waiting = self.retired(now).len();
        let (active, retired): (Vec<_>, Vec<_>) =
            self.addresses.iter().partition(|(_, a)| a.generation == self.generation);
        if active.len() + retired.len() > RETIRED_MAX {
            return Err(TooManyRanges(waiting + 1));
        }
        self.range = range;
        self.generation = Generation(self.generation.0.wrapping_add(1));
        Ok(self.generation)
    }

    /// Earlier generations whose ports are in use or at rest on some address, the oldest first. What
    /// is not in use any more is forgotten.
    pub fn retired(&mut self, now: Instant) -> Vec<Generation> {
        let present = self.generation;
        self.addresses.retain(|_, a| {
            a.generation == present || {
                a.ports.usage(now);
                !a.ports.is_untouched()
            }
        });
        let earlier = self.addresses.iter().map(|(_, a)| a.generation);
        let mut earlier: Vec<_> = earlier.filter(|generation| *generation != present).collect();
        earlier.sort_unstable();
        earlier.dedup();
        earlier
    }

    fn allocator(&mut self, now: Instant, address: IpAddr) -> Result<usize, Refusal> {
        let present = self.generation;
        // At most ADDRESSES_MAX and RETIRED_MAX entries, and on the control path only.
        let mut active = self.addresses.iter().filter(|(_, a)| a.generation == present);
        if let Some((key, _)) = active.clone().find(|(_, a)| a.address == address) {
            return Ok(key);
        }
        if active.clone().count() >= ADDRESSES_MAX {
            let idle = active.find(|(_, a)| a.ports.is_untouched());
            let Some((key, _)) = idle else {
                let limit = ADDRESSES_MAX as u32;
                return Err(Refusal::TableFull { what: "local media addresses", limit });
            };
            self.addresses.remove(key);
        }
        let seed = Seed(self.rng.random());
        let ports = PortAllocator::new(now, self.range, self.rest, seed);
        Ok(self.addresses.insert(AddressPorts { address, generation: present, ports }))
    }

    /// Where `beside` is from, if its address is this one.
    fn allocator_of(&self, beside: Option<AddressLease>, address: IpAddr) -> Option<usize> {
        let beside = beside.filter(|beside| beside.address == address)?;
        // An allocator with a lease out is never removed.
        self.addresses.contains(beside.allocator).then_some(beside.allocator)
    }

    /// Takes a port that no other generation has in use or at rest. Those that one has wait as if another
    /// program had them, so each is met once in the time of a rest.
    fn take_from(
        &mut self,
        now: Instant,
        allocator: usize,
        width: Width,
        owner: SessionId,
    ) -> Option<Lease> {
        let address = self.addresses[allocator].address;
        let ports = self.addresses[allocator].ports.range().ports();
        for _ in 0..=ports {
            let lease = self.addresses[allocator].ports.take(now, width, owner)?;
            let is_taken = self.addresses.iter().any(|(key, other)| {
                key != allocator && other.address == address && !other.ports.is_free(lease)
            });
            if !is_taken {
                return Some(lease);
            }
            self.addresses[allocator].ports.release(now, lease, Fate::Quarantine);
        }
        None
    }
}

impl PortSource for PortTable {
    fn take(
        &mut self,
        now: Instant,
        address: IpAddr,
        width: Width,
        owner: SessionId,
        beside: Option<AddressLease>,
    ) -> Result<AddressLease, Refusal> {
        let allocator = match self.allocator_of(beside, address) {
            Some(allocator) => allocator,
            None => self.allocator(now, address)?,
        };
        if let Some(lease) = self.take_from(now, allocator, width, owner) {
            return Ok(AddressLease { address, allocator, lease });
        }
        let ports = &mut self.addresses[allocator].ports;
        let (usage, range) = (ports.usage(now), ports.range());
        Err(Refusal::PortsExhausted {
            address,
            first: range.first(),
            last: range.last(),
            used: usage.used,
            resting: usage.resting,
            oldest: usage.oldest,
        })
    }

    fn give_back(&mut self, now: Instant, lease: AddressLease, fate: Fate) {
        // An allocator with a lease out is never removed.
        if let Some(held) = self.addresses.get_mut(lease.allocator) {
            held.ports.release(now, lease.lease, fate);
        }
    }

    fn usage(&mut self, now: Instant) -> Vec<(IpAddr, Usage)> {
        let (present, range) = (self.generation, self.range);
        let mut all: Vec<(IpAddr, Usage)> = Vec::new();
        let (active, earlier): (Vec<_>, Vec<_>) =
            self.addresses.iter_mut().partition(|(_, a)| a.generation == present);
        for (_, a) in active {
            all.push((a.address, a.ports.usage(now)));
        }
        for (_, a) in earlier {
            let (before, other) = (a.ports.usage(now), a.ports.range());
            let at = all.iter().position(|(address, _)| *address == a.address);
            let at = at.unwrap_or_else(|| {
                // Nobody has asked for a port of the present range there yet.
                all.push((a.address, Usage { free: range.ports(), ..Usage::default() }));
                all.len() - 1
            });
            let usage = &mut all[at].1;
            if other.overlaps(range) {
                // What is in use from before cannot be had.
                let rest = range.ports().saturating_sub(usage.used + usage.resting);
                usage.free = usage.free.min(rest.saturating_sub(before.used + before.resting));
            }
            *usage = usage.with(before);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start_of_time;

    const REST: Duration = Duration::from_secs(30);

    fn table() -> PortTable {
        PortTable::new(PortRange::new(10_000..=10_007).unwrap(), REST, Seed([1; 32]))
    }

    #[test]
    fn only_so_many_addresses_are_known_at_once_and_an_unused_one_makes_room() {
        let (mut table, now) = (table(), start_of_time());
        let mut take = |n: u8| {
            let address = IpAddr::from([192, 0, 2, n]);
            table.take(now, address, Width::Pair, SessionId(1), None)
        };
        let mut leases: Vec<_> = (0..16).map(|n| take(n).unwrap()).collect();
        let refused = Refusal::TableFull { what: "local media addresses", limit: 16 };
        assert_eq!(take(16), Err(refused));
        table.give_back(now, leases.remove(3), Fate::Free);
        let sixteenth = IpAddr::from([192, 0, 2, 16]);
        table.take(now, sixteenth, Width::Pair, SessionId(1), None).unwrap();
    }

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OWNER: SessionId = SessionId(1);

    fn ports(lease: AddressLease) -> u16 {
        lease.lease().rtp()
    }

    #[test]
    fn new_sessions_use_the_new_range_and_those_that_stand_the_old_one() {
        let (mut table, now) = (table(), start_of_time());
        let old = table.take(now, LOCAL, Width::Pair, OWNER, None).unwrap();
        let generation = table.set_range(now, PortRange::new(20_000..=20_007).unwrap()).unwrap();
        assert_eq!(generation, Generation(1));
        let new = table.take(now, LOCAL, Width::Pair, OWNER, None).unwrap();
        assert!((20_000..=20_007).contains(&ports(new)));
        let more = table.take(now, LOCAL, Width::Pair, OWNER, Some(old)).unwrap();
        assert!((10_000..=10_007).contains(&ports(more)));
        assert_eq!(table.retired(now), [Generation(0)]);
        let (_, usage) = table.usage(now)[0];
        assert_eq!((usage.used, usage.free), (6, 6));
    }

    #[test]
    fn an_old_range_is_in_use_until_the_rests_of_its_last_ports_are_over() {
        let (mut table, now) = (table(), start_of_time());
        let old = table.take(now, LOCAL, Width::Pair, OWNER, None).unwrap();
        table.set_range(now, PortRange::new(20_000..=20_007).unwrap()).unwrap();
        let (_, usage) = table.usage(now)[0];
        assert_eq!((usage.used, usage.free), (2, 8), "all of the new range is free");
        table.give_back(now, old, Fate::Rest);
        assert_eq!(table.retired(now + REST - Duration::from_millis(1)), [Generation(0)]);
        assert_eq!(table.retired(now + REST), []);
        assert!(table.usage(now + REST).is_empty());
    }

    #[test]
    fn a_range_that_overlaps_the_one_before_gives_no_port_twice() {
        let (mut table, now) = (table(), start_of_time());
        let take = |table: &mut PortTable, now| {
            table.take(now, LOCAL, Width::Pair, OWNER, None).map(ports)
        };
        let before: Vec<u16> = (0..3).map(|_| take(&mut table, now).unwrap()).collect();
        // The same ports under another address that peers are told is such a range, too.
        table.set_range(now, PortRange::new(10_000..=10_007).unwrap()).unwrap();
        let next = take(&mut table, now).unwrap();
        assert!(!before.contains(&next), "{next} is in use: {before:?}");
        assert!(take(&mut table, now).is_err(), "all four pairs are in use");
        let (_, usage) = table.usage(now)[0];
        assert_eq!((usage.used, usage.free), (8, 0));
        assert!(take(&mut table, now + REST).is_err(), "those before still are");
    }

    #[test]
    fn another_change_waits_while_too_many_earlier_ranges_are_in_use() {
        let (mut table, now) = (table(), start_of_time());
        let range = |n: u16| PortRange::new(10_000 + 8 * n..=10_007 + 8 * n).unwrap();
        let mut leases = Vec::new();
        for n in 0..16 {
            leases.push(table.take(now, LOCAL, Width::Pair, OWNER, None).unwrap());
            table.set_range(now, range(n + 1)).unwrap();
        }
        leases.push(table.take(now, LOCAL, Width::Pair, OWNER, None).unwrap());
        assert_eq!(table.set_range(now, range(20)), Err(TooManyRanges(17)));
        table.give_back(now, leases.remove(0), Fate::Free);
        assert!(table.set_range(now, range(20)).is_ok());
    }
}
