//! TCP transports against real sockets: framing, order, reuse, opening, closing.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use common::{
    address, beside, bind_one, closed, failed, in_time, input, inputs, message, request, target,
    tcp, transmit,
};
use signaling_core::transport::{Arrival, ConnectionId, ListenerId, Target, Transport};
use signaling_net::{CloseReason, Input, Limits, SendError, ShutdownReport, Transports};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

async fn connected(bound: SocketAddr) -> TcpStream {
    let stream = in_time(TcpStream::connect(bound)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A peer that listens, and the target that leads to it.
async fn peer(bound: SocketAddr) -> (TcpListener, Target) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let remote = listener.local_addr().unwrap();
    (listener, target(Transport::Tcp, bound, remote))
}

async fn read_exactly(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut buffer = vec![0; count];
    in_time(stream.read_exact(&mut buffer)).await.unwrap();
    buffer
}

/// Everything until the peer's end (or reset).
async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut buffer = Vec::new();
    let _ = in_time(stream.read_to_end(&mut buffer)).await;
    buffer
}

fn messages(inputs: &[Input]) -> Vec<Vec<u8>> {
    let bytes = |input: &Input| match input {
        Input::Message { bytes, .. } => bytes.to_vec(),
        Input::Closed { .. } | Input::SendFailed { .. } => panic!("{input:?}"),
    };
    inputs.iter().map(bytes).collect()
}

fn connection(arrival: Arrival) -> ConnectionId {
    arrival.connection.expect("a stream's arrival names its connection")
}

/// What the node goes by when it lets messages come together: with connections their tasks have to run before
/// it rests, and what they have reported meanwhile is not left lying.
#[tokio::test]
async fn it_is_known_whether_connections_have_brought_something() {
    let (mut transports, bound) = bind_one(tcp("127.0.0.1:0"), Limits::default());
    assert!(!transports.has_connections() && !transports.has_input());
    let mut phone = connected(bound).await;
    for number in [1, 2] {
        phone.write_all(&request(number, 5)).await.unwrap();
        message(&mut transports).await;
        assert!(transports.has_connections());
    }
    assert!(!transports.has_input(), "everything is taken");
    phone.write_all(&request(3, 5)).await.unwrap();
    in_time(async {
        while !transports.has_input() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    message(&mut transports).await;
    assert!(!transports.has_input());
}

/// S51, RFC 3261 18.2.2: on a wildcard listener the arrival names the address that accepted, and the
/// answer goes back on the same connection, from that address.
#[tokio::test]
async fn an_answer_goes_back_on_the_connection_that_the_request_came_on() {
    let (mut transports, bound) = bind_one(tcp("0.0.0.0:0"), Limits::default());
    let local = SocketAddr::new("127.0.0.2".parse().unwrap(), bound.port());
    let mut phone = connected(local).await;
    phone.write_all(&request(1, 5)).await.unwrap();
    let (arrival, bytes) = message(&mut transports).await;
    assert_eq!(bytes, request(1, 5));
    assert_eq!(arrival.transport, Transport::Tcp);
    assert_eq!(arrival.listener, ListenerId(0));
    assert_eq!(arrival.local, local);
    assert_eq!(arrival.remote, phone.local_addr().unwrap());

    transports.send(transmit(arrival.reply(), "answer"));
    let mut out = Vec::new();
    let answer = beside(&mut transports, &mut out, read_exactly(&mut phone, 6)).await;
    assert_eq!(answer, b"answer");
    assert_eq!(out, []);
    let counters = transports.counters();
    assert_eq!((counters.tcp_accepted, counters.tcp_received, counters.tcp_sent), (1, 1, 1));
}

/// IPv6 works as IPv4 does.
#[tokio::test]
async fn ipv6_connections_carry_messages_both_ways() {
    let (mut transports, bound) = bind_one(tcp("[::]:0"), Limits::default());
    let mut phone = connected(SocketAddr::new("::1".parse().unwrap(), bound.port())).await;
    phone.write_all(&request(1, 0)).await.unwrap();
    let (arrival, _) = message(&mut transports).await;
    assert_eq!(arrival.local, SocketAddr::new("::1".parse().unwrap(), bound.port()));
    transports.send(transmit(arrival.reply(), "answer"));
    let answer = beside(&mut transports, &mut Vec::new(), read_exactly(&mut phone, 6)).await;
    assert_eq!(answer, b"answer");
}

/// RFC 3261 18.3: a message may come in any number of pieces.
#[tokio::test]
async fn a_message_in_many_pieces_arrives_whole() {
    let (mut transports, bound) = bind_one(tcp("127.0.0.1:0"), Limits::default());
    let mut phone = connected(bound).await;
    let sent = request(1, 300);
    let write = async {
        for piece in sent.chunks(7) {
            phone.write_all(piece).await.unwrap();
            // Lets the reader run between two pieces.
            tokio::task::yield_now().await;
        }
    };
    let mut out = Vec::new();
    beside(&mut transports, &mut out, write).await;
    if out.is_empty() {
        out = inputs(&mut transports, 1).await;
    }
    assert_eq!(messages(&out), [sent]);
}

/// RFC 3261 18.3: many messages in one segment are cut apart and keep their order, and so do the
/// answers.
#[tokio::test]
async fn messages_of_one_connection_keep_their_order_both_ways() {
    const COUNT: usize = 1_000;
    let (mut transports, bound) = bind_one(tcp("127.0.0.1:0"), Limits::default());
    let mut phone = connected(bound).await;
    let sent: Vec<_> = (0..COUNT).map(|n| request(n, n * 7 % 900)).collect();
    let stream = sent.concat();
    let length = stream.len();
    let (mut receiving, mut sending) = phone.split();
    let mut received = Vec::new();
    let exchange = async {
        let mut echo = vec![0; length];
        let write = sending.write_all(&stream);
        let read = receiving.read_exact(&mut echo);
        let (written, read) = tokio::join!(write, read);
        written.unwrap();
        read.unwrap();
        echo
    };
    let mut exchange = std::pin::pin!(exchange);
    let echo = in_time(async {
        let mut answered = 0;
        loop {
            tokio::select! {
                echo = &mut exchange => return echo,
                () = transports.recv_batch(&mut received) => {}
            }
            for input in &received[answered..] {
                let Input::Message { arrival, bytes } = input else { panic!("{input:?}") };
                transports.send(transmit(arrival.reply(), bytes.clone()));
            }
            answered = received.len();
        }
    })
    .await;
    assert!(messages(&received) == sent);
    assert!(echo == stream);
}

/// RFC 5626 3.5.1: a double CRLF is answered with one CRLF; a single one, which phones send too, is
/// nothing to wait behind.
#[tokio::test]
async fn a_ping_is_answered_with_a_pong() {
    let limits = Limits { partial_message: Duration::from_millis(50), ..Limits::default() };
    let (mut transports, bound) = bind_one(tcp("127.0.0.1:0"), limits);
    let mut phone = connected(bound).await;
    let ping = async {
        phone.write_all(b"\r\n\r\n").await.unwrap();
        let pong = read_exactly(&mut phone, 2).await;
        phone.write_all(b"\r\n").await.unwrap();
        // Well past the time in which a message would have to be complete.
        tokio::time::sleep(Duration::from_millis(150)).await;
        phone.write_all(&request(1, 0)).await.unwrap();
        pong
    };
    let mut out = Vec::new();
    assert_eq!(beside(&mut transports, &mut out, ping).await, b"\r\n");
    if out.is_empty() {
        out = inputs(&mut transports, 1).await;
    }
    assert_eq!(messages(&out), [request(1, 0)]);
}

/// RFC 3261 18.1.1: a connection is opened on demand, from the listener's address, and used again for
/// the same destination, by us and by the peer.
#[tokio::test]
async fn a_connection_is_opened_once_and_used_again() {
    let (mut transports, bound) = bind_one(tcp("127.0.0.3:0"), Limits::default());
    let (listener, to_peer) = peer(bound).await;
    for number in 0..3 {
        transports.send(transmit(to_peer, request(number, 0)));
    }
    let mut out = Vec::new();
    let accept = async { listener.accept().await.unwrap() };
    let (mut stream, from) = beside(&mut transports, &mut out, accept).await;
    assert_eq!(from.ip(), bound.ip());
    let sent: Vec<u8> = (0..3).flat_map(|number| request(number, 0)).collect();
    let read = read_exactly(&mut stream, sent.len());
    assert!(beside(&mut transports, &mut out, read).await == sent);

    // The peer sends on it too; its arrival names the address at which we are reached.
    stream.write_all(&request(9, 0)).await.unwrap();
    let (arrival, bytes) = message(&mut transports).await;
    assert_eq!(bytes, request(9, 0));
    assert_eq!((arrival.local, arrival.remote), (bound, to_peer.remote));
    assert_eq!(arrival.listener, ListenerId(0));

    // Named or not, the same connection is used.
    transports.send(transmit(arrival.reply(), "named"));
    transports.send(transmit(to_peer, "alias"));
    let read = read_exactly(&mut stream, 10);
    assert_eq!(beside(&mut transports, &mut out, read).await, b"namedalias");
    assert_eq!(transports.counters().tcp_opened, 1);
    assert_eq!(out, []);
}

/// An accepted connection is used for what is sent to its other end, so that a phone behind NAT is
/// reached (RFC 5626).
#[tokio::test]
async fn an_accepted_connection_is_used_for_its_remote_address() {
    let (mut transports, bound) = bind_one(tcp("127.0.0.1:0"), Limits::default());
    let mut phone = connected(bound).await;
    phone.write_all(&request(1, 0)).await.unwrap();
    let (arrival, _) = message(&mut transports).await;
    transports.send(transmit(target(Transport::Tcp, bound, arrival.remote), "invite"));
    let got = beside(&mut transports, &mut Vec::new(), read_exactly(&mut phone, 6)).await;
    assert_eq!(got, b"invite");
    assert_eq!(transports.counters().tcp_opened, 0);
}

/// RFC 3261 18.2.2: if the connection of a request has gone, the answer goes to the address on a new
/// one.
#[tokio::test]
async fn a_message_for_a_closed_connection_goes_to_the_address_on_a_new_one() {
    let (mut transports, bound) = bind_one(tcp("127.0.0.1:0"), Limits::default());
    let mut phone = connected(bound).await;
    phone.write_all(&request(1, 0)).await.unwrap();
    let (arrival, _) = message(&mut transports).await;
    drop(phone);
    let (gone, reason) = closed(&mut transports).await;
    assert_eq!((gone, reason), (connection(arrival), CloseReason::Peer));

    let (listener, to_peer) = peer(bound).await;
    let late = Target { connection: Some(gone), ..to_peer };
    transports.send(transmit(late, "late"));
    let mut out = Vec::new();
    let accept = async { listener.accept().await.unwrap() };
    let (mut stream, _) = beside(&mut transports, &mut out, accept).await;
    let got = beside(&mut transports, &mut out, read_exactly(&mut stream, 4)).await;
    assert_eq!(got, b"late");

    // The new connection's identifier is not that of the old one.
    stream.write_all(&request(2, 0)).await.unwrap();
    let (arrival, _) = message(&mut transports).await;
    assert_ne!(connection(arrival), gone);
}

/// RFC 3261 18.4: every message for a destination that refuses is reported, with its bytes.
#[tokio::test]
async fn a_refused_connection_fails_every_message_that_waited() {
    let (mut transports, bound) = bind_one(tcp("127.0.0.1:0"), Limits::default());
    let (listener, to_peer) = peer(bound).await;
    drop(listener);
    transports.send(transmit(to_peer, "first"));
    transports.send(transmit(to_peer, "second"));
    let mut seen = Vec::new();
    for input in inputs(&mut transports, 2).await {
        let Input::SendFailed { target, bytes, error } = input else { panic!("{input:?}") };
        assert_eq!(
            (target, &error),
            (to_peer, &SendError::Connect(io::ErrorKind::ConnectionRefused))
        );
        seen.push(bytes);
    }
    assert_eq!(seen, ["first", "second"]);
    assert_eq!(transports.counters().send_failed, 2);
}

/// A destination that does not answer fails the message in the time that the limit gives. (A listening
/// socket whose backlog is full does not answer.)
#[tokio::test]
async fn a_connection_that_is_not_established_in_time_fails_the_message() {
    let limits = Limits { connect: Duration::from_millis(200), ..Limits::default() };
    let (mut transports, bound) = bind_one(tcp("127.0.0.1:0"), limits);
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(address("127.0.0.1:0")).unwrap();
    let listener = socket.listen(1).unwrap();
    let remote = listener.local_addr().unwrap();
    let mut fillers = Vec::new();
    loop {
        let filler = TcpStream::connect(remote);
        match tokio::time::timeout(Duration::from_millis(300), filler).await {
            Ok(stream) => fillers.push(stream.unwrap()),
            Err(_) => break,
        }
    }
    transports.send(transmit(target(Transport::Tcp, bound, remote), "x"));
    let (_, _, error) = failed(&mut transports).await;
    assert_eq!(error, SendError::Connect(io::ErrorKind::TimedOut));
}

/// The end of a connection is reported once, with the reason.
#[tokio::test]
async fn a_connection_closed_by_the_peer_is_reported() {
    let (mut transports, bound) = bind_one(tcp("127.0.0.1:0"), Limits::default());
    let phone = connected(bound).await;
    let remote = phone.local_addr().unwrap();
    drop(phone);
    let ended = input(&mut transports).await;
    let connection = ConnectionId(1);
    assert_eq!(ended, Input::Closed { connection, remote, reason: CloseReason::Peer });
}

/// `close` writes what waits, then ends the connection; a second one does nothing. What the peer sends
/// meanwhile must not turn the end into a reset that discards what it has not read yet.
#[tokio::test]
async fn closing_a_connection_writes_what_waits_first() {
    const SIZE: usize = 500_000;
    let (mut transports, bound) = bind_one(tcp("127.0.0.1:0"), Limits::default());
    let socket = TcpSocket::new_v4().unwrap();
    // Much less than the answer, so that the rest of it waits on our side.
    socket.set_recv_buffer_size(32_768).unwrap();
    let mut phone = in_time(socket.connect(bound)).await.unwrap();
    phone.write_all(&request(1, 0)).await.unwrap();
    let (arrival, _) = message(&mut transports).await;
    transports.send(transmit(arrival.reply(), vec![b'x'; SIZE]));
    transports.close(connection(arrival));
    transports.close(connection(arrival));
    let mut out = Vec::new();
    let late = async {
        // The connection is being closed by now, and is read from no more.
        tokio::time::sleep(Duration::from_millis(100)).await;
        phone.write_all(&request(2, 0)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let got = read_to_end(&mut phone).await.len();
        drop(phone);
        got
    };
    assert_eq!(beside(&mut transports, &mut out, late).await, SIZE);
    if out.is_empty() {
        out = inputs(&mut transports, 1).await;
    }
    let (connection, remote) = (connection(arrival), arrival.remote);
    assert_eq!(out, [Input::Closed { connection, remote, reason: CloseReason::Asked }]);
}

/// A shutdown stops accepting, and writes what waits on every connection, within its bound.
#[tokio::test]
async fn a_shutdown_writes_what_waits() {
    let (mut transports, bound) = bind_one(tcp("127.0.0.1:0"), Limits::default());
    let mut phone = connected(bound).await;
    phone.write_all(&request(1, 0)).await.unwrap();
    let (arrival, _) = message(&mut transports).await;
    transports.send(transmit(arrival.reply(), "x".repeat(500_000)));
    let read = async {
        let got = read_to_end(&mut phone).await;
        drop(phone);
        got
    };
    let shutdown = transports.shutdown(Duration::from_secs(10));
    let (got, report) = in_time(async { tokio::join!(read, shutdown) }).await;
    assert_eq!(got.len(), 500_000);
    assert_eq!(report, ShutdownReport::default());
    let refused = in_time(TcpStream::connect(bound)).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

/// A peer that does not read does not hold a shutdown up beyond its bound.
#[tokio::test]
async fn a_shutdown_is_bounded() {
    let (mut transports, bound) = bind_one(tcp("127.0.0.1:0"), Limits::default());
    let mut phone = connected(bound).await;
    phone.write_all(&request(1, 0)).await.unwrap();
    let (arrival, _) = message(&mut transports).await;
    // More than the socket buffers of both sides hold.
    transports.send(transmit(arrival.reply(), vec![b'x'; 64 * 1_024 * 1_024]));
    let report = in_time(transports.shutdown(Duration::from_millis(200))).await;
    assert_eq!(report, ShutdownReport { connections_cut: 1, messages_unsent: 1 });
}

/// One listener's connections are not used for another's: each leaves from its own address.
#[tokio::test]
async fn each_listener_opens_its_own_connections() {
    let listeners = vec![tcp("127.0.0.2:0"), tcp("127.0.0.3:0")];
    let mut transports = Transports::bind(listeners, Limits::default()).unwrap();
    let bound = transports.bound();
    let (listener, to_peer) = peer(bound[0]).await;
    transports.send(transmit(to_peer, "first"));
    let second = Target { listener: ListenerId(1), local: bound[1], ..to_peer };
    transports.send(transmit(second, "second"));
    let accept = async {
        let mut from = HashSet::new();
        for _ in 0..2 {
            from.insert(listener.accept().await.unwrap().1.ip());
        }
        from
    };
    let from = beside(&mut transports, &mut Vec::new(), accept).await;
    assert_eq!(from, bound.iter().map(SocketAddr::ip).collect());
}
