//! How the network is told what to prefer: the Differentiated Services code point (RFC 2474).

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use socket2::SockRef;

/// Has what a socket for this address sends marked with a code point, 0 to 63. Connections that a socket
/// accepts are marked as it is.
pub(crate) fn mark(socket: &impl AsFd, address: SocketAddr, dscp: u8) -> io::Result<()> {
    // The two bits behind it are those of ECN (RFC 3168), which are the kernel's.
    let traffic_class = dscp << 2;
    match address {
        SocketAddr::V4(_) => SockRef::from(socket).set_tos_v4(traffic_class.into()),
        SocketAddr::V6(_) => {
            Ok(setsockopt(socket, sockopt::Ipv6TClass, &i32::from(traffic_class))?)
        }
    }
}

/// The code point that [`mark`] has given a socket for this address.
pub(crate) fn marking(socket: &impl AsFd, address: SocketAddr) -> io::Result<u8> {
    let traffic_class = match address {
        SocketAddr::V4(_) => SockRef::from(socket).tos_v4()?,
        SocketAddr::V6(_) => getsockopt(socket, sockopt::Ipv6TClass)?.unsigned_abs(),
    };
    // It fits: the traffic class is one byte.
    Ok(u8::try_from(traffic_class >> 2).unwrap_or_default())
}
