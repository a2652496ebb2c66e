//! Many datagrams a system call: `sendmmsg` and `recvmmsg`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::{io, mem, ptr};

use crate::media::packet::{HEAD_BYTES, PAYLOAD_BYTES_MAX, RTP_HEADER_BYTES};

/// Datagrams a call: past some 32 the gain is lost in the noise, and one bit each fits a word.
pub(crate) const BATCH: usize = 64;

/// Room for one datagram; a longer one is cut and then fails its check.
const DATAGRAM_BYTES: usize = (RTP_HEADER_BYTES + PAYLOAD_BYTES_MAX + 1).next_multiple_of(64);

/// Room for one SCM_TIMESTAMPNS message: a header of 16 bytes and a timespec of 16.
const CONTROL_BYTES: usize = 64;

/// Tries of one `sendmmsg` that is interrupted or told to come back, before its packet is given up.
const SEND_TRIES_MAX: u32 = 8;

const ADDRESS_BYTES: libc::socklen_t = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
const ADDRESS4_BYTES: libc::socklen_t = size_of::<libc::sockaddr_in>() as libc::socklen_t;

const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

const NOTHING: libc::iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };

/// A kernel structure that holds pointers into the batch that owns it.
struct Owned<T>(T);

// SAFETY: the pointers lead into heap memory of the same batch, which moves to another thread as a
// whole and is only reached through `&mut`.
unsafe impl<T> Send for Owned<T> {}

/// How many datagrams the kernel took of a batch, and which it refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) taken: usize,
    /// Bit `n` is set if datagram `n` was refused.
    pub(crate) refused: u64,
}

/// Datagrams that wait to be sent from one socket. Each lies in one piece: head and filling as two
/// would spare a copy here, and cost the kernel more than that for the second piece's bookkeeping.
pub(crate) struct SendBatch {
    datagrams: Box<[[u8; DATAGRAM_BYTES]; BATCH]>,
    names: Box<[libc::sockaddr_in6; BATCH]>,
    parts: Owned<Box<[libc::iovec; BATCH]>>,
    headers: Owned<Box<[libc::mmsghdr; BATCH]>>,
    length: usize,
}

impl SendBatch {
    pub(crate) fn new() -> SendBatch {
        SendBatch {
            datagrams: Box::new([[0; DATAGRAM_BYTES]; BATCH]),
            names: Box::new([raw_address(NOWHERE); BATCH]),
            parts: Owned(Box::new([NOTHING; BATCH])),
            headers: Owned(Box::new([empty_header(); BATCH])),
            length: 0,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.length
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.length == BATCH
    }

    /// Adds a datagram to `destination`: `write` fills its head and returns the filling.
    ///
    /// # Panics
    /// The batch is full (ask [`SendBatch::is_full`] first), or the filling is longer than
    /// [`PAYLOAD_BYTES_MAX`] allows.
    pub(crate) fn push<'a>(
        &mut self,
        destination: SocketAddr,
        write: impl FnOnce(&mut [u8; HEAD_BYTES]) -> &'a [u8],
    ) {
        let at = self.length;
        let (head, rest) =
            self.datagrams[at].split_first_chunk_mut().expect("a datagram is longer than its head");
        let filling = write(head);
        rest[..filling.len()].copy_from_slice(filling);
        let length = HEAD_BYTES + filling.len();
        self.names[at] = raw_address(destination);
        self.parts.0[at] =
            libc::iovec { iov_base: self.datagrams[at].as_mut_ptr().cast(), iov_len: length };
        let header = &mut self.headers.0[at].msg_hdr;
        header.msg_name = (&raw mut self.names[at]).cast();
        header.msg_namelen = if destination.is_ipv4() { ADDRESS4_BYTES } else { ADDRESS_BYTES };
        header.msg_iov = &raw mut self.parts.0[at];
        header.msg_iovlen = 1;
        self.length += 1;
    }

    /// Sends and empties the batch. A datagram that the kernel refuses is given up and the rest
    /// goes on.
    pub(crate) fn flush(&mut self, socket: BorrowedFd<'_>) -> Sent {
        let length = mem::take(&mut self.length);
        let mut sent = Sent::default();
        let (mut at, mut tries) = (0, 0);
        while at < length {
            let rest = &mut self.headers.0[at..length];
            // SAFETY: `rest` holds headers that `push` pointed at our datagrams, names and parts; the
            // kernel only reads them.
            let result = unsafe {
                libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as u32, 0)
            };
            match usize::try_from(result) {
                Ok(taken) => {
                    sent.taken += taken;
                    at += taken;
                    tries = 0;
                }
                Err(_) if tries < SEND_TRIES_MAX && is_passing(&io::Error::last_os_error()) => {
                    tries += 1;
                }
                Err(_) => {
                    sent.refused |= 1 << at;
                    at += 1;
                    tries = 0;
                }
            }
        }
        sent
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

/// One datagram that arrived.
pub(crate) struct Datagram<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) source: SocketAddr,
    /// `CLOCK_REALTIME` when the kernel received it; 0 if it did not say.
    pub(crate) received_realtime_ns: u64,
}

/// Buffers to receive into.
pub(crate) struct ReceiveBatch {
    buffers: Box<[[u8; DATAGRAM_BYTES]; BATCH]>,
    controls: Box<[Control; BATCH]>,
    names: Box<[libc::sockaddr_in6; BATCH]>,
    parts: Owned<Box<[libc::iovec; BATCH]>>,
    headers: Owned<Box<[libc::mmsghdr; BATCH]>>,
}

/// Aligned as `cmsghdr` wants it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

impl ReceiveBatch {
    pub(crate) fn new() -> ReceiveBatch {
        ReceiveBatch {
            buffers: Box::new([[0; DATAGRAM_BYTES]; BATCH]),
            controls: Box::new([Control([0; CONTROL_BYTES]); BATCH]),
            names: Box::new([raw_address(NOWHERE); BATCH]),
            parts: Owned(Box::new([NOTHING; BATCH])),
            headers: Owned(Box::new([empty_header(); BATCH])),
        }
    }

    /// Receives what is there, without waiting, and returns how many datagrams; `0` when there is
    /// none or the socket has an error to report.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> usize {
        for (at, message) in self.headers.0.iter_mut().enumerate() {
            let buffer: *mut [u8; DATAGRAM_BYTES] = &raw mut self.buffers[at];
            self.parts.0[at] = libc::iovec { iov_base: buffer.cast(), iov_len: DATAGRAM_BYTES };
            let header = &mut message.msg_hdr;
            header.msg_name = (&raw mut self.names[at]).cast();
            header.msg_namelen = ADDRESS_BYTES;
            header.msg_iov = &raw mut self.parts.0[at];
            header.msg_iovlen = 1;
            header.msg_control = (&raw mut self.controls[at]).cast();
            header.msg_controllen = CONTROL_BYTES;
        }
        let headers = self.headers.0.as_mut_ptr();
        // SAFETY: the headers point at `buffers`, `controls`, `names` and `parts`, which live in
        // boxes of `self` that nothing else touches during the call.
        let result = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers,
                BATCH as u32,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        usize::try_from(result).unwrap_or(0)
    }

    /// Datagram `at` of the last [`ReceiveBatch::receive`].
    pub(crate) fn datagram(&self, at: usize) -> Datagram<'_> {
        let message = &self.headers.0[at];
        let length = (message.msg_len as usize).min(DATAGRAM_BYTES);
        Datagram {
            bytes: &self.buffers[at][..length],
            source: address(&self.names[at]),
            received_realtime_ns: timestamp_ns(&message.msg_hdr),
        }
    }
}

fn empty_header() -> libc::mmsghdr {
    // SAFETY: all-zero is a valid `mmsghdr`: null pointers, zero lengths.
    unsafe { mem::zeroed() }
}

/// The SCM_TIMESTAMPNS message of a received header.
fn timestamp_ns(header: &libc::msghdr) -> u64 {
    // SAFETY: the kernel filled the control buffer that `header` describes; CMSG_FIRSTHDR returns
    // null when it is too short for one message.
    let Some(first) = (unsafe { libc::CMSG_FIRSTHDR(header).as_ref() }) else { return 0 };
    if (first.cmsg_level, first.cmsg_type) != (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
        return 0;
    }
    // SAFETY: a SCM_TIMESTAMPNS message carries one timespec, for which the buffer has room; it may
    // be unaligned.
    let time = unsafe { libc::CMSG_DATA(first).cast::<libc::timespec>().read_unaligned() };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// In the form of IPv6, whose flow label stands where IPv4 has its address.
fn raw_address(address: SocketAddr) -> libc::sockaddr_in6 {
    let (family, first, rest) = match address.ip() {
        IpAddr::V4(ip) => (libc::AF_INET, u32::from(ip).to_be(), [0; 16]),
        IpAddr::V6(ip) => (libc::AF_INET6, 0, ip.octets()),
    };
    libc::sockaddr_in6 {
        sin6_family: family as libc::sa_family_t,
        sin6_port: address.port().to_be(),
        sin6_flowinfo: first,
        sin6_addr: libc::in6_addr { s6_addr: rest },
        sin6_scope_id: 0,
    }
}

fn address(raw: &libc::sockaddr_in6) -> SocketAddr {
    let ip = if i32::from(raw.sin6_family) == libc::AF_INET {
        IpAddr::V4(Ipv4Addr::from(u32::from_be(raw.sin6_flowinfo)))
    } else {
        IpAddr::V6(Ipv6Addr::from(raw.sin6_addr.s6_addr))
    };
    SocketAddr::new(ip, u16::from_be(raw.sin6_port))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;
    use crate::media::sockets::Binder;

    #[test]
    fn a_batch_arrives_whole_with_source_and_kernel_time() {
        for loopback in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            arrives_whole(loopback);
        }
    }

    fn arrives_whole(loopback: IpAddr) {
        let mut binder = Binder::new(loopback, None);
        let (from, to) = (binder.pair().unwrap(), binder.pair().unwrap());
        let filling = [7u8; 100];
        let mut batch = SendBatch::new();
        for number in 0..BATCH as u8 {
            batch.push(to.address, |head| {
                head.fill(number);
                &filling
            });
        }
        assert!(batch.is_full());
        let sent = batch.flush(from.rtp.as_fd());
        assert_eq!(sent, Sent { taken: BATCH, refused: 0 });

        let mut inbox = ReceiveBatch::new();
        assert_eq!(inbox.receive(to.rtp.as_fd()), BATCH);
        let last = inbox.datagram(BATCH - 1);
        assert_eq!(last.source, from.address);
        assert_eq!(last.bytes.len(), HEAD_BYTES + 100);
        assert_eq!((last.bytes[0], last.bytes[HEAD_BYTES]), (BATCH as u8 - 1, 7));
        assert!(last.received_realtime_ns > 0);
        assert_eq!(inbox.receive(to.rtp.as_fd()), 0);
    }

    #[test]
    fn a_refused_datagram_does_not_hold_up_the_others() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let good = receiver.local_addr().unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let filling = [0u8; 8];
        let mut batch = SendBatch::new();
        // Port 0 cannot be sent to: EINVAL.
        for port in [good.port(), 0, good.port()] {
            batch.push(SocketAddr::new(good.ip(), port), |_| &filling);
        }
        let sent = batch.flush(sender.as_fd());
        assert_eq!(sent, Sent { taken: 2, refused: 0b010 });
    }
}
