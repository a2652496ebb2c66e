//! Opening connections.

use std::io;
use std::net::SocketAddr;

use nix::sys::socket::{setsockopt, sockopt};
use rustls::Connection;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::connection::{self, Link};
use super::pipe::Pipe;
use super::{End, Event};
use crate::input::SendError;
use crate::marking::mark;

/// The task of a connection that we open from `local`'s IP address; `session` is what TLS begins with,
/// `dscp` what its packets are marked with.
pub(super) async fn run(
    mut link: Link,
    local: SocketAddr,
    session: Option<Result<Connection, String>>,
    dscp: u8,
) {
    let session = match session.transpose() {
        Ok(session) => session,
        Err(why) => return link.end(End::NotOpened(SendError::Tls(why))).await,
    };
    let (limit, remote) = (link.limits.connect, link.arrival.remote);
    let opened = tokio::select! {
        biased;
        () = link.cut() => Err(io::ErrorKind::TimedOut),
        opened = timeout(limit, open(local, remote, dscp)) => match opened {
            Ok(opened) => opened.map_err(|error| error.kind()),
            Err(_) => Err(io::ErrorKind::TimedOut),
        },
    };
    let stream = match opened {
        Ok(stream) => stream,
        Err(kind) => return link.end(End::NotOpened(SendError::Connect(kind))).await,
    };
    connection::prepare(&stream, &link.limits);
    let (pipe, early) = match session {
        None => (Pipe::plain(stream), Vec::new()),
        Some(session) => {
            let pipe = Pipe::tls(stream, session);
            match link.shake_hands(&pipe).await {
                Ok(early) => (pipe, early),
                Err(why) => {
                    return link.end(End::NotOpened(SendError::Tls(why.to_string()))).await;
                }
            }
        }
    };
    link.report(Event::Opened).await;
    connection::run(link, pipe, early).await;
}

async fn open(local: SocketAddr, remote: SocketAddr, dscp: u8) -> io::Result<TcpStream> {
    let socket = if remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    mark(&socket, remote, dscp)?;
    if !local.ip().is_unspecified() {
        // The port is chosen when connecting, so that one local port serves many destinations.
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        let mut source = local;
        source.set_port(0);
        socket.bind(source)?;
    }
    socket.connect(remote).await
}
