//! TLS between members: 1.3, both sides with a certificate of the cluster's own authority (RFC 8446).

use std::sync::Arc;

use anyhow::Context as _;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::cluster::keys::{Identity, Keys, MEMBER_HOST};

/// What members speak with each other, as ALPN (RFC 7301) names it.
const MEMBERS: &[u8] = b"ringfarm-mesh";
/// What a node speaks that wants to become one.
pub(crate) const JOINING: &[u8] = b"ringfarm-join";

/// Both sides' parts.
pub(super) struct Tls {
    pub(super) acceptor: TlsAcceptor,
    pub(super) connector: TlsConnector,
}

/// Who is at the other end of a connection that was accepted.
#[derive(Debug)]
pub(super) enum Guest {
    /// A member, as its certificate says.
    Member(Identity),
    /// A node that wants to become one.
    Joining,
}

/// The cheapest of the ciphers first: a relayed message is encrypted once more than it would be.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![
        aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
        aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    Arc::new(provider)
}

/// The name that TLS is told; who it really is, is looked at afterwards.
pub(crate) fn host() -> anyhow::Result<ServerName<'static>> {
    ServerName::try_from(MEMBER_HOST).context("a host name")
}

/// Those who are vouched for by `ca`.
pub(crate) fn trust(ca: &CertificateDer<'static>) -> anyhow::Result<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone()).context("ca.pem is no certificate that could vouch for others")?;
    Ok(Arc::new(roots))
}

impl Tls {
    /// Of a member with these keys.
    ///
    /// # Errors
    /// If they do not fit each other.
    pub(super) fn new(keys: &Keys) -> anyhow::Result<Tls> {
        let roots = trust(&keys.ca)?;
        // The authority's own certificate goes along: who joins knows it by its fingerprint alone.
        let chain = vec![keys.certificate.clone(), keys.ca.clone()];
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider())
            // A certificate that is shown has to be good; who shows none may only ask to join.
            .allow_unauthenticated()
            .build()?;
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), keys.key.clone_key())
            .context("member.pem and member.key do not fit each other")?;
        server.alpn_protocols = vec![MEMBERS.to_vec(), JOINING.to_vec()];
        // Connections last: nobody comes back with a ticket.
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, keys.key.clone_key())
            .context("member.pem and member.key do not fit each other")?;
        client.alpn_protocols = vec![MEMBERS.to_vec()];
        client.resumption = Resumption::disabled();
        let (acceptor, connector) = (Arc::new(server).into(), Arc::new(client).into());
        Ok(Tls { acceptor, connector })
    }
}

/// Who is at the other end of a connection that was accepted.
///
/// # Errors
/// If it shows no certificate of a member's and does not ask to join.
pub(super) fn guest(connection: &rustls::ServerConnection) -> anyhow::Result<Guest> {
    if connection.alpn_protocol() == Some(JOINING) {
        return Ok(Guest::Joining);
    }
    identity(connection.peer_certificates()).map(Guest::Member)
}

/// Of whom the first of these certificates is.
///
/// # Errors
/// If there is none, or it is no member's.
pub(super) fn identity(certificates: Option<&[CertificateDer<'_>]>) -> anyhow::Result<Identity> {
    let first = certificates.and_then(<[_]>::first).context("it shows no certificate")?;
    Identity::of(first)
}
