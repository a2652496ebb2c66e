//! One UDP socket: `sendmmsg` and `recvmmsg`.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::{io, mem, ptr};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};

use crate::media::sockets;
use crate::mutate::rng::Rng;
use crate::os;
use crate::sipbench::ends::{EndPlan, Inbox, Link};

/// Datagrams a system call.
const BATCH: usize = 64;

/// Room for one datagram: the longest message of a call is some 1,300 bytes.
const DATAGRAM_BYTES: usize = 4_096;

/// Of the kernel's buffers: a second of the highest rate.
const BUFFER_BYTES: usize = 16 << 20;

/// Calls of `recvmmsg` one after the other, so that sending is not kept waiting.
const RECEIVES_MAX: u32 = 8;

const ADDRESS_BYTES: libc::socklen_t = size_of::<libc::sockaddr_in>() as libc::socklen_t;

#[derive(Debug)]
pub(crate) struct UdpEnd {
    socket: UdpSocket,
    address: SocketAddrV4,
    servers: Vec<SocketAddrV4>,
    /// Picks a server for each datagram, where none is to go where it should.
    scatter: Option<Rng>,
    /// Datagrams to send, one after the other in `bytes`: how far each goes, and where to.
    bytes: Vec<u8>,
    waiting: Vec<(usize, SocketAddrV4)>,
    buffers: Box<[[u8; DATAGRAM_BYTES]; BATCH]>,
    unsent: u64,
}

impl UdpEnd {
    pub(crate) fn bind(plan: &EndPlan) -> Result<UdpEnd> {
        let EndPlan { address, servers, scatters, .. } = plan;
        let address = *address;
        let socket = UdpSocket::bind((address, 0))
            .with_context(|| format!("binding a UDP socket of {address}"))?;
        socket.set_nonblocking(true).context("a socket that does not block")?;
        // Beyond what the system allows everybody, if this process may.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES);
        let _ = setsockopt(&socket, sockopt::SndBufForce, &BUFFER_BYTES);
        let std::net::SocketAddr::V4(address) =
            socket.local_addr().context("a socket's address")?
        else {
            anyhow::bail!("an IPv4 socket has an IPv6 address");
        };
        Ok(UdpEnd {
            socket,
            address,
            servers: servers.clone(),
            scatter: scatters.then(|| Rng::new(os::random_u64())),
            bytes: Vec::new(),
            waiting: Vec::new(),
            buffers: Box::new([[0; DATAGRAM_BYTES]; BATCH]),
            unsent: 0,
        })
    }

    pub(crate) const fn address(&self) -> SocketAddrV4 {
        self.address
    }

    pub(crate) fn server(&self, number: u32) -> SocketAddrV4 {
        self.servers[number as usize % self.servers.len()]
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(crate) fn faults(&self) -> (u64, u64) {
        (sockets::dropped(&self.socket), self.unsent)
    }

    pub(crate) fn send(&mut self, to: SocketAddrV4, write: impl FnOnce(&mut Vec<u8>)) {
        let to = match &mut self.scatter {
            Some(random) if self.servers.contains(&to) => {
                self.servers[random.below(self.servers.len())]
            }
            Some(_) | None => to,
        };
        write(&mut self.bytes);
        self.waiting.push((self.bytes.len(), to));
        if self.waiting.len() == BATCH {
            self.flush();
        }
    }

    pub(crate) fn flush(&mut self) {
        let count = self.waiting.len();
        if count == 0 {
            return;
        }
        let mut names = [raw_address(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)); BATCH];
        let mut parts = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
        let mut headers = [empty_header(); BATCH];
        let mut start = 0;
        for (at, (end, to)) in self.waiting.iter().enumerate() {
            names[at] = raw_address(*to);
            parts[at].iov_base = self.bytes[start..*end].as_mut_ptr().cast();
            parts[at].iov_len = end - start;
            let header = &mut headers[at].msg_hdr;
            header.msg_name = (&raw mut names[at]).cast();
            header.msg_namelen = ADDRESS_BYTES;
            header.msg_iov = &raw mut parts[at];
            header.msg_iovlen = 1;
            start = *end;
        }
        let mut done = 0;
        while done < count {
            let left = &mut headers[done..count];
            // SAFETY: every header of `left` points to a name, a part and bytes that live until the
            // end of this function, and the kernel writes to `msg_len` alone.
            let sent = unsafe {
                libc::sendmmsg(self.socket.as_raw_fd(), left.as_mut_ptr(), left.len() as u32, 0)
            };
            match usize::try_from(sent) {
                Ok(sent) => done += sent,
                Err(_) if Errno::last() == Errno::EINTR => {}
                Err(_) => {
                    // The first of them: the others may go.
                    self.unsent += 1;
                    done += 1;
                }
            }
        }
        self.bytes.clear();
        self.waiting.clear();
    }

    pub(crate) fn receive(&mut self, inbox: &mut Inbox) {
        for _ in 0..RECEIVES_MAX {
            if self.receive_batch(inbox) < BATCH {
                return;
            }
        }
    }

    fn receive_batch(&mut self, inbox: &mut Inbox) -> usize {
        let mut names = [raw_address(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)); BATCH];
        let mut parts = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
        let mut headers = [empty_header(); BATCH];
        for at in 0..BATCH {
            parts[at].iov_base = self.buffers[at].as_mut_ptr().cast();
            parts[at].iov_len = DATAGRAM_BYTES;
            let header = &mut headers[at].msg_hdr;
            header.msg_name = (&raw mut names[at]).cast();
            header.msg_namelen = ADDRESS_BYTES;
            header.msg_iov = &raw mut parts[at];
            header.msg_iovlen = 1;
        }
        // SAFETY: every header points to a name, a part and a buffer that outlive the call, each as
        // long as it says; there is no timeout.
        let came = unsafe {
            libc::recvmmsg(
                self.socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        let came = usize::try_from(came).unwrap_or(0);
        for at in 0..came {
            let from = SocketAddrV4::new(
                u32::from_be(names[at].sin_addr.s_addr).into(),
                u16::from_be(names[at].sin_port),
            );
            let length = (headers[at].msg_len as usize).min(DATAGRAM_BYTES);
            inbox.push(Link::Udp(from), &self.buffers[at][..length]);
        }
        came
    }
}

fn raw_address(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
        sin_zero: [0; 8],
    }
}

fn empty_header() -> libc::mmsghdr {
    // SAFETY: the structure is made of integers and pointers, for which zeros are values.
    unsafe { mem::zeroed() }
}

/// Whether an error means that there is nothing to do now.
pub(crate) fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(servers: &[&UdpEnd], scatters: bool) -> EndPlan {
        EndPlan {
            transport: crate::sipbench::ends::Transport::Udp,
            address: Ipv4Addr::LOCALHOST,
            servers: servers.iter().map(|server| server.address()).collect(),
            scatters,
            connections: 0,
            tls: None,
        }
    }

    /// Two of three datagrams for a member of a farm reach another one.
    #[test]
    fn scattered_datagrams_reach_every_server_equally_often() {
        let mut servers: Vec<_> =
            (0..3).map(|_| UdpEnd::bind(&plan(&[], false)).unwrap()).collect();
        let known: Vec<&UdpEnd> = servers.iter().collect();
        let mut client = UdpEnd::bind(&plan(&known, true)).unwrap();
        let to = client.server(0);
        for _ in 0..300 {
            client.send(to, |bytes| bytes.push(0));
        }
        client.flush();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let mut inboxes = [(); 3].map(|()| Inbox::default());
        let came = |inboxes: &[Inbox; 3]| inboxes.each_ref().map(|inbox| inbox.iter().count());
        while came(&inboxes).iter().sum::<usize>() < 300 {
            assert!(std::time::Instant::now() < deadline);
            for (server, inbox) in servers.iter_mut().zip(&mut inboxes) {
                server.receive(inbox);
            }
        }
        assert!(came(&inboxes).iter().all(|count| *count > 50), "{:?}", came(&inboxes));
    }

    #[test]
    fn a_batch_arrives_as_it_was_sent() {
        let mut server = UdpEnd::bind(&plan(&[], false)).unwrap();
        let mut client = UdpEnd::bind(&plan(&[&server], false)).unwrap();
        let to = client.server(5);
        for number in 0..100u8 {
            client.send(to, |bytes| bytes.extend([number; 3]));
        }
        client.flush();
        let mut inbox = Inbox::default();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while inbox.iter().count() < 100 {
            assert!(std::time::Instant::now() < deadline);
            server.receive(&mut inbox);
        }
        for (number, (from, message)) in inbox.iter().enumerate() {
            assert_eq!((from, message), (Link::Udp(client.address()), &[number as u8; 3][..]));
        }
    }
}
