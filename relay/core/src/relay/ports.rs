//! The port allocators of the local addresses in use.

use std::net::IpAddr;
use std::time::Instant;

use rand::Rng;

use super::Relay;
use crate::api::{Refusal, SessionId};
use crate::leg::LegPorts;
use crate::ports::{Fate, PortAllocator, Seed, Width};

/// The ports of one local address.
#[derive(Debug)]
pub(super) struct AddressPorts {
    pub(super) address: IpAddr,
    pub(super) ports: PortAllocator,
}

/// Local addresses whose ports are known at once. A host has few media addresses; a full range
/// takes 2 MB each. One whose ports are all free makes room for another.
const ADDRESSES_MAX: usize = 16;

impl Relay {
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
        let ports = PortAllocator::new(now, self.config.ports, self.config.rest, seed);
        Ok(self.addresses.insert(AddressPorts { address, ports }))
    }

    pub(super) fn take_ports(
        &mut self,
        now: Instant,
        address: IpAddr,
        width: Width,
        owner: SessionId,
    ) -> Result<LegPorts, Refusal> {
        let allocator = self.allocator(now, address)?;
        let ports = &mut self.addresses[allocator].ports;
        if let Some(lease) = ports.take(now, width, owner) {
            return Ok(LegPorts { allocator, lease });
        }
        let usage = ports.usage(now);
        Err(Refusal::PortsExhausted {
            address,
            first: self.config.ports.first(),
            last: self.config.ports.last(),
            used: usage.used,
            resting: usage.resting,
            oldest: usage.oldest,
        })
    }

    pub(super) fn give_back(&mut self, now: Instant, ports: LegPorts, fate: Fate) {
        self.addresses[ports.allocator].ports.release(now, ports.lease, fate);
    }
}
