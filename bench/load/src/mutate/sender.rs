//! Sends mutated messages over UDP and TCP at a steady rate, and takes what comes back.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::SockRef;

use crate::mutate::answers::Answers;
use crate::mutate::corpus::{corpus, fill};
use crate::mutate::mutator::mutate;
use crate::mutate::rng::Rng;

/// Sockets for datagrams: as many peers as the node sees.
const SOCKETS: usize = 8;

/// Connections that are open at a time.
const CONNECTIONS: usize = 8;

/// Messages that are sent in one go when sending is behind.
const BURST_MAX: u64 = 256;

/// How long to wait when nothing is due.
const PAUSE: Duration = Duration::from_millis(1);

/// How long a connection may take to be made; on loopback it takes none.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// Datagrams read from a socket in one go, and reads of a connection.
const READS_MAX: usize = 64;

/// What was sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    pub(super) udp: u64,
    pub(super) tcp: u64,
    /// Messages that the kernel did not take, or that a connection ended under.
    pub(super) refused: u64,
    /// Connections that were made; the node closes those that it cannot follow.
    pub(super) connections: u64,
}

impl Sent {
    pub(super) const fn all(self) -> u64 {
        self.udp + self.tcp + self.refused
    }
}

/// What is to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order<'a> {
    pub(super) node: SocketAddrV4,
    pub(super) domain: &'a str,
    pub(super) seed: u64,
    /// Messages a second.
    pub(super) rate: u32,
    /// Of 100 messages, so many over TCP.
    pub(super) tcp_percent: u8,
}

pub(super) struct Sender<'a> {
    order: Order<'a>,
    corpus: Vec<String>,
    rng: Rng,
    sockets: Vec<(UdpSocket, String)>,
    streams: Vec<Option<(TcpStream, String)>>,
    buffer: Box<[u8; 65_536]>,
    pub(super) sent: Sent,
    pub(super) answers: Answers,
}

impl<'a> Sender<'a> {
    /// # Errors
    /// A socket cannot be had.
    pub(super) fn new(order: Order<'a>) -> Result<Sender<'a>> {
        let socket = || -> Result<(UdpSocket, String)> {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("a UDP socket")?;
            socket.set_nonblocking(true).context("a socket that does not wait")?;
            let own = socket.local_addr().context("a socket's address")?.to_string();
            Ok((socket, own))
        };
        Ok(Sender {
            order,
            corpus: corpus(order.domain),
            rng: Rng::new(order.seed),
            sockets: (0..SOCKETS).map(|_| socket()).collect::<Result<_>>()?,
            streams: (0..CONNECTIONS).map(|_| None).collect(),
            buffer: Box::new([0; 65_536]),
            sent: Sent::default(),
            answers: Answers::default(),
        })
    }

    /// Sends until `goal` messages were sent since the start, `started`; `go_on` is asked each time
    /// that it waits.
    ///
    /// # Errors
    /// Those of `go_on`.
    pub(super) fn send_until(
        &mut self,
        goal: u64,
        started: Instant,
        mut go_on: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        loop {
            let due = started.elapsed().as_secs_f64() * f64::from(self.order.rate);
            let due = (due as u64).min(goal).min(self.sent.all() + BURST_MAX);
            while self.sent.all() < due {
                self.send_one();
            }
            self.receive();
            go_on()?;
            if self.sent.all() >= goal {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn send_one(&mut self) {
        if self.rng.below(100) < usize::from(self.order.tcp_percent) {
            self.send_tcp();
        } else {
            self.send_udp();
        }
    }

    fn message(&mut self, own: &str, transport: &str) -> Vec<u8> {
        let node = self.order.node.to_string();
        let number = self.sent.all();
        let unique = format!("{:x}x{number:x}", self.order.seed);
        let [mut message, other] = [(), ()].map(|()| {
            let at = self.rng.below(self.corpus.len());
            fill(&self.corpus[at], own, &node, transport, &unique)
        });
        mutate(&mut self.rng, &mut message, &other);
        message
    }

    fn send_udp(&mut self) {
        let at = self.rng.below(SOCKETS);
        let own = self.sockets[at].1.clone();
        let message = self.message(&own, "UDP");
        match self.sockets[at].0.send_to(&message, self.order.node) {
            Ok(_) => self.sent.udp += 1,
            Err(_) => self.sent.refused += 1,
        }
    }

    fn send_tcp(&mut self) {
        let at = self.rng.below(CONNECTIONS);
        let stream = self.streams[at].take().or_else(|| self.connect());
        let Some((mut stream, own)) = stream else {
            self.sent.refused += 1;
            return;
        };
        let message = self.message(&own, "TCP");
        // A node that does not read on loses the connection, and this one its message.
        if stream.write_all(&message).is_ok() {
            self.sent.tcp += 1;
            self.streams[at] = Some((stream, own));
        } else {
            self.sent.refused += 1;
        }
    }

    fn connect(&mut self) -> Option<(TcpStream, String)> {
        let stream = TcpStream::connect_timeout(&self.order.node.into(), CONNECT_MAX).ok()?;
        stream.set_nonblocking(true).ok()?;
        // Ports that rest after each connection would soon be all.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).ok()?;
        let own = stream.local_addr().ok()?.to_string();
        self.sent.connections += 1;
        Some((stream, own))
    }

    /// Takes what has come.
    fn receive(&mut self) {
        for (socket, _) in &self.sockets {
            for _ in 0..READS_MAX {
                let Ok((length, source)) = socket.recv_from(&mut self.buffer[..]) else { break };
                let bytes = &self.buffer[..length];
                if let Some(answer) = self.answers.read_datagram(&mut self.rng, bytes)
                    && source == self.order.node.into()
                {
                    // It is repeated if it does not arrive.
                    let _ = socket.send_to(&answer, source);
                }
            }
        }
        for place in &mut self.streams {
            for _ in 0..READS_MAX {
                let Some((stream, _)) = place else { break };
                match stream.read(&mut self.buffer[..]) {
                    Ok(length @ 1..) => self.answers.read_stream(&self.buffer[..length]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Ok(_) | Err(_) => *place = None,
                }
            }
        }
    }
}
