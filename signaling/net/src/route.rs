//! Which local address the host would send from.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// How long an answer is used again: an address that is added to or taken from the host takes effect
/// within this time (S50).
const ANSWER_TTL: Duration = Duration::from_secs(5);

/// Most answers kept; the oldest makes way. At 100 bytes each 400 KB; a node that has more peers than
/// this asks the kernel again, which takes some 5 us.
const ANSWERS_MAX: usize = 4_096;

/// The local IP address from which the host's routing table would send to `remote`. No packet is sent:
/// an unbound UDP socket is connected and asked for its address.
///
/// # Errors
/// The system's, for example `NetworkUnreachable` if there is no route.
pub fn local_address_for(remote: SocketAddr) -> io::Result<IpAddr> {
    let wildcard: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((wildcard, 0))?;
    // The port plays no part in routing, and 0 cannot be connected to everywhere.
    let mut remote = remote;
    remote.set_port(remote.port().max(1));
    socket.connect(remote)?;
    Ok(socket.local_addr()?.ip())
}

/// [`local_address_for`] with a small memory. Errors are not remembered.
#[derive(Debug, Default)]
pub struct LocalAddresses {
    answers: HashMap<SocketAddr, IpAddr>,
    /// In the order in which they were given, which is that in which they expire.
    given: VecDeque<(Instant, SocketAddr)>,
}

impl LocalAddresses {
    /// With nothing in its memory.
    #[must_use]
    pub fn new() -> LocalAddresses {
        LocalAddresses::default()
    }

    /// The local IP address from which the host sends to `remote` (whose port plays no part), as it was
    /// at most 5 s before `now`.
    ///
    /// # Errors
    /// As [`local_address_for`].
    pub fn lookup(&mut self, remote: SocketAddr, now: Instant) -> io::Result<IpAddr> {
        self.lookup_with(remote, now, local_address_for)
    }

    /// Forgets everything: the host's addresses are known to have changed.
    pub fn forget(&mut self) {
        self.answers.clear();
        self.given.clear();
    }

    fn lookup_with(
        &mut self,
        remote: SocketAddr,
        now: Instant,
        ask: impl FnOnce(SocketAddr) -> io::Result<IpAddr>,
    ) -> io::Result<IpAddr> {
        self.expire(now);
        let mut key = remote;
        key.set_port(0);
        if let Some(local) = self.answers.get(&key) {
            return Ok(*local);
        }
        let local = ask(remote)?;
        if self.given.len() >= ANSWERS_MAX
            && let Some((_, oldest)) = self.given.pop_front()
        {
            self.answers.remove(&oldest);
        }
        self.answers.insert(key, local);
        self.given.push_back((now, key));
        Ok(local)
    }

    fn expire(&mut self, now: Instant) {
        while let Some((given, key)) = self.given.front().copied()
            && now.saturating_duration_since(given) >= ANSWER_TTL
        {
            self.given.pop_front();
            self.answers.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// The kernel's routing decides, for both families.
    #[test]
    fn the_routing_table_names_the_local_address() {
        assert_eq!(local_address_for(address("127.0.0.1:5060")).unwrap(), ip("127.0.0.1"));
        assert_eq!(local_address_for(address("127.1.2.3:0")).unwrap(), ip("127.0.0.1"));
        assert_eq!(local_address_for(address("[::1]:5060")).unwrap(), ip("::1"));
    }

    /// S50: an answer is used again for a while, whatever the port, and no longer; errors are not kept.
    #[test]
    fn an_answer_is_remembered_until_it_expires() {
        let mut addresses = LocalAddresses::new();
        let start = Instant::now();
        let refuse = |_| -> io::Result<IpAddr> { panic!("asked again") };
        let unreachable = |_| Err(io::ErrorKind::NetworkUnreachable.into());
        let remote = address("192.0.2.1:5060");
        assert!(addresses.lookup_with(remote, start, unreachable).is_err());
        let first = addresses.lookup_with(remote, start, |_| Ok(ip("192.0.2.9"))).unwrap();
        assert_eq!(first, ip("192.0.2.9"));
        let soon = start + ANSWER_TTL - Duration::from_millis(1);
        let other_port = address("192.0.2.1:5080");
        assert_eq!(addresses.lookup_with(other_port, soon, refuse).unwrap(), first);
        let late = start + ANSWER_TTL;
        let changed = addresses.lookup_with(remote, late, |_| Ok(ip("192.0.2.10"))).unwrap();
        assert_eq!(changed, ip("192.0.2.10"));
        addresses.forget();
        let again = addresses.lookup_with(remote, late, |_| Ok(ip("192.0.2.11"))).unwrap();
        assert_eq!(again, ip("192.0.2.11"));
    }

    /// At the bound the oldest answer makes way.
    #[test]
    fn the_memory_is_bounded() {
        let mut addresses = LocalAddresses::new();
        let now = Instant::now();
        let remotes =
            (0..=ANSWERS_MAX as u32).map(|n| SocketAddr::new(Ipv4Addr::from(n).into(), 0));
        for remote in remotes.clone() {
            addresses.lookup_with(remote, now, |_| Ok(ip("127.0.0.1"))).unwrap();
        }
        assert_eq!(addresses.answers.len(), ANSWERS_MAX);
        assert_eq!(addresses.given.len(), ANSWERS_MAX);
        let mut asked = Vec::new();
        for remote in remotes.rev() {
            let ask = |remote| {
                asked.push(remote);
                Err(io::ErrorKind::NetworkUnreachable.into())
            };
            let _ = addresses.lookup_with(remote, now, ask);
        }
        assert_eq!(asked, [address("0.0.0.0:0")]);
    }
}
