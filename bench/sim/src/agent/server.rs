//! Server transactions of an agent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use signaling_core::wire::{Message, Method};

use super::client::{GIVE_UP, T1, T2};
use super::{Cx, Timer};

#[derive(Debug)]
pub(super) struct Server {
    pub(super) request: Message,
    source: SocketAddr,
    last: Option<Bytes>,
    /// Of the last response; 0 before there is one.
    pub(super) status: u16,
    pub(super) acked: bool,
    interval: Duration,
    gives_up: Option<Instant>,
    generation: u32,
    reliable: bool,
}

#[derive(Debug, Default)]
pub(super) struct Servers {
    table: BTreeMap<u64, Server>,
    by_branch: BTreeMap<(String, Kind), u64>,
    next: u64,
}

/// The part of a method in finding a transaction: a CANCEL shares the branch of its INVITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Invite,
    Cancel,
    Other,
}

fn kind(method: &Method) -> Kind {
    if matches!(method, Method::Invite | Method::Ack) {
        Kind::Invite
    } else if *method == Method::Cancel {
        Kind::Cancel
    } else {
        Kind::Other
    }
}

impl Servers {
    pub(super) fn get(&self, id: u64) -> Option<&Server> {
        self.table.get(&id)
    }

    /// The transaction of a request or its repetition, or the INVITE that an ACK is for.
    pub(super) fn find(&self, request: &Message) -> Option<u64> {
        self.find_as(request, kind(request.method()))
    }

    /// The INVITE that a CANCEL is for.
    pub(super) fn find_cancelled(&self, cancel: &Message) -> Option<u64> {
        self.find_as(cancel, Kind::Invite)
    }

    fn find_as(&self, request: &Message, kind: Kind) -> Option<u64> {
        let branch = request.top_via().branch()?.to_owned();
        self.by_branch.get(&(branch, kind)).copied()
    }

    pub(super) fn take(&mut self, source: SocketAddr, reliable: bool, request: Message) -> u64 {
        self.next += 1;
        let branch = request.top_via().branch().unwrap_or_default().to_owned();
        self.by_branch.insert((branch, kind(request.method())), self.next);
        let server = Server {
            request,
            source,
            last: None,
            status: 0,
            acked: false,
            interval: T1,
            gives_up: None,
            generation: 0,
            reliable,
        };
        self.table.insert(self.next, server);
        self.next
    }

    /// The request has come again.
    pub(super) fn repeat(&self, cx: &mut Cx<'_>, id: u64) {
        if let Some(server) = self.table.get(&id).filter(|s| !s.acked)
            && let Some(last) = &server.last
        {
            cx.send(server.source, last.clone());
        }
    }

    pub(super) fn respond(&mut self, cx: &mut Cx<'_>, id: u64, status: u16, response: Bytes) {
        let Some(server) = self.table.get_mut(&id).filter(|s| s.status < 200) else { return };
        server.status = status;
        server.last = Some(response.clone());
        cx.send(server.source, response);
        if status >= 200 && *server.request.method() == Method::Invite {
            server.gives_up = Some(cx.now + GIVE_UP);
            self.arm(cx, id);
        }
    }

    fn arm(&mut self, cx: &mut Cx<'_>, id: u64) {
        let Some(server) = self.table.get_mut(&id) else { return };
        let Some(gives_up) = server.gives_up else { return };
        server.generation += 1;
        let timer = Timer::Server { id, generation: server.generation };
        // A 2xx is repeated whatever the transport (RFC 3261 13.3.1.4).
        let repeats = server.status < 300 || !server.reliable;
        let next = if repeats { cx.now + server.interval } else { gives_up };
        cx.wake(next.min(gives_up), timer);
    }

    pub(super) fn acknowledge(&mut self, id: u64) {
        if let Some(server) = self.table.get_mut(&id) {
            server.acked = true;
        }
    }

    /// Repeats the final response of an INVITE; `true` if it is given up for want of an ACK.
    pub(super) fn handle_timer(&mut self, cx: &mut Cx<'_>, id: u64, generation: u32) -> bool {
        let Some(server) = self.table.get_mut(&id) else { return false };
        if server.generation != generation || server.acked {
            return false;
        }
        if server.gives_up.is_some_and(|at| at <= cx.now) {
            server.acked = true;
            return true;
        }
        if let Some(last) = &server.last {
            cx.send(server.source, last.clone());
        }
        server.interval = (server.interval * 2).min(T2);
        self.arm(cx, id);
        false
    }
}
