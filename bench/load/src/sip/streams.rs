//! The connections of one side to the server, which stay: users share them, and one that the server has
//! ended is opened anew, by a thread of its own, so that nothing else waits.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustls::ClientConfig;

use crate::sip::connection::{Connection, READ_BYTES};

/// Tries to open a connection anew before it is given up: with the pauses between them some 20 s, longer
/// than a balancer needs to notice that a server is gone.
const TRIES_MAX: u32 = 15;

/// The pause before the second try; it doubles with each up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A connection that has lasted so long was no failed try.
const LASTED: Duration = Duration::from_secs(5);

/// What waits for a connection, or for a server that does not read; more is dropped.
const WAITING_BYTES_MAX: usize = 1 << 20;

/// Where connections go.
#[derive(Clone, Debug)]
pub(crate) struct Dialling {
    pub(crate) local: IpAddr,
    pub(crate) server: SocketAddr,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

impl Dialling {
    fn open(&self) -> Result<Connection> {
        Connection::open(self.local, self.server, self.tls.as_ref())
            .with_context(|| format!("connecting to {}", self.server))
    }
}

/// What has become of a connection, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It has ended.
    Lost(u32),
    /// It has been opened anew.
    Restored(u32),
    /// It will not be opened again.
    GivenUp(u32),
}

#[derive(Debug)]
enum State {
    Up {
        connection: Box<Connection>,
        since: Instant,
        is_stuck: bool,
    },
    /// The next try is made then.
    Pausing(Instant),
    Dialling,
    GivenUp,
}

#[derive(Debug)]
struct Slot {
    state: State,
    /// Our end, also when it is no more.
    address: SocketAddr,
    tries: u32,
    /// What is to be sent once the connection is there.
    waiting: Vec<u8>,
}

/// A connection by its number, and `None` if the server takes it not.
type Opened = (usize, Option<Connection>);

/// The connections.
#[derive(Debug)]
pub(crate) struct Streams {
    dialling: Dialling,
    slots: Vec<Slot>,
    /// Where the threads that open connections tell what came of it.
    tells: SyncSender<Opened>,
    opened: Receiver<Opened>,
    news: Vec<News>,
    scratch: Box<[u8; READ_BYTES]>,
}

impl Streams {
    /// Opens `count` connections.
    ///
    /// # Errors
    /// The server takes one of them not.
    pub(crate) fn open(dialling: Dialling, count: u32) -> Result<Streams> {
        let slot = |_| {
            let connection = Box::new(dialling.open()?);
            let (address, since) = (connection.address(), Instant::now());
            let state = State::Up { connection, since, is_stuck: false };
            Ok(Slot { state, address, tries: 0, waiting: Vec::new() })
        };
        let slots = (0..count).map(slot).collect::<Result<_>>()?;
        let scratch = Box::new([0; READ_BYTES]);
        // One of each connection waits at most.
        let (tells, opened) = sync_channel(count as usize);
        Ok(Streams { dialling, slots, tells, opened, news: Vec::new(), scratch })
    }

    pub(crate) const fn server(&self) -> SocketAddr {
        self.dialling.server
    }

    /// The connection that user `number` shares.
    pub(crate) const fn of_user(&self, number: usize) -> u32 {
        (number % self.slots.len()) as u32
    }

    /// Our end of a connection, or where it was last.
    pub(crate) fn address(&self, number: u32) -> SocketAddr {
        self.slots[number as usize].address
    }

    /// Sends with the next [`Streams::flush`]; `false` if there is no room or no hope.
    pub(crate) fn send(&mut self, number: u32, bytes: &[u8]) -> bool {
        let slot = &mut self.slots[number as usize];
        let out = match &mut slot.state {
            State::Up { connection, .. } => connection.out(),
            State::Pausing(_) | State::Dialling => &mut slot.waiting,
            State::GivenUp => return false,
        };
        let fits = out.len() + bytes.len() <= WAITING_BYTES_MAX;
        if fits {
            out.extend_from_slice(bytes);
        }
        fits
    }

    /// Writes what can be written, and does what is due for connections that are not there.
    pub(crate) fn flush(&mut self, now: Instant) {
        while let Ok((number, connection)) = self.opened.try_recv() {
            self.tried(number, connection, now);
        }
        for number in 0..self.slots.len() {
            let slot = &mut self.slots[number];
            match &mut slot.state {
                State::Up { connection, is_stuck, .. } => *is_stuck = !connection.flush(),
                State::Pausing(until) if now >= *until => self.dial(number, now),
                State::Pausing(_) | State::Dialling | State::GivenUp => {}
            }
        }
    }

    fn dial(&mut self, number: usize, now: Instant) {
        let (dialling, told) = (self.dialling.clone(), self.tells.clone());
        let begun = thread::Builder::new().name("load-dial".into()).spawn(move || {
            // Whoever does not listen any more needs no connection.
            told.send((number, dialling.open().ok())).ok();
        });
        let slot = &mut self.slots[number];
        slot.tries += 1;
        match begun {
            Ok(_) => slot.state = State::Dialling,
            // As if the server had refused it.
            Err(_) => self.pause(number, now),
        }
    }

    /// Waits before the next try, if there is one.
    fn pause(&mut self, number: usize, now: Instant) {
        let slot = &mut self.slots[number];
        slot.state = match pause_after(slot.tries) {
            Some(pause) => State::Pausing(now + pause),
            None => State::GivenUp,
        };
        if matches!(slot.state, State::GivenUp) {
            self.news.push(News::GivenUp(number as u32));
        }
    }

    fn tried(&mut self, number: usize, connection: Option<Connection>, now: Instant) {
        let Some(mut connection) = connection else { return self.pause(number, now) };
        let slot = &mut self.slots[number];
        connection.out().append(&mut slot.waiting);
        slot.address = connection.address();
        let connection = Box::new(connection);
        slot.state = State::Up { connection, since: now, is_stuck: false };
        self.news.push(News::Restored(number as u32));
    }

    /// Hands on the messages that have arrived with the number of their connection, and notes which
    /// connections have ended.
    pub(crate) fn receive(&mut self, now: Instant, mut take: impl FnMut(&[u8], u32)) {
        for number in 0..self.slots.len() {
            let slot = &mut self.slots[number];
            let State::Up { connection, since, .. } = &mut slot.state else { continue };
            connection.receive(&mut self.scratch, |message| take(message, number as u32));
            if !connection.is_closed() {
                continue;
            }
            if now.saturating_duration_since(*since) >= LASTED {
                slot.tries = 0;
            }
            self.news.push(News::Lost(number as u32));
            self.pause(number, now);
        }
    }

    /// What has become of connections since it was asked for last.
    pub(crate) fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// The sockets of the connections that are there.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.slots.iter().filter_map(|slot| match &slot.state {
            State::Up { connection, .. } => Some(connection.as_fd()),
            State::Pausing(_) | State::Dialling | State::GivenUp => None,
        })
    }

    /// Whether something has to be looked at though no socket says so: a connection is being opened, or
    /// does not take what is written.
    pub(crate) fn is_restless(&self) -> bool {
        self.slots.iter().any(|slot| match &slot.state {
            State::Up { is_stuck, .. } => *is_stuck,
            State::Pausing(_) | State::Dialling => true,
            State::GivenUp => false,
        })
    }
}

/// How long to wait after so many tries; `None`: for ever.
fn pause_after(tries: u32) -> Option<Duration> {
    match tries {
        0 => Some(Duration::ZERO),
        TRIES_MAX.. => None,
        _ => Some(PAUSE_MIN.saturating_mul(1 << (tries - 1).min(16)).min(PAUSE_MAX)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn dialling(listener: &TcpListener) -> Dialling {
        let server = listener.local_addr().unwrap();
        Dialling { local: std::net::Ipv4Addr::LOCALHOST.into(), server, tls: None }
    }

    /// Turns until `is_done`.
    fn drive(streams: &mut Streams, mut is_done: impl FnMut(&mut Streams) -> bool) -> Vec<Vec<u8>> {
        let (began, mut taken) = (Instant::now(), Vec::new());
        while !is_done(streams) {
            let now = Instant::now();
            assert!(now - began < LIMIT, "nothing came of it");
            streams.flush(now);
            streams.receive(now, |message, _| taken.push(message.to_vec()));
            thread::sleep(Duration::from_millis(1));
        }
        taken
    }

    /// RFC 3261 18.3: messages in a stream end where Content-Length says, however they come.
    #[test]
    fn messages_are_told_apart_however_they_come() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut streams = Streams::open(dialling(&listener), 1).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let text = b"A\r\nContent-Length: 2\r\n\r\nxx\r\n\r\nB\r\nl: 0\r\n\r\n";
        for piece in text.chunks(7) {
            server.write_all(piece).unwrap();
        }
        let mut taken = Vec::new();
        let began = Instant::now();
        while taken.len() < 2 && began.elapsed() < LIMIT {
            streams.receive(Instant::now(), |message, _| taken.push(message.to_vec()));
        }
        assert_eq!(taken, [&b"A\r\nContent-Length: 2\r\n\r\nxx"[..], b"B\r\nl: 0\r\n\r\n"]);
    }

    #[test]
    fn a_connection_that_is_lost_is_opened_anew_and_brings_what_waited_for_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut streams = Streams::open(dialling(&listener), 2).unwrap();
        let (first, _) = listener.accept().unwrap();
        let (second, _) = listener.accept().unwrap();
        let lost = streams.address(1);
        drop(second);
        let mut news = Vec::new();
        drive(&mut streams, |streams| {
            news.extend(streams.take_news());
            !news.is_empty()
        });
        assert_eq!(news, [News::Lost(1)]);
        assert!(streams.send(1, b"later"));
        drive(&mut streams, |streams| {
            news.extend(streams.take_news());
            news.len() == 2
        });
        assert_eq!(news[1], News::Restored(1));
        assert_ne!(streams.address(1), lost);
        let (mut anew, _) = listener.accept().unwrap();
        streams.flush(Instant::now());
        let mut said = [0; 5];
        anew.set_read_timeout(Some(LIMIT)).unwrap();
        anew.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"later");
        drop(first);
    }

    /// A server that is gone is not asked for ever.
    #[test]
    fn a_connection_is_tried_a_bounded_number_of_times() {
        assert_eq!(pause_after(0), Some(Duration::ZERO));
        assert_eq!(pause_after(1), Some(PAUSE_MIN));
        assert_eq!(pause_after(TRIES_MAX - 1), Some(PAUSE_MAX));
        assert_eq!(pause_after(TRIES_MAX), None);
        let all: Duration = (0..TRIES_MAX).filter_map(pause_after).sum();
        assert!(all > Duration::from_secs(15) && all < Duration::from_secs(30), "{all:?}");
    }
}
