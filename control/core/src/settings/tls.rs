//! `[sip.tls]`: certificates, and whose are believed.

use std::fmt;
use std::path::Path;

use super::problem::Wrong;
use super::read::{Reader, Text, quoted};
use super::table::{Rules, settings_table};
use super::values::{one_of, text_values};

settings_table! {
    /// TLS (RFC 3261 26.2). Files are read at the start; SIGHUP has them read again, for the
    /// connections that come then.
    section Tls {
        /// Whether clients have to show a certificate: "none" (they are not asked), "optional" (one
        /// that is shown has to be good) or "required".
        live client_certificates: ClientCertificates = default(ClientCertificates::None);

        /// File with the authorities (PEM) that clients' certificates have to be from.
        live client_ca: Option<FilePath> = optional("\"/etc/ringfarm/clients.pem\"");

        /// File with the authorities (PEM) that certificates of servers have to be from which this
        /// node connects to. By default those that the system trusts.
        live trust: Option<FilePath> = optional("\"/etc/ringfarm/peers.pem\"");

        /// Whether a server that this node connects to has to show a certificate that is good. With
        /// false nobody can tell who is at the other end: for trials alone, and warned of at each start.
        live verify: bool = default(true);

        /// Whether such a server's certificate may name it by a wildcard ("*.example.com"). RFC 5922 7.2
        /// forbids that in SIP: whoever gets hold of the key of one server, a web server say, could
        /// speak for the domain's calls. Where a carrier shows nothing else: true.
        live wildcards: bool = default(false);

        /// This node's certificates. A client that names a domain is shown the one that is for it,
        /// any other client the first.
        live certificates: Vec<Certificate> = default(Vec::new());
    }
}

settings_table! {
    /// One certificate.
    entry Certificate {
        /// File with the certificate (PEM), and behind it those between it and the authority.
        live chain: FilePath = required("\"/etc/ringfarm/fullchain.pem\"");

        /// File with its private key (PEM, not encrypted).
        live key: FilePath = required("\"/etc/ringfarm/key.pem\"");
    }
}

text_values!(FilePath, ClientCertificates);

/// Longest name of a file, in bytes (PATH_MAX of Linux).
const PATH_BYTES_MAX: usize = 4_096;

/// The name of a file, from the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePath(String);

impl FilePath {
    /// As a path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl Text for FilePath {
    fn parse(text: &str) -> Result<FilePath, Wrong> {
        if text.starts_with('/') && text.len() < PATH_BYTES_MAX && !text.contains('\0') {
            return Ok(FilePath(text.to_owned()));
        }
        let fix = "write it from the root: \"/etc/ringfarm/FILE\"";
        Err(Wrong::new(format!("{} is not the full name of a file", quoted(text)), fix))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// Whether clients have to show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked for one.
    None,
    /// One that is shown has to be good.
    Optional,
    /// Without one there is no connection.
    Required,
}

impl ClientCertificates {
    const ALL: [ClientCertificates; 3] =
        [ClientCertificates::None, ClientCertificates::Optional, ClientCertificates::Required];
}

impl fmt::Display for ClientCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ClientCertificates::None => "none",
            ClientCertificates::Optional => "optional",
            ClientCertificates::Required => "required",
        })
    }
}

impl Text for ClientCertificates {
    fn parse(text: &str) -> Result<ClientCertificates, Wrong> {
        let found = ClientCertificates::ALL.into_iter().find(|wanted| wanted.to_string() == text);
        let words = "\"none\", \"optional\" or \"required\"";
        found.ok_or_else(|| one_of(text, "demand on clients", words))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Rules for Tls {
    fn check(&self, path: &str, reader: &mut Reader) {
        if !reader.sound(&[path]) {
            return;
        }
        let asked = self.client_certificates != ClientCertificates::None;
        if asked && self.client_ca.is_none() {
            let what = "nothing says which authorities clients' certificates have to be from";
            let fix = "add client_ca, or write \"none\"";
            reader.tell(&format!("{path}.client_certificates"), Wrong::new(what, fix));
        }
    }
}

impl Rules for Certificate {
    fn check(&self, _path: &str, _reader: &mut Reader) {}
}
