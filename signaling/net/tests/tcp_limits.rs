//! TCP transports against peers that are slow, greedy or speak no SIP.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::future::Future;
use std::net::SocketAddr;
use std::task::{Context, Waker};
use std::time::Duration;

use common::{
    address, beside, bind_one, closed, failed, in_time, input, inputs, message, request, target,
    tcp, transmit,
};
use signaling_core::transport::{Arrival, Transport};
use signaling_core::wire;
use signaling_net::{CloseReason, Input, Limits, SendError, Transports};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

async fn connected(bound: SocketAddr) -> TcpStream {
    in_time(TcpStream::connect(bound)).await.unwrap()
}

/// A connection that has sent one message.
async fn introduced(transports: &mut Transports, bound: SocketAddr) -> (TcpStream, Arrival) {
    let mut phone = connected(bound).await;
    phone.write_all(&request(1, 0)).await.unwrap();
    let (arrival, _) = message(transports).await;
    (phone, arrival)
}

/// Reads until the peer ends or resets the connection.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut buffer = Vec::new();
    let _ = in_time(stream.read_to_end(&mut buffer)).await;
    String::from_utf8_lossy(&buffer).into_owned()
}

/// Checks that the connection of `phone` still carries messages both ways.
async fn still_works(transports: &mut Transports, phone: &mut TcpStream) {
    phone.write_all(&request(77, 0)).await.unwrap();
    let (arrival, bytes) = message(transports).await;
    assert_eq!(bytes, request(77, 0));
    transports.send(transmit(arrival.reply(), "fine"));
    let mut buffer = [0; 4];
    beside(transports, &mut Vec::new(), phone.read_exact(&mut buffer)).await.unwrap();
    assert_eq!(&buffer, b"fine");
}

/// RFC 3261 18.3: a stream that cannot be cut into messages is closed, and its neighbour goes on.
#[tokio::test]
async fn a_malformed_stream_is_closed_and_delays_nobody() {
    let (mut transports, bound) = bind_one(tcp("127.0.0.1:0"), Limits::default());
    let (mut neighbour, _) = introduced(&mut transports, bound).await;
    let mut phone = connected(bound).await;
    phone.write_all(b"\x16\x03\x01 this is no SIP\r\n\r\n").await.unwrap();
    let (_, reason) = closed(&mut transports).await;
    assert!(matches!(reason, CloseReason::Malformed(_)), "{reason:?}");
    assert_eq!(read_to_end(&mut phone).await, "");
    still_works(&mut transports, &mut neighbour).await;
}

/// RFC 3261 18.3: a request without Content-Length on a stream is answered with 400, behind the
/// answers that wait, and the connection is closed.
#[tokio::test]
async fn a_request_that_cannot_be_framed_is_answered_before_the_connection_closes() {
    let (mut transports, bound) = bind_one(tcp("127.0.0.1:0"), Limits::default());
    let (mut phone, arrival) = introduced(&mut transports, bound).await;
    let text = String::from_utf8(request(2, 0).to_vec()).unwrap();
    let without = text.replace("Content-Length: 0\r\n", "");
    phone.write_all(without.as_bytes()).await.unwrap();
    transports.send(transmit(arrival.reply(), "waits\r\n"));
    let mut out = Vec::new();
    let answer = async {
        let answer = read_to_end(&mut phone).await;
        drop(phone);
        answer
    };
    let answer = beside(&mut transports, &mut out, answer).await;
    let refusal = answer.strip_prefix("waits\r\n").unwrap_or_else(|| panic!("{answer}"));
    assert!(refusal.starts_with("SIP/2.0 400 Missing Content-Length Header\r\n"), "{answer}");
    assert!(refusal.contains("\r\nCall-ID: 2\r\n"), "{answer}");
    if out.is_empty() {
        out = inputs(&mut transports, 1).await;
    }
    assert!(
        matches!(&out[..], [Input::Closed { reason: CloseReason::Malformed(_), .. }]),
        "{out:?}"
    );
}

/// A message above the limits is refused when its head is known, not once it has been stored.
#[tokio::test]
async fn a_huge_message_is_refused() {
    let framing = wire::Limits { head_bytes_max: 2_048, body_bytes_max: 10_000 };
    let (mut transports, bound) =
        bind_one(tcp("127.0.0.1:0"), Limits { framing, ..Limits::default() });
    let (mut phone, _) = introduced(&mut transports, bound).await;
    phone.write_all(&request(2, 10_000)).await.unwrap();
    assert_eq!(message(&mut transports).await.1, request(2, 10_000), "the limit itself is in");
    // No more than a part of the body is sent.
    phone.write_all(&request(3, 10_001)[..1_000]).await.unwrap();
    let answer = async {
        let answer = read_to_end(&mut phone).await;
        drop(phone);
        answer
    };
    let mut out = Vec::new();
    let answer = beside(&mut transports, &mut out, answer).await;
    assert!(answer.starts_with("SIP/2.0 513 "), "{answer}");

    let mut endless = connected(bound).await;
    let head = format!("OPTIONS sip:a@b SIP/2.0\r\nSubject: {}", "x".repeat(4_000));
    endless.write_all(head.as_bytes()).await.unwrap();
    while out.len() < 2 {
        out.extend(inputs(&mut transports, 1).await);
    }
    for ended in out {
        let Input::Closed { reason, .. } = ended else { panic!("{ended:?}") };
        assert!(matches!(reason, CloseReason::Malformed(_)), "{reason:?}");
    }
}

/// A peer that sends a message a byte at a time is closed when the message is overdue, however steadily
/// the bytes trickle; its neighbour goes on.
#[tokio::test]
async fn a_slow_sender_is_closed() {
    let limits = Limits { partial_message: Duration::from_millis(300), ..Limits::default() };
    let (mut transports, bound) = bind_one(tcp("127.0.0.1:0"), limits);
    let (mut neighbour, _) = introduced(&mut transports, bound).await;
    let mut phone = connected(bound).await;
    let trickle = async {
        loop {
            if phone.write_all(b"x").await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let mut out = Vec::new();
    beside(&mut transports, &mut out, trickle).await;
    assert!(matches!(&out[..], [Input::Closed { reason: CloseReason::SlowSender, .. }]), "{out:?}");
    still_works(&mut transports, &mut neighbour).await;
}

/// A pause between messages is no slow sender.
#[tokio::test]
async fn a_pause_between_messages_is_not_a_slow_sender() {
    let limits = Limits { partial_message: Duration::from_millis(50), ..Limits::default() };
    let (mut transports, bound) = bind_one(tcp("127.0.0.1:0"), limits);
    let (mut phone, _) = introduced(&mut transports, bound).await;
    let pause = tokio::time::sleep(Duration::from_millis(200));
    let mut out = Vec::new();
    beside(&mut transports, &mut out, pause).await;
    assert_eq!(out, []);
    still_works(&mut transports, &mut phone).await;
}

/// A peer that does not read is closed at the bound of its queue, in messages or in bytes; every
/// message that it did not get is reported; memory stays bounded and its neighbour goes on.
#[tokio::test]
async fn a_slow_reader_is_closed_at_the_bound_of_its_queue() {
    let by_messages = Limits {
        write_queue_messages_max: 20,
        write_queue_bytes_max: usize::MAX,
        ..Limits::default()
    };
    let by_bytes = Limits { write_queue_bytes_max: 20 * 65_536, ..Limits::default() };
    for limits in [by_messages, by_bytes] {
        let (mut transports, bound) = bind_one(tcp("127.0.0.1:0"), limits);
        let (mut neighbour, _) = introduced(&mut transports, bound).await;
        let (phone, arrival) = introduced(&mut transports, bound).await;
        let mut out = Vec::new();
        let mut sent = 0_u64;
        in_time(async {
            while out.is_empty() {
                transports.send(transmit(arrival.reply(), vec![b'x'; 65_536]));
                sent += 1;
                // Lets the connection write what its socket takes.
                tokio::task::yield_now().await;
                let poll = transports.recv_batch(&mut out);
                let _ = tokio::time::timeout(Duration::ZERO, poll).await;
            }
            while !matches!(out.last(), Some(Input::Closed { .. })) {
                transports.recv_batch(&mut out).await;
            }
        })
        .await;
        let unsent = out.len() - 1;
        assert!((20..=40).contains(&unsent), "the bound, and what was being written: {unsent}");
        assert!(sent > unsent as u64);
        for failed in &out[..unsent] {
            let Input::SendFailed { target, error, .. } = failed else { panic!("{failed:?}") };
            assert_eq!(*target, arrival.reply());
            assert_eq!(*error, SendError::Closed(CloseReason::SlowReader));
        }
        let Some(Input::Closed { connection, reason, .. }) = out.last() else { panic!() };
        assert_eq!(Some(*connection), arrival.connection);
        assert_eq!(*reason, CloseReason::SlowReader);
        assert_eq!(transports.counters().send_failed, unsent as u64);
        still_works(&mut transports, &mut neighbour).await;
        drop(phone);
    }
}

/// A peer that acknowledges nothing for too long (because it does not read, or has vanished) is
/// closed, although its queue has room.
#[tokio::test]
async fn a_stalled_write_ends_the_connection() {
    let limits = Limits { write_stall: Duration::from_millis(300), ..Limits::default() };
    let (mut transports, bound) = bind_one(tcp("127.0.0.1:0"), limits);
    let (phone, arrival) = introduced(&mut transports, bound).await;
    // More than the socket buffers of both sides hold.
    transports.send(transmit(arrival.reply(), vec![b'x'; 64 * 1_024 * 1_024]));
    let ended = inputs(&mut transports, 2).await;
    let stalled = SendError::Closed(CloseReason::SlowReader);
    assert!(matches!(&ended[0], Input::SendFailed { error, .. } if *error == stalled), "{ended:?}");
    assert!(
        matches!(&ended[1], Input::Closed { reason: CloseReason::SlowReader, .. }),
        "{ended:?}"
    );
    drop(phone);
}

/// A connection on which nothing moves is closed; one that is kept alive is not.
#[tokio::test]
async fn an_idle_connection_is_closed_and_one_kept_alive_is_not() {
    let limits = Limits { idle: Duration::from_secs(1), ..Limits::default() };
    let (mut transports, bound) = bind_one(tcp("127.0.0.1:0"), limits);
    let (mut alive, _) = introduced(&mut transports, bound).await;
    let (_idle, arrival) = introduced(&mut transports, bound).await;
    let keep_alive = async {
        for _ in 0..8 {
            alive.write_all(b"\r\n\r\n").await.unwrap();
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        let mut pongs = [0; 16];
        alive.read_exact(&mut pongs).await.unwrap();
    };
    let mut out = Vec::new();
    beside(&mut transports, &mut out, keep_alive).await;
    let connection = arrival.connection.unwrap();
    let remote = arrival.remote;
    assert_eq!(out, [Input::Closed { connection, remote, reason: CloseReason::Idle }]);
}

/// Above the limit, for one source and in total, a connection is closed at once and counted; a
/// message that would open one fails; when one ends there is room again.
#[tokio::test]
async fn connections_are_limited_in_total_and_for_one_source() {
    let limits = Limits { connections_max: 3, connections_per_source_max: 2, ..Limits::default() };
    let (mut transports, bound) = bind_one(tcp("127.0.0.1:0"), limits);
    let (first, _) = introduced(&mut transports, bound).await;
    let (_second, _) = introduced(&mut transports, bound).await;
    let mut third = connected(bound).await;
    let mut out = Vec::new();
    let refused = beside(&mut transports, &mut out, read_to_end(&mut third)).await;
    assert_eq!(refused, "", "closed at once");
    assert_eq!(transports.counters().tcp_refused, 1);

    let other = TcpSocket::new_v4().unwrap();
    other.bind(address("127.0.0.9:0")).unwrap();
    let mut other = in_time(other.connect(bound)).await.unwrap();
    still_works(&mut transports, &mut other).await;

    let full = target(Transport::Tcp, bound, address("127.0.0.1:9"));
    transports.send(transmit(full, "x"));
    assert_eq!(failed(&mut transports).await.2, SendError::TooManyConnections(3));

    drop(first);
    assert!(matches!(input(&mut transports).await, Input::Closed { .. }));
    let (mut again, _) = introduced(&mut transports, bound).await;
    still_works(&mut transports, &mut again).await;
    assert_eq!(out, []);
}

/// A destination that neither accepts nor refuses delays no other: sending never waits.
#[tokio::test]
async fn a_connection_that_is_being_opened_delays_nobody() {
    let (mut transports, bound) = bind_one(tcp("127.0.0.1:0"), Limits::default());
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(address("127.0.0.1:0")).unwrap();
    let silent = socket.listen(1).unwrap();
    let remote = silent.local_addr().unwrap();
    let mut fillers = Vec::new();
    while let Ok(stream) =
        tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(remote)).await
    {
        fillers.push(stream.unwrap());
    }
    transports.send(transmit(target(Transport::Tcp, bound, remote), "never"));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to_peer = target(Transport::Tcp, bound, listener.local_addr().unwrap());
    transports.send(transmit(to_peer, "at once"));
    let mut out = Vec::new();
    let receive = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 7];
        stream.read_exact(&mut buffer).await.unwrap();
        buffer
    };
    assert_eq!(&beside(&mut transports, &mut out, receive).await, b"at once");
    assert_eq!(out, [], "the other is still being opened");
}

/// While the core is busy, what is framed for it is bounded; the peers are slowed down by TCP, and
/// nothing is lost or overtaken.
#[tokio::test]
async fn a_busy_core_slows_its_peers_down_and_loses_nothing() {
    const COUNT: usize = 6_000;
    const EVENTS_MAX: usize = 1_024;
    let (mut transports, bound) = bind_one(tcp("127.0.0.1:0"), Limits::default());
    let (mut phone, _) = introduced(&mut transports, bound).await;
    let write = tokio::spawn(async move {
        for number in 0..COUNT {
            phone.write_all(&request(number, 0)).await.unwrap();
        }
        phone
    });
    // The connection's task runs meanwhile, but nobody takes what it frames.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut out = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    while std::pin::pin!(transports.recv_batch(&mut out)).poll(&mut context).is_ready() {}
    assert!(!out.is_empty() && out.len() <= EVENTS_MAX, "{}", out.len());

    while out.len() < COUNT {
        out.extend(inputs(&mut transports, 1).await);
    }
    for (number, input) in out.iter().enumerate() {
        let Input::Message { bytes, .. } = input else { panic!("{input:?}") };
        assert_eq!(*bytes, request(number, 0));
    }
    in_time(write).await.unwrap();
}
