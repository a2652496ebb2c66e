//! Socket addresses and packet information in the kernel's form.

use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// A socket address as the kernel reads and writes it: the larger of the two families, in which the
/// smaller one is stored when the family field says so.
pub(super) type RawAddress = libc::sockaddr_in6;

const IN_LENGTH: libc::socklen_t = mem::size_of::<libc::sockaddr_in>() as libc::socklen_t;
const IN6_LENGTH: libc::socklen_t = mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t;

/// The length that a [`RawAddress`] has room for.
pub(super) const RAW_ADDRESS_LENGTH: libc::socklen_t = IN6_LENGTH;

/// An all-zero address (family `AF_UNSPEC`).
pub(super) const fn empty() -> RawAddress {
    libc::sockaddr_in6 {
        sin6_family: 0,
        sin6_port: 0,
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
        sin6_scope_id: 0,
    }
}

/// Writes `address` in the kernel's form into `raw`; returns the length in bytes.
pub(super) fn encode(address: SocketAddr, raw: &mut RawAddress) -> libc::socklen_t {
    match address {
        SocketAddr::V4(v4) => {
            let narrow = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: in_addr(*v4.ip()),
                sin_zero: [0; 8],
            };
            // SAFETY: a sockaddr_in (16 bytes, alignment 4) fits into a sockaddr_in6 (28 bytes,
            // alignment 4), any bytes are a valid sockaddr_in6, and `raw` is exclusively borrowed.
            unsafe { std::ptr::from_mut(raw).cast::<libc::sockaddr_in>().write(narrow) };
            IN_LENGTH
        }
        SocketAddr::V6(v6) => {
            *raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            IN6_LENGTH
        }
    }
}

/// Reads an address in the kernel's form; `None` for any other family.
pub(super) fn decode(raw: &RawAddress) -> Option<SocketAddr> {
    match libc::c_int::from(raw.sin6_family) {
        libc::AF_INET => {
            // SAFETY: a sockaddr_in is smaller than and as aligned as the sockaddr_in6 that it was
            // stored in, and any bytes are a valid sockaddr_in.
            let narrow = unsafe { std::ptr::from_ref(raw).cast::<libc::sockaddr_in>().read() };
            let ip = Ipv4Addr::from(u32::from_be(narrow.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(narrow.sin_port)).into())
        }
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
            // The flow label says nothing about where a reply goes, and would make two addresses
            // of one peer differ.
            Some(SocketAddrV6::new(ip, u16::from_be(raw.sin6_port), 0, raw.sin6_scope_id).into())
        }
        _ => None,
    }
}

pub(super) const fn in_addr(ip: Ipv4Addr) -> libc::in_addr {
    libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) }
}

/// Room for one control message with packet information of either family:
/// 16 (cmsghdr) + 20 (in6_pktinfo) bytes, rounded up to 8.
pub(super) const CONTROL_BYTES: usize = 40;

/// A control buffer as aligned as `cmsghdr` wants it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Control(pub(super) [u8; CONTROL_BYTES]);

/// A local address as packet information gives it; the interface number for a link-local IPv6
/// address (whose scope it is), else 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LocalIp {
    pub(super) ip: IpAddr,
    pub(super) scope: u32,
}

impl LocalIp {
    /// The whole socket address on `port`.
    pub(super) fn with_port(self, port: u16) -> SocketAddr {
        match self.ip {
            IpAddr::V4(ip) => SocketAddrV4::new(ip, port).into(),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, self.scope).into(),
        }
    }
}

/// Reads the local address from the control messages of a received datagram.
pub(super) fn decode_local(header: &libc::msghdr) -> Option<LocalIp> {
    // SAFETY: `header` was filled in by recvmmsg, so that its control pointer and length describe
    // initialised memory that outlives this call.
    let mut at = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !at.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return a pointer to a whole cmsghdr or null.
        let (level, kind) = unsafe { ((*at).cmsg_level, (*at).cmsg_type) };
        if (level, kind) == (libc::IPPROTO_IP, libc::IP_PKTINFO) {
            // SAFETY: the kernel writes a whole in_pktinfo after a header of this type.
            let info = unsafe { libc::CMSG_DATA(at).cast::<libc::in_pktinfo>().read_unaligned() };
            // The specific destination is the address to answer from also where the datagram was
            // sent to a broadcast or multicast address.
            let ip = Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr));
            return Some(LocalIp { ip: ip.into(), scope: 0 });
        }
        if (level, kind) == (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) {
            // SAFETY: the kernel writes a whole in6_pktinfo after a header of this type.
            let info = unsafe { libc::CMSG_DATA(at).cast::<libc::in6_pktinfo>().read_unaligned() };
            let ip = Ipv6Addr::from(info.ipi6_addr.s6_addr);
            let scope = if ip.is_unicast_link_local() { info.ipi6_ifindex } else { 0 };
            return Some(LocalIp { ip: ip.into(), scope });
        }
        // SAFETY: `at` came from CMSG_FIRSTHDR or CMSG_NXTHDR on this same header.
        at = unsafe { libc::CMSG_NXTHDR(header, at) };
    }
    None
}

/// Writes a control message that sets the source address of a datagram; returns its length in
/// bytes, 0 for a wildcard address (the kernel chooses then).
pub(super) fn encode_source(source: SocketAddr, control: &mut Control) -> usize {
    match source {
        SocketAddr::V4(v4) if !v4.ip().is_unspecified() => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: in_addr(*v4.ip()),
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            write_control(libc::IPPROTO_IP, libc::IP_PKTINFO, info, control)
        }
        SocketAddr::V6(v6) if !v6.ip().is_unspecified() => {
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                ipi6_ifindex: v6.scope_id(),
            };
            write_control(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info, control)
        }
        SocketAddr::V4(_) | SocketAddr::V6(_) => 0,
    }
}

fn write_control<T>(
    level: libc::c_int,
    kind: libc::c_int,
    value: T,
    control: &mut Control,
) -> usize {
    let size = mem::size_of::<T>() as libc::c_uint;
    // SAFETY: CMSG_LEN and CMSG_SPACE only compute.
    let (length, space) = unsafe { (libc::CMSG_LEN(size), libc::CMSG_SPACE(size)) };
    assert!(space as usize <= CONTROL_BYTES, "CONTROL_BYTES is sized for packet information");
    let header = control.0.as_mut_ptr().cast::<libc::cmsghdr>();
    // SAFETY: `control` is aligned for a cmsghdr and, by the assertion, has room for the header and
    // the value; a cmsghdr is valid with any bytes; CMSG_DATA points behind the header.
    unsafe {
        (*header).cmsg_len = length as _;
        (*header).cmsg_level = level;
        (*header).cmsg_type = kind;
        libc::CMSG_DATA(header).cast::<T>().write_unaligned(value);
    }
    space as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address comes back from the kernel's form as it went in, with an IPv6 scope.
    #[test]
    fn addresses_of_both_families_survive_the_kernel_form() {
        for text in ["127.0.0.2:5060", "0.0.0.0:0", "[::1]:5060", "[fe80::1%7]:65535"] {
            let address: SocketAddr = text.parse().unwrap();
            let mut raw = empty();
            let length = encode(address, &mut raw);
            assert_eq!(length, if address.is_ipv4() { 16 } else { 28 });
            assert_eq!(decode(&raw), Some(address), "{text}");
        }
        assert_eq!(decode(&empty()), None);
    }

    /// The source of a datagram survives its control message; a wildcard writes none.
    #[test]
    fn a_source_address_survives_its_control_message() {
        for text in ["127.0.0.3:5060", "[::1]:5060", "[fe80::1%7]:5060"] {
            let source: SocketAddr = text.parse().unwrap();
            let mut control = Control([0; CONTROL_BYTES]);
            let length = encode_source(source, &mut control);
            // SAFETY: msghdr is a plain structure for which all-zero bytes are valid.
            let mut header: libc::msghdr = unsafe { mem::zeroed() };
            header.msg_control = control.0.as_mut_ptr().cast();
            header.msg_controllen = length;
            let decoded = decode_local(&header).map(|local| local.with_port(source.port()));
            // A received packet carries the destination in the field that a sent one leaves empty,
            // but the specific destination is the same field both ways.
            assert_eq!(decoded, Some(source), "{text}");
        }
        let mut control = Control([0; CONTROL_BYTES]);
        assert_eq!(encode_source("0.0.0.0:5060".parse().unwrap(), &mut control), 0);
        assert_eq!(encode_source("[::]:5060".parse().unwrap(), &mut control), 0);
    }
}
