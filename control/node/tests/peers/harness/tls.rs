//! Certificates of a test's own.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::{DOMAIN, NODE, v6};

/// The file, in a test's folder, with the authority that has signed the node's certificate.
pub(crate) const AUTHORITY: &str = "authority.pem";

/// Makes a certificate for the node's domain and addresses; returns the settings that name it.
pub(super) fn certificate(dir: &Path) -> String {
    let issuer = authority(dir, AUTHORITY);
    let names = [DOMAIN.to_owned(), NODE.to_string(), v6(NODE).to_string()];
    let params = CertificateParams::new(names).unwrap_or_else(|e| panic!("no such names: {e}"));
    let key = key();
    let signed = params.signed_by(&key, &issuer).unwrap_or_else(|e| panic!("cannot sign: {e}"));
    write(dir, "node.pem", &signed.pem());
    write(dir, "node.key", &key.serialize_pem());
    let at = dir.display();
    format!("[[sip.tls.certificates]]\nchain = \"{at}/node.pem\"\nkey = \"{at}/node.key\"\n\n")
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
