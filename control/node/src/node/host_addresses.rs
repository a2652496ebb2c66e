//! The host's addresses: those that the settings name, tried before anything else is started (a call
//! that failed for want of one would look as if ports had run out), and all of them, watched for what
//! comes and goes while the node runs (S50).

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use anyhow::anyhow;
use control_core::settings::{AbsentAddresses, Settings};

/// Most addresses of the host that are told of: as many as the signaling side remembers.
const ADDRESSES_MAX: usize = 4_096;

/// A local address that the settings name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// The key that names it.
    pub(super) key: String,
    pub(super) address: IpAddr,
    /// Whether the host has it.
    pub(super) present: bool,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.key, self.address)
    }
}

/// Every local address that the settings name, with the key that names it.
fn named(settings: &Settings) -> Vec<Named> {
    let listen = settings.sip.listen.iter().enumerate();
    let listen = listen.map(|(i, listen)| (format!("sip.listen[{i}]"), listen.address));
    let listen = listen.chain(settings.ng.listen.map(|at| ("ng.listen".to_owned(), at)));
    let listen = listen.map(|(key, at)| (key, SocketAddr::ip(&at)));
    let media = settings.media.addresses.iter().enumerate();
    let media = media.map(|(i, ip)| (format!("media.addresses[{i}]"), *ip));
    let networks = settings.media.networks.iter().flat_map(|network| {
        let key = format!("media.networks, {}: address", network.name);
        let pair = network.address.unwrap_or_default();
        pair.addresses().into_iter().map(move |ip| (key.clone(), ip))
    });
    let interfaces = settings.ng.interfaces.iter();
    let interfaces =
        interfaces.map(|own| (format!("ng.interfaces, {}: address", own.name), own.address));
    let all = listen.chain(media).chain(networks).chain(interfaces);
    let all = all.filter(|(_, ip)| !ip.is_unspecified());
    all.map(|(key, address)| Named { key, address, present: true }).collect()
}

/// As [`named`], without whether the host has them.
pub(crate) fn named_addresses(settings: &Settings) -> Vec<(String, IpAddr)> {
    named(settings).into_iter().map(|named| (named.key, named.address)).collect()
}

/// Tries each of them.
///
/// # Errors
/// The first that cannot be bound, with its key and why; where the settings accept absent ones, of the
/// others alone.
pub(super) fn check(settings: &Settings) -> anyhow::Result<()> {
    let accept = settings.node.absent_addresses == AbsentAddresses::Accept;
    // What listeners say of themselves names the port, too.
    let own = |named: &Named| !named.key.contains("listen");
    named(settings).iter().filter(|named| own(named)).try_for_each(|named| bind(named, accept))
}

fn bind(named: &Named, accept: bool) -> anyhow::Result<()> {
    match try_bind(named.address) {
        Ok(()) => Ok(()),
        Err(error) if is_absent(&error) && accept => Ok(()),
        Err(error) if is_absent(&error) => Err(anyhow!(
            "{named} is not an address of this host (or not yet): give it to the host, or \
             write one that it has"
        )),
        Err(error) => Err(anyhow!("{named} cannot be bound for media: {error}")),
    }
}

fn try_bind(ip: IpAddr) -> io::Result<()> {
    // Port 0: any free one, so that a port that is taken is no reason to fail.
    UdpSocket::bind((ip, 0)).map(drop)
}

fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
}

/// The addresses of the host's interfaces.
/// All addresses of this host but those of loopback; none if the system does not tell.
pub(crate) fn others() -> Vec<IpAddr> {
    let found = of_host().unwrap_or_default();
    found.into_iter().filter(|ip| !ip.is_loopback()).collect()
}

fn of_host() -> io::Result<BTreeSet<IpAddr>> {
    let interfaces = nix::ifaddrs::getifaddrs()?;
    let address = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    Ok(interfaces.filter_map(address).take(ADDRESSES_MAX).collect())
}

/// What is known of them, to be compared with what is.
#[derive(Debug)]
pub(super) struct Watch {
    host: BTreeSet<IpAddr>,
    named: Vec<Named>,
}

impl Watch {
    /// Knows nothing yet: the first look finds everything new.
    pub(super) fn new(settings: &Settings) -> Watch {
        Watch { host: BTreeSet::new(), named: named(settings) }
    }

    /// Those that the settings name, as they were at the last look.
    pub(super) fn named(&self) -> &[Named] {
        &self.named
    }

    /// Looks; the host's addresses, if they are not what they were. What the settings name is logged
    /// when it comes or goes.
    pub(super) fn look(&mut self) -> io::Result<Option<Vec<IpAddr>>> {
        let found = of_host()?;
        for named in &mut self.named {
            let present = !try_bind(named.address).is_err_and(|error| is_absent(&error));
            match (std::mem::replace(&mut named.present, present), present) {
                (true, false) => tracing::warn!(
                    "{named} is not an address of this host: what uses it fails until it is there"
                ),
                (false, true) => tracing::info!("{named} is there (again)"),
                (true, true) | (false, false) => {}
            }
        }
        if found == self.host {
            return Ok(None);
        }
        for gone in self.host.difference(&found) {
            tracing::info!(address = %gone, "the host has lost an address");
        }
        let known = !self.host.is_empty();
        for new in found.difference(&self.host).filter(|_| known) {
            tracing::info!(address = %new, "the host has a new address");
        }
        self.host = found;
        Ok(Some(self.host.iter().copied().collect()))
    }
}

#[cfg(test)]
mod tests {
    use control_core::settings::check as read;

    use super::*;

    /// What the node says of settings whose media uses these addresses.
    fn said(text: &str) -> String {
        let checked = check(&read(text).unwrap());
        checked.err().map(|error| error.to_string()).unwrap_or_default()
    }

    /// Row S66: an address that is not there is named as such, with its key, and is no lack of ports.
    #[test]
    fn a_media_address_that_the_host_does_not_have_is_named_with_its_key() {
        // Addresses of documentation (RFC 5737, 3849): no host has them.
        let (v4, v6) = ("203.0.113.77", "2001:db8::77");
        let network = "[[media.networks]]\nname = \"dmz\"\npeers = [\"10.0.0.0/8\"]\n";
        let interface = "[[ng.interfaces]]\nname = \"pub\"\n";
        for (text, key) in [
            ("[media]\naddresses = [\"127.0.0.1\", \"IP\"]\n".to_owned(), "media.addresses[1]"),
            (format!("{network}address = [\"IP\"]\n"), "media.networks, dmz: address"),
            (format!("{interface}address = \"IP\"\n"), "ng.interfaces, pub: address"),
        ] {
            for absent in [v4, v6] {
                let said = said(&text.replace("IP", absent));
                let wanted = format!("{key} = {absent} is not an address of this host");
                assert!(said.starts_with(&wanted), "{said}");
            }
            assert_eq!(said(&text.replace("IP", "127.0.0.2")), "");
            let accepted = format!("[node]\nabsent_addresses = \"accept\"\n{text}");
            assert_eq!(said(&accepted.replace("IP", v4)), "");
        }
    }

    /// S50: what the host has is seen, and of what the settings name, which of it is there.
    #[test]
    fn the_host_is_looked_at_and_what_is_absent_is_known() {
        let text = "[media]\naddresses = [\"127.0.0.1\", \"203.0.113.77\"]\n";
        let mut watch = Watch::new(&read(text).unwrap());
        let found = watch.look().unwrap().expect("everything is new");
        assert!(found.contains(&"127.0.0.1".parse().unwrap()), "{found:?}");
        let present: Vec<_> = watch.named().iter().map(|named| named.present).collect();
        assert_eq!(present, [true, false], "{:?}", watch.named());
        assert_eq!(watch.look().unwrap(), None, "nothing has changed");
    }
}
