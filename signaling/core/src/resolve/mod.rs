//! Finding the servers behind a name (RFC 3263), without I/O.
//!
//! A [`Query`] says what is wanted and what this node can speak. A [`Lookup`] asks [`Question`]s, is told
//! [`Reply`]s, and ends with an ordered, bounded list of [`Hop`]s. Whoever drives it sends the
//! questions to a name server; nothing here waits or caches.

mod lookup;
mod order;
mod resting;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::transport::Transport;

pub use lookup::Lookup;
pub use resting::{Resting, Standing};

/// Most servers that one query yields: as many as can be tried one after another while a caller waits.
pub const HOPS_MAX: usize = 8;

/// A transport over one address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Way {
    transport: Transport,
    v4: bool,
}

/// The transports and address families that this node can open a way with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Offered(Vec<Way>);

impl Offered {
    /// Adds the family of `listener` for `transport`. WebSockets are left out: only the peer can open
    /// one (RFC 7118 5).
    pub fn add(&mut self, transport: Transport, listener: IpAddr) {
        let way = Way { transport, v4: listener.is_ipv4() };
        if !transport.is_web_socket() && !self.0.contains(&way) {
            self.0.push(way);
        }
    }

    /// Whether `transport` is spoken over either family.
    #[must_use]
    pub fn speaks(&self, transport: Transport) -> bool {
        self.0.iter().any(|way| way.transport == transport)
    }

    /// Whether `address` can be reached over `transport`.
    #[must_use]
    pub fn reaches(&self, transport: Transport, address: IpAddr) -> bool {
        self.0.contains(&Way { transport, v4: address.is_ipv4() })
    }

    /// Whether any transport is spoken over this family.
    fn has_family(&self, v4: bool) -> bool {
        self.0.iter().any(|way| way.v4 == v4)
    }
}

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    /// The name, without a final dot.
    pub host: Arc<str>,
    /// The port, if the URI has one: there is no SRV then (RFC 3263 4.2).
    pub port: Option<u16>,
    /// The transport, if the URI has one: there is no NAPTR then (RFC 3263 4.1).
    pub transport: Option<Transport>,
    /// The URI is a `sips` one: TLS, or nothing (RFC 3261 26.2.2).
    pub secure: bool,
    /// What this node can speak.
    pub offered: Arc<Offered>,
}

/// One server to try.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hop {
    /// Its address.
    pub address: SocketAddr,
    /// How it is spoken to.
    pub transport: Transport,
    /// The name that its certificate must show: that of the URI, not what DNS has made of it
    /// (RFC 5922 4, 7.1). `None`: the address is all that is known of it.
    pub server_name: Option<Arc<str>>,
}

/// What is asked of a name server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// NAPTR records of a name.
    Naptr(Box<str>),
    /// SRV records of a name.
    Srv(Box<str>),
    /// A (`v4`) or AAAA records of a name.
    Addresses {
        /// The name.
        name: Box<str>,
        /// A rather than AAAA.
        v4: bool,
    },
}

/// A NAPTR record (RFC 3403), as far as SIP uses it (RFC 3263 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naptr {
    /// The lower, the earlier.
    pub order: u16,
    /// The lower, the earlier among those of one order.
    pub preference: u16,
    /// `s` for SIP.
    pub flags: Box<str>,
    /// `SIP+D2U`, `SIP+D2T`, `SIPS+D2T`.
    pub service: Box<str>,
    /// The name of the SRV records.
    pub replacement: Box<str>,
}

/// An SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    /// The lower, the earlier.
    pub priority: u16,
    /// The share among those of one priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The name of the server; empty: there is expressly none.
    pub target: Box<str>,
}

/// What a name server says to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// NAPTR records.
    Naptr(Vec<Naptr>),
    /// SRV records.
    Srv(Vec<Srv>),
    /// Addresses.
    Addresses(Vec<IpAddr>),
    /// The name does not exist, or has no such record.
    Nothing,
    /// No answer, or one that says that the server failed.
    Failed,
}

/// Why there is no hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ResolveError {
    /// DNS has no server for the name.
    #[error("no such name, or no server behind it")]
    NotFound,
    /// DNS has servers, but none that this node has a transport and an address family for.
    #[error("no transport and address family in common")]
    NotReachable,
    /// DNS did not answer.
    #[error("no answer from DNS")]
    NoAnswer,
    /// Too many look-ups are going on.
    #[error("too many look-ups are going on")]
    Busy,
}
