//! What the tests of the transports share. Every wait is bounded by [`PATIENCE`].
#![expect(dead_code, reason = "each test binary uses a part of it")]

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rcgen::{CertificateParams, KeyPair};
use signaling_core::transport::{ConnectionId, ListenerId, Target, Transmit, Transport};
use signaling_net::tls::{CertificateFiles, ClientCertificates, Tls, TlsFiles};
use signaling_net::{CloseReason, Input, Limits, ListenerConfig, SendError, Transports};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) fn udp(text: &str) -> ListenerConfig {
    ListenerConfig::new(Transport::Udp, address(text))
}

pub(crate) fn tcp(text: &str) -> ListenerConfig {
    ListenerConfig::new(Transport::Tcp, address(text))
}

/// Transports with one listener, and its address.
pub(crate) fn bind_one(config: ListenerConfig, limits: Limits) -> (Transports, SocketAddr) {
    let transports = Transports::bind(vec![config], limits).unwrap();
    let bound = transports.bound()[0];
    (transports, bound)
}

/// Transports whose listeners share a port that is free for all of them at once; the port is put in
/// place of `PORT`. Another process may take a port between looking and binding, hence several tries.
pub(crate) fn bind_on_one_port(listeners: &[&str]) -> (Transports, u16) {
    for _ in 0..20 {
        let probe = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        let port = probe.local_addr().unwrap().port();
        drop(probe);
        let on_port = |text: &&str| udp(&text.replace("PORT", &port.to_string()));
        let listeners = listeners.iter().map(on_port).collect();
        if let Ok(transports) = Transports::bind(listeners, Limits::default()) {
            return (transports, port);
        }
    }
    panic!("no port is free for {listeners:?}");
}

pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

/// Receives until `count` inputs are there.
pub(crate) async fn inputs(transports: &mut Transports, count: usize) -> Vec<Input> {
    let mut out = Vec::new();
    in_time(async {
        while out.len() < count {
            transports.recv_batch(&mut out).await;
        }
    })
    .await;
    out
}

/// The only input.
pub(crate) async fn input(transports: &mut Transports) -> Input {
    let mut inputs = inputs(transports, 1).await;
    assert_eq!(inputs.len(), 1, "{inputs:?}");
    inputs.remove(0)
}

/// The only input, which is a message.
pub(crate) async fn message(
    transports: &mut Transports,
) -> (signaling_core::transport::Arrival, Bytes) {
    match input(transports).await {
        Input::Message { arrival, bytes } => (arrival, bytes),
        other @ (Input::Closed { .. } | Input::SendFailed { .. }) => panic!("{other:?}"),
    }
}

/// The only input, which is the end of a connection.
pub(crate) async fn closed(transports: &mut Transports) -> (ConnectionId, CloseReason) {
    match input(transports).await {
        Input::Closed { connection, reason, .. } => (connection, reason),
        other @ (Input::Message { .. } | Input::SendFailed { .. }) => panic!("{other:?}"),
    }
}

/// The only input, which is a message that was not sent.
pub(crate) async fn failed(transports: &mut Transports) -> (Target, Bytes, SendError) {
    match input(transports).await {
        Input::SendFailed { target, bytes, error } => (target, bytes, error),
        other @ (Input::Message { .. } | Input::Closed { .. }) => panic!("{other:?}"),
    }
}

/// Runs `future` while the transports are driven; what they receive meanwhile goes to `out`.
pub(crate) async fn beside<T>(
    transports: &mut Transports,
    out: &mut Vec<Input>,
    future: impl Future<Output = T>,
) -> T {
    let mut future = std::pin::pin!(future);
    in_time(async {
        loop {
            tokio::select! {
                done = &mut future => return done,
                () = transports.recv_batch(out) => {}
            }
        }
    })
    .await
}

pub(crate) fn target(transport: Transport, local: SocketAddr, remote: SocketAddr) -> Target {
    Target { transport, listener: ListenerId(0), local, remote, connection: None, name: None }
}

pub(crate) fn transmit(target: Target, bytes: impl Into<Bytes>) -> Transmit {
    Transmit { target, bytes: bytes.into(), server_name: None }
}

/// A request that is told from others by `number`, with a body of `size` bytes.
pub(crate) fn request(number: usize, size: usize) -> Bytes {
    let body = "b".repeat(size);
    Bytes::from(format!(
        "MESSAGE sip:bob@example.net SIP/2.0\r\n\
         Via: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK{number}\r\n\
         From: <sip:alice@example.net>;tag=a\r\n\
         To: <sip:bob@example.net>\r\n\
         Call-ID: {number}\r\n\
         CSeq: {number} MESSAGE\r\n\
         Max-Forwards: 70\r\n\
         Content-Length: {size}\r\n\r\n{body}"
    ))
}

/// A certificate of its own for `a.test`, and what a client needs to believe it.
pub(crate) fn certificate() -> (Tls, Arc<ClientConfig>) {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["a.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    let files =
        CertificateFiles { chain: folder.path().join("a.pem"), key: folder.path().join("a.key") };
    std::fs::write(&files.chain, own.pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files.chain).unwrap()).unwrap();
    let tls = TlsFiles {
        trust: Some(files.chain.clone()),
        certificates: vec![files],
        clients: ClientCertificates::None,
        client_ca: None,
        verify: true,
        wildcards: false,
    };
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    (tls.load().unwrap(), Arc::new(client))
}
