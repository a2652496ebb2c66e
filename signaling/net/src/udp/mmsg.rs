//! `recvmmsg` and `sendmmsg`: many datagrams in one system call.
//!
//! The headers are built anew for each call, on the stack: some 100 ns a batch, against the need to
//! keep pointers into our own memory from one call to the next.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use signaling_core::transport::Transmit;

use super::address::{self, CONTROL_BYTES, Control, LocalIp, RAW_ADDRESS_LENGTH, RawAddress};

/// Datagrams in one system call. Beyond some 30 the cost of the call itself is below 3 % of the
/// cost of the datagrams (a call is about as dear as one datagram).
pub(super) const BATCH_MAX: usize = 32;

/// Room for one received datagram: the largest UDP payload is 65,507 (IPv4) or 65,527 bytes (IPv6,
/// RFC 8200), so that none is ever cut short. Pages that no datagram reaches are never touched.
const SLOT_BYTES: usize = 65_536;

/// What is known of a received datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    /// Bytes of payload.
    pub(super) length: usize,
    /// The sender.
    pub(super) remote: SocketAddr,
    /// The local address, where the socket was asked to tell it.
    pub(super) local: Option<LocalIp>,
}

/// The buffers that datagrams are received into, used again for every batch.
pub(crate) struct Scratch {
    slots: Vec<u8>,
    received: [Option<Received>; BATCH_MAX],
}

impl Scratch {
    pub(crate) fn new() -> Scratch {
        Scratch { slots: vec![0; BATCH_MAX * SLOT_BYTES], received: [None; BATCH_MAX] }
    }

    /// Receives up to [`BATCH_MAX`] datagrams without waiting; returns how many places of
    /// [`Scratch::datagram`] are filled.
    ///
    /// # Errors
    /// `WouldBlock` if there is none; else the system's error.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let mut names = [address::empty(); BATCH_MAX];
        let mut controls = [Control([0; CONTROL_BYTES]); BATCH_MAX];
        // SAFETY: iovec and mmsghdr are plain structures for which all-zero bytes are valid.
        let mut vectors: [libc::iovec; BATCH_MAX] = unsafe { mem::zeroed() };
        // SAFETY: as above.
        let mut headers: [libc::mmsghdr; BATCH_MAX] = unsafe { mem::zeroed() };
        let slots = self.slots.chunks_exact_mut(SLOT_BYTES);
        let parts = names.iter_mut().zip(&mut controls).zip(&mut vectors).zip(slots);
        for (header, (((name, control), vector), slot)) in headers.iter_mut().zip(parts) {
            vector.iov_base = slot.as_mut_ptr().cast();
            vector.iov_len = SLOT_BYTES;
            header.msg_hdr.msg_name = ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = RAW_ADDRESS_LENGTH;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL_BYTES;
        }
        // SAFETY: every header points to a name, a control buffer and one vector, each of the
        // length that is stated, all of which live until after the call; the count is theirs.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH_MAX as libc::c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for (place, header) in headers.iter().take(count).enumerate() {
            self.received[place] = describe(header, &names[place]);
        }
        Ok(count)
    }

    /// A datagram of the last batch; `None` if its sender's address was not an IP address.
    pub(super) fn datagram(&self, place: usize) -> Option<(Received, &[u8])> {
        let received = self.received.get(place).copied().flatten()?;
        let start = place * SLOT_BYTES;
        Some((received, self.slots.get(start..start + received.length)?))
    }
}

fn describe(header: &libc::mmsghdr, name: &RawAddress) -> Option<Received> {
    let local = address::decode_local(&header.msg_hdr);
    Some(Received { length: header.msg_len as usize, remote: address::decode(name)?, local })
}

/// Sends the first messages of `transmits`, [`BATCH_MAX`] at most, without waiting; returns how many
/// the kernel took (at least one). With `set_source` each leaves from its target's local address.
///
/// # Errors
/// The error of the first message, of which nothing was sent; `WouldBlock` if the socket's buffer
/// is full.
pub(super) fn send<'a>(
    socket: BorrowedFd<'_>,
    transmits: impl Iterator<Item = &'a Transmit>,
    set_source: bool,
) -> io::Result<usize> {
    let mut names = [address::empty(); BATCH_MAX];
    let mut controls = [Control([0; CONTROL_BYTES]); BATCH_MAX];
    // SAFETY: iovec and mmsghdr are plain structures for which all-zero bytes are valid.
    let mut vectors: [libc::iovec; BATCH_MAX] = unsafe { mem::zeroed() };
    // SAFETY: as above.
    let mut headers: [libc::mmsghdr; BATCH_MAX] = unsafe { mem::zeroed() };
    let mut filled: libc::c_uint = 0;
    let parts = names.iter_mut().zip(&mut controls).zip(&mut vectors).zip(&mut headers);
    for (transmit, (((name, control), vector), header)) in transmits.zip(parts) {
        // The kernel only reads through the pointer, although an iovec holds a mutable one.
        vector.iov_base = transmit.bytes.as_ptr().cast_mut().cast();
        vector.iov_len = transmit.bytes.len();
        header.msg_hdr.msg_namelen = address::encode(transmit.target.remote, name);
        header.msg_hdr.msg_name = ptr::from_mut(name).cast();
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        if set_source {
            let length = address::encode_source(transmit.target.local, control);
            header.msg_hdr.msg_controllen = length;
            if length > 0 {
                header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            }
        }
        filled += 1;
    }
    // SAFETY: the first `filled` headers point to names, vectors, payloads (borrowed by the caller)
    // and control buffers of the stated lengths, all of which live until after the call.
    let count = unsafe {
        libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), filled, libc::MSG_DONTWAIT)
    };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}
