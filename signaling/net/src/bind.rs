//! Opening the listening sockets.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Once;

use nix::sys::socket::{setsockopt, sockopt};
use signaling_core::transport::Transport;
use socket2::{Domain, Protocol, Socket, Type};

use crate::config::{LISTENERS_MAX, ListenerConfig};
use crate::marking::mark;

/// Asked of the kernel for what a UDP socket holds unread: some 3,600 messages of 800 bytes (the
/// kernel counts 2.3 KB for each and doubles what is asked), a quarter of a second at 14,000 a second.
const RECEIVE_BUFFER_BYTES: usize = 4 * 1_024 * 1_024;

/// Asked of the kernel for what a UDP socket holds unsent, for bursts beyond the interface's speed.
const SEND_BUFFER_BYTES: usize = 1_024 * 1_024;

/// Connections that wait to be accepted. Phones that all come back after an outage are accepted 64
/// at a time; the kernel caps it at `net.core.somaxconn` (4,096 by default).
const BACKLOG: i32 = 1_024;

/// A listening socket, not yet known to the runtime.
pub(crate) enum Bound {
    Udp(UdpSocket),
    Tcp(TcpListener),
}

/// A listener could not be opened. The message names the address and what to do.
#[derive(Debug)]
pub struct BindError {
    /// The listener's place in the list.
    pub listener: usize,
    /// What was asked for.
    pub config: ListenerConfig,
    /// The system's error.
    pub source: io::Error,
    advice: String,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ListenerConfig { transport, address, .. } = self.config;
        let transport = transport.lower_name();
        write!(f, "cannot listen on {transport} {address}: {}; {}", self.source, self.advice)
    }
}

/// The message says already what the system said: a chain of sources would say it twice.
impl std::error::Error for BindError {}

/// Opens every listener, in the order of `configs`.
///
/// A UDP wildcard and single addresses on its port live side by side, which the kernel permits only
/// among sockets that have `SO_REUSEADDR`; but with that option another process may bind the very same
/// address and take the traffic away silently. So the wildcard is bound first without the option, which
/// fails if anybody holds the port; the option is set while the single addresses are bound, and taken
/// off again afterwards.
pub(crate) fn bind_all(configs: &[ListenerConfig]) -> Result<Vec<Bound>, BindError> {
    check(configs)?;
    let mut order: Vec<usize> = (0..configs.len()).collect();
    order.sort_by_key(|place| !configs[*place].address.ip().is_unspecified());
    let mut opened: Vec<Option<Bound>> = configs.iter().map(|_| None).collect();
    let mut shared: Vec<usize> = Vec::new();
    for place in order {
        let config = configs[place];
        let wildcard = wildcard_beside(configs, config);
        let socket =
            open(config, wildcard.is_some()).map_err(|source| error(configs, place, source))?;
        if config.transport == Transport::Udp && shares_port(configs, config) {
            reuse_address(&socket, true).map_err(|source| error(configs, place, source))?;
            shared.push(place);
        }
        opened[place] = Some(socket);
    }
    for place in shared {
        if let Some(socket) = &opened[place] {
            reuse_address(socket, false).map_err(|source| error(configs, place, source))?;
        }
    }
    Ok(opened.into_iter().flatten().collect())
}

/// Finds what the kernel would not refuse, or would refuse less clearly.
fn check(configs: &[ListenerConfig]) -> Result<(), BindError> {
    let fail = |place: usize, advice: String| BindError {
        listener: place,
        config: configs[place],
        source: io::ErrorKind::InvalidInput.into(),
        advice,
    };
    if configs.len() > LISTENERS_MAX {
        let advice = format!("a node has at most {LISTENERS_MAX} listeners: take some out");
        return Err(fail(LISTENERS_MAX, advice));
    }
    for (place, config) in configs.iter().enumerate() {
        let twice = configs[..place].iter().position(|earlier| earlier == config);
        if let (Some(first), true) = (twice, config.address.port() != 0) {
            let advice =
                format!("it is already listener {first} of the list: take one of them out");
            return Err(fail(place, advice));
        }
    }
    Ok(())
}

/// The wildcard listener on the port of `config`, which is a single address; `None` for a system-chosen
/// port.
fn wildcard_beside(configs: &[ListenerConfig], config: ListenerConfig) -> Option<usize> {
    let beside = |other: &ListenerConfig| {
        other.transport == config.transport
            && other.address.is_ipv4() == config.address.is_ipv4()
            && other.address.port() == config.address.port()
            && other.address.ip().is_unspecified()
    };
    if config.address.port() == 0 || config.address.ip().is_unspecified() {
        return None;
    }
    configs.iter().position(beside)
}

/// Whether `config` is a wildcard with single addresses beside it, or one of those.
fn shares_port(configs: &[ListenerConfig], config: ListenerConfig) -> bool {
    let is_beside = |other: &ListenerConfig| {
        wildcard_beside(configs, *other).is_some_and(|place| configs[place] == config)
    };
    wildcard_beside(configs, config).is_some() || configs.iter().any(is_beside)
}

fn open(config: ListenerConfig, reuse: bool) -> io::Result<Bound> {
    match config.transport {
        Transport::Udp => open_udp(config, reuse).map(Bound::Udp),
        Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
            open_tcp(config).map(Bound::Tcp)
        }
    }
}

fn open_udp(config: ListenerConfig, reuse: bool) -> io::Result<UdpSocket> {
    let address = config.address;
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if address.ip().is_unspecified() {
        match address {
            SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
            SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
        }
    }
    match address {
        SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?,
        SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?,
    }
    size_buffers(&socket)?;
    mark(&socket, address, config.dscp)?;
    if address.is_ipv4() {
        let value: libc::c_int = libc::IP_PMTUDISC_DONT;
        // Without the Don't Fragment bit a message larger than some link on the way is fragmented
        // there; with it, it would be lost wherever ICMP is filtered. (IPv6 has no such bit.)
        set_option(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, value)?;
    }
    allow_absent(&socket, config)?;
    socket.set_reuse_address(reuse)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn open_tcp(config: ListenerConfig) -> io::Result<TcpListener> {
    let address = config.address;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // For TCP the option only means that connections of an earlier run that are in TIME_WAIT do
    // not stand in the way; a second listener is refused all the same.
    socket.set_reuse_address(true)?;
    allow_absent(&socket, config)?;
    mark(&socket, address, config.dscp)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Lets the socket be bound to an address that the host does not have (`IP_FREEBIND`): the kernel hands
/// it what comes for that address from the moment that the host has it, also after it was gone.
fn allow_absent(socket: &Socket, config: ListenerConfig) -> io::Result<()> {
    match config.address {
        _ if !config.may_be_absent => Ok(()),
        SocketAddr::V4(_) => set_option(socket, libc::IPPROTO_IP, libc::IP_FREEBIND, 1),
        SocketAddr::V6(_) => set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_FREEBIND, 1),
    }
}

/// Sizes the buffers as far as the kernel lets us; the larger of what privilege and what the system's
/// limit permits.
fn size_buffers(socket: &Socket) -> io::Result<()> {
    static WARNED: Once = Once::new();
    if setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES).is_err() {
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    }
    if setsockopt(socket, sockopt::SndBufForce, &SEND_BUFFER_BYTES).is_err() {
        socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    }
    // The kernel reports twice what it grants, as it counts its own overhead too (socket(7)).
    let granted = socket.recv_buffer_size()? / 2;
    if granted < RECEIVE_BUFFER_BYTES {
        WARNED.call_once(|| {
            tracing::warn!(
                "UDP receive buffers are {granted} bytes: bursts of SIP messages may be lost; \
                 set net.core.rmem_max to {RECEIVE_BUFFER_BYTES} or more"
            );
        });
    }
    Ok(())
}

fn set_option(
    socket: &impl AsRawFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which lives until after the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(&value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn reuse_address(bound: &Bound, reuse: bool) -> io::Result<()> {
    match bound {
        Bound::Udp(socket) => setsockopt(socket, sockopt::ReuseAddr, &reuse)?,
        Bound::Tcp(socket) => setsockopt(socket, sockopt::ReuseAddr, &reuse)?,
    }
    Ok(())
}

pub(crate) fn error(configs: &[ListenerConfig], place: usize, source: io::Error) -> BindError {
    let config = configs[place];
    BindError { listener: place, config, advice: advise(configs, config, source.kind()), source }
}

fn advise(configs: &[ListenerConfig], config: ListenerConfig, kind: io::ErrorKind) -> String {
    let ListenerConfig { transport, address, .. } = config;
    let port = address.port();
    let ip = address.ip();
    if kind == io::ErrorKind::AddrInUse {
        let beside = wildcard_beside(configs, config);
        if let (Some(wildcard), Transport::Tcp) = (beside, transport) {
            return format!(
                "listener {wildcard} of the list accepts TCP on every address already, \
                 and answers leave from the address that accepted: take this one out"
            );
        }
        let letter = if transport == Transport::Udp { 'u' } else { 't' };
        return format!(
            "another process holds the port: `ss -Hl{letter}np 'sport = :{port}'` names it; \
             stop it or choose another port"
        );
    }
    if kind == io::ErrorKind::AddrNotAvailable {
        return format!(
            "{ip} is not an address of this host (`ip address` lists them): add it or correct it"
        );
    }
    if kind == io::ErrorKind::PermissionDenied {
        return format!(
            "port {port} wants CAP_NET_BIND_SERVICE: grant it or choose a port from 1024 up"
        );
    }
    "check the address and the limits of this process".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(transport: Transport, address: &str) -> ListenerConfig {
        ListenerConfig::new(transport, address.parse().unwrap())
    }

    fn refusal(configs: &[ListenerConfig]) -> BindError {
        match bind_all(configs) {
            Ok(_) => panic!("bound"),
            Err(error) => error,
        }
    }

    fn option(socket: &impl AsRawFd, level: libc::c_int, name: libc::c_int) -> libc::c_int {
        let mut value: libc::c_int = -1;
        let mut length = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the pointers describe `value` and `length`, which outlive the call.
        let result = unsafe {
            let value = std::ptr::from_mut(&mut value).cast();
            libc::getsockopt(socket.as_raw_fd(), level, name, value, &mut length)
        };
        assert_eq!(result, 0);
        value
    }

    /// RFC 3261 18.1.1: large requests may have to travel over UDP; the Don't Fragment bit would
    /// lose them where ICMP is filtered.
    #[test]
    fn datagrams_leave_without_dont_fragment() {
        let bound = bind_all(&[config(Transport::Udp, "127.0.0.1:0")]).unwrap();
        let Bound::Udp(socket) = &bound[0] else { panic!("not UDP") };
        assert_eq!(option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER), libc::IP_PMTUDISC_DONT);
    }

    /// The receive buffer is what we ask for, or as much as the system's limit permits.
    #[test]
    fn udp_receive_buffers_are_sized() {
        let bound = bind_all(&[config(Transport::Udp, "127.0.0.1:0")]).unwrap();
        let Bound::Udp(socket) = &bound[0] else { panic!("not UDP") };
        let granted = option(socket, libc::SOL_SOCKET, libc::SO_RCVBUF) as usize;
        let limit = std::fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap();
        let limit: usize = limit.trim().parse().unwrap();
        assert!(granted >= RECEIVE_BUFFER_BYTES.min(limit), "{granted}");
    }

    /// S52: a VIP socket and an all-addresses socket share a port, and nobody else gets in: neither
    /// a second node, nor a process that says `SO_REUSEADDR`.
    #[test]
    fn a_vip_and_a_wildcard_socket_share_a_port_that_nobody_else_can_take() {
        // Another process may take the port between looking and binding, hence several tries.
        let (vip, all, bound) = (0..20)
            .find_map(|_| {
                let free = UdpSocket::bind("0.0.0.0:0").unwrap();
                let port = free.local_addr().unwrap().port();
                drop(free);
                let vip = config(Transport::Udp, &format!("127.0.0.2:{port}"));
                let all = config(Transport::Udp, &format!("0.0.0.0:{port}"));
                bind_all(&[vip, all]).ok().map(|bound| (vip, all, bound))
            })
            .unwrap();
        assert_eq!(bound.len(), 2);
        let Bound::Udp(first) = &bound[0] else { panic!("not UDP") };
        assert_eq!(first.local_addr().unwrap(), vip.address, "the order of the list is kept");

        assert_eq!(refusal(&[vip]).source.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(refusal(&[all]).source.kind(), io::ErrorKind::AddrInUse);
        for address in [vip.address, all.address] {
            let thief = open_udp(ListenerConfig::new(Transport::Udp, address), true);
            assert_eq!(thief.map(|_| ()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        }
    }

    /// A refusal names the address and says what to do, for each usual reason.
    #[test]
    fn a_bind_error_names_the_address_and_what_to_do() {
        let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
        let held = holder.local_addr().unwrap();
        let error = refusal(&[config(Transport::Udp, &held.to_string())]).to_string();
        assert!(error.contains(&format!("udp {held}")), "{error}");
        assert!(error.contains(&format!("ss -Hlunp 'sport = :{}'", held.port())), "{error}");

        let error = refusal(&[config(Transport::Tcp, "192.0.2.1:0")]).to_string();
        assert!(
            error.contains("tcp 192.0.2.1:0") && error.contains("not an address of this host"),
            "{error}"
        );

        let same = config(Transport::Udp, "127.0.0.1:5999");
        let error = refusal(&[same, same]);
        assert_eq!(error.listener, 1);
        assert!(error.to_string().contains("already listener 0"), "{error}");

        let many = vec![config(Transport::Udp, "127.0.0.1:0"); LISTENERS_MAX + 1];
        assert!(refusal(&many).to_string().contains("at most 256 listeners"));
    }

    /// S51: over TCP the all-addresses listener suffices; a single address beside it is refused with
    /// just that advice.
    #[test]
    fn a_tcp_address_beside_a_wildcard_is_refused_with_advice() {
        // Another process may take the port between looking and binding, hence several tries.
        let error = (0..20)
            .map(|_| {
                let free = TcpListener::bind("0.0.0.0:0").unwrap();
                let port = free.local_addr().unwrap().port();
                drop(free);
                let vip = config(Transport::Tcp, &format!("127.0.0.2:{port}"));
                let all = config(Transport::Tcp, &format!("0.0.0.0:{port}"));
                refusal(&[vip, all])
            })
            .find(|error| error.listener == 0)
            .unwrap();
        assert!(error.to_string().contains("listener 1 of the list accepts TCP"), "{error}");
    }
}
