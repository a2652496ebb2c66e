//! Keys of a member: who vouches for the cluster's members, who this one is, what all of them share.
//!
//! All of it stands in one folder, readable by its owner alone: `ca.pem` and, where members are let in,
//! `ca.key`; `member.pem` and `member.key`; `cluster.secret`; `tokens/` and `issued/`.

mod authority;
mod files;
mod identity;
mod tokens;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use control_core::cluster::MemberName;
use control_core::mesh::{ClusterId, ClusterSecret};
use rcgen::KeyPair;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};

pub(crate) use authority::{Authority, MEMBER_HOST, request};
pub(crate) use files::random;
pub(crate) use identity::{Identity, end_of};
pub(crate) use tokens::Tokens;

/// What a member proves itself by.
pub(crate) struct Keys {
    /// Who it is, as its certificate says.
    pub(crate) identity: Identity,
    /// What vouches for all members.
    pub(crate) ca: CertificateDer<'static>,
    /// Its certificate.
    pub(crate) certificate: CertificateDer<'static>,
    /// Its private key.
    pub(crate) key: PrivateKeyDer<'static>,
    /// What tokens of the cluster are proved by.
    pub(crate) secret: ClusterSecret,
}

impl Keys {
    /// Of another member of the same cluster.
    ///
    /// # Errors
    /// If there is no randomness.
    pub(crate) fn for_member(
        of: &Keys,
        authority: &Authority,
        name: &MemberName,
        now: SystemTime,
    ) -> anyhow::Result<Keys> {
        let key = KeyPair::generate().context("cannot make a key")?;
        let certificate = authority.issue(name, &key, now)?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
        let identity = Identity::of(&certificate)?;
        Ok(Keys { identity, certificate, key, ..of.clone() })
    }
}

impl Clone for Keys {
    fn clone(&self) -> Keys {
        Keys {
            identity: self.identity.clone(),
            ca: self.ca.clone(),
            certificate: self.certificate.clone(),
            key: self.key.clone_key(),
            secret: self.secret,
        }
    }
}

/// The folder of a member's keys.
#[derive(Clone, Debug)]
pub(crate) struct StateDir(PathBuf);

impl StateDir {
    pub(crate) fn new(path: &Path) -> StateDir {
        StateDir(path.to_owned())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Whether a member's keys are there.
    pub(crate) fn has_keys(&self) -> bool {
        self.file(MEMBER).exists()
    }

    /// Makes a cluster of one member.
    ///
    /// # Errors
    /// If there are keys already, or the folder cannot be written.
    pub(crate) fn init(&self, name: &MemberName, now: SystemTime) -> anyhow::Result<Keys> {
        self.refuse_if_taken()?;
        let authority = Authority::make(ClusterId(random()?), now)?;
        let key = KeyPair::generate().context("cannot make a key")?;
        let certificate = authority.issue(name, &key, now)?;
        files::make_dir(&self.0)?;
        files::write_new(&self.file(CA_KEY), authority.key_pem().as_bytes())?;
        self.store(&key, &certificate, authority.certificate(), ClusterSecret(random()?))?;
        self.tokens().note_issued(name)?;
        self.load()
    }

    /// A new certificate for this member, where its cluster's authority is.
    ///
    /// # Errors
    /// If it is not here, or the folder cannot be written.
    pub(crate) fn renew_here(&self, now: SystemTime) -> anyhow::Result<Option<Keys>> {
        let keys = self.load()?;
        let Some(authority) = self.authority()? else { return Ok(None) };
        let certificate = authority.issue(&keys.identity.name, &self.own_key()?, now)?;
        self.replace_certificate(&certificate)?;
        self.load().map(Some)
    }

    /// This member's private key.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn own_key(&self) -> anyhow::Result<KeyPair> {
        let path = self.file(KEY);
        KeyPair::from_pem(&files::read_private(&path)?)
            .with_context(|| format!("{} holds no private key (PEM)", path.display()))
    }

    /// Puts another certificate of the same key in the place of this member's, at once.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub(crate) fn replace_certificate(
        &self,
        certificate: &CertificateDer<'_>,
    ) -> anyhow::Result<()> {
        files::replace(&self.file(MEMBER), files::pem("CERTIFICATE", certificate).as_bytes())
    }

    /// When this member's certificate and that of its cluster's authority end, by their files.
    ///
    /// # Errors
    /// If one of them cannot be read.
    pub(crate) fn ends(&self) -> anyhow::Result<[(PathBuf, SystemTime); 2]> {
        let end = |name: &str| {
            let path = self.file(name);
            let ends = end_of(&files::certificate(&path)?)?;
            anyhow::Ok((path, ends))
        };
        Ok([end(MEMBER)?, end(CA)?])
    }

    /// Keeps what a member was given.
    ///
    /// # Errors
    /// If there are keys already, or the folder cannot be written.
    pub(crate) fn store(
        &self,
        key: &KeyPair,
        certificate: &CertificateDer<'_>,
        ca: &CertificateDer<'_>,
        secret: ClusterSecret,
    ) -> anyhow::Result<()> {
        self.refuse_if_taken()?;
        files::make_dir(&self.0)?;
        files::write_new(&self.file(CA), files::pem("CERTIFICATE", ca).as_bytes())?;
        files::write_new(&self.file(SECRET), files::hex_line(&secret.0).as_bytes())?;
        files::write_new(&self.file(KEY), key.serialize_pem().as_bytes())?;
        // Last: where this one is, the others are.
        files::write_new(&self.file(MEMBER), files::pem("CERTIFICATE", certificate).as_bytes())
    }

    /// Says so if there are keys, before anything is done that would be in vain.
    ///
    /// # Errors
    /// If so.
    pub(crate) fn refuse_if_taken(&self) -> anyhow::Result<()> {
        for name in [MEMBER, CA] {
            let path = self.file(name);
            if path.exists() {
                bail!(
                    "{} is there: this node is a member of a cluster already (`ringfarm cluster show`); \
                     give another --state, or move that folder away",
                    path.display()
                );
            }
        }
        Ok(())
    }

    /// Reads a member's keys.
    ///
    /// # Errors
    /// If a file is missing, others may read it, or it is not what it should be.
    pub(crate) fn load(&self) -> anyhow::Result<Keys> {
        if !self.has_keys() {
            bail!(
                "{} holds no member's keys: `ringfarm cluster init` makes a cluster, \
                 `ringfarm cluster join TOKEN` enters one",
                self.0.display()
            );
        }
        let certificate = files::certificate(&self.file(MEMBER))?;
        let identity = Identity::of(&certificate)
            .with_context(|| format!("{}", self.file(MEMBER).display()))?;
        Ok(Keys {
            identity,
            ca: files::certificate(&self.file(CA))?,
            certificate,
            key: files::private_key(&self.file(KEY))?,
            secret: ClusterSecret(files::secret(&self.file(SECRET))?),
        })
    }

    /// What lets members in, if this is a member that may.
    ///
    /// # Errors
    /// If the file is there and cannot be used.
    pub(crate) fn authority(&self) -> anyhow::Result<Option<Authority>> {
        let path = self.file(CA_KEY);
        if !path.exists() {
            return Ok(None);
        }
        let key = files::read_private(&path)?;
        Authority::load(&key, files::certificate(&self.file(CA))?)
            .map(Some)
            .with_context(|| format!("{}", path.display()))
    }

    /// The tokens that were made here.
    pub(crate) fn tokens(&self) -> Tokens {
        Tokens::new(&self.0)
    }
}

const CA: &str = "ca.pem";
const CA_KEY: &str = "ca.key";
const MEMBER: &str = "member.pem";
const KEY: &str = "member.key";
const SECRET: &str = "cluster.secret";

/// By which a token names who vouches for the cluster.
pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    Sha256::digest(certificate).into()
}

#[cfg(test)]
mod tests;
