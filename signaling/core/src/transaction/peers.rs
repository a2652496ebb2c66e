//! Which transactions talk to which peer, so that a transport error finds them without a search.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;

use slab::Slab;

use super::hash::Keyed;
use super::shared::Tx;
use crate::transport::{ConnectionId, Target};

/// What fails as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// Everything on a connection.
    Connection(ConnectionId),
    /// Everything to an address that names no connection.
    Address(Target),
}

impl Hash for Peer {
    /// By the remote address alone: what else a target has differs seldom, and hashing it would cost ten
    /// times as much for each transaction.
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Peer::Connection(connection) => state.write_u64(connection.0),
            Peer::Address(target) => match target.remote {
                SocketAddr::V4(v4) => {
                    state.write_u64(u64::from(v4.ip().to_bits()) << 16 | u64::from(v4.port()));
                }
                SocketAddr::V6(v6) => {
                    state.write_u128(v6.ip().to_bits());
                    state.write_u16(v6.port());
                }
            },
        }
    }
}

impl From<&Target> for Peer {
    fn from(target: &Target) -> Self {
        target.connection.map_or(Peer::Address(*target), Peer::Connection)
    }
}

/// A transaction's place in the list of its peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(u32);

/// Small, since each transaction has one: whom it is with is known to the transaction.
#[derive(Debug)]
struct Node {
    tx: Tx,
    previous: u32,
    next: u32,
}

/// No node. There are fewer transactions than numbers: keys of their tables have as many bits.
const NONE: u32 = u32::MAX;

/// A list of transactions for each peer.
#[derive(Debug)]
pub(super) struct Peers {
    nodes: Slab<Node>,
    first: HashMap<Peer, u32, Keyed>,
}

impl Peers {
    pub(super) fn new(keyed: Keyed) -> Self {
        Peers { nodes: Slab::new(), first: HashMap::with_hasher(keyed) }
    }

    pub(super) fn insert(&mut self, target: &Target, tx: Tx) -> Place {
        let index = self.nodes.vacant_key() as u32;
        let next = self.first.insert(Peer::from(target), index).unwrap_or(NONE);
        if let Some(next) = self.nodes.get_mut(next as usize) {
            next.previous = index;
        }
        self.nodes.insert(Node { tx, previous: NONE, next });
        Place(index)
    }

    /// `target`: that of the transaction, as it was when it was put in.
    pub(super) fn remove(&mut self, place: Place, target: &Target) {
        let node = self.nodes.remove(place.0 as usize);
        if let Some(next) = self.nodes.get_mut(node.next as usize) {
            next.previous = node.previous;
        }
        if let Some(previous) = self.nodes.get_mut(node.previous as usize) {
            previous.next = node.next;
        } else if node.next == NONE {
            self.first.remove(&Peer::from(target));
        } else {
            self.first.insert(Peer::from(target), node.next);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.nodes.len() + self.first.len()
    }

    /// All transactions with `peer`.
    pub(super) fn of(&self, peer: Peer) -> Vec<Tx> {
        let mut next = self.first.get(&peer).copied();
        std::iter::from_fn(|| {
            let node = self.nodes.get(next? as usize)?;
            next = Some(node.next);
            Some(node.tx)
        })
        .collect()
    }
}
