//! Reading certificates and keys.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::names::{ByName, describe};
use super::trust::{OwnCertificate, SipServer};
use super::{Certificate, Tls};

/// Where Debian and its kin keep the authorities that the system trusts.
const SYSTEM_TRUST: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Sessions with servers that are kept for resumption: as many peers as a node usually has, 1 KB each.
const SESSIONS_KEPT: usize = 1_024;

/// Whether clients have to show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked for one.
    #[default]
    None,
    /// They are asked; one that is shown has to be good.
    Optional,
    /// Without one there is no connection.
    Required,
}

/// One certificate's files, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate and behind it those of the authorities between it and the root.
    pub chain: PathBuf,
    /// Its private key (PKCS #8, PKCS #1 or SEC 1), not encrypted.
    pub key: PathBuf,
}

/// The files that TLS is made of, and its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// This node's certificates; the first is shown to clients that name no domain of another.
    pub certificates: Vec<CertificateFiles>,
    /// Whether clients have to show one.
    pub clients: ClientCertificates,
    /// The authorities of clients' certificates; needed where they are asked for one.
    pub client_ca: Option<PathBuf>,
    /// The authorities of servers that we connect to. `None`: those that the system trusts.
    pub trust: Option<PathBuf>,
    /// Whether servers that we connect to have to show a good certificate.
    pub verify: bool,
    /// Whether their certificates may name them by a wildcard (RFC 5922 7.2 says no).
    pub wildcards: bool,
}

/// A file that TLS needs cannot be used. The message names it and says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}; {fix}", file.display())]
pub struct TlsError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub fix: &'static str,
}

impl TlsFiles {
    /// Reads and checks every file.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn load(&self) -> Result<Tls, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut shown = Vec::new();
        let mut certificates = Vec::new();
        for files in &self.certificates {
            let (certificate, key) = files.load(&provider)?;
            certificates.push(certificate);
            shown.push(Arc::new(key));
        }
        let client = self.client(&provider, shown.first())?;
        let by_name = ByName::new(&certificates, shown);
        let server = by_name.map(|by_name| self.server(&provider, by_name)).transpose()?;
        Ok(Tls { server, client: Arc::new(client), certificates: certificates.into() })
    }

    fn server(
        &self,
        provider: &Arc<CryptoProvider>,
        by_name: ByName,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let file = &self.certificates[0].chain;
        let unusable = |error: rustls::Error| fault(file, &error, "check the certificate");
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(unusable)?;
        let builder = match (self.clients, &self.client_ca) {
            (ClientCertificates::None, _) => builder.with_no_client_auth(),
            (ClientCertificates::Optional | ClientCertificates::Required, None) => {
                let what = "no authority of clients' certificates is named";
                return Err(fault(file, &what, "name client_ca, or ask for no certificate"));
            }
            (wanted, Some(authorities)) => {
                let roots = Arc::new(roots(authorities)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
                let verifier = match wanted {
                    ClientCertificates::Optional => verifier.allow_unauthenticated(),
                    ClientCertificates::None | ClientCertificates::Required => verifier,
                };
                let verifier = verifier.build().map_err(|error| {
                    fault(authorities, &error, "write certificates of authorities in PEM")
                })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(by_name));
        // Sessions are resumed by tickets, which cost this node no memory. The keys that they are
        // sealed with are new with each load: who may connect may have changed.
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(unusable)?;
        Ok(Arc::new(config))
    }

    fn client(
        &self,
        provider: &Arc<CryptoProvider>,
        own: Option<&Arc<CertifiedKey>>,
    ) -> Result<ClientConfig, TlsError> {
        let trust = self.trust.clone().unwrap_or_else(|| PathBuf::from(SYSTEM_TRUST));
        let fix = "name the authorities of your peers in sip.tls.trust";
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| fault(&trust, &error, fix))?;
        let builder = if self.verify {
            match (roots(&trust), &self.trust) {
                (Ok(roots), _) => {
                    let verifier = Arc::new(SipServer::new(roots, self.wildcards, provider));
                    builder.dangerous().with_custom_certificate_verifier(verifier)
                }
                (Err(error), Some(_)) => return Err(error),
                (Err(error), None) => {
                    tracing::warn!(
                        "no server that this node connects to over TLS can be verified: {error}"
                    );
                    builder.with_root_certificates(RootCertStore::empty())
                }
            }
        } else {
            tracing::warn!(
                "sip.tls.verify is off: this node cannot tell whom it is connected to over TLS"
            );
            let verifier = Arc::new(SipServer::any(provider));
            builder.dangerous().with_custom_certificate_verifier(verifier)
        };
        let mut config = match own {
            Some(own) => {
                builder.with_client_cert_resolver(Arc::new(OwnCertificate::new(own.clone())))
            }
            None => builder.with_no_client_auth(),
        };
        config.resumption = rustls::client::Resumption::in_memory_sessions(SESSIONS_KEPT);
        Ok(config)
    }
}

impl CertificateFiles {
    fn load(&self, provider: &CryptoProvider) -> Result<(Certificate, CertifiedKey), TlsError> {
        let chain = certificates(&self.chain)?;
        let bytes = read(&self.key)?;
        let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
            fault(&self.key, &error, "write a private key in PEM that is not encrypted")
        })?;
        let certificate = describe(&self.chain, &chain[0])?;
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| {
            fault(&self.key, &error, "name the private key that belongs to the certificate")
        })?;
        Ok((certificate, key))
    }
}

/// The certificates in a file, at least one.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    const FIX: &str = "write certificates in PEM (-----BEGIN CERTIFICATE-----)";
    let bytes = read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| fault(file, &error, FIX))?;
    if found.is_empty() {
        return Err(fault(file, &"there is no certificate in it", FIX));
    }
    Ok(found)
}

/// The authorities in a file, at least one. Those that cannot be read are left out, as the system's
/// own file may have some of a kind that is not known here.
fn roots(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates(file)?);
    if added == 0 {
        let what = "there is no certificate of an authority in it";
        return Err(fault(file, &what, "write certificates of authorities in PEM"));
    }
    Ok(roots)
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(file).map_err(|error: io::Error| {
        fault(file, &error, "check the name, and that this process may read the file")
    })
}

pub(super) fn fault(file: &Path, what: &dyn std::fmt::Display, fix: &'static str) -> TlsError {
    TlsError { file: file.to_owned(), what: what.to_string(), fix }
}
