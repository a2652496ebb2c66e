//! The certificates of a node: read at the start and again when told to, watched for their end.

use std::time::{Duration, SystemTime};

use control_core::settings::{self, Settings};
use signaling_net::tls::{
    Certificate, CertificateFiles, ClientCertificates, Tls, TlsError, TlsFiles,
};

/// A certificate that ends sooner than this is warned of: authorities renew theirs a month ahead, so
/// that by then something has gone wrong twice.
const WARN_BEFORE: Duration = Duration::from_secs(14 * 86_400);

/// Reads what the settings name; `None`: they have nothing of TLS.
pub(crate) fn load(settings: &Settings) -> Result<Option<Tls>, TlsError> {
    let Some(files) = files(settings) else { return Ok(None) };
    let tls = files.load()?;
    warn_of_ends(tls.certificates());
    Ok(Some(tls))
}

/// The files that the settings name; `None`: they have nothing of TLS.
fn files(settings: &Settings) -> Option<TlsFiles> {
    let tls = &settings.sip.tls;
    let path = |file: &settings::FilePath| file.as_path().to_owned();
    if tls.certificates.is_empty() {
        return None;
    }
    let certificates = tls.certificates.iter();
    Some(TlsFiles {
        certificates: certificates
            .map(|one| CertificateFiles { chain: path(&one.chain), key: path(&one.key) })
            .collect(),
        clients: match tls.client_certificates {
            settings::ClientCertificates::None => ClientCertificates::None,
            settings::ClientCertificates::Optional => ClientCertificates::Optional,
            settings::ClientCertificates::Required => ClientCertificates::Required,
        },
        client_ca: tls.client_ca.as_ref().map(path),
        trust: tls.trust.as_ref().map(path),
        verify: tls.verify,
    })
}

/// Warns of each certificate that ends soon or has ended.
pub(super) fn warn_of_ends(certificates: &[Certificate]) {
    for certificate in certificates {
        let left = certificate.seconds_left(SystemTime::now());
        let file = certificate.file.display();
        if left <= 0 {
            tracing::warn!("the certificate in {file} has ended: renew it, then send SIGHUP");
        } else if left.unsigned_abs() < WARN_BEFORE.as_secs() {
            let days = left / 86_400;
            tracing::warn!(
                "the certificate in {file} ends in {days} days: renew it, then send SIGHUP"
            );
        }
    }
}
