//! Which certificate is for which domain.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Certificate;
use super::files::{TlsError, fault};

/// This node's certificates by the domain that a client names (RFC 6066 3).
#[derive(Debug)]
pub(super) struct ByName {
    named: HashMap<String, Arc<CertifiedKey>>,
    /// For clients that name none of them, such as phones that were given an address.
    first: Arc<CertifiedKey>,
}

impl ByName {
    /// `None`: there is no certificate. Where two are for one domain, the first has it.
    pub(super) fn new(
        certificates: &[Certificate],
        keys: Vec<Arc<CertifiedKey>>,
    ) -> Option<ByName> {
        let mut named = HashMap::new();
        for (certificate, key) in certificates.iter().zip(&keys) {
            for name in &certificate.names {
                named.entry(name.clone()).or_insert_with(|| key.clone());
            }
        }
        Some(ByName { named, first: keys.into_iter().next()? })
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        // RFC 6125 6.4.3: a wildcard stands for one whole label, the leftmost.
        let wildcard = || {
            let (_, parent) = name.split_once('.')?;
            self.named.get(&format!("*.{parent}"))
        };
        self.named.get(&name).or_else(wildcard)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.find(name));
        Some(named.unwrap_or(&self.first).clone())
    }
}

/// Whom a certificate is for (RFC 5922 7.1), as far as others are sent to it: exact names and addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identities {
    domains: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl Identities {
    /// What is in a certificate; nothing, if it cannot be read.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Identities {
        let mut found = Identities::default();
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return found };
        let Ok(Some(alternatives)) = parsed.subject_alternative_name() else { return found };
        for general in &alternatives.value.general_names {
            if let GeneralName::DNSName(name) = general {
                found.domains.push(name.to_ascii_lowercase());
            } else if let GeneralName::URI(uri) = general
                && let Some((scheme, domain)) = uri.split_once(':')
                && scheme.eq_ignore_ascii_case("sip")
                && !domain.contains('@')
            {
                found.domains.push(domain.to_ascii_lowercase());
            } else if let GeneralName::IPAddress(bytes) = general {
                let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                found.addresses.extend(v4.or(<[u8; 16]>::try_from(*bytes).map(IpAddr::from)));
            }
        }
        found
    }

    /// Whether it is for this domain. A wildcard is for none (RFC 5922 7.2).
    pub(crate) fn has_domain(&self, name: &str) -> bool {
        self.domains.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// Whether it is for this address.
    pub(crate) fn has_address(&self, ip: IpAddr) -> bool {
        self.addresses.contains(&ip)
    }
}

/// What a certificate says of itself.
pub(super) fn describe(file: &Path, der: &CertificateDer<'_>) -> Result<Certificate, TlsError> {
    const FIX: &str = "have the certificate made anew";
    let (_, parsed) = X509Certificate::from_der(der).map_err(|error| fault(file, &error, FIX))?;
    let alternatives = parsed.subject_alternative_name().map_err(|e| fault(file, &e, FIX))?;
    let general = alternatives.iter().flat_map(|names| &names.value.general_names);
    let names = general.filter_map(|name| {
        if let GeneralName::DNSName(name) = name { Some(name.to_ascii_lowercase()) } else { None }
    });
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    let end: Option<SystemTime> = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    Ok(Certificate {
        file: file.to_owned(),
        names: names.collect(),
        not_after: end.unwrap_or(UNIX_EPOCH),
    })
}
