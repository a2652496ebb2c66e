//! TLS for SIP (RFC 3261 26.2): which certificates this node shows, and whose it believes.
//!
//! [`TlsFiles`] names files, [`TlsFiles::load`] reads and checks them all, and [`Tls`] is what came of
//! it: whole, or not at all, so that a certificate is replaced in one step.

mod files;
mod names;
mod trust;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

pub(crate) use names::Identities;

pub use files::{CertificateFiles, ClientCertificates, TlsError, TlsFiles};

/// Certificates and rules that new connections are secured with.
#[derive(Clone, Debug)]
pub struct Tls {
    /// `None`: there is no certificate, so none can be accepted.
    server: Option<Arc<ServerConfig>>,
    client: Arc<ClientConfig>,
    certificates: Arc<[Certificate]>,
}

/// One of this node's certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The file that it is from.
    pub file: PathBuf,
    /// The domains that it is for, in lower case; `*.` stands for any one label.
    pub names: Vec<String>,
    /// When it ends.
    pub not_after: SystemTime,
}

impl Certificate {
    /// Seconds from `now` to its end; negative once it has ended.
    #[must_use]
    pub fn seconds_left(&self, now: SystemTime) -> i64 {
        let seconds = |time: std::time::Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        match self.not_after.duration_since(now) {
            Ok(left) => seconds(left),
            Err(since) => -seconds(since.duration()),
        }
    }
}

impl Tls {
    /// This node's certificates; the first is shown to whoever names no domain that another is for.
    #[must_use]
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// Begins a session with a peer that has connected to us; `None`: there is no certificate.
    pub(crate) fn accept(&self) -> Option<Connection> {
        let server = self.server.as_ref()?;
        ServerConnection::new(server.clone()).ok().map(Connection::Server)
    }

    /// Begins a session with a peer that we connect to, whose certificate has to name `remote`.
    pub(crate) fn connect(&self, remote: IpAddr) -> Result<Connection, String> {
        self.begin(ServerName::IpAddress(remote.into()))
    }

    /// Begins a session with a server that we connect to, whose certificate has to be for `name`
    /// (RFC 5922 7.3).
    pub(crate) fn connect_to(&self, name: &str) -> Result<Connection, String> {
        let name = ServerName::try_from(name.to_owned());
        self.begin(name.map_err(|_| "no certificate can be for such a name".to_owned())?)
    }

    fn begin(&self, name: ServerName<'static>) -> Result<Connection, String> {
        ClientConnection::new(self.client.clone(), name)
            .map(Connection::Client)
            .map_err(|error| error.to_string())
    }
}
