//! How full a socket's receive queue is, and what it has lost.

use std::os::fd::{AsRawFd, BorrowedFd};

/// What waits in the receive queues of the UDP sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Backlog {
    /// How full the fullest of them is, 0 to 1.
    pub full: f64,
    /// Datagrams that found one full and were lost, since the sockets were opened.
    pub lost: u64,
}

/// `SK_MEMINFO_*` (linux/sock_diag.h): bytes that wait, bytes that may, datagrams lost.
const RMEM_ALLOC: usize = 0;
const RCVBUF: usize = 1;
const DROPS: usize = 8;
const VARS: usize = 9;

/// Nothing where the kernel does not tell (before Linux 4.12).
pub(super) fn of(socket: BorrowedFd<'_>) -> Backlog {
    let mut figures = [0_u32; VARS];
    let mut length = libc::socklen_t::try_from(size_of_val(&figures)).unwrap_or_default();
    // SAFETY: the option value is an array of u32 of the length that is given, which outlives the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            figures.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 || figures[RCVBUF] == 0 {
        return Backlog::default();
    }
    let full = f64::from(figures[RMEM_ALLOC]) / f64::from(figures[RCVBUF]);
    Backlog { full, lost: figures[DROPS].into() }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_queue_that_nobody_reads_fills_up_and_loses_what_comes_then() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = socket.local_addr().unwrap();
        assert_eq!(of(socket.as_fd()), Backlog::default());
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sent = (0..100_000).take_while(|_| {
            sender.send_to(&[7; 1_000], to).unwrap();
            of(socket.as_fd()).lost < 3
        });
        assert!(sent.count() < 99_999);
        assert!(of(socket.as_fd()).full > 0.9);
    }
}
