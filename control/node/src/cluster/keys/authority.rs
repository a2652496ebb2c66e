//! Who vouches for the members of a cluster.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use control_core::cluster::MemberName;
use control_core::mesh::ClusterId;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};

use super::identity::Identity;

/// The host name in each member's certificate: TLS wants one. Who the member is stands beside it.
pub(crate) const MEMBER_HOST: &str = "member.ringfarm";

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Members' clocks may be this far behind.
pub(super) const BEFORE: Duration = DAY;
/// How long a member's certificate is good: longer than a host lives.
const MEMBER_LIFE: Duration = DAY.saturating_mul(3650);
const AUTHORITY_LIFE: Duration = DAY.saturating_mul(3 * 3650);

/// Signs members' certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    cluster: ClusterId,
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// If there is no randomness.
    pub(crate) fn make(cluster: ClusterId, now: SystemTime) -> anyhow::Result<Authority> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("{NAME}{cluster}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.not_before = (now - BEFORE).into();
        params.not_after = (now + AUTHORITY_LIFE).into();
        let key = KeyPair::generate().context("cannot make a key")?;
        let own = params.self_signed(&key).context("cannot sign")?;
        let certificate = own.der().clone();
        Ok(Authority { issuer: Issuer::new(params, key), certificate, cluster })
    }

    /// From its key (PEM) and its certificate.
    ///
    /// # Errors
    /// If they are not what they should be.
    pub(super) fn load(
        key: &str,
        certificate: CertificateDer<'static>,
    ) -> anyhow::Result<Authority> {
        let key = KeyPair::from_pem(key).context("this is no private key")?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .context("ca.pem is no certificate that could vouch for others")?;
        let cluster = cluster_of(&certificate).context("ca.pem is of no cluster of ringfarm's")?;
        Ok(Authority { issuer, certificate, cluster })
    }

    /// Its certificate.
    pub(crate) const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Its private key, for its file.
    pub(super) fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A certificate for a member with this key.
    ///
    /// # Errors
    /// If it cannot be signed.
    pub(crate) fn issue(
        &self,
        name: &MemberName,
        key: &impl PublicKeyData,
        now: SystemTime,
    ) -> anyhow::Result<CertificateDer<'static>> {
        let mut params = CertificateParams::new(vec![MEMBER_HOST.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, name.as_str());
        params.subject_alt_names.push(SanType::URI(Identity::uri(self.cluster, name).try_into()?));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = (now - BEFORE).into();
        params.not_after = (now + MEMBER_LIFE).into();
        let signed = params.signed_by(key, &self.issuer).context("cannot sign")?;
        Ok(signed.der().clone())
    }

    /// As [`Authority::issue`], for whoever shows that he has the key. Nothing else of the request
    /// is taken.
    ///
    /// # Errors
    /// If he does not.
    pub(crate) fn issue_on_request(
        &self,
        name: &MemberName,
        request: &[u8],
        now: SystemTime,
    ) -> anyhow::Result<CertificateDer<'static>> {
        let request = CertificateSigningRequestDer::from(request);
        let request = CertificateSigningRequestParams::from_der(&request)
            .context("the request for a certificate cannot be read")?;
        self.issue(name, &request.public_key, now)
    }
}

/// What the name of an authority begins with; the cluster's id follows.
const NAME: &str = "ringfarm cluster ";

fn cluster_of(certificate: &CertificateDer<'_>) -> Option<ClusterId> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?.as_str().ok()?;
    name.strip_prefix(NAME)?.parse().ok()
}

/// Asks for a certificate for `key` (PKCS 10, DER).
///
/// # Errors
/// If it cannot be signed.
pub(crate) fn request(key: &KeyPair) -> anyhow::Result<Vec<u8>> {
    let request = CertificateParams::default().serialize_request(key).context("cannot sign")?;
    Ok(request.der().to_vec())
}
