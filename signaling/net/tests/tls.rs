//! TLS transports against real sockets: what is shown, who is believed, what is bounded.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::{
    address, beside, closed, failed, in_time, inputs, message, request, target, transmit,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use signaling_core::transport::{PeerName, Target, Transmit, Transport};
use signaling_net::tls::{CertificateFiles, ClientCertificates, Tls, TlsFiles};
use signaling_net::{CloseReason, Input, Limits, ListenerConfig, SendError, Transports};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// An authority, and a folder with what it has signed.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let own = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), own.pem()).unwrap();
        Authority { issuer: Issuer::new(params, key), folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Signs a certificate for these names and addresses.
    fn sign(&self, name: &str, names: &[&str]) -> CertificateFiles {
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        self.sign_for(name, CertificateParams::new(names).unwrap().subject_alt_names)
    }

    fn sign_for(&self, name: &str, names: Vec<SanType>) -> CertificateFiles {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        let (chain, own) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        fs::write(&chain, signed.pem()).unwrap();
        fs::write(&own, key.serialize_pem()).unwrap();
        CertificateFiles { chain, key: own }
    }

    fn files(&self, certificates: Vec<CertificateFiles>) -> TlsFiles {
        TlsFiles {
            certificates,
            clients: ClientCertificates::None,
            client_ca: None,
            trust: Some(self.path("ca.pem")),
            verify: true,
            wildcards: false,
        }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.pem")).unwrap()).unwrap();
        roots
    }

    fn client(&self) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder().with_root_certificates(self.roots());
        Arc::new(builder.with_no_client_auth())
    }

    fn client_with(&self, own: &CertificateFiles) -> Arc<ClientConfig> {
        let chain = vec![CertificateDer::from_pem_file(&own.chain).unwrap()];
        let key = PrivateKeyDer::from_pem_file(&own.key).unwrap();
        let builder = ClientConfig::builder().with_root_certificates(self.roots());
        Arc::new(builder.with_client_auth_cert(chain, key).unwrap())
    }
}

fn bind(tls: Tls, limits: Limits) -> (Transports, SocketAddr) {
    let listener = ListenerConfig::new(Transport::Tls, address("127.0.0.1:0"));
    let transports = Transports::bind_secure(vec![listener], limits, Some(tls)).unwrap();
    let bound = transports.bound()[0];
    (transports, bound)
}

/// A message to a server that has to prove `text`.
fn named(bound: SocketAddr, remote: SocketAddr, name: PeerName, text: Option<&str>) -> Transmit {
    let target = Target { name: Some(name), ..target(Transport::Tls, bound, remote) };
    Transmit { server_name: text.map(Into::into), ..transmit(target, request(1, 0)) }
}

async fn connect(
    bound: SocketAddr,
    config: Arc<ClientConfig>,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(bound).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(config).connect(name, stream).await
}

fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

fn der(files: &CertificateFiles) -> Vec<u8> {
    CertificateDer::from_pem_file(&files.chain).unwrap().to_vec()
}

/// RFC 3261 26.2.1: messages go both ways through TLS, many in one record and one over many records,
/// in order.
#[tokio::test]
async fn messages_of_a_tls_connection_keep_their_order_both_ways() {
    let authority = Authority::new();
    let tls = authority.files(vec![authority.sign("a", &["a.test"])]).load().unwrap();
    let (mut transports, bound) = bind(tls, Limits::default());
    let sent: Vec<_> =
        (0..200).map(|n| request(n, if n == 99 { 40_000 } else { n * 97 % 900 })).collect();
    let stream = sent.concat();
    let (length, wanted) = (stream.len(), stream.clone());
    let phone = tokio::spawn(async move {
        let phone = connect(bound, authority.client(), "a.test").await.unwrap();
        let (mut receiving, mut sending) = tokio::io::split(phone);
        let write = tokio::spawn(async move {
            sending.write_all(&stream).await.unwrap();
            sending
        });
        let mut echo = vec![0; length];
        receiving.read_exact(&mut echo).await.unwrap();
        write.await.unwrap();
        echo
    });
    let mut received = Vec::new();
    in_time(async {
        while received.len() < sent.len() {
            for input in inputs(&mut transports, 1).await {
                let Input::Message { arrival, bytes } = input else { panic!("{input:?}") };
                assert_eq!(arrival.transport, Transport::Tls);
                transports.send(transmit(arrival.reply(), bytes.clone()));
                received.push(bytes);
            }
        }
    })
    .await;
    assert!(received == sent);
    let mut out = Vec::new();
    let echo = beside(&mut transports, &mut out, phone).await.unwrap();
    assert!(echo == wanted);
    assert_eq!(transports.counters().tls_handshakes, 1);
}

/// RFC 6066 3: a client that names a domain gets the certificate that is for it, any other the first.
#[tokio::test]
async fn the_certificate_for_the_named_domain_is_shown() {
    let authority = Authority::new();
    let first = authority.sign("first", &["a.test", "127.0.0.1"]);
    let second = authority.sign("second", &["b.test", "*.c.test"]);
    let tls = authority.files(vec![first.clone(), second.clone()]).load().unwrap();
    let (mut transports, bound) = bind(tls, Limits::default());
    for (name, wanted) in
        [("a.test", &first), ("b.test", &second), ("x.c.test", &second), ("127.0.0.1", &first)]
    {
        let connecting = connect(bound, authority.client(), name);
        let phone = beside(&mut transports, &mut Vec::new(), connecting).await.unwrap();
        assert_eq!(shown(&phone), der(wanted), "{name}");
    }
}

/// A client whose certificate is required, and that has none, does not get in; one that has one does.
#[tokio::test]
async fn a_client_without_the_required_certificate_is_refused() {
    let authority = Authority::new();
    let own = authority.sign("phone", &["phone.test"]);
    let files = TlsFiles {
        clients: ClientCertificates::Required,
        client_ca: Some(authority.path("ca.pem")),
        ..authority.files(vec![authority.sign("a", &["a.test"])])
    };
    let (mut transports, bound) = bind(files.load().unwrap(), Limits::default());
    let nobody = tokio::spawn(connect(bound, authority.client(), "a.test"));
    let (_, reason) = closed(&mut transports).await;
    assert!(
        matches!(&reason, CloseReason::Handshake(why) if why.contains("ertificate")),
        "{reason}"
    );
    assert_eq!(transports.counters().tls_failed, 1);
    drop(nobody);

    let client = authority.client_with(&own);
    let phone = tokio::spawn(async move {
        let mut phone = connect(bound, client, "a.test").await.unwrap();
        phone.write_all(&request(1, 0)).await.unwrap();
        phone
    });
    assert_eq!(message(&mut transports).await.1, request(1, 0));
    drop(phone);
}

/// A peer that connects and says nothing, or something else, holds its place no longer than the
/// handshake may take.
#[tokio::test]
async fn a_handshake_is_bounded_in_time_and_number() {
    let authority = Authority::new();
    let tls = authority.files(vec![authority.sign("a", &["a.test"])]).load().unwrap();
    let limits =
        Limits { handshake: Duration::from_millis(200), handshakes_max: 1, ..Limits::default() };
    let (mut transports, bound) = bind(tls, limits);
    let _silent = TcpStream::connect(bound).await.unwrap();
    let mut second = TcpStream::connect(bound).await.unwrap();
    let (_, reason) = closed(&mut transports).await;
    assert!(matches!(&reason, CloseReason::Handshake(why) if why.contains("200ms")), "{reason}");
    let mut nothing = [0; 1];
    let refused = in_time(second.read(&mut nothing)).await;
    assert!(matches!(refused, Ok(0) | Err(_)), "{refused:?}");
    assert_eq!(transports.counters().tcp_refused, 1);

    let mut plain = TcpStream::connect(bound).await.unwrap();
    plain.write_all(&request(1, 0)).await.unwrap();
    let (_, reason) = closed(&mut transports).await;
    assert!(matches!(reason, CloseReason::Handshake(_)), "{reason}");
}

/// RFC 8446 2.2: a client that comes back resumes its session.
#[tokio::test]
async fn a_session_is_resumed() {
    let authority = Authority::new();
    let tls = authority.files(vec![authority.sign("a", &["a.test"])]).load().unwrap();
    let (mut transports, bound) = bind(tls, Limits::default());
    let client = authority.client();
    for number in 0..2 {
        let client = client.clone();
        let phone = tokio::spawn(async move {
            let mut phone = connect(bound, client, "a.test").await.unwrap();
            phone.write_all(&request(number, 0)).await.unwrap();
            // The ticket comes before the answer.
            let mut answer = [0; 2];
            phone.read_exact(&mut answer).await.unwrap();
        });
        let (arrival, _) = message(&mut transports).await;
        transports.send(transmit(arrival.reply(), "ok"));
        beside(&mut transports, &mut Vec::new(), phone).await.unwrap();
        assert_eq!(closed(&mut transports).await.1, CloseReason::Peer);
    }
    let counters = transports.counters();
    assert_eq!((counters.tls_handshakes, counters.tls_resumed), (2, 1));
}

/// New connections see a new certificate; one that is there goes on.
#[tokio::test]
async fn a_certificate_is_replaced_without_dropping_connections() {
    let authority = Authority::new();
    let (old, new) = (authority.sign("old", &["a.test"]), authority.sign("new", &["a.test"]));
    let (mut transports, bound) =
        bind(authority.files(vec![old.clone()]).load().unwrap(), Limits::default());
    let mut out = Vec::new();
    let connecting = connect(bound, authority.client(), "a.test");
    let mut phone = beside(&mut transports, &mut out, connecting).await.unwrap();
    transports.set_tls(authority.files(vec![new.clone()]).load().unwrap());
    let connecting = connect(bound, authority.client(), "a.test");
    let other = beside(&mut transports, &mut out, connecting).await.unwrap();
    assert_eq!((shown(&phone), shown(&other)), (der(&old), der(&new)));
    phone.write_all(&request(1, 0)).await.unwrap();
    assert_eq!(message(&mut transports).await.1, request(1, 0));
}

/// RFC 5922 7: a server that we connect to has to show a certificate for the address that we went to,
/// from an authority that we trust.
#[tokio::test]
async fn a_server_is_verified_before_anything_is_sent_to_it() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let good = authority.sign("good", &["127.0.0.1"]);
    for (server, why) in [
        (authority.files(vec![good.clone()]), None),
        (
            authority.files(vec![authority.sign("other", &["other.test"])]),
            Some("not valid for name"),
        ),
        (stranger.files(vec![stranger.sign("good", &["127.0.0.1"])]), Some("BadSignature")),
    ] {
        let files = authority.files(vec![good.clone()]);
        let (mut ours, own) = bind(files.load().unwrap(), Limits::default());
        let (mut theirs, remote) = bind(server.load().unwrap(), Limits::default());
        ours.send(transmit(target(Transport::Tls, own, remote), request(1, 0)));
        let mut out = Vec::new();
        match why {
            None => {
                let got = beside(&mut ours, &mut out, message(&mut theirs)).await;
                assert_eq!(got.1, request(1, 0));
            }
            Some(why) => {
                let mut met = Vec::new();
                let (_, bytes, error) = beside(&mut theirs, &mut met, failed(&mut ours)).await;
                assert_eq!(bytes, request(1, 0));
                assert!(matches!(&error, SendError::Tls(said) if said.contains(why)), "{error}");
            }
        }
    }
}

/// RFC 5922 7: a server that was found by a name has to show a certificate for that name, as a DNS name
/// or as a `sip` URI without a user; its address is no proof then.
#[tokio::test]
async fn a_server_has_to_prove_the_name_that_it_was_found_by() {
    let authority = Authority::new();
    let own = authority.sign("own", &["own.test"]);
    let uri = |text: &str| SanType::URI(text.to_owned().try_into().unwrap());
    for (number, (names, wanted, good)) in [
        (vec![SanType::DnsName("a.test".try_into().unwrap())], "a.test", true),
        (vec![SanType::DnsName("a.test".try_into().unwrap())], "b.test", false),
        (vec![SanType::IpAddress([127, 0, 0, 1].into())], "a.test", false),
        (vec![uri("sip:a.test")], "a.test", true),
        (vec![uri("sip:a.test")], "b.test", false),
        (vec![uri("sip:someone@a.test")], "a.test", false),
        (vec![uri("https:a.test")], "a.test", false),
    ]
    .into_iter()
    .enumerate()
    {
        let shown = authority.sign_for(&format!("their{number}"), names.clone());
        let (mut ours, bound) =
            bind(authority.files(vec![own.clone()]).load().unwrap(), Limits::default());
        let (mut theirs, remote) =
            bind(authority.files(vec![shown]).load().unwrap(), Limits::default());
        ours.send(named(bound, remote, PeerName(7), Some(wanted)));
        let mut met = Vec::new();
        if good {
            let got = beside(&mut ours, &mut met, message(&mut theirs)).await;
            assert_eq!(got.1, request(1, 0));
        } else {
            let (_, _, error) = beside(&mut theirs, &mut met, failed(&mut ours)).await;
            let is_name = matches!(&error, SendError::Tls(why) if why.contains("not valid for"));
            assert!(is_name, "{names:?} for {wanted}: {error}");
        }
    }
}

/// RFC 5922 7.2: a wildcard names no SIP server, unless it is said that it may.
#[tokio::test]
async fn a_wildcard_is_no_name_of_a_server_unless_it_may_be() {
    let authority = Authority::new();
    let own = authority.sign("own", &["own.test"]);
    for (number, (shown, wildcards, good)) in [
        (vec!["*.carrier.test"], false, false),
        (vec!["*.carrier.test"], true, true),
        (vec!["*.carrier.test", "sip.carrier.test"], false, true),
        (vec!["*.other.test"], true, false),
    ]
    .into_iter()
    .enumerate()
    {
        let theirs = authority.sign(&format!("their{number}"), &shown);
        let files = TlsFiles { wildcards, ..authority.files(vec![own.clone()]) };
        let (mut ours, bound) = bind(files.load().unwrap(), Limits::default());
        let (mut theirs, remote) =
            bind(authority.files(vec![theirs]).load().unwrap(), Limits::default());
        ours.send(named(bound, remote, PeerName(7), Some("sip.carrier.test")));
        let mut met = Vec::new();
        if good {
            let got = beside(&mut ours, &mut met, message(&mut theirs)).await;
            assert_eq!(got.1, request(1, 0));
        } else {
            let (_, _, error) = beside(&mut theirs, &mut met, failed(&mut ours)).await;
            let why = if wildcards { "not valid for" } else { "sip.tls.wildcards" };
            assert!(matches!(&error, SendError::Tls(said) if said.contains(why)), "{error}");
        }
    }
}

/// RFC 5922 7.4: a connection that was verified for one name does not serve another name, or the bare
/// address; it goes on serving its own, even once nobody remembers what the name was.
#[tokio::test]
async fn a_connection_serves_the_name_that_it_was_verified_for() {
    let authority = Authority::new();
    let certificate = authority.sign("both", &["a.test", "b.test", "127.0.0.1"]);
    let tls = authority.files(vec![certificate]).load().unwrap();
    let (mut ours, bound) = bind(tls.clone(), Limits::default());
    let (mut theirs, remote) = bind(tls, Limits::default());
    let mut came = Vec::new();
    let bare = transmit(target(Transport::Tls, bound, remote), request(1, 0));
    for sent in [
        named(bound, remote, PeerName(0), Some("a.test")),
        named(bound, remote, PeerName(1), Some("b.test")),
        bare.clone(),
        named(bound, remote, PeerName(0), None),
        bare,
        named(bound, remote, PeerName(1), Some("b.test")),
    ] {
        ours.send(sent);
        let (arrival, _) = beside(&mut ours, &mut Vec::new(), message(&mut theirs)).await;
        came.push(arrival.connection.unwrap());
    }
    let [a, b, address, ..] = came[..] else { panic!("{came:?}") };
    assert!(a != b && b != address && a != address, "{came:?}");
    assert_eq!(came[3..], [a, address, b]);
    ours.send(named(bound, remote, PeerName(2), None));
    let (_, _, error) = failed(&mut ours).await;
    assert!(matches!(&error, SendError::Tls(why) if why.contains("not known")), "{error}");
}

/// RFC 5923: a peer that has proved its name by a certificate may have its connection used for what is sent to
/// that name at its address. Who has proved another name, or none, is dialled (here in vain), and so is one
/// whose connection has ended.
#[tokio::test]
async fn a_connection_is_used_for_the_address_that_its_peer_has_proved_to_be_behind() {
    const PORT: u16 = 9;
    let authority = Authority::new();
    let proved = Some(authority.sign("proved", &["far.test", "127.0.0.1"]));
    let stranger = Some(authority.sign("stranger", &["*.test", "127.0.0.2"]));
    let (name, bare) = (Some("far.test"), None);
    for (shown, to, is_used) in [
        (&proved, name, true),
        (&proved, bare, true),
        (&stranger, name, false),
        (&stranger, bare, false),
        (&None, name, false),
    ] {
        let files = TlsFiles {
            clients: ClientCertificates::Optional,
            client_ca: Some(authority.path("ca.pem")),
            ..authority.files(vec![authority.sign("a", &["a.test"])])
        };
        let (mut transports, bound) = bind(files.load().unwrap(), Limits::default());
        let client =
            shown.as_ref().map_or_else(|| authority.client(), |own| authority.client_with(own));
        let peer = tokio::spawn(async move {
            let mut peer = connect(bound, client, "a.test").await.unwrap();
            peer.write_all(&request(1, 0)).await.unwrap();
            peer
        });
        let (arrival, _) = message(&mut transports).await;
        let mut peer = in_time(peer).await.unwrap();
        transports.alias(arrival.connection.unwrap(), PORT);
        let remote = SocketAddr::new(arrival.remote.ip(), PORT);
        let onward = || match to {
            Some(name) => named(bound, remote, PeerName(3), Some(name)),
            None => transmit(target(Transport::Tls, bound, remote), request(1, 0)),
        };
        transports.send(onward());
        if is_used {
            let mut got = vec![0; request(1, 0).len()];
            beside(&mut transports, &mut Vec::new(), peer.read_exact(&mut got)).await.unwrap();
            assert_eq!(got, request(1, 0));
            drop(peer);
            assert_eq!(closed(&mut transports).await.1, CloseReason::Peer);
            transports.send(onward());
        }
        let (_, _, error) = failed(&mut transports).await;
        assert!(matches!(error, SendError::Connect(_)), "{to:?}: {error}");
    }
}

/// A bad file is named, with what to do.
#[test]
fn a_file_that_cannot_be_used_is_named() {
    let authority = Authority::new();
    let (a, b) = (authority.sign("a", &["a.test"]), authority.sign("b", &["b.test"]));
    let refusal = |files: TlsFiles| files.load().unwrap_err().to_string();
    let mixed = CertificateFiles { chain: a.chain.clone(), key: b.key };
    let error = refusal(authority.files(vec![mixed]));
    assert!(error.contains("b.key") && error.contains("belongs to the certificate"), "{error}");
    let absent = CertificateFiles { chain: authority.path("none.pem"), ..a.clone() };
    assert!(refusal(authority.files(vec![absent])).contains("none.pem: No such file"));
    let swapped = CertificateFiles { chain: a.key.clone(), key: a.key.clone() };
    assert!(refusal(authority.files(vec![swapped])).contains("there is no certificate in it"));
    let tls = authority.files(vec![a]).load().unwrap();
    let [certificate] = tls.certificates() else { panic!("one") };
    assert_eq!(certificate.names, ["a.test"]);
    assert!(certificate.seconds_left(std::time::SystemTime::now()) > 0);
}

/// RFC 5626 3.5.1: a double CRLF is answered with one through TLS, too; RFC 3261 18.3: what is no SIP
/// ends the connection.
#[tokio::test]
async fn keep_alives_and_framing_hold_within_tls() {
    let authority = Authority::new();
    let tls = authority.files(vec![authority.sign("a", &["a.test"])]).load().unwrap();
    let (mut transports, bound) = bind(tls, Limits::default());
    let mut out = Vec::new();
    let ping = async {
        let mut phone = connect(bound, authority.client(), "a.test").await.unwrap();
        phone.write_all(b"\r\n\r\n").await.unwrap();
        let mut pong = [0; 2];
        phone.read_exact(&mut pong).await.unwrap();
        phone.write_all(b"\0no SIP").await.unwrap();
        (phone, pong)
    };
    let (_phone, pong) = beside(&mut transports, &mut out, ping).await;
    assert_eq!(&pong, b"\r\n");
    let (_, reason) = closed(&mut transports).await;
    assert!(matches!(reason, CloseReason::Malformed(_)), "{reason}");
}
