//! Connections that others open: members', and nodes' that want to become one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::BytesMut;
use control_core::mesh::Frame;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;

use super::greet::{Failure, Ready, complain, greet, next, say};
use super::shared::Shared;
use super::strangers::READY_WITHIN;
use super::tls::{Guest, guest};
use super::{dial, link};

/// How long to wait where the system has no descriptor left.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections for ever.
pub(super) async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if shared.strangers.may_complain([0, 0, 0, 0].into(), Instant::now()) {
                    tracing::error!("cannot accept members' connections: {error}");
                }
                sleep(PAUSE).await;
                continue;
            }
        };
        shared.totals.accepted.add(1);
        let source = address.ip().to_canonical();
        let Some(permit) = shared.strangers.permit(source, shared.knows(source)) else {
            shared.totals.turned_away.add(1);
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let ready = timeout(READY_WITHIN, meet(&shared, stream, address)).await;
            drop(permit);
            match ready.unwrap_or(Err(Failure::Late)) {
                Ok(Some(ready)) => {
                    dial::keep_if_new(&shared, &ready);
                    link::run(&shared, ready).await;
                }
                Ok(None) => {}
                Err(failure) => complain(&shared, address, &failure, "refused a connection"),
            }
        });
    }
}

/// `None`: it was a node that wanted to become a member, and has its answer.
async fn meet(
    shared: &Arc<Shared>,
    stream: TcpStream,
    address: SocketAddr,
) -> Result<Option<Ready<TlsStream<TcpStream>>>, Failure> {
    stream.set_nodelay(true)?;
    let stream = shared.tls.acceptor.accept(stream).await?;
    match guest(stream.get_ref().1).map_err(Failure::Certificate)? {
        Guest::Member(identity) => greet(shared, stream, &identity, None).await.map(Some),
        Guest::Joining => join(shared, stream, address).await.map(|()| None),
    }
}

async fn join(
    shared: &Arc<Shared>,
    mut stream: TlsStream<TcpStream>,
    address: SocketAddr,
) -> Result<(), Failure> {
    let first = next(&mut stream, &mut BytesMut::new()).await?;
    let Frame::JoinAsk(ask) = first else {
        let why = format!("it has no certificate and says a frame of kind {}", first.kind());
        return Err(Failure::Identity(why));
    };
    let name = ask.name.clone();
    let answer = match shared.tokens.clone() {
        // Files and signatures: not on the thread that all members' frames go through.
        Some(tokens) => {
            let redeemed =
                tokio::task::spawn_blocking(move || tokens.redeem(&ask, SystemTime::now())).await;
            redeemed.unwrap_or_else(|_| Err("this member has failed; its log says how".to_owned()))
        }
        None => Err("this member lets nobody in".to_owned()),
    };
    let frame = match answer {
        Ok(grant) => {
            shared.totals.joined.add(1);
            tracing::warn!(member = %name, %address, "let in as a member of the cluster");
            Frame::Grant(Box::new(grant))
        }
        Err(why) => {
            shared.totals.join_refused.add(1);
            if shared.strangers.may_complain(address.ip(), Instant::now()) {
                tracing::warn!(member = %name, %address, "not let in: {why}");
            }
            Frame::JoinRefused(why)
        }
    };
    say(&mut stream, &frame).await?;
    stream.shutdown().await?;
    Ok(())
}
