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
pub(super) struct Place(usize);

#[derive(Debug)]
struct Node {
    tx: Tx,
    peer: Peer,
    previous: Option<usize>,
    next: Option<usize>,
}

/// A list of transactions for each peer.
#[derive(Debug)]
pub(super) struct Peers {
    nodes: Slab<Node>,
    first: HashMap<Peer, usize, Keyed>,
}

impl Peers {
    pub(super) fn new(keyed: Keyed) -> Self {
        Peers { nodes: Slab::new(), first: HashMap::with_hasher(keyed) }
    }

    pub(super) fn insert(&mut self, target: &Target, tx: Tx) -> Place {
        let peer = Peer::from(target);
        let index = self.nodes.vacant_key();
        let next = self.first.insert(peer, index);
        if let Some(next) = next {
            self.nodes[next].previous = Some(index);
        }
        Place(self.nodes.insert(Node { tx, peer, previous: None, next }))
    }

    pub(super) fn remove(&mut self, place: Place) {
        let node = self.nodes.remove(place.0);
        if let Some(next) = node.next {
            self.nodes[next].previous = node.previous;
        }
        match (node.previous, node.next) {
            (Some(previous), next) => self.nodes[previous].next = next,
            (None, Some(next)) => {
                self.first.insert(node.peer, next);
            }
            (None, None) => {
                self.first.remove(&node.peer);
            }
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
            let node = &self.nodes[next?];
            next = node.next;
            Some(node.tx)
        })
        .collect()
    }
}
