//! Where packets may be sent: a load generator must not become somebody else's flood.

use std::net::IpAddr;

use anyhow::{Result, bail};

/// The addresses that this run may send to: loopback, and what was named explicitly.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard {
    named: Vec<IpAddr>,
}

impl Guard {
    /// Loopback plus the `named` addresses.
    pub(crate) fn new(named: &[IpAddr]) -> Guard {
        Guard { named: named.to_vec() }
    }

    /// Whether `address` may be sent to.
    pub(crate) fn allows(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.named.contains(&address)
    }

    /// Refuses an address that may not be sent to.
    ///
    /// # Errors
    /// Says which argument would allow it.
    pub(crate) fn check(&self, address: IpAddr) -> Result<()> {
        if self.allows(address) {
            return Ok(());
        }
        bail!(
            "{address} is not a loopback address; name it with --allow-target {address} if the load is meant for it"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_named_addresses_are_targets() {
        let guard = Guard::new(&["10.77.0.1".parse().unwrap()]);
        assert!(guard.check("127.0.0.5".parse().unwrap()).is_ok());
        assert!(guard.check("10.77.0.1".parse().unwrap()).is_ok());
        let refused = guard.check("10.77.0.2".parse().unwrap()).unwrap_err();
        assert!(refused.to_string().contains("--allow-target 10.77.0.2"), "{refused}");
    }
}
