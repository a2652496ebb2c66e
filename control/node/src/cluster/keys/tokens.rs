//! One-time tokens, as files: what a running member and the command line share without asking each other.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use control_core::cluster::MemberName;
use control_core::mesh::{Grant, JoinAsk, JoinToken, TokenId, TokenSecret};
use sha2::{Digest as _, Sha256};

use super::{StateDir, files, fingerprint};

/// Most tokens that wait for their use: those of a fleet that is set up by a script.
const TOKENS_MAX: usize = 1_000;
/// How long it is known that a token has been used or has expired, past its time.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// The tokens of a member that lets others in.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    state: PathBuf,
}

/// What stands in a token's file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    /// SHA-256 of its secret: who reads the file has no token.
    hash: [u8; 32],
    /// Until when it is good, in seconds since 1970.
    until: u64,
    /// The member whose certificate it replaces; `None`: a new one's.
    replaces: Option<MemberName>,
}

impl Record {
    fn write(&self) -> String {
        let replaces = self.replaces.as_ref().map(ToString::to_string).unwrap_or_default();
        format!("{} {} {replaces}\n", files::hex_line(&self.hash).trim(), self.until)
    }

    fn parse(text: &str) -> Option<Record> {
        let mut words = text.split_whitespace();
        let (hash, until) = (files::unhex(words.next()?)?, words.next()?.parse().ok()?);
        let replaces = words.next().map(MemberName::new).transpose().ok()?;
        Some(Record { hash, until, replaces })
    }
}

impl Tokens {
    pub(super) fn new(state: &Path) -> Tokens {
        Tokens { state: state.to_owned() }
    }

    fn dir(&self) -> PathBuf {
        self.state.join("tokens")
    }

    fn waiting(&self, id: TokenId) -> PathBuf {
        self.dir().join(id.to_string())
    }

    fn used(&self, id: TokenId) -> PathBuf {
        self.dir().join(format!("{id}.used"))
    }

    /// Makes a token that lets one node in.
    ///
    /// # Errors
    /// If this member lets nobody in, or the folder cannot be written.
    pub(crate) fn make(
        &self,
        address: SocketAddr,
        valid: Duration,
        replaces: Option<MemberName>,
        now: SystemTime,
    ) -> anyhow::Result<JoinToken> {
        let Some(authority) = StateDir::new(&self.state).authority()? else {
            bail!(
                "{} holds no ca.key, so this member lets nobody in: make the token where \
                 `ringfarm cluster init` was run",
                self.state.display()
            );
        };
        files::make_dir(&self.dir())?;
        if self.sweep(now)? >= TOKENS_MAX {
            bail!(
                "{TOKENS_MAX} tokens wait for their use already: remove some of {}",
                self.dir().display()
            );
        }
        let (id, secret) = (TokenId(files::random()?), TokenSecret(files::random()?));
        let hash = Sha256::digest(secret.0).into();
        let record = Record { hash, until: unix(now + valid), replaces };
        files::write_new(&self.waiting(id), record.write().as_bytes())?;
        Ok(JoinToken { address, ca: fingerprint(authority.certificate()), id, secret })
    }

    /// Removes what nobody needs to know any more; how many are left.
    fn sweep(&self, now: SystemTime) -> anyhow::Result<usize> {
        let mut left = 0;
        for entry in fs::read_dir(self.dir())? {
            let path = entry?.path();
            let record = fs::read_to_string(&path).ok().as_deref().and_then(Record::parse);
            let is_old = record.is_none_or(|one| one.until + REMEMBERED.as_secs() < unix(now));
            if is_old {
                fs::remove_file(&path)
                    .with_context(|| format!("cannot remove {}", path.display()))?;
            } else {
                left += usize::from(path.extension().is_none());
            }
        }
        Ok(left)
    }

    /// Answers a node that wants to become a member: what it is given, or why not, for its operator.
    /// The token is used up by the first that is granted.
    pub(crate) fn redeem(&self, ask: &JoinAsk, now: SystemTime) -> Result<Grant, String> {
        let record = self.check(ask, now)?;
        let failed = |error: anyhow::Error| {
            tracing::error!("cannot let {} in: {error:#}", ask.name);
            "this member cannot let anybody in; its log says why".to_owned()
        };
        let state = StateDir::new(&self.state);
        let keys = state.load().map_err(failed)?;
        let authority = state.authority().map_err(failed)?;
        let authority = authority.ok_or("this member lets nobody in: it has no ca.key")?;
        let certificate = authority
            .issue_on_request(&ask.name, &ask.request, now)
            .map_err(|error| format!("{error:#}"))?;
        let is_new = self.take_name(&ask.name, record.replaces.as_ref()).map_err(failed)??;
        // Whoever moves it away first has used it.
        if let Err(error) = fs::rename(self.waiting(ask.id), self.used(ask.id)) {
            if is_new {
                // It stays taken where this fails, and the operator is told how to go on.
                let _ = fs::remove_file(self.issued(&ask.name));
            }
            let is_used = error.kind() == ErrorKind::NotFound;
            return Err(if is_used { USED.to_owned() } else { failed(error.into()) });
        }
        Ok(Grant {
            certificate: certificate.to_vec(),
            ca: authority.certificate().to_vec(),
            secret: keys.secret,
        })
    }

    fn check(&self, ask: &JoinAsk, now: SystemTime) -> Result<Record, String> {
        let read = |path: PathBuf| fs::read_to_string(path).ok().as_deref().and_then(Record::parse);
        let Some(record) = read(self.waiting(ask.id)) else {
            let is_used = self.used(ask.id).exists();
            return Err(if is_used { USED } else { UNKNOWN }.to_owned());
        };
        // Of hashes: how many of their bytes agree says nothing of the secret.
        if <[u8; 32]>::from(Sha256::digest(ask.secret.0)) != record.hash {
            return Err(UNKNOWN.to_owned());
        }
        if record.until <= unix(now) {
            return Err(
                "the token has expired: make another by `ringfarm cluster token`".to_owned()
            );
        }
        Ok(record)
    }

    /// Takes the name, in one step: two members of one name would be taken for each other. Whether it was
    /// nobody's before; the inner error is for the node's operator.
    fn take_name(
        &self,
        name: &MemberName,
        replaces: Option<&MemberName>,
    ) -> anyhow::Result<Result<bool, String>> {
        if let Some(replaces) = replaces.filter(|replaces| *replaces != name) {
            return Ok(Err(format!("the token is for the member {replaces}, not for {name}")));
        }
        let is_new = self.note_issued(name)?;
        if is_new || replaces.is_some() {
            return Ok(Ok(is_new));
        }
        Ok(Err(format!(
            "there is a member {name} already: join by another --name, or make the token by \
             `ringfarm cluster token --replace {name}` if that member is gone"
        )))
    }

    fn issued(&self, name: &MemberName) -> PathBuf {
        self.state.join("issued").join(name.as_str())
    }

    /// The names that were given to members.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub(crate) fn issued_names(&self) -> anyhow::Result<Vec<String>> {
        let dir = self.state.join("issued");
        let entries =
            fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))?;
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let mut names: Vec<String> =
            entries.map(|entry| entry.map(name)).collect::<Result<_, _>>()?;
        names.sort();
        Ok(names)
    }

    /// The name is taken from now on; whether it was not before.
    pub(super) fn note_issued(&self, name: &MemberName) -> anyhow::Result<bool> {
        files::make_dir(&self.state.join("issued"))?;
        files::try_write_new(&self.issued(name), b"")
    }
}

const USED: &str =
    "the token has been used: each lets one node in; make another by `ringfarm cluster token`";
const UNKNOWN: &str =
    "this member does not know the token: give it as `ringfarm cluster token` printed it";

fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
