//! Globally routable user agent URIs (RFC 5627): one of a user's devices, wherever it is.
//!
//! A public GRUU is the address of record with the device in `gr`. A temporary one hides both: its user
//! part is sealed, and opens to them and to the Call-ID of the registrations that it came with, after
//! whose end it leads nowhere (RFC 5627 5.4). Nothing is remembered of either.

use std::fmt::Write;
use std::time::Instant;

use super::{Binding, Lookup, Registrar};
use crate::token::Body;
use crate::wire::Uri;

/// Two hashes and a number that is never the same stand before the user's name. One whose name has no
/// room behind them (136 bytes) gets no temporary GRUU.
const NAME_AT: usize = 24;

impl Registrar {
    /// The devices that the public GRUU of `aor` with `gr=instance` means: one, by all of its
    /// contacts (RFC 5627 5.1).
    #[must_use]
    pub fn lookup_instance(&self, now: Instant, aor: &str, instance: &str) -> Lookup<'_> {
        self.find(now, aor, |binding| {
            binding.instance.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(instance))
        })
    }

    /// The device that a temporary GRUU means, by its user part.
    #[must_use]
    pub fn lookup_temporary(&self, now: Instant, user: &str) -> Lookup<'_> {
        let Some(body) = self.gruus.open(b"", user) else { return Lookup::UnknownUser };
        let (Some(hashes), Some(Ok(aor))) =
            (body.get(8..NAME_AT), body.get(NAME_AT..).map(std::str::from_utf8))
        else {
            return Lookup::UnknownUser;
        };
        self.find(now, aor, |binding| self.hashes(binding).is_some_and(|own| own[..] == *hashes))
    }

    /// Writes the GRUUs of a binding behind its Contact value; nothing if it names no instance.
    /// `public` is the address of record as a URI.
    pub(super) fn write_gruus(
        &self,
        contact: &mut String,
        binding: &Binding,
        aor: &str,
        public: &str,
    ) {
        let Some(instance) = &binding.instance else { return };
        // Writing to a String cannot fail.
        let _ = write!(contact, ";pub-gruu=\"{public};gr=");
        for byte in instance.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_.!~*'()[]/:&+$".contains(&byte) {
                contact.push(char::from(byte));
            } else {
                let _ = write!(contact, "%{byte:02X}");
            }
        }
        contact.push('"');
        let host = Uri::parse(public).ok().and_then(|_| public.split_once('@'));
        if let (Some((_, host)), Some(user)) = (host, self.temporary(binding, aor)) {
            let _ = write!(contact, ";temp-gruu=\"sip:{user}@{host};gr\"");
        }
    }

    fn temporary(&self, binding: &Binding, aor: &str) -> Option<String> {
        let mut body = Body::new();
        // No two REGISTERs have the same, so neither have their GRUUs (RFC 5627 5.4).
        body.extend_from_slice(&binding.serial.to_be_bytes());
        body.extend_from_slice(&self.hashes(binding)?);
        body.extend_from_slice(aor.as_bytes());
        self.gruus.seal(b"", &body)
    }

    /// What tells the registrations of one device by one Call-ID from all others of its user.
    fn hashes(&self, binding: &Binding) -> Option<[u8; 16]> {
        let instance = self.orders.hash(binding.instance.as_deref()?.as_bytes());
        Some((u128::from(binding.call_id) << 64 | u128::from(instance)).to_be_bytes())
    }
}
