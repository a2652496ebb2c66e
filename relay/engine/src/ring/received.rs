//! The memory that is received into, and how a datagram lies in it.
//!
//! There are two pools. Most sockets receive into small buffers, one datagram each. A socket that
//! receives in bursts has the kernel merge datagrams of one sender that arrive together
//! (UDP_GRO), which takes buffers as long as a datagram can be; there are few of those.

use std::io;
use std::mem;
use std::net::{Ipv6Addr, SocketAddr};

use io_uring::IoUring;
use io_uring::types::RecvMsgOut;

use super::buffers::Buffers;

/// What the kernel writes before the payload as an address.
const NAME_BYTES: u32 = mem::size_of::<libc::sockaddr_in6>() as u32;
/// Room for one control message that holds a number, aligned as the kernel wants it.
const CONTROL_BYTES: usize = mem::size_of::<libc::cmsghdr>() + mem::size_of::<u64>();
/// A merged datagram is as long as any datagram can be, and its header comes before it.
const MERGED_BUFFER_BYTES: u32 = 65_536 + 1_024;

/// How a socket receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intake {
    /// Each datagram by itself.
    Single,
    /// Datagrams may come merged: the socket has UDP_GRO set.
    Merged,
}

/// Numbers of receive buffers and the length of those for single datagrams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolSizes {
    /// A power of two.
    pub(crate) single: u16,
    /// In bytes.
    pub(crate) single_bytes: u32,
    /// A power of two.
    pub(crate) merged: u16,
}

/// A receive buffer that we hold. There is one of each: who has released it cannot read it.
#[derive(Debug)]
pub(crate) struct Buffer(pub(super) u16);

/// A received datagram, or several of the same sender.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram<'a> {
    pub(crate) source: SocketAddr,
    pub(crate) payload: &'a [u8],
    /// It was longer than a buffer.
    pub(crate) truncated: bool,
    /// Several datagrams, of this length each, but for the last, which may be shorter.
    pub(crate) merged: Option<usize>,
}

/// The buffers of one way to receive.
struct Pool {
    buffers: Buffers,
    /// Which parts of a message are received; every receive refers to it.
    message: Box<libc::msghdr>,
}

impl Pool {
    fn new(buffers: Buffers, control_bytes: usize) -> Pool {
        // SAFETY: a msghdr of zeros is one without name, vectors and control data.
        let mut message: Box<libc::msghdr> = Box::new(unsafe { mem::zeroed() });
        message.msg_namelen = NAME_BYTES;
        message.msg_controllen = control_bytes;
        Pool { buffers, message }
    }

    /// Where the payload begins in a buffer: after the kernel's header of four numbers, the name
    /// and the control data.
    fn payload_offset(&self) -> usize {
        4 * mem::size_of::<u32>() + NAME_BYTES as usize + self.message.msg_controllen
    }
}

/// All receive buffers of a ring.
pub(super) struct Pools {
    single: Pool,
    merged: Pool,
}

impl Pools {
    /// Makes the buffers and gives all of them to the kernel. They must outlive the ring.
    pub(super) fn register(uring: &IoUring, sizes: PoolSizes) -> io::Result<Pools> {
        let PoolSizes { single, single_bytes, merged } = sizes;
        let small = Buffers::register(uring, 0, 0..single, single_bytes, true)?;
        let numbers = single..single + merged;
        let large = Buffers::register(uring, 1, numbers, MERGED_BUFFER_BYTES, false)?;
        Ok(Pools { single: Pool::new(small, 0), merged: Pool::new(large, CONTROL_BYTES) })
    }

    fn pool(&self, intake: Intake) -> &Pool {
        match intake {
            Intake::Single => &self.single,
            Intake::Merged => &self.merged,
        }
    }

    fn of(&self, buffer: &Buffer) -> &Pool {
        if self.single.buffers.has(buffer.0) { &self.single } else { &self.merged }
    }

    /// What a receive names: the message's form, which stays where it is, and the buffers.
    pub(super) fn target(&self, intake: Intake) -> (*const libc::msghdr, u16) {
        let pool = self.pool(intake);
        (&raw const *pool.message, pool.buffers.group())
    }

    /// Where the payload of what was received lies, and whatever is behind it.
    pub(super) fn payload(&self, buffer: &Buffer) -> &[u8] {
        let pool = self.of(buffer);
        &pool.buffers.get(buffer.0)[pool.payload_offset()..]
    }

    /// Gives buffers to the kernel. None of them may be read any more.
    pub(super) fn give_back(&mut self, spent: &[u16]) {
        for pool in [&mut self.single, &mut self.merged] {
            pool.buffers.give_back(spent);
        }
    }

    /// What was received into `buffer`; `None` if it is not a datagram of either family.
    pub(super) fn datagram(&self, buffer: &Buffer) -> Option<Datagram<'_>> {
        let pool = self.of(buffer);
        let bytes = pool.buffers.get(buffer.0);
        let out = RecvMsgOut::parse(bytes, &pool.message).ok()?;
        let source = source(out.name_data())?;
        let length = out.payload_data().len();
        let payload = bytes.get(pool.payload_offset()..)?.get(..length)?;
        let merged = segment(out.control_data()).filter(|each| *each < length);
        Some(Datagram { source, payload, truncated: out.is_payload_truncated(), merged })
    }
}

/// Reads the control message that gives the length of merged datagrams (udp(7)).
fn segment(control: &[u8]) -> Option<usize> {
    const HEADER: usize = mem::size_of::<libc::cmsghdr>();
    let number = |at: usize| Some(i32::from_ne_bytes(*control.get(at..)?.first_chunk()?));
    let level = number(mem::offset_of!(libc::cmsghdr, cmsg_level))?;
    let kind = number(mem::offset_of!(libc::cmsghdr, cmsg_type))?;
    let is_segment = (level, kind) == (libc::SOL_UDP, libc::UDP_GRO);
    let each = number(HEADER).filter(|_| is_segment)?;
    usize::try_from(each).ok().filter(|each| *each > 0)
}

/// Reads a sockaddr_in or sockaddr_in6. Flow label and scope are left out: the relay compares
/// addresses as signaling gives them.
pub(super) fn source(name: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(*name.first_chunk()?);
    let port = u16::from_be_bytes(name.get(2..4)?.try_into().ok()?);
    match i32::from(family) {
        libc::AF_INET => {
            let octets: [u8; 4] = name.get(4..8)?.try_into().ok()?;
            Some(SocketAddr::from((octets, port)))
        }
        libc::AF_INET6 => {
            let octets: [u8; 16] = name.get(8..24)?.try_into().ok()?;
            Some(SocketAddr::from((Ipv6Addr::from(octets), port)))
        }
        _ => None,
    }
}
