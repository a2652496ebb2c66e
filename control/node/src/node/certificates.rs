//! The certificates of a node: read at the start and again when told to, watched for their end.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::SystemTime;

use control_core::settings::{self, Settings};
use signaling_net::tls::{
    Certificate, CertificateFiles, ClientCertificates, Tls, TlsError, TlsFiles,
};

/// Days before its end at which a certificate is warned of: authorities have theirs renewed a month ahead,
/// so that by the first something has gone wrong, and the others find somebody at work.
const WARN_DAYS: [i64; 3] = [1, 7, 30];

/// Reads what the settings name; `None`: they have nothing of TLS.
pub(crate) fn load(settings: &Settings) -> Result<Option<Tls>, TlsError> {
    let Some(files) = files(settings) else { return Ok(None) };
    let tls = files.load()?;
    warn_of_ends(tls.certificates());
    Ok(Some(tls))
}

/// When the certificates that the settings name end, by their files; none if they cannot be read.
pub(crate) fn ends(settings: &Settings) -> Vec<(PathBuf, SystemTime)> {
    let tls = files(settings).and_then(|files| files.load().ok());
    let certificates = tls.as_ref().map_or(&[][..], Tls::certificates);
    certificates.iter().map(|one| (one.file.clone(), one.not_after)).collect()
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
        wildcards: tls.wildcards,
    })
}

/// Warns of each certificate that ends soon or has ended.
fn warn_of_ends(certificates: &[Certificate]) {
    let now = SystemTime::now();
    certificates
        .iter()
        .filter_map(|one| warning(one, now, RENEW))
        .for_each(|text| tracing::warn!("{text}"));
}

/// What is said of a certificate that ends soon or has ended.
fn warning(certificate: &Certificate, now: SystemTime, renew: &str) -> Option<String> {
    stage(certificate, now)?;
    let (file, left) = (certificate.file.display(), certificate.seconds_left(now));
    Some(match left / DAY_S {
        _ if left <= 0 => format!("the certificate in {file} has ended: {renew}"),
        0 => format!("the certificate in {file} ends within a day: {renew}"),
        days => format!("the certificate in {file} ends in {days} days: {renew}"),
    })
}

const DAY_S: i64 = 86_400;

const RENEW: &str = "renew it, then run `ringfarm refresh`";

const RENEW_KEYS: &str = "run `ringfarm cluster renew`, then start the node anew; without it no other member speaks with this one";

/// How near its end a certificate is: the days of [`WARN_DAYS`] within which it ends, 0 once it has ended;
/// `None`: that is not yet to be spoken of.
fn stage(certificate: &Certificate, now: SystemTime) -> Option<i64> {
    let left = certificate.seconds_left(now);
    if left <= 0 {
        return Some(0);
    }
    WARN_DAYS.into_iter().find(|days| left <= days * DAY_S)
}

/// Watches the certificates in use, which may grow old in a node that runs for years.
#[derive(Debug)]
pub(super) struct Ends {
    /// What is to be done.
    renew: &'static str,
    /// How near its end each was when it was last warned of, by its file.
    said: HashMap<PathBuf, i64>,
}

impl Default for Ends {
    fn default() -> Ends {
        Ends { renew: RENEW, said: HashMap::new() }
    }
}

impl Ends {
    /// Of the certificates that members show each other.
    pub(super) fn of_keys() -> Ends {
        Ends { renew: RENEW_KEYS, ..Ends::default() }
    }

    /// The warnings that are due: one when a certificate comes into the last 30 days, the last 7, the last,
    /// and one when it has ended. Those that are there at the first look were told of when they were read.
    pub(super) fn due(&mut self, certificates: &[Certificate], now: SystemTime) -> Vec<String> {
        let mut due = Vec::new();
        let before = std::mem::take(&mut self.said);
        for certificate in certificates {
            let Some(stage) = stage(certificate, now) else { continue };
            let said = before.get(&certificate.file);
            if said.is_none_or(|said| stage < *said) {
                due.extend(warning(certificate, now, self.renew));
            }
            self.said.insert(certificate.file.clone(), stage);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A certificate is spoken of at 30, 7 and 1 days and at its end, once each; a renewed one starts anew.
    #[test]
    fn a_certificate_is_warned_of_as_its_end_comes_nearer() {
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(100 * 86_400);
        let of = |end| Certificate { file: "/x.pem".into(), names: Vec::new(), not_after: end };
        let day = |day: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(day * 86_400 + 1);
        let mut ends = Ends::default();
        let mut said = Vec::new();
        for at in 60..=103 {
            let due = ends.due(&[of(end)], day(at));
            said.extend(due.into_iter().map(|text| (at, text)));
        }
        let days: Vec<u64> = said.iter().map(|(day, _)| *day).collect();
        assert_eq!(days, [70, 93, 99, 100], "{said:?}");
        assert!(said[0].1.contains("/x.pem ends in 29 days: renew it"), "{said:?}");
        assert!(said[2].1.contains("ends within a day") && said[3].1.contains("has ended"));
        let renewed = of(end + Duration::from_secs(90 * 86_400));
        assert_eq!(ends.due(std::slice::from_ref(&renewed), day(104)), Vec::<String>::new());
        assert_eq!(ends.due(&[renewed], day(161)).len(), 1);
    }
}
