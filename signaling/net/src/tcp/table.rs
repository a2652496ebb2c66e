//! Which connections there are.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use signaling_core::transport::{ConnectionId, ListenerId, PeerName, Target, Transmit, Transport};
use tokio::sync::oneshot;

use super::outbound::{self, Offer, Outbound, Outgoing};
use crate::config::Limits;
use crate::tls::Identities;

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Accepted,
    /// As accepted, over TLS: whoever connects from an address has not proved to be the server there, and
    /// is sent nothing but what names the connection (RFC 5922 7.4, RFC 5923 4).
    AcceptedSecure,
    Opened,
}

impl Origin {
    const fn is_accepted(self) -> bool {
        match self {
            Origin::Accepted | Origin::AcceptedSecure => true,
            Origin::Opened => false,
        }
    }
}

/// Bits of an IPv6 address that tell customers apart: one can send from any address of its network
/// (RFC 6177).
const IPV6_SOURCE_BITS: u32 = 64;

/// Whose connections are counted together.
fn source_of(remote: SocketAddr) -> IpAddr {
    match remote.ip().to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => {
            let rest = u128::BITS - IPV6_SOURCE_BITS;
            Ipv6Addr::from_bits(ip.to_bits() >> rest << rest).into()
        }
    }
}

/// What the task of a connection is driven by.
pub(super) struct Controls {
    /// Ends when the connection shall be closed once everything is written.
    pub(super) outgoing: Outgoing,
    /// Resolves when the connection shall end at once.
    pub(super) cut: oneshot::Receiver<()>,
}

/// Where a connection leads. One that was verified for a name serves that name alone (RFC 5922 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Way {
    pub(super) listener: ListenerId,
    pub(super) remote: SocketAddr,
    pub(super) name: Option<PeerName>,
}

struct Entry {
    way: Way,
    origin: Origin,
    /// `None`: closing. Dropping it ends the task's queue.
    outbound: Option<Outbound>,
    /// `None`: being cut. Dropping it ends the task.
    cut: Option<oneshot::Sender<()>>,
    /// Whom the peer of an accepted connection has proved to be.
    peer: Option<Box<Identities>>,
    /// Where else it says that it is reached.
    alias: Option<SocketAddr>,
}

/// The connections from their creation to their task's last report.
pub(super) struct Table {
    limits: Limits,
    /// What the numbers of connections begin with: a member of a farm and one of its lives.
    base: u64,
    last: u64,
    entries: HashMap<ConnectionId, Entry>,
    /// Connections that take messages, by where they lead.
    by_way: HashMap<Way, ConnectionId>,
    /// Connections by where else their peers are reached; one a connection at most.
    aliases: HashMap<SocketAddr, ConnectionId>,
    /// By [`source_of`].
    accepted_from: HashMap<IpAddr, usize>,
}

impl Table {
    pub(super) fn new(limits: Limits) -> Table {
        Table {
            limits,
            base: 0,
            last: 0,
            entries: HashMap::new(),
            by_way: HashMap::new(),
            aliases: HashMap::new(),
            accepted_from: HashMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Enters a connection; `None` if a limit is reached.
    pub(super) fn insert(&mut self, way: Way, origin: Origin) -> Option<(ConnectionId, Controls)> {
        if self.entries.len() >= self.limits.connections_max {
            return None;
        }
        if origin.is_accepted() {
            let source = source_of(way.remote);
            let from = self.accepted_from.get(&source).copied().unwrap_or(0);
            if from >= self.limits.connections_per_source_max {
                return None;
            }
            self.accepted_from.insert(source, from + 1);
        }
        let connection = self.name();
        let (outbound, outgoing) = outbound::queue(&self.limits);
        let (cut, cut_here) = oneshot::channel();
        let entry = Entry {
            way,
            origin,
            outbound: Some(outbound),
            cut: Some(cut),
            peer: None,
            alias: None,
        };
        self.entries.insert(connection, entry);
        if origin != Origin::AcceptedSecure {
            self.by_way.insert(way, connection);
        }
        Some((connection, Controls { outgoing, cut: cut_here }))
    }

    /// Connections are those of this life of a member from now on.
    pub(super) fn set_member(&mut self, member: u16, incarnation: u32) {
        self.base = ConnectionId::of_member(member, incarnation, 0).0;
        self.last = 0;
    }

    fn name(&mut self) -> ConnectionId {
        loop {
            self.last += 1;
            if self.base != 0 && self.last > u64::from(u32::MAX) {
                self.last = 1;
            }
            let connection = ConnectionId(self.base | self.last);
            if !self.entries.contains_key(&connection) {
                return connection;
            }
        }
    }

    /// The connection that leads there and takes messages.
    pub(super) fn connection_to(&self, way: &Way) -> Option<ConnectionId> {
        self.by_way.get(way).copied()
    }

    /// The peer of a connection has proved to be this.
    pub(super) fn note_peer(&mut self, connection: ConnectionId, peer: Option<Box<Identities>>) {
        if let Some(entry) = self.entries.get_mut(&connection) {
            entry.peer = peer.filter(|_| entry.origin.is_accepted());
        }
    }

    /// The peer of a connection says that it is reached at `port`, too. Who has proved nothing says so in
    /// vain (RFC 5923 9.3).
    pub(super) fn alias(&mut self, connection: ConnectionId, port: u16) {
        let Some(entry) = self.entries.get_mut(&connection) else { return };
        if entry.peer.is_none() || entry.outbound.is_none() {
            return;
        }
        let alias = SocketAddr::new(entry.way.remote.ip(), port);
        if entry.alias == Some(alias) {
            return;
        }
        if let Some(before) = entry.alias.replace(alias)
            && self.aliases.get(&before) == Some(&connection)
        {
            self.aliases.remove(&before);
        }
        // The latest has it: the peer has come again, and may not have told of the end of the other.
        self.aliases.insert(alias, connection);
    }

    /// The connection whose peer is reached at the target's address, too, if it has proved to be the one
    /// that a server there would have to be.
    pub(super) fn alias_to(&self, target: &Target, name: Option<&str>) -> Option<ConnectionId> {
        if self.aliases.is_empty() || target.transport != Transport::Tls {
            return None;
        }
        let connection = *self.aliases.get(&target.remote)?;
        let peer = self.entries.get(&connection)?.peer.as_ref()?;
        let is_proved = match (target.name, name) {
            (None, _) => peer.has_address(target.remote.ip()),
            (Some(_), Some(name)) => peer.has_domain(name),
            (Some(_), None) => false,
        };
        is_proved.then_some(connection)
    }

    /// Queues a message on a connection.
    pub(super) fn offer(&self, connection: ConnectionId, transmit: Transmit) -> Offer {
        match self.entries.get(&connection).and_then(|entry| entry.outbound.as_ref()) {
            Some(outbound) => outbound.offer(transmit),
            None => Offer::Closed(transmit),
        }
    }

    /// Has a connection closed once everything is written; it takes no more messages.
    pub(super) fn finish(&mut self, connection: ConnectionId) {
        if let Some(entry) = self.entries.get_mut(&connection) {
            entry.outbound = None;
            forget(&mut self.by_way, connection, entry);
            self.forget_alias(connection);
        }
    }

    /// Has a connection end at once; it takes no more messages.
    pub(super) fn cut(&mut self, connection: ConnectionId) {
        if let Some(entry) = self.entries.get_mut(&connection) {
            entry.cut = None;
        }
        self.finish(connection);
    }

    fn forget_alias(&mut self, connection: ConnectionId) {
        let alias = self.entries.get_mut(&connection).and_then(|entry| entry.alias.take());
        if let Some(alias) = alias
            && self.aliases.get(&alias) == Some(&connection)
        {
            self.aliases.remove(&alias);
        }
    }

    pub(super) fn finish_all(&mut self) {
        self.by_way.clear();
        self.aliases.clear();
        self.entries.values_mut().for_each(|entry| entry.outbound = None);
    }

    pub(super) fn cut_all(&mut self) {
        self.finish_all();
        self.entries.values_mut().for_each(|entry| entry.cut = None);
    }

    /// Takes out a connection whose task has ended; returns its other end.
    pub(super) fn remove(&mut self, connection: ConnectionId) -> Option<SocketAddr> {
        self.forget_alias(connection);
        let entry = self.entries.remove(&connection)?;
        forget(&mut self.by_way, connection, &entry);
        if entry.origin.is_accepted() {
            let source = source_of(entry.way.remote);
            let from = self.accepted_from.get(&source).copied().unwrap_or(0);
            if from > 1 {
                self.accepted_from.insert(source, from - 1);
            } else {
                self.accepted_from.remove(&source);
            }
        }
        Some(entry.way.remote)
    }
}

/// Has `by_way` forget this connection, but not a newer one to the same address.
fn forget(by_way: &mut HashMap<Way, ConnectionId>, connection: ConnectionId, entry: &Entry) {
    if by_way.get(&entry.way) == Some(&connection) {
        by_way.remove(&entry.way);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTENER: ListenerId = ListenerId(0);

    fn table(connections_max: usize, connections_per_source_max: usize) -> Table {
        Table::new(Limits { connections_max, connections_per_source_max, ..Limits::default() })
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn way(remote: &str) -> Way {
        Way { listener: LISTENER, remote: address(remote), name: None }
    }

    /// A connection that ends makes room, in total and for its source.
    #[test]
    fn limits_count_the_connections_that_are_there() {
        let mut table = table(3, 2);
        let insert = |table: &mut Table, remote: &str, origin| {
            table.insert(way(remote), origin).map(|(connection, _)| connection)
        };
        let first = insert(&mut table, "127.0.0.1:1", Origin::Accepted).unwrap();
        insert(&mut table, "127.0.0.1:2", Origin::Accepted).unwrap();
        assert_eq!(insert(&mut table, "127.0.0.1:3", Origin::Accepted), None, "per source");
        insert(&mut table, "127.0.0.1:4", Origin::Opened).unwrap();
        assert_eq!(insert(&mut table, "127.0.0.2:1", Origin::Opened), None, "in total");
        assert_eq!(table.remove(first), Some(address("127.0.0.1:1")));
        assert_eq!(table.remove(first), None);
        let again = insert(&mut table, "127.0.0.1:1", Origin::Accepted).unwrap();
        assert_ne!(again, first, "an identifier is never used twice");
        assert_eq!(insert(&mut table, "127.0.0.2:1", Origin::Accepted), None, "in total");
    }

    /// Members of a farm speak of each other's connections: which member's one is stands in its number.
    #[test]
    fn connections_of_a_member_bear_its_number_and_life() {
        let mut table = table(10, 10);
        table.set_member(7, 0x1_0003);
        let (first, _controls) = table.insert(way("127.0.0.1:1"), Origin::Accepted).unwrap();
        let (second, _more_controls) = table.insert(way("127.0.0.1:2"), Origin::Opened).unwrap();
        assert_eq!(first, ConnectionId::of_member(7, 3, 1));
        assert_eq!(second, ConnectionId::of_member(7, 3, 2));
        table.last = u64::from(u32::MAX);
        let (third, _even_more) = table.insert(way("127.0.0.1:3"), Origin::Opened).unwrap();
        assert_eq!(
            third,
            ConnectionId::of_member(7, 3, 3),
            "those that there are keep their numbers"
        );
    }

    /// RFC 6177: a customer has a whole IPv6 network to connect from.
    #[test]
    fn the_addresses_of_one_ipv6_network_are_one_source() {
        let mut table = table(10, 2);
        let mut insert = |remote: &str| {
            table.insert(way(remote), Origin::Accepted).map(|(connection, _)| connection)
        };
        let first = insert("[2001:db8::1]:1").unwrap();
        insert("[2001:db8:0:0:ffff::1]:1").unwrap();
        assert_eq!(insert("[2001:db8::2]:1"), None);
        assert!(insert("[2001:db8:0:1::1]:1").is_some(), "another network");
        table.remove(first);
        assert!(table.insert(way("[2001:db8::3]:1"), Origin::Accepted).is_some());
    }

    /// Whoever connects from a server's address over TLS has not shown the server's certificate: what is
    /// for the server does not go to it.
    #[test]
    fn a_secure_connection_that_was_accepted_is_no_way_to_the_server_at_its_address() {
        let mut table = table(10, 10);
        let there = way("127.0.0.1:5061");
        let (accepted, _controls) = table.insert(there, Origin::AcceptedSecure).unwrap();
        assert_eq!(table.connection_to(&there), None);
        let (opened, _more_controls) = table.insert(there, Origin::Opened).unwrap();
        table.remove(accepted);
        assert_eq!(table.connection_to(&there), Some(opened));
    }

    /// The end of an older connection does not hide a newer one to the same address.
    #[test]
    fn an_older_connection_to_the_same_address_leaves_the_newer_one_in_place() {
        let mut table = table(10, 10);
        let there = way("127.0.0.1:1");
        let (older, _controls) = table.insert(there, Origin::Accepted).unwrap();
        let (newer, _more_controls) = table.insert(there, Origin::Opened).unwrap();
        assert_eq!(table.connection_to(&there), Some(newer));
        table.finish(older);
        table.remove(older);
        assert_eq!(table.connection_to(&there), Some(newer));
        assert_eq!(table.connection_to(&Way { listener: ListenerId(1), ..there }), None);
        assert_eq!(table.connection_to(&Way { name: Some(PeerName(0)), ..there }), None);
        table.finish(newer);
        assert_eq!(table.connection_to(&there), None);
    }
}
