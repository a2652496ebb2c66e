//! One table of ports for all workers: none of them runs out while another has free ports, and a
//! refusal gives the figures of the whole node.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use relay_core::api::{Refusal, SessionId};
use relay_core::ports::{
    AddressLease, Fate, Generation, PortRange, PortSource, PortTable, TooManyRanges, Usage, Width,
};

/// A share in the table. Held for some 100 ns at a time, while sessions are set up or torn down; no
/// packet's way leads here.
#[derive(Clone, Debug)]
pub(crate) struct SharedPorts(Arc<Mutex<PortTable>>);

impl SharedPorts {
    pub(crate) fn new(table: PortTable) -> SharedPorts {
        SharedPorts(Arc::new(Mutex::new(table)))
    }

    /// See [`PortTable::set_range`].
    pub(crate) fn set_range(&self, range: PortRange) -> Result<Generation, TooManyRanges> {
        self.table().set_range(Instant::now(), range)
    }

    /// See [`PortTable::retired`].
    pub(crate) fn retired(&self) -> Vec<Generation> {
        self.table().retired(Instant::now())
    }

    fn table(&self) -> MutexGuard<'_, PortTable> {
        // Its operations leave it whole wherever they could panic: a dead worker's ports are lost
        // at worst, and the others go on.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PortSource for SharedPorts {
    fn take(
        &mut self,
        now: Instant,
        address: IpAddr,
        width: Width,
        owner: SessionId,
        beside: Option<AddressLease>,
    ) -> Result<AddressLease, Refusal> {
        self.table().take(now, address, width, owner, beside)
    }

    fn give_back(&mut self, now: Instant, lease: AddressLease, fate: Fate) {
        self.table().give_back(now, lease, fate);
    }

    fn usage(&mut self, now: Instant) -> Vec<(IpAddr, Usage)> {
        self.table().usage(now)
    }
}
