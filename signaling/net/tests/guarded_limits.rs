//! TLS, WebSocket and secure WebSocket against peers that are slow, greedy or go away: the bounds are those
//! of TCP (`tcp_limits.rs`), whatever lies between.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::{
    address, beside, certificate, closed, in_time, input, inputs, message, request, transmit,
};
use signaling_core::transport::{Arrival, Transport};
use signaling_net::{CloseReason, Input, Limits, ListenerConfig, SendError, Transports};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

const GUARDED: [Transport; 3] = [Transport::Tls, Transport::Ws, Transport::Wss];

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A node that listens on one transport, and what its phones believe.
struct Node {
    transports: Transports,
    bound: SocketAddr,
    transport: Transport,
    believes: Arc<ClientConfig>,
}

/// A phone behind its handshakes, which it is left to write frames for.
struct Phone {
    stream: Box<dyn Stream>,
    is_web: bool,
}

impl Node {
    fn start(transport: Transport, limits: Limits) -> Node {
        let (tls, believes) = certificate();
        let listener = ListenerConfig::new(transport, address("127.0.0.1:0"));
        let transports = Transports::bind_secure(vec![listener], limits, Some(tls)).unwrap();
        let bound = transports.bound()[0];
        Node { transports, bound, transport, believes }
    }

    /// A phone that has shaken hands, if it was let in.
    async fn connect(&mut self) -> io::Result<Phone> {
        let (bound, transport, believes) = (self.bound, self.transport, self.believes.clone());
        let mut none = Vec::new();
        let phone = beside(&mut self.transports, &mut none, async move {
            let stream = TcpStream::connect(bound).await?;
            let mut stream: Box<dyn Stream> = if transport.is_secure() {
                let name = ServerName::try_from("a.test").unwrap();
                Box::new(TlsConnector::from(believes).connect(name, stream).await?)
            } else {
                Box::new(stream)
            };
            let is_web = transport.is_web_socket();
            if is_web {
                upgrade(&mut stream).await?;
            }
            Ok(Phone { stream, is_web })
        });
        let phone = phone.await;
        assert_eq!(none, []);
        phone
    }

    /// A phone that has sent one message.
    async fn introduced(&mut self) -> (Phone, Arrival) {
        let mut phone = self.connect().await.unwrap();
        phone.send(&request(1, 0)).await.unwrap();
        let (arrival, bytes) = message(&mut self.transports).await;
        assert_eq!(bytes, request(1, 0));
        (phone, arrival)
    }

    /// Checks that a phone's connection still carries messages both ways.
    async fn still_serves(&mut self, phone: &mut Phone) {
        phone.send(&request(77, 0)).await.unwrap();
        let (arrival, bytes) = message(&mut self.transports).await;
        assert_eq!(bytes, request(77, 0));
        self.transports.send(transmit(arrival.reply(), "fine"));
        let mut answer = vec![0; if phone.is_web { 6 } else { 4 }];
        let read = phone.stream.read_exact(&mut answer);
        beside(&mut self.transports, &mut Vec::new(), read).await.unwrap();
        assert!(answer.ends_with(b"fine"), "{answer:?}");
    }
}

/// Opens a WebSocket (RFC 6455 4.1, RFC 7118 4.1).
async fn upgrade(stream: &mut Box<dyn Stream>) -> io::Result<()> {
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Protocol: sip\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    Ok(())
}

impl Phone {
    /// What stands before a message of so many bytes: in a WebSocket a final text frame's header with a mask
    /// of zeros, which leaves the payload as it is (RFC 6455 5.2).
    fn header(&self, length: usize) -> Vec<u8> {
        if !self.is_web {
            return Vec::new();
        }
        let length = u16::try_from(length).unwrap().to_be_bytes();
        [&[0x81, 0x80 | 126], &length[..], &[0; 4]].concat()
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let frame = [&self.header(bytes.len())[..], bytes].concat();
        self.stream.write_all(&frame).await?;
        self.stream.flush().await
    }

    /// Shows that it is there (RFC 5626 3.5.1, RFC 6455 5.5.2).
    async fn ping(&mut self) -> io::Result<()> {
        let ping: &[u8] = if self.is_web { &[0x89, 0x80, 0, 0, 0, 0] } else { b"\r\n\r\n" };
        self.stream.write_all(ping).await?;
        self.stream.flush().await
    }
}

/// A message that trickles in, a byte to a record or to a segment, has to end in time.
#[tokio::test]
async fn a_slow_sender_is_closed() {
    for transport in GUARDED {
        let limits = Limits { partial_message: Duration::from_millis(300), ..Limits::default() };
        let mut node = Node::start(transport, limits);
        let (mut neighbour, _) = node.introduced().await;
        let mut phone = node.connect().await.unwrap();
        let trickle = async {
            let header = phone.header(60_000);
            let mut sent = phone.stream.write_all(&header).await;
            while sent.is_ok() {
                sent = phone.stream.write_all(b"x").await;
                let _ = phone.stream.flush().await;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let mut out = Vec::new();
        beside(&mut node.transports, &mut out, trickle).await;
        let is_slow = matches!(&out[..], [Input::Closed { reason: CloseReason::SlowSender, .. }]);
        assert!(is_slow, "{transport}: {out:?}");
        node.still_serves(&mut neighbour).await;
    }
}

/// A peer that does not read is closed at the bound of its queue; each message that it did not get is
/// reported, and its neighbour goes on.
#[tokio::test]
async fn a_slow_reader_is_closed_at_the_bound_of_its_queue() {
    for transport in GUARDED {
        let limits = Limits { write_queue_bytes_max: 20 * 65_536, ..Limits::default() };
        let mut node = Node::start(transport, limits);
        let (mut neighbour, _) = node.introduced().await;
        let (phone, arrival) = node.introduced().await;
        let mut out = Vec::new();
        in_time(async {
            while out.is_empty() {
                node.transports.send(transmit(arrival.reply(), vec![b'x'; 65_536]));
                // Lets the connection write what its socket takes.
                tokio::task::yield_now().await;
                let poll = node.transports.recv_batch(&mut out);
                let _ = tokio::time::timeout(Duration::ZERO, poll).await;
            }
            while !matches!(out.last(), Some(Input::Closed { .. })) {
                node.transports.recv_batch(&mut out).await;
            }
        })
        .await;
        let Some((Input::Closed { connection, reason, .. }, unsent)) = out.split_last() else {
            panic!("{out:?}")
        };
        assert_eq!((Some(*connection), reason), (arrival.connection, &CloseReason::SlowReader));
        assert!((15..=60).contains(&unsent.len()), "{transport}: {}", unsent.len());
        let slow = SendError::Closed(CloseReason::SlowReader);
        let is_slow =
            |one: &Input| matches!(one, Input::SendFailed { error, .. } if *error == slow);
        assert!(unsent.iter().all(is_slow), "{transport}");
        node.still_serves(&mut neighbour).await;
        drop(phone);
    }
}

/// A peer that acknowledges nothing for too long is closed, although its queue has room.
#[tokio::test]
async fn a_stalled_write_ends_the_connection() {
    for transport in GUARDED {
        let limits = Limits { write_stall: Duration::from_millis(300), ..Limits::default() };
        let mut node = Node::start(transport, limits);
        let (phone, arrival) = node.introduced().await;
        // More than the socket buffers of both sides hold.
        node.transports.send(transmit(arrival.reply(), vec![b'x'; 64 * 1_024 * 1_024]));
        let ended = inputs(&mut node.transports, 2).await;
        let stalled = SendError::Closed(CloseReason::SlowReader);
        let is_stalled = matches!(&ended[..], [
            Input::SendFailed { error, .. },
            Input::Closed { reason: CloseReason::SlowReader, .. },
        ] if *error == stalled);
        assert!(is_stalled, "{transport}: {ended:?}");
        drop(phone);
    }
}

/// Far longer than a busy machine holds up a test.
const IDLE: Duration = Duration::from_secs(2);

/// A connection on which nothing moves is closed; one that is kept alive is not.
#[tokio::test]
async fn an_idle_connection_is_closed_and_one_kept_alive_is_not() {
    for transport in GUARDED {
        let limits = Limits { idle: IDLE, ..Limits::default() };
        let mut node = Node::start(transport, limits);
        let (_idle, arrival) = node.introduced().await;
        // Last, so that its first ping follows at once, however long handshakes take on a busy machine.
        let (mut alive, _) = node.introduced().await;
        let keep_alive = async {
            // For twice as long as it may be silent: what is idle is looked at now and then.
            const PINGS: usize = 40;
            for _ in 0..PINGS {
                alive.ping().await.unwrap();
                tokio::time::sleep(IDLE / 20).await;
            }
            // Both kinds of pong are two bytes long.
            alive.stream.read_exact(&mut [0; PINGS * 2]).await.unwrap();
        };
        let mut out = Vec::new();
        beside(&mut node.transports, &mut out, keep_alive).await;
        let (connection, remote) = (arrival.connection.unwrap(), arrival.remote);
        assert_eq!(out, [Input::Closed { connection, remote, reason: CloseReason::Idle }]);
    }
}

/// A source that has as many connections as it may have gets no further one, not even as far as a handshake;
/// once one has ended there is room again.
#[tokio::test]
async fn connections_of_one_source_are_limited() {
    for transport in GUARDED {
        let limits = Limits { connections_per_source_max: 2, ..Limits::default() };
        let mut node = Node::start(transport, limits);
        let (first, _) = node.introduced().await;
        let (mut second, _) = node.introduced().await;
        assert!(node.connect().await.is_err(), "{transport}");
        assert_eq!(node.transports.counters().tcp_refused, 1);
        node.still_serves(&mut second).await;
        drop(first);
        assert!(matches!(input(&mut node.transports).await, Input::Closed { .. }));
        let (mut again, _) = node.introduced().await;
        node.still_serves(&mut again).await;
    }
}

/// A peer that says that it sends no more is taken for gone, as over TCP: nothing in SIP ends one direction
/// alone, and what waits for it takes the way of a lost connection (RFC 3261 18.2.2).
#[tokio::test]
async fn a_half_closed_connection_counts_as_closed() {
    for transport in [&[Transport::Tcp], &GUARDED[..]].concat() {
        let mut node = Node::start(transport, Limits::default());
        let (mut neighbour, _) = node.introduced().await;
        let (mut phone, arrival) = node.introduced().await;
        phone.stream.shutdown().await.unwrap();
        let (connection, reason) = closed(&mut node.transports).await;
        assert_eq!((Some(connection), reason), (arrival.connection, CloseReason::Peer));
        // Its own side is ended, too: nothing is left open for it to hold.
        let mut rest = Vec::new();
        let _ = in_time(phone.stream.read_to_end(&mut rest)).await;
        node.still_serves(&mut neighbour).await;
    }
}
