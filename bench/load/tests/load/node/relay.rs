//! A media relay that forwards between the two sides of each call, and misbehaves on demand.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

const RTP_HEADER: usize = 12;

/// Longer than any stream pauses, shorter than the drain.
const HELD_MAX: Duration = Duration::from_millis(200);

/// What goes wrong, each so many packets of the whole relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// RTP packets are dropped.
    Drop(u64),
    /// RTCP packets are dropped.
    DropRtcp(u64),
    /// A byte of the payload is changed.
    Flip(u64),
    /// Two packets of different streams swap their payloads.
    Swap(u64),
    /// RTP packets are sent twice.
    Duplicate(u64),
    /// An RTP packet is sent after the next one of its stream.
    Delay(u64),
    /// RTP packets go to another call, from that call's port.
    Misroute(u64),
    /// RTP packets are sent from a port of the relay that was not announced.
    WrongPort(u64),
}

/// One port pair on one side of a stream.
struct Leg {
    /// RTP and RTCP.
    sockets: [UdpSocket; 2],
    peer: Option<SocketAddr>,
}

#[derive(Default)]
struct Table {
    /// Both sides of a stream, by Call-ID and place in the description.
    streams: HashMap<(String, usize), [Leg; 2]>,
}

pub(crate) struct Relay {
    table: Arc<Mutex<Table>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Relay {
    pub(crate) fn start(fault: Fault, faults: Arc<AtomicU64>) -> Relay {
        let table = Arc::new(Mutex::new(Table::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let mut forwarder = Forwarder {
            table: Arc::clone(&table),
            fault,
            faults,
            seen: 0,
            held: None,
            held_since: Instant::now(),
            stray: UdpSocket::bind("127.0.0.1:0").unwrap(),
        };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                forwarder.turn();
            }
        });
        Relay { table, stop, thread: Some(thread) }
    }

    /// Notes the port of the peer on side `from` and returns the port that the other side is shown.
    pub(crate) fn peer(&self, call: &str, stream: usize, from: usize, port: u16) -> u16 {
        let mut table = self.table.lock().unwrap();
        let legs = table
            .streams
            .entry((call.to_owned(), stream))
            .or_insert_with(|| [Leg::bind(), Leg::bind()]);
        legs[from].peer = Some(SocketAddr::from(([127, 0, 0, 1], port)));
        legs[1 - from].sockets[0].local_addr().unwrap().port()
    }
}

impl Leg {
    fn bind() -> Leg {
        loop {
            let rtp = UdpSocket::bind("127.0.0.1:0").unwrap();
            let port = rtp.local_addr().unwrap().port();
            let neighbour = UdpSocket::bind(("127.0.0.1", port + 1));
            let (0, Ok(rtcp)) = (port % 2, neighbour) else { continue };
            for socket in [&rtp, &rtcp] {
                socket.set_nonblocking(true).unwrap();
                socket2::SockRef::from(socket).set_recv_buffer_size(4 << 20).unwrap();
            }
            return Leg { sockets: [rtp, rtcp], peer: None };
        }
    }

    fn send(&self, port: usize, bytes: &[u8]) {
        if let Some(mut peer) = self.peer {
            peer.set_port(peer.port() + port as u16);
            self.sockets[port].send_to(bytes, peer).unwrap();
        }
    }
}

/// A packet that waits: where it goes and what it is.
type Held = ((String, usize), usize, Vec<u8>);

struct Forwarder {
    table: Arc<Mutex<Table>>,
    fault: Fault,
    faults: Arc<AtomicU64>,
    seen: u64,
    held: Option<Held>,
    held_since: Instant,
    stray: UdpSocket,
}

impl Forwarder {
    fn turn(&mut self) {
        let table = Arc::clone(&self.table);
        let table = table.lock().unwrap();
        let mut ready: Vec<_> = table
            .streams
            .values()
            .flatten()
            .flat_map(|leg| &leg.sockets)
            .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
            .collect();
        poll(&mut ready, PollTimeout::from(5u8)).unwrap();
        drop(ready);
        self.let_go(&table);
        let mut buffer = [0; 2048];
        for (key, legs) in &table.streams {
            for (side, leg) in legs.iter().enumerate() {
                for (port, socket) in leg.sockets.iter().enumerate() {
                    while let Ok((length, source)) = socket.recv_from(&mut buffer) {
                        let expected = leg.peer.map(|peer| peer.port() + port as u16);
                        assert_eq!(Some(source.port()), expected, "symmetric RTP");
                        let packet = buffer[..length].to_vec();
                        self.packet(&table, key, 1 - side, port, packet);
                    }
                }
            }
        }
    }

    /// At the end of a stream nothing follows a packet that is held: it goes on as it came.
    fn let_go(&mut self, table: &Table) {
        if self.held_since.elapsed() > HELD_MAX
            && let Some((key, to, packet)) = self.held.take()
        {
            table.streams[&key][to].send(0, &packet);
        }
    }

    fn hold(&mut self, held: Held) {
        self.held = Some(held);
        self.held_since = Instant::now();
    }

    /// Whether this packet, one of those that the fault is about, is to suffer.
    fn strikes(&mut self, every: u64) -> bool {
        self.seen += 1;
        self.seen.is_multiple_of(every)
    }

    fn commit(&self) {
        self.faults.fetch_add(1, Ordering::Relaxed);
    }

    fn packet(
        &mut self,
        table: &Table,
        key: &(String, usize),
        to: usize,
        port: usize,
        mut packet: Vec<u8>,
    ) {
        let leg = &table.streams[key][to];
        let is_rtp = port == 0;
        let fault = self.fault;
        match fault {
            Fault::DropRtcp(every) if !is_rtp && self.strikes(every) => self.commit(),
            Fault::Drop(every) if is_rtp && self.strikes(every) => self.commit(),
            Fault::Flip(every) if is_rtp && self.strikes(every) => {
                // Anywhere in the payload: our fields or the filling.
                let at = RTP_HEADER + (self.seen as usize * 7) % (packet.len() - RTP_HEADER);
                packet[at] ^= 0x40;
                leg.send(port, &packet);
                self.commit();
            }
            Fault::Duplicate(every) if is_rtp && self.strikes(every) => {
                leg.send(port, &packet);
                leg.send(port, &packet);
                self.commit();
            }
            Fault::WrongPort(every) if is_rtp && self.strikes(every) => {
                self.stray.send_to(&packet, leg.peer.unwrap()).unwrap();
                self.commit();
            }
            Fault::Misroute(every) if is_rtp && self.strikes(every) => {
                let mut others = table.streams.iter().filter(|(other, _)| other.0 != key.0);
                match others.find(|(_, legs)| legs[to].peer.is_some()) {
                    Some((_, legs)) => {
                        legs[to].send(port, &packet);
                        self.commit();
                    }
                    None => leg.send(port, &packet),
                }
            }
            Fault::Swap(every) if is_rtp => self.swap(table, (key, to), packet, every),
            Fault::Delay(every) if is_rtp => self.delay(table, (key, to), packet, every),
            Fault::None
            | Fault::DropRtcp(_)
            | Fault::Drop(_)
            | Fault::Flip(_)
            | Fault::Duplicate(_)
            | Fault::WrongPort(_)
            | Fault::Misroute(_)
            | Fault::Swap(_)
            | Fault::Delay(_) => leg.send(port, &packet),
        }
    }

    /// Holds a packet until one of another stream and the same size comes.
    fn swap(
        &mut self,
        table: &Table,
        (key, to): (&(String, usize), usize),
        mut packet: Vec<u8>,
        every: u64,
    ) {
        match self.held.take() {
            Some((other, side, mut held)) if other != *key && held.len() == packet.len() => {
                held[RTP_HEADER..].swap_with_slice(&mut packet[RTP_HEADER..]);
                table.streams[&other][side].send(0, &held);
                table.streams[key][to].send(0, &packet);
                self.commit();
            }
            None if self.strikes(every) => self.hold((key.clone(), to, packet)),
            held => {
                self.held = held;
                table.streams[key][to].send(0, &packet);
            }
        }
    }

    /// Holds a packet until the next one of its stream and direction has gone.
    fn delay(
        &mut self,
        table: &Table,
        (key, to): (&(String, usize), usize),
        packet: Vec<u8>,
        every: u64,
    ) {
        let leg = &table.streams[key][to];
        match self.held.take() {
            Some((other, side, held)) if other == *key && side == to => {
                leg.send(0, &packet);
                leg.send(0, &held);
                self.commit();
            }
            None if self.strikes(every) => self.hold((key.clone(), to, packet)),
            held => {
                self.held = held;
                leg.send(0, &packet);
            }
        }
    }
}
