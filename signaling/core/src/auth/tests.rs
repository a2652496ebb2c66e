use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

const REALM: &str = "example.org";
const UNIX: Duration = Duration::from_secs(1_790_000_000);

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
fn start() -> Instant {
    Instant::now()
}

fn parsed(challenge: &str) -> Challenge {
    Challenge::parse(challenge.as_bytes()).unwrap()
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn plain(password: &str) -> Secret {
    Secret::Plain(password.to_owned())
}

/// An authenticator with the user alice, whose password is "secret".
struct Bench {
    server: Authenticator,
    now: Instant,
    alice: Secret,
}

impl Bench {
    fn new(config: Config) -> Self {
        let now = start();
        Bench {
            server: Authenticator::new(config, [1; 32], now, UNIX),
            now,
            alice: plain("secret"),
        }
    }

    fn challenge(&mut self) -> Challenge {
        parsed(&self.server.challenge(self.now, REALM, false)[0])
    }

    fn verify(&mut self, values: &[&str]) -> Verdict {
        let secret_of = |user: &str| (user == "alice").then_some(&self.alice);
        self.server.verify(
            self.now,
            REALM,
            "REGISTER",
            values.iter().map(|value| value.as_bytes()),
            secret_of,
        )
    }
}

impl Default for Bench {
    fn default() -> Self {
        Bench::new(Config::new([7; 32]))
    }
}

fn answered(challenge: &Challenge, user: &str, password: &str, nc: u32) -> String {
    let to = AnswerTo { method: "REGISTER", uri: "sip:example.org", cnonce: "0a4f113b", nc };
    answer(challenge, user, &plain(password), to).unwrap()
}

fn ok() -> Verdict {
    Verdict::Ok { user: "alice".to_owned() }
}

fn vector(challenge: &str, password: &str, cnonce: &str) -> String {
    let challenge = parsed(challenge);
    let to = AnswerTo { method: "GET", uri: "/dir/index.html", cnonce, nc: 1 };
    let value = answer(&challenge, "Mufasa", &plain(password), to).unwrap();
    let credentials = credentials::Credentials::parse(value.as_bytes()).unwrap().unwrap();
    credentials.response.into_owned()
}

/// RFC 7616 3.9.1.
#[test]
fn computes_the_examples_of_rfc_7616() {
    let challenge = |algorithm: &str| {
        format!(
            "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm={algorithm}, \
             nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", \
             opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
        )
    };
    let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
    let response = |algorithm| vector(&challenge(algorithm), "Circle of Life", cnonce);
    assert_eq!(response("MD5"), "8ca523f5e9506fed4657c9700eebdbec");
    assert_eq!(
        response("SHA-256"),
        "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
    );
}

/// RFC 2617 3.5.
#[test]
fn computes_the_example_of_rfc_2617() {
    let challenge = "Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", \
                     nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\"";
    assert_eq!(vector(challenge, "Circle Of Life", "0a4f113b"), "6629fae49393a05397450978507c4ef1");
}

/// RFC 2617 3.2.2.1, last case; the example of RFC 2069 2.4 as its erratum corrects it.
#[test]
fn computes_a_response_without_qop() {
    let challenge =
        "Digest realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\"";
    assert_eq!(vector(challenge, "CircleOfLife", ""), "1949323746fe6a43ef61f9606e7febea");
}

/// RFC 8760 2.4.
#[test]
fn challenges_with_sha_256_first_and_md5_second_on_separate_lines() {
    let mut bench = Bench::default();
    let values = bench.server.challenge(bench.now, REALM, false);
    assert_eq!(values.len(), 2);
    assert!(values[0].contains("algorithm=SHA-256") && values[1].contains("algorithm=MD5"));
    assert!(values.iter().all(|value| value.contains("qop=\"auth\"")), "{values:?}");
    assert!(values.iter().all(|value| !value.contains("stale")), "{values:?}");
    assert_eq!(
        Challenge::pick(values.iter().map(|v| v.as_bytes())).unwrap().algorithm,
        Algorithm::Sha256
    );
}

#[test]
fn accepts_right_credentials_of_either_algorithm() {
    let mut bench = Bench::default();
    for value in bench.server.challenge(bench.now, REALM, false) {
        let challenge = parsed(&value);
        // The two share a nonce, so the second answer counts on.
        let nc = if challenge.algorithm == Algorithm::Sha256 { 1 } else { 2 };
        assert_eq!(bench.verify(&[&answered(&challenge, "alice", "secret", nc)]), ok());
    }
}

#[test]
fn checks_against_stored_hashes_without_the_password() {
    for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
        let mut bench = Bench::new(Config { algorithms: vec![algorithm], ..Config::new([7; 32]) });
        bench.alice = Secret::Ha1 {
            md5: Some(ha1_md5("alice", REALM, "secret")),
            sha256: Some(ha1_sha256("alice", REALM, "secret")),
        };
        let challenge = bench.challenge();
        assert_eq!(bench.verify(&[&answered(&challenge, "alice", "secret", 1)]), ok());
        let bad = bench.verify(&[&answered(&challenge, "alice", "wrong", 2)]);
        assert_eq!(bad, Verdict::BadCredentials);
    }
}

#[test]
fn an_algorithm_whose_hash_is_not_stored_is_never_right() {
    let alice = Secret::Ha1 { md5: Some([0; 16]), sha256: None };
    let mut bench = Bench { alice, ..Bench::default() };
    let challenge = bench.challenge();
    let value = answered(&challenge, "alice", "secret", 1);
    assert_eq!(bench.verify(&[&value]), Verdict::BadCredentials);

    // Nor is what anybody can compute with no hash at all.
    let input = digest::Input {
        algorithm: Algorithm::Sha256,
        nonce: &challenge.nonce,
        method: "REGISTER",
        uri: "sip:example.org",
        qop: None,
    };
    let guess: String =
        digest::response(&digest::Hex::new(), &input).into_iter().map(char::from).collect();
    let value = format!(
        "Digest username=\"alice\", realm=\"{REALM}\", nonce=\"{}\", uri=\"sip:example.org\", \
         response=\"{guess}\", algorithm=SHA-256",
        challenge.nonce
    );
    assert_eq!(bench.verify(&[&value]), Verdict::BadCredentials);
}

#[test]
fn tells_wrong_passwords_and_unknown_users() {
    let mut bench = Bench::default();
    let challenge = bench.challenge();
    let wrong = answered(&challenge, "alice", "Secret", 1);
    assert_eq!(bench.verify(&[&wrong]), Verdict::BadCredentials);
    let unknown = answered(&challenge, "mallory", "secret", 1);
    assert_eq!(bench.verify(&[&unknown]), Verdict::UnknownUser);
    let nobody = answered(&challenge, "mallory", "", 1);
    assert_eq!(bench.verify(&[&nobody]), Verdict::UnknownUser);
}

#[test]
fn the_digest_covers_the_method() {
    let mut bench = Bench::default();
    let challenge = bench.challenge();
    let to = AnswerTo { method: "INVITE", uri: "sip:example.org", cnonce: "x", nc: 1 };
    let value = answer(&challenge, "alice", &plain("secret"), to).unwrap();
    assert_eq!(bench.verify(&[&value]), Verdict::BadCredentials);
}

#[test]
fn passes_over_other_realms_schemes_and_algorithms() {
    let mut bench = Bench::default();
    let challenge = bench.challenge();
    let elsewhere = Challenge { realm: "elsewhere".to_owned(), ..challenge.clone() };
    let other = answered(&elsewhere, "alice", "secret", 1);
    let right = answered(&challenge, "alice", "secret", 1);
    let session = right.replace("algorithm=SHA-256", "algorithm=SHA-256-sess");
    assert_eq!(bench.verify(&["Basic YWxpY2U6c2VjcmV0", &other, &session]), Verdict::NoCredentials);
    assert_eq!(bench.verify(&["Basic YWxpY2U6c2VjcmV0", &other, &session, &right]), ok());
}

/// RFC 7616 3.3: stale.
#[test]
fn an_expired_nonce_is_stale_if_the_password_is_right() {
    let mut bench = Bench::default();
    let challenge = bench.challenge();
    bench.now += secs(301);
    let right = answered(&challenge, "alice", "secret", 1);
    assert_eq!(bench.verify(&[&right]), Verdict::Stale);
    let wrong = answered(&challenge, "alice", "wrong", 1);
    assert_eq!(bench.verify(&[&wrong]), Verdict::BadCredentials);
    let values = bench.server.challenge(bench.now, REALM, true);
    assert!(values.iter().all(|value| value.ends_with(", stale=true")), "{values:?}");
}

#[test]
fn a_nonce_may_be_used_until_its_life_ends() {
    let mut bench = Bench::default();
    let challenge = bench.challenge();
    bench.now += secs(300);
    assert_eq!(bench.verify(&[&answered(&challenge, "alice", "secret", 1)]), ok());
}

#[test]
fn another_member_with_the_secret_verifies_the_nonce() {
    let (mut one, mut two) = (Bench::default(), Bench::default());
    let challenge = one.challenge();
    assert_eq!(two.verify(&[&answered(&challenge, "alice", "secret", 1)]), ok());
}

#[test]
fn a_nonce_that_was_not_issued_here_is_stale() {
    let mut bench = Bench::default();
    let mut stranger = Bench::new(Config::new([8; 32]));
    let foreign = stranger.challenge();
    assert_eq!(bench.verify(&[&answered(&foreign, "alice", "secret", 1)]), Verdict::Stale);
    for nonce in ["", "abc", "\u{e9}", &"0".repeat(64)] {
        let forged = Challenge { nonce: nonce.to_owned(), ..bench.challenge() };
        assert_eq!(bench.verify(&[&answered(&forged, "alice", "secret", 1)]), Verdict::Stale);
    }
}

#[test]
fn a_nonce_holds_for_the_realm_it_was_issued_for() {
    let mut bench = Bench::default();
    let nonce = parsed(&bench.server.challenge(bench.now, "other", false)[0]);
    let moved = Challenge { realm: REALM.to_owned(), ..nonce };
    assert_eq!(bench.verify(&[&answered(&moved, "alice", "secret", 1)]), Verdict::Stale);
}

#[test]
fn a_nonce_from_far_in_the_future_is_stale() {
    let mut bench = Bench::default();
    let mut ahead = Bench::default();
    ahead.server.set_unix_time(ahead.now, UNIX + secs(31));
    let challenge = ahead.challenge();
    assert_eq!(bench.verify(&[&answered(&challenge, "alice", "secret", 1)]), Verdict::Stale);
    bench.now += secs(1);
    assert_eq!(bench.verify(&[&answered(&challenge, "alice", "secret", 1)]), ok());
}

/// RFC 7616 3.4.6.
#[test]
fn a_nonce_count_is_good_once_and_may_come_out_of_order() {
    let mut bench = Bench::default();
    let challenge = bench.challenge();
    for (nc, verdict) in
        [(1, ok()), (1, Verdict::Stale), (3, ok()), (2, ok()), (2, Verdict::Stale), (100, ok())]
    {
        assert_eq!(bench.verify(&[&answered(&challenge, "alice", "secret", nc)]), verdict, "{nc}");
    }
    let old = answered(&challenge, "alice", "secret", 36);
    assert_eq!(bench.verify(&[&old]), Verdict::Stale);
    let recent = answered(&challenge, "alice", "secret", 37);
    assert_eq!(bench.verify(&[&recent]), ok());
}

#[test]
fn a_wrong_password_does_not_use_the_nonce_up() {
    let mut bench = Bench::default();
    let challenge = bench.challenge();
    bench.verify(&[&answered(&challenge, "alice", "wrong", 1)]);
    assert_eq!(bench.server.nonces_len(), 0);
    assert_eq!(bench.verify(&[&answered(&challenge, "alice", "secret", 1)]), ok());
}

#[test]
fn without_qop_a_nonce_is_good_for_one_request() {
    let mut bench = Bench::default();
    let challenge = Challenge { qop_auth: false, ..bench.challenge() };
    let value = answered(&challenge, "alice", "secret", 1);
    assert!(!value.contains("qop"));
    assert_eq!(bench.verify(&[&value]), ok());
    assert_eq!(bench.verify(&[&value]), Verdict::Stale);
}

#[test]
fn at_the_bound_the_oldest_nonce_is_forgotten_and_stale() {
    let mut bench = Bench::new(Config { nonces_max: 2, ..Config::new([7; 32]) });
    let challenges: Vec<_> = (0..3)
        .map(|_| {
            bench.now += secs(1);
            bench.challenge()
        })
        .collect();
    for challenge in &challenges {
        assert_eq!(bench.verify(&[&answered(challenge, "alice", "secret", 1)]), ok());
    }
    assert_eq!(bench.server.nonces_len(), 2);
    let mut again = |at: usize| bench.verify(&[&answered(&challenges[at], "alice", "secret", 2)]);
    assert_eq!(again(0), Verdict::Stale);
    assert_eq!(again(1), ok());
    assert_eq!(again(2), ok());
}

#[test]
fn expired_nonces_leave_the_table() {
    let mut bench = Bench::default();
    for _ in 0..3 {
        let challenge = bench.challenge();
        assert_eq!(bench.verify(&[&answered(&challenge, "alice", "secret", 1)]), ok());
        bench.now += secs(301);
    }
    assert_eq!(bench.server.nonces_len(), 1);
}

#[test]
fn names_malformed_credentials() {
    let mut bench = Bench::default();
    let right = answered(&bench.challenge(), "alice", "secret", 1);
    for (part, broken) in [
        ("qop=auth", "qop=auth-int"),
        ("nc=00000001", "nc=0000000g"),
        ("nc=00000001", "nc=000000001"),
        (", nc=00000001", ""),
        ("response=", "reply="),
        ("realm=\"example.org\"", "realm=\"example.org"),
    ] {
        assert_ne!(right.replace(part, broken), right);
        assert_eq!(bench.verify(&[&right.replace(part, broken)]), Verdict::Malformed, "{broken}");
    }
    assert_eq!(bench.verify(&[]), Verdict::NoCredentials);
}

#[test]
fn quotes_in_names_and_realms_survive() {
    let mut bench = Bench::default();
    let realm = "the \"real\" \\ one\r\n";
    let value = bench.server.challenge(bench.now, realm, false).remove(0);
    assert!(!value.contains(['\r', '\n']));
    assert_eq!(parsed(&value).realm, realm.trim_end());
    let value = answered(&bench.challenge(), "al\"ice", "secret", 1);
    let credentials = credentials::Credentials::parse(value.as_bytes()).unwrap().unwrap();
    assert_eq!(credentials.username, "al\"ice");
}

#[test]
fn a_challenge_that_cannot_be_answered_is_passed_over() {
    let md5 = "Digest realm=\"a\",nonce=\"b\"";
    for unfit in [
        "Digest realm=\"a\", nonce=\"b\", algorithm=SHA-512-256",
        "Digest realm=\"a\", nonce=\"b\", qop=\"auth-int\"",
        "Digest realm=\"a\"",
        "Bearer x",
    ] {
        assert_eq!(Challenge::parse(unfit.as_bytes()), None, "{unfit}");
        assert_eq!(
            Challenge::pick([unfit.as_bytes(), md5.as_bytes()]).unwrap().algorithm,
            Algorithm::Md5
        );
    }
    assert!(!parsed(md5).qop_auth);
}

#[test]
fn debug_shows_no_secret() {
    let shown =
        format!("{:?} {:?}", plain("hush"), Secret::Ha1 { md5: Some([9; 16]), sha256: None });
    assert_eq!(shown, "Plain(..) Ha1 { .. }");
}

proptest! {
    #[test]
    fn any_header_value_yields_a_verdict(value in "\\PC{0,60}|Digest [a-z=\", \\\\]{0,60}") {
        let mut bench = Bench::default();
        let verdict = bench.verify(&[&value]);
        prop_assert!(matches!(verdict, Verdict::NoCredentials | Verdict::Malformed));
        prop_assert_eq!(Challenge::parse(value.as_bytes()), None);
    }
}

/// A secret is exchanged: what was issued under the old one holds as long as that is listed.
#[test]
fn nonces_of_a_secret_that_is_being_replaced_hold() {
    let mut old = Bench::new(Config::new([1; 32]));
    let challenge = old.challenge();
    let credentials = answered(&challenge, "alice", "secret", 1);
    let both = Config { other_secrets: vec![[1; 32]], ..Config::new([2; 32]) };
    assert_eq!(Bench::new(both).verify(&[&credentials]), ok());
    assert_eq!(Bench::new(Config::new([2; 32])).verify(&[&credentials]), Verdict::Stale);
}

/// What a nonce was used for before a restart is not known, so it could be replayed.
#[test]
fn a_nonce_from_before_the_start_is_stale() {
    let mut before = Bench::default();
    let challenge = before.challenge();
    let credentials = answered(&challenge, "alice", "secret", 1);
    assert_eq!(before.verify(&[&credentials]), ok());
    let now = start();
    let server = Authenticator::new(Config::new([0; 32]), [1; 32], now, UNIX + secs(1));
    let mut after = Bench { server, now, alice: plain("secret") };
    assert_eq!(after.verify(&[&credentials]), Verdict::Stale);
}

/// RFC 7616 3.4, RFC 5987.
#[test]
fn a_name_beyond_ascii_may_come_encoded() {
    let mut bench = Bench::default();
    let challenge = bench.challenge();
    let credentials = answered(&challenge, "alice", "secret", 1);
    let encoded = credentials.replace("username=\"alice\"", "username*=UTF-8\'\'%61lic%65");
    assert_eq!(bench.verify(&[&encoded]), ok());
    for broken in ["latin1\'\'alice", "UTF-8\'alice", "UTF-8\'\'%6", "UTF-8\'\'%ff"] {
        let broken = credentials.replace("username=\"alice\"", &format!("username*={broken}"));
        assert_eq!(bench.verify(&[&broken]), Verdict::Malformed, "{broken}");
    }
}

/// RFC 7616 3.4 and RFC 8760 2.6: what was not offered is not taken, and does not lock anybody out.
#[test]
fn variants_that_are_not_offered_are_challenged_anew() {
    let mut bench = Bench::default();
    let challenge = bench.challenge();
    let credentials = answered(&challenge, "alice", "secret", 1);
    for other in ["SHA-256-sess", "SHA-512-256", "MD5-sess", "token"] {
        let other = credentials.replace("algorithm=SHA-256", &format!("algorithm={other}"));
        assert_eq!(bench.verify(&[&other]), Verdict::NoCredentials, "{other}");
    }
    let quoted = credentials.replace("algorithm=SHA-256", "algorithm=\"sha-256\"");
    assert_eq!(bench.verify(&[&quoted.replace("qop=auth", "qop=\"auth\"")]), ok());
}
