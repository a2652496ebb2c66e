//! Certificates of a test's own.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::{DOMAIN, NODE, PROXY, v6};

/// The file, in a test's folder, with the authority that has signed the node's certificate.
pub(crate) const AUTHORITY: &str = "authority.pem";

/// What the certificate of [`PROXY`] (`.pem`) and its key (`.key`) are called, in a test's folder.
pub(crate) const PEER: &str = "peer";

/// Makes a certificate for the node's domain and addresses, and one for [`PROXY`]; returns the settings
/// that name the node's and the authority of both.
pub(super) fn certificate(dir: &Path) -> String {
    certificate_for(dir, [DOMAIN.to_owned(), NODE.to_string(), v6(NODE).to_string()].into())
}

/// As [`certificate`], for a node of these names.
pub(crate) fn certificate_for(dir: &Path, names: Vec<String>) -> String {
    let issuer = authority(dir, AUTHORITY);
    issue(dir, "node", &issuer, names);
    issue(dir, PEER, &issuer, vec![PROXY.to_string()]);
    let at = dir.display();
    format!(
        "[sip.tls]\ntrust = \"{at}/{AUTHORITY}\"\n\n\
         [[sip.tls.certificates]]\nchain = \"{at}/node.pem\"\nkey = \"{at}/node.key\"\n\n"
    )
}

/// Makes `name`.pem, for these names, and `name`.key.
fn issue(dir: &Path, name: &str, issuer: &Issuer<'static, KeyPair>, names: Vec<String>) {
    let params = CertificateParams::new(names).unwrap_or_else(|e| panic!("no such names: {e}"));
    let key = key();
    let signed = params.signed_by(&key, issuer).unwrap_or_else(|e| panic!("cannot sign: {e}"));
    write(dir, &format!("{name}.pem"), &signed.pem());
    write(dir, &format!("{name}.key"), &key.serialize_pem());
}

fn authority(dir: &Path, name: &str) -> Issuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = key();
    let own = params.self_signed(&key).unwrap_or_else(|e| panic!("cannot sign: {e}"));
    write(dir, name, &own.pem());
    Issuer::new(params, key)
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap_or_else(|e| panic!("cannot make a key: {e}"))
}

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::write(&path, text).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
}
