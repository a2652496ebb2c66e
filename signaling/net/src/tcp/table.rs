//! Which connections there are.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use signaling_core::transport::{ConnectionId, ListenerId, Transmit};
use tokio::sync::oneshot;

use super::outbound::{self, Offer, Outbound, Outgoing};
use crate::config::Limits;

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Accepted,
    Opened,
}

/// What the task of a connection is driven by.
pub(super) struct Controls {
    /// Ends when the connection shall be closed once everything is written.
    pub(super) outgoing: Outgoing,
    /// Resolves when the connection shall end at once.
    pub(super) cut: oneshot::Receiver<()>,
}

struct Entry {
    listener: ListenerId,
    remote: SocketAddr,
    origin: Origin,
    /// `None`: closing. Dropping it ends the task's queue.
    outbound: Option<Outbound>,
    /// `None`: being cut. Dropping it ends the task.
    cut: Option<oneshot::Sender<()>>,
}

/// The connections from their creation to their task's last report.
pub(super) struct Table {
    limits: Limits,
    next: u64,
    entries: HashMap<ConnectionId, Entry>,
    /// Connections that take messages, by where they lead.
    by_remote: HashMap<(ListenerId, SocketAddr), ConnectionId>,
    accepted_from: HashMap<IpAddr, usize>,
}

impl Table {
    pub(super) fn new(limits: Limits) -> Table {
        Table {
            limits,
            next: 1,
            entries: HashMap::new(),
            by_remote: HashMap::new(),
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
    pub(super) fn insert(
        &mut self,
        listener: ListenerId,
        remote: SocketAddr,
        origin: Origin,
    ) -> Option<(ConnectionId, Controls)> {
        if self.entries.len() >= self.limits.connections_max {
            return None;
        }
        if origin == Origin::Accepted {
            let from = self.accepted_from.get(&remote.ip()).copied().unwrap_or(0);
            if from >= self.limits.connections_per_source_max {
                return None;
            }
            self.accepted_from.insert(remote.ip(), from + 1);
        }
        let connection = ConnectionId(self.next);
        self.next += 1;
        let (outbound, outgoing) = outbound::queue(&self.limits);
        let (cut, cut_here) = oneshot::channel();
        let entry = Entry { listener, remote, origin, outbound: Some(outbound), cut: Some(cut) };
        self.entries.insert(connection, entry);
        self.by_remote.insert((listener, remote), connection);
        Some((connection, Controls { outgoing, cut: cut_here }))
    }

    /// The connection that leads to `remote` and takes messages.
    pub(super) fn connection_to(
        &self,
        listener: ListenerId,
        remote: SocketAddr,
    ) -> Option<ConnectionId> {
        self.by_remote.get(&(listener, remote)).copied()
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
            forget(&mut self.by_remote, connection, entry);
        }
    }

    /// Has a connection end at once; it takes no more messages.
    pub(super) fn cut(&mut self, connection: ConnectionId) {
        if let Some(entry) = self.entries.get_mut(&connection) {
            entry.cut = None;
        }
        self.finish(connection);
    }

    pub(super) fn finish_all(&mut self) {
        self.by_remote.clear();
        self.entries.values_mut().for_each(|entry| entry.outbound = None);
    }

    pub(super) fn cut_all(&mut self) {
        self.finish_all();
        self.entries.values_mut().for_each(|entry| entry.cut = None);
    }

    /// Takes out a connection whose task has ended; returns its other end.
    pub(super) fn remove(&mut self, connection: ConnectionId) -> Option<SocketAddr> {
        let entry = self.entries.remove(&connection)?;
        forget(&mut self.by_remote, connection, &entry);
        if entry.origin == Origin::Accepted {
            let from = self.accepted_from.get(&entry.remote.ip()).copied().unwrap_or(0);
            if from > 1 {
                self.accepted_from.insert(entry.remote.ip(), from - 1);
            } else {
                self.accepted_from.remove(&entry.remote.ip());
            }
        }
        Some(entry.remote)
    }
}

/// Has `by_remote` forget this connection, but not a newer one to the same address.
fn forget(
    by_remote: &mut HashMap<(ListenerId, SocketAddr), ConnectionId>,
    connection: ConnectionId,
    entry: &Entry,
) {
    let key = (entry.listener, entry.remote);
    if by_remote.get(&key) == Some(&connection) {
        by_remote.remove(&key);
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

    /// A connection that ends makes room, in total and for its source.
    #[test]
    fn limits_count_the_connections_that_are_there() {
        let mut table = table(3, 2);
        let insert = |table: &mut Table, remote: &str, origin| {
            table.insert(LISTENER, address(remote), origin).map(|(connection, _)| connection)
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

    /// The end of an older connection does not hide a newer one to the same address.
    #[test]
    fn an_older_connection_to_the_same_address_leaves_the_newer_one_in_place() {
        let mut table = table(10, 10);
        let remote = address("127.0.0.1:1");
        let (older, _controls) = table.insert(LISTENER, remote, Origin::Accepted).unwrap();
        let (newer, _more_controls) = table.insert(LISTENER, remote, Origin::Opened).unwrap();
        assert_eq!(table.connection_to(LISTENER, remote), Some(newer));
        table.finish(older);
        table.remove(older);
        assert_eq!(table.connection_to(LISTENER, remote), Some(newer));
        assert_eq!(table.connection_to(ListenerId(1), remote), None);
        table.finish(newer);
        assert_eq!(table.connection_to(LISTENER, remote), None);
    }
}
