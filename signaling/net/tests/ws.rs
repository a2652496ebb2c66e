//! WebSocket transports against a WebSocket client over real sockets (RFC 6455, RFC 7118).
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use common::{
    address, beside, bind_one, certificate, closed, failed, in_time, input, message, request,
    target, transmit,
};
use futures_util::{SinkExt, StreamExt};
use signaling_core::transport::Transport;
use signaling_core::wire;
use signaling_net::{CloseReason, Input, Limits, ListenerConfig, SendError, Transports};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

fn bind(limits: Limits) -> (Transports, SocketAddr) {
    bind_one(ListenerConfig::new(Transport::Ws, address("127.0.0.1:0")), limits)
}

/// Opens a WebSocket over `stream`, with these headers besides.
async fn open<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    headers: &[(&'static str, &'static str)],
) -> Result<WebSocketStream<S>, Error> {
    let mut request = "ws://127.0.0.1/".into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    client_async(request, stream).await.map(|(socket, _)| socket)
}

const SIP: (&str, &str) = ("Sec-WebSocket-Protocol", "sip");

async fn client(transports: &mut Transports, bound: SocketAddr) -> WebSocketStream<TcpStream> {
    let mut none = Vec::new();
    let opened = beside(transports, &mut none, async {
        open(TcpStream::connect(bound).await.unwrap(), &[SIP]).await.unwrap()
    });
    let opened = opened.await;
    assert_eq!(none, []);
    opened
}

fn text(bytes: &Bytes) -> Message {
    Message::text(String::from_utf8(bytes.to_vec()).unwrap())
}

/// RFC 7118 5.2: one message a frame, in order, text or binary; the answer is text where it can be.
#[tokio::test]
async fn messages_go_both_ways_one_a_frame() {
    let (mut transports, bound) = bind(Limits::default());
    let mut phone = client(&mut transports, bound).await;
    let (first, second) = (request(1, 10), request(2, 70_000));
    phone.send(text(&first)).await.unwrap();
    let (arrival, bytes) = message(&mut transports).await;
    assert_eq!(bytes, first);
    assert_eq!((arrival.transport, arrival.local), (Transport::Ws, bound));
    assert_eq!(arrival.remote, phone.get_ref().local_addr().unwrap());
    let (received, sent) =
        tokio::join!(message(&mut transports), phone.send(Message::binary(second.clone())));
    sent.unwrap();
    assert_eq!(received.1, second);

    transports.send(transmit(arrival.reply(), first.clone()));
    transports.send(transmit(arrival.reply(), &b"\xff\xfe"[..]));
    transports.send(transmit(arrival.reply(), second.clone()));
    let mut none = Vec::new();
    let got = beside(&mut transports, &mut none, async {
        [
            phone.next().await.unwrap().unwrap(),
            phone.next().await.unwrap().unwrap(),
            phone.next().await.unwrap().unwrap(),
        ]
    });
    assert_eq!(got.await, [text(&first), Message::binary(&b"\xff\xfe"[..]), text(&second)]);
    assert_eq!(none, []);
    assert_eq!(transports.counters().ws_opened, 1);
}

/// RFC 7118 5: what is for a browser that has gone fails at once, instead of being dialled.
#[tokio::test]
async fn a_web_socket_that_is_gone_is_not_dialled() {
    let (mut transports, bound) = bind(Limits::default());
    let mut phone = client(&mut transports, bound).await;
    phone.send(text(&request(1, 0))).await.unwrap();
    let (arrival, _) = message(&mut transports).await;
    drop(phone);
    let (connection, _) = closed(&mut transports).await;
    assert_eq!(Some(connection), arrival.connection);
    transports.send(transmit(arrival.reply(), request(2, 0)));
    let (to, _, error) = failed(&mut transports).await;
    assert_eq!((to, error), (arrival.reply(), SendError::NoWebSocket));
    // Nor is one that was never there.
    let never = target(Transport::Ws, bound, address("127.0.0.1:9"));
    transports.send(transmit(never, request(3, 0)));
    assert_eq!(failed(&mut transports).await.2, SendError::NoWebSocket);
    assert_eq!(transports.counters().tcp_opened, 0);
}

/// RFC 6455 5.5.2 and, over it, RFC 5626 3.5.1: both keep-alives are answered and go no further.
#[tokio::test]
async fn both_kinds_of_keep_alive_are_answered() {
    let (mut transports, bound) = bind(Limits::default());
    let mut phone = client(&mut transports, bound).await;
    let mut none = Vec::new();
    let answers = beside(&mut transports, &mut none, async {
        phone.send(Message::Ping(Bytes::from_static(b"there?"))).await.unwrap();
        let pong = phone.next().await.unwrap().unwrap();
        phone.send(Message::text("\r\n\r\n")).await.unwrap();
        (pong, phone.next().await.unwrap().unwrap())
    });
    let pong = Message::Pong(Bytes::from_static(b"there?"));
    assert_eq!(answers.await, (pong, Message::text("\r\n")));
    assert_eq!(none, []);
}

/// RFC 6455 5.5.1, 7.1.1: a close is answered by one, whoever begins.
#[tokio::test]
async fn a_close_is_answered_and_said() {
    let (mut transports, bound) = bind(Limits::default());
    let mut phone = client(&mut transports, bound).await;
    let normal = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    let mut out = Vec::new();
    let answered = beside(&mut transports, &mut out, async {
        phone.close(Some(normal.clone())).await.unwrap();
        phone.next().await.unwrap().unwrap()
    });
    assert_eq!(answered.await, Message::Close(Some(normal)));
    // The end that it waits for.
    drop(phone);
    if out.is_empty() {
        out.push(input(&mut transports).await);
    }
    assert!(matches!(out[..], [Input::Closed { reason: CloseReason::Peer, .. }]), "{out:?}");

    let mut phone = client(&mut transports, bound).await;
    phone.send(text(&request(1, 0))).await.unwrap();
    let (arrival, _) = message(&mut transports).await;
    transports.close(arrival.connection.unwrap());
    let away = CloseFrame { code: CloseCode::Away, reason: "".into() };
    let mut out = Vec::new();
    let said = beside(&mut transports, &mut out, async { phone.next().await.unwrap().unwrap() });
    assert_eq!(said.await, Message::Close(Some(away)));
}

/// The code in the close that ends the connection to which these frames are sent.
async fn close_code(limits: Limits, frames: Vec<Frame>) -> (CloseCode, CloseReason) {
    let (mut transports, bound) = bind(limits);
    let mut phone = client(&mut transports, bound).await;
    let mut out = Vec::new();
    let code = beside(&mut transports, &mut out, async {
        for frame in frames {
            if phone.send(Message::Frame(frame)).await.is_err() {
                break;
            }
        }
        let Message::Close(Some(close)) = phone.next().await.unwrap().unwrap() else {
            panic!("no close")
        };
        close.code
    })
    .await;
    drop(phone);
    if out.is_empty() {
        out.push(input(&mut transports).await);
    }
    let [Input::Closed { reason, .. }] = &out[..] else { panic!("{out:?}") };
    (code, reason.clone())
}

fn data(kind: Data, is_final: bool, payload: &[u8]) -> Frame {
    Frame::message(payload.to_vec(), OpCode::Data(kind), is_final)
}

/// A message may be as large as on any other stream, whole or in fragments; a peer that breaks the
/// protocol is told so.
#[tokio::test]
async fn messages_beyond_the_bounds_end_the_connection() {
    let framing = wire::Limits { head_bytes_max: 600, body_bytes_max: 400 };
    let limits = Limits { framing, ..Limits::default() };
    let (code, reason) = close_code(limits, vec![data(Data::Text, true, &[b'a'; 1_001])]).await;
    assert_eq!(code, CloseCode::Size);
    assert!(matches!(reason, CloseReason::Malformed(_)), "{reason:?}");
    let fragments =
        vec![data(Data::Text, false, &[b'a'; 900]), data(Data::Continue, true, &[b'a'; 101])];
    assert_eq!(close_code(limits, fragments).await.0, CloseCode::Size);
    let reserved =
        FrameHeader { rsv1: true, opcode: OpCode::Data(Data::Text), ..FrameHeader::default() };
    let frame = Frame::from_payload(reserved, Bytes::new());
    assert_eq!(close_code(limits, vec![frame]).await.0, CloseCode::Protocol);
}

/// A message that begins must end in time, however its fragments trickle in.
#[tokio::test]
async fn a_message_in_fragments_must_end_in_time() {
    let limits = Limits { partial_message: Duration::from_millis(300), ..Limits::default() };
    let (mut transports, bound) = bind(limits);
    let mut phone = client(&mut transports, bound).await;
    let trickle = tokio::spawn(async move {
        phone.send(Message::Frame(data(Data::Text, false, b"O"))).await.unwrap();
        let mut pause = tokio::time::interval(Duration::from_millis(50));
        loop {
            pause.tick().await;
            if phone.send(Message::Frame(data(Data::Continue, false, b"P"))).await.is_err() {
                return;
            }
        }
    });
    assert_eq!(closed(&mut transports).await.1, CloseReason::SlowSender);
    in_time(trickle).await.unwrap();
}

async fn status(
    transports: &mut Transports,
    bound: SocketAddr,
    headers: &[(&'static str, &'static str)],
) -> (Option<u16>, Vec<Input>) {
    let mut out = Vec::new();
    let opened = beside(transports, &mut out, async {
        match open(TcpStream::connect(bound).await.unwrap(), headers).await {
            Ok(_) => None,
            Err(Error::Http(response)) => Some(response.status().as_u16()),
            Err(other) => panic!("{other:?}"),
        }
    })
    .await;
    (opened, out)
}

/// RFC 7118 4.1 and RFC 6455 10.2: who does not speak SIP, or comes from another's page, is refused.
#[tokio::test]
async fn clients_without_the_protocol_or_from_other_pages_are_refused() {
    let (mut transports, bound) = bind(Limits::default());
    let (refused, mut out) = status(&mut transports, bound, &[]).await;
    assert_eq!(refused, Some(400));
    if out.is_empty() {
        out.push(input(&mut transports).await);
    }
    assert!(matches!(&out[..], [Input::Closed { reason: CloseReason::Upgrade(_), .. }]), "{out:?}");
    assert_eq!(transports.counters().ws_refused, 1);
    assert_eq!(transports.counters().tls_failed, 0);

    let (good, evil) = (("Origin", "https://phone.test"), ("Origin", "https://evil.test"));
    assert_eq!(status(&mut transports, bound, &[SIP, evil]).await.0, None, "any is permitted");
    transports.set_origins(vec!["https://phone.test".to_owned()]);
    assert_eq!(status(&mut transports, bound, &[SIP, good]).await.0, None);
    assert_eq!(status(&mut transports, bound, &[SIP, evil]).await.0, Some(403));
}

/// Handshakes are bounded in time and bytes, and have their places like those of TLS.
#[tokio::test]
async fn handshakes_are_bounded() {
    let short = Duration::from_millis(200);
    let limits = Limits { handshake: short, handshakes_max: 1, ..Limits::default() };
    let (mut transports, bound) = bind(limits);
    let mut slow = TcpStream::connect(bound).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let mut none = Vec::new();
    let second = beside(&mut transports, &mut none, async {
        // A reset may come as soon as it is connected.
        let mut second = TcpStream::connect(bound).await?;
        second.read(&mut [0; 1]).await
    });
    // The only place is taken: an end, or a reset.
    assert!(matches!(second.await, Ok(0) | Err(_)));
    assert_eq!(transports.counters().tcp_refused, 1);
    drop(slow);
    let reason = match none.pop() {
        Some(Input::Closed { reason, .. }) => reason,
        None => closed(&mut transports).await.1,
        Some(other) => panic!("{other:?}"),
    };
    assert!(matches!(reason, CloseReason::Upgrade(_)), "{reason:?}");

    let (mut transports, bound) = bind(limits);
    let _slow = TcpStream::connect(bound).await.unwrap();
    let (_, reason) = closed(&mut transports).await;
    assert_eq!(reason, CloseReason::Upgrade(format!("not complete within {short:?}")));

    let (mut transports, bound) = bind(Limits::default());
    let mut out = Vec::new();
    let answer = beside(&mut transports, &mut out, async {
        let mut large = TcpStream::connect(bound).await.unwrap();
        large.write_all(&[b'a'; 9_000]).await.unwrap();
        let mut answer = String::new();
        large.read_to_string(&mut answer).await.unwrap();
        answer
    });
    assert!(answer.await.starts_with("HTTP/1.1 431 "));
}

/// RFC 7118 with TLS below: the same certificates as for `tls`.
#[tokio::test]
async fn messages_go_both_ways_through_tls() {
    let (tls, believes) = certificate();
    let listener = ListenerConfig::new(Transport::Wss, address("127.0.0.1:0"));
    let mut transports =
        Transports::bind_secure(vec![listener], Limits::default(), Some(tls)).unwrap();
    let bound = transports.bound()[0];
    let mut none = Vec::new();
    let mut phone = beside(&mut transports, &mut none, async {
        let stream = TcpStream::connect(bound).await.unwrap();
        let name = ServerName::try_from("a.test").unwrap();
        let stream = TlsConnector::from(believes).connect(name, stream).await.unwrap();
        open(stream, &[SIP]).await.unwrap()
    })
    .await;
    phone.send(text(&request(1, 30_000))).await.unwrap();
    let (arrival, bytes) = message(&mut transports).await;
    assert_eq!((arrival.transport, bytes), (Transport::Wss, request(1, 30_000)));
    transports.send(transmit(arrival.reply(), request(2, 30_000)));
    let answer = beside(&mut transports, &mut none, async { phone.next().await.unwrap().unwrap() });
    assert_eq!(answer.await, text(&request(2, 30_000)));
    assert_eq!(none, []);
}
