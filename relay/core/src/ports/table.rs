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
    /// Takes a port or a pair on `address`.
    ///
    /// # Errors
    /// [`Refusal::PortsExhausted`], or [`Refusal::TableFull`] if there are too many addresses.
    fn take(
        &mut self,
        now: Instant,
        address: IpAddr,
        width: Width,
        owner: SessionId,
    ) -> Result<AddressLease, Refusal>;

    /// Gives a lease back.
    fn give_back(&mut self, now: Instant, lease: AddressLease, fate: Fate);

    /// How full the ports of each local address are that was used so far.
    fn usage(&mut self, now: Instant) -> Vec<(IpAddr, Usage)>;
}

#[derive(Debug)]
struct AddressPorts {
    address: IpAddr,
    ports: PortAllocator,
}

/// The ports of every local address.
#[derive(Debug)]
pub struct PortTable {
    range: PortRange,
    rest: Duration,
    rng: ChaCha8Rng,
    addresses: Slab<AddressPorts>,
}

impl PortTable {
    /// All of `range` free on every address; see [`PortAllocator::new`].
    #[must_use]
    pub fn new(range: PortRange, rest: Duration, seed: Seed) -> PortTable {
        PortTable { range, rest, rng: ChaCha8Rng::from_seed(seed.0), addresses: Slab::new() }
    }

    fn allocator(&mut self, now: Instant, address: IpAddr) -> Result<usize, Refusal> {
        // At most ADDRESSES_MAX entries, and on the control path only.
        if let Some((key, _)) = self.addresses.iter().find(|(_, a)| a.address == address) {
            return Ok(key);
        }
        if self.addresses.len() >= ADDRESSES_MAX {
            let idle = self.addresses.iter().find(|(_, a)| a.ports.is_untouched());
            let Some((key, _)) = idle else {
                let limit = ADDRESSES_MAX as u32;
                return Err(Refusal::TableFull { what: "local media addresses", limit });
            };
            self.addresses.remove(key);
        }
        let seed = Seed(self.rng.random());
        let ports = PortAllocator::new(now, self.range, self.rest, seed);
        Ok(self.addresses.insert(AddressPorts { address, ports }))
    }
}

impl PortSource for PortTable {
    fn take(
        &mut self,
        now: Instant,
        address: IpAddr,
        width: Width,
        owner: SessionId,
    ) -> Result<AddressLease, Refusal> {
        let allocator = self.allocator(now, address)?;
        let ports = &mut self.addresses[allocator].ports;
        if let Some(lease) = ports.take(now, width, owner) {
            return Ok(AddressLease { address, allocator, lease });
        }
        let usage = ports.usage(now);
        Err(Refusal::PortsExhausted {
            address,
            first: self.range.first(),
            last: self.range.last(),
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
        self.addresses.iter_mut().map(|(_, a)| (a.address, a.ports.usage(now))).collect()
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
            table.take(now, address, Width::Pair, SessionId(1))
        };
        let mut leases: Vec<_> = (0..16).map(|n| take(n).unwrap()).collect();
        let refused = Refusal::TableFull { what: "local media addresses", limit: 16 };
        assert_eq!(take(16), Err(refused));
        table.give_back(now, leases.remove(3), Fate::Free);
        table.take(now, IpAddr::from([192, 0, 2, 16]), Width::Pair, SessionId(1)).unwrap();
    }
}
