//! Nodes come in by tokens, over the port that members use.

use std::path::Path;

use control_core::mesh::{JoinToken, TokenSecret};

use super::*;
use crate::cluster::join::join;
use crate::cluster::keys::StateDir;

const HOUR: Duration = Duration::from_secs(3600);

/// A member that lets others in.
fn first(dir: &Path) -> (StateDir, Running) {
    let state = StateDir::new(&dir.join("n1"));
    let keys = state.init(&name("n1"), SystemTime::now()).expect("keys");
    let tokens = Some(state.tokens());
    let running = Running::start_with(member("n1", 1, 1), keys, loopback(), tokens);
    (state, running)
}

fn token(state: &StateDir, address: SocketAddr, valid: Duration) -> JoinToken {
    state.tokens().make(address, valid, None, SystemTime::now()).expect("a token")
}

fn try_join(token: &JoinToken, of: &str, dir: &Path) -> Result<Keys, String> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let joined = runtime.block_on(join(token, &name(of), &StateDir::new(&dir.join(of))));
    joined.map_err(|error| format!("{error:#}"))
}

#[test]
fn a_node_that_joins_by_a_token_is_a_member_like_others() {
    let dir = tempfile::tempdir().unwrap();
    let (state, mut one) = first(dir.path());
    let token = token(&state, one.mesh.address, HOUR);
    let keys = try_join(&token, "n2", dir.path()).unwrap();
    assert_eq!(keys.secret, state.load().unwrap().secret);
    let mut two = Running::start(member("n2", 2, 1), keys, loopback());
    two.know(&[&one]);
    one.await_up(2);
    two.await_up(1);
    assert_eq!(one.handle().figures().joined, 1);
    let again = try_join(&token, "n2", dir.path()).err().unwrap();
    assert!(again.contains("is a member of a cluster already"), "{again}");
}

#[test]
fn a_token_that_was_used_has_expired_or_is_wrong_lets_nobody_in_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let (state, one) = first(dir.path());
    let address = one.mesh.address;
    let good = token(&state, address, HOUR);
    try_join(&good, "n2", dir.path()).unwrap();
    let wrong = JoinToken { secret: TokenSecret([9; 16]), ..token(&state, address, HOUR) };
    for (token, why) in [
        (good, "the token has been used"),
        (token(&state, address, Duration::ZERO), "the token has expired"),
        (wrong, "this member does not know the token"),
    ] {
        let error = try_join(&token, "n3", dir.path()).err().unwrap();
        assert!(error.contains(why) && error.contains(&address.to_string()), "{error}");
        assert!(!dir.path().join("n3").exists(), "nothing is left behind");
    }
    assert_eq!(one.handle().figures().join_refused, 3);
}

/// Whoever answers at that address is believed only if the authority vouches for him that the token names.
#[test]
fn a_node_tells_its_token_to_nobody_but_who_made_it() {
    let dir = tempfile::tempdir().unwrap();
    let (state, one) = first(dir.path());
    let impostor = Cluster::new(1).start(5);
    let token = token(&state, impostor.mesh.address, HOUR);
    let error = try_join(&token, "n2", dir.path()).err().unwrap();
    assert!(error.contains("it is not who it should be"), "{error}");
    let redirected = JoinToken { address: one.mesh.address, ..token };
    try_join(&redirected, "n2", dir.path()).expect("the token is as good as it was");
}

#[test]
fn a_member_without_tokens_lets_nobody_in() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::new(&dir.path().join("n1"));
    let keys = state.init(&name("n1"), SystemTime::now()).unwrap();
    let one = Running::start(member("n1", 1, 1), keys, loopback());
    let token = token(&state, one.mesh.address, HOUR);
    let error = try_join(&token, "n2", dir.path()).err().unwrap();
    assert!(error.contains("this member lets nobody in"), "{error}");
}

/// Without a certificate nothing but a request to join is heard.
#[test]
fn a_node_that_may_only_join_can_do_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (_, one) = first(dir.path());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let keys = StateDir::new(&dir.path().join("n1")).load().unwrap();
        let mut config = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(trust(&keys.ca).unwrap())
            .with_no_client_auth();
        for protocol in [JOINING, b"ringfarm-mesh"] {
            config.alpn_protocols = vec![protocol.to_vec()];
            let connector = tokio_rustls::TlsConnector::from(Arc::new(config.clone()));
            let stream = TcpStream::connect(one.mesh.address).await.unwrap();
            let stream = connector.connect(host().unwrap(), stream).await.unwrap();
            let mut by_hand = ByHand { stream, buffer: BytesMut::new() };
            let id = keys.identity.cluster;
            let hello = Hello::new(id, member("n2", 2, 1), Load::default());
            let _ = say(&mut by_hand.stream, &Frame::Hello(Box::new(hello))).await;
            assert_eq!(by_hand.hear().await, None);
        }
    });
    assert!(one.handle().figures().peers.is_empty());
}
