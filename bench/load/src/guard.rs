//! Where packets may be sent: a load generator must not become somebody else's flood.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Result, bail};

/// The addresses that this run may send to: loopback, and what was named explicitly.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard {
    named: Vec<Ipv4Addr>,
}

impl Guard {
    /// Loopback plus the `named` addresses.
    ///
    /// # Errors
    /// An IPv6 address is named: `rsip` 0.4 cannot read an IPv6 host.
    pub(crate) fn new(named: &[IpAddr]) -> Result<Guard> {
        let named = named.iter().map(|&address| ipv4(address)).collect::<Result<_>>()?;
        Ok(Guard { named })
    }

    /// Whether `address` may be sent to.
    pub(crate) fn allows(&self, address: Ipv4Addr) -> bool {
        address.is_loopback() || self.named.contains(&address)
    }

    /// Refuses an address that may not be sent to.
    ///
    /// # Errors
    /// Says which argument would allow it.
    pub(crate) fn check(&self, address: Ipv4Addr) -> Result<()> {
        if self.allows(address) {
            return Ok(());
        }
        bail!(
            "{address} is not a loopback address; name it with --allow-target {address} if the load is meant for it"
        )
    }
}

/// Narrows to IPv4, which is all that the SIP side can speak.
pub(crate) fn ipv4(address: IpAddr) -> Result<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(address) => {
            bail!(
                "{address}: the generator speaks IPv4 only (its SIP library cannot read IPv6 hosts)"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_named_addresses_are_targets() {
        let guard = Guard::new(&["10.77.0.1".parse().unwrap()]).unwrap();
        assert!(guard.check("127.0.0.5".parse().unwrap()).is_ok());
        assert!(guard.check("10.77.0.1".parse().unwrap()).is_ok());
        let refused = guard.check("10.77.0.2".parse().unwrap()).unwrap_err();
        assert!(refused.to_string().contains("--allow-target 10.77.0.2"), "{refused}");
    }

    #[test]
    fn ipv6_is_refused_by_name() {
        assert!(Guard::new(&["::1".parse().unwrap()]).is_err());
    }
}
