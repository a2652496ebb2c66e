//! Who a certificate says that a member is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use control_core::cluster::{MemberName, UnixSeconds};
use control_core::mesh::ClusterId;
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

use super::authority::BEFORE;

/// A member of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Which cluster.
    pub(crate) cluster: ClusterId,
    /// Which member.
    pub(crate) name: MemberName,
    /// When that was certified.
    pub(crate) issued: UnixSeconds,
}

/// When the certificate ends.
///
/// # Errors
/// If it is none.
pub(crate) fn end_of(certificate: &CertificateDer<'_>) -> anyhow::Result<SystemTime> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|error| anyhow!("this is no certificate: {error}"))?;
    let end = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    Ok(UNIX_EPOCH + Duration::from_secs(end))
}

const SCHEME: &str = "ringfarm://";

impl Identity {
    /// As it stands in a certificate, as a name of type URI.
    pub(super) fn uri(cluster: ClusterId, name: &MemberName) -> String {
        format!("{SCHEME}{cluster}/{name}")
    }

    fn parse(uri: &str, issued: UnixSeconds) -> Option<Identity> {
        let (cluster, name) = uri.strip_prefix(SCHEME)?.split_once('/')?;
        let (cluster, name) = (cluster.parse().ok()?, MemberName::new(name).ok()?);
        Some(Identity { cluster, name, issued })
    }

    /// Of whom the certificate is. Whether it is to be believed has been decided before.
    ///
    /// # Errors
    /// If it is no member's.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> anyhow::Result<Identity> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
            .map_err(|error| anyhow!("this is no certificate: {error}"))?;
        let names = parsed.subject_alternative_name().ok().flatten();
        let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
        let begins = u64::try_from(parsed.validity().not_before.timestamp()).unwrap_or(0);
        let issued = UnixSeconds(begins.saturating_add(BEFORE.as_secs()));
        let mut found = names.iter().filter_map(|name| {
            if let GeneralName::URI(uri) = name { Identity::parse(uri, issued) } else { None }
        });
        found.next().context("this certificate is no member's of a cluster")
    }
}
