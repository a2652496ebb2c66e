//! How this node becomes a member: it asks the member that its token names.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use bytes::BytesMut;
use control_core::cluster::MemberName;
use control_core::mesh::{ClusterSecret, Frame, Grant, JoinAsk, JoinToken};
use rcgen::KeyPair;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme,
};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::keys::{Identity, Keys, StateDir, fingerprint, request};
use super::mesh::{JOINING, host, next, provider, say, trust};

/// How long the member that is asked may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Asks for a certificate by this token, and keeps it.
///
/// # Errors
/// If this node is a member already, or the member that the token names is not there, is somebody else,
/// or refuses.
pub(crate) async fn join(
    token: &JoinToken,
    name: &MemberName,
    state: &StateDir,
) -> anyhow::Result<Keys> {
    state.refuse_if_taken()?;
    let key = KeyPair::generate().context("cannot make a key")?;
    let (certificate, ca, secret) = certified(token, name, &key).await?;
    state.store(&key, &certificate, &ca, secret)?;
    state.load()
}

/// Asks for another certificate of this member's key by a token that was made to replace it, and keeps it.
///
/// # Errors
/// If this node is no member, or as [`join`] says.
pub(crate) async fn renew(token: &JoinToken, state: &StateDir) -> anyhow::Result<Keys> {
    let keys = state.load()?;
    if fingerprint(&keys.ca) != token.ca {
        bail!("the token is of another cluster than this node's keys");
    }
    let name = keys.identity.name;
    let certificate = certified(token, &name, &state.own_key()?).await?.0;
    state.replace_certificate(&certificate)?;
    state.load()
}

/// What the member that the token names gives for this key: a certificate, that of the authority, what all
/// members know.
async fn certified(
    token: &JoinToken,
    name: &MemberName,
    key: &KeyPair,
) -> anyhow::Result<(CertificateDer<'static>, CertificateDer<'static>, ClusterSecret)> {
    let ask =
        JoinAsk { id: token.id, secret: token.secret, name: name.clone(), request: request(key)? };
    let asked = timeout(ANSWER_WITHIN, ask_member(token, ask)).await;
    let grant = asked
        .map_err(|_| anyhow!("no answer within {} s", ANSWER_WITHIN.as_secs()))
        .flatten()
        .with_context(|| format!("the member at {} does not let this node in", token.address))?;
    let (ca, certificate) =
        (CertificateDer::from(grant.ca), CertificateDer::from(grant.certificate));
    if fingerprint(&ca) != token.ca || Identity::of(&certificate)?.name != *name {
        bail!("the member at {} has given what was not asked for", token.address);
    }
    Ok((certificate, ca, grant.secret))
}

async fn ask_member(token: &JoinToken, ask: JoinAsk) -> anyhow::Result<Grant> {
    let stream = TcpStream::connect(token.address).await.context("cannot connect")?;
    let pinned = Pinned { ca: token.ca, provider: provider() };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pinned))
        .with_no_client_auth();
    config.alpn_protocols = vec![JOINING.to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream =
        connector.connect(host()?, stream).await.context("it is not who it should be")?;
    say(&mut stream, &Frame::JoinAsk(ask)).await.context("it does not listen")?;
    let answer = next(&mut stream, &mut BytesMut::new()).await.context("it does not answer")?;
    if let Frame::JoinRefused(why) = answer {
        bail!("{why}");
    }
    let Frame::Grant(grant) = answer else {
        bail!("its answer makes no sense: a frame of kind {}", answer.kind());
    };
    Ok(*grant)
}

/// Believes whom the authority vouches for that the token names.
#[derive(Debug)]
struct Pinned {
    ca: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let is_named = |one: &&CertificateDer<'_>| fingerprint(one) == self.ca;
        let ca = intermediates.iter().find(is_named).ok_or(CertificateError::UnknownIssuer)?;
        let other = |error: Box<dyn std::error::Error + Send + Sync>| {
            Error::Other(OtherError(Arc::from(error)))
        };
        let roots = trust(&ca.clone().into_owned()).map_err(|error| other(error.into()))?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&self.provider))
                .build()
                .map_err(|error| other(error.into()))?;
        verifier.verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
