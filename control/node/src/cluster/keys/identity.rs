//! Who a certificate says that a member is.

use anyhow::{Context as _, anyhow};
use control_core::cluster::MemberName;
use control_core::mesh::ClusterId;
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

/// A member of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Which cluster.
    pub(crate) cluster: ClusterId,
    /// Which member.
    pub(crate) name: MemberName,
}

const SCHEME: &str = "ringfarm://";

impl Identity {
    /// As it stands in a certificate, as a name of type URI.
    pub(super) fn uri(&self) -> String {
        format!("{SCHEME}{}/{}", self.cluster, self.name)
    }

    fn parse(uri: &str) -> Option<Identity> {
        let (cluster, name) = uri.strip_prefix(SCHEME)?.split_once('/')?;
        Some(Identity { cluster: cluster.parse().ok()?, name: MemberName::new(name).ok()? })
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
        let mut found = names.iter().filter_map(|name| {
            if let GeneralName::URI(uri) = name { Identity::parse(uri) } else { None }
        });
        found.next().context("this certificate is no member's of a cluster")
    }
}
