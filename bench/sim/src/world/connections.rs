//! Connections between agents and members: in order, without loss, until they break.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use rand::Rng;
use signaling_core::transport::{Arrival, ConnectionId, Target, Transport};

use super::{Event, World};
use crate::node;
use crate::scenario::{SIP_PORT, node_ip};
use crate::{AgentId, NodeId};

/// The first port that agents connect from.
const EPHEMERAL_FIRST: u16 = 49_152;

#[derive(Clone, Copy, Debug)]
pub(super) struct Connection {
    agent: AgentId,
    node: NodeId,
    /// The agent's end.
    remote: SocketAddr,
    /// What was sent last is there by then, to the member and to the agent.
    last: [Instant; 2],
}

#[derive(Debug, Default)]
pub(super) struct Connections {
    open: BTreeMap<u64, Connection>,
    made: u64,
}

impl Connections {
    fn open(&mut self, connection: Connection) -> u64 {
        self.made += 1;
        self.open.insert(self.made, connection);
        self.made
    }

    fn between(&self, agent: AgentId, node: NodeId) -> Option<u64> {
        // The newest: an agent sends on the connection that it registered over last.
        let fits = |c: &Connection| c.agent == agent && c.node == node;
        self.open.iter().rev().find(|(_, c)| fits(c)).map(|(id, _)| *id)
    }

    fn to(&self, node: NodeId, remote: SocketAddr) -> Option<u64> {
        let fits = |c: &Connection| c.node == node && c.remote == remote;
        self.open.iter().rev().find(|(_, c)| fits(c)).map(|(id, _)| *id)
    }

    pub(super) fn is_open(&self, id: u64) -> bool {
        self.open.contains_key(&id)
    }
}

impl World<'_> {
    fn connect(&mut self, agent: AgentId, node: NodeId, port: u16) -> u64 {
        let now = self.clock.now();
        let remote = SocketAddr::new(self.scenario.device(agent).ip, port);
        self.connections.open(Connection { agent, node, remote, last: [now; 2] })
    }

    /// An agent sends on its connection, or on a new one.
    pub(super) fn agent_writes(&mut self, agent: AgentId, node: NodeId, bytes: Bytes) {
        let id = self.connections.between(agent, node).unwrap_or_else(|| {
            let port = EPHEMERAL_FIRST + (self.connections.made % 16_000) as u16;
            self.connect(agent, node, port)
        });
        let Some(at) = self.due(id, 0) else { return };
        let Some(connection) = self.connections.open.get(&id) else { return };
        let arrival = Arrival {
            transport: Transport::Tcp,
            listener: node::TCP,
            local: SocketAddr::new(node_ip(node), SIP_PORT),
            remote: connection.remote,
            connection: Some(ConnectionId(id)),
        };
        self.clock.at(at, Event::ToNode { node, arrival, bytes });
    }

    /// A member sends on the connection that it names, on one to the same address, or on a new one.
    pub(super) fn node_writes(
        &mut self,
        node: NodeId,
        agent: AgentId,
        target: Target,
        bytes: Bytes,
    ) {
        let named = target.connection.map(|c| c.0).filter(|id| self.connections.is_open(*id));
        let id = named.or_else(|| self.connections.to(node, target.remote));
        let id = match id {
            Some(id) => id,
            // Nobody listens on the ports that agents connect from, or behind NAT.
            None if target.remote.port() == SIP_PORT
                && self.scenario.device(agent).transport == Transport::Tcp
                && !self.scenario.device(agent).behind_nat() =>
            {
                self.connect(agent, node, SIP_PORT)
            }
            None => {
                let at = self.clock.now() + self.settings.sip.delay(&mut self.net_rng);
                self.clock.at(at, Event::Undeliverable { node, target });
                return;
            }
        };
        let Some(at) = self.due(id, 1) else { return };
        let over = Some(ConnectionId(id));
        self.clock.at(at, Event::ToAgent { agent, from: target.local, over, bytes });
    }

    /// When something sent now on the connection is there: not before what was sent earlier.
    fn due(&mut self, id: u64, direction: usize) -> Option<Instant> {
        let delay = self.settings.sip.delay(&mut self.net_rng);
        let now = self.clock.now();
        let connection = self.connections.open.get_mut(&id)?;
        let last = &mut connection.last[direction];
        *last = (*last).max(now + delay);
        Some(*last)
    }

    /// A connection breaks: both ends are told at once, and the agent registers anew.
    pub(super) fn reset_a_connection(&mut self) {
        let count = self.connections.open.len();
        if count == 0 {
            return;
        }
        let place = self.net_rng.random_range(0..count);
        let Some((id, connection)) =
            self.connections.open.iter().nth(place).map(|(id, c)| (*id, *c))
        else {
            return;
        };
        self.connections.open.remove(&id);
        let now = self.clock.now();
        let node = connection.node;
        let effects = self.nodes[node.0].handle_closed(now, ConnectionId(id));
        self.node_effects(node, effects);
        self.with_agent(connection.agent, |agent, cx| agent.handle_reset(cx));
    }
}
