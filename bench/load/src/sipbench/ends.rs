//! The sockets of one side of the calls, whatever the transport: messages go out in batches and come
//! in whole.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use anyhow::Result;
use clap::ValueEnum;
use rustls::ClientConfig;

use crate::sipbench::stream::StreamEnd;
use crate::sipbench::udp::UdpEnd;

/// What SIP travels on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// Connections that stay.
    Tcp,
    /// The same, encrypted.
    Tls,
}

impl Transport {
    /// The name in options, reports and URIs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        }
    }

    /// The name in Via.
    pub(crate) const fn via(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
        }
    }
}

/// Where a message goes to or comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Udp(SocketAddrV4),
    /// A connection, by its number.
    Stream(u32),
}

/// Whole messages that have come, in one piece of memory.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    messages: Vec<(Link, usize, usize)>,
}

impl Inbox {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.messages.clear();
    }

    pub(crate) fn push(&mut self, from: Link, message: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(message);
        self.messages.push((from, start, self.bytes.len()));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Link, &[u8])> {
        self.messages.iter().map(|(from, start, end)| (*from, &self.bytes[*start..*end]))
    }
}

/// How an end is made.
#[derive(Clone, Debug)]
pub(crate) struct EndPlan {
    pub(crate) transport: Transport,
    pub(crate) address: Ipv4Addr,
    /// The servers; connections go to each of them in turn.
    pub(crate) servers: Vec<SocketAddrV4>,
    /// Whether each datagram to a server goes to one of them at random, whichever it is for.
    pub(crate) scatters: bool,
    /// How many connections.
    pub(crate) connections: u32,
    /// How servers prove who they are, over TLS.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// One side.
pub(crate) enum End {
    Udp(UdpEnd),
    Stream(StreamEnd),
}

impl End {
    /// Binds or connects, on the calling thread's network.
    ///
    /// # Errors
    /// It cannot be bound, or a server takes no connection.
    pub(crate) fn open(plan: &EndPlan) -> Result<End> {
        Ok(match plan.transport {
            Transport::Udp => End::Udp(UdpEnd::bind(plan)?),
            Transport::Tcp | Transport::Tls => End::Stream(StreamEnd::connect(plan)?),
        })
    }

    /// The addresses, in the order of [`End::identity`].
    pub(crate) fn addresses(&self) -> Vec<SocketAddrV4> {
        match self {
            End::Udp(end) => vec![end.address()],
            End::Stream(end) => end.addresses(),
        }
    }

    /// The way to a server for the `number`th phone or call.
    pub(crate) fn link(&self, number: u32) -> Link {
        match self {
            End::Udp(end) => Link::Udp(end.server(number)),
            End::Stream(end) => Link::Stream(number % end.len().max(1) as u32),
        }
    }

    /// Which of its addresses a link belongs to.
    pub(crate) const fn identity(link: Link) -> usize {
        match link {
            Link::Udp(_) => 0,
            Link::Stream(number) => number as usize,
        }
    }

    /// Puts a message, which `write` adds to what is there, with those that [`End::flush`] sends.
    pub(crate) fn send(&mut self, to: Link, write: impl FnOnce(&mut Vec<u8>)) {
        match (self, to) {
            (End::Udp(end), Link::Udp(to)) => end.send(to, write),
            (End::Stream(end), Link::Stream(to)) => end.send(to, write),
            // A link of the other kind is of the other end.
            (End::Udp(_), Link::Stream(_)) | (End::Stream(_), Link::Udp(_)) => {}
        }
    }

    /// Sends what waits.
    pub(crate) fn flush(&mut self) {
        match self {
            End::Udp(end) => end.flush(),
            End::Stream(end) => end.flush(),
        }
    }

    /// Adds what has come; `ready`: the connections that have something to read.
    pub(crate) fn receive(&mut self, ready: &[u32], inbox: &mut Inbox) {
        match self {
            End::Udp(end) => end.receive(inbox),
            End::Stream(end) => ready.iter().for_each(|number| end.receive(*number, inbox)),
        }
    }

    /// Whether something could not be sent yet.
    pub(crate) fn is_stuck(&self) -> bool {
        match self {
            End::Udp(_) => false,
            End::Stream(end) => end.is_stuck(),
        }
    }

    /// The descriptors to wait for, in the order of their numbers.
    pub(crate) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            End::Udp(end) => vec![end.descriptor()],
            End::Stream(end) => end.descriptors(),
        }
    }

    /// Messages that came and were dropped by the generator's own kernel, and those that it could
    /// not send.
    pub(crate) fn faults(&self) -> (u64, u64) {
        match self {
            End::Udp(end) => end.faults(),
            End::Stream(end) => (0, end.closed()),
        }
    }
}
