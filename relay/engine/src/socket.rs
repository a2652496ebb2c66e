//! Making the socket of a media port.

use std::io;
use std::net::SocketAddr;

use nix::sys::socket::{setsockopt, sockopt};
use relay_core::OpenError;
use relay_core::api::Traffic;
use socket2::{Domain, Protocol, Socket, Type};

use crate::config::{Dscp, Markings};
use crate::ring::Intake;

/// What every media socket is set to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketOptions {
    pub(crate) dscp: Markings,
    /// SO_RCVBUF in bytes.
    pub(crate) receive_bytes: Option<usize>,
    /// Whether sockets that get bursts have the kernel merge them.
    pub(crate) merges: bool,
}

/// A UDP socket bound to `address` and to nothing else: no address reuse, so that a port that
/// someone else has is noticed, and no IPv4 on an IPv6 socket. Video comes in bursts, a frame each.
pub(crate) fn open(
    address: SocketAddr,
    traffic: Traffic,
    options: SocketOptions,
) -> Result<(Socket, Intake), OpenError> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))
        .map_err(|error| failed("socket", &error))?;
    let dscp = options.dscp.of(traffic);
    configure(&socket, address, dscp, options.receive_bytes)
        .map_err(|error| failed("setsockopt", &error))?;
    // A kernel without it delivers each datagram by itself.
    let merges = options.merges
        && traffic == Traffic::Video
        && setsockopt(&socket, sockopt::UdpGroSegment, &true).is_ok();
    socket.bind(&address.into()).map_err(|error| match error.raw_os_error() {
        Some(libc::EADDRINUSE) => OpenError::AddressInUse,
        Some(libc::EADDRNOTAVAIL) => OpenError::AddressNotLocal,
        _ => failed("bind", &error),
    })?;
    Ok((socket, if merges { Intake::Merged } else { Intake::Single }))
}

fn configure(
    socket: &Socket,
    address: SocketAddr,
    dscp: Dscp,
    receive_bytes: Option<usize>,
) -> io::Result<()> {
    match address {
        SocketAddr::V4(_) => socket.set_tos_v4(u32::from(dscp.traffic_class()))?,
        SocketAddr::V6(_) => {
            socket.set_only_v6(true)?;
            setsockopt(socket, sockopt::Ipv6TClass, &i32::from(dscp.traffic_class()))?;
        }
    }
    receive_bytes.map_or(Ok(()), |bytes| socket.set_recv_buffer_size(bytes))
}

pub(crate) fn failed(operation: &'static str, error: &io::Error) -> OpenError {
    OpenError::Os { operation, error: error.to_string() }
}
