//! Connections to the server, plain or TLS, of one side.

use std::net::SocketAddrV4;
use std::os::fd::{AsFd as _, BorrowedFd};

use anyhow::{Context, Result};

use crate::relaybench::control::ipv4;
use crate::sip::connection::{Connection, READ_BYTES};
use crate::sipbench::ends::{EndPlan, Inbox, Link, Transport};

/// The connections of one side.
pub(crate) struct StreamEnd {
    connections: Vec<Connection>,
    /// Those that have something to write.
    dirty: Vec<u32>,
    scratch: Box<[u8; READ_BYTES]>,
}

impl StreamEnd {
    pub(crate) fn connect(plan: &EndPlan) -> Result<StreamEnd> {
        let tls = plan.tls.as_ref().filter(|_| plan.transport == Transport::Tls);
        let connect = |number: u32| {
            let server = plan.servers[number as usize % plan.servers.len()];
            Connection::open(plan.address.into(), server.into(), tls)
                .with_context(|| format!("connecting to {server} over {}", plan.transport.name()))
        };
        let connections = (0..plan.connections).map(connect).collect::<Result<_>>()?;
        Ok(StreamEnd { connections, dirty: Vec::new(), scratch: Box::new([0; READ_BYTES]) })
    }

    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddrV4> {
        self.connections.iter().map(|connection| ipv4(connection.address())).collect()
    }

    pub(crate) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.connections.iter().map(|connection| connection.as_fd()).collect()
    }

    /// Connections that the server has closed.
    pub(crate) fn closed(&self) -> u64 {
        self.connections.iter().filter(|connection| connection.is_closed()).count() as u64
    }

    pub(crate) fn is_stuck(&self) -> bool {
        !self.dirty.is_empty()
    }

    pub(crate) fn send(&mut self, to: u32, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(connection) = self.connections.get_mut(to as usize) else { return };
        if connection.out().is_empty() {
            self.dirty.push(to);
        }
        write(connection.out());
    }

    pub(crate) fn flush(&mut self) {
        let connections = &mut self.connections;
        self.dirty.retain(|number| !connections[*number as usize].flush());
    }

    pub(crate) fn receive(&mut self, number: u32, inbox: &mut Inbox) {
        let Some(connection) = self.connections.get_mut(number as usize) else { return };
        connection.receive(&mut self.scratch, |message| inbox.push(Link::Stream(number), message));
    }
}
