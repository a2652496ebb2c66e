//! The local addresses that the settings name for media, tried before anything else is started: a call
//! that failed for want of one would look as if ports had run out.

use std::io;
use std::net::{IpAddr, UdpSocket};

use anyhow::anyhow;
use control_core::settings::Settings;

/// Every local address that the settings name for media, with the key that names it.
fn named(settings: &Settings) -> Vec<(String, IpAddr)> {
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
    media.chain(networks).chain(interfaces).collect()
}

/// Tries each of them.
///
/// # Errors
/// The first that cannot be bound, with its key and why.
pub(super) fn check(settings: &Settings) -> anyhow::Result<()> {
    named(settings).into_iter().try_for_each(|(key, ip)| bind(&key, ip))
}

fn bind(key: &str, ip: IpAddr) -> anyhow::Result<()> {
    // Port 0: any free one, so that a port that is taken is no reason to fail.
    let Err(error) = UdpSocket::bind((ip, 0)) else { return Ok(()) };
    if error.kind() == io::ErrorKind::AddrNotAvailable {
        return Err(anyhow!(
            "{key} = {ip} is not an address of this host (or not yet): give it to the host, or \
             write one that it has"
        ));
    }
    Err(anyhow!("{key} = {ip} cannot be bound for media: {error}"))
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
        }
    }
}
