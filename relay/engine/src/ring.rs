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
//! **Many sockets.** A ring's table has at most as many places as the process may have descriptors
//! (RLIMIT_NOFILE). Sockets past that live in the tables of further rings, which only ever carry
//! out what ends while it is submitted (SEND, CONNECT, CLOSE): nobody has to wait for those rings.
//! Every receive, whichever table its socket is in, is armed on the main ring, which takes a
//! reference of its own to the socket; so there is one place to wait, one queue of completions and
//! one pool of buffers, and a batch costs one more system call for each table that it sends from.
//!
//! **Drop order.** Fields drop in the order in which they are declared: the rings first, which ends
//! every request, then the memory that requests point to.

mod buffers;
mod received;
mod segments;
mod tables;

use std::io;
use std::iter;
use std::mem;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, Fixed, SubmitArgs, Timespec};
use io_uring::{cqueue, opcode, squeue};
use smallvec::SmallVec;
use socket2::SockAddr;

use crate::config::RingSizes;
use received::Pools;
pub(crate) use received::{Buffer, Datagram, Intake, PoolSizes};
use segments::Messages;
pub(crate) use segments::{RUN_MAX, SEGMENT_MAX};
use tables::{Place, Tables, passes};

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
    /// As [`Operation::Send`], of several packets at once.
    SendRun,
}

/// The tags of requests that get a descriptor of a socket in a further table, above 56 bits of the
/// caller's, for each way to receive: more than the operations, as they never leave this module.
const FETCH: [(u64, Intake); 2] = [
    (Operation::ALL.len() as u64 + 1, Intake::Single),
    (Operation::ALL.len() as u64 + 2, Intake::Merged),
];

/// The caller's bits of a tag.
const SUBJECT: u64 = (1 << 56) - 1;

impl Operation {
    const ALL: [Operation; 7] = [
        Operation::Receive,
        Operation::Send,
        Operation::Connect,
        Operation::Cancel,
        Operation::Close,
        Operation::Wake,
        Operation::SendRun,
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

/// A wait for several completions at once, so that they share one wake-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gather {
    /// That many end it.
    pub(crate) completions: usize,
    /// After so long what is there ends it; if there is nothing, the next completion does.
    pub(crate) window: Duration,
}

/// An io_uring with a table of sockets, a buffer ring, and multishot receives into it.
pub(crate) struct Ring {
    // First: see the drop order above.
    tables: Tables,
    pools: Pools,
    /// Where the wake-up counter is read to.
    wake_count: Box<u64>,
    /// Addresses that submissions under construction point to. Never grown past its capacity.
    addresses: Vec<SockAddr>,
    /// Buffers to give back once the kernel has taken the submissions that read them.
    spent: Vec<u16>,
    /// Sockets that are to be in their tables before the next submission, by their index there, and
    /// whose descriptors submissions under construction name.
    fresh: Vec<(u32, OwnedFd)>,
    /// How many of these, from the first on, are in their tables.
    installed: usize,
    /// Descriptors that submissions under construction name, of sockets that are in their tables.
    fetched: Vec<OwnedFd>,
    /// Descriptors that were asked for and are not there yet.
    fetching: usize,
    /// Completions of the further rings.
    aside: Vec<Completion>,
    /// What runs under construction point to.
    messages: Messages,
    /// Whether the kernel has waits with a [`Gather`] (IORING_FEAT_MIN_TIMEOUT, Linux 6.12).
    can_gather: bool,
}

/// What a receive is armed on.
#[derive(Clone, Copy, Debug)]
enum Target {
    Descriptor(RawFd),
    Fixed(Fixed),
}

/// Descriptors that are kept at most until a submission: they are the process's, which has few.
const FRESH_MAX: usize = 64;

impl Ring {
    /// A ring of the thread that calls this, which is the only one that may use it. It has room for
    /// `sockets` sockets, of which `sizes.table` fit one table.
    pub(crate) fn new(
        sizes: RingSizes,
        sockets: u32,
        buffers: PoolSizes,
    ) -> Result<Ring, (&'static str, io::Error)> {
        let tables = Tables::new(sizes, sockets)?;
        let pools = Pools::register(tables.main(), buffers)
            .map_err(|error| ("io_uring register the receive buffers", error))?;
        Ok(Ring {
            addresses: Vec::with_capacity(sizes.submissions as usize),
            spent: Vec::with_capacity(usize::from(buffers.single) + usize::from(buffers.merged)),
            fresh: Vec::with_capacity(FRESH_MAX),
            installed: 0,
            fetched: Vec::with_capacity(FRESH_MAX),
            fetching: 0,
            aside: Vec::new(),
            messages: Messages::new(),
            can_gather: tables.main().params().is_feature_min_timeout(),
            tables,
            pools,
            wake_count: Box::new(0),
        })
    }

    /// Puts a socket into the table at `index`, before the kernel takes the submissions that follow.
    /// It holds a reference of its own then, and the descriptor is closed. While the kernel is short
    /// of memory the socket waits for its place and cannot send; when too many wait, this fails.
    pub(crate) fn install(&mut self, index: u32, socket: OwnedFd) -> io::Result<()> {
        if self.fresh.len() == FRESH_MAX {
            self.submit()?;
        }
        if self.fresh.len() == FRESH_MAX {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.tables.make_for(self.tables.place(index))?;
        self.fresh.push((index, socket));
        Ok(())
    }

    /// Puts the sockets into the tables that are not there yet: neighbours, as those of a session
    /// mostly are, with one call.
    fn install_fresh(&mut self) -> io::Result<()> {
        if self.installed == self.fresh.len() {
            return Ok(());
        }
        let fresh = &mut self.fresh[self.installed..];
        fresh.sort_unstable_by_key(|(index, _)| *index);
        let neighbours = |(a, _): &(u32, OwnedFd), (b, _): &(u32, OwnedFd)| {
            a + 1 == *b && self.tables.place(*a).ring == self.tables.place(*b).ring
        };
        for run in fresh.chunk_by(neighbours) {
            let Some((first, _)) = run.first() else { continue };
            let sockets: SmallVec<[RawFd; 8]> = run.iter().map(|(_, fd)| fd.as_raw_fd()).collect();
            match self.tables.install(self.tables.place(*first), &sockets) {
                Ok(count) => {
                    self.installed += count;
                    if count < sockets.len() {
                        break;
                    }
                }
                // The rest is tried again with the next submission.
                Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Receives on the socket until further notice; each datagram is a completion, or several that
    /// came merged.
    pub(crate) fn receive(&mut self, index: u32, intake: Intake, subject: u64) -> io::Result<()> {
        let place = self.tables.place(index);
        let fresh = self.fresh.iter().rev().find(|(fresh, _)| *fresh == index);
        match fresh.map(|(_, socket)| socket.as_raw_fd()) {
            Some(descriptor) => self.arm(Target::Descriptor(descriptor), intake, subject),
            None if place.is_elsewhere() => self.fetch(place, intake, subject),
            None => self.arm(Target::Fixed(place.fixed), intake, subject),
        }
    }

    /// Arms a receive on the main ring. It outlives the descriptor.
    fn arm(&mut self, target: Target, intake: Intake, subject: u64) -> io::Result<()> {
        let (message, group) = self.pools.target(intake);
        let entry = match target {
            Target::Descriptor(fd) => opcode::RecvMsgMulti::new(Fd(fd), message, group),
            Target::Fixed(fixed) => opcode::RecvMsgMulti::new(fixed, message, group),
        };
        let entry = entry.build();
        // SAFETY: the message header lives as long as the ring and is not changed.
        unsafe { self.push(Tables::MAIN, &entry.user_data(Operation::Receive.tag(subject))) }
    }

    /// Asks for a descriptor of a socket that only a further table has; its receive is armed as
    /// soon as it is there, which is within the next submission.
    fn fetch(&mut self, place: Place, intake: Intake, subject: u64) -> io::Result<()> {
        if self.fetching == FRESH_MAX {
            self.submit()?;
        }
        let [(single, _), (merged, _)] = FETCH;
        let fetch = if intake == Intake::Merged { merged } else { single };
        let entry = opcode::FixedFdInstall::new(place.fixed, 0).build();
        // SAFETY: the entry points to no memory.
        unsafe { self.push(place.ring, &entry.user_data(fetch << 56 | subject)) }?;
        self.fetching += 1;
        Ok(())
    }

    fn fetched(&mut self, intake: Intake, subject: u64, result: i32) -> io::Result<()> {
        self.fetching -= 1;
        if result < 0 {
            // The receive could not be armed: to those who wait for it, it has ended.
            self.aside.push(Completion {
                operation: Operation::Receive,
                subject,
                result: Err(-result),
                more: false,
                buffer: None,
            });
            return Ok(());
        }
        // SAFETY: the kernel has just made this descriptor for us, and nothing else knows of it.
        let socket = unsafe { OwnedFd::from_raw_fd(result) };
        self.arm(Target::Descriptor(result), intake, subject)?;
        self.fetched.push(socket);
        Ok(())
    }

    /// Sends this part of the payload in `buffer` from the socket, to `to` or to where it is
    /// connected. Completes only if it fails. The buffer must be released after this.
    pub(crate) fn send(
        &mut self,
        index: u32,
        buffer: &Buffer,
        part: Range<usize>,
        to: Option<SocketAddr>,
        subject: u64,
    ) -> io::Result<()> {
        if to.is_some() && self.addresses.len() == self.addresses.capacity() {
            self.submit()?;
        }
        let payload = self.pools.payload(buffer).get(part).unwrap_or_default();
        // Within a buffer, whose length is a u32.
        let (start, length) = (payload.as_ptr(), payload.len() as u32);
        let place = self.tables.place(index);
        let mut send = opcode::Send::new(place.fixed, start, length).flags(libc::MSG_DONTWAIT);
        if let Some(to) = to {
            let address = self.keep_address(to);
            send = send.dest_addr(address.as_ptr().cast()).dest_addr_len(address.len());
        }
        let entry = send.build().flags(squeue::Flags::SKIP_SUCCESS);
        // SAFETY: `release` leaves the buffer ours until the kernel has taken this entry, and
        // `addresses` is not cleared or grown before that. MSG_DONTWAIT: it is done with both then.
        unsafe { self.push(place.ring, &entry.user_data(Operation::Send.tag(subject))) }
    }

    /// Sends the payloads of up to [`RUN_MAX`] buffers as [`Ring::send`] would, each as a datagram
    /// of its own. `lengths` are that of all but the last, at most [`SEGMENT_MAX`], and that of the
    /// last, which is not longer. The buffers must be released after this.
    pub(crate) fn send_run(
        &mut self,
        index: u32,
        run: &[Buffer],
        lengths: (usize, usize),
        to: Option<SocketAddr>,
        subject: u64,
    ) -> io::Result<()> {
        if self.messages.is_full() {
            self.submit()?;
        }
        let (each, last) = lengths;
        let packets = run.iter().enumerate().map(|(place, buffer)| {
            let length = if place + 1 == run.len() { last } else { each };
            self.pools.payload(buffer).get(..length).unwrap_or_default()
        });
        // At most SEGMENT_MAX.
        let message = self.messages.compose(packets, each as u16, to);
        self.send_message(index, message, subject)
    }

    /// Sends this part of the payload in `buffer` as [`Ring::send`] would, cut into datagrams of
    /// `each` bytes, at most [`SEGMENT_MAX`], and a last one that may be shorter. The buffer must be
    /// released after this.
    pub(crate) fn send_cut(
        &mut self,
        index: u32,
        buffer: &Buffer,
        (part, each): (Range<usize>, usize),
        to: Option<SocketAddr>,
        subject: u64,
    ) -> io::Result<()> {
        if self.messages.is_full() {
            self.submit()?;
        }
        let payload = self.pools.payload(buffer).get(part).unwrap_or_default();
        let message = self.messages.compose(iter::once(payload), each as u16, to);
        self.send_message(index, message, subject)
    }

    fn send_message(
        &mut self,
        index: u32,
        message: *const libc::msghdr,
        subject: u64,
    ) -> io::Result<()> {
        let place = self.tables.place(index);
        let entry = opcode::SendMsg::new(place.fixed, message).flags(libc::MSG_DONTWAIT as u32);
        let entry = entry.build().flags(squeue::Flags::SKIP_SUCCESS);
        // SAFETY: as in `send`, for the buffers and for the message, which is kept as long.
        unsafe { self.push(place.ring, &entry.user_data(Operation::SendRun.tag(subject))) }
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
        let place = self.tables.place(index);
        let entry = match peer {
            Some(peer) => {
                let address = self.keep_address(peer);
                opcode::Connect::new(place.fixed, address.as_ptr().cast(), address.len())
            }
            // All zeros is a sockaddr of the family AF_UNSPEC (connect(2)).
            None => opcode::Connect::new(place.fixed, (&raw const NOBODY).cast(), NOBODY_BYTES),
        };
        let entry = entry.build().user_data(Operation::Connect.tag(subject));
        // SAFETY: the kernel copies the address while it takes the entry, and it is kept until then.
        unsafe { self.push(place.ring, &entry) }
    }

    fn keep_address(&mut self, address: SocketAddr) -> &SockAddr {
        debug_assert!(self.addresses.len() < self.addresses.capacity(), "room was made");
        self.addresses.push(SockAddr::from(address));
        &self.addresses[self.addresses.len() - 1]
    }

    /// Ends the receive with this subject; that one completes for the last time then.
    pub(crate) fn cancel_receive(&mut self, subject: u64) -> io::Result<()> {
        if self.fetching > 0 {
            // It might be armed after this otherwise, and never end.
            self.submit()?;
        }
        let target = CancelBuilder::user_data(Operation::Receive.tag(subject));
        let entry = opcode::AsyncCancel2::new(target).build().flags(squeue::Flags::SKIP_SUCCESS);
        // SAFETY: the entry points to no memory.
        unsafe { self.push(Tables::MAIN, &entry.user_data(Operation::Cancel.tag(subject))) }
    }

    /// Takes the socket out of the table, which closes it if nothing uses it any more.
    pub(crate) fn close(&mut self, index: u32, subject: u64) -> io::Result<()> {
        let place = self.tables.place(index);
        let entry = opcode::Close::new(place.fixed).build();
        // SAFETY: the entry points to no memory.
        unsafe { self.push(place.ring, &entry.user_data(Operation::Close.tag(subject))) }
    }

    /// Completes once the eventfd has been written to, and resets it.
    pub(crate) fn await_wake(&mut self, eventfd: BorrowedFd<'_>) -> io::Result<()> {
        let target: *mut u64 = &raw mut *self.wake_count;
        let length = mem::size_of::<u64>() as u32;
        let entry = opcode::Read::new(Fd(eventfd.as_raw_fd()), target.cast(), length).build();
        // SAFETY: the counter lives as long as the ring, and nothing else refers to it.
        unsafe { self.push(Tables::MAIN, &entry.user_data(Operation::Wake.tag(0))) }
    }

    /// # Safety
    /// What the entry points to stays valid until its last completion, or until it is submitted if
    /// the kernel is done with it by then.
    unsafe fn push(&mut self, ring: usize, entry: &squeue::Entry) -> io::Result<()> {
        for _ in 0..SUBMIT_TRIES_MAX {
            // SAFETY: the caller's promise.
            if unsafe { self.tables.push(ring, entry) } {
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
        self.submit_elsewhere()?;
        let result = self.tables.main().submit();
        self.after_enter(result)
    }

    /// Has the kernel take the submissions so far, and waits for a completion, but no longer than
    /// `timeout`; with `gather` for several, as it says.
    pub(crate) fn submit_and_wait(
        &mut self,
        timeout: Duration,
        gather: Option<Gather>,
    ) -> io::Result<()> {
        self.submit_elsewhere()?;
        // What has completed already must not wait for something else.
        let (timeout, gather) =
            if self.aside.is_empty() { (timeout, gather) } else { (Duration::ZERO, None) };
        let gather = gather.filter(|_| self.can_gather);
        let timeout = Timespec::from(timeout);
        let mut arguments = SubmitArgs::new().timespec(&timeout);
        let mut want = 1;
        if let Some(Gather { completions, window }) = gather {
            want = completions;
            arguments = arguments.min_wait_usec(u32::try_from(window.as_micros()).unwrap_or(0));
        }
        let result = self.tables.main().submitter().submit_with_args(want, &arguments);
        self.after_enter(result)
    }

    /// Has the kernel take the submissions of the further rings, and arms the receives whose
    /// sockets that brings.
    fn submit_elsewhere(&mut self) -> io::Result<()> {
        self.install_fresh()?;
        for ring in self.tables.elsewhere() {
            self.tables.submit(ring)?;
            while let Some(entry) = self.tables.take(ring) {
                let tag = entry.user_data();
                match FETCH.iter().find(|(fetch, _)| *fetch == tag >> 56) {
                    Some((_, intake)) => self.fetched(*intake, tag & SUBJECT, entry.result())?,
                    None => self.aside.extend(completion(&entry)),
                }
            }
        }
        Ok(())
    }

    fn after_enter(&mut self, result: io::Result<usize>) -> io::Result<()> {
        if let Err(error) = result
            && !passes(&error)
        {
            return Err(error);
        }
        if self.tables.are_submitted() {
            self.addresses.clear();
            self.messages.clear();
            self.pools.give_back(&self.spent);
            self.spent.clear();
            self.fresh.drain(..self.installed);
            self.installed = 0;
            self.fetched.clear();
        }
        Ok(())
    }

    /// Takes up to `most` completions into `batch`.
    pub(crate) fn reap(&mut self, batch: &mut Vec<Completion>, most: usize) {
        batch.extend(self.aside.drain(..self.aside.len().min(most)));
        let room = most - batch.len().min(most);
        batch.extend(self.tables.main_mut().completion().take(room).filter_map(|e| completion(&e)));
    }

    /// Whether the kernel had to put completions aside because their queue was full. It does not
    /// lose them.
    pub(crate) fn has_overflowed(&mut self) -> bool {
        self.tables.main_mut().submission().cq_overflow()
    }

    /// What was received into `buffer`; `None` if it is not a datagram of either family.
    pub(crate) fn datagram(&self, buffer: &Buffer) -> Option<Datagram<'_>> {
        self.pools.datagram(buffer)
    }
}

impl Ring {
    /// Arms a multishot receive on a socket of no address and cancels it: what became of it.
    pub(crate) fn try_receive(&mut self) -> io::Result<Option<Result<u32, i32>>> {
        let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
        self.install(0, socket.into())?;
        self.receive(0, Intake::Single, 0)?;
        self.cancel_receive(0)?;
        self.submit_and_wait(Duration::from_millis(100), None)?;
        let mut batch = Vec::new();
        self.reap(&mut batch, 2);
        let receive = batch.iter().find(|completion| completion.operation == Operation::Receive);
        Ok(receive.map(|completion| completion.result))
    }
}

/// An address of no family.
static NOBODY: [u16; 8] = [0; 8];
const NOBODY_BYTES: u32 = mem::size_of_val(&NOBODY) as u32;

fn completion(entry: &cqueue::Entry) -> Option<Completion> {
    let tag = entry.user_data();
    let number = (tag >> 56) as usize;
    let operation = *Operation::ALL.get(number.checked_sub(1)?)?;
    Some(Completion {
        operation,
        subject: tag & SUBJECT,
        result: u32::try_from(entry.result()).map_err(|_| -entry.result()),
        more: cqueue::more(entry.flags()),
        buffer: cqueue::buffer_select(entry.flags()).map(Buffer),
    })
}

#[cfg(test)]
mod tests;
