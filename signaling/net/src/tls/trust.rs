//! Whose certificates are believed, and our own as a client.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ResolvesClientCert, verify_server_cert_signed_by_trust_anchor, verify_server_name,
};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Whose certificate is believed.
#[derive(Debug)]
enum Belief {
    /// Everybody's. For those who have said that they want no verification.
    Any,
    /// That of whoever an authority that we trust has signed it for.
    Proven {
        roots: RootCertStore,
        /// It may name the server by a wildcard.
        wildcards: bool,
    },
}

/// Believes servers that have the key of what they show, and whose certificate is for the name or address
/// that we went to: as a DNS name, or as the domain of a `sip` URI (RFC 5922 7.1).
#[derive(Debug)]
pub(super) struct SipServer {
    belief: Belief,
    algorithms: WebPkiSupportedAlgorithms,
}

impl SipServer {
    pub(super) fn new(roots: RootCertStore, wildcards: bool, provider: &CryptoProvider) -> Self {
        SipServer::with(Belief::Proven { roots, wildcards }, provider)
    }

    /// Believes everybody.
    pub(super) fn any(provider: &CryptoProvider) -> Self {
        SipServer::with(Belief::Any, provider)
    }

    const fn with(belief: Belief, provider: &CryptoProvider) -> Self {
        SipServer { belief, algorithms: provider.signature_verification_algorithms }
    }
}

impl ServerCertVerifier for SipServer {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let believed = Ok(ServerCertVerified::assertion());
        let Belief::Proven { roots, wildcards } = &self.belief else { return believed };
        let parsed = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, between, now, algorithms)?;
        match (verify_server_name(&parsed, name), names(certificate, name)) {
            (_, true) => believed,
            (Ok(()), false) if !wildcards && matches!(name, ServerName::DnsName(_)) => {
                Err(Error::General(WILDCARD_ONLY.to_owned()))
            }
            (outcome, false) => outcome.and(believed),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Why a certificate that would do for a web site does not do for SIP (RFC 5922 7.2).
const WILDCARD_ONLY: &str =
    "the certificate names the server by a wildcard alone, which sip.tls.wildcards does not allow";

/// Whether the certificate has exactly this name, as a DNS name or as the domain of a `sip` URI; a URI with
/// a user is a person's (RFC 5922 7.1).
fn names(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    let ServerName::DnsName(name) = name else { return false };
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
    let Ok(Some(alternatives)) = parsed.subject_alternative_name() else { return false };
    alternatives.value.general_names.iter().any(|general| {
        if let GeneralName::DNSName(own) = general {
            return own.eq_ignore_ascii_case(name.as_ref());
        }
        let GeneralName::URI(uri) = general else { return false };
        let Some((scheme, domain)) = uri.split_once(':') else { return false };
        scheme.eq_ignore_ascii_case("sip") && domain.eq_ignore_ascii_case(name.as_ref())
    })
}

/// What this node shows to servers that ask for a certificate: its first one, whoever asks.
#[derive(Debug)]
pub(super) struct OwnCertificate(Arc<CertifiedKey>);

impl OwnCertificate {
    pub(super) const fn new(certificate: Arc<CertifiedKey>) -> OwnCertificate {
        OwnCertificate(certificate)
    }
}

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
