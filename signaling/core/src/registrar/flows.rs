//! Bindings whose connection closes (RFC 5626 5.3: a flow that has failed is of no use any more).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Binding, Record, Registrar};
use crate::farm::MemberId;
use crate::transport::ConnectionId;
use crate::wire::Uri;

impl Registrar {
    /// A connection has closed: takes out the bindings that only it could reach. Returns how many
    /// those were.
    ///
    /// Those are the flows of RFC 5626, clients of a WebSocket, and phones whose Contact is not at
    /// the address that they sent from. One that listens where it says is called there anew.
    ///
    /// Costs a search in the index and the user's bindings, not a walk through all of them.
    pub fn remove_flow(&mut self, connection: ConnectionId) -> usize {
        let mut removed = 0;
        while let Some(aor) = self.take_flow(connection) {
            let Some(record) = self.records.get_mut(&aor) else { continue };
            for at in (0..record.bindings.len()).rev() {
                if !record.bindings[at].is_reached_only_by(connection) {
                    record.bindings[at].flow_lost |=
                        record.bindings[at].arrival.connection == Some(connection);
                    continue;
                }
                let gone = record.bindings.remove(at);
                if let Some(timer) = gone.timer {
                    self.expiries.cancel(timer);
                }
                removed += 1;
                if let Some(changes) = &mut self.changes {
                    changes.push_back(aor.clone());
                }
            }
            let is_empty = record.bindings.is_empty();
            if is_empty {
                self.records.remove(&aor);
            }
            if let Some(copies) = &mut self.copies {
                // The end of another's connection is for that one to tell, which has a later version.
                if copies.has(connection) {
                    copies.note_again(&aor);
                }
                if is_empty {
                    copies.note_empty(&aor);
                }
            }
        }
        self.len -= removed;
        removed
    }

    /// Has the other members told once more of all who came over connections of this one: they have taken it for
    /// dead, and its connections for closed.
    pub fn tell_flows_of(&mut self, member: MemberId) {
        let Some(copies) = &mut self.copies else { return };
        let first = ConnectionId::of_member(member.get(), 0, 0);
        let end = ConnectionId::of_member(member.get(), u32::MAX, u32::MAX);
        for (_, aor) in self.flows.range((first, Arc::from(""))..(end, Arc::from(""))) {
            copies.note_again(aor);
        }
    }

    /// A connection in this range that bindings came over.
    pub(super) fn flow_within(
        &self,
        first: ConnectionId,
        last: ConnectionId,
    ) -> Option<ConnectionId> {
        let (first, end) = ((first, Arc::from("")), (last, Arc::from("")));
        self.flows.range(first..end).next().map(|(connection, _)| *connection)
    }

    /// The next user with a binding that came over `connection`, out of the index.
    fn take_flow(&mut self, connection: ConnectionId) -> Option<Arc<str>> {
        let from = (connection, Arc::from(""));
        let first = self.flows.range(from..).next().filter(|(own, _)| *own == connection)?.clone();
        self.flows.take(&first).map(|(_, aor)| aor)
    }
}

impl Record {
    /// `gone` has been taken out: so is its connection's entry, unless another binding of the user
    /// came over the same.
    pub(super) fn forget_flow(
        &self,
        flows: &mut BTreeSet<(ConnectionId, Arc<str>)>,
        aor: &Arc<str>,
        gone: &Binding,
    ) {
        if let Some(connection) = gone.arrival.connection
            && self.bindings.iter().all(|other| other.arrival.connection != Some(connection))
        {
            flows.remove(&(connection, Arc::clone(aor)));
        }
    }
}

impl Binding {
    fn is_reached_only_by(&self, connection: ConnectionId) -> bool {
        let is_elsewhere = |uri: Uri<'_>| !uri.host().is_ip(self.arrival.remote.ip());
        // What has a Path is called through that, by a new connection if need be.
        self.arrival.connection == Some(connection)
            && self.path.is_none()
            && (self.reg_id.is_some() && self.instance.is_some()
                || self.arrival.transport.is_web_socket()
                || Uri::parse(&self.uri).map_or(true, is_elsewhere))
    }
}
