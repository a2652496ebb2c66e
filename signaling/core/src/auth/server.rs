//! The asking side: challenges and verdicts.

use std::time::{Duration, Instant};

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha12Rng;
use subtle::ConstantTimeEq;

use super::credentials::Credentials;
use super::digest::{self, Algorithm, Hex, Input};
use super::nonce::{Mint, Nonce};
use super::quote::push_quoted;
use super::replay::Replay;
use super::{Secret, Verdict};

/// How far another member's clock may be ahead of ours before its nonces count as stale.
const CLOCK_SKEW: Duration = Duration::from_secs(30);

/// What a challenge takes besides its realm and nonce, with room for `stale=true`.
const CHALLENGE_BYTES: usize = 96;

/// How challenges are made and how long they hold.
#[derive(Clone)]
pub struct Config {
    /// The key of the nonces. Members of a farm share it; otherwise random.
    pub secret: [u8; 32],
    /// Keys whose nonces hold, too: the last one, and the next one before it is used everywhere.
    pub other_secrets: Vec<[u8; 32]>,
    /// The algorithms, in the order in which they are offered (RFC 8760 2.4: strongest first).
    pub algorithms: Vec<Algorithm>,
    /// How long a nonce may be used.
    pub nonce_life: Duration,
    /// Most nonces whose counts are remembered. At the bound the one issued first is forgotten, and
    /// every nonce that old is stale from then on.
    pub nonces_max: usize,
}

impl Config {
    /// SHA-256 before MD5, 300 s, and 262,144 nonces: a user uses one at a time and gets a new one
    /// each 300 s, so that is as many active users; some 60 bytes each, hence about 16 MiB.
    #[must_use]
    pub fn new(secret: [u8; 32]) -> Self {
        Config {
            secret,
            other_secrets: Vec::new(),
            algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
            nonce_life: Duration::from_secs(300),
            nonces_max: 1 << 18,
        }
    }
}

/// Challenges requests and judges their credentials.
///
/// Mutators: [`Authenticator::challenge`], [`Authenticator::verify`],
/// [`Authenticator::set_unix_time`].
pub struct Authenticator {
    mint: Mint,
    other_mints: Vec<Mint>,
    algorithms: Vec<Algorithm>,
    nonce_life_ms: u64,
    rng: ChaCha12Rng,
    replay: Replay,
    started: Instant,
    started_unix_ms: u64,
}

impl Authenticator {
    /// `unix` is the time since the Unix epoch at the instant `now`: nonces carry wall-clock time,
    /// which is the one that members of a farm share. `seed` must be unpredictable.
    #[must_use]
    pub fn new(config: Config, seed: [u8; 32], now: Instant, unix: Duration) -> Self {
        Authenticator {
            mint: Mint::new(&config.secret),
            other_mints: config.other_secrets.iter().map(Mint::new).collect(),
            algorithms: config.algorithms,
            nonce_life_ms: as_ms(config.nonce_life),
            rng: ChaCha12Rng::from_seed(seed),
            // What was used before this process began is not known: nonces of then are stale.
            replay: Replay::since(as_ms(unix), config.nonces_max),
            started: now,
            started_unix_ms: as_ms(unix),
        }
    }

    /// Sets the wall clock anew, for example after it was stepped.
    pub fn set_unix_time(&mut self, now: Instant, unix: Duration) {
        self.started = now;
        self.started_unix_ms = as_ms(unix);
    }

    /// How many nonces are remembered against replays.
    #[must_use]
    pub fn nonces_len(&self) -> usize {
        self.replay.len()
    }

    /// The values of the challenge header fields, one for each algorithm, each to be put on a line
    /// of its own ([`Scheme::challenge_header`](super::Scheme::challenge_header)). `stale` after
    /// [`Verdict::Stale`].
    pub fn challenge(&mut self, now: Instant, realm: &str, stale: bool) -> Vec<String> {
        let nonce = Nonce { issued_ms: self.unix_ms(now), random: self.rng.next_u64() };
        let nonce = self.mint.issue(nonce, realm);
        let challenge = |algorithm: &Algorithm| {
            let mut value = String::with_capacity(CHALLENGE_BYTES + nonce.len() + realm.len());
            value.push_str("Digest ");
            push_quoted(&mut value, "realm", realm);
            push_quoted(&mut value, ", nonce", &nonce);
            value.push_str(", algorithm=");
            value.push_str(algorithm.name());
            value.push_str(", qop=\"auth\"");
            if stale {
                value.push_str(", stale=true");
            }
            value
        };
        self.algorithms.iter().map(challenge).collect()
    }

    /// Judges the credentials that a request with `method` carries for `realm`.
    ///
    /// `values` are those of its `Authorization` or `Proxy-Authorization` header fields; those of
    /// other realms, schemes and algorithms are passed over. `secret_of` finds a user by the
    /// username in them.
    pub fn verify<'v, 's>(
        &mut self,
        now: Instant,
        realm: &str,
        method: &str,
        values: impl IntoIterator<Item = &'v [u8]>,
        secret_of: impl FnOnce(&str) -> Option<&'s Secret>,
    ) -> Verdict {
        let mut malformed = false;
        for value in values {
            match Credentials::parse(value) {
                Err(_) => malformed = true,
                Ok(None) => {}
                Ok(Some(credentials)) if credentials.realm != realm => {}
                Ok(Some(credentials)) => {
                    let offered = |algorithm: &Algorithm| self.algorithms.contains(algorithm);
                    let Some(algorithm) = credentials.algorithm.filter(offered) else { continue };
                    return self.judge(now, algorithm, method, &credentials, secret_of);
                }
            }
        }
        if malformed { Verdict::Malformed } else { Verdict::NoCredentials }
    }

    fn judge<'s>(
        &mut self,
        now: Instant,
        algorithm: Algorithm,
        method: &str,
        credentials: &Credentials<'_>,
        secret_of: impl FnOnce(&str) -> Option<&'s Secret>,
    ) -> Verdict {
        let secret = secret_of(&credentials.username);
        // An unknown user costs the same arithmetic as a known one, whose hashes are at hand.
        let nobody = Secret::Ha1 { md5: Some([0; 16]), sha256: Some([0; 32]) };
        let right = is_right(algorithm, method, credentials, secret.unwrap_or(&nobody));
        if secret.is_none() {
            return Verdict::UnknownUser;
        }
        if !right {
            return Verdict::BadCredentials;
        }
        let count = credentials.qop.as_ref().map(|qop| qop.count);
        if !self.use_nonce(now, credentials, count) {
            return Verdict::Stale;
        }
        Verdict::Ok { user: credentials.username.clone().into_owned() }
    }

    /// Whether the nonce is ours, in its time and not yet used with this count.
    fn use_nonce(&mut self, now: Instant, of: &Credentials<'_>, count: Option<u32>) -> bool {
        let now_ms = self.unix_ms(now);
        let oldest_ms = now_ms.saturating_sub(self.nonce_life_ms);
        let newest_ms = now_ms.saturating_add(as_ms(CLOCK_SKEW));
        self.replay.expire(oldest_ms);
        let mut mints = std::iter::once(&self.mint).chain(&self.other_mints);
        let Some(nonce) = mints.find_map(|mint| mint.verify(&of.nonce, &of.realm)) else {
            return false;
        };
        (oldest_ms..=newest_ms).contains(&nonce.issued_ms) && self.replay.use_nonce(nonce, count)
    }

    fn unix_ms(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.started);
        self.started_unix_ms.saturating_add(as_ms(since))
    }
}

fn is_right(algorithm: Algorithm, method: &str, of: &Credentials<'_>, secret: &Secret) -> bool {
    let input = Input {
        algorithm,
        nonce: &of.nonce,
        method,
        uri: &of.uri,
        qop: of.qop.as_ref().map(|qop| (&*qop.nc, &*qop.cnonce)),
    };
    let known = digest::ha1(algorithm, &of.username, &of.realm, secret);
    let nobody = Hex::new();
    let expected = digest::response(known.as_ref().unwrap_or(&nobody), &input);
    let mut sent = Hex::from_slice(of.response.as_bytes());
    sent.make_ascii_lowercase();
    let equal: bool = expected.as_slice().ct_eq(sent.as_slice()).into();
    equal && known.is_some()
}

fn as_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
