//! Reading what ICMP reports about datagrams that we sent (`IP_RECVERR`).

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::address::{self, Control, RAW_ADDRESS_LENGTH};

/// Room for what an ICMP message quotes of a datagram: it is at most 576 bytes long itself
/// (RFC 1812 4.3.2.3), over IPv6 1,280 (RFC 4443 2.4).
pub(super) const QUOTE_BYTES: usize = 1_280;

/// Room for the control messages: 16 + 16 (sock_extended_err) + 28 (the reporter's address), and the
/// packet information of either family that a wildcard socket asks for (40), rounded up.
const ERROR_CONTROL_BYTES: usize = 128;

/// A datagram that was reported as undeliverable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Report {
    /// Where the datagram was sent to.
    pub(super) remote: SocketAddr,
    /// What the kernel makes of it, for example `ConnectionRefused` for "port unreachable".
    pub(super) kind: io::ErrorKind,
    /// How much of the datagram is quoted.
    pub(super) quoted: usize,
}

/// Takes one entry off the socket's error queue without waiting; the quoted payload is written to
/// `quote`. `Ok(None)`: the entry is nothing that RFC 3261 18.4 wants reported.
///
/// # Errors
/// `WouldBlock` if the queue is empty; else the system's error.
pub(super) fn take(
    socket: BorrowedFd<'_>,
    quote: &mut [u8; QUOTE_BYTES],
) -> io::Result<Option<Report>> {
    let mut name = address::empty();
    let mut control = [Control([0; address::CONTROL_BYTES]);
        ERROR_CONTROL_BYTES.div_ceil(address::CONTROL_BYTES)];
    let mut vector = libc::iovec { iov_base: quote.as_mut_ptr().cast(), iov_len: quote.len() };
    // SAFETY: msghdr is a plain structure for which all-zero bytes are valid.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_name = ptr::from_mut(&mut name).cast();
    header.msg_namelen = RAW_ADDRESS_LENGTH;
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = mem::size_of_val(&control);
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: the header points to a name, a vector over `quote` and a control buffer, each of the
    // length that is stated, all of which live until after the call.
    let count = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
    let quoted = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    let Some(remote) = address::decode(&name) else { return Ok(None) };
    Ok(undeliverable(&header).map(|kind| Report { remote, kind, quoted }))
}

/// The error that the control messages hold, if it says that the datagram cannot be delivered.
fn undeliverable(header: &libc::msghdr) -> Option<io::ErrorKind> {
    // SAFETY: `header` was filled in by recvmsg, so that its control pointer and length describe
    // initialised memory that outlives this call.
    let mut at = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !at.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return a pointer to a whole cmsghdr or null.
        let (level, kind) = unsafe { ((*at).cmsg_level, (*at).cmsg_type) };
        let of_error = (level, kind) == (libc::IPPROTO_IP, libc::IP_RECVERR)
            || (level, kind) == (libc::IPPROTO_IPV6, libc::IPV6_RECVERR);
        if of_error {
            // SAFETY: the kernel writes a whole sock_extended_err after a header of these types.
            let error =
                unsafe { libc::CMSG_DATA(at).cast::<libc::sock_extended_err>().read_unaligned() };
            return is_final(error.ee_origin, error.ee_type, error.ee_code)
                .then(|| io::Error::from_raw_os_error(error.ee_errno.cast_signed()).kind());
        }
        // SAFETY: `at` came from CMSG_FIRSTHDR or CMSG_NXTHDR on this same header.
        at = unsafe { libc::CMSG_NXTHDR(header, at) };
    }
    None
}

/// RFC 3261 18.4: unreachable (host, network, port, protocol) and parameter problem are reported;
/// time exceeded and source quench are not, and neither is "fragmentation needed", which is no end.
const fn is_final(origin: u8, kind: u8, code: u8) -> bool {
    const UNREACHABLE: u8 = 3;
    const FRAGMENTATION_NEEDED: u8 = 4;
    const PARAMETER_PROBLEM: u8 = 12;
    const UNREACHABLE_V6: u8 = 1;
    const PARAMETER_PROBLEM_V6: u8 = 4;
    match (origin, kind) {
        (libc::SO_EE_ORIGIN_ICMP, UNREACHABLE) => code != FRAGMENTATION_NEEDED,
        (libc::SO_EE_ORIGIN_ICMP, PARAMETER_PROBLEM)
        | (libc::SO_EE_ORIGIN_ICMP6, UNREACHABLE_V6 | PARAMETER_PROBLEM_V6) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3261 18.4 names which ICMP errors are failures.
    #[test]
    fn only_what_rfc_3261_names_is_a_failure() {
        const V4: u8 = libc::SO_EE_ORIGIN_ICMP;
        const V6: u8 = libc::SO_EE_ORIGIN_ICMP6;
        for (origin, kind, code) in
            [(V4, 3, 0), (V4, 3, 1), (V4, 3, 3), (V4, 12, 0), (V6, 1, 4), (V6, 4, 0)]
        {
            assert!(is_final(origin, kind, code), "{origin} {kind} {code}");
        }
        for (origin, kind, code) in
            [(V4, 3, 4), (V4, 11, 0), (V4, 4, 0), (V6, 2, 0), (V6, 3, 0), (1, 0, 0)]
        {
            assert!(!is_final(origin, kind, code), "{origin} {kind} {code}");
        }
    }
}
