//! The only place that talks to io_uring, and with [`buffers`] the only one with unsafe code.
//!
//! **Who owns what the kernel reads and writes.** Receive buffers belong to the kernel while they
//! are in the buffer ring. A completion hands one to us; [`Ring::release`] gives it back, but not
//! before the next submission has been taken by the kernel. That makes sending straight out of a
//! receive buffer sound: each send carries MSG_DONTWAIT, so the kernel carries it out or fails it
//! while it takes the submission (such a request is marked NOWAIT and is never put aside for
//! later), and has copied the payload when the system call returns. Destination addresses follow
//! the same rule. `tests/engine/pressure.rs` checks it with few buffers under load.
//!
//! **Drop order.** Fields drop in the order in which they are declared: the ring first, which ends
//! every request, then the memory that requests point to.

mod buffers;

use std::io;
use std::mem;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, Fixed, RecvMsgOut, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use socket2::SockAddr;

use crate::config::RingSizes;
use buffers::Buffers;

/// What the kernel writes before the payload as an address.
const NAME_BYTES: u32 = mem::size_of::<libc::sockaddr_in6>() as u32;

/// Submissions that may fail in a row because the kernel is short of memory, before that is taken
/// for a fault.
const SUBMIT_TRIES_MAX: u32 = 1000;

/// What a request is for. The tag of a request is this and 56 bits of the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Receive = 1,
    Send,
    Connect,
    Cancel,
    Close,
    Wake,
}

impl Operation {
    const ALL: [Operation; 6] = [
        Operation::Receive,
        Operation::Send,
        Operation::Connect,
        Operation::Cancel,
        Operation::Close,
        Operation::Wake,
    ];

    const fn tag(self, subject: u64) -> u64 {
        (self as u64) << 56 | subject
    }
}

/// The end of a request, or one of many results of a multishot one.
#[derive(Debug)]
pub(crate) struct Completion {
    pub(crate) operation: Operation,
    /// The caller's 56 bits.
    pub(crate) subject: u64,
    /// A count, or what went wrong as an errno.
    pub(crate) result: Result<u32, i32>,
    /// Whether more results of the same request will come.
    pub(crate) more: bool,
    /// The receive buffer that came with it, to be released.
    pub(crate) buffer: Option<Buffer>,
}

/// A receive buffer that we hold. There is one of each: who has released it cannot read it.
#[derive(Debug)]
pub(crate) struct Buffer(u16);

/// A received datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram<'a> {
    pub(crate) source: SocketAddr,
    pub(crate) payload: &'a [u8],
    /// It was longer than a buffer.
    pub(crate) truncated: bool,
}

/// An io_uring with a table of sockets, a buffer ring, and multishot receives into it.
pub(crate) struct Ring {
    // First: see the drop order above.
    uring: IoUring,
    buffers: Buffers,
    /// Which parts of a message are received; every receive refers to it.
    message: Box<libc::msghdr>,
    /// Where the wake-up counter is read to.
    wake_count: Box<u64>,
    /// Addresses that submissions under construction point to. Never grown past its capacity.
    addresses: Vec<SockAddr>,
    /// Buffers to give back once the kernel has taken the submissions that read them.
    spent: Vec<u16>,
}

impl Ring {
    /// A ring of the thread that calls this, which is the only one that may use it.
    pub(crate) fn new(
        sizes: RingSizes,
        sockets: u32,
        buffers: u16,
        buffer_bytes: u32,
    ) -> Result<Ring, (&'static str, io::Error)> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_defer_taskrun()
            // Without it one failed send would leave those after it unsubmitted.
            .setup_submit_all()
            .setup_cqsize(sizes.completions)
            .setup_clamp()
            .build(sizes.submissions)
            .map_err(|error| ("io_uring_setup", error))?;
        let register = uring.submitter().register_files_sparse(sockets);
        register.map_err(|error| ("io_uring register the table of sockets", error))?;
        let pool = Buffers::register(&uring, buffers, buffer_bytes)
            .map_err(|error| ("io_uring register the receive buffers", error))?;
        // SAFETY: a msghdr of zeros is one without name, vectors and control data.
        let mut message: Box<libc::msghdr> = Box::new(unsafe { mem::zeroed() });
        message.msg_namelen = NAME_BYTES;
        Ok(Ring {
            addresses: Vec::with_capacity(sizes.submissions as usize),
            spent: Vec::with_capacity(usize::from(buffers)),
            uring,
            buffers: pool,
            message,
            wake_count: Box::new(0),
        })
    }

    /// Puts a socket into the table at `index`. The kernel holds a reference of its own then, and
    /// the descriptor may be closed.
    pub(crate) fn install(&self, index: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.uring.submitter().register_files_update(index, &[socket.as_raw_fd()]).map(drop)
    }

    /// Receives on the socket until further notice; each datagram is a completion.
    pub(crate) fn receive(&mut self, index: u32, subject: u64) -> io::Result<()> {
        let message: *const libc::msghdr = &raw const *self.message;
        let entry = opcode::RecvMsgMulti::new(Fixed(index), message, buffers::GROUP).build();
        // SAFETY: the message header lives as long as the ring and is not changed.
        unsafe { self.push(&entry.user_data(Operation::Receive.tag(subject))) }
    }

    /// Sends the first `length` bytes of the payload in `buffer` from the socket, to `to` or to
    /// where it is connected. Completes only if it fails. The buffer must be released after this.
    pub(crate) fn send(
        &mut self,
        index: u32,
        buffer: &Buffer,
        length: usize,
        to: Option<SocketAddr>,
        subject: u64,
    ) -> io::Result<()> {
        if to.is_some() && self.addresses.len() == self.addresses.capacity() {
            self.submit()?;
        }
        let payload = &self.buffers.get(buffer.0)[payload_offset()..];
        let length = length.min(payload.len()) as u32;
        let mut send =
            opcode::Send::new(Fixed(index), payload.as_ptr(), length).flags(libc::MSG_DONTWAIT);
        if let Some(to) = to {
            let address = self.keep_address(to);
            send = send.dest_addr(address.as_ptr().cast()).dest_addr_len(address.len());
        }
        let entry = send.build().flags(squeue::Flags::SKIP_SUCCESS);
        // SAFETY: `release` leaves the buffer ours until the kernel has taken this entry, and
        // `addresses` is not cleared or grown before that. MSG_DONTWAIT: it is done with both then.
        unsafe { self.push(&entry.user_data(Operation::Send.tag(subject))) }
    }

    /// Connects the socket to `peer`, or dissolves its connection.
    pub(crate) fn connect(
        &mut self,
        index: u32,
        peer: Option<SocketAddr>,
        subject: u64,
    ) -> io::Result<()> {
        if self.addresses.len() == self.addresses.capacity() {
            self.submit()?;
        }
        let entry = match peer {
            Some(peer) => {
                let address = self.keep_address(peer);
                opcode::Connect::new(Fixed(index), address.as_ptr().cast(), address.len())
            }
            // All zeros is a sockaddr of the family AF_UNSPEC (connect(2)).
            None => opcode::Connect::new(Fixed(index), (&raw const NOBODY).cast(), NOBODY_BYTES),
        };
        // SAFETY: the kernel copies the address while it takes the entry, and it is kept until then.
        unsafe { self.push(&entry.build().user_data(Operation::Connect.tag(subject))) }
    }

    fn keep_address(&mut self, address: SocketAddr) -> &SockAddr {
        debug_assert!(self.addresses.len() < self.addresses.capacity(), "room was made");
        self.addresses.push(SockAddr::from(address));
        &self.addresses[self.addresses.len() - 1]
    }

    /// Ends the receive with this subject; that one completes for the last time then.
    pub(crate) fn cancel_receive(&mut self, subject: u64) -> io::Result<()> {
        let target = CancelBuilder::user_data(Operation::Receive.tag(subject));
        let entry = opcode::AsyncCancel2::new(target).build().flags(squeue::Flags::SKIP_SUCCESS);
        // SAFETY: the entry points to no memory.
        unsafe { self.push(&entry.user_data(Operation::Cancel.tag(subject))) }
    }

    /// Takes the socket out of the table, which closes it if nothing uses it any more.
    pub(crate) fn close(&mut self, index: u32, subject: u64) -> io::Result<()> {
        let entry = opcode::Close::new(Fixed(index)).build();
        // SAFETY: the entry points to no memory.
        unsafe { self.push(&entry.user_data(Operation::Close.tag(subject))) }
    }

    /// Completes once the eventfd has been written to, and resets it.
    pub(crate) fn await_wake(&mut self, eventfd: BorrowedFd<'_>) -> io::Result<()> {
        let target: *mut u64 = &raw mut *self.wake_count;
        let length = mem::size_of::<u64>() as u32;
        let entry = opcode::Read::new(Fd(eventfd.as_raw_fd()), target.cast(), length).build();
        // SAFETY: the counter lives as long as the ring, and nothing else refers to it.
        unsafe { self.push(&entry.user_data(Operation::Wake.tag(0))) }
    }

    /// # Safety
    /// What the entry points to stays valid until its last completion, or until it is submitted if
    /// the kernel is done with it by then.
    unsafe fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        for _ in 0..SUBMIT_TRIES_MAX {
            // SAFETY: the caller's promise.
            if unsafe { self.uring.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            self.submit()?;
        }
        Err(io::Error::new(io::ErrorKind::WouldBlock, "the ring takes no submissions"))
    }

    /// Gives a buffer back, once the submissions so far have been taken.
    pub(crate) fn release(&mut self, buffer: Buffer) {
        self.spent.push(buffer.0);
    }

    /// Has the kernel take the submissions so far.
    pub(crate) fn submit(&mut self) -> io::Result<()> {
        let result = self.uring.submit();
        self.after_enter(result)
    }

    /// Has the kernel take the submissions so far, and waits for a completion, but no longer than
    /// `timeout`.
    pub(crate) fn submit_and_wait(&mut self, timeout: Duration) -> io::Result<()> {
        let timeout = Timespec::from(timeout);
        let result =
            self.uring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timeout));
        self.after_enter(result)
    }

    fn after_enter(&mut self, result: io::Result<usize>) -> io::Result<()> {
        if let Err(error) = result {
            match error.raw_os_error() {
                // ETIME: nothing came. The others pass: a signal; completions are to be reaped
                // first, or memory is short, and what was not taken stays in the queue.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => {}
                _ => return Err(error),
            }
        }
        if self.uring.submission().is_empty() {
            self.addresses.clear();
            self.buffers.give_back(&self.spent);
            self.spent.clear();
        }
        Ok(())
    }

    /// Takes up to `most` completions into `batch`.
    pub(crate) fn reap(&mut self, batch: &mut Vec<Completion>, most: usize) {
        batch.extend(self.uring.completion().take(most).filter_map(|entry| completion(&entry)));
    }

    /// Whether the kernel had to put completions aside because their queue was full. It does not
    /// lose them.
    pub(crate) fn has_overflowed(&mut self) -> bool {
        self.uring.submission().cq_overflow()
    }

    /// What was received into `buffer`; `None` if it is not a datagram of either family.
    pub(crate) fn datagram(&self, buffer: &Buffer) -> Option<Datagram<'_>> {
        let bytes = self.buffers.get(buffer.0);
        let out = RecvMsgOut::parse(bytes, &self.message).ok()?;
        let source = source(out.name_data())?;
        let length = out.payload_data().len();
        let payload = bytes.get(payload_offset()..)?.get(..length)?;
        Some(Datagram { source, payload, truncated: out.is_payload_truncated() })
    }
}

impl Ring {
    /// Arms a multishot receive on a socket of no address and cancels it: what became of it.
    pub(crate) fn try_receive(&mut self) -> io::Result<Option<Result<u32, i32>>> {
        let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
        self.install(0, std::os::fd::AsFd::as_fd(&socket))?;
        self.receive(0, 0)?;
        self.cancel_receive(0)?;
        self.submit_and_wait(Duration::from_millis(100))?;
        let mut batch = Vec::new();
        self.reap(&mut batch, 2);
        let receive = batch.iter().find(|completion| completion.operation == Operation::Receive);
        Ok(receive.map(|completion| completion.result))
    }
}

/// An address of no family.
static NOBODY: [u16; 8] = [0; 8];
const NOBODY_BYTES: u32 = mem::size_of_val(&NOBODY) as u32;

/// Where the payload begins in a buffer: after the kernel's header of four numbers, and the name.
const fn payload_offset() -> usize {
    4 * mem::size_of::<u32>() + NAME_BYTES as usize
}

fn completion(entry: &cqueue::Entry) -> Option<Completion> {
    let tag = entry.user_data();
    let number = (tag >> 56) as usize;
    let operation = *Operation::ALL.get(number.checked_sub(1)?)?;
    Some(Completion {
        operation,
        subject: tag & ((1 << 56) - 1),
        result: u32::try_from(entry.result()).map_err(|_| -entry.result()),
        more: cqueue::more(entry.flags()),
        buffer: cqueue::buffer_select(entry.flags()).map(Buffer),
    })
}

/// Reads a sockaddr_in or sockaddr_in6. Flow label and scope are left out: the relay compares
/// addresses as signaling gives them.
fn source(name: &[u8]) -> Option<SocketAddr> {
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

#[cfg(test)]
mod tests;
