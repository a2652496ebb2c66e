//! Opening connections.

use std::io;
use std::net::SocketAddr;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::connection::{self, Link};
use super::{End, Event};

/// The task of a connection that we open from `local`'s IP address.
pub(super) async fn run(mut link: Link, local: SocketAddr) {
    let (limit, remote) = (link.limits.connect, link.arrival.remote);
    let opened = tokio::select! {
        biased;
        () = link.cut() => Err(io::ErrorKind::TimedOut),
        opened = timeout(limit, open(local, remote)) => match opened {
            Ok(opened) => opened.map_err(|error| error.kind()),
            Err(_) => Err(io::ErrorKind::TimedOut),
        },
    };
    match opened {
        Ok(stream) => {
            link.report(Event::Opened).await;
            connection::run(link, stream).await;
        }
        Err(kind) => link.end(End::NotOpened(kind)).await,
    }
}

async fn open(local: SocketAddr, remote: SocketAddr) -> io::Result<TcpStream> {
    let socket = if remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if !local.ip().is_unspecified() {
        // The port is chosen when connecting, so that one local port serves many destinations.
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        let mut source = local;
        source.set_port(0);
        socket.bind(source)?;
    }
    socket.connect(remote).await
}
