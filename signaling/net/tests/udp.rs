//! UDP transports against real sockets on loopback addresses.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use common::{
    address, beside, bind_on_one_port, bind_one, failed, in_time, inputs, message, request, target,
    tcp, transmit, udp,
};
use signaling_core::transport::{ListenerId, Transport};
use signaling_net::{Input, Limits, SendError, ShutdownReport, Transports};
use tokio::net::UdpSocket;

async fn peer(text: &str) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(text).await.unwrap();
    let bound = socket.local_addr().unwrap();
    (socket, bound)
}

async fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 65_536];
    let (count, from) = in_time(socket.recv_from(&mut buffer)).await.unwrap();
    buffer.truncate(count);
    (buffer, from)
}

/// S53, RFC 3261 18.2.2: on a wildcard socket each request's own local address is known, and the
/// answer leaves from just that address and port.
#[tokio::test]
async fn an_answer_leaves_from_the_address_that_the_request_came_to() {
    let (mut transports, bound) = bind_one(udp("0.0.0.0:0"), Limits::default());
    let (phone, phone_address) = peer("127.0.0.1:0").await;
    for ip in ["127.0.0.2", "127.0.0.3"] {
        let local = SocketAddr::new(ip.parse().unwrap(), bound.port());
        phone.send_to(b"OPTIONS", local).await.unwrap();
        let (arrival, bytes) = message(&mut transports).await;
        assert_eq!(bytes, "OPTIONS");
        assert_eq!(arrival.transport, Transport::Udp);
        assert_eq!(arrival.listener, ListenerId(0));
        assert_eq!(arrival.local, local);
        assert_eq!(arrival.remote, phone_address);
        assert_eq!(arrival.connection, None);

        transports.send(transmit(arrival.reply(), "SIP/2.0 200 OK"));
        transports.flush();
        let (answer, from) = receive(&phone).await;
        assert_eq!(answer, b"SIP/2.0 200 OK");
        assert_eq!(from, local, "from the address that was asked");
    }
}

/// S53: messages of one batch that leave from different addresses each leave from their own.
#[tokio::test]
async fn one_batch_may_leave_from_several_addresses() {
    let (mut transports, bound) = bind_one(udp("0.0.0.0:0"), Limits::default());
    let (phone, phone_address) = peer("127.0.0.1:0").await;
    let locals = ["127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.4"];
    for ip in locals {
        let local = SocketAddr::new(ip.parse().unwrap(), bound.port());
        transports.send(transmit(target(Transport::Udp, local, phone_address), ip));
    }
    transports.flush();
    for ip in locals {
        let (text, from) = receive(&phone).await;
        assert_eq!(text, ip.as_bytes());
        assert_eq!(from.ip().to_string(), ip);
    }
}

/// S52, S53: a VIP socket and an all-addresses socket on one port. What is sent to the VIP arrives at
/// the first, all else at the second, and what is sent through the first leaves from the VIP.
#[tokio::test]
async fn a_vip_socket_and_an_all_addresses_socket_share_a_port() {
    let (mut transports, port) = bind_on_one_port(&["0.0.0.0:PORT", "127.0.0.2:PORT"]);
    let vip = SocketAddr::new("127.0.0.2".parse().unwrap(), port);
    let own = SocketAddr::new("127.0.0.3".parse().unwrap(), port);
    let (phone, phone_address) = peer("127.0.0.1:0").await;

    for (local, listener) in [(vip, ListenerId(1)), (own, ListenerId(0)), (vip, ListenerId(1))] {
        phone.send_to(b"INVITE", local).await.unwrap();
        let (arrival, _) = message(&mut transports).await;
        assert_eq!((arrival.listener, arrival.local), (listener, local));
        transports.send(transmit(arrival.reply(), "answer"));
        transports.flush();
        assert_eq!(receive(&phone).await, (b"answer".to_vec(), local));
    }

    // S54: a request that another member relayed here came to no socket of ours, but its answer has
    // to leave from the VIP.
    let mut relayed = target(Transport::Udp, vip, phone_address);
    relayed.listener = ListenerId(1);
    transports.send(transmit(relayed, "relayed"));
    transports.flush();
    assert_eq!(receive(&phone).await, (b"relayed".to_vec(), vip));
}

/// A burst of 1,000 datagrams arrives whole, unchanged and in order.
#[tokio::test]
async fn a_thousand_datagrams_arrive_intact_and_in_order() {
    const COUNT: usize = 1_000;
    let (mut transports, bound) = bind_one(udp("127.0.0.1:0"), Limits::default());
    let (phone, phone_address) = peer("127.0.0.1:0").await;
    let sent: Vec<_> = (0..COUNT).map(|n| request(n, n * 7 % 1_200)).collect();
    let mut received = Vec::new();
    // In steps that fit into the smallest default receive buffer.
    for step in sent.chunks(100) {
        for datagram in step {
            phone.send_to(datagram, bound).await.unwrap();
        }
        received.extend(inputs(&mut transports, step.len()).await);
    }
    assert_eq!(received.len(), COUNT);
    for (input, expected) in received.iter().zip(&sent) {
        let Input::Message { arrival, bytes } = input else { panic!("{input:?}") };
        assert_eq!(bytes, expected);
        assert_eq!(arrival.remote, phone_address);
        assert_eq!(arrival.local, bound);
    }
    assert_eq!(transports.counters().udp_received, COUNT as u64);
}

/// What is sent in one go leaves in batches, whole and in order, without a receive in between.
#[tokio::test]
async fn a_burst_of_sends_leaves_intact_and_in_order() {
    const COUNT: usize = 150;
    let (mut transports, bound) = bind_one(udp("127.0.0.1:0"), Limits::default());
    let (phone, phone_address) = peer("127.0.0.1:0").await;
    for number in 0..COUNT {
        transports
            .send(transmit(target(Transport::Udp, bound, phone_address), request(number, 10)));
    }
    transports.flush();
    for number in 0..COUNT {
        assert_eq!(receive(&phone).await, (request(number, 10).to_vec(), bound));
    }
    assert_eq!(transports.counters().udp_sent, COUNT as u64);
    assert_eq!(transports.counters().udp_dropped, 0);
}

/// Sending needs no call of its own: waiting for input sends what waits.
#[tokio::test]
async fn waiting_for_input_sends_what_waits() {
    let (mut transports, bound) = bind_one(udp("127.0.0.1:0"), Limits::default());
    let (phone, phone_address) = peer("127.0.0.1:0").await;
    transports.send(transmit(target(Transport::Udp, bound, phone_address), "ping"));
    let mut out = Vec::new();
    let got = beside(&mut transports, &mut out, receive(&phone)).await;
    assert_eq!(got, (b"ping".to_vec(), bound));
    assert_eq!(out, []);
}

/// The wildcards of both families share a port, and each gets its own.
#[tokio::test]
async fn the_wildcards_of_both_families_share_a_port() {
    let (mut transports, port) = bind_on_one_port(&["0.0.0.0:PORT", "[::]:PORT"]);
    for (listener, ip) in [(ListenerId(0), "127.0.0.1"), (ListenerId(1), "::1")] {
        let local = SocketAddr::new(ip.parse().unwrap(), port);
        let (phone, _) = peer(&SocketAddr::new(local.ip(), 0).to_string()).await;
        phone.send_to(b"OPTIONS", local).await.unwrap();
        let (arrival, _) = message(&mut transports).await;
        assert_eq!((arrival.listener, arrival.local), (listener, local));
    }
}

/// IPv6, on a single address and on the wildcard, both ways.
#[tokio::test]
async fn ipv6_works_on_a_single_address_and_on_the_wildcard() {
    for text in ["[::1]:0", "[::]:0"] {
        let (mut transports, bound) = bind_one(udp(text), Limits::default());
        let (phone, phone_address) = peer("[::1]:0").await;
        let local = SocketAddr::new("::1".parse().unwrap(), bound.port());
        phone.send_to(b"OPTIONS", local).await.unwrap();
        let (arrival, _) = message(&mut transports).await;
        assert_eq!((arrival.local, arrival.remote), (local, phone_address));
        transports.send(transmit(arrival.reply(), "answer"));
        transports.flush();
        assert_eq!(receive(&phone).await, (b"answer".to_vec(), local));
    }
}

/// RFC 5626 3.5.1: keep-alives are counted and go no further, in whatever form they come.
#[tokio::test]
async fn keep_alives_are_not_handed_on() {
    let (mut transports, bound) = bind_one(udp("127.0.0.1:0"), Limits::default());
    let (phone, _) = peer("127.0.0.1:0").await;
    for keep_alive in [&b"\r\n\r\n"[..], b"\r\n", b"", b"\0\0\0\0"] {
        phone.send_to(keep_alive, bound).await.unwrap();
    }
    phone.send_to(b"REGISTER", bound).await.unwrap();
    let (_, bytes) = message(&mut transports).await;
    assert_eq!(bytes, "REGISTER");
    assert_eq!(transports.counters().udp_keep_alives, 4);
    assert_eq!(transports.counters().udp_received, 1);
}

/// RFC 3261 18.1.1: the largest datagram there is passes both ways; a larger one fails and says so.
#[tokio::test]
async fn the_largest_datagram_passes_and_a_larger_one_fails() {
    const LARGEST: usize = 65_507;
    let (mut transports, bound) = bind_one(udp("127.0.0.1:0"), Limits::default());
    let (phone, phone_address) = peer("127.0.0.1:0").await;
    let datagram = vec![b'x'; LARGEST];
    phone.send_to(&datagram, bound).await.unwrap();
    let (arrival, bytes) = message(&mut transports).await;
    assert!(bytes == datagram);
    transports.send(transmit(arrival.reply(), datagram.clone()));
    transports.flush();
    assert!(receive(&phone).await.0 == datagram);

    let too_large = target(Transport::Udp, bound, phone_address);
    transports.send(transmit(too_large, vec![b'x'; LARGEST + 1]));
    transports.send(transmit(too_large, "next"));
    let (target, bytes, error) = failed(&mut transports).await;
    assert_eq!((target, bytes.len(), error), (too_large, LARGEST + 1, SendError::TooLarge));
    assert_eq!(receive(&phone).await.0, b"next", "those behind it leave all the same");
}

/// RFC 3261 18.4: what cannot be sent is reported, with the target and the message.
#[tokio::test]
async fn what_cannot_be_sent_is_reported() {
    let (mut transports, bound) = bind_one(udp("0.0.0.0:0"), Limits::default());
    let (_phone, phone_address) = peer("127.0.0.1:0").await;
    let mut unknown = target(Transport::Udp, bound, phone_address);
    unknown.listener = ListenerId(7);
    let wrong_transport = target(Transport::Tcp, bound, phone_address);
    let wrong_family = target(Transport::Udp, bound, address("[::1]:5060"));
    for target in [unknown, wrong_transport, wrong_family] {
        transports.send(transmit(target, "x"));
        assert_eq!(failed(&mut transports).await, (target, "x".into(), SendError::NoListener));
    }
    // TEST-NET-1 is no address of this host, so that nothing leaves.
    let foreign = target(Transport::Udp, address("192.0.2.1:5060"), phone_address);
    transports.send(transmit(foreign, "x"));
    let (_, _, error) = failed(&mut transports).await;
    assert!(matches!(error, SendError::Os(_)), "{error:?}");
    assert_eq!(transports.counters().send_failed, 4);
}

/// RFC 3261 18.4: a datagram for a port on which nobody listens is reported with its whole message as
/// soon as ICMP says so, over both families and on both kinds of socket; those behind it leave.
#[tokio::test]
async fn a_datagram_that_icmp_reports_undeliverable_fails() {
    for (listen, ip) in [
        ("127.0.0.1:0", "127.0.0.1"),
        ("0.0.0.0:0", "127.0.0.2"),
        ("[::1]:0", "::1"),
        ("[::]:0", "::1"),
    ] {
        let (mut transports, bound) = bind_one(udp(listen), Limits::default());
        let local = SocketAddr::new(ip.parse().unwrap(), bound.port());
        let any = SocketAddr::new(ip.parse().unwrap(), 0).to_string();
        let (gone, gone_address) = peer(&any).await;
        drop(gone);
        let (phone, phone_address) = peer(&any).await;
        let dead = target(Transport::Udp, local, gone_address);
        for number in 0..3 {
            transports.send(transmit(dead, request(number, 2_000)));
            transports.send(transmit(target(Transport::Udp, local, phone_address), "next"));
        }
        let mut seen = HashSet::new();
        for input in inputs(&mut transports, 3).await {
            let Input::SendFailed { target, bytes, error } = input else { panic!("{input:?}") };
            assert_eq!(target, dead);
            assert_eq!(error, SendError::Unreachable(std::io::ErrorKind::ConnectionRefused));
            seen.insert(bytes);
        }
        assert_eq!(seen, (0..3).map(|number| request(number, 2_000)).collect());
        for _ in 0..3 {
            assert_eq!(receive(&phone).await, (b"next".to_vec(), local));
        }
        // The socket still receives.
        phone.send_to(b"OPTIONS", local).await.unwrap();
        assert_eq!(message(&mut transports).await.1, "OPTIONS");
    }
}

/// udp(7): the system hands the report on one datagram to whatever call comes next; that must not fail
/// the next datagram.
#[tokio::test]
async fn a_report_is_not_blamed_on_the_datagram_that_is_sent_next() {
    let (mut transports, bound) = bind_one(udp("127.0.0.1:0"), Limits::default());
    let (gone, gone_address) = peer("127.0.0.1:0").await;
    drop(gone);
    let (phone, phone_address) = peer("127.0.0.1:0").await;
    let dead = target(Transport::Udp, bound, gone_address);
    transports.send(transmit(dead, request(1, 0)));
    transports.flush();
    transports.send(transmit(target(Transport::Udp, bound, phone_address), "next"));
    transports.flush();
    assert_eq!(receive(&phone).await.0, b"next");
    let (target, bytes, _) = failed(&mut transports).await;
    assert_eq!((target, bytes), (dead, request(1, 0)));
    assert_eq!(transports.counters().send_failed, 1);
}

/// A flood of undeliverable datagrams costs no message that arrives meanwhile.
#[tokio::test]
async fn icmp_reports_cost_no_received_message() {
    const COUNT: usize = 500;
    let (mut transports, bound) = bind_one(udp("127.0.0.1:0"), Limits::default());
    let (gone, gone_address) = peer("127.0.0.1:0").await;
    drop(gone);
    let (phone, _) = peer("127.0.0.1:0").await;
    let mut out = Vec::new();
    for number in 0..COUNT {
        transports.send(transmit(target(Transport::Udp, bound, gone_address), request(number, 0)));
        phone.send_to(&request(number, 0), bound).await.unwrap();
        if number % 20 == 0 {
            out.extend(inputs(&mut transports, 1).await);
        }
    }
    let mut messages = 0;
    let mut failures = 0;
    in_time(async {
        loop {
            for input in out.drain(..) {
                match input {
                    Input::Message { .. } => messages += 1,
                    Input::SendFailed { .. } => failures += 1,
                    Input::Closed { .. } => panic!("{input:?}"),
                }
            }
            if messages == COUNT && failures > 0 {
                return;
            }
            transports.recv_batch(&mut out).await;
        }
    })
    .await;
    assert!(failures <= COUNT);
}

/// Dropping the future of a receive loses nothing.
#[tokio::test]
async fn receiving_is_cancel_safe() {
    let (mut transports, bound) = bind_one(udp("127.0.0.1:0"), Limits::default());
    let (phone, _) = peer("127.0.0.1:0").await;
    let mut out = Vec::new();
    for number in 0..200 {
        phone.send_to(&request(number, 0), bound).await.unwrap();
        let soon = Duration::from_micros(number as u64 % 3 * 20);
        let _ = tokio::time::timeout(soon, transports.recv_batch(&mut out)).await;
    }
    let missing = 200 - out.len();
    out.extend(inputs(&mut transports, missing).await);
    let distinct: HashSet<_> = out
        .iter()
        .map(|input| match input {
            Input::Message { bytes, .. } => bytes.clone(),
            Input::Closed { .. } | Input::SendFailed { .. } => panic!("{input:?}"),
        })
        .collect();
    assert_eq!(distinct.len(), 200);
}

/// What is there is received without waiting and without the runtime, in order; and afterwards waiting
/// works as before.
#[tokio::test]
async fn what_is_there_is_received_at_once() {
    let (mut transports, bound) = bind_one(udp("127.0.0.1:0"), Limits::default());
    let (phone, phone_address) = peer("127.0.0.1:0").await;
    let mut out = Vec::new();
    assert!(!transports.recv_now(&mut out), "nothing is there");
    for round in 0..3 {
        // Over loopback a datagram is there when its sender goes on.
        for number in 0..40 {
            phone.send_to(&request(number, round), bound).await.unwrap();
        }
        assert!(transports.recv_now(&mut out) && transports.recv_now(&mut out));
        assert!(!transports.recv_now(&mut out), "all of it was received");
        let received = out.drain(..).map(|input| match input {
            Input::Message { bytes, .. } => bytes,
            Input::Closed { .. } | Input::SendFailed { .. } => panic!("{input:?}"),
        });
        let sent = (0..40).map(|number| request(number, round));
        assert!(received.eq(sent));
    }
    phone.send_to(b"OPTIONS", bound).await.unwrap();
    assert_eq!(message(&mut transports).await.1, "OPTIONS");
    let waits = transports.recv_batch(&mut out);
    tokio::time::timeout(Duration::from_millis(20), waits).await.expect_err("nothing is left");
    transports.send(transmit(target(Transport::Udp, bound, phone_address), "waits to be sent"));
    phone.send_to(b"OPTIONS", bound).await.unwrap();
    assert!(!transports.recv_now(&mut out), "it does not keep back what is to be sent");
}

/// What waits is sent before the transports end.
#[tokio::test]
async fn a_shutdown_sends_the_datagrams_that_wait() {
    let listeners = vec![udp("127.0.0.1:0"), tcp("127.0.0.1:0")];
    let mut transports = Transports::bind(listeners, Limits::default()).unwrap();
    let bound = transports.bound()[0];
    let (phone, phone_address) = peer("127.0.0.1:0").await;
    transports.send(transmit(target(Transport::Udp, bound, phone_address), "last words"));
    let report = in_time(transports.shutdown(Duration::from_secs(5))).await;
    assert_eq!(report, ShutdownReport::default());
    assert_eq!(receive(&phone).await.0, b"last words");
}

/// RFC 5626 4.4.2: a phone learns its address, and keeps its NAT's binding, on the port that SIP is
/// sent to, from the address that it asked; SIP is not held up by what is malformed.
#[tokio::test]
async fn stun_binding_requests_are_answered_beside_sip() {
    let (mut transports, bound) = bind_one(udp("0.0.0.0:0"), Limits::default());
    let (phone, phone_address) = peer("127.0.0.1:0").await;
    let local = SocketAddr::new("127.0.0.2".parse().unwrap(), bound.port());
    let mut stun = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    stun.extend(b"transaction!");
    let mut inputs = Vec::new();
    let (answer, from) = beside(&mut transports, &mut inputs, async {
        phone.send_to(&stun, local).await.unwrap();
        receive(&phone).await
    })
    .await;
    assert_eq!(from, local);
    assert_eq!(answer[..8], [1, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42]);
    assert_eq!(answer[8..20], *b"transaction!");
    let port = u16::from_be_bytes([answer[26] ^ 0x21, answer[27] ^ 0x12]);
    assert_eq!(port, phone_address.port());
    assert_eq!(inputs, []);

    stun[1] = 3;
    phone.send_to(&stun, local).await.unwrap();
    phone.send_to(b"OPTIONS", local).await.unwrap();
    assert_eq!(message(&mut transports).await.1, "OPTIONS");
    let counters = transports.counters();
    assert_eq!((counters.stun_answered, counters.stun_dropped), (1, 1));
    assert_eq!(counters.udp_received, 1);
}
