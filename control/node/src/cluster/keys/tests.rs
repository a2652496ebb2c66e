//! Keys, and who is let in.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::{Duration, SystemTime};

use control_core::mesh::{JoinAsk, JoinToken, TokenId, TokenSecret};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn name(text: &str) -> MemberName {
    MemberName::new(text).expect("a name")
}

fn member(dir: &Path) -> (StateDir, Keys) {
    let state = StateDir::new(&dir.join("state"));
    let keys = state.init(&name("n1"), SystemTime::now()).expect("keys are made");
    (state, keys)
}

fn token(state: &StateDir) -> JoinToken {
    let address = "127.0.0.1:7443".parse().expect("an address");
    state.tokens().make(address, HOUR, None, SystemTime::now()).expect("a token is made")
}

fn ask(token: &JoinToken, of: &str) -> JoinAsk {
    let key = KeyPair::generate().expect("a key");
    let request = request(&key).expect("a request");
    JoinAsk { id: token.id, secret: token.secret, name: name(of), request }
}

#[test]
fn keys_are_made_once_and_for_their_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (state, keys) = member(dir.path());
    for file in [CA_KEY, KEY, SECRET, MEMBER, CA] {
        assert_eq!(fs::metadata(state.file(file)).unwrap().mode() & 0o777, 0o600, "{file}");
    }
    assert_eq!(keys.identity.name, name("n1"));
    let again = state.init(&name("n2"), SystemTime::now()).err().unwrap().to_string();
    assert!(again.contains("member.pem is there"), "{again}");
    assert_eq!(state.load().unwrap().identity, keys.identity);
}

#[test]
fn a_key_that_others_may_read_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = member(dir.path());
    fs::set_permissions(state.file(KEY), fs::Permissions::from_mode(0o640)).unwrap();
    let error = state.load().err().unwrap().to_string();
    assert!(error.contains("member.key: others may read"), "{error}");
}

#[test]
fn a_folder_without_keys_says_how_to_get_some() {
    let dir = tempfile::tempdir().unwrap();
    let error = StateDir::new(dir.path()).load().err().unwrap().to_string();
    assert!(error.contains("ringfarm cluster init") && error.contains("join TOKEN"), "{error}");
}

#[test]
fn a_token_lets_one_node_in() {
    let dir = tempfile::tempdir().unwrap();
    let (state, keys) = member(dir.path());
    let token = token(&state);
    let grant = state.tokens().redeem(&ask(&token, "n2"), SystemTime::now()).unwrap();
    let given = Identity::of(&CertificateDer::from(grant.certificate)).unwrap();
    assert_eq!((given.cluster, given.name), (keys.identity.cluster, name("n2")));
    assert_eq!(grant.secret, keys.secret);
    assert_eq!(fingerprint(&CertificateDer::from(grant.ca)), token.ca);
    let again = state.tokens().redeem(&ask(&token, "n3"), SystemTime::now()).unwrap_err();
    assert!(again.starts_with("the token has been used"), "{again}");
}

#[test]
fn an_expired_token_a_wrong_secret_and_an_unknown_token_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = member(dir.path());
    let token = token(&state);
    let late = state.tokens().redeem(&ask(&token, "n2"), SystemTime::now() + HOUR).unwrap_err();
    assert!(late.starts_with("the token has expired"), "{late}");
    let wrong = JoinToken { secret: TokenSecret([0; 16]), ..token.clone() };
    let unknown = JoinToken { id: TokenId([0; 8]), ..token.clone() };
    for bad in [wrong, unknown] {
        let error = state.tokens().redeem(&ask(&bad, "n2"), SystemTime::now()).unwrap_err();
        assert!(error.starts_with("this member does not know the token"), "{error}");
    }
    state.tokens().redeem(&ask(&token, "n2"), SystemTime::now()).expect("none of these used it up");
}

#[test]
fn a_request_without_the_key_is_refused_and_uses_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = member(dir.path());
    let token = token(&state);
    let mut forged = ask(&token, "n2");
    let last = forged.request.len() - 1;
    forged.request[last] ^= 1;
    for request in [forged.request, vec![], vec![0x30; 100]] {
        let bad = JoinAsk { request, ..ask(&token, "n2") };
        let error = state.tokens().redeem(&bad, SystemTime::now()).unwrap_err();
        assert!(error.contains("request for a certificate"), "{error}");
    }
    state.tokens().redeem(&ask(&token, "n2"), SystemTime::now()).unwrap();
}

/// A second certificate of one name would let its owner pass for the first.
#[test]
fn a_name_is_given_once_unless_the_token_replaces_it() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = member(dir.path());
    let tokens = state.tokens();
    let now = SystemTime::now();
    let error = tokens.redeem(&ask(&token(&state), "n1"), now).unwrap_err();
    assert!(error.starts_with("there is a member n1 already"), "{error}");
    let address = "127.0.0.1:7443".parse().unwrap();
    let replacing = tokens.make(address, HOUR, Some(name("n1")), now).unwrap();
    let error = tokens.redeem(&ask(&replacing, "n2"), now).unwrap_err();
    assert_eq!(error, "the token is for the member n1, not for n2");
    tokens.redeem(&ask(&replacing, "n1"), now).unwrap();
}

/// Two nodes may ask at the same time, each with a token of its own.
#[test]
fn of_two_nodes_that_want_one_name_at_once_one_gets_it() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = member(dir.path());
    for round in 0..20 {
        let asks = [token(&state), token(&state)].map(|one| ask(&one, &format!("n2-{round}")));
        let start = std::sync::Barrier::new(2);
        let redeem = |ask| {
            start.wait();
            state.tokens().redeem(ask, SystemTime::now())
        };
        let (one, other) = std::thread::scope(|scope| {
            let [one, other] = [&asks[0], &asks[1]].map(|ask| scope.spawn(move || redeem(ask)));
            (one.join().unwrap(), other.join().unwrap())
        });
        assert!(one.is_ok() != other.is_ok(), "{round}: {:?} {:?}", one.err(), other.err());
        let waits =
            |ask: &JoinAsk| dir.path().join("state/tokens").join(ask.id.to_string()).exists();
        assert_eq!(
            asks.iter().filter(|ask| waits(ask)).count(),
            1,
            "the other's token is good still"
        );
    }
}

#[test]
fn a_folder_that_others_may_write_to_holds_no_keys() {
    let dir = tempfile::tempdir().unwrap();
    let open = dir.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let error = StateDir::new(&open).init(&name("n1"), SystemTime::now()).err().unwrap();
    assert!(error.to_string().ends_with("chmod 700"), "{error:#}");
    assert_eq!(fs::read_dir(&open).unwrap().count(), 0);
}

#[test]
fn a_member_without_the_authoritys_key_lets_nobody_in() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = member(dir.path());
    let waiting = token(&state);
    fs::remove_file(state.file(CA_KEY)).unwrap();
    let address = "127.0.0.1:7443".parse().unwrap();
    let error = state.tokens().make(address, HOUR, None, SystemTime::now()).unwrap_err();
    assert!(error.to_string().contains("holds no ca.key"), "{error}");
    let error = state.tokens().redeem(&ask(&waiting, "n2"), SystemTime::now()).unwrap_err();
    assert!(error.contains("it has no ca.key"), "{error}");
}

#[test]
fn old_tokens_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = member(dir.path());
    let old = token(&state);
    let later = SystemTime::now() + 26 * HOUR;
    let address = "127.0.0.1:7443".parse().unwrap();
    state.tokens().make(address, HOUR, None, later).unwrap();
    let error = state.tokens().redeem(&ask(&old, "n2"), SystemTime::now()).unwrap_err();
    assert!(error.starts_with("this member does not know"), "{error}");
}

#[test]
fn pem_is_what_others_read() {
    for length in 0..100_u8 {
        let bytes: Vec<u8> = (0..length).collect();
        let text = files::pem("CERTIFICATE", &bytes);
        let read = <CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(
            text.as_bytes(),
        );
        assert_eq!(read.unwrap().as_ref(), bytes);
    }
}

#[test]
fn a_certificate_is_renewed_with_the_key_that_there_is_and_says_when_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let (state, before) = member(dir.path());
    let [(file, ends), (_, authority)] = state.ends().unwrap();
    assert!(file.ends_with(MEMBER) && ends < authority);
    let later = SystemTime::now() + 24 * HOUR;
    let after = state.renew_here(later).unwrap().expect("the authority is here");
    assert_eq!(
        (&after.identity.name, after.key.secret_der()),
        (&name("n1"), before.key.secret_der())
    );
    assert!(after.identity.issued > before.identity.issued);
    let [(_, renewed), _] = state.ends().unwrap();
    assert!(renewed > ends);
    fs::remove_file(state.file(CA_KEY)).unwrap();
    assert!(state.renew_here(later).unwrap().is_none(), "it is elsewhere");
}
