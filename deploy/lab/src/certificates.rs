//! What the frontends show to clients over TLS: a certificate for the shared address.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::plan::VIP;

/// Where the authority's certificate is, for clients to trust.
pub(crate) fn authority(folder: &Path) -> PathBuf {
    folder.join("authority.pem")
}

/// Makes both.
///
/// # Errors
/// They cannot be made or written.
pub(crate) fn make(folder: &Path) -> Result<()> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "lab");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().context("a key")?;
    let own = params.self_signed(&key).context("an authority")?;
    write(&authority(folder), &own.pem())?;
    let issuer = Issuer::new(params, key);
    let names: Vec<String> = VIP.both().map(|ip| ip.to_string()).into();
    let params = CertificateParams::new(names).context("a certificate's names")?;
    let key = KeyPair::generate().context("a key")?;
    let signed = params.signed_by(&key, &issuer).context("a certificate")?;
    write(&folder.join("vip.pem"), &signed.pem())?;
    write(&folder.join("vip.key"), &key.serialize_pem())
}

/// The settings that name it.
pub(crate) fn settings(folder: &Path) -> String {
    let at = folder.display();
    format!("\n[[sip.tls.certificates]]\nchain = \"{at}/vip.pem\"\nkey = \"{at}/vip.key\"\n")
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
