//! Runs of packets that are sent with one request (UDP_SEGMENT): the kernel takes them through its
//! stack as one and cuts them apart at the end.

use std::mem;
use std::net::SocketAddr;

use socket2::SockAddr;

/// Packets of one run: the kernel takes 64, and half of that saves nearly as much.
pub(crate) const RUN_MAX: usize = 32;
/// Longest packet of a run. The kernel refuses segments that do not fit the path's MTU, while it
/// would cut single packets into fragments: these fit the smallest MTU that there is, IPv6's 1,280
/// bytes (RFC 8200 5), less 48 of IPv6 and UDP.
pub(crate) const SEGMENT_MAX: usize = 1232;
/// Runs that may wait for a submission.
const MESSAGES_MAX: usize = 128;

/// Room for one control message of two bytes, aligned as the kernel wants it.
type Control = [u64; 3];

/// A message under construction. It stays where it is until the kernel has taken it.
struct Message {
    header: libc::msghdr,
    vectors: [libc::iovec; RUN_MAX],
    control: Control,
    address: Option<SockAddr>,
}

/// The messages that submissions under construction point to.
pub(super) struct Messages {
    #[expect(clippy::vec_box, reason = "what is pointed to must not move when the list grows")]
    all: Vec<Box<Message>>,
    used: usize,
}

impl Messages {
    pub(super) fn new() -> Messages {
        Messages { all: Vec::new(), used: 0 }
    }

    /// Whether the kernel has to take submissions before there can be another.
    pub(super) fn is_full(&self) -> bool {
        self.used == MESSAGES_MAX
    }

    /// The kernel has taken them.
    pub(super) fn clear(&mut self) {
        self.used = 0;
    }

    /// A message of these packets, all but the last of which have `segment` bytes, to `to` or to
    /// where its socket is connected. It stays valid until [`Messages::clear`].
    pub(super) fn compose<'a>(
        &mut self,
        packets: impl Iterator<Item = &'a [u8]>,
        segment: u16,
        to: Option<SocketAddr>,
    ) -> *const libc::msghdr {
        if self.used == self.all.len() {
            self.all.push(Box::new(Message {
                // SAFETY: numbers and pointers, for which zeros are valid.
                header: unsafe { mem::zeroed() },
                // SAFETY: as above.
                vectors: unsafe { mem::zeroed() },
                control: [0; 3],
                address: None,
            }));
        }
        let message = &mut *self.all[self.used];
        self.used += 1;
        let mut count = 0;
        for (vector, packet) in message.vectors.iter_mut().zip(packets) {
            vector.iov_base = packet.as_ptr().cast_mut().cast();
            vector.iov_len = packet.len();
            count += 1;
        }
        message.address = to.map(SockAddr::from);
        let (name, name_bytes) = match &message.address {
            Some(address) => (address.as_ptr().cast_mut().cast(), address.len()),
            None => (std::ptr::null_mut(), 0),
        };
        message.header.msg_name = name;
        message.header.msg_namelen = name_bytes;
        message.header.msg_iov = message.vectors.as_mut_ptr();
        message.header.msg_iovlen = count;
        message.header.msg_control = message.control.as_mut_ptr().cast();
        message.header.msg_controllen = mem::size_of::<Control>();
        write_segment(&mut message.control, segment);
        &raw const message.header
    }
}

/// Writes the control message that gives the segments' length (udp(7)).
fn write_segment(control: &mut Control, segment: u16) {
    let header = libc::cmsghdr {
        // SAFETY: computes a number.
        cmsg_len: unsafe { libc::CMSG_LEN(2) } as usize,
        cmsg_level: libc::SOL_UDP,
        cmsg_type: libc::UDP_SEGMENT,
    };
    // SAFETY: 24 bytes hold the header of 16 and two bytes after it; u64s are aligned for both.
    unsafe {
        let start: *mut libc::cmsghdr = control.as_mut_ptr().cast();
        start.write(header);
        libc::CMSG_DATA(start).cast::<u16>().write_unaligned(segment);
    }
}
