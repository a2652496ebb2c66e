//! The floor: as little as a relay in user space can do with epoll, recvfrom and sendto.
//!
//! One thread. Each session is two sockets, and whatever comes in on one goes out of the other to
//! the peer that was named; there is no learning, no check, no statistics. Readiness is
//! edge-triggered, so a ready socket is read until it is empty; what is read is sent at once out of
//! the same buffer. Sockets are not connected. (recvmmsg and sendmmsg were measured slower: a
//! media socket seldom holds two packets.)
//!
//! It is told of sessions on standard input, a line `PEER_A PEER_B` each, and answers with a line
//! `PORT_A PORT_B`; it ends with its input.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::process::{ChildStdin, ChildStdout};

use anyhow::{Context, Result, anyhow, bail};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::relaybench::control::{Control, Ends, Remotes, remote_at};

/// Readiness events taken at once.
const EVENTS: usize = 512;

/// The key of standard input among the readiness events; no socket has it.
const INPUT: u64 = u64::MAX;

/// Room for one datagram: what an Ethernet frame carries, and then some.
const DATAGRAM_BYTES: usize = 2048;

/// Most bytes of input that wait for their line's end.
const INPUT_BYTES_MAX: usize = 1 << 20;

struct Leg {
    socket: UdpSocket,
    /// The other leg's socket, out of which goes what comes in here.
    out: RawFd,
    /// The other leg's peer.
    to: libc::sockaddr_in,
}

struct Floor {
    /// By side.
    addresses: [Ipv4Addr; 2],
    epoll: Epoll,
    legs: Vec<Leg>,
    pending: Vec<u8>,
}

/// Relays between two addresses of this host, one for each side's sockets, until standard input ends.
///
/// # Errors
/// Sockets cannot be had, or the input is not as it should be.
pub fn run(addresses: [Ipv4Addr; 2]) -> Result<()> {
    crate::os::raise_descriptor_limit()?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("creating an epoll")?;
    let input = io::stdin();
    epoll.add(input.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, INPUT)).context("the input")?;
    let mut floor = Floor { addresses, epoll, legs: Vec::new(), pending: Vec::new() };
    let mut events = vec![EpollEvent::empty(); EVENTS];
    let mut buffer = [0; DATAGRAM_BYTES];
    loop {
        let ready = match floor.epoll.wait(&mut events, EpollTimeout::NONE) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error).context("waiting for packets"),
        };
        for event in &events[..ready] {
            match event.data() {
                INPUT => {
                    if !floor.obey()? {
                        return Ok(());
                    }
                }
                leg => drain(&floor.legs[leg as usize], &mut buffer),
            }
        }
    }
}

/// Reads what there is and sends it on; what the kernel refuses to send is gone.
fn drain(leg: &Leg, buffer: &mut [u8; DATAGRAM_BYTES]) {
    let (from, out) = (leg.socket.as_raw_fd(), leg.out);
    let peer = (&raw const leg.to).cast();
    let peer_bytes = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    let memory = buffer.as_mut_ptr().cast::<libc::c_void>();
    loop {
        // SAFETY: the kernel writes at most DATAGRAM_BYTES into `buffer`; no address is asked for.
        let length = unsafe {
            libc::recvfrom(
                from,
                memory,
                DATAGRAM_BYTES,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            )
        };
        let Ok(length) = usize::try_from(length) else { return };
        // SAFETY: the kernel only reads `length` bytes of `buffer`, all of them received, and the
        // address, which is whole.
        unsafe { libc::sendto(out, memory, length, libc::MSG_DONTWAIT, peer, peer_bytes) };
    }
}

impl Floor {
    /// Takes the sessions that are asked for; `false` at the end of the input.
    fn obey(&mut self) -> Result<bool> {
        let mut chunk = [0; 65_536];
        let length = nix::unistd::read(io::stdin(), &mut chunk).context("reading the input")?;
        self.pending.extend_from_slice(&chunk[..length]);
        let mut answers = String::new();
        while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            let [a, b] = self.session(std::str::from_utf8(&line)?)?;
            answers += &format!("{a} {b}\n");
        }
        if self.pending.len() > INPUT_BYTES_MAX {
            bail!("a line of more than {INPUT_BYTES_MAX} bytes");
        }
        let mut output = io::stdout().lock();
        output.write_all(answers.as_bytes()).and_then(|()| output.flush()).context("answering")?;
        Ok(length > 0)
    }

    fn session(&mut self, line: &str) -> Result<[u16; 2]> {
        let (a, b) = line.trim().split_once(' ').with_context(|| format!("line {line:?}"))?;
        let peers: [SocketAddrV4; 2] = [a.parse()?, b.parse()?];
        let [a, b] = self.addresses;
        let sockets = [bind(a)?, bind(b)?];
        let mut ports = [0; 2];
        for (port, socket) in ports.iter_mut().zip(&sockets) {
            *port = socket.local_addr().context("a port")?.port();
        }
        let fds = sockets.each_ref().map(AsRawFd::as_raw_fd);
        for (side, socket) in sockets.into_iter().enumerate() {
            let edge = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
            let event = EpollEvent::new(edge, self.legs.len() as u64);
            self.epoll.add(&socket, event).context("watching a socket")?;
            self.legs.push(Leg { socket, out: fds[1 - side], to: raw(peers[1 - side]) });
        }
        Ok(ports)
    }
}

fn bind(address: Ipv4Addr) -> Result<UdpSocket> {
    UdpSocket::bind((address, 0)).context("binding a socket")
}

const fn raw(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: address.ip().to_bits().to_be() },
        sin_zero: [0; 8],
    }
}

/// The other end of a floor's input and output.
pub(crate) struct FloorControl {
    addresses: [Ipv4Addr; 2],
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl FloorControl {
    /// Speaks to the floor that relays between `addresses`.
    pub(crate) fn new(addresses: [Ipv4Addr; 2], to: ChildStdin, from: ChildStdout) -> FloorControl {
        FloorControl { addresses, to, from: BufReader::new(from) }
    }

    fn pair(&mut self, a: SocketAddrV4, b: SocketAddrV4) -> Result<[SocketAddrV4; 2]> {
        writeln!(self.to, "{a} {b}").context("asking the floor for a session")?;
        let mut line = String::new();
        self.from.read_line(&mut line).context("the floor's answer")?;
        let ports = line.trim().split_once(' ');
        let (a, b) =
            ports.ok_or_else(|| anyhow!("the floor refused a session (out of sockets?)"))?;
        let [at_a, at_b] = self.addresses;
        Ok([SocketAddrV4::new(at_a, a.parse()?), SocketAddrV4::new(at_b, b.parse()?)])
    }
}

impl Control for FloorControl {
    fn set_up(&mut self, _session: u32, ends: &Ends) -> Result<Remotes> {
        let mut remotes: Remotes = Default::default();
        for kind in 0..2 {
            if let (Some(a), Some(b)) = (ends[0][kind], ends[1][kind]) {
                let relay = self.pair(a, b)?;
                remotes[0][kind] = Some(remote_at(relay[0]));
                remotes[1][kind] = Some(remote_at(relay[1]));
            }
        }
        Ok(remotes)
    }

    fn tear_down(&mut self, _session: u32) -> Result<()> {
        bail!("the floor ends no sessions")
    }
}
